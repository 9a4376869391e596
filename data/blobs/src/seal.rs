//! Encrypts a blob so that a machine that keeps it cannot read it, change it, cut it or reorder it.
//!
//! # Design
//! A fresh key is derived for every sealed blob from the caller's key and a random salt, so that one key may seal any
//! number of blobs. The plaintext is cut into chunks of 64 KiB, each encrypted with ChaCha20-Poly1305 under a nonce that
//! holds the chunk's index and whether it is the last (the STREAM construction). The header commits to the key, because
//! ChaCha20-Poly1305 alone lets one ciphertext open under two keys.
//!
//! Spec: specs/0005-transfer.md §6; vectors in specs/vectors/sealed-blob.json.
//!
//! # Not here
//! Where the key comes from and who gets it (the gate); hiding the length of the plaintext.

use std::fmt;

use chacha20poly1305::{
    AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag,
    aead::{Generate, array::Array, consts::U32},
};

use crate::store::BLOB_BYTES_MAX;

/// Plaintext bytes in every chunk but the last.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that each chunk grows by: the Poly1305 tag.
pub const TAG_BYTES: usize = 16;
/// Bytes before the first chunk: magic 8, salt 32, key commitment 32.
pub const HEADER_BYTES: usize = 72;

/// The first bytes of every sealed blob: format name and version.
const MAGIC: [u8; 8] = *b"KSSEAL01";
const SALT_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;
/// Contexts of BLAKE3's key derivation; one purpose each.
const KEY_CONTEXT: &str = "keystead sealed-blob v1 chunk key";
const COMMITMENT_CONTEXT: &str = "keystead sealed-blob v1 key commitment";
/// A chunk with its tag.
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// The secret that opens a sealed blob. Printing it shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A key from 32 bytes that only the readers know, uniformly random.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh random key from the operating system.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`]: the system has no randomness to give; stop.
    pub fn generate() -> Result<Self, SealError> {
        random().map(Self)
    }

    /// The secret bytes, for storing or wrapping them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why bytes could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Too long for one sealed blob: split it.
    #[error("too large to seal or open: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Length of the input in bytes.
        got_bytes: u64,
        /// Largest length accepted.
        max_bytes: u64,
    },
    /// These bytes are not a sealed blob of this version.
    #[error("not a sealed blob: {what}")]
    NotSealed {
        /// What is wrong with the form.
        what: &'static str,
    },
    /// Sealed with another key.
    #[error("wrong key")]
    WrongKey,
    /// Right key, but the bytes of this chunk were changed, moved, added or cut.
    #[error("sealed blob was altered: chunk={chunk}")]
    Altered {
        /// Index of the first bad chunk, from 0.
        chunk: u64,
    },
    /// The operating system gave no randomness.
    #[error("the system gave no randomness")]
    NoRandomness,
}

/// Encrypts `plaintext` so that only `key` opens it. The same input gives different bytes every time.
///
/// The result is [`sealed_bytes`]`(plaintext.len())` long. Speed is about 1 GB/s on one core.
///
/// # Errors
/// [`SealError::TooLarge`] above 1 GiB less the overhead, so that the result is still one blob;
/// [`SealError::NoRandomness`].
pub fn seal(key: &Key, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    seal_with_salt(key, random()?, plaintext)
}

/// Decrypts what [`seal`] made. The input may be hostile; nothing is returned unless every chunk is authentic.
///
/// # Errors
/// [`SealError::NotSealed`], [`SealError::WrongKey`], [`SealError::Altered`], [`SealError::TooLarge`].
pub fn open(key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    check_size(sealed.len())?;
    let not_sealed = |what| SealError::NotSealed { what };
    let (header, mut rest) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| not_sealed("too short"))?;
    let (magic, header) = header.split_at(MAGIC.len());
    let (salt, commitment) = header.split_at(SALT_BYTES);
    if magic != MAGIC {
        return Err(not_sealed("unknown magic or version"));
    }
    let derived = Derived::new(key, salt);
    // Constant time, although neither side is secret to whoever holds the key.
    if blake3::Hash::from(derived.commitment)
        != blake3::Hash::from_slice(commitment).map_err(|_| not_sealed("header"))?
    {
        return Err(SealError::WrongKey);
    }
    let mut plaintext = Vec::with_capacity(rest.len());
    let mut index = 0_u64;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(SEALED_CHUNK_BYTES));
        let last = after.is_empty();
        let bytes = derived.open_chunk(index, last, chunk).ok_or(SealError::Altered { chunk: index })?;
        // Only the empty plaintext has an empty chunk, so that every plaintext has one form.
        if bytes.is_empty() && index > 0 {
            return Err(SealError::Altered { chunk: index });
        }
        plaintext.extend_from_slice(&bytes);
        if last {
            return Ok(plaintext);
        }
        rest = after;
        index = index.saturating_add(1);
    }
}

/// Length of the sealed form of a plaintext of `plaintext_bytes`, in bytes: 72 + 16 per chunk, at least one chunk.
#[must_use]
pub const fn sealed_bytes(plaintext_bytes: u64) -> u64 {
    let chunks = match plaintext_bytes.div_ceil(CHUNK_BYTES as u64) {
        0 => 1,
        chunks => chunks,
    };
    plaintext_bytes.saturating_add(chunks.saturating_mul(TAG_BYTES as u64)).saturating_add(HEADER_BYTES as u64)
}

/// [`seal`] with a given salt. Not public: two plaintexts under one key and salt would reveal both.
fn seal_with_salt(key: &Key, salt: [u8; SALT_BYTES], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    let size = sealed_bytes(u64::try_from(plaintext.len()).unwrap_or(u64::MAX));
    check_size(usize::try_from(size).unwrap_or(usize::MAX))?;
    let derived = Derived::new(key, &salt);
    let mut sealed = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    sealed.extend_from_slice(&MAGIC);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(&derived.commitment);
    let mut rest = plaintext;
    let mut index = 0_u64;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK_BYTES));
        derived.seal_chunk(index, after.is_empty(), chunk, &mut sealed)?;
        if after.is_empty() {
            return Ok(sealed);
        }
        rest = after;
        index = index.saturating_add(1);
    }
}

fn check_size(bytes: usize) -> Result<(), SealError> {
    let got_bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    if got_bytes > BLOB_BYTES_MAX {
        return Err(SealError::TooLarge { got_bytes, max_bytes: BLOB_BYTES_MAX });
    }
    Ok(())
}

fn random() -> Result<[u8; 32], SealError> {
    Array::<u8, U32>::try_generate().map(Into::into).map_err(|_| SealError::NoRandomness)
}

/// What a key and a salt give.
struct Derived {
    cipher: ChaCha20Poly1305,
    commitment: [u8; COMMITMENT_BYTES],
}

impl Derived {
    fn new(key: &Key, salt: &[u8]) -> Self {
        let derive = |context: &str| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            hasher.update(&key.0).update(salt);
            *hasher.finalize().as_bytes()
        };
        let cipher = ChaCha20Poly1305::new(&derive(KEY_CONTEXT).into());
        Self { cipher, commitment: derive(COMMITMENT_CONTEXT) }
    }

    fn seal_chunk(&self, index: u64, last: bool, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let start = out.len();
        out.extend_from_slice(chunk);
        let buffer = out.get_mut(start..).unwrap_or_default();
        let tag = self.cipher.encrypt_inout_detached(&nonce(index, last), &[], buffer.into());
        // The cipher refuses only lengths far above a chunk's.
        let tag = tag.map_err(|_| SealError::Altered { chunk: index })?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    fn open_chunk(&self, index: u64, last: bool, chunk: &[u8]) -> Option<Vec<u8>> {
        let (bytes, tag) = chunk.split_last_chunk::<TAG_BYTES>()?;
        let mut bytes = bytes.to_vec();
        let nonce = nonce(index, last);
        self.cipher.decrypt_inout_detached(&nonce, &[], bytes.as_mut_slice().into(), &Tag::from(*tag)).ok()?;
        Some(bytes)
    }
}

/// Twelve bytes: three zero, the chunk's index as 8 bytes big-endian, and 1 for the last chunk or 0.
fn nonce(index: u64, last: bool) -> Nonce {
    let mut nonce = [0_u8; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::from(nonce)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;

    const KEY: Key = Key::new([7; 32]);
    const SALT: [u8; 32] = [9; 32];

    fn sample(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 13 + i / 257) as u8).collect()
    }

    /// The sizes around every edge of chunks.
    const EDGES: [usize; 8] =
        [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1, 3 * CHUNK_BYTES];

    #[test]
    fn what_was_sealed_opens_and_has_the_stated_length() {
        for size in EDGES {
            let plaintext = sample(size);
            let sealed = seal(&KEY, &plaintext).unwrap();
            assert_eq!(sealed.len() as u64, sealed_bytes(size as u64));
            assert_eq!(open(&KEY, &sealed).unwrap(), plaintext);
            assert_ne!(seal(&KEY, &plaintext).unwrap(), sealed, "sealing twice must not repeat");
        }
    }

    #[test]
    fn another_key_is_told_from_alteration() {
        let sealed = seal(&KEY, b"secret").unwrap();
        assert_eq!(open(&Key::new([8; 32]), &sealed), Err(SealError::WrongKey));
        let generated = Key::generate().unwrap();
        assert_ne!(generated, Key::generate().unwrap());
        assert_eq!(format!("{generated:?}"), "Key(..)");
    }

    #[test]
    fn every_altered_byte_of_a_small_blob_is_noticed() {
        let sealed = seal(&KEY, b"patient 12: positive").unwrap();
        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            let error = open(&KEY, &altered).unwrap_err();
            match position {
                0..8 => assert!(matches!(error, SealError::NotSealed { .. })),
                8..72 => assert_eq!(error, SealError::WrongKey),
                _ => assert_eq!(error, SealError::Altered { chunk: 0 }),
            }
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let sealed = seal(&KEY, &sample(100)).unwrap();
        for length in 0..sealed.len() {
            assert!(open(&KEY, &sealed[..length]).is_err(), "length={length}");
        }
        let two = seal(&KEY, &sample(2 * CHUNK_BYTES)).unwrap();
        let one_chunk = HEADER_BYTES + SEALED_CHUNK_BYTES;
        assert_eq!(open(&KEY, &two[..one_chunk]), Err(SealError::Altered { chunk: 0 }));
        assert_eq!(open(&KEY, &[two.as_slice(), &[0]].concat()), Err(SealError::Altered { chunk: 1 }));
    }

    #[test]
    fn chunks_cannot_change_places_or_come_from_another_blob() {
        let sealed = seal_with_salt(&KEY, SALT, &sample(3 * CHUNK_BYTES)).unwrap();
        let (header, chunks) = sealed.split_at(HEADER_BYTES);
        let chunks: Vec<_> = chunks.chunks(SEALED_CHUNK_BYTES).collect();
        let swapped = [header, chunks[1], chunks[0], chunks[2]].concat();
        assert_eq!(open(&KEY, &swapped), Err(SealError::Altered { chunk: 0 }));
        let doubled = [header, chunks[0], chunks[0], chunks[2]].concat();
        assert_eq!(open(&KEY, &doubled), Err(SealError::Altered { chunk: 1 }));
        let other = seal_with_salt(&KEY, [1; 32], &sample(3 * CHUNK_BYTES)).unwrap();
        let spliced = [header, &other[HEADER_BYTES..]].concat();
        assert_eq!(open(&KEY, &spliced), Err(SealError::Altered { chunk: 0 }));
    }

    /// A maker who knows the key can append an authentic empty last chunk; a second form of one plaintext is refused.
    #[test]
    fn an_empty_chunk_after_the_first_is_refused() {
        let derived = Derived::new(&KEY, &SALT);
        let mut sealed = [MAGIC.as_slice(), &SALT, &derived.commitment].concat();
        derived.seal_chunk(0, false, &sample(CHUNK_BYTES), &mut sealed).unwrap();
        derived.seal_chunk(1, true, &[], &mut sealed).unwrap();
        assert_eq!(open(&KEY, &sealed), Err(SealError::Altered { chunk: 1 }));
    }

    #[test]
    fn an_overlong_input_is_refused_before_work() {
        let max = usize::try_from(BLOB_BYTES_MAX).unwrap();
        assert!(check_size(max).is_ok());
        assert!(matches!(check_size(max + 1), Err(SealError::TooLarge { .. })));
    }

    fn vectors() -> Value {
        let cases = EDGES[..5].iter().map(|size| {
            let plaintext = sample(*size);
            let sealed = seal_with_salt(&KEY, SALT, &plaintext).unwrap();
            let full = if *size <= 1 { Value::String(hex::encode(&sealed)) } else { Value::Null };
            json!({
                "plaintext_bytes": size,
                "plaintext_blake3": crate::Hash::of(&plaintext).to_string(),
                "sealed_bytes": sealed.len(),
                "sealed_head": hex::encode(&sealed[..HEADER_BYTES.min(sealed.len())]),
                "sealed_tail": hex::encode(&sealed[sealed.len() - TAG_BYTES..]),
                "sealed_blake3": crate::Hash::of(&sealed).to_string(),
                "sealed": full,
            })
        });
        json!({
            "spec": "specs/0005-transfer.md section 6",
            "plaintext": "byte i is (13 i + floor(i / 257)) mod 256",
            "key": hex::encode(KEY.as_bytes()),
            "salt": hex::encode(SALT),
            "cases": cases.collect::<Vec<_>>(),
        })
    }

    /// The format is fixed by the committed file. `KEYSTEAD_WRITE_VECTORS=1` writes it anew: that approves a new format.
    #[test]
    fn sealing_matches_the_committed_vectors() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/sealed-blob.json");
        if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
            std::fs::write(&path, format!("{:#}\n", vectors())).unwrap();
        }
        let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(committed, vectors());
        let sealed = hex::decode(committed["cases"][1]["sealed"].as_str().unwrap()).unwrap();
        assert_eq!(open(&KEY, &sealed).unwrap(), sample(1));
    }
}
