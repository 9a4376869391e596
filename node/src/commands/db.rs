//! `keystead db`: looks at the data folder of a validator that is stopped.

use crate::{
    cli::{Db, DbFolder, DbPrune},
    network::Folder,
};
use eyre::{Context as _, Result};
use keystead_state::{History, Options, Progress, Stats, Store, Verified};
use std::{path::PathBuf, process::ExitCode};

pub(crate) fn run(command: &Db) -> Result<ExitCode> {
    match command {
        Db::Stats(options) => stats(options),
        Db::Verify(options) => verify(options),
        Db::Prune(options) => prune(options),
    }
}

/// The files of the network, and the folder of the state.
fn find(options: &DbFolder) -> Result<(Folder, PathBuf)> {
    let folder = Folder::read(&options.dir)?;
    let state = folder.root.join("data").join("state");
    Ok((folder, state))
}

fn open(options: &DbFolder) -> Result<Store> {
    let (folder, state) = find(options)?;
    // Nothing is dropped that was not asked for.
    let history = Options { history: History::Archive, ..Options::default() };
    Store::open(&state, &folder.genesis, history).wrap_err_with(|| {
        format!(
            "cannot open the state in {}: stop the validator, or see what `keystead db verify` says",
            state.display()
        )
    })
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn stats(options: &DbFolder) -> Result<ExitCode> {
    let stats: Stats = open(options)?.stats()?;
    println!("head          {:>16}", stats.head);
    println!("oldest state  {:>16}", stats.oldest_state);
    println!("oldest block  {:>16}", stats.oldest_block);
    println!("last sealed   {:>16}", stats.sealed);
    println!("{:<16} {:>13} {:>16}", "table", "entries", "bytes");
    for table in &stats.tables {
        println!("{:<16} {:>13} {:>16}", table.name, table.entries, table.bytes);
    }
    println!("{:<16} {:>13} {:>16}", "journal", "", stats.journal_bytes);
    println!("{:<16} {:>13} {:>16}", "segments", stats.segments, stats.segment_bytes);
    println!("{:<16} {:>13}", "log postings", stats.postings);
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the answer of the command, and its progress")]
fn verify(options: &DbFolder) -> Result<ExitCode> {
    let (folder, state) = find(options)?;
    let mut tell = |progress: Progress| match progress.total {
        Some(total) => eprintln!("{}: {} of {total}", progress.part, progress.done),
        None => eprintln!("{}: {}", progress.part, progress.done),
    };
    let verified: Verified = keystead_state::verify(&state, &folder.genesis, &mut tell)
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
        "delete the folder {}: the validator makes it anew from its own blocks and those of the other validators",
        state.display()
    );
    Ok(ExitCode::FAILURE)
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn prune(options: &DbPrune) -> Result<ExitCode> {
    let store = open(&options.folder)?;
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
