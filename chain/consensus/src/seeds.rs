//! The seeds of recent views, as the engine's certificates revealed them.

use commonware_actor::Feedback;
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::{
    Reporter,
    simplex::{scheme::bls12381_threshold::vrf, types::Activity},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    bls12381::primitives::{
        ops,
        variant::{MinSig, Variant},
    },
    ed25519::PublicKey,
};
use keystead_types::{SEEDS_MAX, Seed, network_namespace};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

pub(crate) type Scheme = vrf::Scheme<PublicKey, MinSig>;
type PublicPoint = <MinSig as Variant>::Public;

/// Seeds kept: twice what one block may carry, so that a block over the longest run of failed views can be built.
const BOOK_MAX: usize = 2 * SEEDS_MAX;

/// What this node knows of seeds. Shared between the engine's reporter and the application.
#[derive(Clone)]
pub(crate) struct SeedBook {
    seeds: Arc<Mutex<BTreeMap<(u64, u64), Seed>>>,
    arrived: Arc<Notify>,
    namespace: Arc<Vec<u8>>,
    network_key: PublicPoint,
}

impl SeedBook {
    pub(crate) fn new(chain_id: u64, network_key: PublicPoint) -> Self {
        let mut namespace = network_namespace(chain_id);
        namespace.extend_from_slice(b"_SEED");
        Self { seeds: Arc::default(), arrived: Arc::default(), namespace: Arc::new(namespace), network_key }
    }

    /// Remembers a seed that came in a certificate which the engine verified.
    fn insert(&self, round: Round, seed: Seed) {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        seeds.insert((round.epoch().get(), round.view().get()), seed);
        while seeds.len() > BOOK_MAX {
            seeds.pop_first();
        }
        drop(seeds);
        self.arrived.notify_waiters();
    }

    /// Ends when a seed arrives after this call.
    pub(crate) fn arrival(&self) -> impl Future<Output = ()> + Send + '_ {
        self.arrived.notified()
    }

    /// The seed of (epoch, view), if this node has seen its certificate.
    pub(crate) fn get(&self, epoch: u64, view: u64) -> Option<Seed> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner).get(&(epoch, view)).copied()
    }

    /// True if `seed` is the seed of (epoch, view): as remembered, else by its signature.
    pub(crate) fn holds(&self, epoch: u64, view: u64, seed: &Seed) -> bool {
        if let Some(known) = self.get(epoch, view) {
            return known == *seed;
        }
        let Ok(signature) = <MinSig as Variant>::Signature::decode(Copying(seed.0.as_slice())) else { return false };
        let message = Round::new(Epoch::new(epoch), View::new(view)).encode();
        ops::verify_message::<MinSig>(&self.network_key, &self.namespace, &message, &signature).is_ok()
    }
}

/// Passes the engine's activity on and takes the seeds out of its certificates.
#[derive(Clone)]
pub(crate) struct SeedTap<R> {
    pub(crate) inner: R,
    pub(crate) book: SeedBook,
}

impl<R> SeedTap<R> {
    fn see(&self, round: Round, certificate: &vrf::Certificate<MinSig>) {
        let Some(signature) = certificate.get() else { return };
        if let Ok(bytes) = <[u8; 48]>::try_from(signature.seed_signature.encode().as_ref()) {
            self.book.insert(round, Seed(bytes));
        }
    }
}

impl<D, R> Reporter for SeedTap<R>
where
    D: commonware_cryptography::Digest,
    R: Reporter<Activity = Activity<Scheme, D>>,
{
    type Activity = Activity<Scheme, D>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        match &activity {
            Activity::Notarization(notarization) => self.see(notarization.proposal.round, &notarization.certificate),
            Activity::Nullification(nullification) => self.see(nullification.round, &nullification.certificate),
            Activity::Finalization(finalization) => self.see(finalization.proposal.round, &finalization.certificate),
            _ => {}
        }
        self.inner.report(activity)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use commonware_cryptography::bls12381::primitives::{group::Private, ops::compute_public};
    use commonware_math::algebra::Random as _;
    use commonware_utils::{rng::sys_rng, union_unique};

    const CHAIN_ID: u64 = 7;

    /// A network of one key, and its seed of (epoch, view).
    fn sign(private: &Private, epoch: u64, view: u64) -> Seed {
        let message = Round::new(Epoch::new(epoch), View::new(view)).encode();
        let signature = ops::sign_message::<MinSig>(private, b"keystead-7_SEED", &message);
        Seed(signature.encode().as_ref().try_into().unwrap())
    }

    #[test]
    fn a_seed_that_was_never_seen_holds_by_its_signature_for_its_view_only() {
        let private = Private::random(sys_rng());
        let book = SeedBook::new(CHAIN_ID, compute_public::<MinSig>(&private));
        let seed = sign(&private, 0, 300);
        assert!(book.holds(0, 300, &seed));
        assert!(!book.holds(0, 301, &seed) && !book.holds(1, 300, &seed));
        let mut flipped = seed;
        flipped.0[20] ^= 1;
        assert!(!book.holds(0, 300, &flipped));
        assert!(!SeedBook::new(8, compute_public::<MinSig>(&private)).holds(0, 300, &seed), "another chain");
    }

    #[test]
    fn a_seed_that_was_seen_is_compared_and_old_ones_make_room() {
        let private = Private::random(sys_rng());
        let book = SeedBook::new(CHAIN_ID, compute_public::<MinSig>(&private));
        let views = u64::try_from(BOOK_MAX).unwrap().saturating_add(2);
        (0..views).for_each(|view| book.insert(Round::new(Epoch::zero(), View::new(view)), Seed([9; 48])));
        assert_eq!((book.get(0, 1), book.get(0, 2)), (None, Some(Seed([9; 48]))));
        assert!(book.holds(0, 2, &Seed([9; 48])) && !book.holds(0, 2, &sign(&private, 0, 2)));
    }

    #[test]
    fn the_signed_message_is_that_of_the_spec() {
        let round = Round::new(Epoch::new(3), View::new(300)).encode();
        assert_eq!(Seed::message(CHAIN_ID, 3, 300), union_unique(b"keystead-7_SEED", &round));
    }
}
