//! The same answers by other means: an array of whole offers, every filter and the cost formula written down as the notes have them, with
//! big integers and divisions, then a sort.

use crate::sample::NOW_MS;
use alloy_primitives::{B256, U256, U512};
use keystead_job::Runtime;
use keystead_market::{
    filter::Filter,
    need::{BlobPlace, Evidence, Lane, Need, Probation, TIME_US_MAX},
    offer::{Key, Offer, kernel_index},
    table::Probe,
};
use std::collections::BTreeSet;

pub(crate) struct Known {
    pub(crate) offer: Offer,
    pub(crate) probe: Option<Probe>,
}

pub(crate) struct Judged {
    pub(crate) failed: BTreeSet<Filter>,
    pub(crate) per_unit: U256,
    pub(crate) price: U256,
    pub(crate) finish_us: u64,
    pub(crate) cost: U256,
    pub(crate) lane: Lane,
}

fn clamp(us: U256) -> U256 {
    us.min(U256::from(TIME_US_MAX))
}

/// Microseconds of `things` at so many a second, by the rounding that the table promises: the reciprocal up, the product down.
fn time_us(things: u64, per_second: u64) -> U256 {
    let scale: U256 = U256::from(1u64) << 32usize;
    let reciprocal = (scale * U256::from(1_000_000u64)).div_ceil(U256::from(per_second.max(1)));
    U256::from(things) * reciprocal / scale
}

fn believed(claimed: u64) -> u64 {
    claimed.min(1_250_000)
}

impl Known {
    fn holds(&self, name: B256) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.blobs.contains(&name))
    }

    fn free_kib(&self) -> u64 {
        let probed = self.probe.as_ref().map_or(u64::MAX, |probe| probe.free_memory_bytes);
        self.offer.memory_bytes.min(probed) / 1_024
    }

    const fn lane(&self, need: &Need) -> Lane {
        if self.offer.stake_wei >= need.stake.min_wei { Lane::Bonded } else { Lane::Probation }
    }

    pub(crate) const fn key(&self) -> Key {
        self.offer.key
    }

    pub(crate) fn judge(&self, need: &Need) -> Judged {
        let offer = &self.offer;
        let at = kernel_index(need.kernel);
        let lane = self.lane(need);
        let by_work = U256::from(offer.per_mop[at].unwrap_or(0)) * U256::from(need.work_mop);
        let per_unit = by_work.max(U256::from(offer.per_unit_min.max(1)));
        let units = U256::from(need.units);
        let checked = match lane {
            Lane::Bonded => U256::from(need.units.min((need.units * 3).div_ceil(100).max(10))),
            Lane::Probation => units,
        };
        let fees = (per_unit * checked * U256::from(205u64)).div_ceil(U256::from(1_024u64));
        let price = per_unit * units + per_unit * checked + fees;
        let rtt = self.probe.as_ref().map_or(150_000, |probe| probe.rtt_us);
        let queue = clamp(U256::from(self.probe.as_ref().map_or(0, |probe| probe.queue_us)));
        // Without a speed there is no time either; the filter says so.
        let unit = offer.speed_mop_per_s[at].map_or(U256::ZERO, |speed| time_us(need.work_mop, speed));
        let unit = clamp(unit.max(U256::from(1u64)));
        let run = clamp(unit * U256::from(need.units.div_ceil(u32::from(offer.lanes))));
        let (down, up) = (believed(offer.down_bytes_per_s), believed(offer.up_bytes_per_s));
        let missing: u64 = need.blobs.iter().filter(|blob| !self.holds(blob.name)).map(|blob| blob.bytes).sum();
        let stage = clamp(time_us(missing, down.max(1).min(need.source_bytes_per_s)));
        let moved = clamp(time_us(need.input_bytes, down)) + clamp(time_us(need.output_bytes, up));
        let net = clamp(U256::from(need.rounds) * U256::from(rtt) + moved);
        let finish = clamp(queue + stage + run + net);
        let cost = cost(need, offer, price, run, finish);
        let failed = self.failed(need, per_unit, finish.to(), lane);
        Judged { failed, per_unit, price, finish_us: finish.to(), cost, lane }
    }

    fn failed(&self, need: &Need, per_unit: U256, finish_us: u64, lane: Lane) -> BTreeSet<Filter> {
        let offer = &self.offer;
        let at = kernel_index(need.kernel);
        let mut failed = BTreeSet::new();
        let mut demand = |filter: Filter, good: bool| {
            if !good {
                failed.insert(filter);
            }
        };
        demand(Filter::Offering, offer.offering);
        let runtime = match need.runtime {
            Runtime::Wasm1 => offer.runtime == Runtime::Wasm1,
            Runtime::Wgsl1 => offer.runtime == Runtime::Wgsl1,
        };
        demand(Filter::Runtime, runtime && (need.engines.is_empty() || need.engines.contains(&offer.engine)));
        demand(Filter::Class, offer.classes.has(need.class));
        demand(Filter::Kernel, offer.per_mop[at].is_some() && offer.speed_mop_per_s[at].is_some());
        demand(Filter::Hardware, need.kinds.has(offer.kind));
        demand(Filter::Memory, self.free_kib() >= need.memory_bytes.div_ceil(1_024));
        demand(Filter::Binding, offer.binding_bytes / 1_024 >= need.binding_bytes.div_ceil(1_024));
        demand(Filter::Loops, offer.loop_iterations >= need.loop_iterations);
        demand(Filter::Isa, need.isas.has(offer.isa));
        demand(Filter::Isolation, need.isolation.iter().all(|layer| offer.isolation.has(layer)));
        let inside = |countries: &BTreeSet<[u8; 2]>| offer.country.is_some_and(|country| countries.contains(&country));
        demand(Filter::Region, need.countries.is_empty() || inside(&need.countries));
        let excluded = (!offer.operator.is_empty() && need.operators_excluded.contains(&offer.operator))
            || need.providers_excluded.contains(&offer.key.provider);
        demand(Filter::Operator, !excluded);
        demand(Filter::Currency, offer.key.currency == need.currency);
        let cap = U256::from(10u64).pow(U256::from(24u64));
        demand(Filter::Price, per_unit <= need.price_per_unit_max.unwrap_or(cap).min(cap));
        demand(Filter::Deadline, finish_us <= need.deadline_us);
        demand(
            Filter::Residency,
            need.residency.as_ref().is_none_or(|rule| {
                inside(&rule.countries) && (offer.country_attested || rule.evidence == Evidence::Claimed)
            }),
        );
        let proved = [
            (offer.proved.throughput, need.proved.throughput),
            (offer.proved.memory, need.proved.memory),
            (offer.proved.bandwidth, need.proved.bandwidth),
        ];
        demand(
            Filter::Proof,
            proved.into_iter().all(|(has, least)| least.is_none_or(|least| has.is_some_and(|has| has >= least))),
        );
        let probation = need.stake.probation == Probation::Allowed && need.class_allows_probation();
        demand(Filter::Stake, lane == Lane::Bonded || probation);
        let young = |age: u64| self.probe.as_ref().is_some_and(|probe| NOW_MS - probe.at_ms <= age);
        demand(Filter::Probe, need.probe_age_ms_max.is_none_or(young));
        // 1 - p_ok and 1 - floor, both rounded down to 2^-20.
        let history = offer.history;
        let risk = (u64::from(history.failed) + 1) * (1 << 20) / (u64::from(history.completed + history.failed) + 2);
        demand(Filter::Reputation, risk <= u64::from(1_000_000 - need.completed_ppm_min) * (1 << 20) / 1_000_000);
        let there = |blob: &keystead_market::need::Blob| blob.place == BlobPlace::Anywhere || self.holds(blob.name);
        demand(Filter::Blob, need.blobs.iter().all(there));
        failed
    }
}

/// The formula of the notes with wide integers, each term rounded down as the documentation of the cost says.
fn cost(need: &Need, offer: &Offer, price: U256, run: U256, finish: U256) -> U256 {
    let scale: U256 = U256::from(1u64) << 20usize;
    let per_us = U256::from(need.weights.time_per_s) * scale / U256::from(1_000_000u64);
    let waited = per_us * finish / scale;
    let ran = per_us * run / scale;
    let or = |claimed: u32, unsaid: u64| if claimed == 0 { unsaid } else { u64::from(claimed) };
    // Two kilowatts, 1,200 g a kilowatt-hour: specs/0010-capability.md section 10.
    let rate = or(offer.power_mw, 2_000_000) * or(offer.carbon_g_per_kwh, 1_200) / 3_600;
    let per_ug = U256::from(need.weights.carbon_per_g) * scale * scale / U256::from(1_000_000_000_000u64);
    let carbon = per_ug * U256::from(rate) / scale * run / scale;
    let history = offer.history;
    let failure = (u64::from(history.failed) + 1) * (1 << 20) / (u64::from(history.completed + history.failed) + 2);
    let risk = U512::from(price + ran) * U512::from(failure) / U512::from(1u64 << 20);
    price + waited + carbon + risk.to::<U256>()
}
