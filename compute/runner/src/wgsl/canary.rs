//! The self-test of `wgsl/1`: kernels with known answers, and loops long and uneven enough to catch a driver that stops counting.

use crate::{
    failure::Failure,
    report::{Device, Loops},
    wgsl::{
        admitted,
        device::{Found, Kernel},
        small_limits,
    },
};
use keystead_job::Class;

/// Counts to the first word of the unit input; also mixes a word, so that no compiler replaces the loop by its result.
pub(super) const COUNT: &str = "
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(1)
fn main() {
    var mixed = 1u;
    var counted = 0u;
    for (var i = 0u; i < unit_input[0]; i++) {
        mixed = (mixed * 1664525u + 1013904223u) ^ (mixed >> 7u);
        counted++;
    }
    output[0] = counted;
    output[1] = mixed;
}";

/// In round r only lane r works, for `unit_input[0]` iterations. Each lane stays far below the bound; a driver that runs lanes together and counts
/// for all of them does not.
const DIVERGENT: &str = "
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(16)
fn main(@builtin(local_invocation_index) lane: u32) {
    var mixed = lane;
    for (var round = 0u; round < 16u; round++) {
        var length = 0u;
        if (lane == round) { length = unit_input[0]; }
        for (var i = 0u; i < length; i++) {
            mixed = (mixed * 1664525u + 1013904223u) ^ (mixed >> 7u);
        }
    }
    output[lane] = mixed;
}";

/// Integer arithmetic at its edges: wrapping, division by zero, shifts, signs, workgroup memory and atomics.
pub(super) const KNOWN_ANSWER: &str = "
@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
var<workgroup> total: atomic<u32>;
fn mix(a: u32, b: u32) -> u32 {
    var h = a ^ 2166136261u;
    for (var i = 0u; i < 16u; i++) {
        h = (h ^ (b >> i)) * 16777619u;
        h = (h << 13u) | (h >> 19u);
    }
    return h;
}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let h = mix(common_input[lane % 2u], unit_input[0] + lane);
    atomicAdd(&total, h);
    workgroupBarrier();
    let signed = bitcast<i32>(h);
    output[lane] = h ^ bitcast<u32>(signed / 7 + signed % 7) ^ (h / (lane % 3u));
    if (lane == 0u) { output[64] = atomicLoad(&total); }
}";

/// Inputs of the kernel with a known answer, and the words of its output.
pub(super) const COMMON: [u32; 2] = [0xdead_beef, 0x8000_0001];
pub(super) const UNIT: u32 = 0xffff_fff0;
pub(super) const ANSWER_WORDS: u32 = 65;

/// The loop lengths of the canary: the bound of the format, and one beyond lavapipe's silent limit of 65,535.
pub(super) const WITHIN: u32 = 32_768;
pub(super) const BEYOND: u32 = 70_000;
/// Iterations of one lane in the divergent canary: 16 lanes of it are far beyond 65,535.
const DIVERGENT_LENGTH: u32 = 20_000;

/// Runs all self-tests on an adapter: whether the known answers came, and what the device can do.
pub(super) fn examine(on: &Found) -> Result<(bool, Device), Failure> {
    let found = std::slice::from_ref(on);
    let (within, beyond) = (long_loop(found, WITHIN)?, long_loop(found, BEYOND)?);
    let divergent_loops = divergent_loop(found)?;
    let max_loop_iterations = match (within, beyond) {
        (Loops::Whole, Loops::Whole) => BEYOND,
        (Loops::Whole, _) => WITHIN,
        _ => 0,
    };
    let never_wrong = ![within, beyond, divergent_loops].contains(&Loops::Wrong);
    let known_answer = known_answer(found)? && max_loop_iterations >= WITHIN && never_wrong;
    let limits = on.adapter.limits();
    let device = Device {
        name: on.info.name.clone(),
        backend: on.info.backend.to_string(),
        kind: on.kind,
        driver: on.info.driver.clone(),
        driver_info: on.info.driver_info.clone(),
        vendor_id: on.info.vendor,
        device_id: on.info.device,
        binding_bytes_max: limits.max_storage_buffer_binding_size,
        buffer_bytes_max: limits.max_buffer_size,
        workgroup_bytes_max: limits.max_compute_workgroup_storage_size,
        workgroup_invocations_max: limits.max_compute_invocations_per_workgroup,
        max_loop_iterations,
        long_loops: beyond,
        divergent_loops,
    };
    Ok((known_answer, device))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let (words, _) = bytes.as_chunks::<4>();
    words.get(at).map_or(0, |word| u32::from_le_bytes(*word))
}

/// The loops' work, on the processor.
pub(super) fn mixed(start: u32, rounds: u32) -> u32 {
    (0..rounds).fold(start, |mixed, _| mixed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) ^ (mixed >> 7))
}

/// What became of a loop, given what its kernel should have answered.
fn outcome(answer: Result<Vec<u8>, Failure>, right: impl Fn(&[u8]) -> bool) -> Result<Loops, Failure> {
    match answer {
        Ok(bytes) if right(&bytes) => Ok(Loops::Whole),
        Ok(_) => Ok(Loops::Wrong),
        Err(Failure::DriverRejected { .. }) => Ok(Loops::CutShortNoticed),
        Err(other) => Err(other),
    }
}

fn long_loop(found: &[Found], length: u32) -> Result<Loops, Failure> {
    // The canary looks at the driver, so here the counter allows everything.
    let module = admitted(COUNT.as_bytes(), Class::Exact)?.instrumented(u32::MAX);
    let kernel = Kernel::new(found, module, small_limits(1, 8), &[])?;
    let right = |bytes: &[u8]| [word(bytes, 0), word(bytes, 1)] == [length, mixed(1, length)];
    outcome(kernel.run(&length.to_le_bytes()), right)
}

fn divergent_loop(found: &[Found]) -> Result<Loops, Failure> {
    let module = admitted(DIVERGENT.as_bytes(), Class::Exact)?.instrumented(WITHIN);
    let kernel = Kernel::new(found, module, small_limits(1, 64), &[])?;
    let right = |bytes: &[u8]| (0..16).zip(0..).all(|(lane, at)| word(bytes, at) == mixed(lane, DIVERGENT_LENGTH));
    outcome(kernel.run(&DIVERGENT_LENGTH.to_le_bytes()), right)
}

fn known_answer(found: &[Found]) -> Result<bool, Failure> {
    let common: Vec<u8> = COMMON.iter().flat_map(|word| word.to_le_bytes()).collect();
    let module = admitted(KNOWN_ANSWER.as_bytes(), Class::Exact)?.instrumented(WITHIN);
    let kernel = Kernel::new(found, module, small_limits(1, u64::from(ANSWER_WORDS).saturating_mul(4)), &common)?;
    let (first, second) = (kernel.run(&UNIT.to_le_bytes())?, kernel.run(&UNIT.to_le_bytes())?);
    let expected: Vec<u8> = expected_answer().iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(first == second && first == expected)
}

/// [`KNOWN_ANSWER`], on the processor.
pub(super) fn expected_answer() -> Vec<u32> {
    let (common, unit) = (COMMON, UNIT);
    let mix = |a: u32, b: u32| {
        (0..16).fold(a ^ 2_166_136_261, |h: u32, i| (h ^ (b >> i)).wrapping_mul(16_777_619).rotate_left(13))
    };
    let mut out = Vec::with_capacity(65);
    let mut total = 0u32;
    for lane in 0..64u32 {
        let h = mix(if lane.is_multiple_of(2) { common[0] } else { common[1] }, unit.wrapping_add(lane));
        total = total.wrapping_add(h);
        let signed = h.cast_signed();
        let signs = (signed / 7).wrapping_add(signed % 7).cast_unsigned();
        // WGSL: a division by zero gives the dividend.
        let quotient = h.checked_div(lane % 3).unwrap_or(h);
        out.push(h ^ signs ^ quotient);
    }
    out.push(total);
    out
}
