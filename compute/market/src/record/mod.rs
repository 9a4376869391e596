//! The capability record: what a provider says about its machine, and what others measured, under the hash that it lists on chain.
//!
//! # Design
//! The register holds 32 bytes; the record itself comes from the provider's endpoint and is hostile until it hashes to them. The hash binds
//! it to the account, so it needs no signature of its own. Claims ([`claimed`]) and measurements ([`attested`]) are different types.
//!
//! # Invariants
//! A [`Record`] passed every check of specs/0010-capability.md. `decode(encode(x)) == x`, and no other bytes decode to `x`.

pub mod attested;
pub mod claimed;
pub mod sets;
mod text;

pub use attested::{Attested, NotProved, Proved, Statement, Trust};
pub use claimed::{Adapter, Claimed, HardwareClass};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use core::ops::Deref;
use serde::{Deserialize, Serialize};
use sets::Kernel;

/// The only version of the format.
pub const VERSION: u16 = 1;
/// Longest encoding accepted, bytes: a full machine with 32 adapters and all measurements has less.
pub const ENCODED_BYTES_MAX: usize = 32_768;
/// Measurements in one record: three checkers' for each device.
pub const ATTESTED_MAX: usize = attested::STATEMENTS_MAX;
const HASH_DOMAIN: &[u8] = b"keystead/capability/v1";

/// Why bytes are no capability record. The provider was wrong; nothing to retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any valid one.
    #[error("capability record too long: got_bytes={got_bytes} max_bytes={ENCODED_BYTES_MAX}")]
    TooLong {
        /// Bytes received.
        got_bytes: usize,
    },
    /// Not the RLP list of the format.
    #[error("capability record is not the expected RLP list: {0}")]
    Rlp(alloy_rlp::Error),
    /// Bytes follow the list.
    #[error("capability record has trailing bytes: count={0}")]
    TrailingBytes(usize),
    /// Readable, but its one encoding is another.
    #[error("capability record is not in its canonical encoding")]
    NotCanonical,
    /// A version that this program does not know.
    #[error("unknown capability record version: got={got} expected={VERSION}")]
    Version {
        /// The version received.
        got: u16,
    },
    /// The bytes are not those that the provider listed on chain.
    #[error("capability record has another hash than the listed one: got={got} listed={listed}")]
    OtherHash {
        /// Hash of the bytes.
        got: B256,
        /// Hash on chain.
        listed: B256,
    },
    /// The record of somebody else.
    #[error("capability record is of another account: got={got} expected={expected}")]
    OtherAccount {
        /// The account in the record.
        got: Address,
        /// The account that listed the hash.
        expected: Address,
    },
    /// A number outside its range.
    #[error("out of range: {name}={got} min={min} max={max}")]
    OutOfRange {
        /// The field.
        name: &'static str,
        /// The value given.
        got: u64,
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// A list or text that is too short or too long.
    #[error("wrong length: {name} has {got} min={min} max={max}")]
    Count {
        /// The field.
        name: &'static str,
        /// Items or bytes given.
        got: usize,
        /// The least allowed.
        min: usize,
        /// The greatest allowed.
        max: usize,
    },
    /// A list that is not strictly ascending: unordered, or something twice.
    #[error("not strictly ascending: {name}")]
    NotAscending {
        /// The field.
        name: &'static str,
    },
    /// Characters that this field does not take.
    #[error("characters that are not allowed: {name}")]
    Characters {
        /// The field.
        name: &'static str,
    },
    /// Software on the processor that claims to be a GPU.
    #[error("a program on the processor cannot be offered as a GPU: {name:?}")]
    SoftwareAsGpu {
        /// The adapter's name.
        name: String,
    },
    /// A speed for work that the device does not do.
    #[error("this device does no work of this kind: {kernel}")]
    WrongKernel {
        /// The kind of work.
        kernel: Kernel,
    },
    /// A price above what the register takes.
    #[error("price of a unit is too high: got={got}")]
    PriceTooHigh {
        /// The price given, smallest units.
        got: U256,
    },
    /// Measurements of two rounds: devices that were measured one after the other may be one.
    #[error("measurements of one record are of different heights: got={got} first={expected}")]
    OtherRound {
        /// A height.
        got: u64,
        /// The height of the first.
        expected: u64,
    },
    /// A measurement of a device that the record does not have.
    #[error("measurement of a device that is not there: device={device} devices={devices}")]
    NoSuchDevice {
        /// The device named.
        device: u8,
        /// Devices of the record.
        devices: usize,
    },
}

/// The fields of a record before they are checked together. Read them through [`Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// The account that lists the record's hash.
    pub provider: Address,
    /// Height at which the record was written.
    pub issued_height: u64,
    /// What the provider says.
    pub claimed: Claimed,
    /// What others measured, strictly ascending by device and checker, all at one height: at most [`ATTESTED_MAX`].
    pub attested: Vec<Attested>,
}

/// A checked record. Its fields are read through `Deref` to [`Draft`]; they cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Draft", into = "Draft")]
pub struct Record(Draft);

#[derive(RlpEncodable, RlpDecodable)]
struct Wire {
    version: u16,
    provider: Address,
    issued_height: u64,
    claimed: Claimed,
    attested: Vec<Attested>,
}

impl Record {
    /// Checks every bound of specs/0010-capability.md.
    ///
    /// # Errors
    /// The first [`Error`] in the order of the fields.
    pub fn new(draft: Draft) -> Result<Self, Error> {
        draft.claimed.check()?;
        text::count("attested", draft.attested.len(), 0, ATTESTED_MAX)?;
        let devices = draft.claimed.adapters.len().saturating_add(1);
        let expected = draft.attested.first().map(|entry| entry.statement.height).unwrap_or_default();
        for entry in &draft.attested {
            let Statement { provider, device, height: got, .. } = entry.statement;
            if got != expected {
                return Err(Error::OtherRound { got, expected });
            }
            if usize::from(device) >= devices {
                return Err(Error::NoSuchDevice { device, devices });
            }
            if provider != draft.provider {
                return Err(Error::OtherAccount { got: provider, expected: draft.provider });
            }
        }
        text::ascending(
            "attested",
            draft.attested.iter().map(|entry| (entry.statement.device, entry.statement.checker)),
        )?;
        let record = Self(draft);
        let got_bytes = record.encode().len();
        if got_bytes > ENCODED_BYTES_MAX { Err(Error::TooLong { got_bytes }) } else { Ok(record) }
    }

    /// The canonical encoding, at most [`ENCODED_BYTES_MAX`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Draft { provider, issued_height, claimed, attested } = self.0.clone();
        let mut out = Vec::new();
        Wire { version: VERSION, provider, issued_height, claimed, attested }.encode(&mut out);
        out
    }

    /// Decodes hostile bytes: length, structure, ranges, canonical form.
    ///
    /// # Errors
    /// Every [`Error`] but those of [`Record::listed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(Error::TooLong { got_bytes: bytes.len() });
        }
        let mut rest = bytes;
        let wire = Wire::decode(&mut rest).map_err(Error::Rlp)?;
        if !rest.is_empty() {
            return Err(Error::TrailingBytes(rest.len()));
        }
        let Wire { version, provider, issued_height, claimed, attested } = wire;
        if version != VERSION {
            return Err(Error::Version { got: version });
        }
        let record = Self::new(Draft { provider, issued_height, claimed, attested })?;
        // The RLP reader already refuses long forms; this makes the property independent of the library's care.
        if record.encode() == bytes { Ok(record) } else { Err(Error::NotCanonical) }
    }

    /// Decodes the bytes that an endpoint gave for a listing: they must have the listed hash and name the account.
    ///
    /// # Errors
    /// [`Error::OtherHash`] before anything is parsed, then those of [`Record::decode`], then [`Error::OtherAccount`].
    pub fn listed(bytes: &[u8], account: Address, listed: B256) -> Result<Self, Error> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(Error::TooLong { got_bytes: bytes.len() });
        }
        let got = hash_of(bytes);
        if got != listed {
            return Err(Error::OtherHash { got, listed });
        }
        let record = Self::decode(bytes)?;
        if record.provider == account {
            Ok(record)
        } else {
            Err(Error::OtherAccount { got: record.provider, expected: account })
        }
    }

    /// The capability hash: `keccak256("keystead/capability/v1" || encoding)`.
    #[must_use]
    pub fn hash(&self) -> B256 {
        hash_of(&self.encode())
    }

    /// The measurements that this reader believes; the others are left out. One checker alone may lie: [`attested::agreed`] joins them.
    #[must_use]
    pub fn proved(&self, trust: Trust<'_>) -> Vec<Proved> {
        self.attested.iter().filter_map(|entry| entry.prove(self.provider, trust).ok()).collect()
    }
}

fn hash_of(encoded: &[u8]) -> B256 {
    keccak256([HASH_DOMAIN, encoded].concat())
}

impl Deref for Record {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.0
    }
}

impl TryFrom<Draft> for Record {
    type Error = Error;

    fn try_from(draft: Draft) -> Result<Self, Error> {
        Self::new(draft)
    }
}

impl From<Record> for Draft {
    fn from(record: Record) -> Self {
        record.0
    }
}
