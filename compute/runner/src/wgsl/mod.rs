//! Runtime `wgsl/1`: integer compute kernels on any Vulkan, Metal or DX12 adapter, the same on every machine.
//!
//! # Design
//! Source is parsed and checked by the package `keystead-kernel`, every loop gets a counter, and only then a driver sees it ([`device`]). wgpu's own
//! run-time checks (bounds, division, zeroed memory) stay on. Where there is no adapter, and for whoever asks for the reference, the same kernel is
//! interpreted ([`reference`]): slowly, and never under the name of a device. Spec: specs/0003-job.md §7.
//!
//! # Invariants
//! No shader reaches a driver in another way than `create_shader_module` with checks, from a module that naga validated. Only our own kernels
//! ([`touchstone`]) go without the loop counter.

mod canary;
mod device;
#[cfg(test)]
mod differential;
mod reference;
mod touchstone;

pub(crate) use touchstone::Adapter;

use crate::{
    failure::{Failure, Limit},
    isolation::Isolation,
    message::{Done, Engine, Usage},
    report::{Device, SelfTest, Tested},
    runtime::{Prepared, Runtime},
    said::Listener,
};
use keystead_job::{Class, JobSpec, Limits};
use keystead_kernel::{Kernel, Profile, admit::Error};
use std::time::Instant;

/// Versions of the translator; a test compares them with the lock file.
const NAGA_VERSION: &str = "30.0.1";
const WGPU_VERSION: &str = "30.0.1";

/// The engine of a worker process; adapters are found when they are needed.
pub(crate) struct Wgsl;

impl Runtime for Wgsl {
    fn probe(&mut self, adapters_max: usize) -> Result<SelfTest, Failure> {
        let started = Instant::now();
        let runtime = keystead_job::Runtime::Wgsl1;
        let took_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let found = match device::all() {
            Err(Failure::NoAdapter { .. }) => {
                let (known_answer, device) = reference::examine()?;
                let (engine, adapters) = (reference::engine_name(), Vec::new());
                return Ok(SelfTest {
                    runtime,
                    engine,
                    known_answer,
                    device: Some(device),
                    adapters,
                    cards: Vec::new(),
                    took_ms: took_ms(),
                    memory_bytes_max: u64::MAX,
                    isolation: Isolation::default(),
                });
            }
            found => found?,
        };
        let (cards, failed) = tested(found.used.get(..adapters_max).unwrap_or(&found.used));
        let known_answer = !cards.is_empty();
        let best = cards.first().map_or(0, |card| usize::from(card.place));
        let device = match cards.first() {
            Some(card) => card.device.clone(),
            None => failed?,
        };
        let adapters = found.used.iter().chain(&found.others).map(device::Found::summary).collect();
        Ok(SelfTest {
            runtime,
            engine: engine_name(found.used.get(best..).unwrap_or_default()),
            known_answer,
            device: Some(device),
            adapters,
            cards,
            took_ms: took_ms(),
            memory_bytes_max: u64::MAX,
            isolation: Isolation::default(),
        })
    }

    fn prepare(
        &mut self,
        job: &JobSpec,
        program: &[u8],
        common: Vec<u8>,
        engine: Engine,
    ) -> Result<Box<dyn Prepared>, Failure> {
        let kernel = admitted(program, job.class)?;
        if let Engine::OtherVendor { seed } = engine {
            return Ok(Box::new(reference::Interpreted::other_vendor(&kernel, job.limits, &common, seed)?));
        }
        let found = match (engine, device::adapters()) {
            (Engine::Reference, _) | (Engine::Best, Err(Failure::NoAdapter { .. })) => {
                return Ok(Box::new(reference::Interpreted::new(&kernel, job.limits, &common)?));
            }
            (Engine::Best | Engine::OtherVendor { .. } | Engine::Adapter { .. }, found) => found?,
        };
        let place = if let Engine::Adapter { place } = engine { usize::from(place) } else { 0 };
        let found = found.get(place..).filter(|found| !found.is_empty()).ok_or_else(|| Failure::NoAdapter {
            why: format!("adapter {} was asked for, there are {}", place.saturating_add(1), found.len()),
        })?;
        let engine = engine_name(found);
        let module = kernel.instrumented(job.limits.loop_iterations_max);
        let kernel = device::Kernel::new(found, module, job.limits, &common)?;
        Ok(Box::new(Program { engine, kernel }))
    }
}

struct Program {
    engine: String,
    kernel: device::Kernel,
}

impl Prepared for Program {
    fn engine(&self) -> String {
        self.engine.clone()
    }

    fn run(&mut self, unit: &[u8], _: &Listener) -> Result<Done, Failure> {
        Ok(Done { output: self.kernel.run(unit)?, usage: Usage { fuel: 0, wall_us: 0 } })
    }
}

/// The adapters that pass the self-test; of the others what the first one was, or why it was not tested. One that fails takes no job from the others.
fn tested(used: &[device::Found]) -> (Vec<Tested>, Result<Device, Failure>) {
    let mut failed = None;
    let mut cards = Vec::new();
    for (place, on) in (0_u8..).zip(used) {
        match canary::examine(on) {
            Ok((true, device)) => cards.push(Tested { place, summary: on.summary(), device }),
            Ok((false, device)) => failed = failed.or(Some(Ok(device))),
            Err(failure) => failed = failed.or(Some(Err(failure))),
        }
    }
    (cards, failed.unwrap_or_else(|| Err(Failure::NoAdapter { why: "no adapter".to_owned() })))
}

/// Checks hostile source against every rule of its class. Recurses over the source: call it on a large stack.
fn admitted(program: &[u8], class: Class) -> Result<Kernel, Failure> {
    // Only equal hashes need integers; every other class has its own way to compare.
    let profile = if class == Class::Exact { Profile::Exact } else { Profile::Float };
    let kernel = Kernel::admit(program, profile).map_err(|error| match error {
        Error::TooLarge { got, max } => Failure::LimitHit { which: Limit::ProgramBytes, limit: max, got: Some(got) },
        other => Failure::kernel(other),
    })?;
    kernel.bounds().map_err(Failure::kernel)?;
    Ok(kernel)
}

fn engine_name(found: &[device::Found]) -> String {
    let device = found.first().map(device::Found::summary).unwrap_or_default();
    format!("wgsl/1 wgpu-{WGPU_VERSION} naga-{NAGA_VERSION} {device}")
}

/// Limits for kernels of the self-test.
const fn small_limits(workgroups: u32, output_bytes: u64) -> Limits {
    Limits {
        wall_ms_max: 10_000,
        fuel_max: 0,
        memory_bytes_max: 1 << 20,
        output_bytes_max: output_bytes,
        loop_iterations_max: keystead_job::limits::LOOP_ITERATIONS_MAX,
        workgroups: [workgroups, 1, 1],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn rejected(source: &str) -> String {
        match admitted(source.as_bytes(), Class::Exact) {
            Err(Failure::KernelRejected { why }) => why,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// A kernel with this body after the usual declarations.
    fn kernel(declarations: &str, body: &str) -> String {
        format!(
            "@group(0) @binding(0) var<storage, read> common_input: array<u32>;
             @group(0) @binding(1) var<storage, read> unit_input: array<u32>;
             @group(0) @binding(2) var<storage, read_write> output: array<u32>;
             {declarations}
             @compute @workgroup_size(64)
             fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ {body} }}"
        )
    }

    #[test]
    fn integer_kernels_with_loops_functions_and_shared_memory_are_admitted_and_stay_valid_with_the_counter() {
        let sources = [
            kernel("", "output[id.x] = common_input[0] * unit_input[id.x] + 7u;"),
            kernel(
                "",
                "var s = 0u; for (var i = 0u; i < 10u; i++) { if (i == 3u) { continue; } s += i; } output[id.x] = s;",
            ),
            kernel(
                "",
                "var i = 0u; loop { i++; if (i > 9u) { break; } continuing { i++; break if i > 5u; } } output[0] = i;",
            ),
            kernel(
                "",
                "var i = 0u; while (i < 9u) { switch i { case 3u: { i += 2u; break; } default: { i++; } } } output[0] = i;",
            ),
            kernel(
                "fn inner(n: u32) -> u32 { var s = 0u; for (var i = 0u; i < n; i++) { if (i == 5u) { return s; } s += i; } return s; }",
                "var s = 0u; for (var i = 0u; i < 9u; i++) { for (var j = 0u; j < 9u; j++) { s += inner(j); } } output[0] = s;",
            ),
            kernel(
                "var<workgroup> tile: array<atomic<u32>, 64>;",
                "atomicAdd(&tile[id.x % 64u], 1u); workgroupBarrier(); output[id.x] = atomicLoad(&tile[id.x % 64u]);",
            ),
            kernel("", "output[0] = dot4U8Packed(common_input[0], unit_input[0]) ^ countOneBits(common_input[1]);"),
        ];
        for source in sources {
            let kernel =
                admitted(source.as_bytes(), Class::Exact).unwrap_or_else(|failure| panic!("{failure}\n{source}"));
            let module = kernel.instrumented(100);
            let flags = naga::valid::ValidationFlags::all();
            let checked = naga::valid::Validator::new(flags, naga::valid::Capabilities::empty()).validate(&module);
            assert!(checked.is_ok(), "{source}\n{:?}", checked.err());
        }
    }

    #[test]
    fn anything_with_floating_point_is_refused_by_name() {
        for body in [
            "let x = f32(id.x); output[0] = u32(x);",
            "output[0] = u32(1.5 * 2.0);",
            "output[0] = bitcast<u32>(bitcast<f32>(id.x) + 1.0);",
            "output[0] = pack4x8unorm(unpack4x8unorm(id.x));",
            "var v: vec2<f32>; output[0] = id.x;",
        ] {
            let why = rejected(&kernel("", body));
            assert!(why.contains("floating-point"), "{body}: {why}");
        }
        assert!(rejected(&kernel("var<private> x: mat2x2<f32>;", "output[0] = 1u;")).contains("floating-point"));
        assert!(rejected(&kernel("const x = 1.5;", "output[0] = u32(x);")).contains("floating-point"));
    }

    #[test]
    fn floating_point_that_the_translator_would_compute_itself_is_refused_and_look_alikes_are_not() {
        for body in [
            "output[0] = u32(sin(1) * 1000000);",
            "output[0] = u32(pow(2, 3));",
            "output[0] = u32(1e3);",
            "output[0] = u32(0x1p4);",
            "output[0] = u32(2f);",
            "output[0] = u32(.5 + 1.);",
            "/* /* */ */ output[0] = u32(1.0);",
        ] {
            let why = rejected(&kernel("", body));
            assert!(why.contains("floating-point"), "{body}: {why}");
        }
        for (declarations, body) in [
            ("", "output[0] = 0xfeu + 0x1Eu + 12u; // 1.5 sin(x)\n"),
            ("", "let v = vec2<u32>(1u, 2u); output[0] = v.x + v.y; /* 2.0 /* nested */ f32 */"),
            ("fn mix(a: u32) -> u32 { return a * 3u; }", "output[0] = mix(id.x);"),
            ("", "let cosine = 3u; let round = 4u; output[0] = cosine + round;"),
        ] {
            let outcome = admitted(kernel(declarations, body).as_bytes(), Class::Exact);
            assert!(outcome.is_ok(), "{body}: {outcome:?}");
        }
    }

    #[test]
    fn atomics_whose_result_depends_on_the_order_are_refused() {
        let shared = "var<workgroup> a: atomic<u32>;";
        assert!(rejected(&kernel(shared, "output[0] = atomicAdd(&a, 1u);")).contains("order"));
        assert!(rejected(&kernel(shared, "atomicExchange(&a, id.x);")).contains("order"));
        assert!(
            rejected(&kernel(shared, "let r = atomicCompareExchangeWeak(&a, 0u, 1u); output[0] = r.old_value;"))
                .contains("order")
        );
        assert!(admitted(kernel(shared, "atomicMax(&a, id.x); output[0] = 1u;").as_bytes(), Class::Exact).is_ok());
    }

    #[test]
    fn bindings_outside_the_interface_are_refused() {
        let other = |declaration: &str| {
            rejected(&format!("{declaration} @compute @workgroup_size(1) fn main() {{ let x = &b; }}"))
        };
        for declaration in [
            "@group(0) @binding(3) var<storage, read_write> b: array<u32>;",
            "@group(1) @binding(0) var<storage, read> b: array<u32>;",
            "@group(0) @binding(0) var<storage, read_write> b: array<u32>;",
            "@group(0) @binding(2) var<storage, read> b: array<u32>;",
            "@group(0) @binding(1) var<storage, read> b: array<i32>;",
            "@group(0) @binding(1) var<storage, read> b: array<u32, 4>;",
            "@group(0) @binding(0) var<uniform> b: vec4<u32>;",
        ] {
            assert!(other(declaration).contains("binding"), "{declaration}");
        }
    }

    #[test]
    fn entry_points_that_are_not_one_compute_main_are_refused() {
        assert!(rejected("").contains("main"));
        assert!(rejected("@compute @workgroup_size(1) fn other() {}").contains("main"));
        assert!(
            rejected("@compute @workgroup_size(1) fn main() {} @compute @workgroup_size(1) fn b() {}").contains("main")
        );
        assert!(
            rejected("override n: u32 = 4u; @compute @workgroup_size(1) fn main() { let x = n; }").contains("override")
        );
        assert!(rejected("@compute @workgroup_size(512) fn main() {}").contains("256"));
    }

    #[test]
    fn broken_source_is_refused_with_the_place_and_never_panics() {
        assert!(rejected("fn main( {").contains("1:"));
        assert!(rejected("@compute @workgroup_size(1) fn main() { let x: u32 = true; }").contains("wgsl:1"));
        assert!(rejected("\u{0}\u{1}").contains("wgsl"));
        assert!(matches!(admitted(&[0xff, 0xfe], Class::Exact), Err(Failure::KernelRejected { .. })));
        let long = vec![b' '; 262_145];
        assert!(matches!(admitted(&long, Class::Exact), Err(Failure::LimitHit { which: Limit::ProgramBytes, .. })));
    }

    #[test]
    fn source_that_nests_as_deep_as_it_is_long_is_refused_on_the_engine_threads_stack() {
        let deep = kernel("", &format!("output[0] = {}1u{};", "(".repeat(60_000), ")".repeat(60_000)));
        let blocks = kernel("", &format!("{}{}", "{".repeat(100_000), "}".repeat(100_000)));
        let run = move || [deep, blocks].map(|source| admitted(source.as_bytes(), Class::Exact).is_err());
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap();
        assert_eq!(thread.join().unwrap(), [true, true]);
    }

    #[test]
    fn the_versions_in_the_engines_name_are_those_of_the_lock_file() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        for (name, version) in [("naga", NAGA_VERSION), ("wgpu", WGPU_VERSION)] {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{name} is not {version}");
        }
    }
}
