//! A process that commits in a loop is killed at random moments: the store opens at the old or the new block.

use crate::model::{Model, Step, changes, genesis};
use keystead_state::{Options, Store};
use keystead_types::ChangeSet;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Tells the child process, which is this test program again, where to work.
const FOLDER: &str = "KEYSTEAD_STATE_CRASH_FOLDER";
const SEED: u64 = 4_711;
const KILLS: usize = 24;
/// Blocks after which a child ends by itself, should its parent be gone.
const BLOCKS_MAX: u64 = 100_000;

/// Small files, so that many kills fall into the writing of one; little memory, so that subtrees are read again.
fn options() -> Options {
    Options { segment_blocks: 8, trie_bytes: 1 << 12, ..Options::default() }
}

/// What block `number` changes: the same in parent and child.
fn block_changes(number: u64) -> ChangeSet {
    changes(&mut StdRng::seed_from_u64(SEED + number), 30)
}

fn replay(to: u64) -> Model {
    let mut model = Model::of(&genesis(SEED));
    (1..=to).for_each(|number| model.apply(&block_changes(number)));
    model
}

/// The child's half: commits until it is killed, and says each block that it has committed.
#[test]
fn a_child_process_commits_until_it_is_killed() {
    let Some(dir) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = Store::open(&dir, &genesis(SEED), options()).unwrap();
    let mut head = Step::head(&store, Model::default());
    let mut out = std::io::stdout().lock();
    while head.block.number() < BLOCKS_MAX {
        let number = head.block.number() + 1;
        head = head.child(&block_changes(number), number % 4);
        store.commit(head.commit()).unwrap();
        if number.is_multiple_of(3) {
            store.upkeep().unwrap();
        }
        if number.is_multiple_of(5) {
            store.seal().unwrap();
        }
        writeln!(out, "committed {number}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs a child for some blocks, kills it, and returns the last block that it said was committed.
fn run_and_kill(dir: &Path, rng: &mut StdRng) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::a_child_process_commits_until_it_is_killed", "--nocapture"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = |line: String| line.strip_prefix("committed ").and_then(|number| number.parse::<u64>().ok());
    let mut last = 0;
    let mut blocks = rng.random_range(0..30);
    while blocks > 0 {
        let line = lines.next().expect("the child ended by itself").unwrap();
        if let Some(number) = said(line) {
            last = number;
            blocks -= 1;
        }
    }
    // The moment of the kill within a commit; nothing is waited for.
    std::thread::sleep(Duration::from_micros(rng.random_range(0..8_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    // Lines that were on their way when it died.
    lines.map_while(Result::ok).filter_map(said).last().unwrap_or(last)
}

#[test]
fn a_killed_process_leaves_the_old_or_the_new_block_with_its_state_slow() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(SEED);
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut before = 0;
    for kill in 0..KILLS {
        let said = run_and_kill(dir.path(), &mut rng).max(before);
        let store = Store::open(dir.path(), &genesis, options()).unwrap();
        let head = store.head();
        assert!((said..=said + 1).contains(&head.number), "kill={kill} said={said} head={}", head.number);
        let model = replay(head.number);
        assert_eq!(head.state_root, model.root(), "kill={kill} head={}", head.number);
        assert_eq!(store.latest().state_root(), head.state_root);
        model.compare(&store.latest()).unwrap();
        model.prove(&store.latest(), &mut rng);
        for number in [before / 2, before] {
            let (old, model) = (store.at(number).unwrap().unwrap(), replay(number));
            assert_eq!(old.state_root(), model.root(), "kill={kill} number={number}");
            model.compare(&old).unwrap();
            model.prove(&old, &mut rng);
        }
        // The first blocks have left the tables.
        for number in (0..3).chain(before..=head.number) {
            let block = store.block(number).unwrap().unwrap();
            assert_eq!(store.number_of(&block.hash()).unwrap(), Some(number));
            assert_eq!(store.receipts(number).unwrap().unwrap().len(), block.transactions().len());
            assert_eq!(store.senders(number).unwrap().unwrap().len(), block.transactions().len());
        }
        assert_eq!(store.header(head.number + 1).unwrap(), None);
        before = head.number;
    }
    println!("killed {KILLS} times, head={before}");
    assert!(before > 100, "too few blocks for the test to mean anything: {before}");
}
