//! Which units of a window are checked, which segment of each, and by which seats: hashes of a beacon value, so anybody can repeat them.
//!
//! # Design
//! A unit is drawn by a threshold on its own hash, not from an urn: each unit is drawn alone with the same probability, one hash
//! shows that it was, and a contract never has to list the others. The same preimages are hashed by `contracts/src/Audit.sol`.
//! Spec: specs/0008-audit.md §6.

use alloy_primitives::{B256, U256, keccak256};

/// Parts per million that mean *all*.
pub const PPM: u32 = 1_000_000;
/// Seats looked at for one unit in one round.
pub const SLOTS: u8 = 16;
const DOMAIN: &[u8] = b"keystead/audit/v1";
const UNIT: u8 = 0;
const SEGMENT: u8 = 1;
const SLOT: u8 = 2;
const PANEL: u8 = 3;
/// Places looked at for one slot of a panel: the first that holds a seat which may vote has the slot.
pub const PLACES_TRIED: u8 = 8;

/// The randomness of one round of a window's audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    seed: B256,
}

impl Draw {
    /// `beacon` is the randomness of the round's draw height: unknown to everybody when the window was committed.
    #[must_use]
    pub fn new(beacon: B256, window: B256, round: u8) -> Self {
        Self { seed: keccak256([DOMAIN, beacon.as_slice(), window.as_slice(), &[round]].concat()) }
    }

    /// The seed itself, as the contract shows it.
    #[must_use]
    pub const fn seed(&self) -> B256 {
        self.seed
    }

    fn hash(&self, kind: u8, unit: u32, rest: &[u8]) -> B256 {
        keccak256([self.seed.as_slice(), &[kind], &unit.to_be_bytes(), rest].concat())
    }

    /// Whether a unit is checked at this rate; a rate of [`PPM`] or more draws all, 0 draws none. Only for round 0.
    #[must_use]
    pub fn draws(&self, unit: u32, rate_ppm: u32) -> bool {
        // Both sides are below 2^84.
        let word = u128::from(first_word(self.hash(UNIT, unit, &[])));
        word.saturating_mul(u128::from(PPM)) < u128::from(rate_ppm) << 64
    }

    /// All units of a window that are checked, in order.
    pub fn units(self, unit_count: u32, rate_ppm: u32) -> impl Iterator<Item = u32> {
        (0..unit_count).filter(move |&unit| self.draws(unit, rate_ppm))
    }

    /// The segment of a drawn unit that is run again; 0 if there is one, or none.
    #[must_use]
    pub fn segment(&self, unit: u32, segment_count: u32) -> u32 {
        let word = first_word(self.hash(SEGMENT, unit, &[]));
        let segment = word.checked_rem(u64::from(segment_count)).unwrap_or_default();
        // LOSSY: the remainder is below a u32.
        #[allow(clippy::cast_possible_truncation)]
        return segment as u32;
    }

    /// The place that a slot of a unit's panel points to at the `attempt`-th try; `None` if there are no places.
    #[must_use]
    pub fn panel_place(&self, unit: u32, slot: u8, attempt: u8, places: u32) -> Option<u32> {
        let number = U256::from_be_bytes(self.hash(PANEL, unit, &[slot, attempt]).0);
        u32::try_from(number.checked_rem(U256::from(places))?).ok()
    }

    /// The seat behind a slot of round 0 or 1; `None` if there are no seats. Whether it is eligible is for the caller to say.
    #[must_use]
    pub fn seat(&self, unit: u32, slot: u8, seat_count: u32) -> Option<u32> {
        let number = U256::from_be_bytes(self.hash(SLOT, unit, &[slot]).0);
        let seat = number.checked_rem(U256::from(seat_count))?;
        u32::try_from(seat).ok()
    }
}

/// The rate at which a window is checked, parts per million.
///
/// `verified` counts the provider's units of this class in closed windows since its last fault: each that checkers drawn by lot found right
/// stands for 1,000,000 / rate units of its window, and what was drawn and stayed unchecked for none; `bonded` says whether a bond stands
/// behind the window. Without one, and for the first units, everything is checked. Spec: specs/0008-audit.md §5.
#[must_use]
pub fn effective_rate_ppm(rate_ppm: u32, verified: u64, bonded: bool) -> u32 {
    if !bonded || verified < PROBATION_UNITS {
        return PPM;
    }
    let fading = u64::from(PPM).checked_div(verified).unwrap_or_default();
    u32::try_from(fading).unwrap_or(PPM).max(rate_ppm).clamp(RATE_PPM_MIN, PPM)
}

/// Lowest rate: below it the bond that is needed grows faster than the work that is saved.
pub const RATE_PPM_MIN: u32 = 30_000;
/// Units that are all checked before a provider's rate falls.
pub const PROBATION_UNITS: u64 = 10;

fn first_word(hash: B256) -> u64 {
    hash.iter().take(8).fold(0, |word, &byte| (word << 8) | u64::from(byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure, and numbers are small.
mod tests {
    use super::*;

    fn draw(number: u32) -> Draw {
        Draw::new(keccak256(number.to_be_bytes()), B256::repeat_byte(7), 0)
    }

    #[test]
    fn each_unit_is_drawn_with_its_rate_and_alone() {
        // 200,000 units at 3 %: 6,000 expected, sigma 76.3; pairs of neighbours at 0.09 %: 180 expected, sigma 13.4.
        let drawn: Vec<u32> = draw(1).units(200_000, 30_000).collect();
        assert!((5_771..=6_229).contains(&drawn.len()), "{}", drawn.len());
        let neighbours = drawn.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!((139..=221).contains(&neighbours), "{neighbours}");
        assert_eq!(draw(1).units(1_000, PPM).count(), 1_000);
        assert_eq!(draw(1).units(1_000, u32::MAX).count(), 1_000);
        assert_eq!(draw(1).units(1_000, 0).count(), 0);
    }

    #[test]
    fn a_higher_rate_draws_every_unit_of_a_lower_one() {
        let low: Vec<u32> = draw(2).units(5_000, 30_000).collect();
        assert!(low.iter().all(|&unit| draw(2).draws(unit, 30_001)));
    }

    #[test]
    fn rounds_windows_and_beacons_are_independent() {
        let base = Draw::new(B256::ZERO, B256::ZERO, 0);
        for other in [
            Draw::new(B256::repeat_byte(1), B256::ZERO, 0),
            Draw::new(B256::ZERO, B256::repeat_byte(1), 0),
            Draw::new(B256::ZERO, B256::ZERO, 1),
        ] {
            assert_ne!(base.seed(), other.seed());
            let both = base.units(100_000, 100_000).filter(|&unit| other.draws(unit, 100_000)).count();
            assert!((905..=1_095).contains(&both), "a hundredth in common by chance: {both}");
        }
    }

    #[test]
    fn segments_and_seats_are_uniform_and_bounded() {
        let mut segments = [0i32; 7];
        let mut seats = [0i32; 5];
        for unit in 0..35_000 {
            segments[draw(3).segment(unit, 7) as usize] += 1;
            seats[draw(3).seat(unit, 4, 5).unwrap() as usize] += 1;
        }
        // Five sigma of a binomial.
        assert!(segments.iter().all(|&count| (count - 5_000).abs() < 328), "{segments:?}");
        assert!(seats.iter().all(|&count| (count - 7_000).abs() < 375), "{seats:?}");
        assert_eq!(draw(3).segment(9, 1), 0);
        assert_eq!(draw(3).segment(9, 0), 0);
        assert_eq!(draw(3).seat(9, 0, 0), None);
    }

    #[test]
    fn the_rate_falls_with_verified_units_to_its_floor_and_is_whole_without_a_bond() {
        for (rate, verified, bonded, expected) in [
            (30_000, 0, true, PPM),
            (30_000, 9, true, PPM),
            (30_000, 10, true, 100_000),
            (30_000, 20, true, 50_000),
            (30_000, 33, true, 30_303),
            (30_000, 34, true, 30_000),
            (30_000, u64::MAX, true, 30_000),
            (0, 1_000, true, RATE_PPM_MIN),
            (200_000, 1_000, true, 200_000),
            (u32::MAX, 1_000, true, PPM),
            (30_000, 1_000, false, PPM),
        ] {
            assert_eq!(effective_rate_ppm(rate, verified, bonded), expected, "{rate} {verified} {bonded}");
        }
    }
}
