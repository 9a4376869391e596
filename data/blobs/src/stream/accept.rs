//! The provider's end: who may begin a stream, and who conducts it.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{
    ALPN, ALPN_BEFORE,
    link::Link,
    wire::{FromCustomer, FromProvider, Message as _},
};
use crate::{
    address::NodeId,
    connection::{Close, close, lost, read_message, within, write_message},
    error::{SessionError, Unavailable, Violation},
    provider::{Acceptor, Guest},
    store::BlobStore,
    wire::{Hello, Refusal, RefusalCode},
};

/// What a provider does with streams.
pub trait Streams: Send + Sync + 'static {
    /// Says whether a stream may begin, and where its blobs go and come from. The connection proves the node id; everything in `hello` is
    /// hostile.
    ///
    /// # Errors
    /// The refusal, which is sent to the peer as it is.
    fn greet(
        &self,
        customer: NodeId,
        hello: &Hello,
    ) -> impl Future<Output = Result<Arc<dyn BlobStore>, Refusal>> + Send;

    /// Conducts a stream; its first message must be [`FromProvider::Accepted`]. When it returns, or is dropped because the server
    /// stops, the session ends.
    fn conduct(&self, hello: Hello, link: Link<FromCustomer>) -> impl Future<Output = ()> + Send;
}

/// Gives a server the protocol of streams.
pub fn acceptor<S: Streams>(streams: S) -> Arc<dyn Acceptor> {
    Arc::new(Door(streams))
}

#[derive(Debug)]
struct Door<S>(S);

impl<S: Streams> Acceptor for Door<S> {
    fn alpn(&self) -> &'static [u8] {
        ALPN
    }

    fn alpns(&self) -> Vec<&'static [u8]> {
        vec![ALPN, ALPN_BEFORE]
    }

    fn accept(&self, guest: Guest) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let connection = guest.connection.clone();
            match self.hear(guest).await {
                Ok(()) => close(&connection, Close::Done),
                Err(error) => {
                    tracing::debug!(%error, "stream not begun");
                    close(&connection, Close::after(&error));
                }
            }
        })
    }
}

impl<S: Streams> Door<S> {
    async fn hear(&self, guest: Guest) -> Result<(), SessionError> {
        let Guest { connection, customer, limits, meter, handshake, admission } = guest;
        let limit = limits.hello_timeout;
        let read = async {
            let (control, mut messages) = connection.accept_bi().await.map_err(|error| lost(&error))?;
            let message = read_message(&mut messages, limit).await?;
            match FromCustomer::decode(&message.ok_or(Violation::TooFewBytes { what: "hello" })?)? {
                FromCustomer::Hello(hello) => Ok((control, messages, hello)),
                _ => Err(Violation::OutOfOrder { what: "something before the hello" }.into()),
            }
        };
        let (mut control, messages, hello) = within("hello", limit, read).await?;
        let decision = async { self.0.greet(customer, &hello).await.map_err(SessionError::Refused) };
        let decided = match within("decision", limit, decision).await {
            Err(SessionError::Unavailable(Unavailable::TimedOut { .. })) => {
                Err(Refusal::new(RefusalCode::Internal, "the decision took too long"))
            }
            Err(SessionError::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(error),
            Ok(store) => match admission.session(customer) {
                Some(place) => Ok((store, place)),
                None => Err(Refusal::new(RefusalCode::Busy, "too many sessions")),
            },
        };
        match decided {
            Ok((store, place)) => {
                drop(handshake);
                let link = Link::new(connection, control, messages, store, (limits, meter));
                self.0.conduct(hello, link).await;
                drop(place);
                Ok(())
            }
            Err(refusal) => {
                let message = FromProvider::Refused(refusal.clone()).encode();
                write_message(&mut control, &message, limits.stall_timeout).await?;
                // Closing now could overtake the message; the customer closes when it has read it.
                let _ = tokio::time::timeout(limit, connection.closed()).await;
                Err(SessionError::Refused(refusal))
            }
        }
    }
}
