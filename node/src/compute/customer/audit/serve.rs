//! The customer's end of checkers' conversations: serves the inputs of its order to who is drawn, and answers in public when one asks for them.
//!
//! # Design
//! Checkers fetch from the provider first. One that got nothing asks on the chain, and who ordered must name a node that serves it, or the unit
//! is paid unchecked and counts against the customer. So from the order's begin to its end two things run beside the customer's own work, which
//! may take longer than the time to answer: a server on the order's socket, and a task that reads the window's questions.
//!
//! # Invariants
//! Nobody is served whom the chain does not put on duty for a unit of this order's window. Nothing is served of a private order.
//!
//! Spec: specs/0008-audit.md §10, specs/0005-transfer.md §8.

use crate::compute::{
    checker::source::{self, Material},
    customer::talk::Line,
    market::Market,
    opening::Work,
    windows::{Windows, event, window_of},
};
use alloy_primitives::{B256, U256};
use alloy_sol_types::SolEvent as _;
use eyre::{Result, ensure, eyre};
use futures::future::join_all;
use keystead_blobs::{
    Address, Authorise, BlobStore, CheckHello, Ended, Endpoint, Failure, FailureCode, Handler, Hash, Hello, Job,
    NodeId, Offer, Refusal, RefusalCode, Server, StoreError, serve,
    store::{Part, Source},
};
use keystead_contracts::bindings::audit::Audit;
use keystead_job::JobSpec;
use serde_json::json;
use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// How often the window is looked at.
const POLL: Duration = Duration::from_secs(1);
/// Blocks of events asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// Answers that are sent at once.
const SENT_MAX: usize = 16;
/// Longest answer that the contract takes.
const KEY_BYTES_MAX: usize = 128;

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
        let store = Shelf { inputs: line.inputs(), arrived: Arc::clone(&line.store) };
        let door = Door {
            windows: windows.clone(),
            window: window_of(order),
            spec: spec.clone(),
            units: units.to_vec(),
            node: endpoint.id(),
            arrivals,
        };
        let server = serve(endpoint, Arc::new(store), door, Nobody);
        let key = reached(endpoint, line.provider_socket());
        if let Err(error) = &key {
            tracing::warn!(error = format!("{error:#}"), "checkers that ask for an input cannot be answered");
        }
        let mut answers = Answers {
            windows,
            window: window_of(order),
            key: key.map(String::into_bytes).unwrap_or_default(),
            next_block: since_block,
            asked: BTreeSet::new(),
        };
        let answering = tokio::spawn(async move { answers.follow().await });
        Self { _server: server, answering }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Where checkers reach this node: its socket, or at all interfaces the one that leads to the provider.
fn reached(endpoint: &Endpoint, provider: Option<SocketAddr>) -> Result<String> {
    let bound = endpoint.sockets().into_iter().next().ok_or_else(|| eyre!("this node has no socket"))?;
    let socket = if bound.ip().is_unspecified() {
        let provider = provider.ok_or_else(|| eyre!("the provider has no address"))?;
        // Sends nothing: the system only chooses the way.
        let probe = UdpSocket::bind(SocketAddr::new(bound.ip(), 0))?;
        probe.connect(provider)?;
        SocketAddr::new(probe.local_addr()?.ip(), bound.port())
    } else {
        bound
    };
    let text = Address::new(endpoint.id(), vec![socket])?.to_string();
    ensure!(text.len() <= KEY_BYTES_MAX, "this node's address is too long: bytes={} max={KEY_BYTES_MAX}", text.len());
    Ok(text)
}

/// Who asked, and what is answered.
struct Answers {
    windows: Windows,
    window: B256,
    /// This node's address; empty if there is none to be told.
    key: Vec<u8>,
    next_block: u64,
    /// Units whose input was asked for and that are not answered; at most as many as the window has.
    asked: BTreeSet<u32>,
}

impl Answers {
    /// Until the window is over.
    async fn follow(&mut self) {
        if self.key.is_empty() {
            return;
        }
        loop {
            match self.look().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(error = format!("{error:#}"), "cannot look for checkers that ask"),
            }
            sleep(POLL).await;
        }
    }

    /// One look; true once nobody can ask any more.
    async fn look(&mut self) -> Result<bool> {
        let window = self.windows.window(self.window).await?;
        if !window.exists() {
            return Ok(false);
        }
        if window.is_over() {
            return Ok(true);
        }
        let (head, _) = self.windows.account.head().await?;
        while self.next_block <= head {
            let last = head.min(self.next_block.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let topics = json!([Audit::InputAsked::SIGNATURE_HASH, self.window]);
            let logs = self.windows.logs(self.next_block, last, topics).await?;
            self.asked.extend(logs.iter().filter_map(event::<Audit::InputAsked>).map(|event| event.unit));
            self.next_block = last.saturating_add(1);
        }
        let asked: Vec<u32> = self.asked.iter().copied().collect();
        for units in asked.chunks(SENT_MAX) {
            let answered = join_all(units.iter().map(|unit| self.answer(*unit))).await;
            for (unit, answered) in units.iter().zip(answered) {
                match answered {
                    Ok(()) => _ = self.asked.remove(unit),
                    Err(error) => tracing::debug!(error = format!("{error:#}"), unit, "answer: trying again"),
                }
            }
        }
        Ok(false)
    }

    /// Says on the chain where a unit's input is, unless that is said or too late.
    async fn answer(&self, unit: u32) -> Result<()> {
        let case = self.windows.case(self.window, unit).await?;
        if case.handed || case.stage.is_final() {
            return Ok(());
        }
        self.windows.hand_key(self.window, unit, &self.key).await?;
        tracing::info!(unit, "a checker got no input from the provider: this node serves it, which the chain now says");
        Ok(())
    }
}

/// Decides by the chain who is served.
#[derive(Debug)]
struct Door {
    windows: Windows,
    window: B256,
    spec: JobSpec,
    units: Vec<B256>,
    node: NodeId,
    arrivals: Arrivals,
}

impl Authorise for Door {
    async fn authorise(&self, _: NodeId, _: &Hello) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::NotAssigned, "this is a customer: it takes no orders"))
    }

    async fn on_duty(&self, checker: NodeId, hello: &CheckHello) -> Result<Offer, Refusal> {
        if hello.window != self.window {
            return Err(Refusal::new(RefusalCode::NotAssigned, "this customer has no such window open"));
        }
        let admitted = source::admit(&self.windows, hello, checker, self.node).await?;
        let work = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        source::offer(&admitted, &Material { spec: &self.spec, inputs: &self.units, work: work.as_deref() })
    }
}

/// Never reached: nobody is authorised.
struct Nobody;

impl Handler for Nobody {
    async fn run(&self, _: &mut Job) -> Result<(), Failure> {
        Err(Failure::new(FailureCode::Internal, "this is a customer: it takes no orders"))
    }

    fn ended(&self, ended: Ended) {
        tracing::debug!(peer = ?ended.customer, outcome = ?ended.outcome, "a checker's session ended");
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
    use keystead_blobs::{Capacity, Config, MemoryStore};

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

    #[tokio::test]
    async fn a_node_tells_an_address_that_can_be_dialled() {
        let own = Endpoint::bind(Config::loopback()).await.unwrap();
        assert_eq!(reached(&own, None).unwrap(), own.address().unwrap().to_string());
        let everywhere = Config { bind: "0.0.0.0:0".parse().unwrap(), ..Config::loopback() };
        let everywhere = Endpoint::bind(everywhere).await.unwrap();
        assert!(reached(&everywhere, None).is_err());
        let text = reached(&everywhere, Some("127.0.0.1:9".parse().unwrap())).unwrap();
        let address: Address = text.parse().unwrap();
        assert_eq!(address.sockets()[0].port(), everywhere.sockets()[0].port());
        assert!(address.sockets()[0].ip().is_loopback() && address.id() == everywhere.id());
    }
}
