//! Who gets an order, and why not: several providers of different prices and machines, paused ones, liars, and those who give no record.

use crate::{
    customer::send,
    disk_pulse::{DiskPulse, now_ms},
    market::{SMALL, job, order},
    network::{KEYSTEAD, Network, wait_until},
    parties::{PRICE, Provider, account, text},
};
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolCall as _;
use keystead_blobs::{
    Authorise, Availability, Capacity, Config, Endpoint, Failure, Handler, Hello, Inform, Inquiries, Job, MemoryStore,
    NodeId, Reason, Refusal, RefusalCode, State, serve_with,
};
use keystead_contracts::bindings::providers::{IProviders, Providers};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command, sync::Arc};

const PROVIDERS: &str = "0x4b53540000000000000000000000000000000001";

pub(crate) fn ask(network: &Network, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(KEYSTEAD);
    command.args(words).args(["--rpc", &network.url(0)]).env("KEYSTEAD_RECORDS", network.directory.join("records"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output.status.code(), if said.is_empty() { text(&output) } else { said })
}

pub(crate) fn why_not(network: &Network, words: &[&str]) -> (Option<i32>, Value) {
    let (code, said) = ask(network, &[&["why-not"], words, &["--json"]].concat());
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}")))
}

/// How many providers are left out for a reason.
fn left_out(answer: &Value, code: &str) -> u64 {
    let all = answer["leftOut"].as_array().unwrap();
    all.iter().find(|one| one["code"] == code).map_or(0, |one| one["providers"].as_u64().unwrap())
}

fn fallen(answer: &Value, filter: &str) -> u64 {
    let all = answer["fallen"].as_array().unwrap();
    all.iter().find(|one| one["filter"] == filter).map_or(0, |one| one["any"].as_u64().unwrap())
}

pub(crate) fn offers(network: &Network) -> Vec<Value> {
    let (code, said) = ask(network, &["offers", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).unwrap()
}

pub(crate) fn entry(network: &Network, account: &str) -> IProviders::Provider {
    let call = Providers::providerCall { account: account.parse().unwrap() };
    let data = alloy_primitives::hex::encode_prefixed(call.abi_encode());
    let answer = network.call(0, "eth_call", json!([{"to": PROVIDERS, "data": data}, "latest"]));
    let bytes: Bytes = serde_json::from_value(answer).unwrap();
    Providers::providerCall::abi_decode_returns(&bytes).unwrap()
}

fn say(folder: &Path, words: &[&str]) {
    assert!(Command::new(KEYSTEAD).args(["provide", "--dir"]).arg(folder).args(words).status().unwrap().success());
}

#[test]
fn the_cheapest_that_fits_and_takes_orders_gets_the_job_at_the_price_that_was_said_before() {
    let network = Network::start(1);
    let folder = |name: &str| network.directory.join(name);
    let clean = ["--country", "FR", "--watts", "60", "--carbon", "20"];
    let _dear = Provider::start_at(&network, &folder("dear"), 1, PRICE * 3, &clean);
    let _paused = Provider::start_at(&network, &folder("paused"), 3, PRICE / 2, &["--country", "DE"]);
    let dirty = ["--country", "DE", "--operator", "m", "--watts", "60", "--carbon", "900"];
    let _middle = Provider::start_at(&network, &folder("middle"), 4, PRICE * 2, &dirty);
    say(&folder("paused"), &["--pause"]);
    // On a busy machine nobody is left out who answers a moment later.
    let always = ["align", "--value-of-time", "0", "--patience-ms", "20000"];
    let asked = |words: &[&str]| why_not(&network, &[&always[..], words].concat());
    // The pause is a file that the provider reads within a second.
    let (code, answer) = wait_until("the owner's pause is answered", || {
        let (code, answer) = asked(&[]);
        (left_out(&answer, "owner") == 1 && answer["matched"] == 2).then_some((code, answer))
    });
    assert_eq!(code, Some(0));
    assert_eq!(answer["best"][0]["offer"]["pricePerUnit"], json!(alloy_primitives::U256::from(PRICE * 2)));
    // Of two machines that differ in price and carbon the cleaner one is the best, where carbon is worth something.
    let (code, clean) = asked(&["--value-of-carbon", &keystead_market::need::VALUE_MAX.to_string()]);
    let best = |answer: &Value| answer["best"][0]["offer"]["key"]["provider"].as_str().unwrap().to_lowercase();
    assert_eq!(
        (code, clean["matched"].as_u64(), best(&clean)),
        (Some(0), Some(2), account(1).to_lowercase()),
        "{clean}"
    );
    assert_eq!(best(&answer), account(4).to_lowercase(), "{answer}");
    let carbon: Vec<bool> =
        clean["best"].as_array().unwrap().iter().map(|one| one["offer"]["carbonClaimed"].as_bool().unwrap()).collect();
    assert_eq!(carbon, [true, true], "{clean}");
    let (_, said) = ask(&network, &["offers"]);
    assert!(said.contains("20 g of carbon dioxide a kWh") && said.contains("900 g of carbon dioxide a kWh"), "{said}");

    // Nobody fits: each answer says where they fall, and the cheapest change that brings one in.
    let (code, answer) = asked(&["--country", "NL"]);
    assert_eq!(
        (code, fallen(&answer, "region"), answer["matched"].as_u64()),
        (Some(1), answer["offers"].as_u64().unwrap(), Some(0))
    );
    assert_eq!(answer["singles"][0]["options"][0], "--country DE");
    let cap = (PRICE * 2 - 1).to_string();
    let (code, answer) = asked(&["--max-price", &cap]);
    assert_eq!((code, &answer["singles"][0]["options"][0]), (Some(1), &json!(format!("--max-price {}", PRICE * 2))));
    let (code, _) = asked(&["--max-price", &(PRICE * 2).to_string()]);
    assert_eq!(code, Some(0), "what is advised works");
    let (code, answer) = asked(&["--not-operator", "m", "--not-provider", account(1)]);
    assert_eq!((code, fallen(&answer, "operator") > 0), (Some(1), true));

    let out = network.directory.join("result");
    let output =
        order(&network, SMALL, &out).args(["--value-of-time", "0", "--patience-ms", "20000"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let job = job(&out);
    assert!(job["provider"].as_str().unwrap().eq_ignore_ascii_case(account(4)), "{job}");
    let units = u128::from(job["spec"]["unitCount"].as_u64().unwrap());
    assert_eq!(job["escrowWei"], (PRICE * 2 * units).to_string());
    let priced = said.find("after the order nothing changes it").unwrap_or_else(|| panic!("no firm price in: {said}"));
    assert!(priced < said.find("placed;").unwrap(), "the price comes first: {said}");
    // The same question about the job that was done.
    let (code, answer) = asked_about(&network, &out.join("job.json"));
    assert_eq!((code, answer["units"].as_u64()), (Some(0), Some(units as u64)));
}

/// The cheaper one says that it stands elsewhere, and delivered a wrong result: each of both alone leaves it out, if it is asked for.
#[test]
fn who_stands_elsewhere_or_failed_more_than_it_completed_is_left_out_with_the_option_that_brings_it_in() {
    let network = Network::start(1);
    let folder = |name: &str| network.directory.join(name);
    let wrong = ["--country", "DE", "--fault-seed", "7"];
    let cheap = Provider::start_at(&network, &folder("cheap"), 1, PRICE, &wrong);
    let _dear = Provider::start_at(&network, &folder("dear"), 3, PRICE * 2, &["--country", "FR"]);
    assert!(cheap.text().contains("country   DE, as you claim"), "{}", cheap.text());
    // On a busy machine nobody is left out who answers a moment later.
    let patient = ["--value-of-time", "0", "--patience-ms", "20000"];
    let asked = |words: &[&str]| why_not(&network, &[&["align"], &patient[..], words].concat());
    let run = |name: &str, words: &[&str]| {
        let out = folder(name);
        let output = order(&network, SMALL, &out).args(patient).args(words).output().unwrap();
        (output.status.code(), text(&output), out)
    };
    wait_until("both are known", || (asked(&[]).1["matched"] == 2).then_some(()));
    let (code, said, out) = run("spoilt", &["--attempts", "1", "--sample-rate", "100"]);
    assert_eq!((code, &job(&out)["status"]), (Some(1), &json!("rejected")), "{said}");
    assert!(said.contains("It claims to stand in DE; nobody checked that."), "{said}");

    // It failed one order of one: with one of each sort beside it a third is completed.
    let (code, answer) = asked(&["--min-completed", "50"]);
    assert_eq!(
        (code, answer["matched"].as_u64(), fallen(&answer, "reputation") > 0),
        (Some(0), Some(1), true),
        "{answer}"
    );
    assert_eq!(answer["best"][0]["claimedCountry"], "FR", "{answer}");
    assert_eq!(answer["singles"][0]["options"][0], "--min-completed 33", "{answer}");
    let strict = ["--min-completed", "50", "--country", "DE"];
    let (code, answer) = asked(&strict);
    let options: Vec<&Value> =
        answer["singles"].as_array().unwrap().iter().map(|single| &single["options"][0]).collect();
    assert_eq!((code, options), (Some(1), vec![&json!("--min-completed 33"), &json!("--country FR")]), "{answer}");
    let (_, said) = ask(&network, &[&["why-not", "align"], &patient[..], &strict].concat());
    assert!(said.contains("; it completed 0 of 1 orders"), "{said}");
    let (code, answer) = asked(&["--min-completed", "33", "--country", "DE"]);
    assert_eq!(code, Some(0), "what is advised works: {answer}");

    // A name is no word about where data goes.
    let (code, said, out) = run("named", &["--provider", account(1), "--country", "FR"]);
    assert!(code == Some(1) && said.contains("(--country DE)"), "{said}");
    assert!(!out.join("order.json").exists());
    let (code, said, out) = run("result", &["--country", "FR,NL"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(job(&out)["provider"].as_str().unwrap().eq_ignore_ascii_case(account(3)), "{said}");
    assert!(said.contains("It claims to stand in FR; nobody checked that."), "{said}");

    let (code, said) = ask(&network, &["offers", "--country", "DE"]);
    assert!(code == Some(0) && said.contains(account(1)) && !said.contains(account(3)), "{said}");
    assert!(said.contains("claimed: country DE") && said.contains("orders:  0 completed, 1 failed"), "{said}");
}

fn asked_about(network: &Network, job: &Path) -> (Option<i32>, Value) {
    wait_until("providers answer", || {
        let (code, answer) = why_not(network, &[job.to_str().unwrap()]);
        (answer["matched"] != 0).then_some((code, answer))
    })
}

#[test]
fn a_processor_is_no_gpu_and_the_refusal_comes_within_two_seconds_with_what_would_help() {
    let network = Network::alone(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    wait_until("its record is known", || (why_not(&network, &["value-at-risk"]).1["matched"] == 1).then_some(()));
    // What the machine itself stands still is taken off.
    let (machine, since) = (DiskPulse::start(&network.directory), now_ms());
    let (code, answer) = why_not(&network, &["value-at-risk", "--hardware", "gpu"]);
    let until = now_ms();
    let took = machine.end().own(since, until);
    assert_eq!((code, answer["matched"].as_u64()), (Some(1), Some(0)));
    assert!(fallen(&answer, "hardware") > 0, "{answer}");
    assert_eq!(answer["singles"][0]["options"][0], "--hardware cpu", "{answer}");
    println!("no match after {took} ms");
    assert!(took < 2_000, "{took} ms, of {} ms in all", until - since);
    let listed = offers(&network);
    let adapter = &listed[0]["claimed"]["adapters"][0];
    assert_eq!((&adapter["is"], &adapter["kind"]), (&json!("software"), &json!("cpu")), "{adapter}");
    assert_eq!(listed[0]["proved"], json!([]), "claimed is not proved");
    let (code, said) = ask(&network, &["offers"]);
    assert!(code == Some(0) && said.contains("claimed: ") && said.contains("proved: nothing"), "{said}");
    let unknown = ask(&network, &["why-not", "no-such-recipe"]);
    assert!(unknown.0 == Some(1) && unknown.1.contains("value-at-risk"), "{}", unknown.1);
    // Drivers can be hidden from a worker on Linux only.
    if cfg!(target_os = "linux") {
        an_interpreter_is_for_who_asks_for_it_alone(&network);
    }
}

/// Beside a provider with a driver, account 1: one without any, at the least price there is.
fn an_interpreter_is_for_who_asks_for_it_alone(network: &Network) {
    let hidden = ["--interpreter", "--vulkan-driver", "/nowhere.json"];
    let interpreter = Provider::start_at(network, &network.directory.join("interpreter"), 3, 1, &hidden);
    let told = interpreter.text();
    assert!(told.contains("offered as an interpreter, for orders of who asks for it"), "{told}");
    let adapter = wait_until("its record is served", || {
        let mut adapters = offers(network).into_iter().map(|one| one["claimed"]["adapters"][0].clone());
        adapters.find(|adapter| adapter["kind"] == "interpreter")
    });
    assert_eq!(adapter["is"], "software", "{adapter}");
    let run = |name: &str, more: &[&str]| {
        let out = network.directory.join(name);
        let mut command = Command::new(KEYSTEAD);
        command.args(["run", "sha256-search", "--set", "nonces=65536", "--set", "nonces-per-unit=16384"]);
        command.args(["--dev-account", "2", "--patience-ms", "20000", "--rpc", &network.url(0), "--out"]).arg(&out);
        let output = command.args(more).output().unwrap();
        (output.status.code(), text(&output), out)
    };
    let does = |out: &Path| {
        let job = job(out);
        (job["provider"].as_str().unwrap().to_lowercase(), job["status"].as_str().unwrap().to_owned())
    };
    let (code, said, out) = run("unasked", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(does(&out), (account(1).to_lowercase(), "accepted".to_owned()), "the cheaper one is not even looked at");
    let (code, said, out) = run("named", &["--provider", account(3)]);
    assert!(code == Some(1) && !out.join("order.json").exists(), "{said}");
    let (code, said, out) = run("asked", &["--hardware", "interpreter"]);
    assert_eq!(code, Some(0), "{said}\n{}", interpreter.text());
    assert_eq!(does(&out), (account(3).to_lowercase(), "accepted".to_owned()), "{said}");
    // By the speed that it measured no job is taken that cannot be done in time.
    let large = ["sha256-search", "--set", "nonces=268435456", "--set", "nonces-per-unit=268435456"];
    let soon = ["--hardware", "interpreter", "--deadline", "1", "--patience-ms", "20000"];
    let (code, answer) = why_not(network, &[&large[..], &soon].concat());
    let helps = |one: &Value| one["options"][0].as_str().is_some_and(|option| option.starts_with("--deadline "));
    assert!(code == Some(1) && answer["singles"].as_array().unwrap().iter().any(helps), "{answer}");
}

#[test]
fn the_register_holds_the_hash_of_the_record_that_is_served_and_a_new_price_is_a_new_record() {
    let network = Network::start(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let served = |network: &Network| {
        wait_until("the record is served", || {
            offers(network).into_iter().next().filter(|one| !one["claimed"].is_null())
        })
    };
    let first = served(&network);
    let hash = entry(&network, account(1)).capabilityHash;
    assert_eq!(first["capabilityHash"], json!(hash));
    let kept: Value = serde_json::from_str(&fs::read_to_string(folder.join("record.json")).unwrap()).unwrap();
    assert_eq!(kept["claimed"], first["claimed"]);
    assert_eq!(provider.interrupt(), Some(0));
    let mut again = Provider::start_at(&network, &folder, 1, PRICE * 2, &["--price-per-mop", "3"]);
    let second = served(&network);
    let entry = entry(&network, account(1));
    assert_eq!((entry.priceWeiPerUnit, second["capabilityHash"].clone()), (PRICE * 2, json!(entry.capabilityHash)));
    assert_ne!(entry.capabilityHash, hash);
    assert_eq!(second["claimed"]["prices"][0]["perMop"], 3);

    // What a job allows itself is what it costs: the same figure before and after.
    let out = network.directory.join("result");
    let output = order(&network, SMALL, &out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let (job, answer) = (job(&out), asked_about(&network, &out.join("job.json")).1);
    let per_unit: alloy_primitives::U256 =
        serde_json::from_value(answer["best"][0]["offer"]["pricePerUnit"].clone()).unwrap();
    let work = answer["workMopPerUnit"].as_u64().unwrap();
    assert_eq!(per_unit, alloy_primitives::U256::from((PRICE * 2).max(u128::from(work) * 3)));
    let units = alloy_primitives::U256::from(job["spec"]["unitCount"].as_u64().unwrap());
    assert_eq!(job["escrowWei"], (per_unit * units).to_string());
    again.wait_for("order paid");
}

/// What a provider that is no honest one says to who asks.
struct Stranger {
    record: Option<Bytes>,
    availability: Availability,
}

impl Inform for Stranger {
    fn record(&self, _: [u8; 32]) -> Option<Bytes> {
        self.record.clone()
    }

    fn state(&self) -> State {
        State {
            availability: self.availability,
            reason: Reason::new("\u{1b}[31mstranger"),
            lanes: 1,
            lanes_free: 1,
            waiting: 0,
            queue_ms: 0,
            memory_mib: 1 << 20,
        }
    }
}

/// Takes no session.
pub(crate) struct Closed;

impl Authorise for Closed {
    async fn authorise(&self, _: NodeId, _: &Hello) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::NotAssigned, "closed"))
    }
}

impl Handler for Closed {
    async fn run(&self, _: &mut Job) -> Result<(), Failure> {
        Ok(())
    }
}

/// Registers a test account with this hash, and an endpoint that answers as it likes.
async fn stranger(
    network: &Network,
    number: usize,
    hash: B256,
    inform: Stranger,
) -> (Endpoint, keystead_blobs::Server) {
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let store = Arc::new(MemoryStore::new(Capacity::default()));
    let desk = Inquiries::new(Arc::new(inform));
    let server = serve_with(&endpoint, store, Closed, Closed, vec![Arc::new(desk)]);
    register(network, number, hash, endpoint.id(), &endpoint.address().unwrap().to_string());
    (endpoint, server)
}

pub(crate) fn register(network: &Network, number: usize, hash: B256, node: NodeId, endpoint: &str) {
    let offer = IProviders::Offer {
        nodeId: node.as_bytes().into(),
        capabilityHash: hash,
        priceWeiPerUnit: 1,
        endpoint: endpoint.to_owned(),
    };
    send(network, number, PROVIDERS, &Providers::registerCall { offer }.abi_encode());
}

/// All of them are cheaper than the honest one, which gets the order all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_withholds_forges_or_borrows_a_record_or_is_nobody_gets_no_order_and_is_named() {
    let network = Network::start(1);
    let mut honest = Provider::start(&network, &network.directory.join("honest"));
    let listed = wait_until("the record is served", || {
        offers(&network).into_iter().next().filter(|one| !one["claimed"].is_null())
    });
    let borrowed: B256 = serde_json::from_value(listed["capabilityHash"].clone()).unwrap();
    let file = network.directory.join("records").join(format!("{borrowed:x}"));
    let record = Bytes::from(fs::read(&file).unwrap());
    let (forged, taking) = (B256::repeat_byte(1), Availability::Taking);
    let withheld = stranger(&network, 3, forged, Stranger { record: None, availability: taking }).await;
    let wrong = Stranger { record: Some(record.clone()), availability: taking };
    let lying = stranger(&network, 4, forged, wrong).await;
    let other = Stranger { record: Some(record), availability: taking };
    let borrowing = stranger(&network, 5, borrowed, other).await;
    let gone = Endpoint::bind(Config::loopback()).await.unwrap();
    register(&network, 6, forged, gone.id(), &gone.address().unwrap().to_string());
    register(&network, 7, B256::ZERO, gone.id(), &gone.address().unwrap().to_string());
    register(&network, 8, forged, gone.id(), "\u{1b}[31mnowhere");
    gone.close().await;

    let (code, answer) = wait_until("all have answered", || {
        let (code, answer) = why_not(&network, &["align"]);
        (left_out(&answer, "record-wrong") == 2 && answer["matched"] == 1).then_some((code, answer))
    });
    assert_eq!((code, answer["providers"].as_u64()), (Some(0), Some(7)), "{answer}");
    assert_eq!((left_out(&answer, "no-record"), left_out(&answer, "endpoint")), (1, 1), "{answer}");
    // Who is gone has not answered when patience is over, or is known not to be there.
    let silent = left_out(&answer, "record-not-available") + left_out(&answer, "not-asked");
    assert_eq!(silent, 2, "{answer}");
    let words = wait_until("both liars are named", || {
        let words = ask(&network, &["why-not", "align"]).1;
        (words.contains("another hash") && words.contains("another account")).then_some(words)
    });
    assert!(!words.contains('\u{1b}'), "{words:?}");

    let out = network.directory.join("result");
    let output = order(&network, SMALL, &out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let provider: Address = job(&out)["provider"].as_str().unwrap().parse().unwrap();
    assert_eq!(provider, account(1).parse::<Address>().unwrap());
    honest.wait_for("order paid");
    // Named, a liar is refused before anything is paid.
    let named = network.directory.join("named");
    let output = order(&network, SMALL, &named).args(["--provider", account(4)]).output().unwrap();
    assert!(output.status.code() == Some(1) && text(&output).contains("another record"), "{}", text(&output));
    assert!(!named.join("order.json").exists());
    // Who gives no record is tried if it is named, but not where its country matters.
    let unknown = network.directory.join("unknown");
    let output = order(&network, SMALL, &unknown).args(["--provider", account(3), "--country", "DE"]).output().unwrap();
    let said = text(&output);
    assert!(
        output.status.code() == Some(1) && said.contains("meets --country and --min-completed is not known"),
        "{said}"
    );
    assert!(!unknown.join("order.json").exists());
    drop((withheld, lying, borrowing));
}
