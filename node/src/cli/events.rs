//! The option of commands that tell programs what happens to a job.

use clap::Args;
use std::path::PathBuf;

/// Where a job's events go.
#[derive(Args, Debug)]
pub(crate) struct EventsFile {
    /// Write every event to this file, one JSON object a line, or to standard output (-). A file is appended to, by one process at a time: one that goes on
    /// with the job tells nothing twice. What events there are: specs/0011-stream.md section 10.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) events: Option<PathBuf>,
}
