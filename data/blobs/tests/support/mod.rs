//! Two honest ends on loopback, and a raw peer that says whatever a test wants.
#![allow(unreachable_pub, reason = "a part of one test program")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes, U256};
use iroh::{EndpointAddr, TransportAddr, endpoint::presets};
use keystead_blobs::{
    ALPN, Address, Authorise, BlobStore, Capacity, Config, Delivery, Ended, Endpoint, Failure, FailureCode, Handler,
    Hash, Hello, Inputs, Job, Limits, MemoryStore, NodeId, Note, NoteKind, Progress, Refusal, RefusalCode, Server,
    Session, SessionError, Want, hash, serve,
};
use tokio::sync::mpsc;

/// No test step takes longer unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const BLOB_MAX: u64 = 8 << 20;

pub fn sample(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn order(number: u8) -> U256 {
    U256::from(number)
}

/// A value of 32 bytes that a test recognises.
pub const fn mark(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

/// The job of these tests: the list of its inputs' names. The outputs are the inputs reversed.
pub fn job_of(inputs: &[Vec<u8>]) -> Vec<u8> {
    hash::encode_list(&inputs.iter().map(|input| Hash::of(input)).collect::<Vec<_>>())
}

pub fn reversed(input: &[u8]) -> Vec<u8> {
    input.iter().rev().copied().collect()
}

/// Says yes to one customer and to orders below 100.
#[derive(Clone, Debug)]
pub struct Chain {
    pub customer: Option<NodeId>,
}

impl Authorise for Chain {
    async fn authorise(&self, customer: NodeId, hello: &Hello) -> Result<(), Refusal> {
        if hello.order >= order(100) {
            return Err(Refusal::new(RefusalCode::NotAssigned, "another provider has it"));
        }
        if self.customer.is_some_and(|expected| expected != customer) {
            return Err(Refusal::new(RefusalCode::NotTheCustomer, "stranger"));
        }
        Ok(())
    }
}

/// What a job does when it has its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    Deliver,
    Fail,
    /// Fetches and then waits for ever.
    Hang,
    /// Waits for ever, and hears no cancellation: its work is done.
    Done,
    Panic,
    /// Delivers at once, without a commitment.
    Uncommitted,
    /// Says a note, then progress, and waits for ever.
    Note,
}

pub struct Runner {
    pub blob_bytes_max: u64,
    pub store: Arc<dyn BlobStore>,
    pub conduct: Conduct,
    pub fetched: mpsc::UnboundedSender<Result<u64, SessionError>>,
    pub ended: mpsc::UnboundedSender<Ended>,
}

impl Runner {
    async fn conduct(&self, job: &mut Job) -> Result<(), SessionError> {
        let names = hash::parse_list(&job.hello().job, job.hello().job.len() / 32).unwrap();
        let wants = names.iter().map(|hash| Want { hash: *hash, bytes_max: self.blob_bytes_max }).collect();
        let mut last = 0;
        let fetched = job.fetch(wants, &mut |fetched| last = fetched.bytes_received).await;
        match fetched {
            Ok(()) => drop(self.fetched.send(Ok(last))),
            Err(error) => {
                drop(self.fetched.send(Err(error)));
                return Ok(());
            }
        }
        let total = names.len() as u32;
        let mut outputs = Vec::new();
        for (done, name) in names.iter().enumerate() {
            let input = self.store.get(*name, self.blob_bytes_max).unwrap();
            outputs.push(self.store.put(&reversed(&input)).unwrap());
            job.progress(Progress { done: done as u32 + 1, total }).await?;
        }
        let list = self.store.put(&hash::encode_list(&outputs)).unwrap();
        let delivery = Delivery::new(mark(9), list);
        if self.conduct == Conduct::Uncommitted {
            assert!(matches!(job.deliver(delivery, outputs).await, Err(SessionError::Misuse { .. })));
            return Ok(());
        }
        job.commit(mark(7)).await?;
        job.deliver(delivery, outputs).await?;
        job.received().await;
        Ok(())
    }
}

impl Handler for Runner {
    async fn run(&self, job: &mut Job) -> Result<(), Failure> {
        match self.conduct {
            Conduct::Fail => Err(Failure::new(FailureCode::Unit, "trap").at_unit(3)),
            Conduct::Panic => panic!("a bug of the handler, made by the test"),
            Conduct::Hang | Conduct::Done => {
                let _ = self.fetched.send(Ok(0));
                std::future::pending().await
            }
            Conduct::Note => {
                let note = Note::now(NoteKind::Retry, 3, "the disk\n was full").of_unit(2);
                job.note(note).await?;
                job.progress(Progress { done: 0, total: 1 }).await?;
                std::future::pending().await
            }
            Conduct::Deliver | Conduct::Uncommitted => Ok(self.conduct(job).await?),
        }
    }

    fn cancel(&self, _order: U256) -> Result<(), Failure> {
        match self.conduct {
            Conduct::Done => Err(Failure::new(FailureCode::Deadline, "the work is done")),
            _ => Ok(()),
        }
    }

    fn ended(&self, ended: Ended) {
        let _ = self.ended.send(ended);
    }
}

pub struct Provider {
    pub endpoint: Endpoint,
    pub address: Address,
    pub store: Arc<dyn BlobStore>,
    pub server: Server,
    pub fetched: mpsc::UnboundedReceiver<Result<u64, SessionError>>,
    pub ended: mpsc::UnboundedReceiver<Ended>,
}

impl Provider {
    pub async fn start(conduct: Conduct, customer: Option<NodeId>, limits: Limits, store: Arc<dyn BlobStore>) -> Self {
        Self::begin(conduct, customer, limits, store, BLOB_MAX).await
    }

    /// One for blobs larger than other tests need.
    pub async fn start_for(blob_bytes_max: u64, store: Arc<dyn BlobStore>) -> Self {
        Self::begin(Conduct::Deliver, None, Limits::default(), store, blob_bytes_max).await
    }

    async fn begin(
        conduct: Conduct,
        customer: Option<NodeId>,
        limits: Limits,
        store: Arc<dyn BlobStore>,
        blob_bytes_max: u64,
    ) -> Self {
        let endpoint = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
        let (fetched_in, fetched) = mpsc::unbounded_channel();
        let (ended_in, ended) = mpsc::unbounded_channel();
        let runner =
            Runner { blob_bytes_max, store: Arc::clone(&store), conduct, fetched: fetched_in, ended: ended_in };
        let server = serve(&endpoint, Arc::clone(&store), Chain { customer }, runner);
        let address = endpoint.address().unwrap();
        Self { endpoint, address, store, server, fetched, ended }
    }

    pub async fn next_end(&mut self) -> Ended {
        soon(self.ended.recv()).await.unwrap()
    }

    /// The error with which the next connection ended.
    pub async fn next_error(&mut self) -> SessionError {
        self.next_end().await.outcome.unwrap_err()
    }
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("a step of the test hangs")
}

/// Polls a condition, for things that happen behind the scenes. Bounded.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

pub fn memory() -> Arc<dyn BlobStore> {
    Arc::new(MemoryStore::new(Capacity::default()))
}

pub fn hello(number: u8, inputs: &[Vec<u8>]) -> Hello {
    Hello { order: order(number), job: job_of(inputs).into(), credential: Bytes::from_static(b"signature") }
}

pub fn stored(inputs: &[Vec<u8>]) -> Inputs {
    let store = memory();
    let hashes = inputs.iter().map(|input| store.put(input).unwrap()).collect();
    Inputs { store, hashes }
}

pub async fn customer() -> Endpoint {
    Endpoint::bind(Config::loopback()).await.unwrap()
}

pub async fn open(
    endpoint: &Endpoint,
    address: &Address,
    number: u8,
    inputs: &[Vec<u8>],
) -> Result<Session, SessionError> {
    soon(Session::open(endpoint, address, hello(number, inputs), stored(inputs))).await
}

/// A whole honest session; proves that a server still works.
pub async fn whole_session(address: &Address, number: u8) {
    let inputs = [sample(u64::from(number), 100), sample(1000 + u64::from(number), 70_000)];
    let endpoint = customer().await;
    let mut session = open(&endpoint, address, number, &inputs).await.unwrap();
    let delivery = loop {
        if let keystead_blobs::Event::Delivered(delivery) = soon(session.next()).await.unwrap() {
            break delivery;
        }
    };
    let store = memory();
    let list = Want { hash: delivery.result(), bytes_max: 64 };
    soon(session.fetch(&store, vec![list], &mut |_| {})).await.unwrap();
    let names = hash::parse_list(&store.get(delivery.result(), 64).unwrap(), 2).unwrap();
    let wants = names.iter().map(|hash| Want { hash: *hash, bytes_max: BLOB_MAX }).collect();
    soon(session.fetch(&store, wants, &mut |_| {})).await.unwrap();
    for (name, input) in names.iter().zip(&inputs) {
        assert_eq!(store.get(*name, BLOB_MAX).unwrap(), reversed(input));
    }
    soon(session.finish()).await.unwrap();
    endpoint.close().await;
}

/// A bare transport endpoint: no rule of the protocol binds it.
pub struct Raw {
    pub endpoint: iroh::Endpoint,
}

impl Raw {
    pub async fn bind() -> Self {
        Self::bind_as(&[ALPN]).await
    }

    /// One that accepts these protocols.
    pub async fn bind_as(alpns: &[&[u8]]) -> Self {
        let builder = iroh::Endpoint::builder(presets::Minimal).clear_ip_transports();
        let alpns = alpns.iter().map(|alpn| alpn.to_vec()).collect();
        let builder = builder.alpns(alpns).bind_addr("127.0.0.1:0").unwrap();
        Self { endpoint: builder.bind().await.unwrap() }
    }

    pub fn id(&self) -> NodeId {
        NodeId::from_bytes(self.endpoint.id().as_bytes()).unwrap()
    }

    pub fn address(&self) -> Address {
        Address::new(self.id(), self.endpoint.bound_sockets()).unwrap()
    }

    pub async fn connect(&self, address: &Address, alpn: &[u8]) -> Result<iroh::endpoint::Connection, String> {
        let id = iroh::EndpointId::from_bytes(address.id().as_bytes()).unwrap();
        let sockets = address.sockets().iter().copied().map(TransportAddr::Ip);
        let peer = EndpointAddr::from_parts(id, sockets);
        soon(self.endpoint.connect(peer, alpn)).await.map_err(|error| format!("{error:?}"))
    }

    /// Accepts one connection.
    pub async fn accept(&self) -> iroh::endpoint::Connection {
        soon(async { self.endpoint.accept().await.unwrap().await }).await.unwrap()
    }
}

/// A message as it travels: length, kind, body.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [(body.len() as u32 + 1).to_be_bytes().as_slice(), &[kind], body].concat()
}

pub fn hello_frame(hello: &Hello) -> Vec<u8> {
    frame(0x01, &alloy_rlp::encode(hello))
}

/// A raw customer whose hello was accepted.
pub struct RawSession {
    pub connection: iroh::endpoint::Connection,
    pub control: iroh::endpoint::SendStream,
    pub answers: iroh::endpoint::RecvStream,
}

impl RawSession {
    pub async fn open(raw: &Raw, address: &Address, hello: &Hello) -> Self {
        let connection = raw.connect(address, ALPN).await.unwrap();
        let (mut control, mut answers) = soon(connection.open_bi()).await.unwrap();
        soon(control.write_all(&hello_frame(hello))).await.unwrap();
        assert_eq!(read_frame(&mut answers).await, [0x11, 0xc0]);
        Self { connection, control, answers }
    }

    /// Accepts the stream of the next want and reads the want.
    pub async fn next_want(&self) -> (iroh::endpoint::SendStream, Vec<u8>) {
        let (send, mut recv) = soon(self.connection.accept_bi()).await.unwrap();
        (send, read_frame(&mut recv).await)
    }

    /// Asks for blobs as a receiver would, and returns the stream of the answers.
    pub async fn want(&self, items: &[(Hash, u64)]) -> iroh::endpoint::RecvStream {
        let (mut send, recv) = soon(self.connection.open_bi()).await.unwrap();
        soon(send.write_all(&want_frame(items))).await.unwrap();
        send.finish().unwrap();
        recv
    }

    /// The code with which the provider closes the connection.
    pub async fn close_code(&self) -> u64 {
        match soon(self.connection.closed()).await {
            iroh::endpoint::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
            other => panic!("expected an application close: {other:?}"),
        }
    }
}

pub fn want_frame(items: &[(Hash, u64)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (hash, offset) in items {
        let mut fields = alloy_rlp::encode(B256::from(*hash));
        fields.extend(alloy_rlp::encode(*offset));
        alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut list);
        list.extend(fields);
    }
    let mut body = Vec::new();
    alloy_rlp::Header { list: true, payload_length: list.len() }.encode(&mut body);
    body.extend(list);
    frame(0x21, &body)
}

/// Reads one message without its length.
pub async fn read_frame(recv: &mut iroh::endpoint::RecvStream) -> Vec<u8> {
    let mut length = [0; 4];
    soon(recv.read_exact(&mut length)).await.unwrap();
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    soon(recv.read_exact(&mut message)).await.unwrap();
    message
}

/// An honest answer to a want for one blob from its beginning.
pub fn answer(bytes: &[u8]) -> Vec<u8> {
    let outline = keystead_blobs::Outline::of(bytes);
    [[1].as_slice(), &outline.size_bytes().to_be_bytes(), &outline.to_bytes(), bytes].concat()
}
