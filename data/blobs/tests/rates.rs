//! The rates of an endpoint's owner: transfers keep to them, share them, survive them, and follow when they change.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{BLOB_MAX, Conduct, Provider, eventually, memory, open, reversed, sample, soon};
use keystead_blobs::{
    BURST, Capacity, Config, DiskStore, Durability, Endpoint, Event, Hash, Limits, Rate, Rates, Session, SessionError,
    Unavailable, Want, hash,
};
use tempfile::TempDir;

const KIB: u64 = 1_024;
/// With it, 64 KiB at the lowest rates of these tests take several times as long as a peer may be silent.
fn hasty() -> Limits {
    Limits { stall_timeout: Duration::from_millis(700), ..Limits::default() }
}

const fn kib_per_s(kib: u64) -> Rate {
    Rate::BytesPerSecond(NonZeroU64::new(kib * KIB).unwrap())
}

const fn upload(rate: Rate) -> Rates {
    Rates { upload: rate, download: Rate::Unlimited }
}

const fn download(rate: Rate) -> Rates {
    Rates { upload: Rate::Unlimited, download: rate }
}

/// The least time in which so many bytes can move at a rate: a bucket may have saved one burst.
fn least(bytes: usize, kib_per_s: u64) -> Duration {
    let whole = Duration::from_secs_f64(
        f64::from(u32::try_from(bytes).unwrap()) / f64::from(u32::try_from(kib_per_s * KIB).unwrap()),
    );
    whole.saturating_sub(BURST)
}

async fn customer() -> Endpoint {
    Endpoint::bind(Config { limits: hasty(), ..Config::loopback() }).await.unwrap()
}

/// A session whose one output may be fetched: the input, reversed.
async fn delivered(endpoint: &Endpoint, provider: &Provider, number: u8, input: &[u8]) -> (Session, Want) {
    let mut session = open(endpoint, &provider.address, number, &[input.to_vec()]).await.unwrap();
    let delivery = loop {
        if let Event::Delivered(delivery) = soon(session.next()).await.unwrap() {
            break delivery;
        }
    };
    let store = memory();
    soon(session.fetch(&store, vec![Want { hash: delivery.result(), bytes_max: 32 }], &mut |_| {})).await.unwrap();
    let names = hash::parse_list(&store.get(delivery.result(), 32).unwrap(), 1).unwrap();
    (session, Want { hash: names[0], bytes_max: BLOB_MAX })
}

/// Fetches a delivered output, says how long it took, and ends the session.
async fn take(session: Session, want: Want, input: &[u8]) -> Duration {
    let (store, start) = (memory(), Instant::now());
    soon(session.fetch(&store, vec![want], &mut |_| {})).await.unwrap();
    let took = start.elapsed();
    assert_eq!(store.get(want.hash, BLOB_MAX).unwrap(), reversed(input));
    soon(session.finish()).await.unwrap();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_leave_no_faster_than_the_rate_and_a_slow_one_is_not_taken_for_dead() {
    let provider = Provider::start(Conduct::Deliver, None, hasty(), memory()).await;
    let (endpoint, input) = (customer().await, sample(1, 100_000));
    let (session, want) = delivered(&endpoint, &provider, 1, &input).await;
    let meter = provider.endpoint.meter();
    let before = meter.moved().upload_bytes;
    meter.set(upload(kib_per_s(32)));
    // 64 KiB take two seconds; each silence of 0.7 s would end the session.
    let took = take(session, want, &input).await;
    assert!(took >= least(input.len(), 32), "{took:?}");
    // The head of the answer and an outline of two groups beside the bytes themselves.
    assert_eq!(meter.moved().upload_bytes - before, 100_000 + 9 + 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_arrive_no_faster_than_the_rate_and_their_sender_waits_without_giving_up() {
    let mut provider = Provider::start(Conduct::Deliver, None, hasty(), memory()).await;
    let (endpoint, input) = (customer().await, sample(2, 150_000));
    let meter = provider.endpoint.meter().clone();
    meter.set(download(kib_per_s(32)));
    let start = Instant::now();
    let _session = open(&endpoint, &provider.address, 1, std::slice::from_ref(&input)).await.unwrap();
    assert_eq!(soon(provider.fetched.recv()).await.unwrap().unwrap(), 150_000);
    assert!(start.elapsed() >= least(input.len(), 32), "{:?}", start.elapsed());
    assert_eq!(provider.store.get(Hash::of(&input), BLOB_MAX).unwrap(), input);
    // With the outline of three groups.
    assert_eq!(meter.moved().download_bytes, 150_000 + 96);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_share_a_rate_and_none_starves() {
    let provider = Provider::start(Conduct::Deliver, None, hasty(), memory()).await;
    let endpoints = [customer().await, customer().await, customer().await];
    let inputs = [sample(3, 60_000), sample(4, 60_000), sample(5, 60_000)];
    let mut sessions = Vec::new();
    for ((endpoint, input), number) in endpoints.iter().zip(&inputs).zip(1..) {
        sessions.push(delivered(endpoint, &provider, number, input).await);
    }
    provider.endpoint.meter().set(upload(kib_per_s(48)));
    let [first, second, third] = <[_; 3]>::try_from(sessions).unwrap();
    let start = Instant::now();
    let (first, second, third) = tokio::join!(
        take(first.0, first.1, &inputs[0]),
        take(second.0, second.1, &inputs[1]),
        take(third.0, third.1, &inputs[2]),
    );
    let whole = start.elapsed();
    assert!(whole >= least(180_000, 48), "{whole:?}: the rate is that of all together");
    // One after the other, the first would be there after a third of the time.
    let earliest = first.min(second).min(third);
    assert!(earliest >= whole.mul_f64(0.6), "{first:?} {second:?} {third:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_holds_for_a_transfer_that_is_under_way() {
    let provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let input = sample(6, 4 << 20);
    let (session, want) = delivered(&endpoint, &provider, 1, &input).await;
    let meter = provider.endpoint.meter().clone();
    let before = meter.moved().upload_bytes;
    // At this rate it would take four minutes and more.
    meter.set(upload(kib_per_s(16)));
    let taking = tokio::spawn(async move { take(session, want, &input).await });
    eventually("some of it has left", || meter.moved().upload_bytes >= before + 8 * KIB).await;
    meter.set(upload(Rate::Paused));
    // What was granted before may still leave.
    let paused = meter.moved().upload_bytes;
    tokio::time::timeout(Duration::from_millis(300), async {
        while meter.moved().upload_bytes <= paused + 64 * KIB {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect_err("a pause is one");
    assert!(!taking.is_finished());
    meter.set(Rates::default());
    let took = soon(taking).await.unwrap();
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_was_left_in_a_pause_goes_on_from_what_had_arrived() {
    let folder = TempDir::new().unwrap();
    let disk = DiskStore::open(folder.path(), Capacity::default(), Durability::Lazy).unwrap();
    let mut provider = Provider::start(Conduct::Deliver, None, hasty(), Arc::new(disk)).await;
    let input = sample(7, 1 << 20);
    let meter = provider.endpoint.meter().clone();
    meter.set(download(kib_per_s(256)));
    let endpoint = customer().await;
    let session = open(&endpoint, &provider.address, 1, std::slice::from_ref(&input)).await.unwrap();
    eventually("some groups are here", || meter.moved().download_bytes >= 400 * KIB).await;
    meter.set(download(Rate::Paused));
    // This handler gives up with the wait; the node's waits for its owner and fetches again.
    let left = soon(provider.fetched.recv()).await.unwrap();
    assert!(matches!(left, Err(SessionError::Unavailable(Unavailable::Paused { .. }))), "{left:?}");
    drop(session);
    meter.set(Rates::default());
    let _session = open(&endpoint, &provider.address, 1, std::slice::from_ref(&input)).await.unwrap();
    let received = soon(provider.fetched.recv()).await.unwrap().unwrap();
    assert_eq!(provider.store.get(Hash::of(&input), BLOB_MAX).unwrap(), input);
    assert!(received <= (1 << 20) - 64 * KIB, "{received}: what was there was not fetched again");
}
