//! The beacon: the network's signature over a height, which nobody can predict or choose, and how a block carries it.
//!
//! Spec: specs/0007-beacon.md. The signature check itself is in `keystead-proof` and `keystead-consensus`.

use crate::certificate::{SIGNATURE_BYTES, message, network_namespace, put_leb128};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};

/// Where the contract `Beacon` stands. Spec: specs/0007-beacon.md §5.
pub const BEACON_ADDRESS: Address = address!("4b53540000000000000000000000000000000003");
/// Heights whose randomness the contract keeps: 27 minutes at five blocks a second.
pub const BEACON_RING: u64 = 8_192;
/// Values that one block carries at most. One per block is the rule; the rest is room to make up for missing ones.
pub const BEACON_VALUES_MAX: usize = 16;
/// EIP-7685 type of the request that carries values.
pub const BEACON_REQUEST_TYPE: u8 = 0xb0;
/// Storage slot of the contract that holds the newest height.
pub const BEACON_NEWEST_SLOT: U256 = U256::ZERO;

const HEIGHT_BYTES: usize = 8;

/// The beacon value of one height: unpredictable before the height is final, the same whoever assembles it.
///
/// Shape: compressed G1 point (48 bytes, ZCash encoding) over [`Self::message`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BeaconValue(pub [u8; SIGNATURE_BYTES]);

impl std::fmt::Debug for BeaconValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BeaconValue({})", alloy_primitives::hex::encode(self.0))
    }
}

impl BeaconValue {
    /// The namespace of a chain's beacon.
    #[must_use]
    pub fn namespace(chain_id: u64) -> Vec<u8> {
        let mut namespace = network_namespace(chain_id);
        namespace.extend_from_slice(b"_BEACON");
        namespace
    }

    /// What is signed within the namespace: LEB128(height).
    #[must_use]
    pub fn payload(height: u64) -> Vec<u8> {
        let mut payload = Vec::with_capacity(10);
        put_leb128(&mut payload, height);
        payload
    }

    /// The whole message that the value of a height signs on a chain.
    #[must_use]
    pub fn message(chain_id: u64, height: u64) -> Vec<u8> {
        message(&Self::namespace(chain_id), &Self::payload(height))
    }

    /// What consumers use: keccak256 of the value.
    #[must_use]
    pub fn randomness(&self) -> B256 {
        keccak256(self.0)
    }

    /// The value of a height on a development chain, which has no committee. Everybody can compute it and no key
    /// verifies it.
    #[must_use]
    pub fn development(chain_id: u64, height: u64) -> Self {
        let tag = b"keystead development beacon".as_slice();
        let hash = keccak256([tag, &chain_id.to_be_bytes(), &height.to_be_bytes()].concat());
        let mut value = [0; SIGNATURE_BYTES];
        value.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(value)
    }
}

/// Storage slot of the contract that holds the randomness of a height, if the ring has not come round since.
#[must_use]
pub fn beacon_slot(height: u64) -> U256 {
    U256::from((height % BEACON_RING).saturating_add(1))
}

/// The values of consecutive heights in one block: never empty, at most [`BEACON_VALUES_MAX`], heights from 1 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconBatch {
    first: u64,
    values: Vec<BeaconValue>,
}

/// Requests that hold no batch where one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeaconError {
    /// The length is not that of a height and 1 to [`BEACON_VALUES_MAX`] values.
    #[error("beacon values have the wrong length: got_bytes={got_bytes}")]
    Length {
        /// Bytes after the type.
        got_bytes: usize,
    },
    /// The heights are not within 1 and 2^64 - 1.
    #[error("beacon heights out of range: first={first} count={count}")]
    Heights {
        /// First height.
        first: u64,
        /// Number of values.
        count: usize,
    },
}

impl BeaconBatch {
    /// The values of the heights from `first` on.
    ///
    /// # Errors
    /// [`BeaconError`] if there are none or too many, or heights that do not exist.
    pub fn new(first: u64, values: Vec<BeaconValue>) -> Result<Self, BeaconError> {
        let count = values.len();
        if count == 0 || count > BEACON_VALUES_MAX {
            let got_bytes = count.saturating_mul(SIGNATURE_BYTES).saturating_add(HEIGHT_BYTES);
            return Err(BeaconError::Length { got_bytes });
        }
        if first == 0 || first.checked_add(count as u64).is_none() {
            return Err(BeaconError::Heights { first, count });
        }
        Ok(Self { first, values })
    }

    /// What a block of this `number` may carry after the `newest` height on chain: as many consecutive values as there are, up
    /// to [`BEACON_VALUES_MAX`], all of heights below its own. `None` if there is nothing.
    pub fn following(newest: u64, number: u64, value: impl Fn(u64) -> Option<BeaconValue>) -> Option<Self> {
        let first = newest.saturating_add(1);
        let values: Vec<BeaconValue> = (first..number).take(BEACON_VALUES_MAX).map_while(value).collect();
        Self::new(first, values).ok()
    }

    /// The batch among a block's requests; `None` if there is none.
    ///
    /// Trust: hostile input; the values are not verified.
    ///
    /// # Errors
    /// [`BeaconError`]: the block is invalid.
    pub fn among(requests: &[Bytes]) -> Result<Option<Self>, BeaconError> {
        let typed = |request: &&Bytes| request.first() == Some(&BEACON_REQUEST_TYPE);
        let Some(data) = requests.iter().find(typed).and_then(|request| request.get(1..)) else { return Ok(None) };
        let wrong = BeaconError::Length { got_bytes: data.len() };
        let (first, rest) = data.split_first_chunk::<HEIGHT_BYTES>().ok_or(wrong)?;
        let (values, left) = rest.as_chunks::<SIGNATURE_BYTES>();
        if !left.is_empty() || values.len() > BEACON_VALUES_MAX {
            return Err(wrong);
        }
        Self::new(u64::from_be_bytes(*first), values.iter().map(|value| BeaconValue(*value)).collect()).map(Some)
    }

    /// The request that carries the batch.
    #[must_use]
    pub fn request(&self) -> Bytes {
        let mut out = vec![BEACON_REQUEST_TYPE];
        out.extend_from_slice(&self.first.to_be_bytes());
        self.values.iter().for_each(|value| out.extend_from_slice(&value.0));
        out.into()
    }

    /// First height.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Last height.
    #[must_use]
    pub const fn last(&self) -> u64 {
        // `new` checked that the height after the last one exists.
        self.first.saturating_add(self.values.len() as u64).saturating_sub(1)
    }

    /// The values in the order of their heights.
    #[must_use]
    pub fn values(&self) -> &[BeaconValue] {
        &self.values
    }

    /// Heights with their values.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &BeaconValue)> {
        (self.first..).zip(&self.values)
    }

    /// The value of a height, if it is here.
    #[must_use]
    pub fn value(&self, height: u64) -> Option<BeaconValue> {
        let index = usize::try_from(height.checked_sub(self.first)?).ok()?;
        self.values.get(index).copied()
    }

    /// The rule of its place that the batch breaks: it must follow the `newest` height on chain and stay below the
    /// block's own `number`. Spec: specs/0007-beacon.md §4.
    #[must_use]
    pub fn misplaced(&self, newest: u64, number: u64) -> Option<String> {
        let want = newest.saturating_add(1);
        if self.first != want {
            return Some(format!("beacon values do not follow: first={} want={want}", self.first));
        }
        (self.last() >= number)
            .then(|| format!("beacon value of a height that is not final: height={} block={number}", self.last()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;

    fn batch(first: u64, count: usize) -> Result<BeaconBatch, BeaconError> {
        BeaconBatch::new(first, (0..count).map(|n| BeaconValue([u8::try_from(n).unwrap(); 48])).collect())
    }

    #[test]
    fn a_message_stands_in_a_namespace_of_its_own() {
        let message = BeaconValue::message(19_283, 300);
        assert_eq!(message, [&[21u8][..], b"keystead-19283_BEACON", &[0xac, 2]].concat());
        // A namespace is preceded by its length, so a message tells its purpose whatever follows.
        let seed = crate::Seed::message(19_283, 0, 300);
        assert_ne!(message[..22], seed[..22]);
        assert_ne!(BeaconValue::message(1, 300), BeaconValue::message(2, 300));
    }

    #[test]
    fn a_batch_survives_its_encoding() {
        for count in [1, 2, BEACON_VALUES_MAX] {
            let batch = batch(7, count).unwrap();
            let other = Bytes::from_static(&[0xd1, 1]);
            assert_eq!(BeaconBatch::among(&[batch.request(), other.clone()]), Ok(Some(batch.clone())));
            assert_eq!(BeaconBatch::among(&[other]), Ok(None));
            assert_eq!((batch.first(), batch.last()), (7, 6 + count as u64));
            assert_eq!((batch.value(6), batch.value(7)), (None, Some(BeaconValue([0; 48]))));
            assert_eq!(batch.value(7 + count as u64), None);
        }
        assert_eq!(BeaconBatch::among(&[]), Ok(None));
    }

    #[test]
    fn a_batch_of_another_length_or_of_heights_that_do_not_exist_is_refused() {
        let good = batch(7, 2).unwrap().request();
        for cut in 1..good.len() {
            let fits = cut == 1 + 8 + 48;
            assert_eq!(BeaconBatch::among(&[good.slice(..cut)]).is_ok(), fits, "{cut}");
        }
        let longer = [good.as_ref(), &[0]].concat();
        assert!(matches!(BeaconBatch::among(&[longer.into()]), Err(BeaconError::Length { .. })));
        let mut many = vec![BEACON_REQUEST_TYPE];
        many.resize(1 + 8 + 48 * (BEACON_VALUES_MAX + 1), 1);
        assert!(matches!(BeaconBatch::among(&[many.into()]), Err(BeaconError::Length { .. })));
        assert!(matches!(batch(7, 0), Err(BeaconError::Length { .. })));
        assert!(matches!(batch(7, BEACON_VALUES_MAX + 1), Err(BeaconError::Length { .. })));
        assert!(matches!(batch(0, 1), Err(BeaconError::Heights { .. })));
        assert!(matches!(batch(u64::MAX, 1), Err(BeaconError::Heights { .. })));
        assert_eq!(batch(u64::MAX - 1, 1).unwrap().last(), u64::MAX - 1);
    }

    #[test]
    fn a_batch_follows_the_newest_height_and_stays_below_its_block() {
        let batch = batch(7, 3).unwrap();
        assert_eq!(batch.misplaced(6, 10), None);
        assert!(batch.misplaced(5, 10).unwrap().contains("first=7 want=6"), "a gap");
        assert!(batch.misplaced(7, 10).unwrap().contains("first=7 want=8"), "a duplicate");
        assert!(batch.misplaced(6, 9).unwrap().contains("height=9 block=9"), "its own height");
    }

    #[test]
    fn a_block_carries_what_follows_without_a_gap_and_below_its_own_height() {
        let all = |height| Some(BeaconValue([u8::try_from(height % 251).unwrap(); 48]));
        let heights = |batch: Option<BeaconBatch>| batch.map(|batch| (batch.first(), batch.last()));
        assert_eq!(heights(BeaconBatch::following(6, 9, all)), Some((7, 8)));
        assert_eq!(heights(BeaconBatch::following(6, 7, all)), None, "nothing is final yet");
        assert_eq!(heights(BeaconBatch::following(0, 1, all)), None);
        assert_eq!(heights(BeaconBatch::following(0, 1_000, all)), Some((1, 16)));
        assert_eq!(
            heights(BeaconBatch::following(6, 1_000, |height| all(height).filter(|_| height != 9))),
            Some((7, 8))
        );
        assert_eq!(heights(BeaconBatch::following(6, 9, |height| all(height).filter(|_| height != 7))), None);
        assert_eq!(heights(BeaconBatch::following(u64::MAX, u64::MAX, all)), None);
    }

    #[test]
    fn slots_come_round_after_8192_heights() {
        assert_eq!((beacon_slot(1), beacon_slot(8_191)), (U256::from(2), U256::from(8_192)));
        assert_eq!((beacon_slot(8_192), beacon_slot(8_193)), (U256::from(1), beacon_slot(1)));
    }

    #[test]
    fn development_values_differ_by_height_and_chain() {
        let value = BeaconValue::development(7, 1);
        assert_ne!(value, BeaconValue::development(7, 2));
        assert_ne!(value, BeaconValue::development(8, 1));
        assert_eq!(value.0[32..], [0; 16], "no point that a key could have signed");
    }
}
