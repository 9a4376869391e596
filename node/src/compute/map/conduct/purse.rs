//! Whether a channel pays for the next window and its checks, and what it lacks; pure.

use super::money::DEPOSIT_STEPS;
use keystead_lease::STEPS_MAX;
use keystead_payment::Budget;

/// Windows whose checks are paid for beforehand.
const WINDOWS_AHEAD: u64 = 2;

/// What lies in a channel, and what it is for, in wei.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    /// What can still pay for work.
    pub(super) usable_wei: u128,
    pub(super) promised_wei: u128,
    /// Checks of windows that are paid and not announced.
    pub(super) unannounced_wei: u128,
    /// Of a step.
    pub(super) price_wei: u128,
    /// Steps that wait for anybody.
    pub(super) steps_left: u64,
    /// Nothing, if nothing is audited.
    pub(super) budget: Budget,
}

/// What lies in a channel for checks beforehand, while so many steps are left.
pub(super) fn checks_ahead_wei(budget: Budget, steps_left: u64) -> u128 {
    budget.of(window(steps_left)).saturating_mul(steps_left.min(WINDOWS_AHEAD).into())
}

/// Steps of the largest window that can come next.
fn window(steps_left: u64) -> u32 {
    u32::try_from(steps_left).unwrap_or(u32::MAX).min(STEPS_MAX)
}

impl Purse {
    const fn free_wei(&self) -> u128 {
        self.usable_wei.saturating_sub(self.promised_wei).saturating_sub(self.unannounced_wei)
    }

    /// A whole window with its checks, or all that is left.
    fn next_wei(&self) -> u128 {
        let steps = window(self.steps_left);
        self.price_wei.saturating_mul(steps.into()).saturating_add(self.budget.of(steps))
    }

    /// Whether the next window fits into the free part.
    pub(super) fn is_enough(&self) -> bool {
        self.steps_left > 0 && self.free_wei() >= self.next_wei()
    }

    /// What to pay in now: something once it is half used, or too little for a window; never more than what is left needs.
    pub(super) fn lacking_wei(&self) -> u128 {
        let ahead_wei = checks_ahead_wei(self.budget, self.steps_left);
        let full_wei = self.promised_wei.max(self.price_wei.saturating_mul(DEPOSIT_STEPS)).saturating_add(ahead_wei);
        let free_wei = self.free_wei();
        if self.steps_left == 0 || free_wei >= full_wei / 2 && free_wei >= self.next_wei() {
            return 0;
        }
        let left_wei = self.price_wei.saturating_mul(self.steps_left.into()).saturating_add(ahead_wei);
        left_wei.saturating_sub(free_wei).min(full_wei)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Purse = Purse {
        usable_wei: 2_560,
        promised_wei: 0,
        unannounced_wei: 0,
        price_wei: 10,
        steps_left: 10_000,
        budget: Budget { rate_ppm: 0, checkers: 0, fee_wei: 0 },
    };
    /// 43 fees for 64 steps, 41 for 4.
    const AUDITED: Purse = Purse { budget: Budget { rate_ppm: 30_000, checkers: 1, fee_wei: 10 }, ..PLAIN };

    #[test]
    fn a_channel_without_audit_is_filled_when_half_of_it_is_used() {
        assert!(PLAIN.is_enough());
        assert_eq!(PLAIN.lacking_wei(), 0);
        let half = Purse { promised_wei: 1_280, ..PLAIN };
        assert_eq!((half.lacking_wei(), Purse { promised_wei: 1_281, ..PLAIN }.lacking_wei()), (0, 2_560));
        // Never more than is left to do.
        assert_eq!(Purse { promised_wei: 2_000, steps_left: 60, ..PLAIN }.lacking_wei(), 40);
        assert_eq!(Purse { promised_wei: 2_000, steps_left: 0, ..PLAIN }.lacking_wei(), 0);
        assert!(Purse { promised_wei: 1_920, ..PLAIN }.is_enough());
        assert!(!Purse { promised_wei: 1_921, ..PLAIN }.is_enough());
        assert!(Purse { promised_wei: 2_550, steps_left: 1, ..PLAIN }.is_enough());
        assert!(!Purse { steps_left: 0, ..PLAIN }.is_enough());
    }

    #[test]
    fn an_audited_window_needs_its_checks_and_those_that_are_not_announced() {
        // 640 for the steps, 430 for their checks.
        let exact = Purse { usable_wei: 1_070, ..AUDITED };
        assert!(exact.is_enough());
        assert!(!Purse { unannounced_wei: 1, ..exact }.is_enough());
        assert!(!Purse { promised_wei: 1, ..exact }.is_enough());
        assert!(Purse { usable_wei: 40 + 410, steps_left: 4, ..AUDITED }.is_enough());
        assert!(!Purse { usable_wei: 40 + 409, steps_left: 4, ..AUDITED }.is_enough());
        assert_eq!((checks_ahead_wei(AUDITED.budget, 1_000), checks_ahead_wei(AUDITED.budget, 0)), (860, 0));
        // One step is one window.
        assert_eq!(checks_ahead_wei(AUDITED.budget, 1), 410);
    }

    #[test]
    fn a_filled_channel_pays_for_the_next_window_and_not_for_more_than_is_left() {
        for (usable_wei, promised_wei, unannounced_wei, steps_left) in
            [(0, 0, 0, 10_000), (500, 100, 430, 64), (5_000, 4_000, 0, 3), (3_000, 2_900, 90, 1)]
        {
            let purse = Purse { usable_wei, promised_wei, unannounced_wei, steps_left, ..AUDITED };
            let lacking_wei = purse.lacking_wei();
            let filled = Purse { usable_wei: usable_wei.saturating_add(lacking_wei), ..purse };
            assert!(filled.is_enough(), "{purse:?} {lacking_wei}");
            let most_wei = u128::from(steps_left).saturating_mul(10).saturating_add(860);
            assert!(filled.free_wei() <= most_wei.max(purse.free_wei()), "{purse:?} {lacking_wei}");
        }
    }
}
