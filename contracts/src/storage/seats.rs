//! Lengths of the list of seats. Spec: specs/0008-audit.md section 4.

use super::{
    Error,
    fields::{Field, require_unused},
};
use alloy_primitives::B256;

const HOLES_BEGIN: Field = Field::new("_holesBegin", 3, 0, 8);
const HOLES_END: Field = Field::new("_holesEnd", 3, 8, 8);
const PLACES: Field = Field::new("_places", 3, 16, 4);

/// Slot of the bond in which the lengths are.
pub const SEAT_LIST_SLOT: B256 = B256::with_last_byte(3);

/// How long the list of seats is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatList {
    /// Its places from the next epoch on, seats and holes.
    pub places: u32,
    /// Holes that wait to be filled. Some of them may be beyond the end, where they were cut off: so many at most are in the list.
    pub holes_max: u64,
}

impl SeatList {
    /// Reads the word of [`SEAT_LIST_SLOT`].
    ///
    /// # Errors
    /// [`Error::UnusedBits`].
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 4, "seats")?;
        let holes_max = HOLES_END.read_u64(word).saturating_sub(HOLES_BEGIN.read_u64(word));
        Ok(Self { places: PLACES.read_u32(word), holes_max })
    }

    /// Whether more than half of it may be holes. A unit has 16 slots, so up to there one unit in five hundred finds fewer than three seats.
    #[must_use]
    pub fn is_sparse(self) -> bool {
        self.holes_max.saturating_mul(2) > u64::from(self.places)
    }
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_primitives::U256;

    #[test]
    fn every_field_lies_where_the_compiler_puts_it() {
        let artifact: serde_json::Value = serde_json::from_str(include_str!("../../artifacts/Bond.json")).unwrap();
        let variables = artifact["storageLayout"]["storage"].as_array().unwrap();
        for field in [HOLES_BEGIN, HOLES_END, PLACES] {
            let variable = variables.iter().find(|variable| variable["label"] == field.label).unwrap();
            assert_eq!(variable["slot"], field.slot.to_string());
            assert_eq!(variable["offset"], field.offset);
            assert_eq!(variable["type"], format!("t_uint{}", u32::from(field.bytes).saturating_mul(8)));
        }
        assert_eq!(U256::from_be_bytes(SEAT_LIST_SLOT.0), U256::from(PLACES.slot));
        let slot = PLACES.slot.to_string();
        let here = variables.iter().filter(|variable| variable["slot"].as_str() == Some(&slot));
        let used: u64 = here.map(|variable| variable["type"].as_str().unwrap()).map(bits).sum();
        assert_eq!(used, 28 * 8, "four bytes are unused");
    }

    fn bits(kind: &str) -> u64 {
        kind.trim_start_matches("t_uint").parse().unwrap()
    }

    #[test]
    fn lengths_are_read_as_the_contract_packs_them_and_other_words_are_refused() {
        let word = |begin: u64, end: u64, places: u32| {
            // The epoch of the last change, and the places before it, are above.
            let above = (U256::from(9) << 192) | (U256::from(100) << 160);
            B256::from(above | (U256::from(places) << 128) | (U256::from(end) << 64) | U256::from(begin))
        };
        let list = |begin, end, places| SeatList::decode(word(begin, end, places)).unwrap();
        assert_eq!(list(3, 10, 13), SeatList { places: 13, holes_max: 7 });
        assert!(list(3, 10, 13).is_sparse() && !list(3, 10, 14).is_sparse() && !list(0, 0, 0).is_sparse());
        assert_eq!(SeatList::decode(B256::ZERO), Ok(SeatList { places: 0, holes_max: 0 }));
        let beyond = B256::from(U256::from(1) << 224);
        assert_eq!(SeatList::decode(beyond), Err(Error::UnusedBits { slot_name: "seats", word: beyond }));
    }
}
