//! Certificates of maps that prove nothing: one for each thing that is looked at, by a file written by hand and by the composer.

use crate::{
    audited::{LATER_MS, account, key},
    map::{convicted, exact, judge, redone, wrong},
    map_plan::{Channel, Plan, Window, channel, plan, state, window},
    network::{Chain, Network, World, address},
};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use keystead_proof::{
    AUDIT_ADDRESS, BUNDLE_BYTES_MAX, CHANNEL_ADDRESS, JsonError, MAP_BYTES_MAX, MapCertificate, MapError, MapFault,
    MapParts, ParseError, PathError, Reason, Verdict, channel_slots, channel_window_slots, verify,
};

/// A file that proves nothing, and the step at which this is found.
pub(crate) struct Refusal {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) step: u8,
}

const fn refusal(step: u8, name: &'static str, text: String) -> Refusal {
    Refusal { name, text, step }
}

/// The file about a changed map in the world of that map.
fn of(mut plan: Plan, change: impl FnOnce(&mut Plan)) -> String {
    change(&mut plan);
    plan.file(&plan.chain())
}

/// The file about a changed map in the world as it was.
fn beside(plan: &Plan, change: impl FnOnce(&mut Plan)) -> String {
    let chain = plan.chain();
    let mut changed = plan.clone();
    change(&mut changed);
    changed.file(&chain)
}

fn first(plan: &mut Plan) -> &mut Channel {
    &mut plan.channels[0]
}

fn window_of(plan: &mut Plan) -> &mut Window {
    &mut plan.channels[0].windows[0]
}

/// What a file says, with nodes of the world changed by `change`.
fn with_word(change: impl FnOnce(&mut World, &Plan)) -> String {
    let plan = exact();
    let mut world = plan.world();
    change(&mut world, &plan);
    plan.file(&Chain::with(world, 1))
}

/// The chain holds something else than the file needs.
fn other_chains() -> Vec<Refusal> {
    vec![
        refusal(7, "channel-of-another-job", of(exact(), |plan| first(plan).job_hash = Some(keccak256("job")))),
        refusal(7, "channel-of-another-customer", of(exact(), |plan| first(plan).customer = account(&key(2)))),
        refusal(7, "channels-of-two-customers", of(exact(), |plan| plan.channels[1].customer = account(&key(2)))),
        refusal(7, "channel-not-audited", of(exact(), |plan| first(plan).audited = 0)),
        refusal(7, "no-channel", of(exact(), |plan| first(plan).status = 0)),
        refusal(7, "window-left-out", of(exact(), |plan| first(plan).announced = Some(2))),
        refusal(7, "window-private", of(exact(), |plan| window_of(plan).named = keccak256("named"))),
        refusal(7, "window-of-another-class", of(exact(), |plan| window_of(plan).class = 3)),
        refusal(7, "window-of-two-segments", of(exact(), |plan| window_of(plan).segments = 2)),
        refusal(7, "window-of-another-provider", of(exact(), |plan| window_of(plan).provider = Some(address(9)))),
        refusal(7, "window-of-another-customer", of(exact(), |plan| window_of(plan).customer = Some(address(9)))),
        refusal(7, "no-window", of(exact(), |plan| window_of(plan).status = 0)),
        refusal(7, "step-of-no-unit", of(exact(), |plan| window_of(plan).steps[1].unit = 4)),
        refusal(7, "step-of-no-segment", of(exact(), |plan| window_of(plan).steps[1].segment = 1)),
        refusal(
            7,
            "steps-that-lead-elsewhere",
            of(exact(), |plan| *window_of(plan) = wrong(window(&[(0, 0), (1, 0)]), 1)),
        ),
        refusal(7, "inputs-of-another-job", of(exact(), |plan| plan.inputs.swap(0, 1))),
        refusal(7, "result-that-no-step-gave", of(exact(), |plan| plan.results[3] = state(7, 7))),
        refusal(7, "signed-by-another", of(exact(), |plan| plan.signer = 2)),
        refusal(4, "channel-status-unknown", of(exact(), |plan| first(plan).status = 6)),
        refusal(4, "channel-audited-unknown", of(exact(), |plan| first(plan).audited = 2)),
        refusal(4, "window-status-unknown", of(exact(), |plan| window_of(plan).status = 4)),
        refusal(
            4,
            "channel-bit-outside",
            with_word(|world, plan| {
                let slot = channel_slots(plan.channels[0].id)[1].into();
                let word = world.word(CHANNEL_ADDRESS, slot) | (U256::ONE << 224);
                world.put(CHANNEL_ADDRESS, slot, word);
            }),
        ),
        refusal(
            4,
            "bond-bit-outside",
            with_word(|world, plan| {
                let slot = channel_slots(plan.channels[1].id)[5].into();
                let word = world.word(CHANNEL_ADDRESS, slot) | (U256::ONE << 128);
                world.put(CHANNEL_ADDRESS, slot, word);
            }),
        ),
        refusal(
            4,
            "window-bit-outside",
            with_word(|world, _| {
                let slot = channel_window_slots(1, 1)[4].into();
                let word = world.word(AUDIT_ADDRESS, slot) | (U256::ONE << 32);
                world.put(AUDIT_ADDRESS, slot, word);
            }),
        ),
    ]
}

/// The file holds something else than the chain.
fn other_files() -> Vec<Refusal> {
    let good = exact();
    let chain = good.chain();
    let nodes: Vec<Bytes> = good.nodes(&chain.world).into_values().collect();
    let unused = chain.world.account_path(address(1)).last().unwrap().clone();
    let mut fewer = nodes.clone();
    fewer.remove(nodes.len() / 2);
    let mut twice = nodes.clone();
    twice.insert(1, nodes[0].clone());
    let mut disordered = nodes.clone();
    disordered.swap(2, 3);
    let with = |nodes: &[Bytes]| good.file_with(&chain, nodes);
    let plus = |node: Bytes| {
        let mut more = nodes.clone();
        more.push(node);
        more.sort_by_key(|node| keccak256(node));
        with(&more)
    };
    vec![
        refusal(7, "steps-swapped", beside(&good, |plan| window_of(plan).steps.swap(0, 1))),
        refusal(
            7,
            "step-left-out",
            beside(&good, |plan| {
                let window = window_of(plan);
                window.steps.pop();
                window.results.pop();
            }),
        ),
        refusal(
            7,
            "result-of-a-step-changed",
            beside(&good, |plan| *window_of(plan) = wrong(window(&[(0, 0), (1, 0)]), 0)),
        ),
        refusal(7, "another-secret", beside(&good, |plan| window_of(plan).secret = B256::ZERO)),
        refusal(
            7,
            "convicted-window-made-up",
            beside(&redone_and_kept(), |plan| window_of(plan).results[0] = state(0, 1)),
        ),
        refusal(7, "window-never-announced", beside(&good, |plan| first(plan).windows.push(window(&[(0, 0)])))),
        refusal(4, "node-unused", plus(unused)),
        refusal(4, "node-of-1024-bytes", plus(Bytes::from(vec![0_u8; 1_024]))),
        refusal(1, "node-of-1025-bytes", plus(Bytes::from(vec![0_u8; 1_025]))),
        refusal(1, "node-of-no-bytes", plus(Bytes::new())),
        refusal(4, "node-missing", with(&fewer)),
        refusal(1, "node-twice", with(&twice)),
        refusal(1, "nodes-not-in-order", with(&disordered)),
        refusal(1, "no-nodes", with(&[])),
        refusal(1, "channels-not-in-order", beside(&good, |plan| plan.channels.reverse())),
        refusal(1, "channel-twice", beside(&good, |plan| plan.channels[1] = plan.channels[0].clone())),
        refusal(1, "no-channels", beside(&good, |plan| plan.channels.clear())),
        refusal(1, "an-input-short", beside(&good, |plan| plan.inputs.truncate(3))),
        refusal(1, "a-result-too-many", beside(&good, |plan| plan.results.push(state(4, 1)))),
        refusal(1, "a-step-without-result", beside(&good, |plan| window_of(plan).results.truncate(1))),
    ]
}

fn redone_and_kept() -> Plan {
    let mut plan = redone();
    window_of(&mut plan).is_kept = true;
    plan
}

pub(crate) fn refusals() -> Vec<Refusal> {
    other_chains().into_iter().chain(other_files()).collect()
}

#[test]
fn what_does_not_belong_together_proves_nothing() {
    let key = Network::new(1).key();
    for Refusal { name, text, step } in refusals() {
        let report = judge(&text, &key);
        assert_eq!((report.verdict.name(), report.step().number()), ("not proved", step), "{name}: {report}");
        assert!(report.meaning.is_empty(), "{name}");
    }
}

/// What the composer says of a changed map in its own world.
fn composed(mut plan: Plan, change: impl FnOnce(&mut Plan)) -> MapError {
    change(&mut plan);
    let mut headers = Vec::new();
    MapCertificate::new(plan.parts(&plan.chain(), &mut headers)).unwrap_err()
}

fn fault(error: MapError) -> MapFault {
    match error {
        MapError::Unfit(Reason::Map(fault)) => *fault,
        other => panic!("{other}"),
    }
}

#[test]
fn the_composer_says_what_does_not_fit() {
    let (channel, window) = (exact().channels[0].id, 1);
    let said = fault(composed(exact(), |plan| plan.signer = 2));
    assert_eq!(said, MapFault::Signature { customer: account(&key(1)) });
    let said = fault(composed(exact(), |plan| window_of(plan).named = keccak256("named")));
    assert_eq!(said, MapFault::Private { channel, window });
    let said = fault(composed(exact(), |plan| first(plan).announced = Some(2)));
    let (got, expected) = ("2".to_owned(), "1".to_owned());
    assert_eq!(said, MapFault::Channel { channel, what: "number of windows", got, expected });
    let said = fault(composed(exact(), |plan| window_of(plan).steps[1].unit = 4));
    assert_eq!(said, MapFault::Step { channel, window, step: 1, unit: 4, segment: 0 });
    let said = fault(composed(exact(), |plan| plan.results[3] = state(7, 7)));
    assert_eq!(said, MapFault::Result { unit: 3, got: state(3, 1), expected: state(7, 7) });
    let said = composed(exact(), |plan| plan.channels.clear());
    assert!(matches!(said, MapError::Form(ParseError::Form { field: "channels", .. })), "{said}");
    // No job, and nodes of another block.
    let (one, other) = (exact(), redone());
    let mut headers = Vec::new();
    let mut parts = one.parts(&one.chain(), &mut headers);
    parts.nodes = other.nodes(&other.world()).into_values().collect();
    let jobless = MapParts { job_bytes: Bytes::from_static(&[0xc0]), ..parts.clone() };
    let said = MapCertificate::new(jobless).unwrap_err();
    assert!(matches!(said, MapError::Form(ParseError::Form { field: "job", .. })), "{said}");
    let said = MapCertificate::new(parts).unwrap_err();
    let missing = matches!(&said, MapError::Unfit(Reason::Path { source: PathError::Missing { .. }, .. }));
    assert!(missing && said.to_string().contains("account 0x4b53"), "{said}");
}

#[test]
fn only_a_map_may_be_longer_than_a_bundle() {
    let key = Network::new(1).key();
    let padded = |text: &str, bytes: usize| {
        let mut text = text.to_owned();
        text.extend(std::iter::repeat_n(' ', bytes - text.len()));
        text
    };
    let (plan, chain) = (exact(), Chain::sample());
    let text = plan.file(&plan.chain());
    assert_eq!(judge(&padded(&text, BUNDLE_BYTES_MAX + 1), &key).verdict, Verdict::Proved);
    assert_eq!(judge(&padded(&text, MAP_BYTES_MAX), &key).verdict, Verdict::Proved);
    let too_large = |got_bytes, max_bytes| {
        Verdict::NotProved(Reason::Parse(ParseError::Json(JsonError::TooLarge { got_bytes, max_bytes })))
    };
    let longer = padded(&text, MAP_BYTES_MAX + 1);
    assert_eq!(judge(&longer, &key).verdict, too_large(MAP_BYTES_MAX + 1, MAP_BYTES_MAX));
    let bundle = chain.bundle(chain.world.order_claim(42, 7)).to_json();
    assert_eq!(judge(&padded(&bundle, BUNDLE_BYTES_MAX), &key).verdict, Verdict::Proved);
    let longer = padded(&bundle, BUNDLE_BYTES_MAX + 1);
    assert_eq!(judge(&longer, &key).verdict, too_large(BUNDLE_BYTES_MAX + 1, BUNDLE_BYTES_MAX));
}

#[test]
fn a_job_has_so_many_steps_and_no_more() {
    let key = Network::new(1).key();
    let of = |segments| plan(1, 65_535, segments, vec![channel(1, Vec::new())]);
    let most = of(16);
    let report = judge(&most.file(&most.chain()), &key);
    assert_eq!(report.verdict, Verdict::Proved, "{report}");
    assert_eq!(report.map.map(|map| map.steps), Some(1_048_560));
    let more = of(17);
    let report = judge(&more.file(&more.chain()), &key);
    let Verdict::NotProved(Reason::Parse(ParseError::Form { field, want })) = &report.verdict else {
        panic!("{report}")
    };
    assert_eq!((*field, *want), ("job", "a job of at most 1048576 steps"));
}

/// What is read is found wrong later: channels and windows that no node leads to, steps that were not announced.
#[test]
fn as_much_as_there_may_be_is_read_and_one_more_is_not() {
    let key = Network::new(1).key();
    let good = exact();
    let chain = good.chain();
    let nodes: Vec<Bytes> = good.nodes(&chain.world).into_values().collect();
    let step = |plan: &Plan, nodes: &[Bytes]| judge(&plan.file_with(&chain, nodes), &key).step().number();
    let channels = |count: u64| {
        let empty = |number: u64| Channel { id: U256::from(number).into(), ..channel(1, Vec::new()) };
        step(&Plan { channels: (0..count).map(empty).collect(), ..good.clone() }, &nodes)
    };
    assert_eq!((channels(1_024), channels(1_025)), (4, 1));
    let windows = |count: usize| {
        let mut plan = good.clone();
        let lost = Window { is_kept: false, ..window(&[(0, 0)]) };
        plan.channels.iter_mut().for_each(|channel| channel.windows = vec![lost.clone(); count]);
        step(&plan, &nodes)
    };
    // The nodes that are there show that these are not.
    assert_eq!((windows(2_048), windows(2_049)), (7, 1));
    let steps = |count: usize| {
        let mut plan = good.clone();
        let window = window_of(&mut plan);
        window.steps = vec![window.steps[0]; count];
        window.results = vec![window.results[0]; count];
        step(&plan, &nodes)
    };
    assert_eq!((steps(65_536), steps(65_537)), (7, 1));
    let pool = |count: u32| {
        let mut nodes: Vec<Bytes> = (0..count).map(|node| Bytes::copy_from_slice(&node.to_be_bytes())).collect();
        nodes.sort_by_cached_key(|node| keccak256(node));
        step(&good, &nodes)
    };
    assert_eq!((pool(65_536), pool(65_537)), (4, 1));
}

#[test]
fn a_random_byte_in_a_good_map_never_proves_anything() {
    let key = Network::new(1).key();
    let plan = redone_and_kept();
    let text = plan.file(&plan.chain());
    assert_eq!(judge(&text, &key).verdict, Verdict::Proved);
    let mut seed = 7u64;
    for _ in 0..3_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = text.clone().into_bytes();
        let at = (seed >> 33) as usize % bytes.len();
        bytes[at] = (seed >> 24) as u8;
        let report = verify(&bytes, &key, LATER_MS, None);
        assert!(bytes == text.as_bytes() || report.verdict != Verdict::Proved, "byte {at}: {report}");
    }
}

/// Steps in any order and in any windows, some of them left out: what is covered is counted a second time, unit by unit.
#[test]
fn steps_are_followed_wherever_they_stand() {
    let key = Network::new(1).key();
    let mut seed = 11u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..20 {
        let (units, segments) = (1 + random(4) as u32, 1 + random(3) as u32);
        // A third of the windows is convicted; a step may stand in several.
        let mut placed: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 4];
        for step in (0..units).flat_map(|unit| (0..segments).map(move |segment| (unit, segment))) {
            for _ in 0..random(3) {
                placed[random(4) as usize].push(step);
            }
        }
        let is_lost = placed.iter().map(|_| random(3) == 0).collect::<Vec<bool>>();
        let channels = (1..).zip(placed.iter().zip(&is_lost)).filter(|(_, (steps, _))| !steps.is_empty());
        let mut channels: Vec<Channel> = channels
            .map(|(number, (steps, is_lost))| {
                let window = window(steps);
                channel(number, vec![if *is_lost { convicted(window) } else { window }])
            })
            .collect();
        if channels.is_empty() {
            channels.push(channel(1, Vec::new()));
        }
        let stands = |step: (u32, u32)| placed.iter().zip(&is_lost).any(|(steps, lost)| !lost && steps.contains(&step));
        let covered: usize =
            (0..units).map(|unit| (0..segments).take_while(|segment| stands((unit, *segment))).count()).sum();
        let plan = plan(1, units, segments, channels);
        let report = judge(&plan.file(&plan.chain()), &key);
        assert_eq!(report.verdict, Verdict::Proved, "round {round}: {report}");
        let begins = format!("{covered} of {} steps stand in ", units * segments);
        assert!(report.meaning[1].starts_with(&begins), "round {round}: {begins}: {report}");
    }
}
