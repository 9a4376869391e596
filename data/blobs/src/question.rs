//! One question and its answer: for what a node says to everybody, outside of any order.
//!
//! # Design
//! A connection of its own protocol carries one question on one stream: a kind, a body, an answer. What the kinds mean is for the program that asks and
//! the one that answers; here they are bytes with bounds. The answer is read only up to what the asker is ready to take, and each 64 KiB must come in
//! the time that a blob's would have. Answers move at the rates of blobs, and within the whole time that they have: a rate that is too low for one leaves it
//! without answer.
//!
//! Spec: specs/0005-transfer.md §9.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use alloy_primitives::Bytes;
use iroh::endpoint::{Connection, SendStream};
use tokio::sync::Semaphore;

use crate::{
    address::{Address, NodeId},
    connection::{
        Close, close, expect_end, lost, read_blob, read_exact, read_message, within, write_all, write_blob,
        write_message,
    },
    endpoint::Endpoint,
    error::{SessionError, Unavailable, Violation},
    limits::{ANSWER_BYTES_MAX, ANSWER_MAX, ANSWERS_MAX, Limits, MESSAGE_BYTES_MAX, QUESTION_ALPN},
    outline::GROUP_BYTES,
    provider::{Acceptor, Guest},
    rate::Meter,
    transfer::Window,
};

/// The first byte of an answer.
const NONE: u8 = 0;
const SOME: u8 = 1;

/// A question. Hostile to whoever answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub kind: u8,
    /// What more there is to say; with the kind at most [`MESSAGE_BYTES_MAX`] bytes.
    pub body: Bytes,
}

/// Asks a node one thing; `None` if it has no answer. The answer is hostile, and has at most `bytes_max` bytes.
///
/// # Errors
/// [`SessionError::Unavailable`]: not reached, not answered, or it speaks no such protocol. [`SessionError::Peer`]: it broke the
/// protocol or answered more. [`SessionError::Misuse`]: the question is too large.
pub async fn ask(
    endpoint: &Endpoint,
    address: &Address,
    question: &Question,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, SessionError> {
    if question.body.len() >= MESSAGE_BYTES_MAX {
        return Err(SessionError::Misuse { what: "question is too large" });
    }
    let connection = endpoint.connect_as(address, QUESTION_ALPN).await?;
    let (limits, meter) = (endpoint.limits(), endpoint.meter());
    let outcome = within("answer", ANSWER_MAX, put(&connection, question, bytes_max, (limits, meter))).await;
    close(&connection, outcome.as_ref().err().map_or(Close::Done, Close::after));
    outcome
}

async fn put(
    connection: &Connection,
    question: &Question,
    bytes_max: usize,
    (limits, meter): (&Limits, &Meter),
) -> Result<Option<Vec<u8>>, SessionError> {
    let mut window = Window::new(connection, meter);
    window.fit();
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let message = [&[question.kind], question.body.as_ref()].concat();
    write_message(&mut send, &message, limits.stall_timeout).await?;
    let _ = send.finish();
    let mut found = [NONE];
    // How long the other side may think is bounded by the whole question's time.
    read_exact(&mut recv, &mut found, "answer", ANSWER_MAX).await?;
    if found == [NONE] {
        expect_end(&mut recv, "answer", limits.stall_timeout).await?;
        return Ok(None);
    }
    if found != [SOME] {
        return Err(Violation::Malformed { what: "answer" }.into());
    }
    let mut length = [0; 4];
    read_exact(&mut recv, &mut length, "answer", limits.stall_timeout).await?;
    let (got_bytes, max) = (u32::from_be_bytes(length), bytes_max.min(ANSWER_BYTES_MAX));
    let max_bytes = u32::try_from(max).unwrap_or(u32::MAX);
    if got_bytes > max_bytes {
        return Err(Violation::MessageTooLarge { got_bytes, max_bytes }.into());
    }
    let whole = usize::try_from(got_bytes).unwrap_or_default();
    let mut answer = Vec::new();
    while answer.len() < whole {
        // Grows with what arrives, not with what was announced.
        let (from, to) = (answer.len(), answer.len().saturating_add(GROUP_BYTES).min(whole));
        answer.resize(to, 0);
        let rest = answer.get_mut(from..).unwrap_or_default();
        window.fit();
        read_blob(&mut recv, rest, "answer", limits.stall_timeout, &meter.download).await?;
    }
    expect_end(&mut recv, "answer", limits.stall_timeout).await?;
    Ok(Some(answer))
}

/// Answers questions of strangers.
pub trait Answer: Send + Sync + 'static {
    /// The answer; `None` if there is none. One that is given to many is a clone of the same bytes: then many can read it at once. At most [`ANSWER_BYTES_MAX`] bytes are sent. Called for few questions at once, each
    /// within the limit of a hello; `peer` is proved by the connection, the question is hostile.
    fn answer(&self, peer: NodeId, question: Question) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>>;
}

/// Takes the connections of questions; for [`crate::serve_with`].
#[derive(Clone)]
pub struct Questions {
    by: Arc<dyn Answer>,
    /// Places for answers in memory.
    places: Arc<Semaphore>,
}

impl Questions {
    /// Answers with what `by` says.
    #[must_use]
    pub fn new(by: Arc<dyn Answer>) -> Self {
        Self { by, places: Arc::new(Semaphore::new(ANSWERS_MAX)) }
    }

    async fn converse(&self, guest: &Guest) -> Result<(), SessionError> {
        let Guest { connection, customer, limits, meter, .. } = guest;
        let (send, question) = within("question", limits.hello_timeout, hear(connection, limits)).await?;
        let turn = async { self.places.acquire().await.map_err(|_| Unavailable::ShuttingDown.into()) };
        let turn = within("turn to answer", limits.hello_timeout, turn).await?;
        let answer = async { Ok(self.by.answer(*customer, question).await) };
        let answer = within("answer", limits.hello_timeout, answer).await?;
        // A place bounds the memory that an answer takes. One that others hold as well takes none of its own, so that who reads slowly holds up nobody.
        let place = answer.as_ref().is_some_and(|answer| answer.is_unique()).then_some(turn);
        within("answer", ANSWER_MAX, reply(connection, send, answer, (limits, meter))).await?;
        drop(place);
        Ok(())
    }
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Questions")
    }
}

impl Acceptor for Questions {
    fn alpn(&self) -> &'static [u8] {
        QUESTION_ALPN
    }

    /// The guest keeps its place among the handshakes to its end: that bounds how many there are.
    fn accept(&self, guest: Guest) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let outcome = self.converse(&guest).await;
            close(&guest.connection, outcome.as_ref().err().map_or(Close::Done, Close::after));
            if let Err(error) = outcome {
                tracing::debug!(customer = ?guest.customer, %error, "question ended");
            }
        })
    }
}

/// Reads the one question of a connection.
async fn hear(connection: &Connection, limits: &Limits) -> Result<(SendStream, Question), SessionError> {
    let (send, mut recv) = connection.accept_bi().await.map_err(|error| lost(&error))?;
    let message = read_message(&mut recv, limits.stall_timeout).await?;
    let message = message.ok_or(Violation::TooFewBytes { what: "question" })?;
    expect_end(&mut recv, "question", limits.stall_timeout).await?;
    let (kind, body) = message.split_first().ok_or(Violation::Malformed { what: "question" })?;
    Ok((send, Question { kind: *kind, body: body.to_vec().into() }))
}

/// Writes the answer, and waits until the other side has it.
async fn reply(
    connection: &Connection,
    mut send: SendStream,
    answer: Option<Bytes>,
    (limits, meter): (&Limits, &Meter),
) -> Result<(), SessionError> {
    match answer.filter(|answer| answer.len() <= ANSWER_BYTES_MAX) {
        None => write_all(&mut send, &[NONE], "answer", limits.stall_timeout).await?,
        Some(bytes) => {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
            write_all(&mut send, &[&[SOME], length.as_slice()].concat(), "answer", limits.stall_timeout).await?;
            write_blob(&mut send, &bytes, "answer", limits.stall_timeout, &meter.upload, |_| {}).await?;
        }
    }
    let _ = send.finish();
    // Closing now could overtake the answer; the other side closes when it has read it.
    let _ = tokio::time::timeout(limits.stall_timeout, connection.closed()).await;
    Ok(())
}
