//! What this node is and does, in the words of other development nodes.

use super::super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};
use alloy_primitives::{U64, U256};
use serde_json::json;

const ENABLED: Param = Param::required("enabled", "boolean");
const LOGGING: &str = "Taken and ignored: the node's --log option says what is logged.";

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "anvil_nodeInfo",
        about: "The head, the fork, and what the next block is made with.",
        params: &[],
        result: "object: currentBlockNumber, currentBlockTimestamp, currentBlockHash, hardFork, environment, forkConfig",
        work: Work::Read,
        run: node_info,
    },
    Method {
        name: "hardhat_metadata",
        about: "The program, the chain and its head.",
        params: &[],
        result: "object: clientVersion, chainId, instanceId, latestBlockNumber, latestBlockHash",
        work: Work::Read,
        run: metadata,
    },
    Method {
        name: "anvil_metadata",
        about: "The program, the chain and its head.",
        params: &[],
        result: "object: clientVersion, chainId, instanceId, latestBlockNumber, latestBlockHash",
        work: Work::Read,
        run: metadata,
    },
    Method {
        name: "hardhat_setLoggingEnabled",
        about: LOGGING,
        params: &[ENABLED],
        result: "true",
        work: Work::Instant,
        run: logging,
    },
    Method {
        name: "anvil_setLoggingEnabled",
        about: LOGGING,
        params: &[ENABLED],
        result: "null",
        work: Work::Instant,
        run: anvil_logging,
    },
];

fn node_info(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let dev = service.dev()?;
    let head = service.context.store.head();
    let timestamp = service.chain().header(head.number)?.timestamp;
    let next = dev.next_block()?;
    let mining = dev.mining();
    Json::of(&json!({
        "currentBlockNumber": U64::from(head.number),
        "currentBlockTimestamp": timestamp,
        "currentBlockHash": head.hash,
        "hardFork": "osaka",
        "transactionOrder": "fees",
        "automine": mining.automine,
        "environment": {
            "baseFee": U256::from(next.base_fee),
            "chainId": service.context.spec.chain_id,
            "gasLimit": U64::from(next.gas_limit),
            "gasPrice": U256::from(next.base_fee),
        },
        "forkConfig": { "forkUrl": null, "forkBlockNumber": null, "forkRetryBackoff": null },
    }))
}

fn metadata(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let head = service.context.store.head();
    Json::of(&json!({
        "clientVersion": service.context.client_version,
        "chainId": service.context.spec.chain_id,
        // The same as long as the chain is.
        "instanceId": service.context.store.genesis().hash(),
        "latestBlockNumber": head.number,
        "latestBlockHash": head.hash,
    }))
}

fn logging(_: &Service, params: &Params) -> Result<Json, RpcError> {
    params.get::<bool>(0)?;
    Json::of(&true)
}

fn anvil_logging(_: &Service, params: &Params) -> Result<Json, RpcError> {
    params.get::<bool>(0)?;
    Json::of(&())
}
