//! Keys of the validators, as bytes that can lie in files.
//!
//! # Design
//! [`deal`] is a dealer: it sees every share. It exists for development networks; a ceremony without a dealer will
//! fill the same [`ValidatorKeys`].

use commonware_codec::{Copying, Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        dkg::feldman_desmedt,
        primitives::{
            group::Share,
            sharing::{Mode, ModeVersion, Sharing},
            variant::MinSig,
        },
    },
    ed25519::{PrivateKey, PublicKey},
};
use commonware_math::algebra::Random as _;
use commonware_utils::{
    N3f1, NZU32, TryCollect as _,
    ordered::{Map, Set},
    rng::sys_rng,
};
use std::num::NonZeroU32;

/// Validators that one committee may have; bounds what is read from files.
pub(crate) const VALIDATORS_MAX: NonZeroU32 = NZU32!(128);

/// Keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A committee of this size cannot be dealt.
    #[error("cannot deal keys: validators={validators} min=1 max={max}", max = VALIDATORS_MAX)]
    Count {
        /// Validators asked for.
        validators: u32,
    },
    /// Bytes that are no key of this kind.
    #[error("malformed key: kind={0}")]
    Malformed(&'static str),
    /// The private key is not that of a member, or the share is not its share.
    #[error("the keys do not belong together: {0}")]
    Mismatch(&'static str),
}

/// One validator's secrets.
#[derive(Clone)]
pub struct Member {
    /// ed25519 public key: the validator's identity.
    pub public_key: [u8; 32],
    /// ed25519 private key.
    pub private_key: Vec<u8>,
    /// Share of the network key.
    pub share: Vec<u8>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// What a dealer hands out.
#[derive(Clone, Debug)]
pub struct Dealing {
    /// The network key: compressed G2 point.
    pub network_key: [u8; 96],
    /// The public polynomial: every validator needs it to check partial signatures.
    pub sharing: Vec<u8>,
    /// The validators in the order of their public keys.
    pub members: Vec<Member>,
}

/// Deals keys for `validators` members from the system's randomness. More than two thirds of them can sign.
///
/// Trust: the caller sees all shares and could sign alone; use it for development networks only.
///
/// # Errors
/// [`KeysError::Count`] for none or too many.
pub fn deal(validators: u32) -> Result<Dealing, KeysError> {
    let wrong = KeysError::Count { validators };
    if validators == 0 || validators > VALIDATORS_MAX.get() {
        return Err(wrong);
    }
    let mut rng = sys_rng();
    let signers: Map<PublicKey, PrivateKey> = (0..validators)
        .map(|_| {
            let key = PrivateKey::random(&mut rng);
            (key.public_key(), key)
        })
        .try_collect()
        .map_err(|_| wrong.clone())?;
    let (output, shares) =
        feldman_desmedt::deal::<MinSig, PublicKey, N3f1>(&mut rng, Mode::NonZeroCounter, signers.keys().clone())
            .map_err(|_| wrong.clone())?;
    let mut members = Vec::with_capacity(signers.len());
    for (public_key, private_key) in &signers {
        let share = shares.get_value(public_key).ok_or_else(|| wrong.clone())?;
        members.push(Member {
            public_key: array(&public_key.encode(), "public key")?,
            private_key: private_key.encode().to_vec(),
            share: share.encode().to_vec(),
        });
    }
    let sharing = output.public();
    Ok(Dealing {
        network_key: array(&sharing.public().encode(), "network key")?,
        sharing: sharing.encode().to_vec(),
        members,
    })
}

fn array<const N: usize>(bytes: &[u8], kind: &'static str) -> Result<[u8; N], KeysError> {
    bytes.try_into().map_err(|_| KeysError::Malformed(kind))
}

/// A validator's keys, checked to belong together.
#[derive(Clone)]
pub struct ValidatorKeys {
    pub(crate) signer: PrivateKey,
    pub(crate) share: Share,
    pub(crate) sharing: Sharing<MinSig>,
    pub(crate) participants: Set<PublicKey>,
}

impl std::fmt::Debug for ValidatorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValidatorKeys").field("public_key", &self.signer.public_key()).finish_non_exhaustive()
    }
}

impl ValidatorKeys {
    /// Reads one validator's keys and checks them against each other and against the committee.
    ///
    /// # Errors
    /// [`KeysError`]: the files are damaged or were mixed up.
    pub fn new(private_key: &[u8], share: &[u8], sharing: &[u8], participants: &[[u8; 32]]) -> Result<Self, KeysError> {
        let signer = PrivateKey::decode(Copying(private_key)).map_err(|_| KeysError::Malformed("private key"))?;
        let share = Share::decode(Copying(share)).map_err(|_| KeysError::Malformed("share"))?;
        let sharing = Sharing::<MinSig>::decode_cfg(Copying(sharing), &(VALIDATORS_MAX, ModeVersion::v0()))
            .map_err(|_| KeysError::Malformed("sharing"))?;
        let keys: Vec<PublicKey> = participants
            .iter()
            .map(|key| PublicKey::decode(Copying(key.as_slice())).map_err(|_| KeysError::Malformed("public key")))
            .collect::<Result<_, _>>()?;
        let participants: Set<PublicKey> =
            keys.into_iter().try_collect().map_err(|_| KeysError::Mismatch("a validator is listed twice"))?;
        if sharing.total().get() as usize != participants.len() {
            return Err(KeysError::Mismatch("the sharing is for another number of validators"));
        }
        let Some(index) = participants.iter().position(|key| *key == signer.public_key()) else {
            return Err(KeysError::Mismatch("this private key is not on the list of validators"));
        };
        if usize::from(share.index) != index {
            return Err(KeysError::Mismatch("the share is another validator's"));
        }
        let partial = sharing.partial_public(share.index).map_err(|_| KeysError::Mismatch("share index"))?;
        if share.public::<MinSig>() != partial {
            return Err(KeysError::Mismatch("the share does not fit the network key"));
        }
        Ok(Self { signer, share, sharing, participants })
    }

    /// This validator's identity: its ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        public_key_bytes(&self.signer.public_key())
    }

    /// The network key: compressed G2 point.
    ///
    /// # Errors
    /// [`KeysError::Malformed`] if the point does not have 96 bytes, which the engine's codec excludes.
    pub fn network_key(&self) -> Result<[u8; 96], KeysError> {
        array(&self.sharing.public().encode(), "network key")
    }
}

/// The 32 bytes of an identity.
pub(crate) fn public_key_bytes(key: &PublicKey) -> [u8; 32] {
    let mut out = [0; 32];
    key.as_ref().iter().zip(out.iter_mut()).for_each(|(from, to)| *to = *from);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn dealt_keys_are_accepted_and_mixed_up_ones_refused() {
        let dealing = deal(4).unwrap();
        let participants: Vec<[u8; 32]> = dealing.members.iter().map(|member| member.public_key).collect();
        for member in &dealing.members {
            let keys = ValidatorKeys::new(&member.private_key, &member.share, &dealing.sharing, &participants).unwrap();
            assert_eq!(keys.public_key(), member.public_key);
            assert_eq!(keys.network_key().unwrap(), dealing.network_key);
        }
        let (a, b) = (&dealing.members[0], &dealing.members[1]);
        let mixed = ValidatorKeys::new(&a.private_key, &b.share, &dealing.sharing, &participants).unwrap_err();
        assert_eq!(mixed, KeysError::Mismatch("the share is another validator's"));
        let other = deal(4).unwrap();
        let foreign = ValidatorKeys::new(&a.private_key, &a.share, &other.sharing, &participants).unwrap_err();
        assert_eq!(foreign, KeysError::Mismatch("the share does not fit the network key"));
        let stranger = ValidatorKeys::new(&other.members[0].private_key, &a.share, &dealing.sharing, &participants);
        assert_eq!(stranger.unwrap_err(), KeysError::Mismatch("this private key is not on the list of validators"));
    }

    #[test]
    fn a_committee_has_a_size_between_one_and_the_maximum() {
        assert_eq!(deal(0).unwrap_err(), KeysError::Count { validators: 0 });
        assert_eq!(deal(129).unwrap_err(), KeysError::Count { validators: 129 });
        assert_eq!(deal(1).unwrap().members.len(), 1);
    }
}
