//! What customers order: commands that run beside the demo, whose words are shown as they come, and what their folders say at the end.

use super::cast::{CAREFUL, CHEAT, CUSTOMER, MORTAL, OWNER, WATCH_SECONDS, account};
use crate::{parties::wait_for, process::show, recipes};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Most of a command's words that are remembered: what a person reads is far less.
const SAID_BYTES_MAX: usize = 1 << 20;

/// What happens in the middle of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    None,
    /// This validator is killed, and started again when the job is done.
    Validator(usize),
    /// The owner of the provider's machine comes back, and leaves again.
    Owner,
}

/// A job of one provider.
pub(super) struct Job {
    pub(super) recipe: &'static str,
    /// Name of the input and file among the fetched ones.
    inputs: &'static [(&'static str, &'static str)],
    settings: &'static [&'static str],
    pub(super) twist: Twist,
}

/// Every recipe but the hash search, which many providers share.
pub(super) const JOBS: &[Job] = &[
    Job {
        recipe: "align",
        inputs: &[("queries", "LuxC.faa"), ("targets", "938293.PRJEB85.HG003687.faa")],
        settings: &[],
        twist: Twist::Validator(3),
    },
    Job {
        recipe: "align-wgsl",
        inputs: &[("queries", "LuxC.faa"), ("targets", "LuxC.faa")],
        settings: &[],
        twist: Twist::None,
    },
    Job {
        recipe: "value-at-risk",
        inputs: &[("prices", "stocks.csv")],
        settings: &["paths=1048576"],
        twist: Twist::None,
    },
    Job { recipe: "matmul", inputs: &[], settings: &["rows=512", "inner=512", "columns=512"], twist: Twist::None },
    Job { recipe: "nbody", inputs: &[], settings: &["members=4", "members-per-unit=1"], twist: Twist::None },
    Job { recipe: "render", inputs: &[], settings: &["width=192", "height=192", "samples=48"], twist: Twist::Owner },
];

/// The audited order's input, in eight units or so: small enough that a check takes a moment.
const AUDITED_INPUT: &str = "LuxC.faa";
const AUDITED_CELLS: &str = "cells-per-unit=6000000";
/// What a false result of it may be worth to somebody, wei: a tenth of a KST.
const AT_RISK_WEI: &str = "100000000000000000";
/// The hash search: so many units, over so many providers.
const NONCES: &str = "67108864";
const NONCES_PER_UNIT: &str = "524288";

/// Where and how customers order.
pub(super) struct Desk {
    pub(super) root: PathBuf,
    pub(super) keystead: PathBuf,
    pub(super) url: String,
    pub(super) results: PathBuf,
}

impl Desk {
    fn command(&self, words: &[&str], customer: usize, out: &Path) -> Command {
        let mut command = Command::new(&self.keystead);
        command.args(words).args(["--dev-account", &customer.to_string(), "--rpc", &self.url, "--out"]).arg(out);
        // What an earlier demo heard of its providers says nothing about these.
        command.env("KEYSTEAD_RECORDS", self.results.join("records"));
        command
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.results.join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        recipes::inputs(&self.root).join(name)
    }

    /// Orders a job of the list, from anybody but the cheat.
    pub(super) fn order(&self, job: &Job) -> Result<Running> {
        let mut command = self.command(&["run", job.recipe], CUSTOMER, &self.folder(job.recipe));
        for (name, file) in job.inputs {
            command.arg(format!("--input={name}={}", self.file(file).display()));
        }
        command.args(job.settings.iter().map(|setting| format!("--set={setting}")));
        match job.twist {
            Twist::Owner => command.args(["--provider", account(OWNER)?]),
            _ => command.args(["--not-provider", account(CHEAT)?]),
        };
        Running::spawn(job.recipe, command, &self.results)
    }

    /// Orders what machines drawn by lot check: one by itself finds a wrong unit, two of other hardware confirm it, and nobody is slashed before
    /// the time to appeal has passed. All times are as short as providers take them.
    pub(super) fn audited(&self) -> Result<Running> {
        let mut command = self.command(&["run", "align"], CAREFUL, &self.folder("audited"));
        for name in ["queries", "targets"] {
            command.arg(format!("--input={name}={}", self.file(AUDITED_INPUT).display()));
        }
        command.args([
            "--set",
            AUDITED_CELLS,
            "--value-at-risk",
            AT_RISK_WEI,
            "--checkers",
            "1",
            "--checker-fee",
            "100",
        ]);
        command.args(["--checker-seconds", "20", "--reveal-seconds", "20", "--appeal-seconds", "60"]);
        // One unit, so that it is the others who find what is wrong; and the cheapest offer, however long it takes.
        command.args(["--sample", "1", "--sample-rate", "0", "--value-of-time", "0", "--patience-ms", "5000"]);
        Running::spawn("audited", command, &self.results)
    }

    /// The hash search over four providers, one of which will die.
    pub(super) fn map(&self) -> Result<Running> {
        let mut command = self.command(&["map", "sha256-search"], CUSTOMER, &self.folder("sha256-search"));
        command.args(["--set", &format!("nonces={NONCES}"), "--set", &format!("nonces-per-unit={NONCES_PER_UNIT}")]);
        for number in MAPPERS {
            command.args(["--provider", account(number)?]);
        }
        command.args(["--challenge-seconds", WATCH_SECONDS, "--window-seconds", "3", "--silence-seconds", "4"]);
        command.arg("--events").arg(self.events());
        Running::spawn("sha256-search", command, &self.results)
    }

    /// The careful customer's job once more, over two providers with a bond, and every window checked by strangers.
    pub(super) fn checked_map(&self) -> Result<Running> {
        let mut command = self.command(&["map", "align"], CUSTOMER, &self.folder(CHECKED_MAP));
        for name in ["queries", "targets"] {
            command.arg(format!("--input={name}={}", self.file(AUDITED_INPUT).display()));
        }
        for number in BONDED_MAPPERS {
            command.args(["--provider", account(number)?]);
        }
        command.args(["--set", AUDITED_CELLS, "--audit", "--checkers", "1", "--checker-fee", "100"]);
        command.args(["--checker-seconds", "30", "--reveal-seconds", "30", "--appeal-seconds", "60"]);
        Running::spawn(CHECKED_MAP, command, &self.results)
    }

    /// Where the map writes what happens.
    fn events(&self) -> PathBuf {
        self.results.join("map-events.jsonl")
    }

    /// Whether the map has told of such an event about a provider.
    pub(super) fn has_happened(&self, event: &str, provider: usize) -> Result<bool> {
        let account = account(provider)?;
        let Ok(text) = fs::read_to_string(self.events()) else { return Ok(false) };
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is = |value: &Value, name: &str, text: &str| {
            value.get(name).and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(text))
        };
        Ok(events.into_iter().any(|told| is(&told, "event", event) && is(&told, "provider", account)))
    }

    /// Leases of a provider that the map has paid so far.
    pub(super) fn settled(&self, provider: usize) -> Result<u64> {
        let Ok(text) = fs::read_to_string(self.folder("sha256-search").join("journal")) else { return Ok(0) };
        let account = account(provider)?;
        // A line is a checksum, a space and what happened; providers are numbered as they joined.
        let entries = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok());
        let joined = entries().filter_map(|entry| Some(entry.pointer("/joined/account")?.as_str()?.to_owned()));
        let Some(index) = joined.into_iter().position(|joined| joined.eq_ignore_ascii_case(account)) else {
            return Ok(0);
        };
        let settled = entries().filter_map(|entry| entry.pointer("/settled/provider")?.as_u64());
        Ok(u64::try_from(settled.filter(|by| usize::try_from(*by) == Ok(index)).count())?)
    }
}

/// The providers of the map.
pub(super) const MAPPERS: [usize; 4] = [1, 2, 3, MORTAL];
/// Those of the map that strangers check: their bonds have room for it.
const BONDED_MAPPERS: [usize; 2] = [1, 2];
/// Its folder.
pub(super) const CHECKED_MAP: &str = "checked-map";

/// A command under way; killed when dropped.
pub(super) struct Running {
    name: &'static str,
    child: Child,
    begin: Instant,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a command came to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) said: String,
    pub(super) seconds: f64,
}

impl Running {
    /// Starts it. What it says is shown with its name in front, but for counts of progress; all of it goes to a file.
    fn spawn(name: &'static str, mut command: Command, logs: &Path) -> Result<Self> {
        println!("  $ {}", show(&command));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().wrap_err_with(|| format!("cannot start `{}`", show(&command)))?;
        let log = File::create(logs.join(format!("{name}.log")))?;
        let said = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        if let Some(stream) = child.stdout.take() {
            readers.push(tell(name, stream, log.try_clone()?, Arc::clone(&said)));
        }
        if let Some(stream) = child.stderr.take() {
            readers.push(tell(name, stream, log, Arc::clone(&said)));
        }
        Ok(Self { name, child, begin: Instant::now(), said, readers })
    }

    pub(super) fn has_said(&self, words: &str) -> bool {
        held(&self.said).contains(words)
    }

    /// Waits until it has said something, or something else has come true. Its end without that is an error.
    pub(super) fn until(
        &mut self,
        what: &str,
        most: Duration,
        mut is_so: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        wait_for(what, most, || {
            if is_so(self)? {
                return Ok(Some(()));
            }
            // Its last words may come after its end.
            let heard = self.readers.iter().all(JoinHandle::is_finished);
            if self.child.try_wait()?.is_none() || !heard {
                return Ok(None);
            }
            ensure!(is_so(self)?, "{} ended before {what}: {}", self.name, held(&self.said));
            Ok(Some(()))
        })
    }

    pub(super) fn until_said(&mut self, words: &str, most: Duration) -> Result<()> {
        self.until(words, most, |running| Ok(running.has_said(words)))
    }

    /// Waits for its end, which must be a good one.
    pub(super) fn finish(mut self, most: Duration) -> Result<Ran> {
        let name = self.name;
        let status = wait_for(&format!("the end of {name}"), most, || Ok(self.child.try_wait()?))?;
        let seconds = self.begin.elapsed().as_secs_f64();
        for reader in self.readers.drain(..) {
            reader.join().map_err(|_| eyre!("a reader panicked"))?;
        }
        let said = held(&self.said).clone();
        ensure!(status.success(), "{name} failed ({status}); its last words:\n{}", last_lines(&said));
        Ok(Ran { said, seconds })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn held(said: &Mutex<String>) -> MutexGuard<'_, String> {
    // No code panics while it holds it.
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(
    name: &'static str,
    stream: impl Read + Send + 'static,
    mut log: File,
    said: Arc<Mutex<String>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if !is_count(&line) {
                println!("  {name:>13} | {line}");
            }
            // The file is for looking; the story does not need it.
            let _ = writeln!(log, "{line}");
            let mut said = held(&said);
            if said.len() < SAID_BYTES_MAX {
                said.push_str(&line);
                said.push('\n');
            }
        }
    })
}

/// Whether a line only says how far something is: `units finished: 3 of 18`.
fn is_count(line: &str) -> bool {
    let count = line.rsplit_once(": ").and_then(|(_, count)| count.split_once(" of "));
    count.is_some_and(|(done, all)| done.parse::<u64>().is_ok() && all.parse::<u64>().is_ok())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(12);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// An order that is over, as its customer's folder tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) number: String,
    pub(super) status: String,
    pub(super) class: String,
    pub(super) units: u64,
    /// Who did it.
    pub(super) provider: String,
    pub(super) paid_wei: u128,
    /// Orders of the same job before it, with their providers and how they ended: refunded, all of them.
    pub(super) failed: Vec<(String, String, String)>,
    /// What others' checks say, if others checked.
    pub(super) assurance: String,
}

impl Order {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let job = json(&folder.join("job.json"))?;
        let failed = job.get("failed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let failed =
            failed.iter().map(|one| Ok((text(one, "/order")?, text(one, "/provider")?, text(one, "/status")?)));
        Ok(Self {
            number: text(&job, "/order")?,
            status: text(&job, "/status")?,
            class: text(&job, "/spec/class")?,
            units: job.pointer("/spec/unitCount").and_then(Value::as_u64).ok_or_else(|| eyre!("no units"))?,
            provider: text(&job, "/provider")?,
            paid_wei: wei(&job, "/paidWei")?,
            failed: failed.collect::<Result<_>>()?,
            assurance: text(&job, "/assurance")?,
        })
    }
}

/// A provider's part of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) account: String,
    pub(super) steps: u64,
    pub(super) price_wei: u128,
    /// What it took from its channel.
    pub(super) claimed_wei: u128,
}

/// A map that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) units: u64,
    pub(super) parts: Vec<Part>,
}

impl Mapped {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let map = json(&folder.join("map.json"))?;
        let status = text(&map, "/status")?;
        let left = map.get("channelsLeft").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(status == "done" && left == 0, "the map is {status}, {left} channels are not closed");
        let providers = map.get("providers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let part = |one: &Value| {
            Ok(Part {
                account: text(one, "/account")?,
                steps: one.get("steps").and_then(Value::as_u64).ok_or_else(|| eyre!("no steps"))?,
                price_wei: wei(one, "/priceWei")?,
                claimed_wei: wei(one, "/claimedWei")?,
            })
        };
        Ok(Self {
            units: map.pointer("/spec/unitCount").and_then(Value::as_u64).ok_or_else(|| eyre!("no units"))?,
            parts: providers.iter().map(part).collect::<Result<_>>()?,
        })
    }
}

/// A JSON file.
pub(super) fn json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).wrap_err_with(|| format!("{} is no JSON", path.display()))
}

/// A text of it; a number is its digits.
fn text(value: &Value, pointer: &str) -> Result<String> {
    match value.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(eyre!("no {pointer}")),
    }
}

/// An amount of it, written in digits.
pub(super) fn wei(value: &Value, pointer: &str) -> Result<u128> {
    text(value, pointer)?.parse().wrap_err_with(|| format!("{pointer} is no amount"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_command_is_heard_while_it_runs_and_its_bad_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Running::spawn("test", command, folder.path()).unwrap()
        };
        let most = Duration::from_secs(30);
        let mut good = shell("echo Order 7 placed; echo later >&2");
        good.until_said("later", most).unwrap();
        assert!(good.finish(most).unwrap().said.contains("Order 7 placed"));
        assert!(fs::read_to_string(folder.path().join("test.log")).unwrap().contains("later"));
        let mut bad = shell("echo no; exit 3");
        assert!(bad.until_said("Order", most).unwrap_err().to_string().contains("ended before"));
        let failed = bad.finish(most).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.contains("no"), "{failed}");
    }

    #[test]
    fn counts_are_told_from_sentences() {
        assert!(is_count("units finished: 17 of 83") && is_count("bytes of input sent: 1 of 2"));
        for line in ["Audit: 0 of 6 drawn units checked", "Done in 3 s: order 1 is accepted.", "", "a: b of c"] {
            assert!(!is_count(line), "{line}");
        }
    }

    #[test]
    fn folders_of_orders_and_maps_are_read_and_what_is_not_done_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| fs::write(folder.path().join(name), value.to_string()).unwrap();
        write(
            "job.json",
            json!({"order": "3", "status": "audited", "provider": "0x1", "paidWei": "18000000000000000", "assurance": "verified",
            "spec": {"class": "exact", "unitCount": 18}, "failed": [{"order": "2", "provider": "0x6", "status": "convicted", "why": ""}]}),
        );
        let order = Order::read(folder.path()).unwrap();
        assert_eq!((order.units, order.paid_wei, order.number.as_str()), (18, 18_000_000_000_000_000, "3"));
        assert_eq!(order.failed, [("2".to_owned(), "0x6".to_owned(), "convicted".to_owned())]);
        let map = |left: Value| {
            json!({"status": "done", "channelsLeft": left, "spec": {"unitCount": 2},
            "providers": [{"account": "0x7", "steps": 2, "priceWei": "5", "claimedWei": "10"}]})
        };
        write("map.json", map(json!([])));
        let mapped = Mapped::read(folder.path()).unwrap();
        let part = Part { account: "0x7".to_owned(), steps: 2, price_wei: 5, claimed_wei: 10 };
        assert_eq!(mapped, Mapped { units: 2, parts: vec![part] });
        write("map.json", map(json!(["0x01"])));
        assert!(Mapped::read(folder.path()).is_err());
    }
}
