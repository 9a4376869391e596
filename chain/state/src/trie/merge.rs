//! Merges sorted changes into the branches, hashes what changed, and puts the hashes in place.
//!
//! # Design
//! One recursion over (node, slice of sorted changes): every branch on a changed path is visited once. It emits the
//! encodings into a [`Jobs`] buffer that is run for a whole subtree at once, and a last walk settles the hashes. Whether
//! a node is inline (below 32 bytes) is known without hashing, which is what allows merging first and hashing later.
//! Slices above [`CHUNK_CHANGES`] are split at the sixteen children, each with its own buffer: this bounds memory, keeps
//! buffers in the cache, and is where threads come in.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_wrap,
    reason = "depths are at most 64; numbers of changes are far below 2^63"
)]

use super::{
    Change, Values,
    node::{Below, Branch, NIBBLES, Node, Reference, encode_branch, encode_extension, encode_leaf, nibble},
};
use crate::{
    error::{Corruption, Error},
    keccak::{Hashing, Hole, Jobs},
};
use alloy_primitives::B256;
use rayon::prelude::*;
use std::{borrow::Cow, sync::Arc};

/// Changes that share one hash buffer. Above it a subtree is split: 1,024 paths are about 600 kB of encodings, which
/// fit the second-level cache.
const CHUNK_CHANGES: usize = 1_024;

/// A merge of one subtree.
pub(super) struct Merge<'a> {
    values: &'a dyn Values,
    /// All changes of the update: they hide what `values` says.
    all: &'a [Change],
    hashing: Hashing,
    jobs: Jobs,
    scratch: Vec<u8>,
    holes: Vec<Hole>,
    /// Keys gained minus keys lost.
    pub(super) growth: i64,
}

impl<'a> Merge<'a> {
    /// Prepares a merge of `all`, sorted by key and without duplicates, over the state that `values` shows.
    pub(super) fn new(values: &'a dyn Values, all: &'a [Change], hashing: Hashing) -> Self {
        Self { values, all, hashing, jobs: Jobs::default(), scratch: Vec::new(), holes: Vec::new(), growth: 0 }
    }

    /// Merges `changes` into the subtree at `depth`, hashes and settles it.
    pub(super) fn subtree(
        &mut self,
        node: Option<Node>,
        changes: &[Change],
        depth: usize,
    ) -> Result<Option<Node>, Error> {
        let mut merged = self.merge(node, changes, depth)?;
        self.jobs.run(self.hashing);
        if let Some(merged) = &mut merged {
            settle(merged, &self.jobs);
        }
        self.jobs = Jobs::default();
        Ok(merged)
    }

    /// Merges `changes` into what stands at `depth`. The result may wait for its hash.
    fn merge(&mut self, node: Option<Node>, changes: &[Change], depth: usize) -> Result<Option<Node>, Error> {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return Ok(node) };
        let Some(node) = node else {
            if changes.len() <= CHUNK_CHANGES {
                return Ok(self.rebuild(changes, None, depth));
            }
            let end = fork(&first.key, &last.key, depth);
            return self.merge_branch(Branch::empty(path(&first.key, depth, end)), changes, depth);
        };
        match node.below {
            Below::Branch(branch) => self.merge_branch(Arc::unwrap_or_clone(branch), changes, depth),
            Below::Leaf(key) => self.merge_leaf(node, key, changes, depth),
        }
    }

    fn merge_leaf(&mut self, node: Node, key: B256, changes: &[Change], depth: usize) -> Result<Option<Node>, Error> {
        self.growth -= 1;
        if changes.binary_search_by(|change| change.key.cmp(&key)).is_ok() {
            return Ok(self.rebuild(changes, None, depth));
        }
        if changes.iter().all(|change| change.value.is_none()) {
            self.growth += 1;
            return Ok(Some(node));
        }
        let value = self.read(&key)?;
        Ok(self.rebuild(changes, Some((key, value)), depth))
    }

    fn merge_branch(&mut self, mut branch: Branch, changes: &[Change], depth: usize) -> Result<Option<Node>, Error> {
        let shared = |change: Option<&Change>| change.map_or(0, |change| common(&branch.extension, &change.key, depth));
        let split = shared(changes.first()).min(shared(changes.last()));
        if split < branch.extension.len() {
            return self.split_extension(branch, split, changes, depth);
        }
        let end = depth + branch.extension.len();
        if changes.len() > CHUNK_CHANGES {
            self.merge_children(&mut branch, changes, end)?;
        } else {
            for (n, group) in groups(changes, end) {
                let child = branch.take(n);
                let child = self.merge(child, group, end + 1)?;
                branch.put(n, child);
            }
        }
        self.finish(branch, depth)
    }

    /// Merges many changes into the sixteen children, each with its own buffers, on all cores.
    fn merge_children(&mut self, branch: &mut Branch, changes: &[Change], end: usize) -> Result<(), Error> {
        let work: Vec<_> = groups(changes, end).map(|(n, group)| (n, branch.take(n), group)).collect();
        let (values, all, hashing) = (self.values, self.all, self.hashing);
        let done: Vec<_> = work
            .into_par_iter()
            .map(|(n, child, group)| {
                let mut merge = Merge::new(values, all, hashing);
                merge.subtree(child, group, end + 1).map(|child| (n, child, merge.growth))
            })
            .collect::<Result<_, _>>()?;
        for (n, child, growth) in done {
            branch.put(n, child);
            self.growth += growth;
        }
        Ok(())
    }

    /// Some changes leave the extension after `split` nibbles: a new branch goes there, the old one moves below it.
    fn split_extension(
        &mut self,
        mut old: Branch,
        split: usize,
        changes: &[Change],
        depth: usize,
    ) -> Result<Option<Node>, Error> {
        let end = depth + split;
        let mut lower = old.extension.split_off(split);
        let turn = lower.remove(0);
        let mut upper = Branch::empty(std::mem::replace(&mut old.extension, lower));
        let mut old = Some(old);
        for (n, group) in groups(changes, end) {
            let child = match old.take_if(|_| n == turn) {
                Some(old) => self.merge_branch(old, group, end + 1)?,
                None => self.merge(None, group, end + 1)?,
            };
            upper.put(n, child);
        }
        if let Some(old) = old {
            let old = self.seal(old);
            upper.put(turn, Some(old));
        }
        self.finish(upper, depth)
    }

    /// Seals a branch whose children are merged; one that is left with a single child gives way to it.
    fn finish(&mut self, mut branch: Branch, depth: usize) -> Result<Option<Node>, Error> {
        if branch.count() == 0 {
            return Ok(None);
        }
        let Some((turn, survivor)) = branch.pop_only() else { return Ok(Some(self.seal(branch))) };
        match survivor.below {
            Below::Leaf(key) => {
                let value = self.read(&key)?;
                Ok(Some(self.leaf(&key, depth, &value)))
            }
            Below::Branch(lower) => {
                let mut lower = Arc::unwrap_or_clone(lower);
                branch.extension.push(turn);
                branch.extension.append(&mut lower.extension);
                lower.extension = branch.extension;
                Ok(Some(self.seal(lower)))
            }
        }
    }

    /// The subtree of exactly the values in `changes` and one further leaf.
    fn rebuild(&mut self, changes: &[Change], further: Option<(B256, Vec<u8>)>, depth: usize) -> Option<Node> {
        let mut items: Vec<(B256, Cow<'_, [u8]>)> = changes
            .iter()
            .filter_map(|change| change.value.as_deref().map(|value| (change.key, Cow::Borrowed(value))))
            .collect();
        if let Some((key, value)) = further {
            let at = items.partition_point(|(other, _)| *other < key);
            items.insert(at, (key, Cow::Owned(value)));
        }
        self.growth += items.len() as i64;
        self.build(&items, depth)
    }

    fn build(&mut self, items: &[(B256, Cow<'_, [u8]>)], depth: usize) -> Option<Node> {
        if let [(key, value)] = items {
            return Some(self.leaf(key, depth, value));
        }
        let (first, last) = (items.first()?.0, items.last()?.0);
        let end = fork(&first, &last, depth);
        let groups = || items.chunk_by(|(a, _), (b, _)| nibble(a, end) == nibble(b, end));
        let mut branch = Branch::with_room(path(&first, depth, end), groups().count());
        for group in groups() {
            let child = self.build(group, end + 1);
            if let Some((key, _)) = group.first() {
                branch.put(nibble(key, end), child);
            }
        }
        Some(self.seal(branch))
    }

    fn leaf(&mut self, key: &B256, depth: usize, value: &[u8]) -> Node {
        encode_leaf(&mut self.scratch, key, depth, value);
        self.holes.clear();
        self.emit(0, Below::Leaf(*key))
    }

    /// Emits the encoding of a branch whose children are final, and of its extension.
    fn seal(&mut self, branch: Branch) -> Node {
        let mut holes = std::mem::take(&mut self.holes);
        encode_branch(&mut self.scratch, &branch, &mut holes);
        let height = holes.iter().map(|hole| self.jobs.height(hole.job) + 1).max().unwrap_or(0);
        self.holes = holes;
        let extension = branch.extension.clone();
        let node = self.emit(height, Below::Branch(Arc::new(branch)));
        if extension.is_empty() {
            return node;
        }
        let offset = encode_extension(&mut self.scratch, &extension, node.reference());
        self.holes.clear();
        self.holes.extend(node.job().map(|job| Hole { offset, job }));
        let height = node.job().map_or(0, |job| self.jobs.height(job) + 1);
        self.emit(height, node.below)
    }

    /// Makes a node of the encoding in `scratch`, with `holes`: inline if it is short, else a job.
    fn emit(&mut self, height: u8, below: Below) -> Node {
        match Reference::inline(&self.scratch) {
            Some(reference) => Node::new(reference, below),
            None => Node::waiting(self.jobs.push(&self.scratch, height, &self.holes), below),
        }
    }

    /// The value of a key that the trie holds, after this update.
    fn read(&self, key: &B256) -> Result<Vec<u8>, Error> {
        let changed = self.all.binary_search_by(|change| change.key.cmp(key)).ok().and_then(|at| self.all.get(at));
        // A key that the trie holds and the update deletes is deleted in a later slice: its old value still stands.
        let value = match changed.and_then(|change| change.value.clone()) {
            Some(value) => Some(value),
            None => self.values.value(key)?,
        };
        value.ok_or_else(|| Corruption::Missing { table: self.values.table(), key: key.to_string() }.into())
    }
}

/// Puts finished hashes in place. Whatever waits was made in this merge: nobody else holds it yet.
fn settle(node: &mut Node, jobs: &Jobs) {
    let Some(job) = node.job() else { return };
    node.settle(jobs.hash(job));
    if let Below::Branch(branch) = &mut node.below {
        let branch = Arc::get_mut(branch).expect("invariant: a waiting branch was made in this merge");
        branch.children_mut().iter_mut().for_each(|child| settle(child, jobs));
    }
}

/// Depth at which two keys part.
fn fork(first: &B256, last: &B256, depth: usize) -> usize {
    (depth..NIBBLES).find(|&at| nibble(first, at) != nibble(last, at)).expect("invariant: keys are distinct")
}

fn path(key: &B256, from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|at| nibble(key, at)).collect()
}

/// How many nibbles of `extension` the key follows from `depth` on.
fn common(extension: &[u8], key: &B256, depth: usize) -> usize {
    (depth..).zip(extension).take_while(|&(at, &n)| nibble(key, at) == n).count()
}

/// Splits sorted changes by the nibble at a depth.
fn groups(changes: &[Change], at: usize) -> impl Iterator<Item = (u8, &[Change])> {
    let groups = changes.chunk_by(move |a, b| nibble(&a.key, at) == nibble(&b.key, at));
    groups.filter_map(move |group| group.first().map(|change| (nibble(&change.key, at), group)))
}
