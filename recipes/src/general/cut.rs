//! Cuts work into units as a manifest's `[plan]` says. Spec: specs/0003-job.md §8.2.

use super::settings;
use crate::{Error, InputFile, Inputs, Plan, words::push};
use keystead_job::{
    Limits, Recipe, Runtime,
    layout::{Cut, ITEMS_OF_UNIT_MAX, Items, Number},
    limits::{INPUT_BYTES_MAX, UNIT_COUNT_MAX, WORKGROUPS_PER_DIMENSION_MAX},
    parameter::Parameters,
};

const LOWER_SIZE: &str = "make the units smaller ([plan] size of recipe.toml, or the parameter that it names)";
const RAISE_SIZE: &str = "make the units larger ([plan] size of recipe.toml, or the parameter that it names)";

/// What one unit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Everything.
    Whole,
    /// Items that stand in a row.
    Run {
        /// Number of the first.
        first: u64,
        /// How many.
        count: u32,
    },
    /// A part of a rectangle.
    Tile {
        /// Its left edge.
        x: u32,
        /// Its upper edge.
        y: u32,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
}

impl Piece {
    /// Items of the unit.
    pub(super) const fn items(self) -> u64 {
        match self {
            Self::Whole => 1,
            Self::Run { count, .. } => count as u64,
            Self::Tile { width, height, .. } => (width as u64).saturating_mul(height as u64),
        }
    }

    /// The head of the unit input: 16 bytes.
    fn head(self, content_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Whole => {
                bytes.extend_from_slice(&[0; 8]);
                push(&mut bytes, 1);
                push(&mut bytes, 0);
            }
            Self::Run { first, count } => {
                bytes.extend_from_slice(&first.to_le_bytes());
                push(&mut bytes, count);
                // LOSSY: an input file has at most 2^26 bytes.
                #[allow(clippy::cast_possible_truncation)]
                push(&mut bytes, content_bytes as u32);
            }
            Self::Tile { x, y, width, height } => [x, y, width, height].iter().for_each(|word| push(&mut bytes, *word)),
        }
        bytes
    }
}

/// The pieces of a job, in unit order, and the side or length of a full one.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    pub(super) all: Vec<Piece>,
    /// Items along x and y of the largest piece.
    largest: [u64; 2],
}

impl Pieces {
    /// How the work of these files and parameters is cut; `None` if a program says it.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::InputEmpty`], [`Error::InputMissing`].
    pub(super) fn new(cut: &Cut, parameters: &Parameters, inputs: &Inputs) -> Result<Option<Self>, Error> {
        let number = |number: &Number| value(number, parameters);
        let pieces = match cut {
            Cut::Program { .. } => return Ok(None),
            Cut::One {} => Self { all: vec![Piece::Whole], largest: [1, 1] },
            Cut::Range { first, count, size } => row(number(first)?, number(count)?, number(size)?)?,
            Cut::Tiles { width, height, size } => tiles(number(width)?, number(height)?, number(size)?)?,
            Cut::Lines { input, size } => row(0, lines(inputs.file(input)?)?.len() as u64, number(size)?)?,
            Cut::Bytes { input, size } => {
                let file = inputs.file(input)?;
                row(0, not_empty(file, "at least one byte")?.bytes.len() as u64, number(size)?)?
            }
        };
        Ok(Some(pieces))
    }

    /// The recipe's limits, lowered to what these pieces need.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a unit is too large for an output or a dispatch.
    pub(super) fn limits(&self, recipe: &Recipe) -> Result<Limits, Error> {
        let gpu = recipe.runtime == Runtime::Wgsl1;
        let Some(Items { output_bytes, workgroup }) = recipe.items else {
            return Ok(recipe.limits(if gpu { [1; 3] } else { [0; 3] }));
        };
        let [x, y] = self.largest;
        let items = self.all.iter().map(|piece| piece.items()).max().unwrap_or(1);
        let exact = items.saturating_mul(u64::from(output_bytes));
        let output = if gpu { exact.next_multiple_of(4) } else { exact };
        let max = recipe.limits.output_bytes_max;
        if output > max {
            return Err(Error::TooLarge { what: "bytes of output of a unit", got: output, max, advice: LOWER_SIZE });
        }
        let groups = if gpu {
            let along = |items: u64, size: u32| {
                let got = items.div_ceil(u64::from(size.max(1)));
                let max = u64::from(WORKGROUPS_PER_DIMENSION_MAX);
                let advice = LOWER_SIZE;
                u32::try_from(got).ok().filter(|got| *got <= WORKGROUPS_PER_DIMENSION_MAX).ok_or(Error::TooLarge {
                    what: "workgroups of a unit",
                    got,
                    max,
                    advice,
                })
            };
            [along(x, workgroup[0])?, along(y, workgroup[1])?, 1]
        } else {
            [0; 3]
        };
        Ok(Limits { output_bytes_max: output, ..recipe.limits(groups) })
    }
}

/// Everything that a job spec needs; `None` if a program of the recipe says it.
///
/// # Errors
/// As [`Pieces::new`] and [`Pieces::limits`]; whatever the customer can mend.
pub(super) fn plan(
    recipe: &Recipe,
    cut: &Cut,
    inputs: &Inputs,
    parameters: &Parameters,
) -> Result<Option<Plan>, Error> {
    let Some(pieces) = Pieces::new(cut, parameters, inputs)? else { return Ok(None) };
    let common = settings::encode(recipe, parameters, inputs, cut.input())?;
    let units: Result<Vec<_>, Error> = match cut {
        Cut::Lines { input, .. } => {
            let lines = lines(inputs.file(input)?)?;
            pieces.all.iter().map(|piece| line_unit(*piece, &lines)).collect()
        }
        Cut::Bytes { input, .. } => {
            let bytes = &inputs.file(input)?.bytes;
            Ok(pieces.all.iter().map(|piece| byte_unit(*piece, bytes)).collect())
        }
        _ => Ok(pieces.all.iter().map(|piece| piece.head(0)).collect()),
    };
    let limits = pieces.limits(recipe)?;
    limits.check(recipe.runtime)?;
    Ok(Some(Plan { common, units: units?, segment_count: 1, limits }))
}

/// A number of the plan. The manifest was checked, so a parameter is an integer that is not negative.
fn value(number: &Number, parameters: &Parameters) -> Result<u64, Error> {
    match number {
        Number::Fixed(value) => Ok(*value),
        Number::Parameter(name) => {
            let found = parameters.integer(name).and_then(|value| u64::try_from(value).ok());
            found.ok_or_else(|| Error::Cut { what: format!("parameter {name} is no number from 0") })
        }
    }
}

/// `count` items from `first` on, `size` in a unit.
fn row(first: u64, count: u64, size: u64) -> Result<Pieces, Error> {
    let size = size.clamp(1, ITEMS_OF_UNIT_MAX);
    let units = units_within(count.div_ceil(size))?;
    let all = (0..units).map(|unit| {
        let begin = unit.saturating_mul(size);
        // LOSSY: at most ITEMS_OF_UNIT_MAX, which is below 2^32.
        #[allow(clippy::cast_possible_truncation)]
        let count = size.min(count.saturating_sub(begin)) as u32;
        Piece::Run { first: first.saturating_add(begin), count }
    });
    Ok(Pieces { all: all.collect(), largest: [size.min(count), 1] })
}

/// A rectangle in squares, row by row.
fn tiles(width: u64, height: u64, size: u64) -> Result<Pieces, Error> {
    let max = u64::from(u32::MAX);
    if width > max || height > max {
        let advice = "choose a smaller rectangle";
        return Err(Error::TooLarge { what: "side of the rectangle", got: width.max(height), max, advice });
    }
    let size = size.clamp(1, max);
    let (columns, rows) = (width.div_ceil(size), height.div_ceil(size));
    units_within(columns.saturating_mul(rows))?;
    let part = |at: u64, whole: u64| {
        let begin = at.saturating_mul(size);
        // LOSSY: both lie inside a side, which is below 2^32.
        #[allow(clippy::cast_possible_truncation)]
        let part = (begin as u32, size.min(whole.saturating_sub(begin)) as u32);
        part
    };
    let tile = |row: u64, column: u64| {
        let ((x, width), (y, height)) = (part(column, width), part(row, height));
        Piece::Tile { x, y, width, height }
    };
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| tile(row, column)));
    Ok(Pieces { all: all.collect(), largest: [size.min(width), size.min(height)] })
}

const fn units_within(got: u64) -> Result<u64, Error> {
    let max = UNIT_COUNT_MAX as u64;
    if got > max { Err(Error::TooLarge { what: "units", got, max, advice: RAISE_SIZE }) } else { Ok(got) }
}

/// The lines of a file without their line feeds. A last line need not end in one.
fn lines(file: &InputFile) -> Result<Vec<&[u8]>, Error> {
    let bytes = &not_empty(file, "at least one line")?.bytes;
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Ok(text.split(|byte| *byte == b'\n').collect())
}

fn not_empty<'a>(file: &'a InputFile, expected: &'static str) -> Result<&'a InputFile, Error> {
    if file.bytes.is_empty() { Err(Error::InputEmpty { path: file.path.clone(), expected }) } else { Ok(file) }
}

/// Head, one more offset than lines, content.
fn line_unit(piece: Piece, lines: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let Piece::Run { first, count } = piece else { return Ok(piece.head(0)) };
    let begin = usize::try_from(first).unwrap_or(usize::MAX);
    let mine = lines.get(begin..begin.saturating_add(count as usize)).unwrap_or_default();
    let content: usize = mine.iter().map(|line| line.len()).sum();
    let got = mine.len().saturating_mul(4).saturating_add(content).saturating_add(32) as u64;
    if got > INPUT_BYTES_MAX {
        return Err(Error::TooLarge { what: "bytes of a unit", got, max: INPUT_BYTES_MAX, advice: LOWER_SIZE });
    }
    let mut bytes = piece.head(content);
    let mut offset = 0_u32;
    push(&mut bytes, offset);
    for line in mine {
        // LOSSY: a file has at most 2^26 bytes.
        #[allow(clippy::cast_possible_truncation)]
        let length = line.len() as u32;
        offset = offset.saturating_add(length);
        push(&mut bytes, offset);
    }
    mine.iter().for_each(|line| bytes.extend_from_slice(line));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

fn byte_unit(piece: Piece, file: &[u8]) -> Vec<u8> {
    let Piece::Run { first, count } = piece else { return piece.head(0) };
    let begin = usize::try_from(first).unwrap_or(usize::MAX);
    let mine = file.get(begin..begin.saturating_add(count as usize)).unwrap_or_default();
    let mut bytes = piece.head(mine.len());
    bytes.extend_from_slice(mine);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    fn file(text: &str) -> InputFile {
        InputFile { path: "f.txt".to_owned(), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_range_is_cut_without_gaps_and_its_end_may_be_short() {
        let pieces = row(7, 25, 10).unwrap();
        let run = |first, count| Piece::Run { first, count };
        assert_eq!(pieces.all, [run(7, 10), run(17, 10), run(27, 5)]);
        assert_eq!(row(0, 3, 10).unwrap().largest, [3, 1]);
        assert_eq!(row(u64::MAX - 5, 5, 5).unwrap().all, [run(u64::MAX - 5, 5)]);
        let edge = u64::from(UNIT_COUNT_MAX);
        assert_eq!(row(0, edge, 1).unwrap().all.len() as u64, edge);
        let error = row(0, edge + 1, 1).unwrap_err();
        assert!(error.to_string().contains("got=65537 max=65536; make the units larger"), "{error}");
    }

    #[test]
    fn tiles_cover_a_rectangle_once() {
        let (width, height) = (100_u64, 37_u64);
        let pieces = tiles(width, height, 32).unwrap();
        assert_eq!((pieces.all.len(), pieces.largest), (8, [32, 32]));
        let mut seen = vec![0_u32; 3_700];
        for piece in &pieces.all {
            let Piece::Tile { x, y, width: w, height: h } = *piece else { panic!("{piece:?}") };
            for at in (y..y + h).flat_map(|y| (x..x + w).map(move |x| y * 100 + x)) {
                seen[at as usize] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count == 1));
        assert_eq!(pieces.all.iter().map(|piece| piece.items()).sum::<u64>(), width * height);
        assert!(matches!(tiles(1 << 33, 1, 1 << 31), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn lines_keep_their_bytes_with_and_without_a_last_line_feed() {
        for text in ["one\n\nthree\r\n", "one\n\nthree\r"] {
            let file = file(text);
            assert_eq!(lines(&file).unwrap(), [&b"one"[..], b"", b"three\r"]);
        }
        assert!(matches!(lines(&file("")), Err(Error::InputEmpty { .. })));
        assert_eq!(lines(&file("\n")).unwrap(), [b""]);
    }

    #[test]
    fn a_unit_of_lines_has_head_offsets_and_content() {
        let lines: Vec<&[u8]> = vec![b"ab", b"", b"xyz", b"last"];
        let unit = line_unit(Piece::Run { first: 1, count: 2 }, &lines).unwrap();
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
        expected.extend(*b"xyz\0");
        assert_eq!(unit, expected);
        let unit = byte_unit(Piece::Run { first: 2, count: 5 }, b"0123456789");
        assert_eq!(unit, [&[2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0][..], b"23456\0\0\0"].concat());
    }
}
