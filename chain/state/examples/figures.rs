//! Measures what the state engine promises: roots and durable commits per CPU-second, the size of the state on disk, and
//! a start, with a small and a large number of accounts. `cargo xtask bench --state` runs it and keeps the figures.
//!
//! # Design
//! Everything goes through the public interface. Accounts are made by a seeded generator and come in by blocks. Each
//! measured block changes random existing accounts; they are read first, untimed, since execution reads what it changes.
//! CPU time is that of all threads of the process; for a root alone those of the tables do not count, which merge what
//! earlier blocks wrote whenever they like. A figure is the median of its rounds.
//!
//! Run: `cargo run -p keystead-state --example figures [-- --quick] [--folder DIR] [--only small|large]`. A folder that holds a large
//! state already is used as it is. Output: one line per figure ([`support::Row::print`]).
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "a measuring program"
)]

mod support;

use keystead_state::{Commit, Options, Store};
use keystead_types::{Account, AccountChange, Address, ChangeSet, StateView as _, U256};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use support::{Outcome, Row, count, genesis};

/// Accounts that a block brings in while the state is made.
const LOAD_BLOCK: u64 = 50_000;
/// Rounds of which the median is taken.
const ROUNDS: usize = 5;

/// CPU time so far: of all threads, and of those that are not the tables' own. All live as long as the process.
fn cpu() -> Outcome<(Duration, Duration)> {
    let (mut all, mut own) = (0, 0);
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let text = fs::read_to_string(task.join("schedstat"))?;
        let nanos = text.split_whitespace().next().ok_or("an odd schedstat")?.parse::<u64>()?;
        all += nanos;
        own += if fs::read_to_string(task.join("comm"))?.starts_with("fjall") { 0 } else { nanos };
    }
    Ok((Duration::from_nanos(all), Duration::from_nanos(own)))
}

/// Memory of this process in MiB.
fn memory_mib() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1_024.0)
}

#[derive(Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
    /// Without the threads of the tables.
    own: Duration,
}

impl Spent {
    fn add<T>(&mut self, run: impl FnOnce() -> T) -> Outcome<T> {
        let (start, before) = (Instant::now(), cpu()?);
        let out = run();
        let after = cpu()?;
        self.cpu += after.0.saturating_sub(before.0);
        self.own += after.1.saturating_sub(before.1);
        self.wall += start.elapsed();
        Ok(out)
    }
}

/// What the blocks of one round cost.
#[derive(Clone, Copy, Default)]
struct Round {
    root: Spent,
    commit: Spent,
    upkeep: Spent,
    updates: u64,
}

/// Thousands of updates per CPU-second: the median of the rounds, and all of them for the reader.
fn rate(rounds: &[Round], of: impl Fn(&Round) -> Duration) -> (f64, String) {
    let mut rates: Vec<f64> =
        rounds.iter().map(|round| round.updates as f64 / 1e3 / of(round).as_secs_f64().max(1e-9)).collect();
    rates.sort_unstable_by(f64::total_cmp);
    let (least, most) = (rates.first().copied().unwrap_or_default(), rates.last().copied().unwrap_or_default());
    (rates.get(rates.len() / 2).copied().unwrap_or_default(), format!("{least:.0} .. {most:.0}, n={}", rates.len()))
}

/// Mean microseconds of CPU per update.
fn micros(rounds: &[Round], of: impl Fn(&Round) -> Duration) -> f64 {
    let (time, updates) = rounds.iter().fold((Duration::ZERO, 0), |sum, it| (sum.0 + of(it), sum.1 + it.updates));
    time.as_secs_f64() * 1e6 / updates.max(1) as f64
}

fn address(number: u64) -> Address {
    Address::left_padding_from(&(number + 1).to_be_bytes())
}

fn significant_bytes(number: u64) -> u64 {
    u64::from(64 - number.leading_zeros()).div_ceil(8)
}

/// Memory for all branches that 128 blocks of 10,000 changes leave behind, so that what is measured is the trie and not what
/// becomes of it when memory is short.
fn roomy() -> Options {
    Options { trie_bytes: 4 << 30, ..Options::default() }
}

/// A store and the block that the next one stands on.
struct Chain {
    store: Store,
    accounts: u64,
    rng: StdRng,
}

impl Chain {
    /// The store in a folder, with so many accounts: made if they are not there.
    fn open(folder: &Path, accounts: u64) -> Outcome<Self> {
        // Blocks as large as those that make the state would fill memory with their old states.
        let few = Options { recent_states: 2, ..Options::default() };
        let store = Store::open(folder, &genesis()?, few)?;
        let mut chain = Self { store, accounts, rng: StdRng::seed_from_u64(accounts) };
        let (mut spent, mut made) = (Spent::default(), 0);
        for first in (0..accounts).step_by(usize::try_from(LOAD_BLOCK)?) {
            if chain.store.latest().account(&address(first))?.is_none() {
                let end = accounts.min(first + LOAD_BLOCK);
                spent.add(|| chain.block((first..end).collect()))??;
                made += end - first;
            }
        }
        if made > 0 {
            println!("made {made} accounts: {:.1} CPU-s, {:.1} s", spent.cpu.as_secs_f64(), spent.wall.as_secs_f64());
        }
        let Self { store, accounts, rng } = chain;
        drop(store);
        Ok(Self { store: Store::open(folder, &genesis()?, roomy())?, accounts, rng })
    }

    /// Commits a block that gives accounts new balances.
    fn block(&mut self, numbers: BTreeSet<u64>) -> Outcome<Round> {
        let mut round = Round { updates: numbers.len() as u64, ..Round::default() };
        let latest = self.store.latest();
        for number in &numbers {
            latest.account(&address(*number))?;
        }
        let nonce = self.store.head().number;
        let mut changes = ChangeSet::default();
        for number in numbers {
            let account = Account { nonce, balance: U256::from(self.rng.random::<u64>()), ..Account::default() };
            let change = AccountChange { account: Some(account), ..AccountChange::default() };
            changes.accounts.insert(address(number), change);
        }
        let child = round.root.add(|| latest.child(changes))??;
        let head = self.store.head();
        let block = Arc::new(support::block(&head, child.state_root(), Vec::new()));
        let snapshot = child.seal(block.hash());
        drop(latest);
        let (senders, receipts) = (Vec::new(), Vec::new());
        let commit = Commit { block, senders, receipts, snapshot, certificate: None };
        round.commit.add(|| self.store.commit(commit))??;
        round.upkeep.add(|| self.store.upkeep())??;
        Ok(round)
    }

    /// Rounds of blocks that change random accounts. What comes first does not count: as many blocks as there are recent
    /// states, since memory grows until then, and its first use costs whatever the machine below makes of it.
    fn rounds(&mut self, blocks: u64, updates: u64) -> Outcome<Vec<Round>> {
        let mut rounds = Vec::new();
        let warm = blocks.max(Options::default().recent_states as u64);
        for round in 0..=ROUNDS {
            let mut sum = Round::default();
            for _ in 0..if round == 0 { warm } else { blocks } {
                let mut numbers = BTreeSet::new();
                while (numbers.len() as u64) < updates {
                    numbers.insert(self.rng.random_range(0..self.accounts));
                }
                let one = self.block(numbers)?;
                for (sum, one) in
                    [(&mut sum.root, one.root), (&mut sum.commit, one.commit), (&mut sum.upkeep, one.upkeep)]
                {
                    sum.cpu += one.cpu;
                    sum.own += one.own;
                    sum.wall += one.wall;
                }
                sum.updates += one.updates;
            }
            rounds.push(sum);
        }
        rounds.remove(0);
        Ok(rounds)
    }
}

/// Root and store together.
fn small(folder: &Path, accounts: u64, blocks: u64) -> Outcome<()> {
    let mut chain = Chain::open(folder, accounts)?;
    let updates = 1_000;
    let rounds = chain.rounds(blocks, updates)?;
    let (root, commit) = (micros(&rounds, |it| it.root.cpu), micros(&rounds, |it| it.commit.cpu));
    let upkeep = micros(&rounds, |it| it.upkeep.cpu);
    let wall: f64 = rounds.iter().map(|it| it.commit.wall.as_secs_f64()).sum();
    let wall = wall * 1e3 / (rounds.len() as u64 * blocks) as f64;
    let of = count(accounts);
    let (value, spread) = rate(&rounds, |it| it.root.cpu + it.commit.cpu);
    let spread = format!("{spread}; us: root {root:.1}, commit {commit:.1}; commit {wall:.1} ms a block");
    let name = format!("root + store, one fsync per block, {of} accounts, blocks of 1 k");
    Row { name: &name, value, unit: "k/CPU-s", spread: &spread, goal: ">= 80", less: false }.print();
    let (value, spread) = rate(&rounds, |it| it.root.cpu + it.commit.cpu + it.upkeep.cpu);
    let spread = format!("{spread}; us: upkeep {upkeep:.1}");
    let name = format!("root + store + history by key, {of} accounts, blocks of 1 k");
    Row { name: &name, value, unit: "k/CPU-s", spread: &spread, goal: "-", less: false }.print();
    Ok(())
}

/// Root alone, disk, and a start.
fn large(folder: &Path, accounts: u64, blocks: u64) -> Outcome<()> {
    let mut chain = Chain::open(folder, accounts)?;
    let of = count(accounts);
    for (updates, blocks, goal) in [(1_000, blocks, ">= 100"), (10_000, blocks.div_ceil(5), ">= 150")] {
        let rounds = chain.rounds(blocks, updates)?;
        let (value, spread) = rate(&rounds, |it| it.root.own);
        let name = format!("trie root, random accounts in {of}, blocks of {}", count(updates));
        let commit = micros(&rounds, |it| it.commit.cpu);
        let root = micros(&rounds, |it| it.root.own);
        let tables = micros(&rounds, |it| it.root.cpu) - root;
        let spread = format!("{spread}; us: root {root:.1}, tables meanwhile {tables:.1}, commit {commit:.1}");
        Row { name: &name, value, unit: "k/CPU-s", spread: &spread, goal, less: false }.print();
    }
    let (head, nonce_bytes) = (chain.store.head().number, significant_bytes(chain.store.head().number));
    // A key, and a record of three bytes with a nonce and a balance of eight bytes: specs of `record`.
    let flat = accounts * (32 + 3 + nonce_bytes + 8);
    drop(chain);
    let mut start = Spent::default();
    let store =
        start.add(|| Store::open(folder, &genesis()?, Options::default()).map_err(Box::<dyn Error>::from))??;
    let name = format!("start with {of} accounts");
    let spread = format!("{:.1} s of wall time, head {head}", start.wall.as_secs_f64());
    let (value, goal) = (start.cpu.as_secs_f64(), "<= 20");
    Row { name: &name, value, unit: "CPU-s", spread: &spread, goal, less: true }.print();
    let name = format!("memory (RSS) with {of} accounts, after the blocks above and a start");
    Row { name: &name, value: memory_mib()?, unit: "MiB", spread: "", goal: "-", less: true }.print();
    let stats = store.stats()?;
    let bytes = |names: &[&str]| -> u64 {
        stats.tables.iter().filter(|table| names.contains(&table.name)).map(|table| table.bytes).sum()
    };
    let (state, history) =
        (bytes(&["accounts", "storage", "code"]), bytes(&["undo", "account_history", "slot_history"]));
    let name = format!("state on disk for {of} accounts, over flat keys and values");
    let mib = |bytes: u64| bytes / (1 << 20);
    let spread = format!("{} MiB over {} MiB; history {} MiB", mib(state), mib(flat), mib(history));
    let value = state as f64 / flat as f64;
    Row { name: &name, value, unit: "times", spread: &spread, goal: "<= 1.5", less: true }.print();
    Ok(())
}

fn main() -> Outcome<()> {
    let (mut quick, mut folder, mut only) = (false, None, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--folder" => folder = Some(PathBuf::from(arguments.next().ok_or("--folder needs a folder")?)),
            "--only" => only = arguments.next().ok_or("--only needs small or large")?,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let (few, many, blocks) = if quick { (20_000, 100_000, 4) } else { (1_000_000, 10_000_000, 40) };
    let temporary = tempfile::tempdir()?;
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    if only != "large" {
        small(&folder.join("small"), few, blocks)?;
    }
    if only != "small" {
        large(&folder.join("large"), many, blocks)?;
    }
    Ok(())
}
