//! The asker's side: one connection, a few questions.

use super::{
    INQUIRY_ALPN,
    wire::{Answer, Question, State},
};
use crate::{
    address::Address,
    connection::{Close, close, expect_end, lost, read_message, within, write_message},
    endpoint::Endpoint,
    error::{SessionError, Violation},
    hash::HASH_BYTES,
};
use alloy_primitives::{B256, Bytes};
use iroh::endpoint::Connection;
use std::time::{Duration, Instant};

/// A connection to a provider for questions. Dropping it closes the connection.
#[derive(Debug)]
pub struct Inquiry {
    connection: Connection,
    limit: Duration,
}

impl Inquiry {
    /// Dials the provider and proves its identity, within the endpoint's limit of a handshake; each question has the limit of a hello.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`]: nobody there, or a provider that does not know the protocol.
    pub async fn open(endpoint: &Endpoint, address: &Address) -> Result<Self, SessionError> {
        let connection = endpoint.connect_as(address, INQUIRY_ALPN).await?;
        Ok(Self { connection, limit: endpoint.limits().hello_timeout })
    }

    /// The record with this hash, or `None` if the provider does not have it. Hostile bytes, at most [`super::RECORD_BYTES_MAX`]: the caller compares
    /// their hash before it reads on.
    ///
    /// # Errors
    /// [`SessionError::Peer`] for an answer that is none; [`SessionError::Unavailable`].
    pub async fn record(&self, name: [u8; HASH_BYTES]) -> Result<Option<Bytes>, SessionError> {
        match self.ask(Question::Record(B256::from(name))).await?.0 {
            Answer::Record(bytes) => Ok((!bytes.is_empty()).then_some(bytes)),
            Answer::State(_) => self.wrong(),
        }
    }

    /// What the provider says now, and how long the question and its answer were under way.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn state(&self) -> Result<(State, Duration), SessionError> {
        match self.ask(Question::State).await? {
            (Answer::State(state), took) => Ok((state, took)),
            (Answer::Record(_), _) => self.wrong(),
        }
    }

    fn wrong<T>(&self) -> Result<T, SessionError> {
        close(&self.connection, Close::Violation);
        Err(Violation::OutOfOrder { what: "the answer to another question" }.into())
    }

    async fn ask(&self, question: Question) -> Result<(Answer, Duration), SessionError> {
        let start = Instant::now();
        let exchange = async {
            let (mut send, mut recv) = self.connection.open_bi().await.map_err(|error| lost(&error))?;
            write_message(&mut send, &question.encode(), self.limit).await?;
            let _ = send.finish();
            let message = read_message(&mut recv, self.limit).await?;
            let took = start.elapsed();
            let answer = Answer::decode(&message.ok_or(Violation::TooFewBytes { what: "answer" })?)?;
            expect_end(&mut recv, "answer", self.limit).await?;
            Ok((answer, took))
        };
        let result = within("answer", self.limit, exchange).await;
        if let Err(error @ SessionError::Peer(_)) = &result {
            close(&self.connection, Close::after(error));
        }
        result
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        close(&self.connection, Close::Done);
    }
}
