//! NumPy's array files (`.npy`, versions 1 to 3): matrices of single precision, read from hostile bytes and written.
//!
//! # Design
//! A header is a Python literal; only the three keys that NumPy writes are taken, in any order, with nothing else around. Other element types and
//! orders are refused with the NumPy call that converts them: a recipe does not convert silently.

use crate::{Error, InputFile};

/// Longest header text that is read: NumPy's own readers stop at 10,000 characters.
const HEADER_BYTES_MAX: usize = 10_000;
const MAGIC: &[u8] = b"\x93NUMPY";

/// A matrix, rows one after another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// At least 1.
    pub(crate) rows: usize,
    /// At least 1.
    pub(crate) columns: usize,
    /// `rows * columns` finite numbers.
    pub(crate) elements: Vec<f32>,
}

/// Reads a matrix of little-endian single precision in C order, all elements finite.
pub(crate) fn read(file: &InputFile) -> Result<Matrix, Error> {
    let wrong = |what: String| Error::InputWhole { path: file.path.clone(), what };
    let (header, content) = split(&file.bytes).map_err(|what| wrong(what.to_owned()))?;
    let header = Header::parse(header).ok_or_else(|| wrong("the header is not one that NumPy writes".to_owned()))?;
    if header.descr != "<f4" {
        let advice = "save it with numpy.save(path, array.astype('<f4'))";
        return Err(wrong(format!("elements are {:?}, not '<f4' (single precision): {advice}", header.descr)));
    }
    if header.fortran_order {
        return Err(wrong("Fortran order: save it with numpy.save(path, numpy.ascontiguousarray(array))".to_owned()));
    }
    let &[rows, columns] = header.shape.as_slice() else {
        return Err(wrong(format!("must be a matrix (two dimensions), has {}", header.shape.len())));
    };
    if rows == 0 || columns == 0 {
        return Err(wrong(format!("has no elements: shape ({rows}, {columns})")));
    }
    let (chunks, rest) = content.as_chunks::<4>();
    if rows.checked_mul(columns) != Some(chunks.len()) || !rest.is_empty() {
        return Err(wrong(format!("shape ({rows}, {columns}) does not fit {} bytes of elements", content.len())));
    }
    let elements: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
    match elements.iter().position(|element| !element.is_finite()) {
        Some(at) => {
            let (row, column) = (at.checked_div(columns).unwrap_or(0), at.checked_rem(columns).unwrap_or(0));
            Err(wrong(format!("element [{row}, {column}] is not a finite number")))
        }
        None => Ok(Matrix { rows, columns, elements }),
    }
}

/// The header text and the elements' bytes.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("is no .npy file: save it with numpy.save")?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().ok_or("ends inside its header")?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or("ends inside its header")?;
            (u32::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or("ends inside its header")?;
            (u32::from_le_bytes(*length), rest)
        }
        _ => return Err("is of an unknown version of .npy"),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > HEADER_BYTES_MAX {
        return Err("has a header that is too long");
    }
    let (header, content) = rest.split_at_checked(length).ok_or("ends inside its header")?;
    Ok((core::str::from_utf8(header).map_err(|_| "has a header that is no text")?, content))
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let after = after.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" if descr.is_none() => {
                    let (value, after) = quoted(after)?;
                    descr = Some(value.to_owned());
                    after
                }
                "fortran_order" if fortran_order.is_none() => {
                    let truth = [("True", true), ("False", false)];
                    let (word, value) = truth.into_iter().find(|(word, _)| after.starts_with(word))?;
                    fortran_order = Some(value);
                    after.strip_prefix(word)?
                }
                "shape" if shape.is_none() => {
                    let (inside, after) = after.strip_prefix('(')?.split_once(')')?;
                    let numbers = inside.split(',').map(str::trim).filter(|number| !number.is_empty());
                    shape = Some(numbers.map(|number| number.parse().ok()).collect::<Option<Vec<usize>>>()?);
                    after
                }
                _ => return None,
            };
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if after.is_empty() => after,
                None => return None,
            };
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A word in single or double quotes at the beginning, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text.strip_prefix(quote)?.split_once(quote)
}

/// The file of a matrix, version 1.0; elements are given as their bytes.
pub(crate) fn write(rows: usize, columns: usize, elements: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, version and length take 10 bytes; NumPy aligns the elements to 64 and ends the header with a line feed.
    let length = header.len().saturating_add(11).next_multiple_of(64).saturating_sub(11);
    header.extend(core::iter::repeat_n(' ', length.saturating_sub(header.len())));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    // LOSSY: the header has at most 128 bytes.
    bytes.extend(u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(elements);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: Vec<u8>) -> InputFile {
        InputFile { path: "a.npy".to_owned(), bytes }
    }

    fn with_header(header: &str, elements: &[u8]) -> InputFile {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(elements);
        file(bytes)
    }

    #[test]
    fn a_written_matrix_is_read_and_looks_like_numpys_own() {
        let elements: Vec<u8> = [1.5_f32, -2.0, 0.0, 3.0, 4.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = write(2, 3, &elements);
        // The first 128 bytes of numpy.save of a (2, 3) array of float32 (numpy 2.4.6).
        assert!(
            bytes.starts_with(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   ")
        );
        assert_eq!((bytes.len(), bytes[127]), (128 + 24, b'\n'));
        let matrix = read(&file(bytes)).unwrap();
        assert_eq!((matrix.rows, matrix.columns, matrix.elements[1]), (2, 3, -2.0));
    }

    #[test]
    fn other_types_orders_shapes_and_lengths_are_refused_with_a_remedy() {
        let one = 1.0_f32.to_le_bytes();
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }\n";
        assert!(read(&with_header(good, &one)).is_ok());
        assert!(read(&with_header("{\"shape\":(1,1),\"descr\":\"<f4\",\"fortran_order\":False}", &one)).is_ok());
        for (from, to, what) in [
            ("<f4", "<f8", "astype"),
            ("<f4", ">f4", "astype"),
            ("False", "True", "ascontiguousarray"),
            ("(1, 1)", "(1,)", "two dimensions"),
            ("(1, 1)", "(0, 1)", "no elements"),
            ("(1, 1)", "(1, 2)", "does not fit"),
            ("(1, 1)", "(18446744073709551615, 2)", "does not fit"),
            ("(1, 1)", "(-1, 1)", "header"),
            ("(1, 1)", "(1, 1", "header"),
            ("'shape'", "'size'", "header"),
            (", 'shape': (1, 1)", "", "header"),
            ("{'descr': '<f4'", "{'descr': '<f4', 'descr': '<f4'", "header"),
            ("}", "} x", "header"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = read(&with_header(&good.replacen(from, to, 1), &one)).unwrap_err().to_string();
            assert!(error.starts_with("a.npy: ") && error.contains(what), "{to}: {error}");
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let error = read(&with_header(good, &bad.to_le_bytes())).unwrap_err().to_string();
            assert!(error.contains("[0, 0]"), "{error}");
        }
        let mut bytes = write(1, 1, &one);
        assert!(read(&file(bytes.clone())).is_ok());
        assert!((0..bytes.len()).all(|length| read(&file(bytes[..length].to_vec())).is_err()));
        bytes[6] = 9;
        assert!(read(&file(bytes)).is_err());
        let huge = [MAGIC, &[2, 0, 255, 255, 255, 255]].concat();
        assert!(read(&file(huge)).unwrap_err().to_string().contains("too long"));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "[{}()',:0-9 descrfotanshpFTuel_<\"]{0,80}") {
            let _ = read(&with_header(&header, &[0; 8]));
        }
    }
}
