//! A leader whose clock is a little ahead, or far behind: its blocks are as good as any.

use super::{
    super::Chain,
    ear,
    proposer::Proposer,
    validators::{COUNT, Validators},
};
use keystead_consensus::{BuildRequest, Ledger as _, LedgerError};
use keystead_types::{B256, Block};
use std::sync::{Arc, Mutex, PoisonError};

/// Place in the committee of the one with the wrong clock.
const WRONG: usize = 1;
/// Within the drift that is allowed (500 ms).
const AHEAD_MS: u64 = 400;
/// Blocks of each kind that must become final.
const BLOCKS: usize = 2;

/// Hashes of the blocks that were proposed ahead of time, and far behind it.
type Proposed = Mutex<[Vec<B256>; 2]>;

/// Builds alternately as a leader whose clock is ahead and as one whose clock is far behind.
fn propose(proposed: &Proposed, inner: &Chain, request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
    let mut proposed = proposed.lock().unwrap_or_else(PoisonError::into_inner);
    let ahead = proposed[0].len() <= proposed[1].len();
    // A leader whose clock is behind takes the first time that the rule allows.
    let behind_ms = request.parent.timestamp_ms() + 1;
    let timestamp_ms = if ahead { request.timestamp_ms + AHEAD_MS } else { behind_ms };
    let block = inner.build(BuildRequest { timestamp_ms, ..request })?;
    proposed[usize::from(!ahead)].push(block.hash());
    Ok(block)
}

#[test]
fn blocks_of_a_leader_with_a_slightly_wrong_clock_become_final() {
    ear::listen();
    let built = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let validators = Validators::start(|index, inner| {
        let built = Arc::clone(&built);
        let wrong = move |inner: &Chain, request| propose(&built, inner, request);
        if index == WRONG { Proposer::new(inner, wrong) } else { inner }
    });
    for (kind, name) in ["ahead", "behind"].into_iter().enumerate() {
        validators.wait(name, || {
            let hashes = built.lock().unwrap_or_else(PoisonError::into_inner)[kind].clone();
            hashes.iter().filter(|hash| validators.is_final(0, hash)).count() >= BLOCKS
        });
    }
    let lowest = validators.agree();
    for height in 1..=lowest {
        let (parent, child) = (validators.header(0, height - 1), validators.header(0, height));
        assert!(child.extra_data > parent.extra_data, "time stands still at height {height}");
    }
    println!("validators={COUNT} height={lowest}");
}
