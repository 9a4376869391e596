//! Kernels of `wgsl/1` without a driver: the interpreter as the referee of disputes, and as the last resort of a machine without an adapter.

use crate::{
    failure::{Failure, Limit},
    message::{Done, Usage, Words},
    report::{Device, DeviceKind, Loops},
    runtime::Prepared,
    said::Listener,
    wgsl::{
        NAGA_VERSION, admitted, canary,
        device::{WORKGROUP_BYTES_MAX, WORKGROUP_INVOCATIONS_MAX, declared_memory, whole_words},
    },
};
use keystead_job::{Class, Limits, limits::INPUT_BYTES_MAX};
use keystead_kernel::{
    Dispatch, Kernel, Program,
    execute::{Error, Sample},
    perturbed::{Perturbation, PerturbedProgram},
};

/// The interpreter's own version: it rises when a result, a refusal or the meaning of its limits changes.
const VERSION: u32 = 1;

/// What is written where a driver would be named. Never the name of a device.
pub(super) const NAME: &str = "interpreter";

pub(super) fn engine_name() -> String {
    format!("wgsl/1 {NAME}-{VERSION} naga-{NAGA_VERSION}")
}

/// A job on the interpreter.
pub(super) struct Interpreted {
    code: Code,
    limits: Limits,
    common: Vec<u32>,
}

/// Whose arithmetic it is.
enum Code {
    Reference(Program),
    /// Boxed, as it is rare.
    OtherVendor(Box<PerturbedProgram>, u64),
}

impl Code {
    fn run(&self, dispatch: &Dispatch<'_>) -> Result<Vec<u32>, Error> {
        match self {
            Self::Reference(program) => program.run(dispatch),
            Self::OtherVendor(program, _) => program.run(dispatch),
        }
    }

    fn run_workgroups(&self, dispatch: &Dispatch<'_>, workgroups: &[[u32; 3]]) -> Result<Sample, Error> {
        match self {
            Self::Reference(program) => program.run_workgroups(dispatch, workgroups),
            Self::OtherVendor(program, _) => program.run_workgroups(dispatch, workgroups),
        }
    }
}

impl Interpreted {
    pub(super) fn new(kernel: &Kernel, limits: Limits, common: &[u8]) -> Result<Self, Failure> {
        // Another machine's driver may well run what is too large here.
        Self::with_code(Code::Reference(kernel.program().map_err(Failure::provider)?), limits, common)
    }

    /// As a false vendor's device, for trying tolerances.
    pub(super) fn other_vendor(kernel: &Kernel, limits: Limits, common: &[u8], seed: u64) -> Result<Self, Failure> {
        let program = PerturbedProgram::new(kernel, Perturbation::all(seed)).map_err(Failure::provider)?;
        Self::with_code(Code::OtherVendor(Box::new(program), seed), limits, common)
    }

    fn with_code(code: Code, limits: Limits, common: &[u8]) -> Result<Self, Failure> {
        whole_words("common input", common)?;
        declared_memory(limits, common.len() as u64, 0)?;
        Ok(Self { code, limits, common: words(common) })
    }

    /// Gives inputs and limits of a unit to `run`. There is no limit of steps: the parent process has the deadline.
    fn with<T>(&self, unit: &[u8], run: impl FnOnce(&Dispatch<'_>) -> Result<T, Error>) -> Result<T, Failure> {
        whole_words("unit input", unit)?;
        declared_memory(self.limits, (self.common.len() as u64).saturating_mul(4), unit.len() as u64)?;
        let unit = words(unit);
        // LOSSY: an output has at most 64 MiB.
        #[allow(clippy::cast_possible_truncation)]
        let output_words = (self.limits.output_bytes_max / 4) as usize;
        let dispatch = Dispatch {
            common: &self.common,
            unit: &unit,
            output_words,
            workgroups: self.limits.workgroups,
            loop_iterations_max: self.limits.loop_iterations_max,
            steps_max: u64::MAX,
        };
        run(&dispatch).map_err(failure)
    }
}

impl Prepared for Interpreted {
    fn engine(&self) -> String {
        match &self.code {
            Code::Reference(_) => engine_name(),
            Code::OtherVendor(_, seed) => format!("{} as false vendor {seed}", engine_name()),
        }
    }

    fn run(&mut self, unit: &[u8], _: &Listener) -> Result<Done, Failure> {
        let output = self.with(unit, |dispatch| self.code.run(dispatch))?;
        let output = output.iter().flat_map(|word| word.to_le_bytes()).collect();
        Ok(Done { output, usage: Usage { fuel: 0, wall_us: 0 } })
    }

    fn run_workgroups(&mut self, unit: &[u8], workgroups: &[[u32; 3]]) -> Result<Words, Failure> {
        let sample = self.with(unit, |dispatch| self.code.run_workgroups(dispatch, workgroups))?;
        // LOSSY: an output has at most 2^24 words.
        #[allow(clippy::cast_possible_truncation)]
        let words = sample.comparable().map(|(at, word)| (at as u32, word)).collect();
        Ok(Words(words))
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn failure(error: Error) -> Failure {
    match error {
        Error::LoopIterations { limit, .. } => {
            Failure::LimitHit { which: Limit::LoopIterations, limit: u64::from(limit), got: None }
        }
        Error::UnevenBarrier { .. } => Failure::Trapped { why: error.to_string() },
        Error::Steps { .. } | Error::TooLarge { .. } | Error::NoSuchWorkgroup { .. } => Failure::provider(error),
    }
}

/// The self-test: the known answers of the adapters' test.
pub(super) fn examine() -> Result<(bool, Device), Failure> {
    let known = admitted(canary::KNOWN_ANSWER.as_bytes(), Class::Exact)?.program().map_err(Failure::provider)?;
    let dispatch = Dispatch {
        common: &canary::COMMON,
        unit: &[canary::UNIT],
        output_words: canary::ANSWER_WORDS as usize,
        ..Dispatch::default()
    };
    let right = known.run(&dispatch).map_err(failure)? == canary::expected_answer();
    let count = admitted(canary::COUNT.as_bytes(), Class::Exact)?.program().map_err(Failure::provider)?;
    let length = canary::BEYOND;
    let dispatch = Dispatch { unit: &[length], output_words: 2, loop_iterations_max: u32::MAX, ..Dispatch::default() };
    let counted = count.run(&dispatch).map_err(failure)? == [length, canary::mixed(1, length)];
    let loops = if counted { Loops::Whole } else { Loops::Wrong };
    let device = Device {
        name: NAME.to_owned(),
        backend: "none".to_owned(),
        kind: DeviceKind::Reference,
        driver: String::new(),
        driver_info: String::new(),
        vendor_id: 0,
        device_id: 0,
        binding_bytes_max: INPUT_BYTES_MAX,
        buffer_bytes_max: INPUT_BYTES_MAX,
        workgroup_bytes_max: WORKGROUP_BYTES_MAX,
        workgroup_invocations_max: WORKGROUP_INVOCATIONS_MAX,
        max_loop_iterations: if counted { length } else { 0 },
        long_loops: loops,
        divergent_loops: loops,
    };
    Ok((right && counted, device))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_knows_the_answers_and_never_passes_for_a_device() {
        let (right, device) = examine().unwrap();
        assert!(right);
        assert_eq!(
            (device.name.as_str(), device.kind, device.kind.is_gpu()),
            ("interpreter", DeviceKind::Reference, false)
        );
        assert_eq!((device.long_loops, device.max_loop_iterations), (Loops::Whole, 70_000));
    }
}
