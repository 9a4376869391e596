//! What a side of a channel keeps on its disk, and the order "disk first, then the message".
//!
//! # Design
//! A record is `version (1 byte) || kind (1 byte) || RLP || keccak256 of all before`. The hash finds torn writes and flipped bits: a side
//! that is unsure of its record must not sign. Whoever stores it writes a new file, syncs it and renames it.

use crate::limits::RECORD_BYTES_MAX;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Encodable};

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The customer's.
    Payer = 1,
    /// The provider's.
    Payee = 2,
}

/// Why a record cannot be used. Stop, and look at the disk: going on could sign twice or lose money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too short or too long to be one.
    #[error("a payment record has the wrong length: got_bytes={got_bytes} max_bytes={RECORD_BYTES_MAX}")]
    Length {
        /// Its length.
        got_bytes: usize,
    },
    /// It is torn or changed.
    #[error("a payment record is damaged: its hash does not fit")]
    Damaged,
    /// Another version of this program wrote it.
    #[error("unknown version of a payment record: got={got} known={VERSION}")]
    Version {
        /// The version found.
        got: u8,
    },
    /// It is the other side's.
    #[error("a payment record of the other side: got={got}")]
    Kind {
        /// The kind found.
        got: u8,
    },
    /// The hash fits, the content does not.
    #[error("a payment record says something impossible")]
    Malformed,
    /// It is about another channel, or another chain.
    #[error("a payment record of another channel: got={got} expected={expected}")]
    AnotherChannel {
        /// The channel in the record.
        got: B256,
        /// The channel asked for.
        expected: B256,
    },
}

/// A decision: a record for the disk, and a message that may leave once the record is there.
#[derive(Debug)]
#[must_use = "nothing is decided until the record is on the disk and the message is taken"]
pub struct Draft<T> {
    record: Vec<u8>,
    message: T,
}

impl<T> Draft<T> {
    pub(crate) const fn new(record: Vec<u8>, message: T) -> Self {
        Self { record, message }
    }

    /// What must be on the disk, synced, before [`Draft::saved`] is called.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Says that the record is on the disk, and hands the message out.
    #[allow(clippy::must_use_candidate, reason = "a draft without a message has nothing to hand out")]
    pub fn saved(self) -> T {
        self.message
    }
}

pub(crate) fn encode(kind: Kind, body: &impl Encodable) -> Vec<u8> {
    let mut bytes = vec![VERSION, kind as u8];
    body.encode(&mut bytes);
    let hash = keccak256(&bytes);
    bytes.extend_from_slice(hash.as_slice());
    bytes
}

pub(crate) fn decode<T: Decodable + Encodable>(kind: Kind, bytes: &[u8]) -> Result<T, Error> {
    let got_bytes = bytes.len();
    if got_bytes > RECORD_BYTES_MAX {
        return Err(Error::Length { got_bytes });
    }
    let (content, hash) = bytes.split_last_chunk::<32>().ok_or(Error::Length { got_bytes })?;
    let [version, found, body @ ..] = content else { return Err(Error::Length { got_bytes }) };
    if keccak256(content) != B256::from(*hash) {
        return Err(Error::Damaged);
    }
    if *version != VERSION {
        return Err(Error::Version { got: *version });
    }
    if *found != kind as u8 {
        return Err(Error::Kind { got: *found });
    }
    alloy_rlp::decode_exact(body).map_err(|_| Error::Malformed)
}
