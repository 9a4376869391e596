//! The records of the tables and their bytes.
//!
//! # Design
//! A flat account is `flags || length(nonce) || nonce || length(balance) || balance || [storage root] || [code hash]`,
//! lengths in one byte, numbers big-endian without leading zeros; bit 0 of the flags says that a storage root follows,
//! bit 1 that a code hash does. A flat slot is its value, big-endian without leading zeros, never empty. Heights are
//! eight bytes, big-endian, so that tables lie in order of height.
//!
//! # Invariants
//! Every decoder refuses what its encoder does not write: other lengths, leading zeros, unknown flags, trailing bytes.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use keystead_types::{Account, Certificate, Receipt, SIGNATURE_BYTES};

/// Longest leaf of an account: a list of two numbers of 8 and 32 bytes and two hashes.
const LEAF_BYTES_MAX: usize = 2 + 9 + 33 + 33 + 33;
const HAS_STORAGE: u8 = 1;
const HAS_CODE: u8 = 2;

/// An account as the trie has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountRecord {
    pub(crate) account: Account,
    pub(crate) storage_root: B256,
}

impl AccountRecord {
    /// The leaf value of the account trie. Spec: Ethereum yellow paper §4.1.
    pub(crate) fn leaf(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEAF_BYTES_MAX);
        self.put_leaf(&mut out);
        out
    }

    /// Adds [`Self::leaf`] to `out`.
    pub(crate) fn put_leaf(&self, out: &mut Vec<u8>) {
        let leaf = TrieAccount {
            nonce: self.account.nonce,
            balance: self.account.balance,
            storage_root: self.storage_root,
            code_hash: self.account.code_hash,
        };
        leaf.encode(out);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (storage, code) = (self.storage_root != EMPTY_ROOT_HASH, self.account.code_hash != KECCAK256_EMPTY);
        let mut out = Vec::with_capacity(32);
        out.push(if storage { HAS_STORAGE } else { 0 } | if code { HAS_CODE } else { 0 });
        put_number(&mut out, &self.account.nonce.to_be_bytes());
        put_number(&mut out, &self.account.balance.to_be_bytes::<32>());
        if storage {
            out.extend_from_slice(self.storage_root.as_slice());
        }
        if code {
            out.extend_from_slice(self.account.code_hash.as_slice());
        }
        out
    }

    /// `None` unless the bytes are exactly what [`Self::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&flags, mut rest) = bytes.split_first()?;
        let nonce = u64::try_from(take_number(&mut rest, 8)?).ok()?;
        let balance = take_number(&mut rest, 32)?;
        let storage_root = take_hash(&mut rest, flags & HAS_STORAGE != 0, EMPTY_ROOT_HASH)?;
        let code_hash = take_hash(&mut rest, flags & HAS_CODE != 0, KECCAK256_EMPTY)?;
        let known = flags & !(HAS_STORAGE | HAS_CODE) == 0;
        (known && rest.is_empty()).then_some(Self { account: Account { nonce, balance, code_hash }, storage_root })
    }
}

fn trim(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn put_number(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = trim(bytes);
    out.push(u8::try_from(bytes.len()).expect("invariant: a number has at most 32 bytes"));
    out.extend_from_slice(bytes);
}

fn take_number(rest: &mut &[u8], bytes_max: usize) -> Option<U256> {
    let (&length, tail) = rest.split_first()?;
    let (number, tail) = tail.split_at_checked(usize::from(length))?;
    *rest = tail;
    (number.len() <= bytes_max && number.first() != Some(&0)).then(|| U256::try_from_be_slice(number)).flatten()
}

/// A hash if it is there, else the default, which is never written out.
fn take_hash(rest: &mut &[u8], there: bool, default: B256) -> Option<B256> {
    if !there {
        return Some(default);
    }
    let (hash, tail) = rest.split_at_checked(32)?;
    *rest = tail;
    Some(B256::from_slice(hash)).filter(|hash| *hash != default)
}

/// A flat slot. Zero gives no bytes: the history has that for an absent slot, the flat table never.
pub(crate) fn encode_slot(value: &U256) -> Vec<u8> {
    trim(&value.to_be_bytes::<32>()).to_vec()
}

pub(crate) fn decode_slot(bytes: &[u8]) -> Option<U256> {
    (bytes.first()? != &0).then(|| U256::try_from_be_slice(bytes)).flatten()
}

/// The leaf value of a storage trie.
pub(crate) fn slot_leaf(value: &U256) -> Vec<u8> {
    alloy_rlp::encode(value)
}

/// Key of a flat slot: hashed address, hashed slot.
pub(crate) fn slot_key(address: &B256, slot: &B256) -> [u8; 64] {
    std::array::from_fn(|at| if at < 32 { address[at] } else { slot[at % 32] })
}

/// Key of an old value: that of the flat table, and the height of the block that replaced it.
pub(crate) fn history_key(key: &[u8], number: u64) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

pub(crate) fn decode_height(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// epoch || view || parent view || block hash || signature.
pub(crate) fn encode_certificate(certificate: &Certificate) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * 8 + 32 + SIGNATURE_BYTES);
    for number in [certificate.epoch, certificate.view, certificate.parent_view] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(certificate.block_hash.as_slice());
    out.extend_from_slice(&certificate.signature);
    out
}

pub(crate) fn decode_certificate(bytes: &[u8]) -> Option<Certificate> {
    let (epoch, rest) = bytes.split_at_checked(8)?;
    let (view, rest) = rest.split_at_checked(8)?;
    let (parent_view, rest) = rest.split_at_checked(8)?;
    let (block_hash, signature) = rest.split_at_checked(32)?;
    Some(Certificate {
        epoch: decode_height(epoch)?,
        view: decode_height(view)?,
        parent_view: decode_height(parent_view)?,
        block_hash: B256::from_slice(block_hash),
        signature: signature.try_into().ok()?,
    })
}

pub(crate) fn encode_senders(senders: &[Address]) -> Vec<u8> {
    senders.iter().flat_map(|sender| sender.0).collect()
}

pub(crate) fn decode_senders(bytes: &[u8]) -> Option<Vec<Address>> {
    let senders = bytes.chunks_exact(Address::len_bytes());
    senders.remainder().is_empty().then(|| senders.map(Address::from_slice).collect())
}

/// Block number || index in the block.
pub(crate) fn encode_location(number: u64, index: u32) -> Vec<u8> {
    [number.to_be_bytes().as_slice(), index.to_be_bytes().as_slice()].concat()
}

pub(crate) fn decode_location(bytes: &[u8]) -> Option<(u64, usize)> {
    let (number, index) = bytes.split_at_checked(8)?;
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some((decode_height(number)?, usize::try_from(index).ok()?))
}

/// RLP list of receipts in the form that the wire protocol has: what format 1 stored.
#[cfg(test)]
pub(crate) fn encode_receipts(receipts: &[Receipt]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::encode_list(receipts, &mut out);
    out
}

pub(crate) fn decode_receipts(bytes: &[u8]) -> Option<Vec<Receipt>> {
    decode_whole(bytes)
}

pub(crate) fn encode_header(header: &Header) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    out
}

pub(crate) fn decode_header(bytes: &[u8]) -> Option<Header> {
    decode_whole(bytes)
}

fn decode_whole<T: Decodable>(mut bytes: &[u8]) -> Option<T> {
    let value = T::decode(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

    use super::*;
    use proptest::prelude::*;

    fn account() -> impl Strategy<Value = AccountRecord> {
        let hash = |default: B256| prop_oneof![Just(default), any::<[u8; 32]>().prop_map(B256::new)];
        let number = prop_oneof![
            Just(U256::ZERO),
            any::<u64>().prop_map(U256::from),
            any::<[u8; 32]>().prop_map(U256::from_be_bytes)
        ];
        (any::<u64>(), number, hash(EMPTY_ROOT_HASH), hash(KECCAK256_EMPTY)).prop_map(
            |(nonce, balance, storage_root, code_hash)| AccountRecord {
                account: Account { nonce: nonce >> (nonce % 64), balance, code_hash },
                storage_root,
            },
        )
    }

    proptest! {
        #[test]
        fn accounts_round_trip_and_no_prefix_or_extension_of_one_is_read(record in account()) {
            let bytes = record.encode();
            prop_assert_eq!(AccountRecord::decode(&bytes), Some(record));
            for length in 0..bytes.len() {
                prop_assert_eq!(AccountRecord::decode(&bytes[..length]), None);
            }
            prop_assert_eq!(AccountRecord::decode(&[bytes, vec![0]].concat()), None);
        }

        #[test]
        fn whatever_an_account_decoder_accepts_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..110)) {
            if let Some(record) = AccountRecord::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }

        #[test]
        fn hostile_bytes_are_refused_by_every_decoder_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(value) = decode_slot(&bytes) {
                prop_assert_eq!(encode_slot(&value), bytes.clone());
            }
            if let Some(certificate) = decode_certificate(&bytes) {
                prop_assert_eq!(encode_certificate(&certificate), bytes.clone());
            }
            if let Some(senders) = decode_senders(&bytes) {
                prop_assert_eq!(encode_senders(&senders), bytes.clone());
            }
            prop_assert_eq!(decode_location(&bytes).is_some(), bytes.len() == 12);
            prop_assert_eq!(decode_height(&bytes).is_some(), bytes.len() == 8);
            let _ = (decode_receipts(&bytes), decode_header(&bytes));
        }

        #[test]
        fn slots_round_trip(value in any::<[u8; 32]>(), shift in 0_usize..256) {
            let value = U256::from_be_bytes(value).wrapping_shr(shift);
            prop_assume!(!value.is_zero());
            prop_assert_eq!(decode_slot(&encode_slot(&value)), Some(value));
        }
    }

    #[test]
    fn an_account_that_spells_out_a_default_or_an_unknown_flag_is_refused() {
        let mut bytes = vec![HAS_STORAGE, 0, 0];
        bytes.extend_from_slice(EMPTY_ROOT_HASH.as_slice());
        assert_eq!(AccountRecord::decode(&bytes), None);
        assert_eq!(AccountRecord::decode(&[4, 0, 0]), None);
        assert_eq!(AccountRecord::decode(&[0, 1, 0, 0]), None, "a leading zero");
        let empty = AccountRecord { account: Account::default(), storage_root: EMPTY_ROOT_HASH };
        assert_eq!(AccountRecord::decode(&[0, 0, 0]), Some(empty));
    }

    #[test]
    fn a_certificate_of_the_wrong_length_is_refused() {
        let certificate =
            Certificate { epoch: 1, view: 2, parent_view: 3, block_hash: B256::repeat_byte(4), signature: [5; 48] };
        let bytes = encode_certificate(&certificate);
        assert_eq!(decode_certificate(&bytes), Some(certificate));
        assert_eq!(decode_certificate(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode_certificate(&[bytes, vec![0]].concat()), None);
    }
}
