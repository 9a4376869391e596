//! When a customer says on the chain, without a question, where its node is.
//!
//! # Design
//! Checkers can ask in round 0 and before the opening alone. A provider that serves them until then, and keeps the input from the later rounds, or what it opened
//! from everybody, would leave those with nothing to run. So a customer names its node by itself, in a window of which a unit is looked at again, or was
//! opened in a class that is judged after the opening. Who is on duty for any unit of a window reads it, so one transaction a window is enough.
//!
//! Spec: specs/0008-audit.md §10.

use crate::compute::{
    account::Log,
    windows::{Case, Stage, Windows, event},
};
use alloy_primitives::B256;
use eyre::Result;
use keystead_contracts::bindings::referee::Referee;
use keystead_job::Class;
use std::collections::{BTreeMap, BTreeSet};

/// Units that are remembered; what comes beyond is left to the provider and to who found it wrong.
const UNITS_MAX: usize = 1_024;
/// Transactions of one process for one window: another process of the same account may name another node.
const SENT_MAX: u8 = 3;

/// A unit that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    window: B256,
    unit: u32,
    /// In a later round, or on a panel; else it was opened.
    again: bool,
}

/// What was heard of some windows.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    seen: BTreeSet<Seen>,
    /// What the chain says last, of windows in which it says anything.
    told: BTreeMap<B256, Vec<u8>>,
    sent: BTreeMap<B256, u8>,
}

impl Unasked {
    /// Only windows that are open count.
    pub(super) fn keep(&mut self, is_open: impl Fn(&B256) -> bool) {
        self.seen.retain(|seen| is_open(&seen.window));
        self.told.retain(|id, _| is_open(id));
        self.sent.retain(|id, _| is_open(id));
    }

    /// One event of a window, in their order.
    pub(super) fn hear(&mut self, log: &Log) {
        if let Some(began) = event::<Referee::RoundBegan>(log) {
            self.add(Seen { window: began.windowId, unit: began.unit, again: true });
        } else if let Some(opened) = event::<Referee::UnitOpened>(log) {
            self.add(Seen { window: opened.windowId, unit: opened.unit, again: false });
        } else if let Some(handed) = event::<Referee::KeyHanded>(log) {
            self.told.insert(handed.windowId, handed.key.to_vec());
        }
    }

    fn add(&mut self, seen: Seen) {
        if self.seen.len() < UNITS_MAX {
            self.seen.insert(seen);
        }
    }

    /// Whether something was heard that may be a reason.
    pub(super) fn is_due(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Names this node in each window in which there is a reason and another node, or none, was named last.
    ///
    /// # Errors
    /// The last of the node's, or the contract's: the next call tries those windows again.
    pub(super) async fn say(&mut self, windows: &Windows, key: &[u8]) -> Result<()> {
        let ids: BTreeSet<B256> = self.seen.iter().map(|seen| seen.window).collect();
        let mut said = Ok(());
        for id in ids {
            let tried = if self.needs_word(id, key) { self.say_in(windows, id, key).await } else { Ok(()) };
            match tried {
                Ok(()) => self.seen.retain(|seen| seen.window != id),
                Err(error) => said = Err(error),
            }
        }
        said
    }

    fn needs_word(&self, id: B256, key: &[u8]) -> bool {
        let sent = self.sent.get(&id).copied().unwrap_or_default();
        sent < SENT_MAX && self.told.get(&id).is_none_or(|told| told != key)
    }

    /// In one window, about the first of its units for which the contract takes it.
    async fn say_in(&mut self, windows: &Windows, id: B256, key: &[u8]) -> Result<()> {
        let window = windows.window(id).await?;
        let is_exact = window.class == Class::Exact as u8;
        if window.is_over() {
            return Ok(());
        }
        let seen: Vec<Seen> = self.seen.iter().filter(|seen| seen.window == id).copied().collect();
        // Nothing is missing after the opening alone where the contract compares.
        for Seen { unit, .. } in seen.into_iter().filter(|seen| seen.again || !is_exact) {
            if !is_reason(&windows.case(id, unit).await?, is_exact) {
                continue;
            }
            windows.hand_key(id, unit, key).await?;
            let sent = self.sent.entry(id).or_default();
            *sent = sent.saturating_add(1);
            self.told.insert(id, key.to_vec());
            tracing::info!(window = %id, unit, "checkers may need what the provider keeps: the chain now says that this node serves it");
            break;
        }
        Ok(())
    }
}

/// Whether a unit is one whose checkers may lack something for which they cannot ask.
const fn is_reason(case: &Case, is_exact: bool) -> bool {
    matches!(case.stage, Stage::Checking) && (case.round > 0 || case.opened && !is_exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Bytes, Uint};
    use alloy_sol_types::SolEvent;
    use keystead_contracts::AUDIT_ADDRESS;

    const WINDOW: B256 = B256::repeat_byte(1);

    fn log<E: SolEvent>(event: &E) -> Log {
        let data = event.encode_log_data();
        let topics = data.topics().to_vec();
        Log { address: AUDIT_ADDRESS, topics, data: data.data, transaction_hash: B256::ZERO, block_number: 7 }
    }

    fn began(window: B256) -> Log {
        log(&Referee::RoundBegan { windowId: window, unit: 4, round: 1, drawHeight: Uint::from(20) })
    }

    #[test]
    fn a_customer_speaks_unasked_of_later_rounds_and_of_what_is_judged_after_the_opening() {
        let table = [
            // stage, round, opened, exact: whether it does
            (Stage::Checking, 0, false, true, false),
            (Stage::Checking, 0, true, true, false),
            (Stage::Checking, 0, true, false, true),
            (Stage::Checking, 0, false, false, false),
            (Stage::Checking, 1, true, true, true),
            (Stage::Checking, 2, false, true, true),
            (Stage::Condemned, 1, true, true, false),
            (Stage::Verified, 0, true, false, false),
        ];
        for (stage, round, opened, is_exact, expected) in table {
            let case = Case { opened, ..Case::of(stage, round) };
            assert_eq!(is_reason(&case, is_exact), expected, "{stage:?} {round} {opened} {is_exact}");
        }
    }

    #[test]
    fn one_word_a_window_is_enough_unless_another_node_was_named_after_it() {
        let mut unasked = Unasked::default();
        assert!(!unasked.is_due());
        unasked.hear(&began(WINDOW));
        unasked.hear(&began(B256::repeat_byte(2)));
        unasked.hear(&log(&Referee::UnitOpened {
            windowId: WINDOW,
            unit: 5,
            segment: 0,
            before: B256::ZERO,
            value: B256::ZERO,
        }));
        assert!(unasked.is_due() && unasked.seen.len() == 3);
        assert!(unasked.needs_word(WINDOW, b"here"));
        let handed = |key: &'static [u8]| {
            log(&Referee::KeyHanded { windowId: WINDOW, unit: 9, slot: 16, key: Bytes::from_static(key) })
        };
        unasked.hear(&handed(b"here"));
        assert!(!unasked.needs_word(WINDOW, b"here"));
        assert!(unasked.needs_word(WINDOW, b"elsewhere"), "a process that began anew has another node");
        unasked.hear(&handed(b"elsewhere"));
        assert!(unasked.needs_word(WINDOW, b"here"));
        unasked.sent.insert(WINDOW, SENT_MAX);
        assert!(!unasked.needs_word(WINDOW, b"here"), "two processes do not answer each other for ever");
        unasked.keep(|id| *id != WINDOW);
        assert_eq!((unasked.seen.len(), unasked.told.len(), unasked.sent.len()), (1, 0, 0));
    }

    #[test]
    fn no_more_units_are_remembered_than_there_is_room_for() {
        let mut unasked = Unasked::default();
        for unit in 0..2_000 {
            unasked.add(Seen { window: WINDOW, unit, again: true });
        }
        assert_eq!(unasked.seen.len(), UNITS_MAX);
    }
}
