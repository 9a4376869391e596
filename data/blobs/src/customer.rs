//! The customer's side of a session: name an order, send the inputs that are asked for, take what is delivered.

use std::sync::Arc;

use alloy_primitives::B256;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::{
    address::Address,
    connection::{Close, close, lost, read_message, within, write_message},
    endpoint::Endpoint,
    error::{SessionError, Unavailable, Violation},
    hash::Hash,
    limits::{ALPN, Limits},
    note::{Allowance, HasNotes, Note},
    rate::Meter,
    store::BlobStore,
    transfer::{Fetched, Fetcher, Offered, Responder, Sent, Want},
    wire::{Delivery, FromCustomer, FromProvider, Hello, Progress},
};

/// Events that wait for the caller before the provider is slowed down.
const EVENTS_MAX: usize = 64;

/// The blobs that a customer lets the provider fetch: exactly these, from this store.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Where they are.
    pub store: Arc<dyn BlobStore>,
    /// Their names: program, common input, list of units and units.
    pub hashes: Vec<Hash>,
}

/// What a provider says while it works, in the order in which it can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is about to fetch this many inputs that it lacks.
    Wants {
        /// Different blobs.
        blobs: u32,
    },
    /// It is so far. Never goes backwards.
    Progress(Progress),
    /// Its commitment is on chain, it says; the caller checks there.
    Committed(B256),
    /// The outputs may be fetched now.
    Delivered(Delivery),
    /// It says what happens on its side. Its word alone, at any time.
    Note(Note),
}

/// A session with a provider about one order. Dropping it closes the connection; the provider may go on working, and a
/// new session for the same order takes over.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    control: SendStream,
    events: mpsc::Receiver<Result<Event, SessionError>>,
    sent: watch::Receiver<Sent>,
    limits: Limits,
    meter: Meter,
    driver: AbortHandle,
}

impl Session {
    /// Dials the provider, proves its identity, says hello and waits for its answer.
    ///
    /// From then on the inputs are sent whenever the provider asks, whether or not the caller looks at events.
    ///
    /// # Errors
    /// [`SessionError::Refused`]: it does not take the order. [`SessionError::Unavailable`]: not reached, not answered.
    /// [`SessionError::Misuse`]: the hello is larger than the protocol allows.
    pub async fn open(
        endpoint: &Endpoint,
        address: &Address,
        hello: Hello,
        inputs: Inputs,
    ) -> Result<Self, SessionError> {
        hello.check().map_err(|_| SessionError::Misuse { what: "hello is too large" })?;
        let (limits, meter) = (*endpoint.limits(), endpoint.meter().clone());
        let connection = endpoint.connect(address).await?;
        let greeted = within("answer to the hello", answer_limit(&limits), greet(&connection, hello, &limits)).await;
        let (control, answers) = match greeted {
            Ok(streams) => streams,
            Err(error) => {
                close(&connection, Close::after(&error));
                return Err(error);
            }
        };
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (sent_in, sent) = watch::channel(Sent::default());
        let Inputs { store, hashes } = inputs;
        let responder = Responder { store, offered: Offered::new(hashes), limits, meter: meter.clone(), sent: sent_in };
        let state = State::new(HasNotes::of(connection.alpn(), ALPN));
        let driver = Driver { connection: connection.clone(), responder, events: events_in, state };
        let driver = tokio::spawn(driver.run(answers)).abort_handle();
        Ok(Self { connection, control, events, sent, limits, meter, driver })
    }

    /// The next event. May be dropped and called again without losing one.
    ///
    /// # Errors
    /// The session is over: [`SessionError::Failed`] (the run failed), [`SessionError::Peer`],
    /// [`SessionError::Unavailable`] (open a new session to go on). Later calls say that it is over.
    pub async fn next(&mut self) -> Result<Event, SessionError> {
        match self.events.recv().await {
            Some(event) => event,
            None => Err(Unavailable::Disconnected { detail: "session is over".to_owned() }.into()),
        }
    }

    /// How much of the inputs has been sent; the receiver also wakes when it changes.
    #[must_use]
    pub fn sent(&self) -> watch::Receiver<Sent> {
        self.sent.clone()
    }

    /// Fetches outputs into `store`, verified; those that are there already are not fetched again, and one that was
    /// begun resumes. `report` is called at every step.
    ///
    /// # Errors
    /// [`Unavailable::NotServed`]: not delivered yet, or not an output. [`SessionError::Peer`]: wrong bytes or sizes; the
    /// connection is closed and nothing of that blob kept. [`SessionError::Store`].
    pub async fn fetch(
        &self,
        store: &Arc<dyn BlobStore>,
        wants: Vec<Want>,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        let Self { connection, limits, meter, .. } = self;
        Fetcher { connection, store, limits, meter }.fetch(wants, report).await
    }

    /// Tells the provider that everything arrived and ends the session.
    ///
    /// # Errors
    /// The provider did not confirm. What was fetched stays fetched.
    pub async fn finish(mut self) -> Result<(), SessionError> {
        self.say_last(&FromCustomer::Received).await?;
        let connection = self.connection.clone();
        let closed = async move { Ok(connection.closed().await) };
        let reason = within("provider to end the session", self.limits.stall_timeout, closed).await?;
        if Close::of(&reason) == Some(Close::Done) { Ok(()) } else { Err(lost(&reason)) }
    }

    /// Tells the provider that its work is not wanted and ends the session. It ends an order that nobody leased; a leased one the contract ends.
    ///
    /// # Errors
    /// [`SessionError::Failed`] with [`FailureCode::Deadline`](crate::FailureCode::Deadline): it comes too late, the order is leased or done and the provider goes on.
    /// Otherwise the provider did not confirm; it will notice at the latest when the lease ends.
    pub async fn cancel(mut self) -> Result<(), SessionError> {
        self.say_last(&FromCustomer::Cancel).await?;
        let limit = self.limits.stall_timeout;
        // What the provider said before it heard of it is passed over.
        let last = async {
            loop {
                if let Err(error) = self.next().await {
                    break Ok(error);
                }
            }
        };
        let error = within("provider to end the session", limit, last).await?;
        let confirmed = self.connection.close_reason().is_some_and(|why| Close::of(&why) == Some(Close::Cancelled));
        if confirmed { Ok(()) } else { Err(error) }
    }

    async fn say_last(&mut self, message: &FromCustomer) -> Result<(), SessionError> {
        write_message(&mut self.control, &message.encode(), self.limits.stall_timeout).await?;
        let _ = self.control.finish();
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        close(&self.connection, Close::Done);
        self.driver.abort();
    }
}

/// The provider reads the hello and decides within its own limits; both must fit.
const fn answer_limit(limits: &Limits) -> std::time::Duration {
    limits.hello_timeout.saturating_mul(3)
}

/// Opens the control stream and says hello.
async fn greet(
    connection: &Connection,
    hello: Hello,
    limits: &Limits,
) -> Result<(SendStream, RecvStream), SessionError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    write_message(&mut send, &FromCustomer::Hello(hello).encode(), limits.stall_timeout).await?;
    let message = read_message(&mut recv, limits.stall_timeout).await?;
    match FromProvider::decode(&message.ok_or_else(ended)?)? {
        FromProvider::Accepted => Ok((send, recv)),
        FromProvider::Refused(refusal) => Err(SessionError::Refused(refusal)),
        _ => Err(Violation::OutOfOrder { what: "something before the answer to the hello" }.into()),
    }
}

/// The provider ended its messages between two of them: a crash, not a lie.
fn ended() -> SessionError {
    Unavailable::Disconnected { detail: "provider ended its messages".to_owned() }.into()
}

/// Reads the provider's messages and answers its wants, beside the caller.
struct Driver {
    connection: Connection,
    responder: Responder,
    events: mpsc::Sender<Result<Event, SessionError>>,
    state: State,
}

impl Driver {
    async fn run(self, mut answers: RecvStream) {
        let Self { connection, responder, events, mut state } = self;
        let limit = responder.limits.stall_timeout;
        let read = async {
            loop {
                match next_event(&mut answers, &mut state, limit).await {
                    Ok(event) => {
                        // The caller dropped the session if nobody listens.
                        let _ = events.send(Ok(event)).await;
                    }
                    Err(error) => break error,
                }
            }
        };
        let error = tokio::select! {
            // What the provider said last explains the end better than the closed connection.
            biased;
            error = read => error,
            error = responder.run(&connection) => error,
        };
        close(&connection, Close::after(&error));
        let _ = events.send(Err(error)).await;
    }
}

async fn next_event(
    answers: &mut RecvStream,
    state: &mut State,
    limit: std::time::Duration,
) -> Result<Event, SessionError> {
    let message = read_message(answers, limit).await?;
    state.advance(FromProvider::decode(&message.ok_or_else(ended)?)?)
}

/// The order in which a provider's messages make sense.
#[derive(Debug)]
struct State {
    progress: Progress,
    committed: bool,
    delivered: bool,
    notes: Allowance,
}

impl State {
    fn new(has_notes: HasNotes) -> Self {
        Self { progress: Progress::default(), committed: false, delivered: false, notes: Allowance::new(has_notes) }
    }

    fn advance(&mut self, message: FromProvider) -> Result<Event, SessionError> {
        let out_of_order = |what| Err(Violation::OutOfOrder { what }.into());
        match message {
            FromProvider::Accepted | FromProvider::Refused(_) => out_of_order("a second answer to the hello"),
            FromProvider::Wants(blobs) if !self.committed => Ok(Event::Wants { blobs }),
            FromProvider::Wants(_) => out_of_order("wants after the commitment"),
            FromProvider::Progress(progress) => {
                let first = self.progress == Progress::default();
                if !first && (progress.done < self.progress.done || progress.total != self.progress.total) {
                    return out_of_order("progress that goes backwards");
                }
                self.progress = progress;
                Ok(Event::Progress(progress))
            }
            FromProvider::Committed(_) if self.committed => out_of_order("a second commitment"),
            FromProvider::Committed(commitment) => {
                self.committed = true;
                Ok(Event::Committed(commitment))
            }
            FromProvider::Delivered(delivery) if self.committed && !self.delivered => {
                self.delivered = true;
                Ok(Event::Delivered(delivery))
            }
            FromProvider::Delivered(_) => out_of_order("delivery before its commitment, or a second one"),
            FromProvider::Failed(failure) => Err(SessionError::Failed(failure)),
            FromProvider::Note(note) => {
                self.notes.spend()?;
                Ok(Event::Note(note))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered() -> FromProvider {
        FromProvider::Delivered(Delivery::new(B256::ZERO, Hash::of(b"")))
    }

    fn is_out_of_order(result: &Result<Event, SessionError>) -> bool {
        matches!(result, Err(SessionError::Peer(Violation::OutOfOrder { .. })))
    }

    #[test]
    fn a_delivery_counts_once_and_only_after_its_commitment() {
        let mut state = State::new(HasNotes::Yes);
        assert!(is_out_of_order(&state.advance(delivered())));
        assert!(state.advance(FromProvider::Committed(B256::ZERO)).is_ok());
        assert!(is_out_of_order(&state.advance(FromProvider::Committed(B256::ZERO))));
        assert!(is_out_of_order(&state.advance(FromProvider::Wants(1))));
        assert!(state.advance(delivered()).is_ok());
        assert!(is_out_of_order(&state.advance(delivered())));
        assert!(is_out_of_order(&state.advance(FromProvider::Accepted)));
    }

    #[test]
    fn progress_never_goes_backwards() {
        let mut state = State::new(HasNotes::No);
        let mut at = |done, total| state.advance(FromProvider::Progress(Progress { done, total }));
        assert!(at(0, 4).is_ok());
        assert!(at(2, 4).is_ok());
        assert!(at(2, 4).is_ok());
        assert!(is_out_of_order(&at(1, 4)));
        assert!(is_out_of_order(&at(3, 5)));
        assert!(at(4, 4).is_ok());
    }

    /// A provider that floods its customer with notes is cut off, and so is one that says them where the protocol has none.
    #[test]
    fn a_flood_of_notes_ends_and_version_1_has_none() {
        let note = || FromProvider::Note(Note::now(crate::NoteKind::Retry, 1, "again"));
        let mut state = State::new(HasNotes::Yes);
        assert!((0..crate::NOTES_MAX).all(|_| matches!(state.advance(note()), Ok(Event::Note(_)))));
        assert!(is_out_of_order(&state.advance(note())));
        assert!(is_out_of_order(&State::new(HasNotes::No).advance(note())));
    }
}
