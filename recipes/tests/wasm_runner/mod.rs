//! Runs a `wasm/1` unit as specs/0003-job.md section 6 says, for comparing kernels with references without the runner's crate.

use wasmtime::{Config, Engine, Instance, Module, OptLevel, Store, StoreLimits, StoreLimitsBuilder};

/// A compiled program.
pub(crate) struct Program {
    engine: Engine,
    module: Module,
}

/// What came back from one unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The output, and the fuel it took.
    Done { output: Vec<u8>, fuel: u64 },
    /// The program's own error code.
    Refused(i64),
    /// A trap, or fuel or memory exhausted.
    Trapped(String),
}

impl Program {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut config = Config::new();
        config.consume_fuel(true).cranelift_nan_canonicalization(true).cranelift_opt_level(OptLevel::Speed);
        config.wasm_relaxed_simd(false);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, bytes).unwrap();
        assert_eq!(module.imports().count(), 0, "a wasm/1 program has no imports");
        Self { engine, module }
    }

    pub(crate) fn run(&self, common: &[u8], unit: &[u8], fuel_max: u64, memory_bytes_max: u64) -> Outcome {
        let limits = StoreLimitsBuilder::new().memory_size(usize::try_from(memory_bytes_max).unwrap()).build();
        let mut store: Store<StoreLimits> = Store::new(&self.engine, limits);
        store.limiter(|limits| limits);
        store.set_fuel(fuel_max).unwrap();
        match self.call(&mut store, common, unit) {
            Ok(Ok(output)) => Outcome::Done { output, fuel: fuel_max - store.get_fuel().unwrap() },
            Ok(Err(code)) => Outcome::Refused(code),
            Err(error) => Outcome::Trapped(format!("{error:?}")),
        }
    }

    fn call(
        &self,
        store: &mut Store<StoreLimits>,
        common: &[u8],
        unit: &[u8],
    ) -> wasmtime::Result<Result<Vec<u8>, i64>> {
        let instance = Instance::new(&mut *store, &self.module, &[])?;
        let memory = instance.get_memory(&mut *store, "memory").unwrap();
        let alloc = instance.get_typed_func::<u32, u32>(&mut *store, "alloc")?;
        let run = instance.get_typed_func::<(u32, u32, u32, u32), i64>(&mut *store, "run")?;
        let mut place = |bytes: &[u8]| -> wasmtime::Result<(u32, u32)> {
            let length = u32::try_from(bytes.len()).unwrap();
            let at = alloc.call(&mut *store, length)?;
            memory.write(&mut *store, at as usize, bytes)?;
            Ok((at, length))
        };
        let (common_at, common_len) = place(common)?;
        let (unit_at, unit_len) = place(unit)?;
        let result = run.call(&mut *store, (common_at, common_len, unit_at, unit_len))?;
        if result < 0 {
            return Ok(Err(result));
        }
        let (at, length) = ((result >> 32) as usize, (result & 0xffff_ffff) as usize);
        Ok(Ok(memory.data(&*store)[at..at + length].to_vec()))
    }
}
