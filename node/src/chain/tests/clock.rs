//! A leader whose clock is a little ahead, or far behind: its blocks are as good as any.

use super::{
    super::Chain,
    ear,
    validators::{COUNT, Validators},
};
use futures::future::BoxFuture;
use keystead_consensus::{BuildRequest, Ledger, LedgerError, Verdict};
use keystead_types::{B256, Block, Bytes, Certificate};
use std::sync::{Arc, Mutex, PoisonError};

/// Place in the committee of the one with the wrong clock.
const WRONG: usize = 1;
/// Within the drift that is allowed (500 ms).
const AHEAD_MS: u64 = 400;
/// Blocks of each kind that must become final.
const BLOCKS: usize = 2;

/// Builds alternately as a leader whose clock is ahead and as one whose clock is far behind.
struct WrongClock {
    inner: Arc<Chain>,
    built: Arc<Mutex<[Vec<B256>; 2]>>,
}

impl Ledger for WrongClock {
    fn knows(&self, hash: &B256) -> bool {
        self.inner.knows(hash)
    }

    fn build(&self, request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = built[0].len() <= built[1].len();
        // A leader whose clock is behind takes the first time that the rule allows.
        let behind_ms = request.parent.timestamp_ms() + 1;
        let timestamp_ms = if ahead { request.timestamp_ms + AHEAD_MS } else { behind_ms };
        let block = self.inner.build(BuildRequest { timestamp_ms, ..request })?;
        built[usize::from(!ahead)].push(block.hash());
        drop(built);
        Ok(block)
    }

    fn check(&self, block: &Arc<Block>, parent: &Arc<Block>) -> Result<Verdict, LedgerError> {
        self.inner.check(block, parent)
    }

    fn commit(&self, block: &Arc<Block>, certificate: Option<Certificate>) -> Result<(), LedgerError> {
        self.inner.commit(block, certificate)
    }

    fn demanded(&self) -> BoxFuture<'static, ()> {
        self.inner.demanded()
    }

    fn receive(&self, transactions: Vec<Bytes>) {
        self.inner.receive(transactions);
    }
}

#[test]
fn blocks_of_a_leader_with_a_slightly_wrong_clock_become_final() {
    ear::listen();
    let built = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let validators = Validators::start(|index, inner| {
        if index == WRONG { Arc::new(WrongClock { inner, built: Arc::clone(&built) }) } else { inner }
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
