//! Certificates of maps: the file `specs/vectors/map-certificates.json`, with all mutants of two of them, and what each means.

use crate::{
    audited::LATER_MS,
    map_plan::{Channel, Plan, SAID, Window, channel, plan, randomness, window},
    map_refusals::refusals,
    network::{BLOCK_MS, CHAIN_ID, Network},
    vectors::{Keys, check_file, mutate_file},
};
use alloy_primitives::{Address, B256, U256, hex, keccak256};
use keystead_proof::{
    CHANNEL_ADDRESS, CustomerStatement, MapCertificate, MapFacts, NamedOutput, OwnCheck, OwnFinding, Report, Results,
    Verdict, channel_slots, channel_window_slots, output_hash, verify,
};
use serde_json::{Value, json};

const EXACT: &str = "class exact: every machine gives the same bytes, or one is wrong";
const ALL_BY_THREE: &str = "one wrong step is looked at with a chance of 100 %, and found with 96.2962 % even if a third of all checkers call it right";
const BONDED: &str = "at least 12.5 KST of its provider's bond stood behind each window";
const FINAL: &str = "final in block 42";

/// A map, what is said of it, and whether its file is mutated.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    says: Vec<String>,
    mutate: bool,
}

fn case(name: &'static str, plan: Plan, says: &[&str]) -> Case {
    Case { name, plan, says: says.iter().map(|line| (*line).to_owned()).collect(), mutate: false }
}

/// The same window with the name of another state as one of its results.
pub(crate) fn wrong(mut window: Window, step: usize) -> Window {
    window.results[step] = output_hash(b"something else");
    window
}

/// A window that was found wrong.
pub(crate) fn convicted(window: Window) -> Window {
    Window { status: 3, is_convicted: true, verified: 0, ..window }
}

/// How many steps of a window its draw picks, by specs/0008-audit.md §6.
fn drawn(channel: &Channel, number: u64) -> usize {
    let window = &channel.windows[number as usize - 1];
    let channel_number = B256::from(U256::from(channel.number));
    let id = keccak256(
        [b"keystead/window/v1", CHANNEL_ADDRESS.as_slice(), channel_number.as_slice(), &number.to_be_bytes()].concat(),
    );
    let seed = keccak256([b"keystead/audit/v1", randomness().as_slice(), id.as_slice(), &[0]].concat());
    let is_drawn = |unit: &u32| {
        let hash = keccak256([seed.as_slice(), &[0], &unit.to_be_bytes()].concat());
        let word = u64::from_be_bytes(hash[..8].try_into().unwrap());
        u128::from(word) * 1_000_000 < u128::from(window.rate_ppm) << 64
    };
    (0..window.steps.len() as u32).filter(is_drawn).count()
}

/// Two providers, each half of the units.
pub(crate) fn exact() -> Plan {
    plan(1, 4, 1, vec![channel(1, vec![window(&[(0, 0), (1, 0)])]), channel(2, vec![window(&[(2, 0), (3, 0)])])])
}

/// A window convicted, and its steps done again by somebody else.
pub(crate) fn redone() -> Plan {
    let lost = Window { is_kept: false, ..convicted(wrong(window(&[(0, 0), (1, 0)]), 0)) };
    let again = vec![window(&[(0, 0), (1, 0)]), window(&[(0, 1), (1, 1)])];
    plan(1, 2, 2, vec![channel(1, vec![lost]), channel(2, again)])
}

fn whole_cases() -> Vec<Case> {
    let exact = case(
        "exact",
        exact(),
        &[
            EXACT,
            "4 of 4 steps stand in 2 audited windows of 2 providers",
            "the lot drew 4 of 4 steps; 3 machines drawn by lot for each found 4 right, and none was found wrong",
            ALL_BY_THREE,
            BONDED,
            "the customer says: it ran 2 of 4 steps again, and all of them are right",
            FINAL,
        ],
    );
    // Both units move between the providers, and one of the windows is checked less than the others.
    let lax = Window { rate_ppm: 100_000, checkers: 1, ..window(&[(0, 2)]) };
    let poor = Channel { bond_wei: 1_000_000_000_000_000_000, ..channel(1, vec![window(&[(0, 0), (1, 0)]), lax]) };
    let moving = plan(1, 2, 3, vec![poor, channel(2, vec![window(&[(0, 1), (1, 1), (1, 2)])])]);
    let found = format!(
        "the lot drew {} of 6 steps; a machine drawn by lot for each found 6 right, and none was found wrong",
        5 + drawn(&moving.channels[0], 2)
    );
    let moving = case(
        "three-segments",
        moving,
        &[
            EXACT,
            "6 of 6 steps stand in 3 audited windows of 2 providers",
            &found,
            "one wrong step is looked at with a chance of 10 %, and found with 6.6666 % even if a third of all checkers call it right",
            "at least 1 KST of its provider's bond stood behind each window",
            "the customer says: it ran 2 of 6 steps again, and all of them are right",
            FINAL,
        ],
    );
    let redo = [
        EXACT,
        "4 of 4 steps stand in 2 audited windows of 1 provider",
        "the lot drew 4 of 4 steps; 3 machines drawn by lot for each found 4 right, and none was found wrong",
        "1 other window was convicted: nothing of it counts here",
        ALL_BY_THREE,
        BONDED,
        "the customer says: it ran 2 of 4 steps again, and all of them are right",
        FINAL,
    ];
    let mut kept = redone();
    kept.channels[0].windows[0].is_kept = true;
    let mut going_on = kept.clone();
    going_on.channels[0].windows[0].status = 1;
    vec![
        Case { mutate: true, ..exact },
        moving,
        Case { mutate: true, ..case("convicted-and-redone", Plan { is_by_descendant: true, ..redone() }, &redo) },
        case("convicted-kept-and-redone", kept, &redo),
        case("convicted-while-open-and-redone", going_on, &redo),
    ]
}

fn weak_cases() -> Vec<Case> {
    let going_on = Window { status: 1, verified: 0, ..window(&[(1, 0)]) };
    let open = plan(1, 2, 1, vec![channel(1, vec![window(&[(0, 0)]), going_on])]);
    // The second unit was run to its end by the customer itself.
    let partly = plan(1, 3, 2, vec![channel(1, vec![window(&[(0, 0), (0, 1), (1, 0)])])]);
    let unchecked = Window { verified: 0, ..window(&[(0, 0), (1, 0)]) };
    let nobody = plan(1, 2, 1, vec![channel(1, vec![unchecked])]);
    vec![
        case(
            "open",
            Plan { statement: CustomerStatement::default(), ..open },
            &[
                EXACT,
                "2 of 2 steps stand in 2 audited windows of 1 provider",
                "the lot drew 2 of 2 steps; 3 machines drawn by lot for each found 1 right, and none was found wrong",
                ALL_BY_THREE,
                BONDED,
                "the customer says that it checked nothing itself",
                "not final: the audit of 1 window goes on in block 42",
            ],
        ),
        case(
            "partly-covered",
            partly,
            &[
                EXACT,
                "3 of 6 steps stand in 1 audited window of 1 provider",
                "UNVERIFIED for anybody but its customer: 3 steps stand in no audited window",
                "the lot drew 3 of 3 steps; 3 machines drawn by lot for each found 3 right, and none was found wrong",
                ALL_BY_THREE,
                BONDED,
                "the customer says: it ran 2 of 6 steps again, and all of them are right",
                FINAL,
            ],
        ),
        case(
            "nobody-checked",
            nobody,
            &[
                EXACT,
                "2 of 2 steps stand in 1 audited window of 1 provider",
                "UNVERIFIED: 2 of 2 steps were drawn, and nobody found one right",
                ALL_BY_THREE,
                BONDED,
                "the customer says: it ran 2 of 2 steps again, and all of them are right",
                FINAL,
            ],
        ),
    ]
}

fn odd_cases() -> Vec<Case> {
    let probation = |number, steps: &[(u32, u32)]| {
        let window = Window { checkers: 1, ..window(steps) };
        Channel { bond_wei: 0, ..channel(number, vec![window]) }
    };
    let probation = plan(2, 2, 1, vec![probation(1, &[(0, 0)]), probation(2, &[(1, 0)])]);
    let soft = Window { unpaid: 1, verified: 1, ..window(&[(0, 0), (1, 0)]) };
    let soft = plan(3, 2, 1, vec![channel(1, vec![soft])]);
    let looked = CustomerStatement { check: OwnCheck::Program, checked: 1, right: 1, ..SAID };
    let found = CustomerStatement { finding: OwnFinding::Wrong, right: 1, ..SAID };
    let first = vec![wrong(window(&[(0, 0)]), 0)];
    let first = plan(1, 1, 2, vec![channel(1, first), channel(2, vec![window(&[(0, 0), (0, 1)])])]);
    let nothing = Plan { statement: CustomerStatement::default(), ..plan(5, 2, 1, vec![channel(1, Vec::new())]) };
    vec![
        case(
            "probation",
            Plan { statement: looked, ..probation },
            &[
                "class self-checking: the job's own checker program tells right from wrong",
                "2 of 2 steps stand in 2 audited windows of 2 providers",
                "the lot drew 2 of 2 steps; a machine drawn by lot for each found 2 right, and none was found wrong",
                "one wrong step is looked at with a chance of 100 %, and found with 66.6666 % even if a third of all checkers call it right",
                "no bond of a provider stood behind 2 of these windows",
                "the customer says: the job's checker program looked at 1 of 2 steps, and all of them are right",
                FINAL,
            ],
        ),
        case(
            "tolerance-unpaid",
            Plan { statement: found, ..soft },
            &[
                "class tolerance: right means within the tolerance that was ordered; up to 0.1 % of the elements of each output may lie outside",
                "2 of 2 steps stand in 1 audited window of 1 provider",
                "the lot drew 2 of 2 steps; 3 machines drawn by lot for each found 1 right, and none was found wrong",
                "1 step lay outside the tolerance and is not paid",
                ALL_BY_THREE,
                BONDED,
                "the customer says: it ran 2 of 2 steps again, 1 are right, and the result is wrong",
                FINAL,
            ],
        ),
        // Of two windows over one step, neither convicted, the first in the file is the one: here it leads nowhere.
        case(
            "twice-and-different",
            first,
            &[
                EXACT,
                "1 of 2 steps stand in 1 audited window of 1 provider",
                "UNVERIFIED for anybody but its customer: 1 step stands in no audited window",
                "the lot drew 1 of 1 steps; 3 machines drawn by lot for each found 1 right, and none was found wrong",
                ALL_BY_THREE,
                BONDED,
                "the customer says: it ran 2 of 2 steps again, and all of them are right",
                FINAL,
            ],
        ),
        case(
            "opaque-without-windows",
            nothing,
            &[
                "class opaque: UNVERIFIED, there is no check for such a result",
                "0 of 2 steps stand in 0 audited windows of 0 providers",
                "UNVERIFIED for anybody but its customer: 2 steps stand in no audited window",
                "the customer says that it checked nothing itself",
                FINAL,
            ],
        ),
    ]
}

/// The same step twice: the second covers nothing, and may be the one that was found right.
fn padded_cases() -> Vec<Case> {
    let padded = |name: &'static str, found: u32, beside: &str| {
        let window = Window { verified: found, ..window(&[(0, 0), (0, 0)]) };
        let plan = Plan { statement: CustomerStatement::default(), ..plan(1, 1, 1, vec![channel(1, vec![window])]) };
        let drawn = format!(
            "the lot drew 2 of 2 steps; 3 machines drawn by lot for each found {found} right, and none was found wrong"
        );
        let says = [
            EXACT,
            "1 of 1 steps stand in 1 audited window of 1 provider",
            &drawn,
            beside,
            ALL_BY_THREE,
            BONDED,
            "the customer says that it checked nothing itself",
            FINAL,
        ];
        case(name, plan, &says)
    };
    let line = "1 step of these windows counts for nothing here and may be among those found right";
    vec![padded("step-twice", 2, line), padded("step-twice-and-one-checked", 1, &format!("UNVERIFIED: {line}"))]
}

/// Of everything that is counted more than one.
fn plural_case() -> Case {
    let lost = |step: (u32, u32)| Window { is_kept: false, ..convicted(window(&[step])) };
    let going_on = |step: (u32, u32)| Window { status: 1, unpaid: 1, ..window(&[step]) };
    let lost = channel(1, vec![lost((0, 0)), lost((1, 0))]);
    let going_on = channel(2, vec![going_on((0, 0)), going_on((1, 0))]);
    case(
        "two-of-each",
        plan(3, 2, 1, vec![lost, going_on]),
        &[
            "class tolerance: right means within the tolerance that was ordered; up to 0.1 % of the elements of each output may lie outside",
            "2 of 2 steps stand in 2 audited windows of 1 provider",
            "the lot drew 2 of 2 steps; 3 machines drawn by lot for each found 2 right, and none was found wrong",
            "2 steps lay outside the tolerance and are not paid",
            "2 other windows were convicted: nothing of them counts here",
            ALL_BY_THREE,
            BONDED,
            "the customer says: it ran 2 of 2 steps again, and all of them are right",
            "not final: the audits of 2 windows go on in block 42",
        ],
    )
}

fn cases() -> Vec<Case> {
    let more = padded_cases().into_iter().chain([plural_case()]);
    whole_cases().into_iter().chain(weak_cases()).chain(odd_cases()).chain(more).collect()
}

pub(crate) fn judge(text: &str, key: &[u8; 96]) -> Report {
    verify(text.as_bytes(), key, LATER_MS, None)
}

#[test]
fn the_committed_maps_are_what_the_code_gives_and_no_mutant_is_accepted_slow() {
    let keys = Keys { own: Network::new(1).key(), other: Network::new(2).key() };
    let cases: Vec<(Case, String)> = cases()
        .into_iter()
        .map(|case| {
            let text = case.plan.file(&case.plan.chain());
            (case, text)
        })
        .collect();
    let entries = cases.iter().map(|(case, text)| {
        let report = judge(text, &keys.own);
        assert_eq!(report.verdict.name(), "proved", "{}: {report}", case.name);
        let claim = report.about().unwrap();
        let mut entry = json!({
            "name": case.name, "file": text, "nowMs": LATER_MS, "claim": claim, "meaning": report.meaning,
        });
        if case.mutate {
            let foreign: Vec<&str> =
                cases.iter().map(|(_, other)| other.as_str()).filter(|other| other != text).collect();
            entry["mutants"] = mutate_file(case.name, text, &foreign, &keys, judge);
        }
        entry
    });
    let entries: Vec<Value> = entries.collect();
    let refused = refusals()
        .into_iter()
        .map(|refusal| json!({ "name": refusal.name, "file": refusal.text, "nowMs": LATER_MS, "step": refusal.step }));
    let file = json!({
        "about": "specs/0002-proof-bundle.md section 12; written by `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-proof`",
        "networkKey": hex::encode_prefixed(keys.own),
        "otherNetworkKey": hex::encode_prefixed(keys.other),
        "cases": entries,
        "refused": refused.collect::<Vec<Value>>(),
    });
    check_file("map-certificates.json", &file);
}

#[test]
fn what_a_map_means_is_said_in_words() {
    let key = Network::new(1).key();
    for case in cases() {
        let report = judge(&case.plan.file(&case.plan.chain()), &key);
        assert_eq!(report.verdict, Verdict::Proved, "{}: {report}", case.name);
        assert_eq!(report.meaning, case.says, "{}", case.name);
    }
}

#[test]
fn the_outputs_of_a_map_are_bound_one_by_one_and_those_that_no_window_leads_to_are_told_apart() {
    let key = Network::new(1).key();
    // The second unit stands in a window to its middle, the third in none.
    let partly = plan(1, 3, 2, vec![channel(1, vec![window(&[(0, 0), (0, 1), (1, 0)])])]);
    let report = judge(&partly.file(&partly.chain()), &key);
    let named = partly.results.iter().zip([true, false, false]);
    let named = named.map(|(name, is_covered)| NamedOutput { name: *name, is_covered }).collect();
    assert_eq!(report.results, Some(Results::Names(named)), "{report}");
    let mut found: Vec<Option<B256>> = partly.results.iter().copied().map(Some).collect();
    let comparison = report.results.as_ref().unwrap().compare(&found);
    assert_eq!((comparison.equal, comparison.uncovered, comparison.differences.len()), (3, 2, 0));
    found[0] = Some(output_hash(b"something else"));
    assert_eq!(report.results.unwrap().compare(&found).equal, 2);
    // Of what is not proved nothing is bound.
    assert_eq!(judge(&partly.file(&partly.chain()), &Network::new(2).key()).results, None);
}

#[test]
fn a_map_is_composed_as_it_is_written_by_hand_and_read_back() {
    for case in cases() {
        let (chain, mut headers) = (case.plan.chain(), Vec::new());
        let text = case.plan.file(&chain);
        let mut parts = case.plan.parts(&chain, &mut headers);
        // In another order, some twice, and with one that nothing needs.
        parts.channels.reverse();
        parts.nodes.reverse();
        let twice = parts.nodes[0].clone();
        parts.nodes.extend(chain.world.account_path(crate::network::address(1)));
        parts.nodes.push(twice);
        let map = MapCertificate::new(parts).unwrap();
        assert_eq!(map.to_json(), text, "{}", case.name);
        assert_eq!(MapCertificate::from_json(text.as_bytes()), Ok(map), "{}", case.name);
    }
}

#[test]
fn a_report_about_a_map_names_the_job_and_its_size() {
    let key = Network::new(1).key();
    let plan = redone();
    let text = plan.file(&plan.chain());
    let report = judge(&text, &key);
    let facts = MapFacts { job_hash: plan.job_hash(), block: 42, units: 2, steps: 4, channels: 2, windows: 3 };
    assert_eq!((report.map, report.claim.as_ref(), report.proved()), (Some(facts), None, None));
    let said = report.to_string();
    let about = format!(
        "claim: in block 42, the map of job {}: 2 units in 4 steps, 2 channels with 3 windows\nmeans: class exact",
        plan.job_hash()
    );
    assert!(said.starts_with("proved\n") && said.contains(&about) && said.contains("block: 42, 0x"), "{said}");
    // Under another key nothing is said but what the file is about.
    let report = judge(&text, &Network::new(2).key());
    assert_eq!((report.step().number(), report.meaning.len(), report.block), (5, 0, None), "{report}");
    assert_eq!(report.map, Some(facts));
    // A map has no greatest age but the reader's.
    let report = verify(text.as_bytes(), &key, BLOCK_MS + 10_001, Some(10_000));
    assert_eq!((report.verdict.name(), report.step().number()), ("not proved", 6), "{report}");
}

#[test]
fn the_statement_is_signed_over_what_the_spec_says() {
    let plan = exact();
    let list: Vec<u8> = plan.results.iter().flat_map(|name| name.0).collect();
    let message = [
        b"keystead/map-statement/v1".as_slice(),
        &CHAIN_ID.to_be_bytes(),
        plan.job_hash().as_slice(),
        output_hash(&list).as_slice(),
        &[1, 1, 0, 0, 0, 2, 0, 0, 0, 2],
        &30_000_u32.to_be_bytes(),
    ]
    .concat();
    let digest = MapCertificate::statement_digest(&plan.statement, CHAIN_ID, plan.job_hash(), &plan.results);
    assert_eq!(digest, keccak256(message));
}

/// Slots as the contract itself used them: `specs/vectors/channel-storage.json` comes from the Solidity tests.
#[test]
fn slots_are_those_of_the_contract() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/channel-storage.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let word = |value: &Value| value.as_str().unwrap().parse::<B256>().unwrap();
    let own = ["progress", "customer", "provider", "signer"].map(|name| word(&file["channel"][name]["slot"]));
    let slots = channel_slots(word(&file["channel_id"]));
    assert_eq!(slots[..4], own);
    let terms = ["job_hash", "bond_wei"].map(|name| word(&file["audit"][name]["slot"]));
    assert_eq!(slots[4..], terms);
    let number = file["number"].as_str().unwrap().parse().unwrap();
    let pad = |number: u8| B256::with_last_byte(number);
    let entry = |key: B256, mapping: B256| keccak256([key.as_slice(), mapping.as_slice()].concat());
    let ids = file["audit_ids"].as_array().unwrap();
    assert_eq!(ids.len(), 4);
    for (window, id) in (1..).zip(ids) {
        let slots = channel_window_slots(number, window);
        let begins = [entry(word(id), pad(0)), entry(pad(0), entry(word(id), pad(2)))];
        let after = |begin: B256, words: u64| B256::from(U256::from_be_bytes(begin.0) + U256::from(words));
        let expected: Vec<B256> =
            (0..8).map(|n| after(begins[0], n)).chain((0..2).map(|n| after(begins[1], n))).collect();
        assert_eq!(slots.to_vec(), expected, "window {window}");
    }
    assert_eq!(file["channel"]["address"].as_str().unwrap().parse::<Address>().unwrap(), CHANNEL_ADDRESS);
}
