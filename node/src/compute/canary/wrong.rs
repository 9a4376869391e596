//! An output that is wrong on purpose: the smallest alteration there is, by one who wants to see who notices.
//!
//! # Design
//! Of bytes it is one bit: for most recipes a number that is off by a little. Where outputs are numbers that may differ a little (classes tolerance and
//! self-checking), it is a bit of the exponent, of one number and of about half of all, since a few wrong ones are allowed.
//!
//! Spec: specs/0008-audit.md §12.1.

use keystead_job::{Class, JobSpec};

/// Bytes of a number in class self-checking: checker programs that there are read numbers of four bytes.
const CHECKED_BYTES: usize = 4;
/// The bit of a number's last byte that is turned round: that byte has the sign and most of the exponent.
const EXPONENT: u8 = 0x40;

/// The altered output; never equal to `output`. `place` says which bit of which byte, or from which number on.
pub(crate) fn wrong(spec: &JobSpec, output: &[u8], place: u64) -> Vec<u8> {
    let mut wrong = output.to_vec();
    let number = spec.tolerance.map(|tolerance| tolerance.element.bytes());
    match number.or_else(|| (spec.class == Class::SelfChecking).then_some(CHECKED_BYTES)) {
        Some(bytes) => alter_numbers(&mut wrong, bytes, place),
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
fn alter_numbers(output: &mut [u8], bytes: usize, place: u64) {
    let half = output.len() / 2;
    let count = output.len().checked_div(bytes).unwrap_or_default();
    let first = place.checked_rem(count as u64).and_then(|first| usize::try_from(first).ok()).unwrap_or_default();
    for (number, element) in output.chunks_exact_mut(bytes).enumerate() {
        let turned = number.saturating_add(count).saturating_sub(first).checked_rem(count).unwrap_or_default();
        let last = turned.saturating_mul(bytes).saturating_add(bytes).saturating_sub(1);
        if (turned == 0 || last >= half)
            && let Some(byte) = element.last_mut()
        {
            *byte ^= EXPONENT;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use keystead_job::{
        B256, Checker, Limits, Runtime, Tolerance,
        check::{Bound, Element},
        spec::{Draft, RecipeName},
    };
    use serde_json::Value;

    /// A job of `wasm/1`, or with a tolerance of `wgsl/1`.
    pub(crate) fn spec(class: Class, units: u32, segments: u32) -> JobSpec {
        let wgsl = class == Class::Tolerance;
        let limits = Limits {
            wall_ms_max: 1_000,
            fuel_max: if wgsl { 0 } else { 1_000 },
            memory_bytes_max: 65_536,
            output_bytes_max: 64,
            loop_iterations_max: u32::from(wgsl),
            workgroups: if wgsl { [1; 3] } else { [0; 3] },
        };
        let checker =
            (class == Class::SelfChecking).then_some(Checker { program_hash: B256::repeat_byte(4), fuel_max: 1_000 });
        let tolerance = wgsl.then_some(Tolerance {
            element: Element::F32,
            absolute: Bound::ZERO,
            relative: Bound::ZERO,
            outliers_ppm: 0,
            sound_factor: 1,
        });
        JobSpec::new(Draft {
            recipe: RecipeName::new("any").unwrap(),
            runtime: if wgsl { Runtime::Wgsl1 } else { Runtime::Wasm1 },
            class,
            program_hash: B256::repeat_byte(1),
            common_hash: B256::repeat_byte(2),
            units_hash: B256::repeat_byte(3),
            unit_count: units,
            segment_count: segments,
            limits,
            checker,
            tolerance,
        })
        .unwrap()
    }

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
                assert_eq!(wrong(&spec, &bytes("output"), place), bytes("wrong"), "{case}");
            }
        }
    }

    #[test]
    fn of_bytes_one_bit_is_another_wherever_the_place_is() {
        let (spec, output) = (spec(Class::Exact, 2, 1), [0_u8; 3]);
        assert_eq!(wrong(&spec, &output, 0), [1, 0, 0]);
        assert_eq!(wrong(&spec, &output, 2), [0, 0, 1]);
        assert_eq!(wrong(&spec, &output, 3), [2, 0, 0]);
        assert_eq!(wrong(&spec, &output, 3 * 8 - 1), [0, 0, 128]);
        assert_eq!(wrong(&spec, &output, 3 * 8), [1, 0, 0]);
        for place in [0, 1, 77, u64::MAX] {
            let changed = wrong(&spec, &output, place);
            assert_eq!(changed.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1, "{place}");
            assert_eq!(wrong(&spec, &[], place), [0], "nothing becomes something");
        }
    }

    /// More than a few may differ in such a class: about half of the numbers are altered, beginning anywhere.
    #[test]
    fn of_numbers_one_and_half_of_all_have_another_exponent() {
        for class in [Class::SelfChecking, Class::Tolerance] {
            let (spec, output) = (spec(class, 2, 1), [0_u8; 16]);
            let altered = |place| {
                let wrong = wrong(&spec, &output, place);
                let last = |at: usize| wrong[at * 4 + 3] == EXPONENT;
                assert!(wrong.chunks(4).all(|number| number[..3] == [0; 3]));
                [0, 1, 2, 3].map(last)
            };
            assert_eq!(altered(0), [true, false, true, true], "{class:?}");
            assert_eq!(altered(1), [true, true, false, true]);
            assert_eq!(altered(3), [false, true, true, true]);
            assert_eq!(altered(u64::MAX), altered(3));
            assert_eq!(wrong(&spec, &[1, 2, 3], 5), [1, 2, 3, 0], "less than a number");
            assert_eq!(wrong(&spec, &[0; 4], 9), [0, 0, 0, EXPONENT]);
        }
    }
}
