//! Executes proven blocks as a validator does, on a thread of its own, and says how far it is.

use super::source::Sources;
use crate::chain::Chain;
use eyre::{Result, eyre};
use keystead_consensus::{Ledger as _, Verdict};
use keystead_proof::Proven;
use keystead_state::Store;
use keystead_types::Block;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How often a node that is behind says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Blocks behind the sources up to which a node counts as caught up.
const CAUGHT_UP_BLOCKS: u64 = 2;

/// Takes blocks to the ledger.
pub(crate) struct Executor {
    chain: Chain,
    store: Store,
    sources: Sources,
    head: Arc<Block>,
    progress: Progress,
}

impl Executor {
    /// Continues above the head of the store.
    ///
    /// # Errors
    /// The store lacks its head.
    pub(crate) fn new(chain: Chain, store: Store, sources: Sources) -> Result<Self> {
        let number = store.head().number;
        let head = store.block(number)?.ok_or_else(|| eyre!("the store lacks its head: height={number}"))?;
        let progress = Progress::new(number);
        Ok(Self { chain, store, sources, head, progress })
    }

    /// Executes until no block comes any more.
    ///
    /// # Errors
    /// A final block that is invalid here, or a store that failed: the node must stop.
    pub(crate) fn run(mut self, mut blocks: mpsc::Receiver<Vec<Proven>>) -> Result<()> {
        while let Some(proven) = blocks.blocking_recv() {
            for it in proven {
                if blocks.is_closed() {
                    return Ok(());
                }
                self.execute(it)?;
            }
            let (height, known) = (self.store.head().number, self.sources.head());
            self.progress.tell(height, known, Instant::now());
        }
        Ok(())
    }

    fn execute(&mut self, proven: Proven) -> Result<()> {
        let Proven { block, certificate } = proven;
        match self.chain.check(&block, &self.head)? {
            Verdict::Valid => {}
            Verdict::Invalid(reason) => {
                return Err(eyre!(
                    "the network made a block final that is invalid by the rules of this program: height={} hash={} {reason}; \
                     either the network runs another version, or more than two thirds of its committee are wrong",
                    block.number(),
                    block.hash()
                ));
            }
        }
        self.chain.commit(&block, certificate)?;
        self.head = block;
        Ok(())
    }
}

/// What was told, and when.
struct Progress {
    told_at: Option<Instant>,
    told_height: u64,
    caught_up: bool,
}

impl Progress {
    const fn new(height: u64) -> Self {
        Self { told_at: None, told_height: height, caught_up: false }
    }

    /// Says how far this node is, if it is time.
    fn tell(&mut self, height: u64, known: u64, now: Instant) {
        let behind = known.saturating_sub(height);
        if behind <= CAUGHT_UP_BLOCKS {
            if !self.caught_up {
                tracing::info!(height, "caught up with the network");
            }
            (self.caught_up, self.told_at, self.told_height) = (true, Some(now), height);
            return;
        }
        let Some(told_at) = self.told_at else {
            (self.told_at, self.told_height) = (Some(now), height);
            return;
        };
        let elapsed = now.saturating_duration_since(told_at);
        if elapsed < PROGRESS_EVERY {
            return;
        }
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let blocks = height.saturating_sub(self.told_height);
        let blocks_per_s = blocks.saturating_mul(1_000).checked_div(millis).unwrap_or_default();
        let eta_s = behind.checked_div(blocks_per_s).map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        tracing::info!(height, of = known, blocks_per_s, eta_s, "catching up");
        (self.caught_up, self.told_at, self.told_height) = (false, Some(now), height);
    }
}
