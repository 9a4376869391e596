//! Why a job finds no offer, or few: how many fell at which filter, and the cheapest change that brings one in.
//!
//! # Design
//! One pass notes for every offer the set of filters that it fails. An offer that fails only one is brought in by one change; the one with
//! the lowest firm price is kept for each filter. If no filter has one, the cheapest offer that fails exactly two is kept. Every change is
//! made for one offer, and lets exactly that offer pass: a test applies each and plans again.

use crate::{
    amount::{Currency, Unit},
    change::Change,
    filter::{FILTER_COUNT, Filter},
    need::{Error, Evidence, Lane, Need, PPM, TIME_US_MAX},
    offer::Key,
    query::Query,
    record::sets::{Isa, Kind, Layer, Member, Set},
    table::{COUNTRY_NONE, Columns, Table, bits, country_of, operator_tag},
};
use alloy_primitives::{Address, U256};
use core::fmt::Write as _;
use keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX;
use serde::Serialize;

/// How many offers one filter took out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallen {
    /// The filter.
    pub filter: Filter,
    /// Offers that fail it.
    pub any: usize,
    /// Offers that fail it and none before it.
    pub first: usize,
    /// Offers that fail it and no other.
    pub only: usize,
}

/// Changes that bring in one offer, and what it would cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Relaxation {
    /// The filters that are relaxed: one, or two.
    pub filters: Vec<Filter>,
    /// One change for each.
    pub changes: Vec<Change>,
    /// The offer that comes in.
    pub key: Key,
    /// Under which rules it would work.
    pub lane: Lane,
    /// Its firm price of a unit, smallest units of its own currency.
    pub price_per_unit: U256,
    /// Its firm price of all units and their checks, smallest units of its own currency.
    pub price: U256,
    /// When the result would be there, microseconds from now.
    pub finish_us: u64,
}

/// The explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyNot {
    /// Offers in the table.
    pub offers: usize,
    /// Offers that fit as it is.
    pub matched: usize,
    /// The filters at which offers fell, in order.
    pub fallen: Vec<Fallen>,
    /// The cheapest single change for each filter that has one, cheapest first; those that change the currency last.
    pub singles: Vec<Relaxation>,
    /// The cheapest pair of changes; only if there is no single one.
    pub pair: Option<Relaxation>,
}

/// What makes one candidate better than another: prices compare within a currency only, and the job's own comes first.
type Rank = (bool, Currency, u128, Key);

#[derive(Clone, Copy)]
struct Candidate {
    rank: Rank,
    row: usize,
}

fn keep(best: &mut Option<Candidate>, candidate: Candidate) {
    if best.is_none_or(|best| candidate.rank < best.rank) {
        *best = Some(candidate);
    }
}

/// Explains the outcome of [`crate::plan()`] for the same arguments. Costs one pass over all offers, each with every filter.
///
/// # Errors
/// As [`crate::plan()`].
pub fn why_not(table: &Table, need: &Need, now_ms: u64) -> Result<WhyNot, Error> {
    let query = Query::new(table, need, now_ms)?;
    let scene = Scene { columns: &table.columns, table, need, query: &query, now_ms };
    let (mut matched, mut any, mut first, mut only) =
        (0usize, [0usize; FILTER_COUNT], [0; FILTER_COUNT], [0; FILTER_COUNT]);
    let mut singles: [Option<Candidate>; FILTER_COUNT] = [None; FILTER_COUNT];
    let mut pair: Option<Candidate> = None;
    for row in 0..table.len() {
        let mask = query.failures::<false>(&table.columns, row);
        let Some(lowest) = Filter::of_mask(mask).next() else {
            matched = matched.wrapping_add(1);
            continue;
        };
        let count = |counts: &mut [usize; FILTER_COUNT], filter: Filter| {
            counts[filter as usize] = counts[filter as usize].wrapping_add(1);
        };
        Filter::of_mask(mask).for_each(|filter| count(&mut any, filter));
        count(&mut first, lowest);
        match mask.count_ones() {
            1 => {
                count(&mut only, lowest);
                if let Some(candidate) = scene.candidate(row, mask) {
                    keep(&mut singles[lowest as usize], candidate);
                }
            }
            2 => {
                if let Some(candidate) = scene.candidate(row, mask) {
                    keep(&mut pair, candidate);
                }
            }
            _ => {}
        }
    }
    let mut found: Vec<Candidate> = singles.into_iter().flatten().collect();
    found.sort_by_key(|candidate| candidate.rank);
    let pair = if found.is_empty() { pair } else { None };
    let fallen = Filter::ALL.iter().zip(any).zip(first).zip(only);
    let fallen = fallen.map(|(((filter, any), first), only)| Fallen { filter: *filter, any, first, only });
    Ok(WhyNot {
        offers: table.len(),
        matched,
        fallen: fallen.filter(|fallen| fallen.any > 0).collect(),
        singles: found.into_iter().filter_map(|candidate| scene.relaxation(candidate.row)).collect(),
        pair: pair.and_then(|candidate| scene.relaxation(candidate.row)),
    })
}

/// What all steps of one explanation look at.
#[derive(Clone, Copy)]
struct Scene<'a> {
    table: &'a Table,
    columns: &'a Columns,
    need: &'a Need,
    query: &'a Query,
    now_ms: u64,
}

impl Scene<'_> {
    /// The row as a candidate, if every filter that it fails has a change.
    fn candidate(&self, row: usize, mask: u32) -> Option<Candidate> {
        let changeable = Filter::of_mask(mask).all(|filter| self.changeable(filter, row));
        let key = *self.columns.keys.get(row)?;
        let price = self.query.pricing.price(self.query.pricing.per_unit(self.columns, row), self.lane(row, mask));
        let other = key.currency != self.need.currency;
        changeable.then_some(Candidate { rank: (other, key.currency, price, key), row })
    }

    /// The lane after the changes: a lowered stake makes the provider a bonded one.
    fn lane(&self, row: usize, mask: u32) -> Lane {
        if mask & Filter::Stake.bit() != 0 && !self.need.class_allows_probation() {
            return Lane::Bonded;
        }
        self.query.lane(self.columns, row)
    }

    fn relaxation(&self, row: usize) -> Option<Relaxation> {
        let mask = self.query.failures::<false>(self.columns, row);
        let lane = self.lane(row, mask);
        let costed = self.query.pricing.costed(self.columns, row, lane);
        Some(Relaxation {
            filters: Filter::of_mask(mask).collect(),
            changes: Filter::of_mask(mask).map(|filter| self.change(filter, row)).collect::<Option<_>>()?,
            key: *self.columns.keys.get(row)?,
            lane,
            price_per_unit: U256::from(costed.per_unit),
            price: U256::from(costed.price),
            finish_us: costed.finish_us,
        })
    }

    /// Whether [`Scene::change`] gives something, without making it.
    fn changeable(&self, filter: Filter, row: usize) -> bool {
        match filter {
            Filter::Offering | Filter::Class | Filter::Kernel => false,
            Filter::Runtime => self.columns.features[row] & self.query.runtime() != 0,
            Filter::Price => U256::from(self.query.pricing.per_unit(self.columns, row)) <= PRICE_WEI_PER_UNIT_MAX,
            _ => true,
        }
    }

    /// The least change of this filter that lets this row pass it; none if no change of the need does.
    fn change(&self, filter: Filter, row: usize) -> Option<Change> {
        if !self.changeable(filter, row) {
            return None;
        }
        let (columns, need, word) = (self.columns, self.need, self.columns.features[row]);
        Some(match filter {
            Filter::Offering | Filter::Class | Filter::Kernel => return None,
            Filter::Runtime => Change::AnyEngine,
            Filter::Hardware => Change::Hardware(from_bits::<Kind>(word, bits::KIND).iter().next()?),
            Filter::Memory => Change::Memory(bytes(columns.memory_kib[row])),
            Filter::Binding => Change::Binding(bytes(columns.binding_kib[row])),
            Filter::Loops => Change::Loops(columns.loops[row]),
            Filter::Isa => Change::Isa(from_bits::<Isa>(word, bits::ISA).iter().next()?),
            Filter::Isolation => {
                let has = from_bits::<Layer>(word, bits::ISOLATION);
                Change::Isolation(need.isolation.iter().filter(|layer| has.has(*layer)).fold(Set::EMPTY, Set::with))
            }
            Filter::Region => Change::Country(country_text(columns.country[row])),
            Filter::Operator => self.admit(columns.keys[row].provider, columns.operator[row]),
            Filter::Currency => Change::Currency(columns.keys[row].currency),
            Filter::Price => Change::PriceCap(U256::from(self.query.pricing.per_unit(columns, row))),
            Filter::Deadline => Change::Deadline(self.query.costed(columns, row).finish_us.min(TIME_US_MAX)),
            Filter::Residency => self.residency(columns.country[row], word),
            Filter::Proof => Change::Proved(need.proved.lower(columns.proved[row])),
            Filter::Stake if need.class_allows_probation() => Change::Probation,
            Filter::Stake => Change::StakeMin(columns.stake_wei[row]),
            Filter::Probe => {
                let at = columns.probed_at_ms[row];
                Change::ProbeAge((at != 0).then(|| self.now_ms.saturating_sub(at)))
            }
            Filter::Reputation => {
                let failed = u64::from(columns.failure_q20[row]).saturating_mul(u64::from(PPM)).div_ceil(1 << 20);
                Change::CompletedMin(PPM.saturating_sub(u32::try_from(failed).unwrap_or(PPM)))
            }
            Filter::Blob => {
                let missing = |name| self.table.watch_bit(name).is_none_or(|bit| columns.cached[row] & bit == 0);
                Change::SendBlobs(need.blobs.iter().map(|blob| blob.name).filter(|name| missing(*name)).collect())
            }
        })
    }

    fn admit(&self, provider: Address, operator: u64) -> Change {
        let same = |name: &&String| operator_tag(name, provider) == operator;
        Change::Admit {
            operators: self.need.operators_excluded.iter().filter(same).cloned().collect(),
            provider: self.need.providers_excluded.contains(&provider).then_some(provider),
        }
    }

    fn residency(&self, country: u16, word: u64) -> Change {
        let attested = word & bits::ATTESTED != 0;
        let needs_attested = self.need.residency.as_ref().is_some_and(|rule| rule.evidence == Evidence::Attested);
        Change::Residency { country: country_text(country), claimed_is_enough: needs_attested && !attested }
    }
}

const fn bytes(kib: u32) -> u64 {
    (kib as u64).wrapping_shl(10)
}

fn country_text(number: u16) -> Option<String> {
    debug_assert!(number <= COUNTRY_NONE);
    country_of(number).map(|country| country.map(char::from).iter().collect())
}

fn from_bits<T: Member>(word: u64, by: u32) -> Set<T> {
    // LOSSY: the other lists of the word lie above and are cut off, or are masked away below.
    #[allow(clippy::cast_possible_truncation)]
    let low = word.wrapping_shr(by) as u16;
    Set::from_bits(low & Set::<T>::all().bits()).unwrap_or_default()
}

impl WhyNot {
    /// The explanation for a person: one line a filter, then advice. `unit_of` writes amounts of a currency.
    #[must_use]
    pub fn words(&self, need: &Need, unit_of: &dyn Fn(Currency) -> Unit) -> String {
        let mut text = format!("{} of {} offers fit\n", self.matched, self.offers);
        // Writing to a string does not fail.
        let mut line = |arguments: core::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{arguments}");
        };
        for Fallen { filter, any, first, only } in &self.fallen {
            line(format_args!(
                "  {:<11} {any} fall, {first} here first, {only} only here: the provider {}",
                filter.code(),
                filter.words()
            ));
        }
        let mut advice = |relaxation: &Relaxation| {
            let unit = unit_of(need.currency);
            let changes: Vec<String> = relaxation.changes.iter().map(|change| change.words(need, &unit)).collect();
            let price = unit_of(relaxation.key.currency).show(relaxation.price);
            line(format_args!(
                "  {}: then {} takes it for {price} in all",
                changes.join(" and "),
                relaxation.key.provider
            ));
        };
        self.singles.iter().for_each(&mut advice);
        self.pair.iter().for_each(&mut advice);
        if self.matched == 0 && self.singles.is_empty() && self.pair.is_none() {
            line(format_args!("  no change of one or two conditions brings in an offer"));
        }
        text
    }
}
