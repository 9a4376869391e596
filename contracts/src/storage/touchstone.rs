//! Slots and words of a recorded proof of hardware. Spec: specs/0010-capability.md section 6.5.

use super::{
    Error,
    fields::{Field, nth, require_unused},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use std::time::Duration;

const ROOT: Field = Field::new("root", 0, 0, 32);
const VECTORS_ROOT: Field = Field::new("vectorsRoot", 1, 0, 32);
const ROOT_BLOCK: Field = Field::new("rootBlock", 2, 0, 8);
const ROOT_TIME: Field = Field::new("rootTime", 2, 8, 5);
const VECTORS_BLOCK: Field = Field::new("vectorsBlock", 2, 13, 8);
const VECTORS_TIME: Field = Field::new("vectorsTime", 2, 21, 5);

/// The three storage keys of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Root over the rows, as it is; zero if there is none.
    pub root: B256,
    /// Root over the vectors, as it is; zero if there is none.
    pub vectors_root: B256,
    /// Blocks and times: decode with [`Times::decode`].
    pub times: B256,
}

impl Slots {
    /// The keys of an account's entry for a challenge.
    #[must_use]
    pub fn of(account: Address, challenge_id: B256) -> Self {
        let accounts = keccak256([account.into_word().0, [0; 32]].concat());
        let base: U256 = keccak256([challenge_id.0, accounts.0].concat()).into();
        Self {
            root: nth(base, ROOT.slot),
            vectors_root: nth(base, VECTORS_ROOT.slot),
            times: nth(base, ROOT_BLOCK.slot),
        }
    }
}

/// When the roots were recorded: block, and its time since the Unix epoch in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The root's.
    pub root: Option<(u64, Duration)>,
    /// The vectors' root's.
    pub vectors: Option<(u64, Duration)>,
}

impl Times {
    /// Reads a proved word.
    ///
    /// # Errors
    /// [`Error::UnusedBits`].
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 6, "times")?;
        let at = |block: Field, time: Field| time.read_time(word).map(|time| (block.read_u64(word), time));
        Ok(Self { root: at(ROOT_BLOCK, ROOT_TIME), vectors: at(VECTORS_BLOCK, VECTORS_TIME) })
    }
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_field_lies_where_the_compiler_puts_it() {
        let artifact: serde_json::Value =
            serde_json::from_str(include_str!("../../artifacts/Touchstone.json")).unwrap();
        let layout = &artifact["storageLayout"];
        assert_eq!((&layout["storage"][0]["label"], &layout["storage"][0]["slot"]), (&"_entries".into(), &"0".into()));
        let types = layout["types"].as_object().unwrap();
        let (_, entry) =
            types.iter().find(|(name, _)| name.contains("struct(Entry)_storage") && !name.contains("mapping")).unwrap();
        let fields = [ROOT, VECTORS_ROOT, ROOT_BLOCK, ROOT_TIME, VECTORS_BLOCK, VECTORS_TIME];
        assert_eq!(entry["members"].as_array().unwrap().len(), fields.len());
        for (field, member) in fields.into_iter().zip(entry["members"].as_array().unwrap()) {
            assert_eq!(member["label"], field.label);
            assert_eq!(member["slot"], field.slot.to_string());
            assert_eq!(member["offset"], field.offset);
        }
    }

    #[test]
    fn times_are_read_as_the_contract_packs_them_and_other_words_are_refused() {
        let word = (U256::from(1_800_000_001u64) << 168)
            | (U256::from(1_000_002u64) << 104)
            | (U256::from(1_800_000_000u64) << 64)
            | U256::from(1_000_000u64);
        let at = |block, seconds| Some((block, Duration::from_secs(seconds)));
        let times = Times { root: at(1_000_000, 1_800_000_000), vectors: at(1_000_002, 1_800_000_001) };
        assert_eq!(Times::decode(B256::from(word)), Ok(times));
        assert_eq!(Times::decode(B256::ZERO), Ok(Times { root: None, vectors: None }));
        let beyond = B256::from(U256::from(1) << 208);
        assert_eq!(Times::decode(beyond), Err(Error::UnusedBits { slot_name: "times", word: beyond }));
        // test/Touchstone.t.sol reads the same keys from a real EVM.
        let slots = Slots::of(Address::repeat_byte(1), B256::repeat_byte(2));
        assert_ne!(slots.root, slots.vectors_root);
        assert_ne!(slots, Slots::of(Address::repeat_byte(2), B256::repeat_byte(2)));
    }
}
