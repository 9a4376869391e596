//! The subscriptions of one connection: what `eth_subscribe` opens, and what is then told.
//!
//! # Design
//! A [`Book`] belongs to one connection. A subscription stands in it from the call that opened it, with a cursor at that
//! moment, and is told of nothing until the answer to that call has been sent ([`Book::begin`]): so a caller knows each
//! subscription before its first notification, and misses nothing in between.

use crate::{
    error::RpcError,
    feed::{self, Cursor, Listener, Watched},
    message::Json,
    service::Service,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of notifications that are made before they are sent: what a connection holds of them at most, but for one
/// large item.
const TOLD_BYTES_MAX: usize = 256 * 1024;

/// The namespace through which a subscription was opened: it names the notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// `eth_subscription`.
    Eth,
    /// `keystead_subscription`.
    Keystead,
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    /// The connection has ended: a call that is still being answered opens nothing any more.
    closed: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    id: u128,
    namespace: Namespace,
    watched: Arc<Watched>,
    cursor: Cursor,
    /// The caller knows of it.
    begun: bool,
}

/// What there is to tell.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Notifications in order, each with its subscription.
    pub(crate) texts: Vec<(u128, String)>,
    /// There is more.
    pub(crate) more: bool,
    cursors: Vec<(u128, Cursor)>,
}

/// Why nothing can be told any more.
#[derive(Debug)]
pub(crate) enum Untold {
    /// The subscriber is this many blocks behind.
    Slow(u64),
    /// The node is broken; the log has the cause.
    Broken,
}

impl From<RpcError> for Untold {
    fn from(_logged: RpcError) -> Self {
        Self::Broken
    }
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a subscription.
    ///
    /// Errors: limit error if the connection has as many as it may.
    fn open(&self, service: &Service, namespace: Namespace, watched: Watched) -> Result<u128, RpcError> {
        let cursor = Cursor::now(service);
        let max = service.limits.subscriptions_max;
        let mut entries = self.entries();
        if entries.closed {
            return Err(RpcError::server("the connection is closed"));
        }
        if entries.list.len() >= max {
            return Err(RpcError::limit(format!("too many subscriptions on this connection: limit {max}")));
        }
        let id = rand::random();
        entries.list.push(Entry { id, namespace, watched: Arc::new(watched), cursor, begun: false });
        drop(entries);
        service.metrics.subscribed();
        Ok(id)
    }

    /// Ends a subscription; false if there is none of this id.
    pub(crate) fn close(&self, service: &Service, id: u128) -> bool {
        let mut entries = self.entries();
        let before = entries.list.len();
        entries.list.retain(|entry| entry.id != id);
        let closed = entries.list.len() < before;
        drop(entries);
        service.metrics.unsubscribed(usize::from(closed));
        closed
    }

    /// Ends all, and takes no new ones.
    pub(crate) fn close_all(&self, service: &Service) {
        let mut entries = self.entries();
        entries.closed = true;
        let list = std::mem::take(&mut entries.list);
        drop(entries);
        service.metrics.unsubscribed(list.len());
    }

    /// Lets subscriptions be told, now that their caller knows of them.
    pub(crate) fn begin(&self, ids: &[u128]) {
        for entry in self.entries().list.iter_mut().filter(|entry| ids.contains(&entry.id)) {
            entry.begun = true;
        }
    }

    /// True if it has not been ended meanwhile.
    pub(crate) fn holds(&self, id: u128) -> bool {
        self.entries().list.iter().any(|entry| entry.id == id)
    }

    /// True if anybody may be told anything.
    pub(crate) fn is_begun(&self) -> bool {
        self.entries().list.iter().any(|entry| entry.begun)
    }

    /// True if anybody watches the pool.
    pub(crate) fn watches_pool(&self) -> bool {
        self.entries().list.iter().any(|entry| entry.begun && matches!(*entry.watched, Watched::Arrivals(_)))
    }

    /// What is new for everybody, as far as it is made at once. The cursors move with [`Book::told`].
    ///
    /// Cost: reads the store. Errors: [`Untold`], then the connection ends.
    pub(crate) fn tell(&self, service: &Service) -> Result<Told, Untold> {
        let mut entries: Vec<Entry> = self.entries().list.iter().filter(|entry| entry.begun).cloned().collect();
        let head = service.chain().head();
        let following = entries.iter().filter(|entry| entry.watched.follows_blocks());
        let behind = following.map(|entry| head.saturating_sub(entry.cursor.block)).max().unwrap_or_default();
        if behind > service.limits.subscription_lag_max {
            return Err(Untold::Slow(behind));
        }
        let mut idle = vec![false; entries.len()];
        let mut told = Told::default();
        let mut bytes_left = TOLD_BYTES_MAX;
        loop {
            // Who is furthest behind goes first, so that all move on together; the pool never delays a block.
            let turn = |entry: &Entry| if entry.watched.follows_blocks() { entry.cursor.block } else { u64::MAX };
            let waiting = entries.iter_mut().zip(&mut idle).filter(|(_, idle)| !**idle);
            let Some((entry, idle)) = waiting.min_by_key(|(entry, _)| turn(entry)) else { break };
            if bytes_left == 0 {
                told.more = true;
                break;
            }
            let (id, namespace) = (entry.id, entry.namespace);
            let texts = &mut told.texts;
            let mut tell = |json: Json| texts.push((id, notification(namespace, id, &json)));
            let mut listener = Listener { bytes_left, items_left: usize::MAX, tell: &mut tell };
            let watched = Arc::clone(&entry.watched);
            *idle = !feed::step(service, &watched, &mut entry.cursor, &mut listener)?;
            bytes_left = listener.bytes_left;
        }
        told.cursors = entries.iter().map(|entry| (entry.id, entry.cursor)).collect();
        Ok(told)
    }

    /// Moves the cursors after what [`Book::tell`] gave was taken over.
    pub(crate) fn told(&self, told: &Told) {
        let mut entries = self.entries();
        for (id, cursor) in &told.cursors {
            if let Some(entry) = entries.list.iter_mut().find(|entry| entry.id == *id) {
                entry.cursor = *cursor;
            }
        }
    }
}

fn notification(namespace: Namespace, id: u128, result: &Json) -> String {
    let namespace = match namespace {
        Namespace::Eth => "eth",
        Namespace::Keystead => "keystead",
    };
    let result = result.text();
    format!(
        r#"{{"jsonrpc":"2.0","method":"{namespace}_subscription","params":{{"subscription":"{id:#x}","result":{result}}}}}"#
    )
}

/// Who sent a message over a connection that takes notifications.
#[derive(Debug)]
pub(crate) struct Caller {
    book: Arc<Book>,
    opened: Mutex<Opened>,
}

/// What one message opened.
#[derive(Debug, Default)]
struct Opened {
    ids: Vec<u128>,
    /// The message was answered without waiting for its calls: what they still open would be known to nobody.
    abandoned: bool,
}

impl Caller {
    /// The sender of one message.
    pub(crate) fn new(book: Arc<Book>) -> Self {
        Self { book, opened: Mutex::default() }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a subscription.
    ///
    /// Errors: limit error.
    pub(crate) fn subscribe(
        &self,
        service: &Service,
        namespace: Namespace,
        watched: Watched,
    ) -> Result<u128, RpcError> {
        let mut opened = self.opened();
        if opened.abandoned {
            return Err(RpcError::timeout());
        }
        let id = self.book.open(service, namespace, watched)?;
        opened.ids.push(id);
        Ok(id)
    }

    /// Ends a subscription of the connection; false if there is none of this id.
    pub(crate) fn unsubscribe(&self, service: &Service, id: u128) -> bool {
        self.book.close(service, id)
    }

    /// Ends what the message opened: its answer does not say so.
    pub(crate) fn abandon(&self, service: &Service) {
        let mut opened = self.opened();
        opened.abandoned = true;
        for id in opened.ids.drain(..) {
            self.book.close(service, id);
        }
    }

    /// The subscriptions that the message opened; nothing if it was abandoned.
    pub(crate) fn ids(&self) -> Vec<u128> {
        std::mem::take(&mut self.opened().ids)
    }
}
