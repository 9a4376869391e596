//! What this machine can run, found by running it.

use super::{claims::kernel, power::Draw};
use crate::compute::{bond::Standing, files};
use alloy_primitives::keccak256;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_job::{JobSpec, Runtime};
use keystead_market::need::{kernel_of, work_mop};
use keystead_owner::probe::Root;
use keystead_runner::{
    CARDS_MAX, Device, DeviceKind, SelfTest, Speed, Tested, Work, WorkerCommand, admit, measure, place, probe,
};
use std::path::Path;

/// The runtimes that this machine passed.
#[derive(Clone, Debug)]
pub(crate) struct Capability {
    pub(super) tests: Vec<SelfTest>,
    /// How fast it is at each kind of work of these: the processor, and the best card.
    pub(super) speeds: Vec<Speed>,
    /// How fast the other cards are, in the order of their self-test.
    pub(super) beside: Vec<Vec<Speed>>,
    /// What its counters showed while its processor was measured, milliwatts; none where nothing counts that.
    pub(super) power_mw: Option<u32>,
}

/// Whether `wgsl/1` is offered on the interpreter where no adapter runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interpreter {
    /// Its owner asked for that.
    Offered,
    /// As usual.
    Never,
}

/// A card of this machine, or the program that acts as one.
#[derive(Clone, Debug)]
pub(super) struct Card<'a> {
    /// Its number in the record and in proofs, from 1.
    pub(super) number: u8,
    /// By which workers know it.
    pub(super) place: u8,
    pub(super) device: &'a Device,
    pub(super) speeds: Vec<Speed>,
}

impl Capability {
    /// Tests every runtime and measures how fast it is and what its processor draws meanwhile, prints a table, keeps the passed tests in `file`. `root` is where
    /// the machine's counters are looked for.
    ///
    /// # Errors
    /// No runtime passed.
    pub(super) async fn measure(
        command: &WorkerCommand,
        file: &Path,
        root: &Root,
        interpreter: Interpreter,
    ) -> Result<Self> {
        let (mut tests, mut speeds, mut beside, mut power_mw) = (Vec::new(), Vec::new(), Vec::new(), None);
        for runtime in [Runtime::Wasm1, Runtime::Wgsl1] {
            match probe(command, runtime).await {
                // Right, but hundreds of times too slow for a deadline that was made for devices.
                Ok(test) if interpreter == Interpreter::Never && is_interpreted(&test) => {
                    say(&format!(
                        "  {runtime}  not offered: no Vulkan, Metal or DX12 adapter, only the {}; --interpreter offers it to who asks for it",
                        test.engine
                    ));
                }
                Ok(test) if !test.known_answer => show(&test),
                Ok(test) => {
                    show(&test);
                    if is_interpreted(&test) {
                        say(
                            "          offered as an interpreter, for orders of who asks for it: --hardware interpreter",
                        );
                    }
                    let draw = Draw::begin(root);
                    let (test, mut measured) = measured(command, test).await;
                    if !measured.is_empty() {
                        if runtime == Runtime::Wasm1 {
                            power_mw = draw.end();
                        }
                        speeds.append(&mut measured.remove(0));
                        beside.append(&mut measured);
                        tests.push(test);
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
        Ok(Self { tests, speeds, beside, power_mw })
    }

    /// The cards that may run jobs, best first, by the self-test of `wgsl/1`; none without a speed.
    pub(super) fn cards(&self) -> Vec<Card<'_>> {
        let best: Vec<Speed> = self.speeds.iter().filter(|speed| speed.work != Work::Wasm).copied().collect();
        let speeds = std::iter::once(best).chain(self.beside.iter().cloned());
        let devices = self.test(Runtime::Wgsl1).map_or_else(Vec::new, SelfTest::devices);
        let cards = (1_u8..).zip(devices).zip(speeds);
        let cards = cards.map(|((number, (place, device)), speeds)| Card { number, place, device, speeds });
        cards.filter(|card| !card.speeds.is_empty()).collect()
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
        Ok(Self { tests, speeds: Vec::new(), beside: Vec::new(), power_mw: None })
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
        // The interpreter is the reference, and no device.
        let device = device.filter(|device| device.kind != DeviceKind::Reference);
        if device.is_some() {
            abilities |= 2 | 4;
        }
        let (vendor, name) = match device {
            Some(device) if device.kind != DeviceKind::Cpu => (device.vendor_id, device.driver.as_str()),
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

    /// On which adapter a job runs by the self-test alone: the best one that takes it.
    pub(super) fn place(&self, spec: &JobSpec) -> u8 {
        self.test(spec.runtime).and_then(|test| place(spec, test).ok()).unwrap_or(0)
    }

    /// Whether this machine takes a job; the reason if not.
    pub(crate) fn admit(&self, spec: &JobSpec) -> Result<(), String> {
        match self.test(spec.runtime) {
            Some(test) => {
                admit(spec, test).map_err(|refusal| refusal.to_string())?;
                self.too_slow(spec).map_or(Ok(()), Err)
            }
            None => Err(format!("runtime not offered: {}", spec.runtime)),
        }
    }

    /// Whether this machine takes steps of a map; the reason if not. Who names providers for a map asks for no hardware, so none gets an interpreter.
    pub(super) fn admit_lease(&self, spec: &JobSpec) -> Result<(), String> {
        if self.interprets(spec) {
            return Err(format!(
                "{} is interpreted here, for orders alone: leave this provider out of maps",
                spec.runtime
            ));
        }
        self.admit(spec)
    }

    /// Whether a job would run on the interpreter here.
    fn interprets(&self, spec: &JobSpec) -> bool {
        self.test(spec.runtime).is_some_and(is_interpreted)
    }

    /// Why the interpreter cannot take a job, if it cannot: at the speed that was measured, a unit that does all that its limits allow is ended for its time.
    fn too_slow(&self, spec: &JobSpec) -> Option<String> {
        if !self.interprets(spec) {
            return None;
        }
        let work = kernel_of(spec);
        let speed = self.speeds.iter().find(|speed| kernel(speed.work) == work)?.mop_per_s;
        let needed_ms = work_mop(spec).saturating_mul(1_000).checked_div(speed).unwrap_or(u64::MAX);
        let allowed_ms = spec.limits.wall_ms_max.saturating_mul(u64::from(spec.segment_count));
        let words = "too slow, as kernels are interpreted here: choose a provider with a driver";
        (needed_ms > allowed_ms).then(|| format!("{words}: needed_ms={needed_ms} allowed_ms={allowed_ms}"))
    }
}

/// Whether `wgsl/1` runs without a driver.
fn is_interpreted(test: &SelfTest) -> bool {
    test.device.as_ref().is_some_and(|device| device.kind == DeviceKind::Reference)
}

/// How fast each device of a runtime is that passed, and the test without those of which that is not known; nothing if it is known of none.
async fn measured(command: &WorkerCommand, mut test: SelfTest) -> (SelfTest, Vec<Vec<Speed>>) {
    let (runtime, mut speeds, mut passed) = (test.runtime, Vec::new(), Vec::new());
    // A runtime without adapters has its one place, too.
    let places = test.cards.iter().map(Some).chain(test.cards.is_empty().then_some(None));
    for card in places {
        match measure(command, runtime, card.map_or(0, |card| card.place)).await {
            Ok(measured) => {
                let name = card.filter(|_| test.cards.len() > 1).map_or_else(String::new, named);
                say(&format!("          {name}{}", words(&measured)));
                speeds.push(measured);
                passed.extend(card.cloned());
            }
            Err(failure) => {
                let name = card.map_or_else(String::new, |card| format!("{}: ", card.device.name));
                say(&format!("  {runtime}  not offered: {name}its speed was not measured: {failure}"));
            }
        }
    }
    if let Some(best) = passed.first() {
        test.device = Some(best.device.clone());
    }
    test.cards = passed;
    (test, speeds)
}

fn named(card: &Tested) -> String {
    format!("{}: ", card.summary)
}

fn show(test: &SelfTest) {
    let device = test.device.as_ref().map_or_else(
        || test.engine.clone(),
        |device| format!("{} ({:?}, {}); {}", device.name, device.kind, device.backend, test.engine),
    );
    let verdict = if test.known_answer { "passed" } else { "FAILED, not offered" };
    say(&format!("  {}  {verdict} in {} ms  {device}", test.runtime, test.took_ms));
    for line in others(test) {
        say(&line);
    }
    for line in test.isolation.to_string().lines() {
        say(&format!("          {line}"));
    }
}

/// What became of the adapters beside the best one, a line each; nothing on a machine with one.
fn others(test: &SelfTest) -> Vec<String> {
    let passed = test.cards.iter().skip(1).map(|card| format!("          also passed: {}", card.summary));
    let mut left: Vec<&String> = test.adapters.iter().collect();
    // Cards of one model have one name.
    for card in &test.cards {
        if let Some(at) = left.iter().position(|summary| **summary == card.summary) {
            left.remove(at);
        }
    }
    // One that failed alone has its own line.
    let left = left.into_iter().skip(usize::from(test.cards.is_empty()));
    let left = left.map(|summary| {
        format!(
            "          not used: {summary} (a card once more, a program beside cards, the {CARDS_MAX} before it are enough, or it failed)"
        )
    });
    passed.chain(left).collect()
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
