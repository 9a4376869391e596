//! The provider's promise before delivery: a salted Merkle tree over the outputs, and proofs of single units.
//!
//! # Design
//! Salts come from one secret, so nobody can guess small outputs from the published root, nobody can copy another provider's
//! leaf, and the customer recomputes everything from 32 bytes. Leaves and inner nodes are hashed under different first bytes, so
//! one can never pass for the other. Spec: specs/0003-job.md §4.

use crate::{
    limits::UNIT_COUNT_MAX,
    merkle::{self, hash},
};
use alloy_primitives::B256;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Deepest path: the tree of [`UNIT_COUNT_MAX`] leaves has 16 levels above them.
pub const SIBLINGS_MAX: usize = 16;
const LEAF: u8 = 0;
const INNER: u8 = 1;

/// Why a tree could not be built or a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No output, or more than a job can have.
    #[error("unit count out of range: got={got} min=1 max={UNIT_COUNT_MAX}")]
    UnitCount {
        /// Outputs given.
        got: usize,
    },
    /// The unit does not exist in this job.
    #[error("no such unit: unit={unit} unit_count={unit_count}")]
    NoSuchUnit {
        /// The index asked for.
        unit: u32,
        /// Units of the job.
        unit_count: u32,
    },
    /// The path has another length than the tree's shape asks for.
    #[error("proof has the wrong length: unit={unit} got={got} expected={expected}")]
    PathLength {
        /// The unit proved.
        unit: u32,
        /// Siblings given.
        got: usize,
        /// Siblings needed.
        expected: usize,
    },
    /// The path leads to another root.
    #[error("proof does not lead to the commitment: unit={unit} got={got} expected={expected}")]
    RootMismatch {
        /// The unit proved.
        unit: u32,
        /// The root that the path leads to.
        got: B256,
        /// The recorded commitment.
        expected: B256,
    },
}

/// The provider's 32 secret bytes for one job; never reused, revealed to the customer with the delivery. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(B256);

impl Secret {
    /// Wraps 32 uniform random bytes; a guessable secret lets anybody test guesses of small outputs.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(B256::new(bytes))
    }

    /// The bytes, for the delivery message.
    #[must_use]
    pub const fn reveal(&self) -> [u8; 32] {
        self.0.0
    }

    /// The salt of one unit: `keccak256(secret || be32(unit))`.
    #[must_use]
    pub fn salt(&self, unit: u32) -> B256 {
        hash(&[self.0.as_slice(), &unit.to_be_bytes()])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The leaf of one unit, from its salt and its result ([`crate::trace::result`]).
#[must_use]
pub fn leaf(unit: u32, salt: B256, result: B256) -> B256 {
    hash(&[&[LEAF], &unit.to_be_bytes(), salt.as_slice(), result.as_slice()])
}

/// A commitment with everything needed to prove single units. At most 131,087 nodes of 32 bytes.
#[derive(Clone, Debug)]
pub struct Tree {
    /// `levels[0]` are the leaves; the last level has one node. Never empty, no level is empty.
    levels: Vec<Vec<B256>>,
    salts: Vec<B256>,
    results: Vec<B256>,
}

impl Tree {
    /// Builds the tree over the units' results in unit order; the result of a unit of one segment is its output's blob name.
    ///
    /// # Errors
    /// [`Error::UnitCount`] if there is no output or more than [`UNIT_COUNT_MAX`].
    pub fn new(secret: &Secret, results: &[B256]) -> Result<Self, Error> {
        let unit_count = u32::try_from(results.len()).ok().filter(|count| (1..=UNIT_COUNT_MAX).contains(count));
        let Some(unit_count) = unit_count else {
            return Err(Error::UnitCount { got: results.len() });
        };
        let salts: Vec<B256> = (0..unit_count).map(|unit| secret.salt(unit)).collect();
        let leaves: Vec<B256> =
            (0..).zip(&salts).zip(results).map(|((unit, salt), output)| leaf(unit, *salt, *output)).collect();
        Ok(Self { levels: merkle::levels(leaves, INNER), salts, results: results.to_vec() })
    }

    /// The commitment: what goes on chain.
    #[must_use]
    pub fn root(&self) -> B256 {
        // The constructor ends with a level of one node.
        self.levels.last().map_or(B256::ZERO, |level| level[0])
    }

    /// The proof that opens one unit and nothing else.
    ///
    /// # Errors
    /// [`Error::NoSuchUnit`].
    pub fn proof(&self, unit: u32) -> Result<UnitProof, Error> {
        let at = unit as usize;
        let (Some(salt), Some(result)) = (self.salts.get(at), self.results.get(at)) else {
            // LOSSY: the constructor allows at most UNIT_COUNT_MAX leaves.
            #[allow(clippy::cast_possible_truncation)]
            return Err(Error::NoSuchUnit { unit, unit_count: self.salts.len() as u32 });
        };
        let siblings = merkle::siblings(&self.levels, unit);
        Ok(UnitProof { unit, salt: *salt, result: *result, siblings })
    }
}

/// Shows that one unit's output stands under a commitment. Hostile until [`UnitProof::verify`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitProof {
    /// Index of the unit.
    pub unit: u32,
    /// The unit's salt.
    pub salt: B256,
    /// The unit's result: its output's blob name, or what [`crate::trace::result`] makes of output and trace.
    pub result: B256,
    /// Siblings from the leaves upwards; levels where the node was carried up have none. At most [`SIBLINGS_MAX`].
    pub siblings: Vec<B256>,
}

impl UnitProof {
    /// Recomputes the root. `unit_count` must come from the job spec, never from the prover.
    ///
    /// # Errors
    /// [`Error::NoSuchUnit`], [`Error::PathLength`], [`Error::RootMismatch`]; each means that the proof proves nothing.
    pub fn verify(&self, commitment: B256, unit_count: u32) -> Result<(), Error> {
        let unit = self.unit;
        if unit >= unit_count {
            return Err(Error::NoSuchUnit { unit, unit_count });
        }
        let expected = merkle::sibling_count(unit, unit_count);
        if self.siblings.len() != expected {
            return Err(Error::PathLength { unit, got: self.siblings.len(), expected });
        }
        let node = merkle::climb(leaf(unit, self.salt, self.result), unit, unit_count, &self.siblings, INNER);
        if node == commitment { Ok(()) } else { Err(Error::RootMismatch { unit, got: node, expected: commitment }) }
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use proptest::prelude::*;

    const SECRET: Secret = Secret::new([7; 32]);

    fn outputs(count: u32) -> Vec<B256> {
        (0..count).map(|unit| crate::blob_hash(&unit.to_le_bytes())).collect()
    }

    /// The definition of the spec, written a second time and recursively: the oracle.
    fn oracle(nodes: &[B256]) -> B256 {
        if let [only] = nodes {
            return *only;
        }
        let above: Vec<B256> = nodes
            .chunks(2)
            .map(
                |pair| {
                    if pair.len() == 2 { keccak256([&[1][..], &pair[0][..], &pair[1][..]].concat()) } else { pair[0] }
                },
            )
            .collect();
        oracle(&above)
    }

    #[test]
    fn the_root_of_every_small_tree_equals_the_written_definition() {
        for count in 1..=70 {
            let outputs = outputs(count);
            let leaves: Vec<B256> = (0..count)
                .map(|i| {
                    let salt = keccak256([&[7; 32][..], &i.to_be_bytes()].concat());
                    keccak256([&[0][..], &i.to_be_bytes(), &salt[..], &outputs[i as usize][..]].concat())
                })
                .collect();
            assert_eq!(Tree::new(&SECRET, &outputs).unwrap().root(), oracle(&leaves), "count={count}");
        }
    }

    #[test]
    fn every_unit_of_every_small_tree_is_provable_and_only_there() {
        for count in 1..=40 {
            let tree = Tree::new(&SECRET, &outputs(count)).unwrap();
            for unit in 0..count {
                let proof = tree.proof(unit).unwrap();
                assert_eq!(proof.verify(tree.root(), count), Ok(()), "unit={unit} count={count}");
                assert!(proof.siblings.len() <= SIBLINGS_MAX);
                let other = UnitProof { unit: (unit + 1) % count.max(2), ..proof.clone() };
                assert!(other.verify(tree.root(), count).is_err(), "unit={unit} count={count}");
            }
            assert_eq!(tree.proof(count), Err(Error::NoSuchUnit { unit: count, unit_count: count }));
        }
    }

    #[test]
    fn a_count_of_zero_or_one_too_many_is_refused() {
        assert_eq!(Tree::new(&SECRET, &[]).unwrap_err(), Error::UnitCount { got: 0 });
        let most = vec![B256::ZERO; UNIT_COUNT_MAX as usize + 1];
        assert_eq!(Tree::new(&SECRET, &most).unwrap_err(), Error::UnitCount { got: 65_537 });
        let tree = Tree::new(&SECRET, &most[1..]).unwrap();
        let last = tree.proof(UNIT_COUNT_MAX - 1).unwrap();
        assert_eq!(last.siblings.len(), SIBLINGS_MAX);
        assert_eq!(last.verify(tree.root(), UNIT_COUNT_MAX), Ok(()));
    }

    #[test]
    fn debug_output_never_shows_the_secret() {
        assert_eq!(format!("{SECRET:?}"), "Secret(..)");
    }

    proptest! {
        #[test]
        fn any_changed_part_of_a_proof_is_refused(
            count in 1u32..200, pick in any::<u32>(), part in 0usize..4, byte in 0usize..32, xor in 1u8..,
        ) {
            let tree = Tree::new(&SECRET, &outputs(count)).unwrap();
            let mut proof = tree.proof(pick % count).unwrap();
            let mut root = tree.root();
            match part {
                0 => proof.salt.0[byte] ^= xor,
                1 => proof.result.0[byte] ^= xor,
                2 => root.0[byte] ^= xor,
                _ => match proof.siblings.len() {
                    0 => proof.siblings.push(B256::repeat_byte(xor)),
                    length => proof.siblings[pick as usize % length].0[byte] ^= xor,
                },
            }
            prop_assert!(proof.verify(root, count).is_err());
        }

        #[test]
        fn a_path_one_too_long_or_too_short_is_refused(count in 2u32..200, pick in any::<u32>()) {
            let tree = Tree::new(&SECRET, &outputs(count)).unwrap();
            let unit = pick % count;
            let mut longer = tree.proof(unit).unwrap();
            longer.siblings.push(B256::ZERO);
            let mut shorter = tree.proof(unit).unwrap();
            shorter.siblings.pop();
            for proof in [longer, shorter] {
                let verdict = proof.verify(tree.root(), count);
                prop_assert!(matches!(verdict, Err(Error::PathLength { .. })), "{:?}", verdict);
            }
        }
    }
}
