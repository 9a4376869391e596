//! The files of a snapshot that is being written.

use super::manifest::{ChunkEntry, GENESIS, MANIFEST, Manifest, chunk_name};
use alloy_primitives::keccak256;
use eyre::{Context as _, Result, ensure};
use keystead_state::Chunk;
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// How often the command says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A folder without a manifest yet.
pub(super) struct Writer<'o> {
    out: &'o Path,
    chunks: Vec<ChunkEntry>,
    bytes: u64,
    told: Instant,
}

impl<'o> Writer<'o> {
    /// Begins in a folder that is not there or empty.
    ///
    /// # Errors
    /// It holds something, or cannot be written.
    pub(super) fn new(out: &'o Path, genesis_json: &str) -> Result<Self> {
        fs::create_dir_all(out).wrap_err_with(|| format!("cannot make {}", out.display()))?;
        let empty = fs::read_dir(out).wrap_err_with(|| format!("cannot read {}", out.display()))?.next().is_none();
        ensure!(empty, "{} is not empty: name another folder with --out", out.display());
        write(&out.join(GENESIS), genesis_json.as_bytes())?;
        Ok(Self { out, chunks: Vec::new(), bytes: 0, told: Instant::now() })
    }

    /// Writes the next chunk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn put(&mut self, chunk: &Chunk) -> Result<()> {
        let index = self.chunks.len() as u64;
        write(&self.out.join(chunk_name(index)), &chunk.packed)?;
        let bytes = chunk.packed.len() as u64;
        self.bytes = self.bytes.saturating_add(bytes);
        self.chunks.push(ChunkEntry {
            section: chunk.section.name().to_owned(),
            entries: chunk.entries,
            raw_bytes: chunk.raw_bytes,
            bytes,
            hash: keccak256(&chunk.packed),
        });
        if self.told.elapsed() >= PROGRESS_EVERY {
            let (section, chunks) = (chunk.section.name(), index.saturating_add(1));
            tracing::info!(section, chunks, bytes = self.bytes, "writing the snapshot");
            self.told = Instant::now();
        }
        Ok(())
    }

    /// Writes the manifest, with the chunks that were put; their number and bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(self, manifest: Manifest) -> Result<(u64, u64)> {
        let (count, out) = (self.chunks.len() as u64, self.out);
        let manifest = Manifest { chunks: self.chunks, ..manifest };
        // Last, and aside first: a folder that has a manifest is whole.
        let draft = out.join("manifest.new");
        write(&draft, serde_json::to_string(&manifest)?.as_bytes())?;
        fs::rename(&draft, out.join(MANIFEST)).wrap_err_with(|| format!("cannot write {}", out.display()))?;
        File::open(out)?.sync_all()?;
        Ok((count, self.bytes))
    }
}

/// Writes a file, synced.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("cannot write {}: is the disk full?", path.display());
    let mut file = File::create(path).wrap_err_with(context)?;
    file.write_all(bytes).wrap_err_with(context)?;
    file.sync_all().wrap_err_with(context)
}
