//! `web3_*`: the client's name and Keccak-256.

use super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};
use alloy_primitives::{Bytes, keccak256};

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "web3_clientVersion",
        about: "Name and version of the program that answers.",
        params: &[],
        result: "string",
        work: Work::Instant,
        run: client_version,
    },
    Method {
        name: "web3_sha3",
        about: "Keccak-256 of the given bytes (not the standardised SHA3-256).",
        params: &[Param::required("data", "bytes")],
        result: "hash",
        // Up to a whole body of bytes: milliseconds.
        work: Work::Read,
        run: sha3,
    },
];

fn client_version(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&service.context.client_version)
}

fn sha3(_: &Service, params: &Params) -> Result<Json, RpcError> {
    Json::of(&keccak256(params.get::<Bytes>(0)?))
}
