//! What both suites share: accounts, forks by name, and where stores lie.

use alloy_primitives::{Address, Bytes, U64, U256};
use keystead_types::{Blobs, Fork, Forks, GenesisAccount};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;

/// An account of a test.
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) nonce: U64,
    pub(crate) balance: U256,
    pub(crate) code: Bytes,
    pub(crate) storage: BTreeMap<U256, U256>,
}

/// Accounts by address.
pub(crate) type Accounts = BTreeMap<Address, Account>;

pub(crate) fn genesis_accounts(accounts: Accounts) -> BTreeMap<Address, GenesisAccount> {
    let convert = |(address, account): (Address, Account)| {
        let Account { nonce, balance, code, storage } = account;
        (address, GenesisAccount { balance, nonce: nonce.to(), code, storage })
    };
    accounts.into_iter().map(convert).collect()
}

/// The rules of a test beside its fork's name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) chainid: U64,
    #[serde(default)]
    pub(crate) blob_schedule: BTreeMap<String, BlobNumbers>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlobNumbers {
    target: U64,
    max: U64,
    base_fee_update_fraction: U64,
}

/// Forks of a test: `Prague`, or `CancunToPragueAtTime15k` for one that changes on the way.
pub(crate) fn forks(network: &str, config: &Config) -> Result<Forks, String> {
    let unknown = || format!("unknown fork {network}");
    let (first, then) = match network.split_once("To") {
        None => (network, None),
        Some((first, then)) => (first, Some(then)),
    };
    let fork = fork(first).ok_or_else(unknown)?;
    let mut forks = Forks::always(fork);
    schedule(&mut forks, first, 0, config)?;
    if let Some(then) = then {
        let (name, at) = then.split_once("At").ok_or_else(unknown)?;
        let at = at.strip_prefix("Time").unwrap_or(at);
        let at = at.strip_suffix('k').map_or_else(|| at.parse(), |it| it.parse::<u64>().map(|it| it * 1_000));
        let at = at.map_err(|_| unknown())?;
        if !name.starts_with("BPO") {
            forks.start(self::fork(name).ok_or_else(unknown)?, at);
        }
        schedule(&mut forks, name, at, config)?;
    }
    Ok(forks)
}

fn schedule(forks: &mut Forks, name: &str, since: u64, config: &Config) -> Result<(), String> {
    let Some(numbers) = config.blob_schedule.get(name) else { return Ok(()) };
    let update_fraction = numbers.base_fee_update_fraction.to();
    let blobs = Blobs { since, target: numbers.target.to(), max: numbers.max.to(), update_fraction };
    forks.schedule(blobs).then_some(()).ok_or_else(|| "the blob schedule is full".to_owned())
}

fn fork(name: &str) -> Option<Fork> {
    Some(match name {
        "Frontier" => Fork::Frontier,
        "Homestead" => Fork::Homestead,
        "EIP150" | "TangerineWhistle" => Fork::TangerineWhistle,
        "EIP158" | "SpuriousDragon" => Fork::SpuriousDragon,
        "Byzantium" => Fork::Byzantium,
        "Constantinople" | "ConstantinopleFix" => Fork::Petersburg,
        "Istanbul" | "MuirGlacier" => Fork::Istanbul,
        "Berlin" => Fork::Berlin,
        "London" | "ArrowGlacier" | "GrayGlacier" => Fork::London,
        "Paris" | "Merge" => Fork::Paris,
        "Shanghai" => Fork::Shanghai,
        "Cancun" => Fork::Cancun,
        "Prague" => Fork::Prague,
        "Osaka" | "BPO1" | "BPO2" | "BPO3" | "BPO4" | "BPO5" => Fork::Osaka,
        _ => return None,
    })
}

/// A folder for a store: in memory where there is such a place, as thousands of stores wait for the disk otherwise.
pub(crate) fn store_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}
