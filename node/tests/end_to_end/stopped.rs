//! Orders that their customer stops in the middle: what is done is handed over, checked, paid and proved, and nothing else.

use crate::{
    audited::{self, window_id, window_of},
    audits::{KST, bonded, events, read, wait_long},
    convicted::{self, CUSTOMER, VERIFIED},
    crooks::{Crook, inputs, work},
    customer::{Customer, ends, json_file, orders, run},
    network::{KEYSTEAD, Network, wait_until},
    parties::{MARKET, PRICE, Provider, account, balance, compared, fasta, fees, statement, text, verify},
    raw::soon,
    sender::Sender,
    tokens::{self, Coin, MINT, owner, shown},
};
use alloy_primitives::U256;
use keystead_blobs::{Event, FailureCode, SessionError};
use keystead_contracts::{
    bindings::{
        audit::Audit,
        market::{IMarket, Market},
    },
    storage::Status,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Some 5,700 small units, so that a good part is left when the chain says that the order is stopped.
const MANY: (u64, u64) = (140, 450);
/// Sixteen units of forty segments: at a fifth of them three units are done, and a fourth one is under way.
const SEGMENTED: [&str; 6] = ["nbody", "--set", "members=128", "--set", "members-per-unit=1", "--set=steps=19200"];
/// What the contract holds of deposits for checks.
const AUDIT: &str = "0x4b53540000000000000000000000000000000005";

/// Order 1 as the chain has it.
fn order(network: &Network) -> IMarket::Order {
    read(network, MARKET.parse().unwrap(), &Market::orderCall { orderId: U256::from(1) })
}

/// How the provider's leased orders ended, in public: paid ones, and the others.
fn provider_record(network: &Network) -> (u64, [u64; 3]) {
    let record = Market::providerRecordCall { account: account(1).parse().unwrap() };
    let record = read(network, MARKET.parse().unwrap(), &record);
    let failed = [record.rejected, record.expired, record.abandoned].map(|count| count.to::<u64>());
    (record.accepted.to::<u64>() + record.settled.to::<u64>(), failed)
}

/// What the chain says of order 1, which was stopped in the middle and paid as far as it was done: so many units.
fn assert_stopped(network: &Network) -> u32 {
    let order = order(network);
    let done: u32 = order.doneUnits.to();
    assert!(order.stopped && done > 0 && done < order.units, "{done} of {}", order.units);
    assert_eq!(order.paidUnits, done);
    assert_eq!(balance(network, MARKET), 0, "every wei left the market");
    assert_eq!(provider_record(network), (1, [0; 3]), "its public record");
    assert_eq!(orders(network), 1, "nobody else was asked");
    done
}

/// `keystead run` of a recipe with its options, by the customer's account.
fn ordered(network: &Network, recipe: &[&str], out: &Path) -> Command {
    let mut command = Command::new(KEYSTEAD);
    command.arg("run").args(recipe).args(["--dev-account", "2", "--patience-ms", "20000", "--rpc", &network.url(0)]);
    command.arg("--out").arg(out).stdin(Stdio::null());
    command
}

/// Two files of proteins, as options of an order.
fn proteins(network: &Network, (queries, targets): (u64, u64)) -> [String; 2] {
    [("queries", queries), ("targets", targets)].map(|(name, count)| {
        let path = network.directory.join(format!("{name}.faa"));
        fasta(&path, count, 300);
        format!("--input={name}={}", path.display())
    })
}

/// A network with a provider, and what its two parties had before the order.
struct Scene {
    network: Network,
    since: u64,
    /// Of customer and provider.
    before: [u128; 2],
    out: PathBuf,
}

impl Scene {
    fn start() -> (Self, Provider) {
        let network = Network::start(1);
        let provider = Provider::start(&network, &network.directory.join("provider"));
        (Self::look(network), provider)
    }

    /// What there is before the order.
    fn look(network: Network) -> Self {
        let since = network.head(0).unwrap();
        let before = [balance(&network, account(2)), balance(&network, account(1))];
        let out = network.directory.join("result");
        Self { network, since, before, out }
    }

    /// An order of which a part is done.
    fn begin(&self, more: &[&str]) -> Customer {
        let mut customer = Customer::start(&self.network, run(&self.network, MANY, &self.out).args(more));
        customer.wait_for("units finished");
        customer
    }

    /// Both parties have what is theirs, to the wei; how many units were done.
    fn assert_paid_pro_rata(&self) -> u32 {
        let Self { network, since, before, .. } = self;
        let done = assert_stopped(network);
        let paid = PRICE * u128::from(done);
        assert_eq!(before[0] - balance(network, account(2)), paid + fees(network, account(2), *since));
        assert_eq!(balance(network, account(1)), before[1] + paid - fees(network, account(1), *since));
        done
    }

    /// What a folder holds whose order was stopped, checked and accepted.
    fn assert_part(&self, done: u32) {
        let Self { network, out, .. } = self;
        let job = json_file(&out.join("job.json"));
        let units = job["spec"]["unitCount"].as_u64().unwrap();
        assert_eq!(job["status"], "accepted");
        assert_eq!(job["stopped"]["units"], units);
        assert_eq!((&job["stopped"]["unitsDone"], &job["stopped"]["unitsPaid"]), (&done.into(), &done.into()));
        assert_eq!(job["paidWei"], (order(network).priceWeiPerUnit * u128::from(done)).to_string());
        assert_eq!(job["check"]["units"], done);
        for gone in ["order.json", "unfinished", "unchecked", "alignments.tsv"] {
            assert!(!out.join(gone).exists(), "{gone}");
        }
        let proved = verify(network, out);
        let said = text(&proved);
        assert!(proved.status.success(), "{said}");
        for words in [
            "order 1 of the market is accepted".to_owned(),
            format!("stopped by the customer, {done} units paid"),
            format!("{done} of {units} units are paid: final"),
            format!("its result is the first {done} of {units} units"),
            format!(" of {done} units again"),
        ] {
            assert!(said.contains(&words), "no {words:?} in: {said}");
        }
        // The outputs that were kept are the ones that it proves.
        compared(network, out, 0, &[]);
    }
}

#[test]
fn ctrl_c_in_the_middle_pays_for_the_units_that_are_done_to_the_wei_slow() {
    let (scene, mut provider) = Scene::start();
    let _other = Provider::start_as(&scene.network, &scene.network.directory.join("other"), 3, &[]);
    let record = scene.network.directory.join("events.jsonl");
    let customer = scene.begin(&["--events", record.to_str().unwrap()]);
    customer.signal("INT");
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    for words in ["Stopping order 1:", "Order 1 is stopped:", "units done: order 1 is accepted", "refunded"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    provider.wait_for("order paid");
    let done = scene.assert_paid_pro_rata();
    scene.assert_part(done);
    assert_told_of_a_part(&record, done);
    for number in [1, 2] {
        let statement = statement(&scene.network, account(number));
        let unexplained = (&statement["unexplainedInWei"], &statement["unexplainedOutWei"]);
        assert_eq!(unexplained, (&json!("0"), &json!("0")), "{statement}");
    }
    assert_eq!(provider.interrupt(), Some(0));
}

/// What `--events` must hold of it: each thing once, though a stop changes the deadline of the lease, and why the command fails although nothing went wrong.
fn assert_told_of_a_part(record: &Path, done: u32) {
    let whole = fs::read_to_string(record).unwrap();
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let only = |event: &str| {
        let all: Vec<&Value> = lines.iter().filter(|line| line["event"] == event).collect();
        assert_eq!(all.len(), 1, "{event} in: {whole}");
        all[0]
    };
    for event in ["planned", "ordered", "leased", "stopping", "stopped", "delivered", "accepted"] {
        only(event);
    }
    assert_eq!(only("committed")["facts"]["units"], done, "{whole}");
    assert_eq!(only("paid")["facts"]["wei"], (PRICE * u128::from(done)).to_string(), "{whole}");
    let units = only("planned")["facts"]["units"].as_u64().unwrap();
    let rest = u128::from(units) - u128::from(done);
    assert_eq!(only("refunded")["facts"]["wei"], (PRICE * rest).to_string(), "{whole}");
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["facts"]), (&"failed".into(), &json!({"exitCode": 1})), "{whole}");
    assert_eq!(last["detail"], format!("it was stopped with {done} of {units} units done"), "{whole}");
}

/// The provider stands still when the customer stops the order, so the chain has the stop and no commitment.
fn stopped_while_the_provider_stands_still(scene: &Scene, provider: &Provider) -> Customer {
    let mut customer = scene.begin(&[]);
    stop_while_the_provider_stands_still(&scene.network, provider, &mut customer);
    customer
}

fn stop_while_the_provider_stands_still(network: &Network, provider: &Provider, customer: &mut Customer) {
    provider.signal("STOP");
    customer.signal("INT");
    customer.wait_for("Order 1 is stopped:");
    assert!(order(network).stopped);
    assert_eq!(order(network).status, Status::Leased as u8);
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_same_command_takes_the_part_slow() {
    let (scene, mut provider) = Scene::start();
    let customer = stopped_while_the_provider_stands_still(&scene, &provider);
    customer.signal("INT");
    let (code, said) = customer.end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("interrupted twice") && said.contains("run the same command again"), "{said}");
    assert!(scene.out.join("order.json").exists());
    // Who goes on with it is told again by one Ctrl-C, as the first sentence says.
    let mut again = Customer::start(&scene.network, &mut run(&scene.network, MANY, &scene.out));
    again.wait_for("Order 1 is stopped:");
    again.signal("INT");
    let (code, said) = again.end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("interrupted while the order is being stopped"), "{said}");
    provider.signal("CONT");
    let said = ends(&mut run(&scene.network, MANY, &scene.out), 1);
    assert!(said.contains("Order 1 of this folder is still under way"), "{said}");
    assert!(said.contains("It is to be stopped"), "{said}");
    provider.wait_for("order paid");
    let done = scene.assert_paid_pro_rata();
    scene.assert_part(done);
}

/// What the provider had done since its last checkpoint is lost with it; the stop leaves time for one unit at least.
#[test]
fn a_provider_killed_between_the_stop_and_its_commitment_is_paid_for_what_it_still_has_slow() {
    let (scene, mut provider) = Scene::start();
    let customer = stopped_while_the_provider_stands_still(&scene, &provider);
    provider.kill();
    drop(provider);
    let mut provider = Provider::start(&scene.network, &scene.network.directory.join("provider"));
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    provider.wait_for("order paid");
    let done = scene.assert_paid_pro_rata();
    scene.assert_part(done);
}

/// Whether a customer was killed before its transaction was sent or after it: what it wished is on its disk.
#[test]
fn a_customer_killed_while_it_stops_goes_on_with_the_stop_slow() {
    let (scene, mut provider) = Scene::start();
    let mut customer = scene.begin(&[]);
    customer.signal("INT");
    wait_until("the wish is on the disk", || is_stopping(&scene.out).then_some(()));
    customer.kill();
    let said = ends(&mut run(&scene.network, MANY, &scene.out), 1);
    assert!(said.contains("It is to be stopped"), "{said}");
    provider.wait_for("order paid");
    let done = scene.assert_paid_pro_rata();
    scene.assert_part(done);
}

fn is_stopping(out: &Path) -> bool {
    let text = fs::read_to_string(out.join("order.json")).unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|state| state["attempt"]["stopping"] == true)
}

#[test]
fn a_customer_that_stops_and_never_comes_back_pays_by_the_deadline_slow() {
    let (scene, mut provider) = Scene::start();
    let window = ["--check-seconds", "4"];
    let mut customer = scene.begin(&window);
    customer.signal("INT");
    customer.wait_for("Order 1 is stopped:");
    customer.kill();
    provider.wait_for("order paid");
    let network = &scene.network;
    let settled = order(network);
    assert_eq!(settled.status, Status::Settled as u8);
    let paid = PRICE * u128::from(settled.paidUnits);
    assert!(paid > 0);
    assert_eq!(balance(network, account(1)), scene.before[1] + paid - fees(network, account(1), scene.since));
    assert_eq!(balance(network, MARKET), PRICE * u128::from(settled.units) - paid, "the rest is the customer's");
    // It comes back for it after all; there is nothing more to be had of the work.
    let said = ends(run(network, MANY, &scene.out).args(window), 3);
    assert!(said.contains("order 1 is settled") && said.contains("had not arrived"), "{said}");
    let done = scene.assert_paid_pro_rata();
    assert_eq!(done, settled.paidUnits);
    let job = json_file(&scene.out.join("job.json"));
    assert_eq!(job["stopped"]["unitsPaid"], done);
    assert!(!scene.out.join("outputs.pack").exists() && !scene.out.join("order.json").exists());
}

/// Some hundred units of a quarter of a second: a window of which a provider could open all in the time of its terms. Nobody has a seat here, so it is
/// closed without a check.
#[test]
fn an_audited_order_that_is_stopped_has_a_window_of_its_part_and_pays_that_slow() {
    let (scene, mut provider) = Scene::start();
    let Scene { network, out, .. } = &scene;
    let times = ["align", "--audit", "--checker-seconds", "10", "--reveal-seconds", "60"];
    let mut command = ordered(network, &times, out);
    command.args(proteins(network, MANY));
    let mut customer = audited::Customer::spawn(network, out, command);
    customer.wait_for("units finished");
    customer.interrupt();
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("units done: order 1 is audited"), "{said}");
    provider.wait_for("order paid");
    let done = scene.assert_paid_pro_rata();
    assert_eq!(balance(network, AUDIT), 0, "the deposit came back");
    assert_audited_part(network, out, done, &format!("UNVERIFIED: {done} of {done} units were drawn"));
}

/// What the folder and the proof say of an audited order that was stopped; and of its audit these words.
fn assert_audited_part(network: &Network, out: &Path, done: u32, audit: &str) {
    assert_eq!(window_of(network, window_id(1)).units, done);
    let job = json_file(&out.join("job.json"));
    let units = job["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!((&job["status"], &job["audit"]["drawn"]), (&"audited".into(), &done.into()), "{job}");
    let proved = verify(network, out);
    let proof = text(&proved);
    assert!(proved.status.success(), "{proof}");
    for words in [
        format!("stopped by the customer, audited, {done} units paid"),
        format!("its result is the first {done} of {units} units"),
        audit.to_owned(),
        format!("{done} of {units} units are paid: final"),
    ] {
        assert!(proof.contains(&words), "no {words:?} in: {proof}");
    }
    compared(network, out, 0, &[]);
}

/// Some thirty units of a quarter of a second, of which a fifth and a little more are done. The provider is new, so every unit of the part is looked at by a
/// stranger; of what was never done nobody looks at anything, and nobody pays for it.
#[test]
fn strangers_check_the_part_of_a_stopped_order_and_it_is_verified_and_paid_to_the_wei_slow() {
    let mut seated = convicted::Scene::new(&[], 3..6);
    let network = &seated.network;
    let (since, before) = (network.head(0).unwrap(), [CUSTOMER, 1].map(|number| balance(network, account(number))));
    let out = network.directory.join("result");
    let mut command = ordered(network, &["align", "--audit", "--provider", account(1)], &out);
    command.args(["--checker-seconds", "60", "--reveal-seconds", "60", "--appeal-seconds", "60"]);
    command.args(proteins(network, (90, 200)));
    let mut customer = audited::Customer::spawn(network, &out, command);
    customer.wait_for("units finished");
    seated.provider.signal("STOP");
    customer.interrupt();
    customer.wait_for("Order 1 is stopped:");
    seated.provider.signal("CONT");
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}\n{}", seated.logs());
    assert!(
        said.contains("units done: order 1 is audited") && said.contains("verified: "),
        "{said}\n{}",
        seated.logs()
    );
    seated.provider.wait_for("order paid");

    let id = window_id(1);
    let done = assert_stopped(network);
    let (window, revealed) = (window_of(network, id), events::<Audit::CheckRevealed>(network, id));
    assert_eq!((window.verified, window.unpaid, revealed.len()), (done, 0, done as usize), "{}", seated.logs());
    assert!((0..done).all(|unit| seated.case(id, unit).stage == VERIFIED), "{}", seated.logs());
    assert_eq!(json_file(&out.join("job.json"))["assurance"], "verified", "{said}");
    assert_audited_part(network, &out, done, "and none was found wrong");

    // The part, its checks and gas: the rest of the escrow and of the deposit came back.
    let (paid, checks) = (PRICE * u128::from(done), window.feeWei * u128::from(done));
    let spent = before[0] - balance(network, account(CUSTOMER));
    assert_eq!(spent, paid + checks + fees(network, account(CUSTOMER), since), "{said}");
    assert_eq!(balance(network, account(1)), before[1] + paid - fees(network, account(1), since));
    assert_eq!((bonded(network, 1).freeWei, bonded(network, 1).lockedWei), (40 * KST, 0), "the bond is free again");
    wait_long("every checker has its fees", || (balance(network, AUDIT) == 0).then_some(()));
}

#[test]
fn a_stopped_order_in_a_token_pays_its_part_in_it_to_the_last_unit_and_gas_alone_is_in_kst_slow() {
    const HELD: u64 = 10_000_000;
    let scene = Scene::look(Network::start(1));
    let Scene { network, out, since, before } = &scene;
    let coin = Coin::deploy(network, &mut Sender::account(MINT), &[(tokens::CUSTOMER, HELD)]);
    let listed = coin.listed_at(tokens::PRICE);
    let mut provider = Provider::start_as(network, &network.directory.join("provider"), 1, &[&listed]);
    let customer = scene.begin(&["--token", &coin.text()]);
    customer.signal("INT");
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    provider.wait_for("order paid");

    let done = assert_stopped(network);
    let paid = tokens::PRICE * u64::from(done);
    let all = tokens::PRICE * u64::from(order(network).units);
    for words in [
        format!("{} a unit, so at most {} for ", shown(tokens::PRICE), shown(all)),
        format!("are done: {} at most are paid", shown(paid)),
        format!("paid     {} to", shown(paid)),
        format!("refunded {} to", shown(all - paid)),
    ] {
        assert!(said.contains(&words), "no {words:?} in: {said}");
    }
    assert_eq!((coin.of(owner(tokens::CUSTOMER)), coin.of(owner(1))), (HELD - paid, paid));
    assert_eq!((coin.of(MARKET.parse().unwrap()), coin.approved_to(tokens::CUSTOMER, MARKET)), (0, 0));
    assert_eq!(coin.approvals(tokens::CUSTOMER), [all], "exactly the escrow, once");
    for (number, before) in [tokens::CUSTOMER, 1].into_iter().zip(before) {
        assert_eq!(before - balance(network, account(number)), fees(network, account(number), *since), "{number}");
    }
    scene.assert_part(done);
    let proof = text(&verify(network, out));
    let claim = format!("at {} smallest units of the token {:#x}", tokens::PRICE, coin.address);
    assert!(proof.contains(&claim), "no {claim:?} in: {proof}");
}

/// The stop is seen in the middle of a unit: its other segments are done, too, and it is paid as all before it.
#[test]
fn a_stop_in_the_middle_of_a_unit_of_several_segments_finishes_and_pays_it_slow() {
    let (scene, mut provider) = Scene::start();
    let Scene { network, out, .. } = &scene;
    let mut customer = Customer::start(network, &mut ordered(network, &SEGMENTED, out));
    customer.wait_for("segments finished");
    stop_while_the_provider_stands_still(network, &provider, &mut customer);
    provider.signal("CONT");
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    provider.wait_for("order paid");
    let done = scene.assert_paid_pro_rata();
    let job = json_file(&out.join("job.json"));
    assert!(job["spec"]["segmentCount"].as_u64().unwrap() > 1, "{job}");
    let log = provider.text();
    let seen = log.lines().find(|line| line.contains("no further unit is begun")).unwrap();
    let whole = seen.split_whitespace().find_map(|word| word.strip_prefix("done=")).unwrap();
    assert_eq!(done, whole.parse::<u32>().unwrap() + 1, "those that were whole, and the one under way: {log}");
    scene.assert_part(done);
}

/// A customer that is not our program asks for the end in the middle, by the message alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_ends_no_leased_order_and_the_provider_is_paid_slow() {
    const UNITS: u32 = 4_000;
    let network = Network::start(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(1)));
    let mut crook = Crook::new(&network).await;
    let job = work(UNITS);
    let number = crook.place(&job.spec);
    let mut session = crook.open(number, &job.spec, inputs(&job.blobs)).await.unwrap();
    loop {
        let event = soon(session.next()).await.unwrap();
        assert!(!matches!(event, Event::Committed(_)), "every unit was done before one was seen");
        if matches!(event, Event::Progress(progress) if progress.done > 0) {
            break;
        }
    }
    let Err(SessionError::Failed(failure)) = soon(session.cancel()).await else { panic!("it was cancelled") };
    assert_eq!(failure.code, FailureCode::Deadline);
    assert!(failure.reason.as_str().contains("Market.stop"), "{failure:?}");
    provider.wait_for("order paid");
    assert_eq!(crook.status(number), Status::Settled);
    let paid = PRICE * u128::from(UNITS);
    assert_eq!(balance(&network, account(1)), before + paid - fees(&network, account(1), since));
    assert_eq!(provider_record(&network), (1, [0; 3]), "its public record");
}
