//! What a trace may cost, and how much of it is left.

use crate::Error;
use std::fmt;

/// Steps between two looks at the stop flag: a step takes 5 to 50 ns, so a stop is seen within a fraction of a
/// millisecond unless one instruction is a long precompiled contract.
const STEPS_PER_LOOK: u64 = 4_096;

/// What one request for traces may cost, over all transactions that it names.
#[derive(Clone, Copy)]
pub struct TraceLimits<'a> {
    /// Instructions that are executed under the inspector.
    pub steps_max: u64,
    /// Bytes that the recording holds, estimated from below; the finished trace can be somewhat larger.
    pub bytes_max: u64,
    /// Asked now and then; once it says true the run ends with [`TraceError::Stopped`].
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl fmt::Debug for TraceLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceLimits")
            .field("steps_max", &self.steps_max)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

/// There is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It could not be executed; a call that is refused before it runs is [`Error::Request`] in here.
    #[error(transparent)]
    Execution(#[from] Error),
    /// The tracer or its options are not ours: the caller must change them.
    #[error("{0}")]
    Options(String),
    /// The block has no transaction at this place.
    #[error("no such transaction in the block: index={index} transactions={count}")]
    NoTransaction {
        /// Place asked for, from 0.
        index: usize,
        /// Transactions in the block.
        count: usize,
    },
    /// More instructions than allowed.
    #[error("trace too long: it executes more than {max} steps")]
    TooManySteps {
        /// The limit.
        max: u64,
    },
    /// The recording is larger than allowed.
    #[error(
        "trace too large: it would hold more than {max_bytes} bytes, ask for less (limit, disableStack, callTracer)"
    )]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The caller said stop.
    #[error("trace stopped: its time is over")]
    Stopped,
}

/// What is left of [`TraceLimits`].
pub(crate) struct Budget<'a> {
    limits: TraceLimits<'a>,
    steps: u64,
    bytes: u64,
    look_at: u64,
    spent: Option<Spent>,
}

/// What ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    Steps,
    Bytes,
    Time,
}

impl<'a> Budget<'a> {
    pub(crate) const fn new(limits: &TraceLimits<'a>) -> Self {
        Self { limits: *limits, steps: 0, bytes: 0, look_at: STEPS_PER_LOOK, spent: None }
    }

    /// Counts one instruction; false if the run must end.
    pub(crate) fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_add(1);
        if self.steps > self.limits.steps_max {
            self.spent.get_or_insert(Spent::Steps);
        }
        if self.steps >= self.look_at {
            self.look_at = self.steps.saturating_add(STEPS_PER_LOOK);
            if (self.limits.stop)() {
                self.spent.get_or_insert(Spent::Time);
            }
        }
        self.spent.is_none()
    }

    /// Counts bytes that are going to be recorded; false if the run must end.
    pub(crate) fn hold(&mut self, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes_max {
            self.spent.get_or_insert(Spent::Bytes);
        }
        self.spent.is_none()
    }

    /// Bytes that may still be recorded.
    pub(crate) const fn bytes_left(&self) -> u64 {
        self.limits.bytes_max.saturating_sub(self.bytes)
    }

    /// Looks at the stop flag now, for work between instructions.
    pub(crate) fn look(&mut self) -> Result<(), TraceError> {
        if (self.limits.stop)() {
            self.spent.get_or_insert(Spent::Time);
        }
        self.error().map_or(Ok(()), Err)
    }

    /// Why the run had to end.
    pub(crate) fn error(&self) -> Option<TraceError> {
        Some(match self.spent? {
            Spent::Steps => TraceError::TooManySteps { max: self.limits.steps_max },
            Spent::Bytes => self.too_large(),
            Spent::Time => TraceError::Stopped,
        })
    }

    /// The error of a recording that is too large.
    pub(crate) const fn too_large(&self) -> TraceError {
        TraceError::TooLarge { max_bytes: self.limits.bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(stop: &(dyn Fn() -> bool + Sync)) -> TraceLimits<'_> {
        TraceLimits { steps_max: 10, bytes_max: 100, stop }
    }

    #[test]
    fn the_last_step_and_the_last_byte_are_allowed_and_no_more() {
        let mut budget = Budget::new(&limits(&|| false));
        assert!((0..10).all(|_| budget.step()));
        assert!(budget.hold(100) && budget.bytes_left() == 0);
        assert!(!budget.hold(1));
        assert!(matches!(budget.error(), Some(TraceError::TooLarge { max_bytes: 100 })));
        let mut budget = Budget::new(&limits(&|| false));
        assert!((0..10).all(|_| budget.step()) && !budget.step());
        assert!(matches!(budget.error(), Some(TraceError::TooManySteps { max: 10 })));
    }

    #[test]
    fn a_stop_is_seen_within_one_look() {
        let mut budget = Budget::new(&TraceLimits { steps_max: u64::MAX, bytes_max: 0, stop: &|| true });
        let steps = (0..).take_while(|_| budget.step()).count();
        assert_eq!(steps, 4_095);
        assert!(matches!(budget.error(), Some(TraceError::Stopped)));
        assert!(matches!(Budget::new(&limits(&|| true)).look(), Err(TraceError::Stopped)));
    }
}
