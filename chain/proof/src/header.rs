//! Reading the headers of a bundle and linking them.
//!
//! Spec: specs/0002-proof-bundle.md §4 and §5.

use crate::signature::{NetworkKey, SignatureError, verify_certificate};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{Decodable as _, Encodable as _};
use keystead_types::{Certificate, EXTRA_DATA_BYTES, Header, MILLIS_PER_SECOND};

/// Headers that do not lead from the certified block to the block of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not the canonical RLP of a header.
    #[error("header {at} is malformed")]
    Malformed {
        /// Position in the bundle.
        at: usize,
    },
    /// The first header is not the certified one.
    #[error("header 0 is not the block of the certificate: hash={hash} certified={certified}")]
    NotCertified {
        /// Hash of the first header.
        hash: B256,
        /// Block hash of the certificate.
        certified: B256,
    },
    /// A header is not the parent of the one before.
    #[error("header {at} is not the parent of header {child}")]
    NotParent {
        /// Position in the bundle.
        at: usize,
        /// The position before.
        child: usize,
    },
    /// The claim names another block than the last header.
    #[error("the claim is about block {claimed}, the last header is block {header}")]
    OtherBlock {
        /// The claim's block number.
        claimed: u64,
        /// The last header's number.
        header: u64,
    },
    /// Seconds and milliseconds of the header disagree.
    #[error("the header's seconds and milliseconds disagree: timestamp={timestamp} milliseconds={time_ms}")]
    Time {
        /// The header's `timestamp`.
        timestamp: u64,
        /// The header's `extraData`.
        time_ms: u64,
    },
}

/// Headers or a certificate that do not make a block final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinalizationError {
    /// The headers are malformed, or do not lead down from the certified block.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// The certificate was not signed by the network.
    #[error("certificate: {0}")]
    Signature(#[from] SignatureError),
}

/// A header with its hash and time.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) time_ms: u64,
}

/// Checks a certificate, and the headers from its block downwards, each the parent of the one before: what
/// `keystead_getFinalization` answers. Returns the headers in that order.
///
/// Trust: everything is hostile but the key. Cost: about a millisecond, and some microseconds per header.
///
/// # Errors
/// [`FinalizationError`]; whoever gave it was wrong.
pub fn verify_finalization(
    certificate: &Certificate,
    headers: &[Bytes],
    chain_id: u64,
    key: &NetworkKey,
) -> Result<Vec<Header>, FinalizationError> {
    let sealed = descend(headers, certificate.block_hash)?;
    verify_certificate(certificate, chain_id, key)?;
    Ok(sealed.into_iter().map(|sealed| sealed.header).collect())
}

/// Reads the headers and checks that each is the parent of the one before. Returns the last.
pub(crate) fn link(headers: &[Bytes], certified: B256) -> Result<Sealed, HeaderError> {
    descend(headers, certified)?.pop().ok_or(HeaderError::Malformed { at: 0 })
}

/// Reads the headers and checks that each is the parent of the one before; there is at least one.
fn descend(headers: &[Bytes], certified: B256) -> Result<Vec<Sealed>, HeaderError> {
    let mut out: Vec<Sealed> = Vec::with_capacity(headers.len());
    for (at, bytes) in headers.iter().enumerate() {
        let sealed = decode(bytes).ok_or(HeaderError::Malformed { at })?;
        match out.last() {
            None if sealed.hash != certified => {
                return Err(HeaderError::NotCertified { hash: sealed.hash, certified });
            }
            Some(child)
                if child.header.parent_hash != sealed.hash
                    || sealed.header.number.checked_add(1) != Some(child.header.number) =>
            {
                return Err(HeaderError::NotParent { at, child: at.saturating_sub(1) });
            }
            _ => out.push(sealed),
        }
    }
    if out.is_empty() { Err(HeaderError::Malformed { at: 0 }) } else { Ok(out) }
}

/// Checks that the claim is about this block and that the block has one time.
pub(crate) const fn bind(sealed: &Sealed, claimed: u64) -> Result<(), HeaderError> {
    let header = sealed.header.number;
    if claimed != header {
        return Err(HeaderError::OtherBlock { claimed, header });
    }
    let (timestamp, time_ms) = (sealed.header.timestamp, sealed.time_ms);
    if timestamp != time_ms / MILLIS_PER_SECOND {
        return Err(HeaderError::Time { timestamp, time_ms });
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<Sealed> {
    let header = Header::decode(&mut &*bytes).ok()?;
    // `requestsHash` implies the optional fields before it; those after it belong to a later fork.
    let fields =
        header.requests_hash.is_some() && header.block_access_list_hash.is_none() && header.slot_number.is_none();
    let mut again = Vec::with_capacity(bytes.len());
    header.encode(&mut again);
    let millis: &[u8; EXTRA_DATA_BYTES] = header.extra_data.as_ref().try_into().ok()?;
    let time_ms = u64::from_be_bytes(*millis);
    (fields && again == bytes).then(|| Sealed { hash: keccak256(bytes), header, time_ms })
}
