//! The manifest of a snapshot, and what of it the network key proves.
//!
//! # Trust
//! A manifest is hostile. [`Manifest::check`] proves the block, the headers below it and the hash of the genesis block; what it says
//! about chunks is only good for finding a broken one early.

use crate::certificate::CertificateForm;
use alloy_consensus::proofs::calculate_receipt_root;
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{B256, Bytes, U64};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_proof::{NetworkKey, verify_finalization};
use keystead_recipes::plain::{self, Links};
use keystead_state::{CHUNK_BYTES_MAX, LoadEnd, Section};
use keystead_types::{Address, Block, Certificate, Header, Receipt, Recovered, recover_all};
use serde::{Deserialize, Serialize};
use std::{io::Read as _, path::Path, sync::Arc};

/// What a manifest says it is.
pub(super) const FORMAT: &str = "keystead-snapshot/1";
/// Name of its file.
pub(super) const MANIFEST: &str = "manifest.json";
/// Name of the file of the genesis state.
pub(super) const GENESIS: &str = "genesis.json";
/// Longest manifest that is read: the largest block with its receipts, and some hundred thousand chunks.
const MANIFEST_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Longest genesis file that is read.
const GENESIS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Headers that a snapshot holds, the block's own included: the next block may ask for the hashes of so many (`BLOCKHASH`).
pub(super) const HEADERS: u64 = 256;
/// Most headers between block 1 and the first certificate.
pub(super) const ORIGIN_HEADERS_MAX: u64 = 4_096;
/// Most that a packed chunk is longer than a raw one: zstd's frame around what it cannot pack.
const PACKING_BYTES_MAX: u64 = 64 * 1024;

/// `manifest.json`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) chain_id: U64,
    /// Height of the block after which the state is.
    pub(super) number: U64,
    /// The block.
    pub(super) block: Bytes,
    /// Its receipts, EIP-2718.
    pub(super) receipts: Vec<Bytes>,
    /// Its certificate, and headers from it downwards: 256, or all from block 1 on.
    pub(super) finalization: Finalization,
    /// What binds the genesis: the first certificate, and headers from its block down to block 1.
    pub(super) origin: Finalization,
    /// The chunks in order.
    pub(super) chunks: Vec<ChunkEntry>,
}

/// As `keystead_getFinalization` answers it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finalization {
    pub(super) certificate: CertificateForm,
    pub(super) headers: Vec<Bytes>,
}

/// What a chunk's file must be.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChunkEntry {
    pub(super) section: String,
    pub(super) entries: u64,
    pub(super) raw_bytes: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    /// keccak256 of the file.
    pub(super) hash: B256,
}

/// What the network key proves of a manifest.
pub(super) struct Proven {
    pub(super) end: LoadEnd,
    pub(super) genesis_hash: B256,
}

impl ChunkEntry {
    /// The section, if the entry can be one of an honest snapshot.
    pub(super) fn section(&self) -> Result<Section> {
        let Self { section, raw_bytes, bytes, .. } = self;
        ensure!(*raw_bytes <= CHUNK_BYTES_MAX as u64, "rawBytes is {raw_bytes}, at most {CHUNK_BYTES_MAX} are allowed");
        let max = (CHUNK_BYTES_MAX as u64).saturating_add(PACKING_BYTES_MAX);
        ensure!(*bytes <= max, "bytes is {bytes}, at most {max} are allowed");
        Section::find(section).ok_or_else(|| eyre!("section is {section:?}, which is none"))
    }
}

/// Name of the file of a chunk.
pub(super) fn chunk_name(index: u64) -> String {
    format!("chunk-{index:06}.zst")
}

/// Reads a file of a snapshot, up to a length. What is no regular file is refused: a pipe could have this program wait for ever.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let context = || format!("cannot read {}", path.display());
    let file = plain::open(path, Links::Followed).wrap_err_with(context)?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).wrap_err_with(context)?;
    ensure!(bytes.len() as u64 <= bytes_max, "{} is longer than {bytes_max} bytes", path.display());
    Ok(bytes)
}

/// The genesis file of a snapshot. Whether it is the chain's is not known yet.
pub(super) fn read_genesis(folder: &Path) -> Result<String> {
    let path = folder.join(GENESIS);
    String::from_utf8(read_bounded(&path, GENESIS_BYTES_MAX)?)
        .wrap_err_with(|| format!("{} is no text", path.display()))
}

impl Manifest {
    /// Reads a manifest, and gives its bytes, too.
    pub(super) fn read(folder: &Path) -> Result<(Self, Vec<u8>)> {
        let path = folder.join(MANIFEST);
        let bytes = read_bounded(&path, MANIFEST_BYTES_MAX)?;
        let manifest: Self = serde_json::from_slice(&bytes)
            .wrap_err_with(|| format!("{} is not the manifest of a snapshot", path.display()))?;
        ensure!(
            manifest.format == FORMAT,
            "{} has the format {}, this program reads {FORMAT}",
            path.display(),
            manifest.format
        );
        Ok((manifest, bytes))
    }

    /// Checks everything but the chunks and the genesis.
    ///
    /// # Errors
    /// Names the field that the network key does not prove.
    pub(super) fn check(&self, key: &NetworkKey) -> Result<Proven> {
        let (chain_id, number): (u64, u64) = (self.chain_id.to(), self.number.to());
        let (certificate, headers) = self.finalization.verify(chain_id, key).wrap_err("field=finalization")?;
        let got = headers.first().map_or(0, |header| header.number);
        ensure!(got == number && number > 0, "field=number: the certified block is {got}, not {number}");
        let want = number.min(HEADERS);
        ensure!(headers.len() as u64 == want, "field=finalization.headers: got {} headers, not {want}", headers.len());
        let block = Block::decode(&self.block).wrap_err("field=block")?;
        ensure!(
            block.hash() == certificate.block_hash,
            "field=block: its hash is {}, the certified one is {}",
            block.hash(),
            certificate.block_hash
        );
        let receipts = self.receipts(&block)?;
        let senders = senders(&block)?;
        let (origin_certificate, origin) = self.origin.verify(chain_id, key).wrap_err("field=origin")?;
        let first = origin.last().filter(|header| header.number == 1);
        let first = first.ok_or_else(|| eyre!("field=origin: its last header is not that of block 1"))?;
        let genesis_hash = first.parent_hash;
        let last = origin.first().map_or(0, |header| header.number);
        ensure!(last <= number, "field=origin: its certificate is that of block {last}, above block {number}");
        let ascending = |headers: &[Header]| headers.iter().rev().cloned().collect::<Vec<_>>();
        let below = headers.get(1..).unwrap_or_default();
        let end = LoadEnd {
            block: Arc::new(block),
            senders,
            receipts,
            certificate,
            headers: ascending(below),
            origin: (ascending(&origin), origin_certificate),
        };
        Ok(Proven { end, genesis_hash })
    }

    fn receipts(&self, block: &Block) -> Result<Vec<Receipt>> {
        let (got, want) = (self.receipts.len(), block.transactions().len());
        ensure!(got == want, "field=receipts: got {got} for {want} transactions");
        let decode = |bytes: &Bytes| Receipt::decode_2718_exact(bytes).wrap_err("field=receipts");
        let receipts: Vec<Receipt> = self.receipts.iter().map(decode).collect::<Result<_>>()?;
        let (got, want) = (calculate_receipt_root(&receipts), block.header().receipts_root);
        ensure!(got == want, "field=receipts: their root is {got}, that of the block is {want}");
        Ok(receipts)
    }
}

fn senders(block: &Block) -> Result<Vec<Address>> {
    let recovered = recover_all(block.transactions().to_vec()).wrap_err("field=block: a signature gives no sender")?;
    Ok(recovered.iter().map(Recovered::signer).collect())
}

impl Finalization {
    fn verify(&self, chain_id: u64, key: &NetworkKey) -> Result<(Certificate, Vec<Header>)> {
        let count = self.headers.len() as u64;
        ensure!(count <= ORIGIN_HEADERS_MAX, "got {count} headers, at most {ORIGIN_HEADERS_MAX} are allowed");
        let certificate = Certificate::from(self.certificate);
        let headers = verify_finalization(&certificate, &self.headers, chain_id, key)?;
        Ok((certificate, headers))
    }
}
