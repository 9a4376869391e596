//! What is on the disk: round trips, damage, other versions.

use crate::fixture::{after, policy, price, received, root, sign, standing, terms};
use alloy_primitives::{B256, keccak256};
use keystead_payment::{
    Payee, Payer, Report, Signed, Voucher, record::Error, voucher::SIGNED_BYTES_MAX, window::REPORT_BYTES_MAX,
};
use proptest::prelude::*;

fn payer_record(audited: bool) -> (Payer, Vec<u8>) {
    let (mut payer, _, vouchers) = after(3, audited);
    let last = vouchers[2].voucher;
    let report = Report { channel_id: last.channel_id, window: 3, units: last.units, root: last.root };
    let record = payer.pay(&received(report, 0), &standing()).unwrap().record().to_vec();
    (payer, record)
}

fn payee_record(audited: bool) -> (Payee, Vec<u8>) {
    let (_, mut payee, _) = after(3, audited);
    let record = payee.settle(&standing()).unwrap().record().to_vec();
    (payee, record)
}

#[test]
fn a_side_that_resumes_is_the_side_that_died() {
    for audited in [false, true] {
        let (payer, record) = payer_record(audited);
        assert_eq!(Payer::resume(terms(audited), price(), &record), Ok(payer));
        let (payee, record) = payee_record(audited);
        assert_eq!(Payee::resume(terms(audited), policy(), &record), Ok(payee));
    }
}

#[test]
fn every_flipped_bit_and_every_torn_end_is_found() {
    let (_, payer) = payer_record(true);
    let (_, payee) = payee_record(true);
    for end in 0..payer.len() {
        assert!(Payer::resume(terms(true), price(), &payer[..end]).is_err(), "end {end}");
    }
    for end in 0..payee.len() {
        assert!(Payee::resume(terms(true), policy(), &payee[..end]).is_err(), "end {end}");
    }
    for bit in 0..payer.len() * 8 {
        let mut bytes = payer.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Payer::resume(terms(true), price(), &bytes), Err(Error::Damaged), "bit {bit}");
    }
    for bit in 0..payee.len() * 8 {
        let mut bytes = payee.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Payee::resume(terms(true), policy(), &bytes), Err(Error::Damaged), "bit {bit}");
    }
}

/// The record with a change and a hash that fits again.
fn resealed(record: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = record[..record.len() - 32].to_vec();
    change(&mut bytes);
    let hash = keccak256(&bytes);
    bytes.extend_from_slice(hash.as_slice());
    bytes
}

#[test]
fn another_version_side_channel_or_chain_is_refused() {
    let (_, record) = payer_record(true);
    let resume = |bytes: &[u8]| Payer::resume(terms(true), price(), bytes);
    assert_eq!(resume(&resealed(&record, |bytes| bytes[0] = 2)), Err(Error::Version { got: 2 }));
    assert_eq!(resume(&resealed(&record, |bytes| bytes[1] = 2)), Err(Error::Kind { got: 2 }));
    assert_eq!(resume(&resealed(&record, |bytes| bytes.push(0))), Err(Error::Malformed));
    assert_eq!(resume(&[]), Err(Error::Length { got_bytes: 0 }));
    assert_eq!(resume(&[0; 128 * 1024 + 1]), Err(Error::Length { got_bytes: 128 * 1024 + 1 }));
    let mut other = terms(true);
    other.channel_id = B256::ZERO;
    let expected = Error::AnotherChannel { got: terms(true).channel_id, expected: B256::ZERO };
    assert_eq!(Payer::resume(other, price(), &record), Err(expected));
    let mut other = terms(true);
    other.domain.chain_id = 1;
    assert!(matches!(Payer::resume(other, price(), &record), Err(Error::AnotherChannel { .. })));
    let (_, record) = payee_record(true);
    assert_eq!(Payer::resume(terms(true), price(), &record), Err(Error::Kind { got: 2 }));
    // Three waiting vouchers cannot be a channel without audit.
    assert_eq!(Payee::resume(terms(false), policy(), &record), Err(Error::Malformed));
}

proptest! {
    #[test]
    fn a_record_of_hostile_content_with_a_right_hash_is_read_or_refused_and_never_a_panic(
        kind in 1_u8..3,
        body in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..400,
        byte: u8,
    ) {
        let sealed = |head: &[u8]| [head, keccak256(head).as_slice()].concat();
        let noise = sealed(&[&[1, kind], body.as_slice()].concat());
        let _ = Payer::resume(terms(true), price(), &noise);
        let _ = Payee::resume(terms(true), policy(), &noise);
        // One byte of a real one.
        let (_, record) = payee_record(true);
        let at = 2 + cut % (record.len() - 34);
        let changed = resealed(&record, |bytes| bytes[at] = byte);
        if let Ok(mut payee) = Payee::resume(terms(true), policy(), &changed) {
            let _ = payee.prospect(|_| keystead_payment::Release::Released);
            let _ = payee.begin(4, &standing());
            let _ = payee.settle(&standing());
        }
    }
}

#[test]
fn the_first_record_comes_before_the_first_message() {
    let draft = Payer::open(terms(true), price(), &standing()).unwrap();
    let record = draft.record().to_vec();
    assert_eq!(Payer::resume(terms(true), price(), &record), Ok(draft.saved()));
    let draft = Payee::join(terms(true), policy(), &standing()).unwrap();
    let record = draft.record().to_vec();
    assert_eq!(Payee::resume(terms(true), policy(), &record), Ok(draft.saved()));
}

#[test]
fn messages_have_one_encoding_and_a_bound() {
    let (_, _, vouchers) = after(2, true);
    let extreme = Voucher {
        channel_id: B256::repeat_byte(0xff),
        window: u64::MAX,
        units: u32::MAX,
        cumulative: u128::MAX,
        held_back: u128::MAX,
        root: B256::repeat_byte(0xff),
        history: B256::repeat_byte(0xff),
    };
    for signed in vouchers.into_iter().chain([sign(extreme)]) {
        let bytes = signed.to_bytes();
        assert!(bytes.len() <= SIGNED_BYTES_MAX);
        assert_eq!(Signed::from_bytes(&bytes), Ok(signed));
        for end in 0..bytes.len() {
            assert!(Signed::from_bytes(&bytes[..end]).is_err());
        }
        assert!(Signed::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Signed::from_bytes(&changed) {
                assert_ne!(other, signed);
                assert_eq!(other.to_bytes(), changed, "one encoding per value");
            }
        }
    }
    let report = Report { channel_id: extreme.channel_id, window: u64::MAX, units: u32::MAX, root: extreme.root };
    assert!(report.to_bytes().len() <= REPORT_BYTES_MAX);
    assert_eq!(Report::from_bytes(&report.to_bytes()), Ok(report));
    assert!(Report::from_bytes(&sign(extreme).to_bytes()).is_err());
    assert!(Signed::from_bytes(&report.to_bytes()).is_err());
    assert!(Signed::from_bytes(&[0xff; 300]).is_err());
}

#[test]
fn the_bytes_of_a_record_are_pinned() {
    // A changed hash here is a changed format: raise `record::VERSION`, and read the old one.
    let (_, payer) = payer_record(true);
    let (mut payee, _) = payee_record(true);
    payee.begin(4, &standing()).unwrap();
    let payee = payee.report(root(4, 4, 0)).unwrap().record().to_vec();
    assert_eq!(keccak256(&payer).to_string(), PAYER);
    assert_eq!(keccak256(&payee).to_string(), PAYEE);
}

const PAYER: &str = "0x6cdfde95c27bfb23faa0454af88fd79628752a3d72d096c66da1a6d14705283e";
const PAYEE: &str = "0x138a1df920c2b3d4f8b8a83af8a51a5b0c21cb87a958903431d8c8f0fffe95f4";
