//! What follows from the findings of a round, and how a slash is divided, as functions; the market's simulation plays by them.
//!
//! # Invariants
//! An *inconclusive* finding never costs a provider anything. Nobody is convicted on one hardware class alone.
//!
//! # Not here
//! The last word: that is `contracts/src/{Audit,Referee,Panels}.sol` (specs/0008-audit.md §7 to §9, §11), which convicts for a check that was
//! committed (here: revealed) and not opened, and asks that accusers of class exact found the same value.

use alloy_primitives::{B256, U256};
use std::collections::BTreeMap;

/// Slots of the first panel, and of those that follow while there is no ruling; one slot is one vote. The first is so large that a third
/// of all seats, colluding, gives a false ruling in 7 of 100,000 panels; of seven it would be 45 of 1,000 (`tests/panels.rs`).
pub const PANELS: [usize; 3] = [31, 63, 127];
/// The round that the first panel is.
pub const PANEL_ROUND: u8 = 2;
/// Largest share of a slash that leaves as a bounty, parts per million: else convicting oneself would be a way out.
pub const BOUNTY_PPM_MAX: u32 = 500_000;

/// What a checker says about a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As ordered.
    Right,
    /// Outside the tolerance that was ordered, within the sound bound.
    Unpaid,
    /// No honest machine gives this.
    Wrong,
    /// Nothing was found out.
    Inconclusive,
}

/// What follows from a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Paid, and counted for the provider.
    Verified,
    /// Refunded; nobody is slashed; the provider's verified count starts anew.
    Unpaid,
    /// Paid, counted as unchecked.
    Unchecked,
    /// Two more checkers of another hardware class look at it.
    SecondRound,
    /// The referee looks at it.
    Referee,
    /// The provider is convicted, and may appeal.
    Convicted,
    /// Who said *wrong* loses, and may appeal.
    AccuserLoses,
}

/// Round 0: `opened` says whether the provider opened the unit in time; only revealed findings count.
#[must_use]
pub fn first_round(opened: bool, revealed: &[Finding]) -> Conclusion {
    let any = |finding| revealed.contains(&finding);
    match () {
        () if revealed.is_empty() => Conclusion::Unchecked,
        // Who may hide when drawn is never caught.
        () if !opened => Conclusion::Convicted,
        () if any(Finding::Wrong) => Conclusion::SecondRound,
        () if any(Finding::Unpaid) => Conclusion::Unpaid,
        () if any(Finding::Right) => Conclusion::Verified,
        () => Conclusion::Unchecked,
    }
}

/// Round 1: the two checkers of another hardware class; a missing reveal is inconclusive.
#[must_use]
pub const fn second_round(findings: [Finding; 2]) -> Conclusion {
    match findings {
        [Finding::Wrong, Finding::Wrong] => Conclusion::Convicted,
        [Finding::Right, Finding::Right] => Conclusion::AccuserLoses,
        _ => Conclusion::Referee,
    }
}

/// How many slots of a panel must find the same: more than two thirds of all, whether they voted or not.
#[must_use]
pub const fn quorum(panel: usize) -> usize {
    // A panel has at most 127 slots.
    (panel.saturating_mul(2) / 3).saturating_add(1)
}

/// What more than two thirds of a panel's slots found; `None` if there is no such value. A slot without a vote, or whose referee found
/// nothing, gives `None`.
#[must_use]
pub fn ruling(found: &[Option<B256>]) -> Option<B256> {
    let quorum = quorum(found.len());
    let mut support: BTreeMap<B256, usize> = BTreeMap::new();
    found.iter().flatten().find_map(|value| {
        let count = support.entry(*value).or_default();
        *count = count.saturating_add(1);
        (*count >= quorum).then_some(*value)
    })
}

/// How a slash is divided, wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// To each whose finding stood.
    pub bounty_each: U256,
    /// To nobody, for ever.
    pub burnt: U256,
}

/// Divides a slash among those whose finding stood; with none, all of it is burnt.
#[must_use]
pub fn split(slashed: U256, finders: u32) -> Split {
    let bounty = slashed.wrapping_div(U256::from(crate::draw::PPM / BOUNTY_PPM_MAX));
    let bounty_each = bounty.checked_div(U256::from(finders)).unwrap_or_default();
    let paid = bounty_each.saturating_mul(U256::from(finders));
    Split { bounty_each, burnt: slashed.saturating_sub(paid) }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Small numbers in tests.
mod tests {
    use super::{Conclusion as C, Finding as F, *};

    #[test]
    fn every_first_round_has_its_conclusion() {
        for (opened, revealed, expected) in [
            (true, &[][..], C::Unchecked),
            (false, &[], C::Unchecked),
            (false, &[F::Right], C::Convicted),
            (false, &[F::Inconclusive], C::Convicted),
            (true, &[F::Right], C::Verified),
            (true, &[F::Right, F::Inconclusive], C::Verified),
            (true, &[F::Inconclusive], C::Unchecked),
            (true, &[F::Unpaid], C::Unpaid),
            (true, &[F::Right, F::Unpaid], C::Unpaid),
            (true, &[F::Right, F::Right, F::Wrong], C::SecondRound),
            (true, &[F::Unpaid, F::Wrong], C::SecondRound),
        ] {
            assert_eq!(first_round(opened, revealed), expected, "{opened} {revealed:?}");
        }
    }

    #[test]
    fn a_second_round_convicts_only_if_all_three_agree() {
        let all = [F::Right, F::Unpaid, F::Wrong, F::Inconclusive];
        for a in all {
            for b in all {
                let expected = match (a, b) {
                    (F::Wrong, F::Wrong) => C::Convicted,
                    (F::Right, F::Right) => C::AccuserLoses,
                    _ => C::Referee,
                };
                assert_eq!(second_round([a, b]), expected);
            }
        }
    }

    #[test]
    fn more_than_two_thirds_of_a_panel_rule_and_one_less_does_not() {
        assert_eq!(PANELS.map(quorum), [21, 43, 85]);
        assert_eq!([1, 2, 3, 4, 6, 7].map(quorum), [1, 2, 3, 3, 5, 5]);
        let (a, b) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let found = |of_a: usize, of_b: usize| {
            let mut found = vec![Some(a); of_a];
            found.extend(vec![Some(b); of_b]);
            found.resize(7, None);
            found
        };
        assert_eq!(ruling(&found(5, 2)), Some(a));
        assert_eq!(ruling(&found(2, 5)), Some(b));
        assert_eq!(ruling(&found(4, 3)), None);
        assert_eq!(ruling(&found(5, 0)), Some(a));
        assert_eq!(ruling(&found(4, 0)), None);
        assert_eq!(ruling(&[None; 31]), None);
    }

    #[test]
    fn a_slash_is_divided_without_a_wei_more_or_less_and_at_least_half_is_burnt() {
        for slashed in [0u64, 1, 2, 3, 99, 100, 101, 1 << 40] {
            for finders in 0..8 {
                let Split { bounty_each, burnt } = split(U256::from(slashed), finders);
                assert_eq!(bounty_each * U256::from(finders) + burnt, U256::from(slashed));
                assert!(burnt * U256::from(2) >= U256::from(slashed));
            }
        }
        assert_eq!(split(U256::from(100), 3).bounty_each, U256::from(16));
    }
}
