//! Runs the units of a job, each job in its own killable process, and says exactly why when it cannot.
//!
//! # Design
//! ```text
//! node ── Session ── frames over two pipes ── worker process ── Runtime (wasm/1 or wgsl/1) ── engine
//! ```
//! The parent side ([`Session`], [`probe`]) never touches job code: it starts `<this binary> worker <runtime>`, sends bytes, receives
//! bytes, and kills the process at the deadline, on a stop, or when it is dropped. The child side ([`worker_main`]) has no environment, no
//! folder, no keys and no files but three pipes; it leaves when its input ends, so it cannot outlive its parent. One worker serves the
//! units of one job and no other.
//!
//! # Invariants
//! - Job code is parsed, compiled and run only in the child.
//! - Every failure says whose it is ([`Failure::fault`]): the job's, the provider's, or undecided.
//! - A unit's output is returned only if the unit ended by itself within every limit.
//!
//! # Not here
//! Which units, whose money, where bytes come from (`node`, `keystead-audit`). System call filters (a later issue).

mod admit;
mod failure;
mod frame;
mod message;
mod process;
mod report;
mod runtime;
mod sandbox;
mod session;
#[cfg(feature = "wasm")]
mod wasm;
#[cfg(feature = "wgsl")]
mod wgsl;
mod worker;

pub use admit::{Refusal, admit};
pub use failure::{Failure, Fault, Limit};
pub use message::{Done, Usage, Words};
pub use process::WorkerCommand;
pub use report::{Device, DeviceKind, Loops, SelfTest};
pub use session::{Job, Session, Stop, WORKGROUPS_ASKED_MAX, probe};
pub use worker::worker_main;

/// The subcommand under which the binary becomes a worker; its only argument is the runtime's name (`wasm/1`, `wgsl/1`).
pub const WORKER_SUBCOMMAND: &str = "worker";
