//! The customer's end of checkers' conversations: serves the inputs of its order to who is drawn, and answers in public when one asks for them.
//!
//! # Design
//! From the order's begin to its end two things run beside the customer's own work, which may take longer than the time to answer: a server on the
//! order's socket, and a task that reads the window's questions ([`crate::compute::audited`]).
//!
//! # Invariants
//! Nobody is served whom the chain does not put on duty for a unit of this order's window. Nothing is served of a private order: its provider serves the named checkers.
//!
//! Spec: specs/0008-audit.md §10, specs/0005-transfer.md §8.

use crate::compute::{
    audited::{
        answers::Questions,
        door::{Door, Gives, Nobody, reached},
    },
    checker::source::{self, Admitted, Material},
    customer::talk::Line,
    market::Market,
    opening::Work,
    windows::{Windows, window_of},
};
use alloy_primitives::{B256, U256};
use eyre::Result;
use keystead_blobs::{
    BlobStore, Hash, Offer, Refusal, Server, StoreError, serve,
    store::{Part, Source},
};
use keystead_job::JobSpec;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// How often the window is looked at.
const POLL: Duration = Duration::from_secs(1);

/// What has arrived of the order, once it has: checkers may be given outputs that their provider opened.
pub(in crate::compute::customer) type Arrivals = Arc<Mutex<Option<Arc<Work>>>>;

/// An order, as checkers are told of it.
#[derive(Debug)]
pub(in crate::compute::customer) struct Served<'a> {
    pub(in crate::compute::customer) market: &'a Market,
    pub(in crate::compute::customer) order: U256,
    pub(in crate::compute::customer) spec: &'a JobSpec,
    /// Names of the unit inputs, in unit order.
    pub(in crate::compute::customer) units: &'a [B256],
    /// A block not after the window's.
    pub(in crate::compute::customer) since_block: u64,
    pub(in crate::compute::customer) arrivals: Arrivals,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub(in crate::compute::customer) struct Serving {
    /// Held, not read.
    _server: Server,
    answering: JoinHandle<()>,
}

impl Serving {
    /// Begins on the line's socket. Must be called on a Tokio runtime.
    pub(in crate::compute::customer) fn begin(served: Served<'_>, line: &Line) -> Self {
        let Served { market, order, spec, units, since_block, arrivals } = served;
        let windows = market.windows();
        let endpoint = line.endpoint();
        let window = window_of(order);
        let store = Shelf { inputs: line.inputs(), arrived: Arc::clone(&line.store) };
        let gives = Order { window, spec: spec.clone(), units: units.to_vec(), arrivals };
        let door = Door { windows: windows.clone(), node: endpoint.id(), gives };
        let server = serve(endpoint, Arc::new(store), door, Nobody);
        let key = reached(endpoint, line.provider_socket().as_slice());
        if let Err(error) = &key {
            tracing::warn!(error = format!("{error:#}"), "checkers that ask for an input cannot be answered");
        }
        let key = key.map(String::into_bytes).unwrap_or_default();
        let answering = tokio::spawn(answer(windows, window, since_block, key));
        Self { _server: server, answering }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Answers who asks, until the window is over; nobody, if there is no address to be told.
async fn answer(windows: Windows, window: B256, since_block: u64, key: Vec<u8>) {
    if key.is_empty() {
        return;
    }
    let mut questions = Questions::new(windows.clone());
    questions.keep(&BTreeMap::from([(window, since_block)]));
    loop {
        match look(&windows, window, &mut questions, &key).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(error = format!("{error:#}"), "cannot look for checkers that ask"),
        }
        sleep(POLL).await;
    }
}

/// One look; true once nobody can ask any more.
async fn look(windows: &Windows, window: B256, questions: &mut Questions, key: &[u8]) -> Result<bool> {
    let window = windows.window(window).await?;
    if !window.exists() {
        return Ok(false);
    }
    if window.is_over() {
        return Ok(true);
    }
    questions.read().await?;
    questions.answer(key).await;
    Ok(false)
}

/// What there is of one order.
#[derive(Debug)]
struct Order {
    window: B256,
    spec: JobSpec,
    units: Vec<B256>,
    arrivals: Arrivals,
}

impl Gives for Order {
    fn has(&self, window: B256) -> bool {
        window == self.window
    }

    fn offer(&self, admitted: &Admitted) -> Result<Offer, Refusal> {
        let work = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        source::offer(admitted, &Material { spec: &self.spec, inputs: &self.units, work: work.as_deref() })
    }
}

/// The inputs and what arrived, as one store to serve from.
#[derive(Debug)]
struct Shelf {
    inputs: Arc<dyn BlobStore>,
    arrived: Arc<dyn BlobStore>,
}

impl Shelf {
    fn with(&self, hash: Hash) -> &dyn BlobStore {
        if matches!(self.inputs.has(hash), Ok(true)) { &*self.inputs } else { &*self.arrived }
    }
}

impl BlobStore for Shelf {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.arrived.put(bytes)
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.with(hash).get(hash, bytes_max)
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        self.with(hash).size(hash)
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        self.arrived.delete(hash)
    }

    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        self.with(hash).open(hash)
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        self.arrived.receive(hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_blobs::{Capacity, MemoryStore};

    #[test]
    fn inputs_and_what_arrived_are_served_from_one_shelf() {
        let memory = || -> Arc<dyn BlobStore> { Arc::new(MemoryStore::new(Capacity::default())) };
        let shelf = Shelf { inputs: memory(), arrived: memory() };
        let (input, output) = (shelf.inputs.put(b"input").unwrap(), shelf.arrived.put(b"output").unwrap());
        assert_eq!(shelf.get(input, 10).unwrap(), b"input");
        assert_eq!(shelf.get(output, 10).unwrap(), b"output");
        assert_eq!(shelf.size(Hash::of(b"other")).unwrap(), None);
        assert!(shelf.open(output).is_ok() && shelf.open(Hash::of(b"other")).is_err());
    }
}
