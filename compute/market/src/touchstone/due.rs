//! When a provider has to prove its hardware again, and who checks it: drawn by the beacon, so that nobody can choose, and anybody repeat it.
//!
//! # Design
//! In every epoch of the touchstone the randomness of its first height draws some of all providers, each with the same chance. All that are drawn are
//! challenged by that one value, so two accounts that share a card are challenged together every now and then, and the card has to do the work of both
//! in the time of one. Spec: specs/0010-capability.md §6.6, §6.7.

use alloy_primitives::{Address, B256, U256, keccak256};

/// Heights of one epoch: 14 minutes to 41, by the pace of the chain.
pub const EPOCH_BLOCKS: u64 = 4_096;
/// One provider of so many is drawn in an epoch: a proof every two to six hours.
pub const DUE_ONE_IN: u64 = 8;
/// Checkers of one proof.
pub const CHECKERS: usize = 3;
/// Statements that make a proof count: with a third of all seats colluding, a lie finds two of three in 26 of 100 rounds, and one of three in 70.
pub const QUORUM: usize = 2;
/// Places of the list of seats that are looked at for the checkers of one proof.
pub const LOOKS_MAX: u32 = 64;
const DUE_DOMAIN: &[u8] = b"keystead/touchstone/due/v1";
const CHECKERS_DOMAIN: &[u8] = b"keystead/touchstone/checkers/v1";

/// The first height of the epoch of this height; `None` in the first epoch, whose first height, 0, has no randomness.
#[must_use]
pub fn epoch_height(height: u64) -> Option<u64> {
    height.checked_div(EPOCH_BLOCKS)?.checked_mul(EPOCH_BLOCKS).filter(|first| *first > 0)
}

/// Whether a provider is drawn in the epoch whose first height has this randomness.
#[must_use]
pub fn is_due(provider: Address, randomness: B256) -> bool {
    let hash = keccak256([DUE_DOMAIN, randomness.as_slice(), provider.as_slice()].concat());
    let word = hash.0.first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
    word < u64::MAX / DUE_ONE_IN
}

/// The draw of a proof's checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckerDraw {
    seed: B256,
}

impl CheckerDraw {
    /// `randomness` is that of the height after the block of the last vectors of the round: the same that draws the rows.
    #[must_use]
    pub fn new(provider: Address, randomness: B256) -> Self {
        Self { seed: keccak256([CHECKERS_DOMAIN, randomness.as_slice(), provider.as_slice()].concat()) }
    }

    /// The places of the list of seats to look at, in order. None if there is no seat.
    pub fn places(self, place_count: u32) -> impl Iterator<Item = u32> {
        (0..LOOKS_MAX).filter_map(move |look| {
            let hash = keccak256([self.seed.as_slice(), &look.to_be_bytes()].concat());
            u32::try_from(U256::from_be_bytes(hash.0).checked_rem(U256::from(place_count))?).ok()
        })
    }
}

/// The checkers among the accounts that were found at the places, in the order of the draw: each once, never the provider itself, at most
/// [`CHECKERS`]. Zero stands for a place without a seat that counts.
pub fn checkers(provider: Address, seated: impl IntoIterator<Item = Address>) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    for account in seated {
        if found.len() == CHECKERS {
            break;
        }
        if !account.is_zero() && account != provider && !found.contains(&account) {
            found.push(account);
        }
    }
    found
}

/// Statements that a proof needs if so many checkers could be drawn; nothing is proved without one.
#[must_use]
pub const fn quorum(drawn: usize) -> usize {
    if drawn < QUORUM { 1 } else { QUORUM }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure, and numbers are small.
mod tests {
    use super::*;

    fn account(number: u64) -> Address {
        Address::from_word(keccak256(number.to_be_bytes()))
    }

    #[test]
    fn one_provider_in_eight_is_due_in_an_epoch_and_two_of_one_owner_meet_in_one_of_sixty_four() {
        let due = |provider: u64, epoch: u64| is_due(account(provider), keccak256(epoch.to_be_bytes()));
        let alone = (0..8_000).filter(|&epoch| due(1, epoch)).count();
        // 1,000 expected, sigma 29.6.
        assert!((852..=1_148).contains(&alone), "{alone}");
        let together = (0..16_000).filter(|&epoch| due(1, epoch) && due(2, epoch)).count();
        // 250 expected, sigma 15.7.
        assert!((171..=329).contains(&together), "{together}");
    }

    #[test]
    fn epochs_begin_at_multiples_and_the_first_one_draws_nobody() {
        assert_eq!([0, 1, 4_095].map(epoch_height), [None; 3]);
        assert_eq!([4_096, 8_191, 8_192].map(epoch_height), [Some(4_096), Some(4_096), Some(8_192)]);
        assert!(epoch_height(u64::MAX).is_some());
    }

    #[test]
    fn checkers_are_drawn_evenly_once_each_and_never_the_provider() {
        let me = account(0);
        let mut counts = [0u32; 5];
        for round in 0..3_000u64 {
            let draw = CheckerDraw::new(me, keccak256(round.to_be_bytes()));
            // Five places: the provider's own, and four others.
            let drawn = checkers(me, draw.places(5).map(|place| account(u64::from(place))));
            assert_eq!(drawn.len(), CHECKERS);
            assert!(!drawn.contains(&me));
            for (at, count) in counts.iter_mut().enumerate() {
                *count += u32::from(drawn.contains(&account(at as u64)));
            }
        }
        // Each of four is one of three in three rounds of four: 2,250, sigma 23.7.
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|count| count.abs_diff(2_250) < 119), "{counts:?}");
    }

    #[test]
    fn few_seats_give_few_checkers_and_none_gives_none() {
        let me = account(0);
        let draw = CheckerDraw::new(me, B256::ZERO);
        assert_eq!(draw.places(0).count(), 0);
        assert_eq!(checkers(me, draw.places(1).map(|_| account(7))), [account(7)]);
        assert!(checkers(me, draw.places(1).map(|_| Address::ZERO)).is_empty());
        assert!(checkers(me, draw.places(3).map(|_| me)).is_empty());
        assert_eq!([0, 1, 2, 3].map(quorum), [1, 1, 2, 2]);
        assert_ne!(CheckerDraw::new(account(1), B256::ZERO), draw);
    }
}
