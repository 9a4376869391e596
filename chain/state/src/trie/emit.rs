//! Makes nodes: encodes them, collects what is to be hashed, and puts the hashes in place.
//!
//! # Design
//! Whether a node is inline (below 32 bytes) is known without hashing. So encodings are collected first and hashed
//! together, which fills the lanes of the wide hash; until then a node *waits* and names its job.

use super::node::{Below, Branch, Link, Node, Reference, encode_branch, encode_extension, encode_leaf};
use crate::keccak::{Hashing, Hole, Jobs};
use alloy_primitives::B256;

/// Makes nodes and the branches below them.
#[derive(Default)]
pub(super) struct Emitter {
    hashing: Hashing,
    jobs: Jobs,
    scratch: Vec<u8>,
    holes: Vec<Hole>,
    /// Branches that were made, children before parents; those without children were taken away again.
    pub(super) fresh: Vec<Branch>,
    /// How many of them wait for no hash.
    settled: usize,
}

impl Emitter {
    /// An emitter that has made nothing.
    pub(super) fn new(hashing: Hashing) -> Self {
        Self { hashing, ..Self::default() }
    }

    /// Nodes that wait for their hash.
    pub(super) const fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// The leaf of a key at a depth.
    pub(super) fn leaf(&mut self, key: &B256, depth: usize, value: &[u8]) -> Node {
        encode_leaf(&mut self.scratch, key, depth, value);
        self.holes.clear();
        self.emit(0, Below::Leaf(*key))
    }

    /// The node of a branch whose children are final, and of its extension.
    pub(super) fn seal(&mut self, branch: Branch) -> Node {
        encode_branch(&mut self.scratch, branch.view(), &mut self.holes);
        let height = self.height();
        let node = self.emit(height, Below::Branch(Link::Fresh(place(self.fresh.len()))));
        let node = if branch.extension.is_empty() { node } else { self.extend(&branch.extension, &node) };
        self.fresh.push(branch);
        node
    }

    /// Emits the encoding of an extension over a branch.
    fn extend(&mut self, extension: &[u8], node: &Node) -> Node {
        let offset = encode_extension(&mut self.scratch, extension, node.reference());
        self.holes.clear();
        self.holes.extend(node.job().map(|job| Hole { offset, job }));
        let height = self.height();
        self.emit(height, node.below)
    }

    /// One more than the highest job that `holes` name.
    fn height(&self) -> u8 {
        let heights = self.holes.iter().map(|hole| self.jobs.height(hole.job).saturating_add(1));
        heights.max().unwrap_or(0)
    }

    /// Makes a node of the encoding in `scratch`, with `holes`: inline if it is short, else a job.
    fn emit(&mut self, height: u8, below: Below) -> Node {
        match Reference::inline(&self.scratch) {
            Some(reference) => Node::new(reference, below),
            None => Node::waiting(self.jobs.push(&self.scratch, height, &self.holes), below),
        }
    }

    /// Takes back a branch that was made.
    pub(super) fn take(&mut self, at: u32) -> Branch {
        self.fresh.get_mut(at as usize).map(std::mem::take).unwrap_or_default()
    }

    /// Hashes all that waits, in the branches and in the given nodes, which must be all that are not in a branch.
    pub(super) fn hash<'n>(&mut self, nodes: impl Iterator<Item = &'n mut Node>) {
        self.jobs.run(self.hashing);
        self.fresh.iter_mut().skip(self.settled).for_each(|branch| branch.settle(&self.jobs));
        nodes.for_each(|node| node.settle(&self.jobs));
        self.settled = self.fresh.len();
        self.jobs.clear();
    }

    /// Gives away what was made and hashed; places are counted from 0 again.
    pub(super) fn drain(&mut self) -> Vec<Branch> {
        self.settled = 0;
        std::mem::take(&mut self.fresh)
    }

    /// Takes in branches that another emitter has made and hashed; returns their root with its new place.
    pub(super) fn adopt(&mut self, mut root: Option<Node>, made: Vec<Branch>) -> Option<Node> {
        let before = place(self.fresh.len());
        let shift = |link| match link {
            Link::Fresh(at) => Link::Fresh(at.saturating_add(before)),
            Link::Slot(_) | Link::Unloaded(_) => link,
        };
        self.fresh.extend(made.into_iter().map(|mut branch| {
            branch.relink(shift);
            branch
        }));
        if let Some(Node { below: Below::Branch(link), .. }) = &mut root {
            *link = shift(*link);
        }
        root
    }
}

fn place(at: usize) -> u32 {
    let place = u32::try_from(at).ok().filter(|place| *place < Link::END);
    place.expect("invariant: 2^30 branches exceed any memory")
}
