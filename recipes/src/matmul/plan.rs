//! Cuts the left factor into blocks of rows, and joins the rows of the product.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "sides are at most 16,384: products of three of them fit into 64 bits"
)]

use super::{
    blob::{COMMON_HEAD_BYTES, Common, SIDE_MAX, UNIT_HEAD_BYTES, Unit},
    product,
};
use crate::{
    CustomerSide, Error, Inputs, Plan, ResultFile,
    npy::{self, Matrix},
    settings::{count, integer},
};
use keystead_job::parameter::Parameters;

/// Side of a workgroup's tile, as in the kernel.
const TILE: usize = 64;
/// Greatest absolute value of an element, so that no sum overflows: 16,384 products of two of them stay below 2^95.
const ELEMENT_MAX: f32 = 1_099_511_627_776.0;
/// Numbers of double precision that the checker keeps for each column and each inner index.
const CHECKER_VECTOR_BYTES: usize = 16 * 8 + 8;
/// Memory of the checker besides: its stack, code and the rounding of allocations.
const CHECKER_BYTES: usize = 1_048_576;
const PAGE_BYTES: u64 = 65_536;

/// The recipe `matmul`.
#[derive(Clone, Copy, Debug)]
pub struct Matmul;

/// Everything that plan and assembly both derive from files and parameters.
struct Work {
    a: Matrix,
    b: Matrix,
    unit_rows: usize,
}

impl Work {
    fn new(inputs: &Inputs, parameters: &Parameters) -> Result<Self, Error> {
        let unit_rows: usize = integer(parameters, "rows-per-unit", 64..=16_384)?;
        if !unit_rows.is_multiple_of(TILE) {
            let what = format!("must be a multiple of {TILE}, got {unit_rows}");
            return Err(Error::Setting { name: "rows-per-unit", what });
        }
        let seed: u64 = integer(parameters, "seed", 0..=i64::MAX)?;
        let size: [usize; 3] = [
            integer(parameters, "rows", 1..=16_384)?,
            integer(parameters, "inner", 1..=16_384)?,
            integer(parameters, "columns", 1..=16_384)?,
        ];
        let a = factor(inputs, "a", [size[0], size[1]], seed)?;
        let b = factor(inputs, "b", [a.columns, size[2]], seed ^ (1 << 63))?;
        if a.columns != b.rows {
            let what = format!("has {} rows, must have the {} columns of a as rows", b.rows, a.columns);
            return Err(Error::InputWhole { path: shown(inputs, "b"), what });
        }
        let sides = [("rows", a.rows), ("inner side", a.columns), ("columns", b.columns)];
        if let Some((what, got)) = sides.into_iter().find(|(_, side)| *side > SIDE_MAX) {
            let advice = "cut the matrices into blocks and run a job for each";
            return Err(Error::TooLarge { what, got: got as u64, max: SIDE_MAX as u64, advice });
        }
        // A small product needs no large unit of zeros.
        let unit_rows = unit_rows.min(a.rows.next_multiple_of(TILE));
        Ok(Self { a, b, unit_rows })
    }

    const fn unit_count(&self) -> usize {
        self.a.rows.div_ceil(self.unit_rows)
    }

    const fn output_bytes(&self) -> usize {
        4 * self.unit_rows * self.b.columns
    }

    /// The most that program or checker need: inputs and outputs, and the checker's vectors.
    fn memory_bytes(&self) -> u64 {
        let common = COMMON_HEAD_BYTES + 4 * self.b.elements.len();
        let unit = UNIT_HEAD_BYTES + 4 * self.unit_rows * self.a.columns;
        let vectors = CHECKER_VECTOR_BYTES * (self.a.columns + self.b.columns);
        let program = common + unit + 2 * self.output_bytes();
        let checker = common + unit + self.output_bytes() + vectors + CHECKER_BYTES;
        (program.max(checker) as u64).next_multiple_of(PAGE_BYTES)
    }

    /// Rows of the left factor, filled up with zeros.
    fn unit(&self, index: usize) -> Vec<u8> {
        let length = self.unit_rows * self.a.columns;
        let begin = index * length;
        let end = self.a.elements.len().min(begin + length);
        let mut elements = self.a.elements[begin..end].to_vec();
        elements.resize(length, 0.0);
        Unit { rows: self.unit_rows, elements }.encode(self.a.columns)
    }
}

fn shown(inputs: &Inputs, name: &str) -> String {
    inputs.optional(name).map_or_else(|| format!("generated {name}"), |file| file.path.clone())
}

/// The matrix of a file, or an invented one.
fn factor(inputs: &Inputs, name: &'static str, [rows, columns]: [usize; 2], seed: u64) -> Result<Matrix, Error> {
    let Some(file) = inputs.optional(name) else { return Ok(invented(rows, columns, seed)) };
    let matrix = npy::read(file)?;
    if let Some(at) = matrix.elements.iter().position(|element| element.abs() > ELEMENT_MAX) {
        let what = format!(
            "element [{}, {}] is above 2^40 = {ELEMENT_MAX}: scale the matrix down",
            at / matrix.columns,
            at % matrix.columns
        );
        return Err(Error::InputWhole { path: file.path.clone(), what });
    }
    Ok(matrix)
}

/// Numbers of [-1, 1) with 24 bits, each a function of seed and index alone (`SplitMix64`).
fn invented(rows: usize, columns: usize, seed: u64) -> Matrix {
    let number = |index: u64| {
        let mut x = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // LOSSY: 24 bits, less 2^23, are exact in single precision.
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "24 bits")]
        let number = ((x ^ (x >> 31)) >> 40) as f32;
        (number - 8_388_608.0) / 8_388_608.0
    };
    let elements = (0..rows as u64 * columns as u64).map(number).collect();
    Matrix { rows, columns, elements }
}

impl CustomerSide for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../matmul/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../matmul/kernel/matmul.wgsl")
    }

    fn checker(&self) -> Option<&'static [u8]> {
        Some(include_bytes!("../../matmul/kernel/check.wasm"))
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let recipe = self.recipe()?;
        let work = Work::new(inputs, parameters)?;
        // LOSSY: tiles of a side are at most 256.
        let tiles = |side: usize| u32::try_from(side.div_ceil(TILE)).unwrap_or(u32::MAX);
        let mut limits = recipe.limits([tiles(work.b.columns), tiles(work.unit_rows), 1]);
        let output_bytes = work.output_bytes() as u64;
        let sizes = [
            ("bytes of output of a unit", output_bytes, limits.output_bytes_max),
            ("bytes of memory of a unit", work.memory_bytes(), limits.memory_bytes_max),
        ];
        if let Some((what, got, max)) = sizes.into_iter().find(|(_, got, max)| got > max) {
            let advice = "set rows-per-unit lower, or cut the right matrix by columns and run a job for each part";
            return Err(Error::TooLarge { what, got, max, advice });
        }
        limits.output_bytes_max = output_bytes;
        limits.memory_bytes_max = work.memory_bytes();
        let units = (0..work.unit_count()).map(|index| work.unit(index)).collect();
        let b = Common { inner: work.b.rows, columns: work.b.columns, elements: work.b.elements };
        Ok(Plan { common: b.encode(), units, segment_count: 1, limits })
    }

    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
        product::run(common, unit)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let work = Work::new(inputs, parameters)?;
        count(outputs.len(), work.unit_count())?;
        let mut elements = Vec::with_capacity(4 * work.a.rows * work.b.columns);
        for (unit, output) in outputs.iter().enumerate() {
            let wrong = |what| Error::Output { unit, what };
            let (words, rest) = output.as_chunks::<4>();
            if output.len() != work.output_bytes() || !rest.is_empty() {
                return Err(wrong(format!("{} bytes, expected {}", output.len(), work.output_bytes())));
            }
            if let Some(at) = words.iter().position(|word| !f32::from_le_bytes(*word).is_finite()) {
                return Err(wrong(format!("element {at} is not a finite number")));
            }
            elements.extend_from_slice(output);
        }
        elements.truncate(4 * work.a.rows * work.b.columns);
        let bytes = npy::write(work.a.rows, work.b.columns, &elements);
        Ok(vec![ResultFile { name: "product.npy".to_owned(), bytes }])
    }
}
