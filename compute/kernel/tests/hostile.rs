//! Hostile kernels: each ends in a typed error or a result, in bounded time and memory.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::disallowed_methods)] // Tests: a panic is a failure; a thread gives the stack that a worker has.

use keystead_kernel::{Dispatch, Kernel, Profile, admit, compile, execute::Error};

const HEAD: &str = "@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;";

const DISPATCH: Dispatch<'_> = Dispatch {
    common: &[],
    unit: &[5],
    output_words: 64,
    workgroups: [1; 3],
    loop_iterations_max: 32_768,
    steps_max: 10_000_000,
};

/// On the stack that a worker has.
fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(64 << 20).spawn(work).unwrap().join().unwrap()
}

fn kernel(declarations: &str, body: &str) -> String {
    format!(
        "{HEAD}{declarations} @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {{ {body} }}"
    )
}

fn admitted(source: &str) -> Kernel {
    Kernel::admit(source.as_bytes(), Profile::Exact).unwrap_or_else(|error| panic!("{error}"))
}

fn run(source: &str) -> Result<Vec<u32>, Error> {
    admitted(source).program().unwrap().run(&DISPATCH)
}

#[test]
fn endless_loops_end_at_the_loop_limit() {
    for body in [
        "loop { output[0] += 1u; if (unit_input[0] == 77u) { break; } }",
        "var n = 0u; loop { n += 1u; continuing { break if unit_input[0] == 77u; } }",
        "while (true) { loop { output[0] += 1u; if (unit_input[0] == 77u) { break; } } }",
        "loop { switch unit_input[0] { case 5u: { continue; } default: { break; } } if (unit_input[0] == 6u) { break; } }",
        "loop { workgroupBarrier(); if (unit_input[0] == 77u) { break; } }",
    ] {
        let dispatch = Dispatch { steps_max: 200_000_000, ..DISPATCH };
        let outcome = admitted(&kernel("", body)).program().unwrap().run(&dispatch);
        assert!(matches!(outcome, Err(Error::LoopIterations { limit: 32_768, .. })), "{body}: {outcome:?}");
    }
}

#[test]
fn a_tower_of_calls_ends_at_the_step_limit() {
    // Each function calls the one before twice: 2^40 calls without one loop.
    let mut declarations = "var<private> n: u32; fn f0() { n += 1u; }".to_owned();
    for level in 1..40 {
        let below = level - 1;
        declarations.push_str(&format!("fn f{level}() {{ f{below}(); f{below}(); }}"));
    }
    assert_eq!(run(&kernel(&declarations, "f39(); output[0] = n;")), Err(Error::Steps { max: 10_000_000 }));
}

#[test]
fn moving_large_arrays_counts_as_much_as_it_moves() {
    let body = "var t: array<u32, 1000000>; for (var n = 0u; n < 30000u; n++) { var s = t; s[n] = 1u; t = s; } output[0] = t[7];";
    assert_eq!(run(&kernel("", body)), Err(Error::Steps { max: 10_000_000 }));
}

#[test]
fn setting_up_invocations_counts_as_much_as_it_moves() {
    let source = kernel("var<private> big: array<u32, 1000000>;", "output[0] = big[lane];");
    let started = std::time::Instant::now();
    let dispatch = Dispatch { workgroups: [65_535, 65_535, 1], ..DISPATCH };
    assert_eq!(admitted(&source).program().unwrap().run(&dispatch), Err(Error::Steps { max: 10_000_000 }));
    assert!(started.elapsed().as_secs() < 20, "nothing near the work of all workgroups");
}

#[test]
fn arrays_beyond_the_register_file_are_refused_before_they_are_allocated() {
    for declarations in [
        "var<private> t: array<u32, 4194305>;",
        "var<private> t: array<array<u32, 16384>, 16384>;",
        "struct S { a: array<u32, 3000000>, b: array<u32, 3000000> } var<private> t: S;",
    ] {
        let refused = admitted(&kernel(declarations, "output[0] = 1u;")).program();
        assert!(matches!(refused, Err(compile::Error::TooLarge { .. })), "{declarations}: {refused:?}");
    }
    let locals = kernel("", "var a: array<u32, 3000000>; var b: array<u32, 3000000>; output[0] = a[lane] + b[lane];");
    assert!(matches!(admitted(&locals).program(), Err(compile::Error::TooLarge { what: "registers", .. })));
    // With barriers all invocations live at once.
    let wide = kernel("", "var t: array<u32, 300000>; t[lane] = 1u; workgroupBarrier(); output[lane] = t[lane];");
    assert!(matches!(run(&wide), Err(Error::TooLarge { what: "registers of a workgroup", max: 16_777_216, .. })));
}

#[test]
fn recursion_and_self_containing_types_are_refused_by_the_translator() {
    for declarations in
        ["fn f() { f(); }", "fn f() { g(); } fn g() { f(); }", "struct S { s: S }", "const a = b; const b = a;"]
    {
        let refused = Kernel::admit(kernel(declarations, "output[0] = 1u;").as_bytes(), Profile::Exact);
        assert!(refused.is_err(), "{declarations}");
    }
}

#[test]
fn sources_that_nest_as_deep_as_they_are_long_end_in_an_error_or_a_program() {
    let repeat =
        |open: &str, middle: &str, close: &str, count| format!("{}{middle}{}", open.repeat(count), close.repeat(count));
    let sources = [
        kernel("", &format!("output[0] = {};", repeat("(", "1u", ")", 120_000))),
        kernel("", &format!("output[0] = {}unit_input[0];", "-".repeat(200_000))),
        kernel("", &format!("output[0] = {};", repeat("min(unit_input[0],", "1u", ")", 10_000))),
        kernel("", &repeat("{", "", "}", 120_000)),
        kernel("", &repeat("if (unit_input[0] == 1u) {", "output[0] = 1u;", "}", 8_000)),
        kernel("", &repeat("loop { ", "output[0] = 1u;", "break; }", 12_000)),
        kernel(&format!("var<private> t: {};", repeat("array<", "u32", ",1>", 20_000)), "output[0] = 1u;"),
        kernel("", &format!("output[0] = unit_input[0]{};", "+unit_input[0]".repeat(4_000))),
        kernel("", &format!("var x = unit_input[0]; {} output[0] = x;", "x = x * 3u + 1u;".repeat(4_000))),
        kernel(
            "",
            &format!(
                "var t = array<u32, 9>(); {} output[0] = t[0];",
                "t = array<u32, 9>(t[1],t[2],t[3],t[4],t[5],t[6],t[7],t[8],t[0]);".repeat(800)
            ),
        ),
        " ".repeat(262_144),
        "@".repeat(262_144),
        "fn ".repeat(80_000),
    ];
    for (number, source) in sources.into_iter().enumerate() {
        let started = std::time::Instant::now();
        let began = source.chars().take(60).collect::<String>();
        let outcome = deep(move || match Kernel::admit(source.as_bytes(), Profile::Exact) {
            Ok(kernel) => kernel.program().map(|program| program.run(&DISPATCH).is_ok()).is_ok(),
            Err(_) => false,
        });
        println!("source {number} ({began}...): a program: {outcome} {:?}", started.elapsed());
    }
}

#[test]
fn a_source_has_at_most_256_kib() {
    let source = kernel("", "output[0] = 1u;");
    let padded = |bytes: usize| format!("{source}{}", " ".repeat(bytes - source.len()));
    assert!(Kernel::admit(padded(262_144).as_bytes(), Profile::Exact).is_ok());
    let refused = Kernel::admit(padded(262_145).as_bytes(), Profile::Exact).unwrap_err();
    assert_eq!(refused, admit::Error::TooLarge { got: 262_145, max: 262_144 });
}

#[test]
fn constants_that_double_are_bounded() {
    let mut declarations = "const c0 = array<u32, 2>(1u, 2u);".to_owned();
    let mut ty = "array<u32, 2>".to_owned();
    for level in 1..24 {
        let below = level - 1;
        ty = format!("array<{ty}, 2>");
        declarations.push_str(&format!("const c{level} = {ty}(c{below}, c{below});"));
    }
    let index = "[1]".repeat(24);
    let source = kernel(&declarations, &format!("let whole = c23; output[0] = whole{index};"));
    let outcome =
        deep(move || Kernel::admit(source.as_bytes(), Profile::Exact).map(|kernel| kernel.program().map(drop)));
    assert!(!matches!(outcome, Ok(Ok(()))), "2^25 words fit nowhere: {outcome:?}");
}

#[test]
fn floats_of_other_widths_and_64_bit_integers_are_refused_in_both_profiles() {
    for body in
        ["let x = 1.0lf; output[0] = u32(x);", "let x = 5lu; output[0] = u32(x);", "let x = 1.0h; output[0] = u32(x);"]
    {
        for profile in [Profile::Exact, Profile::Float] {
            assert!(Kernel::admit(kernel("", body).as_bytes(), profile).is_err(), "{body}");
        }
    }
    let half = format!("enable f16; {}", kernel("", "let x = f16(1.0); output[0] = u32(x);"));
    assert!(Kernel::admit(half.as_bytes(), Profile::Float).is_err());
}
