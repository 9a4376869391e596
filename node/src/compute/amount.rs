//! Amounts and times as people read them.

use alloy_primitives::{U256, utils::format_ether};
use std::time::Duration;

/// `1.5 KST`, without trailing zeros and without rounding.
pub(crate) fn kst(wei: U256) -> String {
    let text = format_ether(wei);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} KST")
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
    fn durations_change_their_unit_at_a_second_and_a_minute() {
        assert_eq!(duration(Duration::from_millis(999)), "999 ms");
        assert_eq!(duration(Duration::from_millis(1_000)), "1.0 s");
        assert_eq!(duration(Duration::from_millis(59_999)), "59.9 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
    }
}
