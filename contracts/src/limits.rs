//! The bounds that the contracts enforce, so that a client can refuse before it sends.
//!
//! Spec: specs/0004-market.md section 5, specs/0009-channel.md section 7. All are inclusive; `specs/vectors/market-storage.json`
//! and `channel-storage.json` carry the values that the contracts answer with, and a test compares.

use alloy_primitives::{U256, uint};
use std::time::Duration;

/// Most units in one order; at least one.
pub const UNITS_MAX: u32 = 1 << 20;

/// Highest listed or agreed price of a unit in wei: one million KST; at least one wei.
pub const PRICE_WEI_PER_UNIT_MAX: U256 = uint!(1_000_000_000_000_000_000_000_000_U256);

/// Longest time to lease after the order; at least one second, whole seconds.
pub const LEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest time to deliver after the lease; at least one second, whole seconds.
pub const DELIVER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Time that the provider of a stopped order has to commit to what is done, and as long again to deliver it: `Market.STOP_SECONDS`.
pub const STOP_SECONDS: u32 = 120;

/// Longest check window after the delivery; at least one second, whole seconds.
pub const CHECK_MAX: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Time between asking bond back and being able to take it: longer than any order or window lives.
pub const LEAVE_DELAY: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Fees that an accusation or an appeal puts down: one for each slot of the first panel. Spec: specs/0008-audit.md section 9.
pub const PANEL_FEES: u32 = 31;

/// Fees that each finder of a canary gets when it is revealed. Spec: specs/0008-audit.md section 12.
pub const CANARY_FEES: u32 = 10;

/// Most questions of a search for the wrong segment, and the time for each. Spec: specs/0008-audit.md sections 3 and 9.
pub const ASKS_MAX: u32 = 17;

/// Time of one question or answer of such a search.
pub const BISECT: Duration = Duration::from_secs(600);

/// Most slots of a panel that one call commits.
pub const BALLOT_SLOTS_MAX: usize = 32;

/// Longest endpoint text of a provider in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 256;

/// Most providers that one call of `Providers.page` returns.
pub const PAGE_COUNT_MAX: usize = 64;

/// Longest time of a channel's provider after a request to close; at least one second, whole seconds.
pub const CHALLENGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Longest life of a channel; at least one second, whole seconds.
pub const CHANNEL_LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Most windows between the last claimed one and a voucher's that one claim may skip.
pub const WINDOWS_PER_CLAIM_MAX: usize = 256;

/// Lowest chance that a unit is drawn, parts per million; the highest is 1,000,000. This and what follows: specs/0008-audit.md section 3.
pub const AUDIT_RATE_PPM_MIN: u32 = 30_000;

/// Lowest fee of a check, parts per million of a unit's price.
pub const AUDIT_FEE_PPM_MIN: u32 = 250_000;

/// The least bond behind a window, if there is one, in prices of a unit.
pub const AUDIT_BOND_UNITS_MIN: u32 = 100;

/// Most checkers that a private order names.
pub const AUDIT_NAMED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_bounds_are_those_that_the_contracts_answer_with() {
        let vector: serde_json::Value =
            serde_json::from_str(include_str!("../../specs/vectors/market-storage.json")).unwrap();
        let limits = &vector["limits"];
        assert_eq!(limits["units_max"], UNITS_MAX);
        assert_eq!(limits["lease_seconds_max"], LEASE_MAX.as_secs());
        assert_eq!(limits["deliver_seconds_max"], DELIVER_MAX.as_secs());
        assert_eq!(limits["check_seconds_max"], CHECK_MAX.as_secs());
        assert_eq!(limits["leave_delay_seconds"], LEAVE_DELAY.as_secs());
        assert_eq!(limits["endpoint_bytes_max"], ENDPOINT_BYTES_MAX);
        assert_eq!(limits["page_count_max"], PAGE_COUNT_MAX);
        assert_eq!(limits["price_wei_per_unit_max"], PRICE_WEI_PER_UNIT_MAX.to_string());
        let vector: serde_json::Value =
            serde_json::from_str(include_str!("../../specs/vectors/channel-storage.json")).unwrap();
        let limits = &vector["limits"];
        assert_eq!(limits["challenge_seconds_max"], CHALLENGE_MAX.as_secs());
        assert_eq!(limits["life_seconds_max"], CHANNEL_LIFE_MAX.as_secs());
        assert_eq!(limits["windows_per_claim_max"], WINDOWS_PER_CLAIM_MAX);
    }
}
