//! This account's part in one round of a unit, as the chain has it: a slot of checkers, or a ballot on a panel of referees.

use super::{agent::Agent, course::Course, step::Rank};
use crate::compute::{
    panels::{Ending, Sitting},
    windows::{Case, Times, Window},
};
use alloy_primitives::B256;
use eyre::{Result, ensure};
use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// So long the slots of a panel count as this account's without another question.
const SLOTS_AGE_MAX: Duration = Duration::from_secs(20);

/// What the chain says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// By this account, with what this folder can open.
    pub(super) committed: bool,
    /// Slots of a panel that are held and not committed, one bit each.
    pub(super) uncommitted: u128,
    /// A ballot that waits to be paid.
    pub(super) owed: bool,
    pub(super) revealed: bool,
    /// As many as are wanted have committed; never on a panel.
    pub(super) full: bool,
    pub(super) rank: Rank,
    /// The slot that a source is told.
    pub(super) slot: u8,
}

/// Whose commitment a slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// This account's, which this folder can open, or has opened.
    Ours,
    /// This account's that this folder cannot open: another process's with the same key, and left to it.
    Foreign,
    /// None of this account's. Who asked for an input holds its slot without a commitment.
    Nothing,
}

impl Held {
    /// `word` is what the slot has, `ours` what this folder can open.
    fn of(is_me: bool, word: B256, revealed: bool, ours: Option<B256>) -> Self {
        // The word of what was revealed is that of the finding, which has none if nothing was found.
        if is_me && (revealed || ours == Some(word)) {
            Self::Ours
        } else if is_me && !word.is_zero() {
            Self::Foreign
        } else {
            Self::Nothing
        }
    }
}

/// The slots of a panel that this account holds, one bit each, as the contract said last. They change with the bonds of others: an account that is suspended, or
/// short of what stands behind its seats, holds none, and has those that the draw gives it as soon as a deposit fills it up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots(Option<(u128, Instant)>);

impl Slots {
    fn now(slots: u128) -> Self {
        Self(Some((slots, Instant::now())))
    }

    /// `None` if they are to be asked for again.
    fn known(self, age_max: Duration) -> Option<u128> {
        self.0.filter(|(_, asked)| asked.elapsed() < age_max).map(|(slots, _)| slots)
    }
}

impl Course {
    /// In rounds 0 and 1. `ours` is what this folder can open.
    pub(super) async fn check_part(
        &self,
        agent: &Agent,
        window: &Window,
        case: &Case,
        times: Times,
        ours: Option<B256>,
    ) -> Result<Part> {
        let which = self.which;
        let revealed = case.has_revealed(which.round, which.slot);
        let (holder, word) = agent.windows.check(which).await?;
        let held = Held::of(holder == agent.me(), word, revealed, ours);
        Ok(Part {
            committed: held == Held::Ours,
            uncommitted: 0,
            owed: false,
            revealed,
            full: case.committed(which.round) >= agent.wanted(window, which.round),
            rank: match held {
                Held::Ours => Rank::OnDuty,
                Held::Foreign => Rank::None,
                Held::Nothing => self.rank(agent, times).await?,
            },
            slot: which.slot,
        })
    }

    async fn rank(&self, agent: &Agent, times: Times) -> Result<Rank> {
        // Asking who holds a slot of a round that is not drawn is refused.
        if !times.is_drawn() {
            return Ok(Rank::None);
        }
        let slot = agent.windows.slot(self.which, self.record().named).await?;
        Ok(match slot {
            slot if slot.account != agent.me() || !slot.eligible => Rank::None,
            slot if slot.on_duty => Rank::OnDuty,
            _ => Rank::Reserve,
        })
    }

    /// On a panel.
    pub(super) async fn ballot_part(&self, agent: &Agent, times: Times, ours: Option<B256>) -> Result<Part> {
        let of = Sitting::from(self.which);
        let ballot = agent.windows.ballot(of, agent.me()).await?;
        let panel = agent.windows.panel(of).await?;
        // Who has said what it found, and who comes to a panel that has ended, needs none any more.
        let needs_slots = times.is_drawn() && !ballot.is_revealed && panel.ending == Ending::Running;
        let held = if needs_slots { self.slots_held(agent, SLOTS_AGE_MAX).await? } else { 0 };
        // As above; it may be one that was settled, too.
        let is_ours = ballot.is_revealed || ours == Some(ballot.word);
        let is_foreign = ballot.is_committed() && !is_ours;
        Ok(Part {
            committed: ballot.is_committed() && is_ours,
            uncommitted: if is_foreign || ballot.is_revealed { 0 } else { held & !ballot.slots },
            owed: ballot.is_owed(&panel),
            revealed: ballot.is_revealed,
            full: false,
            rank: if held == 0 || is_foreign { Rank::None } else { Rank::OnDuty },
            slot: u8::try_from(held.trailing_zeros()).unwrap_or(u8::MAX),
        })
    }

    /// Shows every ballot of a panel that ended which missed the ruling, or was not revealed: nobody else need do it. At most one for each slot.
    pub(super) async fn fine_others(&self, agent: &Agent) -> Result<()> {
        let of = Sitting::from(self.which);
        let panel = agent.windows.panel(of).await?;
        for account in agent.windows.referees(of, self.record().from_block).await? {
            let ballot = agent.windows.ballot(of, account).await?;
            if account == agent.me() || !ballot.is_finable(&panel) {
                continue;
            }
            match agent.windows.settle_ballot(of, account).await {
                Ok(_) => tracing::warn!(%account, unit = of.unit, "a referee beside the ruling is fined"),
                // Another referee was first.
                Err(error) => tracing::debug!(error = format!("{error:#}"), %account, "ballot not settled"),
            }
        }
        Ok(())
    }

    /// The slots of a panel to be committed, asked for anew: a call that names one which is another's by now is refused with all others in it.
    pub(super) async fn slots_to_commit(&self, agent: &Agent) -> Result<u128> {
        let ballot = agent.windows.ballot(Sitting::from(self.which), agent.me()).await?;
        let slots = self.slots_held(agent, Duration::ZERO).await? & !ballot.slots;
        ensure!(slots != 0, "no slot of the panel is left to this account");
        Ok(slots)
    }

    /// The slots of a drawn panel that this account holds, as the contract said at most so long ago.
    async fn slots_held(&self, agent: &Agent, age_max: Duration) -> Result<u128> {
        let known = self.slots().known(age_max);
        if let Some(slots) = known {
            return Ok(slots);
        }
        let of = Sitting::from(self.which);
        let drawn = agent.windows.round(of.window, of.unit, of.round).await?;
        let slots = agent.windows.panel_slots_of(of, agent.candidates(of, &drawn), agent.me()).await?;
        *self.slots() = Slots::now(slots);
        Ok(slots)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // No code panics while it holds this lock.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_panels_slots_are_is_asked_again_after_a_while_and_before_they_are_committed() {
        let slots = Slots::now(0b101);
        assert_eq!(slots.known(SLOTS_AGE_MAX), Some(0b101));
        assert_eq!(slots.known(Duration::ZERO), None, "a deposit may have given one to another since");
        assert_eq!(Slots::default().known(SLOTS_AGE_MAX), None);
    }

    #[test]
    fn a_slot_that_this_account_asked_from_is_free_to_commit_and_a_foreign_commitment_is_left_alone() {
        let (word, other) = (B256::repeat_byte(1), B256::repeat_byte(2));
        assert_eq!(
            Held::of(true, B256::ZERO, false, Some(word)),
            Held::Nothing,
            "it asked, and has the input after all"
        );
        assert_eq!(Held::of(true, B256::ZERO, false, None), Held::Nothing);
        assert_eq!(Held::of(true, word, false, Some(word)), Held::Ours);
        assert_eq!(Held::of(true, other, true, None), Held::Ours, "revealed: the word is the finding's now");
        assert_eq!(Held::of(true, B256::ZERO, true, None), Held::Ours, "nothing was found, and that revealed");
        assert_eq!(Held::of(true, word, false, Some(other)), Held::Foreign);
        assert_eq!(Held::of(true, word, false, None), Held::Foreign);
        assert_eq!(Held::of(false, word, false, Some(word)), Held::Nothing);
    }
}
