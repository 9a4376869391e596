//! Which windows can be paid now, and which wait for a new look at their channel.
//!
//! # Design
//! A process that stood still (stopped, frozen with its machine, behind a disk that hung) knows its channels from before. Whoever reported meanwhile
//! is not to blame: its window waits until the node says again where the channel stands, and its lease, whose report came in, is neither late nor
//! silent. The wait is counted in time in which this process looked at the clock, so that a second standstill does not use it up.

use super::{Conductor, Pending, clock::GAP_MAX, money::FRESH_MAX};
use eyre::Result;
use std::time::Duration;

/// What becomes of a window that was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It is paid, or refused for what the channel says.
    Now,
    /// It stays until there is a new look at its channel.
    Later,
    /// The node has said nothing for too long.
    Never,
}

/// The rule, of how old the newest look at the channel is, if there is one, and how long the window has waited for a newer one.
fn due(look_age: Option<Duration>, waited: Duration) -> Due {
    match look_age {
        Some(age) if age > FRESH_MAX && waited <= FRESH_MAX => Due::Later,
        Some(age) if age > FRESH_MAX => Due::Never,
        _ => Due::Now,
    }
}

/// How much longer a window has waited at a look at the clock, so long after the look before: no more than what a process that runs takes.
fn waited_longer(since_look: Duration) -> Duration {
    since_look.min(GAP_MAX)
}

impl Conductor<'_> {
    /// Takes the windows out that are decided in this round; what nobody can say where its channel stands is refused.
    pub(super) fn take_due(&mut self) -> Result<Vec<Pending>> {
        let mut taken = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let Pending { provider, lease, waited, .. } = pending;
            let look = self.live.get(&provider).and_then(|live| live.channel.as_ref());
            let look_age = look.map(|(_, _, at)| at.elapsed());
            // A lease that has ended is not paid, whatever its channel says.
            let due = if self.holds(provider, lease) { due(look_age, waited) } else { Due::Now };
            match due {
                Due::Now => taken.push(pending),
                Due::Later => {
                    if waited.is_zero() {
                        tracing::info!(lease, "a window waits for a new look at its channel");
                    }
                    self.pending.push(pending);
                }
                Due::Never => {
                    self.refuse_money(provider, lease, "the node does not say where the channel stands".to_owned())?;
                }
            }
        }
        Ok(taken)
    }

    /// The clock was looked at, so long after the look before: what is pending has waited.
    pub(super) fn count_waits(&mut self, since_look: Duration) {
        for pending in &mut self.pending {
            pending.waited = pending.waited.saturating_add(waited_longer(since_look));
        }
    }

    /// Whether a lease's report was found right, and its pay waits.
    pub(super) fn is_pending(&self, lease: u64) -> bool {
        self.pending.iter().any(|pending| pending.lease == lease)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::TICK, *};

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_waits_for_a_new_look_at_its_channel_and_not_for_ever() {
        let after = FRESH_MAX.saturating_add(MOMENT);
        let long = FRESH_MAX.saturating_mul(1_000);
        for waited in [Duration::ZERO, FRESH_MAX, after, long] {
            // A look that is there pays, or says why not, however long it took.
            assert_eq!(due(Some(FRESH_MAX), waited), Due::Now);
            // That a channel is not known is for whoever pays to say.
            assert_eq!(due(None, waited), Due::Now);
        }
        for age in [after, long] {
            assert_eq!((due(Some(age), Duration::ZERO), due(Some(age), FRESH_MAX)), (Due::Later, Due::Later));
            assert_eq!(due(Some(age), after), Due::Never);
        }
    }

    #[test]
    fn a_second_standstill_does_not_use_the_wait_up() {
        let stood_still = Duration::from_secs(35);
        assert_eq!(waited_longer(MOMENT), MOMENT);
        let waited = waited_longer(stood_still);
        assert_eq!(waited, GAP_MAX);
        assert_eq!(due(Some(stood_still), waited), Due::Later);
        // While nothing but the node is silent the bound is one of time, to a look at the clock.
        let mut waited = Duration::ZERO;
        while waited < FRESH_MAX {
            waited = waited.saturating_add(waited_longer(TICK));
        }
        assert_eq!(due(Some(stood_still), waited), Due::Later);
        assert_eq!(due(Some(stood_still), waited.saturating_add(TICK)), Due::Never);
    }
}
