//! Hands finalized blocks to the ledger in order and acknowledges them once they are durable.

use crate::{
    beacon::Standing,
    block::ChainBlock,
    engine::Finality,
    ledger::{Ledger, LedgerError},
    run::Fatal,
    seeds::Scheme,
    votes::Abstention,
};
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Heightable as _, Reporter,
    marshal::{Update, core::Mailbox, standard::Standard},
};
use commonware_runtime::Spawner;
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact};
use keystead_types::{BeaconBatch, Block, Certificate};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) type Marshal = Mailbox<Scheme, Standard<ChainBlock>>;

/// Blocks handed over and not yet committed; the engine itself keeps at most 16 unacknowledged.
const QUEUE_MAX: usize = 64;
/// Blocks that the engine's own archive keeps for peers that catch up: about a day at one block a second.
const ARCHIVE_BLOCKS: u64 = 100_000;
/// How often the archive is pruned, in blocks.
const PRUNE_EVERY: u64 = 1_024;

type Delivery = (Arc<Block>, Exact);

/// The engine's end: takes updates without blocking.
#[derive(Clone)]
pub(crate) struct Finalizer {
    queue: mpsc::Sender<Delivery>,
    fatal: Fatal,
}

/// The other end, to be started with [`Deliveries::run`].
pub(crate) struct Deliveries {
    queue: mpsc::Receiver<Delivery>,
    ledger: Arc<dyn Ledger>,
    fatal: Fatal,
    committed: Arc<AtomicU64>,
    standing: watch::Sender<Standing>,
    watch: Option<Watch>,
}

/// Waits for the final block after which a validator in doubt of its votes may sign again.
pub(crate) struct Watch {
    pub(crate) abstention: Abstention,
    pub(crate) over: oneshot::Sender<Finality>,
}

/// Both ends. `committed` follows the height of the last durable block, and `standing` with the beacon's.
pub(crate) fn finalizer(
    ledger: Arc<dyn Ledger>,
    committed: Arc<AtomicU64>,
    standing: watch::Sender<Standing>,
    watch: Option<Watch>,
    fatal: Fatal,
) -> (Finalizer, Deliveries) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let finalizer = Finalizer { queue: sender, fatal: fatal.clone() };
    (finalizer, Deliveries { queue: receiver, ledger, fatal, committed, standing, watch })
}

impl Reporter for Finalizer {
    type Activity = Update<ChainBlock>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        let Update::Block(block, acknowledgement) = update else { return Feedback::Ok };
        match self.queue.try_send((Arc::clone(block.inner().block()), acknowledgement)) {
            Ok(()) => Feedback::Ok,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.fatal.raise(format!("the engine delivers faster than it may: queued={QUEUE_MAX}"));
                Feedback::Closed
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Feedback::Closed,
        }
    }
}

impl Deliveries {
    /// Commits one block after the other until the engine stops.
    pub(crate) async fn run<E: Spawner>(mut self, runtime: E, marshal: Marshal) {
        while let Some((block, acknowledgement)) = self.queue.recv().await {
            let height = ChainBlock::new(Arc::clone(&block)).height();
            let finality = marshal.get_finalization(height).await;
            let finality = finality.filter(|finality| finality.proposal.payload.0 == block.hash());
            let certificate = finality.as_ref().and_then(certificate);
            let ledger = Arc::clone(&self.ledger);
            let number = block.number();
            let given = Arc::clone(&block);
            let task =
                runtime.child("commit").shared(true).spawn(move |_| async move { ledger.commit(&given, certificate) });
            match task.await {
                Ok(Ok(())) => {
                    self.committed.fetch_max(number, Ordering::Relaxed);
                    self.stand(&block);
                    acknowledgement.acknowledge();
                }
                Ok(Err(LedgerError::Broken(reason))) => return self.fatal.raise(reason),
                Ok(Err(error)) => return self.fatal.raise(format!("cannot commit block {number}: {error}")),
                // The runtime is shutting down: the block is delivered again after the restart.
                Err(_) => return,
            }
            self.look(&block, finality);
            if number.is_multiple_of(PRUNE_EVERY)
                && let Some(below) = number.checked_sub(ARCHIVE_BLOCKS)
            {
                marshal.prune(commonware_consensus::types::Height::new(below));
            }
        }
    }

    /// Tells the beacon that a block is durable: only now its height may be signed.
    fn stand(&self, block: &Block) {
        let last = BeaconBatch::among(block.requests()).ok().flatten().map_or(0, |batch| batch.last());
        self.standing.send_modify(|standing| {
            standing.committed = standing.committed.max(block.number());
            standing.on_chain = standing.on_chain.max(last);
        });
    }

    /// Says so if this durable block ends the doubt about this validator's votes.
    fn look(&mut self, block: &Block, finality: Option<Finality>) {
        // A block without a certificate of its own cannot be the floor: one of the next will have one.
        let (Some(watch), Some(finality)) = (&mut self.watch, finality) else { return };
        if watch.abstention.ends_with(block.timestamp_ms(), block.context().view)
            && let Some(watch) = self.watch.take()
        {
            // The receiver is gone only while the engine already stops.
            let _ = watch.over.send(finality);
        }
    }
}

/// The certificate in our own form; `None` if the engine holds it in a form that does not decode.
fn certificate(finalization: &Finality) -> Option<Certificate> {
    let signature = finalization.certificate.get()?.vote_signature.encode();
    Some(Certificate {
        epoch: finalization.proposal.round.epoch().get(),
        view: finalization.proposal.round.view().get(),
        parent_view: finalization.proposal.parent.get(),
        block_hash: finalization.proposal.payload.0.into(),
        signature: signature.as_ref().try_into().ok()?,
    })
}
