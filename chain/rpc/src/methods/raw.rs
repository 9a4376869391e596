//! `debug_getRaw*`: blocks, headers, receipts and transactions in Ethereum's own bytes.

use super::Method;
use crate::{
    chain::Executed,
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{BlockId, Param, Params},
    service::Service,
};
use alloy_consensus::{Block as StockBlock, BlockBody};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{B256, Bytes};
use keystead_types::Transaction;

const BLOCK: Param = Param::required("block", "tag, number, hash or EIP-1898 object");
const HASH: Param = Param::required("transactionHash", "hash");

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "debug_getRawBlock",
        about: "A block in Ethereum's encoding: header, transactions, no uncles, withdrawals.",
        params: &[BLOCK],
        result: "bytes (RLP)",
        work: Work::Read,
        run: block,
    },
    Method {
        name: "debug_getRawHeader",
        about: "A header in Ethereum's encoding: its keccak256 is the block's hash.",
        params: &[BLOCK],
        result: "bytes (RLP)",
        work: Work::Read,
        run: header,
    },
    Method {
        name: "debug_getRawReceipts",
        about: "The receipts of a block as its receiptsRoot commits to them.",
        params: &[BLOCK],
        result: "array of bytes (EIP-2718)",
        work: Work::Read,
        run: receipts,
    },
    Method {
        name: "debug_getRawTransaction",
        about: "A transaction as it was signed, from a block or from the pool.",
        params: &[HASH],
        result: "bytes (EIP-2718) or null",
        work: Work::Read,
        run: transaction,
    },
    Method {
        name: "eth_getRawTransactionByHash",
        about: "The same as debug_getRawTransaction.",
        params: &[HASH],
        result: "bytes (EIP-2718) or null",
        work: Work::Read,
        run: transaction,
    },
];

fn executed(service: &Service, params: &Params) -> Result<Executed, RpcError> {
    let id: BlockId = params.get(0)?;
    service.chain().executed(id)?.ok_or_else(|| RpcError::server("block not found"))
}

fn block(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Executed { block, .. } = executed(service, params)?;
    let header = block.header().clone();
    // A block of a foreign chain has more than transactions.
    let (ommers, withdrawals) = match block.ethereum_body() {
        Some(body) => (body.ommers.clone(), body.withdrawals.clone()),
        None => (Vec::new(), header.withdrawals_root.map(|_| Default::default())),
    };
    let body = BlockBody::<Transaction> { transactions: block.transactions().to_vec(), ommers, withdrawals };
    Json::of(&Bytes::from(alloy_rlp::encode(StockBlock { header, body })))
}

fn header(service: &Service, params: &Params) -> Result<Json, RpcError> {
    Json::of(&Bytes::from(alloy_rlp::encode(executed(service, params)?.block.header())))
}

fn receipts(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let executed = executed(service, params)?;
    let encoded: Vec<Bytes> = executed.receipts.iter().map(|receipt| receipt.encoded_2718().into()).collect();
    Json::of(&encoded)
}

fn transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let hash: B256 = params.get(0)?;
    // The pool first: a transaction is in its block before it leaves the pool.
    let waiting = service.pool().get(&hash);
    let encoded = match waiting {
        Some(waiting) => Some(waiting.encoded_2718()),
        None => service
            .chain()
            .find_transaction(&hash)?
            .and_then(|(executed, index)| executed.block.transactions().get(index).map(Transaction::encoded_2718)),
    };
    Json::of(&encoded.map(Bytes::from))
}
