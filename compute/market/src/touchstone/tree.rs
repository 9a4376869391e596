//! A Merkle tree over hashes by position; a node without a neighbour is carried up.

use alloy_primitives::{B256, Keccak256};

/// Deepest path: at most 2^27 leaves.
pub(super) const PATH_MAX: usize = 27;

fn hash(parts: &[&[u8]]) -> B256 {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn leaf(index: u32, content: B256) -> B256 {
    hash(&[&[0], &index.to_be_bytes(), content.as_slice()])
}

fn inner(left: B256, right: B256) -> B256 {
    hash(&[&[1], left.as_slice(), right.as_slice()])
}

/// All levels, leaves first; the last has one node. Empty for no leaf.
pub(super) struct Tree(Vec<Vec<B256>>);

impl Tree {
    pub(super) fn new(contents: &[B256]) -> Self {
        let leaves: Vec<B256> = (0u32..).zip(contents).map(|(index, content)| leaf(index, *content)).collect();
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(2).map(|pair| if let [l, r] = pair { inner(*l, *r) } else { pair[0] }).collect();
            levels.push(above);
        }
        Self(levels)
    }

    pub(super) fn root(&self) -> B256 {
        self.0.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    pub(super) fn path(&self, index: u32) -> Vec<B256> {
        let mut at = index as usize;
        let mut path = Vec::new();
        for level in &self.0 {
            if level.len() > 1 {
                path.extend(level.get(at ^ 1));
            }
            at /= 2;
        }
        path
    }
}

/// The root that a path leads to; none if it is not as long as the tree's shape asks for.
pub(super) fn root_of(index: u32, count: u32, content: B256, path: &[B256]) -> Option<B256> {
    let (mut at, mut width, mut node) = (index, count, leaf(index, content));
    let mut siblings = path.iter();
    if index >= count {
        return None;
    }
    while width > 1 {
        let last_alone = at == width.wrapping_sub(1) && width % 2 == 1;
        if !last_alone {
            let sibling = *siblings.next()?;
            node = if at.is_multiple_of(2) { inner(node, sibling) } else { inner(sibling, node) };
        }
        at /= 2;
        width = width.div_ceil(2);
    }
    siblings.next().is_none().then_some(node)
}
