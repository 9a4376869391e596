//! Keeps `specs/vectors/sample.json` and the draw in step: `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-audit` writes the file, every other run
//! compares the code with it. Also compares the draws of an audit with `specs/vectors/audit.json`, which the contract's tests write.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // A test: a panic is a failure.

use keystead_audit::{
    Draw, SampleRule, Seed,
    draw::SLOTS,
    rounds::{PANEL_ROUND, PANELS},
    sample::draw,
};
use keystead_job::{B256, blob_hash};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vectors {
    comment: String,
    samples: Vec<SampleVector>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SampleVector {
    seed: B256,
    unit_count: u32,
    rate_ppm: u32,
    units_min: u32,
    sample: Vec<u32>,
}

fn generated() -> Vectors {
    let cases = [(1, 0, 0), (5, 1_000_000, 0), (64, 30_000, 10), (64, 0, 64), (1_000, 30_000, 10), (65_536, 100, 1)];
    let samples = (0u8..).zip(cases).map(|(number, (unit_count, rate_ppm, units_min))| {
        let seed = blob_hash(&[number]);
        let rule = SampleRule { rate_ppm, units_min };
        let sample = draw(Seed(seed.0), unit_count, rule.size(unit_count));
        SampleVector { seed, unit_count, rate_ppm, units_min, sample }
    });
    let comment = "specs/0003-job.md section 10; written by compute/audit/tests/vectors.rs".to_owned();
    Vectors { comment, samples: samples.collect() }
}

#[test]
fn the_committed_samples_are_what_the_code_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/sample.json");
    let made = generated();
    if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let read: Vectors = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(read, made, "an intended change of the format: run again with KEYSTEAD_WRITE_VECTORS=1");
    assert!(read.samples.iter().any(|vector| vector.sample.len() > 20), "the vectors cover a large sample");
}

/// What `contracts/test/AuditVectors.t.sol` wrote: its names are the Solidity test's.
#[derive(Deserialize)]
struct ContractDraws {
    window_id: B256,
    randomness: B256,
    units: u32,
    segments: u32,
    places: u32,
    rounds: Vec<ContractRound>,
}

#[derive(Deserialize)]
struct ContractRound {
    round: u8,
    seed: B256,
    slots_of_unit_5: Option<Vec<u32>>,
    panel_of_unit_5: Option<Vec<u32>>,
    second_places_of_its_slots: Option<Vec<u32>>,
    drawn_at_30000_ppm: Option<Vec<u32>>,
    their_segments_at_30000_ppm: Option<Vec<u32>>,
    drawn_at_100000_ppm: Option<Vec<u32>>,
    their_segments_at_100000_ppm: Option<Vec<u32>>,
}

#[test]
fn the_contract_and_this_package_draw_the_same_units_segments_and_seats() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/audit.json");
    let draws: ContractDraws = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(draws.rounds.len(), usize::from(PANEL_ROUND) + PANELS.len());
    for round in &draws.rounds {
        let draw = Draw::new(draws.randomness, draws.window_id, round.round);
        assert_eq!(draw.seed(), round.seed);
        let seats: Vec<u32> = (0..SLOTS).map(|slot| draw.seat(5, slot, draws.places).unwrap()).collect();
        let panel = usize::from(round.round).checked_sub(usize::from(PANEL_ROUND));
        let Some(panel) = panel.map(|number| u8::try_from(PANELS[number]).unwrap()) else {
            assert_eq!(Some(seats), round.slots_of_unit_5, "round {}", round.round);
            continue;
        };
        let places = |attempt| {
            let place = |slot| draw.panel_place(5, slot, attempt, draws.places).unwrap();
            Some((0..panel).map(place).collect::<Vec<u32>>())
        };
        assert_eq!(places(0), round.panel_of_unit_5, "round {}", round.round);
        assert_eq!(places(1), round.second_places_of_its_slots, "round {}", round.round);
        assert_eq!(round.slots_of_unit_5, None);
    }
    let first = &draws.rounds[0];
    let draw = Draw::new(draws.randomness, draws.window_id, 0);
    for (rate_ppm, drawn, segments) in [
        (30_000, &first.drawn_at_30000_ppm, &first.their_segments_at_30000_ppm),
        (100_000, &first.drawn_at_100000_ppm, &first.their_segments_at_100000_ppm),
    ] {
        let units: Vec<u32> = draw.units(draws.units, rate_ppm).collect();
        assert_eq!(Some(&units), drawn.as_ref());
        let of_units: Vec<u32> = units.iter().map(|&unit| draw.segment(unit, draws.segments)).collect();
        assert_eq!(Some(&of_units), segments.as_ref());
    }
}
