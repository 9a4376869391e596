//! A provider that has the order and is not heard any more: said once, with what can be done about it.
//!
//! # Design
//! Silence ends nothing by itself: a machine may restart, and what it has done is paid if it comes back in time. The contract's time to deliver ends the
//! order, or the person does.
//!
//! Spec: specs/0011-stream.md §10 (`silent`).

use super::{Following, Show};
use crate::compute::{customer::happened, market::Order};
use keystead_contracts::{limits::STOP_SECONDS, storage::Status};
use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long nothing is heard before that is said. That a connection is lost is known after 15 s; most restarts are over after a minute.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether the silence under way was told.
#[derive(Debug, Default)]
pub(super) struct Silence {
    told: bool,
}

impl Silence {
    /// Whether it is news that the provider of an order that stands so has not been heard for so long.
    fn is_news(&mut self, status: Status, silent_for: Duration) -> bool {
        // Before the lease the order is cancelled instead, and after the delivery the check has its own time.
        let is_silent = matches!(status, Status::Leased | Status::Committed) && silent_for >= SILENCE;
        let was_told = mem::replace(&mut self.told, is_silent);
        is_silent && !was_told
    }
}

impl Following<'_> {
    /// Says once a silence that the provider, which should be heard now, is not.
    pub(super) fn tell_silence(&mut self, order: &Order, show: &Show) {
        let silent_for = self.line.silent_for();
        if !self.silence.is_news(order.status(), silent_for) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_s = now.saturating_sub(silent_for).as_secs();
        let attempt = &self.state.attempt;
        let last = attempt.why.as_deref().unwrap_or_default();
        show.say(&words(order, (since_s, last), attempt.stopping));
        self.job.log.tell(&happened::silent(self.whom(), (since_s, order.stand.deliver_by), last));
    }
}

/// What happened, what comes of it, and what can be done. `last`: why it was not reached, if that is known; `is_stopping`: the person asked for its end
/// already.
fn words(order: &Order, (since_s, last): (u64, &str), is_stopping: bool) -> String {
    let last = if last.is_empty() { String::new() } else { format!(" (last: {last})") };
    let (since, end) = (clock(since_s), clock(order.stand.deliver_by));
    let may_stop = order.status() == Status::Leased && !order.stand.stopped && !is_stopping;
    let stop = if may_stop {
        format!(" Ctrl-C stops it: the provider then has {STOP_SECONDS} s to commit to what is done, which is paid.")
    } else {
        String::new()
    };
    format!(
        "The provider of order {} was not heard since {since}{last}; it is tried again and again. If it does not deliver, the order ends by itself at {end}, and \
         its money comes back.{stop} `keystead map` does such jobs on many machines, and goes on without one.",
        order.id
    )
}

/// Unix seconds as people read them.
fn clock(unix_s: u64) -> String {
    let minutes = unix_s / 60;
    format!("{:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{lifecycle::Stand, market};
    use keystead_contracts::storage::Mode;

    #[test]
    fn a_silence_of_whoever_has_the_order_is_news_once_and_the_next_one_again() {
        let second = Duration::from_secs(1);
        let mut silence = Silence::default();
        assert!(!silence.is_news(Status::Ordered, SILENCE) && !silence.is_news(Status::Delivered, SILENCE));
        assert!(!silence.is_news(Status::Leased, SILENCE.saturating_sub(second)));
        assert!(silence.is_news(Status::Leased, SILENCE));
        assert!(!silence.is_news(Status::Committed, SILENCE.saturating_mul(9)), "it was said");
        // Heard again, and lost again.
        assert!(!silence.is_news(Status::Leased, Duration::ZERO));
        assert!(silence.is_news(Status::Leased, SILENCE));
    }

    #[test]
    fn a_silence_is_told_with_its_end_and_with_ctrl_c_where_that_still_stops_something() {
        let plain = market::tests::order(Status::Leased, Mode::Own);
        let leased = Order { stand: Stand { deliver_by: 1_796_000_000, ..plain.stand }, ..plain };
        let said = words(&leased, (1_795_998_000, "timed out"), false);
        let since = "order 7 was not heard since 00:20 UTC (last: timed out); it is";
        for part in [since, "at 00:53 UTC", "Ctrl-C stops it", "`keystead map`"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        let stopping = words(&leased, (0, ""), true);
        assert!(!stopping.contains("Ctrl-C") && !stopping.contains("last"), "{stopping}");
        let committed = Order { stand: Stand { status: Status::Committed, ..leased.stand }, ..leased };
        assert!(!words(&committed, (0, ""), false).contains("Ctrl-C"), "too late to stop");
    }

    #[test]
    fn a_time_of_day_has_hours_and_minutes() {
        assert_eq!([clock(0), clock(86_399), clock(86_400 + 3_660)], ["00:00 UTC", "23:59 UTC", "01:01 UTC"]);
    }
}
