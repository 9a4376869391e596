//! What confinement costs: the start of a worker with all layers, without each one, and without any; and a unit in a warm worker.
//!
//! `cargo run -p keystead-runner --example worker_start [ROUNDS]`. Figures on a busy machine are good for ratios only.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // It prints a table, and a failure ends it.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Small numbers.

use bytes::Bytes;
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash, hash_list,
    spec::{Draft, RecipeName},
};
use keystead_runner::{Job, Layer, Session, Stop, WorkerCommand, worker_main};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Units of one warm worker.
const UNITS: usize = 200;
/// Starts of each kind, if no number is given.
const ROUNDS: usize = 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == keystead_runner::WORKER_SUBCOMMAND).is_some() {
        return ExitCode::from(worker_main(arguments));
    }
    let rounds = arguments.next().and_then(|count| count.to_str()?.parse().ok()).unwrap_or(ROUNDS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(rounds));
    ExitCode::SUCCESS
}

async fn measure(rounds: usize) {
    let command = WorkerCommand::current_exe().unwrap();
    let first = Instant::now();
    let session = open(&command).await;
    println!("first start, with the probe of namespaces: {} us", first.elapsed().as_micros());
    println!("{}\n", session.isolation());
    drop(session);

    let without = |layers: &[Layer]| layers.iter().fold(command.clone(), |command, &layer| command.without(layer));
    let mut kinds = vec![("all layers".to_owned(), command.clone()), ("no layer".to_owned(), without(&Layer::ALL))];
    kinds.extend(Layer::ALL.map(|layer| (format!("without {layer}"), without(&[layer]))));
    let mut starts = vec![Vec::new(); kinds.len()];
    let mut units = vec![Vec::new(); kinds.len()];
    // In turns, so that what else the machine does falls on all alike.
    for _ in 0..rounds {
        for (at, (_, command)) in kinds.iter().enumerate() {
            let begun = Instant::now();
            let mut session = open(command).await;
            starts[at].push(begun.elapsed());
            // The last two kinds of the first turn decide nothing about units; the first two do.
            if at < 2 {
                let begun = Instant::now();
                for _ in 0..UNITS {
                    assert_eq!(session.run(b"unit").await.unwrap().output, b"unit");
                }
                units[at].push(begun.elapsed() / UNITS as u32);
            }
        }
    }
    println!("{:<28} {:>10} {:>10}   us, {rounds} starts: least, median", "start, job prepared", "least", "median");
    for ((name, _), times) in kinds.iter().zip(&mut starts) {
        let (least, median) = spread(times);
        println!("{name:<28} {:>10} {:>10}", least.as_micros(), median.as_micros());
    }
    println!("\n{:<28} {:>10} {:>10}   us, {rounds} times {UNITS} units", "unit in a warm worker", "least", "median");
    for ((name, _), times) in kinds.iter().zip(&mut units).take(2) {
        let (least, median) = spread(times);
        println!("{name:<28} {:>10} {:>10}", least.as_micros(), median.as_micros());
    }
}

fn spread(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[0], times[times.len() / 2])
}

async fn open(command: &WorkerCommand) -> Session {
    Session::open(command.clone(), job(), Stop::new()).await.unwrap()
}

/// Gives its input back.
fn job() -> Job {
    let program = wat::parse_str(
        "(module (memory (export \"memory\") 1)
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func (export \"run\") (param i32 i32 i32 i32) (result i64)
             (i64.or (i64.shl (i64.extend_i32_u (local.get 2)) (i64.const 32)) (i64.extend_i32_u (local.get 3)))))",
    )
    .unwrap();
    let spec = JobSpec::new(Draft {
        recipe: RecipeName::new("start").unwrap(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(&program),
        common_hash: blob_hash(b""),
        units_hash: hash_list(&[blob_hash(b"unit")]),
        unit_count: 1,
        segment_count: 1,
        checker: None,
        tolerance: None,
        limits: Limits {
            wall_ms_max: 10_000,
            fuel_max: 1_000_000,
            memory_bytes_max: 1 << 16,
            output_bytes_max: 64,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        },
    });
    Job { spec: spec.unwrap(), program: Bytes::from(program), common: Bytes::new() }
}
