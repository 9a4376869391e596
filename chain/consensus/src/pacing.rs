//! When to propose: at once if there is demand and the machine keeps up, else on a heartbeat.

use std::time::Duration;

/// How often blocks are made, and how long a silent leader is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Shortest time between a block and its child while there are transactions.
    pub interval_min: Duration,
    /// Longest time between blocks under load: what a slow machine falls back to.
    pub interval_max: Duration,
    /// Time between blocks when there is nothing to include. Must be shorter than `leader_timeout`.
    pub heartbeat: Duration,
    /// How long the others wait for a leader's proposal.
    pub leader_timeout: Duration,
}

impl Default for Pacing {
    /// Three failed leaders in a row cost three leader timeouts: 2.25 s, within the 3 s promised between blocks. A dead
    /// leader costs at most two (then it is skipped at once); one that has just come back may cost another.
    fn default() -> Self {
        Self {
            interval_min: Duration::from_millis(200),
            interval_max: Duration::from_millis(500),
            heartbeat: Duration::from_millis(600),
            leader_timeout: Duration::from_millis(750),
        }
    }
}

/// A block takes at most this share of the interval (one fourth): the rest is for voting, for the other blocks' checks
/// and, on a small machine, for the other validators.
const WORK_SHARE: u32 = 4;

impl Pacing {
    /// Interval that suits a machine which needed `work` for a recent block.
    #[must_use]
    pub fn interval(&self, work: Duration) -> Duration {
        work.saturating_mul(WORK_SHARE).clamp(self.interval_min, self.interval_max.max(self.interval_min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_follows_the_work_within_its_bounds() {
        let pacing = Pacing::default();
        assert_eq!(pacing.interval(Duration::from_millis(1)), pacing.interval_min);
        assert_eq!(pacing.interval(Duration::from_millis(80)), Duration::from_millis(320));
        assert_eq!(pacing.interval(Duration::from_secs(9)), pacing.interval_max);
    }

    #[test]
    fn three_failed_leaders_in_a_row_stay_within_three_seconds() {
        let pacing = Pacing::default();
        assert!(pacing.heartbeat < pacing.leader_timeout);
        assert!(pacing.leader_timeout.saturating_mul(3) < Duration::from_millis(2_300));
    }
}
