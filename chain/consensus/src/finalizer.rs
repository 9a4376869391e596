//! Hands finalized blocks to the ledger in order and acknowledges them once they are durable.

use crate::{
    block::{ChainBlock, Digest},
    ledger::{Ledger, LedgerError},
    run::Fatal,
    seeds::Scheme,
};
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Heightable as _, Reporter,
    marshal::{Update, core::Mailbox, standard::Standard},
    simplex::types::Finalization,
};
use commonware_runtime::Spawner;
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact};
use keystead_types::{Block, Certificate};
use std::sync::Arc;
use tokio::sync::mpsc;

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
}

pub(crate) fn finalizer(ledger: Arc<dyn Ledger>, fatal: Fatal) -> (Finalizer, Deliveries) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (Finalizer { queue: sender, fatal: fatal.clone() }, Deliveries { queue: receiver, ledger, fatal })
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
            let certificate = marshal
                .get_finalization(height)
                .await
                .as_ref()
                .and_then(certificate)
                .filter(|certificate| certificate.block_hash == block.hash());
            let ledger = Arc::clone(&self.ledger);
            let number = block.number();
            let task =
                runtime.child("commit").shared(true).spawn(move |_| async move { ledger.commit(&block, certificate) });
            match task.await {
                Ok(Ok(())) => acknowledgement.acknowledge(),
                Ok(Err(LedgerError::Broken(reason))) => return self.fatal.raise(reason),
                Ok(Err(error)) => return self.fatal.raise(format!("cannot commit block {number}: {error}")),
                // The runtime is shutting down: the block is delivered again after the restart.
                Err(_) => return,
            }
            if number.is_multiple_of(PRUNE_EVERY)
                && let Some(below) = number.checked_sub(ARCHIVE_BLOCKS)
            {
                marshal.prune(commonware_consensus::types::Height::new(below));
            }
        }
    }
}

/// The certificate in our own form; `None` if the engine holds it in a form that does not decode.
fn certificate(finalization: &Finalization<Scheme, Digest>) -> Option<Certificate> {
    let signature = finalization.certificate.get()?.vote_signature.encode();
    Some(Certificate {
        epoch: finalization.proposal.round.epoch().get(),
        view: finalization.proposal.round.view().get(),
        parent_view: finalization.proposal.parent.get(),
        block_hash: finalization.proposal.payload.0.into(),
        signature: signature.as_ref().try_into().ok()?,
    })
}
