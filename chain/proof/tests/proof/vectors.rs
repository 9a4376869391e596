//! The file `specs/vectors/proof-bundles.json`: what this test would write, and that it is what stands there.
//!
//! With `KEYSTEAD_WRITE_VECTORS=1` in the environment the test writes the file instead of comparing. That approves a change
//! of the format: the commit says so.

use crate::{
    mutants::mutants,
    network::{BLOCK_MS, CHAIN_ID, Chain, NOW_MS, Network, World, address, block, contract, order, words},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use keystead_proof::{Bundle, Claim, MARKET_ADDRESS, OrderStatus, Report, Statement, Verdict, order_slots, verify};
use keystead_types::{Certificate, Header, MILLIS_PER_SECOND};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

const WRITE: &str = "KEYSTEAD_WRITE_VECTORS";

/// One bundle and what must come out.
struct Case {
    name: &'static str,
    about: &'static str,
    bundle: Bundle,
    now_ms: u64,
    max_age_ms: Option<u64>,
    verdict: &'static str,
    step: u8,
    mutate: bool,
}

impl Case {
    const fn proved(name: &'static str, about: &'static str, bundle: Bundle) -> Self {
        Self { name, about, bundle, now_ms: NOW_MS, max_age_ms: None, verdict: "proved", step: 7, mutate: true }
    }

    fn proved_false(name: &'static str, about: &'static str, bundle: Bundle) -> Self {
        Self { verdict: "proved false", mutate: false, ..Self::proved(name, about, bundle) }
    }

    fn not_proved(step: u8, name: &'static str, about: &'static str, bundle: Bundle) -> Self {
        Self { verdict: "not proved", step, mutate: false, ..Self::proved(name, about, bundle) }
    }

    fn unmutated(self) -> Self {
        Self { mutate: false, ..self }
    }

    fn at(self, now_ms: u64, max_age_ms: Option<u64>) -> Self {
        Self { now_ms, max_age_ms, ..self }
    }

    fn run(&self, key: &[u8; 96], text: &str) -> Report {
        verify(text.as_bytes(), key, self.now_ms, self.max_age_ms)
    }
}

fn changed(bundle: &Bundle, change: impl FnOnce(&mut Statement)) -> Bundle {
    let mut bundle = bundle.clone();
    change(&mut bundle.claim.statement);
    bundle
}

/// A slot of the contract that is absent, and so that no single changed byte of it names another slot that the same path proves
/// absent as well: such a mutant would be a true claim.
fn absent_slot(chain: &Chain) -> U256 {
    let proves = |claim: &Claim, slot: B256| {
        let Statement::StorageAbsent { address, account_nodes, storage_nodes, .. } = claim.statement.clone() else {
            panic!("not an absence")
        };
        let statement = Statement::StorageAbsent { address, slot, account_nodes, storage_nodes };
        let header = &chain.headers[1];
        let certificate = chain.network.certify(CHAIN_ID, 57, header);
        Bundle::new(CHAIN_ID, certificate, std::slice::from_ref(header), Claim { block: 42, statement }).is_ok()
    };
    let good = |slot: &U256| {
        let claim = chain.world.storage_claim(42, contract(), *slot);
        (0..32).all(|at| {
            let mut other = B256::from(*slot);
            other[at] ^= 1;
            !proves(&claim, other)
        })
    };
    (1_000u64..).map(U256::from).find(good).unwrap()
}

/// The same for the address of an account that does not exist.
fn absent_account(chain: &Chain) -> alloy_primitives::Address {
    let header = &chain.headers[1];
    let certificate = chain.network.certify(CHAIN_ID, 57, header);
    let good = |address: &alloy_primitives::Address| {
        let claim = chain.world.account_claim(42, *address);
        (0..20).all(|at| {
            let mut claim = claim.clone();
            let Statement::Account { address, .. } = &mut claim.statement else { panic!("not an account") };
            address.0[at] ^= 1;
            Bundle::new(CHAIN_ID, certificate, std::slice::from_ref(header), claim).is_err()
        })
    };
    (5_000u64..).map(address).find(good).unwrap()
}

fn proved_cases(chain: &Chain) -> Vec<Case> {
    let world = &chain.world;
    let storage = world.storage_claim(42, contract(), U256::from(7));
    let absent = world.storage_claim(42, contract(), absent_slot(chain));
    let many = Chain::with(World::sample(), 131);
    let in_token = Chain::with(World::with_token(), 10);
    let old = BLOCK_MS + 400 * 24 * 3_600_000;
    vec![
        Case::proved("account", "an account with a balance", chain.bundle(world.account_claim(42, address(11)))),
        Case::proved(
            "account-nobody",
            "an account that does not exist is the empty account",
            chain.bundle(world.account_claim(42, absent_account(chain))),
        ),
        Case::proved("storage", "a slot with a value", chain.bundle(storage.clone())),
        Case::proved(
            "storage-by-descendant",
            "the certificate is that of the grandchild",
            chain.bundle_by_descendant(storage),
        ),
        Case::proved("storage-absent", "a slot without a value", chain.bundle(absent)),
        Case::proved(
            "storage-absent-no-storage",
            "a slot of an account without storage; true for every slot, so its mutants prove nothing",
            chain.bundle(world.storage_claim(42, address(11), U256::from(7))),
        )
        .unmutated(),
        Case::proved("transaction", "the first of ten", chain.bundle(chain.transaction_claim(0))),
        Case::proved(
            "transaction-130",
            "an index of two bytes in RLP; a claim about the past never goes stale",
            many.bundle(many.transaction_claim(130)),
        )
        .at(old, None)
        .unmutated(),
        Case::proved("receipt", "a transaction that failed", chain.bundle(chain.receipt_claim(3))),
        Case::proved("receipt-success", "a transaction that succeeded", chain.bundle(chain.receipt_claim(4)))
            .unmutated(),
        Case::proved("log", "the second log of a transaction", chain.bundle(chain.log_claim(5, 1))),
        Case::proved(
            "job-result",
            "an order that was settled, proved a year later: a final status stays",
            chain.bundle(world.order_claim(42, 7)),
        )
        .at(old, None),
        Case::proved("job-result-open", "an order in its check window", chain.bundle(world.order_claim(42, 5)))
            .unmutated(),
        Case::proved(
            "job-result-token",
            "an order that is paid in a token",
            in_token.bundle(in_token.world.order_claim(42, 13)),
        ),
        Case::proved("job-result-none", "an order that nobody placed", chain.bundle(world.order_claim(42, 99)))
            .unmutated(),
    ]
}

fn false_cases(chain: &Chain) -> Vec<Case> {
    let world = &chain.world;
    let in_token = Chain::with(World::with_token(), 10);
    let paid = in_token.bundle(in_token.world.order_claim(42, 13));
    let account = chain.bundle(world.account_claim(42, address(11)));
    let nobody = chain.bundle(world.account_claim(42, address(7_777)));
    let storage = chain.bundle(world.storage_claim(42, contract(), U256::from(7)));
    let absent = chain.bundle(world.storage_claim(42, contract(), U256::from(1_003)));
    let transaction = chain.bundle(chain.transaction_claim(0));
    let receipt = chain.bundle(chain.receipt_claim(3));
    let log = chain.bundle(chain.log_claim(5, 1));
    let settled = chain.bundle(world.order_claim(42, 7));
    let mut beyond = chain.transaction_claim(0);
    if let Statement::Transaction(claimed) = &mut beyond.statement {
        let entries = (0u64..).zip(&chain.transactions);
        let entries = entries.map(|(n, transaction)| {
            (alloy_rlp::encode(n), alloy_eips::eip2718::Encodable2718::encoded_2718(transaction))
        });
        claimed.index = 10;
        claimed.nodes = keystead_proof::prove(&entries.collect(), &alloy_rlp::encode(10u64)).1;
    }
    vec![
        Case::proved_false(
            "false-balance",
            "another balance",
            changed(&account, |statement| {
                if let Statement::Account { account, .. } = statement {
                    account.balance += U256::ONE;
                }
            }),
        ),
        Case::proved_false(
            "false-account-of-nobody",
            "a nonce for an account that does not exist",
            changed(&nobody, |statement| {
                if let Statement::Account { account, .. } = statement {
                    account.nonce = 1;
                }
            }),
        ),
        Case::proved_false(
            "false-value",
            "another value in the slot",
            changed(&storage, |statement| {
                if let Statement::Storage { value, .. } = statement {
                    *value = B256::repeat_byte(1);
                }
            }),
        ),
        Case::proved_false(
            "false-absence",
            "absence of a present key",
            changed(&storage, |statement| {
                if let Statement::Storage { address, slot, account_nodes, storage_nodes, .. } = statement.clone() {
                    *statement = Statement::StorageAbsent { address, slot, account_nodes, storage_nodes };
                }
            }),
        ),
        Case::proved_false(
            "false-presence",
            "presence of an absent key",
            changed(&absent, |statement| {
                if let Statement::StorageAbsent { address, slot, account_nodes, storage_nodes } = statement.clone() {
                    let value = B256::with_last_byte(1);
                    *statement = Statement::Storage { address, slot, value, account_nodes, storage_nodes };
                }
            }),
        ),
        Case::proved_false(
            "false-transaction",
            "another transaction at the index",
            changed(&transaction, |statement| {
                if let Statement::Transaction(claimed) = statement {
                    claimed.hash = keccak256("another");
                }
            }),
        ),
        Case::proved_false(
            "false-transaction-beyond-end",
            "a transaction at the index after the last",
            Bundle { claim: beyond, ..transaction },
        ),
        Case::proved_false(
            "false-receipt",
            "success of a transaction that failed",
            changed(&receipt, |statement| {
                if let Statement::Receipt { succeeded, .. } = statement {
                    *succeeded = true;
                }
            }),
        ),
        Case::proved_false(
            "false-log-index",
            "a third log of a transaction with two",
            changed(&log, |statement| {
                if let Statement::Log { receipt_log_index, .. } = statement {
                    *receipt_log_index = 2;
                }
            }),
        ),
        Case::proved_false(
            "false-log-order",
            "the first log is claimed to be the second",
            changed(&log, |statement| {
                if let Statement::Log { log, .. } = statement {
                    *log = chain.receipts[5].logs()[0].clone();
                }
            }),
        ),
        Case::proved_false(
            "false-job-token",
            "an order that is paid in a token, as one in KST",
            changed(&paid, |statement| {
                if let Statement::JobResult { order, .. } = statement {
                    order.token = Address::ZERO;
                }
            }),
        ),
        Case::proved_false(
            "false-job-result",
            "another result root",
            changed(&settled, |statement| {
                if let Statement::JobResult { order, .. } = statement {
                    order.result_root = keccak256("another");
                }
            }),
        ),
        Case::proved_false(
            "false-job-status",
            "an order that was settled is claimed to be accepted",
            changed(&settled, |statement| {
                if let Statement::JobResult { order, .. } = statement {
                    order.status = OrderStatus::Accepted;
                }
            }),
        ),
    ]
}

fn aged_cases(chain: &Chain) -> Vec<Case> {
    let account = || chain.bundle(chain.world.account_claim(42, address(11)));
    let transaction = || chain.bundle(chain.transaction_claim(0));
    let open = || chain.bundle(chain.world.order_claim(42, 5));
    let stale_lie = changed(&account(), |statement| {
        if let Statement::Account { account, .. } = statement {
            account.nonce += 1;
        }
    });
    let open_lie = changed(&open(), |statement| {
        if let Statement::JobResult { order, .. } = statement {
            order.status = OrderStatus::Accepted;
        }
    });
    let after = |ms| BLOCK_MS + ms;
    vec![
        Case::proved("age-10-s", "the greatest age of a claim about now", account())
            .at(after(10_000), None)
            .unmutated(),
        Case::not_proved(6, "age-10001-ms", "a millisecond more", account()).at(after(10_001), None),
        Case::not_proved(
            6,
            "age-false-and-stale",
            "a false claim about now that is too old is not proved false",
            stale_lie,
        )
        .at(after(10_001), None),
        Case::proved("age-given", "the caller accepts an hour", account())
            .at(after(3_600_000), Some(3_600_000))
            .unmutated(),
        Case::not_proved(6, "age-given-exceeded", "and not a millisecond more", account())
            .at(after(3_600_001), Some(3_600_000)),
        Case::not_proved(
            6,
            "age-given-for-the-past",
            "a given age holds for claims about the past as well",
            transaction(),
        )
        .at(after(5_001), Some(5_000)),
        Case::not_proved(6, "age-open-order", "an open order is a claim about now", open()).at(after(10_001), None),
        Case::not_proved(
            6,
            "age-open-order-claimed-final",
            "what counts is the status found, not the claimed one",
            open_lie,
        )
        .at(after(10_001), None),
        Case::proved("age-ahead", "a block 60 s ahead of the clock", account()).at(BLOCK_MS - 60_000, None).unmutated(),
        Case::not_proved(6, "age-too-far-ahead", "and a millisecond more", transaction()).at(BLOCK_MS - 60_001, None),
    ]
}

/// Blocks and signatures that the network itself would never make, and foreign ones.
fn foreign_cases(chain: &Chain) -> Vec<Case> {
    let good = chain.bundle(chain.world.account_claim(42, address(11)));
    let signed = |name: &[u8], certificate: Certificate| {
        let mut message = vec![name.len() as u8];
        message.extend_from_slice(name);
        message.extend_from_slice(&certificate.proposal_bytes());
        Certificate { signature: chain.network.sign(&message), ..certificate }
    };
    let with = |certificate| Bundle { certificate, ..good.clone() };
    let on = |header: Header| Bundle {
        certificate: chain.network.certify(CHAIN_ID, 57, &header),
        headers: vec![alloy_rlp::encode(&header).into()],
        ..good.clone()
    };
    let header = &chain.headers[1];
    let late = Header { timestamp: BLOCK_MS / MILLIS_PER_SECOND + 1, ..header.clone() };
    let long = Header { extra_data: Bytes::from(vec![0; 9]), ..header.clone() };
    let short = Header { requests_hash: None, ..header.clone() };
    let mut gap = chain.bundle_by_descendant(chain.world.account_claim(42, address(11)));
    let child = Header { number: 44, ..chain.headers[2].clone() };
    gap.certificate = chain.network.certify(CHAIN_ID, 57, &child);
    gap.headers = [&child, header].map(|header| alloy_rlp::encode(header).into()).to_vec();
    vec![
        Case::not_proved(
            5,
            "foreign-key",
            "signed by another network",
            with(Network::new(2).certify(CHAIN_ID, 57, header)),
        ),
        Case::not_proved(5, "foreign-chain", "signed for chain 1", with(chain.network.certify(1, 57, header))),
        Case::not_proved(
            5,
            "foreign-chain-id",
            "chain 1 instead of the one signed for",
            Bundle { chain_id: 1, ..good.clone() },
        ),
        Case::not_proved(
            5,
            "foreign-notarization",
            "a notarization is not a finalization",
            with(signed(b"keystead-19283_NOTARIZE", good.certificate)),
        ),
        Case::not_proved(5, "foreign-message", "no namespace at all", with(signed(b"", good.certificate))),
        Case::not_proved(3, "signed-time", "a signed header whose seconds and milliseconds disagree", on(late)),
        Case::not_proved(2, "signed-extra-data", "a signed header with nine bytes of extra data", on(long)),
        Case::not_proved(2, "signed-short-header", "a signed header of an older fork", on(short)),
        Case::not_proved(2, "signed-gap", "signed headers whose numbers are not consecutive", gap),
    ]
}

/// States that the network itself would never sign: the values are well hashed and mean nothing.
fn garbage_cases(chain: &Chain) -> Vec<Case> {
    let bundle = |world: &World, claim: Claim| {
        let header = block(42, chain.headers[0].hash_slow(), world, &[], &[]).header().clone();
        let certificate = chain.network.certify(CHAIN_ID, 57, &header);
        Bundle { chain_id: CHAIN_ID, certificate, headers: vec![alloy_rlp::encode(&header).into()], claim }
    };
    let case = |name, about, world: &World, claim| Case::not_proved(4, name, about, bundle(world, claim));
    let mut leaf = World::sample();
    leaf.garbage.insert(address(9_000), alloy_rlp::encode(vec![1u64, 2, 3]));
    let mut claim = leaf.account_claim(42, address(9_000));
    claim.block = 42;
    let changed_order = |slot: usize, word: U256| {
        let mut world = World::sample();
        world.put(MARKET_ADDRESS, order_slots(7)[slot].into(), word);
        let mut claim = World::sample().order_claim(42, 7);
        if let Statement::JobResult { account_nodes, storage_nodes, .. } = &mut claim.statement {
            *account_nodes = world.account_path(MARKET_ADDRESS);
            *storage_nodes = order_slots(7).map(|slot| world.storage_path(MARKET_ADDRESS, slot.into())).to_vec();
        }
        (world, claim)
    };
    let head = words(&order(7))[0];
    let (unknown, unknown_claim) = changed_order(0, (head >> 8 << 8) | U256::from(14));
    vec![
        case("garbage-account", "a signed state with a leaf that is no account", &leaf, claim),
        case("garbage-status", "an order in a status that this version does not know", &unknown, unknown_claim),
    ]
}

fn cases() -> Vec<Case> {
    let chain = Chain::sample();
    let mut cases = proved_cases(&chain);
    cases.extend(false_cases(&chain));
    cases.extend(aged_cases(&chain));
    cases.extend(foreign_cases(&chain));
    cases.extend(garbage_cases(&chain));
    cases
}

fn outcome(report: &Report) -> char {
    match report.verdict {
        Verdict::Proved => 'P',
        Verdict::ProvedFalse(_) => 'F',
        Verdict::NotProved(_) => char::from(b'0' + report.step().number()),
    }
}

/// Runs all mutants of a case and gives their number, digest and outcomes.
fn mutate(case: &Case, text: &str, foreign: &[&str], keys: &Keys) -> Value {
    mutate_file(case.name, text, foreign, keys, |mutant, key| case.run(key, mutant))
}

/// The same for a file of either kind.
pub(crate) fn mutate_file(
    name: &str,
    text: &str,
    foreign: &[&str],
    keys: &Keys,
    judge: impl Fn(&str, &[u8; 96]) -> Report,
) -> Value {
    let made = mutants(text, foreign);
    let mut digest = Sha256::new();
    let mut outcomes = String::new();
    let all = made.changed.iter().map(|mutant| (mutant.as_str(), &keys.own));
    let all = all.chain([(text, &keys.other)]);
    for (mutant, key) in all.chain(made.truncated.iter().map(|mutant| (mutant.as_str(), &keys.own))) {
        digest.update(mutant);
        digest.update("\n");
        let report = judge(mutant, key);
        let outcome = outcome(&report);
        assert_ne!(outcome, 'P', "{name}: a mutant was accepted: {report}\n{mutant}");
        outcomes.push(outcome);
    }
    json!({
        "count": outcomes.len(),
        "sha256": hex::encode(digest.finalize()),
        "outcomes": run_lengths(&outcomes),
    })
}

fn run_lengths(outcomes: &str) -> String {
    let mut runs: Vec<(char, usize)> = Vec::new();
    for outcome in outcomes.chars() {
        match runs.last_mut() {
            Some((last, count)) if *last == outcome => *count += 1,
            _ => runs.push((outcome, 1)),
        }
    }
    runs.iter().map(|(outcome, count)| format!("{count}x{outcome}")).collect::<Vec<_>>().join(" ")
}

pub(crate) struct Keys {
    pub(crate) own: [u8; 96],
    pub(crate) other: [u8; 96],
}

/// The vectors as the code has them now. Every verdict is asserted on the way.
fn vectors() -> Value {
    let keys = Keys { own: Network::new(1).key(), other: Network::new(2).key() };
    let cases = cases();
    let texts: Vec<String> = cases.iter().map(|case| case.bundle.to_json()).collect();
    let mut out = Vec::new();
    for (case, text) in cases.iter().zip(&texts) {
        let report = case.run(&keys.own, text);
        assert_eq!(report.verdict.name(), case.verdict, "{}: {report}", case.name);
        assert_eq!(report.step().number(), case.step, "{}: {report}", case.name);
        let claim = report.claim.as_ref().unwrap().to_string();
        let mut entry = json!({
            "name": case.name, "about": case.about, "nowMs": case.now_ms, "maxAgeMs": case.max_age_ms,
            "verdict": case.verdict, "step": case.step, "claim": claim, "meaning": report.meaning, "bundle": text,
        });
        if case.mutate {
            let foreign: Vec<&str> = texts.iter().filter(|other| *other != text).map(String::as_str).collect();
            entry["mutants"] = mutate(case, text, &foreign, &keys);
        }
        out.push(entry);
    }
    json!({
        "about": "specs/0002-proof-bundle.md section 9; written by `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-proof`",
        "networkKey": hex::encode_prefixed(keys.own),
        "otherNetworkKey": hex::encode_prefixed(keys.other),
        "cases": out,
    })
}

/// Compares a value with a file of `specs/vectors`, or writes it there if asked.
pub(crate) fn check_file(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors").join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    let first = stands.lines().zip(text.lines()).find(|(stands, new)| stands != new);
    // Compared as values: the order of an object's fields depends on serde_json's features, which a build of the whole
    // workspace and one of this package alone choose differently.
    let parsed: Value = serde_json::from_str(&stands).unwrap_or_default();
    assert!(
        parsed == *value,
        "{name} is not what the code gives; first difference: {first:?}. If the format was meant to change, run with {WRITE}=1"
    );
}

#[test]
fn the_committed_vectors_are_what_the_code_gives_and_no_mutant_is_accepted_slow() {
    check_file("proof-bundles.json", &vectors());
}

#[test]
fn every_kind_of_claim_is_mutated() {
    let mutated: Vec<&str> =
        cases().iter().filter(|case| case.mutate).map(|case| case.bundle.claim.statement.kind()).collect();
    for kind in ["account", "storage", "storage-absent", "transaction", "receipt", "log", "job-result"] {
        assert!(mutated.contains(&kind), "{kind}");
    }
}

#[test]
fn a_bundle_survives_its_encoding_in_any_order_of_fields() {
    for case in cases() {
        let text = case.bundle.to_json();
        assert_eq!(Bundle::from_json(text.as_bytes()), Ok(case.bundle.clone()), "{}", case.name);
        // serde_json sorts the fields and spreads them over lines.
        let sorted: Value = serde_json::from_str(&text).unwrap();
        let pretty = serde_json::to_string_pretty(&sorted).unwrap();
        assert_ne!(pretty, text);
        assert_eq!(Bundle::from_json(pretty.as_bytes()), Ok(case.bundle), "{}", case.name);
    }
}
