//! Measures how many plain transfers one core executes in a second of its time, over a state in memory.
//!
//! `cargo run -p keystead-execution --example transfers [-- TRANSFERS_PER_BLOCK BLOCKS]`
//!
//! Counts everything that `execute` does: system calls, transfers, receipts and their root, change set. Not signatures,
//! not the state root, not the store.
#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    dead_code,
    reason = "a measurement that prints, reads the clock of its thread, and shares the tests' world"
)]

#[path = "../tests/execution/world.rs"]
#[allow(clippy::unwrap_used, reason = "part of the tests")]
mod world;

use keystead_execution::execute;
use keystead_types::{Address, Recovered};
use std::{error::Error, time::Instant};
use world::{ETHER, SPEC, Tx, World, env};

/// Senders, as in the comparison with anvil.
const SENDERS: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let count = arguments.next().transpose()?.unwrap_or(7_000);
    let blocks = arguments.next().transpose()?.unwrap_or(30);
    println!("plain transfers through execute(), {count} per block, {blocks} blocks, {SENDERS} senders");
    measure("to fresh recipients", count, blocks, |block, index| address(1 << 40 | block << 20 | index))?;
    measure("to known recipients", count, blocks, |_, index| address(index % SENDERS))
}

fn measure(name: &str, count: u64, blocks: u64, recipient: impl Fn(u64, u64) -> Address) -> Result<(), Box<dyn Error>> {
    let mut world = World::with_system_contracts();
    for sender in 0..SENDERS {
        world.fund(address(sender), 1_000_000 * ETHER);
    }
    let mut rates = Vec::new();
    let mut wall = 0.0;
    for block in 0..blocks {
        let transactions: Vec<Recovered> = (0..count)
            .map(|index| {
                let nonce = (block * count + index) / SENDERS;
                let from = address((block * count + index) % SENDERS);
                Tx { from, ..Tx::transfer(0, nonce, recipient(block, index), 1) }.recovered()
            })
            .collect();
        let start = (Instant::now(), cpu_seconds());
        let outcome = execute(&world, &SPEC, &env(), &transactions)?;
        let cpu = cpu_seconds().zip(start.1).map(|(end, start)| end - start);
        let seconds = start.0.elapsed().as_secs_f64();
        wall += seconds;
        rates.push(count as f64 / cpu.unwrap_or(seconds));
        assert_eq!(outcome.gas_used, 21_000 * count);
        world.apply(&outcome.changes);
    }
    rates.sort_by(f64::total_cmp);
    let at = |part: f64| rates[((rates.len() - 1) as f64 * part) as usize];
    println!(
        "{name}: median {:.0} per CPU-second (10 % {:.0}, 90 % {:.0}); {:.0} per second of wall time",
        at(0.5),
        at(0.1),
        at(0.9),
        (count * blocks) as f64 / wall
    );
    Ok(())
}

fn address(index: u64) -> Address {
    Address::left_padding_from(&(0x1000_0000_0000_0000 | index).to_be_bytes())
}

/// Processor time of this thread, where the system tells (Linux).
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}
