//! Transactions that the node completes and signs for its callers.

use super::{super::Method, number::Whole};
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    methods::eth::{
        call::{self, CALL_FIELDS},
        fee,
        transaction::refused,
    },
    params::{BlockId, Param, Params, member},
    service::Service,
};
use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{eip2718::Encodable2718 as _, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_primitives::{Address, Bytes, TxKind};
use keystead_execution::{BlockEnv, CallPrice, CallRequest, Overrides, estimate_gas};
use keystead_types::StateView as _;
use serde_json::{Map, Value};
use std::sync::PoisonError;

const TRANSACTION: Param = Param::required("transaction", CALL_FIELDS);

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "eth_sendTransaction",
        about: "Completes, signs and sends a transaction of an account that this node signs for.",
        params: &[TRANSACTION],
        result: "hash of the transaction",
        work: Work::Submit,
        run: send,
    },
    Method {
        name: "eth_sendUnsignedTransaction",
        about: "The same.",
        params: &[TRANSACTION],
        result: "hash of the transaction",
        work: Work::Submit,
        run: send,
    },
    Method {
        name: "eth_signTransaction",
        about: "Completes and signs a transaction of an account whose key this node holds.",
        params: &[TRANSACTION],
        result: "bytes: the EIP-2718 encoding",
        work: Work::Submit,
        run: sign,
    },
];

fn send(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let sending = service.sending.lock().unwrap_or_else(PoisonError::into_inner);
    let (from, transaction) = complete(service, params)?;
    let signed = service.dev()?.sign(from, transaction)?;
    let sent = service.context.submit.submit(signed);
    drop(sending);
    Json::of(&sent.map_err(refused)?)
}

fn sign(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (from, transaction) = complete(service, params)?;
    let dev = service.dev()?;
    if !dev.accounts().contains(&from) {
        return Err(crate::dev::DevError::NoKey(from).into());
    }
    let signed = dev.sign(from, transaction)?;
    Json::of(&Bytes::from(signed.encoded_2718()))
}

/// The transaction of the first parameter, with everything that its caller left out.
fn complete(service: &Service, params: &Params) -> Result<(Address, crate::dev::Unsigned), RpcError> {
    let dev = service.dev()?;
    let mut request = call::request(service, params, 0)?;
    let none = Map::new();
    let object = params.value(0).as_object().unwrap_or(&none);
    if object.get("from").is_none_or(Value::is_null) {
        request.from = dev.accounts().first().copied().unwrap_or_default();
    }
    if !dev.sends_for(&request.from) {
        return Err(crate::dev::DevError::NoKey(request.from).into());
    }
    let wrong = |reason: String| params.wrong(0, &reason);
    let nonce = match member::<Whole>(object, "nonce").map_err(wrong)? {
        Some(Whole(nonce)) => nonce,
        None => next_nonce(service, &request.from)?,
    };
    let next = dev.next_block()?;
    let kind = member::<Whole>(object, "type").map_err(wrong)?.map(|Whole(kind)| kind);
    let fees = Fees::of(service, object, &request, kind, &next).map_err(|error| match error {
        FeeError::Wrong(reason) => wrong(reason),
        FeeError::Failed(error) => error,
    })?;
    let gas = match request.gas {
        Some(gas) => gas,
        None => estimate(service, &request, &next)?,
    };
    Ok((request.from, fees.build(service.context.spec.chain_id, nonce, gas, request)))
}

fn next_nonce(service: &Service, from: &Address) -> Result<u64, RpcError> {
    let nonce = service.context.store.latest().account(from)?.unwrap_or_default().nonce;
    Ok(service.pool().next_nonce(from, nonce))
}

/// Gas that the transaction needs in the next block.
fn estimate(service: &Service, request: &CallRequest, next: &BlockEnv) -> Result<u64, RpcError> {
    let state = service.chain().state(BlockId::Latest)?;
    let gas_max = service.limits.call_gas_max.min(MAX_TX_GAS_LIMIT_OSAKA);
    let asked = CallRequest { price: CallPrice::Free, ..request.clone() };
    call::estimated(estimate_gas(&*state, &service.context.spec, next, &Overrides::default(), asked, gas_max))
}

/// What the transaction pays, which decides its type.
enum Fees {
    Legacy { gas_price: u128 },
    WithAccessList { gas_price: u128 },
    Dynamic { max_fee: u128, max_priority_fee: u128 },
    SetCode { max_fee: u128, max_priority_fee: u128 },
}

enum FeeError {
    Wrong(String),
    Failed(RpcError),
}

impl Fees {
    fn of(
        service: &Service,
        object: &Map<String, Value>,
        request: &CallRequest,
        kind: Option<u64>,
        next: &BlockEnv,
    ) -> Result<Self, FeeError> {
        let gas_price = match request.price {
            CallPrice::Legacy { gas_price } => Some(gas_price),
            CallPrice::Free | CallPrice::Dynamic { .. } => None,
        };
        let tip = fee::suggested_tip(service).map_err(FeeError::Failed)?;
        let old = matches!(kind, Some(0 | 1)) || (kind.is_none() && gas_price.is_some());
        if old && request.authorizations.is_empty() {
            let gas_price = gas_price.unwrap_or_else(|| tip.saturating_add(next.base_fee.into()));
            let plain = kind == Some(0) || (kind.is_none() && request.access_list.is_empty());
            return Ok(if plain { Self::Legacy { gas_price } } else { Self::WithAccessList { gas_price } });
        }
        let given = |name| member(object, name).map_err(FeeError::Wrong);
        let max_fee: Option<u128> = given("maxFeePerGas")?.or(gas_price);
        let priority: Option<u128> = given("maxPriorityFeePerGas")?.or(gas_price);
        let max_priority_fee = priority.unwrap_or_else(|| max_fee.map_or(tip, |max| max.min(tip)));
        // Twice the base fee lasts for many full blocks.
        let doubled = u128::from(next.base_fee).saturating_mul(2).saturating_add(max_priority_fee);
        let max_fee = max_fee.unwrap_or(doubled);
        if kind == Some(4) || !request.authorizations.is_empty() {
            return Ok(Self::SetCode { max_fee, max_priority_fee });
        }
        Ok(Self::Dynamic { max_fee, max_priority_fee })
    }

    fn build(self, chain_id: u64, nonce: u64, gas_limit: u64, request: CallRequest) -> crate::dev::Unsigned {
        let CallRequest { to, value, input, access_list, authorizations: authorization_list, .. } = request;
        let to_kind = to.map_or(TxKind::Create, TxKind::Call);
        match self {
            Self::Legacy { gas_price } => {
                let chain_id = Some(chain_id);
                TxLegacy { chain_id, nonce, gas_price, gas_limit, to: to_kind, value, input }.into()
            }
            Self::WithAccessList { gas_price } => {
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to: to_kind, value, access_list, input }.into()
            }
            Self::Dynamic { max_fee: max_fee_per_gas, max_priority_fee: max_priority_fee_per_gas } => TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: to_kind,
                value,
                access_list,
                input,
            }
            .into(),
            Self::SetCode { max_fee: max_fee_per_gas, max_priority_fee: max_priority_fee_per_gas } => TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: to.unwrap_or_default(),
                value,
                access_list,
                authorization_list,
                input,
            }
            .into(),
        }
    }
}
