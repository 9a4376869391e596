//! The table's rules one by one.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use super::*;

const A: Provider = Provider(0);
const B: Provider = Provider(1);
const C: Provider = Provider(2);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn table(units: u32, segments: u32, providers: &[Provider]) -> Table {
    let mut table = Table::new(units, segments, Rules::new(at(1)), 1);
    for provider in providers {
        table.join(*provider);
        table.ready(*provider, at(0));
    }
    table
}

const fn item(unit: u32, first: u32, count: u32) -> Item {
    Item { unit, first, count }
}

#[test]
fn a_unit_is_leased_once_and_again_only_after_its_lease_ended() {
    let mut table = table(6, 1, &[A, B]);
    let first = table.grant(A, at(0)).unwrap();
    assert_eq!(first.items, [item(0, 0, 1), item(1, 0, 1)], "an even share of six over twice two providers");
    assert_eq!(table.grant(A, at(0)), None, "one lease at a time");
    let second = table.grant(B, at(0)).unwrap();
    assert_eq!(second.items[0].unit, 2);
    assert_ne!(first.number, second.number);
    assert!(table.end(first.number, End::GivenBack, at(1)).is_some());
    assert!(table.end(first.number, End::GivenBack, at(1)).is_none(), "a lease ends once");
    assert_eq!(table.arrived(first.number, A, at(1)).unwrap_err(), Refused::Ended { number: first.number });
    assert_eq!(table.settle(first.number, A, 1, at(1)).unwrap_err(), Refused::Ended { number: first.number });
    let again = table.grant(A, at(1)).unwrap();
    assert_eq!(again.items[0], item(0, 0, 1));
    assert!(again.number > second.number);
}

#[test]
fn what_was_settled_never_comes_back_and_the_rest_of_a_lease_does() {
    let mut table = table(4, 3, &[A]);
    let lease = table.grant(A, at(0)).unwrap();
    assert_eq!(lease.items, [item(0, 0, 3), item(1, 0, 1)]);
    assert!(matches!(table.settle(lease.number, A, 0, at(1)), Err(Refused::Steps { max: 4, .. })));
    assert!(matches!(table.settle(lease.number, A, 5, at(1)), Err(Refused::Steps { got: 5, .. })));
    assert_eq!(table.settle(lease.number, B, 4, at(1)).unwrap_err(), Refused::Another { number: lease.number });
    table.settle(lease.number, A, 2, at(1)).unwrap();
    assert_eq!((table.done(0), table.done(1), table.units_left()), (2, 0, 4));
    let next = table.grant(A, at(1)).unwrap();
    assert_eq!(next.items[0], item(0, 2, 1));
    table.settle(next.number, A, next.steps(), at(2)).unwrap();
    assert_eq!(table.units_left(), 2);
    assert_eq!(table.steps_waiting(), u64::from(12 - 2 - next.steps()));
}

#[test]
fn a_provider_goes_on_with_its_own_units_first() {
    let mut table = table(8, 100, &[A, B]);
    let (a, b) = (table.grant(A, at(0)).unwrap(), table.grant(B, at(0)).unwrap());
    assert_eq!((a.items[0].unit, b.items[0].unit), (0, 1));
    table.settle(b.number, B, 4, at(1)).unwrap();
    table.settle(a.number, A, 4, at(1)).unwrap();
    assert_eq!(table.grant(B, at(1)).unwrap().items[0], item(1, 4, 16));
    table.draining(A);
    assert_eq!(table.grant(A, at(1)), None);
    table.ready(A, at(2));
    assert_eq!(table.grant(A, at(2)).unwrap().items[0], item(0, 4, 16));
}

#[test]
fn late_and_silent_leases_end_three_strikes_leave_a_provider_out_and_a_report_in_time_stays_in_time() {
    let mut table = table(64, 1, &[A, B]);
    let lease = table.grant(A, at(0)).unwrap();
    assert!(table.overdue(at(10)).is_empty(), "the last second of silence");
    assert_eq!(table.overdue(at(11)), [(lease.number, End::Silent)]);
    table.heard(A, at(11));
    assert!(table.overdue(at(19)).is_empty(), "the last second of the deadline of 14 s and 5 s of grace");
    table.heard(A, at(19));
    assert_eq!(table.overdue(at(20)), [(lease.number, End::Late)]);
    table.arrived(lease.number, A, at(19)).unwrap();
    assert!(table.overdue(at(500)).is_empty());
    table.end(lease.number, End::Refused, at(20));
    assert_eq!(table.grant(A, at(24)), None, "a pause of five seconds");
    for (now, why) in [(25, End::Late), (40, End::Silent)] {
        let lease = table.grant(A, at(now)).unwrap();
        table.end(lease.number, why, at(now));
    }
    assert_eq!(table.out(A), Some(Out::Unreliable));
    table.ready(A, at(100));
    assert_eq!(table.grant(A, at(1_000)), None);
    assert!(table.grant(B, at(100)).is_some());
    table.convict(B);
    table.forgive();
    [A, B].into_iter().for_each(|provider| table.ready(provider, at(0)));
    assert!(table.grant(A, at(0)).is_some(), "a new process gives a new chance");
    assert_eq!(table.out(B), Some(Out::Wrong), "but not to a liar");
}

#[test]
fn a_unit_that_fails_at_three_providers_or_at_all_of_them_fails_the_job() {
    let mut wide = table(2, 1, &[A, B, C, Provider(3)]);
    assert_eq!(wide.failed(0, A), Failing::Again);
    assert_eq!(wide.failed(0, A), Failing::Again, "the same provider counts once");
    assert_eq!(wide.grant(A, at(0)).unwrap().items, [item(1, 0, 1)], "it does not get the unit again");
    assert_eq!(wide.failed(0, B), Failing::Again);
    assert_eq!(wide.failed(0, C), Failing::ForGood { providers: 3 });
    let mut narrow = table(1, 1, &[A, B]);
    narrow.leave_out(B, Out::Unwilling);
    assert_eq!(narrow.failed(0, A), Failing::ForGood { providers: 1 });
}

#[test]
fn a_unit_that_failed_at_all_who_are_left_is_hopeless_until_a_new_process_begins() {
    let mut table = table(2, 1, &[A, B]);
    assert_eq!(table.failed(1, A), Failing::Again);
    assert_eq!(table.hopeless(), None, "B may still have it");
    table.leave_out(B, Out::Unwilling);
    assert_eq!(table.hopeless(), Some((1, 1)));
    table.forgive();
    assert_eq!(table.hopeless(), None, "everybody has a new chance, and so has the unit");
    table.ready(A, at(0));
    assert_eq!(table.grant(A, at(0)).unwrap().items, [item(0, 0, 1)]);
}

#[test]
fn who_gives_leases_back_is_asked_again_ever_later_and_works_as_before_after_a_window() {
    let mut table = table(64, 1, &[A]);
    let mut now = at(0);
    for pause_ms in [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
        let lease = table.grant(A, now).unwrap();
        assert!(table.end(lease.number, End::GivenBack, now).is_some());
        table.rest(A, now);
        let due = now + Duration::from_millis(pause_ms);
        assert_eq!(table.grant(A, due - Duration::from_millis(1)), None, "{pause_ms} ms");
        now = due;
    }
    assert_eq!(table.out(A), None, "that is nobody's fault");
    let lease = table.grant(A, now).unwrap();
    table.settle(lease.number, A, 1, now).unwrap();
    let lease = table.grant(A, now).unwrap();
    table.end(lease.number, End::GivenBack, now);
    table.rest(A, now);
    assert!(table.grant(A, now + Duration::from_millis(200)).is_some());
}

#[test]
fn a_customer_that_stood_still_blames_nobody() {
    let mut table = table(64, 1, &[A]);
    let lease = table.grant(A, at(0)).unwrap();
    table.stood_still(at(600));
    assert!(table.overdue(at(610)).is_empty());
    assert_eq!(table.overdue(at(611)), [(lease.number, End::Silent)]);
    table.heard(A, at(611));
    assert!(table.overdue(at(619)).is_empty());
    table.heard(A, at(619));
    assert_eq!(table.overdue(at(620)), [(lease.number, End::Late)]);
    // A report that was lost with its connection: the silence begins then.
    table.arrived(lease.number, A, at(612)).unwrap();
    assert!(table.departed(lease.number, at(617)));
    table.stood_still(at(3));
    assert!(table.overdue(at(630)).is_empty());
    assert_eq!(table.overdue(at(631)).len(), 1, "the silence, and what the customer stood still");
}

/// Steps and time of a provider's second lease, after the first one of four steps. What happens to that one says when it is settled.
fn second_lease(happens: impl FnOnce(&mut Table, u64) -> Duration) -> (u32, Duration) {
    let mut table = Table::new(64, 1, Rules::new(at(60)), 1);
    table.join(A);
    table.ready(A, at(0));
    let first = table.grant(A, at(0)).unwrap();
    assert_eq!(first.steps(), 4);
    let end = happens(&mut table, first.number);
    table.settle(first.number, A, 4, end).unwrap();
    let second = table.grant(A, end).unwrap();
    (second.steps(), second.limit)
}

/// Steps of ten seconds: in none of these cases is the next lease too short for them.
#[test]
fn what_the_caller_did_not_see_makes_nobody_faster() {
    let (measured, unmeasured) = ((6, at(10 + 6 * 40)), (4, at(10 + 4 * 60)));
    let seen = second_lease(|table, lease| {
        table.arrived(lease, A, at(40)).unwrap();
        at(40)
    });
    assert_eq!(seen, measured);
    let while_the_report_is_looked_at = second_lease(|table, lease| {
        table.arrived(lease, A, at(40)).unwrap();
        table.stood_still(at(35));
        at(80)
    });
    assert_eq!(while_the_report_is_looked_at, measured);
    let most_of_the_time = second_lease(|table, lease| {
        table.stood_still(at(35));
        table.arrived(lease, A, at(40)).unwrap();
        at(40)
    });
    assert_eq!(most_of_the_time, unmeasured);
    let for_a_moment = second_lease(|table, lease| {
        table.stood_still(at(8));
        table.arrived(lease, A, at(48)).unwrap();
        at(48)
    });
    assert_eq!(for_a_moment, measured);
    // The provider does nearly all of it meanwhile.
    let asleep = second_lease(|table, lease| {
        table.slept(at(36));
        table.arrived(lease, A, at(14)).unwrap();
        at(14)
    });
    assert_eq!(asleep, unmeasured);
}

#[test]
fn a_customer_whose_machine_slept_gives_everybody_the_time_to_come_back() {
    let mut table = table(64, 1, &[A]);
    let lease = table.grant(A, at(0)).unwrap();
    // No longer than the sleep took.
    table.slept(at(2));
    assert!(table.overdue(at(12)).is_empty());
    assert_eq!(table.overdue(at(13)), [(lease.number, End::Silent)]);
    // And no longer than a provider may be silent, however long that was.
    table.slept(at(3_600));
    assert!(table.overdue(at(22)).is_empty());
    assert_eq!(table.overdue(at(23)), [(lease.number, End::Silent)]);
    table.heard(A, at(23));
    assert!(table.overdue(at(31)).is_empty(), "fourteen seconds, five of grace, twelve for the sleep");
    assert_eq!(table.overdue(at(32)), [(lease.number, End::Late)]);
}

#[test]
fn a_report_that_the_caller_cut_off_itself_may_come_again_as_often_as_that_happens() {
    let mut table = table(64, 1, &[A]);
    let lease = table.grant(A, at(0)).unwrap();
    for now in [100, 200, 300, 400, 500, 600] {
        table.arrived(lease.number, A, at(now)).unwrap();
        table.recalled(lease.number, at(now));
        assert!(table.overdue(at(now + 10)).is_empty(), "{now}");
        table.heard(A, at(now + 11));
        assert_eq!(table.overdue(at(now + 11)), [(lease.number, End::Late)], "it has to come again: {now}");
    }
    table.recalled(lease.number, at(700));
    assert_eq!(table.overdue(at(700)).len(), 1, "what never came again is not cut off");
    table.arrived(lease.number, A, at(610)).unwrap();
    assert!(table.departed(lease.number, at(610)), "none of these counted");
}

#[test]
fn a_report_that_is_lost_with_its_connection_comes_again_in_time_and_not_for_ever() {
    let mut table = table(64, 1, &[A]);
    let lease = table.grant(A, at(0)).unwrap();
    assert!(table.departed(lease.number, at(1)) && table.departed(9, at(1)), "what never came is not lost");
    // Its checks took longer than the lease: it came in time, and may come again.
    table.arrived(lease.number, A, at(19)).unwrap();
    assert!(table.overdue(at(500)).is_empty());
    assert!(table.departed(lease.number, at(500)) && table.departed(lease.number, at(500)), "lost once");
    assert!(table.overdue(at(510)).is_empty());
    table.heard(A, at(511));
    assert_eq!(table.overdue(at(511)), [(lease.number, End::Late)], "a sign of life is no report");
    for now in [510, 520] {
        table.arrived(lease.number, A, at(now)).unwrap();
        assert!(table.departed(lease.number, at(now)));
    }
    table.arrived(lease.number, A, at(530)).unwrap();
    assert!(!table.departed(lease.number, at(530)), "who comes again and again is not waited for");
}

#[test]
fn a_conviction_takes_back_what_the_liar_made_and_what_was_made_of_it() {
    let mut table = table(2, 10, &[A, B]);
    let lease = table.grant(A, at(0)).unwrap();
    assert_eq!(lease.items, [item(0, 0, 4)]);
    table.settle(lease.number, A, 4, at(1)).unwrap();
    table.draining(A);
    let lease = table.grant(B, at(1)).unwrap();
    assert_eq!(lease.items, [item(0, 4, 4)]);
    table.settle(lease.number, B, 4, at(2)).unwrap();
    let building = table.grant(B, at(2)).unwrap();
    assert_eq!(building.items[0], item(0, 8, 2));
    let convicted = table.convict(A);
    assert_eq!(convicted.units, [(0, 0)]);
    assert_eq!(convicted.ended, [building]);
    assert_eq!((table.done(0), table.steps_waiting(), table.units_left()), (0, 20, 2));
    assert_eq!(table.out(A), Some(Out::Wrong));
    assert_eq!(table.grant(B, at(3)).unwrap().items[0], item(0, 0, 10));
}

#[test]
fn a_journal_that_is_read_again_gives_the_same_table() {
    let mut table = table(5, 2, &[A, B]);
    let lost = table.grant(A, at(0)).unwrap();
    table.end(lost.number, End::Silent, at(11));
    table.ready(B, at(11));
    let kept = table.grant(B, at(11)).unwrap();
    table.settle(kept.number, B, 3, at(12)).unwrap();
    let live = table.grant(B, at(12)).unwrap();
    let mut again = Table::new(5, 2, Rules::new(at(1)), 1);
    again.adopt(lost.clone(), at(0));
    again.end(lost.number, End::Silent, at(0));
    again.adopt(kept.clone(), at(0));
    again.settle(kept.number, B, 3, at(0)).unwrap();
    again.adopt(live.clone(), at(0));
    again.adopt(live.clone(), at(0));
    assert_eq!(again.live().collect::<Vec<_>>(), [&live]);
    assert_eq!(again.steps_waiting(), table.steps_waiting());
    assert_eq!(
        (0..5).map(|unit| again.done(unit)).collect::<Vec<_>>(),
        (0..5).map(|unit| table.done(unit)).collect::<Vec<_>>()
    );
    assert_eq!(again.lease_of(B), Some(&live));
    again.ready(A, at(10));
    assert!(again.grant(A, at(10)).unwrap().number > live.number);
}
