//! The seeds of recent views, as the engine's certificates revealed them.

use commonware_actor::Feedback;
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::{
    Reporter,
    simplex::{scheme::bls12381_threshold::vrf, types::Activity},
    types::Round,
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
        let mut message = Vec::with_capacity(20);
        [epoch, view].into_iter().for_each(|number| put_leb128(&mut message, number));
        ops::verify_message::<MinSig>(&self.network_key, &self.namespace, &message, &signature).is_ok()
    }
}

/// Unsigned LEB128, shortest form.
fn put_leb128(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
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
