//! Builds a trie, or a part of one, from all of its leaves in order.
//!
//! # Design
//! A leaf's place is known when the next one comes: it lies below the later of the two forks with its neighbours. The
//! branches on the path to the newest leaf are open; one that the next leaf leaves behind is sealed, children before
//! parents. So each leaf is looked at once, and memory beside the branches is the path and the messages of one hash run.
//! Above a bound of bytes small subtrees are left out of memory as soon as they are hashed (`trie::arena`, eviction).

use super::{
    Values,
    arena::{Slots, placed},
    emit::Emitter,
    node::{Below, Branch, CHILDREN, Link, NIBBLES, Node, nibble},
};
use crate::{
    error::{Corruption, Error},
    keccak::Hashing,
};
use alloy_primitives::B256;

/// Messages that are hashed together: enough to fill all lanes at each height, and about 300 kB, which the second-level
/// cache holds.
const JOBS_MAX: usize = 2_048;

/// A branch on the path to the newest leaf.
struct Open {
    /// The depth of the nibble that tells its children apart.
    depth: usize,
    children: [Option<Node>; CHILDREN],
}

/// The newest leaf.
struct Held {
    key: B256,
    /// Where it parts from the leaf before it.
    before: Option<usize>,
}

/// A trie that is being built.
pub(super) struct Builder {
    emitter: Emitter,
    /// Where branches go once they are hashed, if it is a trie of its own: so they are in memory once.
    slots: Option<Slots>,
    /// Depth of its root: all keys agree above it.
    base: usize,
    open: Vec<Open>,
    held: Option<Held>,
    /// Of the newest leaf.
    value: Vec<u8>,
    leaves: u64,
    bytes: u64,
    bytes_max: u64,
}

/// What a builder made.
pub(super) struct Built {
    /// `None` if there were no leaves.
    pub(super) root: Option<Node>,
    /// Branches that are in no slot.
    pub(super) fresh: Vec<Branch>,
    pub(super) slots: Slots,
    pub(super) leaves: u64,
}

impl Builder {
    /// A builder of a whole trie, which keeps about `bytes_max` bytes of branches in memory.
    pub(super) fn whole(bytes_max: u64, hashing: Hashing) -> Self {
        Self { slots: Some(Slots::default()), bytes_max, ..Self::part(0, hashing) }
    }

    /// A builder of what stands at depth `base`; its branches are in no slot.
    fn part(base: usize, hashing: Hashing) -> Self {
        Self {
            emitter: Emitter::new(hashing),
            slots: None,
            base,
            open: Vec::new(),
            held: None,
            value: Vec::new(),
            leaves: 0,
            bytes: 0,
            bytes_max: u64::MAX,
        }
    }

    /// Adds a leaf whose key is above all that came before; `value` writes its RLP value.
    pub(super) fn push(&mut self, key: &B256, value: impl FnOnce(&mut Vec<u8>)) {
        let mut before = None;
        if let Some(held) = self.held.take() {
            before = fork(&held.key, key, self.base);
            self.close(&held, before);
        }
        self.value.clear();
        value(&mut self.value);
        self.held = Some(Held { key: *key, before });
        self.leaves = self.leaves.saturating_add(1);
        if self.emitter.waiting() >= JOBS_MAX {
            self.settle(None);
        }
    }

    /// Hashes all that waits, in open branches and in the root, and gives branches their slots.
    fn settle(&mut self, root: Option<&mut Node>) {
        let open = self.open.iter_mut().flat_map(|open| open.children.iter_mut().flatten());
        let mut nodes: Vec<&mut Node> = open.chain(root).collect();
        self.emitter.hash(nodes.iter_mut().map(|node| &mut **node));
        let Some(slots) = &mut self.slots else { return };
        let filled = slots.begin(self.emitter.drain());
        for node in nodes {
            if let Below::Branch(link) = &mut node.below {
                *link = placed(&filled, *link);
            }
        }
    }

    /// What was built.
    pub(super) fn finish(mut self) -> Built {
        let mut root = self.held.take().and_then(|held| self.close(&held, None));
        self.settle(root.as_mut());
        Built { root, fresh: self.emitter.drain(), slots: self.slots.unwrap_or_default(), leaves: self.leaves }
    }

    /// Puts the held leaf in its place and seals every branch that does not reach up to the fork `after` it; returns the
    /// root if there is no further leaf.
    fn close(&mut self, held: &Held, after: Option<usize>) -> Option<Node> {
        let deepest = held.before.max(after);
        let below = |depth: Option<usize>| depth.map_or(self.base, |depth| depth.saturating_add(1));
        let mut node = self.emitter.leaf(&held.key, below(deepest), &self.value);
        let mut depth = deepest;
        while let Some(at) = depth {
            if self.open.last().is_none_or(|open| open.depth < at) {
                self.open.push(Open { depth: at, children: std::array::from_fn(|_| None) });
            }
            let open = self.open.last_mut()?;
            open.children[usize::from(nibble(&held.key, at))] = Some(node);
            if after == Some(at) {
                return None;
            }
            let Open { children, .. } = self.open.pop()?;
            let above = self.open.last().map(|open| open.depth).max(after);
            let from = above.map_or(self.base, |above| above.saturating_add(1));
            let extension = (from..at).map(|at| nibble(&held.key, at)).collect();
            node = self.seal(Branch::of(extension, &children));
            depth = above;
        }
        Some(node)
    }

    fn seal(&mut self, branch: Branch) -> Node {
        let (bytes, small) = (branch.bytes() as u64, branch.small());
        let mut node = self.emitter.seal(branch);
        match small.filter(|_| self.bytes.saturating_add(bytes) > self.bytes_max) {
            Some(leaves) => {
                self.emitter.fresh.pop();
                node.below = Below::Branch(Link::Unloaded(leaves));
            }
            None => self.bytes = self.bytes.saturating_add(bytes),
        }
        node
    }
}

/// Builds the subtree of a node that is out of memory, at (any key below it, depth), from the flat values; returns its
/// root, which is a branch, and all branches.
///
/// # Errors
/// [`Corruption::Subtree`] if the values do not give the node's reference.
pub(super) fn build_position(
    values: &dyn Values,
    node: &Node,
    key: &B256,
    depth: usize,
) -> Result<(Node, Vec<Branch>), Error> {
    let mut builder = Builder::part(depth, Hashing::Widest);
    for (key, value) in values.below(&Range::below(key, depth))? {
        builder.push(&key, |out| out.extend_from_slice(&value));
    }
    let Built { root, fresh, leaves, .. } = builder.finish();
    match root.filter(|root| leaves > 1 && root.reference() == node.reference()) {
        Some(root) => Ok((root, fresh)),
        None => Err(Corruption::Subtree { table: values.table(), key: *key, depth, leaves }.into()),
    }
}

/// All keys with the same first nibbles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The least.
    pub(crate) first: B256,
    /// The greatest.
    pub(crate) last: B256,
}

impl Range {
    /// All keys.
    pub(crate) const ALL: Self = Self { first: B256::ZERO, last: B256::repeat_byte(0xff) };

    /// The keys that agree with `key` in the first `depth` nibbles.
    fn below(key: &B256, depth: usize) -> Self {
        let fill = |low: u8| {
            B256::new(std::array::from_fn(|at| match (at.saturating_mul(2)).cmp(&(depth & !1)) {
                std::cmp::Ordering::Less => key[at],
                std::cmp::Ordering::Equal if depth % 2 == 1 => key[at] & 0xf0 | low & 15,
                _ => low,
            }))
        };
        Self { first: fill(0), last: fill(0xff) }
    }
}

/// The depth from `base` on at which two different keys part.
fn fork(first: &B256, second: &B256, base: usize) -> Option<usize> {
    (base..NIBBLES).find(|&at| nibble(first, at) != nibble(second, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_keys_below_a_position_and_no_others() {
        let key = B256::repeat_byte(0x5a);
        let bytes =
            |head: [u8; 3], rest: u8| B256::new(std::array::from_fn(|at| head.get(at).copied().unwrap_or(rest)));
        for (depth, first, last) in [
            (0, [0; 3], [0xff; 3]),
            (1, [0x50, 0, 0], [0x5f, 0xff, 0xff]),
            (2, [0x5a, 0, 0], [0x5a, 0xff, 0xff]),
            (5, [0x5a, 0x5a, 0x50], [0x5a, 0x5a, 0x5f]),
        ] {
            let range = Range::below(&key, depth);
            assert_eq!((range.first, range.last), (bytes(first, 0), bytes(last, 0xff)), "depth={depth}");
        }
        let range = Range::below(&key, NIBBLES);
        assert_eq!((range.first, range.last), (key, key));
    }
}
