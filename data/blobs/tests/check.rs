//! Checkers and sources over loopback: who is served, what is served, and what a stranger hears.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::sync::{Arc, Mutex};

use crate::support::{self, BLOB_MAX, memory, sample, soon};
use alloy_primitives::B256;
use keystead_blobs::{
    Authorise, BlobStore, CheckHello, CheckSession, Config, Duty, Endpoint, Failure, FailureCode, GROUP_BYTES, Handler,
    Hash, Hello, Job, NodeId, Offer, Refusal, RefusalCode, Server, SessionError, Unavailable, Want, serve,
};

/// Serves one checker's node the blobs that it was made with; takes no orders.
#[derive(Debug)]
struct Source {
    checker: NodeId,
    offered: Vec<Hash>,
    heard: Arc<Mutex<Vec<CheckHello>>>,
}

impl Authorise for Source {
    async fn authorise(&self, _: NodeId, _: &Hello) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::NotAssigned, "no orders here"))
    }

    async fn on_duty(&self, checker: NodeId, hello: &CheckHello) -> Result<Offer, Refusal> {
        self.heard.lock().unwrap().push(hello.clone());
        if checker != self.checker {
            return Err(Refusal::new(RefusalCode::NotAssigned, "not on duty"));
        }
        let duty = Duty { job: b"job".to_vec().into(), before: vec![7; 96].into() };
        Ok(Offer { duty, blobs: self.offered.clone() })
    }
}

/// Never reached.
struct Nobody;

impl Handler for Nobody {
    async fn run(&self, _: &mut Job) -> Result<(), Failure> {
        Err(Failure::new(FailureCode::Internal, "no orders here"))
    }
}

fn hello() -> CheckHello {
    CheckHello { window: B256::repeat_byte(1), unit: 2, round: 0, slot: 3, credential: vec![9; 65].into() }
}

struct Ends {
    source: Endpoint,
    checker: Endpoint,
    server: Server,
    store: Arc<dyn BlobStore>,
    heard: Arc<Mutex<Vec<CheckHello>>>,
}

async fn ends(offered: &[&[u8]], kept: &[&[u8]]) -> Ends {
    let source = Endpoint::bind(Config::loopback()).await.unwrap();
    let checker = Endpoint::bind(Config::loopback()).await.unwrap();
    let store = memory();
    for bytes in kept {
        store.put(bytes).unwrap();
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let offered = offered.iter().map(|bytes| Hash::of(bytes)).collect();
    let authorise = Source { checker: checker.id(), offered, heard: Arc::clone(&heard) };
    let server = serve(&source, Arc::clone(&store), authorise, Nobody);
    Ends { source, checker, server, store, heard }
}

fn want(bytes: &[u8]) -> Vec<Want> {
    vec![Want { hash: Hash::of(bytes), bytes_max: BLOB_MAX }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checker_on_duty_fetches_what_is_offered_and_nothing_else() {
    let (input, secret) = (sample(1, 3 * GROUP_BYTES + 5), sample(2, 100));
    let Ends { source, checker, server, store, heard } = ends(&[&input, b"gone"], &[&input, &secret]).await;
    let address = source.address().unwrap();
    let session = soon(CheckSession::open(&checker, &address, &hello())).await.unwrap();
    assert_eq!((&session.duty().job[..], session.duty().before.len()), (&b"job"[..], 96));
    assert_eq!(*heard.lock().unwrap(), [hello()]);
    let own = memory();
    soon(session.fetch(&own, want(&input))).await.unwrap();
    assert_eq!(own.get(Hash::of(&input), BLOB_MAX).unwrap(), input);
    // In the source's store, but not offered; offered, but not in its store: both look alike.
    assert!(store.has(Hash::of(&secret)).unwrap());
    for other in [&secret[..], b"gone"] {
        let refused = soon(session.fetch(&own, want(other))).await;
        assert!(matches!(refused, Err(SessionError::Unavailable(Unavailable::NotServed { .. }))), "{refused:?}");
    }
    drop(session);
    soon(server.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_hears_that_it_is_not_on_duty_and_an_endpoint_without_checkers_says_so() {
    let Ends { source, server, .. } = ends(&[b"input"], &[b"input"]).await;
    let stranger = Endpoint::bind(Config::loopback()).await.unwrap();
    let refused = soon(CheckSession::open(&stranger, &source.address().unwrap(), &hello())).await;
    assert!(matches!(&refused, Err(SessionError::Refused(refusal)) if refusal.code == RefusalCode::NotAssigned));
    soon(server.shutdown()).await;
    // A provider that overrides nothing serves no checker.
    let provider =
        support::Provider::start(support::Conduct::Deliver, None, keystead_blobs::Limits::default(), memory()).await;
    let refused = soon(CheckSession::open(&stranger, &provider.address, &hello())).await;
    assert!(matches!(&refused, Err(SessionError::Refused(refusal)) if refusal.code == RefusalCode::NotAssigned));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_of_another_length_is_a_violation() {
    let Ends { source, checker, server: _server, heard, .. } = ends(&[], &[]).await;
    let short = CheckHello { credential: vec![9; 64].into(), ..hello() };
    let refused = soon(CheckSession::open(&checker, &source.address().unwrap(), &short)).await;
    assert!(matches!(refused, Err(SessionError::Unavailable(Unavailable::Accused))), "{refused:?}");
    assert!(heard.lock().unwrap().is_empty());
}
