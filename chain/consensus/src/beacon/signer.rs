//! The share, and the only messages that it signs after finality.
//!
//! # Invariants
//! Nothing is signed but a [`Statement`], in the namespace of its purpose, once its height is final and committed here. The
//! list of purposes is closed: whoever needs another adds it here, with a namespace that no other signature has.
//!
//! Spec: specs/0007-beacon.md §2 and §3.

use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_cryptography::bls12381::primitives::{
    group::Share,
    ops::{self, threshold},
    sharing::Sharing,
    variant::{MinSig, PartialSignature, Variant},
};
use commonware_parallel::Sequential;
use commonware_utils::{Participant, iter::NonEmpty};
use keystead_types::{BeaconValue, SIGNATURE_BYTES};
use rand_core::CryptoRng;
use tokio::sync::watch;

/// A member's signature, not combined yet.
pub(crate) type Partial = PartialSignature<MinSig>;

/// How far this node's committed chain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Height of the last durable block.
    pub(crate) committed: u64,
    /// Newest height whose beacon value is in a durable block.
    pub(crate) on_chain: u64,
}

/// What a share signs for after finality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The beacon value of a height.
    Beacon,
}

/// One thing to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) purpose: Purpose,
    /// The height that must be final first. Every purpose has one.
    pub(crate) height: u64,
}

impl Statement {
    pub(crate) const fn beacon(height: u64) -> Self {
        Self { purpose: Purpose::Beacon, height }
    }

    fn payload(&self) -> Vec<u8> {
        match self.purpose {
            Purpose::Beacon => BeaconValue::payload(self.height),
        }
    }
}

/// The public side: who may sign, in which namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Committee {
    sharing: Sharing<MinSig>,
    beacon: Vec<u8>,
}

impl Committee {
    pub(crate) fn new(chain_id: u64, sharing: Sharing<MinSig>) -> Self {
        sharing.precompute_partial_publics();
        Self { sharing, beacon: BeaconValue::namespace(chain_id) }
    }

    fn namespace(&self, purpose: Purpose) -> &[u8] {
        match purpose {
            Purpose::Beacon => &self.beacon,
        }
    }

    /// Partials that make a signature.
    pub(crate) fn required(&self) -> usize {
        usize::try_from(self.sharing.required()).unwrap_or(usize::MAX)
    }

    /// Those of the partials over one statement that their makers' public shares refuse. Cost: about a millisecond, and as much
    /// again for each step of the search if there are wrong ones.
    pub(crate) fn wrong(&self, rng: &mut impl CryptoRng, statement: &Statement, partials: &[&Partial]) -> Vec<Partial> {
        let Some(given) = NonEmpty::try_new(partials.iter().copied()) else { return Vec::new() };
        let (namespace, payload) = (self.namespace(statement.purpose), statement.payload());
        let answer = threshold::batch_verify_same_message(rng, &self.sharing, namespace, &payload, given, &Sequential);
        answer.err().unwrap_or_default().into_iter().cloned().collect()
    }

    /// The network's signature out of verified partials; `None` if they are too few.
    pub(crate) fn combine<'p>(
        &self,
        statement: &Statement,
        partials: impl IntoIterator<Item = &'p Partial>,
    ) -> Option<[u8; SIGNATURE_BYTES]> {
        let signature = threshold::recover(&self.sharing, partials, &Sequential).ok()?;
        let bytes = signature.encode().as_ref().try_into().ok()?;
        self.holds(statement, &bytes).then_some(bytes)
    }

    /// True if the bytes are the network's signature over the statement. Cost: about a millisecond. Trust: hostile.
    pub(crate) fn holds(&self, statement: &Statement, bytes: &[u8; SIGNATURE_BYTES]) -> bool {
        let Some(signature) = point(bytes) else { return false };
        let (namespace, payload) = (self.namespace(statement.purpose), statement.payload());
        ops::verify_message::<MinSig>(self.sharing.public(), namespace, &payload, &signature).is_ok()
    }
}

/// A signature point in its one encoding, checked to be in the group.
pub(crate) fn point(bytes: &[u8; SIGNATURE_BYTES]) -> Option<<MinSig as Variant>::Signature> {
    let point = <MinSig as Variant>::Signature::decode(Copying(bytes.as_slice())).ok()?;
    (point.encode().as_ref() == bytes).then_some(point)
}

/// Signs with the share what may be signed.
pub(crate) struct Signer {
    /// `None` while this validator follows without its share.
    share: Option<Share>,
    /// This validator's place in the committee.
    member: Participant,
    committee: Committee,
    standing: watch::Receiver<Standing>,
}

impl Signer {
    /// `standing` is written by whoever makes blocks durable, and by nobody else.
    pub(crate) const fn new(
        share: Option<Share>,
        member: Participant,
        committee: Committee,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self { share, member, committee, standing }
    }

    /// This validator's place in the committee.
    pub(crate) const fn member(&self) -> Participant {
        self.member
    }

    /// This member's partial; `None` if its height is not final and committed here, or without a share. Signing again gives
    /// the same bytes.
    pub(crate) fn sign(&self, statement: &Statement) -> Option<Partial> {
        let committed = self.standing.borrow().committed;
        if statement.height == 0 || statement.height > committed {
            return None;
        }
        let namespace = self.committee.namespace(statement.purpose);
        Some(threshold::sign_message::<MinSig>(self.share.as_ref()?, namespace, &statement.payload()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use super::*;
    use crate::{ValidatorKeys, deal};
    use commonware_utils::rng::sys_rng;

    pub(crate) const CHAIN_ID: u64 = 7;

    /// The keys of a whole committee.
    pub(crate) fn keys(count: u32) -> Vec<ValidatorKeys> {
        let dealing = deal(count).unwrap();
        let participants: Vec<[u8; 32]> = dealing.members.iter().map(|member| member.public_key).collect();
        let keys = dealing.members.iter();
        keys.map(|it| ValidatorKeys::new(&it.private_key, &it.share, &dealing.sharing, &participants).unwrap())
            .collect()
    }

    pub(crate) fn committee(keys: &ValidatorKeys) -> Committee {
        Committee::new(CHAIN_ID, keys.sharing.clone())
    }

    pub(crate) fn signer(keys: &ValidatorKeys, committed: u64) -> Signer {
        let (_, standing) = watch::channel(Standing { committed, on_chain: 0 });
        Signer::new(Some(keys.share.clone()), keys.share.index, committee(keys), standing)
    }

    #[test]
    fn nothing_is_signed_before_its_height_is_committed_here() {
        let keys = keys(4);
        let (standing, watched) = watch::channel(Standing { committed: 5, on_chain: 0 });
        let signer = Signer::new(Some(keys[0].share.clone()), keys[0].share.index, committee(&keys[0]), watched);
        assert_eq!(signer.sign(&Statement::beacon(0)), None, "the genesis block has no value");
        assert!(signer.sign(&Statement::beacon(5)).is_some());
        assert_eq!(signer.sign(&Statement::beacon(6)), None);
        standing.send_modify(|it| it.committed = 6);
        let partial = signer.sign(&Statement::beacon(6)).unwrap();
        assert_eq!(signer.sign(&Statement::beacon(6)), Some(partial), "again, the same");
    }

    #[test]
    fn a_validator_without_its_share_signs_nothing() {
        let keys = keys(4);
        let (_, standing) = watch::channel(Standing { committed: 9, on_chain: 0 });
        let signer = Signer::new(None, keys[0].share.index, committee(&keys[0]), standing);
        assert_eq!(signer.sign(&Statement::beacon(1)), None);
    }

    #[test]
    fn the_combined_signature_is_the_same_whoever_signs() {
        let keys = keys(4);
        let (committee, statement) = (committee(&keys[0]), Statement::beacon(300));
        let partials: Vec<Partial> = keys.iter().map(|it| signer(it, 300).sign(&statement).unwrap()).collect();
        assert_eq!(committee.required(), 3);
        assert_eq!(committee.wrong(&mut sys_rng(), &statement, &partials.iter().collect::<Vec<_>>()), []);
        let value = committee.combine(&statement, &partials[..3]).unwrap();
        assert_eq!(committee.combine(&statement, &partials[1..]), Some(value));
        assert_eq!(committee.combine(&statement, &partials[..2]), None, "two of four are too few");
        assert!(committee.holds(&statement, &value));
        assert!(!committee.holds(&Statement::beacon(301), &value), "another height");
        assert!(!Committee::new(8, keys[0].sharing.clone()).holds(&statement, &value), "another chain");
        // The message is the one of the spec, which other verifiers build.
        let message = BeaconValue::message(CHAIN_ID, 300);
        assert_eq!(message, commonware_utils::union_unique(&BeaconValue::namespace(CHAIN_ID), &statement.payload()));
    }

    #[test]
    fn a_wrong_partial_names_its_maker() {
        let keys = keys(4);
        let (committee, statement) = (committee(&keys[0]), Statement::beacon(9));
        let mut partials: Vec<Partial> = keys.iter().map(|it| signer(it, 9).sign(&statement).unwrap()).collect();
        partials[2] = signer(&keys[2], 9).sign(&Statement::beacon(8)).unwrap();
        let wrong = committee.wrong(&mut sys_rng(), &statement, &partials.iter().collect::<Vec<_>>());
        assert_eq!(wrong.iter().map(|it| it.index).collect::<Vec<_>>(), [keys[2].share.index]);
        let foreign = Committee::new(8, keys[0].sharing.clone());
        let wrong = foreign.wrong(&mut sys_rng(), &Statement::beacon(9), &partials.iter().collect::<Vec<_>>());
        assert_eq!(wrong.len(), 4, "partials of another chain");
    }
}
