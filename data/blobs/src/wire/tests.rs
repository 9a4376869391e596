//! Every message round-trips, has one encoding, and equals the committed vectors.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::SecretKey;

fn node(seed: u8) -> NodeId {
    SecretKey::from_bytes(&[seed; 32]).id()
}

fn hello() -> Hello {
    Hello {
        order: U256::from(17),
        job: Bytes::from_static(b"job specification"),
        credential: Bytes::from(vec![0x22; 65]),
    }
}

fn from_customer() -> Vec<(&'static str, FromCustomer)> {
    vec![
        ("hello", FromCustomer::Hello(hello())),
        ("cancel", FromCustomer::Cancel),
        ("received", FromCustomer::Received),
    ]
}

fn note() -> Note {
    let mut note = Note::now(crate::NoteKind::WorkerEnded, 2, "it will run again").of_unit(5);
    note.at_ms = 1_796_000_000_000;
    note
}

fn from_provider() -> Vec<(&'static str, FromProvider)> {
    let failure = Failure::new(FailureCode::Unit, "out of fuel");
    vec![
        ("accepted", FromProvider::Accepted),
        ("refused", FromProvider::Refused(Refusal::new(RefusalCode::NotAssigned, "order 17"))),
        ("wants", FromProvider::Wants(300)),
        ("progress", FromProvider::Progress(Progress { done: 3, total: 64 })),
        ("committed", FromProvider::Committed(B256::repeat_byte(0x33))),
        ("delivered", FromProvider::Delivered(Delivery::new(B256::repeat_byte(0x44), Hash::of(b"list")))),
        ("failed", FromProvider::Failed(failure.clone())),
        ("failed at a unit", FromProvider::Failed(failure.at_unit(5))),
        ("note", FromProvider::Note(note())),
    ]
}

fn want() -> Vec<Item> {
    vec![Item::new(Hash::of(b"a"), 0), Item::new(Hash::of(b"b"), 65_536)]
}

#[test]
fn every_message_round_trips() {
    for (name, message) in from_customer() {
        assert_eq!(FromCustomer::decode(&message.encode()).unwrap(), message, "{name}");
    }
    for (name, message) in from_provider() {
        assert_eq!(FromProvider::decode(&message.encode()).unwrap(), message, "{name}");
    }
    assert_eq!(decode_want(&encode_want(&want())).unwrap(), want());
    for code in RefusalCode::ALL {
        assert_eq!(RefusalCode::from_code(code.code()), Some(*code));
    }
    for code in FailureCode::ALL {
        assert_eq!(FailureCode::from_code(code.code()), Some(*code));
    }
}

#[test]
fn a_message_of_the_other_side_does_not_decode() {
    for (_, message) in from_customer() {
        assert!(matches!(FromProvider::decode(&message.encode()), Err(Violation::UnknownKind { .. })));
    }
    for (_, message) in from_provider() {
        assert!(matches!(FromCustomer::decode(&message.encode()), Err(Violation::UnknownKind { .. })));
    }
    assert!(matches!(decode_want(&FromCustomer::Cancel.encode()), Err(Violation::UnknownKind { kind: 2 })));
}

#[test]
fn cut_and_extended_messages_are_refused() {
    let customer = from_customer().into_iter().map(|(_, message)| message.encode());
    for message in customer {
        for length in 0..message.len() {
            assert!(FromCustomer::decode(&message[..length]).is_err());
        }
        assert!(FromCustomer::decode(&[message.as_slice(), &[0]].concat()).is_err());
    }
    for message in from_provider().into_iter().map(|(_, message)| message.encode()) {
        for length in 0..message.len() {
            assert!(FromProvider::decode(&message[..length]).is_err());
        }
        assert!(FromProvider::decode(&[message.as_slice(), &[0x80]].concat()).is_err());
    }
    let want = encode_want(&want());
    for length in 0..want.len() {
        assert!(decode_want(&want[..length]).is_err());
    }
}

#[test]
fn the_bounds_hold_from_both_sides() {
    let with = |job: usize, credential: usize| {
        let hello = Hello { job: vec![1; job].into(), credential: vec![1; credential].into(), ..hello() };
        FromCustomer::decode(&FromCustomer::Hello(hello).encode())
    };
    assert!(with(JOB_BYTES_MAX, CREDENTIAL_BYTES_MAX).is_ok());
    assert!(with(JOB_BYTES_MAX + 1, 0).is_err());
    assert!(with(0, CREDENTIAL_BYTES_MAX + 1).is_err());
    assert!(matches!(with(MESSAGE_BYTES_MAX, 0), Err(Violation::MessageTooLarge { .. })));
    let items = |count: usize| decode_want(&encode_want(&vec![Item::new(Hash::of(b""), u64::MAX); count]));
    assert_eq!(items(WANTS_MAX).unwrap().len(), WANTS_MAX);
    assert!(items(WANTS_MAX + 1).is_err());
    assert!(items(0).is_err());
    assert!(encode_want(&vec![Item::new(Hash::of(b""), u64::MAX); WANTS_MAX]).len() <= MESSAGE_BYTES_MAX);
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let refused = |message: Vec<u8>| assert!(FromProvider::decode(&message).is_err());
    refused(encode(kind::PROGRESS, &Progress { done: 2, total: 1 }));
    // A code that does not exist, in place of the first element.
    refused(vec![kind::REFUSED, 0xc2, 0x63, 0x80]);
    // A reason with a line feed, and one that is too long.
    refused(vec![kind::REFUSED, 0xc2, 0x01, 0x0a]);
    refused(encode(kind::REFUSED, &vec![vec![1_u8], vec![b'a'; REASON_BYTES_MAX + 1]]));
    // Two units.
    refused(vec![kind::FAILED, 0xc5, 0x01, 0xc2, 0x01, 0x02, 0x80]);
    // A number with a leading zero.
    refused(vec![kind::WANTS, 0xc2, 0x00, 0x05]);
}

#[test]
fn a_reason_is_always_printable_and_short() {
    assert_eq!(Reason::new("naïve\n\u{1b}[31m").as_str(), "na?ve??[31m");
    let long = Reason::new(&"é".repeat(1000));
    assert_eq!(long.as_str().len(), REASON_BYTES_MAX);
    let refusal = Refusal { code: RefusalCode::Busy, reason: long };
    let message = FromProvider::Refused(refusal);
    assert_eq!(FromProvider::decode(&message.encode()).unwrap(), message);
}

#[test]
fn a_hello_is_bound_to_its_order_and_both_nodes() {
    let order = U256::from(1);
    let parties = Parties { customer: node(1), provider: node(2) };
    let digest = hello_digest(order, parties);
    assert_ne!(digest, hello_digest(U256::from(256), parties));
    assert_ne!(digest, hello_digest(order, Parties { customer: node(3), ..parties }));
    assert_ne!(digest, hello_digest(order, Parties { provider: node(3), ..parties }));
    assert_ne!(digest, hello_digest(order, Parties { customer: node(2), provider: node(1) }));
}

proptest! {
    /// Whatever decodes is the one encoding of its value: garbage never becomes a second form of a message.
    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        kind in prop::sample::select(vec![0x01_u8, 0x02, 0x03, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x1d, 0x21, 0x7f]),
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let message = [&[kind], body.as_slice()].concat();
        if let Ok(decoded) = FromCustomer::decode(&message) {
            prop_assert_eq!(decoded.encode(), message.clone());
        }
        if let Ok(decoded) = FromProvider::decode(&message) {
            prop_assert_eq!(decoded.encode(), message.clone());
        }
        if let Ok(decoded) = decode_want(&message) {
            prop_assert_eq!(encode_want(&decoded), message);
        }
    }

    /// The same for one changed byte of a real message, which decodes far more often than garbage.
    #[test]
    fn a_changed_message_decodes_canonically_or_not_at_all(which in 0_usize..9, position in 0_usize..200, value: u8) {
        let mut message = from_provider()[which].1.encode();
        let position = position % message.len();
        message[position] = value;
        if let Ok(decoded) = FromProvider::decode(&message) {
            prop_assert_eq!(decoded.encode(), message);
        }
    }
}

fn vectors() -> Value {
    let (customer, provider) = (node(1), node(2));
    let order = U256::from(17);
    let messages = |pairs: Vec<(&str, Vec<u8>)>| {
        pairs.into_iter().map(|(name, bytes)| json!({ "name": name, "bytes": hex::encode(bytes) })).collect::<Vec<_>>()
    };
    let customers = from_customer().into_iter().map(|(name, message)| (name, message.encode()));
    let providers = from_provider().into_iter().map(|(name, message)| (name, message.encode()));
    let wants = [("want", encode_want(&want()))];
    let outlines = [0, 1, 65_536, 65_537, 200_000].map(|size: u32| {
        let bytes: Vec<u8> =
            (0..size).map(|i| u8::try_from((u64::from(i) * 13 + u64::from(i) / 257) % 256).unwrap()).collect();
        let outline = crate::Outline::of(&bytes);
        json!({ "size_bytes": size, "hash": outline.hash().to_string(), "groups": hex::encode(outline.to_bytes()) })
    });
    json!({
        "spec": "specs/0005-transfer.md sections 2, 4 and 5",
        "hello": {
            "order": order.to_string(),
            "customer": customer.to_string(),
            "provider": provider.to_string(),
            "digest": hello_digest(order, Parties { customer, provider }).to_string(),
        },
        "blob": "byte i is (13 i + floor(i / 257)) mod 256",
        "outlines": outlines,
        "messages": messages(customers.chain(providers).chain(wants).collect()),
    })
}

/// The format is fixed by the committed file. `KEYSTEAD_WRITE_VECTORS=1` writes it anew: that approves a new format.
#[test]
fn messages_match_the_committed_vectors() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/transfer.json");
    if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, format!("{:#}\n", vectors())).unwrap();
    }
    let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(committed, vectors());
}
