//! What can go wrong in a session, in three kinds that call for three reactions.

use std::time::Duration;

use crate::{
    address::AddressError,
    hash::Hash,
    store::StoreError,
    wire::{Failure, Refusal},
};

/// How a session, or one step of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The peer broke the protocol: the connection is closed; count it against the peer.
    #[error("peer broke the protocol: {0}")]
    Peer(#[from] Violation),
    /// It does not work now: try again, here or elsewhere.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The provider does not take the order. [`Refusal::code`] says whether trying again helps.
    #[error("provider refused: {0}")]
    Refused(Refusal),
    /// The provider reports that the run failed.
    #[error("run failed: {0}")]
    Failed(Failure),
    /// The customer cancelled.
    #[error("customer cancelled")]
    Cancelled,
    /// This machine's store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A handle was used out of order (a delivery before its commitment): a bug of the caller.
    #[error("session used out of order: {what}")]
    Misuse {
        /// What was wrong.
        what: &'static str,
    },
}

/// What a peer did that the protocol forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message longer than allowed. Nothing of it was read.
    #[error("message too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    MessageTooLarge {
        /// The length that the peer stated.
        got_bytes: u32,
        /// The largest length.
        max_bytes: u32,
    },
    /// Bytes that are not the message they claim to be.
    #[error("malformed message: {what}")]
    Malformed {
        /// The message or rule.
        what: &'static str,
    },
    /// A kind byte that does not exist, or not from this side.
    #[error("unknown message: kind={kind:#04x}")]
    UnknownKind {
        /// The byte.
        kind: u8,
    },
    /// A message that exists, at the wrong moment.
    #[error("message out of order: {what}")]
    OutOfOrder {
        /// Which.
        what: &'static str,
    },
    /// A blob larger than this side accepts. Nothing of it was read.
    #[error("blob too large: hash={hash} got_bytes={got_bytes} max_bytes={max_bytes}")]
    BlobTooLarge {
        /// The blob.
        hash: Hash,
        /// The size that the peer stated.
        got_bytes: u64,
        /// The largest size.
        max_bytes: u64,
    },
    /// The list of groups does not hash to the blob's name.
    #[error("outline does not match its hash: hash={hash}")]
    WrongOutline {
        /// The blob.
        hash: Hash,
    },
    /// 64 KiB of a blob are not what the name says.
    #[error("wrong bytes: hash={hash} group={group}")]
    WrongBytes {
        /// The blob.
        hash: Hash,
        /// Index of the group, from 0.
        group: u64,
    },
    /// The stream ended inside a message or blob.
    #[error("stream ended too early: {what}")]
    TooFewBytes {
        /// What was cut.
        what: &'static str,
    },
    /// The stream went on after everything was there.
    #[error("stream goes on after its end: {what}")]
    TooManyBytes {
        /// After what.
        what: &'static str,
    },
    /// A want that starts where no receiver can be.
    #[error("want begins at an impossible offset: hash={hash} offset_bytes={offset_bytes} size_bytes={size_bytes}")]
    WrongOffset {
        /// The blob.
        hash: Hash,
        /// The offset asked for.
        offset_bytes: u64,
        /// The blob's size.
        size_bytes: u64,
    },
}

/// Why it does not work now.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// This side's socket could not be opened, for example because the port is taken.
    #[error("cannot open the socket: {detail}")]
    Bind {
        /// What the system said.
        detail: String,
    },
    /// No connection: nobody there, not that identity, or a network fault.
    #[error("cannot connect: {detail}")]
    Unreachable {
        /// What the transport said.
        detail: String,
    },
    /// The peer does not speak this protocol: it is not a provider, or of another version.
    #[error("peer speaks no version of this protocol that this side does")]
    OtherProtocol,
    /// Something took longer than its limit.
    #[error("timed out: {what} limit_ms={}", limit.as_millis())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The owner of this machine lets nothing move: try again once that has changed.
    #[error("this machine's owner lets nothing move: waited_ms={}", waited.as_millis())]
    Paused {
        /// How long a part of a blob waited.
        waited: Duration,
    },
    /// The connection ended.
    #[error("connection lost: {detail}")]
    Disconnected {
        /// What the transport said.
        detail: String,
    },
    /// The peer does not have the blob, or does not give it to us.
    #[error("peer does not serve the blob: hash={hash}")]
    NotServed {
        /// The blob.
        hash: Hash,
    },
    /// The peer stopped one stream; the session may go on.
    #[error("peer stopped the stream: code={code}")]
    Stopped {
        /// The peer's code.
        code: u64,
    },
    /// The peer closed the connection because we (it says) broke the protocol.
    #[error("peer says that we broke the protocol")]
    Accused,
    /// Too many sessions.
    #[error("peer has too many sessions")]
    Busy,
    /// The customer opened a newer session for the same order.
    #[error("a newer session for the same order took over")]
    Superseded,
    /// The peer is shutting down.
    #[error("peer is shutting down")]
    ShuttingDown,
    /// This side's address is not one that a peer can dial (set what to advertise).
    #[error("no address to advertise: {0}")]
    NoAddress(#[from] AddressError),
}
