//! Measures searches for logs: one address and one topic with about 100 hits among 1,000,000 logs, most of them sealed.
//! `cargo xtask bench --state` runs it and keeps the figure.
//!
//! Run: `cargo run -p keystead-state --example logs [-- BLOCKS SEARCHES]`. Each block has 50 transactions with four logs:
//! a transfer of one of 20 tokens from one of 500 people, so a token and a person share one log in 10,000.
//! Output: what it did, and one line per figure ([`support::Row::print`]).
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a measuring program"
)]

mod support;

use alloy_consensus::{Receipt as PlainReceipt, ReceiptWithBloom, SignableTransaction as _, TxEip1559};
use alloy_primitives::{B256, Bytes, Signature, keccak256};
use keystead_state::{Commit, LogQuery, Options, Store};
use keystead_types::{Address, ChangeSet, Log, Receipt, Transaction, U256};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use support::{Outcome, Row, count, genesis};

const TRANSACTIONS: u64 = 50;
const LOGS: u64 = 4;
const TOKENS: u64 = 20;
const PEOPLE: u64 = 500;

fn token(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn person(number: u64) -> B256 {
    Address::from_word(keccak256((1_000 + number).to_be_bytes())).into_word()
}

fn receipt(rng: &mut StdRng) -> Receipt {
    let log = |rng: &mut StdRng| {
        let topics = vec![
            keccak256("Transfer(address,address,uint256)"),
            person(rng.random_range(0..PEOPLE)),
            person(rng.random_range(0..PEOPLE)),
        ];
        let data = Bytes::from(U256::from(rng.random::<u64>()).to_be_bytes::<32>());
        Log::new_unchecked(token(rng.random_range(0..TOKENS)), topics, data)
    };
    let logs = (0..LOGS).map(|_| log(rng)).collect();
    let receipt = PlainReceipt { status: true.into(), cumulative_gas_used: rng.random_range(0..30_000_000), logs };
    let logs_bloom = receipt.bloom_slow();
    Receipt::Eip1559(ReceiptWithBloom { receipt, logs_bloom })
}

fn transaction(nonce: u64, rng: &mut StdRng) -> Transaction {
    let plain = TxEip1559 { chain_id: 1, nonce, gas_limit: 90_000, input: vec![7; 68].into(), ..TxEip1559::default() };
    let signature = Signature::new(U256::from(rng.random::<u128>()) + U256::from(1), U256::from(2), false);
    Transaction::Eip1559(plain.into_signed(signature))
}

/// Commits one block on the head.
fn grow(store: &Store, rng: &mut StdRng) -> Outcome<Duration> {
    let parent = store.head();
    let number = parent.number + 1;
    let child = store.latest().child(ChangeSet::default())?;
    let transactions = (0..TRANSACTIONS).map(|index| transaction(number * TRANSACTIONS + index, rng)).collect();
    let block = support::block(&parent, child.state_root(), transactions);
    let snapshot = child.seal(block.hash());
    let receipts = (0..TRANSACTIONS).map(|_| receipt(rng)).collect();
    let senders = (0..TRANSACTIONS).map(token).collect();
    let commit = Commit { block: Arc::new(block), senders, receipts, snapshot, certificate: None };
    let start = Instant::now();
    store.commit(commit)?;
    Ok(start.elapsed())
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len() - 1)).map_or(0.0, Duration::as_secs_f64) * 1e3
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |default: u64| arguments.next().unwrap_or(Ok(default));
    let (blocks, searches) = (next(5_000)?, next(200)?);
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path(), &genesis()?, Options::default())?;
    let mut rng = StdRng::seed_from_u64(1);
    let (mut commits, mut sealing, mut files, mut raw, mut packed) = (Vec::new(), Duration::ZERO, 0, 0, 0);
    for _ in 0..blocks {
        commits.push(grow(&store, &mut rng)?);
        let start = Instant::now();
        if let Some(sealed) = store.seal()? {
            (files, raw, packed) = (files + 1, raw + sealed.raw_bytes, packed + sealed.bytes);
            sealing += start.elapsed();
        }
        store.upkeep()?;
    }
    commits.sort_unstable();
    println!("logs={} blocks={blocks} commit_p50_ms={:.2}", blocks * TRANSACTIONS * LOGS, percentile(&commits, 50));
    println!("files={files} raw_bytes={raw} file_bytes={packed} sealing_s={:.2}", sealing.as_secs_f64());
    let (mut times, mut hits) = (Vec::new(), 0);
    for _ in 0..searches {
        let mut query = LogQuery { addresses: vec![token(rng.random_range(0..TOKENS))], ..LogQuery::default() };
        query.topics[1].push(person(rng.random_range(0..PEOPLE)));
        let start = Instant::now();
        hits += store.logs(&query, 0..=blocks, 10_000)?.len();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let logs = count(blocks * TRANSACTIONS * LOGS);
    let name = format!("search for address and topic over {logs} logs (the store's part of eth_getLogs), p50");
    let mean = hits / times.len().max(1);
    let p95 = percentile(&times, 95);
    let spread = format!("p95 {p95:.2}, {searches} searches, {mean} hits each, {files} sealed files");
    let value = percentile(&times, 50);
    Row { name: &name, value, unit: "ms", spread: &spread, goal: "<= 5", less: true }.print();
    let start = Instant::now();
    drop(store);
    let store = Store::open(dir.path(), &genesis()?, Options::default())?;
    println!("open_ms={:.0} head={}", start.elapsed().as_secs_f64() * 1e3, store.head().number);
    Ok(())
}
