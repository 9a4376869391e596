//! The numbers of specs/0011-stream.md section 4, each with its reason.

use std::time::Duration;

/// Most steps of a lease: a window of payment, which is what either side risks.
pub const STEPS_MAX: u32 = 64;
/// Steps of the first lease of a provider: enough to measure, few to lose.
pub const PROBE_STEPS: u32 = 4;
/// How fast leases grow, so that one good measurement does not make a long one.
const GROWTH: u32 = 4;
/// How often the report of one lease may be lost with its connection and come again: who never lets one be looked at must not keep its steps for ever.
pub(crate) const RETURNS_MAX: u32 = 3;
/// How much longer than usual a step may take before it is somebody else's.
const SLACK: u32 = 4;

/// The bounds of a table. [`Rules::new`] gives the start values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most steps of a lease, 1 to [`STEPS_MAX`].
    pub steps_max: u32,
    /// How long a window may take by the provider's measured pace: what is lost when it dies.
    pub window: Duration,
    /// Longest time of a step, by the job's own limits.
    pub step_max: Duration,
    /// What every deadline has besides: fetching inputs, starting a worker, waiting for the machine.
    pub floor: Duration,
    /// How long after the deadline a report still counts: it travels, and clocks differ.
    pub grace: Duration,
    /// How long a provider with a lease may be silent.
    pub silence: Duration,
    /// How long a provider waits after its first strike; longer after each further one.
    pub pause: Duration,
    /// Strikes in a row after which a provider is left out.
    pub strikes_max: u32,
    /// Providers at which a unit may fail before it fails the job.
    pub failures_max: u32,
}

impl Rules {
    /// The start values, for a job of which one step takes at most `step_max`.
    #[must_use]
    pub const fn new(step_max: Duration) -> Self {
        Self {
            steps_max: STEPS_MAX,
            window: Duration::from_secs(60),
            step_max,
            floor: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            pause: Duration::from_secs(5),
            strikes_max: 3,
            failures_max: 3,
        }
    }

    /// Most steps for a provider of this pace whose last lease had `last` steps.
    pub(crate) fn quota(&self, pace: Option<Duration>, last: Option<u32>) -> u32 {
        let grown = last.map_or(PROBE_STEPS, |last| last.saturating_mul(GROWTH).max(PROBE_STEPS));
        let in_time = pace.map_or(PROBE_STEPS, |each| {
            let fits = self.window.as_nanos().checked_div(each.as_nanos()).unwrap_or(u128::MAX);
            u32::try_from(fits).unwrap_or(u32::MAX)
        });
        grown.min(in_time).min(self.steps_max).max(1)
    }

    /// How long a provider of this pace has for so many steps.
    pub(crate) fn limit(&self, steps: u32, pace: Option<Duration>) -> Duration {
        let longest = self.step_max.saturating_mul(steps);
        let usual = pace.map(|each| each.saturating_mul(steps).saturating_mul(SLACK));
        self.floor.saturating_add(usual.map_or(longest, |usual| usual.min(longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn leases_grow_from_a_probe_to_a_window_and_stay_within_its_time() {
        let rules = Rules::new(SECOND);
        assert_eq!(rules.quota(None, None), 4);
        assert_eq!(rules.quota(Some(Duration::from_millis(1)), Some(4)), 16);
        assert_eq!(rules.quota(Some(Duration::from_millis(1)), Some(16)), 64);
        assert_eq!(rules.quota(Some(Duration::from_millis(1)), Some(64)), 64);
        assert_eq!(rules.quota(Some(SECOND.saturating_mul(20)), Some(64)), 3);
        assert_eq!(rules.quota(Some(SECOND.saturating_mul(600)), Some(1)), 1);
        assert_eq!(
            rules.quota(Some(Duration::from_millis(1)), Some(1)),
            4,
            "a cut lease does not shrink the next for ever"
        );
    }

    #[test]
    fn a_deadline_follows_the_pace_and_never_passes_the_jobs_own_limit() {
        let rules = Rules::new(SECOND);
        assert_eq!(rules.limit(4, None), Duration::from_secs(14));
        assert_eq!(rules.limit(4, Some(Duration::from_millis(100))), Duration::from_millis(11_600));
        assert_eq!(rules.limit(4, Some(SECOND)), Duration::from_secs(14));
    }
}
