//! Proposes and verifies blocks on behalf of the engine.
//!
//! # Invariants
//! `verify` answers only when the answer can never change; whatever may still arrive (time, an ancestor) is waited for.

use crate::{
    beacon::Beacon,
    block::{ChainBlock, Digest},
    keys::public_key_bytes,
    ledger::{BuildRequest, Ledger, LedgerError, Verdict},
    pacing::Pacing,
    run::Fatal,
    seeds::{Scheme, SeedBook},
};
use commonware_consensus::{Application, Epochable as _, marshal::ancestry::Ancestry, simplex::types::Context};
use commonware_cryptography::{Digested, ed25519::PublicKey};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::SystemTimeExt as _;
use futures::{
    StreamExt as _,
    future::{Either, pending, select},
};
use keystead_types::{Block, ConsensusContext};
use rand_core::CryptoRng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Unfinalized ancestors that are executed again to reach a proposal's parent, after a restart.
const REPLAY_MAX: usize = 256;

/// How long a proposer waits for a seed that is about to be reported: a journal's sync, with room. A leader that declines
/// lets the others skip its view at once; one that waits costs them the whole leader timeout.
const SEED_WAIT: Duration = Duration::from_millis(200);

/// What the engine calls.
#[derive(Clone)]
pub(crate) struct ChainApplication {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) seeds: SeedBook,
    pub(crate) beacon: Beacon,
    pub(crate) pacing: Pacing,
    pub(crate) drift_max: Duration,
    pub(crate) fatal: Fatal,
    /// Microseconds that the last block took to build or check, shared by all clones.
    pub(crate) work_us: Arc<AtomicU64>,
}

type EngineContext = Context<Digest, PublicKey>;

impl<E> Application<E> for ChainApplication
where
    E: Spawner + Clock + Metrics + CryptoRng,
{
    type SigningScheme = Scheme;
    type Context = EngineContext;
    type Block = ChainBlock;
    type Input = ();

    async fn propose(
        &mut self,
        (runtime, context): (E, EngineContext),
        ancestry: impl Ancestry<ChainBlock>,
        (): (),
    ) -> Option<Digested<ChainBlock>> {
        let mut ancestry = Box::pin(ancestry);
        let parent = Arc::clone(ancestry.next().await?.inner().block());
        let context = self.context_in_time(&runtime, &context).await?;
        if !self.reach(&runtime, &parent, ancestry).await {
            return None;
        }
        self.pace(&runtime, &parent).await;
        let timestamp_ms = runtime.current().epoch_millis().max(parent.timestamp_ms().saturating_add(1));
        let request = BuildRequest { parent, context, timestamp_ms, beacon: self.beacon.values() };
        let built = self.work(&runtime, move |ledger| ledger.build(request)).await?;
        Some(ChainBlock::new(built).digested())
    }

    async fn verify(&mut self, (runtime, context): (E, EngineContext), ancestry: impl Ancestry<ChainBlock>) -> bool {
        let mut ancestry = Box::pin(ancestry);
        let (Some(block), Some(parent)) = (ancestry.next().await, ancestry.next().await) else {
            return pending().await;
        };
        let (block, parent) = (Arc::clone(block.inner().block()), Arc::clone(parent.inner().block()));
        if let Err(reason) = self.check_context(&context, &block, &parent) {
            tracing::warn!(height = block.number(), hash = %block.hash(), %reason, "refusing a block");
            return false;
        }
        if let Some(reason) = self.beacon.fault(&block) {
            tracing::warn!(height = block.number(), hash = %block.hash(), %reason, "refusing a block");
            return false;
        }
        self.wait_until_due(&runtime, &block).await;
        if !self.reach(&runtime, &parent, ancestry).await {
            return pending().await;
        }
        let (number, hash) = (block.number(), block.hash());
        match self.work(&runtime, move |ledger| ledger.check(&block, &parent)).await {
            Some(Verdict::Valid) => true,
            Some(Verdict::Invalid(reason)) => {
                tracing::warn!(height = number, %hash, %reason, "refusing a block");
                false
            }
            None => pending().await,
        }
    }
}

impl ChainApplication {
    /// The context that a block in this round must carry; `None` if this node lacks a seed.
    fn context(&self, context: &EngineContext) -> Option<ConsensusContext> {
        let mut expected = self.context_without_seeds(context);
        let first = expected.first_seed_view();
        let count = expected.seed_count() as u64;
        for view in first..first.saturating_add(count) {
            expected.seeds.push(self.seeds.get(expected.epoch, view)?);
        }
        Some(expected)
    }

    /// As [`Self::context`], waiting for seeds that are about to be reported: the engine asks for a proposal as soon as
    /// it knows a certificate, and reports the certificate only once its journal is synced.
    async fn context_in_time(&self, runtime: &impl Clock, context: &EngineContext) -> Option<ConsensusContext> {
        let mut deadline = Box::pin(runtime.sleep(SEED_WAIT));
        loop {
            let arrival = Box::pin(self.seeds.arrival());
            if let Some(context) = self.context(context) {
                return Some(context);
            }
            if let Either::Right(_) = select(arrival, &mut deadline).await {
                tracing::info!(view = context.round.view().get(), "declining to propose: a seed is not known");
                return None;
            }
        }
    }

    fn context_without_seeds(&self, context: &EngineContext) -> ConsensusContext {
        ConsensusContext {
            epoch: context.epoch().get(),
            view: context.round.view().get(),
            parent_view: context.parent.0.get(),
            leader: public_key_bytes(&context.leader),
            seeds: Vec::new(),
        }
    }

    /// The rules of a block that only the engine's glue can check. The error says which is broken.
    fn check_context(&self, context: &EngineContext, block: &Block, parent: &Block) -> Result<(), String> {
        let (expected, got) = (self.context_without_seeds(context), block.context());
        if (got.epoch, got.view, got.parent_view, got.leader)
            != (expected.epoch, expected.view, expected.parent_view, expected.leader)
        {
            return Err(format!("wrong consensus context: view={} want_view={}", got.view, expected.view));
        }
        if block.timestamp_ms() <= parent.timestamp_ms() {
            return Err(format!(
                "time does not increase: parent_ms={} block_ms={}",
                parent.timestamp_ms(),
                block.timestamp_ms()
            ));
        }
        for (view, seed) in (got.first_seed_view()..).zip(&got.seeds) {
            if !self.seeds.holds(got.epoch, view, seed) {
                return Err(format!("wrong seed: view={view}"));
            }
        }
        Ok(())
    }

    /// Waits until a block's time is no further ahead of this node's clock than the drift allows. The wait for a block
    /// from a far future ends with the view, when the engine drops the question.
    async fn wait_until_due(&self, runtime: &impl Clock, block: &Block) {
        let now_ms = runtime.current().epoch_millis();
        let drift_ms = u64::try_from(self.drift_max.as_millis()).unwrap_or(u64::MAX);
        let wait_ms = block.timestamp_ms().saturating_sub(drift_ms).saturating_sub(now_ms);
        if wait_ms == 0 {
            return;
        }
        tracing::warn!(
            height = block.number(),
            hash = %block.hash(),
            ahead_ms = block.timestamp_ms().saturating_sub(now_ms),
            drift_ms,
            "not voting before a block's time has come: the leader's clock is ahead of this one"
        );
        runtime.sleep(Duration::from_millis(wait_ms)).await;
    }

    /// Waits until a child of `parent` is due: after the interval if there is demand, else at the heartbeat.
    async fn pace(&self, runtime: &impl Clock, parent: &Block) {
        let work = Duration::from_micros(self.work_us.load(Ordering::Relaxed));
        // The genesis block is as old as the chain's files: its child is due at once.
        let base = if parent.number() == 0 { 0 } else { parent.timestamp_ms() };
        let after =
            |wait: Duration| std::time::UNIX_EPOCH.checked_add(Duration::from_millis(base).saturating_add(wait));
        let (Some(earliest), Some(latest)) = (after(self.pacing.interval(work)), after(self.pacing.heartbeat)) else {
            return;
        };
        // A clock that stands far behind the parent must not make this leader silent for longer than a heartbeat.
        let cap = runtime.current().checked_add(self.pacing.heartbeat).unwrap_or(latest);
        runtime.sleep_until(earliest.min(cap)).await;
        let heartbeat = Box::pin(runtime.sleep_until(latest.min(cap)));
        match select(self.ledger.demanded(), heartbeat).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    /// Makes the state after `parent` known, executing unfinalized ancestors again if need be. False if it cannot be.
    async fn reach<E, A>(&self, runtime: &E, parent: &Arc<Block>, mut ancestry: std::pin::Pin<Box<A>>) -> bool
    where
        E: Spawner + Clock,
        A: Ancestry<ChainBlock>,
    {
        let mut missing = Vec::new();
        let mut lowest = Arc::clone(parent);
        while !self.ledger.knows(&lowest.hash()) {
            if missing.len() >= REPLAY_MAX {
                return false;
            }
            let Some(older) = ancestry.next().await else { return false };
            let older = Arc::clone(older.inner().block());
            missing.push((lowest, Arc::clone(&older)));
            lowest = older;
        }
        while let Some((block, parent)) = missing.pop() {
            match self.work(runtime, move |ledger| ledger.check(&block, &parent)).await {
                Some(Verdict::Valid) => {}
                Some(Verdict::Invalid(reason)) => {
                    // The engine certified this ancestor: either our rules or our state are wrong.
                    self.fatal.raise(format!("a certified ancestor is invalid: {reason}"));
                    return false;
                }
                None => return false,
            }
        }
        true
    }

    /// Runs a call of the ledger on a thread that may block. `None` if there is no answer; a broken ledger is fatal.
    async fn work<E, T, F>(&self, runtime: &E, call: F) -> Option<T>
    where
        E: Spawner + Clock,
        T: Send + 'static,
        F: FnOnce(&dyn Ledger) -> Result<T, LedgerError> + Send + 'static,
    {
        let ledger = Arc::clone(&self.ledger);
        let work_us = Arc::clone(&self.work_us);
        let task = runtime.child("ledger").shared(true).spawn(move |runtime| async move {
            let start = runtime.current();
            let answer = call(&*ledger);
            let spent = runtime.current().duration_since(start).unwrap_or_default();
            let spent = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
            work_us.store(spent, Ordering::Relaxed);
            answer
        });
        match task.await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(LedgerError::UnknownParent(parent))) => {
                tracing::info!(%parent, "no state for this parent yet");
                None
            }
            Ok(Err(LedgerError::Broken(reason))) => {
                self.fatal.raise(reason);
                None
            }
            Err(error) => {
                tracing::debug!(%error, "ledger call was cancelled");
                None
            }
        }
    }
}
