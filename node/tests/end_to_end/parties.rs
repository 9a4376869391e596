//! Providers and customers as processes of their own, and the accounts behind them.

use crate::network::{KEYSTEAD, Network, wait_until};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// The ten well-known test accounts.
const ACCOUNTS: [&str; 10] = [
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
    "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
    "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
    "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
    "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
    "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
];

/// The address of a test account.
pub(crate) const fn account(number: usize) -> &'static str {
    ACCOUNTS[number]
}

pub(crate) const MARKET: &str = "0x4b53540000000000000000000000000000000002";
/// Wei a unit.
pub(crate) const PRICE: u128 = 1_000_000_007;

/// A `keystead provide` that is killed with the test.
pub(crate) struct Provider {
    child: Child,
    log: PathBuf,
}

impl Provider {
    /// Starts with test account 1 in `folder`, which keeps its state, and waits until it takes orders.
    pub(crate) fn start(network: &Network, folder: &Path) -> Self {
        Self::start_as(network, folder, 1, &[])
    }

    /// Starts with another test account and more options.
    pub(crate) fn start_as(network: &Network, folder: &Path, account: usize, more: &[&str]) -> Self {
        Self::start_at(network, folder, account, PRICE, more)
    }

    /// The same at another price, wei a unit.
    pub(crate) fn start_at(network: &Network, folder: &Path, account: usize, price: u128, more: &[&str]) -> Self {
        Self::spawn(Command::new(KEYSTEAD), network, folder, (account, price), more)
    }

    /// As `start_as`, with a disk on which no file can have more than so many KiB.
    pub(crate) fn start_with_full_disk(network: &Network, folder: &Path, account: usize, kib: u64) -> Self {
        Self::spawn(with_full_disk(kib), network, folder, (account, PRICE), &[])
    }

    /// As `start_as`, on a disk that can be filled later ([`Self::fill_disk`]). What it says goes through a pipe, so that its log has room all the same.
    pub(crate) fn start_on_small_disk(network: &Network, folder: &Path, account: usize, more: &[&str]) -> Self {
        let pipe = folder.join("log.pipe");
        // The signal that comes with the limit would kill before the error.
        let script = "trap '' XFSZ; mkfifo \"$0\" && { cat \"$0\" & } && exec \"$@\" > \"$0\" 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(pipe).arg(KEYSTEAD);
        Self::spawn(command, network, folder, (account, PRICE), more)
    }

    /// From now on no file of the process can be written beyond its first 512 bytes, as on a disk that is full: none of those that matter has room.
    pub(crate) fn fill_disk(&self) {
        let process = self.child.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &process, "--fsize=512:"]).status().unwrap();
        assert!(limited.success());
    }

    fn spawn(
        mut keystead: Command,
        network: &Network,
        folder: &Path,
        (account, price): (usize, u128),
        more: &[&str],
    ) -> Self {
        fs::create_dir_all(folder).unwrap();
        let log = folder.join("log.txt");
        let file = File::create(&log).unwrap();
        // Only tests of the owner's rules ask for them.
        let compute = if more.contains(&"--compute") { &[][..] } else { &["--compute", "always"] };
        let child = keystead
            .arg("provide")
            .args(compute)
            .args([
                // Tests of the proof say otherwise; the last one counts.
                "--prove",
                "never",
                "--dev-account",
                &account.to_string(),
                "--price",
                &price.to_string(),
            ])
            .args(["--rpc", &network.url(0), "--dir"])
            .arg(folder)
            .args(more)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut provider = Self { child, log };
        provider.wait_for("Stop with Ctrl-C");
        provider
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn wait_for(&mut self, words: &str) {
        let found = wait_until(words, || {
            let ended = self.child.try_wait().unwrap();
            (ended.is_some() || self.text().contains(words)).then_some(ended.is_none())
        });
        assert!(found || self.text().contains(words), "{}", self.text());
    }

    pub(crate) fn workers(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// Memory of the process, MiB, as the system counts it.
    pub(crate) fn memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `STOP`: it does not notice, and nobody hears it any more. `CONT`: it goes on as if nothing had been.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// As [`Self::signal`], for who has milliseconds.
    pub(crate) fn signals(&self) -> Signals {
        Signals::of(self.child.id())
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
        self.ended()
    }

    /// Waits until it ends by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        wait_until("the provider ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- log of the provider\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signals to a process, by a shell that is there already: on a busy machine a new process for each takes longer than what they are to come in time for.
pub(crate) struct Signals {
    shell: Child,
    process: u32,
}

impl Signals {
    pub(crate) fn of(process: u32) -> Self {
        let mut shell = Command::new("sh");
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { shell, process }
    }

    /// It is sent when this returns.
    pub(crate) fn send(&mut self, name: &str) {
        let words = format!("kill -{name} {} && echo\n", self.process);
        self.shell.stdin.as_mut().unwrap().write_all(words.as_bytes()).unwrap();
        self.shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The program, for a process whose files can have at most so many KiB: what it writes beyond fails as on a full disk.
pub(crate) fn with_full_disk(kib: u64) -> Command {
    let mut command = Command::new("sh");
    // The unit of `ulimit -f` is 512 bytes in POSIX.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
    command.args(["-c", &script, "sh", KEYSTEAD]);
    command
}

/// Processes whose parent this is.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|pid: &u32| parent_of(*pid) == Some(parent)).collect()
}

/// The second field after the name, which may itself hold spaces and parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Proteins from a fixed generator; the first one of each file is the same.
pub(crate) fn fasta(path: &Path, count: u64, residues: u64) {
    fasta_of(path, 1, count, residues);
}

/// As [`fasta`], from another seed.
pub(crate) fn fasta_of(path: &Path, seed: u64, count: u64, residues: u64) {
    let mut state = seed;
    let mut text = String::new();
    for index in 0..count {
        text.push_str(&format!(">s{index}\n"));
        for _ in 0..residues {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(char::from(b"ACDEFGHIKLMNPQRSTVWY"[(state >> 33) as usize % 20]));
        }
        text.push('\n');
    }
    fs::write(path, text).unwrap();
}

pub(crate) fn wei(value: &Value) -> u128 {
    u128::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

pub(crate) fn balance(network: &Network, account: &str) -> u128 {
    wei(&network.call(0, "eth_getBalance", json!([account, "latest"])))
}

/// What an account paid for gas in the blocks after `since`.
pub(crate) fn fees(network: &Network, account: &str, since: u64) -> u128 {
    all_fees(network, since).get(&account.to_lowercase()).copied().unwrap_or_default()
}

/// What every account paid for gas in the blocks after `since`; addresses in lower case.
pub(crate) fn all_fees(network: &Network, since: u64) -> BTreeMap<String, u128> {
    let head = network.head(0).unwrap();
    let mut sums = BTreeMap::new();
    for height in since + 1..=head {
        let receipts = network.call(0, "eth_getBlockReceipts", json!([format!("{height:#x}")]));
        for receipt in receipts.as_array().unwrap() {
            let sum: &mut u128 = sums.entry(receipt["from"].as_str().unwrap().to_lowercase()).or_default();
            *sum += wei(&receipt["gasUsed"]) * wei(&receipt["effectiveGasPrice"]);
        }
    }
    sums
}

/// `keystead statement --json` of an account.
pub(crate) fn statement(network: &Network, account: &str) -> Value {
    let mut command = Command::new(KEYSTEAD);
    let output = command.args(["statement", account, "--json", "--rpc", &network.url(0)]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

pub(crate) fn verify(network: &Network, out: &Path) -> Output {
    verify_with(network, out, &[])
}

fn verify_with(network: &Network, out: &Path, more: &[&str]) -> Output {
    let certificate = out.join("certificate.json");
    Command::new(KEYSTEAD)
        .arg("verify")
        .arg(certificate)
        .args(["--network-key", &network.network_key()])
        .args(more)
        .output()
        .unwrap()
}

/// `keystead verify --results` of a folder, whose certificate is proved: it ends with this code and says these words.
pub(crate) fn compared(network: &Network, out: &Path, code: i32, words: &[&str]) {
    let output = verify_with(network, out, &["--results", out.to_str().unwrap()]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("proved\n"), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
    let json = verify_with(network, out, &["--json", "--results", out.to_str().unwrap()]);
    assert_eq!(json.status.code(), Some(code), "{}", text(&json));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let standing = match code {
        0 => json!("equal"),
        4 => json!("different"),
        5 => json!("nothing to compare"),
        _ => Value::Null,
    };
    assert_eq!(json["results"].get("standing").unwrap_or(&Value::Null), &standing, "{json}");
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
