//! Customers that mean no good: what each of them costs the provider, and everybody else. The rows of docs/attacks.md about customers.

use crate::{
    market::{SMALL, in_the_middle, job, order},
    network::{Network, number, wait_until},
    parties::{MARKET, PRICE, Provider, account, balance, fees, text},
    sender::{Draft, Sender, receipt},
};
use alloy_primitives::{B256, U256};
use alloy_sol_types::SolCall as _;
use keystead_blobs::{
    Capacity, Config, Endpoint, Event, Hello, Inputs, MemoryStore, Parties, RefusalCode, Session, SessionError,
    hello_digest,
};
use keystead_contracts::bindings::market::{IMarket, Market};
use keystead_job::{
    Class, JobSpec, Runtime, blob_hash, hash_list,
    spec::{Draft as JobDraft, RecipeName},
};
use serde_json::json;
use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

/// The account of the bad customer: it has sent nothing before.
const BAD: usize = 8;
const GAS: u64 = 500_000;
/// Orders of the flood, and how many of them wait at a time.
const FLOOD: usize = 192;
const BATCH: usize = 16;

/// A job that any provider would take.
fn spec(name: &str) -> JobSpec {
    let limits = keystead_job::Limits {
        wall_ms_max: 10_000,
        fuel_max: 1_000_000,
        memory_bytes_max: 1 << 16,
        output_bytes_max: 64,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    let draft = JobDraft {
        recipe: RecipeName::new(name).unwrap(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(b"program"),
        common_hash: blob_hash(b""),
        units_hash: hash_list(&[blob_hash(b"unit")]),
        unit_count: 1,
        segment_count: 1,
        checker: None,
        tolerance: None,
        limits,
    };
    JobSpec::new(draft).unwrap()
}

/// An order of one unit at this price, which the bad customer signs.
fn placing(job_hash: B256, price: u128, lease_seconds: u32) -> Draft {
    let terms = IMarket::Terms {
        provider: account(1).parse().unwrap(),
        jobHash: job_hash,
        units: 1,
        priceWeiPerUnit: price,
        leaseSeconds: lease_seconds,
        deliverSeconds: 60,
        checkSeconds: 60,
    };
    let input = Market::placeOrderCall { terms }.abi_encode().into();
    Draft { to: Some(MARKET.parse().unwrap()), input, value: u64::try_from(price).unwrap(), gas: GAS }
}

/// How many orders there are: the market's first word.
fn orders(network: &Network) -> u64 {
    number(&network.call(0, "eth_getStorageAt", json!([MARKET, "0x0", "latest"])))
}

/// Comes to the provider as the customer of an order, with this job and nothing else.
async fn visit(provider: &Provider, order: u64, job: &JobSpec) -> Result<Session, SessionError> {
    let text = provider.text();
    let address: keystead_blobs::Address =
        text.lines().find_map(|line| line.trim().strip_prefix("endpoint")).unwrap().trim().parse().unwrap();
    let config = Config::loopback();
    let parties = Parties { customer: config.secret.id(), provider: address.id() };
    let credential = Sender::account(u32::try_from(BAD).unwrap()).credential(hello_digest(U256::from(order), parties));
    let endpoint = Endpoint::bind(config).await.unwrap();
    let hello = Hello { order: U256::from(order), job: job.encode().into(), credential: credential.to_vec().into() };
    let inputs = Inputs { store: Arc::new(MemoryStore::new(Capacity::default())), hashes: Vec::new() };
    Session::open(&endpoint, &address, hello, inputs).await
}

/// An honest order is done as if nobody else were there.
fn honest_order_is_done(network: &Network, provider: &mut Provider) {
    let out = network.directory.join("honest");
    let output = order(network, SMALL, &out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(job(&out)["status"], "accepted");
    provider.wait_for("order paid");
}

fn records(folder: &Path) -> usize {
    fs::read_dir(folder.join("orders")).unwrap().count()
}

#[test]
fn withheld_input_costs_the_provider_nothing_and_holds_up_nobody() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let (since, job) = (network.head(0).unwrap(), spec("withheld"));
    let mut bad = Sender::account(u32::try_from(BAD).unwrap());
    bad.settle(&network, 0, placing(job.hash(), PRICE, 4));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut session = visit(&provider, 1, &job).await.unwrap();
        // It is asked for the program, which it does not give; the provider gives up, not the other way round.
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                match session.next().await {
                    Ok(Event::Wants { .. } | Event::Progress(_)) => {}
                    other => break other,
                }
            }
        });
        assert!(!matches!(ended.await.unwrap(), Ok(Event::Committed(_) | Event::Delivered(_))));
    });
    assert!(!provider.text().contains("order leased"), "nobody works for an input that is not there");
    provider.wait_for("order closed without payment");
    assert_eq!(fees(&network, account(1), since), 0, "it cost no transaction");
    wait_until("the order is forgotten", || (records(&folder) == 0).then_some(()));
    honest_order_is_done(&network, &mut provider);
}

#[test]
fn a_wrong_input_hash_is_refused_before_anything_is_fetched() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let (ordered, other) = (spec("ordered"), spec("other"));
    assert_ne!(ordered.hash(), other.hash());
    let mut bad = Sender::account(u32::try_from(BAD).unwrap());
    bad.settle(&network, 0, placing(ordered.hash(), PRICE, 600));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let refused = visit(&provider, 1, &other).await;
        assert!(
            matches!(&refused, Err(SessionError::Refused(refusal)) if refusal.code == RefusalCode::WrongJob),
            "{:?}",
            refused.err()
        );
    });
    assert_eq!(records(&folder), 0, "nothing is kept of it");
    honest_order_is_done(&network, &mut provider);
}

#[test]
fn refused_pay_is_paid_at_the_end_of_the_check_window() {
    let network = Network::start(4);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(1)));
    let out = network.directory.join("silent");
    let (mut customer, _) = in_the_middle(&network, &out, &["--check-seconds", "4"]);
    // It says nothing any more, neither yes nor no.
    let stopped = Command::new("kill").args(["-STOP", &customer.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    provider.wait_for("result delivered");
    provider.wait_for("order paid");
    let stored: serde_json::Value = serde_json::from_str(&fs::read_to_string(out.join("order.json")).unwrap()).unwrap();
    let units = u128::from(stored["attempt"]["units"].as_u64().unwrap());
    let spent = fees(&network, account(1), since);
    assert_eq!(balance(&network, account(1)) + spent, before + units * PRICE, "to the wei");
    customer.kill().unwrap();
    customer.wait().unwrap();
    assert_eq!(balance(&network, MARKET), 0);
}

#[test]
fn dust_orders_are_refused_and_order_floods_hold_up_nobody() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let mut bad = Sender::account(u32::try_from(BAD).unwrap());

    // One wei below the listed price: in a block, and without effect.
    let dust = bad.send(&network, 0, placing(B256::repeat_byte(9), PRICE - 1, 600));
    let status = wait_until("the receipt of the dust", || {
        let receipt = network.call(0, "eth_getTransactionReceipt", json!([dust]));
        receipt["status"].as_str().map(str::to_owned)
    });
    assert_eq!((status.as_str(), orders(&network)), ("0x0", 0));

    for batch in 0..FLOOD / BATCH {
        let hashes: Vec<String> = (0..BATCH)
            .map(|at| {
                let number = u64::try_from(batch * BATCH + at).unwrap();
                bad.send(&network, 0, placing(B256::from(U256::from(number + 1)), PRICE, 600))
            })
            .collect();
        hashes.iter().for_each(|hash| drop(receipt(&network, 0, hash)));
    }
    assert_eq!(orders(&network), u64::try_from(FLOOD).unwrap());
    // Each has its money in escrow, and none of them is work until its customer comes with inputs.
    assert_eq!(balance(&network, MARKET), u128::try_from(FLOOD).unwrap() * PRICE);
    wait_until("the provider has seen the flood", || {
        (provider.text().matches("order placed here").count() == FLOOD).then_some(())
    });
    assert_eq!((records(&folder), provider.workers().len()), (0, 0));
    honest_order_is_done(&network, &mut provider);
}
