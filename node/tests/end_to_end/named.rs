//! Private orders: the checkers that their customers name find the list in the order's own transaction, get the input, and check; nobody else gets anything.

use crate::{
    audited::{Customer, window_id, window_of},
    audits::{KST, address, bond, bonded, events, read, wait_long},
    convicted::{VERIFIED, blind_order},
    market::job,
    network::Network,
    parties::{Provider, account, text, verify},
    raw::address_of,
    touchstone::signer,
};
use alloy_primitives::{Address, B256, Bytes};
use alloy_signer::SignerSync as _;
use keystead_blobs::{CheckHello, CheckSession, Config, Endpoint, Parties, RefusalCode, SessionError, check_digest};
use keystead_contracts::{AUDIT_ADDRESS, bindings::audit::Audit};
use std::{collections::BTreeSet, path::Path};
use tokio::{runtime, time::sleep};

/// Stage of the contract: found wrong by a named checker.
const UNPAID: u8 = 5;
/// The accounts: an honest provider and one that gets a unit wrong; two named checkers; the customers; a stranger.
const HONEST: usize = 1;
const CHEAT: usize = 3;
const NAMED: [usize; 2] = [4, 5];
const CUSTOMERS: [usize; 2] = [2, 8];
const STRANGER: usize = 6;
/// While a provider's node is a block behind, so many tries, ten a second.
const TRIES: u32 = 300;

fn until_drawn(network: &Network, window: B256) {
    wait_long("the window is drawn", || {
        let round = read(network, AUDIT_ADDRESS, &Audit::roundOfCall { windowId: window, unit: 0, round: 0 });
        (!round.drawnAt.is_zero()).then_some(())
    });
}

/// What a provider answers to an account that says it is on duty for the first unit of a window.
fn dial(network: &Network, provider: usize, number: usize, (window, slot): (B256, u8)) -> Result<(), SessionError> {
    let to = address_of(network, provider);
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let own = Endpoint::bind(Config::loopback()).await.unwrap();
        let mut hello = CheckHello { window, unit: 0, round: 0, slot, credential: Bytes::new() };
        let digest = check_digest(&hello, Parties { customer: own.id(), provider: to.id() });
        hello.credential = Bytes::copy_from_slice(&signer(number).sign_hash_sync(&digest).unwrap().as_bytes());
        for _ in 0..TRIES {
            match CheckSession::open(&own, &to, &hello).await {
                Err(SessionError::Refused(refusal)) if refusal.code == RefusalCode::ChainUnavailable => {}
                answer => {
                    own.close().await;
                    return answer.map(drop);
                }
            }
            sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the provider's node does not catch up")
    })
}

fn is_refused(answer: Result<(), SessionError>) {
    let is_refusal = matches!(&answer, Err(SessionError::Refused(refusal)) if refusal.code == RefusalCode::NotAssigned);
    assert!(is_refusal, "{answer:?}");
}

/// Who committed to which unit of a window.
fn checks(network: &Network, window: B256) -> BTreeSet<(u32, Address)> {
    events::<Audit::CheckCommitted>(network, window).iter().map(|check| (check.unit, check.account)).collect()
}

fn stage(network: &Network, window: B256, unit: u32) -> u8 {
    read(network, AUDIT_ADDRESS, &Audit::caseOfCall { windowId: window, unit }).stage
}

fn proof(network: &Network, out: &Path) -> String {
    let proved = verify(network, out);
    assert!(proved.status.success(), "{}", text(&proved));
    text(&proved)
}

/// All of it was found right by both, and is unverified for everybody else.
fn is_unverified_and_right(
    network: &Network,
    honest: B256,
    (mut customer, right): (Customer, &Path),
    logs: &dyn Fn() -> String,
) {
    let [first, second] = NAMED;
    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}\n{}", logs());
    let window = window_of(network, honest);
    let all: BTreeSet<_> = (0..window.units).flat_map(|unit| NAMED.map(|number| (unit, address(number)))).collect();
    assert_eq!(checks(network, honest), all, "{}", logs());
    assert_eq!((window.verified, window.unpaid, window.convicted), (window.units, 0, false), "{}", logs());
    let words = format!("the 2 checkers that you named found {0} of {0} units right", window.units);
    assert!(said.contains(&format!("audit    UNVERIFIED (private): {words}")), "{said}");
    let told = job(right);
    assert_eq!((&told["status"], &told["assurance"]), (&"audited".into(), &"unverified".into()), "{told}");
    let proved = proof(network, right);
    for words in [
        format!("2 checkers were named: {:#x}, {:#x}", address(first), address(second)),
        format!("only the checkers that its customer named saw it; they found {0} of {0} units right", window.units),
        "UNVERIFIED (private)".to_owned(),
    ] {
        assert!(proved.contains(&words), "no {words:?} in: {proved}");
    }
}

/// The cheat loses the pay of its wrong unit and nothing else; its customer does not take the result for right.
fn is_doubted(
    network: &Network,
    cheating: B256,
    (mut betrayed, doubted): (Customer, &Path),
    (wrong, logs): (u32, &dyn Fn() -> String),
) {
    let [first, _] = NAMED;
    let (code, said) = betrayed.end();
    assert_eq!(code, Some(3), "{said}\n{}", logs());
    let window = window_of(network, cheating);
    let all: BTreeSet<_> = (0..window.units).map(|unit| (unit, address(first))).collect();
    assert_eq!(checks(network, cheating), all, "{}", logs());
    for unit in 0..window.units {
        let expected = if unit == wrong { UNPAID } else { VERIFIED };
        assert_eq!(stage(network, cheating, unit), expected, "unit {unit}\n{}", logs());
    }
    assert_eq!((window.unpaid, window.convicted), (1, false));
    let bonded = bonded(network, CHEAT);
    assert_eq!((bonded.freeWei, bonded.lockedWei), (40 * KST, 0), "nobody is slashed");
    for words in ["1 unit was found wrong, or outside the tolerance, and is not paid", "the result stands apart"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let told = job(doubted);
    assert_eq!(told["check"]["verdict"], "accepted", "the customer's own sample missed it: {told}");
    assert_eq!((&told["assurance"], &told["audit"]["unpaid"]), (&"unverified".into(), &1.into()), "{told}");
    assert!(doubted.join("unchecked").is_dir());
    let proved = proof(network, doubted);
    for words in [
        format!("1 checker was named: {:#x}", address(first)),
        "1 unit was found wrong, or outside the tolerance, by a named checker and is not paid".to_owned(),
        "UNVERIFIED (private)".to_owned(),
    ] {
        assert!(proved.contains(&words), "no {words:?} in: {proved}");
    }
}

/// Two private orders at once, on one network: one of an honest provider with two named checkers; one of a cheat whose customer's own sample sees
/// nothing, with one. None of the named has a seat.
#[test]
fn private_orders_are_checked_by_whom_their_customers_name_and_by_nobody_else_slow() {
    let network = Network::beside(4);
    let folder = |number: usize| network.directory.join(format!("machine-{number}"));
    let start = |number: usize, more: &[&str]| Provider::start_as(&network, &folder(number), number, more);
    let _honest = start(HONEST, &["--no-check"]);
    let _cheat = start(CHEAT, &["--no-check", "--fault-seed", "7"]);
    bond(&network, CHEAT, &folder(CHEAT), &["deposit", "40"]);
    let machines = NAMED.map(|number| start(number, &[]));
    let logs = || machines.iter().map(Provider::text).collect::<Vec<_>>().join("\n-- the other\n");

    let name = |number: usize| ["--name-checker", account(number)];
    let [first, second] = NAMED;
    let both = [&["--private", "--provider", account(HONEST)][..], &name(first), &name(second)].concat();
    let (mut customer, right, ..) = blind_order(&network, (CUSTOMERS[0], "right"), &both);
    customer.wait_for("Order 1 placed");
    let one = [&["--private", "--provider", account(CHEAT)][..], &name(first)].concat();
    let (mut betrayed, doubted, _, wrong) = blind_order(&network, (CUSTOMERS[1], "doubted"), &one);
    betrayed.wait_for("Order 2 placed");

    // Whom an order does not name gets nothing, also if another order names it; who is named does.
    let [honest, cheating] = [1, 2].map(window_id);
    until_drawn(&network, honest);
    is_refused(dial(&network, HONEST, STRANGER, (honest, 0)));
    is_refused(dial(&network, HONEST, second, (honest, 0)));
    dial(&network, HONEST, first, (honest, 0)).unwrap();
    until_drawn(&network, cheating);
    is_refused(dial(&network, CHEAT, second, (cheating, 0)));
    is_refused(dial(&network, CHEAT, second, (cheating, 1)));

    is_unverified_and_right(&network, honest, (customer, &right), &logs);
    is_doubted(&network, cheating, (betrayed, &doubted), (wrong, &logs));
}
