//! Orders that others checked, and result certificates: the file `specs/vectors/result-certificates.json`, with all their mutants.

use crate::{
    network::{BLOCK_MS, CHAIN_ID, Chain, NOW_MS, Network, World, address, order, words},
    vectors::{Keys, check_file, mutate_file},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use keystead_proof::{
    AUDIT_ADDRESS, Audit, AuditParts, Bundle, CertificateError, Claim, ComposeError, CustomerStatement, Job,
    MARKET_ADDRESS, Order, OrderMode, OrderStatus, OwnCheck, OwnFinding, Report, ResultCertificate, Results,
    WindowStatus, bond_slot, order_slots, verify, window_slots,
};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};

/// Unix milliseconds, a year after the block: what is final stays true.
pub(crate) const LATER_MS: u64 = BLOCK_MS + 365 * 24 * 3_600_000;

pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_byte_array([number; 32]).unwrap()
}

pub(crate) fn account(key: &SecretKey) -> Address {
    Address::from_raw_public_key(&key.public_key(SECP256K1).serialize_uncompressed()[1..])
}

pub(crate) fn sign(key: &SecretKey, digest: B256) -> [u8; 65] {
    let (recovery, compact) = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), key).serialize_compact();
    let mut signature = [0; 65];
    signature[..64].copy_from_slice(&compact);
    signature[64] = 27 + i32::from(recovery) as u8;
    signature
}

/// A job spec's encoding: the items that a certificate reads, and others as they may be.
fn job(class: u8, units: u16, segments: u8, outliers_ppm: u32) -> Bytes {
    job_over(class, units, segments, outliers_ppm, keccak256("units"))
}

/// The same for inputs whose list has this hash.
pub(crate) fn job_over(class: u8, units: u16, segments: u8, outliers_ppm: u32, units_hash: B256) -> Bytes {
    let number = |number: u64| alloy_rlp::encode(number);
    let hash = |tag: &str| alloy_rlp::encode(keccak256(tag));
    let mut items = vec![number(2), alloy_rlp::encode("align"), alloy_rlp::encode("wasm/1"), number(class.into())];
    items.extend(["program", "common"].map(hash));
    items.push(alloy_rlp::encode(units_hash));
    items.push(number(units.into()));
    items.extend([1_000, 1_000, 65_536, 64, 0, 0, 0, 0].map(number));
    items.extend([number(segments.into()), alloy_rlp::encode(B256::ZERO), number(0)]);
    items.extend([0, 0, 0, u64::from(outliers_ppm), 0].map(number));
    assert_eq!(items.len(), 24);
    let payload = items.concat();
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(&payload);
    out.into()
}

/// One order and its audit, and the words under which both stand in the world.
#[derive(Clone)]
struct Audited {
    order: Order,
    job: Bytes,
    words: [U256; 8],
}

/// What a window says.
#[derive(Clone, Copy)]
struct Window {
    status: u8,
    class: u8,
    checkers: u8,
    rate_ppm: u32,
    unpaid: u32,
    convicted: bool,
    verified: u32,
    segments: u32,
    canary_unit: u32,
    bond_wei: u128,
}

const GOOD: Window = Window {
    status: 2,
    class: 1,
    checkers: 3,
    rate_ppm: 100_000,
    unpaid: 0,
    convicted: false,
    verified: 6,
    segments: 1,
    canary_unit: 0,
    bond_wei: 12_500_000_000_000_000_000,
};

/// Order `number`, of 64 units, by the customer with key 1.
fn audited(number: u64, mode: OrderMode, status: OrderStatus, job: Bytes, window: Window) -> Audited {
    let order = Order {
        number,
        status,
        mode,
        job_hash: Job::read(&job).unwrap().hash,
        customer: account(&key(1)),
        paid_units: if status == OrderStatus::Audited { 64 - window.unpaid } else { 0 },
        ..order(6)
    };
    let party = |account: Address| U256::from_be_bytes(account.into_word().0);
    let Window { status, class, checkers, rate_ppm, unpaid, convicted, verified, segments, canary_unit, bond_wei } =
        window;
    let put = |value: u32, bit: usize| U256::from(value) << bit;
    let words = [
        party(order.provider)
            | put(status.into(), 160)
            | put(class.into(), 168)
            | put(checkers.into(), 176)
            | put(1, 184)
            | put(64, 192)
            | put(rate_ppm, 224),
        party(order.customer) | put(unpaid, 192) | put(convicted.into(), 224) | put(3_600, 232),
        put(120, 128) | put(60, 160) | put(segments, 192) | put(canary_unit, 224),
        U256::from(verified),
        if mode == OrderMode::Private { U256::from_be_bytes(keccak256("named").0) } else { U256::ZERO },
        put(40, 0) | (U256::from(BLOCK_MS / 1_000 - 60) << 40) | put(1, 80) | put(9, 112),
        U256::from_be_bytes(keccak256("randomness").0),
        U256::from(bond_wei),
    ];
    Audited { order, job, words }
}

/// The orders of the vectors, by name.
fn orders() -> Vec<(&'static str, Audited)> {
    use OrderMode::{Audited as Drawn, Private};
    use OrderStatus::{Audited as Paid, Convicted, Delivered, Expired};
    let exact = || job(1, 64, 1, 0);
    let tolerance = || job(3, 64, 8, 1_000);
    let soft = Window { class: 3, segments: 8, unpaid: 1, ..GOOD };
    let convicted = Window { status: 3, convicted: true, ..GOOD };
    let none = Window { bond_wei: 0, verified: 0, ..GOOD };
    let probation = Window { bond_wei: 0, rate_ppm: 1_000_000, checkers: 1, class: 2, verified: 64, ..GOOD };
    vec![
        ("audited", audited(13, Drawn, Paid, exact(), GOOD)),
        ("audited-tolerance", audited(14, Drawn, Paid, tolerance(), soft)),
        ("audited-convicted", audited(15, Drawn, Convicted, exact(), convicted)),
        ("audited-by-nobody", audited(16, Drawn, Paid, exact(), none)),
        ("audited-in-probation", audited(17, Drawn, Paid, job(2, 64, 1, 0), probation)),
        ("audited-still-open", audited(18, Drawn, Delivered, exact(), Window { status: 1, ..GOOD })),
        ("audited-expired-and-still-open", audited(19, Drawn, Expired, exact(), Window { status: 1, ..GOOD })),
        ("audited-with-a-canary", audited(20, Drawn, Paid, exact(), Window { canary_unit: 4, unpaid: 1, ..GOOD })),
        ("private", audited(21, Private, Paid, exact(), GOOD)),
    ]
}

/// The sample world with the orders above, and number 22: settled, checked by its customer alone.
fn world() -> (World, Bytes) {
    let mut world = World::sample();
    world.contract(AUDIT_ADDRESS);
    for (_, Audited { order, words: audit, .. }) in orders() {
        put_order(&mut world, &order);
        for (slot, word) in window_slots(order.number).into_iter().zip(audit) {
            world.put(AUDIT_ADDRESS, slot.into(), word);
        }
        world.put(MARKET_ADDRESS, bond_slot(order.number).into(), audit[7]);
    }
    let job = job(5, 64, 1, 0);
    let own = Order { number: 22, customer: account(&key(1)), job_hash: Job::read(&job).unwrap().hash, ..order(7) };
    put_order(&mut world, &own);
    (world, job)
}

fn put_order(world: &mut World, order: &Order) {
    for (slot, word) in order_slots(order.number).into_iter().zip(words(order)) {
        world.put(MARKET_ADDRESS, slot.into(), word);
    }
}

/// The certificate of order 23, whose customer stopped it: the first 40 of its 64 units are its result, checked by the customer alone.
fn stopped() -> ResultCertificate {
    let job = job(1, 64, 1, 0);
    let order = Order {
        number: 23,
        stopped: true,
        done_units: 40,
        paid_units: 40,
        customer: account(&key(1)),
        job_hash: Job::read(&job).unwrap().hash,
        ..order(6)
    };
    let mut world = World::sample();
    put_order(&mut world, &order);
    // A world of its own, so that the other files stay what they are.
    let chain = Chain::with(world, 1);
    certificate(chain.bundle(chain.world.order_claim(42, 23)), &job, SAMPLE)
}

/// Whom order 24 names.
fn names() -> Vec<Address> {
    [3, 4].map(|number| account(&key(number))).to_vec()
}

/// The certificate of order 24, a private one that names two checkers: they found one of its units wrong.
fn private_named() -> ResultCertificate {
    let window = Window { checkers: 2, rate_ppm: 1_000_000, unpaid: 1, verified: 63, bond_wei: 0, ..GOOD };
    let mut order = audited(24, OrderMode::Private, OrderStatus::Audited, job(1, 64, 1, 0), window);
    let words: Vec<u8> = names().iter().flat_map(|name| name.into_word().0).collect();
    order.words[4] = U256::from_be_bytes(keccak256(words).0);
    let job = order.job.clone();
    // A world of its own, as above.
    let chain = Chain::with(world_with(order), 1);
    certificate(chain.bundle(claim(&chain.world, 24).unwrap()), &job, SAMPLE).naming(names()).unwrap()
}

fn claim(world: &World, number: u64) -> Result<Claim, ComposeError> {
    let at =
        |account: Address, slot: B256| (world.word(account, slot.into()), world.storage_path(account, slot.into()));
    let parts = AuditParts {
        account_nodes: world.account_path(MARKET_ADDRESS),
        order: order_slots(number).map(|slot| at(MARKET_ADDRESS, slot)),
        bond: at(MARKET_ADDRESS, bond_slot(number)),
        audit_account_nodes: world.account_path(AUDIT_ADDRESS),
        window: window_slots(number).map(|slot| at(AUDIT_ADDRESS, slot)),
    };
    Claim::job_audit(42, number, parts)
}

const SAMPLE: CustomerStatement =
    CustomerStatement { check: OwnCheck::Sample, finding: OwnFinding::Right, checked: 10, right: 10, rate_ppm: 30_000 };

fn certificate(bundle: Bundle, job: &Bytes, statement: CustomerStatement) -> ResultCertificate {
    let digest = statement.digest(CHAIN_ID, bundle.claim.statement.order().unwrap());
    ResultCertificate::new(bundle, job.clone(), statement, sign(&key(1), digest)).unwrap()
}

struct Case {
    name: &'static str,
    text: String,
    now_ms: u64,
    mutate: bool,
}

fn cases(chain: &Chain, own_job: &Bytes) -> Vec<Case> {
    let of = |number| chain.bundle(claim(&chain.world, number).unwrap());
    let mut cases = Vec::new();
    for (name, audited) in orders() {
        let is_open = name.ends_with("open");
        let now_ms = if is_open { NOW_MS } else { LATER_MS };
        let text = of(audited.order.number).to_json();
        cases.push(Case { name, text, now_ms, mutate: false });
    }
    let with = |name, text: String, mutate| Case { name, text, now_ms: LATER_MS, mutate };
    let by_name = |wanted: &str| orders().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
    let (good, soft) = (by_name("audited"), by_name("audited-tolerance"));
    cases.push(with("certificate", certificate(of(13), &good.job, SAMPLE).to_json(), true));
    let wrong = CustomerStatement { finding: OwnFinding::Wrong, right: 9, ..SAMPLE };
    cases.push(with("certificate-tolerance", certificate(of(14), &soft.job, wrong).to_json(), false));
    let own = chain.bundle(chain.world.order_claim(42, 22));
    cases.push(with(
        "certificate-own-check-opaque",
        certificate(own, own_job, CustomerStatement::default()).to_json(),
        true,
    ));
    cases.push(with("certificate-stopped", stopped().to_json(), false));
    cases.push(with("certificate-private-named", private_named().to_json(), false));
    cases
}

fn judge(case: &Case, text: &str, key: &[u8; 96]) -> Report {
    verify(text.as_bytes(), key, case.now_ms, None)
}

#[test]
fn the_committed_certificates_are_what_the_code_gives_and_no_mutant_is_accepted_slow() {
    let keys = Keys { own: Network::new(1).key(), other: Network::new(2).key() };
    let (world, own_job) = world();
    let chain = Chain::with(world, 1);
    let entries = cases(&chain, &own_job).into_iter().map(|case| {
        let report = judge(&case, &case.text, &keys.own);
        assert_eq!(report.verdict.name(), "proved", "{}: {report}", case.name);
        let claim = report.claim.as_ref().unwrap().to_string();
        let mut entry = json!({
            "name": case.name, "file": case.text, "nowMs": case.now_ms, "claim": claim, "meaning": report.meaning,
        });
        if case.mutate {
            entry["mutants"] = mutate_file(case.name, &case.text, &[], &keys, |text, key| judge(&case, text, key));
        }
        entry
    });
    let entries: Vec<Value> = entries.collect();
    let file = json!({
        "about": "specs/0002-proof-bundle.md sections 7, 10, 11; written by `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-proof`",
        "networkKey": hex::encode_prefixed(keys.own),
        "otherNetworkKey": hex::encode_prefixed(keys.other),
        "cases": entries,
    });
    check_file("result-certificates.json", &file);
}

/// Every line is true of the order, and *unverified* is said wherever no stranger found a unit right.
#[test]
fn what_a_certificate_means_is_said_in_words() {
    let key = Network::new(1).key();
    let (world, own_job) = world();
    let chain = Chain::with(world, 1);
    let said: Vec<(&str, String)> = cases(&chain, &own_job)
        .iter()
        .map(|case| (case.name, judge(case, &case.text, &key).meaning.join("\n")))
        .collect();
    insta::assert_snapshot!(said.iter().map(|(name, lines)| format!("# {name}\n{lines}\n")).collect::<String>());
    for (name, lines) in said {
        let stranger =
            ["audited", "audited-tolerance", "audited-convicted", "audited-in-probation", "audited-with-a-canary"];
        let is_open = name.ends_with("open");
        let expected =
            !is_open && !stranger.contains(&name) && name != "certificate" && name != "certificate-tolerance";
        assert_eq!(lines.contains("UNVERIFIED"), expected, "{name}: {lines}");
    }
}

#[test]
fn a_proved_order_binds_the_outputs_that_were_delivered_and_a_foreign_one_none() {
    let (world, own_job) = world();
    let chain = Chain::with(world, 1);
    let text = certificate(chain.bundle(chain.world.order_claim(42, 22)), &own_job, SAMPLE).to_json();
    let report = verify(text.as_bytes(), &Network::new(1).key(), LATER_MS, None);
    let order = report.proved().unwrap().statement.order().unwrap();
    let expected = Results::Root { root: order.result_root, units: order.units };
    assert!(!order.result_root.is_zero() && order.done_units == 0, "{order:?}");
    assert_eq!(report.results, Some(expected), "{report}");
    let report = verify(text.as_bytes(), &Network::new(2).key(), LATER_MS, None);
    assert_eq!(report.results, None, "{report}");
}

#[test]
fn a_stopped_order_binds_the_outputs_of_its_part_and_says_that_it_is_one() {
    let text = stopped().to_json();
    let report = verify(text.as_bytes(), &Network::new(1).key(), LATER_MS, None);
    assert_eq!(report.verdict.name(), "proved", "{report}");
    let order = report.proved().unwrap().statement.order().unwrap();
    assert_eq!((order.committed_units(), order.paid_units, order.units), (40, 40, 64));
    assert_eq!(report.results, Some(Results::Root { root: order.result_root, units: 40 }));
    assert!(report.claim.as_ref().unwrap().to_string().contains(", stopped by the customer, 40 units paid"));
    let part = "the customer stopped the order: its result is the first 40 of 64 units";
    assert_eq!(report.meaning[1], part);
    // What is paid is told by the chain, and not by whoever shows it.
    for (field, lie) in [("stopped", "0x0"), ("doneUnits", "0x29"), ("paidUnits", "0x40")] {
        let said = text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4;
        let end = said + text[said..].find('"').unwrap();
        let lied = format!("{}{lie}{}", &text[..said], &text[end..]);
        assert_ne!(lied, text);
        let report = verify(lied.as_bytes(), &Network::new(1).key(), LATER_MS, None);
        assert!(report.proved().is_none() && report.meaning.is_empty(), "{field}: {report}");
    }
}

#[test]
fn a_certificate_shows_the_checkers_whose_hash_the_window_has_and_no_others() {
    let key = Network::new(1).key();
    let good = private_named();
    let text = good.to_json();
    let judge = |text: &str| verify(text.as_bytes(), &key, LATER_MS, None);
    let report = judge(&text);
    assert_eq!(report.verdict.name(), "proved", "{report}");
    let [one, other] = [names()[0], names()[1]];
    let said = format!("2 checkers were named: {one:#x}, {other:#x}");
    assert!(report.meaning.contains(&said), "{:?}", report.meaning);
    for wrong in [vec![other, one], vec![one], vec![one, other, one], vec![address(1), other]] {
        let refused = good.clone().naming(wrong.clone());
        assert!(matches!(refused, Err(CertificateError::Named { .. })), "{wrong:?}");
    }
    // Of an order whose checkers are drawn, nobody is shown as named.
    let (world, _) = world();
    let chain = Chain::with(world, 1);
    let drawn = certificate(chain.bundle(claim(&chain.world, 13).unwrap()), &orders()[0].1.job, SAMPLE);
    assert!(matches!(drawn.naming(names()), Err(CertificateError::Named { .. })));

    let begin = text.find("\"named\":[").unwrap();
    let end = begin + text[begin..].find("],").unwrap() + 2;
    let with = |field: &str| format!("{}{field}{}", &text[..begin], &text[end..]);
    let list = |names: &[Address]| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name:#x}\"")).collect();
        format!("\"named\":[{}],", names.join(","))
    };
    assert_eq!(with(&list(&names())), text);
    let table = [
        ("another list", list(&[other, one]), 3),
        ("five names", list(&[one; 5]), 1),
        ("no names", list(&[]), 1),
        ("half a name", "\"named\":[\"0x00112233\"],".to_owned(), 1),
        ("no list", format!("\"named\":\"{one:#x}\","), 1),
    ];
    for (what, field, step) in table {
        let report = judge(&with(&field));
        assert_eq!((report.verdict.name(), report.step().number()), ("not proved", step), "{what}: {report}");
    }
    // As older programs wrote them: proved, and it does not tell.
    let report = judge(&with(""));
    assert_eq!(report.verdict.name(), "proved", "{report}");
    assert!(!report.meaning.concat().contains("named: "), "{:?}", report.meaning);
}

#[test]
fn an_order_without_an_audit_has_no_such_claim_and_an_open_window_grows_old() {
    let (world, _) = world();
    let none = claim(&world, 7).unwrap_err();
    assert_eq!(none, ComposeError::NoSuchItem { item: "audit", index: 7, count: 0 });
    let chain = Chain::with(world, 1);
    let key = Network::new(1).key();
    for (number, step) in [(18, 6), (19, 6), (13, 7)] {
        let text = chain.bundle(claim(&chain.world, number).unwrap()).to_json();
        let report = verify(text.as_bytes(), &key, BLOCK_MS + 10_001, None);
        assert_eq!(report.step().number(), step, "order {number}: {report}");
    }
    let text = chain.bundle(claim(&chain.world, 13).unwrap()).to_json();
    // A wrong number of found units is contradicted by the chain itself.
    let lie = text.replacen("\"verified\":\"0x6\"", "\"verified\":\"0x7\"", 1);
    assert_ne!(lie, text);
    let report = verify(lie.as_bytes(), &key, LATER_MS, None);
    assert_eq!((report.verdict.name(), report.step().number()), ("proved false", 7), "{report}");
    assert!(report.meaning.is_empty() && report.to_string().contains("the certified verified is 6"), "{report}");
}

#[test]
fn parts_of_different_orders_make_no_certificate() {
    let (world, own_job) = world();
    let chain = Chain::with(world, 1);
    let of = |number| chain.bundle(claim(&chain.world, number).unwrap());
    let good = orders()[0].1.clone();
    let digest = SAMPLE.digest(CHAIN_ID, &good.order);
    let make = |bundle, job: &Bytes, signature| ResultCertificate::new(bundle, job.clone(), SAMPLE, signature);
    assert!(make(of(13), &good.job, sign(&key(1), digest)).is_ok());
    assert_eq!(make(of(13), &good.job, sign(&key(2), digest)), Err(CertificateError::Signature));
    assert!(matches!(make(of(13), &own_job, sign(&key(1), digest)), Err(CertificateError::Job { .. })));
    // The signature of another order's statement, though job and result are the same.
    assert_eq!(make(of(15), &good.job, sign(&key(1), digest)), Err(CertificateError::Signature));
    let account = chain.bundle(chain.world.account_claim(42, address(11)));
    assert_eq!(make(account, &good.job, sign(&key(1), digest)), Err(CertificateError::Kind));
    // The other root of the same signature.
    let mut high = sign(&key(1), digest);
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let s = order - U256::from_be_slice(&high[32..64]);
    high[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    high[64] = 55 - high[64];
    assert_eq!(make(of(13), &good.job, high), Err(CertificateError::Signature));
    // An audit that was ordered as for a job of one segment.
    let mut other = world_with(audited(13, OrderMode::Audited, OrderStatus::Audited, job(1, 64, 2, 0), GOOD));
    other.contract(AUDIT_ADDRESS);
    let bundle = Chain::with(other, 1);
    let bundle = bundle.bundle(claim(&bundle.world, 13).unwrap());
    let expected = CertificateError::Audit { field: "segments", got: 1, expected: 2 };
    assert_eq!(make(bundle, &job(1, 64, 2, 0), sign(&key(1), digest)), Err(expected));
}

fn world_with(audited: Audited) -> World {
    let mut world = World::sample();
    world.contract(AUDIT_ADDRESS);
    put_order(&mut world, &audited.order);
    for (slot, word) in window_slots(audited.order.number).into_iter().zip(audited.words) {
        world.put(AUDIT_ADDRESS, slot.into(), word);
    }
    world
}

#[test]
fn a_job_is_read_as_its_spec_says_and_nothing_else_is_one() {
    let good = job(3, 64, 8, 1_000);
    let read = Job::read(&good).unwrap();
    assert_eq!((read.class, read.units, read.segments, read.outliers_ppm), (3, 64, 8, 1_000));
    assert_eq!(read.hash, keccak256([b"keystead/job/v2".as_slice(), &good].concat()));
    assert_eq!(read.units_hash, keccak256("units"));
    assert_eq!(Job::read(&good[..good.len() - 1]), None);
    assert_eq!(Job::read(&[&good[..], &[0]].concat()), None);
    assert_eq!(Job::read(&job(0, 64, 1, 0)), None);
    assert_eq!(Job::read(&job(6, 64, 1, 0)), None);
    assert_eq!(Job::read(&job(1, 0, 1, 0)), None);
    assert_eq!(Job::read(&[0xc0]), None);
    assert_eq!(Job::read(&[0; 513]), None);
    let audit = Audit::from_words(&orders()[0].1.words).unwrap();
    assert_eq!((audit.status(), audit.units(), audit.verified()), (WindowStatus::Closed, 64, 6));
}
