//! The genesis of a network from sources that are not trusted: the first block, which a certificate proves, names its hash.

use super::{
    fetch::{Trust, ask},
    source::{Fault, Range, Source, Sources},
};
use eyre::{Result, bail};
use keystead_proof::{NetworkKey, Stretch};
use keystead_state::genesis_block;
use keystead_types::Genesis;
use serde_json::Value;
use std::time::Duration;

/// Blocks in which the first certificate must be.
const BLOCKS: u64 = 256;
/// How long a source may make us wait for the first block of a network that just begins.
const WAIT: Duration = Duration::from_secs(3);
/// Answers without use after which there is no genesis to be had.
const TRIES_MAX: usize = 24;

/// The genesis file of the network whose key this is, as text.
///
/// # Errors
/// No source gave one that its certificates prove.
pub(crate) async fn fetch_genesis(sources: &Sources, key: NetworkKey) -> Result<String> {
    for _ in 0..TRIES_MAX {
        let (index, source) = match sources.choose() {
            Ok(chosen) => chosen,
            Err(pause) => {
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        match fetch_origin(&source, key).await {
            Ok(origin) => {
                sources.praise(index, origin.head);
                return Ok(origin.json);
            }
            Err(fault) => sources.blame(index, &fault),
        }
    }
    bail!(
        "no source gave a genesis that the network key proves: name the genesis file with --genesis, or other sources with --from"
    )
}

/// What a network began with, and the first blocks, which prove it.
pub(crate) struct Origin {
    /// The genesis file.
    pub(crate) json: String,
    pub(crate) chain_id: u64,
    /// The newest height that the source says it can prove.
    pub(crate) head: u64,
    /// Blocks from block 1 on; one of them has a certificate.
    pub(crate) stretch: Stretch,
}

/// The origin of the network whose key this is, from one source.
///
/// # Errors
/// What is wrong with the source's answers.
pub(crate) async fn fetch_origin(source: &Source, key: NetworkKey) -> Result<Origin, Fault> {
    let file: Value = source.genesis().await?;
    let json = file.to_string();
    let malformed = |error: &dyn std::fmt::Display| Fault::Malformed(format!("field=genesis: {error}"));
    let genesis = Genesis::from_json(&json).map_err(|error| malformed(&error))?;
    let chain_id = genesis.spec.chain_id;
    let (head, stretch) = ask(source, Trust { chain_id, key }, Range { from: 1, count: BLOCKS }, WAIT).await?;
    let Some(first) = stretch.blocks().first().filter(|_| !stretch.is_bare()) else {
        return Err(Fault::Uncertified("none of the first blocks".to_owned()));
    };
    let want = first.block.header().parent_hash;
    let hashed = tokio::task::spawn_blocking(move || genesis_block(&genesis).hash()).await;
    let got = hashed.map_err(|error| malformed(&error))?;
    if got != want {
        return Err(Fault::Field { field: "genesis", got: got.to_string(), want: want.to_string() });
    }
    Ok(Origin { json, chain_id, head, stretch })
}
