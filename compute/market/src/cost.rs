//! What an offer costs a customer, in one number of money: the price and everything else that the customer said it is worth.
//!
//! # Design
//! ```text
//! cost = price + v_t * (queue + stage + run + net) + v_c * gCO2 + risk
//! price = (units + checks * (1 + fee)) * price_per_unit       what is paid, all in all; fixed before the order, whatever the time
//! run   = ceil(units / lanes) * work / speed
//! stage = bytes of blobs that are not there / min(provider's down, all holders' up)
//! net   = rounds * round trip + inputs / down + outputs / up
//! gCO2  = power * run * carbon of a kilowatt-hour             claimed, or the worst that is known (crate::carbon)
//! risk  = (1 - p_ok) * (price + v_t * run),   p_ok = (completed + 1) / (completed + failed + 2)
//! ```
//! The lane of probation checks every unit, so its `checks` are all units. Money is in smallest units of the job's currency, time in
//! microseconds. Values of time and carbon are held as 2^-20 per microsecond, so that one shift replaces a division: the error of a term is
//! below one smallest unit per second, and the same everywhere.
//!
//! # Invariants
//! Nothing overflows: a price per unit is at most 10^24 < 2^80, paid units in 1/1024 are below 2^32, each time is at most 2^40 us (longer ones count as that), each value
//! below 2^81 per microsecond in 2^-20. So `price < 2^103`, a term of time is below 2^123 before the shift, one of carbon below 2^128, and
//! the sum below 2^110.

use crate::{
    need::{Checks, Lane, Need, TIME_US_MAX, Weights},
    offer::kernel_index,
    record::claimed::LANES_MAX,
    table::{Columns, duration_us, reciprocal},
};

const SHIFT: u32 = 20;
const MASK: u128 = (1 << SHIFT) - 1;
const MICRO: u128 = 1_000_000;

/// What one offer means for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Costed {
    pub(crate) per_unit: u128,
    pub(crate) price: u128,
    pub(crate) queue_us: u64,
    pub(crate) stage_us: u64,
    pub(crate) unit_us: u64,
    pub(crate) run_us: u64,
    pub(crate) net_us: u64,
    pub(crate) finish_us: u64,
}

/// The part of a job that its cost depends on, prepared once.
#[derive(Clone, Debug)]
pub(crate) struct Pricing {
    /// How often a device with so many lanes takes them all: a division for each offer is saved.
    turns: Vec<u32>,
    kernel: usize,
    work_mop: u64,
    /// Paid units in 1/1024, by lane: bonded, probation.
    paid_q10: [u128; 2],
    /// (bit, bytes) of the blobs.
    blobs: Vec<(u64, u64)>,
    source: u64,
    input_bytes: u64,
    output_bytes: u64,
    rounds: u64,
    time_q20: u128,
    carbon_q40: u128,
}

/// Units that are paid, in 1/1024: the job's own, the checked ones, and the fee on top of these.
pub(crate) fn paid_q10(units: u32, checks: Checks, lane: Lane) -> u128 {
    let checked = u128::from(match lane {
        Lane::Bonded => checks.units(units),
        Lane::Probation => units,
    });
    let fee = u128::from(checks.fee_per_1024).wrapping_add(1_024);
    u128::from(units).wrapping_mul(1_024).wrapping_add(checked.wrapping_mul(fee))
}

/// `ceil(per_unit * paid / 1024)`.
pub(crate) const fn all_in(per_unit: u128, paid_q10: u128) -> u128 {
    per_unit.wrapping_mul(paid_q10).wrapping_add(1_023).wrapping_shr(10)
}

/// `floor(a * b / 2^20)` for `b <= 2^20`, exact, without a product of more than 128 bits.
const fn times_q20(a: u128, b: u128) -> u128 {
    let high = a.wrapping_shr(SHIFT).wrapping_mul(b);
    let low = (a & MASK).wrapping_mul(b).wrapping_shr(SHIFT);
    high.wrapping_add(low)
}

fn clamped(us: u64) -> u64 {
    us.min(TIME_US_MAX)
}

impl Pricing {
    /// `blobs` are (bit, bytes) in the table that is planned over. The need was checked against its bounds.
    pub(crate) fn new(need: &Need, blobs: Vec<(u64, u64)>) -> Self {
        let Weights { time_per_s, carbon_per_g } = need.weights;
        Self {
            turns: (0..=u32::from(LANES_MAX)).map(|lanes| need.units.div_ceil(lanes.max(1))).collect(),
            kernel: kernel_index(need.kernel),
            work_mop: need.work_mop,
            paid_q10: [Lane::Bonded, Lane::Probation].map(|lane| paid_q10(need.units, need.checks, lane)),
            blobs,
            source: reciprocal(need.source_bytes_per_s),
            input_bytes: need.input_bytes,
            output_bytes: need.output_bytes,
            rounds: u64::from(need.rounds),
            time_q20: time_per_s.wrapping_shl(SHIFT).wrapping_div(MICRO),
            // Per microgram and microsecond of a rate per second: 10^12 parts of a gram-second.
            carbon_q40: carbon_per_g.wrapping_shl(2 * SHIFT).wrapping_div(MICRO * MICRO),
        }
    }

    /// The price of one unit at this row; above any cap if it overflows one.
    pub(crate) fn per_unit(&self, columns: &Columns, row: usize) -> u128 {
        let work = u128::from(columns.per_mop[self.kernel][row]).wrapping_mul(u128::from(self.work_mop));
        work.max(columns.per_unit_min[row])
    }

    /// What is paid for everything at this price of a unit.
    pub(crate) const fn price(&self, per_unit: u128, lane: Lane) -> u128 {
        all_in(per_unit, self.paid_q10[lane as usize])
    }

    /// Price and times of a row whose price of a unit is within the market's bound.
    pub(crate) fn costed(&self, columns: &Columns, row: usize, lane: Lane) -> Costed {
        let per_unit = self.per_unit(columns, row);
        let unit_us = clamped(duration_us(self.work_mop, columns.slowness[self.kernel][row]).max(1));
        // No offer has more lanes than LANES_MAX.
        let turns = self.turns.get(usize::from(columns.lanes[row])).copied().unwrap_or(u32::MAX);
        let run_us = clamped(unit_us.wrapping_mul(u64::from(turns)));
        let (down, cached) = (columns.down[row], columns.cached[row]);
        let missing = self
            .blobs
            .iter()
            .fold(0u64, |sum, (bit, bytes)| if cached & bit == 0 { sum.wrapping_add(*bytes) } else { sum });
        let stage_us = clamped(duration_us(missing, down.max(self.source)));
        let moved = clamped(duration_us(self.input_bytes, down))
            .wrapping_add(clamped(duration_us(self.output_bytes, columns.up[row])));
        let net_us = clamped(self.rounds.wrapping_mul(u64::from(columns.rtt_us[row])).wrapping_add(moved));
        let queue_us = clamped(columns.queue_us[row]);
        let finish_us = clamped(queue_us.wrapping_add(stage_us).wrapping_add(run_us).wrapping_add(net_us));
        Costed { per_unit, price: self.price(per_unit, lane), queue_us, stage_us, unit_us, run_us, net_us, finish_us }
    }

    /// The one number by which offers are ranked.
    pub(crate) fn cost(&self, columns: &Columns, row: usize, costed: &Costed) -> u128 {
        let waited = self.time_q20.wrapping_mul(u128::from(costed.finish_us)).wrapping_shr(SHIFT);
        let carbon_q20 = self.carbon_q40.wrapping_mul(u128::from(columns.carbon_ug_per_s[row])).wrapping_shr(SHIFT);
        let carbon = carbon_q20.wrapping_mul(u128::from(costed.run_us)).wrapping_shr(SHIFT);
        let ran = self.time_q20.wrapping_mul(u128::from(costed.run_us)).wrapping_shr(SHIFT);
        let risk = times_q20(costed.price.wrapping_add(ran), u128::from(columns.failure_q20[row]));
        costed.price.wrapping_add(waited).wrapping_add(carbon).wrapping_add(risk)
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_share_in_parts_of_two_to_the_twentieth_is_exact_at_its_edges() {
        for a in [0u128, 1, 999_999, 1 << 20, (1 << 100) - 1] {
            assert_eq!(times_q20(a, 1 << 20), a);
            assert_eq!(times_q20(a, 0), 0);
            assert_eq!(times_q20(a, 1), a >> 20);
            assert_eq!(times_q20(a, 524_288), a / 2);
        }
    }

    #[test]
    fn paying_rounds_up_to_a_whole_smallest_unit() {
        assert_eq!(all_in(1, 1), 1);
        assert_eq!(all_in(1_000, 1_024), 1_000);
        assert_eq!(all_in(1_000, 1_025), 1_001);
        // One unit, checked once with a fifth on top.
        assert_eq!(paid_q10(1, Checks::START, Lane::Bonded), 1_024 + 1_229);
        assert_eq!(paid_q10(1_000, Checks::START, Lane::Bonded), 1_024_000 + 30 * 1_229);
        assert_eq!(paid_q10(1_000, Checks::START, Lane::Probation), 1_024_000 + 1_000 * 1_229);
    }
}
