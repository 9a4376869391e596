//! Makes a follower's store from a snapshot.

use super::manifest::{ChunkEntry, Manifest, Proven, chunk_name, read_bounded, read_genesis};
use crate::follow::Folder;
use alloy_primitives::{B256, keccak256};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_proof::NetworkKey;
use keystead_state::{Chunk, Load, LoadError, LoadPlan, genesis_block};
use keystead_types::Genesis;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How often the command says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Loads the snapshot in `from` into the follower's folder `data`, or goes on with it; the height of its block.
///
/// # Errors
/// Names what is wrong with the snapshot. Chunks that are in stay in, unless the whole is found to be false.
pub(crate) fn load(from: &Path, data: &Path, key: &NetworkKey) -> Result<u64> {
    let (manifest, bytes) = Manifest::read(from)?;
    let Proven { end, genesis_hash } = manifest.check(key).wrap_err_with(|| {
        format!("the snapshot in {} is refused: the network key does not prove it", from.display())
    })?;
    let folder = open_folder(from, data, key, genesis_hash)?;
    ensure!(
        folder.genesis.spec.chain_id == manifest.chain_id.to::<u64>(),
        "field=chainId: the snapshot is of chain {}, the genesis file of chain {}",
        manifest.chain_id.to::<u64>(),
        folder.genesis.spec.chain_id
    );
    let plan = LoadPlan { id: keccak256(&bytes), genesis: &folder.genesis, genesis_hash };
    let state = folder.state();
    let mut load = Load::open(&state, plan).wrap_err_with(|| format!("cannot load into {}", state.display()))?;
    let count = manifest.chunks.len() as u64;
    if load.next() > 0 {
        tracing::info!(chunks = load.next(), of = count, "going on with a snapshot that is half loaded");
    }
    let (mut told, number) = (Instant::now(), end.block.number());
    for (entry, index) in manifest.chunks.iter().zip(0_u64..).skip(usize::try_from(load.next()).unwrap_or(usize::MAX)) {
        let name = chunk_name(index);
        let chunk = read_chunk(entry, &from.join(&name)).and_then(|chunk| Ok(load.put(index, &chunk)?));
        chunk.wrap_err_with(|| {
            format!("chunk {name} is refused; the {index} before it are kept: replace the file and load again")
        })?;
        if told.elapsed() >= PROGRESS_EVERY {
            tracing::info!(chunks = load.next(), of = count, "loading the snapshot");
            told = Instant::now();
        }
    }
    tracing::info!(chunks = count, "all chunks are in: computing the state root");
    let finished = load.finish(&end, &mut |progress| {
        tracing::info!(part = progress.part, done = progress.done, "computing the state root");
    });
    if let Err(error @ LoadError::State { .. }) = finished {
        // Nobody knows which chunk is wrong: none is worth keeping.
        fs::remove_dir_all(&state).wrap_err_with(|| format!("cannot delete {}", state.display()))?;
        return Err(eyre!(error)).wrap_err_with(|| {
            format!("the snapshot in {} is false: it was not loaded, and nothing of it is kept", from.display())
        });
    }
    finished.wrap_err_with(|| format!("cannot finish loading into {}: load again", state.display()))?;
    Ok(number)
}

/// The follower's folder; made with the genesis of the snapshot if it is new.
fn open_folder(from: &Path, data: &Path, key: &NetworkKey, genesis_hash: B256) -> Result<Folder> {
    if Folder::is_one(data) {
        return Folder::open(data, key, None);
    }
    let json = read_genesis(from)?;
    let genesis = Genesis::from_json(&json).wrap_err("field=genesis: genesis.json of the snapshot cannot be used")?;
    let hash = genesis_block(&genesis).hash();
    ensure!(
        hash == genesis_hash,
        "field=genesis: genesis.json gives block 0 {hash}, the chain began with {genesis_hash}"
    );
    Folder::make(data, key, &json, from)
}

/// Reads a chunk that is the one of the manifest.
fn read_chunk(entry: &ChunkEntry, path: &Path) -> Result<Chunk> {
    let section = entry.section()?;
    let packed = read_bounded(path, entry.bytes)?;
    let (got, want) = (packed.len() as u64, entry.bytes);
    ensure!(got == want, "it has {got} bytes, not {want}");
    let hash = keccak256(&packed);
    ensure!(hash == entry.hash, "its hash is {hash}, not {}", entry.hash);
    Ok(Chunk { section, entries: entry.entries, raw_bytes: entry.raw_bytes, packed })
}
