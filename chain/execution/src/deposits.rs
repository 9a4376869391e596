//! Deposit requests from the logs of the deposit contract. Spec: EIP-6110.

use crate::error::{BlockFault, Error};
use alloy_primitives::{Address, B256, U256, b256};
use keystead_types::Receipt;

/// keccak256 of `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 = b256!("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// Length of the event's data in bytes.
const EVENT_BYTES: usize = 576;
/// Where each field stands in the data, and how long it is: public key, credentials, amount, signature, index.
const FIELDS: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];
/// Bytes of a word of the ABI.
const WORD: usize = 32;

/// The deposits of a block, one after the other.
///
/// # Errors
/// [`BlockFault::DepositLayout`]: a log of the contract that is not laid out as the EIP says makes the block invalid.
pub(crate) fn requests(contract: Address, receipts: &[Receipt]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for log in receipts.iter().flat_map(Receipt::logs) {
        if log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT) {
            append(&mut out, &log.data.data).ok_or(Error::Block(BlockFault::DepositLayout { contract }))?;
        }
    }
    Ok(out)
}

/// `None` unless every offset and length is the one that the deposit contract writes.
fn append(out: &mut Vec<u8>, data: &[u8]) -> Option<()> {
    if data.len() != EVENT_BYTES {
        return None;
    }
    let mut heads = data.chunks_exact(WORD);
    for (offset, length) in FIELDS {
        let head = heads.next()?;
        let (size, rest) = data.get(offset..)?.split_at_checked(WORD)?;
        if U256::try_from_be_slice(head)? != U256::from(offset) || U256::try_from_be_slice(size)? != U256::from(length)
        {
            return None;
        }
        out.extend_from_slice(rest.get(..length)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::arithmetic_side_effects,
        reason = "a test stops at the first surprise and computes with small numbers"
    )]
    use super::*;

    fn event() -> Vec<u8> {
        let mut data = vec![0; EVENT_BYTES];
        for (index, (offset, length)) in FIELDS.into_iter().enumerate() {
            data[WORD * index..WORD * (index + 1)].copy_from_slice(&U256::from(offset).to_be_bytes::<32>());
            data[offset..offset + WORD].copy_from_slice(&U256::from(length).to_be_bytes::<32>());
            data[offset + WORD..offset + WORD + length].fill(u8::try_from(index).unwrap() + 1);
        }
        data
    }

    #[test]
    fn the_fields_stand_one_after_the_other() {
        let mut out = Vec::new();
        append(&mut out, &event()).unwrap();
        let want: Vec<u8> =
            [(1, 48), (2, 32), (3, 8), (4, 96), (5, 8)].iter().flat_map(|(v, n)| vec![*v; *n]).collect();
        assert_eq!(out, want);
    }

    #[test]
    fn any_other_offset_or_length_is_refused() {
        for at in [31, 63, 95, 127, 159, 191, 287, 351, 415, 543, 0] {
            let mut data = event();
            data[at] ^= 1;
            assert_eq!(append(&mut Vec::new(), &data), None, "byte {at}");
        }
        let mut longer = event();
        longer.push(0);
        assert_eq!(append(&mut Vec::new(), &longer), None);
    }
}
