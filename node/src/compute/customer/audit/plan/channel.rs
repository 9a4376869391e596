//! The terms of a channel whose windows are audited, and what that costs.
//!
//! # Design
//! A window has up to [`STEPS_MAX`] steps, and a step is what is drawn, run again and judged: a unit of one segment for the audit. Several windows of a
//! provider are open at once, each with its own bond.

use super::{Ask, Panel, Shape, Unfit, lane::Lane, lengthen, panel, percent, worth};
use crate::compute::{
    amount::kst,
    bond::Bonds,
    customer::{audit::options::AuditOptions, plan::Prepared},
    market::Market,
    windows::life_max,
    worth::{Prices, Worth},
};
use alloy_primitives::{Address, U256};
use eyre::Result;
use keystead_audit::{draw::PPM, economics::Checking};
use keystead_contracts::{
    BOND_ADDRESS,
    bindings::{bond::Bond, market::IAuditTypes},
};
use keystead_lease::STEPS_MAX;
use keystead_payment::Budget;
use std::{sync::Arc, time::Duration};

/// Windows of a provider that share its bond: a window of some minutes is open for about as long after its end.
const WINDOWS_AT_ONCE: u32 = 4;
/// Steps for which the expected checks are told.
const STEPS_TOLD: u32 = 100;

/// How the windows of a channel will be audited.
#[derive(Clone, Debug)]
pub(crate) struct ChannelPlan {
    pub(crate) terms: IAuditTypes::Terms,
    /// What checks take from the channel.
    pub(crate) budget: Budget,
    price_wei_per_step: u128,
    is_enough: bool,
    /// Chance that one wrong step is found.
    caught_ppm: u32,
    at_risk_wei: Option<U256>,
    /// Places of the list that checkers are drawn from, as it is now.
    places: u32,
    /// What a full window pays its provider, and costs it in gas now.
    worth: Worth,
    /// What a panel of referees can do about a dispute.
    panel: Panel,
}

/// What a window's checks take from a channel with steps of this price, at the rate that its provider's record gives.
pub(crate) fn budget(price_wei_per_step: u128, terms: &IAuditTypes::Terms, rate_ppm: u32) -> Budget {
    let fee_wei = super::part(U256::from(price_wei_per_step), terms.feePpm).saturating_to();
    Budget { rate_ppm, checkers: terms.checkers, fee_wei }
}

impl Shape {
    const CHANNEL: Self = Self { units: STEPS_MAX, segments: 1, at_once: WINDOWS_AT_ONCE };
}

impl ChannelPlan {
    /// The terms for a channel with one provider at this price of a step; the outer error is the node's.
    pub(in crate::compute) async fn make(
        options: &AuditOptions,
        market: &Market,
        prepared: &Prepared,
        (provider, price_wei_per_step): (Address, u128),
    ) -> Result<Result<Self, Unfit>> {
        let (bonds, spec) = (Bonds { account: Arc::clone(&market.account) }, &prepared.spec);
        let free_bond_wei = bonds.free_wei_of(provider).await?;
        let shape = Shape::CHANNEL;
        let ask = Ask { spec, options, shape, value_wei_per_unit: price_wei_per_step, free_bond_wei };
        let (mut terms, strength) = match ask.terms(provider) {
            Ok(terms) => terms,
            Err(unfit) => return Ok(Err(unfit)),
        };
        // A step is what a referee runs: a segment of a unit, as in an order.
        let panel = match panel(options, prepared, &terms).await {
            Ok(panel) => panel,
            Err(unfit) => return Ok(Err(unfit)),
        };
        lengthen(&mut terms, panel);
        let rate_ppm = market.windows().effective_rate_ppm(provider, &terms).await?;
        let places = market.account.read(BOND_ADDRESS, &Bond::placesNowCall {}).await?.places;
        let gas_wei = market.account.fee_per_gas().await?;
        let worth = Worth::of_window(spec, Prices { step_wei: price_wei_per_step, rate_ppm, gas_wei });
        Ok(Ok(Self {
            budget: budget(price_wei_per_step, &terms, rate_ppm),
            price_wei_per_step,
            is_enough: strength.is_enough,
            caught_ppm: Checking { rate_ppm, ..ask.checking(terms.checkers) }.caught_ppm(),
            at_risk_wei: options.value_at_risk,
            places,
            worth,
            panel,
            terms,
        }))
    }

    /// How long a window may live after its announcement.
    pub(crate) fn life_max(&self) -> Duration {
        life_max(&self.terms)
    }

    /// Checks that are expected of so many steps, rounded up.
    fn checks(&self, steps: u32) -> u128 {
        let Budget { rate_ppm, checkers, .. } = self.budget;
        let millionths = u128::from(steps).saturating_mul(rate_ppm.into()).saturating_mul(checkers.into());
        millionths.div_ceil(u128::from(PPM))
    }

    /// What a step costs with its checks, about.
    fn all_in_wei(&self) -> u128 {
        let Budget { rate_ppm, checkers, fee_wei } = self.budget;
        let checks_wei = fee_wei.saturating_mul(rate_ppm.into()).saturating_mul(checkers.into());
        self.price_wei_per_step.saturating_add(checks_wei.div_ceil(u128::from(PPM)))
    }

    /// What the person reads before anything is paid.
    pub(crate) fn lines(&self) -> Vec<String> {
        let bond_wei = U256::from(self.terms.bondWei);
        let checkers = match self.terms.checkers {
            1 => "1 checker".to_owned(),
            many => format!("{many} checkers"),
        };
        let Budget { rate_ppm, fee_wei, .. } = self.budget;
        let draw = if rate_ppm >= PPM {
            format!("every step by {checkers} drawn by lot")
        } else {
            format!("each step with a chance of {} by {checkers} drawn by lot", percent(rate_ppm))
        };
        let mut lines = vec![
            format!(
                "Audit: {draw}, {} a check; about {} checks are expected for {STEPS_TOLD} steps",
                kst(U256::from(fee_wei)),
                self.checks(STEPS_TOLD)
            ),
            format!(
                "All in: about {} a step of {}, and gas; {} are taken for the checks of a window of {STEPS_MAX} steps, and what they do not cost comes back",
                kst(U256::from(self.all_in_wei())),
                kst(U256::from(self.price_wei_per_step)),
                kst(U256::from(self.budget.of(STEPS_MAX)))
            ),
        ];
        lines.extend(self.panel.line());
        if self.places == 0 {
            lines.push(
                "Warning: nobody on this network has a seat now, so nobody may check: then the result stays unverified, and what was taken comes back"
                    .to_owned(),
            );
        }
        if self.worth.costs_more_than(100) {
            lines.push(format!(
                "Warning: {}. A provider that counts it (`keystead provide --window-gas`) does not take the channel: larger units, or a provider with a higher price, make a window worth it",
                self.worth.words()
            ));
        }
        lines.extend(Lane { bond_wei, asked_ppm: self.terms.ratePpm, rate_ppm }.probation("step"));
        if !bond_wei.is_zero() {
            let bond = kst(bond_wei);
            lines.push(format!("Bond of the provider behind each window: {bond}, lost if one step is found wrong"));
        }
        lines.push(worth(("step", "job"), self.is_enough, self.at_risk_wei, self.caught_ppm));
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::{
        customer::audit::{
            plan::tests::{PRICE, options},
            referee::{Run, Times},
        },
        samples::spec,
    };
    use keystead_job::{Class, JobSpec};

    fn terms(spec: &JobSpec, options: &AuditOptions, free_bond: u128) -> Result<IAuditTypes::Terms, Unfit> {
        let free_bond_wei = U256::from(free_bond);
        let ask = Ask { spec, options, shape: Shape::CHANNEL, value_wei_per_unit: PRICE, free_bond_wei };
        ask.terms(Address::repeat_byte(9)).map(|(terms, _)| terms)
    }

    #[test]
    fn a_channels_step_is_a_unit_of_one_segment_whatever_the_job_has() {
        let table = [
            (Class::Exact, 8, 1_000_000, 30_000),
            (Class::Tolerance, 8, 1_000_000, 30_000),
            (Class::SelfChecking, 1, 250_000, 30_000),
        ];
        for (class, segments, fee_ppm, rate_ppm) in table {
            let terms = terms(&spec(class, 1_000, segments), &options(), 10_000 * PRICE).unwrap();
            assert_eq!((terms.segments, terms.feePpm, terms.ratePpm), (1, fee_ppm, rate_ppm), "{class:?}");
            assert_ne!(terms.bondWei, 0, "{class:?}");
            assert!(terms.canary.is_zero() && terms.named.is_zero());
        }
    }

    #[test]
    fn a_quarter_of_the_free_bond_stands_behind_a_window_or_all_of_it_if_a_quarter_is_too_little() {
        let job = spec(Class::Exact, 1_000, 1);
        let risk = AuditOptions { value_at_risk: Some(U256::from(20 * PRICE)), ..options() };
        let bond = |free: u128| terms(&job, &risk, free).unwrap().bondWei;
        // Too little for the lowest rate: all that may be used is bound.
        assert_eq!(bond(400 * PRICE), 100 * PRICE);
        assert_eq!(bond(400 * PRICE - 4), 400 * PRICE - 4);
        assert_eq!(bond(440 * PRICE), 110 * PRICE);
        // Without enough for one window: probation, and for a tolerance nothing.
        let none = terms(&job, &options(), 100 * PRICE - 1).unwrap();
        assert_eq!((none.bondWei, none.ratePpm), (0, 1_000_000));
        let unfit = terms(&spec(Class::Tolerance, 1_000, 4), &options(), 100 * PRICE - 1).unwrap_err();
        assert!(matches!(unfit, Unfit::Bond { .. }), "{unfit}");
    }

    #[test]
    fn the_person_reads_draw_fee_bond_and_price_of_a_step() {
        let job = spec(Class::Exact, 1_000, 4);
        let terms = terms(&job, &options(), 400 * PRICE).unwrap();
        let worth = |gas_wei| Worth::of_window(&job, Prices { step_wei: PRICE, rate_ppm: 30_000, gas_wei });
        let plan = ChannelPlan {
            budget: budget(PRICE, &terms, 30_000),
            terms,
            price_wei_per_step: PRICE,
            is_enough: true,
            caught_ppm: 30_000,
            at_risk_wei: None,
            places: 0,
            worth: worth(1),
            panel: Panel::AsChecked,
        };
        assert_eq!((plan.checks(100), plan.all_in_wei()), (3, PRICE + PRICE * 3 / 100));
        assert_eq!(plan.budget.of(64), 43 * PRICE);
        let lines = plan.lines().join("\n");
        for words in ["a chance of 3 % by 1 checker", "about 3 checks", "nobody on this network", "behind each window"]
        {
            assert!(lines.contains(words), "{words}: {lines}");
        }
        assert!(!lines.contains("--window-gas") && !lines.contains("Referees"), "{lines}");
        let dear = ChannelPlan { worth: worth(1_000), ..plan }.lines().join("\n");
        assert!(dear.contains("a window of 64 steps pays") && dear.contains("--window-gas"), "{dear}");
    }
    #[test]
    fn windows_of_steps_that_a_referee_takes_long_for_have_times_in_which_it_ends_and_live_longer() {
        let asked = terms(&spec(Class::Tolerance, 1_000, 4), &options(), 400 * PRICE).unwrap();
        let times = Times { check_seconds: asked.checkSeconds, reveal_seconds: asked.revealSeconds };
        let with = |ms| {
            let mut longer = asked.clone();
            let panel = Panel::of(Class::Tolerance, Some(Run { ms, is_least: false }), times);
            lengthen(&mut longer, panel);
            (longer, panel)
        };
        assert_eq!((with(10).0.checkSeconds, with(10).0.revealSeconds), (asked.checkSeconds, asked.revealSeconds));
        let (longer, panel) = with(600_000);
        // Twice ten minutes on a machine of half the speed, and 16 seconds; and both again in the half of the time to reveal.
        assert_eq!((longer.checkSeconds, longer.revealSeconds), (1_216, 2_432));
        assert!(life_max(&longer) > life_max(&asked));
        assert!(panel.line().unwrap().contains("the time to check is 1216 s"));
    }
}
