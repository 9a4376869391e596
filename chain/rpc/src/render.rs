//! Blocks, transactions, receipts and logs in the JSON shapes of Ethereum's JSON-RPC, as geth writes them.
//!
//! # Design
//! The shapes are alloy's RPC types, so that alloy-based tools read back exactly what was written. Functions take
//! headers and transactions rather than [`keystead_types::Block`], so that foreign chains can be rendered too.

use crate::{chain::Executed, error::RpcError};
use alloy_consensus::{BlockBody, Header, Transaction as _, transaction::TransactionInfo};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::{Encodable as _, Header as RlpHeader};
use alloy_rpc_types_eth as eth;
use eth::BlockTransactions;
use keystead_types::{Block, ChainSpec, Receipt, Recovered, Transaction};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// A transaction as JSON-RPC shows it.
pub(crate) type RpcTransaction = eth::Transaction<Transaction>;
/// A block as JSON-RPC shows it.
pub(crate) type RpcBlock = eth::Block<RpcTransaction>;
/// A receipt as JSON-RPC shows it.
pub(crate) type RpcReceipt = eth::TransactionReceipt<alloy_consensus::ReceiptEnvelope<eth::Log>>;

/// How a block shows its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Only their hashes.
    Hashes,
    /// In full.
    Full,
}

/// A transaction that waits in the pool: what its block will say is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    #[serde(flatten)]
    transaction: RpcTransaction,
    /// alloy's type leaves it out rather than null, as it is for geth.
    block_timestamp: (),
}

/// A transaction that waits in the pool.
pub(crate) fn pending(transaction: Recovered) -> Waiting {
    let transaction = RpcTransaction::from_transaction(transaction, TransactionInfo::default());
    Waiting { transaction, block_timestamp: () }
}

/// A transaction of a block.
pub(crate) fn transaction(transaction: Recovered, header: &Header, hash: B256, index: usize) -> RpcTransaction {
    let info = TransactionInfo {
        hash: None,
        index: Some(index as u64),
        block_hash: Some(hash),
        block_number: Some(header.number),
        base_fee: header.base_fee_per_gas,
        block_timestamp: Some(header.timestamp),
    };
    RpcTransaction::from_transaction(transaction, info)
}

/// A block. `senders` are those of its transactions, in order; they are only read in full detail.
pub(crate) fn block(
    header: &Header,
    hash: B256,
    transactions: &[Transaction],
    senders: &[Address],
    detail: Detail,
) -> RpcBlock {
    let shown = match detail {
        Detail::Hashes => BlockTransactions::Hashes(transactions.iter().map(|it| *it.tx_hash()).collect()),
        Detail::Full => {
            let pairs = transactions.iter().zip(senders).enumerate();
            let full = pairs.map(|(index, (it, sender))| {
                transaction(Recovered::new_unchecked(it.clone(), *sender), header, hash, index)
            });
            BlockTransactions::Full(full.collect())
        }
    };
    let has_withdrawals = header.withdrawals_root.is_some();
    eth::Block {
        header: eth::Header {
            hash,
            inner: header.clone(),
            total_difficulty: None,
            size: Some(U256::from(size_bytes(header, transactions))),
        },
        uncles: Vec::new(),
        transactions: shown,
        withdrawals: has_withdrawals.then(Withdrawals::default),
    }
}

/// A block of the store. One of a foreign chain has ommers and withdrawals.
pub(crate) fn stored_block(block: &Block, senders: &[Address], detail: Detail) -> RpcBlock {
    let mut rendered = self::block(block.header(), block.hash(), block.transactions(), senders, detail);
    if let Some(body) = block.ethereum_body() {
        rendered.header.size = Some(U256::from(block.encode().len()));
        rendered.uncles = body.ommers.iter().map(Header::hash_slow).collect();
        rendered.withdrawals = body.withdrawals.clone();
    }
    rendered
}

/// The ommer of a block at `index`, if there is one: a block without a body.
pub(crate) fn ommer(block: &Block, index: usize) -> Option<RpcBlock> {
    let header = block.ethereum_body()?.ommers.get(index)?;
    let mut rendered = self::block(header, header.hash_slow(), &[], &[], Detail::Hashes);
    rendered.transactions = BlockTransactions::Uncle;
    Some(rendered)
}

/// The block that is being made. As in geth, what nobody knows yet is null: hash, nonce and beneficiary, and the places
/// of its transactions.
pub(crate) fn pending_block(
    header: &Header,
    transactions: &[Arc<Recovered>],
    detail: Detail,
) -> Result<Value, RpcError> {
    let listed: Vec<Transaction> = transactions.iter().map(|it| it.inner().clone()).collect();
    let block = block(header, B256::ZERO, &listed, &[], Detail::Hashes);
    let mut json = serde_json::to_value(block).map_err(|error| RpcError::internal(&error))?;
    if let Some(fields) = json.as_object_mut() {
        if detail == Detail::Full {
            let full: Vec<Waiting> = transactions.iter().map(|it| pending((**it).clone())).collect();
            let full = serde_json::to_value(full).map_err(|error| RpcError::internal(&error))?;
            fields.insert("transactions".to_owned(), full);
        }
        for unknown in ["hash", "nonce", "miner"] {
            fields.insert(unknown.to_owned(), Value::Null);
        }
    }
    Ok(json)
}

/// Length of the block in Ethereum's own encoding (header, transactions, uncles, withdrawals), as geth states it.
fn size_bytes(header: &Header, transactions: &[Transaction]) -> usize {
    let empty: BlockBody<Transaction> = BlockBody::default();
    let uncles = empty.ommers.length();
    let withdrawals = header.withdrawals_root.map_or(0, |_| Withdrawals::default().length());
    let listed: usize = transactions.iter().map(alloy_rlp::Encodable::length).fold(0, usize::saturating_add);
    let transactions = RlpHeader { list: true, payload_length: listed }.length_with_payload();
    let parts = [header.length(), transactions, uncles, withdrawals];
    let payload_length = parts.into_iter().fold(0, usize::saturating_add);
    RlpHeader { list: true, payload_length }.length_with_payload()
}

/// The receipt of the transaction at `index`; `None` if the block has no such transaction.
///
/// Cost: counts the logs of the receipts before it.
pub(crate) fn receipt(executed: &Executed, index: usize) -> Option<RpcReceipt> {
    let before = executed.receipts.get(..index)?;
    let first_log = before.iter().map(|receipt| receipt.logs().len()).fold(0, usize::saturating_add);
    let gas_before = before.last().map_or(0, Receipt::cumulative_gas_used);
    receipt_at(executed, index, first_log, gas_before)
}

/// All receipts of a block.
pub(crate) fn receipts(executed: &Executed) -> Option<Vec<RpcReceipt>> {
    let (mut first_log, mut gas_before) = (0usize, 0u64);
    let mut rendered = Vec::with_capacity(executed.receipts.len());
    for (index, receipt) in executed.receipts.iter().enumerate() {
        rendered.push(receipt_at(executed, index, first_log, gas_before)?);
        first_log = first_log.saturating_add(receipt.logs().len());
        gas_before = receipt.cumulative_gas_used();
    }
    Some(rendered)
}

/// Adds what a blob transaction paid per gas of its blobs; only the chain's rules know it.
pub(crate) fn price_blobs(receipt: &mut RpcReceipt, spec: &ChainSpec, header: &Header) {
    if receipt.blob_gas_used.is_some() {
        receipt.blob_gas_price = spec.blob_price(header);
    }
}

fn receipt_at(executed: &Executed, index: usize, first_log: usize, gas_before: u64) -> Option<RpcReceipt> {
    let receipt = executed.receipts.get(index)?;
    let transaction = executed.block.transactions().get(index)?;
    let from = *executed.senders.get(index)?;
    let header = executed.block.header();
    let place = LogPlace {
        block_hash: executed.block.hash(),
        block_number: header.number,
        block_timestamp: header.timestamp,
        transaction_hash: *transaction.tx_hash(),
        transaction_index: index as u64,
    };
    let inner = receipt.clone().map_logs({
        let mut next = first_log;
        move |log| {
            let rendered = place.log(log, next);
            next = next.saturating_add(1);
            rendered
        }
    });
    let price = transaction.effective_gas_price(header.base_fee_per_gas);
    Some(eth::TransactionReceipt {
        inner,
        transaction_hash: place.transaction_hash,
        transaction_index: Some(place.transaction_index),
        block_hash: Some(place.block_hash),
        block_number: Some(place.block_number),
        gas_used: receipt.cumulative_gas_used().saturating_sub(gas_before),
        effective_gas_price: price,
        blob_gas_used: transaction.blob_gas_used(),
        blob_gas_price: None,
        from,
        to: transaction.to(),
        contract_address: transaction.to().is_none().then(|| from.create(transaction.nonce())),
    })
}

/// Where a log stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPlace {
    /// Hash of the block.
    pub(crate) block_hash: B256,
    /// Height of the block.
    pub(crate) block_number: u64,
    /// Time of the block in seconds.
    pub(crate) block_timestamp: u64,
    /// Hash of the transaction.
    pub(crate) transaction_hash: B256,
    /// Index of the transaction in the block.
    pub(crate) transaction_index: u64,
}

impl LogPlace {
    /// A log at this place; `index` counts all logs of the block.
    pub(crate) const fn log(&self, log: alloy_primitives::Log, index: usize) -> eth::Log {
        eth::Log {
            inner: log,
            block_hash: Some(self.block_hash),
            block_number: Some(self.block_number),
            block_timestamp: Some(self.block_timestamp),
            transaction_hash: Some(self.transaction_hash),
            transaction_index: Some(self.transaction_index),
            log_index: Some(index as u64),
            removed: false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise and report skips")]
    use super::*;
    use alloy_consensus::transaction::SignerRecoverable as _;
    use alloy_rlp::Decodable as _;
    use std::{
        collections::HashMap,
        path::{Path, PathBuf},
        process::Command,
    };

    pub(crate) type ForeignBlock = alloy_consensus::Block<Transaction>;

    /// Unpacks the outside vectors of the official JSON-RPC suite; `None`, said on standard error, if they are not here.
    pub(crate) fn vectors(into: &Path) -> Option<PathBuf> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
        let folder = std::env::var_os("KEYSTEAD_VECTORS").map_or_else(default, PathBuf::from);
        let archive = folder.join("evm/rpc-compat.tar.zst");
        if !archive.exists() {
            eprintln!("skipped: the vectors evm/rpc-compat.tar.zst (set KEYSTEAD_VECTORS)");
            return None;
        }
        let program = "--use-compress-program=zstd -d --long=27";
        let status = Command::new("tar").arg(program).arg("-xf").arg(&archive).arg("-C").arg(into).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("skipped: the programs tar and zstd");
            return None;
        }
        Some(into.join("rpc-compat"))
    }

    /// The chain of the vectors, by number, with senders.
    pub(crate) fn import(folder: &Path) -> HashMap<u64, (ForeignBlock, Vec<Address>)> {
        let bytes = std::fs::read(folder.join("chain.rlp")).unwrap();
        let mut rest = bytes.as_slice();
        let mut chain = HashMap::new();
        while !rest.is_empty() {
            let block = ForeignBlock::decode(&mut rest).unwrap();
            let senders = block.body.transactions.iter().map(|it| it.recover_signer().unwrap()).collect();
            chain.insert(block.header.number, (block, senders));
        }
        chain
    }

    /// Requests and answers of a method's cases.
    fn cases(folder: &Path, method: &str) -> Vec<(Vec<Value>, Value)> {
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(folder.join(method)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
            let request: Value = serde_json::from_str(&line(">> ")).unwrap();
            let answer: Value = serde_json::from_str(&line("<< ")).unwrap();
            let params = request.get("params").unwrap().as_array().unwrap().clone();
            cases.push((params, answer.get("result").unwrap().clone()));
        }
        cases
    }

    pub(crate) fn json(value: &impl serde::Serialize) -> Value {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    #[test]
    fn foreign_blocks_are_rendered_as_the_official_suite_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let Some(folder) = vectors(dir.path()) else { return };
        let chain = import(&folder);
        let last = *chain.keys().max().unwrap();
        let mut compared = 0;
        for method in ["eth_getBlockByNumber", "eth_getBlockByHash"] {
            for (params, want) in cases(&folder, method) {
                let name = params.first().unwrap().as_str().unwrap();
                let number = match name {
                    "latest" | "safe" | "finalized" => Some(last),
                    _ if name.len() < 66 => u64::from_str_radix(name.trim_start_matches("0x"), 16).ok(),
                    _ => chain
                        .iter()
                        .find(|(_, (block, _))| block.header.hash_slow().to_string() == name)
                        .map(|it| *it.0),
                };
                let Some((foreign, senders)) = number.and_then(|number| chain.get(&number)) else { continue };
                let full = params.get(1).unwrap().as_bool().unwrap();
                let detail = if full { Detail::Full } else { Detail::Hashes };
                let header = &foreign.header;
                let rendered = block(header, header.hash_slow(), &foreign.body.transactions, senders, detail);
                assert_eq!(json(&rendered), want, "{method} {params:?}");
                compared += 1;
            }
        }
        assert!(compared >= 5, "compared only {compared}");
    }

    #[test]
    fn foreign_transactions_are_rendered_as_the_official_suite_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let Some(folder) = vectors(dir.path()) else { return };
        let chain = import(&folder);
        let mut kinds = std::collections::BTreeSet::new();
        for (params, want) in cases(&folder, "eth_getTransactionByHash") {
            let hash = params.first().unwrap().as_str().unwrap();
            let mut rendered = None;
            for (foreign, senders) in chain.values() {
                for (index, (it, sender)) in foreign.body.transactions.iter().zip(senders).enumerate() {
                    if it.tx_hash().to_string() == hash {
                        let recovered = Recovered::new_unchecked(it.clone(), *sender);
                        let header = &foreign.header;
                        rendered = Some(transaction(recovered, header, header.hash_slow(), index));
                    }
                }
            }
            assert_eq!(json(&rendered), want, "{params:?}");
            kinds.insert(want.get("type").map(Value::to_string));
        }
        assert!(kinds.len() >= 4, "compared only the types {kinds:?}");
    }
}
