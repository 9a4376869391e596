//! Messages over a stream with a length and a time limit each, and what the transport's errors mean for a session.

use std::{
    fmt::Display,
    future::Future,
    mem::take,
    time::{Duration, Instant},
};

use iroh::endpoint::{
    ConnectError, ConnectingError, Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream,
    TransportErrorCode, VarInt, WriteError,
};

use crate::{
    error::{SessionError, Unavailable, Violation},
    limits::STALLS_MAX,
    outline::GROUP_BYTES,
    rate::Lane,
    store::StoreError,
    wire::{Reason, size_max},
};

/// Bytes of a message's length on a stream.
const LENGTH_BYTES: usize = 4;
/// TLS alert 120, `no_application_protocol`: the peer speaks none of the offered protocols.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Why a side closes the connection: the application error code of QUIC. Spec: specs/0005-transfer.md §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    Done = 0,
    Cancelled = 1,
    Superseded = 2,
    Violation = 3,
    TimedOut = 4,
    ShuttingDown = 5,
    Fault = 6,
}

impl Close {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Cancelled,
        Self::Superseded,
        Self::Violation,
        Self::TimedOut,
        Self::ShuttingDown,
        Self::Fault,
    ];

    pub(crate) const fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    fn from_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|close| close.code() == code)
    }

    /// The code with which the peer closed, if it did.
    pub(crate) fn of(error: &ConnectionError) -> Option<Self> {
        match error {
            ConnectionError::ApplicationClosed(closed) => Self::from_code(closed.error_code),
            _ => None,
        }
    }

    /// The code with which a session that ended this way closes its connection.
    pub(crate) const fn after(error: &SessionError) -> Self {
        match error {
            SessionError::Peer(_) => Self::Violation,
            SessionError::Cancelled => Self::Cancelled,
            SessionError::Unavailable(Unavailable::TimedOut { .. } | Unavailable::Paused { .. }) => Self::TimedOut,
            SessionError::Unavailable(Unavailable::ShuttingDown) => Self::ShuttingDown,
            SessionError::Unavailable(_) | SessionError::Refused(_) | SessionError::Failed(_) => Self::Done,
            SessionError::Store(_) | SessionError::Misuse { .. } => Self::Fault,
        }
    }
}

/// Closes the connection, unless it is closed: the first reason stays the one that both sides report.
pub(crate) fn close(connection: &Connection, why: Close) {
    if connection.close_reason().is_none() {
        connection.close(why.code(), b"");
    }
}

/// What the transport says, as it can go to a log or a terminal: whoever closes a connection may have written the reason.
fn detail(error: &impl Display) -> String {
    Reason::new(&error.to_string()).to_string()
}

/// What the end of a connection means.
pub(crate) fn lost(error: &ConnectionError) -> SessionError {
    let disconnected = || Unavailable::Disconnected { detail: detail(error) };
    let unavailable = match error {
        ConnectionError::ApplicationClosed(closed) => match Close::from_code(closed.error_code) {
            Some(Close::Cancelled) => return SessionError::Cancelled,
            Some(Close::Superseded) => Unavailable::Superseded,
            Some(Close::Violation) => Unavailable::Accused,
            Some(Close::ShuttingDown) => Unavailable::ShuttingDown,
            Some(Close::Done | Close::TimedOut | Close::Fault) | None => disconnected(),
        },
        ConnectionError::ConnectionClosed(closed) if closed.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            Unavailable::Busy
        }
        ConnectionError::ConnectionClosed(closed)
            if closed.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            Unavailable::OtherProtocol
        }
        ConnectionError::TransportError(error) if error.code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) => {
            Unavailable::OtherProtocol
        }
        _ => disconnected(),
    };
    unavailable.into()
}

/// What a failed dial means.
pub(crate) fn unreachable(error: &ConnectError) -> SessionError {
    match error {
        ConnectError::Connecting { source, .. } => not_accepted(source),
        ConnectError::Connection { source, .. } => not_connected(source),
        _ => Unavailable::Unreachable { detail: detail(error) }.into(),
    }
}

/// What a failed handshake means.
pub(crate) fn not_accepted(error: &ConnectingError) -> SessionError {
    match error {
        ConnectingError::ConnectionError { source, .. } => not_connected(source),
        _ => Unavailable::Unreachable { detail: detail(error) }.into(),
    }
}

fn not_connected(error: &ConnectionError) -> SessionError {
    match lost(error) {
        SessionError::Unavailable(Unavailable::Disconnected { detail }) => Unavailable::Unreachable { detail }.into(),
        other => other,
    }
}

/// What a failed read means.
pub(crate) fn read_failed(error: &ReadError) -> SessionError {
    match error {
        ReadError::Reset(code) => Unavailable::Stopped { code: code.into_inner() }.into(),
        ReadError::ConnectionLost(error) => lost(error),
        other => Unavailable::Disconnected { detail: detail(other) }.into(),
    }
}

/// What a failed write means.
pub(crate) fn write_failed(error: &WriteError) -> SessionError {
    match error {
        WriteError::Stopped(code) => Unavailable::Stopped { code: code.into_inner() }.into(),
        WriteError::ConnectionLost(error) => lost(error),
        other => Unavailable::Disconnected { detail: detail(other) }.into(),
    }
}

/// Gives `step` at most `limit`.
pub(crate) async fn within<T>(
    what: &'static str,
    limit: Duration,
    step: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    match tokio::time::timeout(limit, step).await {
        Ok(result) => result,
        Err(_) => Err(Unavailable::TimedOut { what, limit }.into()),
    }
}

/// Runs blocking work (disk, hashing) on the pool.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, SessionError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(SessionError::from),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The pool refuses work only while the runtime stops.
            Err(_) => Err(Unavailable::ShuttingDown.into()),
        },
    }
}

/// Fills `buffer` within `limit`.
pub(crate) async fn read_exact(
    recv: &mut RecvStream,
    buffer: &mut [u8],
    what: &'static str,
    limit: Duration,
) -> Result<(), SessionError> {
    let read = async {
        recv.read_exact(buffer).await.map_err(|error| match error {
            ReadExactError::FinishedEarly(_) => Violation::TooFewBytes { what }.into(),
            ReadExactError::ReadError(error) => read_failed(&error),
        })
    };
    within(what, limit, read).await
}

/// Fills `buffer`, a part of a blob of at most 64 KiB, as fast as `lane` lets it: something must come within each `limit`, all within [`STALLS_MAX`] of
/// them. What this side waits for its own rate does not count.
pub(crate) async fn read_blob(
    recv: &mut RecvStream,
    buffer: &mut [u8],
    what: &'static str,
    limit: Duration,
    lane: &Lane,
) -> Result<(), SessionError> {
    let mut patience = Patience::new(what, limit);
    let mut rest = buffer;
    while !rest.is_empty() {
        let granted = lane.grant(rest.len(), pause(limit)).await?;
        // A grant is at most what was asked for.
        let (mut now, later) = take(&mut rest).split_at_mut_checked(granted).unwrap_or_default();
        while !now.is_empty() {
            let read = async { recv.read(now).await.map_err(|error| read_failed(&error)) };
            let got = patience.spend(read).await?.ok_or(Violation::TooFewBytes { what })?;
            lane.count(got);
            now = take(&mut now).get_mut(got..).unwrap_or_default();
        }
        rest = later;
    }
    Ok(())
}

/// Writes a part of a blob, as [`read_blob`] reads it: each 64 KiB within [`STALLS_MAX`] of `limit`, something within each. `report` is told each piece.
pub(crate) async fn write_blob(
    send: &mut SendStream,
    bytes: &[u8],
    what: &'static str,
    limit: Duration,
    lane: &Lane,
    report: impl Fn(usize),
) -> Result<(), SessionError> {
    for group in bytes.chunks(GROUP_BYTES) {
        let mut patience = Patience::new(what, limit);
        let mut rest = group;
        while !rest.is_empty() {
            let granted = lane.grant(rest.len(), pause(limit)).await?;
            let (mut now, later) = rest.split_at_checked(granted).unwrap_or_default();
            while !now.is_empty() {
                let write = async { send.write(now).await.map_err(|error| write_failed(&error)) };
                let sent = patience.spend(write).await?;
                lane.count(sent);
                report(sent);
                now = now.get(sent..).unwrap_or_default();
            }
            rest = later;
        }
    }
    Ok(())
}

/// How long a transfer waits while this side's owner lets nothing move: it leaves before the peer takes it for dead.
fn pause(limit: Duration) -> Duration {
    limit.checked_div(2).unwrap_or_default()
}

/// How long a peer may still take for 64 KiB of a blob.
struct Patience {
    what: &'static str,
    limit: Duration,
    left: Duration,
}

impl Patience {
    const fn new(what: &'static str, limit: Duration) -> Self {
        Self { what, limit, left: limit.saturating_mul(STALLS_MAX) }
    }

    /// One step of the peer, that brings at least a byte.
    async fn spend<T>(&mut self, step: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
        let start = Instant::now();
        let done = within(self.what, self.limit.min(self.left), step).await;
        self.left = self.left.saturating_sub(start.elapsed());
        done
    }
}

/// Reads one message from a hostile peer, or `None` if the stream ends cleanly before one.
///
/// Waits without limit for a message to begin (a caller who will not wraps it); once it began, `limit` holds.
pub(crate) async fn read_message(recv: &mut RecvStream, limit: Duration) -> Result<Option<Vec<u8>>, SessionError> {
    let mut length = [0_u8; LENGTH_BYTES];
    match recv.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(Violation::TooFewBytes { what: "message" }.into()),
        Err(ReadExactError::ReadError(error)) => return Err(read_failed(&error)),
    }
    let got_bytes = u32::from_be_bytes(length);
    let max_bytes = size_max();
    if got_bytes > max_bytes {
        return Err(Violation::MessageTooLarge { got_bytes, max_bytes }.into());
    }
    // At most 64 KiB after the check above.
    let mut message = vec![0; usize::try_from(got_bytes).unwrap_or_default()];
    read_exact(recv, &mut message, "message", limit).await?;
    Ok(Some(message))
}

/// Checks that the peer ends the stream here.
pub(crate) async fn expect_end(recv: &mut RecvStream, what: &'static str, limit: Duration) -> Result<(), SessionError> {
    let read = async {
        match recv.read(&mut [0]).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Violation::TooManyBytes { what }.into()),
            Err(error) => Err(read_failed(&error)),
        }
    };
    within(what, limit, read).await
}

/// Writes `bytes`, giving each 64 KiB at most `limit`.
pub(crate) async fn write_all(
    send: &mut SendStream,
    bytes: &[u8],
    what: &'static str,
    limit: Duration,
) -> Result<(), SessionError> {
    for chunk in bytes.chunks(GROUP_BYTES) {
        let write = async { send.write_all(chunk).await.map_err(|error| write_failed(&error)) };
        within(what, limit, write).await?;
    }
    Ok(())
}

/// Writes one message with its length.
pub(crate) async fn write_message(send: &mut SendStream, message: &[u8], limit: Duration) -> Result<(), SessionError> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    write_all(send, &[length.as_slice(), message].concat(), "message", limit).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::endpoint::ApplicationClose;

    /// It comes to the terminal of a customer, to the provider's log, and into what programs read.
    #[test]
    fn what_a_peer_says_when_it_closes_is_short_and_printable() {
        for error_code in [Close::Done.code(), VarInt::from_u32(77)] {
            let mut reason = "\u{1b}[2J\r\nOrder 1 is paid.\u{9b}\u{2028}".as_bytes().to_vec();
            reason.extend([b'x'; 4_096]);
            let closed = ApplicationClose { error_code, reason: reason.into() };
            let error = lost(&ConnectionError::ApplicationClosed(closed));
            let said = error.to_string();
            assert!(matches!(error, SessionError::Unavailable(Unavailable::Disconnected { .. })), "{said}");
            assert!(said.len() < 400 && said.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{said}");
            assert!(said.contains("closed by peer: ?[2J??Order 1 is paid.??xxx"), "{said}");
        }
    }
}
