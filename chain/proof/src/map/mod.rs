//! The certificate of a map: what the customer of a job over audited channels keeps and shows.
//!
//! # Design
//! One block, the windows of the job's channels as they stand in it, the steps that each window committed to, and how these steps make
//! the job's results. It claims no values: the words of the contracts are read out of the trie, and what they mean is said. So nothing
//! here is ever *proved false*. [`state`] reads the words, [`check`] runs the seven steps, [`steps`] follows each unit from its input to its
//! result, [`meaning`] says what comes of it.
//!
//! # Invariants
//! What a proved file says has one form: channels and nodes have one order, every node is needed, and every other byte is hashed or signed.
//! Whoever has a file can make one that says less: windows may be emptied and channels left out, since a customer need not keep them.
//!
//! Spec: specs/0002-proof-bundle.md §12, specs/0009-channel.md §6.1 and §8.

mod check;
mod compose;
mod meaning;
mod read;
mod state;
mod steps;

pub(crate) use check::run;
pub use compose::{MapError, MapParts};
pub use state::{CHANNEL_ADDRESS, CHANNEL_SLOTS, CHANNEL_WINDOW_SLOTS, channel_slots, channel_window_slots};

use crate::{
    audit::Audit,
    certificate::{CustomerStatement, Job},
    market::OrderError,
    outputs::result_root,
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use keystead_types::Certificate;
use state::Pool;
use std::fmt;

/// Value of the field `format`.
pub const MAP_FORMAT: &str = "keystead-map/1";

/// Largest certificate of a map in bytes.
pub const MAP_BYTES_MAX: usize = 16_777_216;

/// Most channels of one map.
pub const MAP_CHANNELS_MAX: usize = 1_024;

/// Most windows of all channels together.
pub const MAP_WINDOWS_MAX: usize = 4_096;

/// Most trie nodes.
pub const MAP_NODES_MAX: usize = 65_536;

/// Longest trie node in bytes.
const NODE_BYTES_MAX: usize = 1_024;

/// Most steps of a window (specs/0009-channel.md §7).
const WINDOW_STEPS_MAX: usize = 65_536;

/// Most steps of a job: units times segments (specs/0003-job.md §2).
const JOB_STEPS_MAX: u64 = 1_048_576;

const STATEMENT_DOMAIN: &[u8] = b"keystead/map-statement/v1";

/// One entry of a window's list of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapStep {
    /// Unit of the job, from 0.
    pub unit: u32,
    /// Its segment, from 0.
    pub segment: u32,
    /// Name of the state before it; the unit's input before segment 0.
    pub input: B256,
}

/// What a customer kept of an announced window. The default: nothing, so that nothing of it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapWindow {
    /// The list of steps, in the order of the report; empty if it was not kept.
    pub steps: Vec<MapStep>,
    /// Names of the states after them, one each.
    pub results: Vec<B256>,
    /// What the salts of the commitment follow from.
    pub secret: B256,
}

/// A channel and all windows that were announced in it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapChannel {
    /// Its number in contract `Channel`.
    pub id: B256,
    /// From window 1 on.
    pub windows: Vec<MapWindow>,
}

/// A certificate of a map that is well formed. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapCertificate {
    /// Chain whose signatures count.
    pub(crate) chain_id: u64,
    certificate: Certificate,
    headers: Vec<Bytes>,
    block: u64,
    nodes: Pool,
    job_bytes: Bytes,
    job: Job,
    inputs: Vec<B256>,
    results: Vec<B256>,
    channels: Vec<MapChannel>,
    statement: CustomerStatement,
    signature: [u8; 65],
}

/// What a certificate of a map is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// Hash of the job.
    pub job_hash: B256,
    /// Number of the block in which the windows stand.
    pub block: u64,
    /// Units of the job.
    pub units: u32,
    /// Steps of the job: units times segments.
    pub steps: u64,
    /// Channels of the file.
    pub channels: usize,
    /// Announced windows of all of them.
    pub windows: usize,
}

impl fmt::Display for MapFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job_hash, block, units, steps, channels, windows } = self;
        write!(
            f,
            "in block {block}, the map of job {job_hash}: {units} units in {steps} steps, {channels} channels with {windows} windows"
        )
    }
}

impl MapCertificate {
    /// What it is about; nothing of it is verified.
    #[must_use]
    pub fn facts(&self) -> MapFacts {
        MapFacts {
            job_hash: self.job.hash,
            block: self.block,
            units: self.job.units,
            steps: self.job_steps(),
            channels: self.channels.len(),
            windows: self.channels.iter().map(|channel| channel.windows.len()).sum(),
        }
    }

    /// What the customer signs: these words about the results of this job on this chain.
    #[must_use]
    pub fn statement_digest(statement: &CustomerStatement, chain_id: u64, job_hash: B256, results: &[B256]) -> B256 {
        let mut message = STATEMENT_DOMAIN.to_vec();
        message.extend_from_slice(&chain_id.to_be_bytes());
        message.extend_from_slice(job_hash.as_slice());
        message.extend_from_slice(result_root(results.iter().copied()).as_slice());
        message.extend_from_slice(&statement.signed_bytes());
        keccak256(message)
    }

    /// Steps of the job.
    fn job_steps(&self) -> u64 {
        u64::from(self.job.units).saturating_mul(self.job.segments.into())
    }
}

/// Parts of a map's certificate that do not belong together, or words that the contracts cannot have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFault {
    /// A bit is set in the words of a channel that the layout leaves unused.
    #[error("word {word} of channel {channel} has bits outside the layout")]
    Stray {
        /// Whose words.
        channel: B256,
        /// Which of the words.
        word: usize,
    },
    /// A number in the words of a channel that this version does not know.
    #[error("unknown {field} of channel {channel}: number={number}")]
    Unknown {
        /// Whose words.
        channel: B256,
        /// Name of the field.
        field: &'static str,
        /// The number in storage.
        number: u64,
    },
    /// The words of a window are none of the audit's.
    #[error("window {window} of channel {channel}: {source}")]
    Words {
        /// Of which channel.
        channel: B256,
        /// Which window, from 1.
        window: u64,
        /// What is wrong with them.
        source: OrderError,
    },
    /// Nodes that no slot needs.
    #[error("only {used} of {got} nodes are needed")]
    Unused {
        /// Nodes that were needed.
        used: usize,
        /// Nodes given.
        got: usize,
    },
    /// The inputs of another job.
    #[error("the inputs are not the job's: the hash of their list is {got}, the job has {expected}")]
    Inputs {
        /// Of the list given.
        got: B256,
        /// What the job names.
        expected: B256,
    },
    /// No such channel.
    #[error("there is no channel {channel}")]
    NoChannel {
        /// The number asked for.
        channel: B256,
    },
    /// A channel whose windows nobody checks.
    #[error("channel {channel} is not audited")]
    NotAudited {
        /// Which one.
        channel: B256,
    },
    /// A channel of something else.
    #[error("channel {channel}: its {what} is {got}, expected {expected}")]
    Channel {
        /// Which one.
        channel: B256,
        /// `job`, `customer` or `number of windows`.
        what: &'static str,
        /// In the chain.
        got: String,
        /// What it must be.
        expected: String,
    },
    /// No such window.
    #[error("channel {channel} has no window {window}")]
    NoWindow {
        /// Of which channel.
        channel: B256,
        /// The number asked for.
        window: u64,
    },
    /// A window whose checkers were not drawn by lot.
    #[error("window {window} of channel {channel} is private: its customer named the checkers")]
    Private {
        /// Of which channel.
        channel: B256,
        /// Which window.
        window: u64,
    },
    /// A window of something else.
    #[error("window {window} of channel {channel}: its {what} is {got}, expected {expected}")]
    Window {
        /// Of which channel.
        channel: B256,
        /// Which window.
        window: u64,
        /// `provider`, `customer`, `class`, `number of segments`, `number of steps`, `list of steps` or `commitment`.
        what: &'static str,
        /// In the chain.
        got: String,
        /// What it must be.
        expected: String,
    },
    /// A step that the job does not have.
    #[error("window {window} of channel {channel}: step {step} is not of this job: unit={unit} segment={segment}")]
    Step {
        /// Of which channel.
        channel: B256,
        /// Which window.
        window: u64,
        /// Place in its list, from 0.
        step: usize,
        /// Unit named.
        unit: u32,
        /// Segment named.
        segment: u32,
    },
    /// A unit whose steps lead to something else.
    #[error("unit {unit}: its steps lead to {got}, its result is {expected}")]
    Result {
        /// Which one.
        unit: u32,
        /// The state after its last step.
        got: B256,
        /// The name in `results`.
        expected: B256,
    },
    /// Somebody else's words.
    #[error("the statement about the results is not signed by the customer {customer}")]
    Signature {
        /// Of the channels.
        customer: Address,
    },
}

/// Where a window stands: channel and number, from 1.
#[derive(Clone, Copy, Debug)]
struct Place {
    channel: B256,
    window: u64,
}

/// Whether the steps of a window count: they were kept, and nobody found one wrong.
fn is_counted(window: &MapWindow, audit: &Audit) -> bool {
    !window.steps.is_empty() && !audit.is_convicted()
}
