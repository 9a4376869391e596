//! Whether a machine should take a job, decided before any lease from the job spec and the machine's own self-test alone.

use crate::report::{Device, SelfTest};
use keystead_job::{Class, JobSpec};

/// A machine-readable reason to decline a job. Nobody's fault; another machine may take it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The self-test was made for another runtime.
    #[error("runtime not offered: job={job} offered={offered}")]
    Runtime {
        /// What the job needs.
        job: keystead_job::Runtime,
        /// What the self-test covers.
        offered: keystead_job::Runtime,
    },
    /// Results of this class cannot be checked, so nobody could be paid for them rightly.
    #[error("job class not offered, since nothing can check its results, which would stay unverified: {0}")]
    Class(Class),
    /// The engine failed on a known answer.
    #[error("this machine failed its own self-test")]
    SelfTest,
    /// The job declares more than the machine or its device has.
    #[error("machine too small: {what} needed={needed} available={available}")]
    TooSmall {
        /// Which quantity.
        what: &'static str,
        /// What the job declares.
        needed: u64,
        /// What the device has.
        available: u64,
    },
}

/// Checks a job against a machine's self-test. Pure and total; the program itself is checked later, inside the worker.
///
/// # Errors
/// Why no adapter takes it: what is missing to the best one.
pub fn admit(job: &JobSpec, self_test: &SelfTest) -> Result<(), Refusal> {
    place(job, self_test).map(|_| ())
}

/// On which adapter a job runs: the place of the best one that takes it; 0 for a runtime without adapters.
///
/// # Errors
/// As [`admit`].
pub fn place(job: &JobSpec, self_test: &SelfTest) -> Result<u8, Refusal> {
    if job.runtime != self_test.runtime {
        return Err(Refusal::Runtime { job: job.runtime, offered: self_test.runtime });
    }
    if matches!(job.class, Class::Statistical | Class::Opaque) {
        return Err(Refusal::Class(job.class));
    }
    if !self_test.known_answer {
        return Err(Refusal::SelfTest);
    }
    let (needed, available) = (job.limits.memory_bytes_max, self_test.memory_bytes_max);
    if needed > available {
        return Err(Refusal::TooSmall { what: "memory_bytes", needed, available });
    }
    let mut refusal = None;
    for (place, device) in self_test.devices() {
        match takes(job, device) {
            Ok(()) => return Ok(place),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    refusal.map_or(Ok(0), Err)
}

/// Whether a device has what a job declares.
fn takes(job: &JobSpec, device: &Device) -> Result<(), Refusal> {
    let needs = [
        ("loop_iterations", u64::from(job.limits.loop_iterations_max), u64::from(device.max_loop_iterations)),
        ("binding_bytes", job.limits.output_bytes_max, device.binding_bytes_max),
    ];
    match needs.into_iter().find(|(_, needed, available)| needed > available) {
        Some((what, needed, available)) => Err(Refusal::TooSmall { what, needed, available }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use crate::report::{DeviceKind, Loops, Tested};
    use keystead_job::{
        B256, Limits, Runtime,
        spec::{Draft, RecipeName},
    };

    fn job(change: impl FnOnce(&mut Draft)) -> JobSpec {
        let mut draft = Draft {
            recipe: RecipeName::new("r").unwrap(),
            runtime: Runtime::Wgsl1,
            class: Class::Exact,
            program_hash: B256::ZERO,
            common_hash: B256::ZERO,
            units_hash: B256::ZERO,
            unit_count: 1,
            segment_count: 1,
            limits: Limits {
                wall_ms_max: 1,
                fuel_max: 0,
                memory_bytes_max: 65_536,
                output_bytes_max: 4_096,
                loop_iterations_max: 32_768,
                workgroups: [1; 3],
            },
            checker: None,
            tolerance: None,
        };
        change(&mut draft);
        JobSpec::new(draft).unwrap()
    }

    fn lavapipe() -> SelfTest {
        SelfTest {
            runtime: Runtime::Wgsl1,
            engine: "e".to_owned(),
            known_answer: true,
            adapters: vec!["llvmpipe".to_owned()],
            cards: Vec::new(),
            took_ms: 1,
            memory_bytes_max: u64::MAX,
            isolation: crate::isolation::Isolation::default(),
            device: Some(Device {
                name: "llvmpipe".to_owned(),
                backend: "Vulkan".to_owned(),
                kind: DeviceKind::Cpu,
                driver: String::new(),
                driver_info: String::new(),
                vendor_id: 0,
                device_id: 0,
                binding_bytes_max: 4_096,
                buffer_bytes_max: 4_096,
                workgroup_bytes_max: 16_384,
                workgroup_invocations_max: 256,
                max_loop_iterations: 32_768,
                long_loops: Loops::CutShortNoticed,
                divergent_loops: Loops::CutShortNoticed,
            }),
        }
    }

    #[test]
    fn a_job_that_fits_exactly_is_admitted_and_one_step_more_is_refused_with_numbers() {
        assert_eq!(admit(&job(|_| ()), &lavapipe()), Ok(()));
        let refusal = admit(&job(|draft| draft.limits.output_bytes_max = 4_100), &lavapipe()).unwrap_err();
        assert_eq!(refusal, Refusal::TooSmall { what: "binding_bytes", needed: 4_100, available: 4_096 });
        let small = SelfTest { memory_bytes_max: 65_535, ..lavapipe() };
        let refusal = admit(&job(|_| ()), &small).unwrap_err();
        assert_eq!(refusal, Refusal::TooSmall { what: "memory_bytes", needed: 65_536, available: 65_535 });
        let mut weak = lavapipe();
        weak.device.as_mut().unwrap().max_loop_iterations = 32_767;
        let refusal = admit(&job(|_| ()), &weak).unwrap_err();
        assert_eq!(refusal, Refusal::TooSmall { what: "loop_iterations", needed: 32_768, available: 32_767 });
    }

    #[test]
    fn a_job_runs_on_the_best_card_that_takes_it_and_is_refused_with_the_numbers_of_the_best() {
        let card = |place, binding_bytes_max, max_loop_iterations| {
            let device = Device { binding_bytes_max, max_loop_iterations, ..lavapipe().device.unwrap() };
            Tested { place, summary: "card".to_owned(), device }
        };
        // The one at place 1 failed its self-test.
        let machine = SelfTest { cards: vec![card(0, 4_096, 32_768), card(2, 8_192, 1_000)], ..lavapipe() };
        let wants = |output_bytes_max, loop_iterations_max| {
            job(|draft| {
                draft.limits.output_bytes_max = output_bytes_max;
                draft.limits.loop_iterations_max = loop_iterations_max;
            })
        };
        assert_eq!(place(&wants(4_096, 1_000), &machine), Ok(0));
        assert_eq!(place(&wants(8_192, 1_000), &machine), Ok(2));
        // None has both.
        let refusal = Refusal::TooSmall { what: "binding_bytes", needed: 8_192, available: 4_096 };
        assert_eq!(place(&wants(8_192, 1_001), &machine), Err(refusal));
    }

    #[test]
    fn other_runtimes_and_failed_self_tests_are_refused() {
        let broken = SelfTest { known_answer: false, ..lavapipe() };
        assert_eq!(admit(&job(|_| ()), &broken), Err(Refusal::SelfTest));
        let wasm = SelfTest { runtime: Runtime::Wasm1, device: None, ..lavapipe() };
        assert!(matches!(admit(&job(|_| ()), &wasm), Err(Refusal::Runtime { .. })));
    }

    /// A cheap model writes, the one that was ordered only reads: nobody can tell, so no machine takes work that would be paid for it.
    #[test]
    fn pre_fill_attack_on_language_models() {
        for class in [Class::Statistical, Class::Opaque] {
            let refusal = admit(&job(|draft| draft.class = class), &lavapipe()).unwrap_err();
            assert_eq!(refusal, Refusal::Class(class));
            assert!(refusal.to_string().contains("unverified"), "{refusal}");
        }
        assert_eq!(admit(&job(|_| ()), &lavapipe()), Ok(()), "and nothing else of this job is refused");
    }
}
