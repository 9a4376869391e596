//! The messages of an inquiry as bytes. Spec: specs/0005-transfer.md §7.

use super::RECORD_BYTES_MAX;
use crate::{
    error::Violation,
    wire::{Reason, codes, decode, decode_empty, empty, encode, split},
};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use std::fmt;

codes! {
    /// Whether a provider takes orders, and what stands against it.
    Availability {
        /// It takes orders.
        Taking = 0: "takes orders",
        /// The machine's owner keeps it from working: paused, in use, outside of its hours.
        Owner = 1: "its owner keeps it from taking orders now",
        /// Too many orders are open here.
        Busy = 2: "has too many open orders",
        /// The program ends.
        Stopping = 3: "is stopping",
    }
}

impl Availability {
    /// The word for machines; it never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taking => "taking",
            Self::Owner => "owner",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
        }
    }
}

/// What a provider says about itself at this moment. All of it is a claim: it ranks and filters.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct State {
    /// Whether orders are taken.
    pub availability: Availability,
    /// Why not, or what to know, for people.
    pub reason: Reason,
    /// Units at once.
    pub lanes: u16,
    /// Of these, how many have nothing to do.
    pub lanes_free: u16,
    /// Orders that were taken and whose work is not done.
    pub waiting: u32,
    /// Until a unit of a new order would begin, ms.
    pub queue_ms: u64,
    /// Memory that a unit may use now, MiB.
    pub memory_mib: u64,
}

/// From the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The record with this hash.
    Record(B256),
    /// The state.
    State,
}

/// From the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The record; empty if it is not here.
    Record(Bytes),
    /// The state.
    State(State),
}

#[derive(RlpEncodable, RlpDecodable)]
struct RecordQuestion {
    name: B256,
}

#[derive(RlpEncodable, RlpDecodable)]
struct RecordAnswer {
    bytes: Bytes,
}

mod kind {
    pub(super) const ASK_RECORD: u8 = 0x31;
    pub(super) const ASK_STATE: u8 = 0x32;
    pub(super) const RECORD: u8 = 0x41;
    pub(super) const STATE: u8 = 0x42;
}

impl Question {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Record(name) => encode(kind::ASK_RECORD, &RecordQuestion { name }),
            Self::State => empty(kind::ASK_STATE),
        }
    }

    /// Decodes a hostile message.
    pub(super) fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::ASK_RECORD => decode("question for a record", body).map(|RecordQuestion { name }| Self::Record(name)),
            kind::ASK_STATE => decode_empty("question for the state", body).map(|()| Self::State),
            _ => Err(Violation::UnknownKind { kind }),
        }
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Record(bytes) => encode(kind::RECORD, &RecordAnswer { bytes: bytes.clone() }),
            Self::State(state) => encode(kind::STATE, state),
        }
    }

    /// Decodes a hostile message.
    pub(super) fn decode(message: &[u8]) -> Result<Self, Violation> {
        let (kind, body) = split(message)?;
        match kind {
            kind::RECORD => {
                let RecordAnswer { bytes } = decode("record", body)?;
                if bytes.len() > RECORD_BYTES_MAX {
                    return Err(Violation::Malformed { what: "record is too long" });
                }
                Ok(Self::Record(bytes))
            }
            kind::STATE => {
                let state: State = decode("state", body)?;
                if state.lanes_free > state.lanes {
                    return Err(Violation::Malformed { what: "more free lanes than lanes" });
                }
                Ok(Self::State(state))
            }
            _ => Err(Violation::UnknownKind { kind }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn state() -> State {
        State {
            availability: Availability::Owner,
            reason: Reason::new("paused: the machine is in use"),
            lanes: 2,
            lanes_free: 1,
            waiting: 3,
            queue_ms: 4_500,
            memory_mib: 6_144,
        }
    }

    fn messages() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("record question", Question::Record(B256::repeat_byte(0x55)).encode()),
            ("state question", Question::State.encode()),
            ("record", Answer::Record(Bytes::from_static(b"record")).encode()),
            ("no record", Answer::Record(Bytes::new()).encode()),
            ("state", Answer::State(state()).encode()),
        ]
    }

    #[test]
    fn every_message_has_one_encoding_and_no_message_of_the_other_side_decodes() {
        for (name, bytes) in messages() {
            let (question, answer) = (Question::decode(&bytes), Answer::decode(&bytes));
            assert!(question.is_ok() != answer.is_ok(), "{name}");
            let again = question.map(Question::encode).or_else(|_| answer.map(|answer| answer.encode())).unwrap();
            assert_eq!(again, bytes, "{name}");
            for length in 0..bytes.len() {
                assert!(Question::decode(&bytes[..length]).is_err() && Answer::decode(&bytes[..length]).is_err());
            }
            let longer = [bytes.as_slice(), &[0]].concat();
            assert!(Question::decode(&longer).is_err() && Answer::decode(&longer).is_err(), "{name}");
        }
    }

    #[test]
    fn a_record_at_its_bound_is_read_and_one_byte_more_is_not() {
        let of = |bytes: usize| Answer::decode(&Answer::Record(vec![7; bytes].into()).encode());
        assert!(of(RECORD_BYTES_MAX).is_ok());
        assert_eq!(of(RECORD_BYTES_MAX + 1), Err(Violation::Malformed { what: "record is too long" }));
        let greedy = State { lanes: 1, lanes_free: 2, ..state() };
        assert!(Answer::decode(&Answer::State(greedy).encode()).is_err());
    }

    #[test]
    fn every_availability_has_a_number_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Availability::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), Availability::ALL.len());
        for one in Availability::ALL {
            assert_eq!(Availability::from_code(one.code()), Some(*one));
        }
    }

    /// The format is fixed by the committed file. `KEYSTEAD_WRITE_VECTORS=1` writes it anew: that approves a new format.
    #[test]
    fn messages_match_the_committed_vectors() {
        let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/inquiry.json");
        let pairs = messages().into_iter();
        let made = json!({
            "spec": "specs/0005-transfer.md section 7",
            "messages": pairs.map(|(name, bytes)| json!({ "name": name, "bytes": hex::encode(bytes) })).collect::<Vec<_>>(),
        });
        if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
            std::fs::write(&path, format!("{made:#}\n")).unwrap();
        }
        let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(committed, made);
    }
}
