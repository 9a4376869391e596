//! `trace_*`: the traces that OpenEthereum introduced and explorers read.

use super::{
    Method,
    eth::{BLOCK, BLOCK_OVERRIDES, CALL, CallObject, STATE_OVERRIDES, request},
    tracing::{After, find, refused, traced},
};
use crate::{
    chain::Replayable,
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{BlockId, BlockNumber, FromJson, Param, Params, member, show},
    service::Service,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes, map::HashSet};
use alloy_rpc_types_trace::{
    filter::{TraceFilter, TraceFilterMode},
    parity::{Action, LocalizedTransactionTrace, TraceResultsWithTransactionHash, TraceType},
};
use keystead_execution::{
    CallPrice, CallRequest, Overrides, ParityCall, TraceLimits, parity_call, parity_results, parity_traces,
};
use keystead_types::{Recovered, decode_transaction, recover};
use serde_json::Value;
use std::ops::RangeInclusive;

const HASH: Param = Param::required("transactionHash", "hash");
const TYPES: Param = Param::required("traceTypes", "array of trace, vmTrace, stateDiff");
const RESULTS: &str = "object: output, trace, vmTrace, stateDiff";

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "trace_transaction",
        about: "The calls inside a transaction of a block.",
        params: &[HASH],
        result: "array of traces or null",
        work: Work::Compute,
        run: transaction,
    },
    Method {
        name: "trace_get",
        about: "One call inside a transaction of a block, by its trace address.",
        params: &[HASH, Param::required("indices", "array of quantities: the trace address")],
        result: "trace or null",
        work: Work::Compute,
        run: get,
    },
    Method {
        name: "trace_block",
        about: "The calls inside all transactions of a block.",
        params: &[Param::required("block", "tag, number, hash or EIP-1898 object")],
        result: "array of traces or null",
        work: Work::Compute,
        run: block,
    },
    Method {
        name: "trace_filter",
        about: "The calls of a bounded range of blocks, by caller and callee.",
        params: &[Param::required(
            "filter",
            "object: fromBlock and toBlock (default latest), fromAddress and toAddress (arrays), mode (intersection or \
             union), after and count (numbers)",
        )],
        result: "array of traces",
        work: Work::Compute,
        run: filter,
    },
    Method {
        name: "trace_call",
        about: "Tries a call on a block's state and shows what happens inside.",
        params: &[CALL, TYPES, BLOCK, STATE_OVERRIDES, BLOCK_OVERRIDES],
        result: RESULTS,
        work: Work::Compute,
        run: call,
    },
    Method {
        name: "trace_callMany",
        about: "Tries calls one after another, each on the state that the one before it left.",
        params: &[Param::required("calls", "array of pairs: transaction object and trace types"), BLOCK],
        result: "array of objects: output, trace, vmTrace, stateDiff",
        work: Work::Compute,
        run: call_many,
    },
    Method {
        name: "trace_rawTransaction",
        about: "Shows what a signed transaction would do, without sending it.",
        params: &[Param::required("transaction", "bytes: the EIP-2718 encoding"), TYPES, BLOCK],
        result: RESULTS,
        work: Work::Compute,
        run: raw_transaction,
    },
    Method {
        name: "trace_replayTransaction",
        about: "Runs a transaction of a block again and shows what is asked about it.",
        params: &[HASH, TYPES],
        result: RESULTS,
        work: Work::Compute,
        run: replay_transaction,
    },
    Method {
        name: "trace_replayBlockTransactions",
        about: "Runs a block again and shows what is asked about each transaction.",
        params: &[Param::required("block", "tag, number, hash or EIP-1898 object"), TYPES],
        result: "array of objects: transactionHash, output, trace, vmTrace, stateDiff; or null",
        work: Work::Compute,
        run: replay_block,
    },
];

/// What is asked about a transaction.
struct Types(HashSet<TraceType>);

impl FromJson for Types {
    fn from_json(value: &Value) -> Result<Self, String> {
        let types = serde_json::from_value(value.clone());
        types.map(Self).map_err(|_| format!("expected an array of trace, vmTrace, stateDiff, got {}", show(value)))
    }
}

fn transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Some((block, index)) = find(service, &params.get(0)?)? else { return Json::of(&()) };
    traced(service, params, |limits| one(service, &block, index, limits))
}

fn get(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Vec<u64> = params.get(1)?;
    let Some((block, index)) = find(service, &params.get(0)?)? else { return Json::of(&()) };
    traced(service, params, |limits| {
        let traces = one(service, &block, index, limits)?;
        let same = |trace: &LocalizedTransactionTrace| {
            trace.trace.trace_address.iter().map(|index| *index as u64).eq(address.iter().copied())
        };
        Ok(traces.into_iter().find(same))
    })
}

/// The calls inside one transaction.
fn one(
    service: &Service,
    block: &Replayable,
    index: usize,
    limits: &TraceLimits<'_>,
) -> Result<Vec<LocalizedTransactionTrace>, RpcError> {
    let block = block.block(&service.context.spec);
    let lists = parity_traces(&block, index..index.saturating_add(1), limits).map_err(refused)?;
    Ok(lists.into_iter().flatten().collect())
}

/// All calls inside a block.
fn all(
    service: &Service,
    block: &Replayable,
    limits: &TraceLimits<'_>,
) -> Result<Vec<LocalizedTransactionTrace>, RpcError> {
    let count = block.transactions.len();
    let lists = parity_traces(&block.block(&service.context.spec), 0..count, limits).map_err(refused)?;
    Ok(lists.into_iter().flatten().collect())
}

fn block(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let id: BlockId = params.get(0)?;
    if service.chain().number(id)? == Some(0) {
        return Json::of(&[(); 0]);
    }
    let Some(block) = service.chain().replayable(id)? else { return Json::of(&()) };
    traced(service, params, |limits| all(service, &block, limits))
}

/// A filter of traces.
struct Query {
    from: BlockId,
    to: BlockId,
    filter: TraceFilter,
}

impl FromJson for Query {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected a filter object, got {}", show(value)));
        };
        let at =
            |name| Ok::<_, String>(member::<BlockNumber>(object, name)?.map_or(BlockId::Latest, |BlockNumber(id)| id));
        let mode = match object.get("mode").and_then(Value::as_str) {
            None | Some("intersection") => TraceFilterMode::Intersection,
            Some("union") => TraceFilterMode::Union,
            Some(_) => return Err("field \"mode\": expected intersection or union".to_owned()),
        };
        let number = |name| Ok::<_, String>(member::<crate::params::Count>(object, name)?.map(|count| count.0));
        let filter = TraceFilter {
            from_address: member::<Vec<Address>>(object, "fromAddress")?.unwrap_or_default(),
            to_address: member::<Vec<Address>>(object, "toAddress")?.unwrap_or_default(),
            mode,
            after: number("after")?,
            count: number("count")?,
            ..TraceFilter::default()
        };
        Ok(Self { from: at("fromBlock")?, to: at("toBlock")?, filter })
    }
}

fn filter(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let query: Query = params.get(0)?;
    let range = range(service, &query)?;
    let matcher = query.filter.matcher();
    let mut skip = query.filter.after.unwrap_or_default();
    let mut wanted = query.filter.count.unwrap_or(u64::MAX);
    traced(service, params, |limits| {
        let (mut found, mut held) = (Vec::new(), 0u64);
        for number in range {
            // Genesis has no transactions.
            let Some(block) = (number > 0).then(|| service.chain().replayable(BlockId::Number(number))).transpose()?
            else {
                continue;
            };
            let Some(block) = block.filter(|block| !block.transactions.is_empty()) else { continue };
            let limits = TraceLimits { bytes_max: limits.bytes_max.saturating_sub(held), ..*limits };
            for trace in all(service, &block, &limits)? {
                if wanted == 0 {
                    return Ok(found);
                }
                if !matcher.matches(&trace.trace) {
                    continue;
                }
                if skip > 0 {
                    skip = skip.saturating_sub(1);
                    continue;
                }
                wanted = wanted.saturating_sub(1);
                held = held.saturating_add(size_bytes(&trace));
                found.push(trace);
            }
        }
        Ok(found)
    })
}

/// About what a trace takes in memory.
fn size_bytes(trace: &LocalizedTransactionTrace) -> u64 {
    let input = match &trace.trace.action {
        Action::Call(call) => call.input.len(),
        Action::Create(create) => create.init.len(),
        Action::Selfdestruct(_) | Action::Reward(_) => 0,
    };
    let output = trace.trace.result.as_ref().map_or(0, |result| result.output().len());
    let address = trace.trace.trace_address.len().saturating_mul(size_of::<usize>());
    let parts = [size_of::<LocalizedTransactionTrace>(), input, output, address];
    parts.into_iter().fold(0u64, |sum, part| sum.saturating_add(part as u64))
}

/// The heights to trace. They exist, and are not more than the limit.
fn range(service: &Service, query: &Query) -> Result<RangeInclusive<u64>, RpcError> {
    let (head, max) = (service.chain().head(), service.limits.trace_blocks_max);
    let height = |id| if let BlockId::Number(number) = id { number } else { head };
    let (from, to) = (height(query.from), height(query.to));
    if from > to || to > head {
        return Err(RpcError::invalid_params(format!(
            "invalid block range params: fromBlock {from}, toBlock {to}, head {head}"
        )));
    }
    let count = to.saturating_sub(from).saturating_add(1);
    if count > max {
        return Err(RpcError::limit(format!("block range too large: got {count} blocks, limit {max}")));
    }
    Ok(from..=to)
}

fn call(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let call = ParityCall { request: request(service, params, 0)?, types: params.get::<Types>(1)?.0 };
    let overrides = Overrides { state: params.shaped(3)?, block: params.shaped(4)? };
    single(service, params, call, &overrides)
}

/// The results of one call on the state that the third parameter names.
fn single(service: &Service, params: &Params, call: ParityCall, overrides: &Overrides) -> Result<Json, RpcError> {
    let after = After::find(service, params.find(2)?.unwrap_or(BlockId::Latest))?;
    let gas_max = service.limits.call_gas_max;
    traced(service, params, |limits| {
        let results = parity_call(&after.site(service), overrides, vec![call], gas_max, limits).map_err(refused)?;
        results.into_iter().next().ok_or_else(|| RpcError::internal(&"a call gave no trace"))
    })
}

/// A pair of `trace_callMany`.
struct Pair(CallObject, Types);

impl FromJson for Pair {
    fn from_json(value: &Value) -> Result<Self, String> {
        match value.as_array().map(Vec::as_slice) {
            Some([call, types]) => Ok(Self(CallObject::from_json(call)?, Types::from_json(types)?)),
            _ => Err(format!("expected a pair of transaction object and trace types, got {}", show(value))),
        }
    }
}

fn call_many(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (spec, max) = (&service.context.spec, service.limits.batch_requests_max);
    // Counted before they are read: what is read takes a hundred times its JSON.
    if let Some(got) = params.value(0).as_array().map(Vec::len).filter(|got| *got > max) {
        return Err(RpcError::limit(format!("too many calls: got {got}, limit {max}")));
    }
    let mut calls = Vec::new();
    for Pair(CallObject(call), Types(types)) in params.get::<Vec<Pair>>(0)? {
        let request = call.under(spec).map_err(|reason| params.wrong(0, &reason))?;
        calls.push(ParityCall { request, types });
    }
    let after = After::find(service, params.find(1)?.unwrap_or(BlockId::Latest))?;
    let gas_max = service.limits.call_gas_max;
    traced(service, params, |limits| {
        parity_call(&after.site(service), &Overrides::default(), calls, gas_max, limits).map_err(refused)
    })
}

fn raw_transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let bytes: Bytes = params.get(0)?;
    let types = params.get::<Types>(1)?.0;
    let transaction = decode_transaction(&bytes).map_err(|error| params.wrong(0, &error.to_string()))?;
    let transaction = recover(transaction).map_err(|error| params.wrong(0, &error.to_string()))?;
    let call = ParityCall { request: as_call(&transaction), types };
    single(service, params, call, &Overrides::default())
}

/// The call that a transaction is.
fn as_call(transaction: &Recovered) -> CallRequest {
    let max_fee = transaction.max_fee_per_gas();
    let price = match transaction.max_priority_fee_per_gas() {
        Some(max_priority_fee) => CallPrice::Dynamic { max_fee, max_priority_fee },
        None => CallPrice::Legacy { gas_price: max_fee },
    };
    CallRequest {
        from: transaction.signer(),
        to: transaction.to(),
        gas: Some(transaction.gas_limit()),
        price,
        value: transaction.value(),
        input: transaction.input().clone(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        authorizations: transaction.authorization_list().unwrap_or_default().to_vec(),
        // This node takes no raw transaction with blobs.
        ..CallRequest::default()
    }
}

fn replay_transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (hash, Types(types)): (B256, Types) = (params.get(0)?, params.get(1)?);
    let (block, index) = find(service, &hash)?.ok_or_else(|| RpcError::server("transaction not found"))?;
    traced(service, params, |limits| {
        let block = block.block(&service.context.spec);
        let results = parity_results(&block, index..index.saturating_add(1), &types, limits).map_err(refused)?;
        results.into_iter().next().ok_or_else(|| RpcError::internal(&"a transaction gave no trace"))
    })
}

fn replay_block(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (id, Types(types)): (BlockId, Types) = (params.get(0)?, params.get(1)?);
    if service.chain().number(id)? == Some(0) {
        return Json::of(&[(); 0]);
    }
    let Some(block) = service.chain().replayable(id)? else { return Json::of(&()) };
    traced(service, params, |limits| {
        let count = block.transactions.len();
        let results = parity_results(&block.block(&service.context.spec), 0..count, &types, limits).map_err(refused)?;
        let pairs = results.into_iter().zip(&block.transactions);
        let named = pairs.map(|(full_trace, transaction)| TraceResultsWithTransactionHash {
            full_trace,
            transaction_hash: *transaction.tx_hash(),
        });
        Ok(named.collect::<Vec<_>>())
    })
}
