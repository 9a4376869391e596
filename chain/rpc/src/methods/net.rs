//! `net_*`: what old tools ask to see whether a node is alive.

use super::Method;
use crate::{error::RpcError, lanes::Work, message::Json, params::Params, service::Service};

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "net_version",
        about: "The network id, which is the chain id.",
        params: &[],
        result: "decimal string",
        work: Work::Instant,
        run: version,
    },
    Method {
        name: "net_listening",
        about: "Whether the node takes connections.",
        params: &[],
        result: "true",
        work: Work::Instant,
        run: listening,
    },
    Method {
        name: "net_peerCount",
        about: "With how many other validators this node is connected.",
        params: &[],
        result: "quantity",
        work: Work::Instant,
        run: peer_count,
    },
];

fn version(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&service.context.spec.chain_id.to_string())
}

fn listening(_: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&true)
}

fn peer_count(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&format!("{:#x}", service.connected()))
}
