//! `keystead snapshot`: the whole state after a block as a folder of files, and a follower's store from it.

use crate::{
    cli::{Snapshot, SnapshotLoad, SnapshotMake},
    digits::hex_array,
    follow::Source,
    snapshot::{self, Made},
    state_folder::StateFolder,
};
use eyre::{Context as _, Result, eyre};
use keystead_proof::NetworkKey;
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(command: &Snapshot) -> Result<ExitCode> {
    match command {
        Snapshot::Make(options) => make(options),
        Snapshot::Load(options) => load(options),
    }
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn make(options: &SnapshotMake) -> Result<ExitCode> {
    let Made { number, hash, state_root, chunks, bytes } = match (&options.data, &options.from) {
        (Some(data), _) => {
            let folder = StateFolder::find(data)?;
            let (store, chain_id) = (folder.open()?, folder.genesis.spec.chain_id);
            snapshot::make(&store, &folder.genesis_json, chain_id, &options.out, options.at)?
        }
        (None, Some(url)) => {
            let key = options.network_key.as_deref().ok_or_else(|| eyre!("name the --network-key that you trust"))?;
            let source = Source::new(url)?;
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            runtime.block_on(snapshot::download(&source, network_key(key)?, &options.out, options.at))?
        }
        (None, None) => {
            return Err(eyre!("name the folder of a stopped node with --data, or a running node with --from"));
        }
    };
    println!("snapshot of block {number} {hash} state root {state_root}: chunks={chunks} bytes={bytes}");
    Ok(ExitCode::SUCCESS)
}

fn network_key(hex: &str) -> Result<NetworkKey> {
    NetworkKey::from_bytes(&hex_array(hex, "--network-key")?).wrap_err("--network-key is not usable")
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn load(options: &SnapshotLoad) -> Result<ExitCode> {
    let number = snapshot::load(&options.from, &options.data, &network_key(&options.network_key)?)?;
    println!("loaded block {number}: start it with `keystead follow --data {}`", options.data.display());
    Ok(ExitCode::SUCCESS)
}
