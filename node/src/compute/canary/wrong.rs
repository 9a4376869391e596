//! An output that is wrong on purpose: the smallest alteration there is, by one who wants to see who notices.
//!
//! # Design
//! Of bytes it is one bit: for most recipes a number that is off by a little. Where outputs are numbers that may differ a little (classes tolerance and
//! self-checking), it is a bit of the exponent, of one number and of about half of all, since a few wrong ones are allowed. A canary takes the lowest bit if
//! its own check tells it: numbers that are doubled or halved look like others, so that nobody finds them by their size, without the work.
//!
//! Spec: specs/0008-audit.md §12.1.

use keystead_job::{Class, JobSpec};

/// Bytes of a number in class self-checking: checker programs that there are read numbers of four bytes.
const CHECKED_BYTES: usize = 4;
/// The highest bit of a number's exponent, in its last byte: that one has the sign and most of the exponent.
const HIGHEST: u8 = 0x40;
/// The lowest bit of the exponent, in the last byte but one: of a number of four bytes.
const LOWEST: u8 = 0x80;
/// The same of a number of eight bytes.
const LOWEST_OF_EIGHT: u8 = 0x10;

/// How far altered numbers are off. Bytes are altered in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Off {
    /// Twice as large, or half.
    Little,
    /// Beyond every bound.
    Much,
}

impl Off {
    /// In the order in which a canary tries them.
    pub(crate) const BOTH: [Self; 2] = [Self::Little, Self::Much];

    /// Which byte of a number of so many bytes, and which bit of it.
    const fn bit(self, bytes: usize) -> (usize, u8) {
        match (self, bytes) {
            (Self::Much, _) => (bytes.saturating_sub(1), HIGHEST),
            (Self::Little, 8) => (6, LOWEST_OF_EIGHT),
            (Self::Little, _) => (bytes.saturating_sub(2), LOWEST),
        }
    }
}

/// The altered output; never equal to `output`. `place` says which bit of which byte, or from which number on.
pub(crate) fn wrong(spec: &JobSpec, output: &[u8], place: u64, off: Off) -> Vec<u8> {
    let mut wrong = output.to_vec();
    let number = spec.tolerance.map(|tolerance| tolerance.element.bytes());
    match number.or_else(|| (spec.class == Class::SelfChecking).then_some(CHECKED_BYTES)) {
        Some(bytes) => alter_numbers(&mut wrong, bytes, place, off),
        None => alter_bit(&mut wrong, place),
    }
    if wrong == output {
        wrong.push(0);
    }
    wrong
}

fn alter_bit(output: &mut [u8], place: u64) {
    let len = output.len() as u64;
    let at = place.checked_rem(len).and_then(|at| usize::try_from(at).ok());
    let bit = place.checked_div(len).unwrap_or_default() % 8;
    if let Some(at) = at
        && let Some(byte) = output.get_mut(at)
    {
        *byte ^= 1 << bit;
    }
}

/// One number and the second half of all, counted from the one at `place` on.
fn alter_numbers(output: &mut [u8], bytes: usize, place: u64, off: Off) {
    let (at, bit) = off.bit(bytes);
    let half = output.len() / 2;
    let count = output.len().checked_div(bytes).unwrap_or_default();
    let first = place.checked_rem(count as u64).and_then(|first| usize::try_from(first).ok()).unwrap_or_default();
    for (number, element) in output.chunks_exact_mut(bytes).enumerate() {
        let turned = number.saturating_add(count).saturating_sub(first).checked_rem(count).unwrap_or_default();
        let last = turned.saturating_mul(bytes).saturating_add(bytes).saturating_sub(1);
        if (turned == 0 || last >= half)
            && let Some(byte) = element.get_mut(at)
        {
            *byte ^= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::samples::spec;
    use keystead_job::{check::Element, spec::Draft};
    use serde_json::Value;

    /// `specs/vectors/canary.json`, made by another program.
    #[test]
    fn alterations_are_those_of_the_vectors() {
        let vector: Value = serde_json::from_str(include_str!("../../../../specs/vectors/canary.json")).unwrap();
        let doubles = || {
            let mut draft = Draft::from(spec(Class::Tolerance, 2, 1));
            draft.tolerance.as_mut().unwrap().element = Element::F64;
            JobSpec::new(draft).unwrap()
        };
        for case in vector["alterations"].as_array().unwrap() {
            let specs = match case["number_bytes"].as_u64().unwrap() {
                0 => vec![spec(Class::Exact, 2, 1)],
                4 => vec![spec(Class::SelfChecking, 2, 1), spec(Class::Tolerance, 2, 1)],
                _ => vec![doubles()],
            };
            let bytes = |name: &str| alloy_primitives::hex::decode(case[name].as_str().unwrap()).unwrap();
            let place = case["place"].as_str().unwrap().parse().unwrap();
            for spec in specs {
                for (off, name) in Off::BOTH.into_iter().zip(["little", "much"]) {
                    assert_eq!(wrong(&spec, &bytes("output"), place, off), bytes(name), "{case}");
                }
            }
        }
    }

    #[test]
    fn of_bytes_one_bit_is_another_wherever_the_place_is() {
        let (spec, output) = (spec(Class::Exact, 2, 1), [0_u8; 3]);
        for off in Off::BOTH {
            let altered = |place| wrong(&spec, &output, place, off);
            assert_eq!(altered(0), [1, 0, 0]);
            assert_eq!(altered(2), [0, 0, 1]);
            assert_eq!(altered(3), [2, 0, 0]);
            assert_eq!(altered(3 * 8 - 1), [0, 0, 128]);
            assert_eq!(altered(3 * 8), [1, 0, 0]);
            for place in [0, 1, 77, u64::MAX] {
                let changed = altered(place);
                assert_eq!(changed.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1, "{place}");
                assert_eq!(wrong(&spec, &[], place, off), [0], "nothing becomes something");
            }
        }
    }

    /// More than a few may differ in such a class: about half of the numbers are altered, beginning anywhere.
    #[test]
    fn of_numbers_one_and_half_of_all_have_another_exponent() {
        for class in [Class::SelfChecking, Class::Tolerance] {
            let (spec, output) = (spec(class, 2, 1), [0_u8; 16]);
            for (off, number) in Off::BOTH.into_iter().zip([[0, 0, LOWEST, 0], [0, 0, 0, HIGHEST]]) {
                let altered = |place| {
                    let wrong = wrong(&spec, &output, place, off);
                    let is_altered = |at: usize| wrong[at * 4..at * 4 + 4] == number;
                    assert!((0..4).all(|at| is_altered(at) || wrong[at * 4..at * 4 + 4] == [0; 4]));
                    [0, 1, 2, 3].map(is_altered)
                };
                assert_eq!(altered(0), [true, false, true, true], "{class:?}");
                assert_eq!(altered(1), [true, true, false, true]);
                assert_eq!(altered(3), [false, true, true, true]);
                assert_eq!(altered(u64::MAX), altered(3));
                assert_eq!(wrong(&spec, &[1, 2, 3], 5, off), [1, 2, 3, 0], "less than a number");
                assert_eq!(wrong(&spec, &[0; 4], 9, off), number);
            }
        }
    }

    /// Whoever looks at the numbers without their own sees nothing: all are as large as others are.
    #[test]
    fn a_little_off_is_twice_or_half() {
        let singles = spec(Class::Tolerance, 2, 1);
        let mut draft = Draft::from(singles.clone());
        draft.tolerance.as_mut().unwrap().element = Element::F64;
        let doubles = JobSpec::new(draft).unwrap();
        for number in [1.0_f32, -1.5, 0.3, 12_345.678] {
            let wrong = wrong(&singles, &number.to_le_bytes(), 0, Off::Little);
            let ratio = f32::from_le_bytes(wrong[..].try_into().unwrap()) / number;
            assert!([0.5, 2.0].contains(&ratio), "{number}: {ratio}");
        }
        for number in [1.0_f64, -1.5, 0.3, 12_345.678] {
            let wrong = wrong(&doubles, &number.to_le_bytes(), 0, Off::Little);
            let ratio = f64::from_le_bytes(wrong[..].try_into().unwrap()) / number;
            assert!([0.5, 2.0].contains(&ratio), "{number}: {ratio}");
        }
    }
}
