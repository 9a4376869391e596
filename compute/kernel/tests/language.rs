//! Every kind of statement, expression and variable, with answers computed here in Rust.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Tests: a panic is a failure.

use keystead_kernel::{Dispatch, Kernel, Profile, execute::Error};

const HEAD: &str = "
@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
";

const DISPATCH: Dispatch<'_> = Dispatch {
    common: &[10, 20, 30],
    unit: &[7, 0xffff_fffb, 3],
    output_words: 8,
    workgroups: [1; 3],
    loop_iterations_max: 1_000,
    steps_max: 1_000_000,
};

fn run(profile: Profile, source: &str, dispatch: &Dispatch<'_>) -> Result<Vec<u32>, Error> {
    let kernel = Kernel::admit(source.as_bytes(), profile).unwrap_or_else(|error| panic!("{error}\n{source}"));
    kernel.program().unwrap_or_else(|error| panic!("{error}\n{source}")).run(dispatch)
}

/// The output of one invocation with these declarations and this body.
fn one(declarations: &str, body: &str) -> Vec<u32> {
    let source = format!("{HEAD}{declarations} @compute @workgroup_size(1) fn main() {{ {body} }}");
    run(Profile::Exact, &source, &DISPATCH).unwrap()
}

fn float(body: &str) -> Vec<f32> {
    let source = format!("{HEAD} @compute @workgroup_size(1) fn main() {{ {body} }}");
    run(Profile::Float, &source, &DISPATCH).unwrap().into_iter().map(f32::from_bits).collect()
}

#[test]
fn variables_keep_what_was_stored_in_order() {
    let out = one(
        "",
        "var a = 1u; var b = a; a = 5u; let c = a; a = 9u; output[0] = a; output[1] = b; output[2] = c;
         var v = vec3<u32>(1u, 2u, 3u); v = v.zxy; v.y += 10u; let w = v; v.x = 0u; output[3] = v.x + v.y * 100u + v.z * 10000u;
         output[4] = w.x;",
    );
    assert_eq!(out[..5], [9, 1, 5, 20_000 + 1_100, 3]);
}

#[test]
fn a_vector_is_read_whole_before_any_part_of_it_is_overwritten() {
    let out = one(
        "",
        "var v = vec4<u32>(1u, 2u, 3u, 4u); v = v.wzyx; output[0] = v.x; output[1] = v.y; output[2] = v.z; output[3] = v.w;
         var a = array<vec2<u32>, 2>(vec2<u32>(5u, 6u), vec2<u32>(7u, 8u)); let i = unit_input[2] - 3u; a[i] = a[0].yx;
         output[4] = a[0].x * 10u + a[0].y;
         var s = array<u32, 3>(1u, 2u, 3u); s = array<u32, 3>(s[2], s[0], s[1]); output[5] = s[0] * 100u + s[1] * 10u + s[2];",
    );
    assert_eq!(out[..6], [4, 3, 2, 1, 65, 312]);
}

#[test]
fn a_value_outlives_a_change_of_its_variable() {
    let out = one(
        "fn change(p: ptr<function, u32>) -> u32 { *p = 100u; return 1u; }",
        "var x = 3u; let before = x + 0u; let same = x; let sum = same + change(&x); output[0] = before; output[1] = same; output[2] = sum; output[3] = x;
         var v = vec2<u32>(1u, 2u); let y = v.y; let whole = v; v = vec2<u32>(8u, 9u); output[4] = y; output[5] = whole.x; output[6] = v.x;
         var i = 0u; var kept = 0u; loop { let now = i; i++; if (now == 3u) { kept = now; break; } } output[7] = kept * 10u + i;",
    );
    assert_eq!(out, [3, 3, 4, 100, 2, 1, 8, 34]);
}

#[test]
fn a_component_that_is_stored_does_not_move_the_value_it_came_from() {
    // The operation that computed the component also has another name.
    let out = one(
        "",
        "let v = vec2<u32>(unit_input[0], unit_input[2]) + vec2<u32>(1u, 1u); var x: u32; x = v.y; output[0] = x; output[1] = v.y; x = 50u; output[2] = v.y;
         var y = 0u; y = unit_input[0] * 2u; var z = 0u; z = y; y = 1u; output[3] = z; output[4] = y;",
    );
    assert_eq!(out[..5], [4, 4, 4, 14, 1]);
}

#[test]
fn control_flow_goes_where_it_should() {
    let out = one(
        "fn pick(n: u32) -> u32 { switch n { case 1u, 2u: { return 12u; } case 5u: { if (n > 3u) { break; } return 1u; } default: { return 99u; } } return 5u; }",
        "output[0] = pick(1u) * 1000000u + pick(2u) * 10000u + pick(5u) * 100u + pick(7u);
         var s = 0u; for (var i = 0u; i < 10u; i++) { if (i == 3u) { continue; } if (i == 8u) { break; } s += i; } output[1] = s;
         var n = 0u; loop { n += 2u; continuing { n++; break if n > 10u; } } output[2] = n;
         var w = 20u; while (w > 3u) { w = w / 2u; } output[3] = w;
         var c = 0u; for (var i = 0u; i < 4u; i++) { switch i { case 1u: { continue; } case 2u: { break; } default: { c += 1u; } } c += 10u; } output[4] = c;
         var d = 0u; if (s > 5u && n > 100u) { d = 1u; } else if (s > 5u || n > 100u) { d = 2u; } else { d = 3u; } output[5] = d;
         let signed = bitcast<i32>(unit_input[1]); switch signed { case -5: { output[6] = 77u; } default: { output[6] = 1u; } }",
    );
    assert_eq!(out[..7], [12_120_599, 25, 12, 2, 32, 2, 77]);
}

#[test]
fn structures_arrays_matrices_and_pointers_hold_their_parts() {
    let out = one(
        "struct Inner { a: u32, b: vec3<u32> } struct Outer { first: u32, inner: array<Inner, 3>, last: i32 }
         var<private> kept: Outer; const TABLE = array<u32, 20>(1u,2u,3u,4u,5u,6u,7u,8u,9u,10u,11u,12u,13u,14u,15u,16u,17u,18u,19u,20u);
         fn fill(p: ptr<private, Outer>, at: u32) { (*p).inner[at].b = vec3<u32>(at, at + 1u, at + 2u); (*p).inner[at].a = 40u + at; }
         fn total(o: Outer) -> u32 { return o.inner[0].a + o.inner[1].b.z + o.inner[2].b.y + o.first; }
         fn add(p: ptr<function, array<u32, 4>>, i: u32) { (*p)[i] += 5u; }
         fn touch(p: ptr<function, u32>) { *p = *p * 2u; }",
        "for (var i = 0u; i < 3u; i++) { fill(&kept, i); } kept.first = 7u; output[0] = total(kept);
         var copy = kept; kept.first = 1u; copy.inner[unit_input[2] - 2u].a = 1000u; output[1] = copy.first * 10000u + copy.inner[1].a;
         let i = unit_input[0]; output[2] = TABLE[i] + TABLE[19u];
         var a = array<u32, 4>(1u, 2u, 3u, 4u); add(&a, 2u); var b = a[unit_input[2]]; touch(&b); a[3] = b; output[3] = a[2] * 100u + a[3];
         var v = vec4<u32>(0u); v[unit_input[2] - 1u] = 9u; output[4] = v.z; let w = vec4<u32>(5u, 6u, 7u, 8u); output[5] = w[unit_input[2]];
         output[6] = arrayLength(&common_input) * 100u + arrayLength(&output); output[7] = kept.inner[2].b[unit_input[2] - 2u];",
    );
    assert_eq!(out, [40 + 3 + 3 + 7, 71_000, 28, 808, 9, 8, 308, 3]);
}

#[test]
fn private_and_local_variables_begin_anew_in_each_invocation_and_call() {
    let source = format!(
        "{HEAD} var<private> count = 3u; fn local() -> u32 {{ var n: u32; var m = 5u; n += 1u; m += 1u; return n * 10u + m; }}
         @compute @workgroup_size(2) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ count += 1u; let x = local(); let y = local(); output[id.x] = count * 10000u + x * 100u + y; }}"
    );
    let out = run(Profile::Exact, &source, &Dispatch { workgroups: [2, 1, 1], ..DISPATCH }).unwrap();
    assert_eq!(out[..4], [41_616; 4]);
}

#[test]
fn built_in_values_are_those_of_the_dispatch() {
    let source = format!(
        "{HEAD} struct In {{ @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32> }}
         @compute @workgroup_size(2, 3, 1) fn main(in: In, @builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) index: u32) {{
            let at = (id.y * (in.groups.x * 2u) + id.x);
            output[at] = index + 10u * local.x + 100u * local.y + 1000u * in.group.x + 10000u * in.group.y + 100000u * in.groups.y; }}"
    );
    let out = run(Profile::Exact, &source, &Dispatch { workgroups: [2, 2, 1], output_words: 24, ..DISPATCH }).unwrap();
    for y in 0..6u32 {
        for x in 0..4u32 {
            let (lx, ly, gx, gy) = (x % 2, y % 3, x / 2, y / 3);
            let expected = ly * 2 + lx + 10 * lx + 100 * ly + 1_000 * gx + 10_000 * gy + 200_000;
            assert_eq!(out[(y * 4 + x) as usize], expected, "{x} {y}");
        }
    }
}

#[test]
fn barriers_let_each_invocation_see_what_the_others_wrote() {
    let source = format!(
        "{HEAD} var<workgroup> tile: array<u32, 64>; var<workgroup> sum: atomic<u32>; var<workgroup> flag: u32;
         fn step(lane: u32, by: u32) {{ var got = 0u; if (lane >= by) {{ got = tile[lane - by]; }} workgroupBarrier(); tile[lane] += got; workgroupBarrier(); }}
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32, @builtin(global_invocation_id) id: vec3<u32>) {{
            tile[lane] = id.x + 1u; atomicAdd(&sum, id.x); if (lane == 5u) {{ flag = 42u; }} workgroupBarrier();
            for (var by = 1u; by < 64u; by *= 2u) {{ step(lane, by); }}
            output[id.x] = tile[lane]; if (workgroupUniformLoad(&flag) == 42u && lane == 0u) {{ output[128u + id.x / 64u] = atomicLoad(&sum); }} }}"
    );
    let out = run(Profile::Exact, &source, &Dispatch { workgroups: [2, 1, 1], output_words: 130, ..DISPATCH }).unwrap();
    let mut sum = 0;
    for (at, word) in out.iter().take(128).enumerate() {
        sum = if at == 64 { 0 } else { sum } + at as u32 + 1;
        assert_eq!(*word, sum, "{at}");
    }
    assert_eq!(out[128..], [(0..64).sum::<u32>(), (64..128).sum()]);
}

#[test]
fn a_barrier_that_some_invocations_miss_is_an_error() {
    for body in [
        "if (lane < 3u) { workgroupBarrier(); } output[lane] = 1u;",
        "if (lane == 3u) { return; } workgroupBarrier();",
        "if (lane == 3u) { workgroupBarrier(); } else { workgroupBarrier(); }",
        "for (var i = 0u; i < lane; i++) { workgroupBarrier(); }",
    ] {
        let source = format!(
            "{HEAD} @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) lane: u32) {{ {body} }}"
        );
        assert_eq!(run(Profile::Exact, &source, &DISPATCH), Err(Error::UnevenBarrier { workgroup: [0; 3] }), "{body}");
    }
}

#[test]
fn an_index_outside_is_clamped_in_a_variable_and_nothing_in_a_buffer() {
    let out = one(
        "var<workgroup> shared_words: array<u32, 4>;",
        "var a = array<u32, 4>(1u, 2u, 3u, 4u); let i = unit_input[1]; a[i] = 9u; output[0] = a[3]; output[1] = a[i];
         shared_words[i] = 8u; output[2] = shared_words[3]; output[i] = 5u; output[3] = unit_input[i] + common_input[3u + unit_input[2]] + 1u;
         let s = bitcast<i32>(i); output[4] = a[s]; output[5] = 6u; output[8u + i / i] = 3u; let v = vec2<u32>(4u, 5u); output[6] = v[i];",
    );
    assert_eq!(out, [9, 9, 8, 1, 9, 6, 5, 0]);
}

#[test]
fn loops_are_counted_together_and_end_at_the_limit() {
    let source = format!(
        "{HEAD} fn inner(n: u32) -> u32 {{ var s = 0u; var i = 0u; while (i < n) {{ s = s * 3u + i; i++; }} return s; }}
         @compute @workgroup_size(1) fn main() {{ var s = 0u; for (var i = 0u; i < 10u; i++) {{ s += inner(unit_input[0]); }} output[0] = s; }}"
    );
    let with =
        |loop_iterations_max| run(Profile::Exact, &source, &Dispatch { unit: &[10], loop_iterations_max, ..DISPATCH });
    let inner = (0..10u32).fold(0u32, |s, i| s * 3 + i);
    assert_eq!(with(121).unwrap()[0], inner * 10);
    assert_eq!(with(120), Err(Error::LoopIterations { limit: 120, workgroup: [0; 3] }));
}

#[test]
fn floats_round_once_per_operation() {
    let out = float(
        "let a = 1.0 + f32(unit_input[0]) * 1e-8; output[0] = bitcast<u32>(a);
         let x = bitcast<f32>(0x3f800001u); let y = x * x - 1.0; output[1] = bitcast<u32>(y); output[2] = bitcast<u32>(fma(x, x, -1.0));
         var m = mat2x3<f32>(1.0, 2.0, 3.0, 4.0, 5.0, 6.0); m[1].y = f32(unit_input[0]); let p = m * vec2<f32>(10.0, 1.0); output[3] = bitcast<u32>(p.y);
         let t = transpose(m) * vec3<f32>(1.0, 1.0, 1.0); output[4] = bitcast<u32>(t.y);
         let r = frexp(f32(unit_input[0])); output[5] = bitcast<u32>(r.fract * f32(r.exp)); let f = modf(-2.5); output[6] = bitcast<u32>(f.fract - f.whole);
         output[7] = bitcast<u32>(determinant(mat3x3<f32>(2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, f32(unit_input[0]))));",
    );
    let x = f32::from_bits(0x3f80_0001);
    assert_eq!(out[..5], [1.0 + 7.0f32 * 1e-8, x * x - 1.0, x.mul_add(x, -1.0), 27.0, 17.0]);
    assert_eq!(out[5..], [7.0 / 8.0 * 3.0, 1.5, 2.0 * (21.0 - 2.0) + (1.0 - 3.0)]);
}

#[test]
fn equal_runs_give_equal_bytes_and_the_order_of_workgroups_does_not_matter() {
    let source = format!(
        "{HEAD} var<workgroup> t: array<u32, 8>; @compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{
            t[lane] = id.x * 2654435761u; workgroupBarrier(); output[id.x] = t[7u - lane] ^ common_input[lane % 3u]; }}"
    );
    let program = Kernel::admit(source.as_bytes(), Profile::Exact).unwrap().program().unwrap();
    let dispatch = Dispatch { workgroups: [16, 1, 1], output_words: 128, ..DISPATCH };
    let whole = program.run(&dispatch).unwrap();
    let mut ids: Vec<[u32; 3]> = (0..16).map(|at| dispatch.workgroup(at).unwrap()).collect();
    ids.reverse();
    ids.swap(3, 9);
    let sample = program.run_workgroups(&dispatch, &ids).unwrap();
    assert_eq!(sample.output, whole);
    assert_eq!(sample, program.run_workgroups(&dispatch, &ids).unwrap());
    let some = program.run_workgroups(&dispatch, &[[3, 0, 0], [3, 0, 0], [1, 0, 0]]).unwrap();
    let expected: Vec<(usize, u32)> = (8..16).chain(24..32).map(|at| (at, whole[at])).collect();
    assert_eq!(some.comparable().collect::<Vec<_>>(), expected);
    let refused = program.run_workgroups(&dispatch, &[[16, 0, 0]]);
    assert_eq!(refused, Err(Error::NoSuchWorkgroup { workgroup: [16, 0, 0], workgroups: [16, 1, 1] }));
}

#[test]
fn words_to_which_atomic_operations_add_cannot_be_compared_in_a_sample() {
    let source = "@group(0) @binding(2) var<storage, read_write> output: array<atomic<u32>>;
        @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3<u32>) { atomicAdd(&output[0], 1u); atomicStore(&output[id.x + 1u], id.x); }";
    let program = Kernel::admit(source.as_bytes(), Profile::Exact).unwrap().program().unwrap();
    let dispatch = Dispatch { workgroups: [2, 1, 1], output_words: 9, ..DISPATCH };
    assert_eq!(program.run(&dispatch).unwrap(), [8, 0, 1, 2, 3, 4, 5, 6, 7]);
    let sample = program.run_workgroups(&dispatch, &[[1, 0, 0]]).unwrap();
    assert_eq!(sample.comparable().collect::<Vec<_>>(), [(5, 4), (6, 5), (7, 6), (8, 7)]);
    assert_eq!(sample.combined_words(), 1);
}

#[test]
fn a_pointer_to_a_part_of_a_variable_is_no_argument() {
    // The translator for drivers panics on it: that would be a dead worker, and the provider's fault.
    let functions = "fn touch(p: ptr<function, u32>) { *p = 2u; }";
    for body in
        ["var a: array<u32, 4>; touch(&a[1]);", "var a: array<u32, 4>; let p = &a[unit_input[0] & 3u]; touch(p);"]
    {
        let source = format!("{HEAD}{functions} @compute @workgroup_size(1) fn main() {{ {body} output[0] = 1u; }}");
        let refused = Kernel::admit(source.as_bytes(), Profile::Exact).unwrap_err();
        assert!(refused.to_string().contains("pointer to a part"), "{refused}");
    }
}
