//! What a unit costs beyond its work: the same program called directly, in a warm worker, and in a warm confined worker; for work of 1 ms, 100 ms and
//! 10 s.
//!
//! `cargo run -p keystead-runner --example overhead -- [LONG_SECONDS] [LONG_REPEATS]` (10 and 3 if absent). The three take turns, each time in another
//! order. Lines that begin with `row` are for `cargo xtask bench --market`.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // It prints, and a failure ends it.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Small numbers.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::indexing_slicing)]

use bytes::Bytes;
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash, hash_list,
    spec::{Draft, RecipeName},
};
use keystead_runner::{Job, Layer, Session, Stop, WorkerCommand, worker_main};
use std::{process::ExitCode, time::Instant};
use wasmtime::{Config, Engine, Instance, Module, Store};

/// Steps of a random walk, as many as the unit input says (8 bytes, little-endian); its end is the output.
const PROGRAM: &str = "(module (memory (export \"memory\") 1)
    (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
    (func (export \"run\") (param i32 i32 i32 i32) (result i64) (local $left i64) (local $x i64)
      (local.set $left (i64.load (local.get 2)))
      (local.set $x (i64.const 88172645463325252))
      (loop $again
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
        (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (br_if $again (i64.ne (local.get $left) (i64.const 0))))
      (i64.store (local.get 2) (local.get $x))
      (i64.or (i64.shl (i64.extend_i32_u (local.get 2)) (i64.const 32)) (i64.const 8))))";
const FUEL: u64 = 1 << 40;
const MEMORY_BYTES: u64 = 1 << 16;
/// Steps by which the speed is measured.
const STEPS_TRIED: u64 = 20_000_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == keystead_runner::WORKER_SUBCOMMAND).is_some() {
        return ExitCode::from(worker_main(arguments));
    }
    let mut number = |absent: u32| {
        arguments.next().map_or(absent, |text| text.to_str().and_then(|text| text.parse().ok()).expect("a number"))
    };
    let (seconds, repeats) = (number(10), number(3));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(f64::from(seconds), repeats as usize));
    ExitCode::SUCCESS
}

/// The engine in this process, as the worker configures it.
struct Direct {
    engine: Engine,
    module: Module,
}

impl Direct {
    fn new(program: &[u8]) -> Self {
        let mut config = Config::new();
        config.memory_init_cow(false).consume_fuel(true).cranelift_nan_canonicalization(true).wasm_relaxed_simd(false);
        let engine = Engine::new(&config).unwrap();
        let module = Module::from_binary(&engine, program).unwrap();
        Self { engine, module }
    }

    fn run(&self, unit: &[u8]) -> Vec<u8> {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(FUEL).unwrap();
        let instance = Instance::new(&mut store, &self.module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        memory.write(&mut store, 1_024, unit).unwrap();
        let run = instance.get_typed_func::<(u32, u32, u32, u32), i64>(&mut store, "run").unwrap();
        let result = run.call(&mut store, (1_024, 0, 1_024, 8)).unwrap();
        memory.data(&store)[(result >> 32) as usize..][..8].to_vec()
    }
}

/// Seconds of one unit: directly, in a worker without layers, in a worker with all of them.
type Times = [f64; 3];

async fn measure(long_seconds: f64, long_repeats: usize) {
    let program = wat::parse_str(PROGRAM).unwrap();
    let direct = Direct::new(&program);
    let command = WorkerCommand::current_exe().unwrap();
    let bare = Layer::ALL.iter().fold(command.clone(), |command, &layer| command.without(layer));
    let mut sessions = Vec::new();
    for command in [bare, command] {
        sessions.push(Session::open(command, job(&program), Stop::new()).await.unwrap());
    }
    println!("{}", sessions[1].isolation());
    let begin = Instant::now();
    direct.run(&STEPS_TRIED.to_le_bytes());
    let per_second = STEPS_TRIED as f64 / begin.elapsed().as_secs_f64();
    for (name, seconds, repeats) in [("1 ms", 0.001, 300), ("100 ms", 0.1, 20), ("long", long_seconds, long_repeats)] {
        let unit = ((per_second * seconds) as u64).max(1).to_le_bytes();
        let mut all: Vec<Times> = Vec::new();
        for repeat in 0..repeats {
            let mut times = Times::default();
            let mut outputs = Vec::new();
            for turn in 0..3 {
                // Each has each place once in three repeats.
                let who = (turn + repeat) % 3;
                let begin = Instant::now();
                outputs.push(match who {
                    0 => direct.run(&unit),
                    other => sessions[other - 1].run(&unit).await.unwrap().output,
                });
                times[who] = begin.elapsed().as_secs_f64();
            }
            assert!(outputs.iter().all(|output| *output == outputs[0]), "all three compute the same");
            all.push(times);
        }
        report(name, seconds, &all);
    }
}

/// Value at a share of sorted numbers.
fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

fn report(name: &str, seconds: f64, all: &[Times]) {
    let sorted = |of: &dyn Fn(&Times) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let more = sorted(&|[direct, _, confined]| (confined - direct) * 1e3);
    let layers = sorted(&|[_, bare, confined]| (confined - bare) * 1e3);
    let share = sorted(&|[direct, _, confined]| (confined - direct) / direct * 100.0);
    let count = all.len();
    println!("{name}: {count} repeats; direct {:.3} ms", at(&sorted(&|times| times[0] * 1e3), 0.5));
    if seconds < 1.0 {
        println!(
            "row\twarm overhead per unit, {name} of work\t{:.3}\tms\tp95 {:.3}, n={count}; of which layers {:.3}; worker with all layers less the same call in one process\t<= 5\tless",
            at(&more, 0.5),
            at(&more, 0.95),
            at(&layers, 0.5)
        );
    } else {
        println!(
            "row\twarm overhead per unit, {seconds:.0} s of work\t{:.3}\t%\t{:.3} .. {:.3}, n={count}; {:.1} ms; of which layers {:.1} ms\t<= 1\tless",
            at(&share, 0.5),
            at(&share, 0.0),
            at(&share, 1.0),
            at(&more, 0.5),
            at(&layers, 0.5)
        );
    }
}

fn job(program: &[u8]) -> Job {
    let spec = JobSpec::new(Draft {
        recipe: RecipeName::new("overhead").unwrap(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(program),
        common_hash: blob_hash(b""),
        units_hash: hash_list(&[blob_hash(b"unit")]),
        unit_count: 1,
        segment_count: 1,
        checker: None,
        tolerance: None,
        limits: Limits {
            wall_ms_max: 600_000,
            fuel_max: FUEL,
            memory_bytes_max: MEMORY_BYTES,
            output_bytes_max: 64,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        },
    });
    Job { spec: spec.unwrap(), program: Bytes::copy_from_slice(program), common: Bytes::new() }
}
