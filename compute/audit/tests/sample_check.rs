//! The sample check through its public API: honest and faulty deliveries, and the detection rate of the "Done when 5".
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // A test: a panic is a failure.

use keystead_audit::{
    Answer, Check, Delivery, Evidence, Rejection, Report, SampleRule, Seed, Task, Verdict, Why, detection, judge::task,
};
use keystead_job::{
    B256, Checker, Class, JobSpec, Limits, Runtime, Tolerance, blob_hash,
    check::{Bound, Element},
    commitment::{Secret, Tree},
    spec::{Draft, RecipeName},
    trace::Trace,
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

fn check(outputs: &[B256], rule: SampleRule, seed: Seed, rerun: impl FnMut(Task) -> Answer) -> Report {
    let (spec, secret) = (spec(Class::Exact), Secret::new([9; 32]));
    // The provider commits to what it delivers; the lie is inside the outputs.
    let commitment = if outputs.is_empty() { B256::ZERO } else { Tree::new(&secret, outputs).unwrap().root() };
    let mut rerun = rerun;
    Check::new(
        Delivery {
            spec: &spec,
            units: spec.unit_count,
            commitment,
            secret: &secret,
            output_hashes: outputs,
            traces: &[],
        },
        rule,
        seed,
    )
    .run(&mut rerun)
}

fn seed(number: u32) -> Seed {
    Seed(blob_hash(&number.to_be_bytes()).0)
}

#[test]
fn an_honest_delivery_is_accepted_for_every_seed_with_the_exact_numbers() {
    for number in 0..200 {
        let report = check(&honest(), SampleRule::START, seed(number), |task| Answer::output(right(task.unit())));
        let expected = Report { verdict: Verdict::Accepted, unit_count: 64, sampled: 10, right: 10, rate_ppm: 30_000 };
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
            let report = check(&outputs, rule, seed(number), |task| Answer::output(right(task.unit())));
            match report.verdict {
                Verdict::Accepted => assert_eq!(report.right, units_min),
                Verdict::Rejected(Rejection::Unit {
                    unit,
                    segment: 0,
                    evidence: Evidence::Differs { expected, got },
                }) => {
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
        let report = check(&outputs, rule, seed(altered), |task| Answer::output(right(task.unit())));
        assert!(matches!(report.verdict, Verdict::Rejected(Rejection::Unit { unit, .. }) if unit == altered));
    }
}

#[test]
fn a_unit_that_cannot_be_re_run_is_inconclusive_and_never_a_rejection() {
    let report = check(&honest(), SampleRule::START, seed(1), |_| Answer::NotRun("no adapter".to_owned()));
    let Verdict::Inconclusive(Why::NotRun { count: 10, reason, .. }) = &report.verdict else {
        panic!("{report:?}");
    };
    assert_eq!((reason.as_str(), report.right, report.sampled), ("no adapter", 0, 10));

    let mut calls = 0;
    let report = check(&honest(), SampleRule::START, seed(1), |task| {
        calls += 1;
        if calls == 1 { Answer::NotRun("timeout".to_owned()) } else { Answer::output(right(task.unit())) }
    });
    assert!(matches!(report.verdict, Verdict::Inconclusive(Why::NotRun { count: 1, .. })), "{report:?}");
    assert_eq!(report.right, 9);
}

#[test]
fn a_wrong_unit_is_rejected_even_if_others_could_not_be_re_run() {
    let outputs = vec![B256::ZERO; UNITS as usize];
    let mut calls = 0;
    let report = check(&outputs, SampleRule::START, seed(1), |task| {
        calls += 1;
        if calls < 10 { Answer::NotRun("timeout".to_owned()) } else { Answer::output(right(task.unit())) }
    });
    assert!(matches!(report.verdict, Verdict::Rejected(Rejection::Unit { .. })), "{report:?}");
}

#[test]
fn an_output_where_the_program_ends_with_an_error_is_rejected() {
    let report = check(&honest(), SampleRule::START, seed(3), |_| Answer::JobError(-7));
    assert!(
        matches!(
            report.verdict,
            Verdict::Rejected(Rejection::Unit { evidence: Evidence::NoOutput { code: -7, .. }, .. })
        ),
        "{report:?}"
    );
}

#[test]
fn a_delivery_that_does_not_open_the_commitment_is_rejected_without_a_re_run() {
    let (spec, secret, outputs) = (spec(Class::Exact), Secret::new([9; 32]), honest());
    let commitment = Tree::new(&secret, &outputs).unwrap().root();
    let mut changed = outputs.clone();
    changed[63] = blob_hash(b"made after the sample was known");
    let other_secret = Secret::new([8; 32]);
    for (secret, outputs) in [(&secret, &changed), (&other_secret, &outputs)] {
        let delivery =
            Delivery { spec: &spec, units: spec.unit_count, commitment, secret, output_hashes: outputs, traces: &[] };
        let report = Check::new(delivery, SampleRule::START, seed(0)).run(&mut |_| panic!("nothing is to be run"));
        assert!(matches!(report.verdict, Verdict::Rejected(Rejection::Commitment { .. })), "{report:?}");
    }
    for count in [0, 63] {
        let report = check(&outputs[..count], SampleRule::START, seed(0), |_| panic!("nothing is to be run"));
        assert_eq!(report.verdict, Verdict::Rejected(Rejection::OutputCount { got: count, expected: 64 }));
    }
}

/// Of an order that was stopped the provider commits to its first units, and to nothing of the others.
#[test]
fn a_part_is_checked_as_a_whole_of_its_own() {
    const PART: u32 = 5;
    let (spec, secret, outputs) = (spec(Class::Exact), Secret::new([9; 32]), honest());
    let part = &outputs[..PART as usize];
    let commitment = Tree::new(&secret, part).unwrap().root();
    let whole = Delivery { spec: &spec, units: UNITS, commitment, secret: &secret, output_hashes: part, traces: &[] };
    let delivery = Delivery { units: PART, ..whole };
    let every = SampleRule { rate_ppm: 1_000_000, units_min: 1 };
    let mut asked = Vec::new();
    let report = Check::new(delivery, every, seed(0)).run(&mut |task: Task| {
        asked.push(task.unit());
        Answer::output(right(task.unit()))
    });
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2, 3, 4]);
    assert_eq!(report.verdict, Verdict::Accepted);
    assert_eq!((report.unit_count, report.sampled, report.right), (PART, PART, PART));
    let few = SampleRule { rate_ppm: 0, units_min: 1 };
    for number in 0..50 {
        assert!(Check::new(delivery, few, seed(number)).tasks().iter().all(|task| task.unit() < PART));
    }
    // As many as were committed to, neither more nor fewer, and those.
    let verdict = |delivery| Check::new(delivery, every, seed(0)).run(&mut |_| panic!("nothing is to be run")).verdict;
    let wrong_count = |got, expected| Verdict::Rejected(Rejection::OutputCount { got, expected });
    assert_eq!(verdict(whole), wrong_count(5, UNITS));
    assert_eq!(verdict(Delivery { units: 4, ..delivery }), wrong_count(5, 4));
    let others = Delivery { output_hashes: &outputs[1..=PART as usize], ..delivery };
    assert!(matches!(verdict(others), Verdict::Rejected(Rejection::Commitment { .. })));
}

#[test]
fn classes_without_a_check_are_inconclusive_without_a_run() {
    for class in [Class::Statistical, Class::Opaque] {
        let (spec, secret, outputs) = (spec(class), Secret::new([9; 32]), honest());
        let delivery = Delivery {
            spec: &spec,
            units: spec.unit_count,
            commitment: B256::ZERO,
            secret: &secret,
            output_hashes: &outputs,
            traces: &[],
        };
        let report = Check::new(delivery, SampleRule::START, seed(0)).run(&mut |_| panic!("nothing is to be run"));
        assert_eq!(report.verdict, Verdict::Inconclusive(Why::Class(class)));
    }
}

/// The attack: a cheap model writes the text, the model that was ordered reads it once (a *pre-fill*) and proves that it did. What it writes down for the
/// cheap text is as right as for its own, so no re-run of the reading tells them apart. So nothing of such a class is ever called right, wrong or verified:
/// no draw asks for a check, and a customer that looks at every unit learns of the honest text and of the cheap one alike that nobody can say.
#[test]
fn pre_fill_attack_on_language_models() {
    let ordered = honest();
    let cheap: Vec<B256> = (0..UNITS).map(|unit| blob_hash(&[b"cheap ".as_slice(), &right(unit)].concat())).collect();
    let every = SampleRule { units_min: UNITS, rate_ppm: 1_000_000 };
    for class in [Class::Statistical, Class::Opaque] {
        let (spec, secret) = (spec(class), Secret::new([9; 32]));
        for unit in 0..UNITS {
            assert_eq!(task(&spec, unit, 0, [7; 32]), None, "a drawn checker has nothing to run");
        }
        for outputs in [&ordered, &cheap] {
            let delivery = Delivery {
                spec: &spec,
                units: UNITS,
                commitment: Tree::new(&secret, outputs).unwrap().root(),
                secret: &secret,
                output_hashes: outputs,
                traces: &[],
            };
            let report = Check::new(delivery, every, seed(0)).run(&mut |_| panic!("nothing is to be run"));
            assert_eq!(report.verdict, Verdict::Inconclusive(Why::Class(class)));
        }
    }
    // The other side of the edge: where a check exists, the same two deliveries are told apart.
    let told = |outputs: &[B256]| check(outputs, every, seed(0), |task| Answer::output(right(task.unit()))).verdict;
    assert_eq!(told(&ordered), Verdict::Accepted);
    assert!(matches!(told(&cheap), Verdict::Rejected(_)));
}

/// Checks a job of `class` whose commitment is that of `outputs`.
fn check_class(class: Class, outputs: &[B256], mut rerun: impl FnMut(Task) -> Answer) -> Report {
    let (spec, secret) = (spec(class), Secret::new([9; 32]));
    let commitment = Tree::new(&secret, outputs).unwrap().root();
    let delivery = Delivery {
        spec: &spec,
        units: spec.unit_count,
        commitment,
        secret: &secret,
        output_hashes: outputs,
        traces: &[],
    };
    Check::new(delivery, SampleRule::START, seed(5)).run(&mut rerun)
}

#[test]
fn a_self_checking_job_is_checked_unit_by_unit_with_the_seed() {
    let mut asked = Vec::new();
    let report = check_class(Class::SelfChecking, &honest(), |task| {
        let Task::Checker { unit, seed: given } = task else { panic!("{task:?}") };
        assert_eq!(given, seed(5).0);
        asked.push(unit);
        Answer::output(vec![0])
    });
    asked.sort_unstable();
    assert_eq!(asked, (0..UNITS).collect::<Vec<u32>>());
    assert_eq!((report.verdict, report.right, report.rate_ppm), (Verdict::Accepted, 64, 1_000_000));

    let says = |bytes: Vec<u8>| {
        check_class(Class::SelfChecking, &honest(), move |task| {
            Answer::output(if task.unit() == 33 { bytes.clone() } else { vec![0] })
        })
        .verdict
    };
    let wrong = Rejection::Unit { unit: 33, segment: 0, evidence: Evidence::Checker };
    assert_eq!(says(vec![1]), Verdict::Rejected(wrong));
    for nothing in [vec![], vec![2], vec![0, 0], vec![1, 1]] {
        assert!(matches!(says(nothing), Verdict::Inconclusive(Why::NotRun { unit: 33, count: 1, .. })));
    }
    let report = check_class(Class::SelfChecking, &honest(), |_| Answer::JobError(-1));
    assert!(matches!(report.verdict, Verdict::Inconclusive(_)), "a checker's own error is no evidence: {report:?}");
}

#[test]
fn a_tolerant_job_weighs_the_delivered_bytes_against_the_re_run() {
    // The spec's bound is 0 with factor 1, so the middle verdict needs another bound; it has its own test in `tolerance`.
    let delivered = |unit: u32| (f64::from(unit) * 2.0).to_le_bytes().to_vec();
    let outputs: Vec<B256> = (0..UNITS).map(|unit| blob_hash(&delivered(unit))).collect();
    let with = |rerun: fn(f64) -> f64, given: fn(Vec<u8>) -> Option<Vec<u8>>| {
        check_class(Class::Tolerance, &outputs, move |task| {
            let bytes = rerun(f64::from(task.unit()) * 2.0).to_le_bytes().to_vec();
            Answer::Output { bytes, delivered: given(delivered(task.unit())) }
        })
        .verdict
    };
    assert_eq!(with(|x| x, |_| None), Verdict::Accepted, "equal bytes need no comparison");
    let Verdict::Rejected(Rejection::Unit { evidence: Evidence::Beyond(worst), .. }) = with(|x| x + 1.0, Some) else {
        panic!()
    };
    assert_eq!((worst.element, worst.expected - worst.got), (0, 1.0));
    assert!(matches!(with(|x| x + 1.0, |_| None), Verdict::Inconclusive(Why::NotRun { count: 10, .. })));
    assert!(matches!(with(|x| x + 1.0, |_| Some(vec![0; 8])), Verdict::Inconclusive(_)), "other bytes than committed");
    assert!(matches!(with(|_| 0.0, |_| Some(Vec::new())), Verdict::Inconclusive(_)));
}

const SEGMENTS: u32 = 12;

/// The state of a unit after a segment, of a job that adds the unit's number again and again.
fn state(unit: u32, segment: u32) -> Vec<u8> {
    (u64::from(unit) * u64::from(segment + 1)).to_le_bytes().to_vec()
}

fn traces() -> Vec<Trace> {
    let states = |unit| (0..SEGMENTS).map(|segment| blob_hash(&state(unit, segment))).collect();
    (0..UNITS).map(|unit| Trace::new(states(unit)).unwrap()).collect()
}

fn check_segments(traces: &[Trace], outputs: &[B256], number: u32, mut rerun: impl FnMut(Task) -> Answer) -> Report {
    let draft = Draft { segment_count: SEGMENTS, ..Draft::from(spec(Class::Exact)) };
    let (spec, secret) = (JobSpec::new(draft).unwrap(), Secret::new([9; 32]));
    let results: Vec<B256> = traces.iter().map(Trace::result).collect();
    let commitment = Tree::new(&secret, &results).unwrap().root();
    let delivery =
        Delivery { spec: &spec, units: spec.unit_count, commitment, secret: &secret, output_hashes: outputs, traces };
    let mut check = Check::new(delivery, SampleRule::START, seed(number));
    while let Some(task) = check.pending() {
        let Task::Rerun { unit, segment } = task else { panic!("{task:?}") };
        let before = segment.checked_sub(1).map(|before| traces[unit as usize].states()[before as usize]);
        assert_eq!(check.state_before(task), before);
        check.record(task, rerun(task)).unwrap();
    }
    check.report().unwrap()
}

#[test]
fn one_segment_of_each_sampled_unit_is_run_from_the_committed_state_before_it() {
    let (traces, outputs) = (traces(), traces().iter().map(Trace::output).collect::<Vec<B256>>());
    let honest = |task: Task| match task {
        Task::Rerun { unit, segment } => Answer::output(state(unit, segment)),
        Task::Checker { .. } => panic!("{task:?}"),
    };
    let mut segments = std::collections::BTreeSet::new();
    for number in 0..20 {
        let report = check_segments(&traces, &outputs, number, |task| {
            segments.extend(if let Task::Rerun { segment, .. } = task { Some(segment) } else { None });
            honest(task)
        });
        assert_eq!((report.verdict, report.right), (Verdict::Accepted, 10));
    }
    assert_eq!(segments.len(), SEGMENTS as usize, "200 draws touch each of the segments");

    // A unit that is wrong from segment 5 on is found when a segment is drawn in which the error begins; only there.
    let forged: Vec<Trace> = (0..UNITS)
        .map(|unit| {
            let states = (0..SEGMENTS)
                .map(|segment| blob_hash(&if segment < 5 { state(unit, segment) } else { b"forged".to_vec() }));
            Trace::new(states.collect()).unwrap()
        })
        .collect();
    let outputs: Vec<B256> = forged.iter().map(Trace::output).collect();
    let report = check_segments(&forged, &outputs, 1, honest);
    let Verdict::Rejected(Rejection::Unit { segment, evidence: Evidence::Differs { got, .. }, .. }) = report.verdict
    else {
        panic!("{report:?}")
    };
    assert!((5..SEGMENTS).contains(&segment));
    assert_eq!(got, blob_hash(b"forged"));
}

#[test]
fn states_that_do_not_belong_to_the_outputs_are_rejected_without_a_run() {
    let (good, outputs) = (traces(), traces().iter().map(Trace::output).collect::<Vec<B256>>());
    let nothing = |_: Task| panic!("nothing is to be run");
    let mut other_outputs = outputs.clone();
    other_outputs[7] = blob_hash(b"other");
    let short: Vec<Trace> = good.iter().map(|trace| Trace::new(trace.states()[1..].to_vec()).unwrap()).collect();
    for (traces, outputs, unit) in
        [(&good[..], &other_outputs, 7), (&good[..40], &outputs, 40), (&short[..], &outputs, 0)]
    {
        let report = check_segments(traces, outputs, 0, nothing);
        assert_eq!(report.verdict, Verdict::Rejected(Rejection::Trace { unit }));
    }
}

/// A canary: its customer knows that it is wrong, whatever a run of it says.
#[test]
fn a_unit_that_is_passed_over_is_in_no_sample_and_rejects_nothing() {
    let (secret, mut outputs) = (Secret::new([9; 32]), honest());
    outputs[7] = blob_hash(b"wrong on purpose");
    let commitment = Tree::new(&secret, &outputs).unwrap().root();
    for (class, all) in [(Class::Exact, 64), (Class::SelfChecking, 64)] {
        let spec = spec(class);
        let delivery = Delivery {
            spec: &spec,
            units: spec.unit_count,
            commitment,
            secret: &secret,
            output_hashes: &outputs,
            traces: &[],
        };
        let every = SampleRule { rate_ppm: 1_000_000, units_min: 1 };
        let report = Check::new(delivery, every, seed(0)).without(7).run(&mut |task: Task| {
            assert_ne!(task.unit(), 7);
            Answer::output(if class == Class::Exact { right(task.unit()) } else { vec![0] })
        });
        assert_eq!((report.verdict, report.sampled, report.right), (Verdict::Accepted, all - 1, all - 1));
        assert_eq!(report.unit_count, all);
    }
    // A sample of one unit is never empty for it, and one without it stays as it is.
    let spec = spec(Class::Exact);
    let delivery = Delivery {
        spec: &spec,
        units: spec.unit_count,
        commitment,
        secret: &secret,
        output_hashes: &outputs,
        traces: &[],
    };
    for number in 0..200 {
        let draw = || Check::new(delivery, SampleRule { rate_ppm: 0, units_min: 1 }, seed(number));
        let drawn = draw().tasks()[0].unit();
        let expected = if drawn == 7 { 8 } else { drawn };
        assert_eq!(draw().without(7).tasks(), [Task::Rerun { unit: expected, segment: 0 }]);
        assert_eq!(draw().without(drawn).tasks(), [Task::Rerun { unit: (drawn + 1) % UNITS, segment: 0 }]);
    }
}

#[test]
fn answers_for_units_that_are_not_pending_are_not_taken() {
    let (spec, secret, outputs) = (spec(Class::Exact), Secret::new([9; 32]), honest());
    let commitment = Tree::new(&secret, &outputs).unwrap().root();
    let delivery = Delivery {
        spec: &spec,
        units: spec.unit_count,
        commitment,
        secret: &secret,
        output_hashes: &outputs,
        traces: &[],
    };
    let mut check = Check::new(delivery, SampleRule { rate_ppm: 0, units_min: 1 }, seed(0));
    let pending = check.pending().unwrap();
    for unit in [(pending.unit() + 1) % UNITS, UNITS, u32::MAX] {
        let other = Task::Rerun { unit, segment: 0 };
        assert!(check.record(other, Answer::output(right(unit))).is_err());
    }
    let other = Task::Checker { unit: pending.unit(), seed: [0; 32] };
    assert!(check.record(other, Answer::output(vec![0])).is_err());
    assert_eq!(check.report(), None);
    check.record(pending, Answer::output(right(pending.unit()))).unwrap();
    assert_eq!(check.report().unwrap().verdict, Verdict::Accepted);
    assert_eq!(check.record(pending, Answer::JobError(-1)).unwrap_err().pending, None);
}
