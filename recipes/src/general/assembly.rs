//! Joins outputs into a file as a manifest's `[assembly]` says. Outputs are hostile. Spec: specs/0003-job.md §8.3.

use super::{
    cut::{Piece, Pieces},
    table::{Sums, heading, write_row},
};
use crate::{Error, Inputs, ResultFile, png, settings::count, words::word};
use keystead_job::{
    Limits, Recipe, Runtime,
    layout::{Assembly, Cut, Items, row_bytes},
    parameter::Parameters,
};

/// Largest file of a result, bytes: it is made in memory.
const FILE_BYTES_MAX: usize = 1 << 30;

/// A job's outputs with what each must be.
struct Delivery<'a> {
    recipe: &'a Recipe,
    pieces: &'a [Piece],
    limits: Limits,
    outputs: &'a [Vec<u8>],
}

/// The recipe's files; `None` if a program of the recipe makes them.
///
/// # Errors
/// [`Error::Output`] and [`Error::OutputCount`]: the outputs are not what the manifest declares. [`Error::TooLarge`].
pub(super) fn assemble(
    recipe: &Recipe,
    (cut, assembly): (&Cut, &Assembly),
    inputs: &Inputs,
    parameters: &Parameters,
    outputs: &[Vec<u8>],
) -> Result<Option<Vec<ResultFile>>, Error> {
    if matches!(assembly, Assembly::Program { .. }) {
        return Ok(None);
    }
    let pieces = Pieces::new(cut, parameters, inputs)?;
    let (all, limits) = match &pieces {
        Some(pieces) => (pieces.all.clone(), pieces.limits(recipe)?),
        // A program cut the work: any number of units, and outputs that carry their own length.
        None => (vec![Piece::Whole; outputs.len()], recipe.limits([0; 3])),
    };
    count(outputs.len(), all.len())?;
    let delivery = Delivery { recipe, pieces: &all, limits, outputs };
    let name = recipe.outputs.first().map(|output| output.file.clone()).unwrap_or_default();
    let bytes = match assembly {
        Assembly::Join { counted } => delivery.joined(*counted)?,
        Assembly::Table { columns, index } => {
            let comma = if name.ends_with(".csv") { ',' } else { '\t' };
            let mut text = heading(columns, index.as_deref(), comma);
            let row = row_bytes(columns).max(1);
            for (unit, piece) in delivery.pieces.iter().enumerate() {
                let rows = whole_rows(unit, delivery.content(unit, *piece)?, row)?;
                let of_item =
                    recipe.items.map_or(1, |items| (items.output_bytes as usize).checked_div(row).unwrap_or(1));
                for (at, row) in rows.chunks_exact(row).enumerate() {
                    let number = index.as_ref().map(|_| number(*piece, at, of_item));
                    write_row(&mut text, columns, row, number, comma);
                    within(text.len())?;
                }
            }
            text.into_bytes()
        }
        Assembly::Sum { columns } => {
            let mut sums = Sums::new(columns);
            for (unit, piece) in delivery.pieces.iter().enumerate() {
                sums.add(whole_rows(unit, delivery.content(unit, *piece)?, row_bytes(columns))?);
            }
            sums.json().into_bytes()
        }
        Assembly::Picture {} => delivery.picture()?,
        Assembly::Program { .. } => return Ok(None),
    };
    Ok(Some(vec![ResultFile { name, bytes }]))
}

/// Number of the item that a row belongs to.
const fn number(piece: Piece, row: usize, rows_of_item: usize) -> u64 {
    let of_item = if rows_of_item == 0 { 1 } else { rows_of_item };
    match piece {
        #[allow(clippy::arithmetic_side_effects, reason = "the divisor is not zero")]
        Piece::Run { first, .. } => first.saturating_add((row / of_item) as u64),
        Piece::Whole | Piece::Tile { .. } => row as u64,
    }
}

fn whole_rows(unit: usize, content: &[u8], row: usize) -> Result<&[u8], Error> {
    if content.len().is_multiple_of(row.max(1)) {
        return Ok(content);
    }
    let what = format!("{} bytes are no whole rows of {row}", content.len());
    Err(Error::Output { unit, what })
}

const fn within(bytes: usize) -> Result<(), Error> {
    if bytes <= FILE_BYTES_MAX {
        return Ok(());
    }
    let advice = "order a part of the work";
    Err(Error::TooLarge { what: "bytes of the result", got: bytes as u64, max: FILE_BYTES_MAX as u64, advice })
}

impl Delivery<'_> {
    /// The bytes of an output that its items made.
    fn content(&self, unit: usize, piece: Piece) -> Result<&[u8], Error> {
        let output = self.outputs.get(unit).map(Vec::as_slice).unwrap_or_default();
        let wrong = |what: String| Err(Error::Output { unit, what });
        let Some(Items { output_bytes, .. }) = self.recipe.items else { return Ok(output) };
        let expected = usize::try_from(piece.items().saturating_mul(u64::from(output_bytes))).unwrap_or(usize::MAX);
        let whole = match self.recipe.runtime {
            // Every unit of a job has the length of the largest.
            Runtime::Wgsl1 => usize::try_from(self.limits.output_bytes_max).unwrap_or(usize::MAX),
            Runtime::Wasm1 => expected,
        };
        if output.len() != whole {
            return wrong(format!("bytes={} expected={whole}", output.len()));
        }
        let Some((content, rest)) = output.split_at_checked(expected) else {
            return wrong(format!("bytes={} needed={expected}", output.len()));
        };
        if rest.iter().any(|byte| *byte != 0) {
            return wrong("bytes behind its items are not zero".to_owned());
        }
        Ok(content)
    }

    fn joined(&self, counted: bool) -> Result<Vec<u8>, Error> {
        let mut file = Vec::new();
        for (unit, piece) in self.pieces.iter().enumerate() {
            let content = self.content(unit, *piece)?;
            let part = if counted { prefixed(content) } else { Some(content) };
            let part = part.ok_or_else(|| Error::Output { unit, what: "its count is larger than it".to_owned() })?;
            file.extend_from_slice(part);
            within(file.len())?;
        }
        Ok(file)
    }

    /// Tiles put together, the fourth byte of each pixel left out.
    fn picture(&self) -> Result<Vec<u8>, Error> {
        let edge = |piece: &Piece| match *piece {
            Piece::Tile { x, y, width, height } => (x.saturating_add(width), y.saturating_add(height)),
            Piece::Whole | Piece::Run { .. } => (0, 0),
        };
        let (width, height) =
            self.pieces.iter().map(edge).fold((0, 0), |(a, b), (x, y)| (u32::max(a, x), u32::max(b, y)));
        let bytes = (width as usize).saturating_mul(height as usize).saturating_mul(3);
        within(bytes)?;
        let mut pixels = vec![0; bytes];
        for (unit, piece) in self.pieces.iter().enumerate() {
            let content = self.content(unit, *piece)?;
            let Piece::Tile { x, y, width: columns, .. } = *piece else { continue };
            for (row, line) in content.chunks_exact((columns as usize).saturating_mul(4).max(1)).enumerate() {
                let above = (y as usize).saturating_add(row).saturating_mul(width as usize);
                let begin = above.saturating_add(x as usize).saturating_mul(3);
                let into = pixels.get_mut(begin..).unwrap_or_default();
                for (to, from) in into.chunks_exact_mut(3).zip(line.as_chunks::<4>().0) {
                    to.copy_from_slice(&from[..3]);
                }
            }
        }
        Ok(png::encode(width, height, &pixels))
    }
}

/// What the first word of an output says that counts.
fn prefixed(content: &[u8]) -> Option<&[u8]> {
    let length = word(content, 0)? as usize;
    content.get(4..)?.get(..length)
}
