//! Certificates of blocks, of which some come before their blocks.

use crate::{cache::lock, error::Error, record, store::Store, tables::malformed};
use keystead_types::Certificate;

/// How far above the head a certificate is kept. Certificates come before their blocks while a node catches up.
const CERTIFICATES_AHEAD_MAX: u64 = 4_096;

impl Store {
    /// Stores a certificate of the block at a height; a later one replaces it. It survives a crash of the process at
    /// once, and one of the machine after the next commit.
    ///
    /// A certificate above the head is kept until its block comes, and dropped then if it names another block.
    ///
    /// Trust: the signature was verified by the caller.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another block stands at this height, [`Error::TooFarAhead`]: nothing was written.
    pub fn put_certificate(&self, number: u64, certificate: Certificate) -> Result<(), Error> {
        // Against a commit of this height in between, which would not see the certificate.
        let writer = lock(&self.inner.writer);
        let head = self.head().number;
        if number > head.saturating_add(CERTIFICATES_AHEAD_MAX) {
            return Err(Error::TooFarAhead { number, head, ahead_max: CERTIFICATES_AHEAD_MAX });
        }
        if let Some(committed) = self.hash_of(number)?.filter(|hash| *hash != certificate.block_hash) {
            return Err(Error::Conflict { number, committed, got: certificate.block_hash });
        }
        let table = &self.inner.shared.tables.certificates;
        table.insert(number.to_be_bytes(), record::encode_certificate(&certificate))?;
        drop(writer);
        if number <= head {
            self.tell_listeners();
        }
        Ok(())
    }

    /// The certificate of the committed block at a height, if it has one of its own.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn certificate(&self, number: u64) -> Result<Option<Certificate>, Error> {
        if number > self.head().number { Ok(None) } else { self.early_certificate(number) }
    }

    /// The certificate at a height, whether the block is there or not.
    pub(crate) fn early_certificate(&self, number: u64) -> Result<Option<Certificate>, Error> {
        let tables = &self.inner.shared.tables;
        let (table, key) = (&tables.certificates, number.to_be_bytes());
        let Some(bytes) = table.get(key)? else { return Ok(None) };
        record::decode_certificate(&bytes).map(Some).ok_or_else(|| malformed(table, &key))
    }

    /// The lowest certificate of a committed block at or above a height, with its height.
    ///
    /// # Errors
    /// As [`Self::certificate`].
    pub fn certificate_at_or_above(&self, number: u64) -> Result<Option<(u64, Certificate)>, Error> {
        let head = self.head().number;
        if number > head {
            return Ok(None);
        }
        let table = &self.inner.shared.tables.certificates;
        let Some(entry) = table.range(number.to_be_bytes()..=head.to_be_bytes()).next() else { return Ok(None) };
        let (key, bytes) = entry.into_inner()?;
        let found = record::decode_height(&key).zip(record::decode_certificate(&bytes));
        found.map(Some).ok_or_else(|| malformed(table, &key))
    }

    /// The highest certificate of a committed block at or below a height, with its height.
    ///
    /// # Errors
    /// As [`Self::certificate`].
    pub fn certificate_at_or_below(&self, number: u64) -> Result<Option<(u64, Certificate)>, Error> {
        let table = &self.inner.shared.tables.certificates;
        let top = number.min(self.head().number).to_be_bytes();
        let Some(entry) = table.range(0_u64.to_be_bytes()..=top).next_back() else { return Ok(None) };
        let (key, bytes) = entry.into_inner()?;
        let found = record::decode_height(&key).zip(record::decode_certificate(&bytes));
        found.map(Some).ok_or_else(|| malformed(table, &key))
    }
}
