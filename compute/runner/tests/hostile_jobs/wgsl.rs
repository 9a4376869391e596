//! Hostile kernels for `wgsl/1`: loops, sizes and nestings that kill parsers, compilers and drivers, and looks at memory of others.

use crate::{
    Test,
    host::Host,
    machine::{block_on, command, job, open, run_one},
};
use keystead_job::{Limits, Runtime};
use keystead_runner::{Failure, Job, Limit, probe};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Longest life of any hostile kernel.
const LIFE_MAX: Duration = Duration::from_secs(90);

const LIMITS: Limits = Limits {
    wall_ms_max: 20_000,
    fuel_max: 0,
    memory_bytes_max: 16 << 20,
    output_bytes_max: 4_096,
    loop_iterations_max: 32_768,
    workgroups: [16, 1, 1],
};

/// How a hostile kernel must end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Refused before a driver sees it; the message has this word.
    Refused(&'static str),
    /// Stopped by a declared limit.
    Limit(Limit),
    /// Runs and harms nobody.
    Runs,
    /// Runs, or the driver declines: both are right.
    RunsOrDriver,
}

/// A kernel with its name and end.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    end: End,
    source: fn() -> String,
    limits: fn(&mut Limits),
}

const fn case(name: &'static str, end: End, source: fn() -> String) -> Case {
    Case { name, end, source, limits: |_| () }
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    case("endless-loop-kernel", LOOPS, || {
        body("var n = 0u; loop { n += 1u; if (unit_input[0] == 77u) { break; } } output[id.x] = n;")
    }),
    case("endless-for", LOOPS, || {
        body("var n = 0u; for (;;) { n = n * 3u + 1u; if (n == 5u && n == 6u) { break; } } output[0] = n;")
    }),
    case("endless-while-in-a-function", LOOPS, || {
        kernel("fn spin() -> u32 { var n = 1u; while (n != 0u) { n = n | 1u; } return n; }", "output[0] = spin();")
    }),
    case("endless-loop-that-continues", LOOPS, || {
        body(
            "var n = 0u; loop { n++; if (n > 0u) { continue; } continuing { break if n == 0xffffffffu && unit_input[0] == 9u; } } output[0] = n;",
        )
    }),
    case("endless-loop-in-a-switch", LOOPS, || {
        body(
            "var n = 0u; loop { switch n { case 5u: { break; } default: { continue; } } if (n == 7u) { break; } } output[0] = n;",
        )
    }),
    case("endless-loop-under-a-barrier", LOOPS, || {
        kernel(
            "var<workgroup> w: array<u32, 64>;",
            "loop { w[id.x % 64u] = 1u; workgroupBarrier(); if (w[(id.x + 1u) % 64u] == 9u) { break; } } output[0] = 1u;",
        )
    }),
    Case {
        name: "whole-grid-of-full-loops",
        end: End::Limit(Limit::WallMs),
        source: || {
            body(
                "var n = id.x; for (var i = 0u; i < 32000u; i++) { n = n * 1664525u + 1013904223u ^ (n >> 3u); } output[id.x % 1024u] = n;",
            )
        },
        limits: |limits| {
            limits.wall_ms_max = 1_000;
            limits.workgroups = [65_535, 65_535, 1];
        },
    },
    case("private-array-of-256-kib", End::Refused("private"), || private(65_536)),
    case("private-array-of-16-mib", End::Refused("private"), || private(4 << 20)),
    case("private-array-of-2-gib", End::Refused("2147483647"), || private(1 << 29)),
    case("private-array-within-the-rules", End::RunsOrDriver, || private(128)),
    case("local-arrays-in-every-function", End::Refused("private"), || {
        let functions: String = (0..64)
            .map(|n| {
                format!("fn f{n}(x: u32) -> u32 {{ var a: array<u32, 4096>; a[x % 4096u] = x; return a[x % 77u]; }}\n")
            })
            .collect();
        let calls: String = (0..64).map(|n| format!("s += f{n}(id.x);")).collect();
        kernel(&functions, &format!("var s = 0u; {calls} output[id.x] = s;"))
    }),
    case("parentheses", End::Refused(""), || {
        body(&format!("output[0] = {}1u{};", "(".repeat(100_000), ")".repeat(100_000)))
    }),
    case("unary-operators", End::Refused(""), || body(&format!("output[0] = u32({}1i);", "-".repeat(200_000)))),
    case("nested-blocks", End::Refused(""), || body(&format!("{}{}", "{".repeat(100_000), "}".repeat(100_000)))),
    case("else-if-chain", End::Refused("nest too deep"), || {
        body(&format!("if (id.x == 0u) {{ }} {} else {{ output[0] = 1u; }}", "else if (id.x == 1u) { }".repeat(8_000)))
    }),
    case("long-sum", End::RunsOrDriver, || body(&format!("output[0] = 1u{};", "+id.x".repeat(20_000)))),
    case("nested-array-types", End::Refused(""), || {
        kernel(&format!("var<private> p: {}u32{};", "array<".repeat(20_000), ",1>".repeat(20_000)), "output[0] = 1u;")
    }),
    case("calls-that-double", End::Refused("expand"), || {
        let functions: String = (0..40)
            .map(|n| format!("fn f{n}(x: u32) -> u32 {{ return f{}(x) + f{}(x * 3u); }}\n", n + 1, n + 1))
            .collect();
        kernel(&format!("{functions} fn f40(x: u32) -> u32 {{ return x + 1u; }}"), "output[0] = f0(id.x);")
    }),
    case("constants-that-multiply", End::Refused(""), || {
        kernel("const a = array<array<array<u32, 1000>, 1000>, 1000>();", "output[0] = a[id.x % 10u][0][0];")
    }),
    case("many-functions-kernel", End::RunsOrDriver, || {
        let functions: String =
            (0..2_000).map(|n| format!("fn f{n}(x: u32) -> u32 {{ return x + {n}u; }}\n")).collect();
        kernel(&functions, "output[0] = f0(1u) + f1999(2u);")
    }),
    case("source-of-256-kib", End::Runs, || {
        let start = body("output[id.x] = id.x;");
        format!("{start}//{}", "x".repeat((256 << 10) - start.len() - 2))
    }),
    case("source-of-256-kib-and-one", End::Limit(Limit::ProgramBytes), || {
        let start = body("output[id.x] = id.x;");
        format!("{start}//{}", "x".repeat((256 << 10) - start.len() - 1))
    }),
    case("out-of-bounds-everywhere", End::Runs, || {
        kernel(
            "var<workgroup> w: array<u32, 4>; var<private> p: array<u32, 4>;",
            "var l: array<u32, 4>; let far = id.x * 4000000u + unit_input[4000000000u];
             l[far] = 1u; p[far] = 2u; w[far % 1000u] = 3u; output[100000000u + id.x] = 7u;
             output[id.x] = l[far + 1u] + p[far + 2u] + w[(far + 3u) % 999u] + common_input[0xfffffff0u + id.x];",
        )
    }),
    case("division-by-zero", End::Runs, || {
        body(
            "let z = unit_input[0] & 0u; let s = bitcast<i32>(z); output[id.x] = (id.x / z) ^ (id.x % z) ^ bitcast<u32>((-2147483647 - 1 + s) / (s - 1));",
        )
    }),
    case("too-much-workgroup-memory", End::Refused("16384"), || {
        kernel("var<workgroup> w: array<u32, 100000>;", "w[id.x % 64u] = 1u; output[0] = w[0];")
    }),
    case("atomics-on-one-word", End::Runs, || {
        kernel(
            "var<workgroup> a: atomic<u32>;",
            "for (var i = 0u; i < 1000u; i++) { atomicAdd(&a, 1u); } output[0] = 1u;",
        )
    }),
    case("more-bindings", End::Refused("binding"), || {
        "@group(0) @binding(7) var<storage, read_write> host: array<u32>; @compute @workgroup_size(1) fn main() { host[0] = 1u; }".to_owned()
    }),
    case("hidden-status-word", End::Refused("binding"), || {
        "@group(0) @binding(3) var<storage, read_write> status: array<u32>; @compute @workgroup_size(1) fn main() { status[0] = 0u; }".to_owned()
    }),
    case("a-window-instead-of-a-kernel", End::Refused("main"), || {
        "@vertex fn main() -> @builtin(position) vec4<f32> { return vec4<f32>(); }".to_owned()
    }),
    case("bytes-of-a-driver", End::Refused(""), || "\u{7}#\u{2}\u{3}\u{0}SPIR-V".to_owned()),
];

/// The counter stops it.
const LOOPS: End = End::Limit(Limit::LoopIterations);

/// Names of the tests beside the cases.
pub(crate) const OTHERS: [&str; 2] = ["memory-of-the-tenant-before", "the-canary-after-all"];

fn kernel(declarations: &str, body: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> common_input: array<u32>;
         @group(0) @binding(1) var<storage, read> unit_input: array<u32>;
         @group(0) @binding(2) var<storage, read_write> output: array<u32>;
         {declarations}
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ {body} }}"
    )
}

fn body(body: &str) -> String {
    kernel("", body)
}

fn private(words: u32) -> String {
    kernel(
        &format!("var<private> p: array<u32, {words}>;"),
        &format!(
            "for (var i = 0u; i < 100u; i++) {{ p[(id.x * 977u + i * 31u) % {words}u] = i; }} output[id.x] = p[id.x % {words}u] + p[unit_input[0] % {words}u];"
        ),
    )
}

fn wgsl(source: &str, common: &[u8], change: impl FnOnce(&mut Limits)) -> Job {
    let mut limits = LIMITS;
    change(&mut limits);
    job(Runtime::Wgsl1, source.as_bytes(), common, limits)
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for case in CASES {
        tests.push((format!("wgsl::{}", case.name), Box::new(move || check(case))));
    }
    tests.push((format!("wgsl::{}", OTHERS[0]), Box::new(other_tenant)));
    tests.push((format!("wgsl::{}", OTHERS[1]), Box::new(canary)));
    tests
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(Host::new)
}

/// Whether this machine runs kernels; says so if not.
fn machine() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| match block_on(probe(&command(), Runtime::Wgsl1)) {
        Ok(report) => report.known_answer,
        Err(Failure::NoAdapter { .. }) => false,
        Err(other) => panic!("the self-test failed: {other}"),
    });
    if !found {
        eprintln!("skipped: no Vulkan, Metal or DX12 adapter (Debian: mesa-vulkan-drivers, libvulkan1)");
    }
    found
}

fn check(case: &Case) {
    if !machine() {
        return;
    }
    let host = host();
    let job = wgsl(&(case.source)(), &[0; 8], case.limits);
    let started = Instant::now();
    let outcome = run_one(job, &[0; 4]);
    let took = started.elapsed();
    eprintln!("  {:?} after {} ms", outcome.as_ref().map(|done| done.output.len()).map_err(brief), took.as_millis());
    assert!(took < LIFE_MAX, "{took:?}");
    match (case.end, outcome) {
        (End::Refused(word), Err(Failure::KernelRejected { why })) => assert!(why.contains(word), "{why}"),
        (End::Limit(limit), Err(Failure::LimitHit { which, .. })) => assert_eq!(which, limit),
        (End::Runs | End::RunsOrDriver, Ok(_)) | (End::RunsOrDriver, Err(Failure::DriverRejected { .. })) => {}
        (end, outcome) => panic!("expected {end:?}, got {:?}", outcome.map(|done| done.output.len())),
    }
    honest_kernel();
    host.check(case.name);
}

fn brief(failure: &Failure) -> String {
    failure.to_string().chars().take(200).collect()
}

/// A small kernel with a known answer, after each attack: the device still works.
fn honest_kernel() {
    let source = body("output[id.x] = id.x * unit_input[0] + common_input[1];");
    let common = [0u32, 5].map(u32::to_le_bytes).concat();
    let done = run_one(wgsl(&source, &common, |_| ()), &7u32.to_le_bytes()).unwrap();
    let (words, _) = done.output.as_chunks::<4>();
    assert!((0..1_024u32).zip(words).all(|(at, word)| u32::from_le_bytes(*word) == at * 7 + 5));
}

/// Tenant A fills every memory that a kernel has with a pattern, beside what it was told to compute; then tenant B looks for it in memory that
/// it never wrote: private, local, workgroup, output, and behind the ends of its buffers.
fn other_tenant() {
    if !machine() {
        return;
    }
    const PATTERN: u32 = 0xc0de_5ec7;
    let fill = kernel(
        "var<workgroup> w: array<u32, 4096>; var<private> p: array<u32, 64>;",
        "var l: array<u32, 64>;
         for (var i = 0u; i < 64u; i++) { w[(id.x * 64u + i) % 4096u] = unit_input[0]; }
         for (var i = 0u; i < 64u; i++) { p[i] = unit_input[0]; }
         for (var i = 0u; i < 64u; i++) { l[i] = unit_input[0]; }
         workgroupBarrier();
         output[id.x] = w[id.x % 4096u] & p[id.x % 64u] & l[id.x % 64u];",
    );
    let look = kernel(
        "var<workgroup> w: array<u32, 4096>; var<private> p: array<u32, 64>;",
        "var l: array<u32, 64>; var found = 0u;
         for (var i = 0u; i < 4096u; i++) { found |= w[i]; }
         for (var i = 0u; i < 64u; i++) { found |= p[i]; }
         for (var i = 0u; i < 64u; i++) { found |= l[i]; }
         for (var i = 0u; i < 4096u; i++) { found |= output[i + id.x * 4096u] | common_input[i * 1021u + 2u]; }
         output[id.x] = found;",
    );
    let host = host();
    for _ in 0..3 {
        block_on(async {
            let mut a = open(wgsl(&fill, &PATTERN.to_le_bytes().repeat(1 << 16), |_| ())).await.unwrap();
            let unit = PATTERN.to_le_bytes().repeat(1 << 16);
            let done = a.run(&unit).await.unwrap();
            assert!(done.output.as_chunks::<4>().0.iter().all(|word| *word == PATTERN.to_le_bytes()));
            drop(a);
            let mut b = open(wgsl(&look, &[0; 16], |_| ())).await.unwrap();
            // Twice: the second unit of a warm worker must not see the first either.
            for _ in 0..2 {
                let found = b.run(&[0; 4]).await.unwrap();
                assert!(found.output.iter().all(|&byte| byte == 0), "memory of another tenant");
            }
        });
    }
    host.check(OTHERS[0]);
}

fn canary() {
    if machine() {
        let report = block_on(probe(&command(), Runtime::Wgsl1)).unwrap();
        assert!(report.known_answer, "{report:?}");
        host().check(OTHERS[1]);
    }
}
