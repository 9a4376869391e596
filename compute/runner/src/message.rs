//! What parent and worker say to each other, one message a frame.
//!
//! # Protocol
//! The worker says [`Reply::Ready`], then answers one [`Request`] at a time, in order. `Begin` may come once: a second job needs a second
//! process.

use crate::{failure::Failure, isolation::LayerReport, report::SelfTest};
use serde::{Deserialize, Serialize};

/// Version of this protocol; both sides are the same binary, so a difference means a broken installation.
pub(crate) const PROTOCOL: u16 = 2;

/// From the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run the self-test.
    Probe,
    /// Prepare a job. Payload: program, then common input.
    Begin {
        /// The job spec's canonical encoding.
        spec: Vec<u8>,
        /// Length of the program in the payload, bytes.
        program_bytes: u32,
    },
    /// Run a unit. Payload: the unit input.
    Unit,
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The process is confined and its engine exists.
    Ready {
        /// [`PROTOCOL`].
        protocol: u16,
        /// What it could take away from itself.
        layers: Vec<LayerReport>,
    },
    /// Answer to `Probe`.
    SelfTest(Box<SelfTest>),
    /// Answer to `Begin`.
    Begun {
        /// The engine with its version and configuration.
        engine: String,
    },
    /// Answer to `Unit`. Payload: the output.
    Done(Usage),
    /// Answer to any request.
    Failed(Failure),
}

/// What a unit used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Fuel of `wasm/1`, 0 for `wgsl/1`. Equal on every machine with the same engine version; never compare it across engines.
    pub fuel: u64,
    /// Wall time inside the worker, microseconds. Differs from run to run.
    pub wall_us: u64,
}

/// A unit that ran to its end within every limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The output, at most the job's `output_bytes_max` bytes.
    pub output: Vec<u8>,
    /// What it used.
    pub usage: Usage,
}
