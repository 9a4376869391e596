//! `wasm/1` in real workers.

use crate::machine::{block_on, command, is_gone, job, open, run_one, until};
use keystead_job::{Limits, Runtime};
use keystead_runner::{Done, Failure, Fault, Job, Limit, Said, Work, measure};
use std::time::{Duration, Instant};

crate::tests![
    a_unit_sees_common_and_unit_input_and_gives_its_output,
    the_same_unit_gives_the_same_bytes_and_fuel_in_every_worker,
    nothing_passes_from_one_unit_to_the_next,
    a_negative_result_is_the_programs_own_error_and_the_worker_goes_on,
    traps_are_the_jobs_fault_and_the_worker_goes_on,
    fuel_bounds_the_work,
    memory_grows_exactly_up_to_the_limit,
    a_memory_that_begins_above_the_limit_is_refused,
    an_import_is_refused_by_name,
    what_a_program_says_is_heard_in_order_at_once_and_changes_nothing,
    a_line_outside_the_memory_is_a_trap,
    a_flood_of_lines_is_cut_off_and_costs_the_same_fuel_each_time,
    missing_or_wrong_exports_are_refused_by_name,
    bytes_that_are_no_module_are_refused,
    proposals_outside_the_profile_are_refused,
    an_oversized_module_is_refused_before_a_worker_starts,
    an_output_fits_exactly_up_to_the_limit,
    an_output_outside_the_memory_is_a_trap,
    endless_recursion_hits_the_stack_limit,
    an_endless_start_function_hits_the_fuel_limit,
    an_endless_loop_is_killed_at_the_deadline_and_the_next_unit_works,
    large_inputs_and_outputs_pass_whole,
    a_table_beyond_the_limit_is_refused,
    the_speed_is_measured_in_a_worker_and_is_that_of_a_machine,
];

pub(crate) const LIMITS: Limits = Limits {
    wall_ms_max: 20_000,
    fuel_max: 1_000_000_000,
    memory_bytes_max: 4 << 20,
    output_bytes_max: 64 << 10,
    loop_iterations_max: 0,
    workgroups: [0; 3],
};

/// A module with memory, a bump allocator and this `run` body.
pub(crate) fn module(extra: &str, run: &str) -> Vec<u8> {
    with_import("", extra, run)
}

/// The same with an import, which stands before everything else.
fn with_import(import: &str, extra: &str, run: &str) -> Vec<u8> {
    let text = format!(
        "(module {import}
           (memory (export \"memory\") 2)
           (global $top (mut i32) (i32.const 4096))
           {extra}
           (func (export \"alloc\") (param $length i32) (result i32)
             global.get $top
             (global.set $top (i32.add (global.get $top) (local.get $length))))
           (func $run (export \"run\") (param $c i32) (param $cn i32) (param $u i32) (param $un i32) (result i64) {run}))"
    );
    wat::parse_str(text).unwrap()
}

/// Gives back common and unit input, which lie one behind the other.
pub(crate) const ECHO: &str = "(i64.or
    (i64.shl (i64.extend_i32_u (local.get $c)) (i64.const 32))
    (i64.extend_i32_u (i32.add (local.get $cn) (local.get $un))))";

/// Lets a program say lines.
const LOG: &str = "(import \"keystead\" \"log\" (func $log (param i32 i32)))";

/// Never ends.
pub(crate) const SPIN: &str = "(loop $l (br $l)) unreachable";

/// Ends at once if the unit input is empty, else never.
pub(crate) const SPIN_IF_INPUT: &str = "(if (local.get $un) (then (loop $l (br $l)))) (i64.const 0)";

pub(crate) fn wasm(program: &[u8], common: &[u8], change: impl FnOnce(&mut Limits)) -> Job {
    let mut limits = LIMITS;
    change(&mut limits);
    job(Runtime::Wasm1, program, common, limits)
}

fn fails(program: &[u8]) -> Failure {
    run_one(wasm(program, b"", |_| ()), b"").unwrap_err()
}

fn refused(text: &str) -> String {
    match fails(&wat::parse_str(text).unwrap()) {
        Failure::KernelRejected { why } => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn a_unit_sees_common_and_unit_input_and_gives_its_output() {
    block_on(async {
        let mut session = open(wasm(&module("", ECHO), b"common ", |_| ())).await.unwrap();
        let first_worker = session.worker_pid();
        for unit in [&b"one"[..], b"two", b"", &[0xff; 5_000]] {
            let done = session.run(unit).await.unwrap();
            assert_eq!(done.output, [b"common ", unit].concat());
        }
        assert_eq!(session.worker_pid(), first_worker, "one warm worker for all units");
        assert!(session.engine().contains("wasmtime-48"), "{}", session.engine());
    });
}

fn the_same_unit_gives_the_same_bytes_and_fuel_in_every_worker() {
    let mix = "(local $i i32) (local $h i64)
        (loop $next
          (local.set $h (i64.mul (i64.xor (local.get $h) (i64.extend_i32_u (local.get $i))) (i64.const 0x9e3779b97f4a7c15)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $i) (i32.const 100000))))
        (i64.store (i32.const 0) (local.get $h))
        (i64.const 8)";
    let job = wasm(&module("", mix), b"", |_| ());
    let mut seen = Vec::new();
    for _ in 0..2 {
        block_on(async {
            let mut session = open(job.clone()).await.unwrap();
            for _ in 0..2 {
                let done = session.run(b"unit").await.unwrap();
                seen.push((done.output, done.usage.fuel));
            }
        });
    }
    let mut h = 0u64;
    for i in 0..100_000u64 {
        h = (h ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    assert_eq!(seen[0].0, h.to_le_bytes(), "the loop's result, computed here");
    assert!(seen[0].1 > 100_000, "fuel {}", seen[0].1);
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}

fn nothing_passes_from_one_unit_to_the_next() {
    // Counts its calls in a global and in memory: both must begin anew.
    let count = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
        (i32.store (i32.const 0) (i32.add (global.get $calls) (i32.load (i32.const 8))))
        (i64.const 4)";
    let job = wasm(&module("(global $calls (mut i32) (i32.const 0))", count), b"", |_| ());
    block_on(async {
        let mut session = open(job).await.unwrap();
        for _ in 0..3 {
            assert_eq!(session.run(b"").await.unwrap().output, 2u32.to_le_bytes());
        }
    });
}

fn a_negative_result_is_the_programs_own_error_and_the_worker_goes_on() {
    let run = format!("(if (i32.eqz (local.get $un)) (then (return (i64.const -42)))) {ECHO}");
    block_on(async {
        let mut session = open(wasm(&module("", &run), b"", |_| ())).await.unwrap();
        let worker = session.worker_pid();
        let failure = session.run(b"").await.unwrap_err();
        assert_eq!(failure, Failure::JobError { code: -42 });
        assert_eq!(failure.fault(), Fault::Job);
        assert_eq!(session.run(b"x").await.unwrap().output, b"x");
        assert_eq!(session.worker_pid(), worker);
    });
}

fn traps_are_the_jobs_fault_and_the_worker_goes_on() {
    let cases = [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (local.get $un))) (i64.const 0)", "divide by zero"),
        ("(drop (i32.load (i32.const -4))) (i64.const 0)", "out of bounds memory"),
        ("(drop (i32.trunc_f32_s (f32.const 1e30))) (i64.const 0)", "integer overflow"),
    ];
    for (body, word) in cases {
        let body = format!("(if (i32.eqz (local.get $un)) (then (return (block (result i64) {body})))) {ECHO}");
        block_on(async {
            let mut session = open(wasm(&module("", &body), b"", |_| ())).await.unwrap();
            let worker = session.worker_pid();
            let failure = session.run(b"").await.unwrap_err();
            assert!(matches!(&failure, Failure::Trapped { why } if why.contains(word)), "{failure:?}");
            assert_eq!(failure.fault(), Fault::Job);
            assert_eq!(session.run(b"x").await.unwrap().output, b"x");
            assert_eq!(session.worker_pid(), worker);
        });
    }
}

fn fuel_bounds_the_work() {
    // The engine looks at the fuel when a loop begins again, so a limit is exact to one round of this loop.
    let run = format!(
        "(local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) {ECHO}"
    );
    let program = module("", &run);
    let used = run_one(wasm(&program, b"c", |_| ()), b"u").unwrap().usage.fuel;
    let with = |fuel| run_one(wasm(&program, b"c", |limits| limits.fuel_max = fuel), b"u");
    assert_eq!(with(used).unwrap().output, b"cu");
    let limit = used - 30;
    let failure = with(limit).unwrap_err();
    assert_eq!(failure, Failure::LimitHit { which: Limit::Fuel, limit, got: None });
    assert_eq!(failure.fault(), Fault::Job);
}

fn memory_grows_exactly_up_to_the_limit() {
    // Grows by as many pages as the unit input is long; gives up (traps) if that fails.
    let grow = "(if (i32.eq (memory.grow (local.get $un)) (i32.const -1)) (then unreachable)) (i64.const 0)";
    let job = wasm(&module("", grow), b"", |limits| limits.memory_bytes_max = 10 * 65_536);
    block_on(async {
        let mut session = open(job).await.unwrap();
        assert!(session.run(&[0; 8]).await.is_ok(), "2 pages and 8 more are the 10 allowed");
        let failure = session.run(&[0; 9]).await.unwrap_err();
        let (limit, got) = (10 * 65_536, Some(11 * 65_536));
        assert_eq!(failure, Failure::LimitHit { which: Limit::MemoryBytes, limit, got });
        assert!(session.run(&[0; 8]).await.is_ok());
    });
}

fn a_memory_that_begins_above_the_limit_is_refused() {
    let program = module("", ECHO);
    let failure = run_one(wasm(&program, b"", |limits| limits.memory_bytes_max = 65_536), b"").unwrap_err();
    assert_eq!(failure, Failure::LimitHit { which: Limit::MemoryBytes, limit: 65_536, got: Some(131_072) });
    assert!(run_one(wasm(&program, b"", |limits| limits.memory_bytes_max = 131_072), b"").is_ok());
}

fn an_import_is_refused_by_name() {
    let why = refused(
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))))",
    );
    assert!(why.contains("wasi_snapshot_preview1") && why.contains("fd_write"), "{why}");
    // Of another name, another type, another kind, or twice.
    for import in [
        "(import \"keystead\" \"print\" (func (param i32 i32)))",
        "(import \"keystead\" \"log\" (func (param i32)))",
        "(import \"keystead\" \"log\" (func (param i32 i32) (result i32)))",
        "(import \"keystead\" \"log\" (func (param i32 i64)))",
        "(import \"keystead\" \"log\" (global i32))",
    ] {
        let why = refused(&format!("(module {import})"));
        assert!(why.contains("no import but keystead.log") && why.contains("from \"keystead\""), "{import}: {why}");
    }
    assert!(refused(&format!("(module {LOG} {})", LOG.replace("$log", ""))).contains("too many imports"));
}

/// One unit of a program, with what it says.
fn heard(job: Job, unit: &[u8]) -> (Result<Done, Failure>, Vec<Said>) {
    let mut said = Vec::new();
    let outcome = block_on(async { open(job).await.unwrap().run_heard(unit, &mut |one| said.push(one)).await });
    (outcome, said)
}

fn line(text: &str) -> Said {
    Said::Line(text.as_bytes().to_vec())
}

fn what_a_program_says_is_heard_in_order_at_once_and_changes_nothing() {
    let data = "(data (i32.const 0) \"onetwo\")";
    let three = "(call $log (i32.const 0) (i32.const 3)) (call $log (i32.const 3) (i32.const 3))
        (call $log (local.get $u) (local.get $un))";
    let says = wasm(&with_import(LOG, data, &format!("{three} {ECHO}")), b"", |_| ());
    let (outcome, said) = heard(says.clone(), b"the unit\n");
    assert_eq!(said, [line("one"), line("two"), line("the unit\n")]);
    assert_eq!(said[2].text(), "the unit");
    let done = outcome.unwrap();
    assert_eq!(done.output, b"the unit\n");
    // Nobody listens: the same output, the same fuel.
    let unheard = run_one(says, b"the unit\n").unwrap();
    assert_eq!((unheard.output, unheard.usage.fuel), (done.output, done.usage.fuel));
    // Each line costs 1,000 and its few instructions.
    let silent = run_one(wasm(&with_import(LOG, data, ECHO), b"", |_| ()), b"the unit\n").unwrap();
    let more = done.usage.fuel - silent.usage.fuel;
    assert!((3_000..3_100).contains(&more), "{more}");
    // What is said before an endless loop is heard although the unit never answers.
    let stuck = with_import(LOG, data, &format!("{three} {SPIN}"));
    let (outcome, said) = heard(
        wasm(&stuck, b"", |limits| {
            limits.wall_ms_max = 1_000;
            limits.fuel_max = 10_000_000_000_000;
        }),
        b"x",
    );
    assert!(matches!(outcome, Err(Failure::LimitHit { which: Limit::WallMs, .. })), "{outcome:?}");
    assert_eq!(said, [line("one"), line("two"), line("x")]);
}

fn a_line_outside_the_memory_is_a_trap() {
    let says = |at: &str, bytes: &str| {
        let run = format!("(call $log (i32.const {at}) (i32.const {bytes})) (i64.const 0)");
        heard(wasm(&with_import(LOG, "", &run), b"", |_| ()), b"")
    };
    // The memory has two pages; of a long line the beginning is heard.
    for (at, bytes, length) in [("131071", "1", 1), ("131072", "0", 0), ("0", "131072", 200)] {
        let (outcome, said) = says(at, bytes);
        assert!(outcome.is_ok(), "{at} {bytes}: {outcome:?}");
        assert_eq!(said, [Said::Line(vec![0; length])], "{at} {bytes}");
    }
    for (at, bytes) in [("131071", "2"), ("131073", "0"), ("-1", "1"), ("0", "-1"), ("-1", "-1"), ("0", "131073")] {
        let (outcome, said) = says(at, bytes);
        assert!(matches!(&outcome, Err(Failure::Trapped { why }) if why.contains("out of bounds")), "{outcome:?}");
        assert!(said.is_empty(), "{at} {bytes}");
    }
}

fn a_flood_of_lines_is_cut_off_and_costs_the_same_fuel_each_time() {
    let flood = with_import(LOG, "", "(loop $l (call $log (i32.const 0) (i32.const 131072)) (br $l)) unreachable");
    let mut left_out = Vec::new();
    for _ in 0..2 {
        let (outcome, said) = heard(wasm(&flood, b"", |limits| limits.fuel_max = 10_000_000), b"");
        let expected = Failure::LimitHit { which: Limit::Fuel, limit: 10_000_000, got: None };
        assert_eq!(outcome, Err(expected));
        let (last, lines) = said.split_last().unwrap();
        assert_eq!(lines, vec![Said::Line(vec![0; 200]); 64]);
        left_out.push(last.clone());
    }
    assert!(matches!(left_out[0], Said::LeftOut(9_800..=9_936)), "{left_out:?}");
    assert_eq!(left_out[0], left_out[1]);
}

fn missing_or_wrong_exports_are_refused_by_name() {
    let memory = "(memory (export \"memory\") 1)";
    let alloc = "(func (export \"alloc\") (param i32) (result i32) i32.const 0)";
    let run = "(func (export \"run\") (param i32 i32 i32 i32) (result i64) i64.const 0)";
    assert!(refused("(module)").contains("memory"));
    assert!(refused(&format!("(module {memory} {run})")).contains("alloc"));
    assert!(refused(&format!("(module {memory} {alloc})")).contains("run"));
    assert!(refused(&format!("(module {memory} {alloc} (global (export \"run\") i32 i32.const 0))")).contains("run"));
    let wrong = "(func (export \"run\") (param i32 i32 i32 i32) (result i32) i32.const 0)";
    assert!(refused(&format!("(module {memory} {alloc} {wrong})")).contains("run"));
    let empty = wat::parse_str(format!("(module {memory} {alloc} {run})")).unwrap();
    assert_eq!(run_one(wasm(&empty, b"", |_| ()), b"").unwrap().output, b"");
}

fn bytes_that_are_no_module_are_refused() {
    let good = module("", ECHO);
    let text = b"(module (memory (export \"memory\") 1))";
    for bytes in [&b""[..], b"\0asm", text, &[0xff; 1_000], &good[..good.len() - 3]] {
        let failure = fails(bytes);
        assert!(matches!(failure, Failure::KernelRejected { .. }), "{failure:?}");
        assert_eq!(failure.fault(), Fault::Job);
    }
}

fn proposals_outside_the_profile_are_refused() {
    for text in [
        "(module (memory i64 1))",
        "(module (memory 1) (memory 1))",
        "(module (memory 1 2 shared))",
        "(module (func (result v128) (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))",
        "(module (type (struct (field i32))) (func (result anyref) (struct.new 0 (i32.const 1))))",
    ] {
        assert!(!refused(text).contains("does not export"), "{text}: must fail validation, not the interface check");
    }
    // SIMD itself is part of the profile.
    let simd = "(i32.store (i32.const 0) (i32x4.extract_lane 2 (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 5 6 7 8))))
        (i64.const 4)";
    assert_eq!(run_one(wasm(&module("", simd), b"", |_| ()), b"").unwrap().output, 10u32.to_le_bytes());
}

fn an_oversized_module_is_refused_before_a_worker_starts() {
    let bytes = vec![0; 16_777_217];
    let failure = fails(&bytes);
    let which = Limit::ProgramBytes;
    assert_eq!(failure, Failure::LimitHit { which, limit: 16_777_216, got: Some(16_777_217) });
    assert!(matches!(fails(&bytes[1..]), Failure::KernelRejected { .. }), "the largest size is looked at");
}

fn an_output_fits_exactly_up_to_the_limit() {
    block_on(async {
        let job = wasm(&module("", ECHO), b"", |limits| limits.output_bytes_max = 100);
        let mut session = open(job).await.unwrap();
        assert_eq!(session.run(&[7; 100]).await.unwrap().output, [7; 100]);
        let failure = session.run(&[7; 101]).await.unwrap_err();
        assert_eq!(failure, Failure::LimitHit { which: Limit::OutputBytes, limit: 100, got: Some(101) });
        assert_eq!(session.run(b"").await.unwrap().output, b"");
    });
}

fn an_output_outside_the_memory_is_a_trap() {
    for packed in ["0x1fff900000008", "0x7fffffff00000001"] {
        let failure = fails(&module("", &format!("(i64.const {packed})")));
        assert!(matches!(&failure, Failure::Trapped { why } if why.contains("outside the memory")), "{failure:?}");
    }
    let bad_alloc = "(module (memory (export \"memory\") 1)
        (func (export \"alloc\") (param i32) (result i32) i32.const -8)
        (func (export \"run\") (param i32 i32 i32 i32) (result i64) i64.const 0))";
    let failure = run_one(wasm(&wat::parse_str(bad_alloc).unwrap(), b"common", |_| ()), b"").unwrap_err();
    assert!(matches!(&failure, Failure::Trapped { why } if why.contains("alloc")), "{failure:?}");
}

fn endless_recursion_hits_the_stack_limit() {
    let run = "(call $run (local.get 0) (local.get 1) (local.get 2) (local.get 3)) (i64.const 1) i64.add";
    let failure = fails(&module("", run));
    assert_eq!(failure, Failure::LimitHit { which: Limit::StackBytes, limit: 1 << 20, got: None });
}

fn an_endless_start_function_hits_the_fuel_limit() {
    let program = module("(func $begin (loop $l (br $l))) (start $begin)", ECHO);
    let failure = run_one(wasm(&program, b"", |limits| limits.fuel_max = 1_000_000), b"").unwrap_err();
    assert!(matches!(failure, Failure::LimitHit { which: Limit::Fuel, .. }), "{failure:?}");
}

fn an_endless_loop_is_killed_at_the_deadline_and_the_next_unit_works() {
    let job = wasm(&module("", SPIN_IF_INPUT), b"", |limits| {
        limits.fuel_max = 10_000_000_000_000;
        limits.wall_ms_max = 300;
    });
    block_on(async {
        let mut session = open(job).await.unwrap();
        let first = session.worker_pid().unwrap();
        let started = Instant::now();
        let failure = session.run(b"spin").await.unwrap_err();
        assert_eq!(failure, Failure::LimitHit { which: Limit::WallMs, limit: 300, got: None });
        assert_eq!(failure.fault(), Fault::Undecided);
        let took = started.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&took), "{took:?}");
        until("the worker is gone", || is_gone(first));
        assert_eq!(session.run(b"").await.unwrap().output, b"", "a new worker takes over");
        assert_ne!(session.worker_pid(), Some(first));
    });
}

fn large_inputs_and_outputs_pass_whole() {
    let limits = |limits: &mut Limits| {
        limits.memory_bytes_max = 64 << 20;
        limits.output_bytes_max = 33 << 20;
    };
    let roomy = module_with_pages(900);
    let (common, unit): (Vec<u8>, Vec<u8>) =
        ((0..16u32 << 20).map(|i| i as u8).collect(), (0..16u32 << 20).map(|i| (i >> 7) as u8).collect());
    let done = run_one(wasm(&roomy, &common, limits), &unit).unwrap();
    assert!(done.output == [common, unit].concat(), "32 MiB through two pipes");
}

/// The echo module with a larger memory.
fn module_with_pages(pages: u32) -> Vec<u8> {
    let text = format!(
        "(module
           (memory (export \"memory\") {pages})
           (global $top (mut i32) (i32.const 4096))
           (func (export \"alloc\") (param $length i32) (result i32)
             global.get $top
             (global.set $top (i32.add (global.get $top) (local.get $length))))
           (func (export \"run\") (param $c i32) (param $cn i32) (param $u i32) (param $un i32) (result i64) {ECHO}))"
    );
    wat::parse_str(text).unwrap()
}

fn a_table_beyond_the_limit_is_refused() {
    let with = |elements: u32| run_one(wasm(&module(&format!("(table {elements} funcref)"), ECHO), b"", |_| ()), b"x");
    assert!(with(100_000).is_ok());
    let failure = with(100_001).unwrap_err();
    assert!(matches!(&failure, Failure::KernelRejected { why } if why.contains("table")), "{failure:?}");
    let two = run_one(wasm(&module("(table 1 funcref) (table 1 funcref)", ECHO), b"", |_| ()), b"x").unwrap_err();
    assert!(matches!(&two, Failure::KernelRejected { why } if why.contains("table")), "{two:?}");
}

fn the_speed_is_measured_in_a_worker_and_is_that_of_a_machine() {
    let speeds = block_on(measure(&command(), Runtime::Wasm1, 0)).unwrap();
    eprintln!("speeds: {speeds:?}");
    assert_eq!(speeds.iter().map(|speed| speed.work).collect::<Vec<_>>(), [Work::Wasm]);
    // Compiled code makes hundreds of millions of instructions a second on anything, and no processor a million million.
    assert!((20..1_000_000).contains(&speeds[0].mop_per_s), "{speeds:?}");
}
