//! The branches of a family of tries: all that came from one empty trie by updates, and which versions still need which.
//!
//! # Design
//! Branches lie in runs of words (`trie::words`), and the place of its run is the branch's slot. An update writes the
//! branches on the changed paths into new slots and leaves the old ones to the older versions; nothing counts references,
//! as a copy of a branch would then have to touch each of its children. Instead each version lists the slots that it
//! *made* and those of its parent that it *replaced*, and the versions form a tree:
//! - a version that nobody holds and that has no child goes, with what it made;
//! - one that nobody holds and that has a single child gives way to it: what the child replaced and the version or its
//!   forgotten ancestors made can be reached by nobody any more;
//! - the oldest version has no parent, so all that its only child replaced goes.
//!
//! One that nobody holds and that has several children stays, with all that it reaches, until only one of them is left.
//!
//! A dropped version is only noted; the next update of the family does the work, so that no reader ever pays for it and a
//! drop may happen anywhere, also while this thread reads slots. When the last version is dropped the whole arena goes.
//!
//! **Eviction.** Above a bound of bytes [`Arena::shrink`] takes small subtrees out of memory: their reference stays in the
//! parent, and whoever needs one reads its leaves from the flat tables, builds it again and compares it with the
//! reference. So nothing about branches is on disk, and there is nothing to recover. A branch is taken out only if its
//! parent was made by the oldest version or before and no version has replaced it: then that parent is the only one, and
//! every version sees the same leaves. So what the recent blocks have touched stays in memory. A merge copies branches
//! before its version is known; so nothing leaves memory while one is under way ([`Arena::enter`]).
//!
//! # Invariants
//! A slot is filled before any trie names it and freed when none can reach it. In between only links in it change, from a
//! branch to the same branch out of memory.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "numbers of versions and slots; overflow is checked in release as well"
)]

use super::{
    node::{Below, Branch, Link, Node, Stored, View},
    words::{self, Words},
};
use crate::cache::lock;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError},
};

/// Slots that one call of [`Arena::shrink`] looks at, at most, as a multiple of those that the last update filled: it gains
/// on the updates, and takes a few milliseconds. The least is for updates of few keys.
const SHRINK_SLOTS: usize = 16;
const SHRINK_SLOTS_MIN: usize = 1 << 12;
/// Words in a line of memory, the unit of caches.
const WORDS_PER_LINE: usize = 2;
/// Number of the first version of a family.
const FIRST_VERSION: u64 = 1;

/// What a version took from its parent and added.
#[derive(Debug, Default)]
struct Record {
    /// The version that it stands on; 0 for the oldest.
    parent: u64,
    /// Somebody holds it.
    held: bool,
    children: Vec<u64>,
    /// Slots that it, or an ancestor that gave way to it, filled.
    made: Vec<u32>,
    /// Slots of the parent that it does not reach.
    replaced: Vec<u32>,
}

/// The slots. In the first word of each, from byte 8: the version that made the branch, 0 if the slot is free; from byte 16:
/// how many versions list it as replaced.
#[derive(Debug, Default)]
pub(super) struct Slots {
    words: Words,
    /// By number; numbers ascend from parent to child.
    versions: HashMap<u64, Record>,
    /// The newest version's number.
    newest: u64,
    /// The oldest version's number.
    oldest: u64,
    /// Bytes of all branches.
    bytes: usize,
    /// Where the next search for what can leave memory starts.
    hand: u32,
}

/// The branches of a family of tries.
#[derive(Debug, Default)]
pub(super) struct Arena {
    slots: RwLock<Slots>,
    /// Versions that were dropped since the last update.
    dropped: Mutex<Vec<u64>>,
    /// Read by merges until their version is installed, taken by whoever takes branches out of memory. Nobody waits to
    /// take it: a merge may begin another one while it waits for its threads.
    merging: RwLock<()>,
}

/// A version that somebody holds.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) arena: Arc<Arena>,
    number: u64,
}

impl Drop for Version {
    fn drop(&mut self) {
        lock(&self.arena.dropped).push(self.number);
    }
}

/// What a merge makes of a version.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// New branches, children before parents; those without children were taken away again.
    pub(super) fresh: Vec<Branch>,
    /// Slots that the new version does not reach.
    pub(super) replaced: Vec<u32>,
}

impl Arena {
    /// An arena with branches of its first version.
    pub(super) fn of(slots: Slots) -> Arc<Self> {
        Arc::new(Self { slots: RwLock::new(slots), ..Self::default() })
    }

    /// The slots as they are. Whoever holds this must not wait for another task: an update may be waiting for it.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps all branches in memory that are there, until a merge has installed its version.
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.merging.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a version out of its parent, if it has one; returns it and its root.
    pub(super) fn install(self: Arc<Self>, parent: Option<&Version>, root: Node, made: Made) -> (Node, Version) {
        let dropped = std::mem::take(&mut *lock(&self.dropped));
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        dropped.into_iter().for_each(|version| slots.drop_version(version));
        let (root, number) = slots.install(parent.map_or(0, |parent| parent.number), root, made);
        drop(slots);
        (root, Version { arena: self, number })
    }

    /// Takes small subtrees that no recent version has touched out of memory until `bytes_max` are left, or goes on at the
    /// next call. While a merge is under way it does nothing.
    pub(super) fn shrink(&self, bytes_max: u64) {
        let alone = match self.merging.try_write() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let dropped = std::mem::take(&mut *lock(&self.dropped));
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        dropped.into_iter().for_each(|version| slots.drop_version(version));
        slots.shrink(bytes_max);
        drop((slots, alone));
    }

    /// Bytes of all branches.
    pub(super) fn bytes(&self) -> u64 {
        self.read().bytes as u64
    }
}

impl Slots {
    /// The branch in a slot that a held version names.
    pub(super) fn branch(&self, slot: u32) -> View<'_> {
        Stored::view(self.words.run(slot))
    }

    /// Reads from every line of memory that the branch in a slot lies on. Reads of several branches do not wait for one
    /// another.
    pub(super) fn touch(&self, slot: u32) -> u8 {
        self.words.run(slot).iter().step_by(WORDS_PER_LINE).fold(0, |sum, word| sum ^ word[0])
    }

    fn made_by(&self, slot: u32) -> u64 {
        u64::from_le_bytes(self.words.run(slot)[0].as_chunks().0[1])
    }

    fn replaced(&self, slot: u32) -> u32 {
        u32::from_le_bytes(self.words.run(slot)[0].as_chunks().0[4])
    }

    /// Counts one version more or fewer that lists the slot as replaced.
    fn count_replaced(&mut self, slot: u32, by: i32) {
        let count = self.replaced(slot).checked_add_signed(by).expect("invariant: as many lists as were counted");
        self.words.run_mut(slot)[0][16..20].copy_from_slice(&count.to_le_bytes());
    }

    /// Takes in branches of the first version before it is whole, children before parents; returns their slots.
    pub(super) fn begin(&mut self, made: Vec<Branch>) -> Vec<u32> {
        self.fill_all(made, FIRST_VERSION)
    }

    /// Puts branches, children before parents, into slots.
    fn fill_all(&mut self, made: Vec<Branch>, made_by: u64) -> Vec<u32> {
        let mut filled = Vec::with_capacity(made.len());
        for mut branch in made {
            branch.relink(|link| placed(&filled, link));
            filled.push(self.fill(&branch, made_by));
        }
        filled
    }

    fn install(&mut self, parent: u64, mut root: Node, made: Made) -> (Node, u64) {
        self.newest += 1;
        let number = self.newest;
        let mut filled = self.fill_all(made.fresh, number);
        if let Below::Branch(link) = &mut root.below {
            *link = placed(&filled, *link);
        }
        filled.retain(|&slot| slot != Link::END);
        made.replaced.iter().for_each(|&slot| self.count_replaced(slot, 1));
        if let Some(parent) = self.versions.get_mut(&parent) {
            parent.children.push(number);
        } else {
            // The oldest version goes with the whole arena: nobody will ask what it made.
            (self.oldest, filled) = (number, Vec::new());
        }
        let record = Record { parent, held: true, children: Vec::new(), made: filled, replaced: made.replaced };
        self.versions.insert(number, record);
        (root, number)
    }

    /// Puts a branch into a slot; none is needed for one that was taken away.
    fn fill(&mut self, branch: &Branch, made_by: u64) -> u32 {
        if branch.count() == 0 {
            return Link::END;
        }
        self.bytes += branch.bytes();
        let length = branch.run();
        let mut head = words::head(length);
        head[8..16].copy_from_slice(&made_by.to_le_bytes());
        let (slot, run) = self.words.take(length);
        Stored::write(run, branch, head);
        slot
    }

    fn free(&mut self, slot: u32) {
        self.bytes -= self.branch(slot).bytes();
        self.words.run_mut(slot)[0][8..16].fill(0);
        self.words.free(slot);
    }

    /// Frees what nobody can reach when a version is no longer held.
    fn drop_version(&mut self, version: u64) {
        let mut next = version;
        if let Some(record) = self.versions.get_mut(&next) {
            record.held = false;
        }
        while let Some(record) = self.versions.get(&next).filter(|record| !record.held) {
            let parent = record.parent;
            match record.children[..] {
                [] => {
                    self.remove_last(next);
                    next = parent;
                }
                [child] => return self.give_way(next, child),
                _ => return,
            }
        }
    }

    /// Removes a version without children.
    fn remove_last(&mut self, version: u64) {
        let Some(record) = self.versions.remove(&version) else { return };
        record.made.into_iter().for_each(|slot| self.free(slot));
        record.replaced.into_iter().for_each(|slot| self.count_replaced(slot, -1));
        if let Some(parent) = self.versions.get_mut(&record.parent) {
            parent.children.retain(|child| *child != version);
        }
    }

    /// Removes a version with a single child, which takes its place.
    fn give_way(&mut self, version: u64, child: u64) {
        let Some(old) = self.versions.remove(&version) else { return };
        let Some(mut heir) = self.versions.remove(&child) else { return };
        // Of what the heir replaced, a kept ancestor may reach what was made before the version that goes.
        let (kept, lost): (Vec<u32>, Vec<u32>) = std::mem::take(&mut heir.replaced)
            .into_iter()
            .partition(|&slot| old.parent != 0 && self.made_by(slot) <= old.parent);
        lost.into_iter().for_each(|slot| self.free(slot));
        heir.parent = old.parent;
        if let Some(parent) = self.versions.get_mut(&old.parent) {
            parent.children.iter_mut().filter(|it| **it == version).for_each(|it| *it = child);
            heir.replaced = [old.replaced, kept].concat();
            // Before any slot is filled again: what was just freed must not be taken for what the version made.
            heir.made.extend(old.made.into_iter().filter(|&slot| self.made_by(slot) != 0));
        } else {
            (self.oldest, heir.made) = (child, Vec::new());
        }
        self.versions.insert(child, heir);
    }

    fn shrink(&mut self, bytes_max: u64) {
        let filled = self.versions.get(&self.newest).map_or(0, |record| record.made.len());
        for _ in 0..(filled * SHRINK_SLOTS).max(SHRINK_SLOTS_MIN).min(self.words.runs()) {
            if self.bytes as u64 <= bytes_max {
                return;
            }
            self.hand = self.words.following(self.hand);
            self.unload_below(self.hand);
        }
    }

    /// Takes the small branches below a slot out of memory if no version has another copy of the slot.
    fn unload_below(&mut self, slot: u32) {
        if !(1..=self.oldest).contains(&self.made_by(slot)) || self.replaced(slot) > 0 {
            return;
        }
        let below: Vec<(u8, u32)> = self.branch(slot).slots().collect();
        for (nibble, child) in below {
            if let Some(leaves) = self.branch(child).small() {
                Stored::set_link(self.words.run_mut(slot), nibble, Link::Unloaded(leaves));
                self.free(child);
            }
        }
    }
}

/// The link to a branch that was made, once it has a slot.
pub(super) fn placed(filled: &[u32], link: Link) -> Link {
    match link {
        Link::Fresh(at) => Link::Slot(filled[at as usize]),
        Link::Slot(_) | Link::Unloaded(_) => link,
    }
}

#[cfg(test)]
impl Arena {
    /// How many slots are filled, after everything that was dropped is freed.
    pub(super) fn filled(&self) -> usize {
        let dropped = std::mem::take(&mut *lock(&self.dropped));
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        dropped.into_iter().for_each(|version| slots.drop_version(version));
        let bytes: usize = slots.all().map(|slot| slots.branch(slot).bytes()).sum();
        assert_eq!(bytes, slots.bytes);
        // Nothing is lost, and nothing is given twice.
        assert_eq!(
            slots.all().chain(slots.words.idle()).collect::<std::collections::BTreeSet<_>>().len(),
            slots.words.runs()
        );
        assert_eq!(slots.all().count() + slots.words.idle().count(), slots.words.runs());
        slots.all().count()
    }
}

#[cfg(test)]
impl Slots {
    /// Every slot that is filled.
    fn all(&self) -> impl Iterator<Item = u32> {
        let runs = self.words.runs();
        let places = std::iter::successors((runs > 0).then_some(0), |&slot| Some(self.words.following(slot)));
        places.take(runs).filter(|&slot| self.made_by(slot) != 0)
    }

    /// Every slot that a node reaches.
    pub(super) fn reach(&self, node: &Node, out: &mut std::collections::BTreeSet<u32>) {
        let Below::Branch(Link::Slot(slot)) = node.below else { return };
        assert_ne!(self.made_by(slot), 0, "a freed slot is reached");
        out.insert(slot);
        let branch = self.branch(slot);
        (0..16).filter_map(|nibble| branch.child(nibble)).for_each(|child| self.reach(&child, out));
    }
}
