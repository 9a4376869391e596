//! The file `specs/vectors/certificates.json`: valid and invalid signatures, keys and seeds at the edges of the encodings.

use crate::{
    network::{CHAIN_ID, Network},
    vectors::check_file,
};
use alloy_primitives::{B256, U512, hex, keccak256};
use blst::min_sig::{PublicKey, Signature};
use keystead_proof::{NetworkKey, SignatureError, verify_certificate, verify_seed, verify_seeds};
use keystead_types::{Certificate, Seed};
use serde_json::{Value, json};

/// The field modulus of BLS12-381.
const MODULUS: &str =
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";

fn certificate(network: &Network, n: u64) -> Certificate {
    let mut certificate = Certificate {
        epoch: n / 3,
        view: 1 << (9 * (n % 8)),
        parent_view: (1u64 << (9 * (n % 8))).saturating_sub(1 + n % 3),
        block_hash: keccak256(n.to_be_bytes()),
        signature: [0; 48],
    };
    certificate.signature = network.sign(&certificate.message(CHAIN_ID));
    certificate
}

/// Compressed points on the curve but outside the subgroup: the first small `x` that have one.
fn outside_g1() -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[0] = 0x80;
    let found = (1u8..).find(|x| {
        bytes[47] = *x;
        Signature::uncompress(&bytes).is_ok_and(|point| point.validate(true).is_err())
    });
    assert!(found.is_some());
    bytes
}

fn outside_g2() -> [u8; 96] {
    let mut bytes = [0; 96];
    bytes[0] = 0x80;
    let found = (1u8..).find(|x| {
        bytes[95] = *x;
        PublicKey::uncompress(&bytes).is_ok_and(|point| point.validate().is_err())
    });
    assert!(found.is_some());
    bytes
}

/// A certificate whose signature has an `x` that still fits its 381 bits after adding the modulus, and that second encoding.
fn beyond_modulus(network: &Network) -> (Certificate, [u8; 48]) {
    let modulus = U512::from_be_slice(&hex::decode(MODULUS).unwrap());
    (1_000..)
        .find_map(|n| {
            let certificate = certificate(network, n);
            let mut x = certificate.signature;
            let flags = x[0] & 0xe0;
            x[0] &= 0x1f;
            let sum = (U512::from_be_slice(&x) + modulus).to_be_bytes::<64>();
            if sum[16] & 0xe0 != 0 {
                return None;
            }
            let mut other: [u8; 48] = sum[16..].try_into().unwrap();
            other[0] |= flags;
            Some((certificate, other))
        })
        .unwrap()
}

fn entry(name: &str, certificate: &Certificate, valid: bool) -> Value {
    json!({
        "name": name,
        "certificate": serde_json::from_str::<Value>(&keystead_proof::certificate_json(certificate)).unwrap(),
        "message": hex::encode_prefixed(certificate.message(CHAIN_ID)),
        "valid": valid,
    })
}

fn certificate_entries(network: &Network) -> Vec<Value> {
    let good = certificate(network, 1);
    let with = |signature: [u8; 48]| Certificate { signature, ..good };
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    let mut impure_infinity = infinity;
    impure_infinity[47] = 1;
    let mut uncompressed = good.signature;
    uncompressed[0] &= 0x7f;
    let mut negated = good.signature;
    negated[0] ^= 0x20;
    let mut no_point = good.signature;
    while Signature::uncompress(&no_point).is_ok() {
        no_point[47] = no_point[47].wrapping_add(1);
    }
    let mut modulus: [u8; 48] = hex::decode(MODULUS).unwrap().try_into().unwrap();
    modulus[0] |= 0x80;
    let (low, beyond) = beyond_modulus(network);
    let mut entries: Vec<Value> =
        (0..8).map(|n| entry(&format!("valid-{n}"), &certificate(network, n), true)).collect();
    entries.extend([
        entry("valid-low-x", &low, true),
        entry("x-beyond-the-modulus", &Certificate { signature: beyond, ..low }, false),
        entry("x-is-the-modulus", &with(modulus), false),
        entry("infinity", &with(infinity), false),
        entry("infinity-with-a-bit", &with(impure_infinity), false),
        entry("all-zero", &with([0; 48]), false),
        entry("all-one", &with([0xff; 48]), false),
        entry("not-compressed", &with(uncompressed), false),
        entry("negated", &with(negated), false),
        entry("no-point", &with(no_point), false),
        entry("outside-the-subgroup", &with(outside_g1()), false),
        entry("another-key", &with(Network::new(2).sign(&good.message(CHAIN_ID))), false),
        entry("another-chain", &with(network.sign(&good.message(1))), false),
        entry("another-view", &Certificate { view: good.view + 1, ..good }, false),
        entry("another-hash", &Certificate { block_hash: B256::ZERO, ..good }, false),
    ]);
    entries
}

fn key_entries(network: &Network) -> Vec<Value> {
    let good = network.key();
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    let mut uncompressed = good;
    uncompressed[0] &= 0x7f;
    let mut no_point = good;
    while PublicKey::uncompress(&no_point).is_ok() {
        no_point[95] = no_point[95].wrapping_add(1);
    }
    let mut modulus = [0; 96];
    modulus[48..].copy_from_slice(&hex::decode(MODULUS).unwrap());
    modulus[0] = 0x80;
    let entry = |name: &str, key: [u8; 96], valid: bool| json!({ "name": name, "key": hex::encode_prefixed(key), "valid": valid });
    vec![
        entry("valid", good, true),
        entry("infinity", infinity, false),
        entry("all-zero", [0; 96], false),
        entry("not-compressed", uncompressed, false),
        entry("no-point", no_point, false),
        entry("part-is-the-modulus", modulus, false),
        entry("outside-the-subgroup", outside_g2(), false),
    ]
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

#[test]
fn the_committed_certificates_are_what_the_code_gives() {
    let network = Network::new(1);
    let key = NetworkKey::from_bytes(&network.key()).unwrap();
    let certificates = certificate_entries(&network);
    for entry in &certificates {
        let fields = &entry["certificate"];
        let number =
            |name: &str| u64::from_str_radix(fields[name].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let certificate = Certificate {
            epoch: number("epoch"),
            view: number("view"),
            parent_view: number("parentView"),
            block_hash: bytes::<32>(&fields["blockHash"]).into(),
            signature: bytes(&fields["signature"]),
        };
        let valid = verify_certificate(&certificate, CHAIN_ID, &key).is_ok();
        assert_eq!(valid, entry["valid"], "{}", entry["name"]);
    }
    let keys = key_entries(&network);
    for entry in &keys {
        assert_eq!(NetworkKey::from_bytes(&bytes(&entry["key"])).is_ok(), entry["valid"], "{}", entry["name"]);
    }
    let seeds: Vec<Value> = [(0, 1), (3, 300), (u64::MAX, u64::MAX)]
        .into_iter()
        .map(|(epoch, view)| {
            let seed = network.seed(epoch, view);
            let message = hex::encode_prefixed(Seed::message(CHAIN_ID, epoch, view));
            json!({
                "epoch": format!("{epoch:#x}"), "view": format!("{view:#x}"), "message": message,
                "seed": hex::encode_prefixed(seed.0),
            })
        })
        .collect();
    let file = json!({
        "about": "specs/0001-certificate.md; written by `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-proof`",
        "chainId": CHAIN_ID,
        "networkKey": hex::encode_prefixed(network.key()),
        "certificates": certificates,
        "networkKeys": keys,
        "seeds": seeds,
    });
    check_file("certificates.json", &file);
}

#[test]
fn a_seed_belongs_to_its_epoch_view_and_chain() {
    let network = Network::new(1);
    let key = NetworkKey::from_bytes(&network.key()).unwrap();
    let seed = network.seed(2, 77);
    assert_eq!(verify_seed(&seed, CHAIN_ID, 2, 77, &key), Ok(()));
    assert_eq!(verify_seed(&seed, CHAIN_ID, 2, 78, &key), Err(SignatureError::Mismatch));
    assert_eq!(verify_seed(&seed, CHAIN_ID, 1, 77, &key), Err(SignatureError::Mismatch));
    assert_eq!(verify_seed(&seed, 1, 2, 77, &key), Err(SignatureError::Mismatch));
    assert_eq!(verify_seed(&Seed(outside_g1()), CHAIN_ID, 2, 77, &key), Err(SignatureError::NotInGroup));
    assert_eq!(verify_seed(&Seed([0; 48]), CHAIN_ID, 2, 77, &key), Err(SignatureError::Encoding));
}

#[test]
fn a_batch_of_seeds_is_as_strict_as_the_single_checks() {
    let network = Network::new(1);
    let key = NetworkKey::from_bytes(&network.key()).unwrap();
    let seeds: Vec<Seed> = (10..40).map(|view| network.seed(2, view)).collect();
    assert_eq!(verify_seeds(&[], CHAIN_ID, 2, 10, &key), Ok(()));
    assert_eq!(verify_seeds(&seeds[..1], CHAIN_ID, 2, 10, &key), Ok(()));
    assert_eq!(verify_seeds(&seeds, CHAIN_ID, 2, 10, &key), Ok(()));
    assert_eq!(verify_seeds(&seeds, CHAIN_ID, 2, 11, &key), Err(SignatureError::Mismatch));
    assert_eq!(verify_seeds(&seeds[1..], CHAIN_ID, 2, 10, &key), Err(SignatureError::Mismatch));
    for at in 0..seeds.len() {
        let mut wrong = seeds.clone();
        wrong[at] = network.seed(2, 100);
        assert_eq!(verify_seeds(&wrong, CHAIN_ID, 2, 10, &key), Err(SignatureError::Mismatch), "{at}");
    }
    // Two seeds exchanged: a plain sum of signatures would not notice.
    let mut exchanged = seeds.clone();
    exchanged.swap(3, 4);
    assert_eq!(verify_seeds(&exchanged, CHAIN_ID, 2, 10, &key), Err(SignatureError::Mismatch));
    let mut outside = seeds;
    outside[5] = Seed(outside_g1());
    assert_eq!(verify_seeds(&outside, CHAIN_ID, 2, 10, &key), Err(SignatureError::NotInGroup));
}

#[test]
fn views_beyond_64_bits_do_not_exist() {
    let network = Network::new(1);
    let key = NetworkKey::from_bytes(&network.key()).unwrap();
    let seeds = [network.seed(2, u64::MAX), network.seed(2, 0)];
    assert_eq!(verify_seeds(&seeds[..1], CHAIN_ID, 2, u64::MAX, &key), Ok(()));
    assert_eq!(verify_seeds(&seeds, CHAIN_ID, 2, u64::MAX, &key), Err(SignatureError::Mismatch));
}
