//! One WebSocket: JSON-RPC messages in, answers and notifications out.
//!
//! # Design
//! One task per connection does everything with the socket: it reads a message, answers some at once (each in its lane),
//! and asks for the next notifications only after it has sent the last ones. So what a connection holds is bounded without
//! a queue, and a peer that does not read is first not read from, then given up: by the stream's time for writing if it
//! takes nothing, or because its subscriptions fall behind if it takes too little.
//!
//! Trust: hostile input.

use super::Guest;
use crate::{
    dispatch::{self, Answer},
    error::RpcError,
    message::{Id, response},
    service::{BODY_UNIT_BYTES, Service},
    subscriptions::{Book, Caller, Told, Untold},
};
use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, timeout},
};

/// Bytes of a socket's buffer for reading, and of its buffer for writing: an ordinary message fits.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long a peer has to take the reason for the end, and to end its side.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// Becomes a WebSocket.
pub(super) fn upgrade(upgrade: WebSocketUpgrade, service: Arc<Service>, guest: Guest) -> Response {
    let bytes_max = service.limits.socket_message_bytes_max;
    upgrade
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .on_upgrade(move |socket| serve(socket, service, guest))
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The peer went, or broke the connection.
    Gone,
    /// The server stops.
    Stopped,
    /// The peer sent a message over the limit.
    TooLarge,
    /// The peer breaks the protocol.
    Malformed,
    /// The peer gave no sign of life.
    Silent,
    /// The peer takes notifications too slowly.
    Slow(u64),
    /// The node is broken.
    Broken,
}

async fn serve(mut socket: WebSocket, service: Arc<Service>, guest: Guest) {
    let _open = service.metrics.socket();
    let book = Arc::new(Book::default());
    let end = tokio::select! {
        end = Box::pin(Session::new(&service, &book, &guest).run(&mut socket)) => end,
        () = cut(guest.stopped.clone(), service.limits.shutdown_timeout) => End::Stopped,
    };
    book.close_all(&service);
    tracing::debug!(?end, "websocket ends");
    if let Some(frame) = end.frame(&service) {
        // A peer that does not take the reason is not waited for.
        let _ = timeout(FAREWELL_TIME, farewell(&mut socket, frame)).await;
    }
}

/// Completes some time after the server was asked to stop.
async fn cut(mut stopped: watch::Receiver<()>, time: Duration) {
    let _ = stopped.changed().await;
    tokio::time::sleep(time).await;
}

/// Says why, and reads until the peer has heard it: closing with unread input would throw the reason away.
async fn farewell(socket: &mut WebSocket, frame: CloseFrame) {
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

impl End {
    /// What the peer is told, if it is still there.
    fn frame(&self, service: &Service) -> Option<CloseFrame> {
        let limits = &service.limits;
        let (code, reason) = match self {
            Self::Gone => return None,
            Self::Stopped => (close_code::AWAY, "the node stops".to_owned()),
            Self::TooLarge => {
                (close_code::SIZE, format!("message too large: limit {} bytes", limits.socket_message_bytes_max))
            }
            Self::Malformed => (close_code::PROTOCOL, "not the WebSocket protocol".to_owned()),
            Self::Silent => (close_code::POLICY, format!("no sign of life for {} s", limits.idle_timeout.as_secs())),
            Self::Slow(behind) => {
                let max = limits.subscription_lag_max;
                (close_code::POLICY, format!("too slow: {behind} blocks behind the head, limit {max}"))
            }
            Self::Broken => (close_code::ERROR, "internal error: the node's log has the cause".to_owned()),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// An answer to be sent, and the subscriptions that it tells of.
type Answered = (Option<Answer>, Vec<u128>);

struct Session<'a> {
    service: &'a Arc<Service>,
    book: &'a Arc<Book>,
    /// Messages that are being answered.
    requests: JoinSet<Answered>,
    /// The next notifications; one job at most.
    telling: JoinSet<Result<Told, Untold>>,
    /// There may be something new to tell.
    due: bool,
    news: watch::Receiver<()>,
    arrivals: watch::Receiver<()>,
    stopped: watch::Receiver<()>,
    heard: Instant,
}

impl<'a> Session<'a> {
    fn new(service: &'a Arc<Service>, book: &'a Arc<Book>, guest: &Guest) -> Self {
        Self {
            service,
            book,
            requests: JoinSet::new(),
            telling: JoinSet::new(),
            due: false,
            news: service.news(),
            arrivals: service.context.submit.arrivals(),
            stopped: guest.stopped.clone(),
            heard: Instant::now(),
        }
    }

    async fn run(mut self, socket: &mut WebSocket) -> End {
        let limits = &self.service.limits;
        let mut ping = tokio::time::interval(limits.ping_interval);
        // The first one would ring at once.
        ping.reset();
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.due && self.telling.is_empty() && self.book.is_begun() {
                self.due = false;
                self.ask_what_is_new();
            }
            let may_read = self.requests.len() < limits.socket_requests_max;
            let step = tokio::select! {
                _ = self.stopped.changed() => return self.finish(socket).await,
                message = socket.recv(), if may_read => self.hear(message),
                Some(answer) = self.requests.join_next() => self.answer(socket, answer).await,
                Some(told) = self.telling.join_next() => self.tell(socket, told).await,
                Ok(()) = self.news.changed() => self.news(),
                Ok(()) = self.arrivals.changed(), if self.book.watches_pool() => self.news(),
                _ = ping.tick() => self.ping(socket, may_read).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    const fn news(&mut self) -> Result<(), End> {
        self.due = true;
        Ok(())
    }

    fn ask_what_is_new(&mut self) {
        let (service, book) = (Arc::clone(self.service), Arc::clone(self.book));
        self.telling.spawn(async move {
            let reader = Arc::clone(&service);
            service.lanes.run_patiently(move || book.tell(&reader)).await?
        });
    }

    /// Takes a message of the peer.
    fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard = Instant::now();
        let body = match message {
            None | Some(Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Err(error)) => return Err(end_of(error)),
            // The library answers pings by itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Binary(bytes))) => bytes,
        };
        let (service, book) = (Arc::clone(self.service), Arc::clone(self.book));
        self.requests.spawn(answer(service, book, body));
        Ok(())
    }

    async fn answer(&mut self, socket: &mut WebSocket, answer: Result<Answered, JoinError>) -> Result<(), End> {
        let (answer, ids) = answer.map_err(|_panicked| End::Broken)?;
        if let Some(mut answer) = answer {
            // What is left of it holds its room until it is sent.
            let text = std::mem::take(&mut answer.text);
            send(socket, Message::Text(text.into())).await?;
        }
        if !ids.is_empty() {
            self.book.begin(&ids);
            // Blocks may have come since it was opened.
            self.due = true;
        }
        Ok(())
    }

    async fn tell(&mut self, socket: &mut WebSocket, told: Result<Result<Told, Untold>, JoinError>) -> Result<(), End> {
        let told = match told {
            Ok(Ok(told)) => told,
            Ok(Err(Untold::Slow(behind))) => return Err(End::Slow(behind)),
            Ok(Err(Untold::Broken)) | Err(_) => return Err(End::Broken),
        };
        self.book.told(&told);
        self.due |= told.more;
        for (id, text) in told.texts {
            if self.book.holds(id) {
                send(socket, Message::Text(text.into())).await?;
                self.service.metrics.notified();
            }
        }
        Ok(())
    }

    /// Asks for a sign of life, or gives the peer up. A peer that is not read from cannot give one.
    async fn ping(&mut self, socket: &mut WebSocket, may_read: bool) -> Result<(), End> {
        if may_read && self.heard.elapsed() > self.service.limits.idle_timeout {
            return Err(End::Silent);
        }
        send(socket, Message::Ping(Bytes::new())).await
    }

    /// Sends the answers that are still due.
    async fn finish(mut self, socket: &mut WebSocket) -> End {
        while let Some(answer) = self.requests.join_next().await {
            if let Err(end) = self.answer(socket, answer).await {
                return end;
            }
        }
        End::Stopped
    }
}

/// Answers one message, within the room that all bodies share.
fn answer(service: Arc<Service>, book: Arc<Book>, body: Bytes) -> impl Future<Output = Answered> + Send {
    let units = u32::try_from(body.len().div_ceil(BODY_UNIT_BYTES)).unwrap_or(u32::MAX);
    async move {
        // Longer than all the room there is: such a message is refused here, as it would wait for ever.
        let all = service.limits.bodies_bytes_max.div_ceil(BODY_UNIT_BYTES);
        if usize::try_from(units).unwrap_or(usize::MAX) > all {
            let error = RpcError::limit("request too large for this node");
            return (Some(Answer::refusal(response(&Id::Null, Err(error)))), Vec::new());
        }
        let _room = service.bodies.acquire_many(units).await;
        let caller = Arc::new(Caller::new(book));
        let answer = dispatch::answer(&service, body, Some(Arc::clone(&caller))).await;
        (answer, caller.ids())
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    socket.send(message).await.map_err(|_gone| End::Gone)
}

fn end_of(error: axum::Error) -> End {
    use tungstenite::Error;
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => End::TooLarge,
        Some(Error::Utf8(_) | Error::Protocol(_)) => End::Malformed,
        _ => End::Gone,
    }
}
