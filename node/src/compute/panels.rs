//! Panels of referees, as one account reads them on the chain and acts on them: the contract `Panels`, called at the audit's address.
//!
//! Spec: specs/0008-audit.md §9.

use crate::compute::{
    account::Receipt,
    windows::{CHECK_ROUNDS, Finding, Round, Sealed, Which, Windows},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use eyre::{Result, eyre};
use keystead_audit::{Draw, draw::PLACES_TRIED};
use keystead_contracts::{bindings::panels::Panels, limits::BALLOT_SLOTS_MAX};
use std::collections::BTreeSet;

/// Most slots of a panel.
const SLOTS_MAX: u8 = 127;
/// What one run of a referee takes at most, seconds: the reference is hundreds of times slower than a device, and a provider's orders wait while it runs.
/// Who orders an audit plans with it. Spec: specs/0008-audit.md §9.
pub(crate) const RUN_SECONDS_MAX: u64 = 1_800;
/// The last panel's round.
const LAST_ROUND: u8 = 4;

/// Slots of the panel that a round is: 31, 63, 127; none for a round of checkers.
pub(crate) const fn panel_slots(round: u8) -> u8 {
    match round {
        2 => 31,
        3 => 63,
        LAST_ROUND => SLOTS_MAX,
        _ => 0,
    }
}

/// Which ballot: an account has one on each panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sitting {
    pub(crate) window: B256,
    pub(crate) unit: u32,
    pub(crate) round: u8,
}

impl Sitting {
    /// What a referee commits to. Spec: specs/0008-audit.md §9.
    pub(crate) fn commitment(self, account: Address, sealed: Sealed) -> B256 {
        let Self { window, unit, round } = self;
        let head = [window.as_slice(), &unit.to_be_bytes(), &[round]].concat();
        let Sealed { finding, own, nonce } = sealed;
        keccak256([&head, account.as_slice(), &[finding], own.as_slice(), nonce.as_slice()].concat())
    }

    /// The slots of which a try points to one of these places: whoever sits there may hold them.
    pub(crate) fn candidates(self, drawn: &Round, places: &BTreeSet<u32>) -> Vec<u8> {
        let lot = Draw::new(drawn.randomness, self.window, self.round);
        let points = |slot, attempt| {
            let place = lot.panel_place(self.unit, slot, attempt, drawn.places);
            place.is_some_and(|place| places.contains(&place))
        };
        let slots = 0..panel_slots(self.round);
        slots.filter(|slot| (0..PLACES_TRIED).any(|attempt| points(*slot, attempt))).collect()
    }
}

impl From<Which> for Sitting {
    fn from(which: Which) -> Self {
        let Which { window, unit, round, .. } = which;
        Self { window, unit, round }
    }
}

impl Which {
    /// What is committed to in this round: a check's commitment, or a ballot's.
    pub(crate) fn sealed(self, account: Address, sealed: Sealed) -> B256 {
        if self.round < CHECK_ROUNDS {
            self.commitment(account, sealed)
        } else {
            Sitting::from(self).commitment(account, sealed)
        }
    }
}

/// How a panel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Running,
    NoRuling,
    Ruling,
    Unopened,
}

/// A panel as stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    /// Ballots.
    pub(crate) committed: u8,
    pub(crate) ending: Ending,
    /// What a ruling found: of class exact an output, else the number of the finding.
    pub(crate) value: B256,
}

/// An account's ballot as stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ballot {
    /// Its slots that were committed, one bit each.
    pub(crate) slots: u128,
    pub(crate) is_revealed: bool,
    pub(crate) is_settled: bool,
    /// It found nothing.
    is_unsure: bool,
    /// The salted commitment, and what it found after the reveal.
    pub(crate) word: B256,
}

impl Ballot {
    pub(crate) const fn is_committed(&self) -> bool {
        self.slots != 0
    }

    /// Whether it waits to be paid; one that would be fined is left to who gets a half of that.
    pub(crate) fn is_owed(&self, panel: &Panel) -> bool {
        let stands = match panel.ending {
            Ending::Running => false,
            Ending::Unopened => true,
            Ending::NoRuling => self.is_revealed,
            Ending::Ruling => self.is_revealed && (self.is_unsure || self.word == panel.value),
        };
        self.is_committed() && !self.is_settled && stands
    }

    /// Whether it can be fined: who shows that gets half of it.
    pub(crate) fn is_finable(&self, panel: &Panel) -> bool {
        panel.ending != Ending::Running && self.is_committed() && !self.is_settled && !self.is_owed(panel)
    }
}

/// The slots whose bits are set, at most as many as one call commits.
pub(crate) fn slots_of_call(mask: u128) -> Vec<u8> {
    (0..SLOTS_MAX).filter(|slot| mask & (1 << slot) != 0).take(BALLOT_SLOTS_MAX).collect()
}

impl Windows {
    pub(crate) async fn panel(&self, of: Sitting) -> Result<Panel> {
        let Sitting { window, unit, round } = of;
        let found = self.read(&Panels::panelOfCall { windowId: window, unit, round }).await?;
        let endings = [Ending::Running, Ending::NoRuling, Ending::Ruling, Ending::Unopened];
        let ending = endings.get(usize::from(found.ending)).copied();
        let ending =
            ending.ok_or_else(|| eyre!("the audit answers with an unknown end of a panel: {}", found.ending))?;
        Ok(Panel { committed: found.committed, ending, value: found.value })
    }

    pub(crate) async fn ballot(&self, of: Sitting, account: Address) -> Result<Ballot> {
        let Sitting { window, unit, round } = of;
        let found = self.read(&Panels::ballotOfCall { windowId: window, unit, round, account }).await?;
        Ok(Ballot {
            slots: found.slots,
            is_revealed: found.revealed,
            is_settled: found.settled,
            is_unsure: found.finding == Finding::Inconclusive as u8,
            word: found.word,
        })
    }

    /// Who holds a slot of a panel that is drawn; zero if nobody does.
    pub(crate) async fn panel_slot(&self, of: Sitting, slot: u8) -> Result<Address> {
        let Sitting { window, unit, round } = of;
        self.read(&Panels::panelSlotCall { windowId: window, unit, round, slot }).await
    }

    /// Which of these slots of a panel an account holds, one bit each.
    pub(crate) async fn panel_slots_of(&self, of: Sitting, candidates: Vec<u8>, account: Address) -> Result<u128> {
        let mut held = 0;
        for slot in candidates.into_iter().filter(|slot| *slot < SLOTS_MAX) {
            if self.panel_slot(of, slot).await? == account {
                held |= 1 << slot;
            }
        }
        Ok(held)
    }

    /// Who has a ballot on a panel, in blocks from `from` on.
    pub(crate) async fn referees(&self, of: Sitting, from: u64) -> Result<BTreeSet<Address>> {
        let ballots = self.of_window::<Panels::BallotCommitted>(of.window, from).await?;
        let here = ballots.into_iter().filter(|(event, _)| (event.unit, event.round) == (of.unit, of.round));
        Ok(here.map(|(event, _)| event.account).collect())
    }

    pub(crate) async fn commit_ballot(&self, of: Sitting, slots: Vec<u8>, hash: B256) -> Result<Receipt> {
        let Sitting { window, unit, round } = of;
        self.send(&Panels::commitBallotCall { windowId: window, unit, round, slots, hash }, U256::ZERO).await
    }

    pub(crate) async fn reveal_ballot(&self, of: Sitting, finding: Finding, sealed: Sealed) -> Result<Receipt> {
        let Sitting { window, unit, round } = of;
        let Sealed { own, nonce, .. } = sealed;
        let finding = finding as u8;
        self.send(&Panels::revealBallotCall { windowId: window, unit, round, finding, own, nonce }, U256::ZERO).await
    }

    pub(crate) async fn settle_ballot(&self, of: Sitting, account: Address) -> Result<Receipt> {
        let Sitting { window, unit, round } = of;
        self.send(&Panels::settleBallotCall { windowId: window, unit, round, account }, U256::ZERO).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_have_the_contracts_sizes_and_a_ballot_its_preimage() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(panel_slots), [0, 0, 31, 63, 127, 0]);
        let of = Sitting { window: B256::repeat_byte(1), unit: 2, round: 3 };
        let sealed = Sealed { finding: 4, own: B256::repeat_byte(5), nonce: B256::repeat_byte(6) };
        let mut preimage = vec![1; 32];
        preimage.extend([0, 0, 0, 2, 3]);
        preimage.extend([7; 20]);
        preimage.push(4);
        preimage.extend([5; 32]);
        preimage.extend([6; 32]);
        assert_eq!(of.commitment(Address::repeat_byte(7), sealed), keccak256(preimage));
    }

    #[test]
    fn a_call_commits_as_many_slots_as_the_contract_takes() {
        assert_eq!(slots_of_call(0b1011), [0, 1, 3]);
        let all = slots_of_call(u128::MAX);
        assert_eq!((all.len(), all.last()), (BALLOT_SLOTS_MAX, Some(&31)));
        assert!(slots_of_call(1 << 127).is_empty());
    }

    #[test]
    fn whoever_has_every_place_may_hold_every_slot_and_whoever_has_none_no_slot() {
        let drawn = Round { draw_height: 9, drawn_at: 10, epoch: 1, places: 3, randomness: B256::repeat_byte(8) };
        let of = |round| Sitting { window: B256::repeat_byte(1), unit: 2, round };
        assert_eq!(of(2).candidates(&drawn, &BTreeSet::from([0, 1, 2])), (0..31).collect::<Vec<_>>());
        assert!(of(2).candidates(&drawn, &BTreeSet::from([3])).is_empty());
        assert!(of(1).candidates(&drawn, &BTreeSet::from([0, 1, 2])).is_empty());
        // One of three places is among eight tries of a slot with 96 %.
        let some = of(4).candidates(&drawn, &BTreeSet::from([1])).len();
        assert!((110..=127).contains(&some), "{some}");
    }

    #[test]
    fn only_a_ballot_that_is_paid_is_settled_by_its_account() {
        let panel = |ending| Panel { committed: 1, ending, value: B256::repeat_byte(1) };
        let ballot =
            Ballot { slots: 1, is_revealed: true, is_settled: false, is_unsure: false, word: B256::repeat_byte(1) };
        let other = Ballot { word: B256::repeat_byte(2), ..ballot };
        let silent = Ballot { is_revealed: false, ..other };
        let unsure = Ballot { is_unsure: true, ..other };
        let table = [
            (Ending::Running, [false, false, false, false]),
            (Ending::NoRuling, [true, true, false, true]),
            (Ending::Ruling, [true, false, false, true]),
            (Ending::Unopened, [true, true, true, true]),
        ];
        for (ending, expected) in table {
            let owed = [ballot, other, silent, unsure].map(|ballot| ballot.is_owed(&panel(ending)));
            assert_eq!(owed, expected, "{ending:?}");
            let finable = [ballot, other, silent, unsure].map(|ballot| ballot.is_finable(&panel(ending)));
            assert_eq!(finable, expected.map(|owed| !owed && ending != Ending::Running), "{ending:?}");
        }
        assert!(!Ballot { is_settled: true, ..ballot }.is_owed(&panel(Ending::NoRuling)));
        assert!(!Ballot { slots: 0, ..ballot }.is_owed(&panel(Ending::Unopened)));
    }
}
