//! Maps in an ERC-20: two providers are paid to the token's last unit while both sides die, one approval serves all channels whenever the customer is killed,
//! and other maps of its account, a channel is filled again while its map runs, and a customer of its own making gets nothing for less than the list says.

use crate::{
    crooks::{CROOK, Crook, OPENS, Work, work},
    customer::{Loses, Lossy, nonce},
    map::{CHANNEL, CLOSELY, Job, claimed, same_files, wait_until},
    matching::ask,
    network::Network,
    parties::{Provider, account, balance, fees, statement, text},
    raw::soon,
    sender::{Draft, Sender},
    tokens::{CUSTOMER, Coin, HELD, MINT, PRICE, owner, shown},
    touchstone::signer,
};
use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
use alloy_signer::SignerSync as _;
use alloy_sol_types::{SolCall as _, SolEvent as _};
use keystead_blobs::{
    BlobStore as _, Capacity, Hash, Hello, MemoryStore, Parties, RefusalCode, SessionError,
    stream::{self, FromCustomer, FromProvider, Item, LeaseOffer, Link, pack, stream_digest},
};
use keystead_contracts::bindings::{
    bench_token::BenchToken,
    channel::{Channel, IChannel},
};
use keystead_payment::{Domain, Report, Sign, Signature, Voucher};
use serde_json::{Value, json};
use std::{fs, sync::Arc, time::Duration};

/// Chain id of the development network.
const CHAIN_ID: u64 = 19_283;
/// The provider that works for a little more.
const DEARER: u64 = PRICE + 1;

fn start(network: &Network, number: usize, listed: &[String]) -> Provider {
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let folder = network.directory.join(format!("provider-{number}"));
    Provider::start_as(network, &folder, number, &[&CLOSELY[..], &listed[..]].concat())
}

fn amount(value: &Value) -> u64 {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

/// What the lines of a kind moved in a token: in all in, in all out.
fn moved(account: &Value, kind: &str) -> (u64, u64) {
    let lines = account["lines"].as_array().unwrap();
    let sum =
        |field: &str| lines.iter().filter(|line| line["kind"] == kind).map(|line| amount(&line[field])).sum::<u64>();
    (sum("inWei"), sum("outWei"))
}

/// The only token of an account's statement, in which and in KST everything is explained.
fn in_token(network: &Network, number: usize, coin: &Coin<'_>) -> Value {
    let statement = statement(network, account(number));
    assert_eq!((&statement["unexplainedInWei"], &statement["unexplainedOutWei"]), (&json!("0"), &json!("0")));
    let tokens = statement["tokens"].as_array().unwrap_or_else(|| panic!("{statement}"));
    let [only] = tokens.as_slice() else { panic!("{statement}") };
    assert_eq!((&only["token"], &only["unit"], &only["decimals"]), (&json!(coin.address), &json!("BENCH"), &json!(18)));
    assert_eq!((&only["unexplainedInWei"], &only["unexplainedOutWei"]), (&json!("0"), &json!("0")), "{only}");
    let held = &only["held"];
    assert_eq!((&held["marketCreditWei"], &held["channelCreditWei"]), (&json!("0"), &json!("0")), "{only}");
    only.clone()
}

/// Two providers list the token, a third one only KST; the dearer one and the customer are killed on the way.
#[test]
fn a_map_in_a_token_is_paid_to_its_last_unit_while_both_sides_die_and_gas_alone_is_in_kst() {
    let network = Network::start(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let _first = start(&network, 1, &[coin.listed_at(PRICE)]);
    let mut second = start(&network, 3, &[coin.listed_at(DEARER)]);
    let _native = start(&network, 4, &[]);
    let parties = [1, CUSTOMER, 3, 4];
    let since = network.head(0).unwrap();
    let before = parties.map(|number| balance(&network, account(number)));

    let job = Job::align(&network, 20, 50);
    let token = coin.text();
    let in_it = ["--token", &token, "--silence-seconds", "10"];
    let (mut customer, log) = job.spawn(&network, &in_it);
    job.wait_for_steps(4, &mut customer, &log);
    customer.kill().unwrap();
    customer.wait().unwrap();
    second.kill();
    // In other money it is another map.
    let other = job.map(&network, &[]).output().unwrap();
    let said = text(&other);
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("is paid in the token {token}, not in KST")) && said.contains("--token"), "{said}");
    drop(second);
    let _second = start(&network, 3, &[coin.listed_at(DEARER)]);
    let (mut customer, _) = job.spawn(&network, &in_it);
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}");

    same_files(&job.out, &job.reference());
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!((job.settled(), &summary["unitsLeft"]), (units, &json!(0)), "each step once: {summary}");
    assert_eq!(summary["currency"], json!({"token": coin.address, "unit": "BENCH", "decimals": 18}));
    let providers = summary["providers"].as_array().unwrap();
    assert_eq!(providers.len(), 2, "who does not list it is not asked: {summary}");
    let earned = [1, 3].map(|number| u64::try_from(claimed(&summary, number)).unwrap());
    for (number, price, earned) in [(1, PRICE, earned[0]), (3, DEARER, earned[1])] {
        let of = |one: &&Value| one["account"].as_str().unwrap().eq_ignore_ascii_case(account(number));
        let one = providers.iter().find(of).unwrap();
        assert_eq!((&one["priceWei"], one["steps"].as_u64().unwrap() * price), (&json!(price.to_string()), earned));
        wait_until("it has its pay", || (coin.of(owner(number)) == earned).then_some(()));
    }
    let paid = earned[0] + earned[1];
    assert_eq!(amount(&summary["promisedWei"]), paid);
    for words in ["Price: at most ", &format!("in the token {token}: exactly "), "Gas beside it: at most ", " KST "] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    assert!(said.contains(&format!("{} were paid", shown(paid))), "{said}");

    // Every unit of the token, and every wei.
    wait_until("the channels are empty", || (coin.of(CHANNEL.parse().unwrap()) == 0).then_some(()));
    assert_eq!((coin.of(owner(CUSTOMER)), coin.of(owner(4))), (HELD - paid, 0));
    let approvals = coin.approvals(CUSTOMER);
    assert!(approvals.len() == 2 && approvals[0] >= paid && approvals[1] == 0, "one, and its end: {approvals:?}");
    assert_eq!((coin.approved_to(CUSTOMER, CHANNEL), balance(&network, CHANNEL)), (0, 0));
    for (number, before) in parties.into_iter().zip(before) {
        let spent = before - balance(&network, account(number));
        assert_eq!(spent, fees(&network, account(number), since), "account {number}");
    }

    // The statement of each, in the token and never mixed.
    let customer = in_token(&network, CUSTOMER, &coin);
    assert_eq!((amount(&customer["openingWei"]), amount(&customer["closingWei"])), (0, HELD - paid));
    let (back, put_in) = (moved(&customer, "channel-withdrawal").0, moved(&customer, "channel-deposit").1);
    assert_eq!((moved(&customer, "transfer"), put_in - back), ((HELD, 0), paid), "{customer}");
    for (number, earned) in [(1, earned[0]), (3, earned[1])] {
        let provider = in_token(&network, number, &coin);
        assert_eq!((moved(&provider, "channel-withdrawal"), amount(&provider["closingWei"])), ((earned, 0), earned));
    }
    assert!(statement(&network, account(4)).get("tokens").is_none());
    let (code, said) = ask(&network, &["statement", account(1)]);
    let row = format!("+{}  taken from payment channels", shown(earned[0]));
    assert!(code == Some(0) && said.contains(&format!("In the token {token}")) && said.contains(&row), "{said}");
}

#[test]
fn what_speaks_against_a_map_in_a_token_is_said_before_anything_is_sent() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy(&network, &mut mint, &[(CUSTOMER, PRICE - 1)]);
    let other = Coin::deploy(&network, &mut mint, &[(CUSTOMER, HELD)]);
    let _provider = start(&network, 1, &[coin.listed_at(PRICE)]);
    let (token, unlisted) = (coin.text(), other.text());
    let fails = |name: &str, more: &[&str], words: &[&str]| {
        let job = Job { out: network.directory.join(name), ..Job::align(&network, 4, 4) };
        let output = job.map(&network, more).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
    };
    fails("poor", &["--token", &token], &["insufficient funds", &format!("has {}", shown(PRICE - 1)), "BENCH more"]);
    fails("limit", &["--token", &token, "--max-price", "1"], &["--max-price is below", &shown(PRICE)]);
    fails("unlisted", &["--token", &unlisted], &["currency: ", "no --token"]);
    fails("named", &["--token", &unlisted, "--provider", account(1)], &["currency: "]);
    fails("stranger", &["--token", &token, "--provider", account(8)], &["is not registered"]);
    fails("none", &["--token", account(8)], &["there is no contract at", account(8)]);
    fails("audited", &["--token", &token, "--audit"], &["their fees are in KST"]);
    assert_eq!((nonce(&network, CUSTOMER), coin.approvals(CUSTOMER), other.approvals(CUSTOMER)), (0, vec![], vec![]));
}

#[test]
fn a_customer_killed_around_its_approval_approves_once_and_opens_one_channel() {
    let network = Network::beside(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let _provider = start(&network, 1, &[coin.listed_at(PRICE)]);
    let token = coin.text();
    let in_it = ["--token", &token, "--providers", "1"];
    let (mut spent, mut approvals) = (0, Vec::new());
    // The approval is lost on its way; it arrives and nothing is heard of it; the opening is lost on its way, and arrives unheard.
    let cuts = [
        ("approval-lost", Loses::Transactions, 0),
        ("approval-sent", Loses::Answers, 0),
        ("opening-lost", Loses::Transactions, 1),
        ("opening-sent", Loses::Answers, 1),
    ];
    for (name, loses, passing) in cuts {
        let job = Job { out: network.directory.join(name), ..Job::align(&network, 2, 2) };
        let lossy = Lossy::start_after(network.rpc[0], loses, passing);
        let mut customer = job.map_through(&network, &lossy.url(), &in_it).spawn().unwrap();
        lossy.wait_for(passing + 1);
        customer.kill().unwrap();
        customer.wait().unwrap();
        let output = job.map(&network, &in_it).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
        let summary = job.summary();
        let paid = PRICE * summary["spec"]["unitCount"].as_u64().unwrap();
        spent += paid;
        // What one provider can be paid for all of it, which its deposit uses up.
        approvals.push(paid);
        assert_eq!(coin.approvals(CUSTOMER), approvals, "{name}");
        assert_eq!(u64::try_from(claimed(&summary, 1)).unwrap(), paid, "{name}: {summary}");
        assert_eq!((coin.of(owner(CUSTOMER)), coin.approved_to(CUSTOMER, CHANNEL)), (HELD - spent, 0), "{name}");
        wait_until("the provider has its pay", || (coin.of(owner(1)) == spent).then_some(()));
        assert_eq!(coin.of(CHANNEL.parse().unwrap()), 0, "{name}: a second channel");
    }
}

/// Amounts that channels were filled with again, in their order.
fn fillings(network: &Network) -> Vec<u64> {
    let filter = json!({"address": CHANNEL, "fromBlock": "0x0", "topics": [Channel::ToppedUp::SIGNATURE_HASH]});
    let logs = network.call(0, "eth_getLogs", json!([filter]));
    let amount = |log: &Value| {
        let data: Bytes = serde_json::from_value(log["data"].clone()).unwrap();
        U256::from_be_slice(&data[..32]).to::<u64>()
    };
    logs.as_array().unwrap().iter().map(amount).collect()
}

/// More steps than the first deposit pays. The customer is killed around the filling: before any node has it, and when it has arrived unheard.
#[test]
fn a_channel_in_a_token_is_filled_again_once_while_a_map_runs_and_pays_to_the_last_unit() {
    const FIRST_STEPS: u64 = 256;
    const GIVEN: u64 = 3 * HELD;
    let network = Network::start(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, GIVEN)]);
    let _provider = start(&network, 1, &[coin.listed_at(PRICE)]);
    let token = coin.text();
    let in_it = ["--token", &token, "--providers", "1"];
    let reference = Job::align(&network, 40, 110).reference();
    let (mut spent, mut approvals, mut filled) = (0, Vec::new(), 0);
    for (name, loses) in [("whole", None), ("lost", Some(Loses::Transactions)), ("sent", Some(Loses::Answers))] {
        let job = Job { out: network.directory.join(name), ..Job::align(&network, 40, 110) };
        if let Some(loses) = loses {
            // Its approval and its opening pass.
            let lossy = Lossy::start_after(network.rpc[0], loses, 2);
            let mut customer = job.map_through(&network, &lossy.url(), &in_it).spawn().unwrap();
            lossy.wait_for(3);
            customer.kill().unwrap();
            customer.wait().unwrap();
            assert!(job.settled() > FIRST_STEPS / 2, "{name}: filled after {} steps", job.settled());
            let arrived = filled + usize::from(loses == Loses::Answers);
            wait_until("what was sent is in a block", || (fillings(&network).len() >= arrived).then_some(()));
            assert_eq!(fillings(&network).len(), arrived, "{name}");
        }
        let output = job.map(&network, &in_it).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
        same_files(&job.out, &reference);
        let summary = job.summary();
        let units = summary["spec"]["unitCount"].as_u64().unwrap();
        let paid = PRICE * units;
        assert!((FIRST_STEPS + 1..=2 * FIRST_STEPS).contains(&units), "one filling is enough, and needed: {units}");
        assert_eq!((job.settled(), u64::try_from(claimed(&summary, 1)).unwrap()), (units, paid), "{name}: {summary}");
        // What the first deposit does not pay, and not more.
        assert_eq!(fillings(&network)[filled..], [paid - FIRST_STEPS * PRICE], "{name}");
        filled += 1;
        spent += paid;
        // One for both, which they use up.
        approvals.push(paid);
        assert_eq!((coin.approvals(CUSTOMER), coin.approved_to(CUSTOMER, CHANNEL)), (approvals.clone(), 0), "{name}");
        wait_until("the provider has its pay", || (coin.of(owner(1)) == spent).then_some(()));
        assert_eq!((coin.of(owner(CUSTOMER)), coin.of(CHANNEL.parse().unwrap())), (GIVEN - spent, 0), "{name}");
    }
    let (customer, provider) = (in_token(&network, CUSTOMER, &coin), in_token(&network, 1, &coin));
    assert_eq!((moved(&customer, "channel-deposit"), moved(&customer, "channel-withdrawal")), ((0, spent), (0, 0)));
    assert_eq!((moved(&provider, "channel-withdrawal"), amount(&provider["closingWei"])), ((spent, 0), spent));
}

/// The first map is killed while most of its approval is left: the second one uses that and takes the rest back at its end, and the first one goes on without.
#[test]
fn maps_of_one_account_in_one_token_share_an_approval_and_who_ends_takes_the_rest_back() {
    let network = Network::beside(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let _provider = start(&network, 1, &[coin.listed_at(PRICE)]);
    let token = coin.text();
    let in_it = ["--token", &token];
    let [first, second] =
        ["first", "second"].map(|name| Job { out: network.directory.join(name), ..Job::align(&network, 20, 50) });
    let (mut customer, log) = first.spawn(&network, &in_it);
    first.wait_for_steps(1, &mut customer, &log);
    customer.kill().unwrap();
    customer.wait().unwrap();
    let approved = coin.approvals(CUSTOMER);
    assert!(approved.len() == 1 && coin.approved_to(CUSTOMER, CHANNEL) > 0, "{approved:?}");

    let shared = vec![approved[0], 0];
    for job in [&second, &first] {
        let output = job.map(&network, &in_it).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("No channel for provider"), "{said}");
        assert_eq!((coin.approvals(CUSTOMER), coin.approved_to(CUSTOMER, CHANNEL)), (shared.clone(), 0), "{said}");
        same_files(&job.out, &job.reference());
    }
    let units = second.summary()["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!((first.settled(), second.settled()), (units, units));
    wait_until("the provider has its pay", || (coin.of(owner(1)) == 2 * units * PRICE).then_some(()));
    assert_eq!((coin.of(owner(CUSTOMER)), coin.of(CHANNEL.parse().unwrap())), (HELD - 2 * units * PRICE, 0));
}

/// The channel's key.
struct Key;

impl Sign for Key {
    type Error = alloy_signer::Error;

    fn sign(&self, digest: B256) -> Result<Signature, Self::Error> {
        Ok(Signature(FixedBytes(signer(CROOK).sign_hash_sync(&digest)?.as_bytes())))
    }
}

/// Opens a channel with the first provider.
fn open(crook: &mut Crook<'_>, network: &Network, coin: &Coin<'_>, deposit: u64) -> B256 {
    let contract: Address = CHANNEL.parse().unwrap();
    let approve = BenchToken::approveCall { spender: contract, value: U256::from(deposit) };
    crook.sender.settle(network, 0, coin.draft(&approve));
    let terms = IChannel::Terms {
        provider: owner(1),
        signer: owner(CROOK),
        token: coin.address,
        challengeSeconds: 60,
        lifeSeconds: 86_400,
    };
    let input = Channel::openCall { terms, amount: deposit.into() }.abi_encode().into();
    let receipt = crook.sender.settle(network, 0, Draft { to: Some(contract), input, value: 0, gas: 500_000 });
    let topic = json!(Channel::ChannelOpened::SIGNATURE_HASH);
    let opened = receipt["logs"].as_array().unwrap().iter().find(|log| log["topics"][0] == topic).unwrap();
    opened["topics"][1].as_str().unwrap().parse().unwrap()
}

/// Says hello for a channel, with all that the job needs.
async fn dial(crook: &Crook<'_>, job: &Work, channel: B256) -> Result<(Link<FromProvider>, LeaseOffer), SessionError> {
    let parties = Parties { customer: crook.endpoint.id(), provider: crook.to.id() };
    let credential = signer(CROOK).sign_hash_sync(&stream_digest(channel, parties)).unwrap();
    let hello = Hello {
        order: U256::from_be_bytes(channel.0),
        job: job.spec.encode().into(),
        credential: Bytes::copy_from_slice(&credential.as_bytes()),
    };
    let store = Arc::new(MemoryStore::new(Capacity::default()));
    let bytes = pack::encode(&[&job.blobs[3]]);
    let mut given: Vec<Hash> = job.blobs[..2].iter().map(|blob| store.put(blob).unwrap()).collect();
    given.push(store.put(&bytes).unwrap());
    let offer = LeaseOffer {
        number: 1 << 32,
        milliseconds: 60_000,
        pack: Hash::of(&bytes).into(),
        pack_bytes: bytes.len() as u64,
        items: vec![Item { unit: 0, first: 0, count: 1, given: 0 }],
    };
    // The provider's node may be a block behind ours.
    for _ in 0..OPENS {
        match soon(stream::dial(&crook.endpoint, &crook.to, hello.clone(), store.clone())).await {
            Err(SessionError::Refused(refusal))
                if matches!(refusal.code, RefusalCode::ChainUnavailable | RefusalCode::Busy) => {}
            Ok((link, holding)) => {
                assert_eq!(holding, None);
                link.offer(given);
                return Ok((link, offer));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the provider does not know channel {channel}");
}

/// What comes of a lease: nothing but beats before that.
async fn outcome(link: &mut Link<FromProvider>) -> FromProvider {
    loop {
        match soon(link.next()).await.unwrap() {
            FromProvider::Beat { .. } | FromProvider::Note(_) => {}
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_channel_in_a_token_that_is_not_listed_and_pay_below_the_list_get_nothing() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy(&network, &mut mint, &[(CROOK, HELD)]);
    let worthless = Coin::deploy(&network, &mut mint, &[(CROOK, HELD)]);
    let mut provider = start(&network, 1, &[coin.listed_at(PRICE)]);
    let since = network.head(0).unwrap();
    let mut crook = Crook::new(&network).await;
    let job = work(4);

    // What the chain says that the channel is in is not listed; much of it changes nothing.
    let channel = open(&mut crook, &network, &worthless, HELD);
    let Err(SessionError::Refused(refusal)) = dial(&crook, &job, channel).await else { panic!("it was let in") };
    assert_eq!(refusal.code, RefusalCode::Unsupported, "{refusal}");
    assert!(refusal.to_string().contains("lists no price in the token"), "{refusal}");

    // One unit less than a step costs: the lease comes back, and nothing is done for it.
    let channel = open(&mut crook, &network, &coin, PRICE - 1);
    let (mut link, lease) = dial(&crook, &job, channel).await.unwrap();
    link.say(&FromCustomer::Lease(lease)).await.unwrap();
    let FromProvider::GivenBack { end, .. } = outcome(&mut link).await else { panic!("it works for less") };
    let reason = end.reason.to_string();
    assert!(reason.contains(&format!("needed={PRICE} deposit={}", PRICE - 1)), "{reason}");
    drop(link);
    assert_eq!(fees(&network, account(1), since), 0, "nothing of it cost the provider a fee");

    // The deposit is there, the voucher is for less: it is not taken, and the right one is.
    let channel = open(&mut crook, &network, &coin, 2 * PRICE);
    let (mut link, lease) = dial(&crook, &job, channel).await.unwrap();
    let number = lease.number;
    link.say(&FromCustomer::Lease(lease)).await.unwrap();
    let FromProvider::Report(window) = outcome(&mut link).await else { panic!("no report") };
    let Report { window, units, root, .. } = Report::from_bytes(&window.report).unwrap();
    for pay in [PRICE - 1, PRICE] {
        let (cumulative, history) = (pay.into(), B256::ZERO);
        let voucher = Voucher { channel_id: channel, window, units, cumulative, held_back: 0, root, history };
        let signed = voucher.sign(&Domain::of_chain(CHAIN_ID), &Key).unwrap().to_bytes().into();
        link.say(&FromCustomer::Voucher { lease: number, signed }).await.unwrap();
        if pay < PRICE {
            provider.wait_for("a voucher is not taken");
        }
    }
    link.say(&FromCustomer::Bye).await.unwrap();
    assert!(link.part().await);
    wait_until("it is paid what it listed", || (coin.of(owner(1)) == PRICE).then_some(()));
    assert_eq!(worthless.of(owner(1)), 0);
}
