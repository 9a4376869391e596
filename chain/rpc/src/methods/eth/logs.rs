//! Searches logs.
//!
//! # Design
//! The store's index of addresses and topics answers; what is bounded here is what an answer may hold, and the range of
//! a filter that names nothing to look up.

use crate::{
    chain::Chain,
    error::RpcError,
    limits::ServerLimits,
    message::Json,
    params::{BlockId, BlockNumber, FromJson, Params, member, show},
    render::LogPlace,
    service::Service,
};
use alloy_primitives::{Address, B256, Bloom};
use alloy_rpc_types_eth::{Filter, FilterSet, Log};
use keystead_state::Error as StateError;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Topics that a log can have.
const TOPICS_MAX: usize = 4;

/// What a filter asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogQuery {
    blocks: Blocks,
    /// Addresses and topics; its own block option is not used.
    filter: Filter,
    /// Topics that a log must have at least: as in geth, a trailing wildcard still asks for a topic to be there.
    topics_min: usize,
}

impl Default for LogQuery {
    /// Every log of the head.
    fn default() -> Self {
        let blocks = Blocks::Range { from: BlockId::Latest, to: BlockId::Latest };
        Self { blocks, filter: Filter::new(), topics_min: 0 }
    }
}

impl LogQuery {
    /// True if a log is asked for, by address and topics.
    pub(crate) fn matches(&self, log: &alloy_primitives::Log) -> bool {
        log.topics().len() >= self.topics_min && self.filter.matches(log)
    }

    /// The query as the store takes it.
    fn stored(&self) -> keystead_state::LogQuery {
        keystead_state::LogQuery {
            addresses: self.filter.address.iter().copied().collect(),
            topics: self.filter.topics.each_ref().map(|topics| topics.iter().copied().collect()),
            topics_min: self.topics_min,
        }
    }

    /// False if no log of a block with this bloom is asked for.
    pub(crate) fn matches_bloom(&self, bloom: Bloom) -> bool {
        self.filter.matches_bloom(bloom)
    }

    /// Addresses and topics in all: what it costs to keep.
    pub(crate) fn values(&self) -> usize {
        self.alternatives().fold(0, usize::saturating_add)
    }

    /// True if it names a single block, which a filter of new blocks cannot.
    pub(crate) const fn names_block(&self) -> bool {
        matches!(self.blocks, Blocks::Hash(_))
    }

    /// False if its range leaves out the block of this height. Tags do not bound new blocks.
    pub(crate) fn takes_height(&self, number: u64) -> bool {
        match self.blocks {
            Blocks::Hash(_) => false,
            Blocks::Range { from, to } => {
                let bound = |id| if let BlockId::Number(bound) = id { Some(bound) } else { None };
                bound(from).is_none_or(|from| from <= number) && bound(to).is_none_or(|to| number <= to)
            }
        }
    }

    fn alternatives(&self) -> impl Iterator<Item = usize> {
        self.filter.topics.iter().map(FilterSet::len).chain([self.filter.address.len()])
    }

    /// Errors: in words, if it has more alternatives than the limits allow.
    pub(crate) fn check(&self, limits: &ServerLimits) -> Result<(), String> {
        let max = limits.filter_values_max;
        match self.alternatives().max().filter(|got| *got > max) {
            Some(got) => Err(format!("too many addresses or topic alternatives: got {got}, limit {max}")),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocks {
    Hash(B256),
    Range { from: BlockId, to: BlockId },
}

/// One value, an array of alternatives, or anything.
struct AnyOf<T>(Vec<T>);

impl<T: FromJson> FromJson for AnyOf<T> {
    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self(Vec::new())),
            // A null among the alternatives matches everything, so the others do not matter.
            Value::Array(values) if values.iter().any(Value::is_null) => Ok(Self(Vec::new())),
            Value::Array(_) => Vec::from_json(value).map(Self),
            one => T::from_json(one).map(|value| Self(vec![value])),
        }
    }
}

impl FromJson for LogQuery {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected a filter object, got {}", show(value)));
        };
        let mut filter = Filter::new();
        if let Some(AnyOf(addresses)) = member::<AnyOf<Address>>(object, "address")? {
            filter.address = FilterSet::from(addresses);
        }
        let topics = member::<Vec<AnyOf<B256>>>(object, "topics")?.unwrap_or_default();
        if topics.len() > TOPICS_MAX {
            return Err(format!("field \"topics\": expected at most {TOPICS_MAX} positions, got {}", topics.len()));
        }
        let topics_min = topics.len();
        for (position, AnyOf(alternatives)) in filter.topics.iter_mut().zip(topics) {
            *position = FilterSet::from(alternatives);
        }
        Ok(Self { blocks: blocks(object)?, filter, topics_min })
    }
}

fn blocks(object: &Map<String, Value>) -> Result<Blocks, String> {
    let hash: Option<B256> = member(object, "blockHash")?;
    let from = member::<BlockNumber>(object, "fromBlock")?.map(|BlockNumber(id)| id);
    let to = member::<BlockNumber>(object, "toBlock")?.map(|BlockNumber(id)| id);
    match (hash, from, to) {
        (Some(hash), None, None) => Ok(Blocks::Hash(hash)),
        (None, from, to) => {
            Ok(Blocks::Range { from: from.unwrap_or(BlockId::Latest), to: to.unwrap_or(BlockId::Latest) })
        }
        (Some(_), _, _) => {
            Err("cannot specify both blockHash and fromBlock/toBlock, choose one or the other".to_owned())
        }
    }
}

pub(super) fn get_logs(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let query: LogQuery = params.get(0)?;
    query.check(&service.limits).map_err(|reason| params.wrong(0, &reason))?;
    find(service, &query)
}

/// All logs that a query asks for, as JSON.
///
/// Errors: as `eth_getLogs` answers them.
pub(crate) fn find(service: &Service, query: &LogQuery) -> Result<Json, RpcError> {
    let limits = &service.limits;
    let range = range(service.chain(), query.blocks, &query.filter, limits)?;
    Json::of(&found(service, query, range)?)
}

/// The logs in a range of heights that match.
fn found(service: &Service, query: &LogQuery, range: RangeInclusive<u64>) -> Result<Vec<Log>, RpcError> {
    let max = service.limits.logs_max;
    let from = *range.start();
    let found = service.context.store.logs(&query.stored(), range, max).map_err(|error| match error {
        StateError::TooManyLogs { up_to, .. } => RpcError::limit(format!(
            "query returns more than {max} logs: narrow the filter or the range (blocks {from} to {up_to} hold as many)"
        )),
        error => error.into(),
    })?;
    let rendered = found.into_iter().map(|found| {
        let place = LogPlace {
            block_hash: found.block_hash,
            block_number: found.block_number,
            block_timestamp: found.block_timestamp,
            transaction_hash: found.transaction_hash,
            transaction_index: found.transaction_index,
        };
        place.log(found.log, usize::try_from(found.log_index).unwrap_or(usize::MAX))
    });
    Ok(rendered.collect())
}

/// The heights to search. They exist. A filter that names a value is answered from the index, over any range; one that
/// names none reads every block, so their number is bounded.
fn range(
    chain: Chain<'_>,
    blocks: Blocks,
    filter: &Filter,
    limits: &ServerLimits,
) -> Result<RangeInclusive<u64>, RpcError> {
    let (from, to) = match blocks {
        Blocks::Hash(hash) => {
            let number = chain.number(BlockId::Hash(hash))?;
            let number = number.ok_or_else(|| RpcError::server(format!("unknown block: {hash}")))?;
            return Ok(number..=number);
        }
        Blocks::Range { from, to } => (from, to),
    };
    let head = chain.head();
    let height = |id| if let BlockId::Number(number) = id { number } else { head };
    let (from, to) = (height(from), height(to));
    if from > to {
        return Err(RpcError::invalid_params(format!("invalid block range params: fromBlock {from} > toBlock {to}")));
    }
    if to > head {
        // An empty answer would read as "no such logs" to a caller that is ahead of this node.
        return Err(RpcError::invalid_params(format!(
            "block range extends beyond current head block: toBlock {to}, head {head}"
        )));
    }
    let count = to.saturating_sub(from).saturating_add(1);
    let open = filter.address.is_empty() && filter.topics.iter().all(FilterSet::is_empty);
    if open && count > limits.log_blocks_max {
        return Err(RpcError::limit(format!(
            "block range too large: got {count} blocks, limit {} without an address or topic",
            limits.log_blocks_max
        )));
    }
    Ok(from..=to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_take_one_value_alternatives_or_anything() {
        let (address, topic) = (Address::repeat_byte(1), B256::repeat_byte(2));
        let query = LogQuery::from_json(&json!({
            "address": [address, address],
            "topics": [null, topic, [topic, B256::ZERO], [null, topic]],
            "fromBlock": "earliest",
        }))
        .unwrap();
        assert_eq!(query.blocks, Blocks::Range { from: BlockId::Number(0), to: BlockId::Latest });
        assert_eq!(query.filter.address.len(), 1);
        assert_eq!(query.filter.topics.each_ref().map(FilterSet::len), [0, 1, 2, 0]);
        let open = LogQuery::from_json(&json!({ "address": [], "topics": [] })).unwrap();
        assert_eq!(open.filter, Filter::new());
        assert_eq!(LogQuery::from_json(&json!({ "address": null, "topics": null })).unwrap().filter, Filter::new());
    }

    #[test]
    fn malformed_filters_are_refused_by_field() {
        let hash = B256::ZERO;
        let cases = [
            (json!([]), "expected a filter object"),
            (json!({ "address": "0x1" }), "field \"address\": expected an address"),
            (json!({ "topics": [hash, hash, hash, hash, hash] }), "at most 4 positions, got 5"),
            (json!({ "topics": hash }), "field \"topics\": expected an array"),
            (json!({ "topics": [["0x1"]] }), "field \"topics\": element 0: element 0: expected a hash"),
            (json!({ "blockHash": hash, "toBlock": "latest" }), "cannot specify both"),
            (json!({ "fromBlock": 1 }), "field \"fromBlock\": expected a block number"),
        ];
        for (value, part) in cases {
            let message = LogQuery::from_json(&value).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
