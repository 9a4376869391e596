//! Floods and garbage against every protocol of a real provider: bounded memory, a quiet log, and honest peers are answered within seconds meanwhile.
//!
//! Strangers come from other loopback addresses than honest peers, as they would from other machines.

use crate::{
    disk_pulse::{DiskPulse, now_ms},
    market::{SMALL, order},
    network::Network,
    parties::{Provider, account, text},
    raw::{Raw, address_of},
};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use keystead_blobs::{
    ALPN, Address, CHECK_ALPN, Config, Endpoint, INQUIRY_ALPN, Inquiry, QUESTION_ALPN, Question, ask, stream,
};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// All that a provider speaks.
const PROTOCOLS: [&[u8]; 5] = [ALPN, CHECK_ALPN, QUESTION_ALPN, INQUIRY_ALPN, stream::ALPN];
/// Strangers at once, over all protocols and addresses.
const STRANGERS: usize = 1_000;
/// The addresses that they come from: together they could hold every place for a handshake twice over.
const HOSTS: [u8; 8] = [2, 3, 4, 5, 6, 7, 8, 9];
/// How long a stranger who was turned away waits: with less, the strangers' own work takes the machine that they share with their victim here.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the flood lasts.
const SIEGE: Duration = Duration::from_secs(20);
/// How long an honest question may take meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// MiB by which the provider may grow: 64 connections of up to 4 MiB in flight.
const GROWTH_MIB_MAX: u64 = 256;
/// Bytes that it may log: a line for each failed session up to a bound, not for each attempt.
const LOG_BYTES_MAX: u64 = 64 * 1024;

/// What a stranger does once it is connected, by its number.
async fn misbehave(number: usize, connection: &Connection) -> Option<()> {
    match number % 8 {
        // Says nothing.
        0 => {}
        1 => {
            let (mut send, _recv) = connection.open_bi().await.ok()?;
            send.write_all(&[0xff; 64]).await.ok()?;
            send.finish().ok()?;
        }
        // Four gigabytes are announced, and nothing comes.
        2 => return begin(connection, &u32::MAX.to_be_bytes()).await,
        // The longest message that is allowed, a byte at a time.
        3 => {
            let (mut send, _recv) = connection.open_bi().await.ok()?;
            send.write_all(&65_536_u32.to_be_bytes()).await.ok()?;
            loop {
                send.write_all(&[1]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Every stream that it may open, each half a length.
        4 => {
            let mut open: Vec<(SendStream, RecvStream)> = Vec::new();
            for _ in 0..keystead_blobs::STREAMS_MAX {
                let mut streams = connection.open_bi().await.ok()?;
                streams.0.write_all(&[0, 0]).await.ok()?;
                open.push(streams);
            }
            connection.closed().await;
        }
        // A right question, or a message of a kind that there is, whose answer nobody reads.
        5 => return begin(connection, &[0, 0, 0, 1, 0x41]).await,
        6 => return begin(connection, &[0, 0, 0, 3, 0x01, 0xc1, 0x80]).await,
        // Garbage in a frame, and gone without a word.
        _ => {
            let (mut send, _recv) = connection.open_bi().await.ok()?;
            send.write_all(&[0, 0, 0, 4, 0x42, 0xf8, 0xff, 0xff]).await.ok()?;
            return Some(());
        }
    }
    connection.closed().await;
    Some(())
}

/// Sends the beginning of something, and reads nothing until the other side closes.
async fn begin(connection: &Connection, bytes: &[u8]) -> Option<()> {
    let (mut send, _unread) = connection.open_bi().await.ok()?;
    send.write_all(bytes).await.ok()?;
    if bytes.len() > 4 {
        send.finish().ok()?;
    }
    connection.closed().await;
    Some(())
}

/// Strangers who come again as soon as they are turned away, until told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    tried: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Flood {
    async fn start(to: &Address, strangers: usize, only: Option<usize>) -> Self {
        let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut raws = Vec::new();
        for host in HOSTS {
            raws.push(Arc::new(Raw::bind(host).await));
        }
        let mut tasks = JoinSet::new();
        for number in 0..strangers {
            let (raw, to) = (Arc::clone(&raws[number % raws.len()]), to.clone());
            let (stop, tried) = (Arc::clone(&stop), Arc::clone(&tried));
            tasks.spawn(async move {
                let mut turn = number / HOSTS.len();
                while !stop.load(Ordering::Relaxed) {
                    tried.fetch_add(1, Ordering::Relaxed);
                    let protocol = PROTOCOLS[turn % PROTOCOLS.len()];
                    let conduct = only.unwrap_or(turn / PROTOCOLS.len());
                    if let Ok(connection) = raw.connect(&to, protocol).await {
                        let held = misbehave(conduct, &connection);
                        let _ = tokio::time::timeout(Duration::from_secs(30), held).await;
                    }
                    turn += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { stop, tried, tasks }
    }

    /// How many connections were tried.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.tried.load(Ordering::Relaxed)
    }
}

/// What honest peers saw.
#[derive(Debug, Default)]
struct Seen {
    asked: usize,
    slowest: Duration,
    /// From when to when that was.
    span: (u64, u64),
    largest_mib: u64,
}

/// Asks as an honest customer and as a checker would, again and again, for so long. Each must be answered in time.
async fn ask_honestly(provider: &Provider, to: &Address, lasts: Duration) -> Seen {
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let (begin, mut seen) = (Instant::now(), Seen::default());
    while begin.elapsed() < lasts {
        let (start, from) = (Instant::now(), now_ms());
        // One try may meet a moment without a place; who is turned away asks again, within the same time.
        loop {
            let both = async {
                Inquiry::open(&endpoint, to).await.ok()?.state().await.ok()?;
                let question = Question { kind: 0x41, body: Vec::new().into() };
                ask(&endpoint, to, &question, 64 << 20).await.ok()
            };
            match tokio::time::timeout(ANSWER_MAX, both).await {
                Ok(Some(answer)) => {
                    assert!(answer.is_some_and(|answer| answer.len() > 1_000), "the proof is served");
                    break;
                }
                _ => assert!(start.elapsed() < ANSWER_MAX, "no answer for {:?}\n{}", start.elapsed(), provider.text()),
            }
        }
        seen.asked += 1;
        let took = start.elapsed();
        if took > seen.slowest {
            (seen.slowest, seen.span) = (took, (from, now_ms()));
        }
        seen.largest_mib = seen.largest_mib.max(provider.memory_mib());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    endpoint.close().await;
    seen
}

fn log_bytes(folder: &Path) -> u64 {
    fs::metadata(folder.join("log.txt")).unwrap().len()
}

/// A provider that has published a proof of hardware, so that it has something long to give.
fn published(network: &Network, folder: &Path) -> Provider {
    let quick = ["--prove", "always", "--prove-memory", "2", "--prove-seconds", "1"];
    let provider = Provider::start_as(network, folder, 1, &quick);
    assert!(provider.text().contains("proof of hardware published"), "{}", provider.text());
    provider
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_strangers_on_all_protocols_neither_fill_memory_nor_keep_honest_peers_out_slow() {
    let network = Network::alone(4);
    let folder = network.directory.join("provider");
    let provider = published(&network, &folder);
    let to = address_of(&network, 1);
    let (before, logged) = (provider.memory_mib(), log_bytes(&folder));
    let flood = Flood::start(&to, STRANGERS, None).await;
    let seen = ask_honestly(&provider, &to, SIEGE).await;
    // A whole order, from plan to payment, in the middle of it.
    let mut job = order(&network, SMALL, &network.directory.join("meanwhile"));
    let job = job.args(["--provider", account(1)]);
    let start = Instant::now();
    let output = job.output().unwrap();
    let took = start.elapsed();
    let largest = seen.largest_mib.max(provider.memory_mib());
    let tried = flood.end().await;
    println!(
        "tried={tried} asked={} slowest={:?} order={took:?} memory_mib={before}..{largest} log_bytes={}",
        seen.asked,
        seen.slowest,
        log_bytes(&folder) - logged
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(tried > STRANGERS, "only {tried} connections");
    assert!(largest < before + GROWTH_MIB_MAX, "{before} MiB grew to {largest} MiB");
    assert!(log_bytes(&folder) - logged < LOG_BYTES_MAX, "{}", provider.text());
    // What the machine itself stands still is taken off.
    let machine = DiskPulse::start(&network.directory);
    let after = ask_honestly(&provider, &to, Duration::from_secs(1)).await;
    let own_ms = machine.end().own(after.span.0, after.span.1);
    assert!(after.asked > 0 && own_ms < 2_000, "{own_ms} ms: {after:?}");
}

/// Many ask for the long answer and read none of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slow_readers_of_a_proof_hold_up_nobody_slow() {
    let network = Network::alone(4);
    let provider = published(&network, &network.directory.join("provider"));
    let to = address_of(&network, 1);
    let before = provider.memory_mib();
    let mut raws = Vec::new();
    let mut held = Vec::new();
    for host in [2, 3] {
        let raw = Raw::slow(host).await;
        for _ in 0..12 {
            let connection = raw.connect(&to, QUESTION_ALPN).await.unwrap();
            let (mut send, unread) = connection.open_bi().await.unwrap();
            send.write_all(&[0, 0, 0, 1, 0x41]).await.unwrap();
            send.finish().unwrap();
            held.push((connection, unread));
        }
        raws.push(raw);
    }
    let seen = ask_honestly(&provider, &to, Duration::from_secs(8)).await;
    println!("asked={} slowest={:?} memory_mib={before}..{}", seen.asked, seen.slowest, seen.largest_mib);
    let open = held.iter().filter(|(connection, _)| connection.close_reason().is_none()).count();
    assert!(open >= 20, "they were there all the time: {open}");
    assert!(seen.largest_mib < before + GROWTH_MIB_MAX, "{before} MiB grew to {} MiB", seen.largest_mib);
}
