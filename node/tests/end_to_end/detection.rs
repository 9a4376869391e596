//! Providers that are wrong on purpose: how many are caught is what the sampling formula says, and the money is right to the wei.
//!
//! Every pair of the jobs here scores below `score-min`, so its record is a bare score: the recipe's own check of a delivery, which
//! replays each alignment, cannot see that a score is off by one, and only the sample can.

use crate::{
    network::{KEYSTEAD, Network, wait_until},
    parties::{MARKET, PRICE, Provider, account, all_fees, balance, fasta_of, text},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

/// Orders with one wrong unit each.
const SEEDS: u64 = 200;
/// Eight queries against eight targets, each pair a unit of its own: two would not fit.
const UNITS: u64 = 64;
const SEQUENCES: u64 = 8;
const RESIDUES: u64 = 720;
/// Units that the customer runs again.
const SAMPLE: u64 = 16;
/// Pairs of a wrong provider and its customer, at the same time.
const LANES: u64 = 4;
/// Orders to an honest provider meanwhile.
const HONEST: u64 = 20;
const ESCROW: u128 = UNITS as u128 * PRICE;

/// A provider and its customer, by the numbers of their test accounts.
#[derive(Clone, Copy)]
struct Lane {
    provider: usize,
    customer: usize,
}

/// One order of 64 units; true if it was paid.
fn order(network: &Network, lane: Lane, seed: u64) -> bool {
    let folder = network.directory.join(format!("order-{}-{seed}", lane.provider));
    fs::create_dir_all(&folder).unwrap();
    let (queries, targets, out) = (folder.join("queries.faa"), folder.join("targets.faa"), folder.join("result"));
    fasta_of(&queries, 2 * seed, SEQUENCES, RESIDUES);
    fasta_of(&targets, 2 * seed + 1, SEQUENCES, RESIDUES);
    let output = Command::new(KEYSTEAD)
        .args(["run", "align", "--set", "cells-per-unit=1000000", "--set", "score-min=1000000"])
        .args(["--rpc", &network.url(0)])
        .args(["--dev-account", &lane.customer.to_string(), "--provider", account(lane.provider)])
        .args(["--sample", &SAMPLE.to_string(), "--sample-seed", &format!("{seed:064x}")])
        .arg(format!("--input=queries={}", queries.display()))
        .arg(format!("--input=targets={}", targets.display()))
        .arg("--out")
        .arg(&out)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output);
    let job: Value = serde_json::from_str(&fs::read_to_string(out.join("job.json")).expect(&said)).unwrap();
    assert_eq!(job["spec"]["unitCount"], UNITS, "{said}");
    assert_eq!(job["escrowWei"], ESCROW.to_string());
    assert_eq!(job["check"]["sampled"], SAMPLE, "{said}");
    let paid = match job["status"].as_str().unwrap() {
        "accepted" => true,
        "rejected" => false,
        other => panic!("order of seed {seed} is {other}: {said}"),
    };
    assert_eq!(output.status.code(), Some(if paid { 0 } else { 1 }), "{said}");
    assert_eq!(out.join("alignments.tsv").exists(), paid, "a wrong result is not kept as if it were one");
    fs::remove_dir_all(folder).unwrap();
    paid
}

/// Orders with these seeds, one after the other; how many were paid.
fn orders(network: &Network, lane: Lane, seeds: impl Iterator<Item = u64>) -> u128 {
    seeds.map(|seed| u128::from(order(network, lane, seed))).sum()
}

/// Waits until a provider has closed all its orders, then compares both balances with what must have moved.
fn settle(network: &Network, provider: &Provider, orders: u64, paid: u128) {
    let count = |words: &str| provider.text().matches(words).count() as u64;
    wait_until("the provider closed every order", || {
        (count("order paid") + count("order closed without payment") == orders).then_some(())
    });
    assert_eq!(u128::from(count("order paid")), paid, "{}", network.log(0));
}

fn balances(network: &Network) -> BTreeMap<usize, u128> {
    (0..10).map(|number| (number, balance(network, account(number)))).collect()
}

#[test]
fn of_200_wrong_units_as_many_are_caught_as_the_formula_says_and_every_wei_is_where_it_belongs() {
    let network = Network::half(1);
    let folder = |name: &str| -> std::path::PathBuf { Path::new(&network.directory).join(name) };
    let honest = Lane { provider: 9, customer: 0 };
    let lanes: Vec<Lane> = (1..=LANES as usize).map(|lane| Lane { provider: lane, customer: lane + 4 }).collect();
    let wrong: Vec<Provider> = (0_u64..)
        .zip(&lanes)
        .map(|(seed, lane)| {
            let options = ["--fault-seed", &seed.to_string()];
            Provider::start_as(&network, &folder(&format!("provider-{seed}")), lane.provider, &options)
        })
        .collect();
    let right = Provider::start_as(&network, &folder("provider-honest"), honest.provider, &[]);
    let (since, before, start) = (network.head(0).unwrap(), balances(&network), Instant::now());

    let (network, lanes) = (&network, &lanes);
    let (unnoticed, honest_paid) = thread::scope(|scope| {
        let of_lane = |index: u64, lane: Lane| move || orders(network, lane, (index..SEEDS).step_by(LANES as usize));
        let tasks: Vec<_> = (0_u64..).zip(lanes).map(|(index, lane)| scope.spawn(of_lane(index, *lane))).collect();
        let honest_paid = scope.spawn(move || orders(network, honest, SEEDS..SEEDS + HONEST)).join().unwrap();
        (tasks.into_iter().map(|task| task.join().unwrap()).collect::<Vec<u128>>(), honest_paid)
    });
    println!("market::orders/wrong={SEEDS},right={HONEST} {:.1} s", start.elapsed().as_secs_f64());

    // An honest provider is always paid.
    assert_eq!(honest_paid, u128::from(HONEST));
    settle(network, &right, HONEST, honest_paid);
    wrong.iter().zip(&unnoticed).for_each(|(provider, paid)| settle(network, provider, SEEDS / LANES, *paid));

    // Caught means unpaid with an exact refund; not caught means paid.
    assert_eq!(balance(network, MARKET), 0, "every wei left the market");
    let (after, fees) = (balances(network), all_fees(network, since));
    let fee = |number: usize| fees.get(&account(number).to_lowercase()).copied().unwrap_or_default();
    for (lane, paid) in lanes.iter().zip(&unnoticed).chain([(&honest, &honest_paid)]) {
        let moved = paid * ESCROW;
        assert_eq!(after[&lane.customer], before[&lane.customer] - moved - fee(lane.customer), "customer");
        assert_eq!(after[&lane.provider], before[&lane.provider] + moved - fee(lane.provider), "provider");
    }

    // One wrong unit of n is in a sample of s with probability s / n.
    let caught = SEEDS as f64 - unnoticed.iter().sum::<u128>() as f64;
    let probability = SAMPLE as f64 / UNITS as f64;
    let expected = SEEDS as f64 * probability;
    let sigma = (expected * (1.0 - probability)).sqrt();
    println!("caught={caught} expected={expected} sigma={sigma:.2}");
    assert!((caught - expected).abs() <= 3.0 * sigma, "caught={caught} expected={expected} sigma={sigma:.2}");
}
