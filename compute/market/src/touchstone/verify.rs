//! The check of an answer, and what it proves: never of one device alone, only of all that an owner was challenged for.
//!
//! # Invariants
//! A [`Proved`] comes out of [`prove_all`] only if every challenge of the round was answered in its own time, at one height.

use super::{
    arithmetic::{dot, mix, seeded_row, to_words},
    challenge::Challenge,
    prover::{Answer, needed},
    tree::{PATH_MAX, root_of},
};
use crate::{
    band::{Band, Bands},
    record::{Proved, Statement},
    table::TRANSFER_BYTES_MIN,
};
use alloy_primitives::{Address, B256};
use alloy_rlp::Decodable;
use keystead_job::blob_hash;
use std::collections::BTreeMap;

/// How much longer than the vectors the products must have taken, so that the memory counts: more than a quarter of the matrices cannot
/// have been made again.
pub const KEPT_RATIO: u64 = 4;

/// Why an answer proves nothing. *Late* and *missing* are no fraud; the others are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The root came after the deadline.
    #[error("answer is late: took_ms={took_ms} deadline_ms={deadline_ms}")]
    Late {
        /// From the challenge's block to the root's, milliseconds.
        took_ms: u64,
        /// Allowed.
        deadline_ms: u64,
    },
    /// The vectors' root came after its deadline.
    #[error("vectors are late: took_ms={took_ms} deadline_ms={deadline_ms}")]
    LateVectors {
        /// From the beacon's block to the root's, milliseconds.
        took_ms: u64,
        /// Allowed.
        deadline_ms: u64,
    },
    /// Longer than any answer to this challenge.
    #[error("answer too long: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLong {
        /// Bytes received.
        got_bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// Not the RLP list of the format.
    #[error("answer is not the expected RLP list: {0}")]
    Rlp(alloy_rlp::Error),
    /// Bytes follow the list.
    #[error("answer has trailing bytes: count={0}")]
    TrailingBytes(usize),
    /// Other rows than those drawn, or in another order.
    #[error("answer opens other rows than those drawn: got={got} expected={expected}")]
    OtherRows {
        /// Rows given.
        got: usize,
        /// Rows needed.
        expected: usize,
    },
    /// Other vectors than those needed.
    #[error("answer opens other vectors than those needed: got={got} expected={expected}")]
    OtherVectors {
        /// Vectors given.
        got: usize,
        /// Vectors needed.
        expected: usize,
    },
    /// A row or vector of another length.
    #[error("opened bytes have the wrong length: got={got} expected={expected}")]
    Length {
        /// Bytes given.
        got: usize,
        /// Bytes of a row.
        expected: usize,
    },
    /// A row that is not under the root.
    #[error("row is not under the root: index={index}")]
    RowPath {
        /// The row.
        index: u32,
    },
    /// A vector that is not under its root.
    #[error("vector is not under its root: link={link}")]
    VectorPath {
        /// The vector.
        link: u32,
    },
    /// The vector is not the product of the row's matrix.
    #[error("vector does not belong to the matrix: link={link} row={row}")]
    Vector {
        /// The product.
        link: u32,
        /// The row.
        row: u32,
    },
    /// The row is not that of the product.
    #[error("row is not that of the product: link={link} row={row}")]
    Product {
        /// The product.
        link: u32,
        /// The row.
        row: u32,
    },
    /// A device of the round has no verified answer.
    #[error("a device of the round did not answer: provider={provider} device={device}")]
    Missing {
        /// The provider.
        provider: Address,
        /// The device.
        device: u8,
    },
    /// Two challenges of a round with different beacon values.
    #[error("challenges of one round have different beacon values: height={got} first={expected}")]
    OtherRound {
        /// The height of one.
        got: u64,
        /// The height of the first.
        expected: u64,
    },
}

/// What was committed, and the beacon values that came after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Root over the rows.
    pub root: B256,
    /// Value of a height after that at which the root became final.
    pub vector_beacon: B256,
    /// Root over the vectors.
    pub vectors_root: B256,
    /// Value of a height after that at which the vectors' root became final.
    pub rows_beacon: B256,
}

/// What the caller measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the challenge's block to the root's, milliseconds; so throughput is never overstated.
    pub root_ms: u64,
    /// From the block of the vectors' beacon value to the block of their root, milliseconds.
    pub vectors_ms: u64,
    /// From the request for the rows to the last byte of the answer, milliseconds.
    pub answer_ms: u64,
}

/// One device's answer that held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    challenge: B256,
    bands: Bands,
}

impl Verified {
    /// The challenge's id.
    #[must_use]
    pub const fn challenge(&self) -> B256 {
        self.challenge
    }

    /// What was measured.
    #[must_use]
    pub const fn bands(&self) -> Bands {
        self.bands
    }
}

/// Decodes the bytes of an answer to this challenge: length first, so that nothing is allocated for a flood.
///
/// # Errors
/// [`Error::TooLong`], [`Error::Rlp`], [`Error::TrailingBytes`].
pub fn read_answer(challenge: &Challenge, bytes: &[u8]) -> Result<Answer, Error> {
    let max_bytes = answer_bytes_max(challenge);
    if bytes.len() > max_bytes {
        return Err(Error::TooLong { got_bytes: bytes.len(), max_bytes });
    }
    let mut rest = bytes;
    let answer = Answer::decode(&mut rest).map_err(Error::Rlp)?;
    if rest.is_empty() { Ok(answer) } else { Err(Error::TrailingBytes(rest.len())) }
}

/// Longest encoding of an answer, bytes: two rows and two vectors for each draw, and 1,024 bytes for each path of at most 27 hashes.
#[must_use]
pub fn answer_bytes_max(challenge: &Challenge) -> usize {
    let one = (challenge.shape.side() as usize).wrapping_mul(4).wrapping_add(1_024);
    (challenge.opened() as usize).wrapping_mul(4).wrapping_mul(one)
}

/// Checks one answer: time, shape, paths, then the arithmetic of every drawn row. About `3 * opened * side` steps and the hashes of the
/// opened bytes. The answer is hostile.
///
/// # Errors
/// [`Error`], the first that is found.
pub fn verify(challenge: &Challenge, committed: Committed, answer: &Answer, times: Times) -> Result<Verified, Error> {
    if times.root_ms > challenge.deadline_ms {
        return Err(Error::Late { took_ms: times.root_ms, deadline_ms: challenge.deadline_ms });
    }
    let deadline_ms = challenge.shape.vectors_deadline_ms();
    if times.vectors_ms > deadline_ms {
        return Err(Error::LateVectors { took_ms: times.vectors_ms, deadline_ms });
    }
    let drawn = challenge.draw(committed.root, committed.vectors_root, committed.rows_beacon);
    let opened = Opened::read(challenge, committed, answer, &drawn)?;
    let side = challenge.shape.side();
    let (key, vector_key) = (challenge.key(), challenge.vector_key(committed.root, committed.vector_beacon));
    let mut vectors: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (link, row) in drawn {
        let at = link.wrapping_mul(side).wrapping_add(row);
        let factor: Vec<u32> = match link.checked_sub(1) {
            None => seeded_row(&key, row, side),
            Some(before) => opened.row(before.wrapping_mul(side).wrapping_add(row)).iter().copied().map(mix).collect(),
        };
        let vector = vectors.entry(link).or_insert_with(|| seeded_row(&vector_key, link, side));
        let product = opened.vector(link);
        if product.get(row as usize) != Some(&dot(&factor, vector)) {
            return Err(Error::Vector { link, row });
        }
        if dot(opened.row(at), vector) != dot(&factor, product) {
            return Err(Error::Product { link, row });
        }
        // The result, too, must have been there as a whole when the vectors came.
        let result: Vec<u32> = opened.row(at).iter().copied().map(mix).collect();
        let above = link.wrapping_add(1);
        let vector = vectors.entry(above).or_insert_with(|| seeded_row(&vector_key, above, side));
        if opened.vector(above).get(row as usize) != Some(&dot(&result, vector)) {
            return Err(Error::Vector { link: above, row });
        }
    }
    Ok(Verified { challenge: challenge.id(), bands: measured(challenge, answer.bytes(), times) })
}

fn measured(challenge: &Challenge, bytes: u64, times: Times) -> Bands {
    let shape = challenge.shape;
    // Steps in a millisecond are thousands a second; a million a second are a thousandth of that.
    let mop_per_s = shape.work().checked_div(times.root_ms.max(1).saturating_mul(1_000)).unwrap_or(0);
    let kib_per_s = bytes.saturating_mul(1_000).checked_div(times.answer_ms.max(1).saturating_mul(1_024)).unwrap_or(0);
    // Who could do a good part of the chain again before the vectors were due need not have kept it.
    let kept = times.root_ms >= times.vectors_ms.saturating_mul(KEPT_RATIO);
    Bands {
        throughput: Band::of(mop_per_s),
        memory: if kept { Band::of(shape.memory_bytes().wrapping_shr(20)) } else { None },
        bandwidth: if bytes >= TRANSFER_BYTES_MIN { Band::of(kib_per_s) } else { None },
    }
}

/// Rows and vectors whose paths hold.
struct Opened {
    rows: BTreeMap<u32, Vec<u32>>,
    vectors: BTreeMap<u32, Vec<u32>>,
}

impl Opened {
    fn read(challenge: &Challenge, committed: Committed, answer: &Answer, drawn: &[(u32, u32)]) -> Result<Self, Error> {
        let shape = challenge.shape;
        let (rows, links) = needed(drawn, shape.side());
        if !answer.rows.iter().map(|row| row.index).eq(rows.iter().copied()) {
            return Err(Error::OtherRows { got: answer.rows.len(), expected: rows.len() });
        }
        if !answer.vectors.iter().map(|vector| vector.link).eq(links.iter().copied()) {
            return Err(Error::OtherVectors { got: answer.vectors.len(), expected: links.len() });
        }
        let expected = (shape.side() as usize).wrapping_mul(4);
        let lengths = answer.rows.iter().map(|row| row.bytes.len());
        let lengths = lengths.chain(answer.vectors.iter().map(|vector| vector.bytes.len()));
        if let Some(got) = lengths.into_iter().find(|got| *got != expected) {
            return Err(Error::Length { got, expected });
        }
        let under = |index, count, bytes: &[u8], path: &[B256], root| {
            path.len() <= PATH_MAX && root_of(index, count, blob_hash(bytes), path) == Some(root)
        };
        for row in &answer.rows {
            if !under(row.index, shape.rows(), &row.bytes, &row.path, committed.root) {
                return Err(Error::RowPath { index: row.index });
            }
        }
        for vector in &answer.vectors {
            if !under(vector.link, shape.links().saturating_add(1), &vector.bytes, &vector.path, committed.vectors_root)
            {
                return Err(Error::VectorPath { link: vector.link });
            }
        }
        Ok(Self {
            rows: answer.rows.iter().map(|row| (row.index, to_words(&row.bytes))).collect(),
            vectors: answer.vectors.iter().map(|vector| (vector.link, to_words(&vector.bytes))).collect(),
        })
    }

    /// What was needed was read.
    fn row(&self, index: u32) -> &[u32] {
        self.rows.get(&index).map(Vec::as_slice).unwrap_or_default()
    }

    fn vector(&self, link: u32) -> &[u32] {
        self.vectors.get(&link).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What a round proves: nothing unless every device of it answered, all for one beacon value. `checker` signs it later, if others shall
/// believe it.
///
/// # Errors
/// [`Error::OtherRound`], [`Error::Missing`].
pub fn prove_all(round: &[Challenge], verified: &[Verified], checker: Address) -> Result<Vec<Proved>, Error> {
    let Some(first) = round.first() else { return Ok(Vec::new()) };
    let mut proved = Vec::new();
    for challenge in round {
        if (challenge.chain_id, challenge.height, challenge.beacon) != (first.chain_id, first.height, first.beacon) {
            return Err(Error::OtherRound { got: challenge.height, expected: first.height });
        }
        let id = challenge.id();
        let (provider, device) = (challenge.provider, challenge.device);
        let answer = verified.iter().find(|verified| verified.challenge == id);
        let Verified { bands, .. } = answer.ok_or(Error::Missing { provider, device })?;
        let (height, time_s) = (challenge.height, challenge.time_s);
        proved.push(Proved::checked(Statement {
            provider,
            device,
            challenge: id,
            height,
            time_s,
            bands: *bands,
            checker,
        }));
    }
    Ok(proved)
}
