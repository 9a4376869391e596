//! `keystead db`: looks at the data folder of a node that is stopped.

use crate::{
    cli::{Db, DbFolder, DbPrune},
    state_folder::StateFolder,
};
use eyre::{Context as _, Result};
use keystead_state::{Progress, Stats, Verified};
use std::process::ExitCode;

pub(crate) fn run(command: &Db) -> Result<ExitCode> {
    match command {
        Db::Stats(options) => stats(options),
        Db::Verify(options) => verify(options),
        Db::Prune(options) => prune(options),
    }
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn stats(options: &DbFolder) -> Result<ExitCode> {
    let stats: Stats = StateFolder::find(&options.dir)?.open()?.stats()?;
    println!("head          {:>16}", stats.head);
    println!("oldest state  {:>16}", stats.oldest_state);
    println!("oldest block  {:>16}", stats.oldest_block);
    println!("last sealed   {:>16}", stats.sealed);
    println!("{:<16} {:>13} {:>16}", "table", "entries", "bytes");
    for table in &stats.tables {
        println!("{:<16} {:>13} {:>16}", table.name, table.entries, table.bytes);
    }
    println!("{:<16} {:>13} {:>16}", "journal", "", stats.journal_bytes);
    println!("{:<16} {:>13} {:>16}", "sealed files", stats.segments, stats.segment_bytes);
    println!("{:<16} {:>13}", "log postings", stats.postings);
    println!("{:<16} {:>13} {:>16}", "trie in memory", "", stats.trie_bytes);
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the answer of the command, and its progress")]
fn verify(options: &DbFolder) -> Result<ExitCode> {
    let StateFolder { genesis, state, .. } = StateFolder::find(&options.dir)?;
    let mut tell = |progress: Progress| match progress.total {
        Some(total) => eprintln!("{}: {} of {total}", progress.part, progress.done),
        None => eprintln!("{}: {}", progress.part, progress.done),
    };
    let verified: Verified = keystead_state::verify(&state, &genesis, &mut tell)
        .wrap_err_with(|| format!("cannot verify the state in {}", state.display()))?;
    let Verified { accounts, slots, blocks, states, segments, .. } = verified;
    let head = verified.head.map_or_else(|| "unknown".to_owned(), |head| head.to_string());
    println!("head={head} accounts={accounts} slots={slots} blocks={blocks} old_states={states} segments={segments}");
    for finding in &verified.findings {
        println!("damaged: {finding}");
    }
    if verified.more > 0 {
        println!("damaged: {} more", verified.more);
    }
    if verified.findings.is_empty() {
        println!("no damage found");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "delete the folder {}: the node makes it anew from its own blocks and those of other nodes",
        state.display()
    );
    Ok(ExitCode::FAILURE)
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn prune(options: &DbPrune) -> Result<ExitCode> {
    let store = StateFolder::find(&options.folder.dir)?.open()?;
    let pruned = store.prune(options.below)?;
    println!(
        "dropped old_states={} segments={} segment_bytes={}; oldest_state={} oldest_block={}",
        pruned.states,
        pruned.segments,
        pruned.segment_bytes,
        store.oldest_state(),
        store.oldest_block()
    );
    Ok(ExitCode::SUCCESS)
}
