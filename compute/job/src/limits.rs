//! What one unit of a job may use, and the largest values anybody may ask for.
//!
//! # Design
//! The declared limits are part of the job hash, so provider and checker stop at the same point. Every upper bound is a
//! constant here; a job outside them is malformed, not merely refused. Spec: specs/0003-job.md §2, §3.

use crate::spec::Runtime;
use serde::{Deserialize, Serialize};

/// Units of one job: the hash list of a full job is 2 MiB, small enough to send and to keep in memory.
pub const UNIT_COUNT_MAX: u32 = 65_536;
/// Segments of one unit: the tree over their states then has 16 levels, as the commitment's has.
pub const SEGMENT_COUNT_MAX: u32 = 65_536;
/// Segments of all units of a job together: each leaves a state of 32 bytes of hash that the provider keeps until the job is settled.
pub const SEGMENTS_OF_JOB_MAX: u64 = 1_048_576;
/// Wall time of one segment, ms: one hour. Longer work is cut into units, or a vanished provider costs too much.
pub const WALL_MS_MAX: u64 = 3_600_000;
/// Fuel of one `wasm/1` unit: about an hour at 2.5 fuel per ns; far below the engine's counter (i64).
pub const FUEL_MAX: u64 = 10_000_000_000_000;
/// Memory of one unit, bytes, least: one WebAssembly page.
pub const MEMORY_BYTES_MIN: u64 = 65_536;
/// Memory of one unit, bytes: all that a 32-bit WebAssembly memory can address.
pub const MEMORY_BYTES_MAX: u64 = 4_294_967_296;
/// Output of one unit, bytes: half of the smallest storage binding that we met on a real driver (128 MiB).
pub const OUTPUT_BYTES_MAX: u64 = 67_108_864;
/// Loop iterations of one `wgsl/1` invocation: lavapipe silently stops all loops of a shader at 65,535 in total, so we stay at half.
pub const LOOP_ITERATIONS_MAX: u32 = 32_768;
/// Workgroups in one dimension: WebGPU's default limit.
pub const WORKGROUPS_PER_DIMENSION_MAX: u32 = 65_535;
/// A `wasm/1` program, bytes: compilation is attacker-controlled work.
pub const PROGRAM_BYTES_MAX_WASM: u64 = 16_777_216;
/// A `wgsl/1` program, bytes: the parser's stack use grows with the source.
pub const PROGRAM_BYTES_MAX_WGSL: u64 = 262_144;
/// Common input, or one unit input, bytes: the smallest storage binding that we met on a real driver.
pub const INPUT_BYTES_MAX: u64 = 134_217_728;

/// What one unit may use. Plain data; checked by [`Limits::check`], which every [`crate::JobSpec`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Wall time, ms, 1 to [`WALL_MS_MAX`].
    pub wall_ms_max: u64,
    /// Fuel, 1 to [`FUEL_MAX`] for `wasm/1`; 0 for `wgsl/1`.
    pub fuel_max: u64,
    /// Memory, bytes, [`MEMORY_BYTES_MIN`] to [`MEMORY_BYTES_MAX`], not below the output.
    pub memory_bytes_max: u64,
    /// Output, bytes, 1 to [`OUTPUT_BYTES_MAX`]; for `wgsl/1` a multiple of 4 and the exact length of the output.
    pub output_bytes_max: u64,
    /// Loop iterations of one invocation, 1 to [`LOOP_ITERATIONS_MAX`] for `wgsl/1`; 0 for `wasm/1`.
    pub loop_iterations_max: u32,
    /// Workgroups of the dispatch (x, y, z), each 1 to [`WORKGROUPS_PER_DIMENSION_MAX`] for `wgsl/1`; 0 for `wasm/1`.
    pub workgroups: [u32; 3],
}

/// A limit outside what the format allows: the job is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value lies outside its range.
    #[error("limit out of range: {name}={got} min={min} max={max}")]
    OutOfRange {
        /// The field's name in the spec.
        name: &'static str,
        /// The value given.
        got: u64,
        /// The least value allowed.
        min: u64,
        /// The greatest value allowed.
        max: u64,
    },
    /// A `wgsl/1` output is an array of u32 words.
    #[error("output of a wgsl/1 job must be a multiple of 4 bytes: output_bytes_max={got}")]
    OutputNotWords {
        /// The value given, bytes.
        got: u64,
    },
}

impl Limits {
    /// Checks every bound of specs/0003-job.md §2 for this runtime; returns the first that does not hold.
    pub fn check(&self, runtime: Runtime) -> Result<(), Error> {
        let wasm = runtime == Runtime::Wasm1;
        range("wall_ms_max", self.wall_ms_max, 1, WALL_MS_MAX)?;
        range("fuel_max", self.fuel_max, u64::from(wasm), if wasm { FUEL_MAX } else { 0 })?;
        range("output_bytes_max", self.output_bytes_max, 1, OUTPUT_BYTES_MAX)?;
        let memory_min = MEMORY_BYTES_MIN.max(self.output_bytes_max);
        range("memory_bytes_max", self.memory_bytes_max, memory_min, MEMORY_BYTES_MAX)?;
        let loops_max = if wasm { 0 } else { u64::from(LOOP_ITERATIONS_MAX) };
        range("loop_iterations_max", u64::from(self.loop_iterations_max), u64::from(!wasm), loops_max)?;
        let groups_max = if wasm { 0 } else { u64::from(WORKGROUPS_PER_DIMENSION_MAX) };
        for (name, count) in ["workgroups_x", "workgroups_y", "workgroups_z"].into_iter().zip(self.workgroups) {
            range(name, u64::from(count), u64::from(!wasm), groups_max)?;
        }
        if !wasm && !self.output_bytes_max.is_multiple_of(4) {
            return Err(Error::OutputNotWords { got: self.output_bytes_max });
        }
        Ok(())
    }
}

pub(crate) const fn range(name: &'static str, got: u64, min: u64, max: u64) -> Result<(), Error> {
    if got < min || got > max { Err(Error::OutOfRange { name, got, min, max }) } else { Ok(()) }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    const WASM: Limits = Limits {
        wall_ms_max: 1,
        fuel_max: 1,
        memory_bytes_max: MEMORY_BYTES_MIN,
        output_bytes_max: 1,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    const WGSL: Limits =
        Limits { fuel_max: 0, output_bytes_max: 4, loop_iterations_max: 1, workgroups: [1; 3], ..WASM };

    #[test]
    fn every_limit_is_tested_at_both_sides_of_both_edges() {
        type Case = (Runtime, &'static str, fn(&mut Limits, u64), u64, u64);
        let cases: &[Case] = &[
            (Runtime::Wasm1, "wall_ms_max", |l, v| l.wall_ms_max = v, 1, WALL_MS_MAX),
            (Runtime::Wasm1, "fuel_max", |l, v| l.fuel_max = v, 1, FUEL_MAX),
            (Runtime::Wasm1, "memory_bytes_max", |l, v| l.memory_bytes_max = v, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX),
            (Runtime::Wasm1, "loop_iterations_max", |l, v| l.loop_iterations_max = v as u32, 0, 0),
            (Runtime::Wasm1, "workgroups_y", |l, v| l.workgroups[1] = v as u32, 0, 0),
            (Runtime::Wgsl1, "fuel_max", |l, v| l.fuel_max = v, 0, 0),
            (Runtime::Wgsl1, "loop_iterations_max", |l, v| l.loop_iterations_max = v as u32, 1, 32_768),
            (Runtime::Wgsl1, "workgroups_x", |l, v| l.workgroups[0] = v as u32, 1, 65_535),
            (Runtime::Wgsl1, "workgroups_y", |l, v| l.workgroups[1] = v as u32, 1, 65_535),
            (Runtime::Wgsl1, "workgroups_z", |l, v| l.workgroups[2] = v as u32, 1, 65_535),
        ];
        for &(runtime, name, set, min, max) in cases {
            let with = |value: u64| {
                let mut limits = if runtime == Runtime::Wasm1 { WASM } else { WGSL };
                set(&mut limits, value);
                limits.check(runtime)
            };
            assert_eq!(with(min), Ok(()), "{name} at its least");
            assert_eq!(with(max), Ok(()), "{name} at its greatest");
            assert_eq!(with(max + 1), Err(Error::OutOfRange { name, got: max + 1, min, max }), "{name} above");
            if min > 0 {
                assert_eq!(with(min - 1), Err(Error::OutOfRange { name, got: min - 1, min, max }), "{name} below");
            }
        }
    }

    #[test]
    fn output_is_bounded_by_its_own_maximum_and_by_the_memory() {
        let with = |output: u64, memory: u64| {
            Limits { output_bytes_max: output, memory_bytes_max: memory, ..WASM }.check(Runtime::Wasm1)
        };
        assert_eq!(with(OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX), Ok(()));
        assert!(matches!(with(OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX - 1), Err(Error::OutOfRange { .. })));
        assert!(matches!(with(OUTPUT_BYTES_MAX + 1, MEMORY_BYTES_MAX), Err(Error::OutOfRange { .. })));
        assert!(matches!(with(0, MEMORY_BYTES_MIN), Err(Error::OutOfRange { .. })));
    }

    #[test]
    fn a_wgsl_output_that_is_not_whole_words_is_refused() {
        assert_eq!(Limits { output_bytes_max: 6, ..WGSL }.check(Runtime::Wgsl1), Err(Error::OutputNotWords { got: 6 }));
        assert_eq!(Limits { output_bytes_max: 8, ..WGSL }.check(Runtime::Wgsl1), Ok(()));
        assert_eq!(Limits { output_bytes_max: 6, ..WASM }.check(Runtime::Wasm1), Ok(()));
    }
}
