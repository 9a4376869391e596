//! Runtime `wasm/1`: core WebAssembly with one import that gives nothing back, metered, the same on every machine.
//!
//! # Design
//! A fresh instance for each unit, so nothing passes from one to the next. Fuel stops every loop at the same instruction everywhere; time is
//! the parent's business. Whatever a program can observe is fixed: nothing comes in by an import (`keystead.log` only says lines, see [`crate::said`]),
//! canonical NaNs, no threads, no relaxed SIMD, a declared memory maximum, a fixed stack. Spec: specs/0003-job.md §6.
//!
//! # Not here
//! Fuel is not a currency: it depends on the engine's version, so the engine's name goes with every result.

use crate::{
    failure::{Failure, Limit},
    isolation::Isolation,
    message::{Done, Usage},
    report::SelfTest,
    runtime::{Prepared, Runtime},
    said::{Listener, Voice},
    sandbox, wasm_bounds,
};
use keystead_job::{JobSpec, Limits};
use std::{sync::Arc, time::Instant};
use wasmtime::{
    Caller, Config, Engine, Extern, ExternType, ImportType, InstancePre, Linker, Memory, Module, ResourceLimiter,
    Store, Trap, TypedFunc, ValType,
};

/// The engine's version; a test compares it with the lock file.
const WASMTIME_VERSION: &str = "48.0.8";
/// The configuration below, named: raise it with every change that a program could observe or that changes fuel.
const CONFIG_VERSION: &str = "config-2";
/// The wasm stack, bytes: part of the runtime's definition.
const STACK_BYTES: usize = 1 << 20;
/// Elements of a program's table: function pointers, bounded so that a table cannot be a second memory.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// The one import: `keystead.log (i32 at, i32 bytes)`.
const LOG: (&str, &str) = ("keystead", "log");
/// What a line costs, told or left out: more than the machine takes for it, in instructions. Part of the runtime's definition.
const LOG_FUEL: u64 = 1_000;
/// What the compiler and its output may need besides the program's memory, bytes.
const COMPILER_BYTES: u64 = 2 << 30;
/// Address space that the engine reserves around one memory, bytes: 4 GiB and guards, without using it.
const RESERVATION_BYTES: u64 = 6 << 30;

/// The engine of a worker process.
pub(crate) struct Wasm {
    engine: Engine,
}

impl Wasm {
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut config = Config::new();
        config
            // The memory's first content is copied, not mapped from a memory file: a confined worker makes no files.
            .memory_init_cow(false)
            .consume_fuel(true)
            .cranelift_nan_canonicalization(true)
            .wasm_simd(true)
            .wasm_relaxed_simd(false)
            .wasm_memory64(false)
            .wasm_multi_memory(false)
            .max_wasm_stack(STACK_BYTES);
        let engine = Engine::new(&config).map_err(|error| Failure::provider(format_args!("wasm engine: {error:#}")))?;
        Ok(Self { engine })
    }

    fn load(&self, limits: Limits, program: &[u8], common: Vec<u8>) -> Result<Program, Failure> {
        wasm_bounds::check(program).map_err(Failure::kernel)?;
        // Only the binary format: the text format is for people, and its parser is one more thing to attack.
        let module =
            Module::from_binary(&self.engine, program).map_err(|error| Failure::kernel(format_args!("{error:#}")))?;
        check_interface(&module, limits)?;
        let mut linker = Linker::<Meter>::new(&self.engine);
        linker
            .func_wrap(LOG.0, LOG.1, log)
            .map_err(|error| Failure::provider(format_args!("wasm engine: {error:#}")))?;
        let instance = linker.instantiate_pre(&module).map_err(|error| Failure::kernel(format_args!("{error:#}")))?;
        Ok(Program { engine: self.engine.clone(), instance, limits, common })
    }
}

impl Runtime for Wasm {
    fn probe(&mut self, _: usize) -> Result<SelfTest, Failure> {
        let started = Instant::now();
        let limits = Limits {
            wall_ms_max: 10_000,
            fuel_max: 10_000_000,
            memory_bytes_max: 1 << 20,
            output_bytes_max: 32,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        };
        let mut program = self.load(limits, SELF_TEST, b"keystead".to_vec())?;
        let nobody: Listener = Arc::new(|_| ());
        let (first, second) = (program.run(&[1, 2, 3], &nobody)?, program.run(&[1, 2, 3], &nobody)?);
        let known_answer = first.output == self_test_answer() && first == second;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let runtime = keystead_job::Runtime::Wasm1;
        Ok(SelfTest {
            runtime,
            engine: engine_name(),
            known_answer,
            device: None,
            adapters: Vec::new(),
            cards: Vec::new(),
            took_ms,
            memory_bytes_max: u64::MAX,
            isolation: Isolation::default(),
        })
    }

    // There is one engine, and it is exact: it is its own reference.
    fn prepare(
        &mut self,
        job: &JobSpec,
        program: &[u8],
        common: Vec<u8>,
        _: crate::message::Engine,
    ) -> Result<Box<dyn Prepared>, Failure> {
        let memory = job.limits.memory_bytes_max;
        let writable = memory.saturating_add(COMPILER_BYTES);
        sandbox::limit_memory(writable, Some(writable.saturating_add(RESERVATION_BYTES))).map_err(Failure::provider)?;
        Ok(Box::new(self.load(job.limits, program, common)?))
    }
}

fn engine_name() -> String {
    format!("wasm/1 wasmtime-{WASMTIME_VERSION} {CONFIG_VERSION} {}", std::env::consts::ARCH)
}

/// A function that hashes its inputs with 64-bit arithmetic, shifts, a loop, a table call and a NaN; built from the text beside it.
const SELF_TEST: &[u8] = include_bytes!("self_test.wasm");

/// The self-test's answer for common `keystead` and unit 1, 2, 3, computed here without WebAssembly.
fn self_test_answer() -> Vec<u8> {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in b"keystead".iter().chain(&[1, 2, 3]) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
    // The quotient 0/0 as the profile's canonical NaN.
    [&state.to_le_bytes()[..], &0x7fc0_0000_u32.to_le_bytes()].concat()
}

/// Imports, exports and sizes, before anything runs.
fn check_interface(module: &Module, limits: Limits) -> Result<(), Failure> {
    if let Some(import) = module.imports().find(|import| !is_log(import)) {
        return Err(Failure::kernel(format_args!(
            "wasm/1 has no import but keystead.log (i32, i32), and the module asks for {:?} from {:?}",
            import.name(),
            import.module()
        )));
    }
    let missing = |what: &str| Failure::kernel(format_args!("the module does not export {what}"));
    let memory = module.get_export("memory").and_then(|export| export.memory().cloned());
    let memory = memory.ok_or_else(|| missing("a memory named \"memory\""))?;
    let initial = memory.minimum().saturating_mul(memory.page_size());
    if initial > limits.memory_bytes_max {
        return Err(Failure::LimitHit {
            which: Limit::MemoryBytes,
            limit: limits.memory_bytes_max,
            got: Some(initial),
        });
    }
    let needs = module.resources_required();
    let elements = needs.max_initial_table_size.unwrap_or(0);
    if needs.num_tables > 1 || elements > TABLE_ELEMENTS_MAX as u64 {
        return Err(Failure::kernel(format_args!(
            "at most one table of {TABLE_ELEMENTS_MAX} elements: tables={} elements={elements}",
            needs.num_tables
        )));
    }
    let function = |name: &str, parameters: usize, result: &ValType| {
        let export = module.get_export(name)?;
        let ty = export.func()?.clone();
        let fits = ty.params().len() == parameters
            && ty.params().all(|parameter| parameter.is_i32())
            && ty.results().len() == 1
            && ty.results().all(|got| ValType::eq(&got, result));
        fits.then_some(())
    };
    function("alloc", 1, &ValType::I32).ok_or_else(|| missing("alloc (i32) -> i32"))?;
    function("run", 4, &ValType::I64).ok_or_else(|| missing("run (i32, i32, i32, i32) -> i64"))
}

fn is_log(import: &ImportType<'_>) -> bool {
    let ExternType::Func(ty) = import.ty() else { return false };
    (import.module(), import.name()) == LOG
        && ty.params().len() == 2
        && ty.params().all(|parameter| parameter.is_i32())
        && ty.results().len() == 0
}

/// The import: the program says a line, which lies at `at` in its memory. Whatever becomes of the line, the program sees the same.
fn log(mut caller: Caller<'_, Meter>, at: i32, bytes: i32) -> wasmtime::Result<()> {
    let Some(left) = caller.get_fuel()?.checked_sub(LOG_FUEL) else {
        return Err(Trap::OutOfFuel.into());
    };
    caller.set_fuel(left)?;
    let memory = caller.get_export("memory").and_then(Extern::into_memory).ok_or(Trap::MemoryOutOfBounds)?;
    // Addresses and lengths are unsigned; the type i32 is WebAssembly's way of writing them.
    let (from, length) = (at.cast_unsigned() as usize, bytes.cast_unsigned() as usize);
    let (data, meter) = memory.data_and_store_mut(&mut caller);
    let line = from.checked_add(length).and_then(|to| data.get(from..to));
    meter.voice.say(line.ok_or(Trap::MemoryOutOfBounds)?);
    Ok(())
}

/// A compiled program with the job's limits.
struct Program {
    engine: Engine,
    instance: InstancePre<Meter>,
    limits: Limits,
    common: Vec<u8>,
}

impl Prepared for Program {
    fn engine(&self) -> String {
        engine_name()
    }

    fn run(&mut self, unit: &[u8], listener: &Listener) -> Result<Done, Failure> {
        let voice = Voice::new(Arc::clone(listener));
        let meter = Meter { memory_bytes_max: self.limits.memory_bytes_max, refused_bytes: None, voice };
        let mut store = Store::new(&self.engine, meter);
        store.limiter(|meter| meter);
        store.set_fuel(self.limits.fuel_max).map_err(Failure::provider)?;
        let output = self.call(&mut store, unit);
        store.data().voice.end();
        let output = output.map_err(|error| self.explain(&store, error))?;
        let left = store.get_fuel().map_err(Failure::provider)?;
        let usage = Usage { fuel: self.limits.fuel_max.saturating_sub(left), wall_us: 0 };
        Ok(Done { output, usage })
    }
}

impl Program {
    fn call(&self, store: &mut Store<Meter>, unit: &[u8]) -> Result<Vec<u8>, Stopped> {
        let instance = self.instance.instantiate(&mut *store)?;
        let memory = instance.get_memory(&mut *store, "memory").ok_or_else(|| Failure::kernel("no memory"))?;
        let alloc: TypedFunc<i32, i32> = instance.get_typed_func(&mut *store, "alloc")?;
        let [common, unit] = [self.common.as_slice(), unit].map(|bytes| place(store, &memory, &alloc, bytes));
        let ((common_at, common_len), (unit_at, unit_len)) = (common?, unit?);
        let run: TypedFunc<(i32, i32, i32, i32), i64> = instance.get_typed_func(&mut *store, "run")?;
        let packed = run.call(&mut *store, (common_at, common_len, unit_at, unit_len))?;
        let Ok(packed) = u64::try_from(packed) else {
            return Err(Failure::JobError { code: packed }.into());
        };
        let (at, length) = (packed >> 32, packed & u64::from(u32::MAX));
        if length > self.limits.output_bytes_max {
            let (which, limit) = (Limit::OutputBytes, self.limits.output_bytes_max);
            return Err(Failure::LimitHit { which, limit, got: Some(length) }.into());
        }
        let data = memory.data(&*store);
        let range = usize::try_from(at).ok().zip(usize::try_from(at.saturating_add(length)).ok());
        let output = range.and_then(|(from, to)| data.get(from..to));
        let outside = || {
            trapped(format_args!("the output lies outside the memory: at={at} bytes={length} memory={}", data.len()))
        };
        Ok(output.ok_or_else(outside)?.to_vec())
    }

    /// Turns an engine's error into whose fault it is.
    fn explain(&self, store: &Store<Meter>, stopped: Stopped) -> Failure {
        let error = match stopped {
            Stopped::Failure(failure) => return failure,
            Stopped::Engine(error) => error,
        };
        let refused = store.data().refused_bytes;
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Failure::LimitHit { which: Limit::Fuel, limit: self.limits.fuel_max, got: None },
            Some(Trap::StackOverflow) => {
                Failure::LimitHit { which: Limit::StackBytes, limit: STACK_BYTES as u64, got: None }
            }
            // A program that was refused memory and then gave up, gave up for that reason.
            Some(_) if refused.is_some() => {
                Failure::LimitHit { which: Limit::MemoryBytes, limit: self.limits.memory_bytes_max, got: refused }
            }
            Some(trap) => trapped(format_args!("{trap}; {error:#}")),
            None => Failure::provider(format_args!("wasm engine: {error:#}")),
        }
    }
}

/// Asks the program for room and puts bytes there. Returns address and length as the program sees them.
fn place(
    store: &mut Store<Meter>,
    memory: &Memory,
    alloc: &TypedFunc<i32, i32>,
    bytes: &[u8],
) -> Result<(i32, i32), Stopped> {
    let length = i32::try_from(bytes.len()).map_err(Failure::provider)?;
    let at = alloc.call(&mut *store, length)?;
    // Addresses are unsigned; the type i32 is WebAssembly's way of writing them.
    let from = at.cast_unsigned() as usize;
    let room = from.checked_add(bytes.len()).and_then(|to| memory.data_mut(&mut *store).get_mut(from..to));
    let outside = || trapped(format_args!("alloc gave a range outside the memory: at={from} bytes={}", bytes.len()));
    room.ok_or_else(outside)?.copy_from_slice(bytes);
    Ok((at, length))
}

fn trapped(why: core::fmt::Arguments<'_>) -> Failure {
    Failure::Trapped { why: crate::failure::cleaned(&why.to_string()) }
}

/// Why a unit's call ended early.
enum Stopped {
    Failure(Failure),
    Engine(wasmtime::Error),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<wasmtime::Error> for Stopped {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

/// Holds the declared memory maximum and remembers the first growth that it refused; beside it what the program says.
struct Meter {
    memory_bytes_max: u64,
    refused_bytes: Option<u64>,
    voice: Voice,
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _now: usize, wish: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = wish as u64 <= self.memory_bytes_max;
        if !allowed {
            self.refused_bytes.get_or_insert(wish as u64);
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _now: usize, wish: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(wish <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn self_test_binary_is_built_from_its_text_and_gives_the_known_answer() {
        let built = wat::parse_str(include_str!("self_test.wat")).unwrap();
        if std::env::var_os("KEYSTEAD_WRITE_FIXTURES").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/self_test.wasm"), &built).unwrap();
        }
        assert_eq!(built, SELF_TEST, "after a change of the text: run once with KEYSTEAD_WRITE_FIXTURES=1");
        let report = Wasm::new().unwrap().probe(1).unwrap();
        assert!(report.known_answer, "{report:?}");
        assert!(report.engine.starts_with("wasm/1 wasmtime-48."), "{}", report.engine);
    }

    #[test]
    fn the_version_in_the_engines_name_is_that_of_the_lock_file() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"")));
    }
}
