//! The bounds of payment by vouchers, each with its reason.

use std::time::Duration;

/// Most windows of an audited channel that may wait for a claim: one claim skips as many
/// (specs/0009-channel.md section 7), and the voucher's own window is one more.
pub const WINDOWS_WAITING_MAX: usize = keystead_contracts::limits::WINDOWS_PER_CLAIM_MAX;

/// From how many waiting windows on the watcher claims although nothing presses: half of the bound, so that work does not
/// stop while the claim is on its way.
pub const WINDOWS_CLAIM_AT: usize = 128;

/// Longest record that is read: [`WINDOWS_WAITING_MAX`] vouchers of at most 220 bytes are below a half of it.
pub const RECORD_BYTES_MAX: usize = 128 * 1024;

/// Start value of [`crate::Policy::watch`]: how long the provider's watcher may be away.
pub const WATCH: Duration = Duration::from_secs(3_600);
