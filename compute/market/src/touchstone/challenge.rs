//! A challenge: its size, its seeds and its deadline, all of which anybody can compute again.
//!
//! Spec: specs/0010-capability.md §6.1.

use super::arithmetic::{Key, key_of};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::{Encodable, RlpEncodable};

/// Smallest side of a matrix.
pub const SIDE_MIN: u32 = 16;
/// Largest side: a matrix of 256 MiB.
pub const SIDE_MAX: u32 = 8_192;
/// Products of one chain.
pub const LINKS_MAX: u32 = 16_384;
/// Rows opened of one answer.
pub const OPENED_MAX: u32 = 256;
/// Rows opened unless asked for others: with one per cent wrong rows, 72 of 100 answers are caught.
pub const OPENED: u32 = 128;
/// Added to every deadline: blocks, messages and hashing.
pub const GRACE_MS: u64 = 5_000;
const DOMAIN: &[u8] = b"keystead/touchstone/v1";
const VECTOR_DOMAIN: &[u8] = b"keystead/touchstone/vector/v1";
const ROWS_DOMAIN: &[u8] = b"keystead/touchstone/rows/v1";

/// A shape outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The side is no power of two from 16 to 8,192.
    #[error("side of a matrix must be a power of two: got={0} min={SIDE_MIN} max={SIDE_MAX}")]
    Side(u32),
    /// No product, or too many.
    #[error("number of products out of range: got={got} min=1 max={LINKS_MAX}")]
    Links {
        /// Products needed.
        got: u64,
    },
    /// No matrix fits the binding.
    #[error("no matrix fits a binding of {0} bytes")]
    Binding(u64),
}

/// How large a chain is. `links` matrices of `side * side` words are kept until they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    side: u32,
    links: u32,
}

impl Shape {
    /// A shape within its bounds.
    ///
    /// # Errors
    /// [`ShapeError::Side`], [`ShapeError::Links`].
    pub const fn new(side: u32, links: u32) -> Result<Self, ShapeError> {
        if !side.is_power_of_two() || side < SIDE_MIN || side > SIDE_MAX {
            return Err(ShapeError::Side(side));
        }
        if links == 0 || links > LINKS_MAX {
            return Err(ShapeError::Links { got: links as u64 });
        }
        Ok(Self { side, links })
    }

    /// The shape that fills at least four fifths of a memory with matrices that fit a binding each: the largest side up to 4,096 that
    /// leaves at least two products, or a larger one if the products would be too many.
    ///
    /// # Errors
    /// [`ShapeError::Binding`], [`ShapeError::Links`] for a memory that no chain fills.
    pub fn filling(memory_bytes: u64, binding_bytes_max: u64) -> Result<Self, ShapeError> {
        // Four fifths, rounded up.
        let wanted = memory_bytes.saturating_sub(memory_bytes.wrapping_div(5));
        let links = |side: u32| wanted.div_ceil(matrix_bytes(side)).max(1);
        let fits = |side: &u32| matrix_bytes(*side) <= binding_bytes_max;
        let sides: Vec<u32> =
            (SIDE_MIN.ilog2()..=SIDE_MAX.ilog2()).map(|bit| 1u32.wrapping_shl(bit)).filter(fits).collect();
        let smallest = sides.first().copied().ok_or(ShapeError::Binding(binding_bytes_max))?;
        let side = sides.iter().rev().copied().find(|side| *side <= 4_096 && links(*side) >= 2).unwrap_or(smallest);
        let side = sides.iter().copied().find(|larger| *larger >= side && links(*larger) <= u64::from(LINKS_MAX));
        let largest = sides.last().copied().unwrap_or(smallest);
        let side = side.ok_or_else(|| ShapeError::Links { got: links(largest) })?;
        Self::new(side, u32::try_from(links(side)).map_err(|_| ShapeError::Links { got: links(side) })?)
    }

    /// Words in a row, and rows of a matrix.
    #[must_use]
    pub const fn side(self) -> u32 {
        self.side
    }

    /// Products.
    #[must_use]
    pub const fn links(self) -> u32 {
        self.links
    }

    /// Bytes that are kept.
    #[must_use]
    pub const fn memory_bytes(self) -> u64 {
        matrix_bytes(self.side).wrapping_mul(self.links as u64)
    }

    /// Multiplications with addition: `links * side^3`, below 2^53.
    #[must_use]
    pub const fn work(self) -> u64 {
        let side = self.side as u64;
        side.wrapping_mul(side).wrapping_mul(side).wrapping_mul(self.links as u64)
    }

    /// The time for the vectors, milliseconds: [`GRACE_MS`], and one for every 4 MiB, so about 4 GiB a second.
    #[must_use]
    pub const fn vectors_deadline_ms(self) -> u64 {
        GRACE_MS.saturating_add(self.memory_bytes().wrapping_shr(22))
    }

    /// Rows of all matrices, at most 2^27.
    #[must_use]
    pub const fn rows(self) -> u32 {
        self.side.wrapping_mul(self.links)
    }
}

const fn matrix_bytes(side: u32) -> u64 {
    (side as u64).wrapping_mul(side as u64).wrapping_mul(4)
}

/// One device's challenge. Everything in it enters its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The chain.
    pub chain_id: u64,
    /// Height of the beacon value.
    pub height: u64,
    /// Unix time of that block, seconds.
    pub time_s: u64,
    /// The beacon's value at that height, as a hash.
    pub beacon: B256,
    /// The provider.
    pub provider: Address,
    /// Its device.
    pub device: u8,
    /// Size of the chain.
    pub shape: Shape,
    /// Rows that will be opened, 1 to [`OPENED_MAX`]; others count as the nearest.
    pub opened: u32,
    /// Until when the root must be there, milliseconds from the challenge.
    pub deadline_ms: u64,
}

#[derive(RlpEncodable)]
struct Wire {
    chain_id: u64,
    height: u64,
    time_s: u64,
    beacon: B256,
    provider: Address,
    device: u8,
    side: u32,
    links: u32,
    opened: u32,
    deadline_ms: u64,
}

/// A device as its owner claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The provider's account.
    pub provider: Address,
    /// The device's number in the record.
    pub device: u8,
    /// Size of its chain.
    pub shape: Shape,
    /// Claimed speed for integer work, millions of operations a second.
    pub mop_per_s: u64,
}

/// Where and when a round of challenges happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The chain.
    pub chain_id: u64,
    /// Height of the beacon value.
    pub height: u64,
    /// Unix time of that block, seconds.
    pub time_s: u64,
    /// The value.
    pub beacon: B256,
}

impl Challenge {
    /// The challenges of all devices of one owner: one beacon value for all, each with the time that its own claim allows.
    #[must_use]
    pub fn for_owner(round: Round, devices: &[Device]) -> Vec<Self> {
        let Round { chain_id, height, time_s, beacon } = round;
        let challenge = |device: &Device| Self {
            chain_id,
            height,
            time_s,
            beacon,
            provider: device.provider,
            device: device.device,
            shape: device.shape,
            opened: OPENED,
            deadline_ms: deadline_ms(device.shape, device.mop_per_s),
        };
        devices.iter().map(challenge).collect()
    }

    /// What names the challenge, and seeds its first matrix.
    #[must_use]
    pub fn id(&self) -> B256 {
        let mut bytes = DOMAIN.to_vec();
        let wire = Wire {
            chain_id: self.chain_id,
            height: self.height,
            time_s: self.time_s,
            beacon: self.beacon,
            provider: self.provider,
            device: self.device,
            side: self.shape.side,
            links: self.shape.links,
            opened: self.opened(),
            deadline_ms: self.deadline_ms,
        };
        wire.encode(&mut bytes);
        keccak256(bytes)
    }

    /// Rows that are opened.
    #[must_use]
    pub fn opened(&self) -> u32 {
        self.opened.clamp(1, OPENED_MAX)
    }

    /// Key of the first matrix.
    #[must_use]
    pub fn key(&self) -> Key {
        key_of(self.id())
    }

    /// Key of the vectors: `beacon` is the value of a height after the one at which `root` became final.
    #[must_use]
    pub fn vector_key(&self, root: B256, beacon: B256) -> Key {
        let id = self.id();
        key_of(keccak256([VECTOR_DOMAIN, id.as_slice(), root.as_slice(), beacon.as_slice()].concat()))
    }

    /// The rows that are opened, as (product, row): `beacon` is the value of a height after the one at which the vectors' root became
    /// final. Drawn with replacement.
    #[must_use]
    pub fn draw(&self, root: B256, vectors_root: B256, beacon: B256) -> Vec<(u32, u32)> {
        let id = self.id();
        let seed = keccak256(
            [ROWS_DOMAIN, id.as_slice(), root.as_slice(), vectors_root.as_slice(), beacon.as_slice()].concat(),
        );
        let rows = u64::from(self.shape.rows());
        // Words at or above the last whole multiple are left out, so that every row is equally likely. About one in 2^37 is.
        let limit = u64::MAX.wrapping_sub(u64::MAX.wrapping_rem(rows.max(1)));
        let words = (0u32..).map(|counter| {
            let hash = keccak256([seed.as_slice(), &counter.to_be_bytes()].concat());
            u64::from_be_bytes(hash.0.first_chunk().copied().unwrap_or_default())
        });
        let kept = words.filter(|word| *word < limit).take(self.opened() as usize);
        let side = u64::from(self.shape.side);
        // LOSSY: never, both are below the number of rows.
        #[allow(clippy::cast_possible_truncation)]
        kept.filter_map(|word| word.checked_rem(rows))
            .filter_map(|at| Some((at.checked_div(side)? as u32, at.checked_rem(side)? as u32)))
            .collect()
    }
}

/// The time that a claim allows: one and a half times the claimed time of the products, and [`GRACE_MS`].
#[must_use]
pub fn deadline_ms(shape: Shape, claimed_mop_per_s: u64) -> u64 {
    let claimed_ms = shape.work().div_ceil(claimed_mop_per_s.max(1).saturating_mul(1_000));
    claimed_ms.saturating_add(claimed_ms.wrapping_shr(1)).saturating_add(GRACE_MS)
}
