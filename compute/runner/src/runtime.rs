//! The seam between the worker's loop and an engine.
//!
//! # Design
//! Everything here happens inside the worker process. A runtime prepares one job (check, compile, upload what is common), then runs its
//! units one by one. A checker re-runs a unit by exactly the same calls.

use crate::{
    failure::Failure,
    message::{Done, Engine, Words},
    report::SelfTest,
    said::Listener,
};
use keystead_job::JobSpec;

/// An engine for one interface (`wasm/1`, `wgsl/1`).
pub(crate) trait Runtime {
    /// Tests the engine on kernels with known answers, on so many adapters at most (the best ones, at least 1), and reports what the machine allows.
    fn probe(&mut self, adapters_max: usize) -> Result<SelfTest, Failure>;

    /// Checks and compiles a program of a job; `program` and `common` are hostile.
    fn prepare(
        &mut self,
        job: &JobSpec,
        program: &[u8],
        common: Vec<u8>,
        engine: Engine,
    ) -> Result<Box<dyn Prepared>, Failure>;
}

/// A job ready to run units.
pub(crate) trait Prepared {
    /// The engine with its version and configuration.
    fn engine(&self) -> String;

    /// Runs one unit; `unit` is hostile. Leaves nothing behind that another unit could see. `listener` hears what the program says, if its runtime lets it.
    fn run(&mut self, unit: &[u8], listener: &Listener) -> Result<Done, Failure>;

    /// Runs some workgroups of a unit, on an engine that can.
    fn run_workgroups(&mut self, unit: &[u8], workgroups: &[[u32; 3]]) -> Result<Words, Failure> {
        let (bytes, count) = (unit.len(), workgroups.len());
        Err(Failure::provider(format_args!("this engine runs whole units only: unit_bytes={bytes} workgroups={count}")))
    }
}

/// The engine for a runtime's interface.
///
/// # Errors
/// [`Failure::ProviderFault`] if this binary was built without it.
pub(crate) fn engine(runtime: keystead_job::Runtime) -> Result<Box<dyn Runtime>, Failure> {
    match runtime {
        #[cfg(feature = "wasm")]
        keystead_job::Runtime::Wasm1 => Ok(Box::new(crate::wasm::Wasm::new()?)),
        #[cfg(feature = "wgsl")]
        keystead_job::Runtime::Wgsl1 => Ok(Box::new(crate::wgsl::Wgsl)),
        #[allow(unreachable_patterns)] // Reachable when a runtime's feature is off.
        other => Err(Failure::provider(format_args!("this binary was built without runtime {other}"))),
    }
}
