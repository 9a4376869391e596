//! The file `specs/vectors/beacon.json`: values, messages, files with their verdicts, and all their mutants.

use crate::{
    network::{CHAIN_ID, Network},
    vectors::{Keys, check_file, mutate_file},
};
use alloy_primitives::{B256, hex};
use keystead_proof::{
    BEACON_BYTES_MAX, BeaconProof, NetworkKey, Report, SignatureError, Verdict, verify, verify_beacon,
};
use keystead_types::{BeaconValue, Seed};
use serde_json::{Value, json};

fn value(network: &Network, chain_id: u64, height: u64) -> BeaconValue {
    BeaconValue(network.sign(&BeaconValue::message(chain_id, height)))
}

fn judge(text: &str, key: &[u8; 96]) -> Report {
    verify(text.as_bytes(), key, 0, None)
}

/// Name, file, verdict, step.
fn cases(network: &Network) -> Vec<(&'static str, BeaconProof, &'static str, u8)> {
    let good = BeaconProof::new(CHAIN_ID, 300, value(network, CHAIN_ID, 300));
    let with = |value: BeaconValue| BeaconProof::new(CHAIN_ID, 300, value);
    let mut flipped = good.value;
    flipped.0[20] ^= 1;
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    let mut negated = good.value;
    negated.0[0] ^= 0x20;
    let seed = BeaconValue(network.sign(&Seed::message(CHAIN_ID, 0, 300)));
    let last = BeaconProof::new(CHAIN_ID, u64::MAX, value(network, CHAIN_ID, u64::MAX));
    vec![
        ("good", good, "proved", 7),
        ("first-height", BeaconProof::new(CHAIN_ID, 1, value(network, CHAIN_ID, 1)), "proved", 7),
        ("last-height", last, "proved", 7),
        ("another-chain-that-signed", BeaconProof::new(1, 300, value(network, 1, 300)), "proved", 7),
        ("another-randomness", BeaconProof { randomness: B256::ZERO, ..good }, "proved false", 7),
        ("another-height", BeaconProof { height: 301, ..good }, "not proved", 5),
        ("another-chain", BeaconProof { chain_id: 1, ..good }, "not proved", 5),
        ("another-key", with(value(&Network::new(2), CHAIN_ID, 300)), "not proved", 5),
        ("a-seed-of-that-view", with(seed), "not proved", 5),
        ("flipped", with(flipped), "not proved", 5),
        ("negated", with(negated), "not proved", 5),
        ("infinity", with(BeaconValue(infinity)), "not proved", 5),
        ("all-zero", with(BeaconValue([0; 48])), "not proved", 5),
        ("development", with(BeaconValue::development(CHAIN_ID, 300)), "not proved", 5),
        ("height-zero", BeaconProof { height: 0, ..good }, "not proved", 1),
    ]
}

#[test]
fn the_committed_beacon_vectors_are_what_the_code_gives_and_no_mutant_is_accepted() {
    let network = Network::new(1);
    let keys = Keys { own: network.key(), other: Network::new(2).key() };
    let entries = cases(&network).into_iter().map(|(name, proof, verdict, step)| {
        let text = proof.to_json();
        let report = judge(&text, &keys.own);
        assert_eq!((report.verdict.name(), report.step().number()), (verdict, step), "{name}: {report}");
        assert!(report.block.is_none() && report.claim.is_none());
        assert_eq!(report.beacon.map(|it| it.to_string()), (step > 1).then(|| proof.to_string()), "{name}");
        let message = hex::encode_prefixed(BeaconValue::message(proof.chain_id, proof.height));
        let words = report.beacon.map(|it| it.to_string());
        let mut entry =
            json!({ "name": name, "file": text, "message": message, "verdict": verdict, "step": step, "words": words });
        if name == "good" {
            entry["mutants"] = mutate_file(name, &text, &[], &keys, judge);
        }
        entry
    });
    let entries: Vec<Value> = entries.collect();
    let development: Vec<Value> = [1, 2, 300]
        .map(|height| {
            let value = BeaconValue::development(CHAIN_ID, height);
            json!({
                "height": format!("{height:#x}"), "value": hex::encode_prefixed(value.0),
                "randomness": value.randomness(),
            })
        })
        .into();
    let file = json!({
        "about": "specs/0007-beacon.md; written by `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-proof`",
        "chainId": CHAIN_ID,
        "networkKey": hex::encode_prefixed(keys.own),
        "otherNetworkKey": hex::encode_prefixed(keys.other),
        "cases": entries,
        "development": development,
    });
    check_file("beacon.json", &file);
}

#[test]
fn a_value_belongs_to_its_height_and_chain() {
    let network = Network::new(1);
    let key = NetworkKey::from_bytes(&network.key()).unwrap();
    let good = value(&network, CHAIN_ID, 77);
    assert_eq!(verify_beacon(&good, CHAIN_ID, 77, &key), Ok(()));
    assert_eq!(verify_beacon(&good, CHAIN_ID, 78, &key), Err(SignatureError::Mismatch));
    assert_eq!(verify_beacon(&good, 1, 77, &key), Err(SignatureError::Mismatch));
    assert_eq!(verify_beacon(&BeaconValue([0; 48]), CHAIN_ID, 77, &key), Err(SignatureError::Encoding));
}

#[test]
fn a_file_is_refused_beyond_its_length_and_under_a_key_that_is_none() {
    let network = Network::new(1);
    let text = BeaconProof::new(CHAIN_ID, 9, value(&network, CHAIN_ID, 9)).to_json();
    let padded = |bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    assert_eq!(judge(&padded(BEACON_BYTES_MAX), &network.key()).verdict, Verdict::Proved);
    let report = judge(&padded(BEACON_BYTES_MAX + 1), &network.key());
    assert_eq!((report.verdict.exit_code(), report.step().number()), (2, 1));
    let report = judge(&text, &[0; 96]);
    assert_eq!((report.verdict.exit_code(), report.step().number()), (2, 5));
}

#[test]
fn a_report_about_a_beacon_value_reads_well() {
    let network = Network::new(1);
    let proof = BeaconProof::new(CHAIN_ID, 300, value(&network, CHAIN_ID, 300));
    insta::assert_snapshot!(judge(&proof.to_json(), &network.key()));
    let wrong = BeaconProof { randomness: B256::ZERO, ..proof };
    insta::assert_snapshot!(judge(&wrong.to_json(), &network.key()));
}
