//! Tokens that keep a fee, by real processes: what moves another amount than it is told is refused before it moves, and a fee that begins later costs who
//! is paid in that token, and nobody else.

use crate::{
    customer::{Customer, SMALL, ends, orders, run},
    map::{CHANNEL, CLOSELY, Job, same_files, wait_until},
    network::Network,
    parties::{MARKET, Provider, account, balance, fees, statement, text},
    sender::Sender,
    tokens::{CUSTOMER, Coin, HELD, MINT, PRICE, escrow, owner},
};
use serde_json::{Value, json};

/// A hundredth, in millionths.
const FEE_PPM: u64 = 10_000;
/// Some 270 units, about a second.
const MEDIUM: (u64, u64) = (30, 100);

fn start(network: &Network, coin: &Coin<'_>) -> Provider {
    let listed = coin.listed_at(PRICE);
    let folder = network.directory.join("provider");
    Provider::start_as(network, &folder, 1, &[&CLOSELY[..], &[listed.as_str()]].concat())
}

/// What a contract that was told to move such a token says.
fn refusal(coin: &Coin<'_>) -> String {
    format!("the token {} moves another amount than it is told, so no contract takes it", coin.text())
}

fn held_by(coin: &Coin<'_>, contract: &str) -> u64 {
    coin.of(contract.parse().unwrap())
}

#[test]
fn a_token_that_keeps_a_fee_is_refused_before_it_moves_and_nothing_stays_approved() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy_with_fee(&network, &mut mint, &[(CUSTOMER, HELD)]);
    coin.keeps(&mut mint, FEE_PPM);
    let _provider = start(&network, &coin);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(CUSTOMER)));
    let token = coin.text();
    let is_whole = |said: &str| {
        assert_eq!((coin.of(owner(CUSTOMER)), coin.kept_from(CUSTOMER)), (HELD, 0), "{said}");
        for contract in [MARKET, CHANNEL] {
            assert_eq!((held_by(&coin, contract), coin.approved_to(CUSTOMER, contract)), (0, 0), "{said}");
        }
        assert_eq!(before - balance(&network, account(CUSTOMER)), fees(&network, account(CUSTOMER), since), "{said}");
    };

    let out = network.directory.join("order");
    let said = ends(run(&network, SMALL, &out).args(["--token", &token]), 1);
    for words in
        [format!("The order cannot be placed: {}: before=0 after=", refusal(&coin)), "or pay in KST".to_owned()]
    {
        assert!(said.contains(&words), "no {words:?} in: {said}");
    }
    assert!(!said.contains("Placing a new one") && !out.join("order.json").exists(), "{said}");
    let approvals = coin.approvals(CUSTOMER);
    assert!(matches!(approvals[..], [first, 0] if first > 0), "one, and its end: {approvals:?}");
    assert_eq!(orders(&network), 0);
    is_whole(&said);

    let job = Job { out: network.directory.join("map"), ..Job::align(&network, 4, 4) };
    let output = job.map(&network, &["--token", &token, "--providers", "1"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let nobody = format!("No channel for provider {}: {}: before=0 after=", owner(1), refusal(&coin));
    for words in [nobody.as_str(), "every provider was left out"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    assert!(
        matches!(coin.approvals(CUSTOMER)[2..], [first, 0] if first > 0),
        "one, and its end: {:?}",
        coin.approvals(CUSTOMER)
    );
    assert_eq!(job.settled(), 0);
    is_whole(&said);
}

#[test]
fn a_fee_that_begins_while_an_order_is_done_is_kept_from_its_provider_and_the_market_pays_what_it_owes() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy_with_fee(&network, &mut mint, &[(CUSTOMER, HELD)]);
    let mut provider = start(&network, &coin);
    let out = network.directory.join("result");
    let customer = Customer::start(&network, run(&network, MEDIUM, &out).args(["--token", &coin.text()]));
    wait_until("the escrow is in the market", || (held_by(&coin, MARKET) > 0).then_some(()));
    // It is not delivered before the fee begins.
    provider.signal("STOP");
    coin.keeps(&mut mint, FEE_PPM);
    provider.signal("CONT");
    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}");
    provider.wait_for("order paid");

    let paid = escrow(&out);
    let kept = paid / 100;
    assert_eq!((held_by(&coin, MARKET), coin.of(owner(CUSTOMER)), coin.kept_from(CUSTOMER)), (0, HELD - paid, 0));
    assert_eq!((coin.of(owner(1)), coin.kept_from(1)), (paid - kept, kept));
    // Its statement tells of the fee, and leaves nothing unexplained.
    let statement = statement(&network, account(1));
    let [in_token] = statement["tokens"].as_array().unwrap().as_slice() else { panic!("{statement}") };
    let is = |field: &str, amount: u64| assert_eq!(in_token[field], json!(amount.to_string()), "{field}: {in_token}");
    is("closingWei", paid - kept);
    is("unexplainedInWei", 0);
    is("unexplainedOutWei", 0);
    let lines: Vec<(&Value, &Value)> =
        in_token["lines"].as_array().unwrap().iter().map(|line| (&line["inWei"], &line["outWei"])).collect();
    let line = |came: u64, went: u64| (json!(came.to_string()), json!(went.to_string()));
    let (whole, fee) = (line(paid, 0), line(0, kept));
    assert_eq!(lines, [(&whole.0, &whole.1), (&fee.0, &fee.1)], "{in_token}");
}

/// More steps than the first deposit pays: the channel cannot be filled again, and what is done until then is paid.
#[test]
fn a_fee_that_begins_while_a_map_runs_ends_it_with_words_and_it_goes_on_once_the_fee_is_gone() {
    let network = Network::start(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy_with_fee(&network, &mut mint, &[(CUSTOMER, HELD)]);
    let provider = start(&network, &coin);
    let job = Job::align(&network, 40, 110);
    let token = coin.text();
    let in_it = ["--token", &token, "--providers", "1"];
    let (mut customer, log) = job.spawn(&network, &in_it);
    wait_until("the channel is open", || (held_by(&coin, CHANNEL) > 0).then_some(()));
    // So few steps are not done before the fee begins that the channel would be filled.
    provider.signal("STOP");
    coin.keeps(&mut mint, FEE_PPM);
    provider.signal("CONT");
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(1), "{said}");
    let words = [
        "The job cannot be done: no channel can be filled: ".to_owned(),
        refusal(&coin),
        "When that is mended, run the same command again".to_owned(),
    ];
    words.iter().for_each(|words| assert!(said.contains(words), "no {words:?} in: {said}"));

    // Half of the first deposit is used when it is to be filled.
    let (units, done) = (job.summary()["spec"]["unitCount"].as_u64().unwrap(), job.settled());
    assert!((129..=256).contains(&done) && done < units, "{done} of {units}");
    let is_paid = |steps: u64| {
        wait_until("the channel is empty", || (held_by(&coin, CHANNEL) == 0).then_some(()));
        assert_eq!(coin.of(owner(1)) + coin.kept_from(1), steps * PRICE);
        assert_eq!(coin.of(owner(CUSTOMER)) + coin.kept_from(CUSTOMER), HELD - steps * PRICE);
        assert_eq!(coin.approved_to(CUSTOMER, CHANNEL), 0);
    };
    is_paid(done);
    let kept = coin.kept_from(1);
    assert!(kept > 0, "the contract pays what it owes, and the token keeps its part of it");

    coin.keeps(&mut mint, 0);
    let output = job.map(&network, &in_it).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    same_files(&job.out, &job.reference());
    assert_eq!(job.settled(), units);
    is_paid(units);
    assert_eq!(coin.kept_from(1), kept);
}
