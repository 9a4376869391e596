//! A network of real validator processes in a temporary folder.

use crate::{http, sender::CHAIN_ID};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Who has places of this machine, and who waits for some.
static PLACES: Mutex<Places> = Mutex::new(Places { taken: 0, waiting: BTreeMap::new() });
static CHANGED: Condvar = Condvar::new();
/// Places that one core has.
const PLACES_OF_CORE: usize = 14;
/// Places of a network that waits more than it works.
const BESIDE: usize = 2;
/// Places of a network that works.
const USUAL: usize = 5;
/// Places of one whose single validator votes with nobody, which takes a fifth of what four take: for tests of the market, to which it is all the same.
const SINGLE: usize = 3;
/// Places of a network that keeps cores busy by itself.
const HALF: usize = 14;
/// How long anything may take before a test gives up. Generous: CI builds and runs on two cores, which several networks share.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// The binary under test.
pub(crate) const KEYSTEAD: &str = env!("CARGO_BIN_EXE_keystead");

pub(crate) struct Network {
    pub(crate) directory: PathBuf,
    pub(crate) rpc: Vec<SocketAddr>,
    validators: Vec<Option<Child>>,
    _folder: tempfile::TempDir,
    _machine: Machine,
}

impl Network {
    /// Makes the files and starts every validator, beside four others on two cores, or, with one validator, beside eight.
    pub(crate) fn start(count: usize) -> Self {
        let machine = if count == 1 { Machine::take(SINGLE) } else { usual() };
        Self::files_on(machine, count).launched()
    }

    /// The same with the machine for itself: for what measures, counts seconds, or fills a small machine.
    pub(crate) fn alone(count: usize) -> Self {
        Self::files_on(machine(), count).launched()
    }

    /// The same beside one other on two cores: for what keeps cores busy by itself.
    pub(crate) fn half(count: usize) -> Self {
        Self::half_files(count).launched()
    }

    /// Makes the files of such a one only.
    pub(crate) fn half_files(count: usize) -> Self {
        Self::files_on(Machine::take(HALF), count)
    }

    /// The same beside thirteen others on two cores: for what waits more than it works, and is late by nothing that its clock can tell.
    pub(crate) fn beside(count: usize) -> Self {
        Self::files_on(beside(), count).launched()
    }

    /// The same for what waits for minutes: it goes before all others, so that nothing else has to wait for its end.
    pub(crate) fn long(count: usize) -> Self {
        Self::files_on(Machine::take_as(Turn { is_short: false, parts: BESIDE }), count).launched()
    }

    /// Three of four make blocks without the last one: each answers, and listens for signals, before a test begins.
    fn launched(mut self) -> Self {
        (0..self.validators.len()).for_each(|index| self.launch(index));
        (0..self.validators.len()).for_each(|index| self.wait_for_head(index, 1));
        self
    }

    /// In place of validators one `keystead dev` with the chain id of a development network, beside one other network on two cores: for tests of the market
    /// at heights that are far off, since thousands of blocks are one call there. Nobody signs its blocks.
    pub(crate) fn development(options: &[&str]) -> Self {
        let machine = Machine::take(HALF);
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("network");
        let port = free_ports(1);
        let rpc = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        let mut network = Self { directory, rpc, validators: vec![None], _folder: folder, _machine: machine };
        fs::create_dir_all(network.folder(0)).unwrap();
        let mut command = Command::new(KEYSTEAD);
        command.args(["--log", "warn", "dev", "--quiet", "--http-port", &port.to_string()]);
        command.args(["--chain-id", &CHAIN_ID.to_string()]).args(options);
        network.spawn(0, command);
        network.wait_for_head(0, 0);
        network
    }

    /// Makes the files only.
    pub(crate) fn files(count: usize) -> Self {
        Self::files_on(usual(), count)
    }

    fn files_on(machine: Machine, count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("network");
        let (p2p, rpc) = (free_ports(count).to_string(), free_ports(count).to_string());
        let output = Command::new(KEYSTEAD)
            .args(["init", "--p2p-port", &p2p, "--rpc-port", &rpc, "--validators", &count.to_string(), "--out"])
            .arg(&directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rpc = (0..count).map(|index| rpc_address(&directory.join(format!("validator-{index}")))).collect();
        let validators = (0..count).map(|_| None).collect();
        Self { directory, rpc, validators, _folder: folder, _machine: machine }
    }

    pub(crate) fn folder(&self, index: usize) -> PathBuf {
        self.directory.join(format!("validator-{index}"))
    }

    pub(crate) fn url(&self, index: usize) -> String {
        format!("http://{}", self.rpc[index])
    }

    pub(crate) fn network_key(&self) -> String {
        read_key(&self.directory)
    }

    /// The network key of a network that has nothing to do with any other.
    pub(crate) fn files_key() -> String {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("other");
        let made = Command::new(KEYSTEAD).args(["init", "--out"]).arg(&directory).output().unwrap();
        assert!(made.status.success());
        read_key(&directory)
    }

    pub(crate) fn launch(&mut self, index: usize) {
        self.launch_with(index, &[]);
    }

    /// As [`Self::launch`], with more options.
    pub(crate) fn launch_with(&mut self, index: usize, options: &[&str]) {
        let mut command = Command::new(KEYSTEAD);
        command.args(["node", "--dir"]).arg(self.folder(index)).args(options);
        self.spawn(index, command);
    }

    /// Starts what answers in the place of a validator, and keeps its log.
    fn spawn(&mut self, index: usize, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.folder(index).join("log.txt")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.validators[index] = Some(command.spawn().unwrap());
    }

    /// Runs a validator until it ends by itself, with files that cannot grow beyond `limit_kib`: the writes fail as
    /// they do on a full disk. Gives exit code and log.
    pub(crate) fn run_with_full_disk(&self, index: usize, limit_kib: u64) -> (Option<i32>, String) {
        // POSIX counts in units of 512 bytes. The signal that comes with the limit would kill before the error.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" node --dir \"$1\"", limit_kib * 2);
        let mut command = Command::new("sh");
        command.args(["-c", &script, KEYSTEAD]).arg(self.folder(index));
        run_to_end(&mut command)
    }

    /// As [`Self::launch`] for a validator that may refuse: waits until it reaches a height (`None`) or ends, and then
    /// gives exit code and log.
    pub(crate) fn launch_damaged(&mut self, index: usize, height: u64) -> Option<(Option<i32>, String)> {
        let log = self.folder(index).join("log.txt");
        let before = fs::metadata(&log).map_or(0, |metadata| metadata.len() as usize);
        self.launch(index);
        let ended = wait_until("the validator recovers or refuses", || {
            let child = self.validators[index].as_mut().unwrap();
            match child.try_wait().unwrap() {
                Some(status) => Some(Some(status.code())),
                None => self.head(index).is_some_and(|head| head >= height).then_some(None),
            }
        });
        ended.map(|code| {
            self.validators[index] = None;
            (code, String::from_utf8_lossy(&fs::read(&log).unwrap()[before..]).into_owned())
        })
    }

    /// Memory of a validator's process in MiB; `None` where the system does not say.
    pub(crate) fn memory_mib(&self, index: usize) -> Option<u64> {
        let process = self.validators[index].as_ref()?.id();
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    }

    pub(crate) fn log_bytes(&self, index: usize) -> u64 {
        fs::metadata(self.folder(index).join("log.txt")).map_or(0, |metadata| metadata.len())
    }

    /// Fails unless all validators hold the same blocks, with the same roots, up to the lowest head; returns it.
    pub(crate) fn agree(&self) -> u64 {
        let lowest = (0..self.rpc.len()).map(|index| self.head(index).unwrap()).min().unwrap();
        for height in 0..=lowest {
            let first = self.block(0, height);
            for index in 1..self.rpc.len() {
                let other = self.block(index, height);
                for field in ["hash", "stateRoot", "receiptsRoot"] {
                    assert_eq!(other[field], first[field], "validator {index} differs at {height}: {field}");
                }
            }
        }
        lowest
    }

    /// SIGKILL: the process gets no chance to save anything.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.validators[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A signal that asks to stop; waits for the process to end.
    pub(crate) fn stop(&mut self, index: usize, signal: &str) -> ExitStatus {
        let mut child = self.validators[index].take().unwrap();
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        wait_until("the validator ends", || child.try_wait().unwrap())
    }

    pub(crate) fn try_call(&self, index: usize, method: &str, params: &Value) -> Option<Result<Value, Value>> {
        http::call(self.rpc[index], method, params)
    }

    pub(crate) fn call(&self, index: usize, method: &str, params: Value) -> Value {
        self.try_call(index, method, &params)
            .unwrap_or_else(|| panic!("validator {index} is not reachable\n{}", self.log(index)))
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Height of the head, `None` while the node is not reachable.
    pub(crate) fn head(&self, index: usize) -> Option<u64> {
        let answer = self.try_call(index, "eth_blockNumber", &json!([]))?.ok()?;
        Some(number(&answer))
    }

    /// Waits until every running validator is connected with every other one that runs.
    pub(crate) fn wait_for_connections(&self) {
        let running: Vec<usize> = (0..self.rpc.len()).filter(|index| self.validators[*index].is_some()).collect();
        for index in &running {
            wait_until("every validator has reached every other", || {
                let count = self.try_call(*index, "net_peerCount", &json!([]))?.ok()?;
                (number(&count) as usize + 1 == running.len()).then_some(())
            });
        }
    }

    pub(crate) fn wait_for_head(&self, index: usize, height: u64) {
        let start = Instant::now();
        while self.head(index).is_none_or(|head| head < height) {
            assert!(
                start.elapsed() < PATIENCE,
                "validator {index} did not reach height {height}: head={:?}\n{}",
                self.head(index),
                self.log(index)
            );
            thread::sleep(POLL);
        }
    }

    pub(crate) fn block(&self, index: usize, height: u64) -> Value {
        self.call(index, "eth_getBlockByNumber", json!([format!("{height:#x}"), false]))
    }

    /// A block with its transactions.
    pub(crate) fn block_in_full(&self, index: usize, height: u64) -> Value {
        self.call(index, "eth_getBlockByNumber", json!([format!("{height:#x}"), true]))
    }

    /// All that a validator logged since the network was made.
    pub(crate) fn whole_log(&self, index: usize) -> String {
        fs::read_to_string(self.folder(index).join("log.txt")).unwrap_or_default()
    }

    /// The end of a validator's log.
    pub(crate) fn log(&self, index: usize) -> String {
        let text = self.whole_log(index);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if thread::panicking() {
            (0..self.validators.len()).for_each(|index| eprintln!("-- log of validator {index}\n{}", self.log(index)));
        }
        for child in self.validators.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The first of so many free ports in a row, other ones at each call. They lie below those that the system gives to outgoing connections, of which one
/// could take a port between its choice and its use.
pub(crate) fn free_ports(count: usize) -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = std::process::id() as usize * 512;
    let bases = (0..1_000).map(|_| 10_000 + (own + NEXT.fetch_add(16, Ordering::Relaxed)) % 22_000);
    let mut bases = bases.map(|base| u16::try_from(base).unwrap());
    let is_free = |base: &u16| (0..count).all(|at| TcpListener::bind(("127.0.0.1", base + at as u16)).is_ok());
    bases.find(is_free).expect("a thousand ranges of ports are taken")
}

/// Waits until no network runs, and keeps others from starting: for tests that fill the machine in another way. What others wrote is on the disk then:
/// each block waits for its own write.
pub(crate) fn machine() -> Machine {
    let machine = Machine::take(places());
    assert!(Command::new("sync").status().unwrap().success());
    machine
}

/// As much as a network that works.
pub(crate) fn usual() -> Machine {
    Machine::take(USUAL)
}

/// A place for a process that works little and is no network.
pub(crate) fn beside() -> Machine {
    Machine::take(BESIDE)
}

fn places() -> usize {
    PLACES_OF_CORE * thread::available_parallelism().map_or(1, usize::from).max(2)
}

struct Places {
    taken: usize,
    /// How many wait for such a turn.
    waiting: BTreeMap<Turn, usize>,
}

/// What is waited for: the least goes first, if it fits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    is_short: bool,
    parts: usize,
}

thread_local! {
    /// Shares that this test holds: what it takes beside them is part of them, so that two tests never wait for each other.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// A share of this machine, in places; given back when dropped, with a line that says for how long it was taken and how busy the machine was meanwhile.
pub(crate) struct Machine {
    /// None of its own if its test holds another share.
    parts: usize,
    since: Instant,
    busy_before: Option<Duration>,
}

impl Machine {
    /// Waits for so many places. Who needs few goes first: those tests are the longer ones, and what is alone can wait for the end.
    fn take(parts: usize) -> Self {
        Self::take_as(Turn { is_short: true, parts })
    }

    fn take_as(mut turn: Turn) -> Self {
        if HELD.replace(HELD.get() + 1) > 0 {
            turn.parts = 0;
        }
        let has_to_wait = |places_now: &mut Places| {
            let fits = |turn: &Turn| places_now.taken + turn.parts <= places();
            !fits(&turn) || places_now.waiting.range(..turn).any(|(turn, count)| *count > 0 && fits(turn))
        };
        if turn.parts > 0 {
            let mut now = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
            *now.waiting.entry(turn).or_default() += 1;
            let mut now = CHANGED.wait_while(now, has_to_wait).unwrap_or_else(PoisonError::into_inner);
            *now.waiting.entry(turn).or_default() -= 1;
            now.taken += turn.parts;
        }
        CHANGED.notify_all();
        Self { parts: turn.parts, since: Instant::now(), busy_before: busy() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        HELD.set(HELD.get().saturating_sub(1));
        if self.parts == 0 {
            return;
        }
        PLACES.lock().unwrap_or_else(PoisonError::into_inner).taken -= self.parts;
        CHANGED.notify_all();
        let time = self.since.elapsed();
        let busy = busy().zip(self.busy_before).and_then(|(now, before)| now.checked_sub(before));
        let busy = busy
            .map_or_else(String::new, |busy| format!(", {:.1} cores busy", busy.as_secs_f64() / time.as_secs_f64()));
        println!("{} of {} places of the machine for {:.0} s{busy}", self.parts, places(), time.as_secs_f64());
    }
}

/// Processor time that all programs of this machine have used, where the system tells it.
fn busy() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|ticks| ticks.parse().ok()).collect();
    // User, nice, system; then idle and waiting for disks; a tick is 10 ms.
    Some(Duration::from_millis(10 * ticks.get(..3)?.iter().sum::<u64>()))
}

/// Runs a process until it ends by itself; gives exit code and what it wrote to standard error.
pub(crate) fn run_to_end(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(POLL);
    };
    let text = reader.join().unwrap();
    let status = status.unwrap_or_else(|| panic!("the process does not end: {command:?}\n{text}"));
    (status.code(), text)
}

pub(crate) fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Polls until there is an answer.
pub(crate) fn wait_until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(POLL);
    }
}

fn rpc_address(folder: &Path) -> SocketAddr {
    let config: toml::Table = fs::read_to_string(folder.join("config.toml")).unwrap().parse().unwrap();
    config["rpc_listen"].as_str().unwrap().parse().unwrap()
}

fn read_key(directory: &Path) -> String {
    let file = fs::read_to_string(directory.join("network.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    file["network_key"].as_str().unwrap().to_owned()
}
