//! One conversation with the provider: say who we are, give the inputs, take the outputs.

use super::{choose::Choice, folder::Folder, happened, plan::Prepared, show::Show, state::Received};
use crate::compute::{account::Account, event_log::Pace, matching::links::Links, opening::Work, own_node::towards};
use alloy_primitives::{B256, U256};
use eyre::{Context as _, Result};
use keystead_blobs::{
    Address, BlobStore, Capacity, Delivery, Endpoint, Event, Hash, Hello, Inputs, MemoryStore, Parties, RefusalCode,
    Session, SessionError, StoreError, WINDOW_BYTES, Want, hash, hello_digest,
};
use keystead_job::{JobSpec, commitment::Secret, trace::Trace};
use keystead_market::table::Direction;
use std::{
    cell::Cell,
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::block_in_place;

/// Bytes of one name in a list.
const NAME_BYTES: u64 = 32;
/// How long one conversation about states may take; what has arrived by then is kept.
const STATES_MAX: Duration = Duration::from_secs(60);

/// What arrived. The bytes are in the store, verified against their names.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) secret: Secret,
    /// Names of the outputs in unit order.
    pub(super) outputs: Vec<B256>,
    /// The states of each unit, in unit order; empty for a job of one segment, and if the provider keeps them to itself.
    pub(super) traces: Vec<Trace>,
    pub(super) result_root: B256,
}

impl Arrived {
    /// Whether the outputs came alone: they do not open the commitment, which is made of the states too.
    pub(super) fn lacks_states(&self, spec: &JobSpec) -> bool {
        spec.segment_count > 1 && self.traces.is_empty()
    }

    /// What an earlier process received; `None` if something of it is no longer whole.
    pub(super) fn restore(received: &Received, spec: &JobSpec, store: &dyn BlobStore) -> Option<Self> {
        let secret = Secret::new(received.secret.0);
        let part = Part { spec, units: received.units.unwrap_or(spec.unit_count), may_lack_states: false };
        let arrived = Self::read(secret, received.result_root, part, store).ok()?;
        let here = |name: &B256| matches!(store.size(Hash::from(*name)), Ok(Some(_)));
        arrived.outputs.iter().all(here).then_some(arrived)
    }

    /// Reads the lists that have arrived.
    fn read(secret: Secret, result_root: B256, part: Part<'_>, store: &dyn BlobStore) -> Result<Self, Broken> {
        let mut outputs = names(store, result_root, part.result_count())?;
        let lists = outputs.split_off(part.units as usize);
        if part.may_lack_states {
            return Ok(Self { secret, outputs, traces: Vec::new(), result_root });
        }
        let trace = |list: B256| {
            let states = names(store, list, part.spec.segment_count as usize)?;
            Trace::new(states).map_err(|error| Broken::Malformed(error.to_string()))
        };
        let traces = lists.into_iter().map(trace).collect::<Result<Vec<Trace>, Broken>>()?;
        Ok(Self { secret, outputs, traces, result_root })
    }

    /// As a checker's source shows it.
    pub(super) fn work(&self) -> Work {
        let secret = Secret::new(self.secret.reveal());
        Work { secret, outputs: self.outputs.clone(), traces: self.traces.clone() }
    }

    /// How many units have arrived: of an order that was stopped it may be a part.
    pub(super) fn units(&self) -> u32 {
        u32::try_from(self.outputs.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn received(&self) -> Received {
        let units = Some(self.units());
        Received { secret: B256::new(self.secret.reveal()), result_root: self.result_root, units }
    }
}

/// What is to arrive of a job: its first units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) spec: &'a JobSpec,
    /// All of the job, or fewer of an order that was stopped.
    pub(super) units: u32,
    /// The outputs will do if the provider does not give the lists of their states.
    pub(super) may_lack_states: bool,
}

impl Part<'_> {
    /// Names in the result list: an output a unit, and with several segments a list of states a unit.
    fn result_count(self) -> usize {
        let lists = if self.spec.segment_count == 1 { 1 } else { 2 };
        (self.units as usize).saturating_mul(lists)
    }
}

const fn list_bytes(count: usize) -> u64 {
    (count as u64).saturating_mul(NAME_BYTES)
}

/// A list of exactly so many names, from the store.
fn names(store: &dyn BlobStore, list: B256, count: usize) -> Result<Vec<B256>, Broken> {
    let bytes =
        block_in_place(|| store.get(Hash::from(list), list_bytes(count))).map_err(|error| broken(error.into()))?;
    let names = hash::parse_list(&bytes, count).map_err(|error| Broken::Malformed(error.to_string()))?;
    Ok(names.into_iter().map(B256::from).collect())
}

/// Why a conversation ended without outputs.
#[derive(Debug)]
pub(super) enum Broken {
    /// Worth another try: not reached, lost, busy.
    ForNow(String),
    /// The provider will not deliver this order.
    ForGood(String),
    /// The provider gives the outputs, and not the lists of their states.
    Unlisted(String),
    /// The provider delivered what cannot be the job's result.
    Malformed(String),
    /// This machine cannot keep what arrives: its disk is full or broken.
    Here(String),
}

/// How fast inputs go to a provider. What was handed to the transport first may still lie in its window, so it does not count.
#[derive(Debug, Default)]
struct Sending {
    begun: Option<(u64, Instant)>,
    last: Option<(u64, Instant)>,
}

impl Sending {
    /// So many bytes were handed to the transport by then.
    fn saw(&mut self, bytes: u64, now: Instant) {
        if bytes < u64::from(WINDOW_BYTES) {
            return;
        }
        self.begun.get_or_insert((bytes, now));
        self.last = Some((bytes, now));
    }

    /// The provider has all that it lacked: how many bytes counted, and how long they took. Once.
    fn end(&mut self) -> Option<(u64, Duration)> {
        let ((first, begun), (last, ended)) = self.begun.take().zip(self.last.take())?;
        Some((last.saturating_sub(first), ended.saturating_duration_since(begun)))
    }
}

/// Everything that conversations about one order share.
#[derive(Debug)]
pub(super) struct Line {
    endpoint: Endpoint,
    inputs: Inputs,
    pub(super) store: Arc<dyn BlobStore>,
    hello: Hello,
    to: Choice,
    /// Where it is remembered how fast bytes go.
    links: Links,
    /// Since when the provider has not been heard; `None` during a conversation.
    silent_since: Cell<Option<Instant>>,
    /// How far programs were told that the provider is.
    pace: Cell<Pace>,
}

impl Line {
    /// Opens a socket, puts the inputs where the provider can fetch them, signs the credential. Outputs go to `store`.
    pub(super) async fn open(
        account: &Account,
        order: U256,
        prepared: &Prepared,
        to: Choice,
        (store, folder): (Arc<dyn BlobStore>, &Folder),
        links: Links,
    ) -> Result<Self> {
        let node = folder.node()?;
        let parties = Parties { customer: node.secret.id(), provider: to.endpoint.id() };
        let credential = account.sign(hello_digest(order, parties))?;
        let endpoint = node.bind(towards(to.endpoint.sockets())).await?;
        let hello = Hello { order, job: prepared.spec.encode().into(), credential: credential.to_vec().into() };
        let silent_since = Cell::new(Some(Instant::now()));
        let segments = u64::from(prepared.spec.unit_count).saturating_mul(u64::from(prepared.spec.segment_count));
        let pace = Cell::new(Pace::new(segments));
        Ok(Self { endpoint, inputs: offered(prepared)?, store, hello, to, links, silent_since, pace })
    }

    /// For how long the provider has not been heard.
    pub(super) fn silent_for(&self) -> Duration {
        self.silent_since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Talks until all outputs are here.
    pub(super) async fn converse(&self, part: Part<'_>, show: &mut Show) -> Result<Arrived, Broken> {
        // Also after a conversation that was left in its middle.
        self.silent_since.set(self.silent_since.get().or_else(|| Some(Instant::now())));
        let outcome = self.talk(part, show).await;
        self.silent_since.set(self.silent_since.get().or_else(|| Some(Instant::now())));
        outcome
    }

    async fn talk(&self, part: Part<'_>, show: &mut Show) -> Result<Arrived, Broken> {
        let inputs = Inputs { store: Arc::clone(&self.inputs.store), hashes: self.inputs.hashes.clone() };
        let mut session =
            Session::open(&self.endpoint, &self.to.endpoint, self.hello.clone(), inputs).await.map_err(broken)?;
        self.silent_since.set(None);
        let (log, about) = (Arc::clone(show.log()), (self.hello.order, self.provider()));
        log.tell(&happened::about("connected", about, ""));
        let total_bytes = self.input_bytes();
        let (mut sent, mut pace, mut sending) = (session.sent(), self.pace.get(), Sending::default());
        let (finished, what) = match part.spec.segment_count {
            1 => ("units finished", "units"),
            _ => ("segments finished", "segments"),
        };
        let delivery = loop {
            tokio::select! {
                event = session.next() => match event.map_err(broken)? {
                    Event::Wants { blobs } => tracing::debug!(blobs, "the provider fetches inputs"),
                    Event::Progress(progress) => {
                        let (done, of) = (u64::from(progress.done), u64::from(progress.total));
                        show.progress(finished, done, of);
                        if let Some((bytes, took)) = sending.end() {
                            self.remember(Direction::Down, bytes, took);
                        }
                        // Before that it fetches what it lacks.
                        log.tell_once(&happened::input_sent(about, total_bytes));
                        if pace.is_news(done, of) {
                            self.pace.set(pace);
                            log.tell_once(&happened::progress(about, (done, of), what));
                        }
                    }
                    Event::Committed(commitment) => tracing::debug!(%commitment, "the provider committed"),
                    Event::Delivered(delivery) => break delivery,
                    Event::Note(note) => show.says(about, &note),
                },
                Ok(()) = sent.changed() => {
                    let bytes = sent.borrow_and_update().bytes;
                    sending.saw(bytes, Instant::now());
                    show.progress("bytes of input sent", bytes.min(total_bytes), total_bytes);
                }
            }
        };
        let arrived = self.fetch(&session, part, delivery, show).await?;
        if let Err(error) = session.finish().await {
            // Everything is here; the provider learns of it from the chain.
            tracing::debug!(%error, "the provider did not confirm the end of the session");
        }
        Ok(arrived)
    }

    /// Fetches the states that a check needs, in a session of their own: which ones, the provider may learn only after its commitment
    /// stands on the chain. Those that are here already are not fetched again.
    pub(super) async fn fetch_states(
        &self,
        spec: &JobSpec,
        states: BTreeSet<Hash>,
        show: &mut Show,
    ) -> Result<(), Broken> {
        let missing = |state: &Hash| !matches!(self.store.size(*state), Ok(Some(_)));
        let missing: BTreeSet<Hash> = states.into_iter().filter(missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let inputs = Inputs { store: Arc::clone(&self.inputs.store), hashes: Vec::new() };
        let fetching = async {
            let mut session =
                Session::open(&self.endpoint, &self.to.endpoint, self.hello.clone(), inputs).await.map_err(broken)?;
            while !matches!(session.next().await.map_err(broken)?, Event::Delivered(_)) {}
            self.fetch_all(&session, missing, spec.limits.output_bytes_max, "states received", show).await?;
            if let Err(error) = session.finish().await {
                tracing::debug!(%error, "the provider did not confirm the end of the session");
            }
            Ok(())
        };
        let late = || Err(Broken::ForNow("the provider does not give the states that it committed to".to_owned()));
        tokio::time::timeout(STATES_MAX, fetching).await.unwrap_or_else(|_| late())
    }

    /// The result list first, then the outputs, then the lists of states.
    async fn fetch(
        &self,
        session: &Session,
        part: Part<'_>,
        delivery: Delivery,
        show: &mut Show,
    ) -> Result<Arrived, Broken> {
        let Part { spec, units, may_lack_states } = part;
        let (root, count) = (delivery.result(), part.result_count());
        let want = Want { hash: root, bytes_max: list_bytes(count) };
        session.fetch(&self.store, vec![want], &mut |_| {}).await.map_err(broken)?;
        let mut outputs = names(&*self.store, root.into(), count)?;
        let lists: BTreeSet<Hash> = outputs.split_off(units as usize).into_iter().map(Hash::from).collect();
        let list_bytes = list_bytes(spec.segment_count as usize);
        let outputs: BTreeSet<Hash> = outputs.into_iter().map(Hash::from).collect();
        self.fetch_all(session, outputs, spec.limits.output_bytes_max, "outputs received", show).await?;
        let listed = match self.fetch_all(session, lists, list_bytes, "lists of states received", show).await {
            Err(Broken::Here(why)) => return Err(Broken::Here(why)),
            Err(_) if may_lack_states => false,
            Err(Broken::ForNow(why) | Broken::ForGood(why)) => return Err(Broken::Unlisted(why)),
            listed => listed.map(|()| true)?,
        };
        let part = Part { may_lack_states: !listed, ..part };
        Arrived::read(Secret::new(delivery.secret.0), root.into(), part, &*self.store)
    }

    async fn fetch_all(
        &self,
        session: &Session,
        names: BTreeSet<Hash>,
        bytes_max: u64,
        what: &'static str,
        show: &mut Show,
    ) -> Result<(), Broken> {
        if names.is_empty() {
            return Ok(());
        }
        let wants = names.into_iter().map(|hash| Want { hash, bytes_max }).collect();
        let (begun, mut bytes) = (Instant::now(), 0);
        let mut report = |fetched: keystead_blobs::Fetched| {
            bytes = fetched.bytes_received;
            show.progress(what, fetched.blobs_done, fetched.blobs_total);
        };
        session.fetch(&self.store, wants, &mut report).await.map_err(broken)?;
        self.remember(Direction::Up, bytes, begun.elapsed());
        Ok(())
    }

    /// For plans to come: so many bytes went to the provider, or came from it, in that time.
    fn remember(&self, direction: Direction, bytes: u64, took: Duration) {
        let node = B256::new(*self.to.endpoint.id().as_bytes());
        block_in_place(|| self.links.note(node, direction, bytes, took));
    }

    /// The provider published another address, as after a restart; it counts only if it names the same node.
    pub(super) fn redirect(&mut self, endpoint: &str) {
        if let Ok(endpoint) = endpoint.parse::<Address>()
            && endpoint.id() == self.to.endpoint.id()
        {
            self.to.endpoint = endpoint;
        }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The inputs that are offered.
    pub(super) fn inputs(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.inputs.store)
    }

    /// One of the provider's sockets.
    pub(super) fn provider_socket(&self) -> Option<SocketAddr> {
        self.to.endpoint.sockets().first().copied()
    }

    /// Whom this is about.
    pub(super) const fn provider(&self) -> alloy_primitives::Address {
        self.to.account
    }

    /// Tells the provider of an order that it did not lease, if it can be reached, that it need not.
    pub(super) async fn cancel(&self) {
        let inputs = Inputs { store: Arc::clone(&self.inputs.store), hashes: Vec::new() };
        let outcome = match Session::open(&self.endpoint, &self.to.endpoint, self.hello.clone(), inputs).await {
            Ok(session) => session.cancel().await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            // The contract's calls decide.
            tracing::debug!(%error, "the provider did not hear, or not heed, a cancellation");
        }
    }

    pub(super) async fn close(&self) {
        self.endpoint.close().await;
    }

    fn input_bytes(&self) -> u64 {
        let sizes = self.inputs.hashes.iter().filter_map(|hash| self.inputs.store.size(*hash).ok().flatten());
        sizes.fold(0, u64::saturating_add)
    }
}

/// The provider may fetch exactly these: program, checker program if there is one, common input, list of units, units.
fn offered(prepared: &Prepared) -> Result<Inputs> {
    let store = MemoryStore::new(Capacity::default());
    let names: Vec<Hash> = prepared.unit_names.iter().copied().map(Hash::from).collect();
    let list = hash::encode_list(&names);
    let mut hashes = BTreeSet::new();
    let shared = [prepared.side.program(), prepared.common.as_slice(), list.as_slice()];
    for bytes in shared.into_iter().chain(prepared.side.checker()).chain(prepared.units.iter().map(Vec::as_slice)) {
        hashes.insert(store.put(bytes).wrap_err("the inputs are too large")?);
    }
    Ok(Inputs { store: Arc::new(store), hashes: hashes.into_iter().collect() })
}

fn broken(error: SessionError) -> Broken {
    let text = error.to_string();
    match error {
        SessionError::Failed(_) | SessionError::Cancelled => Broken::ForGood(text),
        SessionError::Refused(refusal) => match refusal.code {
            RefusalCode::Busy | RefusalCode::ChainUnavailable | RefusalCode::Internal => Broken::ForNow(text),
            _ => Broken::ForGood(text),
        },
        SessionError::Peer(_) => Broken::Malformed(text),
        SessionError::Store(StoreError::Io { .. } | StoreError::Full { .. } | StoreError::Unsettled { .. }) => {
            Broken::Here(text)
        }
        SessionError::Unavailable(_) | SessionError::Store(_) | SessionError::Misuse { .. } => Broken::ForNow(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn what_lies_in_the_window_of_a_transport_says_nothing_about_the_line() {
        let window = u64::from(WINDOW_BYTES);
        let start = Instant::now();
        let after = |seconds| start.checked_add(Duration::from_secs(seconds)).unwrap();
        let mut sending = Sending::default();
        sending.saw(window - 1, after(0));
        assert_eq!(sending.end(), None, "all of it may lie there");
        for (bytes, seconds) in [(1, 0), (window + 5, 1), (window * 2, 2), (window * 3 + 5, 4)] {
            sending.saw(bytes, after(seconds));
        }
        assert_eq!(sending.end(), Some((window * 2, Duration::from_secs(3))));
        assert_eq!(sending.end(), None, "a provider that goes on working says nothing more");
    }
}
