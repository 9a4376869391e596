//! The most that a map may cost, as it was said before anything was paid; pure.
//!
//! # Design
//! It is fixed when the first providers take part, before a channel is opened: every step at the dearest of their prices, and what checks may take. It stands
//! in the journal, so that whoever goes on with the map keeps it. Where nothing was promised and nobody of these works, it is said anew. What a provider was paid for and what is thrown away later, since it was caught, is
//! done again and paid again: that may cost as much once more, which is said, too. A person's own limit (`--max-price`) takes the place of both.
//!
//! # Invariants
//! Nobody is taken on, and nothing is handed out, that could cost more than [`Promise::most_wei`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What was said.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Promise {
    /// Of a step, at the dearest of those who took part then; 0 where a person's limit is all that counts.
    pub(super) step_wei: u128,
    /// For all work, if nothing of it is thrown away; without checks, unless it is a person's limit.
    pub(super) work_wei: u128,
    /// In all.
    pub(super) most_wei: u128,
    /// The person's limit then, if there was one.
    pub(super) asked_wei: Option<u128>,
}

/// What was spent, and what is left to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Promised for what stands.
    pub(super) kept_wei: u128,
    /// Promised for what was thrown away, and taken for checks.
    pub(super) beside_wei: u128,
    /// What leased steps and their checks cost if all of them are done.
    pub(super) leased_wei: u128,
    /// How many these are: if they come to nothing, another one does them at its own price.
    pub(super) steps_leased: u64,
    /// Steps that nobody does yet.
    pub(super) steps_waiting: u64,
}

impl Spent {
    /// What is spent, or may be without anything more being handed out.
    pub(super) const fn wei(&self) -> u128 {
        self.kept_wei.saturating_add(self.beside_wei).saturating_add(self.leased_wei)
    }

    /// All that waits, at this price of a step.
    pub(super) fn waiting_wei(&self, step_wei: u128) -> u128 {
        step_wei.saturating_mul(self.steps_waiting.into())
    }

    /// All that is not settled, at this price of a step; what is leased at no less than was agreed.
    fn left_wei(&self, step_wei: u128) -> u128 {
        let leased_wei = step_wei.saturating_mul(self.steps_leased.into()).max(self.leased_wei);
        self.waiting_wei(step_wei).saturating_add(leased_wei)
    }

    /// What all of it costs if whoever asks this for a step does what is left.
    pub(super) fn all_wei(&self, step_wei: u128) -> u128 {
        self.kept_wei.saturating_add(self.beside_wei).saturating_add(self.left_wei(step_wei))
    }
}

impl Promise {
    /// What a person asked for.
    pub(super) const fn asked(limit_wei: u128) -> Self {
        Self { step_wei: 0, work_wei: limit_wei, most_wei: limit_wei, asked_wei: Some(limit_wei) }
    }

    /// Of work at this dearest price of a step, whose checks may take so much; a person's limit counts instead, if there is one.
    pub(super) fn of(spent: Spent, step_wei: u128, checks_wei: u128, asked_wei: Option<u128>) -> Self {
        let waiting_wei = spent.waiting_wei(step_wei);
        let again_wei = waiting_wei.saturating_add(checks_wei).saturating_mul(2);
        let said = || Self {
            step_wei,
            work_wei: spent.kept_wei.saturating_add(spent.leased_wei).saturating_add(waiting_wei),
            most_wei: spent.wei().saturating_add(again_wei),
            asked_wei: None,
        };
        asked_wei.map_or_else(said, Self::asked)
    }

    /// Whether somebody at this price of a step can be taken on: all that waits could be done at it, within what was said.
    pub(super) fn pays(&self, spent: Spent, step_wei: u128) -> bool {
        let is_known = self.step_wei > 0 && step_wei <= self.step_wei;
        let work_wei = spent.kept_wei.saturating_add(spent.left_wei(step_wei));
        spent.all_wei(step_wei) <= self.most_wei && (is_known || work_wei <= self.work_wei)
    }

    /// What of it keeps somebody at this price out: of all work, or of all that is ever promised.
    pub(super) fn bound_wei(&self, spent: Spent, step_wei: u128) -> u128 {
        if spent.all_wei(step_wei) > self.most_wei { self.most_wei } else { self.work_wei }
    }

    /// For programs that read how the map ended.
    pub(super) fn json(&self) -> Value {
        json!({
            "workWei": self.work_wei.to_string(),
            "mostWei": self.most_wei.to_string(),
            "maxPriceWei": self.asked_wei.map(|asked| asked.to_string()),
        })
    }

    /// What takes its place if a person gives this limit now; none if it is the one that was given before, or none.
    pub(super) fn renewed(&self, asked_wei: Option<u128>) -> Option<Self> {
        asked_wei.filter(|asked| self.asked_wei != Some(*asked)).map(Self::asked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const FRESH: Spent = Spent { kept_wei: 0, beside_wei: 0, leased_wei: 0, steps_leased: 0, steps_waiting: 100 };

    #[test]
    fn what_is_said_is_every_step_at_the_dearest_price_and_as_much_once_more_for_what_is_thrown_away() {
        let promise = Promise::of(FRESH, 10, 0, None);
        assert_eq!((promise.work_wei, promise.most_wei, promise.asked_wei), (1_000, 2_000, None));
        // Checks are no work, and are done again with it.
        let audited = Promise::of(FRESH, 10, 410, None);
        assert_eq!((audited.work_wei, audited.most_wei), (1_000, 2_820));
        let asked = Promise::of(FRESH, 10, 0, Some(1_500));
        assert_eq!((asked.work_wei, asked.most_wei), (1_500, 1_500));
    }

    #[test]
    fn a_dearer_one_is_taken_as_far_as_what_was_said_pays_for_all_that_is_left() {
        let promise = Promise::of(FRESH, 10, 0, None);
        assert!(promise.pays(FRESH, 10) && !promise.pays(FRESH, 11));
        // Half is done at 6 a step: 14 a step can be paid for the other half.
        let half = Spent { kept_wei: 300, steps_waiting: 50, ..FRESH };
        assert!(promise.pays(half, 14) && !promise.pays(half, 15));
        // So it is if a part of that is leased.
        let leased = Spent { kept_wei: 160, leased_wei: 140, steps_leased: 10, ..half };
        assert!(promise.pays(leased, 14) && !promise.pays(leased, 15));
        // What is leased for less may come to nothing: the dearer one then does that, too.
        let cheap = Spent { kept_wei: 240, leased_wei: 60, steps_leased: 10, ..half };
        assert!(promise.pays(cheap, 12) && !promise.pays(cheap, 13));
        assert_eq!(cheap.all_wei(13), 240 + 60 * 13);
        // A person's limit is one for all.
        let asked = Promise::of(FRESH, 10, 0, Some(1_100));
        assert!(asked.pays(FRESH, 11) && !asked.pays(FRESH, 12));
        assert!(!Promise::asked(999).pays(FRESH, 10) && Promise::asked(1_000).pays(FRESH, 10));
    }

    #[test]
    fn work_that_is_thrown_away_is_done_again_once_and_never_for_more_than_was_said() {
        let promise = Promise::of(FRESH, 10, 0, None);
        // Everything was paid, and all of it was wrong: another one at the same price does it again.
        let lost = Spent { beside_wei: 1_000, ..FRESH };
        assert!(promise.pays(lost, 10));
        assert!(!promise.pays(Spent { beside_wei: 1_001, ..FRESH }, 10));
        // Also where what others lost with it is not known to be lost.
        assert!(promise.pays(Spent { kept_wei: 500, beside_wei: 500, ..FRESH }, 10));
        // Nobody dearer, although twice the price could be paid once.
        assert!(!promise.pays(FRESH, 20));
        // Whoever reads why reads which of the two it is.
        assert_eq!((promise.bound_wei(FRESH, 20), promise.bound_wei(FRESH, 21)), (1_000, 2_000));
    }

    #[test]
    fn the_same_command_changes_nothing_and_another_limit_counts_from_then_on() {
        let (said, asked) = (Promise::of(FRESH, 10, 0, None), Promise::asked(1_500));
        assert_eq!((said.renewed(None), asked.renewed(Some(1_500)), asked.renewed(None)), (None, None, None));
        assert_eq!(said.renewed(Some(2_500)), Some(Promise::asked(2_500)));
        assert_eq!(asked.renewed(Some(1_400)), Some(Promise::asked(1_400)));
    }
}
