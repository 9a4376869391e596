//! `ots_*`: what the explorer Otterscan asks of a node beside Ethereum's own methods.
//!
//! # Design
//! There is no index of addresses: the searches read a bounded number of blocks, newest or oldest first, and say in
//! their error where they stopped. They find a transaction by its sender, its recipient, the contract that it creates
//! and the addresses of its logs; calls inside of transactions are not searched.

use super::{
    Method,
    eth::BLOCK,
    tracing::{find, refused, traced},
};
use crate::{
    chain::{Executed, Replayable},
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{BlockId, BlockNumber, Count, Param, Params},
    render::{self, Detail, RpcReceipt, RpcTransaction},
    service::Service,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256};
use alloy_rpc_types_eth::BlockTransactions;
use alloy_rpc_types_trace::{
    geth::{CallConfig, CallFrame, GethDebugTracingOptions, GethTrace},
    otterscan::{
        BlockDetails, ContractCreator, InternalIssuance, InternalOperation, OperationType, OtsBlock,
        OtsBlockTransactions, OtsReceipt, OtsTransactionReceipt, TraceEntry, TransactionsWithReceipts,
    },
};
use keystead_execution::{TraceLimits, internal_operations, trace_transactions};
use keystead_state::Snapshot;
use keystead_types::StateView as _;

/// Version of Otterscan's methods that this is.
const API_LEVEL: u32 = 8;
/// Transactions on a page: Otterscan asks for 25. A block is never cut, so an answer can hold a block more.
const PAGE_MAX: usize = 1_000;

const HASH: Param = Param::required("transactionHash", "hash");
const ADDRESS: Param = Param::required("address", "address");
const FROM: Param = Param::required("block", "number or quantity; 0 for the newest end (before) or the oldest (after)");
const PAGE_SIZE: Param = Param::required("pageSize", "number or quantity");

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "ots_getApiLevel",
        about: "The version of these methods.",
        params: &[],
        result: "number",
        work: Work::Instant,
        run: api_level,
    },
    Method {
        name: "ots_hasCode",
        about: "Whether an account is a contract.",
        params: &[ADDRESS, BLOCK],
        result: "true or false",
        work: Work::Read,
        run: has_code,
    },
    Method {
        name: "ots_getInternalOperations",
        about: "Value sent on, contracts created and destroyed inside a transaction of a block.",
        params: &[HASH],
        result: "array of objects: type, from, to, value; or null",
        work: Work::Compute,
        run: operations,
    },
    Method {
        name: "ots_getTransactionError",
        about: "What a transaction of a block returned when it failed.",
        params: &[HASH],
        result: "bytes, empty if it succeeded; or null",
        work: Work::Compute,
        run: transaction_error,
    },
    Method {
        name: "ots_traceTransaction",
        about: "The calls inside a transaction of a block.",
        params: &[HASH],
        result: "array of objects: type, depth, from, to, value, input, output; or null",
        work: Work::Compute,
        run: trace_transaction,
    },
    Method {
        name: "ots_getBlockDetails",
        about: "A block without its transactions, and the fees they paid.",
        params: &[Param::required("block", "tag or number")],
        result: "object: block, issuance, totalFees; or null",
        work: Work::Read,
        run: block_details,
    },
    Method {
        name: "ots_getBlockDetailsByHash",
        about: "A block without its transactions, and the fees they paid.",
        params: &[Param::required("blockHash", "hash")],
        result: "object: block, issuance, totalFees; or null",
        work: Work::Read,
        run: block_details_by_hash,
    },
    Method {
        name: "ots_getBlockTransactions",
        about: "A page of a block's transactions and receipts.",
        params: &[
            Param::required("block", "tag or number"),
            Param::required("page", "number or quantity, from 0"),
            PAGE_SIZE,
        ],
        result: "object: fullblock, receipts; or null",
        work: Work::Read,
        run: block_transactions,
    },
    Method {
        name: "ots_searchTransactionsBefore",
        about: "Transactions that name an address, in blocks below a height, newest first; a bounded search.",
        params: &[ADDRESS, FROM, PAGE_SIZE],
        result: "object: txs, receipts, firstPage, lastPage",
        work: Work::Compute,
        run: search_before,
    },
    Method {
        name: "ots_searchTransactionsAfter",
        about: "Transactions that name an address, in blocks above a height, newest first; a bounded search.",
        params: &[ADDRESS, FROM, PAGE_SIZE],
        result: "object: txs, receipts, firstPage, lastPage",
        work: Work::Compute,
        run: search_after,
    },
    Method {
        name: "ots_getTransactionBySenderAndNonce",
        about: "Which transaction a sender's nonce went to; a bounded search from the head.",
        params: &[ADDRESS, Param::required("nonce", "number or quantity")],
        result: "hash or null",
        work: Work::Compute,
        run: by_sender_and_nonce,
    },
    Method {
        name: "ots_getContractCreator",
        about: "Which transaction created a contract, and who; a bounded search from the head.",
        params: &[ADDRESS],
        result: "object: hash, creator; or null",
        work: Work::Compute,
        run: contract_creator,
    },
];

fn api_level(_: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&API_LEVEL)
}

fn has_code(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let state = service.chain().state(params.find(1)?.unwrap_or(BlockId::Latest))?;
    Json::of(&state.account(&address)?.is_some_and(|account| account.code_hash != KECCAK256_EMPTY))
}

fn operations(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Some((block, index)) = find(service, &params.get(0)?)? else { return Json::of(&()) };
    traced(service, params, |limits| {
        let which = index..index.saturating_add(1);
        let lists = internal_operations(&block.block(&service.context.spec), which, limits).map_err(refused)?;
        Ok(lists.into_iter().flatten().collect::<Vec<_>>())
    })
}

/// The call tree of a transaction; `None` if no block has it.
fn with_frame<T: serde::Serialize>(
    service: &Service,
    params: &Params,
    config: CallConfig,
    job: impl FnOnce(CallFrame) -> T + Send,
) -> Result<Json, RpcError> {
    let Some((block, index)) = find(service, &params.get(0)?)? else { return Json::of(&()) };
    let options = GethDebugTracingOptions::call_tracer(config);
    traced(service, params, |limits| {
        let which = index..index.saturating_add(1);
        let traces =
            trace_transactions(&block.block(&service.context.spec), which, &options, limits).map_err(refused)?;
        match traces.into_iter().next() {
            Some(GethTrace::CallTracer(frame)) => Ok(job(frame)),
            _ => Err(RpcError::internal(&"a transaction gave no call tree")),
        }
    })
}

fn transaction_error(service: &Service, params: &Params) -> Result<Json, RpcError> {
    with_frame(service, params, CallConfig::default().only_top_call(), |frame| match frame.error {
        Some(_) => frame.output.unwrap_or_default(),
        None => Bytes::new(),
    })
}

fn trace_transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    with_frame(service, params, CallConfig::default(), |frame| {
        let mut entries = Vec::new();
        let mut open = vec![(0u32, frame)];
        while let Some((depth, frame)) = open.pop() {
            let inner = depth.saturating_add(1);
            open.extend(frame.calls.into_iter().rev().map(|call| (inner, call)));
            entries.push(TraceEntry {
                r#type: frame.typ,
                depth,
                from: frame.from,
                to: frame.to.unwrap_or_default(),
                value: frame.value,
                input: frame.input,
                output: frame.output.unwrap_or_default(),
            });
        }
        entries
    })
}

fn block_details(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let BlockNumber(id) = params.get(0)?;
    details(service, id)
}

fn block_details_by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    details(service, BlockId::Hash(params.get(0)?))
}

fn details(service: &Service, id: BlockId) -> Result<Json, RpcError> {
    let Some(executed) = service.chain().executed(id)? else { return Json::of(&()) };
    let receipts = receipts(&executed)?;
    let fees = receipts.iter().fold(U256::ZERO, |sum, receipt| {
        sum.saturating_add(U256::from(receipt.gas_used).saturating_mul(U256::from(receipt.effective_gas_price)))
    });
    let (block, senders) = (&executed.block, &executed.senders);
    let rendered = render::stored_block(block, senders, Detail::Hashes);
    // Nothing is issued: the supply of the genesis file is all there is.
    Json::of(&BlockDetails::new(rendered, InternalIssuance::default(), fees))
}

fn receipts(executed: &Executed) -> Result<Vec<RpcReceipt>, RpcError> {
    render::receipts(executed).ok_or_else(|| RpcError::internal(&"a block has more receipts than transactions"))
}

/// A receipt as Otterscan takes it: without logs.
fn slim(receipt: RpcReceipt, timestamp: u64) -> OtsTransactionReceipt {
    let receipt = receipt.map_inner(|inner| OtsReceipt {
        status: inner.status(),
        cumulative_gas_used: inner.cumulative_gas_used(),
        logs: None,
        logs_bloom: None,
        r#type: inner.tx_type() as u8,
    });
    OtsTransactionReceipt { receipt, timestamp: Some(timestamp) }
}

/// The size of a page, within its bound.
fn page_size(params: &Params, index: usize) -> Result<usize, RpcError> {
    let Count(size) = params.get(index)?;
    match usize::try_from(size) {
        Ok(size @ 1..=PAGE_MAX) => Ok(size),
        _ => Err(params.wrong(index, &format!("expected a number from 1 to {PAGE_MAX}, got {size}"))),
    }
}

fn block_transactions(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (BlockNumber(id), Count(page), size) = (params.get(0)?, params.get(1)?, page_size(params, 2)?);
    let Some(executed) = service.chain().executed(id)? else { return Json::of(&()) };
    let (block, senders) = (&executed.block, &executed.senders);
    let mut rendered = render::stored_block(block, senders, Detail::Full);
    let transaction_count = block.transactions().len();
    let first = usize::try_from(page).unwrap_or(usize::MAX).saturating_mul(size);
    if let BlockTransactions::Full(all) = rendered.transactions {
        rendered.transactions = BlockTransactions::Full(all.into_iter().skip(first).take(size).collect());
    }
    let timestamp = block.header().timestamp;
    let receipts = receipts(&executed)?.into_iter().skip(first).take(size).map(|receipt| slim(receipt, timestamp));
    let fullblock = OtsBlock { block: rendered, transaction_count };
    Json::within(&OtsBlockTransactions { fullblock, receipts: receipts.collect() }, service.limits.response_bytes_max)
}

/// Pairs of transaction and receipt of a block that name an address, oldest first.
fn naming(executed: &Executed, address: &Address) -> Result<Vec<(RpcTransaction, OtsTransactionReceipt)>, RpcError> {
    let (header, hash) = (executed.block.header(), executed.block.hash());
    let mut found = Vec::new();
    for (index, receipt) in receipts(executed)?.into_iter().enumerate() {
        let named = receipt.from == *address
            || receipt.to == Some(*address)
            || receipt.contract_address == Some(*address)
            || receipt.inner.logs().iter().any(|log| log.address() == *address);
        if !named {
            continue;
        }
        let transaction = executed.transaction(index);
        let transaction =
            transaction.ok_or_else(|| RpcError::internal(&"a block has more receipts than transactions"))?;
        found.push((render::transaction(transaction, header, hash, index), slim(receipt, header.timestamp)));
    }
    Ok(found)
}

/// Reads blocks in the given order until `job` says that it is done. False if `heights` ended before.
///
/// Errors: those of the job; a limit error once too many blocks were read; timeout.
fn scan(
    service: &Service,
    params: &Params,
    heights: impl Iterator<Item = u64>,
    mut job: impl FnMut(&Executed) -> Result<bool, RpcError>,
) -> Result<bool, RpcError> {
    let max = service.limits.search_blocks_max;
    for (read, number) in (0u64..).zip(heights) {
        if read == max {
            return Err(RpcError::limit(format!(
                "this node has no index of addresses and searches {max} blocks at most: go on from block {number}"
            )));
        }
        if params.late() {
            return Err(RpcError::timeout());
        }
        // The header says without the body whether there is anything to read.
        if service.chain().header(number)?.gas_used == 0 {
            continue;
        }
        let Some(executed) = service.chain().executed(BlockId::Number(number))? else { continue };
        if job(&executed)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn search_before(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (address, Count(from), size): (Address, _, _) = (params.get(0)?, params.get(1)?, page_size(params, 2)?);
    let head = service.chain().head();
    let newest = if from == 0 { Some(head) } else { from.checked_sub(1).map(|newest| newest.min(head)) };
    let mut pairs = Vec::new();
    let heights = newest.into_iter().flat_map(|newest| (0..=newest).rev());
    let full = search(service, params, heights, &address, size, &mut pairs, |pairs, block| {
        pairs.extend(block.into_iter().rev());
    })?;
    page(service, pairs, from == 0, !full)
}

fn search_after(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (address, Count(from), size): (Address, _, _) = (params.get(0)?, params.get(1)?, page_size(params, 2)?);
    let oldest = if from == 0 { 0 } else { from.saturating_add(1) };
    let mut pairs = Vec::new();
    let heights = oldest..=service.chain().head();
    let full = search(service, params, heights, &address, size, &mut pairs, |pairs, block| pairs.extend(block))?;
    // Otterscan shows the newest first, whichever way it came.
    pairs.reverse();
    page(service, pairs, !full, from == 0)
}

type Pairs = Vec<(RpcTransaction, OtsTransactionReceipt)>;

/// Fills a page; true if it is full. A search that has found something gives that instead of a limit error.
fn search(
    service: &Service,
    params: &Params,
    heights: impl Iterator<Item = u64>,
    address: &Address,
    size: usize,
    pairs: &mut Pairs,
    mut add: impl FnMut(&mut Pairs, Pairs),
) -> Result<bool, RpcError> {
    let outcome = scan(service, params, heights, |executed| {
        add(pairs, naming(executed, address)?);
        Ok(pairs.len() >= size)
    });
    match outcome {
        Err(error) if error.code == crate::error::Code::LimitExceeded && !pairs.is_empty() => Ok(true),
        other => other,
    }
}

fn page(service: &Service, pairs: Pairs, first_page: bool, last_page: bool) -> Result<Json, RpcError> {
    let (txs, receipts) = pairs.into_iter().unzip();
    let page = TransactionsWithReceipts { txs, receipts, first_page, last_page };
    Json::within(&page, service.limits.response_bytes_max)
}

fn by_sender_and_nonce(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (sender, Count(nonce)): (Address, _) = (params.get(0)?, params.get(1)?);
    let next = service.chain().state(BlockId::Latest)?.account(&sender)?.unwrap_or_default().nonce;
    if nonce >= next {
        return Json::of(&());
    }
    let mut found = None;
    scan(service, params, (0..=service.chain().head()).rev(), |executed| {
        let mut passed = false;
        for (transaction, from) in executed.block.transactions().iter().zip(&*executed.senders) {
            if *from != sender {
                continue;
            }
            // Nonces fall on the way back: below the wanted one nothing can follow.
            passed |= transaction.nonce() < nonce;
            if transaction.nonce() == nonce {
                found = Some(*transaction.tx_hash());
            }
        }
        Ok(passed || found.is_some())
    })?;
    Json::of(&found)
}

fn contract_creator(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    if !is_contract(&service.context.store.latest(), &address)? {
        return Json::of(&());
    }
    if let Some(number) = birth(service, &address)?
        && let Some(block) = service.chain().replayable(BlockId::Number(number))?
    {
        return traced(service, params, |limits| creator_in(service, &block, &address, limits));
    }
    let mut found = None;
    scan(service, params, (0..=service.chain().head()).rev(), |executed| {
        for (transaction, from) in executed.block.transactions().iter().zip(&*executed.senders) {
            if transaction.to().is_none() && from.create(transaction.nonce()) == address {
                found = Some(ContractCreator { hash: *transaction.tx_hash(), creator: *from });
            }
        }
        Ok(found.is_some())
    })?;
    Json::of(&found)
}

fn is_contract(state: &Snapshot, address: &Address) -> Result<bool, RpcError> {
    Ok(state.account(address)?.is_some_and(|account| account.code_hash != KECCAK256_EMPTY))
}

/// The block that gave an account its code, if the node still has the state before it: states then say so, whoever
/// created the contract. Code comes once and stays, so halving finds it; where it came and went (a delegation), it
/// finds one of the times.
fn birth(service: &Service, address: &Address) -> Result<Option<u64>, RpcError> {
    let store = &service.context.store;
    let (mut without, mut with) = (store.oldest_state(), service.chain().head());
    // The window moves while this reads: a state that is gone by now gives no answer.
    let coded = |number| match store.at(number)? {
        Some(state) => is_contract(&state, address).map(Some),
        None => Ok(None),
    };
    if coded(without)? != Some(false) {
        return Ok(None);
    }
    while without.saturating_add(1) < with {
        let middle = without.midpoint(with);
        match coded(middle)? {
            Some(true) => with = middle,
            Some(false) => without = middle,
            None => return Ok(None),
        }
    }
    Ok((without < with).then_some(with))
}

/// Which transaction of a block created a contract, as its outermost call or inside of it.
fn creator_in(
    service: &Service,
    block: &Replayable,
    address: &Address,
    limits: &TraceLimits<'_>,
) -> Result<Option<ContractCreator>, RpcError> {
    let count = block.transactions.len();
    let lists = internal_operations(&block.block(&service.context.spec), 0..count, limits).map_err(refused)?;
    for (transaction, operations) in block.transactions.iter().zip(lists) {
        let (hash, sender) = (*transaction.tx_hash(), transaction.signer());
        if transaction.to().is_none() && sender.create(transaction.nonce()) == *address {
            return Ok(Some(ContractCreator { hash, creator: sender }));
        }
        let created = |operation: &&InternalOperation| {
            operation.to == *address && matches!(operation.r#type, OperationType::OpCreate | OperationType::OpCreate2)
        };
        // The last try is the one that held: an earlier one at the same address was undone.
        if let Some(operation) = operations.iter().rfind(created) {
            return Ok(Some(ContractCreator { hash, creator: operation.from }));
        }
    }
    Ok(None)
}
