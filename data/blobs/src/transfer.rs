//! Moves blobs over a connection: the side that wants them asks, the other side answers, every 64 KiB is verified.
//!
//! # Design
//! A receiver opens a stream and sends one want with up to 256 names; the sender answers them in order on the same
//! stream, so many small blobs cost one round trip. Each direction of a session uses the same code: a provider wants
//! inputs, a customer wants outputs. A sender answers only for blobs that the session offers; a blob that is not
//! offered and one that is not there look alike.
//!
//! Spec: specs/0005-transfer.md §5.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    connection::{
        Close, blocking, close, expect_end, lost, read_blob, read_exact, read_message, within, write_all, write_blob,
        write_message,
    },
    error::{SessionError, Unavailable, Violation},
    hash::Hash,
    limits::{Limits, WANTS_MAX},
    outline::{GROUP_BYTES, Outline},
    rate::{Lane, Meter, Rate, window_bytes},
    store::{BlobStore, Part, Source, StoreError},
    wire::{Item, decode_want, encode_want},
};

/// First byte of an answer: the blob is not served.
const NOT_SERVED: u8 = 0;
/// First byte of an answer: size, outline and bytes follow.
const SERVED: u8 = 1;
/// Groups that are handed to the store in one call: 1 MiB, so that the pool is not asked for every 64 KiB.
const BATCH_GROUPS: usize = 16;
/// What has come in this time is handed over without waiting for a whole batch: of a slow transfer little is lost when it breaks, and its progress shows.
const BATCH_MAX: Duration = Duration::from_secs(1);

/// A blob to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    /// Its name.
    pub hash: Hash,
    /// Largest size that the job allows for it in bytes, inclusive. A peer that offers more breaks the protocol.
    pub bytes_max: u64,
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Blobs that are complete, those that were here before included.
    pub blobs_done: u64,
    /// Different blobs that the fetch asks for.
    pub blobs_total: u64,
    /// Bytes received and verified in this fetch.
    pub bytes_received: u64,
}

/// How much this side has sent to the peer in this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Blobs answered completely.
    pub blobs: u64,
    /// Bytes of blobs handed to the transport.
    pub bytes: u64,
}

/// The blobs that the peer of one session may fetch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offered {
    hashes: Arc<RwLock<HashSet<Hash>>>,
}

impl Offered {
    pub(crate) fn new(hashes: impl IntoIterator<Item = Hash>) -> Self {
        Self { hashes: Arc::new(RwLock::new(hashes.into_iter().collect())) }
    }

    pub(crate) fn extend(&self, hashes: impl IntoIterator<Item = Hash>) {
        self.hashes.write().unwrap_or_else(PoisonError::into_inner).extend(hashes);
    }

    /// Exactly these, from now on.
    pub(crate) fn replace(&self, hashes: impl IntoIterator<Item = Hash>) {
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hashes.into_iter().collect();
    }

    fn contains(&self, hash: Hash) -> bool {
        self.hashes.read().unwrap_or_else(PoisonError::into_inner).contains(&hash)
    }
}

/// Fetches blobs from the peer of one connection.
pub(crate) struct Fetcher<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) store: &'a Arc<dyn BlobStore>,
    pub(crate) limits: &'a Limits,
    pub(crate) meter: &'a Meter,
}

/// Lets the peer have as much in flight as the rate of now wants; once for each rate.
pub(crate) struct Window<'a> {
    connection: &'a Connection,
    lane: &'a Lane,
    fits: Option<Rate>,
}

impl<'a> Window<'a> {
    pub(crate) const fn new(connection: &'a Connection, meter: &'a Meter) -> Self {
        Self { connection, lane: &meter.download, fits: None }
    }

    pub(crate) fn fit(&mut self) {
        let rate = self.lane.rate();
        if self.fits != Some(rate) {
            self.fits = Some(rate);
            self.connection.set_receive_window(VarInt::from_u32(window_bytes(rate)));
        }
    }
}

impl Fetcher<'_> {
    /// Fetches what the store lacks. A violation closes the connection; what was verified before stays in the store.
    pub(crate) async fn fetch(
        &self,
        wants: Vec<Want>,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        let result = self.fetch_missing(wants, report).await;
        if let Err(SessionError::Peer(violation)) = &result {
            tracing::debug!(%violation, "closing the connection");
            close(self.connection, Close::Violation);
        }
        result
    }

    async fn fetch_missing(
        &self,
        wants: Vec<Want>,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        let store = Arc::clone(self.store);
        let (total, missing) = blocking(move || missing(&*store, wants)).await?;
        let mut state = Fetched {
            blobs_total: total,
            blobs_done: total.saturating_sub(count(missing.len())),
            ..Fetched::default()
        };
        report(state);
        for wants in missing.chunks(WANTS_MAX) {
            self.fetch_batch(wants, &mut state, report).await?;
        }
        Ok(())
    }

    /// One stream: one want, all its answers.
    async fn fetch_batch(
        &self,
        wants: &[Want],
        state: &mut Fetched,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        let limit = self.limits.stall_timeout;
        let open = async { self.connection.open_bi().await.map_err(|error| lost(&error)) };
        let (mut send, mut recv) = within("stream", limit, open).await?;
        let store = Arc::clone(self.store);
        let hashes: Vec<Hash> = wants.iter().map(|want| want.hash).collect();
        let parts = blocking(move || hashes.into_iter().map(|hash| store.receive(hash)).collect::<Result<Vec<_>, _>>());
        let parts = parts.await?;
        let items: Vec<_> = wants.iter().zip(&parts).map(|(want, part)| Item::new(want.hash, part.offset())).collect();
        let mut window = Window::new(self.connection, self.meter);
        window.fit();
        write_message(&mut send, &encode_want(&items), limit).await?;
        // The stream may already be stopped by the peer; the answers tell.
        let _ = send.finish();
        for (want, part) in wants.iter().zip(parts) {
            self.receive((&mut recv, &mut window), want, part, state, report).await?;
            state.blobs_done = state.blobs_done.saturating_add(1);
            report(*state);
        }
        expect_end(&mut recv, "answers to a want", limit).await
    }

    /// Reads one answer.
    async fn receive(
        &self,
        (recv, window): (&mut RecvStream, &mut Window<'_>),
        want: &Want,
        mut part: Box<dyn Part>,
        state: &mut Fetched,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        let outline = self.read_outline(recv, want).await?;
        let first = part.offset().div_ceil(GROUP_BYTES as u64);
        let mut next = first;
        let sizes = outline.clone();
        part = blocking(move || part.start(outline).map(|()| part)).await.map_err(blame_peer)?;
        let mut batch = self.read_batch(recv, window, &sizes, &mut next).await?;
        while !batch.is_empty() {
            let received = count(batch.len());
            // One batch is verified and written while the next arrives.
            let mut appending = std::pin::pin!(blocking(move || append(part, &batch)));
            let mut reading = std::pin::pin!(self.read_batch(recv, window, &sizes, &mut next));
            (part, batch) = tokio::select! {
                // Wrong bytes are reported at once, not after the peer has sent more.
                appended = &mut appending => (appended.map_err(blame_peer)?, reading.await?),
                read = &mut reading => (appending.await.map_err(blame_peer)?, read?),
            };
            state.bytes_received = state.bytes_received.saturating_add(received);
            report(*state);
        }
        blocking(move || part.finish()).await
    }

    /// Reads the next groups, unverified; none at the end of the blob.
    async fn read_batch(
        &self,
        recv: &mut RecvStream,
        window: &mut Window<'_>,
        outline: &Outline,
        next: &mut u64,
    ) -> Result<Vec<u8>, SessionError> {
        let (mut batch, begun) = (Vec::new(), Instant::now());
        let has_room = |batch: &[u8]| batch.len() < BATCH_GROUPS.saturating_mul(GROUP_BYTES);
        let goes_on = |batch: &[u8]| batch.is_empty() || (has_room(batch) && begun.elapsed() < BATCH_MAX);
        while *next < outline.group_count() && goes_on(&batch) {
            window.fit();
            let start = batch.len();
            batch.resize(start.saturating_add(outline.group_bytes(*next)), 0);
            let group = batch.get_mut(start..).unwrap_or_default();
            read_blob(recv, group, "blob", self.limits.stall_timeout, &self.meter.download).await?;
            *next = next.saturating_add(1);
        }
        Ok(batch)
    }

    /// Reads the head of an answer and proves its outline.
    async fn read_outline(&self, recv: &mut RecvStream, want: &Want) -> Result<Outline, SessionError> {
        let (hash, limit) = (want.hash, self.limits.stall_timeout);
        let mut status = [0_u8; 1];
        read_exact(recv, &mut status, "answer", limit).await?;
        match status {
            [SERVED] => {}
            [NOT_SERVED] => return Err(Unavailable::NotServed { hash }.into()),
            _ => return Err(Violation::Malformed { what: "answer" }.into()),
        }
        let mut size = [0_u8; 8];
        read_exact(recv, &mut size, "answer", limit).await?;
        let got_bytes = u64::from_be_bytes(size);
        let max_bytes = want.bytes_max.min(self.limits.blob_bytes_max);
        if got_bytes > max_bytes {
            return Err(Violation::BlobTooLarge { hash, got_bytes, max_bytes }.into());
        }
        // At most 512 KiB after the check above; read in steps that have a time limit each.
        let mut groups = vec![0; usize::try_from(Outline::encoded_bytes(got_bytes)).unwrap_or_default()];
        for chunk in groups.chunks_mut(GROUP_BYTES) {
            read_blob(recv, chunk, "outline", limit, &self.meter.download).await?;
        }
        Outline::parse(hash, got_bytes, &groups).map_err(|_| Violation::WrongOutline { hash }.into())
    }
}

/// Adds groups, and forgets the part if one is wrong: nothing of a peer that lies is kept.
fn append(mut part: Box<dyn Part>, groups: &[u8]) -> Result<Box<dyn Part>, StoreError> {
    match part.append(groups) {
        Ok(()) => Ok(part),
        Err(error) => {
            if matches!(error, StoreError::Mismatch { .. }) {
                part.discard();
            }
            Err(error)
        }
    }
}

/// A mismatch is the peer's fault, everything else is this machine's.
fn blame_peer(error: SessionError) -> SessionError {
    match error {
        SessionError::Store(StoreError::Mismatch { hash, group }) => Violation::WrongBytes { hash, group }.into(),
        other => other,
    }
}

/// The number of different blobs, and those that the store lacks, in order.
fn missing(store: &dyn BlobStore, wants: Vec<Want>) -> Result<(u64, Vec<Want>), StoreError> {
    let mut seen = HashSet::new();
    let mut missing = Vec::new();
    for want in wants {
        if seen.insert(want.hash) && !store.has(want.hash)? {
            missing.push(want);
        }
    }
    Ok((count(seen.len()), missing))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Answers the peer's wants.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) offered: Offered,
    pub(crate) limits: Limits,
    pub(crate) meter: Meter,
    pub(crate) sent: watch::Sender<Sent>,
}

impl Responder {
    /// Answers until the connection ends, and says why it did. A violation closes the connection.
    pub(crate) async fn run(&self, connection: &Connection) -> SessionError {
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept_bi() => match accepted {
                    Ok((send, recv)) => {
                        let responder = self.clone();
                        answers.spawn(async move { responder.answer(send, recv).await });
                    }
                    Err(error) => return lost(&error),
                },
                Some(answered) = answers.join_next() => match answered {
                    Ok(Err(error @ SessionError::Peer(_))) => {
                        close(connection, Close::Violation);
                        return error;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "want not answered"),
                    Ok(Ok(())) => {}
                    Err(error) => tracing::error!(%error, "answer to a want ended abnormally"),
                },
            }
        }
    }

    async fn answer(&self, mut send: SendStream, mut recv: RecvStream) -> Result<(), SessionError> {
        let result = self.try_answer(&mut send, &mut recv).await;
        if let Err(error) = &result {
            // Dropping the stream would end it cleanly, as if the answer were complete.
            let _ = send.reset(Close::after(error).code());
        }
        result
    }

    async fn try_answer(&self, send: &mut SendStream, recv: &mut RecvStream) -> Result<(), SessionError> {
        let limit = self.limits.stall_timeout;
        let message = within("want", limit, read_message(recv, limit)).await?;
        let message = message.ok_or(Violation::TooFewBytes { what: "want" })?;
        let items = decode_want(&message)?;
        expect_end(recv, "want", limit).await?;
        for item in items {
            match self.open(item.hash()).await? {
                Some(source) => self.send(send, source, item.offset).await?,
                None => write_all(send, &[NOT_SERVED], "answer", limit).await?,
            }
        }
        let _ = send.finish();
        Ok(())
    }

    /// Opens a blob that is offered and here. Faults of this store are logged and look like absence to the peer.
    async fn open(&self, hash: Hash) -> Result<Option<Box<dyn Source>>, SessionError> {
        if !self.offered.contains(hash) {
            return Ok(None);
        }
        let store = Arc::clone(&self.store);
        match blocking(move || store.open(hash)).await {
            Ok(source) => Ok(Some(source)),
            // It went meanwhile, or nothing more of it is served: whoever asks again and again fills no log.
            Err(SessionError::Store(error @ StoreError::NotFound { .. })) => {
                tracing::debug!(%error, "offered blob is not served");
                Ok(None)
            }
            Err(SessionError::Store(error)) => {
                tracing::warn!(%error, "offered blob cannot be served");
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    async fn send(&self, send: &mut SendStream, mut source: Box<dyn Source>, offset: u64) -> Result<(), SessionError> {
        let limit = self.limits.stall_timeout;
        let (hash, size, groups) =
            (source.outline().hash(), source.outline().size_bytes(), source.outline().group_count());
        let aligned = offset == size || (offset < size && offset.is_multiple_of(GROUP_BYTES as u64));
        if !aligned {
            return Err(Violation::WrongOffset { hash, offset_bytes: offset, size_bytes: size }.into());
        }
        let head = [[SERVED].as_slice(), &size.to_be_bytes(), &source.outline().to_bytes()].concat();
        write_blob(send, &head, "answer", limit, &self.meter.upload, |_| {}).await?;
        let mut next = offset.div_ceil(GROUP_BYTES as u64);
        let tally = source.tally();
        let report = |bytes| {
            self.sent.send_modify(|sent| sent.bytes = sent.bytes.saturating_add(count(bytes)));
            if let Some(tally) = &tally {
                tally(count(bytes));
            }
        };
        let mut batch;
        (source, batch) = read_batch(source, next).await?;
        while next < groups {
            next = next.saturating_add(count(BATCH_GROUPS)).min(groups);
            // One batch is written to the stream while the next is read from the store.
            let write = async {
                for group in batch.chunks(GROUP_BYTES) {
                    write_blob(send, group, "blob", limit, &self.meter.upload, &report).await?;
                }
                Ok(())
            };
            ((), (source, batch)) = tokio::try_join!(write, read_batch(source, next))?;
        }
        self.sent.send_modify(|sent| sent.blobs = sent.blobs.saturating_add(1));
        Ok(())
    }
}

/// Reads up to a batch of groups from `first` on; none at the end of the blob.
async fn read_batch(mut source: Box<dyn Source>, first: u64) -> Result<(Box<dyn Source>, Vec<u8>), SessionError> {
    blocking(move || {
        let end = first.saturating_add(count(BATCH_GROUPS)).min(source.outline().group_count());
        let mut batch = Vec::new();
        (first..end).try_for_each(|index| source.read_group(index, &mut batch))?;
        Ok((source, batch))
    })
    .await
}
