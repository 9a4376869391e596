//! Every way in which a unit can fail, and whose fault it is.

use serde::{Deserialize, Serialize};

/// Longest explanation kept, bytes: enough for a compiler message with its source line, bounded because a job wrote it.
const WHY_BYTES_MAX: usize = 4_096;

/// Why there is no output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The program breaks a rule of its runtime; the same on every machine.
    #[error("kernel rejected: {why}")]
    KernelRejected {
        /// The rule, or the compiler's message.
        why: String,
    },
    /// This machine's driver could not build a program that the rules allow. Offer the job elsewhere; nobody is to blame.
    #[error("driver rejected the kernel: {why}")]
    DriverRejected {
        /// The driver's message.
        why: String,
    },
    /// The unit asked for more than the job declares.
    #[error("limit hit: {which} limit={limit} got={}", got.map_or_else(|| "more".to_owned(), |got| got.to_string()))]
    LimitHit {
        /// Which limit.
        which: Limit,
        /// Its value in the unit of [`Limit`].
        limit: u64,
        /// What was asked for, if known.
        got: Option<u64>,
    },
    /// The program ended with its own negative error code.
    #[error("the program ended with an error: code={code}")]
    JobError {
        /// The program's code, negative.
        code: i64,
    },
    /// The program did what its machine forbids: unreachable code, bad memory access, division by zero.
    #[error("the program trapped: {why}")]
    Trapped {
        /// The trap and the function.
        why: String,
    },
    /// The worker process ended in the middle: driver crash, out of memory, killed from outside.
    #[error("worker died: {status}; its last words: {stderr:?}")]
    WorkerDied {
        /// Exit code or signal.
        status: String,
        /// The end of its standard error, cleaned.
        stderr: String,
    },
    /// No adapter for this runtime on this machine.
    #[error("no adapter: {why}")]
    NoAdapter {
        /// What was looked for.
        why: String,
    },
    /// This machine or its owner's program is at fault.
    #[error("provider fault: {why}")]
    ProviderFault {
        /// What failed.
        why: String,
    },
    /// Stopped on purpose before the end; says nothing about the job.
    #[error("aborted: {why}")]
    Aborted {
        /// By whom or what.
        why: String,
    },
}

/// A declared limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Wall time of a unit, ms. Depends on the machine.
    WallMs,
    /// Time to compile and prepare, ms. Depends on the machine.
    PrepareMs,
    /// Fuel of a unit.
    Fuel,
    /// Memory of a unit, bytes.
    MemoryBytes,
    /// Output of a unit, bytes.
    OutputBytes,
    /// Common or unit input, bytes.
    InputBytes,
    /// Program, bytes.
    ProgramBytes,
    /// The program's call stack, bytes.
    StackBytes,
    /// Loop iterations of one invocation.
    LoopIterations,
}

impl core::fmt::Display for Limit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::WallMs => "wall_ms",
            Self::PrepareMs => "prepare_ms",
            Self::Fuel => "fuel",
            Self::MemoryBytes => "memory_bytes",
            Self::OutputBytes => "output_bytes",
            Self::InputBytes => "input_bytes",
            Self::ProgramBytes => "program_bytes",
            Self::StackBytes => "stack_bytes",
            Self::LoopIterations => "loop_iterations",
        })
    }
}

/// Whose failure it is; decides what may be paid and never who is slashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The job's own: every honest provider fails in the same way.
    Job,
    /// The provider's: another provider would succeed.
    Provider,
    /// Cannot be told from here: time, driver, a stop.
    Undecided,
}

impl Failure {
    /// Whose failure it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::KernelRejected { .. } | Self::JobError { .. } | Self::Trapped { .. } => Fault::Job,
            Self::LimitHit { which: Limit::WallMs | Limit::PrepareMs, .. }
            | Self::DriverRejected { .. }
            | Self::Aborted { .. } => Fault::Undecided,
            Self::LimitHit { .. } => Fault::Job,
            Self::WorkerDied { .. } | Self::NoAdapter { .. } | Self::ProviderFault { .. } => Fault::Provider,
        }
    }

    /// The same, safe to print: a worker that was taken over may have written the texts.
    pub(crate) fn cleaned(mut self) -> Self {
        match &mut self {
            Self::KernelRejected { why }
            | Self::DriverRejected { why }
            | Self::Trapped { why }
            | Self::NoAdapter { why }
            | Self::ProviderFault { why }
            | Self::Aborted { why } => *why = cleaned(why),
            Self::WorkerDied { status, stderr } => (*status, *stderr) = (cleaned(status), cleaned(stderr)),
            Self::LimitHit { .. } | Self::JobError { .. } => {}
        }
        self
    }

    /// The worker's engine still works after this failure, so the next unit may use the same process.
    pub(crate) const fn leaves_worker_usable(&self) -> bool {
        match self {
            Self::JobError { .. } | Self::Trapped { .. } => true,
            Self::LimitHit { which, .. } => !matches!(which, Limit::WallMs | Limit::PrepareMs),
            _ => false,
        }
    }

    // A build without any runtime rejects nothing.
    #[cfg_attr(not(any(feature = "wasm", feature = "wgsl")), allow(dead_code))]
    pub(crate) fn kernel(why: impl core::fmt::Display) -> Self {
        Self::KernelRejected { why: cleaned(&why.to_string()) }
    }

    pub(crate) fn provider(why: impl core::fmt::Display) -> Self {
        Self::ProviderFault { why: cleaned(&why.to_string()) }
    }

    #[cfg(feature = "wgsl")]
    pub(crate) fn driver(why: impl core::fmt::Display) -> Self {
        Self::DriverRejected { why: cleaned(&why.to_string()) }
    }
}

/// Text that a stranger may have written, cut and without control characters (except line ends), so that it is safe to print.
pub(crate) fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(WHY_BYTES_MAX));
    for c in text.trim().chars() {
        if out.len().saturating_add(c.len_utf8()) > WHY_BYTES_MAX {
            break;
        }
        out.push(if c.is_control() && c != '\n' { ' ' } else { c });
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_faults_and_the_providers_faults_are_kept_apart() {
        let limit = |which| Failure::LimitHit { which, limit: 1, got: None };
        let job = [Failure::kernel("x"), Failure::JobError { code: -1 }, limit(Limit::Fuel), limit(Limit::MemoryBytes)];
        assert!(job.iter().all(|failure| failure.fault() == Fault::Job));
        let died = Failure::WorkerDied { status: String::new(), stderr: String::new() };
        assert_eq!((died.fault(), Failure::provider("x").fault()), (Fault::Provider, Fault::Provider));
        assert_eq!(limit(Limit::WallMs).fault(), Fault::Undecided);
        assert_eq!(Failure::Aborted { why: String::new() }.fault(), Fault::Undecided);
    }

    #[test]
    fn texts_that_a_worker_wrote_are_cut_and_lose_their_control_characters() {
        let hostile = || "\u{1b}]0;owned\u{7}".to_owned() + &"x".repeat(60_000);
        for failure in [
            Failure::KernelRejected { why: hostile() },
            Failure::DriverRejected { why: hostile() },
            Failure::Trapped { why: hostile() },
            Failure::NoAdapter { why: hostile() },
            Failure::ProviderFault { why: hostile() },
            Failure::Aborted { why: hostile() },
            Failure::WorkerDied { status: hostile(), stderr: hostile() },
        ] {
            let text = failure.cleaned().to_string();
            assert!(text.len() < 10_000 && !text.contains(['\u{1b}', '\u{7}']), "{} bytes", text.len());
        }
    }

    #[test]
    fn messages_name_the_limit_and_both_numbers() {
        let failure = Failure::LimitHit { which: Limit::OutputBytes, limit: 4, got: Some(5) };
        assert_eq!(failure.to_string(), "limit hit: output_bytes limit=4 got=5");
        let failure = Failure::LimitHit { which: Limit::Fuel, limit: 4, got: None };
        assert_eq!(failure.to_string(), "limit hit: fuel limit=4 got=more");
    }

    #[test]
    fn text_of_strangers_is_cut_and_cannot_move_the_cursor() {
        assert_eq!(cleaned(" a\x1b[31mb\r\nc \0"), "a [31mb \nc");
        assert_eq!(cleaned(&"é".repeat(5_000)).len(), WHY_BYTES_MAX);
    }
}
