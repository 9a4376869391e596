//! Steps: the name of a list of them, what a window commits to, and how they lead from inputs to results.
//!
//! Spec: specs/0002-proof-bundle.md §12, specs/0009-channel.md §6.1, specs/0003-job.md §4.

use super::{MapCertificate, MapFault, MapStep};
use crate::outputs::output_hash;
use alloy_primitives::{B256, Keccak256};
use std::collections::BTreeMap;

/// Bytes of a step in its list.
pub(super) const STEP_BYTES: usize = 40;
/// First bytes of what is hashed to a leaf and to an inner node.
const LEAF: u8 = 0;
const INNER: u8 = 1;

/// The list of steps, as both sides keep it.
pub(super) fn list_bytes(steps: &[MapStep]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(steps.len().saturating_mul(STEP_BYTES));
    for MapStep { unit, segment, input } in steps {
        bytes.extend_from_slice(&unit.to_be_bytes());
        bytes.extend_from_slice(&segment.to_be_bytes());
        bytes.extend_from_slice(input.as_slice());
    }
    bytes
}

/// Its name.
pub(super) fn list_name(steps: &[MapStep]) -> B256 {
    output_hash(&list_bytes(steps))
}

/// The root over salted results, whose salts follow from `secret`. Zero for no results, to which nobody commits.
pub(super) fn commitment(secret: B256, results: &[B256]) -> B256 {
    let leaf = |(at, result): (u32, &B256)| {
        let at = at.to_be_bytes();
        let salt = hash(&[secret.as_slice(), &at]);
        hash(&[&[LEAF], &at, salt.as_slice(), result.as_slice()])
    };
    let mut level: Vec<B256> = (0u32..).zip(results).map(leaf).collect();
    while level.len() > 1 {
        level = level.chunks(2).map(pair).collect();
    }
    level.first().copied().unwrap_or_default()
}

/// Neighbours from the left; a last one without a neighbour is carried up.
fn pair(nodes: &[B256]) -> B256 {
    match nodes {
        [left, right] => hash(&[&[INNER], left.as_slice(), right.as_slice()]),
        nodes => nodes.first().copied().unwrap_or_default(),
    }
}

fn hash(parts: &[&[u8]]) -> B256 {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Which steps of the job stand in windows, and in which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Steps of the job that a step of a window that counts covers.
    pub(super) steps: u64,
    /// Of each window, in the order of the file: whether one of its steps covers something.
    pub(super) carries: Vec<bool>,
    /// Of each unit, whether all of its segments are covered.
    pub(super) whole: Vec<bool>,
}

/// Follows each unit from its input on. `counted`: of each window, in the order of the file, whether it counts.
///
/// Cost: a look-up for each covered step, of which a job has at most as many as steps.
pub(super) fn cover(map: &MapCertificate, counted: &[bool]) -> Result<Coverage, MapFault> {
    let mut results: BTreeMap<(u32, u32, B256), (usize, B256)> = BTreeMap::new();
    let windows = map.channels.iter().flat_map(|channel| &channel.windows).zip(counted);
    for (at, (window, _)) in windows.enumerate().filter(|(_, (_, counted))| **counted) {
        for (MapStep { unit, segment, input }, result) in window.steps.iter().zip(&window.results) {
            // The first in the order of the file.
            results.entry((*unit, *segment, *input)).or_insert((at, *result));
        }
    }
    let units = Vec::with_capacity(map.results.len());
    let mut coverage = Coverage { steps: 0, carries: vec![false; counted.len()], whole: units };
    for (unit, (input, expected)) in (0u32..).zip(map.inputs.iter().zip(&map.results)) {
        let mut state = *input;
        let mut is_whole = true;
        for segment in 0..map.job.segments {
            let Some((window, after)) = results.get(&(unit, segment, state)) else {
                is_whole = false;
                break;
            };
            if let Some(carries) = coverage.carries.get_mut(*window) {
                *carries = true;
            }
            coverage.steps = coverage.steps.saturating_add(1);
            state = *after;
        }
        if is_whole && state != *expected {
            return Err(MapFault::Result { unit, got: state, expected: *expected });
        }
        coverage.whole.push(is_whole);
    }
    Ok(coverage)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use serde_json::Value;

    /// Values that `compute/job` made, and a second implementation checks.
    #[test]
    fn commitments_are_those_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/job.json");
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let word = |value: &Value| value.as_str().unwrap().parse::<B256>().unwrap();
        let cases = file["commitments"].as_array().unwrap();
        assert!(cases.iter().any(|case| case["results"].as_array().unwrap().len() > 2), "a carried node is tested");
        for case in cases {
            let results: Vec<B256> = case["results"].as_array().unwrap().iter().map(word).collect();
            assert_eq!(commitment(word(&case["secret"]), &results), word(&case["commitment"]), "{}", results.len());
        }
        assert_eq!(commitment(B256::ZERO, &[]), B256::ZERO);
    }

    #[test]
    fn a_list_of_steps_is_forty_bytes_a_step() {
        let step = |unit, segment| MapStep { unit, segment, input: B256::repeat_byte(7) };
        let bytes = list_bytes(&[step(1, 2), step(0x0102_0304, 0)]);
        assert_eq!(bytes.len(), 2 * STEP_BYTES);
        assert_eq!(bytes.get(..9), Some([0, 0, 0, 1, 0, 0, 0, 2, 7].as_slice()));
        assert_eq!(bytes.get(40..48), Some([1, 2, 3, 4, 0, 0, 0, 0].as_slice()));
        assert_eq!(list_name(&[step(1, 2)]), B256::from(*blake3::hash(bytes.get(..40).unwrap()).as_bytes()));
    }
}
