//! `keystead bench load`: plain transfers at a fixed rate against a running network, and what became of them. How much a
//! node takes at most is measured by `peak`.
//!
//! # Design
//! Open loop: transactions are signed beforehand and sent when their time has come, whether or not earlier ones were
//! answered. Inclusion is seen by one observer that follows the chain's head every few milliseconds, so a measured
//! latency includes up to one poll. Where a node is down the next one is asked; with `--resend-seconds`, a transaction that
//! died with its node is sent again, as a wallet would, since it holds back all later ones of its sender.

mod peak;
mod supply;

pub(crate) use peak::run as run_peak;

use crate::{
    cli::BenchLoad,
    client::{Client, quantity},
};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use eyre::{Context as _, Result, ensure, eyre};
use futures::future::join_all;
use keystead_types::EXTRA_DATA_BYTES;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::time::sleep;

/// How often the observer asks for the head.
const POLL: Duration = Duration::from_millis(5);
/// How long to wait for the last transactions after the last was sent.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// How long nothing may be included before the rest counts as stuck: a refused transaction holds back all later ones of
/// its sender.
const STALL_MAX: Duration = Duration::from_secs(3);
/// Time between two batches to one node.
const TICK: Duration = Duration::from_millis(20);
/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// 100 gwei: far above any base fee of a development network.
const FEE_MAX: u128 = 100_000_000_000;
/// Mnemonic of the accounts that `keystead init` funds.
const TEST_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// What the command prints.
#[derive(Debug, Serialize)]
struct Report {
    sent: u64,
    accepted: u64,
    refused: u64,
    first_refusal: Option<String>,
    included: u64,
    seconds: f64,
    included_per_s: f64,
    /// From sending to the block being seen final by a client, milliseconds.
    latency_ms: Spread,
    /// From a block's own time to its being seen final, milliseconds.
    finality_ms: Spread,
    /// Between consecutive blocks' times, milliseconds.
    block_gap_ms: Spread,
    blocks: u64,
}

#[derive(Debug, Default, Serialize)]
struct Spread {
    p50: u64,
    p95: u64,
    p99: u64,
    max: u64,
    count: u64,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            let index = values.len().saturating_sub(1).saturating_mul(percent).checked_div(100).unwrap_or(0);
            values.get(index).copied().unwrap_or_default()
        };
        Self { p50: at(50), p95: at(95), p99: at(99), max: at(100), count: values.len() as u64 }
    }
}

/// Most transactions that one round sends again.
const RESEND_MAX: usize = 1_000;

/// Shared between sender and observer.
#[derive(Default)]
struct Board {
    sent: Mutex<HashMap<B256, Instant>>,
    seen: Mutex<HashMap<B256, Instant>>,
    /// Accepted by some node.
    taken: Mutex<HashSet<B256>>,
    done: AtomicBool,
    refused: AtomicU64,
    accepted: AtomicU64,
    first_refusal: Mutex<Option<String>>,
}

#[derive(Default)]
struct Observed {
    finality_ms: Vec<u64>,
    block_gap_ms: Vec<u64>,
    blocks: u64,
}

pub(crate) fn run(options: &BenchLoad) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(load(options))?;
    #[allow(clippy::print_stdout, reason = "the answer to the command")]
    {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn load(options: &BenchLoad) -> Result<Report> {
    let clients: Vec<Client> = options.rpc.iter().map(|url| Client::new(url)).collect::<Result<_>>()?;
    let first = clients.first().ok_or_else(|| eyre!("name at least one node with --rpc"))?;
    let chain_id = first.quantity("eth_chainId", json!([])).await?;
    let senders = fund(&clients, first, chain_id, options.senders).await?;
    let total = options.rate.saturating_mul(options.seconds);
    let transactions = sign_all(&senders, chain_id, total)?;
    let board = Arc::new(Board::default());
    let head = first.quantity("eth_blockNumber", json!([])).await?;
    let clients: Arc<[Client]> = clients.into();
    let observer = tokio::spawn(observe(Arc::clone(&clients), head, Arc::clone(&board)));
    let resender = options.resend_seconds.map(|seconds| {
        let after = Duration::from_secs(seconds);
        tokio::spawn(resend(Arc::clone(&clients), transactions.clone(), after, Arc::clone(&board)))
    });
    let start = Instant::now();
    send(&clients, transactions, options.rate, &board).await;
    let last = Instant::now();
    let (mut count, mut progress) = (included(&board), last);
    let stall_max = STALL_MAX.saturating_add(Duration::from_secs(options.resend_seconds.unwrap_or_default()));
    while count < board.accepted.load(Ordering::Relaxed)
        && last.elapsed() < SETTLE_MAX
        && progress.elapsed() < stall_max
    {
        sleep(POLL).await;
        let now = included(&board);
        if now > count {
            (count, progress) = (now, Instant::now());
        }
    }
    board.done.store(true, Ordering::Relaxed);
    let observed = observer.await.wrap_err("the observer died")??;
    if let Some(resender) = resender {
        resender.await.wrap_err("the resender died")?;
    }
    Ok(report(&board, observed, start, total))
}

fn included(board: &Board) -> u64 {
    let seen = board.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.len() as u64
}

fn report(board: &Board, observed: Observed, start: Instant, sent: u64) -> Report {
    let times = board.sent.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = board.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let latencies = seen.iter().filter_map(|(hash, at)| Some(at.saturating_duration_since(*times.get(hash)?)));
    let latencies: Vec<u64> = latencies.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).collect();
    let last = seen.values().max().copied().unwrap_or(start);
    let seconds = last.saturating_duration_since(start).as_secs_f64();
    let included = latencies.len() as u64;
    Report {
        sent,
        accepted: board.accepted.load(Ordering::Relaxed),
        refused: board.refused.load(Ordering::Relaxed),
        first_refusal: board.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        included,
        seconds,
        included_per_s: if seconds > 0.0 { included as f64 / seconds } else { 0.0 },
        latency_ms: Spread::of(latencies),
        finality_ms: Spread::of(observed.finality_ms),
        block_gap_ms: Spread::of(observed.block_gap_ms),
        blocks: observed.blocks,
    }
}

/// Makes fresh accounts and gives each one KST from the first test account; waits until every node that answers knows of it.
async fn fund(nodes: &[Client], client: &Client, chain_id: u64, count: u64) -> Result<Vec<PrivateKeySigner>> {
    let rich = rich_account()?;
    let senders: Vec<PrivateKeySigner> = (0..count).map(|_| PrivateKeySigner::random()).collect();
    let nonce = client.quantity("eth_getTransactionCount", json!([rich.address(), "pending"])).await?;
    let one = U256::from(1_000_000_000_000_000_000u64);
    let mut raw = Vec::with_capacity(senders.len());
    for (sender, nonce) in senders.iter().zip(nonce..) {
        raw.push(sign(&rich, chain_id, nonce, sender.address(), one)?.1);
    }
    let mut last = None;
    for chunk in raw.chunks(50) {
        for hash in client.send_batch(chunk).await? {
            last = Some(hash.wrap_err("funding the senders")?);
        }
    }
    let last = last.ok_or_else(|| eyre!("--senders must be at least 1"))?;
    let start = Instant::now();
    for node in nodes {
        // A node that is a block behind would refuse the senders as poor; one that is down refuses everything anyway.
        while node.call("eth_getTransactionReceipt", json!([last])).await.is_ok_and(|receipt| receipt.is_null()) {
            ensure!(start.elapsed() < SETTLE_MAX, "the funding transactions were not included within {SETTLE_MAX:?}");
            sleep(POLL).await;
        }
    }
    Ok(senders)
}

fn sign_all(senders: &[PrivateKeySigner], chain_id: u64, total: u64) -> Result<Vec<(B256, Bytes)>> {
    let mut out = Vec::new();
    for index in 0..total {
        let count = senders.len() as u64;
        let (round, turn) = (index.checked_div(count).unwrap_or(0), index.checked_rem(count).unwrap_or(0));
        let sender = senders.get(usize::try_from(turn)?).ok_or_else(|| eyre!("no senders"))?;
        out.push(sign(sender, chain_id, round, fresh_address(index), U256::from(1))?);
    }
    Ok(out)
}

/// An account that nobody has used: small addresses would be precompiles.
fn fresh_address(index: u64) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

fn sign(signer: &PrivateKeySigner, chain_id: u64, nonce: u64, to: Address, value: U256) -> Result<(B256, Bytes)> {
    sign_transaction(signer, TxEip1559 { to: TxKind::Call(to), value, ..template(chain_id, nonce) })
}

/// What all transactions have in common; a plain transfer's gas.
fn template(chain_id: u64, nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id,
        nonce,
        gas_limit: TRANSFER_GAS,
        max_fee_per_gas: FEE_MAX,
        max_priority_fee_per_gas: 1_000_000,
        ..TxEip1559::default()
    }
}

fn sign_transaction(signer: &PrivateKeySigner, transaction: TxEip1559) -> Result<(B256, Bytes)> {
    let signature = signer.sign_hash_sync(&transaction.signature_hash()).wrap_err("cannot sign")?;
    let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
    Ok((*envelope.tx_hash(), envelope.encoded_2718().into()))
}

/// The account that `keystead init`, anvil and others fund first.
fn rich_account() -> Result<PrivateKeySigner> {
    MnemonicBuilder::<English>::default().phrase(TEST_MNEMONIC).build().wrap_err("test account")
}

/// Sends each transaction when its time has come, to one node after the other.
async fn send(clients: &Arc<[Client]>, transactions: Vec<(B256, Bytes)>, rate: u64, board: &Arc<Board>) {
    let start = Instant::now();
    let per_tick = rate.saturating_mul(u64::try_from(TICK.as_millis()).unwrap_or(1)) as f64 / 1_000.0;
    let mut sending = Vec::new();
    let mut rest = transactions.as_slice();
    let mut due = 0.0;
    let mut tick = 0u32;
    while !rest.is_empty() {
        sleep(TICK.saturating_mul(tick).saturating_sub(start.elapsed())).await;
        tick = tick.saturating_add(1);
        due += per_tick;
        // LOSSY: a count of transactions, far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = (due as usize).min(rest.len());
        due -= count as f64;
        let (now, later) = rest.split_at(count);
        rest = later;
        if now.is_empty() {
            continue;
        }
        sending.push(tokio::spawn(send_batch(Arc::clone(clients), tick as usize, now.to_vec(), Arc::clone(board))));
    }
    join_all(sending).await;
}

async fn send_batch(clients: Arc<[Client]>, turn: usize, batch: Vec<(B256, Bytes)>, board: Arc<Board>) {
    let now = Instant::now();
    {
        let mut sent = board.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.extend(batch.iter().map(|(hash, _)| (*hash, now)));
    }
    let refuse = |count: u64, reason: String| {
        board.refused.fetch_add(count, Ordering::Relaxed);
        board.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    };
    for chunk in batch.chunks(50) {
        let raw: Vec<Bytes> = chunk.iter().map(|(_, raw)| raw.clone()).collect();
        match send_to_any(&clients, turn, &raw).await {
            Ok(answers) => answers.into_iter().zip(chunk).for_each(|(answer, (hash, _))| match answer {
                Ok(_) => {
                    board.accepted.fetch_add(1, Ordering::Relaxed);
                    board.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(*hash);
                }
                Err(error) => refuse(1, format!("{error:#}")),
            }),
            Err(error) => refuse(chunk.len() as u64, format!("{error:#}")),
        }
    }
}

/// Sends to the node whose turn it is; to the next if that one is down. One that dies in the middle may have taken some: the next
/// one then refuses nothing, or knows them already, which counts as refused there.
async fn send_to_any(clients: &[Client], turn: usize, raw: &[Bytes]) -> Result<Vec<Result<B256>>> {
    let mut last = eyre!("no nodes");
    for client in clients.iter().cycle().skip(turn.checked_rem(clients.len()).unwrap_or(0)).take(clients.len()) {
        match client.send_batch(raw).await {
            Ok(answers) => return Ok(answers),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends again what was accepted `after` ago or earlier and is in no block yet, until told to stop.
async fn resend(clients: Arc<[Client]>, transactions: Vec<(B256, Bytes)>, after: Duration, board: Arc<Board>) {
    let mut round = 0usize;
    while !board.done.load(Ordering::Relaxed) {
        let due: Vec<Bytes> = {
            let sent = board.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = board.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = board.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = transactions.iter().filter(|(hash, _)| taken.contains(hash) && !seen.contains_key(hash));
            let late = waiting.filter(|(hash, _)| sent.get(hash).is_some_and(|at| at.elapsed() >= after));
            late.take(RESEND_MAX).map(|(_, raw)| raw.clone()).collect()
        };
        for chunk in due.chunks(50) {
            // A node that still has them refuses, one that is down does not answer: both are what this is for.
            let _ = send_to_any(&clients, round, chunk).await;
        }
        round = round.saturating_add(1);
        sleep(after.min(Duration::from_secs(1))).await;
    }
}

/// Follows the chain until told to stop, at the next node whenever one does not answer.
async fn observe(clients: Arc<[Client]>, mut height: u64, board: Arc<Board>) -> Result<Observed> {
    let mut observed = Observed::default();
    let mut previous = None;
    let mut nodes = clients.iter().cycle();
    let mut client = nodes.next().ok_or_else(|| eyre!("no nodes"))?;
    while !board.done.load(Ordering::Relaxed) {
        let Ok(head) = client.quantity("eth_blockNumber", json!([])).await else {
            client = nodes.next().unwrap_or(client);
            sleep(POLL).await;
            continue;
        };
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
        while height < head {
            let next = height.saturating_add(1);
            let Ok(block) = client.call("eth_getBlockByNumber", json!([format!("{next:#x}"), false])).await else {
                break;
            };
            height = next;
            let time = time_ms(&block)?;
            observed.finality_ms.push(u64::try_from(wall.as_millis())?.saturating_sub(time));
            observed.block_gap_ms.extend(previous.map(|previous| time.saturating_sub(previous)));
            observed.blocks = observed.blocks.saturating_add(1);
            previous = Some(time);
            let hashes: Vec<B256> = serde_json::from_value(block.get("transactions").cloned().unwrap_or_default())?;
            board
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(hashes.into_iter().map(|hash| (hash, now)));
        }
        sleep(POLL).await;
    }
    Ok(observed)
}

/// Unix milliseconds of a block: ours have them in `extraData`, those of other chains only whole seconds.
fn time_ms(block: &Value) -> Result<u64> {
    let field = |name: &str| block.get(name).ok_or_else(|| eyre!("a block without {name}"));
    match field("extraData")?.as_str() {
        Some(extra) if extra.len() == 2 + 2 * EXTRA_DATA_BYTES => quantity(field("extraData")?),
        _ => Ok(quantity(field("timestamp")?)?.saturating_mul(1_000)),
    }
}
