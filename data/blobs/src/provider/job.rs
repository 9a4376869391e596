//! The handle with which a handler conducts one session.

use std::sync::Arc;

use alloy_primitives::B256;
use iroh::endpoint::{Connection, SendStream};
use tokio::sync::watch;

use crate::{
    address::NodeId,
    connection::{Close, blocking, close, write_message},
    error::{SessionError, Violation},
    hash::Hash,
    limits::{ALPN, Limits},
    note::{HasNotes, Note},
    rate::Meter,
    store::{BlobStore, StoreError},
    transfer::{Fetched, Fetcher, Offered, Sent, Want},
    wire::{Delivery, FromProvider, Hello, Progress},
};

/// One session with a customer, from the acceptance to the end. The handler borrows it, so it cannot outlive the session.
#[derive(Debug)]
pub struct Job {
    pub(super) customer: NodeId,
    pub(super) hello: Hello,
    pub(super) connection: Connection,
    pub(super) control: SendStream,
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) offered: Offered,
    pub(super) sent: watch::Receiver<Sent>,
    pub(super) received: watch::Receiver<bool>,
    pub(super) limits: Limits,
    pub(super) meter: Meter,
    pub(super) committed: bool,
    pub(super) delivered: bool,
    /// What the customer did wrong, whatever the handler makes of it.
    pub(super) violation: Option<Violation>,
}

impl Job {
    /// The customer's node, proved by the connection.
    #[must_use]
    pub const fn customer(&self) -> NodeId {
        self.customer
    }

    /// Which order and which job. Authorised.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// How much of the outputs has been sent; the receiver also wakes when it changes.
    #[must_use]
    pub fn sent(&self) -> watch::Receiver<Sent> {
        self.sent.clone()
    }

    /// Fetches inputs from the customer into the server's store, verified. Those that are there already are not fetched
    /// again, and one that was begun resumes. `report` is called at every step.
    ///
    /// # Errors
    /// [`crate::Unavailable::Paused`]: this machine's owner lets nothing move; call it again when that has changed. [`crate::Unavailable::NotServed`]: the customer does not give one of them. [`SessionError::Peer`]: wrong bytes or
    /// sizes; the connection is closed and nothing of that blob kept. [`SessionError::Store`]: for example no room.
    /// [`SessionError::Misuse`]: after the commitment.
    pub async fn fetch(
        &mut self,
        wants: Vec<Want>,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        if self.committed {
            return Err(SessionError::Misuse { what: "inputs fetched after the commitment" });
        }
        let blobs = u32::try_from(wants.len()).unwrap_or(u32::MAX);
        self.send(FromProvider::Wants(blobs)).await?;
        let Self { connection, store, limits, meter, .. } = self;
        let result = Fetcher { connection, store, limits, meter }.fetch(wants, report).await;
        if let Err(SessionError::Peer(violation)) = &result {
            self.violation = Some(*violation);
        }
        result
    }

    /// Tells the customer how far the run is. `done` must not fall and `total` not change within a session.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`]: the customer does not read. [`SessionError::Misuse`]: `done` above `total`.
    pub async fn progress(&mut self, progress: Progress) -> Result<(), SessionError> {
        if progress.done > progress.total {
            return Err(SessionError::Misuse { what: "progress beyond its total" });
        }
        self.send(FromProvider::Progress(progress)).await
    }

    /// Tells the customer what happens on this side; nothing, if it speaks the version before. The caller keeps to a [`crate::Pace`] for the session.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`]: the customer does not read.
    pub async fn note(&mut self, note: Note) -> Result<(), SessionError> {
        match HasNotes::of(self.connection.alpn(), ALPN) {
            HasNotes::Yes => self.send(FromProvider::Note(note)).await,
            HasNotes::No => Ok(()),
        }
    }

    /// Tells the customer that the commitment is on chain.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`]: the customer does not read. [`SessionError::Misuse`]: committed before.
    pub async fn commit(&mut self, commitment: B256) -> Result<(), SessionError> {
        if self.committed {
            return Err(SessionError::Misuse { what: "a second commitment" });
        }
        self.send(FromProvider::Committed(commitment)).await?;
        self.committed = true;
        Ok(())
    }

    /// Lets the customer fetch `outputs` and the list of them (`delivery.result()`), and tells it so.
    ///
    /// All of them must be in the store, and stay until the session ends.
    ///
    /// # Errors
    /// [`SessionError::Misuse`]: not committed, or delivered before. [`SessionError::Store`]: an output is not in the
    /// store. [`SessionError::Unavailable`]: the customer does not read.
    pub async fn deliver(&mut self, delivery: Delivery, outputs: Vec<Hash>) -> Result<(), SessionError> {
        if !self.committed || self.delivered {
            return Err(SessionError::Misuse { what: "delivery before its commitment, or a second one" });
        }
        let store = Arc::clone(&self.store);
        let mut served = outputs;
        served.push(delivery.result());
        let served = blocking(move || {
            let absent = |hash: &Hash| store.has(*hash).map(|here| (!here).then_some(*hash)).transpose();
            match served.iter().find_map(absent) {
                None => Ok(served),
                Some(Ok(hash)) => Err(StoreError::NotFound { hash }),
                Some(Err(error)) => Err(error),
            }
        })
        .await?;
        self.offered.extend(served);
        self.send(FromProvider::Delivered(delivery)).await?;
        self.delivered = true;
        Ok(())
    }

    /// Waits until the customer says that everything arrived. Ends with the session if that never happens.
    pub async fn received(&mut self) {
        // The sender lives as long as the session, and the session drops this future when it ends.
        if self.received.wait_for(|received| *received).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn send(&mut self, message: FromProvider) -> Result<(), SessionError> {
        write_message(&mut self.control, &message.encode(), self.limits.stall_timeout).await
    }
}

impl Drop for Job {
    /// Closed before the control stream is dropped, which would end it cleanly: so also when a handler panics.
    fn drop(&mut self) {
        close(&self.connection, Close::Fault);
    }
}
