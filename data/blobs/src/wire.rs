//! The messages of the session protocol as bytes: pure, bounded, one encoding for each message.
//!
//! # Design
//! A message is one kind byte and one RLP list. On a stream it follows its length as 4 bytes big-endian. RLP is the
//! format of everything else that Keystead signs or sends, and its decoder refuses other spellings of the same value.
//! Each direction has its own type, so that a message from the wrong side does not even decode.
//!
//! Spec: specs/0005-transfer.md §4; vectors in specs/vectors/transfer.json.

use std::fmt;

use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, Header, RlpDecodable, RlpEncodable};

use crate::{
    address::NodeId,
    error::{SessionError, Unavailable, Violation},
    hash::Hash,
    limits::{CREDENTIAL_BYTES_MAX, JOB_BYTES_MAX, MESSAGE_BYTES_MAX, REASON_BYTES_MAX, WANTS_MAX},
    note::Note,
    store::StoreError,
};

/// What the digest of a hello begins with, so that its signature means nothing elsewhere.
const HELLO_DOMAIN: &[u8] = b"keystead/hello/1";

/// A customer's opening message: which order, which job, and the proof that this node speaks for the order's customer.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Hello {
    /// The order's number on chain.
    pub order: U256,
    /// The job's canonical specification, opaque here. At most [`JOB_BYTES_MAX`] bytes.
    pub job: Bytes,
    /// The customer's signature over [`hello_digest`], opaque here. At most [`CREDENTIAL_BYTES_MAX`] bytes.
    pub credential: Bytes,
}

/// What the customer signs with the key that placed the order, to let a node act for it towards one provider.
///
/// keccak256 of `keystead/hello/1`, the order's number (32 bytes big-endian), the customer's and the provider's node id (32 each). Replay by
/// another node is useless, because the connection proves the node id.
#[must_use]
pub fn hello_digest(order: U256, parties: Parties) -> B256 {
    let Parties { customer, provider } = parties;
    keccak256([HELLO_DOMAIN, &order.to_be_bytes::<32>(), customer.as_bytes(), provider.as_bytes()].concat())
}

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The node that dials.
    pub customer: NodeId,
    /// The node that was dialled.
    pub provider: NodeId,
}

/// What a provider hands over after its commitment is on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Delivery {
    /// The secret from which the commitment's salts follow.
    pub secret: B256,
    /// The result root as bytes: the name of the blob that lists the output hashes.
    result: B256,
}

impl Delivery {
    /// A delivery of the outputs that the blob `result` lists (see [`crate::hash::encode_list`]).
    #[must_use]
    pub fn new(secret: B256, result: Hash) -> Self {
        Self { secret, result: result.into() }
    }

    /// The name of the blob that lists the output hashes.
    #[must_use]
    pub fn result(&self) -> Hash {
        Hash::from(self.result)
    }
}

/// How far a run is. Both count units; `done` is at most `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, RlpEncodable, RlpDecodable)]
pub struct Progress {
    /// Units finished.
    pub done: u32,
    /// Units of the job.
    pub total: u32,
}

/// A short text from a peer, for people: printable ASCII of at most [`REASON_BYTES_MAX`] bytes, so that it can go to a log or
/// a terminal as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Makes a text sendable: other characters become `?`, the rest is cut.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
        Self(text.chars().map(printable).take(REASON_BYTES_MAX).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Encodable for Reason {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.0.encode(out);
    }

    fn length(&self) -> usize {
        self.0.length()
    }
}

impl Decodable for Reason {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let bytes = Header::decode_bytes(buf, false)?;
        if bytes.len() > REASON_BYTES_MAX || !bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(alloy_rlp::Error::Custom("reason is not short printable ASCII"));
        }
        Ok(Self(bytes.iter().copied().map(char::from).collect()))
    }
}

/// Defines an enum of codes with fixed numbers; an unknown number does not decode.
macro_rules! codes {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $code:literal: $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$variant => $code,)* }
            }

            const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }

        impl Encodable for $name {
            fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
                self.code().encode(out);
            }

            fn length(&self) -> usize {
                self.code().length()
            }
        }

        impl Decodable for $name {
            fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
                Self::from_code(u16::decode(buf)?).ok_or(alloy_rlp::Error::Custom("unknown code"))
            }
        }
    };
}

pub(crate) use codes;

codes! {
    /// Why a provider does not take a session.
    RefusalCode {
        /// The chain did not assign this order to this provider.
        NotAssigned = 1: "order is not assigned to this provider",
        /// The credential does not name this node as the customer's.
        NotTheCustomer = 2: "peer is not the order's customer",
        /// The job's hash is not the one in the order.
        WrongJob = 3: "job is not the one that was ordered",
        /// The provider cannot run such a job (runtime, limits, class).
        Unsupported = 4: "job is not supported here",
        /// Too much to do now: try again later.
        Busy = 5: "provider is busy",
        /// The provider cannot see the chain now: try again later.
        ChainUnavailable = 6: "provider cannot see the chain",
        /// The provider has a fault.
        Internal = 7: "provider has an internal fault",
    }
}

codes! {
    /// Why a job that was accepted ended without a result.
    FailureCode {
        /// The customer did not send an input, or not as the job names it.
        Input = 1: "an input is missing or wrong",
        /// The runtime refused the program.
        Program = 2: "the program was refused",
        /// A unit trapped, ran out of fuel or memory, or returned too much.
        Unit = 3: "a unit failed",
        /// The lease ended first. In answer to a cancellation: it comes too late, the order is leased or done.
        Deadline = 4: "too late",
        /// The machine's owner stopped it.
        Stopped = 5: "the provider's owner stopped the run",
        /// The provider has a fault.
        Internal = 6: "provider has an internal fault",
    }
}

impl RefusalCode {
    /// The word for machines; it never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAssigned => "not-assigned",
            Self::NotTheCustomer => "not-the-customer",
            Self::WrongJob => "wrong-job",
            Self::Unsupported => "unsupported",
            Self::Busy => "busy",
            Self::ChainUnavailable => "chain-unavailable",
            Self::Internal => "internal",
        }
    }
}

impl FailureCode {
    /// The word for machines; it never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Program => "program",
            Self::Unit => "unit",
            Self::Deadline => "deadline",
            Self::Stopped => "stopped",
            Self::Internal => "internal",
        }
    }
}

/// A provider's no to a hello.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, thiserror::Error)]
#[error("{}: {code} ({reason})", code.name())]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub reason: Reason,
}

impl Refusal {
    /// A refusal with a sentence of explanation.
    #[must_use]
    pub fn new(code: RefusalCode, reason: &str) -> Self {
        Self { code, reason: Reason::new(reason) }
    }
}

/// A provider's report that a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {code} ({reason}){}", code.name(), UnitText(*unit))]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// The unit at which it failed, from 0, if it is one unit's fault.
    pub unit: Option<u32>,
    /// For people.
    pub reason: Reason,
}

impl Failure {
    /// A failure of the whole run with a sentence of explanation.
    #[must_use]
    pub fn new(code: FailureCode, reason: &str) -> Self {
        Self { code, unit: None, reason: Reason::new(reason) }
    }

    /// The same failure, laid to one unit.
    #[must_use]
    pub const fn at_unit(mut self, unit: u32) -> Self {
        self.unit = Some(unit);
        self
    }
}

impl From<SessionError> for Failure {
    /// What a handler that lets an error end its session says to the customer: nothing about this machine's files.
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Peer(_) | SessionError::Unavailable(Unavailable::NotServed { .. }) => {
                Self::new(FailureCode::Input, &error.to_string())
            }
            SessionError::Store(StoreError::Full { .. } | StoreError::TooLarge { .. }) => {
                Self::new(FailureCode::Internal, &error.to_string())
            }
            _ => Self::new(FailureCode::Internal, "the session broke on the provider's side"),
        }
    }
}

struct UnitText(Option<u32>);

impl fmt::Display for UnitText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |unit| write!(f, ": unit={unit}"))
    }
}

/// A failure as it travels: an absent unit is an empty list.
#[derive(RlpEncodable, RlpDecodable)]
struct FailureBody {
    code: FailureCode,
    unit: Vec<u32>,
    reason: Reason,
}

#[derive(RlpEncodable, RlpDecodable)]
struct WantsBody {
    blobs: u32,
}

#[derive(RlpEncodable, RlpDecodable)]
struct CommittedBody {
    commitment: B256,
}

/// Messages from the customer on the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromCustomer {
    /// First, once.
    Hello(Hello),
    /// Stop the run; the session ends.
    Cancel,
    /// Everything arrived; the session ends.
    Received,
}

/// Messages from the provider on the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromProvider {
    /// First, or `Refused`.
    Accepted,
    /// First and last.
    Refused(Refusal),
    /// This many blobs are about to be fetched.
    Wants(u32),
    /// Any number of times, never backwards.
    Progress(Progress),
    /// At most once: the commitment is on chain.
    Committed(B256),
    /// At most once, after `Committed`: outputs may be fetched.
    Delivered(Delivery),
    /// Last: the run failed.
    Failed(Failure),
    /// Any time after `Accepted`, from version 2 on: what happens on the provider's side.
    Note(Note),
}

/// One blob that a receiver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Item {
    hash: B256,
    /// Bytes that the receiver has and verified: a multiple of 64 KiB, or the whole size.
    pub(crate) offset: u64,
}

impl Item {
    pub(crate) fn new(hash: Hash, offset: u64) -> Self {
        Self { hash: hash.into(), offset }
    }

    pub(crate) fn hash(&self) -> Hash {
        Hash::from(self.hash)
    }
}

/// Kind bytes. Those of one side begin at 0x01, of the other at 0x11, wants at 0x21, checkers' messages at 0x51.
pub(crate) mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const CANCEL: u8 = 0x02;
    pub(super) const RECEIVED: u8 = 0x03;
    pub(super) const ACCEPTED: u8 = 0x11;
    pub(crate) const REFUSED: u8 = 0x12;
    pub(super) const WANTS: u8 = 0x13;
    pub(super) const PROGRESS: u8 = 0x14;
    pub(super) const COMMITTED: u8 = 0x15;
    pub(super) const DELIVERED: u8 = 0x16;
    pub(super) const FAILED: u8 = 0x17;
    pub(super) const NOTE: u8 = 0x1d;
    pub(super) const WANT: u8 = 0x21;
    pub(crate) const ON_DUTY: u8 = 0x51;
    pub(crate) const DUTY: u8 = 0x52;
}

/// The body of messages without fields.
const EMPTY_LIST: u8 = 0xc0;

pub(crate) fn encode(kind: u8, body: &dyn Encodable) -> Vec<u8> {
    let mut out = vec![kind];
    body.encode(&mut out);
    out
}

/// A message without fields.
pub(crate) fn empty(kind: u8) -> Vec<u8> {
    vec![kind, EMPTY_LIST]
}

pub(crate) fn decode<T: Decodable>(what: &'static str, mut body: &[u8]) -> Result<T, Violation> {
    let value = T::decode(&mut body).map_err(|_| Violation::Malformed { what })?;
    if body.is_empty() { Ok(value) } else { Err(Violation::Malformed { what }) }
}

/// Splits a message and checks its length.
pub(crate) fn split(message: &[u8]) -> Result<(u8, &[u8]), Violation> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Violation::MessageTooLarge { got_bytes: size(message), max_bytes: size_max() });
    }
    message.split_first().map(|(kind, body)| (*kind, body)).ok_or(Violation::Malformed { what: "empty message" })
}

fn size(message: &[u8]) -> u32 {
    u32::try_from(message.len()).unwrap_or(u32::MAX)
}

/// [`MESSAGE_BYTES_MAX`] as lengths travel.
pub(crate) fn size_max() -> u32 {
    u32::try_from(MESSAGE_BYTES_MAX).unwrap_or(u32::MAX)
}

pub(crate) fn decode_empty(what: &'static str, body: &[u8]) -> Result<(), Violation> {
    if body == [EMPTY_LIST] { Ok(()) } else { Err(Violation::Malformed { what }) }
}

impl FromCustomer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => encode(kind::HELLO, hello),
            Self::Cancel => vec![kind::CANCEL, EMPTY_LIST],
            Self::Received => vec![kind::RECEIVED, EMPTY_LIST],
        }
    }

    /// Decodes a hostile message.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::HELLO => decode_hello(body).map(Self::Hello),
            kind::CANCEL => decode_empty("cancel", body).map(|()| Self::Cancel),
            kind::RECEIVED => decode_empty("received", body).map(|()| Self::Received),
            _ => Err(Violation::UnknownKind { kind }),
        }
    }
}

pub(crate) fn decode_hello(body: &[u8]) -> Result<Hello, Violation> {
    let hello: Hello = decode("hello", body)?;
    hello.check()?;
    Ok(hello)
}

impl Hello {
    /// Whether the fields fit the protocol's bounds.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        if self.job.len() > JOB_BYTES_MAX {
            return Err(Violation::Malformed { what: "job specification is too long" });
        }
        if self.credential.len() > CREDENTIAL_BYTES_MAX {
            return Err(Violation::Malformed { what: "credential is too long" });
        }
        Ok(())
    }
}

impl FromProvider {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Accepted => vec![kind::ACCEPTED, EMPTY_LIST],
            Self::Refused(refusal) => encode(kind::REFUSED, refusal),
            Self::Wants(blobs) => encode(kind::WANTS, &WantsBody { blobs: *blobs }),
            Self::Progress(progress) => encode(kind::PROGRESS, progress),
            Self::Committed(commitment) => encode(kind::COMMITTED, &CommittedBody { commitment: *commitment }),
            Self::Delivered(delivery) => encode(kind::DELIVERED, delivery),
            Self::Failed(failure) => {
                let Failure { code, unit, reason } = failure.clone();
                encode(kind::FAILED, &FailureBody { code, unit: unit.into_iter().collect(), reason })
            }
            Self::Note(note) => encode(kind::NOTE, note),
        }
    }

    /// Decodes a hostile message.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::ACCEPTED => decode_empty("accepted", body).map(|()| Self::Accepted),
            kind::REFUSED => decode("refused", body).map(Self::Refused),
            kind::WANTS => decode("wants", body).map(|WantsBody { blobs }| Self::Wants(blobs)),
            kind::PROGRESS => decode_progress(body).map(Self::Progress),
            kind::COMMITTED => decode("committed", body).map(|body: CommittedBody| Self::Committed(body.commitment)),
            kind::DELIVERED => decode("delivered", body).map(Self::Delivered),
            kind::FAILED => decode_failure(body).map(Self::Failed),
            kind::NOTE => Note::decode_body(body).map(Self::Note),
            _ => Err(Violation::UnknownKind { kind }),
        }
    }
}

fn decode_progress(body: &[u8]) -> Result<Progress, Violation> {
    let progress: Progress = decode("progress", body)?;
    if progress.done > progress.total {
        return Err(Violation::Malformed { what: "progress beyond its total" });
    }
    Ok(progress)
}

fn decode_failure(body: &[u8]) -> Result<Failure, Violation> {
    let FailureBody { code, unit, reason } = decode("failed", body)?;
    let unit = match unit.as_slice() {
        [] => None,
        [unit] => Some(*unit),
        _ => return Err(Violation::Malformed { what: "failed" }),
    };
    Ok(Failure { code, unit, reason })
}

/// Encodes a want: 1 to [`WANTS_MAX`] items.
pub(crate) fn encode_want(items: &[Item]) -> Vec<u8> {
    let mut out = vec![kind::WANT];
    alloy_rlp::encode_list(items, &mut out);
    out
}

/// Decodes a hostile want.
pub(crate) fn decode_want(message: &[u8]) -> Result<Vec<Item>, Violation> {
    let (kind, body) = split(message)?;
    if kind != kind::WANT {
        return Err(Violation::UnknownKind { kind });
    }
    let items: Vec<Item> = decode("want", body)?;
    if items.is_empty() || items.len() > WANTS_MAX {
        return Err(Violation::Malformed { what: "want has no item or too many" });
    }
    Ok(items)
}

#[cfg(test)]
mod tests;
