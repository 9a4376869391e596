//! `keystead_getBlocks`, `keystead_getGenesis` and `keystead_getState`: what whoever follows the chain without believing this node needs.
//!
//! # Design
//! Blocks are given up to the newest certificate: what lies above is final, too, but nobody could check it. A caller that has
//! all blocks may wait for the next one; it then holds no thread (`sync.rs`).

use super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::{Json, Request},
    params::{Count, FromJson, Param, Params},
    service::Service,
};
use alloy_primitives::{Bytes, U64, hex};
use keystead_proof::certificate_json;
use keystead_state::{Part, Section};
use serde::Serialize;
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};

/// Name of the method.
pub(crate) const NAME: &str = "keystead_getBlocks";

/// Blocks in one answer.
const BLOCKS_MAX: u64 = 256;
/// Blocks in the answer to a call that waited: such calls share few threads, and who waits lacks few.
const WAITED_BLOCKS_MAX: u64 = 16;
/// Bytes of blocks after which an answer ends: two of the largest. As hex it fits into the default size of an answer.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: NAME,
        about: "Final blocks in this chain's encoding, each with its certificate if this node has one.",
        params: &[
            Param::required("from", "quantity: height of the first block"),
            Param::required("count", "quantity: most blocks to give; at most 256 come, or 8 MiB"),
            Param::optional("waitMs", "quantity: how long to wait for the first block if it is not there yet"),
        ],
        result: "object: chainId, head (newest block that this node can prove), oldest (oldest block that it has), blocks (block, certificate)",
        work: Work::Read,
        run,
    },
    Method {
        name: "keystead_getGenesis",
        about: "The genesis file of this chain. Block 1, which a certificate proves, names its hash as the parent.",
        params: &[],
        result: "object: config, timestamp, alloc and others, as in a genesis file",
        work: Work::Read,
        run: genesis,
    },
    Method {
        name: "keystead_getState",
        about: "A chunk of the flat state after a block, for whoever makes a snapshot (specs/0006-snapshot.md).",
        params: &[
            Param::required("number", "quantity: height of the block, whose state must be kept"),
            Param::required("section", "accounts, storage or code"),
            Param::required("after", "bytes: the key behind which the chunk begins; 0x for the first"),
        ],
        result: "object: entries, rawBytes, chunk (zstd), last (key of the last entry); null if there are no more entries",
        work: Work::Compute,
        run: state,
    },
];

/// A section by its name.
struct SectionName(Section);

impl FromJson for SectionName {
    fn from_json(value: &Value) -> Result<Self, String> {
        let found = value.as_str().and_then(Section::find);
        found.map(Self).ok_or_else(|| "expected accounts, storage or code".to_owned())
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StateAnswer {
    entries: U64,
    raw_bytes: U64,
    chunk: Bytes,
    last: Bytes,
}

fn state(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (number, SectionName(section), after): (u64, SectionName, Bytes) =
        (params.get(0)?, params.get(1)?, params.get(2)?);
    let store = &service.context.store;
    match store.export_part(number, section, &after)? {
        Part::Chunk { chunk, last } => Json::of(&StateAnswer {
            entries: U64::from(chunk.entries),
            raw_bytes: U64::from(chunk.raw_bytes),
            chunk: chunk.packed.into(),
            last: last.into(),
        }),
        Part::End => Json::of(&()),
        Part::NotKept => {
            let (oldest, head) = (store.oldest_state(), store.head().number);
            Err(RpcError::server(format!(
                "state of block {number} is not kept: this node has the states of blocks {oldest} to {head}"
            )))
        }
    }
}

fn genesis(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let genesis = service.context.store.genesis_state();
    if genesis.header.is_some() {
        return Err(RpcError::server("this is a foreign chain: nobody certifies its blocks"));
    }
    Ok(Json::from_text(genesis.to_json().map_err(|error| RpcError::internal(&error))?))
}

/// Which blocks a caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    from: u64,
    count: u64,
}

fn run(service: &Service, params: &Params) -> Result<Json, RpcError> {
    answer(service, range(params)?)
}

/// True if a call of this method asks to wait.
pub(crate) fn waits(request: &Request) -> bool {
    let asked = match &request.params {
        Value::Array(list) => list.get(2),
        Value::Object(named) => named.get("waitMs"),
        _ => None,
    };
    request.method == NAME && asked.is_some_and(|wait| !wait.is_null())
}

/// What a call that waits wants, and for how long.
pub(crate) fn waited(params: &Params) -> Result<(Range, Duration), RpcError> {
    let Range { from, count } = range(params)?;
    let Count(wait_ms) = params.find(2)?.unwrap_or(Count(0));
    Ok((Range { from, count: count.min(WAITED_BLOCKS_MAX) }, Duration::from_millis(wait_ms)))
}

fn range(params: &Params) -> Result<Range, RpcError> {
    let (from, Count(count)) = (params.get(0)?, params.get(1)?);
    if count == 0 {
        return Err(params.wrong(1, "expected at least one block"));
    }
    Ok(Range { from, count: count.min(BLOCKS_MAX) })
}

/// True if the first block of a range can be given.
pub(crate) fn is_there(service: &Service, range: Range) -> Result<bool, RpcError> {
    Ok(provable(service)? >= range.from)
}

/// Height of the newest block that this node can prove.
fn provable(service: &Service) -> Result<u64, RpcError> {
    Ok(service.context.store.certificate_at_or_below(u64::MAX)?.map_or(0, |(number, _)| number))
}

/// The blocks of a range that are there.
pub(crate) fn answer(service: &Service, range: Range) -> Result<Json, RpcError> {
    let store = &service.context.store;
    let (head, oldest) = (provable(service)?, store.oldest_block());
    let mut out = format!(
        r#"{{"chainId":"{:#x}","head":"{head:#x}","oldest":"{oldest:#x}","blocks":["#,
        service.context.spec.chain_id
    );
    let last = range.from.saturating_add(range.count.saturating_sub(1)).min(head);
    let mut bytes = 0_usize;
    for number in range.from..=last {
        let block = store
            .block(number)?
            .ok_or_else(|| RpcError::internal(&format!("the store has no block {number} below its head")))?;
        let encoded = block.encode();
        bytes = bytes.saturating_add(encoded.len());
        if bytes > BYTES_MAX && number > range.from {
            break;
        }
        let certificate = store.certificate(number)?.map_or_else(|| "null".to_owned(), |it| certificate_json(&it));
        let comma = if number == range.from { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(out, r#"{comma}{{"block":"{}","certificate":{certificate}}}"#, hex::encode_prefixed(encoded));
    }
    out.push_str("]}");
    Ok(Json::from_text(out))
}
