//! The network's BLS signatures over certificates, seeds and beacon values.
//!
//! Spec: specs/0001-certificate.md §4 and §5, specs/0007-beacon.md §2.

use alloy_primitives::hex;
use blst::{
    BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine,
    min_sig::{PublicKey, Signature},
};
use keystead_types::{BeaconValue, Certificate, SIGNATURE_BYTES, Seed};
use sha2::{Digest as _, Sha256};

/// Domain separation tag of every signature of the network.
const DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Bits of a batch's multipliers: an invalid batch passes with probability 2^-128.
const MULTIPLIER_BITS: usize = 128;

/// The network key after the checks of specs/0001-certificate.md §4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkKey {
    point: PublicKey,
    bytes: [u8; Self::BYTES],
}

impl std::fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkKey({})", hex::encode(self.bytes))
    }
}

/// Bytes that are no network key: the reader was given a wrong key, the bundle may be fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the compressed encoding of a point on the curve.
    #[error("the network key is mistyped: it is not a compressed G2 point; copy it anew")]
    Encoding,
    /// Infinity, or outside the subgroup of prime order.
    #[error("the network key is mistyped: no committee has a key outside of the group; copy it anew")]
    NotInGroup,
}

/// A signature that the network did not make over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not the compressed encoding of a point on the curve.
    #[error("the signature is not a compressed G1 point")]
    Encoding,
    /// Infinity, or outside the subgroup of prime order.
    #[error("the signature is not in the group")]
    NotInGroup,
    /// A well-formed signature of another key, another chain or another message.
    #[error("the network key did not sign this")]
    Mismatch,
}

impl NetworkKey {
    /// Length of a compressed G2 point in bytes.
    pub const BYTES: usize = 96;

    /// Reads a network key: compressed G2 point, 96 bytes, Zcash encoding.
    ///
    /// # Errors
    /// [`KeyError`]; the caller must get the right key.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, KeyError> {
        let point = PublicKey::uncompress(bytes).map_err(|_| KeyError::Encoding)?;
        point.validate().map_err(|_| KeyError::NotInGroup)?;
        if point.compress() != *bytes {
            return Err(KeyError::Encoding);
        }
        Ok(Self { point, bytes: *bytes })
    }

    /// The compressed encoding.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.bytes
    }

    /// Checks one signature. Cost: about a millisecond.
    fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> Result<(), SignatureError> {
        let signature = decode(signature)?;
        let mut pairing = Pairing::new(true, DST);
        // Both points were checked when they were decoded.
        let error = pairing.aggregate(self.affine(), false, affine(&signature), false, message, &[]);
        finish(&mut pairing, error)
    }

    /// Checks many signatures, each over its own message, with one final exponentiation.
    fn verify_all(&self, signed: &[(Vec<u8>, [u8; SIGNATURE_BYTES])]) -> Result<(), SignatureError> {
        let mut transcript = Sha256::new_with_prefix(self.bytes);
        let mut points = Vec::with_capacity(signed.len());
        for (message, signature) in signed {
            let length = u32::try_from(message.len()).map_err(|_| SignatureError::Mismatch)?;
            transcript.update(length.to_be_bytes());
            transcript.update(message);
            transcript.update(signature);
            points.push(decode(signature)?);
        }
        if points.is_empty() {
            return Ok(());
        }
        let transcript = transcript.finalize();
        let mut pairing = Pairing::new(true, DST);
        let mut error = BLST_ERROR::BLST_SUCCESS;
        for (index, ((message, _), point)) in (0u32..).zip(signed.iter().zip(&points)) {
            let multiplier = Sha256::new_with_prefix(transcript).chain_update(index.to_be_bytes()).finalize();
            let point = affine(point);
            error =
                pairing.mul_n_aggregate(self.affine(), false, point, false, &multiplier, MULTIPLIER_BITS, message, &[]);
            if error != BLST_ERROR::BLST_SUCCESS {
                break;
            }
        }
        finish(&mut pairing, error)
    }

    fn affine(&self) -> &blst_p2_affine {
        (&self.point).into()
    }
}

/// Checks a certificate under the network key. Cost: about a millisecond. Trust: the certificate is hostile.
///
/// # Errors
/// [`SignatureError`]; whoever sent the certificate was wrong.
pub fn verify_certificate(certificate: &Certificate, chain_id: u64, key: &NetworkKey) -> Result<(), SignatureError> {
    key.verify(&certificate.message(chain_id), &certificate.signature)
}

/// Checks the seed of one view under the network key. Cost and trust as [`verify_certificate`].
///
/// # Errors
/// [`SignatureError`]; whoever sent the seed was wrong.
pub fn verify_seed(seed: &Seed, chain_id: u64, epoch: u64, view: u64, key: &NetworkKey) -> Result<(), SignatureError> {
    key.verify(&Seed::message(chain_id, epoch, view), &seed.0)
}

/// Checks the beacon value of a height under the network key. Cost and trust as [`verify_certificate`].
///
/// # Errors
/// [`SignatureError`]; whoever gave the value was wrong.
pub fn verify_beacon(value: &BeaconValue, chain_id: u64, height: u64, key: &NetworkKey) -> Result<(), SignatureError> {
    key.verify(&BeaconValue::message(chain_id, height), &value.0)
}

/// Checks the seeds of consecutive views of one epoch, the first of `first_view`, with one final exponentiation.
///
/// An empty list passes. A view number beyond 64 bits does not exist: such a list is refused. The result is that of the
/// single checks except with probability 2^-128 (specs/0001-certificate.md §5).
///
/// # Errors
/// [`SignatureError`] if any seed is wrong; which one is not told.
pub fn verify_seeds(
    seeds: &[Seed],
    chain_id: u64,
    epoch: u64,
    first_view: u64,
    key: &NetworkKey,
) -> Result<(), SignatureError> {
    let mut signed = Vec::with_capacity(seeds.len());
    for (offset, seed) in (0u64..).zip(seeds) {
        let view = first_view.checked_add(offset).ok_or(SignatureError::Mismatch)?;
        signed.push((Seed::message(chain_id, epoch, view), seed.0));
    }
    key.verify_all(&signed)
}

/// Checks several certificates under the network key at once. An empty list passes. Cost: less than half of that of the
/// single checks. Trust: as [`verify_certificate`]. The result is that of the single checks except with probability 2^-128
/// (specs/0001-certificate.md §5).
///
/// # Errors
/// [`SignatureError`] if any certificate is wrong; which one is not told.
pub fn verify_certificates<'c>(
    certificates: impl IntoIterator<Item = &'c Certificate>,
    chain_id: u64,
    key: &NetworkKey,
) -> Result<(), SignatureError> {
    let signed = certificates.into_iter().map(|certificate| (certificate.message(chain_id), certificate.signature));
    key.verify_all(&signed.collect::<Vec<_>>())
}

/// Decodes and checks a signature point.
fn decode(bytes: &[u8; SIGNATURE_BYTES]) -> Result<Signature, SignatureError> {
    let signature = Signature::uncompress(bytes).map_err(|_| SignatureError::Encoding)?;
    signature.validate(true).map_err(|_| SignatureError::NotInGroup)?;
    if signature.compress() == *bytes { Ok(signature) } else { Err(SignatureError::Encoding) }
}

fn affine(signature: &Signature) -> &blst_p1_affine {
    signature.into()
}

fn finish(pairing: &mut Pairing<'_>, error: BLST_ERROR) -> Result<(), SignatureError> {
    if error != BLST_ERROR::BLST_SUCCESS {
        return Err(SignatureError::Mismatch);
    }
    pairing.commit();
    if pairing.finalverify(None) { Ok(()) } else { Err(SignatureError::Mismatch) }
}
