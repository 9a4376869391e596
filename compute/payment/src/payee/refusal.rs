//! Why a payee does not work, or does not take a voucher.

use crate::voucher::SignatureError;
use alloy_primitives::{Address, B256};
use keystead_contracts::storage::channel::Status;

/// Why a payee does not work, or does not take a voucher. None of these loses what was earned before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The channel pays somebody else.
    #[error("the channel pays another account: got={got} expected={expected}")]
    AnotherProvider {
        /// The channel's provider.
        got: Address,
        /// This provider.
        expected: Address,
    },
    /// The channel is in a token that this provider does not list.
    #[error("the channel is in another token: got={got} expected={expected}")]
    AnotherToken {
        /// The channel's token.
        got: Address,
        /// The token of the price.
        expected: Address,
    },
    /// After a request to close there would not be time for the audit and a claim.
    #[error("the challenge is too short: got_s={got_s} needed_s={needed_s}")]
    ChallengeTooShort {
        /// The channel's, in seconds.
        got_s: u64,
        /// What this provider needs, in seconds.
        needed_s: u64,
    },
    /// The channel was claimed or announced before and its record is gone: vouchers are lost. Claim what can be found, open another.
    #[error("the channel was used before and there is no record of it: last_window={window}")]
    RecordMissing {
        /// The last window that was claimed or announced.
        window: u64,
    },
    /// The last window has no voucher yet.
    #[error("the last window is not paid: window={window}")]
    Unpaid {
        /// The window.
        window: u64,
    },
    /// The audit found a window wrong: nothing after it can be claimed. Claim what came before it, and close.
    #[error("an earlier window was found wrong: window={window}")]
    FoundWrong {
        /// The window.
        window: u64,
    },
    /// The channel is not open.
    #[error("the channel is not open: status={status:?}")]
    NotOpen {
        /// Its status.
        status: Status,
    },
    /// No unit, or more than was agreed.
    #[error("units in a window out of range: got={got} min=1 max={max}")]
    UnitsOutOfRange {
        /// Units asked for.
        got: u32,
        /// Most that were agreed on.
        max: u32,
    },
    /// The customer must pay more in first.
    #[error("the deposit is too small: needed={needed} deposit={deposit}")]
    DepositTooSmall {
        /// What would be earned in all.
        needed: u128,
        /// What was paid in.
        deposit: u128,
    },
    /// Claim first.
    #[error("too many windows wait for a claim: waiting={waiting}")]
    TooManyWaiting {
        /// How many.
        waiting: usize,
    },
    /// The channel ends before the window, its audit and a claim could.
    #[error("the channel ends too soon: needed_s={needed_s} expires_s={expires_s}")]
    EndsTooSoon {
        /// When all would be done at the latest, in Unix seconds.
        needed_s: u64,
        /// Last second of the channel's life.
        expires_s: u64,
    },
    /// No window was begun.
    #[error("no window is being run")]
    NotRunning,
    /// A number ran out: another channel is needed.
    #[error("the channel cannot count any further")]
    Exhausted,
    /// The voucher is for another channel.
    #[error("a voucher for another channel: got={got} expected={expected}")]
    AnotherChannel {
        /// The voucher's.
        got: B256,
        /// This one.
        expected: B256,
    },
    /// No report waits for a voucher.
    #[error("a voucher for which nothing is owed: window={window}")]
    NothingOwed {
        /// The voucher's window.
        window: u64,
    },
    /// The voucher is for another window, or for other work than was reported.
    #[error("a voucher for other work than was reported: got={got} expected={expected}")]
    AnotherWindow {
        /// The voucher's window.
        got: u64,
        /// The reported window.
        expected: u64,
    },
    /// The voucher names other windows before it, so it could never be claimed.
    #[error("a voucher with another history: window={window}")]
    AnotherHistory {
        /// The voucher's window.
        window: u64,
    },
    /// The voucher adds less than the window's price.
    #[error("a voucher for less than is owed: got={got} owed={owed}")]
    Underpaid {
        /// What it says in all.
        got: u128,
        /// What it must say at least.
        owed: u128,
    },
    /// More waits for the audit than this window costs.
    #[error("a voucher holds too much back: got={got} max={max}")]
    HeldBackTooLarge {
        /// What it holds back.
        got: u128,
        /// What it may hold back.
        max: u128,
    },
    /// The signature is not the signer's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The chain went back, or claimed what this side does not know.
    #[error("the chain and this side's record disagree: window={window} claimed={claimed}")]
    Diverged {
        /// The last window that the chain calls claimed.
        window: u64,
        /// What the chain calls claimed.
        claimed: u128,
    },
}
