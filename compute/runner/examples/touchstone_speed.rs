//! How fast each device computes the proof of hardware, against the reference: multiplications with addition and words a second, by side and threads.
//!
//! `cargo run --release -p keystead-runner --example touchstone_speed [MIB]`. Figures on a busy machine are good for ratios only. An adapter that is a
//! program on the processor says nothing about graphics cards.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // It prints a table, and a failure ends it.
#![allow(clippy::arithmetic_side_effects, clippy::cast_precision_loss)] // Small numbers.

use keystead_market::touchstone::{
    arithmetic::seeded_row,
    prover::{Matrix, square},
};
use keystead_runner::{Failure, Stop, Task, Touchstone, WorkerCommand, worker_main};
use std::{process::ExitCode, time::Instant};

/// Memory to fill, if no number is given, MiB.
const MIB: u64 = 64;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == keystead_runner::WORKER_SUBCOMMAND).is_some() {
        return ExitCode::from(worker_main(arguments));
    }
    let mib = arguments.next().and_then(|mib| mib.to_str()?.parse().ok()).unwrap_or(MIB);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(mib));
    ExitCode::SUCCESS
}

async fn measure(mib: u64) {
    println!("| device | side | products | threads | Gop/s | Mwords/s kept | vectors, Mwords/s |");
    println!("|---|---|---|---|---|---|---|");
    for side in [128u32, 256, 512] {
        reference(side);
    }
    let command = WorkerCommand::current_exe().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for device in [0u8, 1] {
        for side in [64u32, 128, 256, 512, 1_024, 2_048] {
            let links = (mib << 20).div_ceil(u64::from(side) * u64::from(side) * 4).min(16_384);
            let mut counts = if device == 0 { vec![1, cores] } else { vec![cores] };
            counts.dedup();
            for threads in counts {
                let (links, threads) = (u32::try_from(links).unwrap(), u16::try_from(threads).unwrap());
                match one(&command, Task { device, key: [7; 8], side, links, threads }).await {
                    Ok(row) => println!("{row}"),
                    Err(Failure::NoAdapter { why }) => return println!("no adapter: {why}"),
                    Err(failure) => println!("| {device} | {side} | {links} | {threads} | {failure} | | |"),
                }
            }
        }
    }
}

/// The plain loops of the reference, in this process.
fn reference(side: u32) {
    let matrix: Matrix = (0..side).flat_map(|row| seeded_row(&[7; 8], row, side)).collect();
    let (start, mut rounds) = (Instant::now(), 0u64);
    while start.elapsed().as_millis() < 500 {
        assert_eq!(std::hint::black_box(square(&matrix, side as usize)).len(), matrix.len());
        rounds += 1;
    }
    let work = rounds * u64::from(side).pow(3);
    let words = rounds * u64::from(side).pow(2);
    let seconds = start.elapsed().as_secs_f64();
    let (gops, mwords) = (work as f64 / seconds / 1e9, words as f64 / seconds / 1e6);
    println!("| reference | {side} | {rounds} | 1 | {gops:.2} | {mwords:.1} | |");
}

async fn one(command: &WorkerCommand, task: Task) -> Result<String, Failure> {
    let mut device = Touchstone::begin(command, task, Stop::new()).await?;
    let start = Instant::now();
    while device.step().await?.is_some() {}
    let chain = start.elapsed().as_secs_f64();
    let start = Instant::now();
    device.vectors([9; 8]).await?;
    let vectors = start.elapsed().as_secs_f64();
    let words = u64::from(task.side).pow(2) * u64::from(task.links);
    let work = words * u64::from(task.side);
    let Task { side, links, threads, .. } = task;
    let (gops, mwords) = (work as f64 / chain / 1e9, words as f64 / chain / 1e6);
    let name: String = device.device().chars().take(40).collect();
    Ok(format!(
        "| {name} | {side} | {links} | {threads} | {gops:.2} | {mwords:.1} | {:.1} |",
        words as f64 / vectors / 1e6
    ))
}
