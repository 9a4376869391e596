//! How fast the interpreter is: operations per second of one core, on an integer kernel, a float kernel and one with barriers.
//!
//! `cargo run -p keystead-kernel --example speed`
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // A measurement takes the time and prints it.

use keystead_kernel::{Dispatch, Kernel, Profile};
use std::{error::Error, time::Instant};

const INTEGER: &str = "
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var h = id.x;
    for (var i = 0u; i < 4000u; i++) { h = (h ^ (h >> 13u)) * 16777619u + i; }
    output[id.x] = h;
}";

const FLOAT: &str = "
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var p = vec4<f32>(f32(id.x), 1.0, 2.0, 3.0);
    for (var i = 0u; i < 1000u; i++) { p = p * 0.999 + vec4<f32>(0.5, 0.25, 0.125, dot(p, p) * 1e-6); }
    output[id.x] = p.x + p.y + p.z + p.w;
}";

const BARRIER: &str = "
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
var<workgroup> tile: array<u32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    tile[lane] = id.x;
    for (var i = 0u; i < 400u; i++) {
        workgroupBarrier();
        let next = tile[(lane + 1u) % 64u];
        workgroupBarrier();
        tile[lane] = tile[lane] * 3u + next;
    }
    output[id.x] = tile[lane];
}";

fn main() -> Result<(), Box<dyn Error>> {
    for (name, source, profile) in
        [("integer", INTEGER, Profile::Exact), ("float", FLOAT, Profile::Float), ("barrier", BARRIER, Profile::Exact)]
    {
        let program = Kernel::admit(source.as_bytes(), profile)?.program()?;
        let dispatch = Dispatch { output_words: 4_096, workgroups: [64, 1, 1], ..Dispatch::default() };
        let all: Option<Vec<[u32; 3]>> = (0..dispatch.count()).map(|index| dispatch.workgroup(index)).collect();
        let started = Instant::now();
        let sample = program.run_workgroups(&dispatch, &all.unwrap_or_default())?;
        let micros = started.elapsed().as_micros().max(1);
        let rate = u128::from(sample.steps).checked_div(micros).unwrap_or(0);
        println!("{name}: {} operations in {micros} us: {rate} million per second", sample.steps);
    }
    Ok(())
}
