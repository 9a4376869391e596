//! The options of commands that tell programs and people what happens to a job.

use clap::Args;
use std::path::PathBuf;

/// Where a job's events go, and how much is shown of what providers say.
#[derive(Args, Debug)]
pub(crate) struct EventsFile {
    /// Write every event to this file, one JSON object a line, or to standard output (-). A file is appended to, by one process at a time: one that goes on
    /// with the job tells nothing twice. What events there are: specs/0011-stream.md section 10.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) events: Option<PathBuf>,
    /// Show all that providers say of their side, not only why nothing moves. `provider.log` in the folder has it in any case.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}
