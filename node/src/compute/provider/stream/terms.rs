//! What this provider asks of channels, and which audits it can keep.

use crate::compute::{channels::Agreed, provider::window, windows::life_max, worth::Worth};
use alloy_primitives::{Address, U256};
use keystead_job::{Class, JobSpec};
use keystead_market::Currency;
use keystead_payment::{Budget, Policy, Price};
use std::{
    num::{NonZeroU32, NonZeroU128},
    time::Duration,
};

/// Longest time of one window: a lease's work, its delivery and its check.
const WINDOW: Duration = Duration::from_secs(600);
/// Parts per million in a whole.
const PPM: u128 = 1_000_000;
/// Windows after which those of a channel must be worth their gas together: the first ones, and the last ones of a small job, have few steps.
pub(super) const TRIAL: u64 = 16;
/// They may cost so many times the share that a full window may: leases follow what a machine needs for a step, and what is left of the job.
const SLACK: u16 = 2;

/// What this provider asks of channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Wei for a unit in a channel in KST.
    pub(crate) price_wei: u128,
    /// How long the watcher may be away.
    pub(crate) watch: Duration,
    /// Bytes that all channels may keep.
    pub(crate) store_bytes_max: u64,
    /// Most that the gas of a full window may cost, percent of its pay; any, if the owner did not say.
    pub(crate) gas_percent: Option<u8>,
}

impl Terms {
    /// What a step of a job costs, in smallest units of a currency in which a unit of it is listed at `listed`; `None` if it is not listed. The price in
    /// KST is the register's.
    pub(super) fn price_of_step(&self, spec: &JobSpec, currency: Currency, listed: Option<U256>) -> Option<u128> {
        let of_unit = if currency == Currency::KST { self.price_wei } else { listed?.saturating_to() };
        Some(of_unit.div_ceil(u128::from(spec.segment_count.max(1))))
    }

    /// Why the owner does not take a channel whose full window is worth this, if it is so.
    pub(super) fn unworthy(&self, window: &Worth) -> Option<String> {
        let percent = self.gas_percent?;
        window.costs_more_than(percent.into()).then(|| {
            format!(
                "{}, above {percent} % of the pay: take larger units, a provider with a higher price, or no audit",
                window.words()
            )
        })
    }

    /// Why a channel whose windows so far, and the next one, are worth this takes no further lease, if it is so.
    pub(super) fn too_thin(&self, windows: &Worth) -> Option<String> {
        let percent = u16::from(self.gas_percent?).saturating_mul(SLACK);
        windows.costs_more_than(percent).then(|| {
            format!(
                "{}, above {percent} % of the pay: give larger leases (--window-seconds), larger units, or no audit",
                windows.words()
            )
        })
    }

    /// The terms as a payee needs them, with a step's price in a currency; of an audited channel with what was agreed and the rate of checks now.
    pub(super) fn policy(
        &self,
        account: Address,
        (price, currency): (u128, Currency),
        audit: Option<(&Agreed, u32)>,
    ) -> Option<Policy> {
        Some(Policy {
            account,
            token: currency.address(),
            price: Price { per_unit: NonZeroU128::new(price)?, units_max: NonZeroU32::new(keystead_lease::STEPS_MAX)? },
            window: WINDOW,
            audit: audit.map_or(Duration::ZERO, |(agreed, _)| life_max(&agreed.terms)),
            budget: audit.map_or_else(Budget::default, |(agreed, rate_ppm)| budget(agreed, rate_ppm)),
            watch: self.watch,
        })
    }
}

/// What the audit takes for the checks of a window. Spec: specs/0008-audit.md section 11.
fn budget(agreed: &Agreed, rate_ppm: u32) -> Budget {
    let fee_ppm = u128::from(agreed.terms.feePpm);
    let fee_wei = agreed.price_wei_per_step.saturating_mul(fee_ppm).checked_div(PPM).unwrap_or_default();
    Budget { rate_ppm, checkers: agreed.terms.checkers, fee_wei }
}

/// Why this provider does not work under an audit that stands on the chain, if it does not. `bond_wei` is what it can lock once no window of its own is open.
pub(super) fn refusal(agreed: &Agreed, spec: &JobSpec, price_wei: u128, bond_wei: U256) -> Option<String> {
    let Agreed { job_hash, price_wei_per_step, terms } = agreed;
    if *job_hash != spec.hash() {
        return Some(format!("the channel's audit is of another job: got={} expected={job_hash}", spec.hash()));
    }
    if *price_wei_per_step != price_wei {
        return Some(format!("the audit's price of a step is another: got={price_wei_per_step} expected={price_wei}"));
    }
    if terms.class != spec.class as u8 {
        return Some(format!("the audit's class is not the job's: got={} expected={}", terms.class, spec.class as u8));
    }
    if terms.segments != 1 {
        return Some(format!("a channel's audit looks at whole steps: segments={} expected=1", terms.segments));
    }
    if !terms.named.is_zero() {
        return Some("an audit by named checkers is for orders".to_owned());
    }
    if spec.class == Class::SelfChecking && spec.segment_count > 1 {
        return Some(format!(
            "a job that is self-checking is audited with one segment a unit: segments={}",
            spec.segment_count
        ));
    }
    window::foreign_judge(terms, spec).or_else(|| window::refusal(terms, keystead_lease::STEPS_MAX, bond_wei))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::shelf::tests::agreed, *};
    use crate::compute::{
        provider::record::tests::spec,
        worth::{Amount, Prices},
    };
    use alloy_primitives::B256;
    use keystead_blobs::REASON_BYTES_MAX;
    use keystead_contracts::bindings::market::IAuditTypes;

    fn with(change: impl FnOnce(&mut Agreed)) -> Option<String> {
        let spec = spec(4);
        let mut agreed = Agreed { job_hash: spec.hash(), ..agreed() };
        change(&mut agreed);
        refusal(&agreed, &spec, 10, U256::from(100))
    }

    #[test]
    fn an_audit_that_cannot_be_kept_is_refused_with_its_numbers() {
        let terms = |change: fn(&mut IAuditTypes::Terms)| with(|agreed| change(&mut agreed.terms)).unwrap();
        // 64 steps need twelve seconds to be opened, which is the first half of the time to reveal.
        assert_eq!(with(|_| {}), None);
        assert!(with(|agreed| agreed.job_hash = B256::ZERO).unwrap().contains("another job"));
        assert!(with(|agreed| agreed.price_wei_per_step = 9).unwrap().contains("got=9 expected=10"));
        assert!(terms(|terms| terms.class = 3).contains("got=3 expected=1"));
        assert!(terms(|terms| terms.segments = 2).contains("segments=2"));
        assert!(terms(|terms| terms.named = B256::repeat_byte(1)).contains("named"));
        assert!(terms(|terms| terms.bondWei = 101).contains("bond"));
        assert!(terms(|terms| terms.revealSeconds = 23).contains("revealSeconds=23 min=24"));
    }

    #[test]
    fn an_owner_who_counts_the_gas_refuses_windows_that_are_not_worth_it_and_gives_them_some_time() {
        let ours = |gas_percent| Terms { price_wei: 10, watch: Duration::ZERO, store_bytes_max: 0, gas_percent };
        // The largest amounts that anybody reads.
        let prices = Prices { step_wei: 5_781_250_000_000_001, rate_ppm: 30_000, gas_wei: 703_422_053_231_939_163 };
        let window = |step_wei| Worth::of(Amount { windows: 1, steps: 64 }, Prices { step_wei, ..prices });
        let refused = ours(Some(100)).unworthy(&window(prices.step_wei)).unwrap();
        assert!(refused.contains("64 steps pays") && refused.contains("above 100 %"), "{refused}");
        assert!(refused.is_ascii() && refused.len() <= REASON_BYTES_MAX, "{refused}");
        let enough_wei = window(prices.step_wei).cost_wei.div_ceil(64);
        assert_eq!(ours(Some(100)).unworthy(&window(enough_wei)), None);
        assert!(ours(Some(99)).unworthy(&window(enough_wei)).is_some());
        assert_eq!(ours(None).unworthy(&window(0)), None);

        let many =
            |steps| Worth::of(Amount { windows: 99, steps }, Prices { step_wei: 8_000, rate_ppm: 0, gas_wei: 1 });
        // 370,000 a window: 23.125 of these steps are worth twice the share.
        assert_eq!(ours(Some(100)).too_thin(&many(2_290)), None);
        let refused = ours(Some(100)).too_thin(&many(2_289)).unwrap();
        assert!(refused.contains("99 windows of 2289 steps") && refused.contains("above 200 %"), "{refused}");
        assert!(refused.contains("--window-seconds") && refused.len() <= REASON_BYTES_MAX, "{refused}");
        assert_eq!(ours(None).too_thin(&many(1)), None);
    }

    #[test]
    fn the_policy_of_an_audited_channel_has_the_budget_and_the_time_of_its_audit() {
        let ours = Terms { price_wei: 10, watch: Duration::from_secs(60), store_bytes_max: 0, gas_percent: None };
        let plain = ours.policy(Address::ZERO, (10, Currency::KST), None).unwrap();
        assert_eq!((plain.audit, plain.budget), (Duration::ZERO, Budget::default()));
        assert!(plain.token.is_zero());
        let audited = ours.policy(Address::ZERO, (10, Currency::KST), Some((&agreed(), 1_000_000))).unwrap();
        assert_eq!(audited.audit, life_max(&agreed().terms));
        // One and a half times 64 checks and 40 more, at half of the price of a step.
        assert_eq!(audited.budget.of(64), (96 + 40) * 5);
        assert!(ours.policy(Address::ZERO, (0, Currency::KST), None).is_none());
    }

    #[test]
    fn a_step_costs_its_share_of_what_is_listed_in_the_channels_own_currency() {
        let ours = Terms { price_wei: 10, watch: Duration::ZERO, store_bytes_max: 0, gas_percent: None };
        let (token, spec) = (Currency::token(Address::repeat_byte(7)), spec(4));
        let segments = u128::from(spec.segment_count);
        let listed = |amount: u128| Some(U256::from(amount));
        // What is said of a token is no price in KST, nor the other way round.
        assert_eq!(ours.price_of_step(&spec, Currency::KST, listed(99)), Some(10_u128.div_ceil(segments)));
        assert_eq!(ours.price_of_step(&spec, token, listed(99)), Some(99_u128.div_ceil(segments)));
        assert_eq!(ours.price_of_step(&spec, token, None), None);
        assert_eq!(ours.price_of_step(&spec, token, Some(U256::MAX)), Some(u128::MAX.div_ceil(segments)));
        assert_eq!(ours.policy(Address::ZERO, (1, token), None).unwrap().token, token.address());
    }
}
