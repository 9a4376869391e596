//! Providers and customers as processes of their own, and when what happened to them: for the tasks that measure the market.
//!
//! # Design
//! A provider's log says the time of each line; a customer's lines get theirs when they arrive. All are of one clock, so the times of two processes
//! can be subtracted.
//!
//! # Invariants
//! Every process ends with the value that holds it, also after an error; every wait has an end.

use crate::process::{ensure_uninterrupted, show};
use eyre::{Context as _, Result, bail, ensure, eyre};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long a provider may take until it takes orders: it tests itself first, and many may start at once.
const START_MAX: Duration = Duration::from_secs(180);
/// How long a process that is killed may take to be gone.
const END_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// How finely the end of a customer or of a worker is seen.
pub(crate) const FINE_POLL: Duration = Duration::from_millis(2);
/// Clock ticks per second of `/proc/PID/stat` (Linux: always 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;
/// The last line that a provider says before it takes orders.
const READY: &str = "Stop with Ctrl-C";

/// Microseconds since 1970.
pub(crate) type Micros = u64;

pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds from one moment to a later one; 0 if it is not later.
pub(crate) fn ms(from: Micros, to: Micros) -> f64 {
    Duration::from_micros(to.saturating_sub(from)).as_secs_f64() * 1_000.0
}

/// Waits until there is an answer.
pub(crate) fn wait_for<T>(what: &str, most: Duration, mut answer: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer()? {
            return Ok(answer);
        }
        ensure_uninterrupted()?;
        ensure!(start.elapsed() < most, "waited {most:?} in vain: {what}");
        thread::sleep(POLL);
    }
}

/// Something that happened, and when.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Micros,
    pub(crate) text: String,
}

/// How a provider is started.
#[derive(Clone, Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) keystead: &'a Path,
    pub(crate) url: &'a str,
    /// A well-known test account, or the folder's own key.
    pub(crate) account: Option<u32>,
    pub(crate) more: Vec<String>,
}

/// A `keystead provide`; killed when dropped.
pub(crate) struct Provider {
    child: Child,
    pub(crate) folder: PathBuf,
    /// Where the log of this start begins.
    log_from: usize,
}

impl Provider {
    /// Starts it; it is not ready yet. The log goes on where an earlier start of this folder ended.
    pub(crate) fn spawn(offer: &Offer<'_>, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = File::options().create(true).append(true).open(folder.join("log.txt"))?;
        let log_from = usize::try_from(log.metadata()?.len())?;
        let mut command = Command::new(offer.keystead);
        // What is measured here are orders.
        command.args(["provide", "--prove", "never", "--rpc", offer.url, "--dir"]).arg(folder);
        if let Some(account) = offer.account {
            command.args(["--dev-account", &account.to_string()]);
        }
        command.args(&offer.more).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().wrap_err_with(|| format!("cannot start `{}`", show(&command)))?;
        Ok(Self { child, folder: folder.to_owned(), log_from })
    }

    /// Waits until it takes orders.
    pub(crate) fn ready(&mut self) -> Result<()> {
        wait_for("a provider takes orders", START_MAX, || {
            let text = self.text()?;
            let since = text.get(self.log_from..).unwrap_or_default();
            if since.contains(READY) {
                return Ok(Some(()));
            }
            ensure!(self.child.try_wait()?.is_none(), "a provider did not start:\n{since}");
            Ok(None)
        })
    }

    /// Whether it takes orders by now.
    pub(crate) fn is_ready(&self) -> Result<bool> {
        self.has_said(READY)
    }

    /// Whether its log says these words since this start.
    pub(crate) fn has_said(&self, words: &str) -> Result<bool> {
        Ok(self.text()?.get(self.log_from..).unwrap_or_default().contains(words))
    }

    pub(crate) fn start(offer: &Offer<'_>, folder: &Path) -> Result<Self> {
        let mut provider = Self::spawn(offer, folder)?;
        provider.ready()?;
        Ok(provider)
    }

    fn text(&self) -> Result<String> {
        fs::read_to_string(self.folder.join("log.txt")).wrap_err("cannot read a provider's log")
    }

    /// Its log so far, of all starts of this folder: the lines that have a time.
    pub(crate) fn log(&self) -> Result<Vec<Line>> {
        Ok(dated(&self.text()?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The worker of the order that runs now.
    pub(crate) fn worker(&self) -> Option<u32> {
        children(self.id()).into_iter().next()
    }

    /// Kills it without a chance to save anything.
    pub(crate) fn kill(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A customer's command; killed when dropped.
pub(crate) struct Customer {
    child: Child,
    shown: String,
    begun: Micros,
    readers: Vec<JoinHandle<Vec<Line>>>,
}

/// What a customer's command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) begun: Micros,
    pub(crate) ended: Micros,
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<Line>,
}

impl Customer {
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let shown = show(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = now();
        let mut child = command.spawn().wrap_err_with(|| format!("cannot start `{shown}`"))?;
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            readers.push(thread::spawn(move || timed(output)));
        }
        if let Some(errors) = child.stderr.take() {
            readers.push(thread::spawn(move || timed(errors)));
        }
        Ok(Self { child, shown, begun, readers })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, as far as is known.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self, most: Duration) -> Result<Ran> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(start.elapsed() < most, "`{}` did not end within {most:?}", self.shown);
            thread::sleep(FINE_POLL);
        };
        let ended = now();
        let mut lines = Vec::new();
        for reader in self.readers.drain(..) {
            lines.extend(reader.join().map_err(|_| eyre!("a reader panicked"))?);
        }
        lines.sort_by_key(|line| line.at);
        Ok(Ran { begun: self.begun, ended, status, lines })
    }
}

impl Drop for Customer {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// When it said its order's number, and the number.
    pub(crate) fn placed(&self) -> Result<(Micros, u64)> {
        for line in &self.lines {
            let number = line.text.strip_prefix("Order ").and_then(|rest| rest.split_once(" placed"));
            if let Some(number) = number.and_then(|(number, _)| number.parse().ok()) {
                return Ok((line.at, number));
            }
        }
        bail!("a customer placed no order:\n{}", self.text())
    }

    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

/// When a log says these words about an order, first.
pub(crate) fn said(log: &[Line], words: &str, order: u64) -> Option<Micros> {
    let name = format!("order={order}");
    let about = |line: &&Line| line.text.contains(words) && line.text.split_whitespace().any(|word| word == name);
    log.iter().find(about).map(|line| line.at)
}

/// As [`said`]; what is missing is an error.
pub(crate) fn must_say(log: &[Line], words: &str, order: u64) -> Result<Micros> {
    said(log, words, order).ok_or_else(|| eyre!("the provider's log does not say {words:?} about order {order}"))
}

/// Lines as they come.
fn timed(stream: impl Read) -> Vec<Line> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.map(|text| Line { at: now(), text }).collect()
}

/// The lines of a log that begin with a time.
fn dated(log: &str) -> Vec<Line> {
    let line = |text: &str| {
        let (time, _) = text.split_once(' ')?;
        Some(Line { at: parse_time(time)?, text: text.to_owned() })
    };
    log.lines().filter_map(line).collect()
}

/// `2026-11-28T18:12:13.416898Z`.
fn parse_time(text: &str) -> Option<Micros> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let [year, month, day] = [date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?];
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let [hour, minute, second] = [time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?];
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let seconds = [days(year, month, day)?, hour, minute, second].into_iter().zip([86_400, 3_600, 60, 1]);
    let seconds = seconds.map(|(count, each)| count.checked_mul(each)).sum::<Option<u64>>()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// Days since 1970 of a date of the Gregorian calendar, with years that begin in March, so that the leap day is their last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let early = u64::from(month <= 2);
    let year = year.checked_sub(early)?;
    let month = month.checked_add(12_u64.checked_mul(early)?)?.checked_sub(3)?;
    let leaps = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let of_year = month.checked_mul(153)?.checked_add(2)? / 5;
    year.checked_mul(365)?.checked_add(leaps)?.checked_add(of_year)?.checked_add(day)?.checked_sub(719_469)
}

/// Processes whose parent this is.
fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| stat(*id, 1).is_some_and(|field| field == parent.to_string())).collect()
}

/// A field of `/proc/PID/stat` after the name, which may itself hold spaces and parentheses; the state is number 0.
fn stat(process: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(str::to_owned)
}

/// Whether a process is there; one that is dead and not yet forgotten is not.
pub(crate) fn is_alive(process: u32) -> bool {
    stat(process, 0).is_some_and(|state| state != "Z")
}

/// Whether the kernel gives a process what no other wants (`SCHED_IDLE`).
pub(crate) fn is_idle_class(process: u32) -> bool {
    // Field 41 of the file, number 38 after the state.
    stat(process, 38).is_some_and(|policy| policy == "5")
}

/// User and system CPU seconds of a process so far.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let ticks = [11, 12].map(|field| stat(process, field).and_then(|ticks| ticks.parse::<f64>().ok()));
    let [Some(user), Some(system)] = ticks else { bail!("process {process} has ended") };
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Processor seconds that all processes of the machine have used so far.
pub(crate) fn cpu_of_machine() -> Result<f64> {
    Ok(cpu_by_class()?.iter().sum())
}

/// The same of the usual class and of nice processes, which workers are.
pub(crate) fn cpu_by_class() -> Result<[f64; 2]> {
    let text = fs::read_to_string("/proc/stat").wrap_err("cannot read /proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or_else(|| eyre!("odd /proc/stat"))?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let seconds = |field: usize| ticks.get(field).copied().unwrap_or_default() / TICKS_PER_SECOND;
    // User, nice, system, idle, waiting for disks, interrupts (two kinds). What the kernel does for a nice process counts as system.
    Ok([[0, 2, 5, 6].map(seconds).iter().sum(), seconds(1)])
}

/// Proteins from a fixed generator, as FASTA.
pub(crate) fn proteins(path: &Path, count: usize, residues: usize) -> Result<()> {
    let mut state = 1_u64;
    let mut text = String::new();
    for index in 0..count {
        text.push_str(&format!(">s{index}\n"));
        for _ in 0..residues {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // LOSSY: below 20.
            let letter = usize::try_from((state >> 33) % 20).unwrap_or_default();
            text.push(b"ACDEFGHIKLMNPQRSTVWY".get(letter).copied().map_or('A', char::from));
        }
        text.push('\n');
    }
    Ok(fs::write(path, text)?)
}

/// Memory of a process in MiB (RSS).
pub(crate) fn memory_mib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).wrap_err("a process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(|| eyre!("no VmRSS"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().wrap_err("odd VmRSS")?;
    Ok(kib / 1_024.0)
}

/// Sends a signal by its name.
pub(crate) fn signal(process: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).status()?;
    ensure!(sent.success(), "cannot send {name} to process {process}");
    Ok(())
}

/// Waits until a process is gone; says when that was seen.
pub(crate) fn gone(process: u32) -> Result<Micros> {
    let start = Instant::now();
    while is_alive(process) {
        ensure!(start.elapsed() < END_MAX, "process {process} is still there after {END_MAX:?}");
        thread::sleep(FINE_POLL);
    }
    Ok(now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn times_of_a_log_are_those_of_the_calendar() {
        // As `date -u -d .. +%s` says.
        for (text, seconds) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T23:59:59.000000Z", 951_868_799),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2026-11-28T18:12:13.000000Z", 1_795_889_533),
        ] {
            assert_eq!(parse_time(text), Some(seconds * 1_000_000), "{text}");
        }
        assert_eq!(parse_time("1970-01-01T00:00:00.0125Z"), Some(12_500));
        for odd in ["", "Stop", "2026-11-28", "2026-11-28T18:12Z", "2026-11-28T18:12:13.416898"] {
            assert_eq!(parse_time(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_log_is_read_by_order_and_words() {
        let log = dated(
            "Self-test:\n1970-01-01T00:00:01.000000Z  INFO order leased order=1 units=3\n1970-01-01T00:00:02.000000Z  INFO order leased order=12 units=3\n",
        );
        assert_eq!(log.len(), 2);
        assert_eq!(said(&log, "order leased", 12), Some(2_000_000));
        assert_eq!(said(&log, "order leased", 2), None);
        assert!(must_say(&log, "result committed", 1).is_err());
    }

    #[test]
    fn a_customers_lines_have_times_and_its_end_is_seen() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'Order 7 placed; 1 KST are in escrow.'; echo later >&2; exit 3"]);
        let ran = Customer::spawn(command).unwrap().finish(Duration::from_secs(30)).unwrap();
        assert_eq!((ran.status.code(), ran.placed().unwrap().1), (Some(3), 7));
        // The end may be seen before the last line is read.
        assert!(ran.begun <= ran.ended && ran.lines.iter().all(|line| ran.begun <= line.at));
        assert_eq!(ran.lines.len(), 2);
        assert!(Customer::spawn(Command::new("true")).unwrap().finish(END_MAX).unwrap().placed().is_err());
    }

    #[test]
    fn a_process_that_was_killed_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_alive(child.id()) && children(std::process::id()).contains(&child.id()));
        assert!(cpu_seconds(child.id()).unwrap() < 5.0 && memory_mib(child.id()).unwrap() > 0.0);
        signal(child.id(), "KILL").unwrap();
        gone(child.id()).unwrap();
        child.wait().unwrap();
        assert!(cpu_seconds(child.id()).is_err());
    }
}
