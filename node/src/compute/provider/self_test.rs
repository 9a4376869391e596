//! What this machine can run, found by running it.

use super::power::Draw;
use crate::compute::{bond::Standing, files};
use alloy_primitives::keccak256;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_job::{JobSpec, Runtime};
use keystead_owner::probe::Root;
use keystead_runner::{DeviceKind, SelfTest, Speed, Work, WorkerCommand, admit, measure, probe};
use std::path::Path;

/// The runtimes that this machine passed.
#[derive(Clone, Debug)]
pub(crate) struct Capability {
    pub(super) tests: Vec<SelfTest>,
    /// How fast it is at each kind of work of these.
    pub(super) speeds: Vec<Speed>,
    /// What its counters showed while its processor was measured, milliwatts; none where nothing counts that.
    pub(super) power_mw: Option<u32>,
}

impl Capability {
    /// Tests every runtime and measures how fast it is and what its processor draws meanwhile, prints a table, keeps the passed tests in `file`. `root` is where
    /// the machine's counters are looked for.
    ///
    /// # Errors
    /// No runtime passed.
    pub(super) async fn measure(command: &WorkerCommand, file: &Path, root: &Root) -> Result<Self> {
        let (mut tests, mut speeds, mut power_mw) = (Vec::new(), Vec::new(), None);
        for runtime in [Runtime::Wasm1, Runtime::Wgsl1] {
            match probe(command, runtime).await {
                // Right, but hundreds of times too slow for a deadline that was made for devices.
                Ok(test) if test.device.as_ref().is_some_and(|device| device.kind == DeviceKind::Reference) => {
                    say(&format!(
                        "  {runtime}  not offered: no Vulkan, Metal or DX12 adapter, only the {}",
                        test.engine
                    ));
                }
                Ok(test) if !test.known_answer => show(&test),
                Ok(test) => {
                    show(&test);
                    let draw = Draw::begin(root);
                    match measure(command, runtime).await {
                        Ok(measured) => {
                            if runtime == Runtime::Wasm1 {
                                power_mw = draw.end();
                            }
                            say(&format!("          {}", words(&measured)));
                            speeds.extend(measured);
                            tests.push(test);
                        }
                        Err(failure) => {
                            say(&format!("  {runtime}  not offered: its speed was not measured: {failure}"))
                        }
                    }
                }
                Err(failure) => say(&format!("  {runtime}  not offered: {failure}")),
            }
        }
        ensure!(
            !tests.is_empty(),
            "this machine passed no self-test, or lacks a layer that --require-layer demands, so it has nothing to offer"
        );
        let json = serde_json::to_vec_pretty(&tests).wrap_err("cannot write the self-test")?;
        files::replace(file, &json)?;
        Ok(Self { tests, speeds, power_mw })
    }

    /// The test of a runtime, if it passed.
    pub(super) fn test(&self, runtime: Runtime) -> Option<&SelfTest> {
        self.tests.iter().find(|test| test.runtime == runtime)
    }

    /// Memory that one job may declare, bytes; `None` where the system does not say.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.tests.iter().map(|test| test.memory_bytes_max).filter(|bytes| *bytes < u64::MAX).min()
    }

    /// The same machine of which a job may have no more memory than this, bytes.
    pub(super) fn within(&self, memory_bytes: Option<u64>) -> Self {
        let mut within = self.clone();
        for test in &mut within.tests {
            test.memory_bytes_max = test.memory_bytes_max.min(memory_bytes.unwrap_or(u64::MAX));
        }
        within
    }

    /// What the last self-test of a provider's folder found.
    ///
    /// # Errors
    /// There was none.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("self-test.json");
        let text = files::read(&path)?.ok_or_else(|| {
            eyre!("{} has no self-test: start `keystead provide` with this folder once", folder.display())
        })?;
        let tests = serde_json::from_str(&text).wrap_err_with(|| format!("{} is damaged", path.display()))?;
        Ok(Self { tests, speeds: Vec::new(), power_mw: None })
    }

    /// What a seat states about this machine. Spec: specs/0008-audit.md §4.
    pub(crate) fn standing(&self) -> Standing {
        let test = |runtime| self.tests.iter().find(|test| test.runtime == runtime && test.known_answer);
        let mut abilities = 0;
        if test(Runtime::Wasm1).is_some() {
            // Whoever runs `wasm/1` has a processor, and with it the reference of both runtimes.
            abilities |= 1 | 8;
        }
        let device = test(Runtime::Wgsl1).and_then(|test| test.device.as_ref());
        if device.is_some() {
            abilities |= 2 | 4;
        }
        let (vendor, name) = match device {
            Some(device) if !matches!(device.kind, DeviceKind::Cpu | DeviceKind::Reference) => {
                (device.vendor_id, device.driver.as_str())
            }
            _ => (0, std::env::consts::ARCH),
        };
        let class = keccak256([b"keystead/seat-hardware/v1", &vendor.to_be_bytes()[..], name.as_bytes()].concat());
        let hardware = class.first_chunk().map_or(0, |head| u16::from_be_bytes(*head));
        Standing { hardware, abilities }
    }

    /// Whether `wgsl/1` runs on a graphics card, not on the processor.
    pub(super) fn graphics(&self) -> bool {
        let kinds = self.tests.iter().filter_map(|test| test.device.as_ref().map(|device| device.kind));
        kinds.into_iter().any(|kind| !matches!(kind, DeviceKind::Cpu | DeviceKind::Reference))
    }

    /// Whether this machine can run a job on the reference, which needs its processor alone; the reason if not.
    pub(crate) fn admit_reference(&self, spec: &JobSpec) -> Result<(), String> {
        if spec.runtime == Runtime::Wasm1 {
            return self.admit(spec);
        }
        let needed = spec.limits.memory_bytes_max;
        match self.test(Runtime::Wasm1) {
            None => Err("this machine did not pass the self-test of its processor".to_owned()),
            Some(test) if needed > test.memory_bytes_max => {
                Err(format!("machine too small: needed={needed} available={}", test.memory_bytes_max))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether this machine takes a job; the reason if not.
    pub(crate) fn admit(&self, spec: &JobSpec) -> Result<(), String> {
        match self.test(spec.runtime) {
            Some(test) => admit(spec, test).map_err(|refusal| refusal.to_string()),
            None => Err(format!("runtime not offered: {}", spec.runtime)),
        }
    }
}

fn show(test: &SelfTest) {
    let device = test.device.as_ref().map_or_else(
        || test.engine.clone(),
        |device| format!("{} ({:?}, {}); {}", device.name, device.kind, device.backend, test.engine),
    );
    let verdict = if test.known_answer { "passed" } else { "FAILED, not offered" };
    say(&format!("  {}  {verdict} in {} ms  {device}", test.runtime, test.took_ms));
    for line in test.isolation.to_string().lines() {
        say(&format!("          {line}"));
    }
}

/// Speeds for a person.
fn words(speeds: &[Speed]) -> String {
    let word = |speed: &Speed| {
        let (name, unit) = match speed.work {
            Work::Wasm => ("wasm", "million fuel"),
            Work::Integer => ("integer", "million operations"),
            Work::Float => ("float", "million operations"),
            Work::Memory => ("memory", "MB"),
        };
        format!("{name} {} {unit} a second", speed.mop_per_s)
    };
    format!("speed: {}", speeds.iter().map(word).collect::<Vec<_>>().join(", "))
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(super) fn say(line: &str) {
    println!("{line}");
}
