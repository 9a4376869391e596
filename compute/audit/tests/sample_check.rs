//! The sample check through its public API: honest and faulty deliveries, and the detection rate of the "Done when 5".
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // A test: a panic is a failure.

use keystead_audit::{Answer, Check, Delivery, Rejection, Report, SampleRule, Seed, Verdict, Why, detection};
use keystead_job::{
    B256, Checker, Class, JobSpec, Limits, Runtime, Tolerance, blob_hash,
    check::{Bound, Element},
    commitment::{Secret, Tree},
    spec::{Draft, RecipeName},
};

const UNITS: u32 = 64;

const TOLERANCE: Tolerance =
    Tolerance { element: Element::F64, absolute: Bound::ZERO, relative: Bound::ZERO, outliers_ppm: 0, sound_factor: 1 };

fn spec(class: Class) -> JobSpec {
    JobSpec::new(Draft {
        recipe: RecipeName::new("square").unwrap(),
        runtime: Runtime::Wasm1,
        class,
        program_hash: B256::ZERO,
        common_hash: B256::ZERO,
        units_hash: B256::ZERO,
        unit_count: UNITS,
        segment_count: 1,
        limits: Limits {
            wall_ms_max: 1,
            fuel_max: 1,
            memory_bytes_max: 65_536,
            output_bytes_max: 8,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        },
        checker: (class == Class::SelfChecking).then_some(Checker { program_hash: B256::repeat_byte(1), fuel_max: 1 }),
        tolerance: (class == Class::Tolerance).then_some(TOLERANCE),
    })
    .unwrap()
}

/// The job's function: every honest party computes this.
fn right(unit: u32) -> Vec<u8> {
    (u64::from(unit) * u64::from(unit)).to_le_bytes().to_vec()
}

fn honest() -> Vec<B256> {
    (0..UNITS).map(|unit| blob_hash(&right(unit))).collect()
}

fn check(outputs: &[B256], rule: SampleRule, seed: Seed, rerun: impl FnMut(u32) -> Answer) -> Report {
    let (spec, secret) = (spec(Class::Exact), Secret::new([9; 32]));
    // The provider commits to what it delivers; the lie is inside the outputs.
    let commitment = if outputs.is_empty() { B256::ZERO } else { Tree::new(&secret, outputs).unwrap().root() };
    let mut rerun = rerun;
    Check::new(Delivery { spec: &spec, commitment, secret: &secret, output_hashes: outputs }, rule, seed)
        .run(&mut rerun)
}

fn seed(number: u32) -> Seed {
    Seed(blob_hash(&number.to_be_bytes()).0)
}

#[test]
fn an_honest_delivery_is_accepted_for_every_seed_with_the_exact_numbers() {
    for number in 0..200 {
        let report = check(&honest(), SampleRule::START, seed(number), |unit| Answer::Output(right(unit)));
        let expected = Report { verdict: Verdict::Accepted, unit_count: 64, sampled: 10, equal: 10, rate_ppm: 30_000 };
        assert_eq!(report, expected, "seed {number}");
    }
}

#[test]
fn one_altered_unit_of_64_is_detected_as_often_as_the_formula_says() {
    // Goal: the "Done when 5". 200 seeds choose the altered unit and the sample; the count is binomial with the formula's p.
    for units_min in [4, 10, 32] {
        let rule = SampleRule { rate_ppm: 0, units_min };
        let mut detected = 0u32;
        for number in 0u32..200 {
            let altered =
                u32::from_be_bytes(blob_hash(&[&[1][..], &number.to_be_bytes()].concat())[..4].try_into().unwrap())
                    % UNITS;
            let mut outputs = honest();
            outputs[altered as usize] = blob_hash(b"cheaper");
            let report = check(&outputs, rule, seed(number), |unit| Answer::Output(right(unit)));
            match report.verdict {
                Verdict::Accepted => assert_eq!(report.equal, units_min),
                Verdict::Rejected(Rejection::Unit { unit, expected, got }) => {
                    assert_eq!((unit, expected, got), (altered, blob_hash(&right(altered)), blob_hash(b"cheaper")));
                    detected += 1;
                }
                other => panic!("seed {number}: {other:?}"),
            }
        }
        let p = detection::probability(UNITS, 1, units_min);
        let (mean, sigma) = (200.0 * p, (200.0 * p * (1.0 - p)).sqrt());
        assert!((f64::from(detected) - mean).abs() <= 3.0 * sigma, "s={units_min}: {detected} of 200, expected {mean}");
    }
}

#[test]
fn a_whole_sample_finds_any_altered_unit() {
    for altered in 0..UNITS {
        let mut outputs = honest();
        outputs[altered as usize] = B256::ZERO;
        let rule = SampleRule { rate_ppm: 1_000_000, units_min: 0 };
        let report = check(&outputs, rule, seed(altered), |unit| Answer::Output(right(unit)));
        assert!(matches!(report.verdict, Verdict::Rejected(Rejection::Unit { unit, .. }) if unit == altered));
    }
}

#[test]
fn a_unit_that_cannot_be_re_run_is_inconclusive_and_never_a_rejection() {
    let report = check(&honest(), SampleRule::START, seed(1), |_| Answer::NotRun("no adapter".to_owned()));
    let Verdict::Inconclusive(Why::NotRun { count: 10, reason, .. }) = &report.verdict else {
        panic!("{report:?}");
    };
    assert_eq!((reason.as_str(), report.equal, report.sampled), ("no adapter", 0, 10));

    let mut calls = 0;
    let report = check(&honest(), SampleRule::START, seed(1), |unit| {
        calls += 1;
        if calls == 1 { Answer::NotRun("timeout".to_owned()) } else { Answer::Output(right(unit)) }
    });
    assert!(matches!(report.verdict, Verdict::Inconclusive(Why::NotRun { count: 1, .. })), "{report:?}");
    assert_eq!(report.equal, 9);
}

#[test]
fn a_wrong_unit_is_rejected_even_if_others_could_not_be_re_run() {
    let outputs = vec![B256::ZERO; UNITS as usize];
    let mut calls = 0;
    let report = check(&outputs, SampleRule::START, seed(1), |unit| {
        calls += 1;
        if calls < 10 { Answer::NotRun("timeout".to_owned()) } else { Answer::Output(right(unit)) }
    });
    assert!(matches!(report.verdict, Verdict::Rejected(Rejection::Unit { .. })), "{report:?}");
}

#[test]
fn an_output_where_the_program_ends_with_an_error_is_rejected() {
    let report = check(&honest(), SampleRule::START, seed(3), |_| Answer::JobError(-7));
    assert!(matches!(report.verdict, Verdict::Rejected(Rejection::UnitHasNoOutput { code: -7, .. })), "{report:?}");
}

#[test]
fn a_delivery_that_does_not_open_the_commitment_is_rejected_without_a_re_run() {
    let (spec, secret, outputs) = (spec(Class::Exact), Secret::new([9; 32]), honest());
    let commitment = Tree::new(&secret, &outputs).unwrap().root();
    let mut changed = outputs.clone();
    changed[63] = blob_hash(b"made after the sample was known");
    let other_secret = Secret::new([8; 32]);
    for (secret, outputs) in [(&secret, &changed), (&other_secret, &outputs)] {
        let delivery = Delivery { spec: &spec, commitment, secret, output_hashes: outputs };
        let report = Check::new(delivery, SampleRule::START, seed(0)).run(&mut |_| panic!("nothing is to be run"));
        assert!(matches!(report.verdict, Verdict::Rejected(Rejection::Commitment { .. })), "{report:?}");
    }
    for count in [0, 63] {
        let report = check(&outputs[..count], SampleRule::START, seed(0), |_| panic!("nothing is to be run"));
        assert_eq!(report.verdict, Verdict::Rejected(Rejection::OutputCount { got: count, expected: 64 }));
    }
}

#[test]
fn other_classes_are_inconclusive() {
    let (spec, secret, outputs) = (spec(Class::Tolerance), Secret::new([9; 32]), honest());
    let delivery = Delivery { spec: &spec, commitment: B256::ZERO, secret: &secret, output_hashes: &outputs };
    let report = Check::new(delivery, SampleRule::START, seed(0)).run(&mut |_| panic!("nothing is to be run"));
    assert_eq!(report.verdict, Verdict::Inconclusive(Why::Class(Class::Tolerance)));
}

#[test]
fn answers_for_units_that_are_not_pending_are_not_taken() {
    let (spec, secret, outputs) = (spec(Class::Exact), Secret::new([9; 32]), honest());
    let commitment = Tree::new(&secret, &outputs).unwrap().root();
    let delivery = Delivery { spec: &spec, commitment, secret: &secret, output_hashes: &outputs };
    let mut check = Check::new(delivery, SampleRule { rate_ppm: 0, units_min: 1 }, seed(0));
    let pending = check.pending().unwrap();
    for other in [(pending + 1) % UNITS, UNITS, u32::MAX] {
        assert!(check.record(other, Answer::Output(right(other))).is_err());
    }
    assert_eq!(check.report(), None);
    check.record(pending, Answer::Output(right(pending))).unwrap();
    assert_eq!(check.report().unwrap().verdict, Verdict::Accepted);
    assert_eq!(check.record(pending, Answer::JobError(-1)).unwrap_err().pending, None);
}
