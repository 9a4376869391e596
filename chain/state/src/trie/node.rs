//! Branches of the trie as they lie in memory, shared between snapshots, and their Ethereum encodings.
//!
//! # Design
//! A position is a path of nibbles from the root. At a position there is a leaf or a branch; an extension is a field of
//! the branch below it. A branch holds the reference (hash, or bytes below 32) of every child, leaves too, so hashing
//! never visits a sibling.
//! A branch is copied by every update that passes it, so its children lie packed in one run of 32-byte words: the
//! references in order, then the keys of the leaves, then the links to the branches, eight to a word. Links are places in
//! the arena (`trie::arena`) and not counted pointers: a copy must not touch sixteen children to count itself.
//!
//! Spec: Ethereum yellow paper, appendix D.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "depths are at most 64, children at most 16, encodings at most a few hundred bytes"
)]

use crate::keccak::{Hole, Jobs};
use alloy_primitives::B256;
use std::ops::Deref;

/// Nibbles in a key.
pub(crate) const NIBBLES: usize = 64;
/// Children of a branch at most.
pub(crate) const CHILDREN: usize = 16;
/// Leaves below a branch that may be left out of memory: they are read and hashed again when it is needed, which costs
/// a seek in the tables and one to two microseconds a leaf.
pub(crate) const UNLOADED_LEAVES_MAX: u32 = 64;
/// Links in a word.
const LINKS_PER_WORD: usize = 8;

/// A reference, a key, or eight links.
pub(crate) type Word = [u8; 32];

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
const fn inline_size(word: &Word) -> usize {
    1 + word[0].saturating_sub(0xc0) as usize
}

/// Where a branch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// At this place in the arena.
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
        self.pending.then(|| job(&self.reference.bytes))
    }

    /// Puts the hash in place that the node waited for.
    pub(crate) fn settle(&mut self, jobs: &Jobs) {
        if let Some(job) = self.job() {
            self.reference = Reference::hash(jobs.hash(job));
            self.pending = false;
        }
    }
}

const fn job(word: &Word) -> u32 {
    let [a, b, c, d, ..] = *word;
    u32::from_le_bytes([a, b, c, d])
}

/// A branch with the extension that leads to it. One without children is what is left when it was taken away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Branch<E = Box<[u8]>, W = Box<[Word]>> {
    /// Nibbles between the position and the branch; mostly none.
    pub(crate) extension: E,
    masks: Masks,
    /// References, keys, links.
    words: W,
}

/// A branch that lies somewhere else.
pub(crate) type View<'a> = Branch<&'a [u8], &'a [Word]>;

/// What a branch says of its nibbles.
#[derive(Clone, Copy, Debug, Default)]
struct Masks {
    /// Nibbles with a child.
    children: u16,
    /// Those whose child is a leaf.
    leaves: u16,
    /// Those whose child is inline.
    short: u16,
    /// Those whose hash is still being computed.
    pending: u16,
}

impl Masks {
    const fn rank(mask: u16, nibble: u8) -> usize {
        (mask & ((1 << nibble) - 1)).count_ones() as usize
    }

    const fn count(self) -> usize {
        self.children.count_ones() as usize
    }

    const fn branches(self) -> u16 {
        self.children & !self.leaves
    }

    /// The word of the reference at a nibble.
    const fn reference_at(self, nibble: u8) -> usize {
        Self::rank(self.children, nibble)
    }

    /// The word of the key of the leaf at a nibble.
    const fn key_at(self, nibble: u8) -> usize {
        self.count() + Self::rank(self.leaves, nibble)
    }

    /// The word and the byte of the link of the branch at a nibble.
    const fn link_at(self, nibble: u8) -> (usize, usize) {
        let index = Self::rank(self.branches(), nibble);
        let first = self.count() + self.leaves.count_ones() as usize;
        (first + index / LINKS_PER_WORD, index % LINKS_PER_WORD * 4)
    }

    /// How many words there are.
    const fn words(self) -> usize {
        let leaves = self.leaves.count_ones() as usize;
        self.count() + leaves + (self.count() - leaves).div_ceil(LINKS_PER_WORD)
    }
}

impl<E: Deref<Target = [u8]>, W: Deref<Target = [Word]>> Branch<E, W> {
    /// How many children there are.
    pub(crate) const fn count(&self) -> usize {
        self.masks.count()
    }

    /// Words that it takes in an arena.
    pub(crate) fn run(&self) -> usize {
        1 + self.extension.len().div_ceil(size_of::<Word>()) + self.words.len()
    }

    /// Bytes that it takes in an arena.
    pub(crate) fn bytes(&self) -> usize {
        self.run() * size_of::<Word>()
    }

    /// How many leaves lie below, if it may be left out of memory: they are few, and no branch below is in memory.
    pub(crate) fn small(&self) -> Option<u32> {
        let mut leaves = self.masks.leaves.count_ones();
        for nibble in nibbles(self.masks.branches()) {
            let Link::Unloaded(below) = self.link(nibble) else { return None };
            leaves += below;
        }
        (leaves <= UNLOADED_LEAVES_MAX).then_some(leaves)
    }

    /// The places of the branches below, with their nibbles.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u8, u32)> {
        nibbles(self.masks.branches()).filter_map(|nibble| match self.link(nibble) {
            Link::Slot(slot) => Some((nibble, slot)),
            Link::Fresh(_) | Link::Unloaded(_) => None,
        })
    }

    fn link(&self, nibble: u8) -> Link {
        let (word, byte) = self.masks.link_at(nibble);
        let bytes = &self.words[word][byte..byte + 4];
        Link::unpack(u32::from_le_bytes(bytes.try_into().expect("invariant: four bytes")))
    }

    /// The child at a nibble.
    pub(crate) fn child(&self, nibble: u8) -> Option<Node> {
        let (bit, masks) = (1 << nibble, self.masks);
        if masks.children & bit == 0 {
            return None;
        }
        let word = &self.words[masks.reference_at(nibble)];
        let length = if masks.short & bit == 0 { 32 } else { inline_size(word) as u8 };
        let below = if masks.leaves & bit == 0 {
            Below::Branch(self.link(nibble))
        } else {
            Below::Leaf(B256::new(self.words[masks.key_at(nibble)]))
        };
        Some(Node { reference: Reference { length, bytes: *word }, pending: masks.pending & bit != 0, below })
    }

    /// The only child and its nibble; `None` unless there is exactly one.
    pub(crate) fn only(&self) -> Option<(u8, Node)> {
        let nibble = self.masks.children.trailing_zeros() as u8;
        if self.count() == 1 { self.child(nibble).map(|child| (nibble, child)) } else { None }
    }

    /// The branch without its owner.
    pub(crate) fn view(&self) -> View<'_> {
        Branch { extension: &self.extension, masks: self.masks, words: &self.words }
    }
}

impl View<'_> {
    /// A copy.
    pub(crate) fn to_owned(self) -> Branch {
        Branch { extension: self.extension.into(), masks: self.masks, words: self.words.into() }
    }
}

impl Branch {
    /// A branch behind an extension, with the children given by their nibbles.
    pub(crate) fn of(extension: Box<[u8]>, children: &[Option<Node>; CHILDREN]) -> Self {
        let mut masks = Masks::default();
        for (nibble, child) in children.iter().enumerate() {
            let Some(child) = child else { continue };
            masks.children |= 1 << nibble;
            masks.leaves |= u16::from(matches!(child.below, Below::Leaf(_))) << nibble;
        }
        let mut branch = Self { extension, masks, words: vec![[0; 32]; masks.words()].into_boxed_slice() };
        for (nibble, child) in (0..).zip(children) {
            if let Some(child) = child {
                branch.overwrite(nibble, child);
            }
        }
        branch
    }

    /// Replaces the link of the branch at a nibble.
    fn set_link(&mut self, nibble: u8, link: Link) {
        put_link(&mut self.words, self.masks, nibble, link);
    }

    /// Sets or removes the child at a nibble.
    pub(crate) fn put(&mut self, nibble: u8, child: Option<Node>) {
        let (bit, masks) = (1 << nibble, self.masks);
        let fits = |child: &Node| {
            masks.children & bit != 0 && (masks.leaves & bit != 0) == matches!(child.below, Below::Leaf(_))
        };
        match child {
            Some(child) if fits(&child) => self.overwrite(nibble, &child),
            None if masks.children & bit == 0 => {}
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
        set(&mut self.masks.short, child.reference.length < 32);
        set(&mut self.masks.pending, child.pending);
        self.words[self.masks.reference_at(nibble)] = child.reference.bytes;
        match child.below {
            Below::Leaf(key) => self.words[self.masks.key_at(nibble)] = key.0,
            Below::Branch(link) => self.set_link(nibble, link),
        }
    }

    /// Puts finished hashes in place.
    pub(crate) fn settle(&mut self, jobs: &Jobs) {
        for nibble in nibbles(self.masks.pending) {
            let word = &mut self.words[self.masks.reference_at(nibble)];
            *word = jobs.hash(job(word)).0;
        }
        self.masks.pending = 0;
    }

    /// Replaces each link.
    pub(crate) fn relink(&mut self, new: impl Fn(Link) -> Link) {
        for nibble in nibbles(self.masks.branches()) {
            let link = new(self.link(nibble));
            self.set_link(nibble, link);
        }
    }
}

fn put_link(words: &mut [Word], masks: Masks, nibble: u8, link: Link) {
    let (word, byte) = masks.link_at(nibble);
    words[word][byte..byte + 4].copy_from_slice(&link.pack().to_le_bytes());
}

/// How a branch lies in an arena: a word of its own, its extension in one or two words if it has one, its words. Nothing of
/// it waits for a hash.
///
/// The first word is the arena's from byte 8 to 20, and its first two bytes are the run's length (`trie::words`).
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    masks: Masks,
    extension: usize,
}

impl Stored {
    fn read(head: &Word) -> Self {
        let at = |from: usize| u16::from_le_bytes([head[from], head[from + 1]]);
        let masks = Masks { children: at(2), leaves: at(4), short: at(6), pending: 0 };
        Self { masks, extension: usize::from(head[20]) }
    }

    /// Where its words begin.
    const fn first(self) -> usize {
        1 + self.extension.div_ceil(size_of::<Word>())
    }

    /// Writes a branch into a run of that length, whose first word is to be `head` otherwise.
    pub(crate) fn write(run: &mut [Word], branch: &Branch, mut head: Word) {
        let Masks { children, leaves, short, pending } = branch.masks;
        assert_eq!(pending, 0, "invariant: a branch is kept once its children are hashed");
        for (mask, from) in [(children, 2), (leaves, 4), (short, 6)] {
            head[from..from + 2].copy_from_slice(&mask.to_le_bytes());
        }
        head[20] = branch.extension.len() as u8;
        run[0] = head;
        let first = Self { masks: branch.masks, extension: branch.extension.len() }.first();
        run[1..first].as_flattened_mut()[..branch.extension.len()].copy_from_slice(&branch.extension);
        run[first..].copy_from_slice(&branch.words);
    }

    /// The branch in a run.
    pub(crate) fn view(run: &[Word]) -> View<'_> {
        let stored = Self::read(&run[0]);
        let (extension, words) = run[1..].split_at(stored.first() - 1);
        Branch { extension: &extension.as_flattened()[..stored.extension], masks: stored.masks, words }
    }

    /// Replaces a link of the branch in a run.
    pub(crate) fn set_link(run: &mut [Word], nibble: u8, link: Link) {
        let stored = Self::read(&run[0]);
        put_link(&mut run[stored.first()..], stored.masks, nibble, link);
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
pub(crate) fn encode_branch(out: &mut Vec<u8>, branch: View<'_>, holes: &mut Vec<Hole>) {
    let masks = branch.masks;
    let references = &branch.words[..branch.count()];
    let inline = nibbles(masks.short).map(|nibble| &references[masks.reference_at(nibble)]);
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
        let word = if masks.children & bit == 0 { None } else { references.next() };
        let Some(word) = word else {
            out.push(0x80);
            continue;
        };
        if masks.short & bit != 0 {
            out.extend_from_slice(&word[..inline_size(word)]);
            continue;
        }
        out.push(0xa0);
        if masks.pending & bit != 0 {
            holes.push(Hole { offset: out.len(), job: job(word) });
        }
        out.extend_from_slice(word);
    }
    out.push(0x80);
}
