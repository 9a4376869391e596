//! What this provider's bond and its time to open are promised to: the windows of its channels that run, wait for pay, or wait for their announcement.
//!
//! # Design
//! An announcement locks a bond, and a window that cannot be announced is never paid. So a lease begins only when what is free covers its own window and all
//! that are promised; until then it waits, as long as its deadline lets it. What is locked in the meantime comes back as windows close.
//! A step that was looked at and is not opened in time convicts, so a lease also waits while more openings might fall due together than this machine sends.

use alloy_primitives::{B256, U256};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What one channel will lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Promise {
    /// Behind each window.
    bond_wei: U256,
    /// Windows that are paid and not announced.
    paid: u64,
    /// A window that runs, or is reported.
    runs: bool,
    /// Openings that are expected of it.
    openings: u64,
}

/// Openings: what a window may have to open, and what this machine opens in time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Expected of windows that are paid and not over, of all channels.
    pub(super) open: u64,
    /// Expected of the window that is to run.
    pub(super) own: u64,
    /// Most that can fall due together.
    pub(super) most: u64,
}

impl Promise {
    fn wei(self) -> U256 {
        let windows = self.paid.saturating_add(u64::from(self.runs));
        self.bond_wei.saturating_mul(U256::from(windows))
    }
}

/// The promises of all channels.
#[derive(Debug, Default)]
pub(super) struct Promises(Mutex<BTreeMap<B256, Promise>>);

impl Promises {
    /// How many windows of a channel are paid and not announced; and, if that is sure, whether one more runs or is reported.
    pub(super) fn note(&self, channel: B256, bond_wei: U256, paid: u64, runs: Option<bool>) {
        let mut promises = self.locked();
        let promise = promises.entry(channel).or_default();
        let runs = runs.unwrap_or(promise.runs);
        let openings = if runs { promise.openings } else { 0 };
        *promise = Promise { bond_wei, paid, runs, openings };
    }

    /// Lets a window of a channel run if what is free covers it as well, and it can be opened beside the others. One that is alone always can: its terms were
    /// looked at when the channel came.
    pub(super) fn try_run(&self, channel: B256, bond_wei: U256, free_wei: U256, load: Load) -> bool {
        let mut promises = self.locked();
        let own = promises.get(&channel).copied().unwrap_or_default();
        let own = Promise { bond_wei, paid: own.paid, runs: true, openings: load.own };
        let others = || promises.iter().filter(|(other, _)| **other != channel).map(|(_, promise)| promise);
        let needed = others().fold(own.wei(), |sum, promise| sum.saturating_add(promise.wei()));
        let beside = others().fold(load.open, |sum, promise| sum.saturating_add(promise.openings));
        let covers = bond_wei.is_zero() || needed <= free_wei;
        let opens = beside == 0 || beside.saturating_add(load.own) <= load.most;
        if covers && opens {
            promises.insert(channel, own);
        }
        covers && opens
    }

    pub(super) fn forget(&self, channel: B256) {
        self.locked().remove(&channel);
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<B256, Promise>> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: B256 = B256::repeat_byte(1);
    const TWO: B256 = B256::repeat_byte(2);

    fn wei(amount: u64) -> U256 {
        U256::from(amount)
    }

    #[test]
    fn a_window_runs_only_if_the_free_bond_covers_it_and_all_that_wait_for_their_announcement() {
        let promises = Promises::default();
        assert!(!promises.try_run(ONE, wei(100), wei(99), Load::default()));
        assert!(promises.try_run(ONE, wei(100), wei(100), Load::default()));
        // The same window, asked again.
        assert!(promises.try_run(ONE, wei(100), wei(100), Load::default()));
        promises.note(ONE, wei(100), 2, Some(false));
        assert!(!promises.try_run(ONE, wei(100), wei(299), Load::default()));
        assert!(promises.try_run(ONE, wei(100), wei(300), Load::default()));
    }

    #[test]
    fn channels_share_one_bond_and_who_waits_keeps_nobody_out() {
        let promises = Promises::default();
        assert!(promises.try_run(ONE, wei(100), wei(149), Load::default()));
        assert!(!promises.try_run(TWO, wei(50), wei(149), Load::default()), "it waits");
        promises.note(TWO, wei(50), 0, None);
        assert!(promises.try_run(ONE, wei(100), wei(100), Load::default()), "what waits promises nothing");
        promises.note(ONE, wei(100), 0, Some(false));
        assert!(promises.try_run(TWO, wei(50), wei(149), Load::default()));
        promises.note(ONE, wei(100), 1, None);
        promises.forget(ONE);
        assert!(promises.try_run(TWO, wei(50), wei(50), Load::default()));
        // Nothing is asked: nothing is needed.
        assert!(promises.try_run(ONE, U256::ZERO, wei(50), Load::default()));
    }

    #[test]
    fn no_more_openings_are_promised_than_can_be_sent_but_for_a_window_that_is_alone() {
        let promises = Promises::default();
        let try_run =
            |channel, open, own| promises.try_run(channel, U256::ZERO, U256::ZERO, Load { open, own, most: 80 });
        assert!(try_run(ONE, 0, 90), "alone");
        assert!(!try_run(TWO, 0, 1), "the first one runs");
        promises.note(ONE, U256::ZERO, 0, Some(false));
        // Now it is paid, and counted by its file.
        assert!(!try_run(TWO, 90, 1));
        assert!(try_run(TWO, 60, 20));
        assert!(!try_run(ONE, 60, 1));
        promises.forget(TWO);
        assert!(try_run(ONE, 60, 20) && !try_run(TWO, 60, 1));
    }
}
