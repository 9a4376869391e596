//! The beacon's rules that depend on the state: which heights come next, and what a block may carry.
//!
//! Spec: specs/0007-beacon.md §4 and §5.
//!
//! # Not here
//! The signatures of the values: the engine's glue checks them, which has the network key; a follower has the certificate.

use super::broken;
use keystead_consensus::LedgerError;
use keystead_state::Snapshot;
use keystead_types::{
    BEACON_ADDRESS, BEACON_NEWEST_SLOT, BEACON_REQUEST_TYPE, BeaconBatch, BeaconValue, Block, StateView as _,
};

/// Newest height whose randomness a state holds, zero if there is none yet; `None` if there is no beacon.
///
/// # Errors
/// [`LedgerError::Broken`].
pub(crate) fn newest(state: &Snapshot) -> Result<Option<u64>, LedgerError> {
    let unreadable = broken("reading the beacon");
    let account = state.account(&BEACON_ADDRESS).map_err(|error| unreadable(&error))?;
    if account.is_none_or(|account| account.code_hash == alloy_primitives::KECCAK256_EMPTY) {
        return Ok(None);
    }
    let newest = state.storage(&BEACON_ADDRESS, &BEACON_NEWEST_SLOT).map_err(|error| unreadable(&error))?;
    // Heights have 64 bits; only a development chain can have something else there.
    Ok(Some(newest.saturating_to()))
}

/// What a block of this number on top of a state carries, of the values that there are.
///
/// # Errors
/// [`LedgerError::Broken`].
pub(crate) fn following(
    state: &Snapshot,
    number: u64,
    value: impl Fn(u64) -> Option<BeaconValue>,
) -> Result<Option<BeaconBatch>, LedgerError> {
    Ok(newest(state)?.and_then(|newest| BeaconBatch::following(newest, number, value)))
}

/// The value of a height in a list that is in the order of heights.
pub(super) fn find(values: &[(u64, BeaconValue)], height: u64) -> Option<BeaconValue> {
    let index = values.binary_search_by_key(&height, |(height, _)| *height).ok()?;
    values.get(index).map(|(_, value)| *value)
}

/// The first rule of its requests that a block on top of a state breaks.
///
/// # Errors
/// [`LedgerError::Broken`].
pub(super) fn broken_rule(parent: &Snapshot, block: &Block) -> Result<Option<String>, LedgerError> {
    let unknown = block.requests().iter().filter(|request| request.first() != Some(&BEACON_REQUEST_TYPE)).count();
    if unknown > 0 {
        return Ok(Some(format!("requests of an unknown type: count={unknown}")));
    }
    let batch = match BeaconBatch::among(block.requests()) {
        Ok(None) => return Ok(None),
        Ok(Some(batch)) => batch,
        Err(error) => return Ok(Some(error.to_string())),
    };
    Ok(match newest(parent)? {
        Some(newest) => batch.misplaced(newest, block.number()),
        None => Some("beacon values on a chain without a beacon".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystead_contracts::storage::{BEACON_NEWEST_SLOT as NEWEST_SLOT, BEACON_RING as RING, beacon_slot};

    #[test]
    fn what_is_read_here_is_where_the_contract_puts_it() {
        assert_eq!(BEACON_ADDRESS, keystead_contracts::BEACON_ADDRESS);
        assert_eq!((BEACON_NEWEST_SLOT.into(), keystead_types::BEACON_RING), (NEWEST_SLOT, RING));
        for height in [1, 2, RING - 1, RING, RING + 1, u64::MAX] {
            assert_eq!(alloy_primitives::B256::from(keystead_types::beacon_slot(height)), beacon_slot(height));
        }
    }
}
