//! Measures a pool of the default size at its bound: the processor time of an insertion, a proposal and a block.
//!
//! `cargo run -p keystead-mempool --example full_pool`
#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    dead_code,
    reason = "a measurement that prints, reads the clock of its thread, and shares the tests' transactions"
)]

#[path = "../tests/mempool/sample.rs"]
#[allow(clippy::unwrap_used, reason = "part of the tests")]
mod sample;

use alloy_consensus::Transaction as _;
use sample::{BASE_FEE, RICH, Tx, account, pool, sender};
use std::{collections::BTreeMap, error::Error, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    run("200 senders", 200)?;
    run("every transaction from another sender", 1_000_000)
}

fn run(name: &str, senders: u64) -> Result<(), Box<dyn Error>> {
    const OFFERED: u64 = 150_000;
    let transactions: Vec<_> = (0..OFFERED)
        .map(|index| Tx::new(index % senders, index / senders, u128::from(index * 7_919 % 5_000)).recovered())
        .collect();
    let mut pool = pool();
    let mut taken = 0;
    let start = cpu_time()?;
    for transaction in transactions {
        taken += u64::from(pool.insert(transaction, &RICH, BASE_FEE).is_ok());
    }
    let insert = (cpu_time()? - start) / OFFERED as u32;
    let (count, bytes) = (pool.len(), pool.bytes());

    let start = cpu_time()?;
    let best: Vec<_> = pool.best(BASE_FEE).collect();
    let propose = cpu_time()? - start;

    let mut nonces = BTreeMap::new();
    for transaction in best.iter().take(7_000) {
        nonces.insert(transaction.signer(), transaction.nonce() + 1);
    }
    let touched: Vec<_> = nonces.into_iter().map(|(sender, nonce)| (sender, account(nonce, u128::MAX))).collect();
    let start = cpu_time()?;
    pool.on_block(BASE_FEE + 1, touched);
    let follow = cpu_time()? - start;

    let start = cpu_time()?;
    pool.on_block(BASE_FEE * 2, [(sender(0), RICH)]);
    let reprice = cpu_time()? - start;
    println!(
        "{name}: {OFFERED} offered, {taken} taken, {count} in the pool ({bytes} bytes); insert {insert:?}, \
         best of {} in {propose:?}, a block of 7,000 in {follow:?}, a base fee twice as high in {reprice:?}",
        best.len()
    );
    Ok(())
}

/// Processor time of this thread (Linux).
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}
