//! The watcher's rules at their edges.

use crate::fixture::{DEPOSIT, START_S, UNITS, WINDOW_PRICE, after, root, seconds, standing};
use keystead_contracts::storage::channel::Status;
use keystead_payment::{
    Payee, Release, Standing,
    limits::WINDOWS_CLAIM_AT,
    watch::{self, PayeeStep, PayerStep, Wish},
};

/// Answers by window number; what is not named is pending.
fn step(payee: &Payee, standing: &Standing, answers: &[(u64, Release)], wish: Wish) -> PayeeStep {
    let prospect = payee.prospect(|window| {
        answers.iter().find(|(known, _)| *known == window).map_or(Release::Pending, |(_, answer)| *answer)
    });
    watch::payee(payee, standing, prospect, wish)
}

fn at(second: u64) -> Standing {
    Standing { now: seconds(START_S + second), ..standing() }
}

fn closing(second: u64) -> Standing {
    Standing { status: Status::Closing, deadline: seconds(START_S + 10_000), ..at(second) }
}

fn released(windows: std::ops::RangeInclusive<u64>) -> Vec<(u64, Release)> {
    windows.map(|window| (window, Release::Released)).collect()
}

#[test]
fn an_open_channel_is_left_alone_until_time_presses() {
    let (_, payee, vouchers) = after(3, false);
    let act_at = 86_400 - 1_800;
    let wait = PayeeStep::Wait { until: seconds(START_S + act_at) };
    assert_eq!(step(&payee, &at(0), &[], Wish::GoOn), wait);
    assert_eq!(step(&payee, &at(act_at - 1), &[], Wish::GoOn), wait);
    for second in [act_at, 86_400] {
        let PayeeStep::ClaimAndClose { claim, by } = step(&payee, &at(second), &[], Wish::GoOn) else { panic!() };
        assert_eq!((claim.signed, claim.amount), (vouchers[2], 3 * WINDOW_PRICE));
        assert!(claim.skipped.is_empty());
        assert_eq!(by, seconds(START_S + 86_400));
    }
    assert_eq!(step(&payee, &at(86_401), &[], Wish::GoOn), PayeeStep::Late { lost: 3 * WINDOW_PRICE });
}

#[test]
fn a_request_to_close_is_answered_with_the_newest_voucher_at_once() {
    let (_, payee, vouchers) = after(3, false);
    let PayeeStep::ClaimAndClose { claim, by } = step(&payee, &closing(1), &[], Wish::GoOn) else { panic!() };
    assert_eq!((claim.signed, by), (vouchers[2], seconds(START_S + 10_000)));
    let (_, idle, _) = after(0, false);
    assert_eq!(step(&idle, &closing(1), &[], Wish::GoOn), PayeeStep::Close);
}

#[test]
fn a_closing_waits_for_audits_as_long_as_it_can_and_then_takes_what_there_is() {
    let (_, payee, vouchers) = after(3, true);
    let two = released(1..=2);
    let wait = PayeeStep::Wait { until: seconds(START_S + 8_200) };
    assert_eq!(step(&payee, &closing(8_199), &two, Wish::GoOn), wait);
    let PayeeStep::Claim { claim, .. } = step(&payee, &closing(8_200), &two, Wish::GoOn) else { panic!() };
    assert_eq!((claim.signed, claim.amount), (vouchers[1], 2 * WINDOW_PRICE));
    assert_eq!(claim.skipped, vec![(UNITS, root(1, UNITS, 0))]);
    // Nothing can be claimed yet: the last moment is the deadline.
    let wait = PayeeStep::Wait { until: seconds(START_S + 10_000) };
    assert_eq!(step(&payee, &closing(8_200), &[], Wish::GoOn), wait);
    // The last audit ended: no reason to wait.
    let three = released(1..=3);
    let PayeeStep::ClaimAndClose { claim, .. } = step(&payee, &closing(5), &three, Wish::GoOn) else { panic!() };
    assert_eq!(claim.amount, 3 * WINDOW_PRICE);
}

#[test]
fn a_conviction_ends_the_channel_with_the_voucher_before_it() {
    let (_, payee, vouchers) = after(4, true);
    let mut answers = released(1..=4);
    answers[2].1 = Release::Convicted;
    let PayeeStep::ClaimAndClose { claim, .. } = step(&payee, &at(5), &answers, Wish::GoOn) else { panic!() };
    assert_eq!((claim.signed, claim.amount), (vouchers[1], 2 * WINDOW_PRICE));
    answers[0].1 = Release::Convicted;
    assert_eq!(step(&payee, &at(5), &answers, Wish::GoOn), PayeeStep::Close);
    // A window before it is still pending: it may yet be paid.
    let answers = [(2, Release::Convicted)];
    assert!(matches!(step(&payee, &at(5), &answers, Wish::GoOn), PayeeStep::Wait { .. }));
}

#[test]
fn a_part_that_is_not_held_back_is_claimed_before_the_audit_and_only_if_it_is_more() {
    let (_, mut payee, _) = after(1, true);
    payee.begin(UNITS, &standing()).unwrap();
    let report = payee.report(root(2, UNITS, 0)).unwrap().saved();
    let last = payee.newest().unwrap().voucher;
    let voucher = keystead_payment::Voucher {
        window: 2,
        root: report.root,
        cumulative: 2 * WINDOW_PRICE,
        held_back: WINDOW_PRICE - 3,
        history: last.history_after(),
        ..last
    };
    let signed = crate::fixture::sign(voucher);
    payee.accept(&signed, &standing()).unwrap();
    let PayeeStep::Claim { claim, .. } = step(&payee, &closing(9_000), &released(1..=1), Wish::GoOn) else { panic!() };
    assert_eq!((claim.signed, claim.amount), (signed, WINDOW_PRICE + 3));
    // Window 1 is pending: nothing passes it, and its own price is held back.
    assert!(matches!(step(&payee, &closing(9_000), &released(2..=2), Wish::GoOn), PayeeStep::Wait { .. }));
}

#[test]
fn many_waiting_windows_are_claimed_without_need() {
    let count = WINDOWS_CLAIM_AT as u64;
    let (_, payee, vouchers) = after(count - 1, true);
    assert!(matches!(step(&payee, &at(5), &released(1..=count), Wish::GoOn), PayeeStep::Wait { .. }));
    let (_, payee, more) = after(count, true);
    let PayeeStep::Claim { claim, .. } = step(&payee, &at(5), &released(1..=count), Wish::GoOn) else { panic!() };
    assert_eq!((claim.signed, claim.skipped.len()), (more[vouchers.len()], vouchers.len()));
}

#[test]
fn a_reported_window_is_waited_for_unless_the_provider_wants_to_end() {
    let (_, mut payee, _) = after(1, false);
    payee.begin(UNITS, &standing()).unwrap();
    let _ = payee.report(root(2, UNITS, 0)).unwrap();
    assert!(matches!(step(&payee, &closing(1), &[], Wish::GoOn), PayeeStep::Wait { .. }));
    assert!(matches!(step(&payee, &closing(8_200), &[], Wish::GoOn), PayeeStep::ClaimAndClose { .. }));
    assert!(matches!(step(&payee, &at(1), &[], Wish::End), PayeeStep::ClaimAndClose { .. }));
}

#[test]
fn what_is_over_is_forgotten_and_what_is_not_there_is_unknown() {
    let (_, payee, _) = after(1, false);
    for status in [Status::Closed, Status::Finished, Status::Expired] {
        assert_eq!(step(&payee, &Standing { status, ..at(1) }, &[], Wish::GoOn), PayeeStep::Forget);
        assert_eq!(watch::payer(&Standing { status, ..at(1) }, Wish::GoOn), PayerStep::Forget);
    }
    let none = Standing { status: Status::None, ..at(1) };
    assert_eq!(step(&payee, &none, &[], Wish::GoOn), PayeeStep::Unknown);
    assert_eq!(watch::payer(&none, Wish::End), PayerStep::Unknown);
}

#[test]
fn a_customer_asks_when_it_is_done_and_finishes_after_the_deadline() {
    assert_eq!(watch::payer(&at(1), Wish::GoOn), PayerStep::Wait { until: seconds(START_S + 86_401) });
    assert_eq!(watch::payer(&at(1), Wish::End), PayerStep::RequestClose);
    assert_eq!(watch::payer(&at(86_400), Wish::End), PayerStep::RequestClose);
    assert_eq!(watch::payer(&at(86_401), Wish::GoOn), PayerStep::Finish);
    let wait = PayerStep::Wait { until: seconds(START_S + 10_001) };
    assert_eq!(watch::payer(&closing(10_000), Wish::End), wait);
    assert_eq!(watch::payer(&closing(10_001), Wish::End), PayerStep::Finish);
    assert_eq!(standing().deposit, DEPOSIT);
}
