//! Messages and structured data that the node signs with the keys it holds.

use super::{super::Method, typed::TypedData};
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};
use alloy_primitives::{Address, B256, Bytes, eip191_hash_message};

const ADDRESS: Param = Param::required("address", "address");
const MESSAGE: Param = Param::required("message", "bytes");
const TYPED: Param = Param::required("data", "object, or its JSON as a string: types, primaryType, domain, message");

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "eth_sign",
        about: "Signs a message (EIP-191).",
        params: &[ADDRESS, MESSAGE],
        result: "65 bytes: r, s, v",
        work: Work::Submit,
        run: sign,
    },
    Method {
        name: "personal_sign",
        about: "Signs a message (EIP-191).",
        params: &[MESSAGE, ADDRESS, Param::optional("password", "ignored")],
        result: "65 bytes: r, s, v",
        work: Work::Submit,
        run: personal_sign,
    },
    Method {
        name: "eth_signTypedData_v4",
        about: "Signs structured data (EIP-712).",
        params: &[ADDRESS, TYPED],
        result: "65 bytes: r, s, v",
        work: Work::Submit,
        run: sign_typed,
    },
    Method {
        name: "eth_signTypedData",
        about: "The same.",
        params: &[ADDRESS, TYPED],
        result: "65 bytes: r, s, v",
        work: Work::Submit,
        run: sign_typed,
    },
];

fn sign_typed(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let hash = params.get::<TypedData>(1)?.hash().map_err(|reason| params.wrong(1, &reason))?;
    signed(service, params.get(0)?, hash)
}

fn sign(service: &Service, params: &Params) -> Result<Json, RpcError> {
    signed(service, params.get(0)?, eip191_hash_message(params.get::<Bytes>(1)?))
}

fn personal_sign(service: &Service, params: &Params) -> Result<Json, RpcError> {
    signed(service, params.get(1)?, eip191_hash_message(params.get::<Bytes>(0)?))
}

fn signed(service: &Service, address: Address, hash: B256) -> Result<Json, RpcError> {
    let signature = service.dev()?.sign_hash(address, hash)?;
    Json::of(&Bytes::copy_from_slice(&signature.as_bytes()))
}
