//! The reference of the product: single precision, the sums in the kernel's three levels.
#![allow(clippy::arithmetic_side_effects, reason = "indices stay inside of matrices whose sides are at most 16,384")]

use super::blob::{Common, Unit};
use crate::Error;

/// Products of an innermost sum, and innermost sums of a middle one.
const LEVEL: usize = 16;

/// The output of one unit.
pub(super) fn run(common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
    let b = Common::decode(common)?;
    let a = Unit::decode(unit, b.inner)?;
    let mut bytes = Vec::with_capacity(4 * a.rows * b.columns);
    for row in a.elements.chunks_exact(b.inner) {
        row_of(row, &b).iter().for_each(|element| bytes.extend_from_slice(&element.to_le_bytes()));
    }
    Ok(bytes)
}

/// One row of the product.
fn row_of(row: &[f32], b: &Common) -> Vec<f32> {
    let zeros = || vec![0.0_f32; b.columns];
    let (mut all, mut some, mut sum) = (zeros(), zeros(), zeros());
    let tiles = row.chunks(LEVEL).zip(b.elements.chunks(LEVEL * b.columns));
    for (tile, (factors, rows)) in tiles.enumerate() {
        sum.fill(0.0);
        for (factor, elements) in factors.iter().zip(rows.chunks_exact(b.columns)) {
            sum.iter_mut().zip(elements).for_each(|(sum, element)| *sum += factor * element);
        }
        some.iter_mut().zip(&sum).for_each(|(some, sum)| *some += sum);
        if tile % LEVEL == LEVEL - 1 {
            all.iter_mut().zip(&some).for_each(|(all, some)| *all += some);
            some.fill(0.0);
        }
    }
    all.iter_mut().zip(&some).for_each(|(all, some)| *all += some);
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "tests")]
    use super::*;

    #[test]
    fn products_of_small_integers_are_exact() {
        // Below 2^24 every sum of integers is exact in single precision.
        let (rows, inner, columns) = (3, 300, 5);
        let integer = |at: usize| (at * at % 31) as f32 - 15.0;
        let a: Vec<f32> = (0..rows * inner).map(integer).collect();
        let b: Vec<f32> = (0..inner * columns).map(|at| integer(at + 7)).collect();
        let common = Common { inner, columns, elements: b.clone() }.encode();
        let output = run(&common, &Unit { rows, elements: a.clone() }.encode(inner)).unwrap();
        let (chunks, _) = output.as_chunks::<4>();
        for row in 0..rows {
            for column in 0..columns {
                let exact: i64 =
                    (0..inner).map(|at| a[row * inner + at] as i64 * b[at * columns + column] as i64).sum();
                assert_eq!(f32::from_le_bytes(chunks[row * columns + column]) as i64, exact);
            }
        }
    }
}
