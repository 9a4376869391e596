//! `wgsl/1` in real workers, on whatever adapter the machine has (lavapipe in CI). Without one each test says so and passes.

use crate::machine::{block_on, command, is_gone, job, kill, open, run_one, ticks, until};
use keystead_job::{Limits, Runtime};
use keystead_runner::{
    DeviceKind, Failure, Fault, Job, Limit, Loops, SelfTest, Session, Stop, Work, WorkerCommand, admit, measure, probe,
};
use std::{sync::OnceLock, time::Instant};

crate::tests![
    the_self_test_finds_an_adapter_and_reports_json,
    a_kernel_gives_the_bytes_that_the_processor_computes,
    the_same_unit_gives_the_same_bytes_in_every_worker,
    the_output_is_zeroed_before_each_unit,
    loops_run_exactly_up_to_the_declared_bound,
    all_loops_of_an_invocation_count_together,
    an_endless_loop_hits_the_bound_at_once,
    kernels_that_do_not_validate_or_use_floats_are_refused,
    memory_is_counted_before_anything_is_allocated,
    inputs_that_are_not_whole_words_are_refused,
    reads_and_writes_out_of_bounds_touch_nothing_else,
    a_dispatch_that_takes_too_long_is_killed_at_the_deadline,
    a_worker_killed_in_the_middle_is_a_providers_fault_and_the_next_unit_works,
    an_oversized_source_is_refused,
    a_machine_without_an_adapter_interprets_and_says_so,
    the_reference_runs_sampled_workgroups_and_finds_a_forged_word,
    a_barrier_that_not_all_reach_is_the_jobs_fault_on_the_reference,
    the_speed_of_every_kind_of_work_is_measured,
];

const LIMITS: Limits = Limits {
    wall_ms_max: 60_000,
    fuel_max: 0,
    memory_bytes_max: 16 << 20,
    output_bytes_max: 4_096,
    loop_iterations_max: 32_768,
    workgroups: [16, 1, 1],
};

const HEAD: &str = "
@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
";

/// A counter-based generator and a loop: the shape of a Monte-Carlo kernel.
const HASH: &str = "
fn mix(seed: u32, index: u32) -> u32 {
    var h = seed ^ (index * 2654435769u);
    h ^= h >> 16u; h *= 2246822507u; h ^= h >> 13u; h *= 3266489909u; h ^= h >> 16u;
    return h;
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = 0u;
    for (var i = 0u; i < unit_input[0]; i++) { sum += mix(common_input[id.x % 3u] + sum, i); }
    output[id.x] = sum;
}";

/// [`HASH`], on the processor.
const fn mix(seed: u32, index: u32) -> u32 {
    let mut h = seed ^ index.wrapping_mul(2_654_435_769);
    h ^= h >> 16;
    h = h.wrapping_mul(2_246_822_507);
    h ^= h >> 13;
    h = h.wrapping_mul(3_266_489_909);
    h ^ (h >> 16)
}

fn kernel(body: &str) -> String {
    format!("{HEAD} @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ {body} }}")
}

fn wgsl(source: &str, common: &[u32], change: impl FnOnce(&mut Limits)) -> Job {
    let mut limits = LIMITS;
    change(&mut limits);
    job(Runtime::Wgsl1, source.as_bytes(), &bytes(common), limits)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// The self-test of this machine, once; `None` (with a line that says so) without an adapter.
fn machine() -> Option<&'static SelfTest> {
    static REPORT: OnceLock<Option<SelfTest>> = OnceLock::new();
    let report = REPORT.get_or_init(|| match block_on(probe(&command(), Runtime::Wgsl1)) {
        Ok(report) if report.device.as_ref().is_some_and(|device| device.kind == DeviceKind::Reference) => None,
        Ok(report) => Some(report),
        Err(other) => panic!("the self-test failed: {other}"),
    });
    if report.is_none() {
        eprintln!("skipped: no Vulkan, Metal or DX12 adapter (Debian: mesa-vulkan-drivers, libvulkan1)");
    }
    report.as_ref()
}

fn refused(source: &str) -> String {
    match run_one(wgsl(source, &[], |_| ()), b"") {
        Err(Failure::KernelRejected { why }) => why,
        other => panic!("not refused: {:?}", other.map(|done| done.output.len())),
    }
}

fn the_self_test_finds_an_adapter_and_reports_json() {
    let Some(report) = machine() else { return };
    let device = report.device.as_ref().unwrap();
    eprintln!("adapter: {device:?}");
    assert!(report.known_answer, "{report:?}");
    assert!(device.max_loop_iterations >= 32_768, "{device:?}");
    assert!(!device.name.is_empty() && device.binding_bytes_max >= 1 << 27, "{device:?}");
    if device.name.contains("llvmpipe") {
        assert_eq!(device.kind, DeviceKind::Cpu);
        assert!(!device.kind.is_gpu(), "a processor is never sold as a GPU");
        // The trap of this driver, and that our marks see it.
        assert_eq!((device.long_loops, device.divergent_loops), (Loops::CutShortNoticed, Loops::CutShortNoticed));
    }
    let json = serde_json::to_string(report).unwrap();
    assert_eq!(&serde_json::from_str::<SelfTest>(&json).unwrap(), report);
    assert_eq!(admit(&wgsl(&kernel(""), &[], |_| ()).spec, report), Ok(()));
}

fn a_kernel_gives_the_bytes_that_the_processor_computes() {
    if machine().is_none() {
        return;
    }
    let common = [1, 0xffff_ffff, 77];
    block_on(async {
        let mut session = open(wgsl(&format!("{HEAD}{HASH}"), &common, |_| ())).await.unwrap();
        let worker = session.worker_pid();
        for length in [0u32, 1, 999, 5_000] {
            let done = session.run(&length.to_le_bytes()).await.unwrap();
            let expected: Vec<u32> = (0..1_024u32)
                .map(|id| {
                    (0..length).fold(0u32, |sum, i| sum.wrapping_add(mix(common[id as usize % 3].wrapping_add(sum), i)))
                })
                .collect();
            assert!(words(&done.output) == expected, "length {length}");
        }
        assert_eq!(session.worker_pid(), worker, "one warm worker for all units");
        assert!(session.engine().contains("wgpu-30"), "{}", session.engine());
    });
}

fn the_same_unit_gives_the_same_bytes_in_every_worker() {
    if machine().is_none() {
        return;
    }
    let job = wgsl(&format!("{HEAD}{HASH}"), &[5, 6, 7], |_| ());
    let unit = 300u32.to_le_bytes();
    let runs: Vec<Vec<u8>> = (0..3).map(|_| run_one(job.clone(), &unit).unwrap().output).collect();
    assert!(runs[0].len() == 4_096 && runs[0].iter().any(|&byte| byte != 0));
    assert!(runs.iter().all(|run| *run == runs[0]));
}

fn the_output_is_zeroed_before_each_unit() {
    if machine().is_none() {
        return;
    }
    let source = kernel("if (unit_input[0] == 1u) { output[id.x] = 0xffffffffu; } else { output[id.x] += 1u; }");
    block_on(async {
        let mut session = open(wgsl(&source, &[], |_| ())).await.unwrap();
        assert!(session.run(&bytes(&[1])).await.unwrap().output.iter().all(|&byte| byte == 0xff));
        assert!(words(&session.run(&bytes(&[2])).await.unwrap().output).iter().all(|&word| word == 1));
        let empty = session.run(b"").await.unwrap();
        assert!(words(&empty.output).iter().all(|&word| word == 1), "an empty input is one zero word");
    });
}

fn loops_run_exactly_up_to_the_declared_bound() {
    if machine().is_none() {
        return;
    }
    // A `for` with n rounds enters its body n + 1 times: the last time it finds its condition false.
    let source = kernel("var n = 0u; for (var i = 0u; i < unit_input[0]; i++) { n += i ^ n; } output[id.x] = n + 1u;");
    for bound in [100, 32_768] {
        block_on(async {
            let mut session = open(wgsl(&source, &[], |limits| limits.loop_iterations_max = bound)).await.unwrap();
            let done = session.run(&bytes(&[bound - 1])).await.unwrap();
            let expected = (0..bound - 1).fold(0u32, |n, i| n.wrapping_add(i ^ n)).wrapping_add(1);
            assert!(words(&done.output).iter().all(|&word| word == expected));
            let failure = session.run(&bytes(&[bound])).await.unwrap_err();
            let (which, limit) = (Limit::LoopIterations, u64::from(bound));
            assert_eq!(failure, Failure::LimitHit { which, limit, got: None });
            assert_eq!(failure.fault(), Fault::Job);
            assert!(session.run(&bytes(&[bound - 1])).await.is_ok(), "the next unit begins at zero");
        });
    }
}

fn all_loops_of_an_invocation_count_together() {
    if machine().is_none() {
        return;
    }
    // Ten rounds of a helper with ten rounds: 11 + 10 * 11 entries.
    let source = format!(
        "{HEAD} fn inner(n: u32) -> u32 {{ var s = 1u; var i = 0u; while (i < n) {{ s = s * 3u + i; i++; }} return s; }}
        @compute @workgroup_size(1) fn main() {{ var s = 0u; for (var i = 0u; i < 10u; i++) {{ s += inner(unit_input[0]); }} output[0] = s; }}"
    );
    let with = |bound: u32| {
        let job = wgsl(&source, &[], |limits| {
            limits.loop_iterations_max = bound;
            limits.workgroups = [1; 3];
        });
        run_one(job, &bytes(&[10]))
    };
    let inner = (0..10u32).fold(1u32, |s, i| s * 3 + i);
    assert_eq!(words(&with(121).unwrap().output)[0], inner * 10);
    assert!(matches!(with(120), Err(Failure::LimitHit { which: Limit::LoopIterations, limit: 120, got: None })));
}

fn an_endless_loop_hits_the_bound_at_once() {
    if machine().is_none() {
        return;
    }
    for body in [
        "var n = 0u; loop { n += 1u; if (unit_input[0] == 77u) { break; } } output[id.x] = n;",
        "var n = 0u; loop { n += 1u; continuing { break if unit_input[0] == 77u; } } output[id.x] = n;",
        "var n = 0u; for (;;) { n = n * 3u + 1u; switch n { case 5u: { break; } default: { continue; } } }",
        "while (true) { loop { output[0] += 1u; } }",
    ] {
        let started = Instant::now();
        let outcome = run_one(wgsl(&kernel(body), &[], |_| ()), b"").map(|done| words(&done.output)[0]);
        let hit = matches!(outcome, Err(Failure::LimitHit { which: Limit::LoopIterations, .. }));
        assert!(hit, "{body}: {outcome:?}");
        assert!(started.elapsed().as_secs() < 30);
    }
}

fn kernels_that_do_not_validate_or_use_floats_are_refused() {
    if machine().is_none() {
        return;
    }
    assert!(refused("this is no kernel").contains("wgsl:1"));
    assert!(refused(&kernel("output[0] = true;")).contains("wgsl:"));
    assert!(refused(&kernel("output[0] = u32(sqrt(2.0 * f32(id.x)));")).contains("floating-point"));
    assert!(refused(&kernel("output[0] = subgroupAdd(id.x);")).len() > 10);
    let shared = "var<workgroup> big: array<u32, 5000>;";
    let too_much =
        format!("{HEAD}{shared} @compute @workgroup_size(1) fn main() {{ big[0] = 1u; output[0] = big[1]; }}");
    assert!(refused(&too_much).contains("16384"), "workgroup memory has a fixed maximum");
}

fn memory_is_counted_before_anything_is_allocated() {
    if machine().is_none() {
        return;
    }
    let job = wgsl(&kernel("output[id.x] = unit_input[0];"), &[1, 2], |limits| {
        limits.memory_bytes_max = 65_536;
        limits.output_bytes_max = 4_096;
    });
    block_on(async {
        let mut session = open(job).await.unwrap();
        let room = 65_536 - 8 - 2 * 4_096;
        assert!(session.run(&vec![0; room]).await.is_ok());
        let failure = session.run(&vec![0; room + 4]).await.unwrap_err();
        assert_eq!(failure, Failure::LimitHit { which: Limit::MemoryBytes, limit: 65_536, got: Some(65_540) });
        assert!(session.run(b"").await.is_ok());
    });
    let job = wgsl(&kernel("output[0] = 1u;"), &vec![0; 16_384], |limits| limits.memory_bytes_max = 65_536);
    let failure = block_on(open(job)).unwrap_err();
    assert!(matches!(failure, Failure::LimitHit { which: Limit::MemoryBytes, limit: 65_536, .. }), "{failure:?}");
}

fn inputs_that_are_not_whole_words_are_refused() {
    if machine().is_none() {
        return;
    }
    let failure = run_one(wgsl(&kernel("output[0] = 1u;"), &[], |_| ()), &[1, 2, 3]).unwrap_err();
    assert!(matches!(&failure, Failure::KernelRejected { why } if why.contains("whole u32 words")), "{failure:?}");
}

fn reads_and_writes_out_of_bounds_touch_nothing_else() {
    if machine().is_none() {
        return;
    }
    let source = kernel(
        "output[100000000u + id.x] = 7u; let x = unit_input[4000000000u]; if (id.x < 1024u) { output[id.x] = 5u + (x & 0u); }",
    );
    let done = run_one(wgsl(&source, &[], |_| ()), &bytes(&[1, 2, 3])).unwrap();
    let other = words(&done.output).into_iter().filter(|&word| word != 5).count();
    assert!(other <= 1, "at most the clamped last word differs: {other}");
}

/// Seconds of work on any processor; the loop bound holds for each invocation.
fn long() -> Job {
    let source = kernel(
        "var n = id.x; for (var i = 0u; i < 32000u * unit_input[0]; i++) { n = n * 1664525u + 1013904223u ^ (n >> 3u); } output[id.x % 1024u] = n;",
    );
    wgsl(&source, &[], |limits| limits.workgroups = [65_535, 16, 1])
}

fn a_dispatch_that_takes_too_long_is_killed_at_the_deadline() {
    let Some(report) = machine() else { return };
    if report.device.as_ref().unwrap().kind.is_gpu() {
        eprintln!("skipped: a GPU may be fast enough to end in time");
        return;
    }
    let job = Job { ..long() };
    let mut draft = keystead_job::spec::Draft::from(job.spec.clone());
    draft.limits.wall_ms_max = 500;
    let job = Job { spec: keystead_job::JobSpec::new(draft).unwrap(), ..job };
    block_on(async {
        let mut session = open(job).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let started = Instant::now();
        let failure = session.run(&bytes(&[1])).await.unwrap_err();
        assert_eq!(failure, Failure::LimitHit { which: Limit::WallMs, limit: 500, got: None });
        assert!(started.elapsed().as_secs() < 10);
        until("the worker is gone", || is_gone(pid));
    });
}

fn a_worker_killed_in_the_middle_is_a_providers_fault_and_the_next_unit_works() {
    let Some(report) = machine() else { return };
    if report.device.as_ref().unwrap().kind.is_gpu() {
        eprintln!("skipped: a GPU may be fast enough to end in time");
        return;
    }
    block_on(async {
        let mut session = open(Job { ..long() }).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let killer = std::thread::spawn(move || {
            let idle = ticks(pid);
            until("the worker is busy", || ticks(pid) > idle + 10);
            kill(pid);
        });
        let failure = session.run(&bytes(&[1])).await.unwrap_err();
        killer.join().unwrap();
        assert!(matches!(&failure, Failure::WorkerDied { status, .. } if status.contains("signal: 9")), "{failure:?}");
        assert!(session.worker_pid().is_none());
    });
    assert!(run_one(wgsl(&kernel("output[id.x] = 1u;"), &[], |_| ()), b"").is_ok(), "the next job works");
}

fn an_oversized_source_is_refused() {
    let long = format!("{}{}", kernel("output[0] = 1u;"), " ".repeat(262_144));
    let failure = run_one(wgsl(&long, &[], |_| ()), b"").unwrap_err();
    assert!(matches!(failure, Failure::LimitHit { which: Limit::ProgramBytes, limit: 262_144, .. }), "{failure:?}");
}

/// A command whose workers find no driver: the variables of the Vulkan loader hide every one.
fn without_drivers() -> WorkerCommand {
    let hidden = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
    hidden.into_iter().fold(command(), |command, name| command.with_variable(name, "/nowhere.json"))
}

fn a_machine_without_an_adapter_interprets_and_says_so() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: drivers can be hidden from a worker on Linux only");
        return;
    }
    let report = block_on(probe(&without_drivers(), Runtime::Wgsl1)).unwrap();
    let device = report.device.as_ref().unwrap();
    assert!(report.known_answer && report.adapters.is_empty(), "{report:?}");
    assert_eq!(
        (device.name.as_str(), device.kind, device.kind.is_gpu()),
        ("interpreter", DeviceKind::Reference, false)
    );
    let common = [1, 2, 3];
    block_on(async {
        let job = wgsl(&format!("{HEAD}{HASH}"), &common, |_| ());
        let mut session = Session::open(without_drivers(), job, Stop::new()).await.unwrap();
        assert!(session.engine().contains("interpreter") && !session.engine().contains("wgpu"), "{}", session.engine());
        let done = session.run(&bytes(&[40])).await.unwrap();
        let expected =
            |id: usize| (0..40u32).fold(0u32, |sum, i| sum.wrapping_add(mix(common[id % 3].wrapping_add(sum), i)));
        assert!(words(&done.output).into_iter().enumerate().all(|(id, word)| word == expected(id)));
        let failure = session.run(&bytes(&[32_768])).await.unwrap_err();
        assert_eq!(failure, Failure::LimitHit { which: Limit::LoopIterations, limit: 32_768, got: None });
    });
}

fn the_reference_runs_sampled_workgroups_and_finds_a_forged_word() {
    let job = || wgsl(&format!("{HEAD}{HASH}"), &[1, 2, 3], |_| ());
    let unit = bytes(&[25]);
    block_on(async {
        let mut reference = Session::open_reference(command(), job(), Stop::new()).await.unwrap();
        let whole = reference.run(&unit).await.unwrap().output;
        let sample = reference.run_workgroups(&unit, &[[3, 0, 0], [15, 0, 0]]).await.unwrap();
        assert_eq!(sample.0.len(), 128, "two workgroups of 64");
        assert!(sample.0.iter().all(|(at, _)| (192..256).contains(at) || (960..1_024).contains(at)));
        assert_eq!(sample.first_difference(&whole), None);
        let mut forged = whole.clone();
        forged[200 * 4] ^= 1;
        forged[4] ^= 1;
        assert_eq!(sample.first_difference(&forged).map(|(at, ..)| at), Some(200));
        assert!(reference.run_workgroups(&unit, &[[16, 0, 0]]).await.is_err(), "there are 16 workgroups");
        assert!(reference.run_workgroups(&unit, &vec![[0; 3]; 1_025]).await.is_err());
        if machine().is_some() {
            let mut device = open(job()).await.unwrap();
            assert_eq!(device.run(&unit).await.unwrap().output, whole, "the device's bytes");
            let refused = device.run_workgroups(&unit, &[[0; 3]]).await.unwrap_err();
            assert_eq!(refused.fault(), Fault::Provider, "a device runs whole units");
        }
    });
}

fn a_barrier_that_not_all_reach_is_the_jobs_fault_on_the_reference() {
    let source = kernel("if (id.x == 3u) { workgroupBarrier(); } output[id.x] = 1u;");
    let failure = block_on(async {
        let mut session = Session::open_reference(command(), wgsl(&source, &[], |_| ()), Stop::new()).await.unwrap();
        session.run(b"").await.unwrap_err()
    });
    assert!(matches!(&failure, Failure::Trapped { why } if why.contains("barrier")), "{failure:?}");
    assert_eq!(failure.fault(), Fault::Job);
}

fn the_speed_of_every_kind_of_work_is_measured() {
    if machine().is_none() {
        return;
    }
    let speeds = block_on(measure(&command(), Runtime::Wgsl1, 0)).unwrap();
    eprintln!("speeds: {speeds:?}");
    assert_eq!(speeds.iter().map(|speed| speed.work).collect::<Vec<_>>(), [Work::Integer, Work::Float, Work::Memory]);
    assert!(speeds.iter().all(|speed| (10..1_000_000_000).contains(&speed.mop_per_s)), "{speeds:?}");
}
