//! Keeps `specs/vectors/capability.json` and the code in step: `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-market` writes the file, every
//! other run compares the code with it.

use crate::machines::{CHAIN_ID, PROVIDER, least, signed, statement, workstation};
use alloy_primitives::{B256, FixedBytes, keccak256};
use keystead_market::{
    Record,
    band::Band,
    record::{Attested, HardwareClass, Statement},
    touchstone::{Challenge, Prover, Shape, arithmetic::seeded_row, prover::seeded},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vectors {
    comment: String,
    records: Vec<RecordVector>,
    invalid_records: Vec<InvalidVector>,
    hardware_classes: Vec<ClassVector>,
    bands: Vec<BandVector>,
    statements: Vec<StatementVector>,
    touchstones: Vec<TouchstoneVector>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecordVector {
    record: Record,
    encoded: String,
    hash: B256,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InvalidVector {
    what: String,
    encoded: String,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClassVector {
    vendor: u32,
    architecture: String,
    driver: String,
    class: HardwareClass,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BandVector {
    value: u64,
    band: Option<u8>,
    at_least: Option<u64>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatementVector {
    chain_id: u64,
    statement: Statement,
    signing_hash: B256,
    signature: FixedBytes<65>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TouchstoneVector {
    chain_id: u64,
    height: u64,
    time_s: u64,
    beacon: B256,
    device: u8,
    side: u32,
    links: u32,
    opened: u32,
    deadline_ms: u64,
    id: B256,
    first_words: Vec<u32>,
    last_row: Vec<u32>,
    root: B256,
    vector_beacon: B256,
    first_vector: Vec<u32>,
    first_product: Vec<u32>,
    vectors_root: B256,
    rows_beacon: B256,
    drawn: Vec<(u32, u32)>,
}

fn attested(device: u8) -> Attested {
    let statement = statement(device);
    Attested { statement, signature: signed(statement.signing_hash(CHAIN_ID)).1 }
}

fn records() -> Vec<Record> {
    let mut proved = workstation();
    proved.attested = vec![attested(1), attested(2)];
    [workstation(), least(), proved].into_iter().map(|draft| Record::new(draft).unwrap()).collect()
}

fn invalid() -> Vec<InvalidVector> {
    let good = records().remove(1).encode();
    let case = |what: &str, bytes: Vec<u8>| InvalidVector { what: what.to_owned(), encoded: hex::encode(bytes) };
    let at = |needle: &[u8], offset: usize, byte: u8| {
        let mut bytes = good.clone();
        let start = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[start + offset] = byte;
        bytes
    };
    // A record of one processor: after the runtimes come the classes (bits 1 and 2) and the processor (set 3, 8 cores).
    let machine = [&[6u8][..], &[0xcd, 3, 8]].concat();
    vec![
        case("empty", Vec::new()),
        case("a byte after the list", [&good[..], &[0]].concat()),
        case("the last byte is missing", good[..good.len() - 1].to_vec()),
        case("version 2", at(&[1, 0x94], 0, 2)),
        case("a class without a number", at(&machine, 0, 7)),
        case("no class", at(&machine, 0, 0x80)),
        case("an unknown instruction set", at(&machine, 2, 8)),
        case("no core", at(&machine, 3, 0x80)),
        case("an engine with a control character", at(b"wasmtime", 3, 7)),
    ]
}

fn touchstone(side: u32, links: u32, device: u8) -> TouchstoneVector {
    let (height, time_s, beacon) = (4_000, 1_800_000_000, keccak256("challenge"));
    let (opened, deadline_ms, shape) = (6, 7_000, Shape::new(side, links).unwrap());
    let (chain_id, provider) = (CHAIN_ID, PROVIDER);
    let challenge = Challenge { chain_id, height, time_s, beacon, provider, device, shape, opened, deadline_ms };
    let prover = Prover::new(challenge);
    let (vector_beacon, rows_beacon) = (keccak256("vectors"), keccak256("rows"));
    let vectors = prover.vectors(vector_beacon);
    let vectors_root = Prover::vectors_root(&vectors);
    let last = prover.open(&vectors, rows_beacon).rows.pop().unwrap();
    TouchstoneVector {
        chain_id,
        height,
        time_s,
        beacon,
        device,
        side,
        links,
        opened,
        deadline_ms,
        id: challenge.id(),
        first_words: seeded(&challenge)[..8].to_vec(),
        last_row: keystead_market::touchstone::arithmetic::to_words(&last.bytes),
        root: prover.root(),
        vector_beacon,
        first_vector: seeded_row(&challenge.vector_key(prover.root(), vector_beacon), 0, side),
        first_product: vectors[0].clone(),
        vectors_root,
        rows_beacon,
        drawn: challenge.draw(prover.root(), vectors_root, rows_beacon),
    }
}

fn generated() -> Vectors {
    let encoded = |record: Record| RecordVector { encoded: hex::encode(record.encode()), hash: record.hash(), record };
    let classes = [(0x10de, "ada", "nvidia-550"), (0x1002, "rdna3", "mesa-22"), (0, "software", "mesa-22")];
    let class = |(vendor, architecture, driver): (u32, &str, &str)| ClassVector {
        vendor,
        architecture: architecture.into(),
        driver: driver.into(),
        class: HardwareClass::of(vendor, architecture, driver),
    };
    let values = [0, 1, 2, 3, 4, 5, 6, 11, 12, 1_000, 1_000_000, (1 << 53) - 1];
    let band = |value: u64| {
        let band = Band::of(value);
        BandVector { value, band: band.map(Band::number), at_least: band.map(Band::at_least) }
    };
    let signed_statement = |device| {
        let Attested { statement, signature } = attested(device);
        StatementVector { chain_id: CHAIN_ID, statement, signing_hash: statement.signing_hash(CHAIN_ID), signature }
    };
    Vectors {
        comment: "specs/0010-capability.md; written by compute/market/tests/market/vectors.rs".to_owned(),
        records: records().into_iter().map(encoded).collect(),
        invalid_records: invalid(),
        hardware_classes: classes.map(class).into(),
        bands: values.map(band).into(),
        statements: [0, 1].map(signed_statement).into(),
        touchstones: vec![touchstone(16, 2, 1), touchstone(32, 3, 0)],
    }
}

#[test]
fn the_committed_vectors_are_what_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/capability.json");
    let made = generated();
    if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let read: Vectors = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(read, made, "an intended change of the format: run again with KEYSTEAD_WRITE_VECTORS=1");
    for vector in &read.records {
        assert_eq!(Record::decode(&hex::decode(&vector.encoded).unwrap()).unwrap(), vector.record);
    }
    for vector in &read.invalid_records {
        assert!(Record::decode(&hex::decode(&vector.encoded).unwrap()).is_err(), "{}", vector.what);
    }
}
