//! Whether two outputs of a job of class *tolerance* agree: element by element, within the bound that the job declares.
//!
//! # Design
//! Three answers, because a bound that honest machines keep can be broken by an honest machine once: what lies between the bound
//! and `sound_factor` times the bound is not paid and not punished. Binary64 arithmetic with one rounding per operation, so every
//! judge says the same. Nothing here enters a price or a hash. Spec: specs/0003-job.md §9.

use keystead_job::{Tolerance, check::Element};

const PPM: u64 = 1_000_000;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// Enough elements agree.
    Agree {
        /// Elements that do not, within the allowance.
        outliers: u64,
    },
    /// Too many elements disagree, but they lie within the sound bound.
    Doubtful(Deviation),
    /// Too many elements lie beyond the sound bound: no honest machine gives this.
    Differ(Deviation),
    /// The outputs have different lengths, or are no arrays of the declared elements.
    Shape {
        /// Bytes delivered.
        got_bytes: usize,
        /// Bytes of the re-run's output.
        expected_bytes: usize,
    },
}

/// The worst element, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Elements beyond the bound that decided.
    pub outliers: u64,
    /// Elements that may be.
    pub allowed: u64,
    /// Index of the element that is furthest beyond its bound.
    pub element: u64,
    /// The delivered element.
    pub got: f64,
    /// The re-run's element.
    pub expected: f64,
    /// Difference divided by the bound; infinite if the bound is 0, or if one of the two is no finite number.
    pub times_bound: f64,
}

/// Compares a delivered output with a re-run's. Costs about 10 ns an element; both may be hostile.
#[must_use]
pub fn compare(tolerance: &Tolerance, got: &[u8], expected: &[u8]) -> Comparison {
    let element = tolerance.element;
    if got.len() != expected.len() || !got.len().is_multiple_of(element.bytes()) {
        return Comparison::Shape { got_bytes: got.len(), expected_bytes: expected.len() };
    }
    let rule = Rule::new(tolerance);
    let mut seen = Seen::default();
    match element {
        Element::F32 => {
            let read = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
            seen.all(&rule, got.as_chunks().0.iter().map(read), expected.as_chunks().0.iter().map(read));
        }
        Element::F64 => {
            let read = |bytes: &[u8; 8]| f64::from_le_bytes(*bytes);
            seen.all(&rule, got.as_chunks().0.iter().map(read), expected.as_chunks().0.iter().map(read));
        }
    }
    seen.verdict(tolerance)
}

struct Rule {
    absolute: f64,
    relative: f64,
    sound_absolute: f64,
    sound_relative: f64,
}

impl Rule {
    fn new(tolerance: &Tolerance) -> Self {
        let (absolute, relative) = (tolerance.absolute.to_f64(), tolerance.relative.to_f64());
        let factor = f64::from(tolerance.sound_factor);
        Self { absolute, relative, sound_absolute: absolute * factor, sound_relative: relative * factor }
    }
}

#[derive(Default)]
struct Seen {
    count: u64,
    beyond: u64,
    beyond_sound: u64,
    worst: Option<Deviation>,
}

impl Seen {
    fn all(&mut self, rule: &Rule, got: impl Iterator<Item = f64>, expected: impl Iterator<Item = f64>) {
        for (got, expected) in got.zip(expected) {
            self.one(rule, got, expected);
            self.count = self.count.saturating_add(1);
        }
    }

    fn one(&mut self, rule: &Rule, got: f64, expected: f64) {
        // Both NaN, or equal, the infinities included.
        if got == expected || (got.is_nan() && expected.is_nan()) {
            return;
        }
        let size = got.abs().max(expected.abs());
        let (difference, bound) = ((got - expected).abs(), rule.absolute + rule.relative * size);
        let finite = got.is_finite() && expected.is_finite();
        if finite && difference <= bound {
            return;
        }
        self.beyond = self.beyond.saturating_add(1);
        if !(finite && difference <= rule.sound_absolute + rule.sound_relative * size) {
            self.beyond_sound = self.beyond_sound.saturating_add(1);
        }
        let times_bound = if finite && bound > 0.0 { difference / bound } else { f64::INFINITY };
        if self.worst.is_none_or(|worst| times_bound > worst.times_bound) {
            let element = self.count;
            self.worst = Some(Deviation { outliers: 0, allowed: 0, element, got, expected, times_bound });
        }
    }

    fn verdict(&self, tolerance: &Tolerance) -> Comparison {
        let allowed = self.count.saturating_mul(u64::from(tolerance.outliers_ppm)) / PPM;
        match self.worst {
            Some(worst) if self.beyond_sound > allowed => {
                Comparison::Differ(Deviation { outliers: self.beyond_sound, allowed, ..worst })
            }
            Some(worst) if self.beyond > allowed => {
                Comparison::Doubtful(Deviation { outliers: self.beyond, allowed, ..worst })
            }
            _ => Comparison::Agree { outliers: self.beyond },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure, and numbers are small.
mod tests {
    use super::*;
    use keystead_job::check::Bound;
    use proptest::prelude::*;

    const fn rule(absolute: f32, relative: f32, outliers_ppm: u32) -> Tolerance {
        Tolerance {
            element: Element::F32,
            absolute: bits(absolute),
            relative: bits(relative),
            outliers_ppm,
            sound_factor: 10,
        }
    }

    const fn bits(number: f32) -> Bound {
        match Bound::from_bits(number.to_bits()) {
            Ok(bound) => bound,
            Err(_) => Bound::ZERO,
        }
    }

    fn words(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn compared(tolerance: &Tolerance, got: &[f32], expected: &[f32]) -> Comparison {
        compare(tolerance, &words(got), &words(expected))
    }

    #[test]
    fn the_bound_holds_from_both_sides_and_so_does_the_sound_one() {
        // Powers of two, so that every number here is exact.
        let tolerance = rule(0.25, 0.0, 0);
        assert_eq!(compared(&tolerance, &[1.25], &[1.0]), Comparison::Agree { outliers: 0 });
        assert!(matches!(compared(&tolerance, &[1.250_001], &[1.0]), Comparison::Doubtful(_)));
        assert!(matches!(compared(&tolerance, &[3.5], &[1.0]), Comparison::Doubtful(_)));
        let Comparison::Differ(worst) = compared(&tolerance, &[3.500_001, 1.0], &[1.0, 1.0]) else { panic!() };
        assert_eq!((worst.element, worst.outliers, worst.allowed), (0, 1, 0));
        let relative = rule(0.0, 0.25, 0);
        assert_eq!(compared(&relative, &[100.0], &[75.0]), Comparison::Agree { outliers: 0 });
        assert!(matches!(compared(&relative, &[100.0], &[74.9]), Comparison::Doubtful(_)));
    }

    #[test]
    fn outliers_are_allowed_up_to_their_share_rounded_down() {
        let tolerance = rule(0.25, 0.0, 100_000);
        let expected = vec![0.0; 29];
        let mut got = expected.clone();
        (got[3], got[17]) = (1.0, 1e30);
        assert_eq!(compared(&tolerance, &got, &expected), Comparison::Agree { outliers: 2 });
        got[18] = 1.0;
        // Three beyond the bound, two allowed, but only one beyond the sound bound.
        let Comparison::Doubtful(worst) = compared(&tolerance, &got, &expected) else { panic!() };
        assert_eq!((worst.outliers, worst.allowed, worst.element), (3, 2, 17));
        (got[3], got[18]) = (1e30, 1e30);
        assert!(matches!(compared(&tolerance, &got, &expected), Comparison::Differ(_)));
    }

    #[test]
    fn nothing_that_is_not_a_number_passes_for_one() {
        let tolerance = rule(f32::MAX, f32::MAX, 0);
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (got, expected, agree) in [
            (nan, nan, true),
            (nan, 0.0, false),
            (0.0, nan, false),
            (inf, inf, true),
            (inf, -inf, false),
            (inf, f32::MAX, false),
            (f32::MIN, -inf, false),
            (0.0, -0.0, true),
            (f32::MIN, f32::MAX, true),
        ] {
            let found = compared(&tolerance, &[got], &[expected]);
            assert_eq!(matches!(found, Comparison::Agree { .. }), agree, "{got} {expected}: {found:?}");
            assert!(agree || matches!(found, Comparison::Differ(_)));
        }
    }

    #[test]
    fn other_lengths_and_broken_elements_have_no_element_to_compare() {
        let tolerance = rule(0.0, 0.0, 100_000);
        let shape = |got_bytes, expected_bytes| Comparison::Shape { got_bytes, expected_bytes };
        assert_eq!(compare(&tolerance, &[0; 8], &[0; 4]), shape(8, 4));
        assert_eq!(compare(&tolerance, &[0; 3], &[0; 3]), shape(3, 3));
        assert_eq!(compare(&tolerance, &[], &[]), Comparison::Agree { outliers: 0 });
        let wide = Tolerance { element: Element::F64, ..tolerance };
        assert_eq!(compare(&wide, &[0; 12], &[0; 12]), shape(12, 12));
        assert_eq!(compare(&wide, &1f64.to_le_bytes(), &1f64.to_le_bytes()), Comparison::Agree { outliers: 0 });
    }

    proptest! {
        #[test]
        fn equal_bytes_always_agree_and_agreement_is_symmetric(
            got in prop::collection::vec(any::<u32>(), 0..40),
            other in prop::collection::vec(any::<u32>(), 0..40),
            absolute in 0f32..1e6, relative in 0f32..1.0, outliers in 0u32..100_000,
        ) {
            let tolerance = rule(absolute, relative, outliers);
            let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
            let (a, b) = (bytes(&got), bytes(&other));
            prop_assert_eq!(compare(&tolerance, &a, &a), Comparison::Agree { outliers: 0 });
            let agree = |found| matches!(found, Comparison::Agree { .. });
            prop_assert_eq!(agree(compare(&tolerance, &a, &b)), agree(compare(&tolerance, &b, &a)));
        }
    }
}
