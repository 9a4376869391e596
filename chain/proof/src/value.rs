//! The meaning of what a path leads to: accounts, slots, receipts.
//!
//! Spec: specs/0002-proof-bundle.md §4.

use crate::{claim::AccountState, rlp};
use alloy_primitives::{Address, B256, Bytes, Log, U256};

/// Highest EIP-2718 type whose receipt has the common four fields.
const RECEIPT_TYPE_MAX: u8 = 4;
const BLOOM_BYTES: usize = 256;
/// The EVM has instructions for up to four topics.
pub(crate) const TOPICS_MAX: usize = 4;

/// A value with the right hash that is not what stands in such a trie: the chain itself is broken, or of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not an account.
    #[error("the certified value is no account")]
    Account,
    /// Not a storage value.
    #[error("the certified value is no storage value")]
    Slot,
    /// Not a receipt.
    #[error("the certified value is no receipt")]
    Receipt,
}

/// What claims need of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiptFacts {
    pub(crate) succeeded: bool,
    pub(crate) cumulative_gas_used: u64,
    pub(crate) logs: Vec<Log>,
}

/// The account at the end of a path; an absent one is the empty account.
pub(crate) fn account(value: Option<&[u8]>) -> Result<AccountState, ValueError> {
    value.map_or_else(|| Ok(AccountState::EMPTY), |value| decode_account(value).ok_or(ValueError::Account))
}

fn decode_account(value: &[u8]) -> Option<AccountState> {
    let [nonce, balance, storage_root, code_hash] = rlp::list(value)?.try_into().ok()?;
    Some(AccountState {
        nonce: rlp::number(nonce.text()?)?,
        balance: integer(balance.text()?)?,
        code_hash: code_hash.text()?.try_into().ok()?,
        storage_root: storage_root.text()?.try_into().ok()?,
    })
}

/// The word at the end of a storage path; zero if absent.
pub(crate) fn slot(value: Option<&[u8]>) -> Result<U256, ValueError> {
    let Some(value) = value else { return Ok(U256::ZERO) };
    let number = rlp::text(value).and_then(integer).filter(|number| !number.is_zero());
    number.ok_or(ValueError::Slot)
}

/// The receipt at the end of a path, from its EIP-2718 bytes.
pub(crate) fn receipt(value: &[u8]) -> Result<ReceiptFacts, ValueError> {
    decode_receipt(value).ok_or(ValueError::Receipt)
}

fn decode_receipt(value: &[u8]) -> Option<ReceiptFacts> {
    let list = match value.split_first()? {
        (1..=RECEIPT_TYPE_MAX, list) => list,
        (0xc0.., _) => value,
        _ => return None,
    };
    let [status, gas, bloom, logs] = rlp::list(list)?.try_into().ok()?;
    let succeeded = match status.text()? {
        [] => false,
        [1] => true,
        _ => return None,
    };
    if bloom.text()?.len() != BLOOM_BYTES {
        return None;
    }
    let rlp::Item::List { content, .. } = logs else { return None };
    let logs = rlp::items(content)?.into_iter().map(decode_log).collect::<Option<_>>()?;
    Some(ReceiptFacts { succeeded, cumulative_gas_used: rlp::number(gas.text()?)?, logs })
}

fn decode_log(item: rlp::Item<'_>) -> Option<Log> {
    let rlp::Item::List { content, .. } = item else { return None };
    let [address, topics, data] = rlp::items(content)?.try_into().ok()?;
    let rlp::Item::List { content: topics, .. } = topics else { return None };
    let topics: Vec<B256> =
        rlp::items(topics)?.into_iter().map(|topic| topic.text()?.try_into().ok()).collect::<Option<_>>()?;
    let address: &[u8; 20] = address.text()?.try_into().ok()?;
    let data = Bytes::copy_from_slice(data.text()?);
    (topics.len() <= TOPICS_MAX).then(|| Log::new_unchecked(Address::from(address), topics, data))
}

/// An unsigned integer of at most 256 bits without leading zeros.
fn integer(bytes: &[u8]) -> Option<U256> {
    if bytes.first() == Some(&0) { None } else { U256::try_from_be_slice(bytes) }
}
