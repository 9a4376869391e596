//! Makes a snapshot of a store.

use super::{
    manifest::{FORMAT, Finalization, HEADERS, Manifest, ORIGIN_HEADERS_MAX},
    writer::Writer,
};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Bytes, U64};
use eyre::{Result, ensure, eyre};
use keystead_proof::header_bytes;
use keystead_state::Store;
use keystead_types::{B256, Certificate, Header};
use std::path::Path;

/// A snapshot that was written.
pub(crate) struct Made {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) state_root: B256,
    pub(crate) chunks: u64,
    /// Bytes of the chunks' files.
    pub(crate) bytes: u64,
}

/// Writes the state after the newest certified block at or below `at`, or at all, into a folder that is not there or empty.
///
/// # Errors
/// There is no certified block, its state is not kept, or a file cannot be read or written. What was written has no manifest then.
pub(crate) fn make(store: &Store, genesis_json: &str, chain_id: u64, out: &Path, at: Option<u64>) -> Result<Made> {
    let wanted = at.unwrap_or(u64::MAX);
    let (number, certificate) = store
        .certificate_at_or_below(wanted)?
        .filter(|(number, _)| *number > 0)
        .ok_or_else(|| eyre!("there is no block with a certificate at or below height {wanted}"))?;
    let export = store.export(number)?.ok_or_else(|| {
        let (oldest, head) = (store.oldest_state(), store.head().number);
        eyre!("the state of block {number} is not kept: there are those of blocks {oldest} to {head}")
    })?;
    let block = store.block(number)?.ok_or_else(|| eyre!("the store lacks block {number}"))?;
    let receipts = store.receipts(number)?.ok_or_else(|| eyre!("the store lacks the receipts of block {number}"))?;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        chain_id: U64::from(chain_id),
        number: U64::from(number),
        block: block.encode().into(),
        receipts: receipts.iter().map(|receipt| receipt.encoded_2718().into()).collect(),
        finalization: finalization(store, certificate, first_header(number), number)?,
        origin: origin(store)?,
        chunks: Vec::new(),
    };
    let mut writer = Writer::new(out, genesis_json)?;
    for chunk in export {
        writer.put(&chunk?)?;
    }
    let (chunks, bytes) = writer.finish(manifest)?;
    Ok(Made { number, hash: block.hash(), state_root: block.header().state_root, chunks, bytes })
}

/// Height of the lowest header that a snapshot of a block has.
pub(super) fn first_header(number: u64) -> u64 {
    number.saturating_sub(HEADERS.saturating_sub(1)).max(1)
}

/// What binds the genesis: the first certificate and the headers down to block 1.
fn origin(store: &Store) -> Result<Finalization> {
    let found = store.certificate_at_or_above(1)?;
    let (certified, certificate) = found.ok_or_else(|| eyre!("the store has no certificate at all"))?;
    ensure!(
        certified <= ORIGIN_HEADERS_MAX,
        "the first certificate that this node has is that of block {certified}: make the snapshot on another node"
    );
    finalization(store, certificate, 1, certified)
}

/// A certificate and the headers from its block downwards.
fn finalization(store: &Store, certificate: Certificate, first: u64, certified: u64) -> Result<Finalization> {
    let header = |number: u64| -> Result<Bytes> {
        let header: Header = store.header(number)?.ok_or_else(|| eyre!("the store lacks header {number}"))?;
        Ok(header_bytes(&header))
    };
    let headers = (first..=certified).rev().map(header).collect::<Result<_>>()?;
    Ok(Finalization { certificate: certificate.into(), headers })
}
