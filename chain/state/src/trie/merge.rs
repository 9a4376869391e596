//! Merges sorted changes into the branches, hashes what changed, and puts the hashes in place.
//!
//! # Design
//! One recursion over (node, slice of sorted changes): every branch on a changed path is visited once. It emits the
//! encodings into an [`Emitter`] that is run for a whole subtree at once; then the hashes are put into the new branches,
//! in the order in which they were made.
//! Slices above [`CHUNK_CHANGES`] are split at the sixteen children, each with its own buffer: this bounds memory, keeps
//! buffers in the cache, and is where threads come in.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_wrap,
    reason = "depths are at most 64; numbers of changes are far below 2^63"
)]

use super::{
    Change, Values,
    arena::{Arena, Made, Slots},
    build::build_position,
    emit::Emitter,
    node::{Below, Branch, CHILDREN, Link, NIBBLES, Node, nibble},
};
use crate::{
    error::{Corruption, Error},
    keccak::Hashing,
};
use alloy_primitives::B256;
use rayon::prelude::*;
use std::{borrow::Cow, hint::black_box, sync::RwLockReadGuard};

/// Changes from which on it pays to look at their branches beforehand.
const TOUCHED_MIN: usize = 8;

/// Changes that share one hash buffer. Above it a subtree is split: 1,024 paths are about 600 kB of encodings, which
/// fit the second-level cache.
const CHUNK_CHANGES: usize = 1_024;

/// A merge of one subtree.
pub(super) struct Merge<'a> {
    arena: &'a Arena,
    /// Taken at the first branch, given back before anything is waited for.
    slots: Option<RwLockReadGuard<'a, Slots>>,
    values: &'a dyn Values,
    /// All changes of the update: they hide what `values` says.
    all: &'a [Change],
    hashing: Hashing,
    emitter: Emitter,
    /// Slots of the old version that the new one does not reach.
    replaced: Vec<u32>,
    /// Keys gained minus keys lost.
    pub(super) growth: i64,
}

impl<'a> Merge<'a> {
    /// Prepares a merge of `all`, sorted by key and without duplicates, over the state that `values` shows.
    pub(super) fn new(arena: &'a Arena, values: &'a dyn Values, all: &'a [Change], hashing: Hashing) -> Self {
        let emitter = Emitter::new(hashing);
        Self { arena, slots: None, values, all, hashing, emitter, replaced: Vec::new(), growth: 0 }
    }

    /// What the new version has and the old one has not, and the other way round.
    pub(super) fn made(self) -> Made {
        Made { fresh: self.emitter.fresh, replaced: self.replaced }
    }

    /// Merges `changes` into the subtree at `depth`, hashes and settles it.
    pub(super) fn subtree(
        &mut self,
        node: Option<Node>,
        changes: &[Change],
        depth: usize,
    ) -> Result<Option<Node>, Error> {
        if (TOUCHED_MIN..=CHUNK_CHANGES).contains(&changes.len()) {
            self.touch(node, changes, depth);
        }
        let mut merged = self.merge(node, changes, depth)?;
        self.slots = None;
        self.emitter.hash(merged.iter_mut());
        Ok(merged)
    }

    /// Looks at the branches on the paths of all changes, level by level: those of one level are waited for together, while
    /// the merge meets them one after the other.
    fn touch(&mut self, node: Option<Node>, changes: &[Change], depth: usize) {
        let slots = self.slots.get_or_insert_with(|| self.arena.read());
        let slot = |node: Option<Node>| match node.map(|node| node.below) {
            Some(Below::Branch(Link::Slot(slot))) => Some(slot),
            _ => None,
        };
        let mut level: Vec<(u32, &[Change], usize)> =
            slot(node).map(|slot| (slot, changes, depth)).into_iter().collect();
        while !level.is_empty() {
            black_box(level.iter().fold(0, |sum, (slot, ..)| sum ^ slots.touch(*slot)));
            let mut below = Vec::new();
            for (at, changes, depth) in level {
                let branch = slots.branch(at);
                let depth = depth + branch.extension.len();
                let next =
                    groups(changes, depth).filter_map(|(n, group)| Some((slot(branch.child(n))?, group, depth + 1)));
                below.extend(next);
            }
            level = below;
        }
    }

    /// Takes the branch that a node at (any key below it, depth) links to, for a change.
    fn take(&mut self, node: &Node, link: Link, key: &B256, depth: usize) -> Result<Branch, Error> {
        match link {
            Link::Slot(slot) => {
                self.replaced.push(slot);
                Ok(self.slots.get_or_insert_with(|| self.arena.read()).branch(slot).to_owned())
            }
            Link::Fresh(at) => Ok(self.emitter.take(at)),
            Link::Unloaded(_) => {
                let (root, fresh) = build_position(self.values, node, key, depth)?;
                match self.emitter.adopt(Some(root), fresh).map(|root| root.below) {
                    Some(Below::Branch(Link::Fresh(at))) => Ok(self.emitter.take(at)),
                    _ => unreachable!("invariant: what was built has the reference of a branch"),
                }
            }
        }
    }

    /// Merges `changes` into what stands at `depth`. The result may wait for its hash.
    fn merge(&mut self, node: Option<Node>, changes: &[Change], depth: usize) -> Result<Option<Node>, Error> {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return Ok(node) };
        let Some(node) = node else {
            if changes.len() <= CHUNK_CHANGES {
                return Ok(self.rebuild(changes, None, depth));
            }
            let end = fork(&first.key, &last.key, depth);
            let empty = Branch::of(path(&first.key, depth, end), &std::array::from_fn(|_| None));
            return self.merge_branch(empty, changes, depth);
        };
        match node.below {
            Below::Branch(link) => {
                let branch = self.take(&node, link, &first.key, depth)?;
                self.merge_branch(branch, changes, depth)
            }
            Below::Leaf(key) => self.merge_leaf(node, key, changes, depth),
        }
    }

    fn merge_leaf(&mut self, node: Node, key: B256, changes: &[Change], depth: usize) -> Result<Option<Node>, Error> {
        if let [Change { key: changed, value: Some(value) }] = changes
            && *changed == key
        {
            return Ok(Some(self.emitter.leaf(&key, depth, value)));
        }
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
                let child = self.merge(branch.child(n), group, end + 1)?;
                branch.put(n, child);
            }
        }
        self.finish(branch, changes, depth)
    }

    /// Merges many changes into the sixteen children, each with its own buffers, on all cores.
    fn merge_children(&mut self, branch: &mut Branch, changes: &[Change], end: usize) -> Result<(), Error> {
        let work: Vec<_> = groups(changes, end).map(|(n, group)| (n, branch.child(n), group)).collect();
        let (arena, values, all, hashing) = (self.arena, self.values, self.all, self.hashing);
        // While this thread waits for its share it may run a task that wants to fill slots.
        self.slots = None;
        let done: Vec<_> = work
            .into_par_iter()
            .map(|(n, child, group)| {
                let mut merge = Merge::new(arena, values, all, hashing);
                let child = merge.subtree(child, group, end + 1)?;
                let growth = merge.growth;
                Ok((n, child, merge.made(), growth))
            })
            .collect::<Result<_, Error>>()?;
        for (n, child, made, growth) in done {
            branch.put(n, self.emitter.adopt(child, made.fresh));
            self.replaced.extend(made.replaced);
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
        let extension = std::mem::take(&mut old.extension);
        let (upper, lower) = extension.split_at(split);
        let Some((&turn, lower)) = lower.split_first() else { return self.merge_branch(old, changes, depth) };
        old.extension = lower.into();
        let mut children: [Option<Node>; CHILDREN] = std::array::from_fn(|_| None);
        let mut old = Some(old);
        for (n, group) in groups(changes, end) {
            let child = match old.take_if(|_| n == turn) {
                Some(old) => self.merge_branch(old, group, end + 1)?,
                None => self.merge(None, group, end + 1)?,
            };
            children[usize::from(n)] = child;
        }
        if let Some(old) = old {
            children[usize::from(turn)] = Some(self.emitter.seal(old));
        }
        self.finish(Branch::of(upper.into(), &children), changes, depth)
    }

    /// Seals a branch whose children are merged; one that is left with a single child gives way to it.
    fn finish(&mut self, branch: Branch, changes: &[Change], depth: usize) -> Result<Option<Node>, Error> {
        if branch.count() == 0 {
            return Ok(None);
        }
        let Some((turn, survivor)) = branch.only() else { return Ok(Some(self.emitter.seal(branch))) };
        match survivor.below {
            Below::Leaf(key) => {
                let value = self.read(&key)?;
                Ok(Some(self.emitter.leaf(&key, depth, &value)))
            }
            Below::Branch(link) => {
                let mut key = changes.first().map_or(B256::ZERO, |change| change.key);
                let turns = branch.extension.iter().chain([&turn]);
                (depth..).zip(turns).for_each(|(at, &turn)| set_nibble(&mut key, at, turn));
                let mut lower = self.take(&survivor, link, &key, depth + branch.extension.len() + 1)?;
                lower.extension = [&branch.extension[..], &[turn], &lower.extension[..]].concat().into();
                Ok(Some(self.emitter.seal(lower)))
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
            return Some(self.emitter.leaf(key, depth, value));
        }
        let (first, last) = (items.first()?.0, items.last()?.0);
        let end = fork(&first, &last, depth);
        let mut children: [Option<Node>; CHILDREN] = std::array::from_fn(|_| None);
        for group in items.chunk_by(|(a, _), (b, _)| nibble(a, end) == nibble(b, end)) {
            if let Some((key, _)) = group.first() {
                children[usize::from(nibble(key, end))] = self.build(group, end + 1);
            }
        }
        Some(self.emitter.seal(Branch::of(path(&first, depth, end), &children)))
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

fn set_nibble(key: &mut B256, at: usize, nibble: u8) {
    let byte = &mut key[at / 2];
    *byte = if at.is_multiple_of(2) { nibble << 4 | *byte & 15 } else { *byte & 0xf0 | nibble };
}

/// Depth at which two keys part.
fn fork(first: &B256, last: &B256, depth: usize) -> usize {
    (depth..NIBBLES).find(|&at| nibble(first, at) != nibble(last, at)).expect("invariant: keys are distinct")
}

fn path(key: &B256, from: usize, to: usize) -> Box<[u8]> {
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
