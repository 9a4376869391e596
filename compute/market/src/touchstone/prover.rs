//! The reference prover: the chain on the processor, word for word what a kernel must give.

use super::{
    arithmetic::{Key, dot, mix, seeded_row, to_bytes},
    challenge::Challenge,
    tree::Tree,
};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use keystead_job::blob_hash;
use std::collections::BTreeSet;

/// A row of one of the matrices, with its path.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct OpenedRow {
    /// `link * side + row`; link 0 is the result of the first product.
    pub index: u32,
    /// The row's words, little-endian.
    pub bytes: Bytes,
    /// Siblings, from the leaf upwards.
    pub path: Vec<B256>,
}

/// The product of one mixed matrix with its vector, with its path.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct OpenedVector {
    /// Which matrix; 0 is the seeded one, then the results of the products.
    pub link: u32,
    /// Words, little-endian.
    pub bytes: Bytes,
    /// Siblings, from the leaf upwards.
    pub path: Vec<B256>,
}

/// What is opened: exactly the rows and vectors that the draw needs, each once, ascending.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Answer {
    /// Rows.
    pub rows: Vec<OpenedRow>,
    /// Vectors.
    pub vectors: Vec<OpenedVector>,
}

impl Answer {
    /// Bytes of rows and vectors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let rows = self.rows.iter().map(|row| row.bytes.len() as u64);
        rows.chain(self.vectors.iter().map(|vector| vector.bytes.len() as u64)).fold(0, u64::saturating_add)
    }
}

/// Row-major words of one matrix.
pub type Matrix = Vec<u32>;

/// What a prover committed to: a tree over the rows of all products. It holds no row, so a device may hold them.
pub struct Commitment {
    challenge: Challenge,
    tree: Tree,
}

impl core::fmt::Debug for Commitment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Commitment").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}

impl Commitment {
    /// Takes the contents of the leaves in order: `blake3` of each row of each product. `None` unless there is one for each row.
    #[must_use]
    pub fn new(challenge: Challenge, contents: &[B256]) -> Option<Self> {
        let whole = contents.len() == challenge.shape.rows() as usize;
        whole.then(|| Self { challenge, tree: Tree::new(contents) })
    }

    /// The challenge.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The first commitment.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.tree.root()
    }

    /// Key of the vectors that a later beacon value gives.
    #[must_use]
    pub fn vector_key(&self, beacon: B256) -> Key {
        self.challenge.vector_key(self.root(), beacon)
    }

    /// Indices of the rows that the third beacon value draws, ascending: what the holder must give to [`Self::open`].
    #[must_use]
    pub fn drawn_rows(&self, vectors_root: B256, beacon: B256) -> Vec<u32> {
        let drawn = self.challenge.draw(self.root(), vectors_root, beacon);
        needed(&drawn, self.challenge.shape.side()).0.into_iter().collect()
    }

    /// Opens what the third beacon value draws. `row` gives the words of a row by its index; where it gives none, the answer will be refused.
    #[must_use]
    pub fn open<'a>(&self, vectors: &[Vec<u32>], beacon: B256, row: impl Fn(u32) -> Option<&'a [u32]>) -> Answer {
        let tree = vectors_tree(vectors);
        let drawn = self.challenge.draw(self.root(), tree.root(), beacon);
        let (rows, links) = needed(&drawn, self.challenge.shape.side());
        let row = |index: u32| {
            let bytes = to_bytes(row(index).unwrap_or_default()).into();
            OpenedRow { index, bytes, path: self.tree.path(index) }
        };
        let vector = |link: u32| {
            let words = vectors.get(link as usize).map(Vec::as_slice).unwrap_or_default();
            OpenedVector { link, bytes: to_bytes(words).into(), path: tree.path(link) }
        };
        Answer { rows: rows.into_iter().map(row).collect(), vectors: links.into_iter().map(vector).collect() }
    }
}

/// The second commitment: the root of the tree over the vectors.
#[must_use]
pub fn vectors_root(vectors: &[Vec<u32>]) -> B256 {
    vectors_tree(vectors).root()
}

/// A prover that holds everything that it was asked to hold.
#[derive(Debug)]
pub struct Prover {
    commitment: Commitment,
    /// The results of the products; the seeded matrix is not kept.
    pub(super) matrices: Vec<Matrix>,
}

/// The seeded matrix.
#[must_use]
pub fn seeded(challenge: &Challenge) -> Matrix {
    let (key, side) = (challenge.key(), challenge.shape.side());
    (0..side).flat_map(|row| seeded_row(&key, row, side)).collect()
}

/// The product of a square matrix with itself, modulo 2^32.
#[must_use]
pub fn square(matrix: &[u32], side: usize) -> Matrix {
    let mut result = vec![0u32; matrix.len()];
    for (row, out) in matrix.chunks_exact(side).zip(result.chunks_exact_mut(side)) {
        for (factor, other) in row.iter().zip(matrix.chunks_exact(side)) {
            for (sum, word) in out.iter_mut().zip(other) {
                *sum = sum.wrapping_add(factor.wrapping_mul(*word));
            }
        }
    }
    result
}

impl Prover {
    /// Computes the whole chain: `links * side^3` steps.
    #[must_use]
    pub fn new(challenge: Challenge) -> Self {
        let side = challenge.shape.side() as usize;
        let mut matrices: Vec<Matrix> = Vec::new();
        for _ in 0..challenge.shape.links() {
            let factor =
                matrices.last().map_or_else(|| seeded(&challenge), |last| last.iter().copied().map(mix).collect());
            matrices.push(square(&factor, side));
        }
        Self::holding(challenge, matrices)
    }

    /// A prover with these matrices, whatever they are.
    pub(super) fn holding(challenge: Challenge, matrices: Vec<Matrix>) -> Self {
        let side = challenge.shape.side() as usize;
        let rows = matrices.iter().flat_map(|matrix| matrix.chunks_exact(side));
        let tree = Tree::new(&rows.map(|row| blob_hash(&to_bytes(row))).collect::<Vec<_>>());
        Self { commitment: Commitment { challenge, tree }, matrices }
    }

    /// The first commitment.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.commitment.root()
    }

    /// The mixed matrix that a product squares.
    fn factor(&self, link: usize) -> Matrix {
        match link.checked_sub(1).and_then(|before| self.matrices.get(before)) {
            Some(matrix) => matrix.iter().copied().map(mix).collect(),
            None => seeded(&self.commitment.challenge),
        }
    }

    /// The products with the vectors that a later beacon value gives: of the seeded matrix and of every result, mixed.
    #[must_use]
    pub fn vectors(&self, beacon: B256) -> Vec<Vec<u32>> {
        let shape = self.commitment.challenge.shape;
        let side = shape.side();
        let key = self.commitment.vector_key(beacon);
        let product = |link: u32| {
            let vector = seeded_row(&key, link, side);
            self.factor(link as usize).chunks_exact(side as usize).map(|row| dot(row, &vector)).collect()
        };
        (0..=shape.links()).map(product).collect()
    }

    /// The second commitment.
    #[must_use]
    pub fn vectors_root(vectors: &[Vec<u32>]) -> B256 {
        vectors_root(vectors)
    }

    /// Opens what the third beacon value draws.
    #[must_use]
    pub fn open(&self, vectors: &[Vec<u32>], beacon: B256) -> Answer {
        let side = self.commitment.challenge.shape.side();
        self.commitment.open(vectors, beacon, |index| {
            let matrix = self.matrices.get(index.checked_div(side)? as usize)?;
            matrix.chunks_exact(side as usize).nth(index.checked_rem(side)? as usize)
        })
    }
}

fn vectors_tree(vectors: &[Vec<u32>]) -> Tree {
    Tree::new(&vectors.iter().map(|vector| blob_hash(&to_bytes(vector))).collect::<Vec<_>>())
}

/// Rows and vectors that a draw needs: of each product the row of its result, and of its factor unless that is the seeded matrix; the vectors
/// of both.
pub(super) fn needed(drawn: &[(u32, u32)], side: u32) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut rows, mut links) = (BTreeSet::new(), BTreeSet::new());
    for (link, row) in drawn {
        links.extend([*link, link.wrapping_add(1)]);
        rows.insert(link.wrapping_mul(side).wrapping_add(*row));
        rows.extend(link.checked_sub(1).map(|before| before.wrapping_mul(side).wrapping_add(*row)));
    }
    (rows, links)
}
