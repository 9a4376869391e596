//! One end of a stream: messages both ways, and blobs that either side lets the other fetch.

use std::sync::Arc;

use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use super::{
    ALPN, ALPN_BEFORE,
    wire::{FromCustomer, FromProvider, Message},
};
use crate::{
    address::Address,
    connection::{Close, close, lost, read_message, within, write_message},
    endpoint::Endpoint,
    error::{SessionError, Unavailable, Violation},
    hash::Hash,
    limits::Limits,
    note::{Allowance, HasNotes, Note},
    rate::Meter,
    store::BlobStore,
    transfer::{Fetched, Fetcher, Offered, Responder, Sent, Want},
    wire::Hello,
};

/// Messages that wait for the caller before the peer is slowed down.
const INBOX_MAX: usize = 64;

/// One end of a session. `In` is what the peer says. Dropping it closes the connection.
#[derive(Debug)]
pub struct Link<In> {
    connection: Connection,
    control: SendStream,
    inbox: mpsc::Receiver<Result<In, SessionError>>,
    offered: Offered,
    store: Arc<dyn BlobStore>,
    limits: Limits,
    meter: Meter,
    driver: AbortHandle,
}

impl<In: Message> Link<In> {
    pub(super) fn new(
        connection: Connection,
        control: SendStream,
        messages: RecvStream,
        store: Arc<dyn BlobStore>,
        (limits, meter): (Limits, Meter),
    ) -> Self {
        let offered = Offered::default();
        // Nobody asks how much was sent: progress is counted in steps.
        let (sent, _) = watch::channel(Sent::default());
        let responder =
            Responder { store: Arc::clone(&store), offered: offered.clone(), limits, meter: meter.clone(), sent };
        let (inbox_in, inbox) = mpsc::channel(INBOX_MAX);
        let notes = Allowance::new(HasNotes::of(connection.alpn(), ALPN));
        let driver = drive(connection.clone(), (messages, notes), responder, inbox_in);
        let driver = tokio::spawn(driver).abort_handle();
        Self { connection, control, inbox, offered, store, limits, meter, driver }
    }

    /// Says something.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`]: the peer does not read, or is gone.
    pub async fn say(&mut self, message: &In::Answer) -> Result<(), SessionError> {
        write_message(&mut self.control, &message.encode(), self.limits.stall_timeout).await
    }

    /// The next message. May be dropped and called again without losing one.
    ///
    /// # Errors
    /// The session is over, and why.
    pub async fn next(&mut self) -> Result<In, SessionError> {
        match self.inbox.recv().await {
            Some(message) => message,
            None => Err(Unavailable::Disconnected { detail: "session is over".to_owned() }.into()),
        }
    }

    /// From now on the peer may fetch exactly these blobs of the link's store.
    pub fn offer(&self, hashes: impl IntoIterator<Item = Hash>) {
        self.offered.replace(hashes);
    }

    /// A handle that fetches from the peer, for another task.
    #[must_use]
    pub fn source(&self) -> Source {
        let (store, limits, meter) = (Arc::clone(&self.store), self.limits, self.meter.clone());
        Source { connection: self.connection.clone(), store, limits, meter }
    }

    /// Ends the session because a newer one took over.
    pub fn supersede(self) {
        close(&self.connection, Close::Superseded);
    }

    /// Ends the session because this process stops.
    pub fn shut_down(self) {
        close(&self.connection, Close::ShuttingDown);
    }

    /// Ends the session because the peer broke the protocol.
    pub fn accuse(self) {
        close(&self.connection, Close::Violation);
    }

    /// Waits until the peer has heard what was said last, or the connection is gone; bounded by [`Limits::hello_timeout`]. True if the peer ended the
    /// session itself, as one does that has heard all.
    pub async fn part(mut self) -> bool {
        let _ = self.control.finish();
        let limit = self.limits.hello_timeout;
        let ended = tokio::time::timeout(limit, self.connection.closed()).await;
        ended.is_ok_and(|error| Close::of(&error) == Some(Close::Done))
    }
}

impl Link<FromCustomer> {
    /// Tells the customer what happens on this side; nothing, if it speaks the version before.
    ///
    /// # Errors
    /// As [`Self::say`].
    pub async fn note(&mut self, note: Note) -> Result<(), SessionError> {
        match HasNotes::of(self.connection.alpn(), ALPN) {
            HasNotes::Yes => self.say(&FromProvider::Note(note)).await,
            HasNotes::No => Ok(()),
        }
    }
}

impl<In> Drop for Link<In> {
    fn drop(&mut self) {
        close(&self.connection, Close::Done);
        self.driver.abort();
    }
}

/// Fetches blobs from the peer of a link. When the link is gone, so is what this can reach.
#[derive(Clone, Debug)]
pub struct Source {
    connection: Connection,
    store: Arc<dyn BlobStore>,
    limits: Limits,
    meter: Meter,
}

impl Source {
    /// Fetches into the link's store what it lacks, verified.
    ///
    /// # Errors
    /// [`Unavailable::NotServed`], [`SessionError::Peer`] (the connection is closed), [`SessionError::Store`].
    pub async fn fetch(&self, wants: Vec<Want>) -> Result<(), SessionError> {
        self.fetch_counted(wants).await.map(drop)
    }

    /// As [`Self::fetch`]; what came.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_counted(&self, wants: Vec<Want>) -> Result<Fetched, SessionError> {
        let Self { connection, store, limits, meter } = self;
        let mut last = Fetched::default();
        Fetcher { connection, store, limits, meter }.fetch(wants, &mut |fetched| last = fetched).await?;
        Ok(last)
    }

    /// The link's store.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }
}

/// Dials a provider, says hello and waits for its answer: the link, and the lease that it holds.
///
/// # Errors
/// [`SessionError::Refused`]: it does not take the channel. [`SessionError::Unavailable`]: not reached, not answered.
pub async fn dial(
    endpoint: &Endpoint,
    address: &Address,
    hello: Hello,
    store: Arc<dyn BlobStore>,
) -> Result<(Link<FromProvider>, Option<u64>), SessionError> {
    hello.check().map_err(|_| SessionError::Misuse { what: "hello is too large" })?;
    let limits = *endpoint.limits();
    let connection = endpoint.connect_as_either(address, ALPN, &[ALPN_BEFORE]).await?;
    let opened =
        within("stream", limits.hello_timeout, async { connection.open_bi().await.map_err(|error| lost(&error)) });
    let (control, messages) = opened.await?;
    let mut link = Link::new(connection, control, messages, store, (limits, endpoint.meter().clone()));
    link.say(&FromCustomer::Hello(hello)).await?;
    // The provider asks the chain before it answers.
    let answer = within("answer to the hello", limits.hello_timeout.saturating_mul(3), link.next()).await?;
    match answer {
        FromProvider::Accepted { holding } => Ok((link, holding)),
        FromProvider::Refused(refusal) => Err(SessionError::Refused(refusal)),
        _ => {
            link.accuse();
            Err(Violation::OutOfOrder { what: "something before the answer to the hello" }.into())
        }
    }
}

/// Reads messages and answers wants until the session ends; then says why.
async fn drive<In: Message>(
    connection: Connection,
    (mut messages, mut notes): (RecvStream, Allowance),
    responder: Responder,
    inbox: mpsc::Sender<Result<In, SessionError>>,
) {
    let limit = responder.limits.stall_timeout;
    let read = async {
        loop {
            let message = match read_message(&mut messages, limit).await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    break SessionError::from(Unavailable::Disconnected {
                        detail: "peer ended its messages".to_owned(),
                    });
                }
                Err(error) => break error,
            };
            let message = In::decode(&message).and_then(|message| {
                if message.is_note() {
                    notes.spend()?;
                }
                Ok(message)
            });
            match message {
                // The caller dropped the link if nobody listens.
                Ok(message) => drop(inbox.send(Ok(message)).await),
                Err(violation) => break violation.into(),
            }
        }
    };
    let error = tokio::select! {
        // What the peer said last explains the end better than the closed connection.
        biased;
        error = read => error,
        error = responder.run(&connection) => error,
    };
    // A peer that ended its messages may still be told something.
    if !matches!(error, SessionError::Unavailable(Unavailable::Disconnected { .. })) {
        close(&connection, Close::after(&error));
    }
    let _ = inbox.send(Err(error)).await;
}
