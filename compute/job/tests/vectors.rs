//! Keeps `specs/vectors/job.json` and the code in step: `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-job` writes the file, every other run
//! compares the code with it.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::disallowed_methods)] // A test: a panic is a failure.

use keystead_job::{
    B256, Checker, Class, JobSpec, Limits, Runtime, Tolerance, blob_hash,
    check::Element,
    commitment::{Secret, Tree, UnitProof},
    hash_list,
    spec::{Draft, RecipeName},
    trace::{Opening, Trace},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vectors {
    comment: String,
    specs: Vec<SpecVector>,
    invalid_specs: Vec<InvalidVector>,
    commitments: Vec<CommitmentVector>,
    traces: Vec<TraceVector>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpecVector {
    spec: JobSpec,
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
struct CommitmentVector {
    secret: B256,
    results: Vec<B256>,
    commitment: B256,
    result_root: B256,
    proofs: Vec<UnitProof>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TraceVector {
    states: Vec<B256>,
    root: B256,
    result: B256,
    openings: Vec<Opening>,
}

fn specs() -> Vec<JobSpec> {
    let wasm = Draft {
        recipe: RecipeName::new("align").unwrap(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(b"program"),
        common_hash: blob_hash(b"common"),
        units_hash: hash_list(&[blob_hash(b"unit 0"), blob_hash(b"unit 1"), blob_hash(b"unit 2")]),
        unit_count: 3,
        segment_count: 1,
        limits: Limits {
            wall_ms_max: 60_000,
            fuel_max: 20_000_000_000,
            memory_bytes_max: 1 << 26,
            output_bytes_max: 1 << 20,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        },
        checker: None,
        tolerance: None,
    };
    let wgsl = Draft {
        recipe: RecipeName::new("value-at-risk").unwrap(),
        runtime: Runtime::Wgsl1,
        unit_count: 1,
        limits: Limits {
            fuel_max: 0,
            loop_iterations_max: 32_768,
            workgroups: [1_024, 2, 1],
            output_bytes_max: 4_096,
            ..wasm.limits
        },
        ..wasm
    };
    let least = Draft {
        recipe: RecipeName::new("a").unwrap(),
        class: Class::Opaque,
        unit_count: 65_536,
        limits: Limits {
            wall_ms_max: 1,
            fuel_max: 1,
            memory_bytes_max: 65_536,
            output_bytes_max: 1,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        },
        ..wasm
    };
    let checked = Draft {
        recipe: RecipeName::new("matmul").unwrap(),
        class: Class::SelfChecking,
        checker: Some(Checker { program_hash: blob_hash(b"checker"), fuel_max: 1_000_000 }),
        ..wasm
    };
    let tolerant = Draft {
        recipe: RecipeName::new("nbody").unwrap(),
        class: Class::Tolerance,
        segment_count: 64,
        tolerance: Some(Tolerance {
            element: Element::F32,
            absolute: 1e-6.try_into().unwrap(),
            relative: 1e-5.try_into().unwrap(),
            outliers_ppm: 100,
            sound_factor: 10,
        }),
        ..wgsl
    };
    [wasm, wgsl, least, checked, tolerant].into_iter().map(|draft| JobSpec::new(draft).unwrap()).collect()
}

fn invalid() -> Vec<InvalidVector> {
    let good = specs().remove(0).encode();
    let case = |what: &str, bytes: Vec<u8>| InvalidVector { what: what.to_owned(), encoded: hex::encode(bytes) };
    let at = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        bytes
    };
    vec![
        case("empty", Vec::new()),
        case("a byte after the list", [&good[..], &[0]].concat()),
        case("the last byte is missing", good[..good.len() - 1].to_vec()),
        case("version 1", at(2, 1)),
        case("version 3", at(2, 3)),
        case("version 0 as a byte instead of the empty string", at(2, 0)),
        case("list length in two bytes", [&[0xf9, 0, good[1]], &good[2..]].concat()),
        case("one item more", [&[0xf8, good[1] + 1], &good[2..], &[0x80]].concat()),
        case("recipe with an upper-case letter", at(4, b'A')),
        case("runtime wasm/2", at(15, b'2')),
        case("class 0", at(16, 0x80)),
        case("class 6", at(16, 6)),
    ]
}

fn commitments() -> Vec<CommitmentVector> {
    [1u32, 2, 3, 5, 8, 13]
        .map(|count| {
            let secret = Secret::new([u8::try_from(count).unwrap(); 32]);
            let results: Vec<B256> = (0..count).map(|unit| blob_hash(&unit.to_be_bytes())).collect();
            let tree = Tree::new(&secret, &results).unwrap();
            CommitmentVector {
                secret: B256::new(secret.reveal()),
                commitment: tree.root(),
                result_root: hash_list(&results),
                proofs: [0, count / 2, count - 1].map(|unit| tree.proof(unit).unwrap()).into(),
                results,
            }
        })
        .into()
}

fn traces() -> Vec<TraceVector> {
    [1u32, 2, 3, 7, 12]
        .map(|count| {
            let trace = Trace::new((0..count).map(|segment| blob_hash(&segment.to_be_bytes())).collect()).unwrap();
            TraceVector {
                states: trace.states().to_vec(),
                root: trace.root(),
                result: trace.result(),
                openings: [0, count / 2, count - 1].map(|segment| trace.open(segment).unwrap()).into(),
            }
        })
        .into()
}

fn generated() -> Vectors {
    Vectors {
        comment: "specs/0003-job.md; written by compute/job/tests/vectors.rs".to_owned(),
        specs: specs()
            .into_iter()
            .map(|spec| SpecVector { encoded: hex::encode(spec.encode()), hash: spec.hash(), spec })
            .collect(),
        invalid_specs: invalid(),
        commitments: commitments(),
        traces: traces(),
    }
}

#[test]
fn the_committed_vectors_are_what_the_code_makes_and_accepts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/job.json");
    let made = generated();
    if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let read: Vectors = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(read, made, "an intended change of the format: run again with KEYSTEAD_WRITE_VECTORS=1");
    for vector in &read.specs {
        let bytes = hex::decode(&vector.encoded).unwrap();
        assert_eq!(JobSpec::decode(&bytes).unwrap(), vector.spec);
        assert_eq!(vector.spec.hash(), vector.hash);
    }
    for vector in &read.invalid_specs {
        let decoded = JobSpec::decode(&hex::decode(&vector.encoded).unwrap());
        assert!(decoded.is_err(), "{}: {decoded:?}", vector.what);
    }
    for vector in &read.commitments {
        for proof in &vector.proofs {
            let count = u32::try_from(vector.results.len()).unwrap();
            assert_eq!(proof.verify(vector.commitment, count), Ok(()));
        }
    }
    for vector in &read.traces {
        for opening in &vector.openings {
            let count = u32::try_from(vector.states.len()).unwrap();
            assert_eq!(opening.verify(vector.root, count), Ok(()));
        }
    }
}
