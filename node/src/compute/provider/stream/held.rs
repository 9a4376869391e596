//! What a provider holds of a lease: nothing, work that is going on, or a report that waits for its pay.

use super::work::Worked;
use alloy_primitives::B256;
use keystead_blobs::stream::{EndCode, LeaseOffer};
use std::{future::pending, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

/// How long before its end a lease is reported; of a short one a tenth of its time.
const MARGIN_MAX: Duration = Duration::from_secs(2);

/// One of three.
#[derive(Debug)]
pub(super) enum Held {
    Nothing,
    Working(Working),
    Reported(Waiting),
}

/// A lease that is being run.
#[derive(Debug)]
pub(super) struct Working {
    pub(super) offer: LeaseOffer,
    pub(super) halt: watch::Sender<Option<EndCode>>,
    pub(super) done: watch::Receiver<u32>,
    pub(super) task: JoinHandle<Worked>,
    pub(super) received: Instant,
    pub(super) beaten: Instant,
}

/// A report that is on the disk.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) lease: u64,
    /// Unit, segments done and name of the states with which the window ended; unknown after a restart.
    pub(super) last: Vec<(u32, u32, B256)>,
    /// Since when it waits.
    pub(super) since: Instant,
}

impl Working {
    /// Whether it is time to report what there is.
    pub(super) fn is_due(&self) -> bool {
        let limit = Duration::from_millis(self.offer.milliseconds);
        let margin = MARGIN_MAX.min(limit.checked_div(10).unwrap_or_default());
        self.received.elapsed() >= limit.saturating_sub(margin)
    }

    /// Whether a report would be in time.
    pub(super) fn is_in_time(&self) -> bool {
        self.received.elapsed() <= Duration::from_millis(self.offer.milliseconds)
    }

    /// The first reason counts.
    pub(super) fn halt(&self, why: EndCode) {
        self.halt.send_if_modified(|halt| {
            let first = halt.is_none();
            halt.get_or_insert(why);
            first
        });
    }
}

impl Held {
    /// The number of the lease.
    pub(super) const fn lease(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Working(working) => Some(working.offer.number),
            Self::Reported(waiting) => Some(waiting.lease),
        }
    }

    /// The end of the work; never, if there is none. `None`: it ended abnormally.
    pub(super) async fn worked(&mut self) -> Option<Worked> {
        match self {
            Self::Working(working) => {
                (&mut working.task).await.inspect_err(|error| tracing::error!(%error, "a lease ended abnormally")).ok()
            }
            _ => pending().await,
        }
    }

    /// This process stood still for so long: a report did not wait for its pay meanwhile.
    pub(super) fn stood_still(&mut self, gap: Duration) {
        if let Self::Reported(waiting) = self {
            waiting.since = waiting.since.checked_add(gap).unwrap_or(waiting.since);
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // With it goes the worker.
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_report_does_not_wait_for_its_pay_while_its_maker_stands_still() {
        let (since, gap) = (Instant::now(), Duration::from_secs(600));
        let mut held = Held::Reported(Waiting { lease: 1, last: Vec::new(), since });
        held.stood_still(gap);
        let Held::Reported(waiting) = &held else { panic!("{held:?}") };
        assert_eq!((waiting.lease, waiting.since), (1, since.checked_add(gap).unwrap()));
    }
}
