//! Measures the import of full blocks from disk against the sum of its parts: recovery of senders, execution, trie and
//! store, each alone over the same blocks in the same run.
//!
//! # Design
//! Blocks of 30 M gas hold plain transfers, each from an account of its own to a random one: the worst case for the state.
//! The parts and the import take turns, each round in fresh folders. CPU time is that of all threads of the process.
//!
//! Run: `RAYON_NUM_THREADS=1 cargo run -p keystead-import --example import_time [-- BLOCKS]`. Output: as the example `figures` of
//! `keystead-state`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "a measuring program"
)]

use alloy_consensus::{
    Header, SignableTransaction as _, TxLegacy,
    proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_primitives::{Address, Signature, TxKind, U256, keccak256};
use keystead_execution::{BlockEnv, EthereumBlock, Outcome, execute_ethereum};
use keystead_import::Importer;
use keystead_state::{Commit, Options, Snapshot, Store};
use keystead_types::{
    Block, ChainSpec, EthereumBody, Fork, Forks, Genesis, GenesisAccount, Recovered, Transaction, Withdrawals,
    recover_all,
};
use std::{
    error::Error,
    fs,
    io::BufReader,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const GAS_LIMIT: u64 = 30_000_000;
const TRANSFERS: u64 = GAS_LIMIT / 21_000;
const ROUNDS: usize = 3;
/// Seconds between blocks; any number above zero is right.
const STEP: u64 = 12;

type Failure = Box<dyn Error>;

/// CPU time of all threads so far. Threads of the store and of rayon live as long as their store.
fn cpu() -> Result<Duration, Failure> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().ok_or("an odd schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn timed<T>(sum: &mut Duration, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let before = cpu()?;
    let out = run()?;
    *sum += cpu()?.saturating_sub(before);
    Ok(out)
}

/// A transfer from whoever the signature gives.
fn transfer(index: u64) -> Transaction {
    let to = TxKind::Call(Address::from_word(keccak256(index.to_be_bytes())));
    // Above what the base fee reaches in a hundred full blocks.
    let gas_price = 1_000_000_000_000_000;
    let body = TxLegacy { gas_price, gas_limit: 21_000, to, value: U256::from(index + 1), ..TxLegacy::default() };
    body.into_signed(Signature::test_signature()).into()
}

fn genesis(transactions: &[Transaction]) -> Result<Genesis, Failure> {
    let rich = GenesisAccount { balance: U256::from(10).pow(U256::from(24)), ..GenesisAccount::default() };
    let header = Header {
        gas_limit: GAS_LIMIT,
        base_fee_per_gas: Some(1_000_000_000),
        withdrawals_root: Some(calculate_withdrawals_root(&[])),
        ..Header::default()
    };
    let senders = recover_all(transactions.to_vec())?;
    // Half of the recipients are there already.
    let known =
        (0..transactions.len() as u64).step_by(2).map(|index| Address::from_word(keccak256(index.to_be_bytes())));
    Ok(Genesis {
        spec: ChainSpec::ethereum(1, GAS_LIMIT, Forks::always(Fork::Shanghai)),
        timestamp: 0,
        accounts: senders.iter().map(Recovered::signer).chain(known).map(|it| (it, rich.clone())).collect(),
        header: Some(Box::new(header)),
    })
}

fn execute(genesis: &Genesis, before: &Arc<Snapshot>, header: &Header, from: &[Recovered]) -> Result<Outcome, Failure> {
    let content = EthereumBlock {
        transactions: from,
        ommers: &[],
        withdrawals: &[],
        state_root: &|changes| Ok(before.child(changes)?.state_root()),
    };
    Ok(execute_ethereum(&**before, &genesis.spec, &BlockEnv::from(header), &content)?)
}

fn open(folder: &Path, genesis: &Genesis) -> Result<Store, Failure> {
    Ok(Store::open(folder, genesis, Options::default())?)
}

fn commit(
    store: &Store,
    block: Arc<Block>,
    outcome: Outcome,
    from: &[Recovered],
    next: Arc<Snapshot>,
) -> Result<(), Failure> {
    let senders = from.iter().map(Recovered::signer).collect();
    Ok(store.commit(Commit { block, senders, receipts: outcome.receipts, snapshot: next, certificate: None })?)
}

/// The blocks, encoded.
fn make(folder: &Path, genesis: &Genesis, transactions: &[Transaction]) -> Result<Vec<Vec<u8>>, Failure> {
    let store = open(folder, genesis)?;
    let mut blocks = Vec::new();
    for transactions in transactions.chunks(usize::try_from(TRANSFERS)?) {
        let (head, before) = (store.head(), store.latest());
        let parent = store.header(head.number)?.ok_or("no head")?;
        let mut header = Header {
            parent_hash: head.hash,
            number: head.number + 1,
            timestamp: parent.timestamp + STEP,
            gas_limit: parent.gas_limit,
            beneficiary: Address::repeat_byte(0xbe),
            base_fee_per_gas: Some(genesis.spec.next_base_fee(&parent)),
            transactions_root: calculate_transaction_root(transactions),
            ommers_hash: calculate_ommers_root(&[] as &[Header]),
            withdrawals_root: Some(calculate_withdrawals_root(&[])),
            ..Header::default()
        };
        let from = recover_all(transactions.to_vec())?;
        let outcome = execute(genesis, &before, &header, &from)?;
        header.gas_used = outcome.gas_used;
        header.receipts_root = outcome.receipts_root;
        header.logs_bloom = outcome.logs_bloom;
        let child = before.child(outcome.changes.clone())?;
        header.state_root = child.state_root();
        let body = EthereumBody { ommers: Vec::new(), withdrawals: Some(Withdrawals::default()) };
        let block = Arc::new(Block::ethereum(header, transactions.to_vec(), body)?);
        let next = child.seal(block.hash());
        commit(&store, Arc::clone(&block), outcome, &from, next)?;
        blocks.push(block.encode());
    }
    Ok(blocks)
}

/// What the parts cost, each alone.
#[derive(Default)]
struct Parts {
    recover: Duration,
    execute: Duration,
    trie: Duration,
    store: Duration,
}

impl Parts {
    fn sum(&self) -> Duration {
        self.recover + self.execute + self.trie + self.store
    }
}

fn parts(folder: &Path, genesis: &Genesis, blocks: &[Vec<u8>]) -> Result<Parts, Failure> {
    let store = open(folder, genesis)?;
    let mut parts = Parts::default();
    for bytes in blocks {
        let block = Arc::new(Block::decode_ethereum(bytes)?);
        let (before, transactions) = (store.latest(), block.transactions().to_vec());
        let from = timed(&mut parts.recover, || Ok(recover_all(transactions)?))?;
        let mut outcome = timed(&mut parts.execute, || execute(genesis, &before, block.header(), &from))?;
        let changes = std::mem::take(&mut outcome.changes);
        let child = timed(&mut parts.trie, || Ok(before.child(changes)?))?;
        let next = child.seal(block.hash());
        timed(&mut parts.store, || commit(&store, block, outcome, &from, next))?;
    }
    Ok(parts)
}

fn import(folder: &Path, genesis: &Genesis, file: &Path) -> Result<(Duration, Duration), Failure> {
    let store = open(folder, genesis)?;
    let importer = Importer::new(store, genesis)?;
    let (mut spent, start) = (Duration::ZERO, Instant::now());
    timed(&mut spent, || Ok(importer.import_file(BufReader::new(fs::File::open(file)?), |_| ())?))?;
    Ok((spent, start.elapsed()))
}

fn median(mut values: Vec<f64>) -> (f64, String) {
    values.sort_unstable_by(f64::total_cmp);
    let (least, most) = (values.first().copied().unwrap_or_default(), values.last().copied().unwrap_or_default());
    (values.get(values.len() / 2).copied().unwrap_or_default(), format!("{least:.0} .. {most:.0}, n={}", values.len()))
}

fn main() -> Result<(), Failure> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(40), |argument| argument.parse())?;
    let transactions: Vec<Transaction> = (0..count * TRANSFERS).map(transfer).collect();
    let genesis = genesis(&transactions)?;
    let folder = tempfile::tempdir()?;
    let blocks = make(&folder.path().join("make"), &genesis, &transactions)?;
    let file = folder.path().join("chain.rlp");
    fs::write(&file, blocks.concat())?;
    let transfers = transactions.len() as f64;
    let (mut shares, mut rates, mut last) = (Vec::new(), Vec::new(), String::new());
    for round in 0..ROUNDS {
        let parts = parts(&folder.path().join(format!("parts-{round}")), &genesis, &blocks)?;
        let (spent, wall) = import(&folder.path().join(format!("import-{round}")), &genesis, &file)?;
        shares.push(parts.sum().as_secs_f64() / spent.as_secs_f64() * 100.0);
        rates.push(transfers / spent.as_secs_f64());
        let micros = |part: Duration| part.as_secs_f64() * 1e6 / transfers;
        let Parts { recover, execute, trie, store } = parts;
        last = format!(
            "us a transfer: recover {:.1}, execute {:.1}, trie {:.1}, store {:.1}; import {:.1}, {:.0}/s wall",
            micros(recover),
            micros(execute),
            micros(trie),
            micros(store),
            micros(spent),
            transfers / wall.as_secs_f64()
        );
    }
    let (share, spread) = median(shares);
    let name = "import of full blocks from disk, share of the sum of its raw parts";
    println!("row\t{name}\t{share:.3}\t%\t{spread}; {last}\t>= 60\tmore");
    let (rate, spread) = median(rates);
    println!("row\timport of full blocks from disk, transfers\t{rate:.3}\t1/CPU-s\t{spread}\t-\tmore");
    Ok(())
}
