//! What NVIDIA's driver tells through its own tool only: memory, temperature and power of its cards.
//!
//! # Design
//! The tool (`nvidia-smi`, installed with the driver) can take seconds when the driver sleeps, so it runs in a thread of its own and never more
//! than once at a time; whoever asks gets the last answer, and *unknown* when it is old. A tool that hangs is killed, and its output is bounded.
//!
//! # Not here
//! The library behind the tool (NVML): it would be loaded into our process, with rights of ours.

use super::{graphics::Card, root::word};
use crate::{preferences::decimal, reading::Reading};
use std::{
    io::Read as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What is asked, in this order.
const QUERY: &str = "--query-gpu=pci.bus_id,memory.total,utilization.gpu,temperature.gpu,power.draw,power.limit";
/// Largest answer, bytes: a line for each card of the largest machine has about 60.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;
/// How long the tool may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How old an answer may be, ms.
const AGE_MAX_MS: u64 = 120_000;
/// Time between two looks whether the tool has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Where the answer comes from.
const SOURCE: &str = "nvidia-smi";

/// The figures of one card; unknown is what the tool calls `[N/A]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    address: String,
    memory_bytes: Option<u64>,
    busy_percent: Option<u8>,
    millicelsius: Option<i64>,
    milliwatts: Option<u64>,
    milliwatts_max: Option<u64>,
}

/// Asks the tool in the background.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    runs: bool,
    answer: Option<(u64, Vec<Figures>)>,
}

impl Tool {
    /// The tool of this name or path; nothing is started.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), state: Arc::default() }
    }

    /// Starts the tool unless it runs; the answer is there some time later. `steady_ms` is the time of the answer.
    pub fn ask(&self, steady_ms: u64) {
        {
            let mut state = self.lock();
            if state.runs {
                return;
            }
            state.runs = true;
        }
        let tool = self.clone();
        let started = thread::Builder::new().name("nvidia-smi".to_owned()).spawn(move || {
            let answer = tool.run().map(|text| parse(&text));
            let mut state = tool.lock();
            state.runs = false;
            if let Some(figures) = answer {
                state.answer = Some((steady_ms, figures));
            }
        });
        if started.is_err() {
            self.lock().runs = false;
        }
    }

    /// Runs the tool and waits for its answer, 20 s at most: for a start, where something depends on it. `steady_ms` as for [`Self::ask`].
    pub fn ask_now(&self, steady_ms: u64) {
        if let Some(text) = self.run() {
            self.lock().answer = Some((steady_ms, parse(&text)));
        }
    }

    /// Whether the tool runs now.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.lock().runs
    }

    /// Puts the last answer into the cards that it is about, if it is not old.
    pub fn complete(&self, cards: &mut [Card], steady_ms: u64) {
        let state = self.lock();
        let Some((_, figures)) = state.answer.as_ref().filter(|(at, _)| steady_ms.abs_diff(*at) <= AGE_MAX_MS) else {
            return;
        };
        for card in cards {
            let Some(of) = figures.iter().find(|figures| figures.address == card.address) else { continue };
            put(&mut card.memory_bytes, of.memory_bytes);
            put(&mut card.busy_percent, of.busy_percent);
            put(&mut card.millicelsius, of.millicelsius);
            put(&mut card.milliwatts, of.milliwatts);
            put(&mut card.milliwatts_max, of.milliwatts_max);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tool's answer; none if it is not there, fails, hangs or says too much.
    fn run(&self) -> Option<String> {
        let mut command = Command::new(&self.program);
        command.args([QUERY, "--format=csv,noheader,nounits"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let out = child.stdout.take()?;
        // Read beside the wait: a tool that writes more than a pipe holds would wait for us.
        let reader = thread::Builder::new().name("nvidia-smi read".to_owned()).spawn(move || {
            let mut bytes = Vec::new();
            out.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).ok().map(|_| bytes)
        });
        let start = Instant::now();
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status.success(),
                Ok(None) if start.elapsed() < ANSWER_MAX => thread::sleep(LOOK),
                _ => break false,
            }
        };
        if !ended {
            // Of a tool that has ended already there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        String::from_utf8(reader.ok()?.join().ok()??).ok()
    }
}

fn put<T>(into: &mut Reading<T>, value: Option<T>) {
    if let Some(value) = value {
        *into = Reading::known(value, SOURCE);
    }
}

/// Lines that are not as asked are left out: the tool prints warnings between them.
fn parse(text: &str) -> Vec<Figures> {
    text.lines().filter_map(figures).collect()
}

fn figures(line: &str) -> Option<Figures> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [address, memory, busy, temperature, draw, limit] = fields.try_into().ok()?;
    // The tool writes the bus's domain with eight digits, the kernel with four.
    let address = word(address)?.to_lowercase();
    let address = address.get(address.len().checked_sub(12)?..)?.to_owned();
    Some(Figures {
        address,
        memory_bytes: memory.parse::<u64>().ok().and_then(|mib| mib.checked_mul(1 << 20)),
        busy_percent: busy.parse::<u8>().ok().filter(|percent| *percent <= 100),
        millicelsius: temperature
            .parse::<i64>()
            .ok()
            .filter(|value| (-40..=150).contains(value))
            .map(|value| value.saturating_mul(1_000)),
        milliwatts: decimal(draw, 3),
        milliwatts_max: decimal(limit, 3),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read_and_what_is_missing_stays_unknown() {
        let text = "00000000:01:00.0, 16376, 3, 45, 22.07, 320.00\n\
                    WARNING: infoROM is corrupted at gpu 0000:02:00.0\n\
                    00000000:C1:00.0, 81559, [N/A], [Not Supported], [N/A], 700.00\n\
                    1, 2, 3, 4, 5, 6\n\n,,,,,\n";
        let [first, second] = &parse(text)[..] else { panic!("{:?}", parse(text)) };
        let expected = Figures {
            address: "0000:01:00.0".to_owned(),
            memory_bytes: Some(16_376 << 20),
            busy_percent: Some(3),
            millicelsius: Some(45_000),
            milliwatts: Some(22_070),
            milliwatts_max: Some(320_000),
        };
        assert_eq!(*first, expected);
        assert_eq!(
            (second.address.as_str(), second.millicelsius, second.milliwatts_max),
            ("0000:c1:00.0", None, Some(700_000))
        );
    }

    #[cfg(unix)]
    mod fake {
        use super::*;
        use crate::probe::{Machine, Root};
        use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

        fn tool(folder: &Path, script: &str) -> Tool {
            let path = folder.join("nvidia-smi");
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            Tool::new(path)
        }

        fn answered(tool: &Tool, at_ms: u64) -> Card {
            tool.ask(1_000);
            let start = Instant::now();
            while tool.runs() {
                assert!(start.elapsed() < Duration::from_secs(60));
                thread::yield_now();
            }
            let mut cards = [Card { address: "0000:01:00.0".to_owned(), ..Card::default() }];
            tool.complete(&mut cards, at_ms);
            let [card] = cards;
            card
        }

        #[test]
        fn an_answer_completes_its_card_and_grows_old() {
            let folder = tempfile::tempdir().unwrap();
            let good = tool(folder.path(), "echo '00000000:01:00.0, 1, 2, 83, 4.5, 6'");
            let card = answered(&good, 1_000);
            assert_eq!(card.millicelsius.to_string(), "83000 (nvidia-smi)");
            assert_eq!(card.milliwatts.value(), Some(&4_500));
            assert!(answered(&good, 121_000).millicelsius.value().is_some());
            assert!(answered(&good, 121_001).millicelsius.value().is_none());
        }

        #[test]
        fn a_machine_hears_of_its_cards_memory_at_a_start_and_asks_for_no_other_makers_card() {
            let folder = tempfile::tempdir().unwrap();
            let called = folder.path().join("called");
            let script = format!("touch '{}'; echo '00000000:01:00.0, 81559, 2, 83, 4.5, 700.00'", called.display());
            let tool = tool(folder.path(), &script);
            let root = Root::new(folder.path().join("machine"));
            let write = |path: &str, text: &str| {
                let path = root.path(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0d:00.0\n");
            let mut machine = Machine::read(&root);
            machine.ask(&tool);
            assert!(machine.cards.len() == 1 && !called.exists(), "{:?}", machine.cards);
            // A card without a part for screens.
            write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H200\n");
            write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
            write("sys/bus/pci/devices/0000:01:00.0/device", "0x2335\n");
            let mut machine = Machine::read(&root);
            machine.ask(&tool);
            let [card, _] = &machine.cards[..] else { panic!("{:?}", machine.cards) };
            assert_eq!(card.ids.value().map(String::as_str), Some("0x10de:0x2335"));
            assert_eq!(card.memory_bytes.value(), Some(&(81_559 << 20)));
            let mut machine = Machine::read(&root);
            machine.ask(&Tool::new("/no/such/tool"));
            assert!(machine.cards.iter().all(|card| card.memory_bytes.value().is_none()));
        }

        #[test]
        fn a_tool_that_is_missing_fails_or_talks_without_end_says_nothing() {
            let folder = tempfile::tempdir().unwrap();
            assert!(answered(&Tool::new("/no/such/tool"), 1_000).millicelsius.value().is_none());
            let fails = tool(folder.path(), "echo '00000000:01:00.0, 1, 2, 83, 4.5, 6'; exit 9");
            assert!(answered(&fails, 1_000).millicelsius.value().is_none());
            // The pipe closes at the bound, and the tool dies of it.
            let talks = tool(folder.path(), "while echo x; do :; done");
            assert!(answered(&talks, 1_000).millicelsius.value().is_none());
        }
    }
}
