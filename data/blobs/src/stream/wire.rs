//! The messages of a stream as bytes: pure, bounded, one encoding for each.
//!
//! Spec: specs/0011-stream.md section 3; vectors in specs/vectors/stream.json.

use std::fmt;

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

use super::pack::{PACK_BYTES_MAX, PARTS_MAX};
use crate::{
    error::Violation,
    hash::Hash,
    note::Note,
    wire::{Hello, Parties, Reason, Refusal, codes, decode, decode_empty, decode_hello, empty, encode, split},
};

/// What the digest of a stream's hello begins with, so that its signature means nothing elsewhere.
const HELLO_DOMAIN: &[u8] = b"keystead/stream/1";
/// Most steps of a lease and of a report.
const STEPS_MAX: usize = 64;
/// Longest voucher with its signature in bytes (specs/0009-channel.md section 11).
const VOUCHER_BYTES_MAX: usize = 224;
/// Longest report of the channel in bytes (specs/0009-channel.md section 11).
const REPORT_BYTES_MAX: usize = 84;
/// Longest time of a lease: a week.
const MILLISECONDS_MAX: u64 = 604_800_000;

/// What the channel's signer signs, to let a node act for the customer towards one provider.
#[must_use]
pub fn stream_digest(channel: B256, parties: Parties) -> B256 {
    let Parties { customer, provider } = parties;
    keccak256([HELLO_DOMAIN, channel.as_slice(), customer.as_bytes(), provider.as_bytes()].concat())
}

codes! {
    /// Why a lease ends before its last step.
    EndCode {
        /// It does not: all steps are done.
        Done = 0: "done",
        /// An input did not come, or is not the named one.
        Input = 1: "an input is missing or wrong",
        /// The runtime refused the program.
        Program = 2: "the program was refused",
        /// A unit trapped, ran out of fuel or memory, or returned too much.
        Unit = 3: "a unit failed",
        /// The deadline is near.
        Deadline = 4: "the deadline is near",
        /// The machine's owner needs it.
        Owner = 5: "the owner has come back",
        /// The provider has a fault.
        Fault = 6: "the provider has a fault",
        /// The customer cancelled.
        Cancelled = 7: "cancelled",
        /// The provider is shutting down.
        Stopping = 8: "the provider is stopping",
    }
}

codes! {
    /// Why a report is not paid.
    RefuseCode {
        /// The lease had ended.
        Ended = 1: "the lease had ended",
        /// The names do not give the reported root, or the pack is none.
        Mismatch = 2: "the report does not open",
        /// A step is wrong.
        Wrong = 3: "a step is wrong",
        /// A step lies outside the tolerance.
        Doubtful = 4: "a step is outside the tolerance",
        /// Bytes that the report names did not come.
        Missing = 5: "bytes did not come",
        /// The channel cannot pay any more.
        Money = 6: "the channel cannot pay",
    }
}

impl EndCode {
    /// The code of a number, if there is one.
    #[must_use]
    pub const fn of(code: u16) -> Option<Self> {
        Self::from_code(code)
    }
}

/// Why no more than the reported steps were done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// For programs.
    pub code: EndCode,
    /// The unit at which it failed, if it is one unit's fault.
    pub unit: Option<u32>,
    /// For people.
    pub reason: Reason,
}

impl End {
    /// An end that is no unit's fault.
    #[must_use]
    pub fn new(code: EndCode, reason: &str) -> Self {
        Self { code, unit: None, reason: Reason::new(reason) }
    }

    /// The same, laid to one unit.
    #[must_use]
    pub const fn at_unit(mut self, unit: u32) -> Self {
        self.unit = Some(unit);
        self
    }
}

/// As it travels: an absent unit is an empty list.
#[derive(RlpEncodable, RlpDecodable)]
struct EndBody {
    code: EndCode,
    unit: Vec<u32>,
    reason: Reason,
}

impl Encodable for End {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.body().encode(out);
    }

    fn length(&self) -> usize {
        self.body().length()
    }
}

impl End {
    fn body(&self) -> EndBody {
        EndBody { code: self.code, unit: self.unit.into_iter().collect(), reason: self.reason.clone() }
    }
}

impl Decodable for End {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let EndBody { code, unit, reason } = EndBody::decode(buf)?;
        match unit.as_slice() {
            [] => Ok(Self { code, unit: None, reason }),
            [unit] => Ok(Self { code, unit: Some(*unit), reason }),
            _ => Err(alloy_rlp::Error::Custom("an end names at most one unit")),
        }
    }
}

/// Steps of one unit in a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Item {
    /// The unit.
    pub unit: u32,
    /// Its first segment in this lease.
    pub first: u32,
    /// Segments, at least one.
    pub count: u32,
    /// 1 if the provider made the state before `first` itself and has it; else the pack brings it.
    pub given: u8,
}

/// A lease, as the customer offers it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct LeaseOffer {
    /// Its number.
    pub number: u64,
    /// How long the provider has from the receipt, in milliseconds.
    pub milliseconds: u64,
    /// Name of the pack with the inputs.
    pub pack: B256,
    /// Its size in bytes.
    pub pack_bytes: u64,
    /// The steps, in order.
    pub items: Vec<Item>,
}

impl LeaseOffer {
    fn check(&self) -> Result<(), Violation> {
        let steps = self.items.iter().map(|item| item.count as usize).fold(0, usize::saturating_add);
        let fine = (1..=STEPS_MAX).contains(&steps)
            && self.items.len() <= PARTS_MAX
            && self.items.iter().all(|item| item.count > 0 && item.given <= 1)
            && (1..=MILLISECONDS_MAX).contains(&self.milliseconds)
            && self.pack_bytes <= PACK_BYTES_MAX;
        if fine { Ok(()) } else { Err(Violation::Malformed { what: "lease" }) }
    }

    /// Name of the pack.
    #[must_use]
    pub fn pack(&self) -> Hash {
        Hash::from(self.pack)
    }
}

/// A window that is done.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct WindowReport {
    /// The lease.
    pub lease: u64,
    /// The channel's report, opaque here.
    pub report: Bytes,
    /// From which the salts of the window's commitment follow.
    pub secret: B256,
    /// The states after the reported steps, in order.
    pub names: Vec<B256>,
    /// Name of the pack with the last states.
    pub pack: B256,
    /// Its size in bytes.
    pub pack_bytes: u64,
    /// Why there are not more steps.
    pub end: End,
}

impl WindowReport {
    fn check(&self) -> Result<(), Violation> {
        let fine = (1..=STEPS_MAX).contains(&self.names.len())
            && self.report.len() <= REPORT_BYTES_MAX
            && self.pack_bytes <= PACK_BYTES_MAX;
        if fine { Ok(()) } else { Err(Violation::Malformed { what: "report" }) }
    }

    /// Name of the pack.
    #[must_use]
    pub fn pack(&self) -> Hash {
        Hash::from(self.pack)
    }
}

/// What a customer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromCustomer {
    /// First, once. The field `order` is the channel's id.
    Hello(Hello),
    /// Work.
    Lease(LeaseOffer),
    /// Pay: the lease, and the signed voucher, opaque here.
    Voucher {
        /// The lease that was reported.
        lease: u64,
        /// The voucher with its signature.
        signed: Bytes,
    },
    /// No pay.
    Refuse {
        /// The lease that was reported.
        lease: u64,
        /// For programs.
        code: RefuseCode,
        /// For people.
        reason: Reason,
    },
    /// Stop, and report what is done.
    Cancel {
        /// The lease.
        lease: u64,
    },
    /// There will be no more work.
    Bye,
}

/// What a provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromProvider {
    /// First: the lease that it holds, if any.
    Accepted {
        /// Its number.
        holding: Option<u64>,
    },
    /// First and last.
    Refused(Refusal),
    /// A sign of life.
    Beat {
        /// The lease.
        lease: u64,
        /// Steps done.
        done: u32,
    },
    /// A window is done.
    Report(WindowReport),
    /// A lease of which no step was done.
    GivenBack {
        /// The lease.
        lease: u64,
        /// Why.
        end: End,
    },
    /// No leases for now.
    Draining {
        /// For people.
        reason: Reason,
    },
    /// Leases again.
    Ready,
    /// Any time after `Accepted`, from version 2 on: what happens on the provider's side.
    Note(Note),
}

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const LEASE: u8 = 0x04;
    pub(super) const VOUCHER: u8 = 0x05;
    pub(super) const REFUSE: u8 = 0x06;
    pub(super) const CANCEL: u8 = 0x07;
    pub(super) const BYE: u8 = 0x08;
    pub(super) const ACCEPTED: u8 = 0x11;
    pub(super) const REFUSED: u8 = 0x12;
    pub(super) const BEAT: u8 = 0x18;
    pub(super) const REPORT: u8 = 0x19;
    pub(super) const GIVEN_BACK: u8 = 0x1a;
    pub(super) const DRAINING: u8 = 0x1b;
    pub(super) const READY: u8 = 0x1c;
    pub(super) const NOTE: u8 = 0x1d;
}

#[derive(RlpEncodable, RlpDecodable)]
struct VoucherBody {
    lease: u64,
    signed: Bytes,
}

#[derive(RlpEncodable, RlpDecodable)]
struct RefuseBody {
    lease: u64,
    code: RefuseCode,
    reason: Reason,
}

#[derive(RlpEncodable, RlpDecodable)]
struct CancelBody {
    lease: u64,
}

#[derive(RlpEncodable, RlpDecodable)]
struct AcceptedBody {
    holding: Vec<u64>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct BeatBody {
    lease: u64,
    done: u32,
}

#[derive(RlpEncodable, RlpDecodable)]
struct GivenBackBody {
    lease: u64,
    end: End,
}

#[derive(RlpEncodable, RlpDecodable)]
struct DrainingBody {
    reason: Reason,
}

/// A message of one direction.
pub trait Message: Sized + Send + 'static {
    /// What goes the other way.
    type Answer: Message;

    /// Kind and body.
    fn encode(&self) -> Vec<u8>;

    /// Decodes a hostile message.
    ///
    /// # Errors
    /// [`Violation`]: the peer broke the protocol.
    fn decode(message: &[u8]) -> Result<Self, Violation>;

    /// Whether it is a note, of which a session has a bounded number.
    fn is_note(&self) -> bool {
        false
    }
}

impl Message for FromCustomer {
    type Answer = FromProvider;

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => encode(kind::HELLO, hello),
            Self::Lease(offer) => encode(kind::LEASE, offer),
            Self::Voucher { lease, signed } => {
                encode(kind::VOUCHER, &VoucherBody { lease: *lease, signed: signed.clone() })
            }
            Self::Refuse { lease, code, reason } => {
                encode(kind::REFUSE, &RefuseBody { lease: *lease, code: *code, reason: reason.clone() })
            }
            Self::Cancel { lease } => encode(kind::CANCEL, &CancelBody { lease: *lease }),
            Self::Bye => empty(kind::BYE),
        }
    }

    fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::HELLO => decode_hello(body).map(Self::Hello),
            kind::LEASE => {
                let offer: LeaseOffer = decode("lease", body)?;
                offer.check()?;
                Ok(Self::Lease(offer))
            }
            kind::VOUCHER => {
                let VoucherBody { lease, signed } = decode("voucher", body)?;
                if signed.len() > VOUCHER_BYTES_MAX {
                    return Err(Violation::Malformed { what: "voucher" });
                }
                Ok(Self::Voucher { lease, signed })
            }
            kind::REFUSE => {
                decode("refuse", body).map(|RefuseBody { lease, code, reason }| Self::Refuse { lease, code, reason })
            }
            kind::CANCEL => decode("cancel", body).map(|CancelBody { lease }| Self::Cancel { lease }),
            kind::BYE => decode_empty("bye", body).map(|()| Self::Bye),
            _ => Err(Violation::UnknownKind { kind }),
        }
    }
}

impl Message for FromProvider {
    type Answer = FromCustomer;

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Accepted { holding } => {
                encode(kind::ACCEPTED, &AcceptedBody { holding: holding.iter().copied().collect() })
            }
            Self::Refused(refusal) => encode(kind::REFUSED, refusal),
            Self::Beat { lease, done } => encode(kind::BEAT, &BeatBody { lease: *lease, done: *done }),
            Self::Report(report) => encode(kind::REPORT, report),
            Self::GivenBack { lease, end } => {
                encode(kind::GIVEN_BACK, &GivenBackBody { lease: *lease, end: end.clone() })
            }
            Self::Draining { reason } => encode(kind::DRAINING, &DrainingBody { reason: reason.clone() }),
            Self::Ready => empty(kind::READY),
            Self::Note(note) => encode(kind::NOTE, note),
        }
    }

    fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::ACCEPTED => match decode::<AcceptedBody>("accepted", body)?.holding.as_slice() {
                [] => Ok(Self::Accepted { holding: None }),
                [lease] => Ok(Self::Accepted { holding: Some(*lease) }),
                _ => Err(Violation::Malformed { what: "accepted" }),
            },
            kind::REFUSED => decode("refused", body).map(Self::Refused),
            kind::BEAT => decode("beat", body).map(|BeatBody { lease, done }| Self::Beat { lease, done }),
            kind::REPORT => {
                let report: WindowReport = decode("report", body)?;
                report.check()?;
                Ok(Self::Report(report))
            }
            kind::GIVEN_BACK => {
                decode("given-back", body).map(|GivenBackBody { lease, end }| Self::GivenBack { lease, end })
            }
            kind::DRAINING => decode("draining", body).map(|DrainingBody { reason }| Self::Draining { reason }),
            kind::READY => decode_empty("ready", body).map(|()| Self::Ready),
            kind::NOTE => Note::decode_body(body).map(Self::Note),
            _ => Err(Violation::UnknownKind { kind }),
        }
    }

    fn is_note(&self) -> bool {
        matches!(self, Self::Note(_))
    }
}

#[cfg(test)]
mod tests;
