//! Following a path of Merkle-Patricia nodes from a root to a value or to the proof that there is none.
//!
//! Spec: specs/0002-proof-bundle.md §4.

use crate::rlp::{self, Item};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

/// Most nodes in one path: one per nibble of a 32-byte key and the leaf.
pub const NODES_MAX: usize = 65;

/// Why a path proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path ends before the key is decided.
    #[error("the path ends at node {at}, before the key is decided")]
    Truncated {
        /// Position of the missing node.
        at: usize,
    },
    /// A node does not have the hash that its parent, or the root, names.
    #[error("node {at} does not have the expected hash")]
    Foreign {
        /// Position of the node.
        at: usize,
    },
    /// A node with the right hash is no node.
    #[error("node {at} is malformed")]
    Malformed {
        /// Position of the node.
        at: usize,
    },
    /// None of the nodes given has this hash.
    #[error("no node has the hash {hash}")]
    Missing {
        /// What the parent, or the root, names.
        hash: B256,
    },
    /// Nodes are left over after the key is decided.
    #[error("only {used} of {got} nodes belong to the path")]
    Unused {
        /// Nodes that were needed.
        used: usize,
        /// Nodes given.
        got: usize,
    },
}

/// What a walk does after one node.
enum Next<'a> {
    /// The key is decided: its value, or absence.
    Done(Option<&'a [u8]>),
    /// The child has this hash.
    Hash(B256),
    /// The child is embedded.
    Embedded(&'a [u8]),
}

/// Follows `nodes` from `root` along the nibbles of `key`.
///
/// `Ok(None)` means that the key is proved absent. Trust: nodes are hostile, `root` is what the caller believes in.
/// Cost: one hash per node; never more than [`NODES_MAX`] plus one node per nibble are read.
pub(crate) fn walk<'a>(root: B256, key: &[u8], nodes: &'a [Bytes]) -> Result<Option<&'a [u8]>, PathError> {
    let mut used: usize = 0;
    let value = descend(root, key, |hash| {
        let node = nodes.get(used).ok_or(PathError::Truncated { at: used })?;
        if keccak256(node) != hash {
            return Err(PathError::Foreign { at: used });
        }
        used = used.saturating_add(1);
        Ok(node.as_ref())
    })?;
    if used < nodes.len() { Err(PathError::Unused { used, got: nodes.len() }) } else { Ok(value) }
}

/// The same over nodes from anywhere: `take` gives the one with a hash, and answers for it.
pub(crate) fn descend<'a>(
    root: B256,
    key: &[u8],
    mut take: impl FnMut(B256) -> Result<&'a [u8], PathError>,
) -> Result<Option<&'a [u8]>, PathError> {
    if root == EMPTY_ROOT_HASH {
        return Ok(None);
    }
    let nibbles: Vec<u8> = Nibbles::unpack(key).to_vec();
    let mut left = nibbles.as_slice();
    let mut next = Next::Hash(root);
    let mut taken: usize = 0;
    loop {
        let node = match next {
            Next::Done(value) => return Ok(value),
            Next::Embedded(node) => node,
            Next::Hash(hash) => {
                let node = take(hash)?;
                taken = taken.saturating_add(1);
                node
            }
        };
        next = enter(node, &mut left).ok_or_else(|| PathError::Malformed { at: taken.saturating_sub(1) })?;
    }
}

/// Decides one node; `None` if it is malformed. Every answer but `Done` shortens `left` by at least one nibble.
fn enter<'a>(node: &'a [u8], left: &mut &[u8]) -> Option<Next<'a>> {
    let items = rlp::list(node)?;
    let nibbles = *left;
    match (items.as_slice(), nibbles.split_first()) {
        ([path, value], _) => short(path.text()?, *value, left),
        (items, Some((nibble, rest))) if items.len() == 17 => {
            let child = items.get(usize::from(*nibble))?;
            *left = rest;
            match child {
                Item::Text([]) => Some(Next::Done(None)),
                child => follow(*child),
            }
        }
        (items, None) if items.len() == 17 => {
            let value = items.last()?.text()?;
            Some(Next::Done((!value.is_empty()).then_some(value)))
        }
        _ => None,
    }
}

/// Decides a leaf or an extension.
fn short<'a>(path: &[u8], value: Item<'a>, left: &mut &[u8]) -> Option<Next<'a>> {
    let (flag, tail) = path.split_first()?;
    let (kind, low) = (flag >> 4, flag & 0x0f);
    let mut own = Vec::with_capacity(tail.len().saturating_mul(2).saturating_add(1));
    match kind {
        1 | 3 => own.push(low),
        0 | 2 if low == 0 => {}
        _ => return None,
    }
    tail.iter().for_each(|byte| own.extend([byte >> 4, byte & 0x0f]));
    if kind >= 2 {
        let value = value.text().filter(|value| !value.is_empty())?;
        return Some(Next::Done((own == *left).then_some(value)));
    }
    if own.is_empty() {
        return None;
    }
    let child = follow(value)?;
    let nibbles = *left;
    match nibbles.strip_prefix(own.as_slice()) {
        Some(rest) => {
            *left = rest;
            Some(child)
        }
        None => Some(Next::Done(None)),
    }
}

/// A reference to a child that exists.
fn follow(child: Item<'_>) -> Option<Next<'_>> {
    match child {
        Item::Text(hash) => hash.try_into().ok().map(Next::Hash),
        Item::List { whole, .. } if whole.len() < 32 => Some(Next::Embedded(whole)),
        Item::List { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::compose::prove;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn every_key_of_a_random_trie_is_decided_rightly(
            entries in proptest::collection::btree_map(any::<[u8; 2]>(), proptest::collection::vec(1u8.., 1..40), 0..60),
            others in proptest::collection::vec(any::<[u8; 2]>(), 0..20),
        ) {
            // Two-byte keys and short values give shared prefixes, extensions and embedded nodes.
            let entries: BTreeMap<Vec<u8>, Vec<u8>> = entries.into_iter().map(|(k, v)| (k.to_vec(), v)).collect();
            for key in entries.keys().cloned().chain(others.into_iter().map(Vec::from)) {
                let (root, nodes) = prove(&entries, &key);
                prop_assert_eq!(walk(root, &key, &nodes), Ok(entries.get(&key).map(Vec::as_slice)));
                if let Some((_, short)) = nodes.split_last() {
                    prop_assert_eq!(walk(root, &key, short), Err(PathError::Truncated { at: short.len() }));
                }
                let mut long = nodes.clone();
                long.push(Bytes::from_static(&[0x80]));
                let unused = PathError::Unused { used: nodes.len(), got: long.len() };
                prop_assert_eq!(walk(root, &key, &long), Err(unused));
            }
        }

        #[test]
        fn hostile_nodes_never_panic(nodes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4)) {
            let nodes: Vec<Bytes> = nodes.into_iter().map(Bytes::from).collect();
            let root = nodes.first().map(keccak256).unwrap_or_default();
            let _ = walk(root, &[0x12, 0x34], &nodes);
        }
    }

    #[test]
    fn malformed_nodes_with_the_right_hash_are_refused() {
        let cases: [&[u8]; 7] = [
            &[0x81, 0x80],                   // not a list
            &[0xc0],                         // no items
            &[0xc3, 0x20, 0x01, 0x01],       // three items
            &[0xc2, 0x40, 0x01],             // unknown flag
            &[0xc2, 0x21, 0x01],             // even leaf with a nibble in the flag byte
            &[0xc2, 0x20, 0x80],             // leaf without a value
            &[0xc4, 0x00, 0xc2, 0x20, 0x01], // extension of no nibble
        ];
        for node in cases {
            let nodes = [Bytes::copy_from_slice(node)];
            assert_eq!(walk(keccak256(node), &[0x12], &nodes), Err(PathError::Malformed { at: 0 }), "{node:02x?}");
        }
    }
}
