//! Amounts and times as people read them.

use alloy_primitives::{U256, utils::format_ether};
use std::time::Duration;

/// `1.5 KST`, without trailing zeros and without rounding.
pub(crate) fn kst(wei: U256) -> String {
    let text = format_ether(wei);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} KST")
}

/// `1 step`, `2 steps`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `850 ms`, `4.2 s`, `3 min 20 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=59 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// `4 MiB`, `1.5 GiB`, `12 bytes`: one digit behind the point, rounded down.
pub(crate) fn bytes(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30_u32), ("MiB", 20), ("KiB", 10)] {
        let whole = bytes >> shift;
        if whole > 0 {
            let tenths = ((bytes >> shift.saturating_sub(10)) & 1_023).saturating_mul(10) >> 10;
            return if tenths == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_to_the_wei_and_short_where_they_can_be() {
        assert_eq!(kst(U256::ZERO), "0 KST");
        assert_eq!(kst(U256::from(1)), "0.000000000000000001 KST");
        assert_eq!(kst(U256::from(1_500_000_000_000_000_000_u64)), "1.5 KST");
        assert_eq!(kst(U256::from(10_000_000_000_000_000_000_u64)), "10 KST");
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point_at_most() {
        for (size, text) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (4 << 20, "4 MiB"),
            (5 << 29, "2.5 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn durations_change_their_unit_at_a_second_and_a_minute() {
        assert_eq!(duration(Duration::from_millis(999)), "999 ms");
        assert_eq!(duration(Duration::from_millis(1_000)), "1.0 s");
        assert_eq!(duration(Duration::from_millis(59_999)), "59.9 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "step")), ["0 steps", "1 step", "2 steps"]);
    }
}
