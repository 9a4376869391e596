//! The 24 protein letters and the BLOSUM62 matrix.
//!
//! # Design
//! BLOSUM62 by Henikoff and Henikoff (1992) in the 24-letter form published by NCBI, half-bit units. The numbers are facts.

/// Letters of the matrix; a residue's *code* is its index here.
pub(super) const LETTERS: &[u8; 24] = b"ARNDCQEGHILKMFPSTWYVBZX*";

/// Code of the unknown residue.
const UNKNOWN: u8 = 22;

/// The code of a letter, upper or lower case. J (leucine or isoleucine), O (pyrrolysine) and U (selenocysteine) have no row in the
/// matrix and count as X. `None` for everything else.
pub(super) fn code(letter: u8) -> Option<u8> {
    let upper = letter.to_ascii_uppercase();
    if matches!(upper, b'J' | b'O' | b'U') {
        return Some(UNKNOWN);
    }
    LETTERS.iter().position(|&known| known == upper).and_then(|index| u8::try_from(index).ok())
}

/// Scores by code of query and target residue.
pub(super) type Matrix = [[i8; 24]; 24];

#[rustfmt::skip]
pub(super) const BLOSUM62: Matrix = [
    [4, -1, -2, -2, 0, -1, -1, 0, -2, -1, -1, -1, -1, -2, -1, 1, 0, -3, -2, 0, -2, -1, 0, -4],
    [-1, 5, 0, -2, -3, 1, 0, -2, 0, -3, -2, 2, -1, -3, -2, -1, -1, -3, -2, -3, -1, 0, -1, -4],
    [-2, 0, 6, 1, -3, 0, 0, 0, 1, -3, -3, 0, -2, -3, -2, 1, 0, -4, -2, -3, 3, 0, -1, -4],
    [-2, -2, 1, 6, -3, 0, 2, -1, -1, -3, -4, -1, -3, -3, -1, 0, -1, -4, -3, -3, 4, 1, -1, -4],
    [0, -3, -3, -3, 9, -3, -4, -3, -3, -1, -1, -3, -1, -2, -3, -1, -1, -2, -2, -1, -3, -3, -2, -4],
    [-1, 1, 0, 0, -3, 5, 2, -2, 0, -3, -2, 1, 0, -3, -1, 0, -1, -2, -1, -2, 0, 3, -1, -4],
    [-1, 0, 0, 2, -4, 2, 5, -2, 0, -3, -3, 1, -2, -3, -1, 0, -1, -3, -2, -2, 1, 4, -1, -4],
    [0, -2, 0, -1, -3, -2, -2, 6, -2, -4, -4, -2, -3, -3, -2, 0, -2, -2, -3, -3, -1, -2, -1, -4],
    [-2, 0, 1, -1, -3, 0, 0, -2, 8, -3, -3, -1, -2, -1, -2, -1, -2, -2, 2, -3, 0, 0, -1, -4],
    [-1, -3, -3, -3, -1, -3, -3, -4, -3, 4, 2, -3, 1, 0, -3, -2, -1, -3, -1, 3, -3, -3, -1, -4],
    [-1, -2, -3, -4, -1, -2, -3, -4, -3, 2, 4, -2, 2, 0, -3, -2, -1, -2, -1, 1, -4, -3, -1, -4],
    [-1, 2, 0, -1, -3, 1, 1, -2, -1, -3, -2, 5, -1, -3, -1, 0, -1, -3, -2, -2, 0, 1, -1, -4],
    [-1, -1, -2, -3, -1, 0, -2, -3, -2, 1, 2, -1, 5, 0, -2, -1, -1, -1, -1, 1, -3, -1, -1, -4],
    [-2, -3, -3, -3, -2, -3, -3, -3, -1, 0, 0, -3, 0, 6, -4, -2, -2, 1, 3, -1, -3, -3, -1, -4],
    [-1, -2, -2, -1, -3, -1, -1, -2, -2, -3, -3, -1, -2, -4, 7, -1, -1, -4, -3, -2, -2, -1, -2, -4],
    [1, -1, 1, 0, -1, 0, 0, 0, -1, -2, -2, 0, -1, -2, -1, 4, 1, -3, -2, -2, 0, 0, 0, -4],
    [0, -1, 0, -1, -1, -1, -1, -2, -2, -1, -1, -1, -1, -2, -1, 1, 5, -2, -2, 0, -1, -1, 0, -4],
    [-3, -3, -4, -4, -2, -2, -3, -2, -2, -3, -2, -3, -1, 1, -4, -3, -2, 11, 2, -3, -4, -3, -2, -4],
    [-2, -2, -2, -3, -2, -1, -2, -3, 2, -1, -1, -2, -1, 3, -3, -2, -2, 2, 7, -1, -3, -2, -1, -4],
    [0, -3, -3, -3, -1, -2, -2, -3, -3, 3, 1, -2, 1, -1, -2, -2, 0, -3, -1, 4, -3, -2, -1, -4],
    [-2, -1, 3, 4, -3, 0, 1, -1, 0, -3, -4, 0, -3, -3, -2, 0, -1, -4, -3, -3, 4, 1, -1, -4],
    [-1, 0, 0, 1, -3, 3, 4, -2, 0, -3, -3, 1, -1, -3, -1, 0, -1, -3, -2, -2, 1, 4, -1, -4],
    [0, -1, -1, -1, -2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -2, 0, 0, -2, -1, -1, -1, -1, -1, -4],
    [-4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, 1],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_is_symmetric_and_has_the_published_diagonal() {
        for (a, row) in BLOSUM62.iter().enumerate() {
            for (b, score) in row.iter().enumerate() {
                assert_eq!(*score, BLOSUM62[b][a]);
            }
        }
        let diagonal: Vec<i8> = (0..24).map(|at| BLOSUM62[at][at]).collect();
        assert_eq!(diagonal, [4, 5, 6, 6, 9, 5, 5, 6, 8, 4, 4, 5, 5, 6, 7, 4, 5, 11, 7, 4, 4, 4, -1, 1]);
        let score = |a, b| BLOSUM62[usize::from(code(a).unwrap_or(0))][usize::from(code(b).unwrap_or(0))];
        for (a, b, published) in [
            (b'P', b'F', -4),
            (b'G', b'I', -4),
            (b'I', b'V', 3),
            (b'Y', b'F', 3),
            (b'B', b'D', 4),
            (b'Z', b'E', 4),
            (b'*', b'A', -4),
        ] {
            assert_eq!(score(a, b), published);
        }
    }

    #[test]
    fn letters_have_codes_in_either_case_and_other_bytes_have_none() {
        assert_eq!((code(b'A'), code(b'a'), code(b'*'), code(b'X')), (Some(0), Some(0), Some(23), Some(22)));
        assert_eq!((code(b'U'), code(b'o'), code(b'J')), (Some(22), Some(22), Some(22)));
        for other in *b"-.1 >\n" {
            assert_eq!(code(other), None);
        }
    }
}
