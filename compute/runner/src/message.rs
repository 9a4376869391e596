//! What parent and worker say to each other, one message a frame.
//!
//! # Protocol
//! The worker says [`Reply::Ready`], then answers one [`Request`] at a time, in order. `Begin` or `TouchstoneBegin` may come once: a second job needs
//! a second process. Before the answer to a `Unit` come at most so many [`Reply::Said`] as a run may say.

use crate::{
    failure::Failure,
    isolation::LayerReport,
    report::SelfTest,
    said::Said,
    touchstone::{Range, Task},
};
use serde::{Deserialize, Serialize};

/// Version of this protocol; both sides are the same binary, so a difference means a broken installation.
pub(crate) const PROTOCOL: u16 = 5;

/// From the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run the self-test, of so many adapters at most.
    Probe {
        /// At least 1; of the best ones.
        adapters: u8,
    },
    /// Prepare a job. Payload: program, then common input.
    Begin {
        /// The job spec's canonical encoding.
        spec: Vec<u8>,
        /// Length of the program in the payload, bytes.
        program_bytes: u32,
        /// On what it shall run.
        engine: Engine,
    },
    /// Run a unit. Payload: the unit input.
    Unit,
    /// Run some workgroups of a unit on the reference. Payload: the unit input. The answer's payload: pairs of index and word, see [`Words`].
    Workgroups(Vec<[u32; 3]>),
    /// Prepare the proof of hardware on one device.
    TouchstoneBegin(Task),
    /// Compute some products of it. The answer's payload: the hashes of their rows; none once all were given.
    TouchstoneStep,
    /// Multiply matrices with vectors. The answer's payload: the words.
    TouchstoneVectors {
        /// Key of the vectors.
        key: [u32; 8],
        /// Which matrices.
        range: Range,
    },
    /// Give rows. The answer's payload: their words, in this order.
    TouchstoneRows(Vec<u32>),
}

/// On what a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Engine {
    /// The best that the machine has.
    Best,
    /// `wgsl/1`: the adapter with this place in the order of the self-test. `wasm/1`: the only engine.
    Adapter {
        /// Its place, from 0.
        place: u8,
    },
    /// `wgsl/1`: the interpreter, whatever adapters there are. `wasm/1`: the only engine, which is exact.
    Reference,
    /// `wgsl/1`: the interpreter as a false vendor, chosen by the seed. `wasm/1`: the only engine.
    OtherVendor {
        /// Which vendor.
        seed: u64,
    },
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
    /// Answer to `Begin` and `TouchstoneBegin`.
    Begun {
        /// The engine with its version and configuration, or the device.
        engine: String,
    },
    /// Answer to `Unit`, and to what follows a `TouchstoneBegin`. Payload: the output.
    Done(Usage),
    /// Answer to any request.
    Failed(Failure),
    /// The program of the unit that runs says something; the answer comes later.
    Said(Said),
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

/// Words of an output by index, ascending: what some workgroups alone determine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(pub Vec<(u32, u32)>);

impl Words {
    /// The first word in which an output (little-endian words) differs, as index, word here and word there; `None` if all are equal. A word that
    /// `output` does not have counts as different from any.
    #[must_use]
    pub fn first_difference(&self, output: &[u8]) -> Option<(u32, u32, Option<u32>)> {
        let (theirs, _) = output.as_chunks::<4>();
        let word = |at: u32| theirs.get(at as usize).map(|word| u32::from_le_bytes(*word));
        self.0.iter().map(|&(at, ours)| (at, ours, word(at))).find(|&(_, ours, theirs)| theirs != Some(ours))
    }

    // A build without `wgsl/1` has none to send.
    #[cfg_attr(not(feature = "wgsl"), allow(dead_code))]
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(at, word)| [at.to_le_bytes(), word.to_le_bytes()].concat()).collect()
    }

    /// `None` unless the bytes are whole pairs.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        let (pairs, odd) = words.as_chunks::<2>();
        let whole = rest.is_empty() && odd.is_empty();
        let pairs = pairs.iter().map(|[at, word]| (u32::from_le_bytes(*at), u32::from_le_bytes(*word)));
        whole.then(|| Self(pairs.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_pipe_and_name_the_first_difference() {
        let words = Words(vec![(0, 7), (2, 9)]);
        assert_eq!(Words::decode(&words.encode()), Some(words.clone()));
        assert_eq!([Words::decode(&[0; 7]), Words::decode(&[0; 12])], [None, None]);
        let output = |third: u8| [7, 0, 0, 0, 1, 1, 1, 1, third, 0, 0, 0];
        assert_eq!(words.first_difference(&output(9)), None);
        assert_eq!(words.first_difference(&output(8)), Some((2, 9, Some(8))));
        assert_eq!(words.first_difference(&output(9)[..8]), Some((2, 9, None)));
    }
}
