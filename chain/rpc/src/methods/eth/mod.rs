//! `eth_*`: Ethereum's own methods.
//!
//! # Design
//! The functions are grouped by what they read: accounts, blocks, transactions, fees, logs, calls, proofs. The rows of
//! the table stand here and in `more.rs` because of their length; those of `facts.rs` stand there.

mod account;
mod block;
pub(in crate::methods) mod call;
mod config;
mod facts;
pub(crate) mod fee;
pub(crate) mod logs;
mod more;
mod proof;
mod simulate;
mod tools;
pub(crate) mod transaction;

pub(super) use block::numbered;
pub(super) use call::{CallObject, failed, request};
pub(super) use facts::METHODS as FACTS_METHODS;
pub(super) use more::{BLOCK_OVERRIDES, CALL, METHODS as MORE_METHODS, STATE_OVERRIDES};
pub(super) use simulate::METHODS as SIMULATE_METHODS;
pub(super) use tools::METHODS as TOOL_METHODS;

use super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};
use alloy_primitives::U64;

/// How every method that reads a state takes the block.
pub(super) const BLOCK: Param = Param::optional("block", "tag, number, hash or EIP-1898 object; default latest");
const BLOCK_REQUIRED: Param = Param::required("block", "tag, number, hash or EIP-1898 object");
const NUMBER: Param = Param::required("block", "tag or number");
const HASH: Param = Param::required("blockHash", "hash");
const INDEX: Param = Param::required("index", "quantity: position in the block, from 0");
const ADDRESS: Param = Param::required("address", "address");
const TRANSACTION_HASH: Param = Param::required("transactionHash", "hash");
const FULL: Param = Param::optional("full", "true for whole transactions, false for hashes; default false");

/// The chain, accounts, fees and blocks.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "eth_chainId",
        about: "The chain id that transactions are signed for (EIP-155).",
        params: &[],
        result: "quantity",
        work: Work::Instant,
        run: chain_id,
    },
    Method {
        name: "eth_syncing",
        about: "Always false: a node answers only from final blocks that it has executed.",
        params: &[],
        result: "false",
        work: Work::Instant,
        run: syncing,
    },
    Method {
        name: "eth_accounts",
        about: "Always empty: the node holds no user's key.",
        params: &[],
        result: "array of addresses",
        work: Work::Instant,
        run: accounts,
    },
    Method {
        name: "eth_blockNumber",
        about: "Height of the last final block.",
        params: &[],
        result: "quantity",
        work: Work::Instant,
        run: block_number,
    },
    Method {
        name: "eth_gasPrice",
        about: "A price per gas with which a transaction enters one of the next blocks: base fee and suggested tip.",
        params: &[],
        result: "quantity in wei",
        work: Work::Read,
        run: fee::gas_price,
    },
    Method {
        name: "eth_maxPriorityFeePerGas",
        about: "The suggested tip per gas: the 60th percentile of the lowest tips of recent blocks.",
        params: &[],
        result: "quantity in wei",
        work: Work::Read,
        run: fee::max_priority_fee_per_gas,
    },
    Method {
        name: "eth_feeHistory",
        about: "Base fees, fullness and tips of recent blocks, and the base fee of the next one.",
        params: &[
            Param::required("blockCount", "quantity or number: how many blocks"),
            Param::required("newestBlock", "tag or number"),
            Param::optional("rewardPercentiles", "ascending numbers from 0 to 100, by gas used"),
        ],
        result: "object: oldestBlock, baseFeePerGas, gasUsedRatio, reward, baseFeePerBlobGas, blobGasUsedRatio",
        work: Work::Compute,
        run: fee::fee_history,
    },
    Method {
        name: "eth_getBalance",
        about: "Balance of an account.",
        params: &[ADDRESS, BLOCK],
        result: "quantity in wei",
        work: Work::Read,
        run: account::balance,
    },
    Method {
        name: "eth_getTransactionCount",
        about: "Next nonce of an account; with `pending`, after its transactions in the pool.",
        params: &[ADDRESS, BLOCK],
        result: "quantity",
        work: Work::Read,
        run: account::transaction_count,
    },
    Method {
        name: "eth_getCode",
        about: "Runtime code of an account.",
        params: &[ADDRESS, BLOCK],
        result: "bytes",
        work: Work::Read,
        run: account::code,
    },
    Method {
        name: "eth_getStorageAt",
        about: "One storage slot of a contract.",
        params: &[ADDRESS, Param::required("slot", "storage key of at most 32 bytes"), BLOCK],
        result: "32 bytes",
        work: Work::Read,
        run: account::storage_at,
    },
    Method {
        name: "eth_getBlockByNumber",
        about: "A block by height or tag.",
        params: &[NUMBER, FULL],
        result: "block or null",
        work: Work::Read,
        run: block::by_number,
    },
    Method {
        name: "eth_getBlockByHash",
        about: "A block by hash.",
        params: &[HASH, FULL],
        result: "block or null",
        work: Work::Read,
        run: block::by_hash,
    },
    Method {
        name: "eth_getBlockTransactionCountByNumber",
        about: "How many transactions a block has.",
        params: &[NUMBER],
        result: "quantity or null",
        work: Work::Read,
        run: block::transaction_count_by_number,
    },
    Method {
        name: "eth_getBlockTransactionCountByHash",
        about: "How many transactions a block has.",
        params: &[HASH],
        result: "quantity or null",
        work: Work::Read,
        run: block::transaction_count_by_hash,
    },
    Method {
        name: "eth_getBlockReceipts",
        about: "All receipts of a block.",
        params: &[BLOCK_REQUIRED],
        result: "array of receipts or null",
        work: Work::Read,
        run: block::receipts,
    },
];

fn chain_id(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&U64::from(service.context.spec.chain_id))
}

fn syncing(_: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&false)
}

fn accounts(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&service.context.dev.as_ref().map(|dev| dev.accounts()).unwrap_or_default())
}

fn block_number(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&U64::from(service.chain().head()))
}
