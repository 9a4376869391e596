//! Owners who cheat with a whole round: each attack by its name.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests: a panic is a failure, and numbers are small"
)]

use super::{
    challenge::{Challenge, GRACE_MS, Round},
    due::{CheckerDraw, checkers, quorum},
    prover::{Prover, vectors_root},
    round::{
        DEVICES_MAX, Error, Facts, PUBLISHED_BYTES_MAX, Published, PublishedDevice, Recorded, check, rows_height,
        vectors_height,
    },
    verify,
};
use crate::record::{Attested, Proved, Statement, Trust, attested::agreed};
use alloy_primitives::{Address, B256, FixedBytes, keccak256};
use alloy_rlp::Encodable;

const OWNER: Address = Address::repeat_byte(7);
const CHECKER: Address = Address::repeat_byte(9);
const CHALLENGE_MS: u64 = 1_800_000_000_000;

fn beacon(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

fn round(height: u64) -> Round {
    Round { chain_id: 19_283, height, time_s: CHALLENGE_MS / 1_000, beacon: beacon(height) }
}

/// Devices of 1 MiB that claim a million steps a second, each 128^3 * 16 steps: 33 s claimed, 50 s and the grace allowed.
fn device(number: u8) -> PublishedDevice {
    PublishedDevice { device: number, memory_mib: 1, mop_per_s: 1, side: 128, links: 16, answer: Vec::new().into() }
}

/// An owner that does all right: the roots in blocks 110 and 120, the vectors in 123 and 124.
struct Honest {
    published: Published,
    facts: Facts,
    provers: Vec<Prover>,
}

fn honest(height: u64, devices: &[PublishedDevice]) -> Honest {
    let published = Published { provider: OWNER, height, devices: devices.to_vec(), statements: Vec::new() };
    let challenges = published.challenges(round(height)).unwrap();
    let provers: Vec<Prover> = challenges.iter().map(|challenge| Prover::new(*challenge)).collect();
    let recorded: Vec<Recorded> = (0u64..)
        .zip(&provers)
        .map(|(number, prover)| Recorded {
            root: prover.root(),
            root_block: 110 + 10 * number,
            root_ms: CHALLENGE_MS + 30_000 + 10_000 * number,
            vectors_root: B256::ZERO,
            vectors_block: 123 + number,
            vectors_ms: CHALLENGE_MS + 42_000 + 500 * number,
        })
        .collect();
    let facts = Facts {
        round: round(height),
        challenge_ms: CHALLENGE_MS,
        recorded,
        vectors_from_ms: CHALLENGE_MS + 40_200,
        vector_beacon: beacon(1_000),
        rows_beacon: beacon(2_000),
        answer_ms: 100,
    };
    let mut honest = Honest { published, facts, provers };
    honest.answer();
    honest
}

impl Honest {
    /// Makes vectors and openings of what the provers hold.
    fn answer(&mut self) {
        for ((prover, entry), device) in
            self.provers.iter().zip(&mut self.facts.recorded).zip(&mut self.published.devices)
        {
            let vectors = prover.vectors(self.facts.vector_beacon);
            entry.vectors_root = vectors_root(&vectors);
            let mut bytes = Vec::new();
            prover.open(&vectors, self.facts.rows_beacon).encode(&mut bytes);
            device.answer = bytes.into();
        }
    }

    fn check(&self) -> Result<Vec<Proved>, Error> {
        check(&self.published, &self.facts, CHECKER)
    }

    fn fault(&self) -> verify::Error {
        match self.check() {
            Err(Error::Answer { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_honest_round_proves_every_device_and_survives_its_encoding() {
    let honest = honest(100, &[device(0), device(2)]);
    let proved = honest.check().unwrap();
    let statements: Vec<&Statement> = proved.iter().map(Proved::statement).collect();
    assert_eq!(statements.iter().map(|statement| statement.device).collect::<Vec<_>>(), [0, 2]);
    // 128^3 * 16 steps in 30 s are a million a second; 2.3 s for the vectors are less than a quarter of it.
    for statement in statements {
        assert_eq!((statement.provider, statement.height, statement.checker), (OWNER, 100, CHECKER));
        assert_eq!(
            statement.bands.throughput.map(crate::band::Band::at_least),
            Some(1).filter(|_| statement.device == 0)
        );
        assert_eq!(statement.bands.memory.map(crate::band::Band::at_least), Some(1));
    }
    let bytes = honest.published.encode();
    assert_eq!(Published::decode(&bytes).as_ref(), Ok(&honest.published));
    let trailing = [bytes.clone(), vec![0]].concat();
    assert_eq!(Published::decode(&trailing), Err(Error::TrailingBytes(1)));
    assert!(matches!(Published::decode(&bytes[1..]), Err(Error::Rlp(_))));
    let got_bytes = PUBLISHED_BYTES_MAX + 1;
    assert_eq!(Published::decode(&vec![0; got_bytes]), Err(Error::TooLong { got_bytes }));
}

#[test]
fn published_rounds_with_wrong_lists_are_refused() {
    let published = honest(100, &[device(1)]).published;
    let with = |devices: Vec<PublishedDevice>| Published::decode(&Published { devices, ..published.clone() }.encode());
    assert_eq!(with(Vec::new()), Err(Error::Devices { count: 0 }));
    assert_eq!(with(vec![device(1), device(1)]), Err(Error::Devices { count: 2 }));
    assert_eq!(with(vec![device(2), device(1)]), Err(Error::Devices { count: 2 }));
    let many: Vec<PublishedDevice> = (0..=DEVICES_MAX as u8).map(device).collect();
    assert!(with(many[1..].to_vec()).is_ok());
    assert_eq!(with(many), Err(Error::Devices { count: DEVICES_MAX + 1 }));
    let mut odd = published.clone();
    odd.devices[0].side = 100;
    assert!(matches!(check(&odd, &honest(100, &[device(1)]).facts, CHECKER), Err(Error::Shape { device: 1, .. })));
}

#[test]
fn attack_fake_gpu_that_claims_more_memory_than_it_fills() {
    let mut fake = honest(100, &[device(1)]);
    fake.published.devices[0].memory_mib = 2;
    assert_eq!(fake.check(), Err(Error::Memory { device: 1, filled_bytes: 1 << 20, claimed_mib: 2 }));
    // Four fifths are enough, one word less is not.
    let four_fifths = PublishedDevice { memory_mib: 5, side: 1_024, links: 1, ..device(1) };
    let published = Published { devices: vec![four_fifths.clone()], ..fake.published };
    assert!(published.challenges(round(100)).is_ok());
    let less = Published { devices: vec![PublishedDevice { memory_mib: 6, ..four_fifths }], ..published };
    assert!(matches!(less.challenges(round(100)), Err(Error::Memory { .. })));
}

#[test]
fn attack_one_card_for_many_needs_the_sum_of_the_times() {
    let mut shared = honest(100, &[device(1), device(2)]);
    // Each device claims what the card can do alone: 33 s. The second one is ready when both are.
    let deadline_ms = shared.published.challenges(round(100)).unwrap()[1].deadline_ms;
    assert_eq!(deadline_ms, 33_555 + 16_777 + GRACE_MS);
    shared.facts.recorded[1].root_ms = CHALLENGE_MS + 2 * 33_555;
    assert_eq!(shared.fault(), verify::Error::Late { took_ms: 67_110, deadline_ms });
}

#[test]
fn attack_one_memory_for_many_devices_one_after_the_other() {
    let mut shared = honest(100, &[device(1), device(2)]);
    // The vectors of both are made of what comes after the last root. Those of the first, made before, are of another value.
    assert_eq!(vectors_height([110, 120]), Some(121));
    assert_eq!(rows_height([123, 124]), Some(125));
    shared.facts.recorded[0].vectors_block = 112;
    assert_eq!(shared.check(), Err(Error::Order { device: 1, block: 112, after: 121 }));
    let mut early = honest(100, &[device(1), device(2)]);
    let vectors = early.provers[0].vectors(beacon(111));
    early.facts.recorded[0].vectors_root = vectors_root(&vectors);
    let mut bytes = Vec::new();
    early.provers[0].open(&vectors, early.facts.rows_beacon).encode(&mut bytes);
    early.published.devices[0].answer = bytes.into();
    assert!(matches!(early.fault(), verify::Error::Vector { .. }));
}

#[test]
fn attack_precomputed_answer_of_another_challenge() {
    let earlier = honest(99, &[device(1)]);
    let mut replayed = honest(100, &[device(1)]);
    // The same words, committed and opened as if they were this challenge's.
    replayed.provers = earlier.provers;
    replayed.facts.recorded[0].root = replayed.provers[0].root();
    replayed.answer();
    assert!(matches!(
        replayed.fault(),
        verify::Error::OtherRows { .. } | verify::Error::Vector { .. } | verify::Error::Product { .. }
    ));
    // A root that was recorded before the challenge was known.
    let mut before = honest(100, &[device(1)]);
    before.facts.recorded[0].root_block = 100;
    assert_eq!(before.check(), Err(Error::Order { device: 1, block: 100, after: 100 }));
    // Another owner's round.
    let mut stolen = honest(100, &[device(1)]);
    stolen.published.provider = Address::repeat_byte(8);
    assert!(stolen.check().is_err());
}

#[test]
fn attack_late_root_and_late_vectors() {
    let mut late = honest(100, &[device(1)]);
    let challenge: Challenge = late.published.challenges(round(100)).unwrap()[0];
    late.facts.recorded[0].root_ms = CHALLENGE_MS + challenge.deadline_ms;
    assert!(late.check().is_ok());
    late.facts.recorded[0].root_ms += 1;
    assert!(matches!(late.fault(), verify::Error::Late { .. }));
    let mut late = honest(100, &[device(1)]);
    late.facts.recorded[0].vectors_ms = late.facts.vectors_from_ms + challenge.shape.vectors_deadline_ms();
    assert!(late.check().is_ok());
    late.facts.recorded[0].vectors_ms += 1;
    assert!(matches!(late.fault(), verify::Error::LateVectors { .. }));
}

#[test]
fn attack_withheld_device_or_answer() {
    let mut withheld = honest(100, &[device(1), device(2)]);
    withheld.facts.recorded[1].vectors_root = B256::ZERO;
    assert_eq!(withheld.check(), Err(Error::NotRecorded { device: 2 }));
    withheld.facts.recorded.pop();
    assert_eq!(withheld.check(), Err(Error::NotRecorded { device: 2 }));
    let mut empty = honest(100, &[device(1)]);
    empty.published.devices[0].answer = Vec::new().into();
    assert!(matches!(empty.fault(), verify::Error::Rlp(_)));
    // A flood is refused by its length, before it is read.
    let mut flood = honest(100, &[device(1)]);
    flood.published.devices[0].answer = vec![0; 4 << 20].into();
    assert!(matches!(flood.fault(), verify::Error::TooLong { .. }));
}

#[test]
fn attack_rows_that_differ_from_the_product() {
    let mut cheat = honest(100, &[device(1)]);
    let challenge = cheat.published.challenges(round(100)).unwrap()[0];
    let mut matrices = Prover::new(challenge).matrices;
    for matrix in &mut matrices {
        for row in matrix.chunks_exact_mut(128).step_by(10) {
            row[3] = row[3].wrapping_add(1);
        }
    }
    cheat.provers = vec![Prover::holding(challenge, matrices)];
    cheat.facts.recorded[0].root = cheat.provers[0].root();
    cheat.answer();
    // 10 % of all rows, 128 draws: missed in one of 700,000 rounds.
    assert!(matches!(cheat.fault(), verify::Error::Product { .. } | verify::Error::Vector { .. }));
}

fn statement(device: u8, height: u64, checker: Address, throughput: u64) -> Proved {
    let bands = crate::band::Bands { throughput: crate::band::Band::of(throughput), ..Default::default() };
    let challenge = beacon(height + u64::from(device));
    Proved::checked(Statement { provider: OWNER, device, challenge, height, time_s: height, bands, checker })
}

#[test]
fn attack_statement_of_nobodys_seat_and_replay_of_an_old_one() {
    let seated: Vec<Address> = (1..=9).map(Address::repeat_byte).collect();
    let draw = CheckerDraw::new(OWNER, beacon(2_000));
    let drawn = checkers(OWNER, draw.places(9).map(|place| seated[place as usize]));
    assert_eq!(drawn.len(), 3);
    let stranger = seated.iter().find(|account| !drawn.contains(account)).copied().unwrap();
    let among = |account: Address| drawn.contains(&account);
    let trust = |oldest_s| Trust { chain_id: 1, checkers: &among, oldest_s };
    let entry = Attested { statement: *statement(1, 100, stranger, 40).statement(), signature: FixedBytes::ZERO };
    assert!(matches!(entry.prove(OWNER, trust(0)), Err(crate::record::NotProved::NotTrusted { .. })));
    let old = Attested { statement: *statement(1, 100, drawn[0], 40).statement(), signature: FixedBytes::ZERO };
    assert!(matches!(old.prove(OWNER, trust(101)), Err(crate::record::NotProved::TooOld { .. })));
    assert!(matches!(old.prove(OWNER, trust(100)), Err(crate::record::NotProved::Signature { .. })));
}

#[test]
fn attack_one_colluding_checker_is_not_enough_and_the_lowest_of_agreeing_ones_counts() {
    let [a, b, c] = [1, 2, 3].map(Address::repeat_byte);
    let lie = statement(1, 100, a, 1 << 40);
    assert!(agreed(&[lie], quorum(3)).is_empty());
    assert!(agreed(&[lie, lie], quorum(3)).is_empty(), "the same checker twice is one");
    let honest = [statement(1, 100, b, 40), statement(1, 100, c, 41)];
    let both = agreed(&[lie, honest[0], honest[1]], quorum(3));
    assert_eq!(both[0].statement().bands, honest[0].statement().bands);
    // Statements of an older challenge do not help a newer one.
    assert!(agreed(&[statement(1, 100, a, 40), statement(1, 200, b, 40)], quorum(3)).is_empty());
    assert_eq!(agreed(&[statement(1, 100, a, 40)], quorum(1)).len(), 1);
}
