//! How large a challenge each device of this machine takes on, found by letting it work for a moment.
//!
//! # Design
//! What is claimed must be reached again in the proof, on a device that is warm then: so the measured speed is claimed less a fifth. The side of the
//! matrices is the one at which the memory is filled in about the time that was asked for: the work grows with side and memory. How much memory is asked for
//! is the owner's word alone ([`crate::cli::Proving`]): how much of a card is free, no file of every system says, and what does not fit is taken from others.

use crate::cli::{PROVE_SECONDS_MAX, Proving};
use eyre::{Context as _, Result, eyre};
use keystead_market::touchstone::{
    Shape,
    challenge::{LINKS_MAX, OPENED, SIDE_MAX, SIDE_MIN},
    round::PUBLISHED_BYTES_MAX,
};
use keystead_runner::{DeviceKind, Failure, SelfTest, Stop, Task, Tested, Touchstone, WorkerCommand};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a device works to find its speed.
const TRY: Duration = Duration::from_millis(400);
/// Side of the first try.
const FIRST_SIDE: u32 = 256;
/// What is claimed of the measured speed, of five.
const CLAIMED_FIFTHS: u64 = 4;
const MILLION: u64 = 1_000_000;
const MIB: u64 = 1 << 20;
/// What an answer holds beside words, at most: the paths of 256 rows and 256 vectors, whose trees have 27 levels at most.
const PATHS_BYTES: u64 = 512 << 10;

/// What starts workers for proofs, and tells whom it concerns.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) command: WorkerCommand,
    pub(crate) stop: Stop,
    /// Gets the number of every process that begins to work.
    pub(crate) at_work: Arc<dyn Fn(u32) + Send + Sync>,
}

impl Workshop {
    /// Workers that nobody watches.
    pub(crate) fn alone(command: WorkerCommand) -> Self {
        Self { command, stop: Stop::new(), at_work: Arc::new(|_| ()) }
    }

    /// Starts a worker on a device.
    pub(crate) async fn begin(&self, task: Task) -> Result<Touchstone, Failure> {
        let touchstone = Touchstone::begin(&self.command, task, self.stop.clone()).await?;
        (self.at_work)(touchstone.worker_pid());
        Ok(touchstone)
    }
}

/// A device and what it takes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    /// 0 the processor, from 1 on the adapters of the record.
    pub(crate) number: u8,
    /// As workers know it: 0 the processor, from 1 on the adapters of the machine, also those that failed their self-test. Only good for this process.
    #[serde(default)]
    pub(crate) for_workers: u8,
    /// What it calls itself, with its driver.
    pub(crate) name: String,
    /// Memory to fill, MiB.
    pub(crate) memory_mib: u64,
    /// Claimed speed, millions of multiplications with addition a second.
    pub(crate) mop_per_s: u64,
    pub(crate) side: u32,
    pub(crate) links: u32,
    pub(crate) threads: u16,
}

impl Device {
    /// Its shape, which was found within the bounds.
    pub(crate) fn shape(&self) -> Result<Shape> {
        Shape::new(self.side, self.links).wrap_err_with(|| format!("device {}", self.number))
    }

    /// What a proof fills of it, MiB, rounded down: at least four fifths of the memory that was asked for.
    pub(crate) fn filled_mib(&self) -> u64 {
        self.shape().map_or(0, Shape::memory_bytes) / MIB
    }

    /// How long the work takes at the claimed speed, seconds, rounded up.
    pub(crate) fn seconds(&self) -> u64 {
        self.shape().map_or(0, |shape| seconds(shape, self.mop_per_s))
    }

    /// How long a proof would work that shows so much of it, if one can: four fifths are filled, with the side that [`measure`] would choose. `None` if that is
    /// longer than a proof may take, or more than a challenge holds.
    pub(crate) fn seconds_for(&self, memory_mib: u64, found: &Found, proving: &Proving) -> Option<u64> {
        let memory_bytes = memory_mib.saturating_mul(MIB);
        let shape = Bounds::of(found, memory_bytes)
            .nearest(wanted_side(self.mop_per_s, memory_bytes, proving.prove_seconds))
            .ok()?;
        Some(seconds(shape, self.mop_per_s)).filter(|seconds| *seconds <= PROVE_SECONDS_MAX)
    }

    /// What a restart compares: another name is another device or driver, and who lets a proof fill more wants to show more.
    pub(crate) fn identity(&self) -> (u8, &str, u64) {
        (self.number, &self.name, self.memory_mib)
    }
}

/// The devices that take jobs, by the self-tests: the processor, and every adapter that runs `wgsl/1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) number: u8,
    /// As [`Device::for_workers`].
    pub(crate) for_workers: u8,
    /// What it calls itself, with its driver.
    pub(crate) name: String,
    /// Largest matrix that can be bound, bytes.
    pub(crate) binding_bytes_max: u64,
    /// Its part of what is published: all devices answer in one message.
    pub(crate) answer_bytes_max: u64,
    /// Its memory is its own, by its driver's word: nothing but what draws and computes there uses it.
    pub(crate) has_own_memory: bool,
}

/// What the self-tests found.
pub(crate) fn found(tests: &[SelfTest]) -> Vec<Found> {
    let processor = Found {
        number: 0,
        for_workers: 0,
        name: format!("processor, {} threads", threads()),
        binding_bytes_max: u64::MAX,
        answer_bytes_max: PUBLISHED_BYTES_MAX as u64,
        has_own_memory: false,
    };
    let cards = (1_u8..).zip(tests.iter().flat_map(|test| &test.cards));
    let cards = cards.map(|(number, Tested { place, summary, device })| Found {
        number,
        for_workers: place.saturating_add(1),
        name: summary.clone(),
        binding_bytes_max: device.binding_bytes_max.min(device.buffer_bytes_max),
        answer_bytes_max: PUBLISHED_BYTES_MAX as u64,
        has_own_memory: matches!(device.kind, DeviceKind::Discrete | DeviceKind::Virtual),
    });
    let all: Vec<Found> = std::iter::once(processor).chain(cards).collect();
    let answer_bytes_max = (PUBLISHED_BYTES_MAX as u64).checked_div(all.len() as u64).unwrap_or(0);
    all.into_iter().map(|found| Found { answer_bytes_max, ..found }).collect()
}

/// Measures a device and fits its challenge.
///
/// # Errors
/// The device does not work, or no challenge fits its binding.
pub(crate) async fn measure(workshop: &Workshop, found: &Found, proving: &Proving) -> Result<Device> {
    let memory_mib = proving.memory_mib(found.number);
    let threads = threads();
    let memory_bytes = memory_mib.saturating_mul(MIB);
    let bounds = Bounds::of(found, memory_bytes);
    let first = bounds.nearest(u64::from(FIRST_SIDE))?;
    let speed = try_out(workshop, found, first, threads).await?;
    let shape = bounds.nearest(wanted_side(speed, memory_bytes, proving.prove_seconds))?;
    let speed = try_out(workshop, found, shape, threads).await?;
    let mop_per_s = (speed / 5).saturating_mul(CLAIMED_FIFTHS).max(1);
    let (side, links) = (shape.side(), shape.links());
    let (number, for_workers, name) = (found.number, found.for_workers, found.name.clone());
    Ok(Device { number, for_workers, name, memory_mib, mop_per_s, side, links, threads })
}

/// The side with which so much memory is filled in this time, by a speed in millions of multiplications with addition a second.
fn wanted_side(speed: u64, memory_bytes: u64, seconds: u64) -> u64 {
    let words = (memory_bytes / 4).max(1);
    speed.saturating_mul(MILLION).saturating_mul(seconds).checked_div(words).unwrap_or_default()
}

/// How long a chain takes at such a speed, rounded up.
fn seconds(shape: Shape, speed: u64) -> u64 {
    shape.work().div_ceil(speed.saturating_mul(MILLION).max(1))
}

/// All threads of the processor.
fn threads() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(u16::MAX)
}

struct Bounds {
    memory_bytes: u64,
    binding_bytes_max: u64,
    answer_bytes_max: u64,
}

impl Bounds {
    const fn of(found: &Found, memory_bytes: u64) -> Self {
        let (binding_bytes_max, answer_bytes_max) = (found.binding_bytes_max, found.answer_bytes_max);
        Self { memory_bytes, binding_bytes_max, answer_bytes_max }
    }

    /// The shape that fills four fifths of the memory with the largest side up to `wanted`, or with the next one that the format allows.
    fn nearest(&self, wanted: u64) -> Result<Shape> {
        let filled = self.memory_bytes.saturating_sub(self.memory_bytes / 5);
        let matrix = |side: u32| u64::from(side).saturating_mul(u64::from(side)).saturating_mul(4);
        let links = |side: u32| filled.div_ceil(matrix(side).max(1)).max(1);
        let fits = |side: &u32| {
            let most = self.binding_bytes_max.min(self.memory_bytes.max(matrix(SIDE_MIN)));
            let answer = answer_bytes(*side, links(*side));
            matrix(*side) <= most && links(*side) <= u64::from(LINKS_MAX) && answer <= self.answer_bytes_max
        };
        let sides = (SIDE_MIN.ilog2()..=SIDE_MAX.ilog2()).map(|bit| 1u32.wrapping_shl(bit)).filter(fits);
        let sides: Vec<u32> = sides.collect();
        let below = sides.iter().rev().find(|side| u64::from(**side) <= wanted);
        let side = below.or_else(|| sides.first()).copied().ok_or_else(|| {
            eyre!("no challenge fills {} bytes with bindings of {} bytes", self.memory_bytes, self.binding_bytes_max)
        })?;
        let links = u32::try_from(links(side)).wrap_err("too many products")?;
        Shape::new(side, links).wrap_err("no challenge has this size")
    }
}

/// The longest answer of such a chain, bytes: two rows for each that is drawn, and the vectors of their products. Spec: specs/0010-capability.md §6.3.
fn answer_bytes(side: u32, links: u64) -> u64 {
    let rows = u64::from(OPENED).saturating_mul(2);
    let row_bytes = u64::from(side).saturating_mul(4);
    rows.saturating_add(rows.min(links.saturating_add(1))).saturating_mul(row_bytes).saturating_add(PATHS_BYTES)
}

/// Lets a device work for a moment: millions of multiplications with addition a second.
async fn try_out(workshop: &Workshop, found: &Found, shape: Shape, threads: u16) -> Result<u64> {
    let failed = || format!("device {} ({}) does not prove anything", found.number, found.name);
    let task =
        Task { device: found.for_workers, key: [0x9e37_79b9; 8], side: shape.side(), links: shape.links(), threads };
    let mut device = workshop.begin(task).await.wrap_err_with(failed)?;
    // The first step compiles kernels and wakes threads: it is not counted, unless it is the only one.
    let (mut start, mut rows, mut steps) = (Instant::now(), 0u64, 0u32);
    while let Some(hashes) = device.step().await.wrap_err_with(failed)? {
        rows = rows.saturating_add(hashes.len() as u64);
        steps = steps.saturating_add(1);
        let all = rows >= u64::from(shape.rows());
        if steps == 1 && !all && start.elapsed() < TRY {
            (start, rows) = (Instant::now(), 0);
        } else if start.elapsed() >= TRY {
            break;
        }
    }
    let side = u64::from(shape.side());
    let work = rows.saturating_mul(side).saturating_mul(side);
    let took_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    // Operations a microsecond are millions a second.
    Ok(work.checked_div(took_us).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    fn nearest(memory_bytes: u64, binding_bytes_max: u64, wanted: u64) -> (u32, u32) {
        let answer_bytes_max = u64::MAX;
        let shape = Bounds { memory_bytes, binding_bytes_max, answer_bytes_max }.nearest(wanted).unwrap();
        assert!(shape.memory_bytes() >= memory_bytes.saturating_sub(memory_bytes / 5), "{shape:?}");
        (shape.side(), shape.links())
    }

    #[test]
    fn a_shape_fills_four_fifths_with_the_side_that_takes_the_time() {
        let mib = 1 << 20;
        assert_eq!(nearest(256 * mib, u64::MAX, 500), (256, 820));
        assert_eq!(nearest(256 * mib, u64::MAX, 512), (512, 205));
        // Less than four fifths fit in so few products of so small matrices: the next side.
        assert_eq!(nearest(256 * mib, u64::MAX, 16), (64, 13_108));
        // A matrix is no larger than the memory, nor than a binding.
        assert_eq!(nearest(mib, u64::MAX, u64::MAX), (512, 1));
        assert_eq!(nearest(256 * mib, mib, u64::MAX), (512, 205));
        assert_eq!(nearest(24 << 30, u64::MAX, 3_000).0, 2_048);
        let least = Bounds { memory_bytes: mib, binding_bytes_max: 1_023, answer_bytes_max: u64::MAX };
        assert!(least.nearest(16).is_err());
    }

    /// A device of this speed, in Gop/s, fitted for the default memory and time.
    fn fitted(gop_per_s: u64) -> (Device, Found, Proving) {
        let proving = Proving { prove_memory: Vec::new(), prove_seconds: 12 };
        let name = "card".to_owned();
        let (binding_bytes_max, answer_bytes_max) = (2 << 30, PUBLISHED_BYTES_MAX as u64 / 2);
        let found =
            Found { number: 1, for_workers: 1, name, binding_bytes_max, answer_bytes_max, has_own_memory: true };
        let (memory_mib, mop_per_s) = (proving.memory_mib(1), gop_per_s.saturating_mul(1_000));
        let memory_bytes = memory_mib.saturating_mul(MIB);
        let bounds = Bounds::of(&found, memory_bytes);
        let shape = bounds.nearest(wanted_side(mop_per_s, bounds.memory_bytes, proving.prove_seconds)).unwrap();
        let (side, links, name) = (shape.side(), shape.links(), found.name.clone());
        (Device { number: 1, for_workers: 1, name, memory_mib, mop_per_s, side, links, threads: 1 }, found, proving)
    }

    #[test]
    fn every_card_that_passed_is_proved_under_its_number_in_the_record_and_found_by_workers_at_its_place() {
        let of = |place: u8, kind: &str| {
            let text = format!(
                r#"{{"place": {place}, "summary": "card {place}", "device": {{"name": "n", "backend": "Vulkan", "kind": "{kind}", "driver": "d",
                "driverInfo": "i", "vendorId": 1, "deviceId": 2, "bindingBytesMax": 64, "bufferBytesMax": 32, "workgroupBytesMax": 1,
                "workgroupInvocationsMax": 1, "maxLoopIterations": 70000, "longLoops": "whole", "divergentLoops": "whole"}}}}"#
            );
            serde_json::from_str::<Tested>(&text).unwrap()
        };
        // The adapter at place 1 failed its self-test.
        let cards = vec![of(0, "discrete"), of(2, "discrete"), of(3, "integrated")];
        let test = SelfTest {
            runtime: keystead_job::Runtime::Wgsl1,
            engine: String::new(),
            known_answer: true,
            device: None,
            adapters: Vec::new(),
            cards,
            took_ms: 1,
            memory_bytes_max: 1,
            isolation: keystead_runner::Isolation::default(),
        };
        let all = found(&[test]);
        let numbers: Vec<_> = all.iter().map(|one| (one.number, one.for_workers, one.has_own_memory)).collect();
        assert_eq!(numbers, [(0, 0, false), (1, 1, true), (2, 3, true), (3, 4, false)]);
        assert_eq!((all[2].name.as_str(), all[2].binding_bytes_max), ("card 2", 32));
        assert_eq!(found(&[]).len(), 1, "a machine without a card proves its processor");
    }

    #[test]
    fn the_answers_of_sixteen_whole_cards_and_a_processor_fit_into_what_is_published() {
        let bounds = |answer_bytes_max| Bounds { memory_bytes: 24 << 30, binding_bytes_max: 2 << 30, answer_bytes_max };
        let part = PUBLISHED_BYTES_MAX as u64 / 17;
        let shape = bounds(part).nearest(u64::MAX).unwrap();
        assert!(answer_bytes(shape.side(), shape.links().into()) <= part);
        // The next side would not fit.
        assert!(answer_bytes(shape.side() * 2, u64::from(shape.links() / 4)) > part);
        // Two devices, which nearly all machines have, are bounded by nothing.
        assert_eq!(bounds(PUBLISHED_BYTES_MAX as u64 / 2).nearest(u64::MAX).unwrap().side(), SIDE_MAX);
    }

    #[test]
    fn what_is_filled_is_four_fifths_of_what_was_asked_for_and_how_long_it_takes_is_known() {
        let (device, ..) = fitted(10);
        // 52 products of 4 MiB are the first that are four fifths of 256 MiB.
        assert_eq!((device.memory_mib, device.side, device.links), (256, 1_024, 52));
        assert_eq!((device.filled_mib(), device.seconds()), (208, 6));
        // The largest matrix is all of it, and a fast card is done with it at once.
        let (fast, ..) = fitted(2_000);
        assert_eq!((fast.side, fast.links, fast.filled_mib(), fast.seconds()), (8_192, 1, 256, 1));
    }

    #[test]
    fn a_whole_card_takes_a_time_that_can_be_said_unless_it_is_too_long() {
        // A fast card fills 24 GiB in the time that was asked for; the products of a small matrix would be too many.
        let (device, found, proving) = fitted(2_000);
        assert_eq!(device.seconds_for(24 << 10, &found, &proving), Some(6));
        assert_eq!(fitted(10).0.seconds_for(24 << 10, &found, &proving), Some(528));
        // A slow one would work for too long, and no chain holds a pebibyte.
        assert_eq!(fitted(1).0.seconds_for(24 << 10, &found, &proving), None);
        assert_eq!(device.seconds_for(1 << 30, &found, &proving), None);
    }
}
