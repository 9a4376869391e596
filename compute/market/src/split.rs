//! How many units of a `map` each provider gets: by speed and price, with room for stragglers, spread over operators and zones.
//!
//! # Design
//! Matches are taken from the cheapest unit upwards. For so many of them, the earliest time is sought by which they finish all units
//! together: until time `t` a provider does `(t - start) / (1 + margin) * lanes / unit` of them. More providers finish sooner and cost more
//! a unit; the number of them with the lowest sum of pay and value of time is chosen. Everything is integers and ties go to the fewer.
//!
//! # Invariants
//! The shares add up to the units; none is zero; no operator and no zone gets more than its share, unless there are too few of them, which
//! is an error and not a silent exception.

use crate::{
    need::{Need, PPM, TIME_US_MAX},
    plan::{BEST_COUNT_MAX, Match},
};
use alloy_primitives::U256;
use std::collections::{BTreeMap, BTreeSet};

/// How much is left to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Units are expected to take so much longer than stated, millionths of the time; at most 10,000,000.
    pub margin_ppm: u32,
    /// Most that one operator gets, millionths of the units; at least one unit.
    pub operator_ppm_max: u32,
    /// Most that one zone gets, millionths of the units; at least one unit.
    pub zone_ppm_max: u32,
}

impl Rule {
    /// A quarter more time than stated, half of the units for one operator or zone.
    pub const START: Self = Self { margin_ppm: 250_000, operator_ppm_max: 500_000, zone_ppm_max: 500_000 };

    /// The same without spreading: everything may go to one.
    pub const ANYWHERE: Self = Self { operator_ppm_max: PPM, zone_ppm_max: PPM, ..Self::START };
}

/// What one provider gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The place of its match in the list that was given.
    pub index: usize,
    /// Units, at least one.
    pub units: u32,
}

/// A distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// By price of a unit, then by key.
    pub shares: Vec<Share>,
    /// When the last one is expected to finish, with the margin, microseconds from now.
    pub finish_us: u64,
    /// Pay for the units, without checks, smallest units.
    pub price: U256,
}

/// Why units cannot be distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many matches.
    #[error("too many matches: got={got} max={BEST_COUNT_MAX}")]
    TooMany {
        /// Matches given.
        got: usize,
    },
    /// The margin is out of range.
    #[error("margin out of range: got={got} max=10000000")]
    Margin {
        /// Millionths given.
        got: u32,
    },
    /// Not all units find a place, within the deadline and the shares of operators and zones.
    #[error("not all units can be placed: placed={placed} units={units} operators={operators} zones={zones}")]
    NotPlaced {
        /// Units that find a place.
        placed: u32,
        /// Units of the job.
        units: u32,
        /// Different operators among the matches.
        operators: usize,
        /// Different zones.
        zones: usize,
    },
}

/// A provider as the split sees it.
struct Runner<'a> {
    index: usize,
    fit: &'a Match,
    /// Until its first unit can begin, microseconds.
    start_us: u64,
    /// One unit with the margin, microseconds.
    unit_us: u64,
}

/// Rounds of doubling the number of providers and of halving the time: 2^12 providers, 2^40 us.
const HALVINGS: u32 = 41;

/// Distributes the units of a need over matches of a plan for it (any order, each device once: a device that is offered in several
/// currencies counts as the first of its matches). Costs about `12 * 41` passes over the matches.
///
/// # Errors
/// Every [`Error`]; nothing is distributed in part.
pub fn split(need: &Need, matches: &[Match], rule: Rule) -> Result<Split, Error> {
    if matches.len() > BEST_COUNT_MAX {
        return Err(Error::TooMany { got: matches.len() });
    }
    if rule.margin_ppm > 10_000_000 {
        return Err(Error::Margin { got: rule.margin_ppm });
    }
    let runners = runners(matches, rule);
    let mut best: Option<(U256, Split)> = None;
    let mut count = 1usize;
    while count < runners.len().saturating_mul(2) {
        let few = runners.get(..count.min(runners.len())).unwrap_or(&runners);
        if let Some(found) = earliest(need, few, rule) {
            let waited = U256::from(need.weights.time_per_s).saturating_mul(U256::from(found.finish_us));
            let cost = found.price.saturating_add(waited.wrapping_div(U256::from(1_000_000u64)));
            if best.as_ref().is_none_or(|(lowest, _)| cost < *lowest) {
                best = Some((cost, found));
            }
        }
        count = count.saturating_mul(2);
    }
    best.map(|(_, split)| split).ok_or_else(|| {
        let different = |of: fn(&Match) -> u64| matches.iter().map(of).collect::<BTreeSet<_>>().len();
        Error::NotPlaced {
            placed: total(&placed(need, &runners, rule, need.deadline_us.min(TIME_US_MAX))),
            units: need.units,
            operators: different(|fit| fit.operator),
            zones: different(|fit| fit.zone),
        }
    })
}

fn runners(matches: &[Match], rule: Rule) -> Vec<Runner<'_>> {
    let mut devices = BTreeSet::new();
    let fits = matches.iter().enumerate().filter(|(_, fit)| devices.insert((fit.key.provider, fit.key.device)));
    let longer = u64::from(PPM).saturating_add(u64::from(rule.margin_ppm));
    let mut runners: Vec<Runner<'_>> = fits
        .map(|(index, fit)| Runner {
            index,
            fit,
            start_us: fit.queue_us.saturating_add(fit.stage_us).saturating_add(fit.net_us),
            unit_us: fit.unit_us.max(1).saturating_mul(longer).div_ceil(u64::from(PPM)),
        })
        .collect();
    runners.sort_by_key(|runner| (runner.fit.price_per_unit, runner.fit.key));
    runners
}

/// The earliest time by which these place all units, and how; none if the deadline is too short.
fn earliest(need: &Need, runners: &[Runner<'_>], rule: Rule) -> Option<Split> {
    let deadline = need.deadline_us.min(TIME_US_MAX);
    let enough = |us: u64| total(&placed(need, runners, rule, us)) == need.units;
    if !enough(deadline) {
        return None;
    }
    let (mut low, mut high) = (0u64, deadline);
    for _ in 0..HALVINGS {
        let middle = low.saturating_add(high).wrapping_shr(1);
        if enough(middle) {
            high = middle;
        } else {
            low = middle.saturating_add(1).min(high);
        }
    }
    let units = placed(need, runners, rule, high);
    let pairs = || runners.iter().zip(&units).filter(|(_, units)| **units > 0);
    let price = pairs().map(|(runner, units)| runner.fit.price_per_unit.saturating_mul(U256::from(*units)));
    Some(Split {
        price: price.fold(U256::ZERO, U256::saturating_add),
        shares: pairs().map(|(runner, units)| Share { index: runner.index, units: *units }).collect(),
        finish_us: high,
    })
}

/// Units that each does until a time, cheapest first, within the shares of operators and zones.
fn placed(need: &Need, runners: &[Runner<'_>], rule: Rule, until_us: u64) -> Vec<u32> {
    let most = |ppm: u32| {
        let units = u64::from(need.units).saturating_mul(u64::from(ppm)) / 1_000_000;
        u32::try_from(units).unwrap_or(u32::MAX).max(1)
    };
    let (operator_max, zone_max) = (most(rule.operator_ppm_max), most(rule.zone_ppm_max));
    let (mut operators, mut zones) = (BTreeMap::new(), BTreeMap::new());
    let mut left = need.units;
    let mut give = |runner: &Runner<'_>| {
        let time = until_us.saturating_sub(runner.start_us);
        let turns = time.checked_div(runner.unit_us).unwrap_or(0);
        let able = u32::try_from(turns.saturating_mul(u64::from(runner.fit.lanes))).unwrap_or(u32::MAX);
        let operator = operators.entry(runner.fit.operator).or_insert(operator_max);
        let zone = zones.entry(runner.fit.zone).or_insert(zone_max);
        let units = able.min(*operator).min(*zone).min(left);
        *operator = operator.saturating_sub(units);
        *zone = zone.saturating_sub(units);
        left = left.saturating_sub(units);
        units
    };
    runners.iter().map(&mut give).collect()
}

fn total(units: &[u32]) -> u32 {
    units.iter().copied().fold(0, u32::saturating_add)
}
