//! Changes of the head's state, and who may send without a signature.

use super::{
    super::Method,
    DONE, NULL,
    number::{Amount, Whole},
    row,
};
use crate::{
    dev::{Amendment, Setting},
    error::RpcError,
    message::Json,
    params::{Param, Params, StorageKey},
    service::Service,
};
use alloy_primitives::{Address, B256, Bytes};

const ADDRESS: Param = Param::required("address", "address");
const BALANCE: Param = Param::required("balance", "number: wei");
const NONCE: Param = Param::required("nonce", "number");
const CODE: Param = Param::required("code", "bytes");
const SLOT: Param = Param::required("slot", "up to 32 bytes in hex");
const VALUE: Param = Param::required("value", "32 bytes");
const ENABLED: Param = Param::required("enabled", "boolean");

const SET_BALANCE: &str = "Sets the balance of an account.";
const ADD_BALANCE: &str = "Adds to the balance of an account.";
const SET_NONCE: &str = "Sets the nonce of an account.";
const SET_CODE: &str = "Sets the code of an account.";
const SET_SLOT: &str = "Sets a storage slot of an account.";
const IMPERSONATE: &str = "Lets an account send without a signature.";
const STOP: &str = "Stops letting an account send without a signature.";
const ALL: &str = "Sets whether every account may send without a signature.";

/// The rows.
pub(super) const METHODS: &[Method] = &[
    row("hardhat_setBalance", SET_BALANCE, &[ADDRESS, BALANCE], DONE, balance),
    row("anvil_setBalance", SET_BALANCE, &[ADDRESS, BALANCE], NULL, anvil_balance),
    row("anvil_deal", SET_BALANCE, &[ADDRESS, BALANCE], NULL, anvil_balance),
    row("anvil_addBalance", ADD_BALANCE, &[ADDRESS, BALANCE], NULL, add_balance),
    row("hardhat_setNonce", SET_NONCE, &[ADDRESS, NONCE], DONE, nonce),
    row("anvil_setNonce", SET_NONCE, &[ADDRESS, NONCE], NULL, anvil_nonce),
    row("evm_setAccountNonce", SET_NONCE, &[ADDRESS, NONCE], DONE, nonce),
    row("hardhat_setCode", SET_CODE, &[ADDRESS, CODE], DONE, code),
    row("anvil_setCode", SET_CODE, &[ADDRESS, CODE], NULL, anvil_code),
    row("hardhat_setStorageAt", SET_SLOT, &[ADDRESS, SLOT, VALUE], DONE, slot),
    row("anvil_setStorageAt", SET_SLOT, &[ADDRESS, SLOT, VALUE], DONE, slot),
    row("hardhat_impersonateAccount", IMPERSONATE, &[ADDRESS], DONE, impersonate),
    row("anvil_impersonateAccount", IMPERSONATE, &[ADDRESS], NULL, anvil_impersonate),
    row("hardhat_stopImpersonatingAccount", STOP, &[ADDRESS], DONE, stop),
    row("anvil_stopImpersonatingAccount", STOP, &[ADDRESS], NULL, anvil_stop),
    row("anvil_autoImpersonateAccount", ALL, &[ENABLED], NULL, impersonate_all),
];

fn amend(service: &Service, params: &Params, amendment: Amendment) -> Result<(), RpcError> {
    Ok(service.dev()?.amend(params.get::<Address>(0)?, amendment)?)
}

fn null() -> Result<Json, RpcError> {
    Json::of(&())
}

fn done() -> Result<Json, RpcError> {
    Json::of(&true)
}

fn set_balance(service: &Service, params: &Params) -> Result<(), RpcError> {
    let Amount(wei) = params.get(1)?;
    amend(service, params, Amendment::Balance(wei))
}

fn balance(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set_balance(service, params).and_then(|()| done())
}

fn anvil_balance(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set_balance(service, params).and_then(|()| null())
}

fn add_balance(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Amount(wei) = params.get(1)?;
    amend(service, params, Amendment::AddBalance(wei))?;
    null()
}

fn set_nonce(service: &Service, params: &Params) -> Result<(), RpcError> {
    let Whole(nonce) = params.get(1)?;
    amend(service, params, Amendment::Nonce(nonce))
}

fn nonce(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set_nonce(service, params).and_then(|()| done())
}

fn anvil_nonce(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set_nonce(service, params).and_then(|()| null())
}

fn set_code(service: &Service, params: &Params) -> Result<(), RpcError> {
    amend(service, params, Amendment::Code(params.get::<Bytes>(1)?))
}

fn code(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set_code(service, params).and_then(|()| done())
}

fn anvil_code(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set_code(service, params).and_then(|()| null())
}

fn slot(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (key, value) = (params.get::<StorageKey>(1)?, params.get::<B256>(2)?);
    amend(service, params, Amendment::Slot { slot: key.slot, value: value.into() })?;
    done()
}

fn impersonate(service: &Service, params: &Params) -> Result<Json, RpcError> {
    service.dev()?.set(Setting::Impersonate(params.get(0)?))?;
    done()
}

fn anvil_impersonate(service: &Service, params: &Params) -> Result<Json, RpcError> {
    impersonate(service, params).and_then(|_| null())
}

fn stop(service: &Service, params: &Params) -> Result<Json, RpcError> {
    service.dev()?.set(Setting::StopImpersonating(params.get(0)?))?;
    done()
}

fn anvil_stop(service: &Service, params: &Params) -> Result<Json, RpcError> {
    stop(service, params).and_then(|_| null())
}

fn impersonate_all(service: &Service, params: &Params) -> Result<Json, RpcError> {
    service.dev()?.set(Setting::ImpersonateAll(params.get(0)?))?;
    null()
}
