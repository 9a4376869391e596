//! Measures how many account updates per CPU-second the state takes: `child` (trie and hashing), `commit` (tables and
//! one fsync) and `upkeep` (old values by key), blocks of 1,000 random updates over 100,000 accounts.
//!
//! Prints bytes written, and what reads and proofs of an old state cost, too.
//!
//! Run: `cargo run --release -p keystead-state --example throughput [-- ACCOUNTS BLOCKS UPDATES]`.
//! CPU time is that of the whole process, background threads of the store included; ten milliseconds is its unit.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "a measuring program"
)]

use alloy_primitives::Bloom;
use alloy_trie::EMPTY_ROOT_HASH;
use keystead_state::{Commit, Options, Store};
use keystead_types::{
    Account, AccountChange, Address, Block, BlockParts, ChangeSet, ConsensusContext, Genesis, GenesisAccount,
    StateView as _, U256,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

/// CPU time of this process so far; `None` where there is no `/proc`.
fn cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    let (user, system): (u64, u64) = (fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?);
    // Linux counts in hundredths of a second on every platform that Rust supports.
    Some(Duration::from_millis((user + system) * 10))
}

/// Bytes that this process has handed to the disk so far; `None` where there is no `/proc`.
fn written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[derive(Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl Spent {
    fn add<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let (start, before) = (Instant::now(), cpu());
        let out = run();
        self.wall += start.elapsed();
        self.cpu += cpu().zip(before).map_or(Duration::ZERO, |(after, before)| after - before);
        out
    }

    fn report(&self, name: &str, updates: u64) {
        let per = |time: Duration| if time.is_zero() { 0.0 } else { updates as f64 / time.as_secs_f64() / 1e3 };
        println!(
            "{name:<16} {:>8.1} k updates per CPU-s {:>8.1} k/s wall ({:.2} s CPU, {:.2} s wall)",
            per(self.cpu),
            per(self.wall),
            self.cpu.as_secs_f64(),
            self.wall.as_secs_f64()
        );
    }
}

fn address(number: u64) -> Address {
    Address::left_padding_from(&(number + 1).to_be_bytes())
}

fn block(parent: &Block, root: alloy_primitives::B256) -> Block {
    let number = parent.number() + 1;
    Block::assemble(BlockParts {
        parent_hash: parent.hash(),
        number,
        timestamp_ms: parent.timestamp_ms() + 200,
        beneficiary: Address::ZERO,
        state_root: root,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        gas_limit: 150_000_000,
        gas_used: 0,
        base_fee: 7,
        transactions: Vec::new(),
        context: ConsensusContext::genesis(),
        requests: Vec::new(),
    })
}

/// Measures reads and proofs of an old state.
fn past(store: &Store, number: u64, accounts: u64, rng: &mut StdRng) -> Result<(), Box<dyn Error>> {
    const READS: u32 = 1_000;
    let state = store.at(number)?.ok_or("the state is not kept")?;
    let start = Instant::now();
    for _ in 0..READS {
        state.account(&address(rng.random_range(0..accounts)))?;
    }
    println!("block {number}: read_us={:.1}", start.elapsed().as_secs_f64() * 1e6 / f64::from(READS));
    for proof in ["first", "second"] {
        let start = Instant::now();
        state.account_proof(&address(rng.random_range(0..accounts)))?;
        println!("block {number}: {proof}_proof_ms={:.2}", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |default: u64| arguments.next().unwrap_or(Ok(default));
    let (accounts, blocks, updates) = (next(100_000)?, next(200)?, next(1_000)?);
    let json = r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#;
    let mut genesis = Genesis::from_json(json)?;
    let funded = |number| (address(number), GenesisAccount { balance: U256::from(1) << 80, ..Default::default() });
    genesis.accounts = (0..accounts).map(funded).collect();
    let dir = tempfile::tempdir()?;
    let (mut create, mut open) = (Spent::default(), Spent::default());
    drop(create.add(|| Store::open(dir.path(), &genesis, Options::default()))?);
    let store = open.add(|| Store::open(dir.path(), &genesis, Options::default()))?;
    let mut rng = StdRng::seed_from_u64(1);
    let mut parent = store.genesis();
    let (mut child, mut commit, mut upkeep) = (Spent::default(), Spent::default(), Spent::default());
    let mut walls = Vec::new();
    let before = written();
    for number in 0..blocks {
        let mut changes = ChangeSet::default();
        while (changes.accounts.len() as u64) < updates {
            let account = Account { nonce: number, balance: U256::from(rng.random::<u64>()), ..Account::default() };
            let change = AccountChange { account: Some(account), ..AccountChange::default() };
            changes.accounts.insert(address(rng.random_range(0..accounts)), change);
        }
        let next = child.add(|| store.latest().child(changes))?;
        let block = Arc::new(block(&parent, next.state_root()));
        let snapshot = next.seal(block.hash());
        let part = Commit {
            block: Arc::clone(&block),
            senders: Vec::new(),
            receipts: Vec::new(),
            snapshot,
            certificate: None,
        };
        let wall = commit.wall;
        commit.add(|| store.commit(part))?;
        walls.push(commit.wall - wall);
        upkeep.add(|| store.upkeep())?;
        parent = block;
    }
    println!("accounts={accounts} blocks={blocks} updates={updates}");
    create.report("create", accounts);
    open.report("open", accounts);
    child.report("child", blocks * updates);
    commit.report("commit", blocks * updates);
    Spent { wall: child.wall + commit.wall, cpu: child.cpu + commit.cpu }.report("child + commit", blocks * updates);
    upkeep.report("upkeep", blocks * updates);
    walls.sort_unstable();
    let at = |percent: usize| walls.get(walls.len() * percent / 100).map_or(0.0, |wall| wall.as_secs_f64() * 1e3);
    println!("commit_ms p50={:.2} p95={:.2}", at(50), at(95));
    if let Some((before, after)) = before.zip(written()) {
        println!("bytes_written_per_update={}", (after - before) / (blocks * updates));
    }
    past(&store, 1, accounts, &mut rng)
}
