//! A round: one owner's proof with all its devices at one height, as it is recorded, published and checked.
//!
//! # Design
//! The vectors of all devices are made of one value, that of the height after the *last* root of the round, and all rows are drawn by one value, that of
//! the height after the last vectors. So everything must be held at the same time, on every device: memory that is shown for one device cannot be used
//! again for the next. What a provider publishes ([`Published`]) is hostile; what the chain says of it ([`Facts`]) is not.
//! Spec: specs/0010-capability.md §6.5 to §6.7.
//!
//! # Invariants
//! [`check`] gives measurements only if every device of the round answered, in its own time, and every answer holds.

use super::{
    challenge::{Challenge, OPENED, Round, Shape, ShapeError, deadline_ms},
    verify::{self, Committed, Times, Verified, answer_bytes_max, prove_all, read_answer, verify},
};
use crate::record::{Attested, Proved, attested::STATEMENTS_MAX};
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

/// Devices of one round: the processor and all adapters.
pub const DEVICES_MAX: usize = 33;
/// Longest encoding of a round, bytes: several answers with the largest rows.
pub const PUBLISHED_BYTES_MAX: usize = 64 << 20;
/// The only version of the format.
pub const VERSION: u16 = 1;

/// Why a round proves nothing. Nothing of it is a fraud by itself but what [`Error::Answer`] says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any round.
    #[error("published round too long: got_bytes={got_bytes} max_bytes={PUBLISHED_BYTES_MAX}")]
    TooLong {
        /// Bytes received.
        got_bytes: usize,
    },
    /// Not the RLP list of the format.
    #[error("published round is not the expected RLP list: {0}")]
    Rlp(alloy_rlp::Error),
    /// Bytes follow the list.
    #[error("published round has trailing bytes: count={0}")]
    TrailingBytes(usize),
    /// A version that this program does not know.
    #[error("unknown version of a published round: got={got} expected={VERSION}")]
    Version {
        /// The version received.
        got: u16,
    },
    /// No device, too many, or one twice.
    #[error("devices of a round are not 1 to {DEVICES_MAX} strictly ascending: count={count}")]
    Devices {
        /// Devices named.
        count: usize,
    },
    /// More statements than a round can have.
    #[error("too many statements: count={count} max={STATEMENTS_MAX}")]
    Statements {
        /// Statements given.
        count: usize,
    },
    /// A round of somebody else.
    #[error("round is of another account: got={got} expected={expected}")]
    OtherProvider {
        /// The account in the round.
        got: Address,
        /// The account that was asked.
        expected: Address,
    },
    /// A size that no challenge has.
    #[error("device {device}: {error}")]
    Shape {
        /// The device.
        device: u8,
        /// What is wrong with it.
        error: ShapeError,
    },
    /// The device filled less than four fifths of what is claimed for it.
    #[error(
        "device {device} fills too little of what is claimed: filled_bytes={filled_bytes} claimed_mib={claimed_mib}"
    )]
    Memory {
        /// The device.
        device: u8,
        /// What its challenge fills.
        filled_bytes: u64,
        /// What is claimed.
        claimed_mib: u64,
    },
    /// The chain has no root, or no vectors, of a device.
    #[error("device {device} has not recorded its answer")]
    NotRecorded {
        /// The device.
        device: u8,
    },
    /// What was recorded has an order that cannot be: the vectors before the last root, a root before the challenge.
    #[error("device {device} recorded out of order: block={block} after={after}")]
    Order {
        /// The device.
        device: u8,
        /// The block.
        block: u64,
        /// What it must lie after.
        after: u64,
    },
    /// The answer of a device.
    #[error("device {device}: {error}")]
    Answer {
        /// The device.
        device: u8,
        /// Why it proves nothing.
        error: verify::Error,
    },
    /// The round as a whole.
    #[error("{0}")]
    Round(verify::Error),
}

/// One device of a published round.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct PublishedDevice {
    /// The device's number in the record.
    pub device: u8,
    /// Memory that is claimed of it in this proof, MiB.
    pub memory_mib: u64,
    /// Speed that is claimed of it, millions of multiplications with addition a second.
    pub mop_per_s: u64,
    /// Side of its matrices.
    pub side: u32,
    /// Its products.
    pub links: u32,
    /// The encoded answer ([`super::Answer`]).
    pub answer: Bytes,
}

/// What a provider gives to whoever asks for its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The provider.
    pub provider: Address,
    /// Height of the challenge.
    pub height: u64,
    /// Devices, strictly ascending, 1 to [`DEVICES_MAX`].
    pub devices: Vec<PublishedDevice>,
    /// Statements about this round so far, at most [`STATEMENTS_MAX`].
    pub statements: Vec<Attested>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Wire {
    version: u16,
    provider: Address,
    height: u64,
    devices: Vec<PublishedDevice>,
    statements: Vec<Attested>,
}

impl Published {
    /// The encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { provider, height, devices, statements } = self.clone();
        let mut out = Vec::new();
        Wire { version: VERSION, provider, height, devices, statements }.encode(&mut out);
        out
    }

    /// Decodes hostile bytes: length, structure, counts.
    ///
    /// # Errors
    /// [`Error::TooLong`] to [`Error::Statements`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > PUBLISHED_BYTES_MAX {
            return Err(Error::TooLong { got_bytes: bytes.len() });
        }
        let mut rest = bytes;
        let Wire { version, provider, height, devices, statements } = Wire::decode(&mut rest).map_err(Error::Rlp)?;
        if !rest.is_empty() {
            return Err(Error::TrailingBytes(rest.len()));
        }
        if version != VERSION {
            return Err(Error::Version { got: version });
        }
        let count = devices.len();
        if count == 0 || count > DEVICES_MAX || !devices.is_sorted_by(|a, b| a.device < b.device) {
            return Err(Error::Devices { count });
        }
        if statements.len() > STATEMENTS_MAX {
            return Err(Error::Statements { count: statements.len() });
        }
        Ok(Self { provider, height, devices, statements })
    }

    /// The challenges that this round answers, in the order of its devices.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Memory`].
    pub fn challenges(&self, round: Round) -> Result<Vec<Challenge>, Error> {
        self.devices.iter().map(|device| device.challenge(self.provider, round)).collect()
    }
}

impl PublishedDevice {
    fn challenge(&self, provider: Address, round: Round) -> Result<Challenge, Error> {
        let device = self.device;
        let shape = Shape::new(self.side, self.links).map_err(|error| Error::Shape { device, error })?;
        let claimed = self.memory_mib.saturating_mul(1 << 20);
        let (filled_bytes, claimed_mib) = (shape.memory_bytes(), self.memory_mib);
        if filled_bytes.saturating_mul(5) < claimed.saturating_mul(4) {
            return Err(Error::Memory { device, filled_bytes, claimed_mib });
        }
        let Round { chain_id, height, time_s, beacon } = round;
        let deadline_ms = deadline_ms(shape, self.mop_per_s);
        Ok(Challenge { chain_id, height, time_s, beacon, provider, device, shape, opened: OPENED, deadline_ms })
    }
}

/// What the chain holds of one challenge, with the times of the blocks in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Root over the rows.
    pub root: B256,
    /// Its block.
    pub root_block: u64,
    /// Time of that block.
    pub root_ms: u64,
    /// Root over the vectors.
    pub vectors_root: B256,
    /// Its block.
    pub vectors_block: u64,
    /// Time of that block.
    pub vectors_ms: u64,
}

/// The height whose randomness makes the vectors of all devices: the one after the last root.
#[must_use]
pub fn vectors_height(root_blocks: impl IntoIterator<Item = u64>) -> Option<u64> {
    root_blocks.into_iter().max()?.checked_add(1)
}

/// The height whose randomness draws rows and checkers: the one after the last vectors.
#[must_use]
pub fn rows_height(vectors_blocks: impl IntoIterator<Item = u64>) -> Option<u64> {
    vectors_blocks.into_iter().max()?.checked_add(1)
}

/// What a reader found on the chain, and what it measured itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where and when the challenge was.
    pub round: Round,
    /// Time of the challenge's block, Unix milliseconds.
    pub challenge_ms: u64,
    /// What each device recorded, in the order of the devices.
    pub recorded: Vec<Recorded>,
    /// Time of the block of [`vectors_height`], Unix milliseconds.
    pub vectors_from_ms: u64,
    /// Randomness of that height.
    pub vector_beacon: B256,
    /// Randomness of [`rows_height`].
    pub rows_beacon: B256,
    /// From the request to the last byte of what was published, milliseconds.
    pub answer_ms: u64,
}

/// Checks a round against the chain; `checker` is who will sign. Hashes all that was opened, and about `400 * side` steps a device.
///
/// # Errors
/// [`Error`], the first that is found: cheap checks of all devices come first.
pub fn check(published: &Published, facts: &Facts, checker: Address) -> Result<Vec<Proved>, Error> {
    let challenges = published.challenges(facts.round)?;
    for (challenge, device) in challenges.iter().zip(&published.devices) {
        let (got_bytes, max_bytes) = (device.answer.len(), answer_bytes_max(challenge));
        if got_bytes > max_bytes {
            return Err(Error::Answer {
                device: device.device,
                error: verify::Error::TooLong { got_bytes, max_bytes },
            });
        }
    }
    let vectors_height = vectors_height(facts.recorded.iter().map(|entry| entry.root_block)).unwrap_or(u64::MAX);
    let mut verified: Vec<Verified> = Vec::new();
    for ((challenge, device), index) in challenges.iter().zip(&published.devices).zip(0usize..) {
        let device_number = device.device;
        let entry = facts.recorded.get(index).ok_or(Error::NotRecorded { device: device_number })?;
        let times = times(challenge, entry, facts, vectors_height)?;
        let committed = Committed {
            root: entry.root,
            vector_beacon: facts.vector_beacon,
            vectors_root: entry.vectors_root,
            rows_beacon: facts.rows_beacon,
        };
        let wrong = |error| Error::Answer { device: device_number, error };
        let answer = read_answer(challenge, &device.answer).map_err(wrong)?;
        verified.push(verify(challenge, committed, &answer, times).map_err(wrong)?);
    }
    prove_all(&challenges, &verified, checker).map_err(Error::Round)
}

fn times(challenge: &Challenge, entry: &Recorded, facts: &Facts, vectors_height: u64) -> Result<Times, Error> {
    let device = challenge.device;
    if entry.root.is_zero() || entry.vectors_root.is_zero() {
        return Err(Error::NotRecorded { device });
    }
    for (block, after) in [(entry.root_block, challenge.height), (entry.vectors_block, vectors_height)] {
        if block <= after {
            return Err(Error::Order { device, block, after });
        }
    }
    Ok(Times {
        root_ms: entry.root_ms.saturating_sub(facts.challenge_ms),
        vectors_ms: entry.vectors_ms.saturating_sub(facts.vectors_from_ms),
        answer_ms: facts.answer_ms,
    })
}
