//! The provider's side: accepts sessions for orders that are its own, and hands each to the program that runs jobs.
//!
//! # Design
//! A session's life is one task: handshake, hello, decision, then four things at once (the handler, the customer's
//! messages, the customer's wants, shutdown), of which the first to end ends the session. The handler's future is dropped
//! when the session ends, so what must outlive a connection, the run itself, belongs to a task of its own; the customer
//! may come back with a new session for the same order.
//!
//! # Invariants
//! One session per order: a newer one closes the older, and begins only when the older one's handler is gone.
//! Nothing is served that was not delivered. No peer is spoken to before [`Authorise`] said yes.

mod job;
mod server;

use std::{future::Future, pin::Pin};

use alloy_primitives::U256;
use iroh::endpoint::Connection;

pub use self::{
    job::Job,
    server::{Server, serve, serve_with},
};
use crate::{
    address::NodeId,
    admission::{Admission, Ticket},
    check::{CheckHello, Offer},
    error::SessionError,
    limits::Limits,
    rate::Meter,
    wire::{Failure, Hello, Refusal, RefusalCode},
};

/// Decides whether a session may begin.
pub trait Authorise: Send + Sync + 'static {
    /// Says yes only if the chain assigned `hello.order` to this provider, `hello.credential` is the signature of the
    /// order's customer over [`crate::hello_digest`] with this `customer`, and `hello.job` is what was ordered.
    ///
    /// The connection proves the node id `customer`; everything in `hello` is hostile.
    ///
    /// Called once per connection, at most [`crate::Limits::handshakes_max`] at once, within
    /// [`crate::Limits::hello_timeout`].
    ///
    /// # Errors
    /// The refusal, which is sent to the peer as it is.
    fn authorise(&self, customer: NodeId, hello: &Hello) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// What a checker may fetch: only if the chain says that the account which signed [`crate::check_digest`] is on duty for this check, or has
    /// committed to it. Called within [`crate::Limits::hello_timeout`]; `checker` is proved by the connection, everything in `hello` is
    /// hostile. Refuses everybody unless it is overridden.
    ///
    /// # Errors
    /// The refusal, which is sent to the peer as it is.
    fn on_duty(&self, checker: NodeId, hello: &CheckHello) -> impl Future<Output = Result<Offer, Refusal>> + Send {
        let _ = (checker, hello);
        async { Err(Refusal::new(RefusalCode::NotAssigned, "no checkers are served here")) }
    }
}

/// Runs jobs in the sessions that were authorised.
pub trait Handler: Send + Sync + 'static {
    /// Conducts one session: fetches inputs, reports progress, commits, delivers, waits until all is received.
    ///
    /// The future is dropped when the session ends for another reason (see [`Self::ended`]). When it returns, the
    /// session ends.
    ///
    /// # Errors
    /// The failure, which is sent to the customer as it is.
    fn run(&self, job: &mut Job) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The customer, who was let in, wants the run of this order stopped: stops it, or says why it goes on all the same. Must not block.
    ///
    /// # Errors
    /// Why it goes on, which is sent to the customer as it is: [`crate::FailureCode::Deadline`] if the work is done.
    fn cancel(&self, order: U256) -> Result<(), Failure> {
        let _ = order;
        Ok(())
    }

    /// Learns how a connection ended, also those that never became a session. Must not block.
    ///
    /// [`SessionError::Cancelled`] means that the customer, who was let in, wants the run stopped; a lost connection does not.
    fn ended(&self, ended: Ended) {
        let Ended { customer, order, outcome } = ended;
        match outcome {
            Ok(()) => tracing::info!(?customer, ?order, "session finished"),
            Err(error) => tracing::info!(?customer, ?order, %error, "session ended"),
        }
    }
}

/// Takes the connections of another protocol on the same endpoint.
pub trait Acceptor: Send + Sync + 'static {
    /// The protocol's name in the TLS handshake.
    fn alpn(&self) -> &'static [u8];

    /// All versions of it that are taken, the dearest first.
    fn alpns(&self) -> Vec<&'static [u8]> {
        vec![self.alpn()]
    }

    /// Conducts one connection to its end. Dropped when the server stops.
    fn accept(&self, guest: Guest) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A connection whose handshake proved the peer's node id; nothing was read from it yet.
#[derive(Debug)]
pub struct Guest {
    pub(crate) connection: Connection,
    pub(crate) customer: NodeId,
    pub(crate) limits: Limits,
    pub(crate) meter: Meter,
    /// Its place among the unfinished handshakes, to be given back when it becomes a session.
    pub(crate) handshake: Ticket,
    pub(crate) admission: Admission,
}

/// How a connection ended.
#[derive(Debug)]
pub struct Ended {
    /// Who, once the handshake proved it.
    pub customer: Option<NodeId>,
    /// Which order, once the hello was read.
    pub order: Option<U256>,
    /// Why. `Ok` if the handler returned.
    pub outcome: Result<(), SessionError>,
}
