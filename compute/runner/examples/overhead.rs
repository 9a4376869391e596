//! What a unit costs beyond its work: of `wasm/1` the same program called directly, in a warm worker, and in a warm confined worker, for work of 1 ms,
//! 100 ms and 10 s; of `wgsl/1` a warm confined worker beside what its runtime says that it took.
//!
//! `cargo run -p keystead-runner --example overhead -- [LONG_SECONDS] [LONG_REPEATS]` (10 and 6 if absent: two and a half minutes). All take turns, each
//! time in another order. A difference whose median cannot be told from none is said to be below what this machine resolves. Lines that begin with `row`
//! are for `cargo xtask bench --market`.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // It prints, and a failure ends it.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Small numbers.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::indexing_slicing)]

use bytes::Bytes;
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash, hash_list,
    spec::{Draft, RecipeName},
};
use keystead_runner::{DeviceKind, Job, Layer, Session, Stop, WorkerCommand, probe, worker_main};
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
/// The same in `wgsl/1`: each invocation takes as many steps as the unit input says (4 bytes, little-endian).
const KERNEL: &str = "
@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var x = id.x + 2463534242u;
    for (var i = 0u; i < unit_input[0]; i++) { x ^= x << 13u; x ^= x >> 17u; x ^= x << 5u; }
    output[id.x] = x;
}";
const WORKGROUPS: u32 = 64;
/// Bytes of the output of [`KERNEL`]: a word of each invocation, 64 in a workgroup.
const KERNEL_BYTES: u64 = 16_384;
/// Turns of its loop by which the speed is measured, and at most.
const TURNS_TRIED: u32 = 8_192;
const TURNS_MAX: u32 = 32_000;
/// Names, seconds and repeats of short work.
const SHORT: [(&str, f64, usize); 2] = [("1 ms", 0.001, 300), ("100 ms", 0.1, 60)];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == keystead_runner::WORKER_SUBCOMMAND).is_some() {
        return ExitCode::from(worker_main(arguments));
    }
    let mut number = |absent: u32| {
        arguments.next().map_or(absent, |text| text.to_str().and_then(|text| text.parse().ok()).expect("a number"))
    };
    let (seconds, repeats) = (number(10), number(6));
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

/// Seconds of one unit: without a worker, in a worker without layers, in a worker with all of them.
type Times = [f64; 3];

async fn measure(long_seconds: f64, long_repeats: usize) {
    let command = WorkerCommand::current_exe().unwrap();
    let bare = Layer::ALL.iter().fold(command.clone(), |command, &layer| command.without(layer));
    measure_wasm([&bare, &command], long_seconds, long_repeats).await;
    measure_wgsl([&bare, &command]).await;
}

/// A warm worker of each kind.
async fn open(commands: [&WorkerCommand; 2], job: &Job) -> Vec<Session> {
    let mut sessions = Vec::new();
    for command in commands {
        sessions.push(Session::open(command.clone(), job.clone(), Stop::new()).await.unwrap());
    }
    println!("{}", sessions[1].isolation());
    sessions
}

async fn measure_wasm(commands: [&WorkerCommand; 2], long_seconds: f64, long_repeats: usize) {
    let program = wat::parse_str(PROGRAM).unwrap();
    let direct = Direct::new(&program);
    let limits = Limits {
        wall_ms_max: 600_000,
        fuel_max: FUEL,
        memory_bytes_max: MEMORY_BYTES,
        output_bytes_max: 64,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    let mut sessions = open(commands, &job(Runtime::Wasm1, &program, limits)).await;
    let begin = Instant::now();
    direct.run(&STEPS_TRIED.to_le_bytes());
    let per_second = STEPS_TRIED as f64 / begin.elapsed().as_secs_f64();
    let long = format!("{long_seconds:.0} s");
    for (name, seconds, repeats) in SHORT.into_iter().chain([(long.as_str(), long_seconds, long_repeats)]) {
        let unit = ((per_second * seconds) as u64).max(1).to_le_bytes();
        // What the layers take of long work is far below its noise, and would take a third of the time to see.
        let all_who: &[usize] = if seconds < 1.0 { &[0, 1, 2] } else { &[0, 2] };
        let mut all: Vec<Times> = Vec::new();
        for repeat in 0..repeats {
            let mut times = Times::default();
            let mut outputs = Vec::new();
            for turn in 0..all_who.len() {
                // Each has each place equally often.
                let who = all_who[(turn + repeat) % all_who.len()];
                let begin = Instant::now();
                outputs.push(match who {
                    0 => direct.run(&unit),
                    other => sessions[other - 1].run(&unit).await.unwrap().output,
                });
                times[who] = begin.elapsed().as_secs_f64();
            }
            assert!(outputs.iter().all(|output| *output == outputs[0]), "all compute the same");
            all.push(times);
        }
        let less = "worker with all layers less the same call in one process";
        if seconds < 1.0 {
            report(&format!("wasm/1, {name} of work"), less, &all);
        } else {
            report_long(&format!("wasm/1, {name} of work"), less, &all);
        }
    }
}

/// On the best adapter. Nothing in this process does the same, so a worker is compared with what it says that its runtime took.
async fn measure_wgsl(commands: [&WorkerCommand; 2]) {
    let device = match probe(commands[1], Runtime::Wgsl1).await {
        Ok(report) => report.device.filter(|device| device.kind != DeviceKind::Reference),
        Err(failure) => return println!("wgsl/1 is not measured: {failure}"),
    };
    let Some(device) = device else {
        return println!("wgsl/1 is not measured: no adapter here, and nobody works on the interpreter");
    };
    let limits = Limits {
        wall_ms_max: 60_000,
        fuel_max: 0,
        memory_bytes_max: 16 << 20,
        output_bytes_max: KERNEL_BYTES,
        loop_iterations_max: 32_768,
        workgroups: [WORKGROUPS, 1, 1],
    };
    let mut sessions = open(commands, &job(Runtime::Wgsl1, KERNEL.as_bytes(), limits)).await;
    let mut tried_us = 1;
    // The first run is not a warm one.
    for _ in 0..2 {
        tried_us = sessions[1].run(&TURNS_TRIED.to_le_bytes()).await.unwrap().usage.wall_us.max(1);
    }
    for (name, seconds, repeats) in SHORT {
        let turns = f64::from(TURNS_TRIED) * seconds * 1e6 / tried_us as f64;
        let unit = (turns.clamp(1.0, f64::from(TURNS_MAX)) as u32).to_le_bytes();
        let mut all: Vec<Times> = Vec::new();
        for repeat in 0..repeats {
            let (mut inside, mut beyond) = ([0.0; 2], [0.0; 2]);
            for turn in 0..2 {
                let who = (turn + repeat) % 2;
                let begin = Instant::now();
                let done = sessions[who].run(&unit).await.unwrap();
                inside[who] = done.usage.wall_us as f64 / 1e6;
                beyond[who] = begin.elapsed().as_secs_f64() - inside[who];
            }
            all.push([inside[1], inside[1] + beyond[0], inside[1] + beyond[1]]);
        }
        let less = format!("worker with all layers less what its runtime took, on {}", device.name);
        report(&format!("wgsl/1, {name} of work"), &less, &all);
    }
}

/// Value at a share of sorted numbers.
fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// What is known of a median, of sorted numbers: between which two of them it lies in 19 of 20 cases (by their ranks), or that it cannot be told from none.
fn resolved(sorted: &[f64], unit: &str) -> String {
    let middle = (sorted.len() - 1) as f64 / 2.0;
    let reach = 0.98 * (sorted.len() as f64).sqrt();
    let last = sorted.len() - 1;
    let (low, high) = ((middle - reach).floor().max(0.0) as usize, ((middle + reach).ceil() as usize).min(last));
    let (low, high) = (sorted[low], sorted[high]);
    if low < 0.0 && high > 0.0 {
        return format!("below what this machine resolves: noise {:.3} {unit}", (high - low) / 2.0);
    }
    format!("95 % sure between {low:.3} and {high:.3}")
}

fn sorted(all: &[Times], of: impl Fn(&Times) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn report(what: &str, less: &str, all: &[Times]) {
    let more = sorted(all, |[direct, _, confined]| (confined - direct) * 1e3);
    let layers = sorted(all, |[_, bare, confined]| (confined - bare) * 1e3);
    let count = all.len();
    println!("{what}: {count} repeats; the work {:.3} ms", at(&sorted(all, |times| times[0] * 1e3), 0.5));
    println!(
        "row\twarm overhead per unit, {what}\t{:.3}\tms\t{}; p95 {:.3}, n={count}; of which layers {:.3} ({}); {less}\t<= 5\tless",
        at(&more, 0.5),
        resolved(&more, "ms"),
        at(&more, 0.95),
        at(&layers, 0.5),
        resolved(&layers, "ms")
    );
}

fn report_long(what: &str, less: &str, all: &[Times]) {
    let share = sorted(all, |[direct, _, confined]| (confined - direct) / direct * 100.0);
    let more = sorted(all, |[direct, _, confined]| (confined - direct) * 1e3);
    let count = all.len();
    println!(
        "row\twarm overhead per unit, {what}\t{:.3}\t%\t{}; {:.3} .. {:.3}, n={count}; {:.1} ms; {less}\t<= 1\tless",
        at(&share, 0.5),
        resolved(&share, "%"),
        at(&share, 0.0),
        at(&share, 1.0),
        at(&more, 0.5)
    );
}

fn job(runtime: Runtime, program: &[u8], limits: Limits) -> Job {
    let spec = JobSpec::new(Draft {
        recipe: RecipeName::new("overhead").unwrap(),
        runtime,
        class: Class::Exact,
        program_hash: blob_hash(program),
        common_hash: blob_hash(b""),
        units_hash: hash_list(&[blob_hash(b"unit")]),
        unit_count: 1,
        segment_count: 1,
        checker: None,
        tolerance: None,
        limits,
    });
    Job { spec: spec.unwrap(), program: Bytes::copy_from_slice(program), common: Bytes::new() }
}
