//! What each side refuses, at the edge from both sides, and that a refusal changes nothing.

use crate::fixture::{
    DEPOSIT, Key, START_S, UNITS, WINDOW_PRICE, after, delivery, one, opened, policy, price, price_of, received, root,
    seconds, sign, standing, terms,
};
use alloy_primitives::{Address, B256};
use keystead_contracts::storage::channel::Status;
use keystead_payment::{
    Budget, Domain, Payee, Payer, Policy, Report, Signed, Standing, Voucher, limits::WINDOWS_WAITING_MAX, payee, payer,
    voucher::SignatureError, window::DeliveryError,
};

fn report(window: u64) -> Report {
    Report { channel_id: terms(true).channel_id, window, units: UNITS, root: root(window, UNITS, 0) }
}

#[test]
fn a_report_is_worth_a_voucher_only_with_the_outputs_that_give_its_root() {
    let report = report(1);
    let (secret, outputs) = delivery(1, UNITS, 0);
    let (other_secret, other_outputs) = (delivery(2, UNITS, 0).0, delivery(1, UNITS, 9).1);
    assert!(report.receive(&secret, &outputs, None).is_ok());
    for (secret, outputs) in [(&other_secret, &outputs), (&secret, &other_outputs)] {
        assert!(matches!(report.receive(secret, outputs, None), Err(DeliveryError::RootMismatch { window: 1, .. })));
    }
    assert_eq!(
        report.receive(&secret, &outputs[1..], None),
        Err(DeliveryError::UnitCount { window: 1, got: 3, reported: UNITS })
    );
    let none = Report { units: 0, ..report };
    assert!(matches!(none.receive(&secret, &[], None), Err(DeliveryError::Tree(_))));
}

#[test]
fn a_payer_signs_the_next_window_once_and_the_same_again() {
    let (mut payer, _, vouchers) = after(2, true);
    let before = payer.clone();
    for window in [1, 4, 0, u64::MAX] {
        let refusal = payer.pay(&received(report(window), 0), &standing()).unwrap_err();
        assert_eq!(refusal, payer::Refusal::AnotherWindow { got: window, expected: 3 });
    }
    assert_eq!(payer.pay(&received(report(2), 0), &standing()).unwrap().saved(), vouchers[1].voucher);
    // Also when nothing new would be signed any more: it was promised.
    let closing = Standing { status: Status::Closing, ..standing() };
    assert_eq!(payer.pay(&received(report(2), 0), &closing).unwrap().saved(), vouchers[1].voucher);
    let second = Report { root: root(2, UNITS, 9), ..report(2) };
    let refusal = payer.pay(&received(second, 9), &standing()).unwrap_err();
    assert_eq!(refusal, payer::Refusal::Conflict { window: 2 });
    let foreign = Report { channel_id: B256::ZERO, ..report(3) };
    let refusal = payer.pay(&received(foreign, 0), &standing()).unwrap_err();
    assert!(matches!(refusal, payer::Refusal::AnotherChannel { .. }));
    assert_eq!(payer, before);
}

#[test]
fn a_payer_promises_no_more_than_the_deposit_and_nothing_too_late() {
    let (mut payer, _, _) = after(2, true);
    let third = received(report(3), 0);
    let poor = Standing { deposit: 3 * WINDOW_PRICE - 1, ..standing() };
    assert_eq!(
        payer.pay(&third, &poor).unwrap_err(),
        payer::Refusal::DepositTooSmall { needed: 3 * WINDOW_PRICE, deposit: 3 * WINDOW_PRICE - 1 }
    );
    for status in [Status::None, Status::Closing, Status::Closed, Status::Finished, Status::Expired] {
        let refusal = payer.pay(&third, &Standing { status, ..standing() }).unwrap_err();
        assert_eq!(refusal, payer::Refusal::NotOpen { status });
    }
    let late = Standing { now: seconds(START_S + 86_401), ..standing() };
    assert!(matches!(payer.pay(&third, &late).unwrap_err(), payer::Refusal::Expired { .. }));
    let last = Standing { now: seconds(START_S + 86_400), deposit: 3 * WINDOW_PRICE, ..standing() };
    let voucher = payer.pay(&third, &last).unwrap().saved();
    assert_eq!((voucher.cumulative, voucher.held_back), (3 * WINDOW_PRICE, WINDOW_PRICE));
}

#[test]
fn a_payer_pays_for_agreed_sizes_only() {
    let mut payer = opened(false);
    let large = Report { units: UNITS + 1, root: root(1, UNITS + 1, 0), ..report(1) };
    assert_eq!(
        payer.pay(&received(large, 0), &standing()).unwrap_err(),
        payer::Refusal::UnitsOutOfRange { got: UNITS + 1, max: UNITS }
    );
    let small = Report { units: 1, root: root(1, 1, 0), ..report(1) };
    let voucher = payer.pay(&received(small, 0), &standing()).unwrap().saved();
    assert_eq!((voucher.cumulative, voucher.held_back), (WINDOW_PRICE / 4, 0));
    let mut dear = Payer::open(terms(false), price_of(u128::MAX, UNITS), &standing()).unwrap().saved();
    let refusal = dear.pay(&received(report(1), 0), &standing()).unwrap_err();
    assert_eq!(refusal, payer::Refusal::Exhausted { window: 0 });
}

#[test]
fn a_window_that_was_found_wrong_ends_the_payments_for_good() {
    let (mut payer, _, vouchers) = after(2, true);
    let record = payer.found_wrong(2).record().to_vec();
    let _ = payer.found_wrong(9);
    for mut payer in [payer, Payer::resume(terms(true), price(), &record).unwrap()] {
        let refusal = payer.pay(&received(report(3), 0), &standing()).unwrap_err();
        assert_eq!(refusal, payer::Refusal::FoundWrong { window: 2 });
        assert_eq!(payer.pay(&received(report(2), 0), &standing()).unwrap().saved(), vouchers[1].voucher);
    }
}

#[test]
fn a_payee_that_was_convicted_works_no_more_and_keeps_what_it_has() {
    let (_, mut payee, vouchers) = after(2, true);
    let record = payee.found_wrong(2).record().to_vec();
    payee.found_wrong(1).saved();
    for mut payee in [payee, Payee::resume(terms(true), policy(), &record).unwrap()] {
        assert_eq!(payee.begin(UNITS, &standing()), Err(payee::Refusal::FoundWrong { window: 2 }));
        assert_eq!(payee.newest(), Some(&vouchers[1]));
    }
}

#[test]
fn a_payee_joins_only_channels_that_it_can_watch_and_that_pay_it() {
    let join = |change: &dyn Fn(&mut keystead_payment::Terms)| {
        let mut terms = terms(true);
        change(&mut terms);
        Payee::join(terms, policy(), &standing()).map(|_| ())
    };
    assert_eq!(join(&|terms| terms.challenge = seconds(4_200)), Ok(()));
    assert_eq!(
        join(&|terms| terms.challenge = seconds(4_199)),
        Err(payee::Refusal::ChallengeTooShort { got_s: 4_199, needed_s: 4_200 })
    );
    // Nothing to wait for without audit.
    assert_eq!(join(&|terms| (terms.audited, terms.challenge) = (false, seconds(3_600))), Ok(()));
    assert!(matches!(join(&|terms| terms.provider = Address::ZERO), Err(payee::Refusal::AnotherProvider { .. })));
    assert!(matches!(join(&|terms| terms.token = Address::repeat_byte(1)), Err(payee::Refusal::AnotherToken { .. })));
    for used in [Standing { window: 5, ..standing() }, Standing { claimed: 1, ..standing() }] {
        let refusal = Payee::join(terms(true), policy(), &used).unwrap_err();
        assert_eq!(refusal, payee::Refusal::RecordMissing { window: used.window });
        let refusal = Payer::open(terms(true), price(), &used).unwrap_err();
        assert_eq!(refusal, payer::Refusal::RecordMissing { window: used.window });
    }
    // Nothing was claimed yet, and still a secret is lost.
    let announced = Standing { announced: 3, ..standing() };
    assert_eq!(
        Payee::join(terms(true), policy(), &announced).unwrap_err(),
        payee::Refusal::RecordMissing { window: 3 }
    );
}

#[test]
fn a_payee_begins_only_what_can_be_paid_audited_and_claimed_in_time() {
    let (_, mut payee, _) = after(1, true);
    for status in [Status::None, Status::Closing, Status::Closed, Status::Finished, Status::Expired] {
        let refusal = payee.begin(UNITS, &Standing { status, ..standing() }).unwrap_err();
        assert_eq!(refusal, payee::Refusal::NotOpen { status });
    }
    for units in [0, UNITS + 1] {
        let refusal = payee.begin(units, &standing()).unwrap_err();
        assert_eq!(refusal, payee::Refusal::UnitsOutOfRange { got: units, max: UNITS });
    }
    let poor = Standing { deposit: 2 * WINDOW_PRICE - 1, ..standing() };
    assert!(matches!(payee.begin(UNITS, &poor), Err(payee::Refusal::DepositTooSmall { .. })));
    // 60 s to run, 600 s for the audit, 3,600 s for the watcher.
    let late = Standing { now: seconds(START_S + 86_400 - 4_259), ..standing() };
    assert!(matches!(payee.begin(UNITS, &late), Err(payee::Refusal::EndsTooSoon { .. })));
    let last = Standing { now: seconds(START_S + 86_400 - 4_260), deposit: 2 * WINDOW_PRICE, ..standing() };
    assert_eq!(payee.shorten(1), Err(payee::Refusal::NotRunning));
    payee.begin(UNITS, &last).unwrap();
    for units in [0, UNITS + 1] {
        assert_eq!(payee.shorten(units), Err(payee::Refusal::UnitsOutOfRange { got: units, max: UNITS }));
    }
    // Shorter, also if nothing could begin any more; and not longer again.
    payee.shorten(UNITS - 1).unwrap();
    assert_eq!(payee.shorten(UNITS), Err(payee::Refusal::UnitsOutOfRange { got: UNITS, max: UNITS - 1 }));
    assert_eq!(payee.report(root(2, UNITS - 1, 0)).unwrap().saved().units, UNITS - 1);
    assert_eq!(payee.begin(UNITS, &standing()), Err(payee::Refusal::Unpaid { window: 2 }));
    assert_eq!(payee.report(B256::ZERO).unwrap_err(), payee::Refusal::NotRunning);
}

#[test]
fn a_payee_takes_exactly_what_it_is_owed_or_more() {
    for audited in [false, true] {
        let (mut payer, mut payee, _) = after(1, audited);
        payee.begin(UNITS, &standing()).unwrap();
        let report = payee.report(root(2, UNITS, 0)).unwrap().saved();
        let good = payer.pay(&received(report, 0), &standing()).unwrap().saved();
        let before = payee.clone();
        let held = if audited { WINDOW_PRICE } else { 0 };
        let wrong = [
            Voucher { channel_id: B256::ZERO, ..good },
            Voucher { window: 1, ..good },
            Voucher { window: 3, ..good },
            Voucher { units: UNITS - 1, ..good },
            Voucher { root: B256::ZERO, ..good },
            Voucher { history: B256::ZERO, ..good },
            Voucher { cumulative: good.cumulative - 1, ..good },
            Voucher { cumulative: 0, ..good },
            Voucher { cumulative: DEPOSIT + 1, ..good },
            Voucher { held_back: held + 1, ..good },
        ];
        for voucher in wrong {
            assert!(payee.accept(&sign(voucher), &standing()).is_err(), "{voucher:?}");
            assert_eq!(payee, before);
        }
        let Ok(strange) = good.sign(&Domain::of_chain(19_283), &Key::new(8));
        let refusal = payee.accept(&strange, &standing()).unwrap_err();
        assert!(matches!(refusal, payee::Refusal::Signature(SignatureError::AnotherSigner { .. })));
        let Ok(elsewhere) = good.sign(&Domain::of_chain(1), &crate::fixture::key());
        assert!(payee.accept(&elsewhere, &standing()).is_err());
        assert_eq!(payee, before);
        // A generous one is taken; then the good one, for the same window, is for nothing that is owed.
        let generous = sign(Voucher { cumulative: good.cumulative + 5, ..good });
        assert!(payee.accept(&generous, &standing()).unwrap().is_some());
        assert!(payee.accept(&generous, &standing()).unwrap().is_none());
        assert_eq!(payee.accept(&sign(good), &standing()).unwrap_err(), payee::Refusal::NothingOwed { window: 2 });
    }
}

#[test]
fn a_payee_stops_when_a_claim_could_not_reach_all_windows_and_goes_on_after_it() {
    let (mut payer, mut payee, vouchers) = after(WINDOWS_WAITING_MAX as u64, true);
    assert_eq!(payee.begin(UNITS, &standing()), Err(payee::Refusal::TooManyWaiting { waiting: WINDOWS_WAITING_MAX }));
    let record = payee.settle(&standing()).unwrap().record().len();
    assert!(record < keystead_payment::limits::RECORD_BYTES_MAX / 2, "{record} bytes");
    let last: &Signed = vouchers.last().unwrap();
    let claimed = Standing {
        window: last.voucher.window,
        claimed: last.voucher.cumulative,
        history: last.voucher.history_after(),
        ..standing()
    };
    payee.settle(&claimed).unwrap().saved();
    assert_eq!(payee.waiting_count(), 0);
    one(&mut payer, &mut payee, WINDOWS_WAITING_MAX as u64 + 1);
}

#[test]
fn without_audit_only_the_newest_voucher_is_kept_and_the_history_goes_on_over_claims() {
    let (mut payer, mut payee, vouchers) = after(3, false);
    assert_eq!(payee.waiting_count(), 1);
    let at = |window: u64, claimed: u128| Standing { window, claimed, ..standing() };
    // An older voucher was claimed meanwhile; then the newest.
    payee.settle(&at(2, 2 * WINDOW_PRICE)).unwrap().saved();
    assert_eq!(payee.newest(), Some(&vouchers[2]));
    one(&mut payer, &mut payee, 4);
    payee.settle(&at(4, 4 * WINDOW_PRICE)).unwrap().saved();
    assert_eq!((payee.waiting_count(), payee.earned()), (0, 4 * WINDOW_PRICE));
    one(&mut payer, &mut payee, 5);
    assert_eq!(payee.earned(), 5 * WINDOW_PRICE);
}

#[test]
fn a_chain_that_contradicts_the_record_is_noticed() {
    let (_, mut payee, vouchers) = after(3, true);
    let good =
        Standing { window: 2, claimed: 2 * WINDOW_PRICE, history: vouchers[1].voucher.history_after(), ..standing() };
    for wrong in
        [Standing { window: 4, ..good }, Standing { window: 3, ..good }, Standing { history: B256::ZERO, ..good }]
    {
        assert!(matches!(payee.settle(&wrong), Err(payee::Refusal::Diverged { .. })), "{wrong:?}");
    }
    payee.settle(&good).unwrap().saved();
    for wrong in [standing(), Standing { claimed: WINDOW_PRICE, ..good }] {
        assert!(matches!(payee.settle(&wrong), Err(payee::Refusal::Diverged { .. })), "{wrong:?}");
    }
    assert_eq!(payee.waiting_count(), 1);
}

#[test]
fn a_report_that_was_refused_is_dropped_and_its_number_goes_to_the_next_one() {
    let (mut payer, mut payee, _) = after(1, false);
    payee.begin(4, &standing()).unwrap();
    let refused = payee.report(root(2, 4, 0)).unwrap().saved();
    assert!(matches!(payee.begin(4, &standing()), Err(payee::Refusal::Unpaid { window: 2 })));
    let record = {
        let draft = payee.drop_report();
        let record = draft.record().to_vec();
        draft.saved();
        record
    };
    // The record has forgotten it as well.
    assert_eq!(Payee::resume(terms(false), policy(), &record).unwrap().reported(), None);
    assert_eq!(payee.reported(), None);
    payee.begin(4, &standing()).unwrap();
    let taken = payee.report(root(2, 4, 1)).unwrap().saved();
    assert_eq!((taken.window, taken.root == refused.root), (2, false));
    let voucher = payer.pay(&received(taken, 1), &standing()).unwrap().saved();
    assert!(payee.accept(&sign(voucher), &standing()).unwrap().is_some());
    // The payer signs for no second report of that number.
    assert!(payer.pay(&received(refused, 0), &standing()).is_err());
}

#[test]
fn what_checks_take_cannot_be_promised_twice() {
    let budget = Budget { rate_ppm: 500_000, checkers: 1, fee_wei: 1 };
    // 1.5 * 4 units * a half, and 40.
    assert_eq!(budget.of(UNITS), 43);
    let policy = Policy { budget, ..policy() };
    let join = |audited| Payee::join(terms(audited), policy, &standing()).unwrap().saved();
    let (mut payer, mut payee) = (opened(true), join(true));
    let at = |deposit, announced, budgeted| Standing { deposit, announced, budgeted, ..standing() };
    let refused = payee.begin(UNITS, &at(WINDOW_PRICE + 42, 0, 0)).unwrap_err();
    assert_eq!(refused, payee::Refusal::DepositTooSmall { needed: WINDOW_PRICE + 43, deposit: WINDOW_PRICE + 42 });
    let first = one(&mut payer, &mut payee, 1);
    // It is paid and not announced: its checks are still to be taken.
    let needed = 2 * (WINDOW_PRICE + 43);
    assert!(payee.begin(UNITS, &at(needed - 1, 0, 0)).is_err());
    assert_eq!(payee.begin(UNITS, &at(needed, 0, 0)), Ok(()));
    assert_eq!(payee.to_announce(&at(needed, 0, 0)), Some(&first));
    // Announced: they are taken.
    assert!(payee.begin(UNITS, &at(needed - 1, 1, 43)).is_err());
    assert_eq!(payee.begin(UNITS, &at(needed, 1, 43)), Ok(()));
    assert_eq!(payee.to_announce(&at(needed, 1, 43)), None);
    // The customer does not promise them either.
    let report = payee.report(root(2, UNITS, 0)).unwrap().saved();
    let poor = at(2 * WINDOW_PRICE + 42, 1, 43);
    assert!(payer.pay(&received(report, 0), &poor).is_err());
    assert!(payer.pay(&received(report, 0), &at(2 * WINDOW_PRICE + 43, 1, 43)).is_ok());
    // A voucher that leaves no room for them is none, however much it promises.
    let voucher = payer.pay(&received(report, 0), &at(needed, 1, 43)).unwrap().saved();
    let generous = sign(Voucher { cumulative: voucher.cumulative + 1, held_back: WINDOW_PRICE + 1, ..voucher });
    let refused = payee.accept(&generous, &at(needed, 1, 43)).unwrap_err();
    assert_eq!(refused, payee::Refusal::DepositTooSmall { needed: needed - 43 + 1, deposit: needed - 43 });
    assert!(payee.accept(&sign(voucher), &at(needed, 1, 43)).unwrap().is_some());
    // Without an audit nothing is taken and nothing announced.
    let (mut payer, mut payee) = (opened(false), join(false));
    assert_eq!(payee.begin(UNITS, &at(WINDOW_PRICE, 0, 0)), Ok(()));
    one(&mut payer, &mut payee, 1);
    assert_eq!(payee.to_announce(&standing()), None);
}
