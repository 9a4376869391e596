//! Transactions between validators: batches of raw bytes, sent once to everybody.
//!
//! # Design
//! Validators are fully connected, so the validator that a transaction was submitted to sends it to all others and
//! nobody forwards it. A batch is a sequence of (big-endian `u32` length, bytes).

use crate::ledger::Ledger;
use bytes::Bytes as Buffer;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner};
use keystead_types::{Bytes, TRANSACTION_BYTES_MAX};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, mpsc};

/// Largest batch in bytes.
pub const GOSSIP_BATCH_BYTES_MAX: usize = 256 * 1024;
/// Transactions waiting to be sent; beyond it new ones are not gossiped and only their own validator includes them.
const QUEUE_MAX: usize = 65_536;
/// How long the first transaction of a batch waits for company.
const LINGER: Duration = Duration::from_millis(5);
const LENGTH_BYTES: usize = 4;

/// Sends transactions to the other validators. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gossip {
    queue: mpsc::Sender<Bytes>,
}

/// The engine's end of [`Gossip`].
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Held by the one engine that runs.
    queue: Arc<Mutex<mpsc::Receiver<Bytes>>>,
}

impl Gossip {
    /// A pair of ends.
    #[must_use]
    pub fn new() -> (Self, Outgoing) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { queue: sender }, Outgoing { queue: Arc::new(Mutex::new(receiver)) })
    }

    /// Queues a transaction (EIP-2718 bytes). False if the queue is full: it is then not gossiped.
    #[must_use]
    pub fn publish(&self, transaction: Bytes) -> bool {
        transaction.len() <= TRANSACTION_BYTES_MAX && self.queue.try_send(transaction).is_ok()
    }
}

/// Sends what is queued, in batches.
pub(crate) async fn send<E, S>(runtime: E, outgoing: Outgoing, mut sender: S)
where
    E: Spawner + Clock,
    S: Sender<PublicKey = PublicKey>,
{
    let mut queue = outgoing.queue.lock().await;
    let mut carried = None;
    loop {
        let first = match carried.take() {
            Some(transaction) => transaction,
            None => match queue.recv().await {
                Some(transaction) => transaction,
                None => return,
            },
        };
        if queue.is_empty() {
            runtime.sleep(LINGER).await;
        }
        let mut batch = Vec::with_capacity(first.len().saturating_add(LENGTH_BYTES));
        put(&mut batch, &first);
        while let Ok(next) = queue.try_recv() {
            if batch.len().saturating_add(next.len()).saturating_add(LENGTH_BYTES) > GOSSIP_BATCH_BYTES_MAX {
                carried = Some(next);
                break;
            }
            put(&mut batch, &next);
        }
        let reached = sender.send(Recipients::All, Buffer::from(batch), false);
        tracing::trace!(peers = reached.len(), "gossiped transactions");
    }
}

/// Hands received batches to the ledger; a peer that sends something else is blocked.
pub(crate) async fn receive<R, B>(mut receiver: R, mut blocker: B, ledger: Arc<dyn Ledger>)
where
    R: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    while let Ok((peer, message)) = receiver.recv().await {
        match split(message.as_ref()) {
            Some(transactions) => ledger.receive(transactions),
            None => {
                tracing::warn!(%peer, "blocking a validator: malformed transaction batch");
                commonware_p2p::block!(blocker, peer, "malformed transaction batch");
            }
        }
    }
}

fn put(batch: &mut Vec<u8>, transaction: &[u8]) {
    let length = u32::try_from(transaction.len()).unwrap_or(u32::MAX);
    batch.extend_from_slice(&length.to_be_bytes());
    batch.extend_from_slice(transaction);
}

/// The transactions of a batch; `None` unless it is well formed and within every bound.
fn split(mut batch: &[u8]) -> Option<Vec<Bytes>> {
    if batch.is_empty() || batch.len() > GOSSIP_BATCH_BYTES_MAX {
        return None;
    }
    let mut transactions = Vec::new();
    while !batch.is_empty() {
        let (length, rest) = batch.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if length == 0 || length > TRANSACTION_BYTES_MAX {
            return None;
        }
        let (transaction, rest) = rest.split_at_checked(length)?;
        transactions.push(Bytes::copy_from_slice(transaction));
        batch = rest;
    }
    Some(transactions)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_out_as_it_went_in() {
        let mut batch = Vec::new();
        [b"one".as_slice(), b"second", &[0; 300]].iter().for_each(|item| put(&mut batch, item));
        let items = split(&batch).unwrap_or_default();
        assert_eq!(items.iter().map(|item| item.len()).collect::<Vec<_>>(), [3, 6, 300]);
    }

    #[test]
    fn malformed_batches_are_refused() {
        let mut truncated = Vec::new();
        put(&mut truncated, b"whole");
        truncated.pop();
        let oversized = u32::try_from(TRANSACTION_BYTES_MAX + 1).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for batch in [vec![], vec![0, 0, 0], vec![0, 0, 0, 0], truncated, oversized, vec![0xff; 64]] {
            assert_eq!(split(&batch), None);
        }
        assert_eq!(split(&vec![0; GOSSIP_BATCH_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_full_queue_says_so() {
        let (gossip, _outgoing) = Gossip::new();
        let mut accepted = 0usize;
        while gossip.publish(Bytes::from_static(b"transaction")) {
            accepted += 1;
        }
        assert_eq!(accepted, QUEUE_MAX);
    }
}
