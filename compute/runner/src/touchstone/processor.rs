//! The chain on the processor: blocked loops that compilers turn into vector instructions, rows shared out over threads.
//!
//! # Design
//! A product of 32-bit words is bound by multiplications if its operands stay in the caches. Each thread has a band of rows of the result; it walks the
//! factor in blocks of [`DEPTH`] rows and [`WIDTH`] columns, which fit a first-level cache, and adds four rows of a block to a row of the result at
//! once. The same loop is compiled for several instruction sets; the best one that this processor has is taken.
#![allow(unsafe_code)] // Only to call a function for instructions that were found to be there.

use super::{
    Chain, Range, Task,
    words::{bytes_of, mix, seed_row},
};
use crate::failure::Failure;
use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

/// Rows of the factor in a block: with [`WIDTH`] columns 32 KiB.
const DEPTH: usize = 32;
/// Columns of the factor in a block.
const WIDTH: usize = 256;
/// One step works about so long: short enough to stop, long enough that messages cost nothing.
const STEP: Duration = Duration::from_millis(100);
/// Rows hashed in one step at most: 4 MiB of hashes.
const STEP_ROWS_MAX: usize = 1 << 17;
/// Threads that a confined worker may make, less its own two.
const THREADS_MAX: usize = 12;

/// A chain in this process's memory.
pub(crate) struct Processor {
    task: Task,
    threads: usize,
    /// The mixed matrix that the next product squares.
    factor: Vec<u32>,
    /// Results of the products.
    products: Vec<Vec<u32>>,
}

impl Processor {
    /// Takes the memory piece by piece as it is needed.
    pub(crate) fn new(task: Task) -> Result<Self, Failure> {
        task.check()?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = usize::from(task.threads).min(cores).clamp(1, THREADS_MAX);
        let mut factor = room(task.matrix_words())?;
        let side = task.side as usize;
        in_bands(threads, side, &mut factor, |first, band| {
            for (row, out) in (first..).zip(band.chunks_exact_mut(side)) {
                seed_row(&task.key, row, out);
            }
        });
        Ok(Self { task, threads, factor, products: Vec::new() })
    }

    /// One product with the hashes of its rows, and the factor of the next one.
    fn link(&mut self, hashes: &mut Vec<u8>) -> Result<(), Failure> {
        let side = self.task.side as usize;
        let mut product = room(self.task.matrix_words())?;
        let factor = &self.factor;
        let multiply = best();
        in_bands(self.threads, side, &mut product, |first, band| {
            let rows = factor.get((first as usize).saturating_mul(side)..).unwrap_or_default();
            multiply(rows, factor, side, band);
        });
        let bands = band_bytes(self.threads, side, &product);
        hashes.extend(bands.into_iter().flatten());
        let source = &product;
        in_bands(self.threads, side, &mut self.factor, |first, band| {
            let rows = source.get((first as usize).saturating_mul(side)..).unwrap_or_default();
            for (word, result) in band.iter_mut().zip(rows) {
                *word = mix(*result);
            }
        });
        self.products.push(product);
        Ok(())
    }

    const fn left(&self) -> usize {
        (self.task.links as usize).saturating_sub(self.products.len())
    }
}

/// A vector of zeros, or the reason why there is none: the machine's memory may end before the task does.
fn room(words: usize) -> Result<Vec<u32>, Failure> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(words).map_err(|error| Failure::provider(format_args!("words={words}: {error}")))?;
    vector.resize(words, 0);
    Ok(vector)
}

impl Chain for Processor {
    fn device(&self) -> String {
        format!("processor, {} threads", self.threads)
    }

    fn step(&mut self) -> Result<Vec<u8>, Failure> {
        let (started, side) = (Instant::now(), self.task.side as usize);
        let mut hashes = Vec::new();
        let rows_max = STEP_ROWS_MAX.saturating_mul(super::CONTENT_BYTES);
        while self.left() > 0 && (hashes.is_empty() || started.elapsed() < STEP) {
            if hashes.len().saturating_add(side.saturating_mul(super::CONTENT_BYTES)) > rows_max {
                break;
            }
            self.link(&mut hashes)?;
        }
        Ok(hashes)
    }

    fn vectors(&mut self, key: [u32; 8], range: Range) -> Result<Vec<u8>, Failure> {
        let side = self.task.side as usize;
        let mut words = room(side.saturating_mul(range.count as usize))?;
        let (task, products) = (self.task, &self.products);
        in_bands(self.threads, side, &mut words, |first, band| {
            let (mut vector, mut row) = (vec![0; side], vec![0; side]);
            for (link, out) in (range.first.saturating_add(first)..).zip(band.chunks_exact_mut(side)) {
                seed_row(&key, link, &mut vector);
                let product = link.checked_sub(1).and_then(|before| products.get(before as usize));
                for (index, word) in (0u32..).zip(out) {
                    match product {
                        None => seed_row(&task.key, index, &mut row),
                        Some(product) => {
                            let results = product.chunks_exact(side).nth(index as usize).unwrap_or_default();
                            row.iter_mut().zip(results).for_each(|(word, result)| *word = mix(*result));
                        }
                    }
                    *word = dot(&row, &vector);
                }
            }
        });
        let mut bytes = Vec::new();
        bytes_of(&words, &mut bytes);
        Ok(bytes)
    }

    fn rows(&mut self, indices: &[u32]) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        for index in indices {
            let (link, row) = (index.checked_div(self.task.side), index.checked_rem(self.task.side));
            let product = link.and_then(|link| self.products.get(link as usize));
            let words = product
                .zip(row)
                .and_then(|(product, row)| product.chunks_exact(self.task.side as usize).nth(row as usize));
            let words = words.ok_or_else(|| Failure::provider(format_args!("no such row: index={index}")))?;
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        Ok(bytes)
    }
}

/// Shares the rows of a matrix out over threads: `work` gets the number of its first row and the rows.
fn in_bands(threads: usize, side: usize, matrix: &mut [u32], work: impl Fn(u32, &mut [u32]) + Sync) {
    let rows = matrix.len().checked_div(side).unwrap_or(0);
    let band_rows = rows.div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let work = &work;
        for (number, band) in (0usize..).zip(matrix.chunks_mut(band_rows.saturating_mul(side).max(1))) {
            // LOSSY: never, a matrix has at most 8,192 rows and there are at most 16,385 vectors.
            #[allow(clippy::cast_possible_truncation)]
            let first = number.saturating_mul(band_rows) as u32;
            scope.spawn(move || work(first, band));
        }
    });
}

/// Hashes of all rows of a matrix, a band for each thread.
pub(crate) fn band_bytes(threads: usize, side: usize, matrix: &[u32]) -> Vec<Vec<u8>> {
    let rows = matrix.len().checked_div(side).unwrap_or(0);
    let band = rows.div_ceil(threads.max(1)).max(1).saturating_mul(side).max(1);
    thread::scope(|scope| {
        let hash = |rows: &[u32]| -> Vec<u8> {
            let mut bytes = Vec::new();
            let mut hashes = Vec::new();
            for row in rows.chunks_exact(side) {
                bytes_of(row, &mut bytes);
                hashes.extend_from_slice(keystead_job::blob_hash(&bytes).as_slice());
            }
            hashes
        };
        let hashing: Vec<_> = matrix.chunks(band).map(|rows| scope.spawn(move || hash(rows))).collect();
        // A thread that panicked gives no hashes, so that the count is wrong and the parent refuses.
        hashing.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

#[inline(always)]
fn dot(row: &[u32], vector: &[u32]) -> u32 {
    row.iter().zip(vector).fold(0u32, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(*b)))
}

/// Adds to the rows `out` the products of the rows `left` with the matrix `right`. `left` may be longer than `out`.
type Multiply = fn(left: &[u32], right: &[u32], side: usize, out: &mut [u32]);

/// The fastest one that this processor can run.
fn best() -> Multiply {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the instructions are there, as was just asked.
            return |left, right, side, out| unsafe { multiply_avx512(left, right, side, out) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions are there, as was just asked.
            return |left, right, side, out| unsafe { multiply_avx2(left, right, side, out) };
        }
    }
    multiply
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn multiply_avx2(left: &[u32], right: &[u32], side: usize, out: &mut [u32]) {
    multiply(left, right, side, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_avx512(left: &[u32], right: &[u32], side: usize, out: &mut [u32]) {
    multiply(left, right, side, out);
}

/// The blocked product. Inlined into each of the above, so that it is compiled for its instructions.
#[inline(always)]
fn multiply(left: &[u32], right: &[u32], side: usize, out: &mut [u32]) {
    // Sides are powers of two from 16 on, so blocks divide them.
    let (depth, width) = (DEPTH.min(side), WIDTH.min(side));
    for (band, rows) in (0usize..).zip(right.chunks_exact(side.saturating_mul(depth))) {
        for column in (0..side).step_by(width) {
            for (factors, result) in left.chunks_exact(side).zip(out.chunks_exact_mut(side)) {
                let factors = factors.chunks_exact(depth).nth(band).unwrap_or_default();
                let result = result.get_mut(column..column.saturating_add(width)).unwrap_or_default();
                for (four, rows) in factors.as_chunks::<4>().0.iter().zip(rows.chunks_exact(side.saturating_mul(4))) {
                    add_four(*four, rows, side, column, result);
                }
            }
        }
    }
}

/// Adds four rows of the factor, each times its word, to a piece of a row of the result.
#[inline(always)]
fn add_four(by: [u32; 4], rows: &[u32], side: usize, column: usize, result: &mut [u32]) {
    let width = result.len();
    let piece = |row: usize| -> &[u32] {
        let from = row.saturating_mul(side).saturating_add(column);
        rows.get(from..from.saturating_add(width)).unwrap_or_default()
    };
    let (a, b, c, d) = (piece(0), piece(1), piece(2), piece(3));
    for ((((sum, a), b), c), d) in result.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let first = by[0].wrapping_mul(*a).wrapping_add(by[1].wrapping_mul(*b));
        let second = by[2].wrapping_mul(*c).wrapping_add(by[3].wrapping_mul(*d));
        *sum = sum.wrapping_add(first).wrapping_add(second);
    }
}
