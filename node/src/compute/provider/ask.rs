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
        let most = decision.bounds.memory_bytes.filter(|_| !self.fits(&decision.bounds, 0))?;
        let whose = if decision.in_use { "in_use" } else { "not_in_use" };
        Some(format!(
            "the job takes {} MiB of memory, and {} MiB are allowed now by {whose}.memory_percent",
            self.needed_bytes.div_ceil(MIB),
            most / MIB
        ))
    }
}

/// What one job may declare where all together may take so much.
pub(super) fn declared_bytes(most: u64) -> u64 {
    most.saturating_sub(needed_bytes(0))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use keystead_owner::decide::refuse;

    fn decision(memory_bytes: Option<u64>, in_use: bool) -> Decision {
        let none = refuse("");
        Decision { bounds: Bounds { memory_bytes, ..none.bounds }, in_use, ..none }
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
            assert_eq!(ask.fits(&decision(most, true).bounds, held), fits, "{most:?} {held}");
        }
        assert!(Ask::from(Runtime::Wgsl1).fits(&decision(Some(0), true).bounds, 0), "a proof has its own bound");
    }

    #[test]
    fn the_refusal_names_the_numbers_and_the_rule_in_force() {
        let ask = Ask { runtime: Runtime::Wasm1, needed_bytes: 3 * MIB };
        assert_eq!(ask.refusal(&decision(Some(3 * MIB), true)), None);
        for (in_use, rule) in [(true, "in_use"), (false, "not_in_use")] {
            let words = ask.refusal(&decision(Some(3 * MIB - 1), in_use)).unwrap_or_default();
            let expected = format!("the job takes 3 MiB of memory, and 2 MiB are allowed now by {rule}.memory_percent");
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn what_may_be_declared_fits_exactly() {
        let most = 1_000 * MIB;
        let declared = declared_bytes(most);
        let ask = |declared| Ask { runtime: Runtime::Wasm1, needed_bytes: needed_bytes(declared) };
        assert!(ask(declared).fits(&decision(Some(most), true).bounds, 0));
        assert!(!ask(declared + 1).fits(&decision(Some(most), true).bounds, 0));
        assert_eq!(declared_bytes(1), 0);
    }
}
