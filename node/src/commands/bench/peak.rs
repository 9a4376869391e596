//! `keystead bench peak`: as many transfers as a node takes, or a fixed number of attempts per second, and what that costs.
//!
//! # Design
//! Senders are funded and transactions signed before the clock starts. Each connection has senders of its own and sends
//! their transactions in order of nonce, in batches, one after the other; what the node refuses is sent again before
//! anything later, as a wallet would. So without `--rate` the load is what the node takes; with it, attempts come at that
//! rate whether the node keeps up or not.
//! Included transactions are counted by block. At the end every sender's nonce and a sample of receipts are compared with
//! what was sent. Only methods that every Ethereum node has are asked, so that others can be measured in the same way.

use super::{
    Spread,
    supply::{self, Sender, Signed},
};
use crate::{cli::BenchPeak, client::Client};
use alloy_primitives::{Address, B256};
use eyre::{Context as _, Result, ensure, eyre};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How often the head is asked for.
const POLL: Duration = Duration::from_millis(20);
/// How often a balance is read meanwhile.
const READ_EVERY: Duration = Duration::from_millis(50);
/// How long nothing may be included before the measurement has failed.
const STALL_MAX: Duration = Duration::from_secs(20);
/// How long a connection waits after the node refused a whole batch. With `--rate` the rate decides.
const BACKOFF: Duration = Duration::from_millis(100);
/// Receipts that are looked at in the end.
const SAMPLES: usize = 50;
/// Clock ticks per second of `/proc/PID/stat` (Linux: always 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a call around the transaction.
const CALL_BYTES: usize = 96;

/// What the command prints.
#[derive(Debug, Serialize)]
struct Report {
    transactions: u64,
    /// Transactions offered, each as often as it was.
    attempts: u64,
    attempts_per_s: f64,
    refused: u64,
    first_refusal: Option<String>,
    included: u64,
    /// From the first request to the last block with a transaction being seen.
    seconds: f64,
    included_per_s: f64,
    /// Processor seconds, user and system, of the processes named by `--pid`.
    node_cpu_s: Option<f64>,
    included_per_node_cpu_s: Option<f64>,
    /// Processor seconds of this program meanwhile.
    own_cpu_s: f64,
    /// Of `eth_getBalance` at latest, meanwhile, in microseconds.
    read_us: Spread,
    blocks: u64,
    /// Transactions in the fullest block.
    block_transactions_max: u64,
}

/// Shared by the tasks.
#[derive(Default)]
struct Board {
    attempts: AtomicU64,
    refused: AtomicU64,
    first_refusal: Mutex<Option<String>>,
    done: AtomicBool,
}

impl Board {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

/// Blocks as they were seen.
struct Seen {
    included: u64,
    /// When the last block with a transaction was seen.
    last: Instant,
    blocks: u64,
    largest: u64,
}

pub(crate) fn run(options: &BenchPeak) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(peak(options))?;
    #[allow(clippy::print_stdout, reason = "the answer to the command")]
    {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    ensure!(
        report.included == report.transactions,
        "only {} of {} transactions were included: {}",
        report.included,
        report.transactions,
        report.first_refusal.as_deref().unwrap_or("none was refused")
    );
    Ok(ExitCode::SUCCESS)
}

async fn peak(options: &BenchPeak) -> Result<Report> {
    let clients: Vec<Client> = options.rpc.iter().map(|url| Client::new(url)).collect::<Result<_>>()?;
    let senders = supply::prepare(&clients, options).await?;
    let first = clients.first().ok_or_else(|| eyre!("name at least one node with --rpc"))?;
    let counts: Vec<(Address, u64)> =
        senders.iter().map(|sender| (sender.address, sender.transactions.len() as u64)).collect();
    let transactions: u64 = counts.iter().map(|(_, count)| count).sum();
    let samples = samples(&senders);
    let reader = counts.first().map(|(address, _)| *address).unwrap_or_default();
    let queues = deal(senders, options.connections);
    let head = first.quantity("eth_blockNumber", json!([])).await?;
    let board = Arc::new(Board::default());
    let (before, own_before) = (cpu_seconds(&options.pid)?, cpu_seconds(&[std::process::id()])?);
    let start = Instant::now();
    let watch = tokio::spawn(watch(first.clone(), head, transactions));
    let read = tokio::spawn(read(first.clone(), reader, Arc::clone(&board)));
    let every = options.rate.map(|rate| {
        let batch = f64::from(options.batch) * f64::from(options.connections);
        Duration::from_secs_f64(batch / rate as f64)
    });
    let work = queues.into_iter().zip(clients.iter().cycle()).map(|(queue, client)| {
        let worker = Worker { client: client.clone(), batch: options.batch as usize, every, board: Arc::clone(&board) };
        tokio::spawn(worker.run(queue))
    });
    let work: Vec<_> = work.collect();
    let seen = watch.await.wrap_err("the observer died")??;
    // With `--rate`, everything has been offered once all is included; without, whoever still waits gives up.
    board.done.store(true, Ordering::Relaxed);
    let (after, own_after) = (cpu_seconds(&options.pid)?, cpu_seconds(&[std::process::id()])?);
    let sending = try_join_all(work).await.wrap_err("a connection's task died")?;
    let sending = sending.into_iter().collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(start);
    let read_us = read.await.wrap_err("the reader died")??;
    if seen.included == transactions {
        check(first, &counts, &samples).await?;
    }
    let seconds = seen.last.saturating_duration_since(start).as_secs_f64();
    let attempts = board.attempts.load(Ordering::Relaxed);
    let node_cpu_s = (!options.pid.is_empty()).then_some(after - before);
    Ok(Report {
        transactions,
        attempts,
        attempts_per_s: attempts as f64 / sending.saturating_duration_since(start).as_secs_f64().max(f64::MIN_POSITIVE),
        refused: board.refused.load(Ordering::Relaxed),
        first_refusal: board.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        included: seen.included,
        seconds,
        included_per_s: seen.included as f64 / seconds.max(f64::MIN_POSITIVE),
        node_cpu_s,
        included_per_node_cpu_s: node_cpu_s.map(|spent| seen.included as f64 / spent.max(1.0 / TICKS_PER_SECOND)),
        own_cpu_s: own_after - own_before,
        read_us: Spread::of(read_us),
        blocks: seen.blocks,
        block_transactions_max: seen.largest,
    })
}

/// Hashes spread evenly over all transactions.
fn samples(senders: &[Sender]) -> Vec<B256> {
    let all: Vec<B256> = senders.iter().flat_map(|sender| &sender.transactions).map(|signed| signed.hash).collect();
    all.iter().step_by(all.len().div_ceil(SAMPLES).max(1)).copied().collect()
}

/// Gives each connection its senders, whose transactions take turns.
fn deal(senders: Vec<Sender>, connections: u32) -> Vec<VecDeque<Signed>> {
    let connections = (connections as usize).clamp(1, senders.len().max(1));
    let mut hands: Vec<Vec<std::vec::IntoIter<Signed>>> = Vec::new();
    hands.resize_with(connections, Vec::new);
    for (sender, index) in senders.into_iter().zip((0..connections).cycle()) {
        if let Some(hand) = hands.get_mut(index) {
            hand.push(sender.transactions.into_iter());
        }
    }
    let turns = |mut hand: Vec<std::vec::IntoIter<Signed>>| {
        let mut queue = VecDeque::new();
        loop {
            let before = queue.len();
            queue.extend(hand.iter_mut().filter_map(Iterator::next));
            if queue.len() == before {
                return queue;
            }
        }
    };
    hands.into_iter().map(turns).collect()
}

/// One connection.
struct Worker {
    client: Client,
    batch: usize,
    /// Time between two of its batches, if the rate is fixed.
    every: Option<Duration>,
    board: Arc<Board>,
}

impl Worker {
    /// Sends everything; when it was through.
    async fn run(self, mut queue: VecDeque<Signed>) -> Result<Instant> {
        let mut due = Instant::now();
        while !queue.is_empty() && !self.board.is_done() {
            if let Some(every) = self.every {
                sleep(due.saturating_duration_since(Instant::now())).await;
                due = due.checked_add(every).unwrap_or(due);
            }
            let batch: Vec<Signed> = queue.drain(..self.batch.min(queue.len())).collect();
            let count = batch.len();
            self.board.attempts.fetch_add(count as u64, Ordering::Relaxed);
            let refused = self.offer(batch).await?;
            let none_taken = refused.len() == count;
            self.board.refused.fetch_add(refused.len() as u64, Ordering::Relaxed);
            refused.into_iter().rev().for_each(|signed| queue.push_front(signed));
            if none_taken && self.every.is_none() {
                sleep(BACKOFF).await;
            }
        }
        Ok(Instant::now())
    }

    /// Offers a batch; what was refused, in order.
    async fn offer(&self, batch: Vec<Signed>) -> Result<Vec<Signed>> {
        let answer = self.client.post_text(body(&batch)).await?;
        let mut taken = vec![false; batch.len()];
        let answers: Vec<Answer> = match serde_json::from_slice(&answer) {
            Ok(answers) => answers,
            // One answer to the whole batch: it was refused.
            Err(_) => {
                self.note(&String::from_utf8_lossy(&answer));
                Vec::new()
            }
        };
        for answer in answers {
            match (answer.error, taken.get_mut(answer.id)) {
                (None, Some(taken)) => *taken = true,
                (Some(error), _) => self.note(&error.message),
                (None, None) => return Err(eyre!("an answer to a call that was not made: id={}", answer.id)),
            }
        }
        Ok(batch.into_iter().zip(taken).filter(|(_, taken)| !taken).map(|(signed, _)| signed).collect())
    }

    fn note(&self, refusal: &str) {
        let mut first = self.board.first_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| refusal.to_owned());
    }
}

/// One answer of a batch, as far as it matters.
#[derive(Deserialize)]
struct Answer {
    id: usize,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// A JSON-RPC batch that sends these.
fn body(batch: &[Signed]) -> String {
    let bytes = batch.iter().map(|signed| signed.raw.len().saturating_add(CALL_BYTES)).fold(2, usize::saturating_add);
    let mut body = String::with_capacity(bytes);
    for (id, signed) in batch.iter().enumerate() {
        body.push(if id == 0 { '[' } else { ',' });
        let raw = &signed.raw;
        // Writing to a string cannot fail.
        let _ = write!(body, r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["{raw}"]}}"#);
    }
    body.push(']');
    body
}

/// Counts what blocks above `head` hold until it is `total`, or until nothing comes any more.
async fn watch(client: Client, mut head: u64, total: u64) -> Result<Seen> {
    let mut seen = Seen { included: 0, last: Instant::now(), blocks: 0, largest: 0 };
    while seen.included < total && seen.last.elapsed() < STALL_MAX {
        sleep(POLL).await;
        let newest = client.quantity("eth_blockNumber", json!([])).await?;
        while head < newest {
            head = head.saturating_add(1);
            let number = format!("{head:#x}");
            let count = client.quantity("eth_getBlockTransactionCountByNumber", json!([number])).await?;
            seen.blocks = seen.blocks.saturating_add(1);
            seen.largest = seen.largest.max(count);
            if count > 0 {
                seen.included = seen.included.saturating_add(count);
                seen.last = Instant::now();
            }
        }
    }
    Ok(seen)
}

/// Reads a balance again and again; how long each took in microseconds.
async fn read(client: Client, account: Address, board: Arc<Board>) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    while !board.is_done() {
        let start = Instant::now();
        client.call("eth_getBalance", json!([account, "latest"])).await?;
        times.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        sleep(READ_EVERY).await;
    }
    Ok(times)
}

/// Compares the chain with what was sent.
async fn check(client: &Client, counts: &[(Address, u64)], samples: &[B256]) -> Result<()> {
    for (address, count) in counts {
        let nonce = client.quantity("eth_getTransactionCount", json!([address, "latest"])).await?;
        ensure!(nonce == *count, "wrong nonce of a sender: got={nonce} want={count}");
    }
    for hash in samples {
        let receipt = client.call("eth_getTransactionReceipt", json!([hash])).await?;
        ensure!(receipt.get("status") == Some(&json!("0x1")), "a transfer did not succeed: {hash} {receipt}");
    }
    Ok(())
}

/// User and system seconds of processes so far.
fn cpu_seconds(processes: &[u32]) -> Result<f64> {
    let mut ticks = 0.0;
    for process in processes {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))
            .wrap_err_with(|| format!("cannot read the processor time of process {process}"))?;
        // The name in parentheses may hold spaces; the numbers follow it. Fields 14 and 15 are utime and stime.
        let (_, numbers) = stat.rsplit_once(')').ok_or_else(|| eyre!("odd /proc/{process}/stat"))?;
        ticks += numbers.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    fn sender(byte: u8, count: u8) -> Sender {
        let signed = |nonce: u8| Signed { hash: B256::with_last_byte(nonce), raw: format!("0x{byte:02x}{nonce:02x}") };
        Sender { address: Address::repeat_byte(byte), transactions: (0..count).map(signed).collect() }
    }

    #[test]
    fn each_connection_has_its_own_senders_and_sends_their_nonces_in_order() {
        let queues = deal(vec![sender(1, 3), sender(2, 3), sender(3, 2)], 2);
        let shown: Vec<Vec<&str>> =
            queues.iter().map(|queue| queue.iter().map(|signed| &signed.raw[2..]).collect()).collect();
        assert_eq!(shown, [vec!["0100", "0300", "0101", "0301", "0102"], vec!["0200", "0201", "0202"]]);
        assert_eq!(deal(vec![sender(1, 1)], 8).len(), 1, "no connection without a sender");
    }

    #[test]
    fn a_batch_is_json_with_the_position_as_id() {
        let value: serde_json::Value = serde_json::from_str(&body(&sender(7, 2).transactions)).unwrap();
        let call = |id: usize, raw: &str| json!({"jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [raw]});
        assert_eq!(value, json!([call(0, "0x0700"), call(1, "0x0701")]));
    }

    #[test]
    fn the_processor_time_of_this_process_grows_and_that_of_none_is_zero() {
        assert!(cpu_seconds(&[std::process::id()]).is_ok());
        assert_eq!(cpu_seconds(&[]).unwrap(), 0.0);
        assert!(cpu_seconds(&[u32::MAX]).is_err());
    }
}
