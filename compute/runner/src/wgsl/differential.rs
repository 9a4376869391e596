//! The interpreter against the adapter of this machine (lavapipe in CI): equal words for integer kernels, close ones for floats.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Tests: a panic is a failure.
#![allow(clippy::print_stderr)] // A test that cannot run says so.

mod generator;
mod programs;

use super::{NAGA_VERSION, device};
use crate::failure::{Failure, Limit};
use keystead_job::Limits;
use keystead_kernel::{Dispatch, Kernel, Profile, execute::Error};
use std::sync::OnceLock;

const HEAD: &str = "
@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
";

/// Words of the inputs: small, large, signed, and bit patterns.
const INPUT: [u32; 16] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    255,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0xdead_beef,
    0x0001_0000,
    0x55aa_55aa,
    0xffff_fff9,
];

const OUTPUT_WORDS: usize = 256;
const WORKGROUPS: [u32; 3] = [2, 2, 1];

fn adapters() -> Option<&'static [device::Found]> {
    static FOUND: OnceLock<Option<Vec<device::Found>>> = OnceLock::new();
    let found = FOUND.get_or_init(|| device::adapters().ok()).as_deref();
    if found.is_none() {
        eprintln!("skipped: no Vulkan, Metal or DX12 adapter (Debian: mesa-vulkan-drivers, libvulkan1)");
    }
    found
}

const fn limits(loop_iterations_max: u32) -> Limits {
    Limits {
        wall_ms_max: 10_000,
        fuel_max: 0,
        memory_bytes_max: 1 << 20,
        output_bytes_max: OUTPUT_WORDS as u64 * 4,
        loop_iterations_max,
        workgroups: WORKGROUPS,
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn on_device(found: &[device::Found], kernel: Kernel, limits: Limits) -> Result<Vec<u32>, Failure> {
    let module = kernel.instrumented(limits.loop_iterations_max);
    let output = device::Kernel::new(found, module, limits, &bytes(&INPUT))?.run(&bytes(&INPUT[3..]))?;
    Ok(output.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

fn interpreted(kernel: &Kernel, limits: Limits) -> Result<Vec<u32>, Error> {
    let program = kernel.program().unwrap();
    program.run(&Dispatch {
        common: &INPUT,
        unit: &INPUT[3..],
        output_words: OUTPUT_WORDS,
        workgroups: limits.workgroups,
        loop_iterations_max: limits.loop_iterations_max,
        steps_max: 500_000_000,
    })
}

/// Both outputs of a kernel.
fn both(found: &[device::Found], source: &str, profile: Profile) -> [Vec<u32>; 2] {
    let kernel = Kernel::admit(source.as_bytes(), profile).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let ours = interpreted(&kernel, limits(32_768)).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let theirs = on_device(found, kernel, limits(32_768)).unwrap_or_else(|error| panic!("{error}\n{source}"));
    [ours, theirs]
}

fn equal(found: &[device::Found], what: &str, source: &str) {
    let [ours, theirs] = both(found, source, Profile::Exact);
    let difference = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    if let Some(at) = difference {
        panic!("{what}: word {at} is {:#x} here and {:#x} on the device\n{source}", ours[at], theirs[at]);
    }
    assert!(ours.iter().any(|&word| word != 0), "{what}: a kernel that writes nothing shows nothing\n{source}");
}

#[test]
fn every_integer_statement_and_expression_gives_the_words_of_the_device() {
    let Some(found) = adapters() else { return };
    for (name, declarations, body) in programs::INTEGER {
        equal(found, name, &programs::kernel(declarations, body));
    }
}

/// Seeds of the generated kernels. A failure prints the seed and the kernel.
const SEEDS: u64 = 60;

#[test]
fn generated_integer_kernels_give_the_words_of_the_device() {
    let Some(found) = adapters() else { return };
    for seed in 0..SEEDS {
        equal(found, &format!("seed {seed}"), &generator::kernel(seed));
    }
}

#[test]
fn the_value_at_risk_kernel_gives_the_words_of_the_device() {
    let Some(found) = adapters() else { return };
    // It reads tables from the common input; without them the numbers mean nothing, and must still be equal.
    let source = include_str!("../../../../recipes/value-at-risk/kernel/value_at_risk.wgsl");
    equal(found, "value-at-risk", source);
}

#[test]
fn float_kernels_are_as_close_to_the_device_as_wgsl_demands() {
    let Some(found) = adapters() else { return };
    for (name, body, relative, absolute) in programs::FLOAT {
        let [ours, theirs] = both(found, &programs::kernel("", body), Profile::Float);
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let (ours, theirs) = (f64::from(f32::from_bits(*ours)), f64::from(f32::from_bits(*theirs)));
            let close = (ours - theirs).abs() <= absolute + relative * ours.abs();
            assert!(close || ours.is_nan() || ours.is_infinite(), "{name}: word {at}: {ours} {theirs}");
        }
    }
}

#[test]
fn both_stop_at_the_same_loop_limit() {
    let Some(found) = adapters() else { return };
    let body =
        "var s = 0u; for (var i = 0u; i < 5u; i++) { for (var j = 0u; j <= i; j++) { s += j; } } output[at] = s + 1u;";
    let source = programs::kernel("", body);
    let kernel = || Kernel::admit(source.as_bytes(), Profile::Exact).unwrap();
    // 6 rounds outside, and 2, 3, 4, 5, 6 inside.
    let (enough, less) = (limits(26), limits(25));
    assert_eq!(interpreted(&kernel(), enough).unwrap(), on_device(found, kernel(), enough).unwrap());
    assert!(matches!(interpreted(&kernel(), less), Err(Error::LoopIterations { limit: 25, .. })));
    let hit = on_device(found, kernel(), less);
    assert_eq!(hit, Err(Failure::LimitHit { which: Limit::LoopIterations, limit: 25, got: None }));
}

#[test]
fn the_interpreter_is_named_with_the_translator_that_it_depends_on() {
    assert_eq!(super::reference::engine_name(), format!("wgsl/1 interpreter-1 naga-{NAGA_VERSION}"));
}
