//! What a job asks of this machine's memory, held against the share that the owner gives.
//!
//! # Design
//! A job declares its memory before anything runs, so what is asked is known and nothing is measured. One order or lease has the machine at a time; a
//! check may run between its units, and gives way to it where both together do not fit.

use keystead_job::{JobSpec, Runtime};
use keystead_owner::decide::{Bounds, Decision};
use keystead_runner::needed_bytes;

/// Memory is told in these.
const MIB: u64 = 1 << 20;

/// What is to run, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(super) runtime: Runtime,
    /// Memory, bytes.
    pub(super) needed_bytes: u64,
}

impl From<&JobSpec> for Ask {
    fn from(spec: &JobSpec) -> Self {
        Self { runtime: spec.runtime, needed_bytes: needed_bytes(spec.limits.memory_bytes_max) }
    }
}

impl From<Runtime> for Ask {
    /// A proof of hardware: its memory is what `--prove-memory` says.
    fn from(runtime: Runtime) -> Self {
        Self { runtime, needed_bytes: 0 }
    }
}

impl Ask {
    /// Whether it has room beside what is held.
    pub(super) fn fits(self, bounds: &Bounds, held_bytes: u64) -> bool {
        let all = self.needed_bytes.saturating_add(held_bytes);
        self.needed_bytes == 0 || bounds.memory_bytes.is_none_or(|most| all <= most)
    }

    /// Why it does not run now even alone, if memory is the reason.
    pub(super) fn refusal(self, decision: &Decision) -> Option<String> {
        let now = decision.bounds.memory_bytes.filter(|_| !self.fits(&decision.bounds, 0))?;
        let later = decision.bounds.memory_most_bytes.filter(|later| *later > now);
        let later = later.map_or_else(String::new, |later| format!(", {} MiB at other times", later / MIB));
        let needed = self.needed_bytes.div_ceil(MIB);
        Some(format!("the job takes {needed} MiB of memory, and memory_percent allows {} MiB now{later}", now / MIB))
    }
}

/// What one job may declare where all together may take so much.
pub(super) const fn declared_bytes(most: u64) -> u64 {
    most.saturating_sub(needed_bytes(0))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use keystead_owner::decide::refuse;

    fn bounds(memory_bytes: Option<u64>) -> Bounds {
        Bounds { memory_bytes, ..refuse("").bounds }
    }

    #[test]
    fn a_job_runs_up_to_the_owners_bound_and_what_is_held_counts() {
        let ask = Ask { runtime: Runtime::Wasm1, needed_bytes: 3 * MIB };
        for (most, held, fits) in [
            (Some(3 * MIB), 0, true),
            (Some(3 * MIB - 1), 0, false),
            (Some(4 * MIB), MIB, true),
            (Some(4 * MIB), MIB + 1, false),
            (None, u64::MAX, true),
        ] {
            assert_eq!(ask.fits(&bounds(most), held), fits, "{most:?} {held}");
        }
        assert!(Ask::from(Runtime::Wgsl1).fits(&bounds(Some(0)), 0), "a proof has its own bound");
    }

    #[test]
    fn the_refusal_says_what_is_asked_and_what_is_given_now_and_later() {
        let ask = Ask { runtime: Runtime::Wasm1, needed_bytes: 3 * MIB };
        let refusal = |now, later| {
            let bounds = Bounds { memory_most_bytes: Some(later), ..bounds(Some(now)) };
            ask.refusal(&Decision { bounds, ..refuse("") })
        };
        assert_eq!(refusal(3 * MIB, 5 * MIB), None);
        let now = "the job takes 3 MiB of memory, and memory_percent allows 2 MiB now";
        assert_eq!(refusal(3 * MIB - 1, 3 * MIB - 1).as_deref(), Some(now));
        assert_eq!(refusal(2 * MIB, 5 * MIB), Some(format!("{now}, 5 MiB at other times")));
    }

    #[test]
    fn what_may_be_declared_fits_exactly() {
        let most = 1_000 * MIB;
        let declared = declared_bytes(most);
        let ask = |declared| Ask { runtime: Runtime::Wasm1, needed_bytes: needed_bytes(declared) };
        assert!(ask(declared).fits(&bounds(Some(most)), 0));
        assert!(!ask(declared + 1).fits(&bounds(Some(most)), 0));
        assert_eq!(declared_bytes(1), 0);
    }
}
