//! A voucher, its EIP-712 digest, its signature, and who signed it.
//!
//! # Design
//! All fields have a fixed size, so the digest is two hashes over fixed layouts; no encoder is needed. Signatures are recovered by
//! the C library, as the ledger does for transactions. Spec: specs/0009-channel.md sections 5 and 6; vectors:
//! `specs/vectors/channel.json`.

use alloy_primitives::{Address, B256, FixedBytes, Keccak256, U256, keccak256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use keystead_contracts::{CHANNEL_ADDRESS, bindings::channel::IChannel};
use secp256k1::{
    Message, SECP256K1,
    ecdsa::{RecoverableSignature, RecoveryId},
};

const DOMAIN_TYPE: &str = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const NAME: &str = "Keystead Channel";
const VERSION: &str = "1";
const VOUCHER_TYPE: &str = "Voucher(bytes32 channelId,uint64 window,uint32 units,uint128 cumulative,uint128 heldBack,\
                            bytes32 root,bytes32 history)";

/// Half of the order of secp256k1, big-endian: the highest `s` that has one form (EIP-2).
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Which chain and contract a voucher is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Domain {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The contract; on Keystead [`CHANNEL_ADDRESS`].
    pub contract: Address,
}

impl Domain {
    /// The channels of a chain of ours.
    #[must_use]
    pub const fn of_chain(chain_id: u64) -> Self {
        Self { chain_id, contract: CHANNEL_ADDRESS }
    }

    /// The EIP-712 domain separator.
    #[must_use]
    pub fn separator(&self) -> B256 {
        hash_words([
            keccak256(DOMAIN_TYPE),
            keccak256(NAME),
            keccak256(VERSION),
            word(self.chain_id.into()),
            self.contract.into_word(),
        ])
    }
}

/// What a signer signs: the provider has earned `cumulative` in all, up to and including this window.
///
/// Amounts are wei, or the smallest units of the channel's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Voucher {
    /// The channel.
    pub channel_id: B256,
    /// Number of the window, from 1.
    pub window: u64,
    /// Units in this window, at least 1.
    pub units: u32,
    /// What the provider has earned in all, this window included.
    pub cumulative: u128,
    /// The part of `cumulative` that waits for this window's audit.
    pub held_back: u128,
    /// As in the window's report.
    pub root: B256,
    /// Hash over all windows before this one; zero for the first.
    pub history: B256,
}

impl Voucher {
    /// The EIP-712 hash of the fields.
    #[must_use]
    pub fn struct_hash(&self) -> B256 {
        hash_words([
            keccak256(VOUCHER_TYPE),
            self.channel_id,
            word(self.window.into()),
            word(self.units.into()),
            word(self.cumulative),
            word(self.held_back),
            self.root,
            self.history,
        ])
    }

    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update([0x19, 0x01]);
        hasher.update(domain.separator());
        hasher.update(self.struct_hash());
        hasher.finalize()
    }

    /// What the histories of later vouchers know this window by.
    #[must_use]
    pub fn window_id(&self) -> B256 {
        window_id(self.channel_id, self.window, self.units, self.root)
    }

    /// The history that the next window's voucher carries.
    #[must_use]
    pub fn history_after(&self) -> B256 {
        hash_words([self.history, self.window_id()])
    }

    /// Signs it.
    ///
    /// # Errors
    /// The signer's own.
    pub fn sign<S: Sign>(self, domain: &Domain, signer: &S) -> Result<Signed, S::Error> {
        let signature = signer.sign(self.digest(domain))?;
        Ok(Signed { voucher: self, signature })
    }
}

impl From<Voucher> for IChannel::Voucher {
    fn from(voucher: Voucher) -> Self {
        Self {
            channelId: voucher.channel_id,
            window: voucher.window,
            units: voucher.units,
            cumulative: voucher.cumulative,
            heldBack: voucher.held_back,
            root: voucher.root,
            history: voucher.history,
        }
    }
}

/// What a voucher's history knows a window by. Spec: specs/0009-channel.md section 6.
#[must_use]
pub fn window_id(channel_id: B256, window: u64, units: u32, root: B256) -> B256 {
    hash_words([channel_id, word(window.into()), word(units.into()), root])
}

/// A key that signs digests; held outside, for example by a wallet.
pub trait Sign {
    /// Why it could not sign.
    type Error;

    /// Signs a digest in the one form of [`Signature`].
    ///
    /// # Errors
    /// The key is locked or gone; nothing was signed.
    fn sign(&self, digest: B256) -> Result<Signature, Self::Error>;
}

/// `r || s || v`: 65 bytes, low `s`, `v` 27 or 28. Any bytes can be in it; [`Signature::signer`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Signature(pub FixedBytes<65>);

/// Why bytes are no signature in its one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The last byte is neither 27 nor 28.
    #[error("not a recovery byte: got={got} allowed=27,28")]
    RecoveryByte {
        /// The byte found.
        got: u8,
    },
    /// `s` lies in the upper half: the mirror of a signature, not one.
    #[error("the signature is mirrored: s is in the upper half of the order")]
    Mirrored,
    /// No key gives these numbers.
    #[error("not a point of the curve")]
    NoKey,
    /// Another key signed.
    #[error("another key signed: expected={expected} recovered={recovered}")]
    AnotherSigner {
        /// Whose signature it must be.
        expected: Address,
        /// Whose it is.
        recovered: Address,
    },
}

impl Signature {
    /// Who signed `digest`. Hostile input is fine. Cost: one recovery, well below 100 us.
    ///
    /// # Errors
    /// Every form but the one is refused, as the contract does.
    pub fn signer(&self, digest: B256) -> Result<Address, SignatureError> {
        let [compact @ .., recovery_byte] = self.0.0;
        let recovery = match recovery_byte {
            27 => RecoveryId::Zero,
            28 => RecoveryId::One,
            got => return Err(SignatureError::RecoveryByte { got }),
        };
        if compact[32..] > HALF_ORDER[..] {
            return Err(SignatureError::Mirrored);
        }
        let signature = RecoverableSignature::from_compact(&compact, recovery).map_err(|_| SignatureError::NoKey)?;
        let key =
            SECP256K1.recover_ecdsa(Message::from_digest(digest.0), &signature).map_err(|_| SignatureError::NoKey)?;
        Ok(Address::from_secp256k1_public_key(&key))
    }
}

/// Longest message with a voucher and its signature: 32-byte words with their heads, 65 bytes of signature, two list heads.
pub const SIGNED_BYTES_MAX: usize = 224;

/// The bytes are not the one encoding of a message of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a payment message: got_bytes={got_bytes} max_bytes={max_bytes}")]
pub struct Malformed {
    /// How many bytes there were.
    pub got_bytes: usize,
    /// Most that there may be.
    pub max_bytes: usize,
}

pub(crate) fn decode_message<T: Decodable>(bytes: &[u8], max_bytes: usize) -> Result<T, Malformed> {
    let malformed = Malformed { got_bytes: bytes.len(), max_bytes };
    if bytes.len() > max_bytes {
        return Err(malformed);
    }
    alloy_rlp::decode_exact(bytes).map_err(|_| malformed)
}

/// A voucher with its signature, which may be anybody's until [`Signed::verify`] says whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Signed {
    /// The voucher.
    pub voucher: Voucher,
    /// The signature over it.
    pub signature: Signature,
}

impl Signed {
    /// The message to the provider: RLP, at most [`SIGNED_BYTES_MAX`] bytes. Spec: specs/0009-channel.md section 11.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads such a message; hostile bytes are fine. One encoding per value.
    ///
    /// # Errors
    /// [`Malformed`]: drop it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        decode_message(bytes, SIGNED_BYTES_MAX)
    }

    /// Checks that `signer` signed this voucher for this domain.
    ///
    /// # Errors
    /// [`SignatureError`]: the voucher is worth nothing on the chain.
    pub fn verify(&self, domain: &Domain, signer: Address) -> Result<(), SignatureError> {
        let recovered = self.signature.signer(self.voucher.digest(domain))?;
        if recovered != signer {
            return Err(SignatureError::AnotherSigner { expected: signer, recovered });
        }
        Ok(())
    }
}

fn word(number: u128) -> B256 {
    U256::from(number).into()
}

fn hash_words<const N: usize>(words: [B256; N]) -> B256 {
    let mut hasher = Keccak256::new();
    for word in words {
        hasher.update(word);
    }
    hasher.finalize()
}
