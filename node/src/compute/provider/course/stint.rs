//! When an order gives the machine to whoever waits for it, and goes on after them.
//!
//! # Design
//! An order has the machine until its work is done, or its stint is over (`work.switch_minutes`), somebody waits and its own deadline leaves time for that. An order
//! whose own deadline is near does not give the machine back before it is done, so whoever waits is counted with one stint and with all that is expected of it, and
//! what is left of this order twice. Only between two units: none is lost. Leases of maps give the machine back at their ends, within minutes.
//!
//! Spec: BOINC's `cpu_scheduling_period_minutes`; there, too, a job that could miss its deadline goes on.

use std::time::{Duration, Instant};

/// How long one order has had the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stint {
    begin: Instant,
    /// When it must be delivered.
    due: Option<Instant>,
}

/// What there is to say about a stint at a moment between two units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    /// How long it has lasted.
    lasted: Duration,
    /// Until the order must be delivered.
    until_due: Duration,
    /// Segments that were done in it, and those that are left.
    done: u32,
    left: u32,
    /// How many wait for the machine.
    waiting: usize,
    /// What the orders among them are expected to take.
    expected: Duration,
}

impl Stint {
    /// Begins now.
    pub(super) fn begin(until_due: Duration) -> Self {
        let begin = Instant::now();
        Self { begin, due: begin.checked_add(until_due) }
    }

    /// Whether its time is over.
    pub(super) fn has_lasted(&self, switch: Duration) -> bool {
        self.begin.elapsed() >= switch
    }

    /// Whether it is over now. `switch` is how long one lasts; segments are those that were done in it, and those that are left; then how many wait, and what the
    /// orders among them are expected to take.
    pub(super) fn is_over(
        &self,
        switch: Duration,
        (done, left): (u32, u32),
        (waiting, expected): (usize, Duration),
    ) -> bool {
        let lasted = self.begin.elapsed();
        let until_due = self.due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
        is_over(switch, Moment { lasted, until_due, done, left, waiting, expected })
    }
}

fn is_over(switch: Duration, moment: Moment) -> bool {
    let Moment { lasted, until_due, done, left, waiting, expected } = moment;
    // Who has done nothing yet cannot say how long it takes.
    let Some(each) = lasted.checked_div(done).filter(|_| lasted >= switch && left > 0 && waiting > 0) else {
        return false;
    };
    let own = each.saturating_mul(left).saturating_mul(2);
    let others = switch.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
    own.saturating_add(others).saturating_add(expected) <= until_due
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;

    const SWITCH: Duration = Duration::from_secs(3_600);

    /// An hour has passed with a half of the work, a lease waits, and there are three hours left.
    fn moment() -> Moment {
        let until_due = Duration::from_secs(3 * 3_600);
        Moment { lasted: SWITCH, until_due, done: 10, left: 10, waiting: 1, expected: Duration::ZERO }
    }

    #[test]
    fn a_stint_ends_when_its_time_is_over_somebody_waits_and_the_deadline_leaves_time() {
        assert!(is_over(SWITCH, moment()));
        let less = |time: Duration| time.saturating_sub(Duration::from_millis(1));
        let others = [
            Moment { lasted: less(SWITCH), ..moment() },
            Moment { waiting: 0, ..moment() },
            Moment { left: 0, ..moment() },
            Moment { done: 0, ..moment() },
            Moment { until_due: less(moment().until_due), ..moment() },
            Moment { waiting: 2, ..moment() },
            Moment { left: 11, ..moment() },
            Moment { waiting: usize::MAX, ..moment() },
        ];
        for other in others {
            assert!(!is_over(SWITCH, other), "{other:?}");
        }
        assert!(is_over(SWITCH, Moment { waiting: 2, until_due: Duration::from_secs(4 * 3_600), ..moment() }));
    }

    #[test]
    fn an_order_gives_way_to_none_that_may_have_the_machine_beyond_its_own_deadline() {
        // It waits for five hours if the other one must not give the machine back.
        let long = Moment { expected: Duration::from_secs(5 * 3_600), ..moment() };
        let least = Duration::from_secs(8 * 3_600);
        for hours in 3..8 {
            assert!(!is_over(SWITCH, Moment { until_due: Duration::from_secs(hours * 3_600), ..long }), "{hours} h");
        }
        assert!(is_over(SWITCH, Moment { until_due: least, ..long }));
    }

    #[test]
    fn an_order_without_a_deadline_that_clocks_can_hold_gives_way_when_its_stint_is_over() {
        let stint = Stint::begin(Duration::MAX);
        let (one, nobody) = ((1, SWITCH), (0, Duration::ZERO));
        assert!(stint.is_over(Duration::ZERO, (1, 1), one));
        assert!(!stint.is_over(SWITCH, (1, 1), one) && !stint.is_over(Duration::ZERO, (1, 1), nobody));
        assert!(stint.has_lasted(Duration::ZERO) && !stint.has_lasted(SWITCH));
        assert!(!Stint::begin(Duration::ZERO).is_over(Duration::from_nanos(1), (1, 1), one), "it is due now");
    }
}
