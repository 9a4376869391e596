//! Makes a snapshot of a running node that is not trusted.
//!
//! # Design
//! The state after one block is fetched chunk by chunk while the node goes on. What the manifest says is checked against the network
//! key before it is written; whether the chunks are the state is found when they are loaded, by the root.

use super::{
    make::{Made, first_header},
    manifest::{FORMAT, Finalization, Manifest},
    writer::Writer,
};
use crate::follow::{Origin, Range, Source, Trust, ask, fetch_origin};
use alloy_primitives::U64;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_proof::{BlockWithCertificate, NetworkKey, header_bytes};
use keystead_state::{CHUNK_BYTES_MAX, Section};
use keystead_types::Certificate;
use std::{path::Path, time::Duration};

/// Blocks below the wanted height among which there must be a certificate.
const BLOCKS_BACK: u64 = 256;

/// Writes the state after the newest certified block at or below `at`, or at all, as [`super::make`] does.
///
/// # Errors
/// The node does not answer, or what it answers is not proved by the key; a file cannot be written.
pub(crate) async fn download(source: &Source, key: NetworkKey, out: &Path, at: Option<u64>) -> Result<Made> {
    let Origin { json, chain_id, head, stretch } = fetch_origin(source, key).await?;
    let trust = Trust { chain_id, key };
    let wanted = at.unwrap_or(head).min(head);
    let newest = blocks(source, trust, wanted.saturating_sub(BLOCKS_BACK).max(1), wanted).await?;
    let found = newest.iter().rev().find(|it| it.certificate.is_some());
    let found =
        found.ok_or_else(|| eyre!("the node has no certificate near block {wanted}: choose another with --at"))?;
    let (block, number) = (&found.block, found.block.number());
    let linking = blocks(source, trust, first_header(number), number).await?;
    let receipts = source.receipts(number).await?;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        chain_id: U64::from(chain_id),
        number: U64::from(number),
        block: block.encode().into(),
        receipts,
        finalization: finalization(found.certificate, linking.iter())?,
        origin: {
            let first = stretch.blocks().iter().position(|it| it.certificate.is_some()).unwrap_or_default();
            let certificate = stretch.blocks().get(first).and_then(|it| it.certificate);
            finalization(certificate, stretch.blocks().iter().take(first.saturating_add(1)))?
        },
        chunks: Vec::new(),
    };
    manifest.check(&key).wrap_err("the node's answers are refused: the network key does not prove them")?;
    let mut writer = Writer::new(out, &json)?;
    for section in [Section::Accounts, Section::Storage, Section::Code] {
        let mut after = Vec::new();
        while let Some((chunk, last)) = source.state(number, section, &after).await? {
            let fits = chunk.entries > 0 && chunk.raw_bytes <= CHUNK_BYTES_MAX as u64 && last > after;
            ensure!(fits, "field=last: the node's {} chunks do not go forward, or are too large", section.name());
            writer.put(&chunk)?;
            after = last;
        }
    }
    let (chunks, bytes) = writer.finish(manifest)?;
    Ok(Made { number, hash: block.hash(), state_root: block.header().state_root, chunks, bytes })
}

/// All blocks of a range, both ends included.
async fn blocks(source: &Source, trust: Trust, from: u64, to: u64) -> Result<Vec<BlockWithCertificate>> {
    let (mut out, mut next) = (Vec::new(), from);
    while next <= to {
        let count = to.saturating_sub(next).saturating_add(1);
        let (_, stretch) = ask(source, trust, Range { from: next, count }, Duration::ZERO).await?;
        ensure!(!stretch.blocks().is_empty(), "the node does not have block {next}");
        next = next.saturating_add(stretch.blocks().len() as u64);
        out.extend_from_slice(stretch.blocks());
    }
    Ok(out)
}

/// A certificate, and the headers of ascending blocks from the last downwards.
fn finalization<'b>(
    certificate: Option<Certificate>,
    blocks: impl DoubleEndedIterator<Item = &'b BlockWithCertificate>,
) -> Result<Finalization> {
    let certificate = certificate.ok_or_else(|| eyre!("the node lacks a certificate that it gave before"))?;
    let headers = blocks.rev().map(|it| header_bytes(it.block.header())).collect();
    Ok(Finalization { certificate: certificate.into(), headers })
}
