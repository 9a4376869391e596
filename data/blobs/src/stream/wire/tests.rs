//! Every message of a stream round-trips, has one encoding, and equals the committed vectors.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use std::path::PathBuf;

use alloy_primitives::U256;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{NodeId, RefusalCode, SecretKey};

fn node(seed: u8) -> NodeId {
    SecretKey::from_bytes(&[seed; 32]).id()
}

fn offer() -> LeaseOffer {
    let items = vec![Item { unit: 7, first: 0, count: 1, given: 0 }, Item { unit: 9, first: 128, count: 63, given: 1 }];
    LeaseOffer { number: 1 << 32, milliseconds: 11_600, pack: B256::repeat_byte(0x55), pack_bytes: 1_000, items }
}

fn report() -> WindowReport {
    WindowReport {
        lease: 1 << 32,
        report: Bytes::from_static(b"the channel's report"),
        secret: B256::repeat_byte(0x66),
        names: vec![B256::repeat_byte(0x77), B256::repeat_byte(0x78)],
        pack: B256::repeat_byte(0x79),
        pack_bytes: 65_537,
        end: End::new(EndCode::Owner, "the owner has come back"),
    }
}

fn from_customer() -> Vec<(&'static str, FromCustomer)> {
    let hello = Hello {
        order: U256::from_be_bytes([0xc1; 32]),
        job: Bytes::from_static(b"job specification"),
        credential: Bytes::from(vec![0x22; 65]),
    };
    vec![
        ("hello", FromCustomer::Hello(hello)),
        ("lease", FromCustomer::Lease(offer())),
        ("voucher", FromCustomer::Voucher { lease: 5, signed: Bytes::from_static(b"the signed voucher") }),
        ("refuse", FromCustomer::Refuse { lease: 5, code: RefuseCode::Wrong, reason: Reason::new("unit 7") }),
        ("cancel", FromCustomer::Cancel { lease: 5 }),
        ("bye", FromCustomer::Bye),
    ]
}

fn note() -> Note {
    let mut note = Note::now(crate::NoteKind::Paused, 0, "somebody uses this machine").of_lease(5);
    note.at_ms = 1_796_000_000_000;
    note
}

fn from_provider() -> Vec<(&'static str, FromProvider)> {
    let end = End::new(EndCode::Unit, "out of fuel").at_unit(7);
    vec![
        ("accepted", FromProvider::Accepted { holding: None }),
        ("accepted, holding a lease", FromProvider::Accepted { holding: Some(5) }),
        ("refused", FromProvider::Refused(Refusal::new(RefusalCode::Unsupported, "no GPU"))),
        ("beat", FromProvider::Beat { lease: 5, done: 3 }),
        ("report", FromProvider::Report(report())),
        ("given-back", FromProvider::GivenBack { lease: 5, end }),
        ("draining", FromProvider::Draining { reason: Reason::new("in use") }),
        ("ready", FromProvider::Ready),
        ("note", FromProvider::Note(note())),
    ]
}

#[test]
fn every_message_round_trips_and_its_cut_or_longer_forms_do_not() {
    for (name, message) in from_customer() {
        let bytes = message.encode();
        assert_eq!(FromCustomer::decode(&bytes).unwrap(), message, "{name}");
        assert!((0..bytes.len()).all(|length| FromCustomer::decode(&bytes[..length]).is_err()), "{name}");
        assert!(FromCustomer::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "{name}");
        assert!(matches!(FromProvider::decode(&bytes), Err(Violation::UnknownKind { .. })), "{name}");
    }
    for (name, message) in from_provider() {
        let bytes = message.encode();
        assert_eq!(FromProvider::decode(&bytes).unwrap(), message, "{name}");
        assert!((0..bytes.len()).all(|length| FromProvider::decode(&bytes[..length]).is_err()), "{name}");
        assert!(FromProvider::decode(&[bytes.as_slice(), &[0x80]].concat()).is_err(), "{name}");
        assert!(matches!(FromCustomer::decode(&bytes), Err(Violation::UnknownKind { .. })), "{name}");
    }
    for code in EndCode::ALL {
        assert_eq!(EndCode::from_code(code.code()), Some(*code));
    }
    for code in RefuseCode::ALL {
        assert_eq!(RefuseCode::from_code(code.code()), Some(*code));
    }
}

#[test]
fn the_bounds_hold_from_both_sides() {
    let lease = |change: &dyn Fn(&mut LeaseOffer)| {
        let mut offer = offer();
        change(&mut offer);
        FromCustomer::decode(&FromCustomer::Lease(offer).encode()).is_ok()
    };
    assert!(lease(&|offer| offer.milliseconds = MILLISECONDS_MAX) && lease(&|offer| offer.pack_bytes = PACK_BYTES_MAX));
    assert!(!lease(&|offer| offer.milliseconds = MILLISECONDS_MAX + 1) && !lease(&|offer| offer.milliseconds = 0));
    assert!(!lease(&|offer| offer.pack_bytes = PACK_BYTES_MAX + 1));
    assert!(!lease(&|offer| offer.items.clear()) && !lease(&|offer| offer.items[0].count = 2));
    assert!(!lease(&|offer| offer.items[0].count = 0) && !lease(&|offer| offer.items[0].given = 2));
    assert!(!lease(&|offer| offer.items[1].count = u32::MAX));
    let reported = |change: &dyn Fn(&mut WindowReport)| {
        let mut report = report();
        change(&mut report);
        FromProvider::decode(&FromProvider::Report(report).encode()).is_ok()
    };
    assert!(reported(&|report| report.names = vec![B256::ZERO; STEPS_MAX]));
    assert!(
        !reported(&|report| report.names = vec![B256::ZERO; STEPS_MAX + 1])
            && !reported(&|report| report.names.clear())
    );
    assert!(!reported(&|report| report.report = vec![0; REPORT_BYTES_MAX + 1].into()));
    assert!(!reported(&|report| report.pack_bytes = PACK_BYTES_MAX + 1));
    let voucher = |bytes: usize| {
        FromCustomer::decode(&FromCustomer::Voucher { lease: 1, signed: vec![1; bytes].into() }.encode()).is_ok()
    };
    assert!(voucher(VOUCHER_BYTES_MAX) && !voucher(VOUCHER_BYTES_MAX + 1));
    // Two units in an end, two leases in an acceptance.
    assert!(FromProvider::decode(&[kind::GIVEN_BACK, 0xc7, 0x05, 0xc5, 0x03, 0xc2, 0x01, 0x02, 0x80]).is_err());
    assert!(FromProvider::decode(&[kind::ACCEPTED, 0xc3, 0xc2, 0x01, 0x02]).is_err());
}

#[test]
fn a_hello_is_bound_to_its_channel_and_both_nodes() {
    let parties = Parties { customer: node(1), provider: node(2) };
    let digest = stream_digest(B256::repeat_byte(1), parties);
    assert_ne!(digest, stream_digest(B256::repeat_byte(2), parties));
    assert_ne!(digest, stream_digest(B256::repeat_byte(1), Parties { customer: node(2), provider: node(1) }));
    assert_ne!(digest, crate::hello_digest(U256::from_be_bytes([1; 32]), parties));
}

proptest! {
    /// One changed byte of a real message: it decodes to something whose one encoding it is, or not at all.
    #[test]
    fn a_changed_message_decodes_canonically_or_not_at_all(which in 0_usize..6, position in 0_usize..400, value: u8) {
        let mut message = from_provider()[which].1.encode();
        let place = position % message.len();
        message[place] = value;
        if let Ok(decoded) = FromProvider::decode(&message) {
            prop_assert_eq!(decoded.encode(), message);
        }
        let mut message = from_customer()[which].1.encode();
        let place = position % message.len();
        message[place] = value;
        if let Ok(decoded) = FromCustomer::decode(&message) {
            prop_assert_eq!(decoded.encode(), message);
        }
    }
}

fn vectors() -> Value {
    let (customer, provider) = (node(1), node(2));
    let channel = B256::repeat_byte(0xc1);
    let customers = from_customer().into_iter().map(|(name, message)| (name, message.encode()));
    let providers = from_provider().into_iter().map(|(name, message)| (name, message.encode()));
    let messages: Vec<_> =
        customers.chain(providers).map(|(name, bytes)| json!({ "name": name, "bytes": hex::encode(bytes) })).collect();
    let parts = [b"ab".as_slice(), b"", b"c"];
    json!({
        "spec": "specs/0011-stream.md section 3",
        "hello": {
            "channel": channel.to_string(),
            "customer": customer.to_string(),
            "provider": provider.to_string(),
            "digest": stream_digest(channel, Parties { customer, provider }).to_string(),
        },
        "pack": { "parts": parts.map(hex::encode), "bytes": hex::encode(super::super::pack::encode(&parts)) },
        "messages": messages,
    })
}

/// The format is fixed by the committed file. `KEYSTEAD_WRITE_VECTORS=1` writes it anew: that approves a new format.
#[test]
fn messages_match_the_committed_vectors() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/stream.json");
    if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, format!("{:#}\n", vectors())).unwrap();
    }
    let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(committed, vectors());
}
