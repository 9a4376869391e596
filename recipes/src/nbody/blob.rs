//! The word layouts of the simulation: common input, and the state that is unit input and output alike. Offsets in README.md.
#![allow(clippy::arithmetic_side_effects, reason = "at most 512 bodies and 4,096 members: sizes stay below 2^27")]

use crate::{
    Error,
    words::{push, words},
};

/// Most bodies of a system: their positions and masses lie in workgroup memory.
pub(super) const BODIES_MAX: usize = 512;
/// Most systems of a unit.
pub(super) const UNIT_MEMBERS_MAX: usize = 4_096;
/// Bytes of a body and of a state's head.
pub(super) const BODY_BYTES: usize = 32;
pub(super) const HEAD_BYTES: usize = 16;

const FORMAT: u32 = 1;
const LANES: u32 = 64;
/// Steps of a segment, at most. Rounding toward zero, which WGSL permits, drifts with the square of the steps: after 2,000 of them an honest device was
/// up to 4.8 times beyond the recipe's tolerance, after so many it keeps a third of it (`recipes/tests/second_vendor.rs`).
const SEGMENT_STEPS_MAX: u32 = 480;

/// One body in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Body {
    pub(super) mass: f32,
    pub(super) place: [f32; 3],
    pub(super) velocity: [f32; 3],
}

/// What all units share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Common {
    pub(super) bodies: usize,
    /// Steps of a segment.
    pub(super) steps: u32,
    pub(super) gravity: f32,
    /// Square of the softening length.
    pub(super) softening_2: f32,
    pub(super) step_time: f32,
}

/// The systems of a unit, one after another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Steps done, a whole number.
    pub(super) steps: f32,
    pub(super) bodies: Vec<Body>,
}

/// Entries into loop bodies of one invocation, as the kernel's head says.
pub(super) fn loop_iterations(bodies: usize, steps: u32) -> u64 {
    let (own, pulled) = loops(bodies);
    3 * own + pulled + u64::from(steps) + 1 + u64::from(steps) * (2 * own + pulled)
}

/// Entries of a loop over a lane's own bodies, and of all forces on them.
fn loops(bodies: usize) -> (u64, u64) {
    let own = (bodies as u64).div_ceil(u64::from(LANES));
    (own + 1, own * (bodies as u64 + 1))
}

/// The most steps of a segment that stay inside of the loop bound; at least 1 for [`BODIES_MAX`] bodies and 32,768 iterations.
pub(super) fn steps_max(bodies: usize, iterations_max: u32) -> u32 {
    let (own, pulled) = loops(bodies);
    let left = u64::from(iterations_max).saturating_sub(3 * own + pulled + 1);
    let steps = left.checked_div(1 + 2 * own + pulled).unwrap_or(0);
    u32::try_from(steps).unwrap_or(u32::MAX).clamp(1, SEGMENT_STEPS_MAX)
}

impl Common {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // LOSSY: at most 512 bodies.
        let bodies = u32::try_from(self.bodies).unwrap_or(u32::MAX);
        let numbers = [self.gravity, self.softening_2, self.step_time].map(f32::to_bits);
        [FORMAT, bodies, self.steps].iter().chain(&numbers).for_each(|word| push(&mut bytes, *word));
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let words = words(bytes).ok_or_else(|| wrong("length is not a multiple of 4"))?;
        let &[format, bodies, steps, gravity, softening_2, step_time] = words.as_slice() else {
            return Err(wrong("length is not 24 bytes"));
        };
        let bodies = usize::try_from(bodies).ok().filter(|bodies| (1..=BODIES_MAX).contains(bodies));
        let [gravity, softening_2, step_time] = [gravity, softening_2, step_time].map(f32::from_bits);
        let finite = [gravity, softening_2, step_time].iter().all(|number| number.is_finite());
        if format != FORMAT || !finite || softening_2 < 0.0 || !(1..=SEGMENT_STEPS_MAX).contains(&steps) {
            return Err(wrong("unknown format or number out of range"));
        }
        let bodies = bodies.ok_or_else(|| wrong("number of bodies out of range"))?;
        Ok(Self { bodies, steps, gravity, softening_2, step_time })
    }
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + BODY_BYTES * self.bodies.len());
        let mut add = |number: f32| push(&mut bytes, number.to_bits());
        [self.steps, 0.0, 0.0, 0.0].into_iter().for_each(&mut add);
        for body in &self.bodies {
            body.place.into_iter().chain([body.mass]).chain(body.velocity).chain([0.0]).for_each(&mut add);
        }
        bytes
    }

    /// Reads whole systems of this many bodies, all numbers finite.
    pub(super) fn decode(bytes: &[u8], bodies: usize) -> Result<Self, &'static str> {
        let words = words(bytes).ok_or("length is not a multiple of 4")?;
        let numbers: Vec<f32> = words.iter().map(|word| f32::from_bits(*word)).collect();
        let (&[steps, _, _, _], rest) = numbers.split_first_chunk().ok_or("too short")?;
        let (rows, rest) = rest.as_chunks::<8>();
        let members = rows.len().checked_div(bodies).unwrap_or(0);
        if !rest.is_empty() || members * bodies != rows.len() || !(1..=UNIT_MEMBERS_MAX).contains(&members) {
            return Err("length is not that of whole systems");
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err("a number is not finite");
        }
        let body =
            |row: &[f32; 8]| Body { mass: row[3], place: [row[0], row[1], row[2]], velocity: [row[4], row[5], row[6]] };
        Ok(Self { steps, bodies: rows.iter().map(body).collect() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn blobs_round_trip_and_wrong_lengths_and_numbers_are_refused() {
        let common = Common { bodies: 2, steps: 9, gravity: 1.0, softening_2: 0.25, step_time: -0.5 };
        let bytes = common.encode();
        assert_eq!(Common::decode(&bytes).unwrap(), common);
        assert!((0..bytes.len()).all(|length| Common::decode(&bytes[..length]).is_err()));
        for (at, word) in
            [(0, 2_u32), (4, 0), (4, 513), (8, 0), (8, 481), (12, 0x7f80_0000), (16, 0xbf80_0000), (20, 0x7fc0_0000)]
        {
            let mut bad = bytes.clone();
            bad[at..at + 4].copy_from_slice(&word.to_le_bytes());
            assert!(Common::decode(&bad).is_err(), "{at} {word:x}");
        }
        let body = Body { mass: 1.0, place: [1.0, 2.0, 3.0], velocity: [4.0, 5.0, 6.0] };
        let state = State { steps: 7.0, bodies: vec![body; 4] };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes, 2).unwrap(), state);
        assert!(State::decode(&bytes, 3).is_err());
        assert!((0..bytes.len()).all(|length| State::decode(&bytes[..length], 4).is_err()));
    }

    #[test]
    fn the_longest_segment_stays_inside_of_the_loop_bound_and_one_step_more_does_not() {
        for bodies in [70, 100, 128, 300, 511, 512] {
            let steps = steps_max(bodies, 32_768);
            assert!(
                loop_iterations(bodies, steps) <= 32_768 && loop_iterations(bodies, steps + 1) > 32_768,
                "{bodies}"
            );
        }
        assert_eq!((steps_max(1, 32_768), steps_max(512, 32_768)), (480, 6));
    }
}
