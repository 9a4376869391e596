//! The best offers for a job: everything that passes the hard filters, by cost, equal costs by key.
//!
//! # Design
//! One pass over the table in blocks: a cheap test without branches makes a short list, the rest of the filters and the cost are computed
//! for that alone, and a bounded heap keeps the best. The result depends on the offers only, never on the order in which they came.

use crate::{
    filter::Filter,
    need::{Error, Lane, Need},
    offer::Key,
    query::Query,
    table::{Table, bits},
};
use alloy_primitives::{B256, U256};
use std::collections::BinaryHeap;

/// Most offers that can be asked for: the providers of one large `map`.
pub const BEST_COUNT_MAX: usize = 4_096;
/// Rows looked at together: their short list stays in the first cache.
const BLOCK: usize = 1_024;

/// An offer that fits, with what it means for the job.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// The offer.
    pub key: Key,
    /// Its node on the data network.
    pub node_id: B256,
    /// What ranks it, smallest units; not what is paid.
    pub cost: U256,
    /// Firm price of one unit, smallest units.
    pub price_per_unit: U256,
    /// Firm price of all units and their checks, smallest units.
    pub price: U256,
    /// Under which rules it would work.
    pub lane: Lane,
    /// Until a unit could begin, microseconds.
    pub queue_us: u64,
    /// For blobs that are not there, microseconds.
    pub stage_us: u64,
    /// One unit on one lane, microseconds.
    pub unit_us: u64,
    /// All units, microseconds.
    pub run_us: u64,
    /// Messages, inputs and outputs, microseconds.
    pub net_us: u64,
    /// Until the result is there, microseconds.
    pub finish_us: u64,
    /// Carbon dioxide of all units, micrograms, as counted.
    pub carbon_ug: u64,
    /// Whether that follows from claims alone; else what is not said counts as the worst that is known ([`crate::carbon`]).
    pub carbon_claimed: bool,
    /// Units at once.
    pub lanes: u16,
    /// Probability of failure, in 2^-20.
    pub failure_q20: u32,
    /// Tag of the operator; equal for offers of one operator.
    pub operator: u64,
    /// Tag of the zone; equal for offers that fail together.
    pub zone: u64,
}

/// What came out of a pass over the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Offers in the table.
    pub offers: usize,
    /// Offers that pass every filter.
    pub matched: usize,
    /// The best of them, best first.
    pub best: Vec<Match>,
}

/// Ranked by cost, then by key; the greatest is the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    cost: u128,
    key: Key,
    row: usize,
}

/// Plans a job over a table: at most `count` of the best offers (1 to [`BEST_COUNT_MAX`]). `now_ms` is the clock of the probes.
/// Costs one pass over the table; `cargo run -p keystead-market --example planner` measures it.
///
/// # Errors
/// [`Error`] if the need breaks a bound, is paid in a currency that is not listed, or names a blob that is not watched.
pub fn plan(table: &Table, need: &Need, now_ms: u64, count: usize) -> Result<Plan, Error> {
    let query = Query::new(table, need, now_ms)?;
    let count = count.clamp(1, BEST_COUNT_MAX);
    let columns = &table.columns;
    let mut best: BinaryHeap<Ranked> = BinaryHeap::with_capacity(count.saturating_add(1));
    let (mut matched, mut worst) = (0usize, u128::MAX);
    let mut list = [0u32; BLOCK];
    for first in (0..table.len()).step_by(BLOCK) {
        let end = first.wrapping_add(BLOCK).min(table.len());
        let listed = query.shortlist(columns, first, end, &mut list);
        for &row in &list[..listed] {
            let row = row as usize;
            if query.failures::<true>(columns, row) != 0 {
                continue;
            }
            matched = matched.wrapping_add(1);
            // The price is a part of the cost: most offers that are too dear are left out by it alone.
            if query.price(columns, row) > worst {
                continue;
            }
            let cost = query.pricing.cost(columns, row, &query.costed(columns, row));
            if cost > worst {
                continue;
            }
            best.push(Ranked { cost, key: columns.keys[row], row });
            if best.len() > count {
                best.pop();
            }
            if best.len() == count {
                worst = best.peek().map_or(u128::MAX, |ranked| ranked.cost);
            }
        }
    }
    let best = best.into_sorted_vec().into_iter().map(|ranked| matched_row(table, &query, ranked)).collect();
    Ok(Plan { offers: table.len(), matched, best })
}

fn matched_row(table: &Table, query: &Query, ranked: Ranked) -> Match {
    let (columns, row) = (&table.columns, ranked.row);
    let lane = query.lane(columns, row);
    let costed = query.pricing.costed(columns, row, lane);
    // A rate below 2^28 over at most 2^40 microseconds.
    let carbon_ug =
        u128::from(columns.carbon_ug_per_s[row]).wrapping_mul(u128::from(costed.run_us)).wrapping_div(1_000_000);
    Match {
        key: ranked.key,
        node_id: columns.nodes[row],
        cost: U256::from(ranked.cost),
        price_per_unit: U256::from(costed.per_unit),
        price: U256::from(costed.price),
        lane,
        queue_us: costed.queue_us,
        stage_us: costed.stage_us,
        unit_us: costed.unit_us,
        run_us: costed.run_us,
        net_us: costed.net_us,
        finish_us: costed.finish_us,
        carbon_ug: u64::try_from(carbon_ug).unwrap_or(u64::MAX),
        carbon_claimed: columns.features[row] & bits::CARBON != 0,
        lanes: columns.lanes[row],
        failure_q20: columns.failure_q20[row],
        operator: columns.operator[row],
        zone: columns.zone[row],
    }
}

/// The filters that one offer fails for this need, in order; none if it fits. [`None`] if the offer is not in the table.
///
/// # Errors
/// As [`plan()`].
pub fn refusals(table: &Table, need: &Need, now_ms: u64, key: Key) -> Result<Option<Vec<Filter>>, Error> {
    let query = Query::new(table, need, now_ms)?;
    Ok(table.row(key).map(|row| Filter::of_mask(query.failures::<false>(&table.columns, row)).collect()))
}
