//! Many small blobs in one: what a lease needs, or what a window gave, in one transfer.
//!
//! # Design
//! `be32(count) || be64(length) x count || bytes`. One encoding for each list. Spec: specs/0011-stream.md section 3.

/// Most parts of a pack: an item of a lease each.
pub const PARTS_MAX: usize = 64;
/// Largest pack in bytes, inclusive: one input of the largest size with its head.
pub const PACK_BYTES_MAX: u64 = (1 << 27) + (1 << 16);
/// Bytes of the count.
const COUNT_BYTES: usize = 4;
/// Bytes of a length.
const LENGTH_BYTES: usize = 8;

/// The bytes are no pack, or not of so many parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pack of {expected} parts: got_bytes={got_bytes}")]
pub struct NotAPack {
    /// Parts that there should be.
    pub expected: usize,
    /// Bytes that there are.
    pub got_bytes: usize,
}

/// Puts parts together, in their order.
#[must_use]
pub fn encode<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let bytes: usize = parts.iter().map(|part| part.as_ref().len()).fold(0, usize::saturating_add);
    let head = parts.len().saturating_mul(LENGTH_BYTES).saturating_add(COUNT_BYTES);
    let mut pack = Vec::with_capacity(bytes.saturating_add(head));
    pack.extend_from_slice(&count.to_be_bytes());
    for part in parts {
        let length = u64::try_from(part.as_ref().len()).unwrap_or(u64::MAX);
        pack.extend_from_slice(&length.to_be_bytes());
    }
    parts.iter().for_each(|part| pack.extend_from_slice(part.as_ref()));
    pack
}

/// Takes a pack apart; hostile bytes are fine. Nothing is copied.
///
/// # Errors
/// [`NotAPack`]: another number of parts, or lengths that do not add up to exactly the bytes.
pub fn decode(pack: &[u8], expected: usize) -> Result<Vec<&[u8]>, NotAPack> {
    let wrong = NotAPack { expected, got_bytes: pack.len() };
    let (count, rest) = pack.split_at_checked(COUNT_BYTES).ok_or(wrong)?;
    if expected > PARTS_MAX || Ok(count) != u32::try_from(expected).map(u32::to_be_bytes).as_ref().map(|c| &c[..]) {
        return Err(wrong);
    }
    let (lengths, mut rest) = rest.split_at_checked(expected.saturating_mul(LENGTH_BYTES)).ok_or(wrong)?;
    let mut parts = Vec::with_capacity(expected);
    for length in lengths.as_chunks::<LENGTH_BYTES>().0 {
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| wrong)?;
        let (part, after) = rest.split_at_checked(length).ok_or(wrong)?;
        parts.push(part);
        rest = after;
    }
    if rest.is_empty() { Ok(parts) } else { Err(wrong) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pack_of_another_count_or_with_bytes_too_many_or_few_is_none() {
        let pack = encode(&[b"ab".as_slice(), b"", b"c"]);
        assert_eq!(decode(&pack, 3).unwrap(), [b"ab".as_slice(), b"", b"c"]);
        assert!(decode(&pack, 2).is_err() && decode(&pack, 4).is_err());
        for length in 0..pack.len() {
            assert!(decode(&pack[..length], 3).is_err());
        }
        assert!(decode(&[pack.as_slice(), &[0]].concat(), 3).is_err());
        let huge = [3_u32.to_be_bytes().as_slice(), &[0xff; 24]].concat();
        assert!(decode(&huge, 3).is_err());
        let many = vec![b""; PARTS_MAX + 1];
        assert!(decode(&encode(&many), PARTS_MAX + 1).is_err());
        assert!(decode(&encode(&many[1..]), PARTS_MAX).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_usize..3) {
            if let Ok(parts) = decode(&bytes, count) {
                prop_assert_eq!(encode(&parts), bytes);
            }
        }
    }
}
