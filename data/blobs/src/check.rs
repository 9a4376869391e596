//! What a drawn checker says to fetch the blobs of one check, and both sides' part of that conversation.
//!
//! # Design
//! One message each way, then wants in one direction only. The source keeps nothing between two sessions: what it offers follows from the
//! chain each time, so a checker that needs more after the opening simply comes again.
//!
//! Spec: specs/0005-transfer.md §8.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use iroh::endpoint::Connection;

use crate::{
    address::Address,
    connection::{Close, close, lost, read_message, within, write_message},
    endpoint::Endpoint,
    error::{SessionError, Unavailable, Violation},
    hash::Hash,
    limits::{BEFORE_BYTES_MAX, CHECK_ALPN, JOB_BYTES_MAX, Limits},
    rate::Meter,
    store::BlobStore,
    transfer::{Fetched, Fetcher, Want},
    wire::{Parties, Refusal, decode, encode, kind, split},
};

/// What the digest begins with, so that its signature means nothing elsewhere.
const DOMAIN: &[u8] = b"keystead/check/1";
/// Bytes of a wallet's signature.
const CREDENTIAL_BYTES: usize = 65;

/// A checker's opening message: which check, and the proof that this node speaks for the account that is on duty.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CheckHello {
    /// The window.
    pub window: B256,
    /// Index of the unit in the window.
    pub unit: u32,
    /// 0, 1, or 2 and more for referees.
    pub round: u8,
    /// The slot, 0 to 15 (referees: their panel's).
    pub slot: u8,
    /// The account's signature over [`check_digest`], 65 bytes `r || s || v`. Hostile until it was recovered.
    pub credential: Bytes,
}

/// What a checker's account signs, to let a node fetch for it from one source. `parties.customer` is the checker's node, `parties.provider`
/// the source's; the hello's credential is not part of it.
#[must_use]
pub fn check_digest(hello: &CheckHello, parties: Parties) -> B256 {
    let Parties { customer, provider } = parties;
    let which = [hello.window.as_slice(), &hello.unit.to_be_bytes(), &[hello.round, hello.slot]].concat();
    keccak256([DOMAIN, &which, customer.as_bytes(), provider.as_bytes()].concat())
}

impl CheckHello {
    fn encode(&self) -> Vec<u8> {
        encode(kind::ON_DUTY, self)
    }

    /// Decodes a hostile message.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        if kind != kind::ON_DUTY {
            return Err(Violation::UnknownKind { kind });
        }
        let hello: Self = decode("on duty", body)?;
        if hello.credential.len() != CREDENTIAL_BYTES {
            return Err(Violation::Malformed { what: "a checker's credential" });
        }
        Ok(hello)
    }
}

/// What the source says to a checker on duty. Hostile to the checker: the job has a hash on chain, `before` is a proof.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Duty {
    /// The job's canonical specification, opaque here. 1 to [`JOB_BYTES_MAX`] bytes.
    pub job: Bytes,
    /// Empty, or the proof of the state before the segment, opaque here. At most [`BEFORE_BYTES_MAX`] bytes.
    pub before: Bytes,
}

/// What a source decided to give.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The answer.
    pub duty: Duty,
    /// What the checker may fetch; those that are not in the store look as if they were not offered.
    pub blobs: Vec<Hash>,
}

/// The source's one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Duty(Duty),
    Refused(Refusal),
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Duty(duty) => encode(kind::DUTY, duty),
            Self::Refused(refusal) => encode(kind::REFUSED, refusal),
        }
    }

    /// Decodes a hostile message.
    fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::DUTY => {
                let duty: Duty = decode("duty", body)?;
                let fits = (1..=JOB_BYTES_MAX).contains(&duty.job.len()) && duty.before.len() <= BEFORE_BYTES_MAX;
                if fits { Ok(Self::Duty(duty)) } else { Err(Violation::Malformed { what: "duty" }) }
            }
            kind::REFUSED => decode("refused", body).map(Self::Refused),
            _ => Err(Violation::UnknownKind { kind }),
        }
    }
}

/// A checker's session with one source about one check. Dropping it closes the connection.
#[derive(Debug)]
pub struct CheckSession {
    connection: Connection,
    limits: Limits,
    meter: Meter,
    duty: Duty,
}

impl CheckSession {
    /// Dials a source, proves its identity, says hello and waits for its answer.
    ///
    /// # Errors
    /// [`SessionError::Refused`]: not on duty, it says, or not there. [`SessionError::Unavailable`]: not reached, not answered.
    /// [`SessionError::Peer`]: it broke the protocol.
    pub async fn open(endpoint: &Endpoint, address: &Address, hello: &CheckHello) -> Result<Self, SessionError> {
        let (limits, meter) = (*endpoint.limits(), endpoint.meter().clone());
        let connection = endpoint.connect_as(address, CHECK_ALPN).await?;
        // The source reads the hello and decides within its own limits; both must fit.
        let limit = limits.hello_timeout.saturating_mul(3);
        match within("answer to a checker", limit, greet(&connection, hello, &limits)).await {
            Ok(duty) => Ok(Self { connection, limits, meter, duty }),
            Err(error) => {
                close(&connection, Close::after(&error));
                Err(error)
            }
        }
    }

    /// What the source answered.
    #[must_use]
    pub const fn duty(&self) -> &Duty {
        &self.duty
    }

    /// Fetches blobs into `store`, verified; those that are there already are not fetched again.
    ///
    /// # Errors
    /// [`Unavailable::NotServed`]: not offered, or not there. [`SessionError::Peer`]: wrong bytes or sizes; nothing of that blob is
    /// kept. [`SessionError::Store`].
    pub async fn fetch(&self, store: &Arc<dyn BlobStore>, wants: Vec<Want>) -> Result<(), SessionError> {
        self.fetch_told(store, wants, &mut |_: Fetched| {}).await
    }

    /// The same, and tells about every second how far it is. Dropping it keeps in the store what was verified.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_told(
        &self,
        store: &Arc<dyn BlobStore>,
        wants: Vec<Want>,
        report: &mut (dyn FnMut(Fetched) + Send),
    ) -> Result<(), SessionError> {
        let Self { connection, limits, meter, .. } = self;
        Fetcher { connection, store, limits, meter }.fetch(wants, report).await
    }
}

impl Drop for CheckSession {
    fn drop(&mut self) {
        close(&self.connection, Close::Done);
    }
}

async fn greet(connection: &Connection, hello: &CheckHello, limits: &Limits) -> Result<Duty, SessionError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    write_message(&mut send, &hello.encode(), limits.stall_timeout).await?;
    let _ = send.finish();
    let ended =
        || SessionError::from(Unavailable::Disconnected { detail: "the source ended without an answer".to_owned() });
    let message = read_message(&mut recv, limits.stall_timeout).await?.ok_or_else(ended)?;
    match Answer::decode(&message)? {
        Answer::Duty(duty) => Ok(duty),
        Answer::Refused(refusal) => Err(SessionError::Refused(refusal)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use crate::{endpoint::SecretKey, wire::RefusalCode};

    fn hello() -> CheckHello {
        let credential = vec![7; CREDENTIAL_BYTES].into();
        CheckHello { window: B256::repeat_byte(3), unit: 70_000, round: 1, slot: 15, credential }
    }

    #[test]
    fn messages_survive_encoding_and_refuse_everything_else() {
        assert_eq!(CheckHello::decode(&hello().encode()).unwrap(), hello());
        let duty = Duty { job: vec![1].into(), before: Bytes::new() };
        for answer in [Answer::Duty(duty.clone()), Answer::Refused(Refusal::new(RefusalCode::Busy, "later"))] {
            assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
        }
        let short = CheckHello { credential: vec![7; 64].into(), ..hello() };
        assert!(matches!(CheckHello::decode(&short.encode()), Err(Violation::Malformed { .. })));
        let mut longer = hello().encode();
        longer.push(0);
        assert!(CheckHello::decode(&longer).is_err());
        assert!(matches!(CheckHello::decode(&Answer::Duty(duty).encode()), Err(Violation::UnknownKind { .. })));
        let empty = Answer::Duty(Duty { job: Bytes::new(), before: Bytes::new() });
        assert!(Answer::decode(&empty.encode()).is_err());
        for (bytes, fits) in [(BEFORE_BYTES_MAX, true), (BEFORE_BYTES_MAX + 1, false)] {
            let duty = Duty { job: vec![1].into(), before: vec![0; bytes].into() };
            assert_eq!(Answer::decode(&Answer::Duty(duty).encode()).is_ok(), fits, "{bytes}");
        }
    }

    #[test]
    fn a_signature_is_for_one_check_and_two_nodes() {
        let id = |byte| SecretKey::from_bytes(&[byte; 32]).id();
        let parties = Parties { customer: id(1), provider: id(2) };
        let digest = check_digest(&hello(), parties);
        for other in [
            CheckHello { window: B256::repeat_byte(4), ..hello() },
            CheckHello { unit: 70_001, ..hello() },
            CheckHello { round: 0, ..hello() },
            CheckHello { slot: 14, ..hello() },
        ] {
            assert_ne!(check_digest(&other, parties), digest);
        }
        assert_ne!(check_digest(&hello(), Parties { customer: id(2), provider: id(1) }), digest);
        let signed_by_another = CheckHello { credential: vec![8; CREDENTIAL_BYTES].into(), ..hello() };
        assert_eq!(check_digest(&signed_by_another, parties), digest, "the signature does not sign itself");
    }
}
