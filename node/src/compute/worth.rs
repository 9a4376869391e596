//! Whether windows of an audited channel are worth their gas: what they pay their provider, beside what its own transactions for them cost.
//!
//! # Not here
//! What the work itself costs: that is in the price. Appeals, and what others send: checks and the ends of windows have their own fees.
//!
//! Spec: specs/0011-stream.md §7.

use super::amount::kst;
use alloy_primitives::U256;
use keystead_audit::draw::PPM;
use keystead_job::JobSpec;
use keystead_lease::STEPS_MAX;

/// Gas of a window: its announcement, and a claim, which is seldom for one window alone (`contracts/snapshots/Channel.json`).
const WINDOW_GAS: u64 = 370_000;
/// Gas of the opening of a step that is drawn (`contracts/snapshots/Audit.json`).
const OPENED_GAS: u64 = 78_000;

/// What is paid and what is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    /// For a step, wei.
    pub(crate) step_wei: u128,
    /// How many of a million steps are drawn.
    pub(crate) rate_ppm: u32,
    /// For a gas, as a transaction pays it now, wei.
    pub(crate) gas_wei: u128,
}

/// So much work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) windows: u64,
    pub(crate) steps: u64,
}

/// Pay and cost of some windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worth {
    windows: u64,
    steps: u64,
    pub(crate) pay_wei: u128,
    pub(crate) cost_wei: u128,
}

impl Worth {
    /// Of the largest window that a job has.
    pub(crate) fn of_window(spec: &JobSpec, prices: Prices) -> Self {
        Self::of(Amount { windows: 1, steps: window_steps(spec.unit_count, spec.segment_count) }, prices)
    }

    pub(crate) fn of(Amount { windows, steps }: Amount, prices: Prices) -> Self {
        let drawn = steps.saturating_mul(prices.rate_ppm.min(PPM).into()).div_ceil(PPM.into());
        let gas = windows.saturating_mul(WINDOW_GAS).saturating_add(drawn.saturating_mul(OPENED_GAS));
        let pay_wei = prices.step_wei.saturating_mul(steps.into());
        Self { windows, steps, pay_wei, cost_wei: prices.gas_wei.saturating_mul(gas.into()) }
    }

    /// Whether the gas costs more than so many percent of the pay.
    pub(crate) fn costs_more_than(&self, percent: u16) -> bool {
        self.cost_wei.saturating_mul(100) > self.pay_wei.saturating_mul(percent.into())
    }

    /// Both amounts, in words.
    pub(crate) fn words(&self) -> String {
        let (pay, cost) = (kst(U256::from(self.pay_wei)), kst(U256::from(self.cost_wei)));
        let what = match self.windows {
            1 => format!("a window of {} steps pays", self.steps),
            many => format!("{many} windows of {} steps in all pay", self.steps),
        };
        format!("{what} {pay}, its provider's gas for that is about {cost} now")
    }
}

/// Steps of the largest window of a job with so many units and segments of each.
fn window_steps(units: u32, segments: u32) -> u64 {
    u64::from(units).saturating_mul(segments.into()).min(STEPS_MAX.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const GWEI: u128 = 1_000_000_000;
    const PRICES: Prices = Prices { step_wei: 1_000_000 * GWEI, rate_ppm: 30_000, gas_wei: GWEI };

    fn window(prices: Prices) -> Worth {
        Worth::of(Amount { windows: 1, steps: 64 }, prices)
    }

    #[test]
    fn a_window_costs_its_announcement_a_claim_and_the_openings_that_are_expected() {
        // Two of 64 steps.
        let usual = window(PRICES);
        assert_eq!((usual.pay_wei, usual.cost_wei), (64_000_000 * GWEI, (370_000 + 2 * 78_000) * GWEI));
        let probation = window(Prices { rate_ppm: 1_000_000, ..PRICES });
        assert_eq!(probation.cost_wei, (370_000 + 64 * 78_000) * GWEI);
        let three = Worth::of(Amount { windows: 3, steps: 64 }, PRICES);
        assert_eq!(three.cost_wei, (3 * 370_000 + 2 * 78_000) * GWEI);
        assert!(three.words().starts_with("3 windows of 64 steps in all pay 0.064 KST"), "{}", three.words());
    }

    #[test]
    fn the_default_price_pays_for_the_gas_of_a_single_step_at_the_first_base_fee() {
        // `provide --price` by default, and the least tip; also where every step is drawn.
        for rate_ppm in [30_000, 1_000_000] {
            let prices = Prices { rate_ppm, gas_wei: GWEI + GWEI / 1_000, ..PRICES };
            assert!(!Worth::of(Amount { windows: 1, steps: 1 }, prices).costs_more_than(100));
            assert!(!window(prices).costs_more_than(10));
        }
    }

    #[test]
    fn what_costs_exactly_the_share_is_worth_it_and_a_wei_more_is_not() {
        let prices = Prices { step_wei: 526_000 / 2, rate_ppm: 30_000, gas_wei: 16 };
        // 64 steps pay twice what their gas costs.
        let half = window(prices);
        assert_eq!(half.pay_wei, half.cost_wei * 2);
        assert!(!half.costs_more_than(50) && half.costs_more_than(49) && !half.costs_more_than(u16::MAX));
        assert!(Worth { cost_wei: half.cost_wei + 1, ..half }.costs_more_than(50));
        assert!(window(Prices { step_wei: 0, ..prices }).costs_more_than(100));
        assert_eq!(
            half.words(),
            "a window of 64 steps pays 0.000000000016832 KST, its provider's gas for that is about 0.000000000008416 KST now"
        );
    }

    #[test]
    fn a_small_job_has_a_small_window_and_no_job_a_larger_one_than_a_lease() {
        let found = [(4, 1), (4, 3), (64, 1), (65, 1), (3, 1_000), (u32::MAX, u32::MAX)];
        assert_eq!(found.map(|(units, segments)| window_steps(units, segments)), [4, 12, 64, 64, 64, 64]);
    }
}
