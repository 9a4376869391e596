//! An honest provider whom a checker drawn by lot calls wrong, while its customer is gone: the later round has its inputs from the provider alone, and one of
//! those who look again began anew after the first round.

use crate::{
    audited::{Customer, stored, window_id, window_of},
    audits::{KST, address, bonded, credit, events, read, wait_long},
    canary::had,
    convicted::{COMPARE, CUSTOMER, Scene, VERIFIED, drawn},
    customer::send,
    market::SMALL,
    network::{Network, number, wait_until},
    parties::{MARKET, PRICE, account, all_fees, balance},
};
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolCall;
use keystead_contracts::{
    AUDIT_ADDRESS,
    bindings::{
        audit::{Audit, IAuditTypes},
        referee::Referee,
    },
};
use std::ops::Range;

/// As many as look again, each of another hardware class than who accuses.
const HONEST: [usize; 2] = [3, 4];
/// The one that is killed after the first round.
const KILLED: usize = HONEST[0];
/// Accuses what is right; this test plays it, by its own account.
const LIAR: usize = 5;
/// Their seats.
const SEATED: Range<usize> = 3..6;
const TIMES: [&str; 6] = ["--checker-seconds", "30", "--reveal-seconds", "24", "--appeal-seconds", "60"];
/// Numbers of the contract: slots of a round, a unit that is cleared, and a window that is over with nobody convicted.
const SLOTS: u8 = 16;
const CLEARED: u8 = 3;
const CLOSED: u8 = 2;

/// Sends a call to the audit, which takes it.
fn tell(network: &Network, call: &impl SolCall) {
    send(network, LIAR, &AUDIT_ADDRESS.to_string(), &call.abi_encode());
}

/// A check that is the liar's to make: one of three seats is its own, and of some twenty units it is first for at least one, but for one window in 3,000.
fn turn(network: &Network, id: B256, units: u32) -> Option<IAuditTypes::Key> {
    let of_unit = |unit| (0..SLOTS).map(move |slot| IAuditTypes::Key { windowId: id, unit, round: 0, slot });
    let is_its = |key: &IAuditTypes::Key| {
        let slot = read(network, AUDIT_ADDRESS, &Audit::slotCall { key: key.clone(), named: Vec::new() });
        slot.account == address(LIAR) && slot.eligible && slot.onDuty
    };
    (0..units).flat_map(of_unit).find(is_its)
}

/// Whether the 16 draws of three seats have both who are to look again: all but once in 300 times.
fn are_both_drawn(network: &Network, id: B256, unit: u32) -> bool {
    let call = Audit::roundOfCall { windowId: id, unit, round: 1 };
    wait_long("the second round is drawn", || (!read(network, AUDIT_ADDRESS, &call).drawnAt.is_zero()).then_some(()));
    let holders: Vec<Address> = (0..SLOTS)
        .map(|slot| IAuditTypes::Key { windowId: id, unit, round: 1, slot })
        .map(|key| read(network, AUDIT_ADDRESS, &Audit::slotCall { key, named: Vec::new() }))
        .filter(|slot| slot.eligible)
        .map(|slot| slot.account)
        .collect();
    HONEST.iter().all(|number| holders.contains(&address(*number)))
}

/// Who looked in a round, in no order.
fn accounts(revealed: &[Audit::CheckRevealed], unit: u32, round: u8) -> Vec<Address> {
    let here = revealed.iter().filter(|check| (check.unit, check.round) == (unit, round));
    here.map(|check| check.account).collect()
}

/// Commits to a lie about a unit; what is left is to reveal it.
fn lie(network: &Network, id: B256, units: u32) -> Option<Audit::revealCall> {
    let key = turn(network, id, units)?;
    let (own, nonce) = (keccak256("what is not so"), keccak256("a nonce"));
    let head = [id.as_slice(), &key.unit.to_be_bytes(), &[key.round, key.slot]].concat();
    let sealed = [&head, address(LIAR).as_slice(), &[COMPARE], own.as_slice(), nonce.as_slice()].concat();
    tell(network, &Audit::commitCheckCall { key: key.clone(), hash: keccak256(sealed), named: Vec::new() });
    Some(Audit::revealCall { key, finding: COMPARE, own, nonce })
}

/// Everybody of the first round has what is theirs, to the wei: what waits in the audit for who is gone counts as theirs.
fn is_paid(scene: &mut Scene, revealed: &[Audit::CheckRevealed], (before, since): (&[u128], u64)) {
    scene.provider.wait_for("order paid");
    for number in HONEST {
        wait_long("fees are withdrawn", || (credit(&scene.network, number) == 0).then_some(()));
        // Half of what the liar lost is theirs.
        let bond = bonded(&scene.network, number);
        assert_eq!((bond.seatedWei, bond.freeWei), (100 * KST, 25 * KST), "account {number}");
    }
    let (lost, kept) = (bonded(&scene.network, LIAR), bonded(&scene.network, 1));
    assert_eq!((lost.seatedWei, lost.freeWei), (0, 0), "who accused falsely pays with its seat");
    assert_eq!((kept.freeWei, kept.lockedWei), (40 * KST, 0));
    let (network, window) = (&scene.network, window_of(&scene.network, window_id(1)));
    let price = PRICE * u128::from(window.units);
    let gas = all_fees(network, since);
    for number in [CUSTOMER, 1].into_iter().chain(SEATED) {
        let checks = revealed.iter().filter(|check| check.account == address(number)).count() as u128;
        let expected = match number {
            CUSTOMER => before[number] - price - window.feeWei * revealed.len() as u128,
            1 => before[number] + price,
            _ => before[number] + window.feeWei * checks,
        };
        let gas = gas.get(&account(number).to_lowercase()).copied().unwrap_or_default();
        let has = balance(network, account(number)) + gas + credit(network, number);
        assert_eq!(has, expected, "account {number}: {}", scene.logs());
    }
    let waits = credit(network, CUSTOMER) + credit(network, LIAR);
    assert_eq!((balance(network, MARKET), balance(network, &AUDIT_ADDRESS.to_string())), (0, waits));
}

#[test]
fn an_honest_provider_that_is_called_wrong_while_its_customer_is_gone_is_cleared_and_paid_to_the_wei_slow() {
    assert!((0..3).any(|_| is_cleared_and_paid()), "three times the lot drew others");
}

/// Two others look at the unit again, and find it right; whether they were drawn.
fn is_cleared_and_paid() -> bool {
    let mut scene = Scene::new(&[], SEATED);
    scene.kill(LIAR);
    let since = scene.network.head(0).unwrap();
    let before = had(&scene.network, since);
    let out = scene.network.directory.join("result");
    let options = [&["--audit", "--provider", account(1), "--check-seconds", "60"][..], &TIMES].concat();
    let mut customer = Customer::start_with(&scene.network, &out, SMALL, &options);
    let id = window_id(1);
    let (_, units) = drawn(&scene, &mut customer, id);
    let Some(reveal) = lie(&scene.network, id, units) else { return false };
    let unit = reveal.key.unit;
    wait_until("the outputs are checked", || stored(&out, "/attempt/checked").then_some(()));
    customer.kill();

    let call = Audit::timesCall { windowId: id, unit, round: 0 };
    let check_by: u64 = read(&scene.network, AUDIT_ADDRESS, &call).checkBy.to();
    wait_long("the time to check is over", || {
        let block = scene.network.block(0, scene.network.head(0)?);
        (number(&block["timestamp"]) > check_by).then_some(())
    });
    tell(&scene.network, &reveal);
    // A checker has said everything of the first round, and is gone before the second begins.
    wait_long("a checker has revealed", || {
        let committed = events::<Audit::CheckCommitted>(&scene.network, id);
        let revealed = events::<Audit::CheckRevealed>(&scene.network, id);
        let committed = committed.iter().filter(|check| check.account == address(KILLED)).count();
        let revealed = revealed.iter().filter(|check| check.account == address(KILLED)).count();
        (committed > 0 && committed == revealed).then_some(())
    });
    scene.kill(KILLED);
    assert!(events::<Referee::RoundBegan>(&scene.network, id).is_empty(), "it came too late: {}", scene.logs());
    let began =
        wait_long("the second round begins", || events::<Referee::RoundBegan>(&scene.network, id).into_iter().next());
    assert_eq!((began.unit, began.round), (unit, 1), "{}", scene.logs());
    scene.begin_anew(KILLED);
    if !are_both_drawn(&scene.network, id, unit) {
        return false;
    }

    let case = wait_long("the unit is cleared", || {
        Some(scene.case(id, unit)).filter(|case| case.stage >= CLEARED || case.round > 1)
    });
    assert_eq!((case.stage, case.round, case.party), (CLEARED, 1, Address::ZERO), "{}", scene.logs());
    let revealed = events::<Audit::CheckRevealed>(&scene.network, id);
    let mut again = accounts(&revealed, unit, 1);
    again.sort_unstable();
    let mut expected = HONEST.map(address);
    expected.sort_unstable();
    assert_eq!(again, expected, "{}", scene.logs());
    assert_eq!(accounts(&revealed, unit, 0), [address(LIAR)]);
    let is_right = |check: &&Audit::CheckRevealed| (check.unit, check.round) == (unit, 1) && check.own == case.value;
    assert_eq!(revealed.iter().filter(is_right).count(), HONEST.len());
    let window = wait_long("the window closes", || Some(window_of(&scene.network, id)).filter(|now| now.status > 1));
    assert_eq!((window.status, window.convicted, window.unpaid), (CLOSED, false, 0), "{}", scene.logs());
    assert_eq!((window.verified, scene.case(id, unit).stage), (units, VERIFIED), "{}", scene.logs());
    assert!(events::<Audit::InputAsked>(&scene.network, id).is_empty(), "{}", scene.logs());
    assert!(events::<Referee::KeyHanded>(&scene.network, id).is_empty(), "the customer was gone: {}", scene.logs());

    is_paid(&mut scene, &revealed, (&before, since));
    true
}
