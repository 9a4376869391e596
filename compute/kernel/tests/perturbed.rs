//! The false second vendor on whole kernels: it differs, it stays close, it repeats itself, and it leaves integers alone.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // Tests: a panic is a failure.

use keystead_kernel::{
    Dispatch, Kernel, Profile,
    perturbed::{Perturbation, PerturbedProgram},
};

const FLOATS: &str = "
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
fn pull(at: vec3<f32>, other: vec3<f32>) -> vec3<f32> {
    let d = other - at; let r = inverseSqrt(dot(d, d) + 1.0);
    return d * (r * r * r);
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var p = vec3<f32>(f32(id.x) * 0.1, 1.0, -0.5); var v = vec3<f32>(0.0, 0.1, 0.2);
    for (var n = 0u; n < 50u; n++) {
        let a = pull(p, vec3<f32>(0.3, 0.2, 0.1)) + pull(p, vec3<f32>(-3.0, 2.0, 1.0)) + pull(p, vec3<f32>(5.0, -7.0, 0.7));
        v += a * 0.1; p += v * 0.1;
    }
    output[id.x] = v.x * p.y + v.z + sin(v.y) + exp(-abs(p.y));
}";

const INTEGERS: &str = "
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var h = id.x; for (var n = 0u; n < 50u; n++) { h = (h ^ (h >> 7u)) * 16777619u + n / 3u; } output[id.x] = h;
}";

const DISPATCH: Dispatch<'_> = Dispatch {
    common: &[],
    unit: &[],
    output_words: 256,
    workgroups: [4, 1, 1],
    loop_iterations_max: 1_000,
    steps_max: 100_000_000,
};

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().copied().map(f32::from_bits).collect()
}

#[test]
fn a_float_kernel_gives_other_bits_that_lie_close() {
    let kernel = Kernel::admit(FLOATS.as_bytes(), Profile::Float).unwrap();
    let reference = floats(&kernel.program().unwrap().run(&DISPATCH).unwrap());
    let mut answers = Vec::new();
    for seed in 0..8 {
        let vendor = PerturbedProgram::new(&kernel, Perturbation::all(seed)).unwrap();
        let words = vendor.run(&DISPATCH).unwrap();
        assert_eq!(words, vendor.run(&DISPATCH).unwrap(), "the same vendor twice");
        let got = floats(&words);
        let differing = reference.iter().zip(&got).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert!(differing > 200, "seed {seed}: {differing} of 256 words differ");
        for (at, (a, b)) in reference.iter().zip(&got).enumerate() {
            assert!((a - b).abs() <= 5e-3 * (1.0 + a.abs()), "seed {seed}: word {at}: {a} {b}");
        }
        answers.push(words);
    }
    answers.dedup();
    assert_eq!(answers.len(), 8, "each seed is another vendor");
}

#[test]
fn each_freedom_alone_changes_bits_and_none_changes_nothing() {
    let kernel = Kernel::admit(FLOATS.as_bytes(), Profile::Float).unwrap();
    let reference = kernel.program().unwrap().run(&DISPATCH).unwrap();
    let none = Perturbation::none(3);
    let run = |perturbation| PerturbedProgram::new(&kernel, perturbation).unwrap().run(&DISPATCH).unwrap();
    assert_eq!(run(none), reference);
    assert_ne!(run(Perturbation { contract: true, ..none }), reference);
    assert_ne!(run(Perturbation { reassociate: true, ..none }), reference);
    assert_ne!(run(Perturbation { truncate: true, ..none }), reference);
    assert_ne!(run(Perturbation { inaccurate: true, ..none }), reference);
}

#[test]
fn an_integer_kernel_gives_the_bits_of_the_reference() {
    let kernel = Kernel::admit(INTEGERS.as_bytes(), Profile::Exact).unwrap();
    let reference = kernel.program().unwrap().run(&DISPATCH).unwrap();
    for seed in 0..4 {
        let vendor = PerturbedProgram::new(&kernel, Perturbation::all(seed)).unwrap();
        assert_eq!(vendor.run(&DISPATCH).unwrap(), reference);
    }
}

#[test]
fn a_sample_of_the_false_vendor_is_part_of_its_whole() {
    let kernel = Kernel::admit(FLOATS.as_bytes(), Profile::Float).unwrap();
    let vendor = PerturbedProgram::new(&kernel, Perturbation::all(1)).unwrap();
    let whole = vendor.run(&DISPATCH).unwrap();
    let sample = vendor.run_workgroups(&DISPATCH, &[[2, 0, 0]]).unwrap();
    let expected: Vec<(usize, u32)> = (128..192).map(|at| (at, whole[at])).collect();
    assert_eq!(sample.comparable().collect::<Vec<_>>(), expected);
}
