//! Branches of the trie as they lie in memory, shared between snapshots, and their Ethereum encodings.
//!
//! # Design
//! A position is a path of nibbles from the root. At a position there is a leaf or a branch; an extension is a field of
//! the branch below it. A branch holds the reference (hash, or bytes below 32) of every child, leaves too, so hashing
//! never visits a sibling. Branches are immutable once a merge is settled and are shared by `Arc`: a snapshot costs the
//! branches on the changed paths and nothing else.
//!
//! Spec: Ethereum yellow paper, appendix D.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "depths are at most 64, children at most 16, encodings at most a few hundred bytes"
)]

use crate::keccak::Hole;
use alloy_primitives::B256;
use std::sync::Arc;

/// Nibbles in a key.
pub(crate) const NIBBLES: usize = 64;

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
}

/// What stands at a position.
#[derive(Clone, Debug)]
pub(crate) enum Below {
    /// The only key below this position; its value is in the flat tables.
    Leaf(B256),
    /// At least two keys. Records on disk and eviction would make this an `Option` with a load behind it.
    Branch(Arc<Branch>),
}

/// A leaf or branch, with the reference that its parent's encoding holds.
#[derive(Clone, Debug)]
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
    pub(crate) const fn job(&self) -> Option<u32> {
        let [a, b, c, d, ..] = self.reference.bytes;
        if self.pending { Some(u32::from_le_bytes([a, b, c, d])) } else { None }
    }

    /// Puts the hash in place that the node waited for.
    pub(crate) const fn settle(&mut self, hash: B256) {
        self.reference = Reference::hash(hash);
        self.pending = false;
    }
}

impl Reference {
    fn waiting(job: u32) -> Self {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&job.to_le_bytes());
        Self { length: 32, bytes }
    }
}

/// A branch with the extension that leads to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    /// Nibbles between the position and the branch; mostly none.
    pub(crate) extension: Vec<u8>,
    mask: u16,
    /// The children in order of their nibbles.
    children: Vec<Node>,
}

impl Branch {
    /// A branch without children, behind an extension.
    pub(crate) const fn empty(extension: Vec<u8>) -> Self {
        Self { extension, mask: 0, children: Vec::new() }
    }

    /// As [`Self::empty`], with memory for exactly so many children.
    pub(crate) fn with_room(extension: Vec<u8>, children: usize) -> Self {
        Self { extension, mask: 0, children: Vec::with_capacity(children) }
    }

    const fn index(&self, nibble: u8) -> usize {
        (self.mask & ((1 << nibble) - 1)).count_ones() as usize
    }

    const fn has(&self, nibble: u8) -> bool {
        self.mask >> nibble & 1 == 1
    }

    /// The child at a nibble.
    pub(crate) fn child(&self, nibble: u8) -> Option<&Node> {
        self.has(nibble).then(|| &self.children[self.index(nibble)])
    }

    /// The children in order.
    pub(crate) fn children_mut(&mut self) -> &mut [Node] {
        &mut self.children
    }

    /// How many children there are.
    pub(crate) const fn count(&self) -> usize {
        self.children.len()
    }

    /// Lends the child at a nibble out for a change; [`Self::put`] must follow.
    pub(crate) fn take(&mut self, nibble: u8) -> Option<Node> {
        let index = self.index(nibble);
        let lent = Node::new(Reference { length: 0, bytes: [0; 32] }, Below::Leaf(B256::ZERO));
        self.has(nibble).then(|| std::mem::replace(&mut self.children[index], lent))
    }

    /// Sets or removes the child at a nibble.
    pub(crate) fn put(&mut self, nibble: u8, child: Option<Node>) {
        let (index, bit) = (self.index(nibble), 1 << nibble);
        match (child, self.has(nibble)) {
            (Some(child), true) => self.children[index] = child,
            (Some(child), false) => {
                self.children.reserve_exact(1);
                self.children.insert(index, child);
                self.mask |= bit;
            }
            (None, true) => {
                self.children.remove(index);
                self.mask &= !bit;
            }
            (None, false) => {}
        }
    }

    /// The only child and its nibble; `None` unless there is exactly one.
    pub(crate) fn pop_only(&mut self) -> Option<(u8, Node)> {
        if self.children.len() != 1 {
            return None;
        }
        let nibble = self.mask.trailing_zeros() as u8;
        self.mask = 0;
        self.children.pop().map(|child| (nibble, child))
    }
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
    let body: usize = branch.children.iter().map(|child| child.reference.size()).sum();
    let absent = 16 - branch.children.len();
    out.clear();
    holes.clear();
    // One more byte for the empty value: no key is a prefix of another.
    put_prefix(out, 0xc0, body + absent + 1);
    for nibble in 0..16 {
        let Some(child) = branch.child(nibble) else {
            out.push(0x80);
            continue;
        };
        let offset = put_reference(out, &child.reference);
        if let Some(job) = child.job() {
            holes.push(Hole { offset, job });
        }
    }
    out.push(0x80);
}
