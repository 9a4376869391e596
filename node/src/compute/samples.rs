//! What tests of both sides begin with: a job, and terms of an audit that can be kept. Each changes what it is about.

#![allow(clippy::unwrap_used, reason = "tests")]

use keystead_contracts::bindings::market::IAuditTypes;
use keystead_job::{
    B256, Checker, Class, JobSpec, Limits, Runtime, Tolerance, blob_hash,
    check::{Bound, Element},
    spec::{Draft, RecipeName},
};

/// Of a job of class exact with one segment a unit, over no bond.
pub(crate) const TERMS: IAuditTypes::Terms = IAuditTypes::Terms {
    class: 1,
    checkers: 1,
    abilities: 1,
    ratePpm: 30_000,
    feePpm: 500_000,
    checkSeconds: 60,
    revealSeconds: 60,
    appealSeconds: 60,
    segments: 1,
    bondWei: 0,
    named: B256::ZERO,
    canary: B256::ZERO,
};

/// A job of `wasm/1`, or with a tolerance of `wgsl/1`. The checker program of one that checks itself is built in.
pub(crate) fn spec(class: Class, units: u32, segments: u32) -> JobSpec {
    let wgsl = class == Class::Tolerance;
    let limits = Limits {
        wall_ms_max: 1_000,
        fuel_max: if wgsl { 0 } else { 1_000 },
        memory_bytes_max: 65_536,
        output_bytes_max: 64,
        loop_iterations_max: u32::from(wgsl),
        workgroups: if wgsl { [1; 3] } else { [0; 3] },
    };
    let checker = (class == Class::SelfChecking)
        .then(|| keystead_recipes::find("matmul").unwrap().checker().unwrap())
        .map(|program| Checker { program_hash: blob_hash(program), fuel_max: 1_000 });
    let tolerance = wgsl.then_some(Tolerance {
        element: Element::F32,
        absolute: Bound::ZERO,
        relative: Bound::ZERO,
        outliers_ppm: 0,
        sound_factor: 1,
    });
    JobSpec::new(Draft {
        recipe: RecipeName::new("any").unwrap(),
        runtime: if wgsl { Runtime::Wgsl1 } else { Runtime::Wasm1 },
        class,
        program_hash: B256::repeat_byte(1),
        common_hash: B256::repeat_byte(2),
        units_hash: B256::repeat_byte(3),
        unit_count: units,
        segment_count: segments,
        limits,
        checker,
        tolerance,
    })
    .unwrap()
}
