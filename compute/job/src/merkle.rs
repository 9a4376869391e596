//! The binary tree under both the commitment and the trace: its shape, its levels, and paths through it.
//!
//! # Design
//! Neighbours pair from the left; the last node of a level of odd length is carried up unchanged. So the shape follows from the
//! number of leaves alone, and a path needs neither sides nor markers. What a leaf is, and under which first byte nodes are hashed,
//! is the caller's. Spec: specs/0003-job.md §4.

use alloy_primitives::{B256, Keccak256};

/// All levels, from the leaves upwards; the last has one node. No leaf gives no level.
pub(crate) fn levels(leaves: Vec<B256>, tag: u8) -> Vec<Vec<B256>> {
    if leaves.is_empty() {
        return Vec::new();
    }
    let mut levels = vec![leaves];
    while let Some(level) = levels.last().filter(|level| level.len() > 1) {
        let pair = |pair: &[B256]| if let [left, right] = pair { inner(tag, *left, *right) } else { pair[0] };
        let above = level.chunks(2).map(pair).collect();
        levels.push(above);
    }
    levels
}

/// The siblings of one leaf, from the leaves upwards.
pub(crate) fn siblings(levels: &[Vec<B256>], leaf: u32) -> Vec<B256> {
    let mut at = leaf as usize;
    let mut siblings = Vec::with_capacity(levels.len());
    for level in levels {
        siblings.extend(level.get(at ^ 1));
        at /= 2;
    }
    siblings
}

/// How many siblings a path of this leaf has.
pub(crate) fn sibling_count(leaf: u32, leaf_count: u32) -> usize {
    places(leaf, leaf_count).filter(|&(at, width)| at ^ 1 < width).count()
}

/// The root that a path leads to; the caller has compared the number of siblings with [`sibling_count`].
pub(crate) fn climb(mut node: B256, leaf: u32, leaf_count: u32, siblings: &[B256], tag: u8) -> B256 {
    let mut siblings = siblings.iter();
    for (at, width) in places(leaf, leaf_count) {
        if at ^ 1 >= width {
            continue;
        }
        if let Some(&sibling) = siblings.next() {
            node = if at & 1 == 0 { inner(tag, node, sibling) } else { inner(tag, sibling, node) };
        }
    }
    node
}

/// keccak256 of joined parts.
pub(crate) fn hash(parts: &[&[u8]]) -> B256 {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn inner(tag: u8, left: B256, right: B256) -> B256 {
    hash(&[&[tag], left.as_slice(), right.as_slice()])
}

/// Position and width on each level below the root, from the leaves upwards.
fn places(leaf: u32, leaf_count: u32) -> impl Iterator<Item = (u32, u32)> {
    let above = |&(at, width): &(u32, u32)| (width > 1).then_some((at / 2, width.div_ceil(2)));
    core::iter::successors(Some((leaf, leaf_count)), above).filter(|&(_, width)| width > 1)
}
