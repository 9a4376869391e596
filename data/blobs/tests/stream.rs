//! Streams over loopback: who is let in, what is said both ways, what each side may fetch, and that jobs go on beside them.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::support::{self, BLOB_MAX, Chain, Conduct, Runner, memory, soon, whole_session};
use alloy_primitives::{B256, Bytes, U256};
use keystead_blobs::{
    Address, BlobStore, Config, Endpoint, Hash, Hello, NodeId, Outline, Reason, Refusal, RefusalCode, Server,
    SessionError, StoreError, Unavailable, Want, serve_with,
    store::{Part, Source, Tally},
    stream::{
        End, EndCode, FromCustomer, FromProvider, Item, LeaseOffer, Link, RefuseCode, Streams, WindowReport, acceptor,
        dial, pack,
    },
};
use tokio::sync::mpsc;

/// Lets channel 1 in, fetches each lease's pack, and reports it reversed.
struct Mirror {
    store: Arc<dyn BlobStore>,
    seen: mpsc::UnboundedSender<String>,
}

impl Streams for Mirror {
    async fn greet(&self, _: NodeId, hello: &Hello) -> Result<Arc<dyn BlobStore>, Refusal> {
        if hello.order == U256::from(1) {
            return Ok(Arc::clone(&self.store));
        }
        Err(Refusal::new(RefusalCode::NotAssigned, "another provider's channel"))
    }

    async fn conduct(&self, _: Hello, mut link: Link<FromCustomer>) {
        link.say(&FromProvider::Accepted { holding: Some(7) }).await.unwrap();
        loop {
            match link.next().await {
                Ok(FromCustomer::Lease(offer)) => {
                    let want = Want { hash: offer.pack(), bytes_max: offer.pack_bytes };
                    if let Err(error) = link.source().fetch(vec![want]).await {
                        let end = End::new(EndCode::Input, &error.to_string());
                        link.say(&FromProvider::GivenBack { lease: offer.number, end }).await.unwrap();
                        continue;
                    }
                    let reversed = support::reversed(&self.store.get(offer.pack(), BLOB_MAX).unwrap());
                    let name = self.store.put(&reversed).unwrap();
                    link.offer([name]);
                    let report = WindowReport {
                        lease: offer.number,
                        report: Bytes::from_static(b"report"),
                        secret: B256::ZERO,
                        names: vec![name.into()],
                        pack: name.into(),
                        pack_bytes: reversed.len() as u64,
                        end: End::new(EndCode::Done, ""),
                    };
                    link.say(&FromProvider::Report(report)).await.unwrap();
                }
                Ok(FromCustomer::Voucher { lease, .. }) => {
                    link.offer([]);
                    self.seen.send(format!("voucher {lease}")).unwrap();
                    link.say(&FromProvider::Ready).await.unwrap();
                }
                Ok(other) => self.seen.send(format!("{other:?}")).unwrap(),
                Err(error) => return self.seen.send(error.to_string()).unwrap(),
            }
        }
    }
}

struct Provider {
    address: Address,
    seen: mpsc::UnboundedReceiver<String>,
    server: Server,
    /// Without it the last packets of a server that stops would not be sent.
    _endpoint: Endpoint,
}

async fn provider() -> Provider {
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    let (fetched, _) = mpsc::unbounded_channel();
    let (ended, _) = mpsc::unbounded_channel();
    let store = memory();
    let runner =
        Runner { blob_bytes_max: BLOB_MAX, store: Arc::clone(&store), conduct: Conduct::Deliver, fetched, ended };
    let streams = acceptor(Mirror { store: memory(), seen: sender });
    let server = serve_with(&endpoint, store, Chain { customer: None }, runner, vec![streams]);
    Provider { address: endpoint.address().unwrap(), seen, server, _endpoint: endpoint }
}

fn hello(channel: u64) -> Hello {
    Hello { order: U256::from(channel), job: Bytes::from_static(b"job"), credential: Bytes::from_static(b"signature") }
}

fn offer(number: u64, bytes: &[u8]) -> LeaseOffer {
    let items = vec![Item { unit: 0, first: 0, count: 1, given: 0 }];
    LeaseOffer { number, milliseconds: 1_000, pack: Hash::of(bytes).into(), pack_bytes: bytes.len() as u64, items }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_go_out_reports_come_back_and_only_what_is_offered_is_served() {
    let mut provider = provider().await;
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let store = memory();
    let (mut link, holding) = soon(dial(&endpoint, &provider.address, hello(1), Arc::clone(&store))).await.unwrap();
    assert_eq!(holding, Some(7));

    let bytes = pack::encode(&[support::sample(1, 200_000)]);
    store.put(&bytes).unwrap();
    // Not offered: it looks as if it were not there.
    soon(link.say(&FromCustomer::Lease(offer(1, &bytes)))).await.unwrap();
    let FromProvider::GivenBack { lease: 1, end } = soon(link.next()).await.unwrap() else { panic!("no answer") };
    assert_eq!(end.code, EndCode::Input);

    link.offer([Hash::of(&bytes)]);
    soon(link.say(&FromCustomer::Lease(offer(2, &bytes)))).await.unwrap();
    let FromProvider::Report(report) = soon(link.next()).await.unwrap() else { panic!("no report") };
    let want = Want { hash: report.pack(), bytes_max: report.pack_bytes };
    let got = soon(link.source().fetch_counted(vec![want])).await.unwrap();
    assert_eq!((got.blobs_done, got.bytes_received), (1, bytes.len() as u64));
    // What is here already does not come again, and does not count.
    assert_eq!(soon(link.source().fetch_counted(vec![want])).await.unwrap().bytes_received, 0);
    assert_eq!(store.get(report.pack(), BLOB_MAX).unwrap(), support::reversed(&bytes));

    let signed = Bytes::from_static(b"voucher");
    soon(link.say(&FromCustomer::Voucher { lease: 2, signed })).await.unwrap();
    assert_eq!(soon(link.next()).await.unwrap(), FromProvider::Ready);
    assert_eq!(soon(provider.seen.recv()).await.unwrap(), "voucher 2");
    // Withdrawn with the voucher.
    store.delete(report.pack()).unwrap();
    let gone = soon(link.source().fetch(vec![want])).await;
    assert!(matches!(gone, Err(SessionError::Unavailable(Unavailable::NotServed { .. }))), "{gone:?}");

    let refuse = FromCustomer::Refuse { lease: 2, code: RefuseCode::Ended, reason: Reason::new("late") };
    soon(link.say(&refuse)).await.unwrap();
    assert!(soon(provider.seen.recv()).await.unwrap().contains("late"));
    // Jobs go on beside streams, on the same socket.
    whole_session(&provider.address, 3).await;
    drop(link);
    assert!(soon(provider.seen.recv()).await.is_some(), "the end is noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_with_the_reason_and_a_stopped_provider_says_so() {
    let provider = provider().await;
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let refused = soon(dial(&endpoint, &provider.address, hello(2), memory())).await;
    match refused {
        Err(SessionError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::NotAssigned),
        other => panic!("not refused: {other:?}"),
    }
    let (mut link, _) = soon(dial(&endpoint, &provider.address, hello(1), memory())).await.unwrap();
    soon(provider.server.shutdown()).await;
    let ended = soon(link.next()).await;
    assert!(matches!(ended, Err(SessionError::Unavailable(Unavailable::ShuttingDown))), "{ended:?}");
    // An oversized hello does not leave this side.
    let large = Hello { job: vec![0; 40_000].into(), ..hello(1) };
    assert!(matches!(
        soon(dial(&endpoint, &provider.address, large, memory())).await,
        Err(SessionError::Misuse { .. })
    ));
}

/// A store that counts what leaves it.
#[derive(Debug)]
struct Tallied {
    inner: Arc<dyn BlobStore>,
    left: Arc<AtomicU64>,
}

struct Leaving {
    source: Box<dyn Source>,
    left: Arc<AtomicU64>,
}

impl Source for Leaving {
    fn outline(&self) -> &Outline {
        self.source.outline()
    }

    fn read_group(&mut self, index: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.source.read_group(index, out)
    }

    fn tally(&self) -> Option<Tally> {
        let left = Arc::clone(&self.left);
        Some(Arc::new(move |bytes| {
            left.fetch_add(bytes, Ordering::Relaxed);
        }))
    }
}

impl BlobStore for Tallied {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.inner.put(bytes)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.inner.settle()
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.inner.get(hash, bytes_max)
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        self.inner.size(hash)
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        self.inner.delete(hash)
    }

    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        Ok(Box::new(Leaving { source: self.inner.open(hash)?, left: Arc::clone(&self.left) }))
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        self.inner.receive(hash)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_told_of_every_byte_that_leaves_it_and_of_no_other() {
    let provider = provider().await;
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let left: Arc<AtomicU64> = Arc::default();
    let store = Arc::new(Tallied { inner: memory(), left: Arc::clone(&left) });
    let (mut link, _) = soon(dial(&endpoint, &provider.address, hello(1), store.clone())).await.unwrap();
    // More than is read from a store at once, and no whole number of groups.
    let bytes = pack::encode(&[support::sample(1, 2_500_000)]);
    store.put(&bytes).unwrap();
    link.offer([Hash::of(&bytes)]);
    assert_eq!(left.load(Ordering::Relaxed), 0);
    soon(link.say(&FromCustomer::Lease(offer(1, &bytes)))).await.unwrap();
    let FromProvider::Report(_) = soon(link.next()).await.unwrap() else { panic!("no report") };
    // The last ones may arrive before they are counted.
    support::eventually("all is counted", || left.load(Ordering::Relaxed) >= bytes.len() as u64).await;
    assert_eq!(left.load(Ordering::Relaxed), bytes.len() as u64);
}
