//! Branches of the trie as they lie in memory, shared between snapshots, and their Ethereum encodings.
//!
//! # Design
//! A position is a path of nibbles from the root. At a position there is a leaf or a branch; an extension is a field of
//! the branch below it. A branch holds the reference (hash, or bytes below 32) of every child, leaves too, so hashing
//! never visits a sibling.
//! A branch is copied by every update that passes it, so its children lie packed in one run of 32-byte words: the
//! references in order, then the keys of the leaves, then the links to the branches, eight to a word. Links are numbers of
//! slots (`trie::arena`) and not counted pointers: a copy must not touch sixteen children to count itself.
//!
//! Spec: Ethereum yellow paper, appendix D.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "depths are at most 64, children at most 16, encodings at most a few hundred bytes"
)]

use crate::keccak::{Hole, Jobs};
use alloy_primitives::B256;

/// Nibbles in a key.
pub(crate) const NIBBLES: usize = 64;
/// Children of a branch at most.
pub(crate) const CHILDREN: usize = 16;
/// Leaves below a branch that may be left out of memory: they are read and hashed again when it is needed, which costs
/// a seek in the tables and one to two microseconds a leaf.
pub(crate) const UNLOADED_LEAVES_MAX: u32 = 64;
/// Bytes that a branch takes beside its words and its extension: its slot, and what an allocator adds to one block.
const BRANCH_BYTES: usize = 80;
/// Links in a word.
const LINKS_PER_WORD: usize = 8;

/// What a parent's encoding holds for a child: 32 bytes of hash, or the child's own encoding if that is shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    length: u8,
    bytes: [u8; 32],
}

impl Reference {
    /// The reference to a node with this hash.
    pub(crate) const fn hash(hash: B256) -> Self {
        Self { length: 32, bytes: hash.0 }
    }

    /// The reference to a node whose encoding is shorter than a hash; `None` if it is not.
    pub(crate) fn inline(encoding: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if encoding.len() >= bytes.len() {
            return None;
        }
        bytes[..encoding.len()].copy_from_slice(encoding);
        Some(Self { length: encoding.len() as u8, bytes })
    }

    /// The bytes that stand in the parent, without the RLP prefix of a hash.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The hash, if it is one.
    pub(crate) fn as_hash(&self) -> Option<B256> {
        (self.length == 32).then(|| B256::new(self.bytes))
    }

    const fn size(&self) -> usize {
        if self.length == 32 { 33 } else { self.length as usize }
    }

    fn waiting(job: u32) -> Self {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&job.to_le_bytes());
        Self { length: 32, bytes }
    }
}

/// Bytes of an inline encoding: a list below 32 bytes says its length in its first byte.
const fn inline_size(word: &B256) -> usize {
    1 + word.0[0].saturating_sub(0xc0) as usize
}

/// Where a branch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// In this slot of the arena.
    Slot(u32),
    /// At this place among the branches that a merge has made and not yet installed.
    Fresh(u32),
    /// Not in memory; so many leaves lie below, at most [`UNLOADED_LEAVES_MAX`].
    Unloaded(u32),
}

impl Link {
    /// Numbers below this fit.
    pub(crate) const END: u32 = 1 << 30;
    const FRESH: u32 = 1 << 31;
    const UNLOADED: u32 = 1 << 30;

    const fn pack(self) -> u32 {
        match self {
            Self::Slot(number) => number,
            Self::Fresh(number) => number | Self::FRESH,
            Self::Unloaded(leaves) => leaves | Self::UNLOADED,
        }
    }

    const fn unpack(bits: u32) -> Self {
        if bits & Self::FRESH != 0 {
            Self::Fresh(bits & !Self::FRESH)
        } else if bits & Self::UNLOADED != 0 {
            Self::Unloaded(bits & !Self::UNLOADED)
        } else {
            Self::Slot(bits)
        }
    }
}

/// What stands at a position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Below {
    /// The only key below this position; its value is in the flat tables.
    Leaf(B256),
    /// At least two keys.
    Branch(Link),
}

/// A leaf or branch, with the reference that its parent's encoding holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    reference: Reference,
    /// The hash is still being computed: its job number stands in the first four bytes of `reference`.
    pending: bool,
    /// What stands here.
    pub(crate) below: Below,
}

impl Node {
    /// A node whose reference is known.
    pub(crate) const fn new(reference: Reference, below: Below) -> Self {
        Self { reference, pending: false, below }
    }

    /// A node whose hash a job will give.
    pub(crate) fn waiting(job: u32, below: Below) -> Self {
        Self { reference: Reference::waiting(job), pending: true, below }
    }

    /// The reference; meaningless while the node waits for its hash.
    pub(crate) const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The job whose hash this node waits for.
    pub(crate) fn job(&self) -> Option<u32> {
        self.pending.then(|| job(&B256::new(self.reference.bytes)))
    }

    /// Puts the hash in place that the node waited for.
    pub(crate) fn settle(&mut self, jobs: &Jobs) {
        if let Some(job) = self.job() {
            self.reference = Reference::hash(jobs.hash(job));
            self.pending = false;
        }
    }
}

const fn job(word: &B256) -> u32 {
    let [a, b, c, d, ..] = word.0;
    u32::from_le_bytes([a, b, c, d])
}

/// A branch with the extension that leads to it. One without children is what is left when it was taken away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    /// Nibbles between the position and the branch; mostly none.
    pub(crate) extension: Box<[u8]>,
    /// Nibbles with a child.
    mask: u16,
    /// Those whose child is a leaf.
    leaves: u16,
    /// Those whose child is inline.
    short: u16,
    /// Those whose hash is still being computed.
    pending: u16,
    /// References, keys, links.
    words: Box<[B256]>,
}

impl Branch {
    /// A branch behind an extension, with the children given by their nibbles.
    pub(crate) fn of(extension: Box<[u8]>, children: &[Option<Node>; CHILDREN]) -> Self {
        let mut branch = Self { extension, ..Self::default() };
        for (nibble, child) in children.iter().enumerate() {
            let Some(child) = child else { continue };
            branch.mask |= 1 << nibble;
            branch.leaves |= u16::from(matches!(child.below, Below::Leaf(_))) << nibble;
        }
        let (count, leaves) = (branch.count(), branch.leaves.count_ones() as usize);
        let words = count + leaves + (count - leaves).div_ceil(LINKS_PER_WORD);
        branch.words = vec![B256::ZERO; words].into_boxed_slice();
        for (nibble, child) in (0..).zip(children) {
            if let Some(child) = child {
                branch.overwrite(nibble, child);
            }
        }
        branch
    }

    /// How many children there are.
    pub(crate) const fn count(&self) -> usize {
        self.mask.count_ones() as usize
    }

    /// Bytes of memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.words.len() * 32 + self.extension.len() + BRANCH_BYTES
    }

    /// How many leaves lie below, if it may be left out of memory: they are few, and no branch below is in memory.
    pub(crate) fn small(&self) -> Option<u32> {
        let mut leaves = self.leaves.count_ones();
        for nibble in nibbles(self.mask & !self.leaves) {
            let Link::Unloaded(below) = self.link(nibble) else { return None };
            leaves += below;
        }
        (leaves <= UNLOADED_LEAVES_MAX).then_some(leaves)
    }

    /// The slots of the branches below, with their nibbles.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u8, u32)> {
        nibbles(self.mask & !self.leaves).filter_map(|nibble| match self.link(nibble) {
            Link::Slot(slot) => Some((nibble, slot)),
            Link::Fresh(_) | Link::Unloaded(_) => None,
        })
    }

    const fn rank(mask: u16, nibble: u8) -> usize {
        (mask & ((1 << nibble) - 1)).count_ones() as usize
    }

    /// The word and the byte of the link of the branch at a nibble.
    const fn link_at(&self, nibble: u8) -> (usize, usize) {
        let index = Self::rank(self.mask & !self.leaves, nibble);
        let first = self.count() + self.leaves.count_ones() as usize;
        (first + index / LINKS_PER_WORD, index % LINKS_PER_WORD * 4)
    }

    fn link(&self, nibble: u8) -> Link {
        let (word, byte) = self.link_at(nibble);
        let bytes = &self.words[word][byte..byte + 4];
        Link::unpack(u32::from_le_bytes(bytes.try_into().expect("invariant: four bytes")))
    }

    /// Replaces the link of the branch at a nibble.
    pub(crate) fn set_link(&mut self, nibble: u8, link: Link) {
        let (word, byte) = self.link_at(nibble);
        self.words[word][byte..byte + 4].copy_from_slice(&link.pack().to_le_bytes());
    }

    /// The child at a nibble.
    pub(crate) fn child(&self, nibble: u8) -> Option<Node> {
        let bit = 1 << nibble;
        if self.mask & bit == 0 {
            return None;
        }
        let word = &self.words[Self::rank(self.mask, nibble)];
        let length = if self.short & bit == 0 { 32 } else { inline_size(word) as u8 };
        let below = if self.leaves & bit == 0 {
            Below::Branch(self.link(nibble))
        } else {
            Below::Leaf(self.words[self.count() + Self::rank(self.leaves, nibble)])
        };
        Some(Node { reference: Reference { length, bytes: word.0 }, pending: self.pending & bit != 0, below })
    }

    /// Sets or removes the child at a nibble.
    pub(crate) fn put(&mut self, nibble: u8, child: Option<Node>) {
        let bit = 1 << nibble;
        let fits =
            |child: &Node| self.mask & bit != 0 && (self.leaves & bit != 0) == matches!(child.below, Below::Leaf(_));
        match child {
            Some(child) if fits(&child) => self.overwrite(nibble, &child),
            None if self.mask & bit == 0 => {}
            _ => {
                let mut children: [Option<Node>; CHILDREN] = std::array::from_fn(|at| self.child(at as u8));
                children[usize::from(nibble)] = child;
                *self = Self::of(std::mem::take(&mut self.extension), &children);
            }
        }
    }

    /// Puts a child in the place of one of its kind.
    fn overwrite(&mut self, nibble: u8, child: &Node) {
        let bit = 1 << nibble;
        let set = |mask: &mut u16, on: bool| *mask = if on { *mask | bit } else { *mask & !bit };
        set(&mut self.short, child.reference.length < 32);
        set(&mut self.pending, child.pending);
        self.words[Self::rank(self.mask, nibble)] = B256::new(child.reference.bytes);
        match child.below {
            Below::Leaf(key) => self.words[self.count() + Self::rank(self.leaves, nibble)] = key,
            Below::Branch(link) => self.set_link(nibble, link),
        }
    }

    /// The only child and its nibble; `None` unless there is exactly one.
    pub(crate) fn only(&self) -> Option<(u8, Node)> {
        let nibble = self.mask.trailing_zeros() as u8;
        if self.count() == 1 { self.child(nibble).map(|child| (nibble, child)) } else { None }
    }

    /// Puts finished hashes in place.
    pub(crate) fn settle(&mut self, jobs: &Jobs) {
        for nibble in nibbles(self.pending) {
            let word = &mut self.words[Self::rank(self.mask, nibble)];
            *word = jobs.hash(job(word));
        }
        self.pending = 0;
    }

    /// Replaces each link.
    pub(crate) fn relink(&mut self, new: impl Fn(Link) -> Link) {
        for nibble in nibbles(self.mask & !self.leaves) {
            let link = new(self.link(nibble));
            self.set_link(nibble, link);
        }
    }
}

/// The nibbles in a mask, ascending.
fn nibbles(mut mask: u16) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let nibble = mask.trailing_zeros() as u8;
        mask &= mask.wrapping_sub(1);
        (nibble < 16).then_some(nibble)
    })
}

/// The nibble at a depth.
pub(crate) fn nibble(key: &B256, depth: usize) -> u8 {
    let byte = key[depth / 2];
    if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

fn put_prefix(out: &mut Vec<u8>, base: u8, length: usize) {
    if length <= 55 {
        out.push(base + length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|&&byte| byte == 0).count();
        out.push(base + 55 + (bytes.len() - skip) as u8);
        out.extend_from_slice(&bytes[skip..]);
    }
}

/// Bytes that an RLP prefix takes in front of `length` bytes.
const fn prefix_size(length: usize) -> usize {
    if length <= 55 { 1 } else { 1 + 8 - length.leading_zeros() as usize / 8 }
}

const fn is_single(bytes: &[u8]) -> bool {
    matches!(bytes, [byte] if *byte < 0x80)
}

const fn string_size(bytes: &[u8]) -> usize {
    if is_single(bytes) { 1 } else { prefix_size(bytes.len()) + bytes.len() }
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if !is_single(bytes) {
        put_prefix(out, 0x80, bytes.len());
    }
    out.extend_from_slice(bytes);
}

/// Writes the prefix of a hash if it is one, and the reference; returns where its bytes start.
fn put_reference(out: &mut Vec<u8>, reference: &Reference) -> usize {
    if reference.length == 32 {
        out.push(0xa0);
    }
    let offset = out.len();
    out.extend_from_slice(reference.as_slice());
    offset
}

/// Encodes the leaf of `key` that stands at `depth`, over what `out` held.
pub(crate) fn encode_leaf(out: &mut Vec<u8>, key: &B256, depth: usize, value: &[u8]) {
    let mut path = [0; 33];
    let tail = &key[depth.div_ceil(2)..];
    path[0] = if depth.is_multiple_of(2) { 0x20 } else { 0x30 | (key[depth / 2] & 15) };
    path[1..=tail.len()].copy_from_slice(tail);
    let path = &path[..=tail.len()];
    out.clear();
    put_prefix(out, 0xc0, string_size(path) + string_size(value));
    put_string(out, path);
    put_string(out, value);
}

/// Encodes the extension `nibbles` over `child`, over what `out` held; returns where the child's reference starts.
pub(crate) fn encode_extension(out: &mut Vec<u8>, nibbles: &[u8], child: &Reference) -> usize {
    let mut path = Vec::with_capacity(1 + nibbles.len() / 2);
    let (head, pairs) = nibbles.split_at(nibbles.len() % 2);
    path.push(head.first().map_or(0, |nibble| 0x10 | nibble));
    path.extend(pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    out.clear();
    put_prefix(out, 0xc0, string_size(&path) + child.size());
    put_string(out, &path);
    put_reference(out, child)
}

/// Encodes a branch without its extension, over what `out` held; `holes` become the places of the waiting children.
pub(crate) fn encode_branch(out: &mut Vec<u8>, branch: &Branch, holes: &mut Vec<Hole>) {
    let references = &branch.words[..branch.count()];
    let inline = nibbles(branch.short).map(|nibble| &references[Branch::rank(branch.mask, nibble)]);
    let (mut body, mut hashes) = (0, branch.count());
    for word in inline {
        body += inline_size(word);
        hashes -= 1;
    }
    let absent = CHILDREN - branch.count();
    out.clear();
    holes.clear();
    // One more byte for the empty value: no key is a prefix of another.
    put_prefix(out, 0xc0, body + hashes * 33 + absent + 1);
    let mut references = references.iter();
    for bit in (0..CHILDREN).map(|nibble| 1_u16 << nibble) {
        let word = if branch.mask & bit == 0 { None } else { references.next() };
        let Some(word) = word else {
            out.push(0x80);
            continue;
        };
        if branch.short & bit != 0 {
            out.extend_from_slice(&word[..inline_size(word)]);
            continue;
        }
        out.push(0xa0);
        if branch.pending & bit != 0 {
            holes.push(Hole { offset: out.len(), job: job(word) });
        }
        out.extend_from_slice(word.as_slice());
    }
    out.push(0x80);
}
