//! The checkers that the customer of a private order names: their hash in the terms of its audit, and the list itself.
//!
//! # Design
//! The contract keeps the hash alone, and asks whoever commits for the list. Everybody who needs it (the named, the provider that serves them) finds it in the
//! transaction that placed the order: as a note behind the call's data, which no contract reads. Whoever commits tells the list in public all the same.
//!
//! # Invariants
//! A list is believed only if its hash is the one in the terms.
//!
//! Spec: specs/0008-audit.md §13.

use super::{
    account::Account,
    windows::{Window, Windows},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolEvent as _;
use eyre::Result;
use keystead_contracts::{
    MARKET_ADDRESS,
    bindings::{audit::Audit, market::Market},
    limits::AUDIT_NAMED_MAX,
};
use serde_json::json;

/// What a note ends with, behind the number of its addresses.
const TAG: &[u8] = b"keystead/named/v1";
const ADDRESS_BYTES: usize = 20;

/// Why an account cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameFault {
    /// Nobody has it.
    #[error("the zero address checks nothing: name an account that runs `keystead provide`")]
    Zero,
    /// One machine would be counted as two.
    #[error("a checker is named twice: {0}")]
    Twice(Address),
    /// It would judge its own work.
    #[error("the provider of an order cannot check it: name another checker, or take another provider than {0}")]
    Provider(Address),
    /// Its sample is what it checks.
    #[error("the customer of an order checks it by its own sample, and cannot be named: leave out {0}")]
    Customer(Address),
}

/// Who else is in an order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parties {
    pub(crate) provider: Address,
    pub(crate) customer: Address,
}

/// What stands in the terms of an audit: zero if nobody is named.
pub(crate) fn hash_of(named: &[Address]) -> B256 {
    if named.is_empty() {
        return B256::ZERO;
    }
    // `abi.encodePacked` of an array pads each of its items to a word.
    keccak256(named.iter().flat_map(|account| account.into_word().0).collect::<Vec<u8>>())
}

/// What is wrong with a list of names for an order of these, if anything is.
pub(crate) fn fault(named: &[Address], parties: Parties) -> Option<NameFault> {
    let Parties { provider, customer } = parties;
    named.iter().enumerate().find_map(|(at, name)| match *name {
        name if name.is_zero() => Some(NameFault::Zero),
        name if name == provider => Some(NameFault::Provider(name)),
        name if name == customer => Some(NameFault::Customer(name)),
        name if named.iter().take(at).any(|earlier| *earlier == name) => Some(NameFault::Twice(name)),
        _ => None,
    })
}

/// The note that tells the list: addresses in order, their number as one byte, [`TAG`]. Empty if nobody is named.
pub(crate) fn note(named: &[Address]) -> Vec<u8> {
    let Some(count) = u8::try_from(named.len()).ok().filter(|count| *count > 0) else { return Vec::new() };
    let mut note: Vec<u8> = named.iter().flat_map(|account| account.0.0).collect();
    note.push(count);
    note.extend_from_slice(TAG);
    note
}

/// The list behind a call's data. Trust: hostile bytes; see the invariant.
fn read(input: &[u8]) -> Option<Vec<Address>> {
    let (count, before) = input.strip_suffix(TAG)?.split_last()?;
    let count = usize::from(*count);
    if !(1..=AUDIT_NAMED_MAX).contains(&count) {
        return None;
    }
    let begin = before.len().checked_sub(count.saturating_mul(ADDRESS_BYTES))?;
    Some(before.get(begin..)?.chunks_exact(ADDRESS_BYTES).map(Address::from_slice).collect())
}

/// Whom an order names whose terms have this hash; `None` if its transaction does not tell.
///
/// # Errors
/// The node's.
pub(crate) async fn of_order(account: &Account, order: U256, hash: B256) -> Result<Option<Vec<Address>>> {
    let topics = json!([Market::OrderPlaced::SIGNATURE_HASH, B256::from(order)]);
    let placed = account.logs(MARKET_ADDRESS, 0, account.height().await?, topics).await?;
    let Some(placed) = placed.first() else { return Ok(None) };
    let input = account.input_of(placed.transaction_hash).await?;
    Ok(read(&input).filter(|named| hash_of(named) == hash))
}

/// Whom the order behind a private window names; `None` if its transaction does not tell.
///
/// # Errors
/// The node's.
pub(crate) async fn of_window(windows: &Windows, window: &Window) -> Result<Option<Vec<Address>>> {
    let opened = windows.of_window::<Audit::WindowOpened>(window.id, 0).await?;
    match opened.first() {
        Some((opened, _)) if opened.source == MARKET_ADDRESS => {
            of_order(&windows.account, opened.number, window.named).await
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn names(count: u8) -> Vec<Address> {
        (1..=count).map(Address::repeat_byte).collect()
    }

    #[test]
    fn the_hash_is_that_of_the_contract_which_pads_each_address_to_a_word() {
        let words = [[0_u8; 12].as_slice(), &[1; 20], &[0; 12], &[2; 20]].concat();
        assert_eq!(hash_of(&names(2)), keccak256(words));
        assert_ne!(hash_of(&names(1)), keccak256([1_u8; 20]));
        assert_eq!(hash_of(&[]), B256::ZERO);
    }

    #[test]
    fn a_list_stands_behind_any_call_and_nothing_else_is_read_as_one() {
        for count in 1..=4 {
            let input = [&[9_u8; 100][..], note(&names(count)).as_slice()].concat();
            assert_eq!(read(&input).unwrap(), names(count));
        }
        assert!(note(&[]).is_empty());
        let five = [&[9_u8; 4][..], note(&names(5)).as_slice()].concat();
        assert_eq!(read(&five), None, "one more than the contract takes");
        let one = note(&names(1));
        let short = one.get(1..).unwrap();
        let cut = one.split_last().unwrap().1;
        let none = [&[0_u8][..], TAG].concat();
        for wrong in [&[9_u8; 100][..], short, cut, TAG, none.as_slice(), &[]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn nobody_is_named_who_is_nobody_named_already_or_a_party() {
        let parties = Parties { provider: Address::repeat_byte(8), customer: Address::repeat_byte(9) };
        let of = |bytes: &[u8]| fault(&bytes.iter().copied().map(Address::repeat_byte).collect::<Vec<_>>(), parties);
        assert_eq!((of(&[]), of(&[1, 2, 3, 4])), (None, None));
        assert_eq!(of(&[1, 0]), Some(NameFault::Zero));
        assert_eq!(of(&[1, 2, 1]), Some(NameFault::Twice(Address::repeat_byte(1))));
        assert_eq!(of(&[8]), Some(NameFault::Provider(parties.provider)));
        assert_eq!(of(&[1, 9]), Some(NameFault::Customer(parties.customer)));
    }
}
