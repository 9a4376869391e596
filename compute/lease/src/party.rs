//! What the table knows about a provider.

use crate::{pace::Pace, rules::Rules};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The first pause after a lease that was given back; each further one in a row is twice as long.
const REST_MIN: Duration = Duration::from_millis(200);
/// Doublings after which the longest pause is reached in any case.
const RESTS_MAX: u32 = 10;

/// A provider of the job, as the caller numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Provider(pub u32);

/// Why a provider gets nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Out {
    /// It was caught with a wrong result.
    #[error("it delivered a wrong result")]
    Wrong,
    /// Its leases ended late, silent or refused too often in a row.
    #[error("its leases came to nothing too often")]
    Unreliable,
    /// It does not take the job, or its channel cannot pay it any more.
    #[error("it takes no more work of this job")]
    Unwilling,
    /// It did not have its work audited, as was agreed.
    #[error("it did not have its work audited")]
    Unaudited,
}

impl Out {
    /// Whether what it delivered counts for nothing any more. Then it is never asked again.
    #[must_use]
    pub const fn discards(self) -> bool {
        matches!(self, Self::Wrong | Self::Unaudited)
    }
}

/// Whether it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Away,
    Ready,
    Draining,
    Out(Out),
}

/// One provider.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    stand: Stand,
    pub(crate) lease: Option<u64>,
    pub(crate) pace: Pace,
    /// Steps of its last settled lease: the next one grows from there.
    pub(crate) last_steps: Option<u32>,
    pub(crate) heard: Duration,
    strikes: u32,
    /// Leases in a row that it gave back without having done anything.
    rests: u32,
    not_before: Duration,
}

impl Party {
    pub(crate) fn new() -> Self {
        Self {
            stand: Stand::Away,
            lease: None,
            pace: Pace::default(),
            last_steps: None,
            heard: Duration::ZERO,
            strikes: 0,
            rests: 0,
            not_before: Duration::ZERO,
        }
    }

    pub(crate) const fn out(&self) -> Option<Out> {
        if let Stand::Out(why) = self.stand { Some(why) } else { None }
    }

    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.stand, Stand::Ready)
    }

    pub(crate) fn may_work(&self, now: Duration) -> bool {
        self.is_ready() && self.lease.is_none() && now >= self.not_before
    }

    pub(crate) const fn leave_out(&mut self, why: Out) {
        // The worse word stays.
        if !self.is_discarded() || matches!(why, Out::Wrong) {
            self.stand = Stand::Out(why);
        }
    }

    const fn is_discarded(&self) -> bool {
        matches!(self.stand, Stand::Out(out) if out.discards())
    }

    pub(crate) const fn is(&mut self, ready: Readiness) {
        if self.out().is_none() {
            self.stand = match ready {
                Readiness::Away => Stand::Away,
                Readiness::Ready => Stand::Ready,
                Readiness::Draining => Stand::Draining,
            };
        }
    }

    /// A lease came to nothing by its fault.
    pub(crate) const fn strike(&mut self, rules: &Rules, now: Duration) {
        self.strikes = self.strikes.saturating_add(1);
        self.not_before = now.saturating_add(rules.pause.saturating_mul(self.strikes));
        if self.strikes >= rules.strikes_max {
            self.leave_out(Out::Unreliable);
        }
    }

    /// A lease came to nothing by nobody's fault.
    pub(crate) fn rest(&mut self, rules: &Rules, now: Duration) {
        let pause = REST_MIN.saturating_mul(1 << self.rests.min(RESTS_MAX)).min(rules.pause.saturating_mul(2));
        self.rests = self.rests.saturating_add(1);
        self.not_before = self.not_before.max(now.saturating_add(pause));
    }

    /// Back to the beginning, unless it was caught.
    pub(crate) const fn begin_again(&mut self) {
        if !self.is_discarded() {
            self.stand = Stand::Away;
        }
        self.strikes = 0;
        self.rests = 0;
        self.not_before = Duration::ZERO;
    }

    pub(crate) const fn forgive(&mut self) {
        self.strikes = 0;
        self.rests = 0;
    }
}

/// What a provider or its connection says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Away,
    Ready,
    Draining,
}
