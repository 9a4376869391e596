//! How fast one core of this machine is, so that figures of two machines can be compared.

use std::{hint::black_box, time::Instant};

/// Rounds of one try; a few milliseconds.
const ROUNDS: u32 = 2_000_000;
/// The best of so many tries counts: what slows one down is somebody else.
const TRIES: u32 = 9;

/// Rounds of a fixed integer loop per millisecond.
pub(super) fn measure() -> f64 {
    let best = (0..TRIES).map(|_| one()).fold(f64::INFINITY, f64::min);
    f64::from(ROUNDS) / (best * 1_000.0)
}

/// Seconds of one try.
fn one() -> f64 {
    let start = Instant::now();
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..ROUNDS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    start.elapsed().as_secs_f64()
}
