//! Accepts connections and conducts their sessions, each in a task that this server sees end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::U256;
use iroh::endpoint::{Connection, Incoming, IncomingAddr, RecvStream, SendStream};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::{JoinHandle, JoinSet},
};

use super::{Acceptor, Authorise, Ended, Guest, Handler, Job};
use crate::{
    address::NodeId,
    admission::{Admission, Ticket},
    check::{Answer, CheckHello, Offer},
    connection::{Close, close, lost, not_accepted, read_message, within, write_message},
    endpoint::Endpoint,
    error::{SessionError, Unavailable, Violation},
    limits::{CHECK_ALPN, CHECK_SESSION_MAX, Limits},
    rate::Meter,
    store::BlobStore,
    transfer::{Offered, Responder, Sent},
    wire::{Failure, FromCustomer, FromProvider, Hello, Refusal, RefusalCode},
};

/// A running provider. Dropping it ends it at once; [`Self::shutdown`] tells the customers first.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    admission: Admission,
    task: JoinHandle<()>,
}

impl Server {
    /// Sessions now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.admission.sessions()
    }

    /// Connections now that are not yet sessions.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.admission.handshakes()
    }

    /// Ends every session with "shutting down", waits for their handlers to be gone, and stops accepting.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "provider ended abnormally");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to accept sessions on `endpoint`. Inputs go to `store`, outputs are served from it.
///
/// One server per endpoint; a second one takes the connections of the first.
pub fn serve<A: Authorise, H: Handler>(
    endpoint: &Endpoint,
    store: Arc<dyn BlobStore>,
    authorise: A,
    handler: H,
) -> Server {
    serve_with(endpoint, store, authorise, handler, Vec::new())
}

/// As [`serve`], and gives connections of other protocols to who takes them. All count together against the endpoint's limits.
pub fn serve_with<A: Authorise, H: Handler>(
    endpoint: &Endpoint,
    store: Arc<dyn BlobStore>,
    authorise: A,
    handler: H,
    acceptors: Vec<Arc<dyn Acceptor>>,
) -> Server {
    let limits = *endpoint.limits();
    let admission = Admission::new(limits);
    let (stop, stopped) = watch::channel(false);
    let alpns: Vec<&'static [u8]> = acceptors.iter().flat_map(|acceptor| acceptor.alpns()).collect();
    let shared = Shared {
        acceptors,
        store,
        authorise,
        handler,
        limits,
        meter: endpoint.meter().clone(),
        admission: admission.clone(),
        orders: Mutex::default(),
        stopped: stopped.clone(),
    };
    endpoint.accept_incoming(&alpns);
    let task = tokio::spawn(accept(endpoint.clone(), Arc::new(shared), stopped));
    Server { stop, admission, task }
}

/// What all sessions of a server share.
struct Shared<A, H> {
    acceptors: Vec<Arc<dyn Acceptor>>,
    store: Arc<dyn BlobStore>,
    authorise: A,
    handler: H,
    limits: Limits,
    meter: Meter,
    admission: Admission,
    orders: Mutex<HashMap<U256, Holder>>,
    stopped: watch::Receiver<bool>,
}

/// The session that an order has now.
struct Holder {
    connection: Connection,
    /// Locked while a handler works on the order.
    turn: Arc<tokio::sync::Mutex<()>>,
}

async fn accept<A: Authorise, H: Handler>(
    endpoint: Endpoint,
    shared: Arc<Shared<A, H>>,
    mut stopped: watch::Receiver<bool>,
) {
    let alpns: Vec<&'static [u8]> = shared.acceptors.iter().flat_map(|acceptor| acceptor.alpns()).collect();
    let transport = endpoint.accept_incoming(&alpns);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // The sender is gone only if the server was dropped, which aborts this task.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            incoming = transport.accept() => match incoming {
                Some(incoming) => admit(&shared, incoming, &mut connections),
                None => break,
            },
            Some(ended) = connections.join_next() => log_panic(ended),
        }
    }
    endpoint.refuse_incoming();
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "session ended abnormally");
    }
}

/// Starts a connection's task, if there is a place for it.
fn admit<A: Authorise, H: Handler>(shared: &Arc<Shared<A, H>>, incoming: Incoming, connections: &mut JoinSet<()>) {
    if shared.admission.is_crowded() && !incoming.remote_addr_validated() {
        // The source must show that it receives at its address, so that counting by address means something.
        if let Err(error) = incoming.retry() {
            error.into_incoming().refuse();
        }
        return;
    }
    let source = match incoming.remote_addr() {
        IncomingAddr::Ip(address) => Some(address.ip()),
        _ => None,
    };
    match shared.admission.handshake(source) {
        Some(ticket) => {
            let shared = Arc::clone(shared);
            // Boxed: the futures of handlers may be large.
            connections.spawn(Box::pin(async move { shared.conduct(incoming, ticket).await }));
        }
        None => incoming.refuse(),
    }
}

/// A session that was authorised but not yet begun.
struct Greeted {
    customer: NodeId,
    hello: Hello,
    connection: Connection,
    control: SendStream,
    messages: RecvStream,
}

/// Who came in.
enum Greeting {
    Customer(Greeted, Ticket),
    Checker { connection: Connection, offer: Offer, place: Ticket },
}

impl<A: Authorise, H: Handler> Shared<A, H> {
    /// One connection from its first packet to its end.
    async fn conduct(&self, incoming: Incoming, ticket: Ticket) {
        let mut ended = Ended { customer: None, order: None, outcome: Ok(()) };
        let mut stopped = self.stopped.clone();
        let dismissed = ticket.dismissed();
        let connection = tokio::select! {
            connection = Box::pin(self.shake_hands(incoming)) => connection,
            () = dismissed.notified() => Err(Unavailable::Busy.into()),
            _ = stopped.wait_for(|stopped| *stopped) => Err(Unavailable::ShuttingDown.into()),
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                drop(ticket);
                ended.outcome = Err(error);
                return self.handler.ended(ended);
            }
        };
        if let Some(acceptor) =
            self.acceptors.iter().find(|acceptor| acceptor.alpns().iter().any(|alpn| *alpn == connection.alpn()))
        {
            return self.give(&**acceptor, connection, ticket).await;
        }
        let greeting = self.greet(connection, &mut ended);
        let greeted = tokio::select! {
            greeted = Box::pin(greeting) => greeted,
            // Dropping the greeting closes the connection.
            () = dismissed.notified() => Err(Unavailable::Busy.into()),
            _ = stopped.wait_for(|stopped| *stopped) => Err(Unavailable::ShuttingDown.into()),
        };
        ended.outcome = match greeted {
            Ok(Greeting::Customer(greeted, place)) => {
                drop(ticket);
                let outcome = Box::pin(self.session(greeted)).await;
                drop(place);
                outcome
            }
            Ok(Greeting::Checker { connection, offer, place }) => {
                drop(ticket);
                let outcome = self.serve_checker(&connection, offer).await;
                drop(place);
                outcome
            }
            Err(error) => {
                drop(ticket);
                Err(error)
            }
        };
        self.handler.ended(ended);
    }

    async fn shake_hands(&self, incoming: Incoming) -> Result<Connection, SessionError> {
        let handshake = async {
            let accepting = incoming.accept().map_err(|error| lost(&error))?;
            accepting.await.map_err(|error| not_accepted(&error))
        };
        within("handshake", self.limits.handshake_timeout, handshake).await
    }

    /// A connection of another protocol, until it ends or the server stops.
    async fn give(&self, acceptor: &dyn Acceptor, connection: Connection, handshake: Ticket) {
        let customer = NodeId::new(connection.remote_id());
        let (limits, meter, admission) = (self.limits, self.meter.clone(), self.admission.clone());
        let dismissed = handshake.dismissed();
        let guest = Guest { connection: connection.clone(), customer, limits, meter, handshake, admission };
        let mut stopped = self.stopped.clone();
        let stop = async {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            // Before the conversation is dropped, which would close without a reason.
            close(&connection, Close::ShuttingDown);
        };
        tokio::select! {
            () = acceptor.accept(guest) => {}
            // Never once it is a session.
            () = dismissed.notified() => close(&connection, Close::TimedOut),
            () = stop => {}
        }
    }

    /// Hello and decision. Whatever goes wrong, the connection is closed.
    async fn greet(&self, connection: Connection, ended: &mut Ended) -> Result<Greeting, SessionError> {
        let customer = NodeId::new(connection.remote_id());
        ended.customer = Some(customer);
        let result = if connection.alpn() == CHECK_ALPN {
            self.hear_checker(&connection, customer).await
        } else {
            let heard = self.hear(connection.clone(), customer, ended).await;
            heard.map(|(greeted, place)| Greeting::Customer(greeted, place))
        };
        if let Err(error) = &result {
            close(&connection, Close::after(error));
        }
        // Whoever was not let in cannot cancel anything, with whatever code it closes its connection.
        result.map_err(|error| match error {
            SessionError::Cancelled => {
                Unavailable::Disconnected { detail: "closed before the session began".to_owned() }.into()
            }
            error => error,
        })
    }

    /// Reads a checker's hello and decides. Spec: specs/0005-transfer.md §8.
    async fn hear_checker(&self, connection: &Connection, checker: NodeId) -> Result<Greeting, SessionError> {
        let limit = self.limits.hello_timeout;
        let read = async {
            let (control, mut messages) = connection.accept_bi().await.map_err(|error| lost(&error))?;
            let message = read_message(&mut messages, limit).await?;
            let hello = CheckHello::decode(&message.ok_or(Violation::TooFewBytes { what: "on duty" })?)?;
            Ok((control, hello))
        };
        let (mut control, hello) = within("on duty", limit, read).await?;
        let decide = async { Ok(self.authorise.on_duty(checker, &hello).await) };
        let decided = within("decision", limit, decide)
            .await
            .unwrap_or_else(|_: SessionError| Err(Refusal::new(RefusalCode::Internal, "the decision took too long")));
        let admitted = decided.and_then(|offer| {
            let place = self.admission.session(checker);
            place.map(|place| (offer, place)).ok_or_else(|| Refusal::new(RefusalCode::Busy, "too many sessions"))
        });
        let answer = match &admitted {
            Ok((offer, _)) => Answer::Duty(offer.duty.clone()),
            Err(refusal) => Answer::Refused(refusal.clone()),
        };
        write_message(&mut control, &answer.encode(), self.limits.stall_timeout).await?;
        let _ = control.finish();
        match admitted {
            Ok((offer, place)) => Ok(Greeting::Checker { connection: connection.clone(), offer, place }),
            Err(refusal) => {
                // Closing now could overtake the message; the checker closes when it has read it.
                let _ = tokio::time::timeout(limit, connection.closed()).await;
                Err(SessionError::Refused(refusal))
            }
        }
    }

    /// Answers a checker's wants until it goes.
    async fn serve_checker(&self, connection: &Connection, offer: Offer) -> Result<(), SessionError> {
        let (sent, _) = watch::channel(Sent::default());
        let offered = Offered::new(offer.blobs);
        let (store, limits, meter) = (Arc::clone(&self.store), self.limits, self.meter.clone());
        let responder = Responder { store, offered, limits, meter, sent };
        let mut stopped = self.stopped.clone();
        let error = tokio::select! {
            error = responder.run(connection) => error,
            _ = stopped.wait_for(|stopped| *stopped) => Unavailable::ShuttingDown.into(),
            () = tokio::time::sleep(CHECK_SESSION_MAX) => {
                Unavailable::TimedOut { what: "session of a checker", limit: CHECK_SESSION_MAX }.into()
            }
        };
        let gone = connection.close_reason().is_some_and(|reason| Close::of(&reason) == Some(Close::Done));
        close(connection, Close::after(&error));
        if gone { Ok(()) } else { Err(error) }
    }

    /// Reads the hello and decides.
    async fn hear(
        &self,
        connection: Connection,
        customer: NodeId,
        ended: &mut Ended,
    ) -> Result<(Greeted, Ticket), SessionError> {
        let limit = self.limits.hello_timeout;
        let (control, messages, hello) = within("hello", limit, read_hello(&connection, limit)).await?;
        ended.order = Some(hello.order);
        let mut greeted = Greeted { customer, hello, connection, control, messages };
        match self.decide(customer, &greeted.hello).await {
            Ok(place) => {
                greeted.say(FromProvider::Accepted, &self.limits).await?;
                Ok((greeted, place))
            }
            Err(SessionError::Refused(refusal)) => {
                greeted.say(FromProvider::Refused(refusal.clone()), &self.limits).await?;
                // Closing now could overtake the message; the customer closes when it has read it.
                let _ = tokio::time::timeout(limit, greeted.connection.closed()).await;
                Err(SessionError::Refused(refusal))
            }
            Err(error) => Err(error),
        }
    }

    async fn decide(&self, customer: NodeId, hello: &Hello) -> Result<Ticket, SessionError> {
        let refused = |code, reason| SessionError::Refused(Refusal::new(code, reason));
        let decision = async { self.authorise.authorise(customer, hello).await.map_err(SessionError::Refused) };
        match within("decision", self.limits.hello_timeout, decision).await {
            Ok(()) => {}
            Err(SessionError::Unavailable(_)) => {
                return Err(refused(RefusalCode::Internal, "the decision took too long"));
            }
            Err(error) => return Err(error),
        }
        let place = self.admission.session(customer);
        place.ok_or_else(|| refused(RefusalCode::Busy, "too many sessions"))
    }

    /// Takes over the order, runs the handler beside the customer's messages and wants, and closes the connection.
    async fn session(&self, greeted: Greeted) -> Result<(), SessionError> {
        let (order, connection) = (greeted.hello.order, greeted.connection.clone());
        let _entry = Entry { orders: &self.orders, connection: &connection };
        let outcome = tokio::select! {
            outcome = self.take_over(order, &connection) => match outcome {
                Ok(turn) => {
                    let outcome = self.run(greeted).await;
                    drop(turn);
                    outcome
                }
                Err(error) => Err(error),
            },
            error = connection.closed() => Err(lost(&error)),
        };
        close(&connection, outcome.as_ref().err().map_or(Close::Done, Close::after));
        outcome
    }

    /// Closes an older session of the order and waits for its handler to be gone.
    async fn take_over(&self, order: U256, connection: &Connection) -> Result<OwnedMutexGuard<()>, SessionError> {
        let turn = {
            let mut orders = lock(&self.orders);
            let older = orders.remove(&order);
            if let Some(older) = &older {
                close(&older.connection, Close::Superseded);
            }
            let turn = older.map(|older| older.turn).unwrap_or_default();
            orders.insert(order, Holder { connection: connection.clone(), turn: Arc::clone(&turn) });
            turn
        };
        let wait = async { Ok(turn.lock_owned().await) };
        within("older session of the order", self.limits.stall_timeout, wait).await
    }

    async fn run(&self, greeted: Greeted) -> Result<(), SessionError> {
        let Greeted { customer, hello, connection, control, mut messages } = greeted;
        let offered = Offered::default();
        let (sent_in, sent) = watch::channel(Sent::default());
        let (received_in, received) = watch::channel(false);
        let store = Arc::clone(&self.store);
        let (limits, meter) = (self.limits, self.meter.clone());
        let responder = Responder {
            store: Arc::clone(&store),
            offered: offered.clone(),
            limits,
            meter: meter.clone(),
            sent: sent_in,
        };
        let mut job = Job {
            customer,
            hello,
            connection: connection.clone(),
            control,
            store,
            offered,
            sent,
            received,
            limits,
            meter,
            committed: false,
            delivered: false,
            violation: None,
        };
        let mut stopped = self.stopped.clone();
        let result = tokio::select! {
            // A cancellation that arrived together with the end of the connection is still a cancellation.
            biased;
            error = listen(&mut messages, &received_in, limits) => Err(error),
            error = responder.run(&connection) => Err(error),
            _ = stopped.wait_for(|stopped| *stopped) => Err(Unavailable::ShuttingDown.into()),
            result = self.handler.run(&mut job) => Ok(result),
        };
        let result = self.cancelled(result, job.hello().order);
        let result = settle(result, job.violation, &connection, *received_in.borrow());
        // Closed before the answers in flight are dropped, so that none of them looks complete.
        if let Err(error) = &result {
            close(&connection, Close::after(error));
        }
        match result? {
            Ok(()) => {
                close(&connection, Close::Done);
                Ok(())
            }
            Err(failure) => {
                job.send(FromProvider::Failed(failure.clone())).await?;
                // Closing now could overtake the message; the customer closes when it has read it.
                let _ = tokio::time::timeout(limits.hello_timeout, connection.closed()).await;
                close(&connection, Close::Done);
                Err(SessionError::Failed(failure))
            }
        }
    }

    /// A cancellation is one if the handler stops for it; otherwise the customer hears why the run goes on.
    fn cancelled(
        &self,
        result: Result<Result<(), Failure>, SessionError>,
        order: U256,
    ) -> Result<Result<(), Failure>, SessionError> {
        match result {
            Err(SessionError::Cancelled) => match self.handler.cancel(order) {
                Ok(()) => Err(SessionError::Cancelled),
                Err(failure) => Ok(Err(failure)),
            },
            result => result,
        }
    }
}

/// A session's entry among the orders. Dropping it, also when a handler panics, closes the connection and removes it.
struct Entry<'a> {
    orders: &'a Mutex<HashMap<U256, Holder>>,
    connection: &'a Connection,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        close(self.connection, Close::Fault);
        let own = self.connection.stable_id();
        lock(self.orders).retain(|_, holder| holder.connection.stable_id() != own);
    }
}

fn lock(orders: &Mutex<HashMap<U256, Holder>>) -> MutexGuard<'_, HashMap<U256, Holder>> {
    // No code panics while it holds this lock.
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Greeted {
    async fn say(&mut self, message: FromProvider, limits: &Limits) -> Result<(), SessionError> {
        crate::connection::write_message(&mut self.control, &message.encode(), limits.stall_timeout).await
    }
}

/// How the session ended, whoever noticed first: the customer's violation, then the end of the connection, explain more than
/// what the handler made of them.
fn settle(
    result: Result<Result<(), Failure>, SessionError>,
    violation: Option<Violation>,
    connection: &Connection,
    received: bool,
) -> Result<Result<(), Failure>, SessionError> {
    if let Some(violation) = violation {
        return Err(violation.into());
    }
    match (result, connection.close_reason()) {
        (Ok(_), Some(reason)) if !received => Err(lost(&reason)),
        (result, _) => result,
    }
}

async fn read_hello(
    connection: &Connection,
    limit: std::time::Duration,
) -> Result<(SendStream, RecvStream, Hello), SessionError> {
    let (control, mut messages) = connection.accept_bi().await.map_err(|error| lost(&error))?;
    let message = read_message(&mut messages, limit).await?;
    match FromCustomer::decode(&message.ok_or(Violation::TooFewBytes { what: "hello" })?)? {
        FromCustomer::Hello(hello) => Ok((control, messages, hello)),
        FromCustomer::Cancel | FromCustomer::Received => {
            Err(Violation::OutOfOrder { what: "something before the hello" }.into())
        }
    }
}

/// Reads the customer's messages after the hello; returns when they end the session.
async fn listen(messages: &mut RecvStream, received: &watch::Sender<bool>, limits: Limits) -> SessionError {
    loop {
        let message = match read_message(messages, limits.stall_timeout).await {
            Ok(Some(message)) => message,
            Ok(None) if *received.borrow() => return std::future::pending().await,
            Ok(None) => return Violation::TooFewBytes { what: "customer's messages" }.into(),
            Err(error) => return error,
        };
        match FromCustomer::decode(&message) {
            Ok(FromCustomer::Cancel) => return SessionError::Cancelled,
            Ok(FromCustomer::Received) if !*received.borrow() => {
                received.send_replace(true);
            }
            Ok(_) => return Violation::OutOfOrder { what: "a second hello or receipt" }.into(),
            Err(violation) => return violation.into(),
        }
    }
}
