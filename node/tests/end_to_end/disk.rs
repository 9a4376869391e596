//! A full disk and torn files at a validator: it says what to do, signs nothing wrong, and comes back with equal roots.

use crate::network::{KEYSTEAD, Network, wait_until};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a validator logs while its votes may be forgotten, and when that is over.
pub(crate) const WITHOUT: &str = "follows without signing";
pub(crate) const AGAIN: &str = "signing again";
/// The validator that has the bad luck.
const VICTIM: usize = 0;

/// Some blocks with transactions in them.
fn work(network: &Network) {
    let status = Command::new(KEYSTEAD)
        .args(["bench", "load", "--rate", "40", "--senders", "10", "--seconds", "2", "--rpc", &network.url(1)])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out
}

/// What the program says at its end, for the person who started it.
pub(crate) fn last_error(log: &str) -> &str {
    log.rsplit("\nerror: ").next().unwrap()
}

/// The journal of a validator's state store.
pub(crate) fn state_journal(network: &Network, index: usize) -> PathBuf {
    let journals = files(&network.folder(index).join("data/state"));
    let journals = journals.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "jnl"));
    journals.max_by_key(|file| fs::metadata(file).unwrap().modified().unwrap()).unwrap()
}

/// The file of one of the engine's partitions that a validator wrote last.
pub(crate) fn engine_file(network: &Network, index: usize, partition: &str) -> PathBuf {
    let files = files(&network.folder(index).join("data/engine").join(partition));
    files.into_iter().max_by_key(|file| (fs::metadata(file).unwrap().modified().unwrap(), file.clone())).unwrap()
}

/// Bytes up to the last that is not zero: files are made with room ahead.
pub(crate) fn used(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_full_disk_stops_the_validator_with_advice_and_loses_nothing_slow() {
    let mut network = Network::start(4);
    work(&network);
    for place in ["start", "engine", "journal", "state"] {
        network.kill(VICTIM);
        let head = network.head(1).unwrap();
        // Which file reaches a limit first depends on how much the validator had written before it was killed.
        let engine_or_state: &[&str] = &["data/engine", "committing a block"];
        let (limit_kib, words) = match place {
            // Not even the lock can be written.
            "start" => (0, &["data/state"][..]),
            "engine" => (4, engine_or_state),
            // The journal of a view's votes takes just over 8 KiB.
            "journal" => (8, engine_or_state),
            _ => (used(&state_journal(&network, VICTIM)) as u64 / 1024 + 2, engine_or_state),
        };
        let (code, log) = network.run_with_full_disk(VICTIM, limit_kib);
        assert_eq!(code, Some(1), "{place}: {log}");
        let error = last_error(&log);
        assert!(error.contains("free space") && error.contains("start again"), "{place}: {log}");
        assert!(words.iter().any(|word| log.contains(word)), "{place}: {log}");
        network.wait_for_head(1, head + 2);
        network.launch(VICTIM);
        let head = network.head(1).unwrap();
        network.wait_for_head(VICTIM, head + 2);
    }
    println!("height={}", network.agree());
}

/// A way to damage a file.
#[derive(Debug)]
pub(crate) enum Damage {
    /// The last bytes are gone.
    Cut(usize),
    /// One bit is wrong, so many bytes before the end of what is used.
    Flip(usize),
    /// One bit of the last item is wrong: the last byte that is not zero before the page's 12 bytes of checksums.
    FlipItem,
}

impl Damage {
    pub(crate) fn apply(&self, file: &Path) {
        let (mut bytes, used) = (fs::read(file).unwrap(), used(file));
        match self {
            Self::Cut(count) => bytes.truncate(used.saturating_sub(*count)),
            Self::Flip(before_end) => bytes[used.saturating_sub(*before_end).min(used - 1)] ^= 0x10,
            Self::FlipItem => {
                let items = bytes.len() - 12;
                let last = bytes[..items].iter().rposition(|byte| *byte != 0).unwrap();
                bytes[last] ^= 0x10;
            }
        }
        fs::write(file, bytes).unwrap();
    }
}

/// A validator whose votes may be forgotten follows without signing, and signs again later: so many times by now.
fn wait_until_signing_again(network: &Network, times: usize) {
    wait_until("the validator signs again", || {
        let log = network.whole_log(VICTIM);
        let counts = [AGAIN, WITHOUT].map(|words| log.matches(words).count());
        (counts == [times; 2]).then_some(())
    });
    let head = network.head(1).unwrap();
    network.wait_for_head(VICTIM, head + 3);
}

#[test]
fn torn_and_flipped_journals_are_recovered_from_or_refused_with_advice_slow() {
    let mut network = Network::start(4);
    work(&network);
    let cases: [(&str, Damage); 7] = [
        ("state", Damage::Cut(4_096)),
        ("state", Damage::Flip(700)),
        ("simplex", Damage::Cut(4_096)),
        ("simplex", Damage::FlipItem),
        ("blocks-value", Damage::Cut(100)),
        ("blocks-value", Damage::Flip(300)),
        ("marshal-application-metadata", Damage::Flip(20)),
    ];
    let (mut doubts, mut deleted) = (0, 0);
    for (at, (place, damage)) in cases.iter().enumerate() {
        network.kill(VICTIM);
        let file =
            if *place == "state" { state_journal(&network, VICTIM) } else { engine_file(&network, VICTIM, place) };
        damage.apply(&file);
        let head = network.head(1).unwrap();
        let refused = network.launch_damaged(VICTIM, head + 2);
        println!("case {at} {place}: {}", if refused.is_some() { "refused" } else { "recovered" });
        if let Some((code, log)) = refused {
            assert_eq!(code, Some(1), "case {at} {place}: {log}");
            let folder = network.folder(VICTIM).join("data").join(if *place == "state" { "state" } else { "engine" });
            let error = last_error(&log);
            let advised = error.contains(&folder.display().to_string()) && error.contains("delete");
            assert!(advised, "case {at} {place}: {log}");
            fs::remove_dir_all(&folder).unwrap();
            network.launch(VICTIM);
            network.wait_for_head(VICTIM, head + 2);
            deleted += usize::from(*place != "state");
        }
        doubts += usize::from(*place == "simplex");
        wait_until_signing_again(&network, doubts + deleted);
    }
    // The record of votes lies beside the keys, and outlives all that a person may delete.
    network.kill(VICTIM);
    fs::remove_dir_all(network.folder(VICTIM).join("data")).unwrap();
    network.launch(VICTIM);
    wait_until_signing_again(&network, doubts + deleted + 1);
    for witness in 1..4 {
        // Peers cut the connection to who votes twice.
        assert!(!network.whole_log(witness).contains("conflicting"), "{}", network.log(witness));
    }
    println!("height={}", network.agree());
}
