//! `debug_trace*`: geth's tracers over committed transactions, over blocks that callers bring, and over calls.
//!
//! # Design
//! A block is run again on its parent's state, which the node has as far back as its history reaches; the error says for which blocks.

use super::{
    Method,
    eth::{CALL, numbered, request},
    tracing::{After, find, refused, traced},
};
use crate::{
    chain::Replayable,
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{BlockId, Param, Params},
    service::Service,
};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::Decodable as _;
use alloy_rpc_types_trace::{
    common::TraceResult,
    geth::{GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace},
};
use keystead_execution::{BlockEnv, CallSite, Error, Overrides, TraceError, trace_call, trace_transactions};
use keystead_types::{Block, Transaction, recover};

const OPTIONS: Param = Param::optional(
    "options",
    "object: tracer (callTracer, prestateTracer, 4byteTracer, flatCallTracer, muxTracer, noopTracer, ...; without it \
     every step is logged), tracerConfig, disableStack, disableStorage, enableMemory, enableReturnData, limit",
);
const RESULTS: &str = "array of objects with txHash and result";

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "debug_traceTransaction",
        about: "Runs a transaction of a block again and shows what happened inside.",
        params: &[Param::required("transactionHash", "hash"), OPTIONS],
        result: "what the tracer makes",
        work: Work::Compute,
        run: transaction,
    },
    Method {
        name: "debug_traceBlockByNumber",
        about: "Runs a block again and shows what happened inside of each transaction.",
        params: &[Param::required("block", "tag or number"), OPTIONS],
        result: RESULTS,
        work: Work::Compute,
        run: block_by_number,
    },
    Method {
        name: "debug_traceBlockByHash",
        about: "Runs a block again and shows what happened inside of each transaction.",
        params: &[Param::required("blockHash", "hash"), OPTIONS],
        result: RESULTS,
        work: Work::Compute,
        run: block_by_hash,
    },
    Method {
        name: "debug_traceBlock",
        about: "Runs a block that the caller brings on its parent's state and shows what happens inside.",
        params: &[
            Param::required("block", "bytes: RLP of the block, in Ethereum's or in Keystead's encoding"),
            OPTIONS,
        ],
        result: RESULTS,
        work: Work::Compute,
        run: block_by_bytes,
    },
    Method {
        name: "debug_traceCall",
        about: "Tries a call on a block's state and shows what happens inside.",
        params: &[
            CALL,
            Param::optional("block", "tag, number, hash or EIP-1898 object; default latest"),
            Param::optional("options", "as for the others, and stateOverrides, blockOverrides, txIndex"),
        ],
        result: "what the tracer makes",
        work: Work::Compute,
        run: call,
    },
];

fn transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let hash: B256 = params.get(0)?;
    let options: GethDebugTracingOptions = params.shaped(1)?;
    let (block, index) = find(service, &hash)?.ok_or_else(|| RpcError::server("transaction not found"))?;
    let spec = &service.context.spec;
    traced(service, params, |limits| {
        let which = index..index.saturating_add(1);
        let traces = trace_transactions(&block.block(spec), which, &options, limits).map_err(refused)?;
        traces.into_iter().next().ok_or_else(|| RpcError::internal(&"a transaction gave no trace"))
    })
}

fn block_by_number(service: &Service, params: &Params) -> Result<Json, RpcError> {
    block_by(service, params, numbered(params)?)
}

fn block_by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    block_by(service, params, BlockId::Hash(params.get(0)?))
}

fn block_by(service: &Service, params: &Params, id: BlockId) -> Result<Json, RpcError> {
    let block = service.chain().replayable(id)?.ok_or_else(|| {
        RpcError::server(match id {
            BlockId::Hash(hash) => format!("block {hash} not found"),
            _ => format!("block not found: the head is block {}", service.chain().head()),
        })
    })?;
    trace(service, params, &block, refused)
}

fn block_by_bytes(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let bytes: Bytes = params.get(0)?;
    let Decoded { env, header, transactions } = decode(&bytes).map_err(|reason| params.wrong(0, &reason))?;
    if header.number == 0 {
        return Err(RpcError::server("genesis is not traceable"));
    }
    let parent = service.chain().state(BlockId::Hash(header.parent_hash))?;
    let mut recovered = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        if params.late() {
            return Err(RpcError::timeout());
        }
        recovered.push(recover(transaction).map_err(|error| params.wrong(0, &error.to_string()))?);
    }
    let hash = header.hash_slow();
    // Ethereum's encoding of a block of ours has no place for the beacon values that it was executed with.
    let env = match service.chain().block(BlockId::Hash(hash))? {
        Some(known) => BlockEnv::from(&*known),
        None => env,
    };
    let block = Replayable { parent, env, hash, transactions: recovered };
    trace(service, params, &block, |error| match error {
        // The caller made this block: a transaction that may not run in it is the caller's.
        TraceError::Execution(Error::Transaction { .. }) => params.wrong(0, &error.to_string()),
        other => refused(other),
    })
}

/// A block that a caller gave.
struct Decoded {
    env: BlockEnv,
    header: alloy_consensus::Header,
    transactions: Vec<Transaction>,
}

fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    if let Ok(block) = Block::decode(bytes) {
        let (header, transactions) = (block.header().clone(), block.transactions().to_vec());
        return Ok(Decoded { env: BlockEnv::from(&block), header, transactions });
    }
    let mut rest = bytes;
    match alloy_consensus::Block::<Transaction>::decode(&mut rest) {
        Ok(block) if rest.is_empty() => Ok(Decoded {
            env: BlockEnv::from(&block.header),
            header: block.header,
            transactions: block.body.transactions,
        }),
        Ok(_) => Err(format!("expected the RLP of a block, got {} bytes too many", rest.len())),
        Err(error) => Err(format!("expected the RLP of a block: {error}")),
    }
}

fn trace(
    service: &Service,
    params: &Params,
    block: &Replayable,
    refused: impl Fn(TraceError) -> RpcError + Send,
) -> Result<Json, RpcError> {
    let options: GethDebugTracingOptions = params.shaped(1)?;
    let spec = &service.context.spec;
    traced(service, params, |limits| {
        let count = block.transactions.len();
        let traces = trace_transactions(&block.block(spec), 0..count, &options, limits).map_err(refused)?;
        let pairs = traces.into_iter().zip(&block.transactions);
        let results = pairs.map(|(result, transaction)| TraceResult::<GethTrace, String>::Success {
            result,
            tx_hash: Some(*transaction.tx_hash()),
        });
        Ok(results.collect::<Vec<_>>())
    })
}

fn call(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let request = request(service, params, 0)?;
    let options: GethDebugTracingCallOptions = params.shaped(2)?;
    let overrides = Overrides {
        state: options.state_overrides.unwrap_or_default(),
        block: options.block_overrides.unwrap_or_default(),
    };
    let id = params.find(1)?.unwrap_or(BlockId::Latest);
    let gas_max = service.limits.call_gas_max;
    let tracing = &options.tracing_options;
    let Some(index) = options.tx_index else {
        let after = After::find(service, id)?;
        return traced(service, params, |limits| {
            trace_call(&after.site(service), &overrides, request, gas_max, tracing, limits).map_err(refused)
        });
    };
    let block = service.chain().replayable(id)?;
    let block =
        block.ok_or_else(|| RpcError::server(format!("no such block: the head is {}", service.chain().head())))?;
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    traced(service, params, |limits| {
        let site = CallSite::Within(block.block(&service.context.spec), index);
        trace_call(&site, &overrides, request, gas_max, tracing, limits).map_err(refused)
    })
}
