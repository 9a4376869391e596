//! The provider's side: answers the questions of one connection, within its bounds.

use super::{
    INQUIRY_ALPN, Inform, QUESTIONS_MAX, RECORD_BYTES_MAX,
    wire::{Answer, Question},
};
use crate::{
    connection::{Close, close, expect_end, lost, read_message, within, write_message},
    error::{SessionError, Violation},
    limits::Limits,
    provider::{Acceptor, Guest},
};
use iroh::endpoint::{Connection, ConnectionError};
use std::{fmt, future::Future, pin::Pin, sync::Arc};

/// Answers inquiries; for [`crate::serve_with`].
#[derive(Clone)]
pub struct Inquiries(Arc<dyn Inform>);

impl Inquiries {
    /// Answers with what `inform` says.
    #[must_use]
    pub fn new(inform: Arc<dyn Inform>) -> Self {
        Self(inform)
    }
}

impl fmt::Debug for Inquiries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inquiries")
    }
}

impl Acceptor for Inquiries {
    fn alpn(&self) -> &'static [u8] {
        INQUIRY_ALPN
    }

    /// The guest keeps its place among the handshakes to its end: that bounds how many there are.
    fn accept(&self, guest: Guest) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let Guest { connection, customer, limits, meter: _, handshake, admission } = guest;
            if let Err(error) = answer(&connection, &*self.0, &limits).await {
                tracing::debug!(?customer, %error, "inquiry ended");
            }
            drop((handshake, admission));
        })
    }
}

/// Answers until the asker closes, has asked [`QUESTIONS_MAX`] questions, or the time of a hello is over. Ends with the connection closed.
async fn answer(connection: &Connection, inform: &dyn Inform, limits: &Limits) -> Result<(), SessionError> {
    let result = within("questions", limits.hello_timeout, converse(connection, inform, limits)).await;
    close(connection, result.as_ref().err().map_or(Close::Done, Close::after));
    result
}

async fn converse(connection: &Connection, inform: &dyn Inform, limits: &Limits) -> Result<(), SessionError> {
    for _ in 0..QUESTIONS_MAX {
        let (mut send, mut recv) = match connection.accept_bi().await {
            Ok(streams) => streams,
            // Whoever has its answers goes.
            Err(ConnectionError::ApplicationClosed(_)) => return Ok(()),
            Err(error) => return Err(lost(&error)),
        };
        let message = read_message(&mut recv, limits.hello_timeout).await?;
        let question = Question::decode(&message.ok_or(Violation::TooFewBytes { what: "question" })?)?;
        expect_end(&mut recv, "question", limits.hello_timeout).await?;
        let answer = match question {
            // A longer one is a bug of this program; it is not sent, since nobody would read it.
            Question::Record(name) => Answer::Record(
                inform.record(name.0).filter(|bytes| bytes.len() <= RECORD_BYTES_MAX).unwrap_or_default(),
            ),
            Question::State => Answer::State(inform.state()),
        };
        write_message(&mut send, &answer.encode(), limits.hello_timeout).await?;
        let _ = send.finish();
    }
    // Closing now could overtake the last answer; the asker closes when it has read it.
    connection.closed().await;
    Ok(())
}
