//! Orders in an ERC-20, with a provider and a customer as processes of their own: who pays whom, to the smallest unit of the token and to the wei.

use crate::{
    crooks::{CROOK, Crook, SECONDS, inputs, stored, work},
    customer::{
        Customer, Loses, Lossy, SMALL, ends, json_file, nonce, orders, run, run_through, stopped_after_the_plan,
    },
    matching::{ask, why_not},
    network::{Network, PATIENCE, number, wait_until},
    parties::{MARKET, Provider, account, balance, fees, statement, text, verify},
    sender::{Draft, Sender},
};
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::{SolCall, SolConstructor as _, SolEvent as _};
use keystead_blobs::RefusalCode;
use keystead_contracts::{
    bindings::{
        bench_token::BenchToken,
        fee_token::FeeToken,
        market::{IMarket, Market},
    },
    storage::Status,
};
use keystead_market::Unit;
use serde_json::{Value, json};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Smallest units a unit.
pub(crate) const PRICE: u64 = 1_003;
/// What the customer is given.
pub(crate) const HELD: u64 = 1_000_000;
/// What there is of a token.
const SUPPLY: U256 = U256::from_limbs([1_000_000_000, 0, 0, 0]);
/// The test account that mints; nobody else uses it.
pub(crate) const MINT: u32 = 9;
pub(crate) const CUSTOMER: usize = 2;

/// OpenZeppelin's ERC-20 on a network, or one that can keep a fee.
pub(crate) struct Coin<'a> {
    network: &'a Network,
    pub(crate) address: Address,
}

impl<'a> Coin<'a> {
    /// Deploys it, and gives these accounts their share.
    pub(crate) fn deploy(network: &'a Network, mint: &mut Sender, shares: &[(usize, u64)]) -> Self {
        let supply = BenchToken::constructorCall { supply: SUPPLY }.abi_encode();
        Self::create(network, mint, [&BenchToken::BYTECODE[..], supply.as_slice()].concat().into(), shares)
    }

    /// The same of one that keeps a fee once it is told to.
    pub(crate) fn deploy_with_fee(network: &'a Network, mint: &mut Sender, shares: &[(usize, u64)]) -> Self {
        let supply = FeeToken::constructorCall { supply: SUPPLY }.abi_encode();
        Self::create(network, mint, [&FeeToken::BYTECODE[..], supply.as_slice()].concat().into(), shares)
    }

    fn create(network: &'a Network, mint: &mut Sender, input: Bytes, shares: &[(usize, u64)]) -> Self {
        let address = mint.next_contract();
        mint.settle(network, 0, Draft { to: None, input, value: 0, gas: 2_000_000 });
        let coin = Self { network, address };
        for (number, amount) in shares {
            let transfer = BenchToken::transferCall { to: owner(*number), value: U256::from(*amount) };
            mint.settle(network, 0, coin.draft(&transfer));
        }
        coin
    }

    /// From now on who receives some of it loses so many millionths.
    pub(crate) fn keeps(&self, mint: &mut Sender, ppm: u64) {
        mint.settle(self.network, 0, self.draft(&FeeToken::keepCall { ppm: U256::from(ppm) }));
    }

    /// What an account lost by that.
    pub(crate) fn kept_from(&self, number: usize) -> u64 {
        let topics = [BenchToken::Transfer::SIGNATURE_HASH, owner(number).into_word(), Address::ZERO.into_word()];
        let filter = json!({"address": self.address, "fromBlock": "0x0", "topics": topics});
        let logs = self.network.call(0, "eth_getLogs", json!([filter]));
        logs.as_array().unwrap().iter().map(|log| number_of(&log["data"])).sum()
    }

    pub(crate) fn draft<C: SolCall>(&self, call: &C) -> Draft {
        Draft { to: Some(self.address), input: call.abi_encode().into(), value: 0, gas: 200_000 }
    }

    fn ask<C: SolCall>(&self, call: &C) -> C::Return {
        let data = hex::encode_prefixed(call.abi_encode());
        let answer = self.network.call(0, "eth_call", json!([{"to": self.address, "data": data}, "latest"]));
        let bytes: Bytes = serde_json::from_value(answer).unwrap();
        C::abi_decode_returns(&bytes).unwrap()
    }

    pub(crate) fn of(&self, account: Address) -> u64 {
        self.ask(&BenchToken::balanceOfCall { account }).to()
    }

    /// What the market may take of an account.
    fn approved(&self, number: usize) -> u64 {
        self.approved_to(number, MARKET)
    }

    /// What a contract may take of an account.
    pub(crate) fn approved_to(&self, number: usize, contract: &str) -> u64 {
        let call = BenchToken::allowanceCall { owner: owner(number), spender: contract.parse().unwrap() };
        self.ask(&call).to()
    }

    /// Amounts that an account ever approved, in their order.
    pub(crate) fn approvals(&self, number: usize) -> Vec<u64> {
        let topics = json!([BenchToken::Approval::SIGNATURE_HASH, owner(number).into_word()]);
        let filter = json!({"address": self.address, "fromBlock": "0x0", "topics": topics});
        let logs = self.network.call(0, "eth_getLogs", json!([filter]));
        let amount = |log: &Value| number_of(&log["data"]);
        logs.as_array().unwrap().iter().map(amount).collect()
    }

    pub(crate) fn text(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn listed_at(&self, price: u64) -> String {
        format!("--token-price={}={price}", self.address)
    }
}

pub(crate) fn owner(number: usize) -> Address {
    account(number).parse().unwrap()
}

/// A word as a small number.
fn number_of(word: &Value) -> u64 {
    word.as_str().unwrap().parse::<U256>().unwrap().to()
}

/// As the token names itself.
pub(crate) fn shown(amount: u64) -> String {
    Unit { symbol: "BENCH".to_owned(), decimals: 18 }.show(U256::from(amount))
}

pub(crate) fn escrow(out: &Path) -> u64 {
    json_file(&out.join("job.json"))["escrowWei"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_job_in_a_token_is_done_paid_and_withdrawn_to_its_last_unit_and_gas_alone_is_in_kst() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy(&network, &mut mint, &[(CUSTOMER, HELD)]);
    let other = Coin::deploy(&network, &mut mint, &[]);
    let mut provider = Provider::start_as(&network, &network.directory.join("provider"), 1, &[&coin.listed_at(PRICE)]);
    assert!(
        provider.text().contains(&format!("{} a unit, paid in {}", shown(PRICE), coin.text())),
        "{}",
        provider.text()
    );

    // Who takes it, and who does not take another one: before anything is ordered.
    wait_until("its offer is listed", || {
        let (code, said) = ask(&network, &["offers", "--token", &coin.text()]);
        (code == Some(0) && said.contains(&format!("{} a unit at least", shown(PRICE)))).then_some(())
    });
    let (_, said) = ask(&network, &["offers", "--token", &other.text()]);
    assert!(said.contains("0 providers."), "{said}");
    let patience = ["--patience-ms", "20000"];
    let (code, answer) = why_not(&network, &[&["align", "--token", &coin.text()], &patience[..]].concat());
    assert_eq!((code, &answer["best"][0]["offer"]["pricePerUnit"]), (Some(0), &json!(U256::from(PRICE))), "{answer}");
    let (code, answer) = why_not(&network, &[&["align", "--token", &other.text()], &patience[..]].concat());
    let options: Vec<&str> =
        answer["singles"].as_array().unwrap().iter().map(|one| one["options"][0].as_str().unwrap()).collect();
    assert_eq!(code, Some(1), "{answer}");
    assert!(options == ["no --token"] || options == [format!("--token {}", coin.text())], "{answer}");

    let since = network.head(0).unwrap();
    let before = [balance(&network, account(CUSTOMER)), balance(&network, account(1))];
    let out = network.directory.join("result");
    let said = ends(run(&network, SMALL, &out).args(["--token", &coin.text()]), 0);
    provider.wait_for("order paid");

    let job = json_file(&out.join("job.json"));
    let units = job["spec"]["unitCount"].as_u64().unwrap();
    let paid = PRICE * units;
    assert_eq!((&job["status"], escrow(&out)), (&json!("accepted"), paid));
    assert_eq!(job["currency"], json!({"token": coin.address, "unit": "BENCH", "decimals": 18}));
    assert_eq!(job["paidWei"], paid.to_string());
    let priced = said.find(&format!("Price: {} ({units} units x {})", shown(paid), shown(PRICE)));
    assert!(
        priced.unwrap_or_else(|| panic!("{said}")) < said.find("placed;").unwrap(),
        "the price comes first: {said}"
    );
    assert!(said.contains(&format!("in the token {}: exactly {paid} of its smallest units", coin.text())), "{said}");
    assert!(said.contains(&format!("paid     {} to", shown(paid))), "{said}");
    let line = format!("paid=\"{0}\" withdrawn=\"{0}\"", shown(paid));
    assert!(provider.text().contains(&line), "{line}: {}", provider.text());

    // Every unit of the token, and every wei.
    assert_eq!((coin.of(owner(CUSTOMER)), coin.of(owner(1))), (HELD - paid, paid));
    assert_eq!((coin.of(MARKET.parse().unwrap()), coin.approved(CUSTOMER)), (0, 0));
    assert_eq!(coin.approvals(CUSTOMER), [paid], "exactly the escrow, once");
    assert_eq!(before[0] - balance(&network, account(CUSTOMER)), fees(&network, account(CUSTOMER), since));
    assert_eq!(before[1] - balance(&network, account(1)), fees(&network, account(1), since));
    assert_eq!(balance(&network, MARKET), 0);
    for party in [1, CUSTOMER] {
        let statement = statement(&network, account(party));
        assert_eq!((&statement["unexplainedInWei"], &statement["unexplainedOutWei"]), (&json!("0"), &json!("0")));
    }
    let proved = verify(&network, &out);
    let claim = format!("{units} units at {PRICE} smallest units of the token {:#x}", coin.address);
    assert!(proved.status.success() && text(&proved).contains(&claim), "{}", text(&proved));
    assert_eq!(provider.interrupt(), Some(0));
}

#[test]
fn orders_in_a_token_that_are_cancelled_or_rejected_give_it_back_and_leave_nothing_approved() {
    let network = Network::beside(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let listed = coin.listed_at(PRICE);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start_as(&network, &folder, 1, &[&listed, "--fault-seed", "7"]);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(CUSTOMER)));
    let is_whole = |coin: &Coin<'_>| {
        assert_eq!((coin.of(owner(CUSTOMER)), coin.of(MARKET.parse().unwrap())), (HELD, 0));
        assert_eq!(coin.approved(CUSTOMER), 0);
        assert_eq!(balance(&network, MARKET), 0);
        assert_eq!(before - balance(&network, account(CUSTOMER)), fees(&network, account(CUSTOMER), since));
    };
    let token = coin.text();
    let in_token = ["--token", &token, "--attempts", "1"];

    // Nobody comes for it. With an audit its deposit, which is in KST, comes back, too.
    for (name, more) in [("cancelled", &[][..]), ("audited", &["--audit", "--unit-value", "1000000000"])] {
        let out = network.directory.join(name);
        let more = [&in_token[..], more, &["--reach-seconds", "1"]].concat();
        let (code, said) = stopped_after_the_plan(&network, &out, &more, &[&provider]).end();
        assert_eq!(code, Some(1), "{said}");
        let units = json_file(&out.join("job.json"))["spec"]["unitCount"].as_u64().unwrap();
        assert!(said.contains("is cancelled"), "{said}");
        assert!(said.contains(&format!("refunded {} to", shown(PRICE * units))), "{said}");
        assert_eq!(said.contains(" KST are in escrow"), name == "audited", "{said}");
        is_whole(&coin);
        provider.signal("CONT");
    }
    assert_eq!(orders(&network), 2);

    let out = network.directory.join("rejected");
    let said = ends(run(&network, SMALL, &out).args(in_token).args(["--sample-rate", "100"]), 1);
    assert!(
        said.contains("Order 3 is rejected") && said.contains(&format!("refunded {} to", shown(escrow(&out)))),
        "{said}"
    );
    is_whole(&coin);
    assert!(verify(&network, &out).status.success());
    provider.wait_for("order closed without payment");
    assert_eq!(coin.of(owner(1)), 0);
}

/// Nobody has a seat on this network: every unit is drawn and none is checked, so all of the deposit comes back.
#[test]
fn an_audited_order_in_a_token_is_paid_in_it_while_its_deposit_stays_in_kst_slow() {
    const UNIT_VALUE: u128 = 1_000_000_009;
    let network = Network::beside(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let mut provider = Provider::start_as(&network, &network.directory.join("provider"), 1, &[&coin.listed_at(PRICE)]);
    let since = network.head(0).unwrap();
    let before = [balance(&network, account(CUSTOMER)), balance(&network, account(1))];
    let out = network.directory.join("result");
    let (token, value) = (coin.text(), UNIT_VALUE.to_string());
    let audit = ["--audit", "--unit-value", &value, "--checker-seconds", "10", "--reveal-seconds", "20"];
    let said = ends(run(&network, SMALL, &out).args(["--token", &token]).args(audit), 0);
    provider.wait_for("order paid");
    let job = json_file(&out.join("job.json"));
    let units = job["spec"]["unitCount"].as_u64().unwrap();
    // One and a half checks for each unit, and forty, at what a unit is worth.
    let deposit = ((3 * u128::from(units)).div_ceil(2) + 40) * UNIT_VALUE;
    assert_eq!(
        (&job["status"], &job["audit"]["depositWei"]),
        (&json!("audited"), &json!(deposit.to_string())),
        "{job}"
    );
    let all_in = format!("All in: {} and {} are paid now", shown(PRICE * units), Unit::kst().show(U256::from(deposit)));
    assert!(said.contains(&all_in) && said.contains("came back from the audit"), "{all_in}: {said}");
    wait_until("the provider has its pay", || (coin.of(owner(1)) == PRICE * units).then_some(()));
    assert_eq!((coin.of(owner(CUSTOMER)), coin.of(MARKET.parse().unwrap())), (HELD - PRICE * units, 0));
    assert_eq!(before[0] - balance(&network, account(CUSTOMER)), fees(&network, account(CUSTOMER), since), "{said}");
    assert_eq!(before[1] - balance(&network, account(1)), fees(&network, account(1), since));
    assert_eq!(balance(&network, MARKET), 0);
    let proved = verify(&network, &out);
    let claim = format!("smallest units of the token {:#x}", coin.address);
    assert!(proved.status.success() && text(&proved).contains(&claim), "{}", text(&proved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_is_not_listed_and_a_price_below_the_list_are_never_leased() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy(&network, &mut mint, &[(CROOK, HELD)]);
    let worthless = Coin::deploy(&network, &mut mint, &[(CROOK, HELD * 10)]);
    let mut provider = Provider::start_as(&network, &network.directory.join("provider"), 1, &[&coin.listed_at(PRICE)]);
    let since = network.head(0).unwrap();
    let mut crook = Crook::new(&network).await;
    let job = work(4);
    let cases = [
        (&worthless, PRICE * 1_000, "lists no price in the token"),
        (&coin, PRICE - 1, "a unit of this job costs 0.000000000000001003 BENCH here, not 0.000000000000001002 BENCH"),
    ];
    for (paid_in, price, reason) in cases {
        let escrow = U256::from(price * 4);
        let approve = BenchToken::approveCall { spender: MARKET.parse().unwrap(), value: escrow };
        crook.sender.settle(&network, 0, paid_in.draft(&approve));
        let draft = crook.draft(&job.spec, SECONDS);
        let terms = Market::placeOrderCall::abi_decode(&draft.input).unwrap().terms;
        let terms = IMarket::Terms { priceWeiPerUnit: u128::from(price), ..terms };
        let input = Market::placeOrderInCall { token: paid_in.address, terms }.abi_encode().into();
        crook.sender.settle(&network, 0, Draft { input, value: 0, ..draft });
        let order = orders(&network);
        let opened = crook.open(order, &job.spec, inputs(&job.blobs)).await;
        let Err(keystead_blobs::SessionError::Refused(refusal)) = opened else { panic!("{opened:?}") };
        assert_eq!(refusal.code, RefusalCode::Unsupported, "{refusal}");
        assert!(refusal.to_string().contains(reason), "{refusal}");
        assert_eq!((crook.status(order), stored(&network, order).leasedAt.to::<u64>()), (Status::Ordered, 0));
        assert_eq!(paid_in.of(MARKET.parse().unwrap()), price * 4);
    }
    // What a stranger's token says of itself is not asked for.
    provider.wait_for(&format!("smallest units of {}", worthless.text()));
    assert_eq!(fees(&network, account(1), since), 0, "nothing of it cost the provider a fee");
}

#[test]
fn what_speaks_against_an_order_in_a_token_is_said_before_anything_is_sent() {
    let network = Network::beside(1);
    let mut mint = Sender::account(MINT);
    let coin = Coin::deploy(&network, &mut mint, &[(CUSTOMER, PRICE)]);
    let other = Coin::deploy(&network, &mut mint, &[(CUSTOMER, HELD)]);
    let _provider = Provider::start_as(&network, &network.directory.join("provider"), 1, &[&coin.listed_at(PRICE)]);
    let out = network.directory.join("result");
    let fails = |more: &[&str], words: &[&str]| {
        let said = ends(run(&network, SMALL, &out).args(more), 1);
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
        assert!(!out.exists(), "nothing stays");
    };
    let (token, unlisted) = (coin.text(), other.text());
    fails(&["--token", &token], &["insufficient funds", &format!("has {}", shown(PRICE)), "BENCH more"]);
    fails(&["--token", &token, "--max-price", "1"], &["above --max-price", "BENCH"]);
    fails(&["--token", &unlisted], &["currency: ", "no --token"]);
    fails(&["--token", &unlisted, "--provider", account(1)], &["currency: "]);
    fails(&["--token", account(8)], &["there is no contract at", account(8)]);
    fails(&["--token", &token, "--audit"], &["--unit-value"]);
    // The provider's side of it.
    let wrong = |more: &[&str]| ask(&network, &[&["provide", "--dev-account", "3", "--dir", "x"], more].concat());
    let twice = format!("--token-price={token}=1");
    let (code, said) = wrong(&[&twice, &twice]);
    assert!(code == Some(1) && said.contains("given twice"), "{said}");
    let nowhere = format!("--token-price={}=1", account(8));
    let home = network.directory.join("nowhere");
    let (code, said) = ask(
        &network,
        &["provide", "--dev-account", "3", "--dir", home.to_str().unwrap(), "--prove", "never", &nowhere],
    );
    assert!(code == Some(1) && said.contains("there is no contract at"), "{said}");
    assert_eq!((nonce(&network, CUSTOMER), nonce(&network, 3), coin.approved(CUSTOMER)), (0, 0, 0));
}

/// The first stands still between its approval and its order while the second one comes: its approval is left alone, and both order.
#[test]
fn two_customers_of_one_account_do_not_take_each_others_approval_away() {
    let network = Network::beside(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let _provider = Provider::start_as(&network, &network.directory.join("provider"), 1, &[&coin.listed_at(PRICE)]);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(CUSTOMER)));
    let (token, outs) = (coin.text(), ["first", "second"].map(|name| network.directory.join(name)));
    let start =
        |size: (u64, u64), out: &Path| Customer::start(&network, run(&network, size, out).args(["--token", &token]));
    let first = start(SMALL, &outs[0]);
    // Closer than `wait_until` looks. If its order is quicker all the same, nothing stands in the second one's way.
    let begin = Instant::now();
    while coin.approvals(CUSTOMER).is_empty() {
        assert!(begin.elapsed() < PATIENCE, "it never approved");
        thread::sleep(Duration::from_millis(2));
    }
    first.signal("STOP");
    let second = start((10, 40), &outs[1]);
    // From the last look that did not find it about to approve.
    let mut seen = Instant::now();
    wait_until("the second one is about to approve", || {
        let (now, is_about) = (Instant::now(), outs[1].join("order.json").exists());
        if !is_about {
            seen = now;
        }
        is_about.then_some(())
    });
    // In so many blocks, a second apart at most, it would have taken away what is in its way.
    network.wait_for_head(0, network.head(0).unwrap() + 2);
    let approvals = coin.approvals(CUSTOMER);
    // It leaves it alone for ten seconds. Where two blocks take longer it is given again, which the rest of this looks at.
    let is_early = seen.elapsed() < Duration::from_secs(10);
    assert!(!is_early || !approvals.contains(&0), "the first one's approval was taken away: {approvals:?}");
    first.signal("CONT");
    for customer in [first, second] {
        let (code, said) = customer.end();
        assert_eq!(code, Some(0), "{said}");
    }
    let paid = outs.each_ref().map(|out| escrow(out));
    assert!(paid[0] < paid[1], "{paid:?}");
    assert_eq!((orders(&network), coin.approved(CUSTOMER)), (2, 0));
    wait_until("the provider has its pay", || (coin.of(owner(1)) == paid[0] + paid[1]).then_some(()));
    assert_eq!(coin.of(owner(CUSTOMER)), HELD - paid[0] - paid[1]);
    assert_eq!(before - balance(&network, account(CUSTOMER)), fees(&network, account(CUSTOMER), since));
}

/// Starts an order whose node loses what comes after so many transactions, and kills it there.
fn killed_after(network: &Network, (loses, passing): (Loses, u32), token: &str, out: &Path) {
    let lossy = Lossy::start_after(network.rpc[0], loses, passing);
    let mut command = run_through(network, &lossy.url(), SMALL, out);
    let mut customer = Customer::start(network, command.args(["--token", token]));
    lossy.wait_for(passing + 1);
    customer.kill();
}

#[test]
fn a_customer_killed_around_its_approval_approves_once_and_orders_once() {
    let network = Network::beside(1);
    let coin = Coin::deploy(&network, &mut Sender::account(MINT), &[(CUSTOMER, HELD)]);
    let mut provider = Provider::start_as(&network, &network.directory.join("provider"), 1, &[&coin.listed_at(PRICE)]);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(CUSTOMER)));
    let token = coin.text();
    let is_signed = |out: &Path| json_file(&out.join("order.json"))["attempt"]["transaction"] != "0x";
    let mut spent = 0;
    // The approval is lost on its way; it arrives and nothing is heard of it; the order is lost on its way, and arrives unheard.
    let cuts = [
        ("approval-lost", (Loses::Transactions, 0), false),
        ("approval-sent", (Loses::Answers, 0), false),
        ("order-lost", (Loses::Transactions, 1), true),
        ("order-sent", (Loses::Answers, 1), true),
    ];
    for (round, (name, cut, signed)) in (1..).zip(cuts) {
        let out = network.directory.join(name);
        killed_after(&network, cut, &token, &out);
        assert_eq!(is_signed(&out), signed, "{name}");
        // In other money it is another order.
        let other = ends(&mut run(&network, SMALL, &out), 1);
        assert!(other.contains("not in KST") && other.contains("--token"), "{other}");
        ends(run(&network, SMALL, &out).args(["--token", &token]), 0);
        let paid = escrow(&out);
        spent += paid;
        assert_eq!((orders(&network), coin.approved(CUSTOMER)), (round, 0), "{name}: one order");
        assert_eq!(coin.approvals(CUSTOMER), vec![paid; usize::try_from(round).unwrap()], "{name}: one approval");
        assert_eq!(coin.of(owner(CUSTOMER)), HELD - spent, "{name}");
        wait_until("the provider has its pay", || (coin.of(owner(1)) == spent).then_some(()));
    }
    // Another approval is in the way: it is taken back first, and the market gets exactly the escrow.
    let approve = BenchToken::approveCall { spender: MARKET.parse().unwrap(), value: U256::from(7) };
    crate::customer::send(&network, CUSTOMER, &token, &approve.abi_encode());
    let out = network.directory.join("in-the-way");
    ends(run(&network, SMALL, &out).args(["--token", &token]), 0);
    let paid = escrow(&out);
    assert_eq!(coin.approvals(CUSTOMER)[4..], [7, 0, paid]);
    assert_eq!((coin.approved(CUSTOMER), orders(&network)), (0, 5));
    wait_until("the provider has its pay", || (coin.of(owner(1)) == spent + paid).then_some(()));

    // Approved, stored, and then nobody takes orders any more: nothing stays, not even the approval.
    let gone = network.directory.join("gone");
    killed_after(&network, (Loses::Transactions, 1), &token, &gone);
    assert_eq!(coin.approved(CUSTOMER), paid);
    assert_eq!(provider.interrupt(), Some(0));
    let said = ends(run(&network, SMALL, &gone).args(["--token", &token]), 1);
    assert!(said.contains("places no order"), "{said}");
    assert_eq!((coin.approved(CUSTOMER), orders(&network)), (0, 5));
    assert!(!gone.join("order.json").exists());
    assert_eq!(coin.of(owner(CUSTOMER)), HELD - spent - paid);
    assert_eq!((coin.of(MARKET.parse().unwrap()), balance(&network, MARKET)), (0, 0));
    assert_eq!(before - balance(&network, account(CUSTOMER)), fees(&network, account(CUSTOMER), since));
    assert_eq!(
        number(&network.call(0, "eth_getTransactionCount", json!([account(CUSTOMER), "pending"]))),
        nonce(&network, CUSTOMER)
    );
}
