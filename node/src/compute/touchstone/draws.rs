//! What this node knows of the draws of providers: the randomness of first heights of epochs.
//!
//! # Design
//! The contract's ring has the newest two; older ones come from the blocks that carried them, if this node keeps those. A value never changes, so each
//! height is asked for once a process.

use super::chain::Chain;
use crate::client::RpcFailure;
use alloy_primitives::{B256, U256};
use eyre::Result;
use keystead_contracts::{BEACON_ADDRESS, bindings::beacon::Beacon, storage::BEACON_RING};
use keystead_market::touchstone::lapse::{Draws, EPOCHS_MAX};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Randomness by chain and height.
static KNOWN: Mutex<BTreeMap<(u64, u64), B256>> = Mutex::new(BTreeMap::new());
/// Values that are remembered, the newest: those of one chain, and as many again while epochs go by.
const KNOWN_MAX: usize = 2 * EPOCHS_MAX;
/// Heights of the ring that are asked for there: it goes on between two questions, so not its very last ones.
const RING_ASKED: u64 = BEACON_RING - 64;

impl Chain {
    /// The draws that decide, when this block is the newest, about statements of this height and newer ones: at most [`EPOCHS_MAX`] questions. What the
    /// node answers that it does not have is missing.
    pub(crate) async fn draws(&self, head: u64, stated: u64) -> Result<Draws> {
        let mut draws = Draws { head, newest: self.newest_random().await?, randomness: BTreeMap::new() };
        let heights: Vec<u64> = draws.heights(stated).collect();
        for height in heights {
            if let Some(value) = self.draw(height, draws.newest).await? {
                draws.randomness.insert(height, value);
            }
        }
        Ok(draws)
    }

    async fn draw(&self, height: u64, newest: u64) -> Result<Option<B256>> {
        let name = (self.account.chain_id(), height);
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
        if known.is_some() {
            return Ok(known);
        }
        let is_in_ring = newest.saturating_sub(height) < RING_ASKED;
        let answer = if is_in_ring {
            let call = Beacon::randomnessCall { height: U256::from(height) };
            self.account.read(BEACON_ADDRESS, &call).await.map(Some)
        } else {
            self.randomness(height).await
        };
        let value = match answer {
            Ok(value) => value,
            // A node that began from a snapshot has no older blocks.
            Err(error) if error.downcast_ref::<RpcFailure>().is_some() => {
                tracing::debug!(height, "no randomness: {error:#}");
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(value) = value {
            remember(&mut KNOWN.lock().unwrap_or_else(PoisonError::into_inner), name, value);
        }
        Ok(value)
    }
}

/// Keeps a value, and forgets the oldest beyond those that have room.
fn remember(known: &mut BTreeMap<(u64, u64), B256>, name: (u64, u64), value: B256) {
    known.insert(name, value);
    while known.len() > KNOWN_MAX {
        known.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_values_are_remembered_and_no_more() {
        let mut known = BTreeMap::new();
        let most = u64::try_from(KNOWN_MAX).unwrap_or(u64::MAX);
        for height in 0..=most {
            remember(&mut known, (1, height), B256::ZERO);
        }
        assert_eq!((known.len(), known.first_key_value()), (KNOWN_MAX, Some((&(1, 1), &B256::ZERO))));
    }
}
