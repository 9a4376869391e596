//! Proofs: the encodings on the path to a key, from which anyone can check its value or its absence.
//!
//! Spec: EIP-1186. Nodes below 32 bytes stand inside their parents and are not listed, except for the root.
#![allow(clippy::arithmetic_side_effects, reason = "depths are at most 64")]

use super::{
    Trie, Values,
    build::build_position,
    node::{Below, Branch, Link, Reference, View, encode_branch, encode_extension, encode_leaf, nibble},
};
use crate::error::{Corruption, Error};
use alloy_primitives::{B256, Bytes, keccak256};

impl Trie {
    /// The encodings from the root towards `key`, as far as the path goes; empty for the empty trie.
    ///
    /// # Errors
    /// As [`Trie::update`].
    pub(crate) fn proof(&self, values: &dyn Values, key: &B256) -> Result<Vec<Bytes>, Error> {
        let (mut nodes, mut encoding) = (Vec::new(), Vec::new());
        let (mut next, mut depth) = (self.root, 0);
        let slots = self.version.as_ref().map(|version| version.arena.read());
        // Branches that were out of memory; this proof alone has them.
        let mut loaded = Vec::new();
        while let Some(mut node) = next {
            if let Below::Branch(Link::Unloaded(_)) = node.below {
                (node, loaded) = build_position(values, &node, key, depth)?;
            }
            let branch = match node.below {
                Below::Leaf(other) => {
                    let missing = || Corruption::Missing { table: values.table(), key: other.to_string() };
                    let value = values.value(&other)?.ok_or_else(missing)?;
                    encode_leaf(&mut encoding, &other, depth, &value);
                    push(&mut nodes, &encoding);
                    break;
                }
                Below::Branch(Link::Slot(slot)) => slots.as_ref().map(|slots| slots.branch(slot)),
                Below::Branch(Link::Fresh(at)) => loaded.get(at as usize).map(Branch::view),
                Below::Branch(Link::Unloaded(_)) => None,
            };
            let branch = branch.expect("invariant: a slot is filled as long as a version reaches it");
            let follows = push_branch(&mut nodes, branch, |at| nibble(key, depth + at));
            depth += branch.extension.len();
            next = if follows { branch.child(nibble(key, depth)) } else { None };
            depth += 1;
        }
        Ok(nodes)
    }
}

/// Adds the extension and, if the key follows it, the branch; says whether it does.
fn push_branch(nodes: &mut Vec<Bytes>, branch: View<'_>, key: impl Fn(usize) -> u8) -> bool {
    let mut encoding = Vec::new();
    encode_branch(&mut encoding, branch, &mut Vec::new());
    if branch.extension.is_empty() {
        push(nodes, &encoding);
        return true;
    }
    let reference = Reference::inline(&encoding).unwrap_or_else(|| Reference::hash(keccak256(&encoding)));
    let mut extension = Vec::new();
    encode_extension(&mut extension, branch.extension, &reference);
    push(nodes, &extension);
    let follows = branch.extension.iter().enumerate().all(|(at, &n)| key(at) == n);
    if follows {
        push(nodes, &encoding);
    }
    follows
}

fn push(nodes: &mut Vec<Bytes>, encoding: &[u8]) {
    if nodes.is_empty() || Reference::inline(encoding).is_none() {
        nodes.push(Bytes::copy_from_slice(encoding));
    }
}
