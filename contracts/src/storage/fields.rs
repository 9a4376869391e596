//! Packed fields of a storage word, named by their place in the compiler's layout.

use super::Error;
use alloy_primitives::{Address, B256, U256, keccak256};
use std::time::Duration;

/// One field of a structure: its slot within the structure, and its bytes counted from the low end of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Name in the Solidity structure.
    pub(super) label: &'static str,
    /// Slot within the structure, from 0.
    pub(super) slot: u8,
    /// First byte, counted from the low end of the word.
    pub(super) offset: u8,
    /// Length in bytes, at most 16 for the fields that [`Field::read`] reads.
    pub(super) bytes: u8,
}

impl Field {
    /// A field at its place.
    pub(super) const fn new(label: &'static str, slot: u8, offset: u8, bytes: u8) -> Self {
        Self { label, slot, offset, bytes }
    }

    /// The field's value in the word of its slot; fields longer than 16 bytes lose their high bytes.
    pub(super) fn read(self, word: B256) -> u128 {
        let low_first = word.0.into_iter().rev().skip(usize::from(self.offset)).take(usize::from(self.bytes));
        low_first.rev().fold(0, |value, byte| (value << 8) | u128::from(byte))
    }

    /// A field of at most 8 bytes.
    pub(super) fn read_u64(self, word: B256) -> u64 {
        // LOSSY: none is lost, since every field read this way has at most 8 bytes.
        #[allow(clippy::cast_possible_truncation)]
        let value = self.read(word) as u64;
        value
    }

    /// A field of at most 4 bytes.
    pub(super) fn read_u32(self, word: B256) -> u32 {
        // LOSSY: none is lost, since every field read this way has 4 bytes.
        #[allow(clippy::cast_possible_truncation)]
        let value = self.read(word) as u32;
        value
    }

    /// A field of one byte.
    pub(super) fn read_u8(self, word: B256) -> u8 {
        // LOSSY: none is lost, since every field read this way has one byte.
        #[allow(clippy::cast_possible_truncation)]
        let value = self.read(word) as u8;
        value
    }

    /// A point in time as the duration since the Unix epoch; zero means that it has not come.
    pub(super) fn read_time(self, word: B256) -> Option<Duration> {
        let seconds = self.read_u64(word);
        (seconds != 0).then(|| Duration::from_secs(seconds))
    }
}

/// Fails if any of the `unused_bytes` highest bytes of a word is set.
pub(super) fn require_unused(word: B256, unused_bytes: usize, slot_name: &'static str) -> Result<(), Error> {
    if word.iter().take(unused_bytes).any(|byte| *byte != 0) {
        return Err(Error::UnusedBits { slot_name, word });
    }
    Ok(())
}

/// Slot of the value of a number in a mapping.
pub(super) fn slot_of_number(key: U256, mapping: U256) -> U256 {
    slot_of_word(B256::from(key), mapping)
}

/// Slot of the value of an account in a mapping.
pub(super) fn slot_of_account(key: Address, mapping: U256) -> U256 {
    slot_of_word(key.into_word(), mapping)
}

fn slot_of_word(key: B256, mapping: U256) -> U256 {
    let mut preimage = [0; 64];
    let (head, tail) = preimage.split_at_mut(32);
    head.copy_from_slice(key.as_slice());
    tail.copy_from_slice(&mapping.to_be_bytes::<32>());
    keccak256(preimage).into()
}

/// The slot `index` places after `base`; storage slots wrap around like all EVM words.
pub(super) fn nth(base: U256, index: u8) -> B256 {
    base.wrapping_add(U256::from(index)).into()
}

#[cfg(test)]
pub(super) mod layout {
    //! Compares a table of fields with the compiler's storage layout in an artifact.
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::Field;
    use serde_json::Value;

    /// The members of a structure as the compiler laid them out.
    pub(in crate::storage) fn members(artifact: &Value, structure: &str) -> Vec<(String, u8, u8, u8)> {
        let types = &artifact["storageLayout"]["types"];
        let members = types[format!("t_struct({structure})_storage")]["members"].as_array().unwrap();
        let number = |value: &Value| value.as_str().unwrap().parse::<u8>().unwrap();
        members
            .iter()
            .map(|member| {
                let bytes = number(&types[member["type"].as_str().unwrap()]["numberOfBytes"]);
                let offset = u8::try_from(member["offset"].as_u64().unwrap()).unwrap();
                (member["label"].as_str().unwrap().to_owned(), number(&member["slot"]), offset, bytes)
            })
            .collect()
    }

    /// The same of a table.
    pub(in crate::storage) fn table(fields: &[Field]) -> Vec<(String, u8, u8, u8)> {
        fields.iter().map(|field| (field.label.to_owned(), field.slot, field.offset, field.bytes)).collect()
    }

    /// The slot of a state variable.
    pub(in crate::storage) fn variable(artifact: &Value, label: &str) -> u64 {
        let variables = artifact["storageLayout"]["storage"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["label"] == label).unwrap();
        assert_eq!(found["offset"], 0);
        found["slot"].as_str().unwrap().parse().unwrap()
    }
}
