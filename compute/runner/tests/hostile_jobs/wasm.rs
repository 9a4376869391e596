//! Hostile programs for `wasm/1`: bombs at compile time and at run time, lies about pointers, wishes for more.

use crate::{
    Test,
    host::Host,
    machine::{job, run_one},
};
use keystead_job::{Limits, Runtime};
use keystead_runner::{Failure, Fault, Limit};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Longest life of any hostile program, with its start and the host's check.
const LIFE_MAX: Duration = Duration::from_secs(90);

const LIMITS: Limits = Limits {
    wall_ms_max: 20_000,
    fuel_max: 1_000_000_000,
    memory_bytes_max: 4 << 20,
    output_bytes_max: 64 << 10,
    loop_iterations_max: 0,
    workgroups: [0; 3],
};

/// How a hostile program must end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Refused before it runs; the message has this word.
    Refused(&'static str),
    /// Stopped by a declared limit.
    Limit(Limit),
    /// Did what its machine forbids.
    Trapped,
    /// Its own error code.
    Code(i64),
    /// Runs and harms nobody.
    Runs,
}

/// A program with its name and end.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    end: End,
    program: fn() -> Vec<u8>,
    limits: fn(&mut Limits),
}

const fn case(name: &'static str, end: End, program: fn() -> Vec<u8>) -> Case {
    Case { name, end, program, limits: |_| () }
}

/// The same with other limits.
const fn bounded(name: &'static str, end: End, program: fn() -> Vec<u8>, limits: fn(&mut Limits)) -> Case {
    Case { name, end, program, limits }
}

const fn short(limits: &mut Limits) {
    limits.wall_ms_max = 500;
    limits.fuel_max = 10_000_000_000_000;
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    case("memory-bomb", End::Limit(Limit::MemoryBytes), || {
        runs("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable")
    }),
    bounded(
        "memory-bomb-that-never-gives-up",
        End::Limit(Limit::Fuel),
        || runs("(loop $l (drop (memory.grow (i32.const 1))) (br $l)) unreachable"),
        |limits| limits.fuel_max = 10_000_000,
    ),
    case("memory-that-begins-at-4-gib", End::Limit(Limit::MemoryBytes), || {
        whole("(memory (export \"memory\") 65536)", NOTHING)
    }),
    bounded(
        "every-page-of-a-large-memory",
        End::Runs,
        || {
            runs(
                "(local $i i32) (drop (memory.grow (i32.const 4000)))
                (loop $l (i32.store (local.get $i) (i32.const 7))
                  (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 262000000))))
                (i64.const 4)",
            )
        },
        |limits| limits.memory_bytes_max = 256 << 20,
    ),
    case("huge-function", End::Runs, || code(&[body(&[], &[0x41, 1, 0x1a].repeat(2_400_000))])),
    case("many-functions", End::Refused("functions"), || code(&vec![body(&[], &[]); 900_000])),
    case("deep-nesting", End::Refused("nest too deep"), || {
        let mut inner = [0x02, 0x40].repeat(1_000_000);
        inner.extend([0x0b].repeat(1_000_000));
        code(&[body(&[], &inner)])
    }),
    case("nesting-within-the-rules", End::Runs, || {
        let mut inner = [0x02, 0x40].repeat(9_000);
        inner.extend([0x0b].repeat(9_000));
        code(&[body(&[], &inner)])
    }),
    case("branch-tables", End::Runs, || {
        // 50 tables with 65,000 targets each, all the same.
        let mut one = vec![0x02, 0x40, 0x41, 0, 0x0e];
        leb(65_000, &mut one);
        one.extend([0].repeat(65_001));
        one.push(0x0b);
        code(&[body(&[], &one.repeat(50))])
    }),
    case("too-many-locals", End::Refused("locals"), || code(&[body(&[(50_001, 0x7f)], &[])])),
    case("many-locals", End::Runs, || {
        // Each of 50,000 locals is written in a loop, so each lives across it.
        let mut inner = Vec::new();
        for local in (0..50_000u32).step_by(7) {
            inner.extend([0x41, 1, 0x21]);
            leb(local, &mut inner);
        }
        code(&[body(&[(50_000, 0x7f)], &inner)])
    }),
    case("values-through-calls", End::Refused("results"), values_through_calls),
    case("data-segments", End::Refused("data segments"), || {
        let segments: String = (0..50_000).map(|_| "(data (i32.const 8) \"x\")").collect();
        whole(&format!("(memory (export \"memory\") 1) {segments}"), NOTHING)
    }),
    case("custom-sections", End::Runs, || {
        let mut module = runs("(i64.const 0)");
        let mut section = vec![1, b'x'];
        section.extend(vec![0xff; 12 << 20]);
        module.push(0);
        leb(section.len() as u32, &mut module);
        module.extend(section);
        module
    }),
    case("functions-within-the-rules", End::Runs, || code(&vec![body(&[], &[]); 29_998])),
    case("segments-within-the-rules", End::Runs, || {
        let segments: String = (0..5_000).map(|at| format!("(data (i32.const {}) \"x\")", at * 3)).collect();
        whole(&format!("(memory (export \"memory\") 1) {segments}"), NOTHING)
    }),
    case("locals-through-loops", End::Refused("weigh"), || locals_through_loops(5_000, 801)),
    case("locals-through-loops-within-the-rules", End::Runs, || locals_through_loops(5_000, 799)),
    case("table-that-begins-too-large", End::Refused("table"), || {
        whole("(memory (export \"memory\") 1) (table 10000000 funcref)", NOTHING)
    }),
    case("table-growth", End::Code(-1), || {
        whole(
            "(memory (export \"memory\") 1) (table $t 1 funcref)",
            "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (i64.const -1)",
        )
    }),
    case("stack-overflow", End::Limit(Limit::StackBytes), || {
        runs("(call $run (local.get 0) (local.get 1) (local.get 2) (local.get 3))")
    }),
    case("stack-overflow-through-a-table", End::Limit(Limit::StackBytes), || {
        whole(
            "(memory (export \"memory\") 1) (table 1 funcref) (elem (i32.const 0) $run)
             (type $t (func (param i32 i32 i32 i32) (result i64)))",
            "(call_indirect (type $t) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 0))",
        )
    }),
    case("endless-loop", End::Limit(Limit::Fuel), || runs("(loop $l (br $l)) unreachable")),
    bounded("endless-loop-with-fuel", End::Limit(Limit::WallMs), || runs("(loop $l (br $l)) unreachable"), short),
    case("endless-start-function", End::Limit(Limit::Fuel), || {
        whole("(memory (export \"memory\") 1) (func $s (loop $l (br $l))) (start $s)", NOTHING)
    }),
    bounded(
        "work-that-costs-no-fuel",
        End::Limit(Limit::WallMs),
        || {
            runs(
                "(drop (memory.grow (i32.const 4000)))
                (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 262000000)) (br $l)) unreachable",
            )
        },
        |limits| {
            short(limits);
            limits.memory_bytes_max = 256 << 20;
        },
    ),
    case("output-of-4-gib", End::Limit(Limit::OutputBytes), || runs("(i64.const 0xffffffff)")),
    case("output-behind-the-memory", End::Trapped, || runs("(i64.const 0x7fffffff00000010)")),
    case("output-across-the-end", End::Trapped, || runs("(i64.const 0x1ffff00000002)")),
    case("negative-output", End::Code(i64::MIN), || runs("(i64.const 0x8000000000000000)")),
    case("alloc-gives-the-last-address", End::Trapped, || alloc("(i32.const -1)")),
    case("alloc-gives-nothing-of-its-own", End::Runs, || alloc("(i32.const 0)")),
    case("alloc-never-ends", End::Limit(Limit::Fuel), || alloc("(loop $l (br $l)) unreachable")),
    case("alloc-grows-the-memory", End::Limit(Limit::MemoryBytes), || {
        alloc("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable")
    }),
    case("import-a-file-system", End::Refused("path_open"), || {
        import(
            "(import \"wasi_snapshot_preview1\" \"path_open\" (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))",
        )
    }),
    case("import-a-clock", End::Refused("now"), || import("(import \"env\" \"now\" (func (result i64)))")),
    case("import-a-memory", End::Refused("shared"), || whole("(import \"env\" \"shared\" (memory 1))", NOTHING)),
    case("import-lines-of-another-kind", End::Refused("log"), || {
        import("(import \"keystead\" \"log\" (func (param i32 i32) (result i32)))")
    }),
    case("flood-of-lines", End::Limit(Limit::Fuel), || {
        whole(
            "(import \"keystead\" \"log\" (func $log (param i32 i32))) (memory (export \"memory\") 1)",
            "(loop $l (call $log (i32.const 0) (i32.const 65536)) (br $l)) unreachable",
        )
    }),
    case("line-behind-the-memory", End::Trapped, || {
        whole(
            "(import \"keystead\" \"log\" (func $log (param i32 i32))) (memory (export \"memory\") 1)",
            "(call $log (i32.const 65535) (i32.const 2)) (i64.const 0)",
        )
    }),
    case("shared-memory", End::Refused("threads"), || {
        wat::parse_str("(module (memory (export \"memory\") 1 1 shared))").unwrap()
    }),
    case("memory-of-64-bits", End::Refused("memory64"), || {
        wat::parse_str("(module (memory (export \"memory\") i64 1))").unwrap()
    }),
    case("text-instead-of-bytes", End::Refused("magic"), || b"(module (memory (export \"memory\") 1))".to_vec()),
    case("precompiled-code", End::Refused("magic"), || b"\x7fELF\x02\x01\x01\x00 compiled elsewhere".to_vec()),
    case("read-behind-the-memory", End::Trapped, || {
        runs("(drop (i64.load offset=4294967290 (i32.const -1))) (i64.const 0)")
    }),
];

/// A `run` that does nothing.
const NOTHING: &str = "(i64.const 0)";

fn whole(before: &str, run: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(module {before}
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func $run (export \"run\") (param i32 i32 i32 i32) (result i64) {run}))"
    ))
    .unwrap()
}

fn runs(run: &str) -> Vec<u8> {
    whole("(memory (export \"memory\") 2)", run)
}

fn alloc(alloc: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(module (memory (export \"memory\") 1)
           (func (export \"alloc\") (param i32) (result i32) {alloc})
           (func (export \"run\") (param i32 i32 i32 i32) (result i64) (i64.const 0)))"
    ))
    .unwrap()
}

fn import(import: &str) -> Vec<u8> {
    whole(&format!("{import} (memory (export \"memory\") 1)"), NOTHING)
}

fn leb(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}

/// A function body: locals as (count, type), instructions without the last `end`.
fn body(locals: &[(u32, u8)], instructions: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    leb(locals.len() as u32, &mut inner);
    for (count, kind) in locals {
        leb(*count, &mut inner);
        inner.push(*kind);
    }
    inner.extend(instructions);
    inner.push(0x0b);
    let mut out = Vec::new();
    leb(inner.len() as u32, &mut out);
    out.extend(inner);
    out
}

/// A module with the interface of `wasm/1` and more functions without parameters, by hand: the text format would be too large.
fn code(bodies: &[Vec<u8>]) -> Vec<u8> {
    typed(&[0x60, 0, 0], bodies)
}

/// The same; the additional functions have this type.
fn typed(kind: &[u8], bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let mut section = |id: u8, content: Vec<u8>| {
        module.push(id);
        leb(content.len() as u32, &mut module);
        module.extend(content);
    };
    // Types: alloc, run, the others.
    let types = [&[3, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7e][..], kind].concat();
    section(1, types);
    let mut functions = Vec::new();
    leb(bodies.len() as u32 + 2, &mut functions);
    functions.extend([0, 1]);
    functions.extend(vec![2; bodies.len()]);
    section(3, functions);
    section(5, vec![1, 0, 1]);
    section(7, [&[3, 6][..], b"memory", &[2, 0, 5], b"alloc", &[0, 0, 3], b"run", &[0, 1]].concat());
    let mut code = Vec::new();
    leb(bodies.len() as u32 + 2, &mut code);
    code.extend(body(&[], &[0x41, 8]));
    code.extend(body(&[], &[0x42, 0]));
    bodies.iter().for_each(|body| code.extend(body));
    section(10, code);
    module
}

/// A thousand values from each of thousands of calls: the compiler's work is their product.
fn values_through_calls() -> Vec<u8> {
    let mut kind = vec![0x60, 0];
    leb(1_000, &mut kind);
    kind.extend(vec![0x7f; 1_000]);
    let mut inner = Vec::new();
    let mut call = vec![0x10];
    leb(2, &mut call);
    call.extend([0x1a].repeat(1_000));
    inner.extend(call.repeat(400));
    inner.extend([0x41, 0].repeat(1_000));
    typed(&kind, &vec![body(&[], &inner); 30])
}

/// Every local changes in every loop and is read at the end: a value of each passes through each.
fn locals_through_loops(locals: u32, loops: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for at in 0..loops {
        let local = at as u32 % locals;
        // loop; local += 1; br_if 0 (local == 0); end
        inner.extend([0x03, 0x40, 0x20]);
        leb(local, &mut inner);
        inner.extend([0x41, 1, 0x6a, 0x22]);
        leb(local, &mut inner);
        inner.extend([0x45, 0x0d, 0, 0x0b]);
    }
    for local in 0..locals {
        inner.push(0x20);
        leb(local, &mut inner);
        inner.push(0x1a);
    }
    code(&[body(&[(locals, 0x7f)], &inner)])
}

pub(crate) fn tests() -> Vec<Test> {
    let named = |case: &'static Case| -> Test { (format!("wasm::{}", case.name), Box::new(move || check(case))) };
    CASES.iter().map(named).collect()
}

fn check(case: &Case) {
    static HOST: OnceLock<Host> = OnceLock::new();
    let host = HOST.get_or_init(Host::new);
    let mut limits = LIMITS;
    (case.limits)(&mut limits);
    let job = job(Runtime::Wasm1, &(case.program)(), b"common", limits);
    let started = Instant::now();
    let outcome = run_one(job, b"unit");
    let took = started.elapsed();
    eprintln!("  {:?} after {} ms", outcome.as_ref().map(|done| done.output.len()), took.as_millis());
    assert!(took < LIFE_MAX, "{took:?}");
    match (case.end, outcome) {
        (End::Refused(word), Err(Failure::KernelRejected { why })) => assert!(why.contains(word), "{why}"),
        (End::Limit(limit), Err(Failure::LimitHit { which, .. })) => assert_eq!(which, limit),
        (End::Trapped, Err(failure @ Failure::Trapped { .. })) => assert_eq!(failure.fault(), Fault::Job),
        (End::Code(code), Err(Failure::JobError { code: got })) => assert_eq!(got, code),
        (End::Runs, Ok(_)) => {}
        (end, outcome) => panic!("expected {end:?}, got {outcome:?}"),
    }
    host.check(case.name);
}
