//! Runs the units of a job, each job in its own killable process, and says exactly why when it cannot.
//!
//! # Design
//! ```text
//! node ── Session ── frames over two pipes ── worker process ── Runtime (wasm/1 or wgsl/1) ── engine
//! ```
//! The parent side ([`Session`], [`probe`]) never touches job code: it starts `<this binary> worker <runtime>`, sends bytes, receives
//! bytes, and kills the process at the deadline, on a stop, or when it is dropped. The child side ([`worker_main`]) first takes from itself
//! what it does not need, layer by layer, and says what it could ([`Isolation`], docs/sandbox.md): it has no environment, no folder, no keys, no network and no files
//! but three pipes and, for `wgsl/1`, a graphics driver. It leaves when its input ends, so it cannot outlive its parent. One worker
//! serves the units of one job and no other. A [`Touchstone`] is the same for the proof of hardware, whose programs are our own.
//!
//! # Invariants
//! - Job code is parsed, compiled and run only in the child.
//! - Every failure says whose it is ([`Failure::fault`]): the job's, the provider's, or undecided.
//! - A unit's output is returned only if the unit ended by itself within every limit.
//!
//! # Not here
//! Which units, whose money, where bytes come from (`node`, `keystead-audit`).

mod admit;
#[cfg_attr(not(feature = "wgsl"), allow(dead_code))]
mod cards;
mod failure;
mod frame;
mod isolation;
mod machine;
mod message;
mod process;
mod report;
mod runtime;
mod said;
mod sandbox;
mod session;
mod speed;
mod touchstone;
#[cfg(feature = "wasm")]
mod wasm;
#[cfg(feature = "wasm")]
mod wasm_bounds;
#[cfg(feature = "wgsl")]
mod wgsl;
mod worker;

pub use admit::{Refusal, admit, place};
pub use cards::{CARDS_MAX, SOFTWARE_NAMES};
pub use failure::{Failure, Fault, Limit};
pub use isolation::{Isolation, Layer, LayerReport, UnknownLayer};
pub use machine::needed_bytes;
pub use message::{Done, Usage, Words};
pub use process::WorkerCommand;
pub use report::{Device, DeviceKind, Loops, SelfTest, Tested};
pub use said::{Hear, Said};
pub use sandbox::hide_memory;
pub use session::{Job, Session, Stop, WORKGROUPS_ASKED_MAX, probe};
pub use speed::{Speed, Work, measure};
pub use touchstone::{Task, Touchstone};
pub use worker::{confine, worker_main};

/// The subcommand under which the binary becomes a worker; its only argument is the runtime's name (`wasm/1`, `wgsl/1`).
pub const WORKER_SUBCOMMAND: &str = "worker";
