//! Moves partials between the members: signs and sends when a block became durable, sends again what is still missing, takes
//! what comes in.

use super::{
    Committee, Purpose, Signer, Standing, State,
    signer::Statement,
    state::Advance,
    wire::{self, Entry},
};
use bytes::Bytes as Buffer;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner, reschedule};
use commonware_utils::{Participant, ordered::Set};
use futures::future::{Either, select};
use keystead_types::{BeaconBatch, BeaconValue, Block};
use rand_core::CryptoRng;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How often a member looks which of its partials are still needed. A value is on chain some 1.2 s after its height at the
/// slowest rate of blocks, so on a healthy network nothing is ever sent twice.
const AGAIN_EVERY: Duration = Duration::from_secs(2);

/// What the engine's glue knows of the beacon. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Beacon {
    state: Arc<Mutex<State>>,
    committee: Arc<Committee>,
}

impl Beacon {
    pub(crate) fn new(committee: Committee, on_chain: u64) -> Self {
        let state = Arc::new(Mutex::new(State::new(committee.clone(), on_chain)));
        Self { state, committee: Arc::new(committee) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values that are there and not on chain yet, in the order of their heights.
    pub(crate) fn values(&self) -> Vec<(u64, BeaconValue)> {
        self.state().values()
    }

    /// The first value of a block that does not hold, as a sentence. The heights' place is the ledger's to check.
    ///
    /// Cost: up to a millisecond per value. Trust: the block is hostile.
    pub(crate) fn fault(&self, block: &Block) -> Option<String> {
        let batch = match BeaconBatch::among(block.requests()) {
            Ok(batch) => batch?,
            Err(error) => return Some(error.to_string()),
        };
        let wrong = batch.iter().find(|(height, value)| !self.holds(*height, value));
        wrong.map(|(height, _)| format!("wrong beacon value: height={height}"))
    }

    fn holds(&self, height: u64, value: &BeaconValue) -> bool {
        let known = self.state().value(height);
        known.map_or_else(|| self.committee.holds(&Statement::beacon(height), &value.0), |known| known == *value)
    }
}

/// The committee by its connections.
#[derive(Clone)]
pub(crate) struct Members<B> {
    pub(crate) participants: Set<PublicKey>,
    pub(crate) blocker: B,
}

impl<B: Blocker<PublicKey = PublicKey>> Members<B> {
    fn index(&self, peer: &PublicKey) -> Option<Participant> {
        let index = self.participants.iter().position(|it| it == peer)?;
        u32::try_from(index).ok().map(Participant::new)
    }

    /// Blocks the members that sent wrong partials.
    fn block(&mut self, guilty: Vec<Participant>) {
        for member in guilty {
            let Some(peer) = self.participants.iter().nth(usize::from(member)).cloned() else { continue };
            tracing::warn!(%peer, "blocking a validator: wrong beacon partial");
            commonware_p2p::block!(self.blocker, peer, "wrong beacon partial");
        }
    }
}

/// Signs what became final and sends it to the other members, until the engine stops.
pub(crate) async fn send<E, S, B>(
    mut runtime: E,
    beacon: Beacon,
    signer: Signer,
    mut members: Members<B>,
    mut standing: watch::Receiver<Standing>,
    mut sender: S,
) where
    E: Spawner + Clock + CryptoRng,
    S: Sender<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    let mut broadcast = |entries: &[Entry]| {
        for entries in entries.chunks(wire::ENTRIES_MAX) {
            sender.send(Recipients::All, Buffer::from(wire::encode(Purpose::Beacon, entries)), false);
        }
    };
    let mut signed_before = 0;
    let mut due = runtime.current();
    loop {
        let now = *standing.borrow_and_update();
        let Advance { fresh, guilty } = beacon.state().advance(&mut runtime, now, &signer);
        broadcast(&fresh);
        members.block(guilty);
        if fresh.len() == wire::ENTRIES_MAX {
            // There may be more to sign, after a start: others have their turn on this thread first.
            reschedule().await;
            continue;
        }
        if runtime.current() >= due {
            // What was signed since the last look is on its way.
            let again = beacon.state().again(signer.member(), signed_before);
            broadcast(&again);
            signed_before = beacon.state().signed();
            due = runtime.current().checked_add(AGAIN_EVERY).unwrap_or(due);
        }
        let look = Box::pin(runtime.sleep_until(due));
        if let Either::Left((Err(_), _)) = select(Box::pin(standing.changed()), look).await {
            // Nobody makes blocks durable any more: the engine stops.
            return;
        }
    }
}

/// Takes the partials of the other members; a member that sends something wrong is blocked.
pub(crate) async fn receive<E, R, B>(mut runtime: E, beacon: Beacon, mut members: Members<B>, mut receiver: R)
where
    E: Spawner + CryptoRng,
    R: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    while let Ok((peer, message)) = receiver.recv().await {
        let Some(from) = members.index(&peer) else { continue };
        let Some((Purpose::Beacon, entries)) = wire::decode(message.as_ref()) else {
            tracing::warn!(%peer, "blocking a validator: malformed beacon message");
            commonware_p2p::block!(members.blocker, peer, "malformed beacon message");
            continue;
        };
        for (height, partial) in entries {
            let answer = beacon.state().take(&mut runtime, from, (height, partial));
            members.block(answer.guilty);
            // Each entry may cost some milliseconds, and votes are handled on the same threads.
            reschedule().await;
        }
    }
}
