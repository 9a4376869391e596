//! Provers that cheat in every way that the memory, the time and the draw leave them, and how often each is caught.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests: a panic is a failure, and numbers are small"
)]

use super::{
    arithmetic::{dot, mix, seeded_row, to_bytes},
    challenge::{Challenge, Device, GRACE_MS, LINKS_MAX, Round, SIDE_MAX, Shape, ShapeError, deadline_ms},
    prover::{Answer, Matrix, Prover, seeded, square},
    verify::{Committed, Error, Times, Verified, answer_bytes_max, prove_all, read_answer, verify},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Encodable;

const SIDE: u32 = 32;
const LINKS: u32 = 3;
const TIMES: Times = Times { root_ms: 40, vectors_ms: 10, answer_ms: 20 };

fn beacon(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

fn challenge(device: u8, opened: u32, round: u64) -> Challenge {
    let shape = Shape::new(SIDE, LINKS).unwrap();
    let (height, time_s, provider) = (100 + round, 1_000, Address::repeat_byte(7));
    Challenge {
        chain_id: 19_283,
        height,
        time_s,
        beacon: beacon(round),
        provider,
        device,
        shape,
        opened,
        deadline_ms: 50,
    }
}

/// Plays the rounds after the first commitment.
fn play(prover: &Prover, beacons: u64) -> (Committed, Vec<Vec<u32>>) {
    let vector_beacon = beacon(beacons.wrapping_mul(2).wrapping_add(1 << 40));
    let vectors = prover.vectors(vector_beacon);
    let rows_beacon = beacon(beacons.wrapping_mul(2).wrapping_add(1 << 41));
    (
        Committed { root: prover.root(), vector_beacon, vectors_root: Prover::vectors_root(&vectors), rows_beacon },
        vectors,
    )
}

fn outcome(challenge: &Challenge, prover: &Prover, beacons: u64) -> Result<Verified, Error> {
    let (committed, vectors) = play(prover, beacons);
    verify(challenge, committed, &prover.open(&vectors, committed.rows_beacon), TIMES)
}

/// The chain of an honest prover, with every result changed by `cheat` before the next product uses it.
fn chain(challenge: &Challenge, mut cheat: impl FnMut(u32, &mut Matrix)) -> Prover {
    let mut matrices: Vec<Matrix> = Vec::new();
    for link in 0..LINKS {
        let factor = matrices.last().map_or_else(|| seeded(challenge), |last| last.iter().copied().map(mix).collect());
        let mut result = square(&factor, SIDE as usize);
        cheat(link, &mut result);
        matrices.push(result);
    }
    Prover::holding(*challenge, matrices)
}

#[test]
fn an_honest_answer_is_verified_and_survives_its_encoding() {
    for round in 0..20 {
        let challenge = challenge(1, 64, round);
        let prover = Prover::new(challenge);
        let (committed, vectors) = play(&prover, round);
        let answer = prover.open(&vectors, committed.rows_beacon);
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        assert_eq!(read_answer(&challenge, &bytes).as_ref(), Ok(&answer));
        bytes.push(0);
        assert_eq!(read_answer(&challenge, &bytes), Err(Error::TrailingBytes(1)));
        assert!(matches!(read_answer(&challenge, &bytes[1..]), Err(Error::Rlp(_))));
        let max_bytes = answer_bytes_max(&challenge);
        bytes.resize(max_bytes + 1, 0);
        assert_eq!(read_answer(&challenge, &bytes), Err(Error::TooLong { got_bytes: max_bytes + 1, max_bytes }));
        let verified = verify(&challenge, committed, &answer, TIMES).unwrap();
        // 3 * 32^3 steps in 40 ms are 2 million a second; 12 KiB are less than a MiB.
        assert_eq!(verified.bands().throughput.unwrap().at_least(), 2);
        assert_eq!(verified.bands().memory, None);
        assert_eq!(verified.bands().bandwidth, None, "too few bytes to say");
    }
}

/// Share of rounds in which a prover is caught, and the three sigma around what the formula says.
fn assert_rate(name: &str, rounds: u64, expected: f64, caught: u64) {
    let (rate, n) = (caught as f64 / rounds as f64, rounds as f64);
    let sigma = (expected * (1.0 - expected) / n).sqrt();
    assert!((rate - expected).abs() <= 3.0 * sigma, "{name}: caught {rate}, formula {expected} +- {sigma}");
}

#[test]
fn a_prover_that_makes_up_a_share_of_the_rows_is_caught_at_the_rate_of_the_formula() {
    const OPENED: u32 = 8;
    const ROUNDS: u64 = 400;
    for (wrong, per_word) in [(4usize, false), (8, false), (16, true)] {
        let challenge = challenge(1, OPENED, 1);
        let prover = chain(&challenge, |_, result| {
            for (row, words) in result.chunks_exact_mut(SIDE as usize).enumerate().take(wrong) {
                // A made-up row, or one that is right but for one word.
                let made_up = seeded_row(&[9; 8], row as u32, SIDE);
                words[0] = words[0].wrapping_add(12_345);
                if !per_word {
                    words.copy_from_slice(&made_up);
                }
            }
        });
        let caught = (0..ROUNDS).filter(|round| outcome(&challenge, &prover, *round).is_err()).count() as u64;
        let share = wrong as f64 / f64::from(SIDE);
        assert_rate("made up", ROUNDS, 1.0 - (1.0 - share).powi(OPENED as i32), caught);
    }
}

#[test]
fn an_error_in_the_highest_bit_alone_hides_from_half_of_the_vectors_and_no_more() {
    const OPENED: u32 = 4;
    const ROUNDS: u64 = 400;
    let challenge = challenge(1, OPENED, 2);
    let prover = chain(&challenge, |_, result| {
        for words in result.chunks_exact_mut(SIDE as usize).take(8) {
            words[5] ^= 1 << 31;
        }
    });
    // One word of a vector decides for all rows of a matrix at once, so sum over the matrices' even and odd words.
    let caught = (0..ROUNDS).filter(|round| outcome(&challenge, &prover, *round).is_err()).count() as u64;
    let visible = |odd: u32| f64::from(odd) * 8.0 / f64::from(SIDE * LINKS);
    let ways = [1.0, 3.0, 3.0, 1.0];
    let missed: f64 = (0..=LINKS).map(|odd| ways[odd as usize] / 8.0 * (1.0 - visible(odd)).powi(OPENED as i32)).sum();
    assert_rate("highest bit", ROUNDS, 1.0 - missed, caught);
}

#[test]
fn a_prover_that_skipped_a_product_or_kept_too_little_is_caught() {
    let challenge = challenge(1, 64, 3);
    let skipped = chain(&challenge, |link, result| {
        if link == 1 {
            result.fill(0);
        }
    });
    assert!(matches!(outcome(&challenge, &skipped, 1), Err(Error::Product { link: 1, .. })));
    // It committed to all, then lost a matrix, and opens zeros where it had words.
    let mut lost = Prover::new(challenge);
    let (committed, vectors) = play(&lost, 2);
    lost.matrices[1].fill(0);
    let answer = lost.open(&vectors, committed.rows_beacon);
    assert!(matches!(verify(&challenge, committed, &answer, TIMES), Err(Error::RowPath { .. })));
    // Or it lost it before it had to multiply it.
    let vectors = lost.vectors(committed.vector_beacon);
    let committed = Committed { vectors_root: Prover::vectors_root(&vectors), ..committed };
    assert!(verify(&challenge, committed, &lost.open(&vectors, committed.rows_beacon), TIMES).is_err());
}

#[test]
fn a_prover_that_dropped_the_last_matrix_cannot_make_its_vector_though_it_can_make_every_row_again() {
    let challenge = challenge(1, 64, 8);
    let honest = Prover::new(challenge);
    let (committed, mut vectors) = play(&honest, 1);
    // Each row of the last result takes only side^2 steps, so it can open them all; the vector takes all rows.
    vectors[LINKS as usize] = vec![0; SIDE as usize];
    let committed = Committed { vectors_root: Prover::vectors_root(&vectors), ..committed };
    let outcome = verify(&challenge, committed, &honest.open(&vectors, committed.rows_beacon), TIMES);
    assert!(matches!(outcome, Err(Error::Vector { link: LINKS, .. })), "{outcome:?}");
}

#[test]
fn memory_counts_only_if_the_vectors_came_too_soon_to_make_the_matrices_again() {
    let shape = Shape::new(512, 1).unwrap();
    let challenge = Challenge { shape, deadline_ms: 60_000, ..challenge(1, 2, 9) };
    let prover = Prover::new(challenge);
    let (committed, vectors) = play(&prover, 1);
    let answer = prover.open(&vectors, committed.rows_beacon);
    let at = |vectors_ms| verify(&challenge, committed, &answer, Times { root_ms: 4_000, vectors_ms, answer_ms: 1 });
    assert_eq!(at(1_000).unwrap().bands().memory.unwrap().at_least(), 1, "512 * 512 words are a MiB");
    assert_eq!(at(1_001).unwrap().bands().memory, None);
    let deadline_ms = shape.vectors_deadline_ms();
    assert!(at(deadline_ms).is_ok());
    assert_eq!(at(deadline_ms + 1), Err(Error::LateVectors { took_ms: deadline_ms + 1, deadline_ms }));
}

#[test]
fn vectors_that_are_made_to_fit_a_wrong_row_fit_no_other_row() {
    let challenge = challenge(1, 8, 4);
    let prover = chain(&challenge, |link, result| {
        if link == 0 {
            result[0] = result[0].wrapping_add(77);
        }
    });
    let (honest, mut vectors) = play(&prover, 1);
    // Knowing the vector, it changes one word of the product so that the wrong row 0 passes.
    let vector = seeded_row(&challenge.vector_key(prover.root(), honest.vector_beacon), 0, SIDE);
    let factor = seeded_row(&challenge.key(), 0, SIDE);
    let gap = dot(&prover.matrices[0][..SIDE as usize], &vector).wrapping_sub(dot(&factor, &vectors[0]));
    let odd = factor.iter().position(|word| word % 2 == 1).unwrap();
    let inverse = (0..5).fold(factor[odd], |x, _| x.wrapping_mul(2u32.wrapping_sub(factor[odd].wrapping_mul(x))));
    vectors[0][odd] = vectors[0][odd].wrapping_add(gap.wrapping_mul(inverse));
    assert_eq!(dot(&factor, &vectors[0]), dot(&prover.matrices[0][..SIDE as usize], &vector), "row 0 fits now");
    let committed = Committed { vectors_root: Prover::vectors_root(&vectors), ..honest };
    let caught = (0..50u64).filter(|round| {
        let committed = Committed { rows_beacon: beacon(1_000 + round), ..committed };
        verify(&challenge, committed, &prover.open(&vectors, committed.rows_beacon), TIMES).is_err()
    });
    // It passes only if no row of the first product is drawn: (2/3)^8 = 4 %.
    assert!(caught.count() >= 42);
}

#[test]
fn an_answer_for_another_device_or_of_another_round_proves_nothing() {
    let (mine, other, earlier) = (challenge(1, 64, 5), challenge(2, 64, 5), challenge(1, 64, 4));
    for foreign in [other, earlier] {
        let prover = Prover::new(foreign);
        // It tells the truth about another challenge, or draws as this one does: both are caught.
        assert!(outcome(&mine, &prover, 1).is_err());
        let (committed, vectors) = play(&prover, 1);
        let as_mine = Prover::holding(mine, prover.matrices.clone());
        assert!(verify(&mine, committed, &as_mine.open(&vectors, committed.rows_beacon), TIMES).is_err());
        assert!(outcome(&mine, &as_mine, 1).is_err());
    }
    // An answer to earlier draws does not fit the next ones.
    let prover = Prover::new(mine);
    let (committed, vectors) = play(&prover, 1);
    let answer = prover.open(&vectors, committed.rows_beacon);
    let later = Committed { rows_beacon: beacon(99), ..committed };
    assert!(matches!(verify(&mine, later, &answer, TIMES), Err(Error::OtherRows { .. })));
}

#[test]
fn one_late_or_missing_device_leaves_the_whole_owner_without_a_proof() {
    let shape = Shape::new(SIDE, LINKS).unwrap();
    let devices = [1, 2, 3].map(|device| Device { provider: Address::repeat_byte(7), device, shape, mop_per_s: 1 });
    let round = Round { chain_id: 1, height: 9, time_s: 10, beacon: beacon(9) };
    let challenges = Challenge::for_owner(round, &devices);
    let answers: Vec<Verified> =
        challenges.iter().map(|challenge| outcome(challenge, &Prover::new(*challenge), 1).unwrap()).collect();
    let checker = Address::repeat_byte(9);
    let proved = prove_all(&challenges, &answers, checker).unwrap();
    assert_eq!(proved.len(), 3);
    assert_eq!(proved[1].statement().device, 2);
    assert_eq!(proved[1].statement().checker, checker);
    let missing = Error::Missing { provider: Address::repeat_byte(7), device: 2 };
    assert_eq!(prove_all(&challenges, &[answers[0], answers[2]], checker), Err(missing.clone()));
    // One card for two: the same answer twice is not an answer for the second.
    assert_eq!(prove_all(&challenges, &[answers[0], answers[0], answers[2]], checker), Err(missing));
    let mixed = [challenges[0], Challenge { beacon: beacon(8), ..challenges[1] }];
    assert_eq!(prove_all(&mixed, &answers, checker), Err(Error::OtherRound { got: 9, expected: 9 }));

    let first = challenges[0];
    let prover = Prover::new(first);
    let (committed, vectors) = play(&prover, 1);
    let answer = prover.open(&vectors, committed.rows_beacon);
    let at = |root_ms| verify(&first, committed, &answer, Times { root_ms, ..TIMES });
    assert!(at(first.deadline_ms).is_ok());
    let (took_ms, deadline_ms) = (first.deadline_ms + 1, first.deadline_ms);
    assert_eq!(at(took_ms), Err(Error::Late { took_ms, deadline_ms }));
}

#[test]
fn hostile_answers_are_refused_before_any_arithmetic() {
    let challenge = challenge(1, 8, 6);
    let prover = Prover::new(challenge);
    let (committed, vectors) = play(&prover, 1);
    let good = prover.open(&vectors, committed.rows_beacon);
    let with = |change: &dyn Fn(&mut Answer)| {
        let mut answer = good.clone();
        change(&mut answer);
        verify(&challenge, committed, &answer, TIMES)
    };
    assert!(with(&|_| ()).is_ok());
    assert!(matches!(with(&|answer| answer.rows.clear()), Err(Error::OtherRows { got: 0, .. })));
    assert!(matches!(with(&|answer| answer.rows.reverse()), Err(Error::OtherRows { .. })));
    assert!(matches!(with(&|answer| answer.rows.push(answer.rows[0].clone())), Err(Error::OtherRows { .. })));
    assert!(matches!(with(&|answer| answer.vectors.clear()), Err(Error::OtherVectors { got: 0, .. })));
    assert!(matches!(with(&|answer| answer.rows[0].bytes = vec![0; 4].into()), Err(Error::Length { got: 4, .. })));
    assert!(matches!(with(&|answer| answer.vectors[0].bytes = vec![0; 1 << 20].into()), Err(Error::Length { .. })));
    assert!(matches!(with(&|answer| answer.rows[0].path.push(B256::ZERO)), Err(Error::RowPath { .. })));
    assert!(matches!(with(&|answer| answer.rows[0].path.clear()), Err(Error::RowPath { .. })));
    assert!(matches!(with(&|answer| answer.rows[0].path = vec![B256::ZERO; 1 << 12]), Err(Error::RowPath { .. })));
    assert!(matches!(with(&|answer| answer.vectors[0].path.clear()), Err(Error::VectorPath { .. })));
    let words = to_bytes(&[1; SIDE as usize]);
    assert!(matches!(with(&|answer| answer.vectors[0].bytes = words.clone().into()), Err(Error::VectorPath { .. })));
}

#[test]
fn shapes_fill_four_fifths_and_keep_to_bindings_and_bounds() {
    for (memory, binding) in
        [(8u64 << 30, 128u64 << 20), (24 << 30, u64::MAX), (1 << 20, 1 << 20), (80 << 30, 2 << 30), (1 << 40, 1 << 30)]
    {
        let shape = Shape::filling(memory, binding).unwrap();
        assert!(shape.memory_bytes() >= memory - memory / 5, "{memory} {shape:?}");
        assert!(shape.memory_bytes() / u64::from(shape.links()) <= binding);
        assert!(shape.memory_bytes() <= memory.max(2048), "{memory} {shape:?}");
    }
    assert_eq!(Shape::filling(8 << 30, 1_023), Err(ShapeError::Binding(1_023)));
    assert!(matches!(Shape::filling(1 << 60, u64::MAX), Err(ShapeError::Links { .. })));
    assert!(Shape::new(SIDE_MAX, LINKS_MAX).is_ok());
    assert_eq!(Shape::new(SIDE_MAX * 2, 1), Err(ShapeError::Side(SIDE_MAX * 2)));
    assert_eq!(Shape::new(48, 1), Err(ShapeError::Side(48)));
    assert_eq!(Shape::new(16, 0), Err(ShapeError::Links { got: 0 }));
    assert_eq!(Shape::new(SIDE_MAX, LINKS_MAX).unwrap().rows(), 1 << 27);
    // A claim of 1,000 million a second for 2^30 * 2 steps: 2.1 s, half as much again, and the grace.
    let shape = Shape::new(1_024, 2).unwrap();
    assert_eq!(deadline_ms(shape, 1_000), 2_148 + 1_074 + GRACE_MS);
    assert!(deadline_ms(shape, 0) > deadline_ms(shape, u64::MAX));
}

#[test]
fn the_draw_is_even_and_bound_to_every_input() {
    let challenge = challenge(1, 200, 7);
    let draw = |root, vectors, beacon| challenge.draw(root, vectors, beacon);
    let (a, b) = (beacon(1), beacon(2));
    let drawn = draw(a, a, a);
    assert_eq!(drawn.len(), 200);
    assert!(drawn.iter().all(|(link, row)| *link < LINKS && *row < SIDE));
    for other in [draw(b, a, a), draw(a, b, a), draw(a, a, b)] {
        assert_ne!(other, drawn);
    }
    let mut counts = [0u32; (SIDE * LINKS) as usize];
    for round in 0..480u64 {
        for (link, row) in draw(a, a, B256::from(U256::from(round))) {
            counts[(link * SIDE + row) as usize] += 1;
        }
    }
    // 1,000 expected for each of 96 rows: five sigma.
    assert!(counts.iter().all(|count| count.abs_diff(1_000) < 160), "{counts:?}");
}
