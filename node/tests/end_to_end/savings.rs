//! `keystead provide --bond-from-earnings`: a provider that is killed around its payouts, and the share in its bond to the wei.

use crate::{
    audits::{address, bonded, read},
    market::{SMALL, job, order},
    network::{KEYSTEAD, Network, PATIENCE, wait_until},
    parties::{Provider, account, statement, text},
};
use keystead_contracts::{MARKET_ADDRESS, bindings::market::Market};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PROVIDER: usize = 1;
/// Of no price a whole number of wei.
const PERCENT: u128 = 33;
/// A moment lasts for less than a block.
const LOOK: Duration = Duration::from_millis(1);

/// When the provider is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The order is paid, and its money still in the market.
    Credited,
    /// The money came home.
    Withdrawn,
    /// The deposit is signed and on the disk.
    Signed,
    /// It is in a block.
    Bonded,
    /// All is over.
    Over,
}

fn start(network: &Network, folder: &Path) -> Provider {
    Provider::start_as(network, folder, PROVIDER, &["--bond-from-earnings", &PERCENT.to_string()])
}

fn free(network: &Network) -> u128 {
    bonded(network, PROVIDER).freeWei
}

fn has_credit(network: &Network) -> bool {
    !read(network, MARKET_ADDRESS, &Market::creditCall { account: address(PROVIDER) }).is_zero()
}

fn journal(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("savings.json")).unwrap()).unwrap()
}

/// Looks as often as it can. A moment that was missed is over, and what follows it comes too.
fn wait_for(network: &Network, folder: &Path, provider: &Provider, moment: Moment, before: u128) {
    let begin = Instant::now();
    let mut was_credited = false;
    loop {
        let is_over = free(network) > before;
        was_credited |= has_credit(network);
        let is_here = match moment {
            Moment::Credited => was_credited,
            Moment::Withdrawn => was_credited && !has_credit(network),
            Moment::Signed => !journal(folder)["pending"].is_null(),
            Moment::Bonded => is_over,
            Moment::Over => provider.text().contains("a share of the income went into the bond"),
        };
        if is_here || (is_over && !matches!(moment, Moment::Over)) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {moment:?}\n{}", provider.text());
        thread::sleep(LOOK);
    }
}

/// Goal: whenever the process ends, each payout's share is in the bond once. Method: one order for each moment, `kill -9` at it, and a new process.
#[test]
fn a_provider_that_is_killed_around_its_payouts_has_exactly_its_share_in_the_bond_slow() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = start(&network, &folder);
    let mut earned = 0;
    let moments = [Moment::Credited, Moment::Withdrawn, Moment::Signed, Moment::Bonded, Moment::Over];
    for (index, moment) in moments.into_iter().enumerate() {
        let (before, out) = (free(&network), network.directory.join(format!("result-{index}")));
        let mut customer = order(&network, SMALL, &out);
        let customer = customer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&network, &folder, &provider, moment, before);
        provider.kill();
        let output = customer.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{moment:?}: {}", text(&output));
        earned += job(&out)["escrowWei"].as_str().unwrap().parse::<u128>().unwrap();
        let share = earned * PERCENT / 100;
        // A second kill, as soon as it is up: what it began there is begun again.
        for kills in [true, false] {
            provider = start(&network, &folder);
            if kills {
                provider.kill();
            }
        }
        wait_until("the share is in the bond", || (free(&network) >= share && !has_credit(&network)).then_some(()));
        wait_until("the journal knows it", || journal(&folder)["pending"].is_null().then_some(()));
        assert_eq!(free(&network), share, "{moment:?}");
    }
    let output = Command::new(KEYSTEAD).args(["provide", "--status", "--dir"]).arg(&folder).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    let said = &status["savings"];
    assert_eq!((said["percent"].as_u64(), said["owed_wei"].as_str()), (Some(33), Some("0")), "{said}");
    assert_eq!(said["earned_wei"], earned.to_string());
    assert_eq!(said["bonded_wei"], free(&network).to_string());
    // What the chain says, without this provider's word: as many deposits as payouts.
    let statement = statement(&network, account(PROVIDER));
    let lines = statement["lines"].as_array().unwrap();
    let deposits: Vec<u128> = lines
        .iter()
        .filter(|line| line["kind"] == "bond")
        .map(|line| line["outWei"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(deposits.len(), moments.len(), "{deposits:?}");
    assert_eq!(deposits.iter().sum::<u128>(), earned * PERCENT / 100);
    assert_eq!(provider.interrupt(), Some(0));
}
