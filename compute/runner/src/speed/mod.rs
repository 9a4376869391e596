//! How fast this machine is at each kind of work: short kernels of our own, run as a customer's units are, in a confined worker.
//!
//! # Design
//! A speed is what one lane makes of a unit, so it is measured through [`Session`]: the same worker, the same limits, the same checks and counters.
//! A kernel is repeated with more turns until one run takes [`LONG_ENOUGH`], or the format's bound is reached; what a run of one turn did and took is taken off. The
//! measurement is a claim like all that a machine says of itself: nobody pays for it, and the proof of hardware is another thing (specs/0010 §6).
//!
//! # Invariants
//! A measurement ends: steps, turns and the time of each run are bounded.

use crate::{
    failure::Failure,
    process::WorkerCommand,
    session::{Job, Session, Stop},
};
use bytes::Bytes;
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash, hash_list,
    limits::LOOP_ITERATIONS_MAX,
    spec::{Draft, RecipeName},
};
use std::time::Duration;

const WASM: &[u8] = include_bytes!("speed.wasm");
const WGSL: &str = include_str!("speed.wgsl");

/// A run of this length is not ruled by what starts and ends it.
const LONG_ENOUGH: Duration = Duration::from_millis(25);
/// Runs of one kernel: each has at least twice the turns of the one before.
const STEPS_MAX: u32 = 16;
/// Turns of the first run, and at most: of `wasm/1` some ten thousand million instructions.
const WASM_TURNS: (u32, u32) = (100_000, 1 << 29);
/// The same of `wgsl/1`: the format's bound of loop iterations, less the loop's last look.
const WGSL_TURNS: (u32, u32) = (4, LOOP_ITERATIONS_MAX - 1);
/// Fuel of one run of `wasm/1`.
const FUEL_MAX: u64 = 100_000_000_000;
/// Wall time of one run, ms.
const WALL_MS_MAX: u64 = 20_000;
/// Invocations of a dispatch of `wgsl/1`, and workgroups.
const INVOCATIONS: u64 = 262_144;
const WORKGROUPS: u32 = 1_024;
/// Multiplications with addition in a turn of an invocation.
const OPERATIONS: u64 = 8;
/// Bytes that a turn of an invocation reads, and bytes that it reads from, a power of two: more than most caches hold.
const WORD_BYTES: u64 = 4;
const READ_BYTES: usize = 16 << 20;

/// A kind of work, as specs/0010-capability.md §3.1 counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Fuel of `wasm/1`.
    Wasm,
    /// Integer multiplications with addition in `wgsl/1`.
    Integer,
    /// Floating-point multiplications with addition in `wgsl/1`.
    Float,
    /// Bytes moved in `wgsl/1`.
    Memory,
}

/// What one lane makes of a kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// The kind of work.
    pub work: Work,
    /// Millions of operations a second, at least 1.
    pub mop_per_s: u64,
}

/// Measures every kind of work of a runtime, by kind, on the adapter with this place in the order of its self-test (0 for `wasm/1`). Takes some tenths of a second on an idle machine.
///
/// # Errors
/// As [`Session::open`] and [`Session::run`]: then this machine cannot run jobs of the runtime either.
pub async fn measure(command: &WorkerCommand, runtime: Runtime, place: u8) -> Result<Vec<Speed>, Failure> {
    let mut bench = Bench::open(command, runtime, place).await?;
    let works: &[Work] = match runtime {
        Runtime::Wasm1 => &[Work::Wasm],
        Runtime::Wgsl1 => &[Work::Integer, Work::Float, Work::Memory],
    };
    let mut speeds = Vec::with_capacity(works.len());
    for work in works {
        speeds.push(bench.speed(*work).await?);
    }
    Ok(speeds)
}

/// A worker with the kernel of a runtime.
struct Bench {
    session: Session,
}

/// What one run did, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    operations: u64,
    took: Duration,
}

impl Bench {
    async fn open(command: &WorkerCommand, runtime: Runtime, place: u8) -> Result<Self, Failure> {
        let (program, common) = match runtime {
            Runtime::Wasm1 => (Bytes::from_static(WASM), Bytes::new()),
            Runtime::Wgsl1 => (Bytes::from_static(WGSL.as_bytes()), Bytes::from(vec![1; READ_BYTES])),
        };
        let spec = spec(runtime, &program, &common).map_err(Failure::provider)?;
        let session = Session::open_at(command.clone(), Job { spec, program, common }, Stop::new(), place).await?;
        Ok(Self { session })
    }

    async fn speed(&mut self, work: Work) -> Result<Speed, Failure> {
        // The first run also pays for what is made once.
        self.run(work, 1).await?;
        let base = self.run(work, 1).await?;
        let (mut turns, most) = if work == Work::Wasm { WASM_TURNS } else { WGSL_TURNS };
        let mut last = self.run(work, turns).await?;
        for _ in 0..STEPS_MAX {
            let took = last.took.saturating_sub(base.took);
            if took >= LONG_ENOUGH || turns >= most {
                break;
            }
            turns = more(turns, took).min(most);
            last = self.run(work, turns).await?;
        }
        Ok(Speed { work, mop_per_s: rate(last, base) })
    }

    async fn run(&mut self, work: Work, turns: u32) -> Result<Run, Failure> {
        let words = match work {
            Work::Wasm => vec![turns],
            Work::Integer => vec![1, turns],
            Work::Float => vec![2, turns],
            Work::Memory => vec![3, turns],
        };
        let unit: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let done = self.session.run(&unit).await?;
        let each = match work {
            Work::Wasm => 0,
            Work::Integer | Work::Float => OPERATIONS,
            Work::Memory => WORD_BYTES,
        };
        let counted = INVOCATIONS.saturating_mul(each).saturating_mul(u64::from(turns));
        let operations = if work == Work::Wasm { done.usage.fuel } else { counted };
        Ok(Run { operations, took: Duration::from_micros(done.usage.wall_us) })
    }
}

/// Turns of the next run: so many that it should take a little longer than [`LONG_ENOUGH`], at least twice and at most 64 times as many.
fn more(turns: u32, took: Duration) -> u32 {
    let wanted = LONG_ENOUGH.as_micros().saturating_mul(5) / 4;
    let factor = wanted.checked_div(took.as_micros()).unwrap_or(u128::MAX).clamp(2, 64);
    turns.saturating_mul(u32::try_from(factor).unwrap_or(64))
}

/// Millions of operations a second: operations per microsecond, beyond those of a short run.
fn rate(run: Run, base: Run) -> u64 {
    let us = u64::try_from(run.took.saturating_sub(base.took).as_micros()).unwrap_or(u64::MAX).max(1);
    run.operations.saturating_sub(base.operations).checked_div(us).unwrap_or(0).max(1)
}

fn spec(runtime: Runtime, program: &[u8], common: &[u8]) -> Result<JobSpec, keystead_job::spec::Error> {
    let wasm = runtime == Runtime::Wasm1;
    let limits = Limits {
        wall_ms_max: WALL_MS_MAX,
        fuel_max: if wasm { FUEL_MAX } else { 0 },
        memory_bytes_max: if wasm { 1 << 20 } else { 64 << 20 },
        output_bytes_max: if wasm { 8 } else { INVOCATIONS.saturating_mul(WORD_BYTES) },
        loop_iterations_max: if wasm { 0 } else { LOOP_ITERATIONS_MAX },
        workgroups: if wasm { [0; 3] } else { [WORKGROUPS, 1, 1] },
    };
    JobSpec::new(Draft {
        recipe: RecipeName::new("speed")?,
        runtime,
        // Nobody compares these outputs, and only this class lets one kernel hold both integers and floats without a tolerance.
        class: Class::Opaque,
        program_hash: blob_hash(program),
        common_hash: blob_hash(common),
        units_hash: hash_list(&[blob_hash(&[])]),
        unit_count: 1,
        segment_count: 1,
        limits,
        checker: None,
        tolerance: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_built_from_its_text() {
        let built = wat::parse_str(include_str!("speed.wat")).unwrap();
        if std::env::var_os("KEYSTEAD_WRITE_FIXTURES").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/speed/speed.wasm"), &built).unwrap();
        }
        assert_eq!(built, WASM, "after a change of the text: run once with KEYSTEAD_WRITE_FIXTURES=1");
    }

    #[test]
    fn turns_grow_towards_the_length_that_is_wanted_and_a_rate_is_never_zero() {
        assert_eq!(more(100, Duration::ZERO), 6_400);
        assert_eq!(more(100, Duration::from_micros(1_000)), 3_100);
        assert_eq!(more(100, Duration::from_millis(24)), 200);
        assert_eq!(more(u32::MAX, Duration::ZERO), u32::MAX);
        let run = Run { operations: 5_000_000, took: Duration::from_micros(2_500) };
        let base = |operations, took| Run { operations, took };
        assert_eq!(rate(run, base(0, Duration::from_micros(500))), 2_500);
        // Where a few turns are long enough, those of the short run count.
        assert_eq!(rate(run, base(1_000_000, Duration::from_micros(500))), 2_000);
        assert_eq!(rate(run, base(0, Duration::from_secs(1))), 5_000_000);
        assert_eq!(rate(Run { operations: 0, ..run }, base(0, Duration::ZERO)), 1);
    }

    #[test]
    fn both_kernels_are_jobs_within_the_formats_bounds() {
        assert!(spec(Runtime::Wasm1, WASM, &[]).is_ok());
        let spec = spec(Runtime::Wgsl1, WGSL.as_bytes(), &[]).unwrap();
        assert_eq!(u64::from(spec.limits.workgroups[0]) * 256, INVOCATIONS);
        assert!(READ_BYTES.is_power_of_two());
    }
}
