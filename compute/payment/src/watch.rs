//! The watcher's rules: which transaction a channel needs now, and when to look again.
//!
//! # Design
//! Pure functions of a final block's view of the channel. Nothing is remembered: asked twice they advise the same, and a transaction that
//! was sent twice is refused by the contract the second time. Spec: specs/0009-channel.md section 11.

use crate::{
    channel::Standing,
    limits::WINDOWS_CLAIM_AT,
    payee::{Claim, Payee, Prospect},
};
use keystead_contracts::storage::channel::Status;
use std::time::Duration;

/// What a side wants of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on working.
    GoOn,
    /// No more work: end it as soon as nothing is lost by it.
    End,
}

/// What the provider's watcher should send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayeeStep {
    /// Nothing; look again at the next final block, and by the given time at the latest.
    Wait {
        /// When something must be done if nothing changes, since the Unix epoch.
        until: Duration,
    },
    /// Claim, and leave the channel as it is.
    Claim {
        /// What to claim.
        claim: Claim,
        /// Last second in which the contract takes it, since the Unix epoch.
        by: Duration,
    },
    /// Claim and close in one.
    ClaimAndClose {
        /// What to claim.
        claim: Claim,
        /// Last second in which the contract takes it, since the Unix epoch.
        by: Duration,
    },
    /// Close; there is nothing to claim and nothing to come.
    Close,
    /// The deadline passed: what was not claimed is lost. `close` still ends the channel for the customer.
    Late {
        /// What could have been claimed and was not.
        lost: u128,
    },
    /// The channel is final: the record may be deleted.
    Forget,
    /// There is no such channel in this block.
    Unknown,
}

/// What the provider's watcher should send, with the audit's answers as of the same block (`prospect`).
#[must_use]
pub fn payee(payee: &Payee, standing: &Standing, prospect: Prospect, wish: Wish) -> PayeeStep {
    let by = standing.deadline;
    match standing.status {
        Status::None => return PayeeStep::Unknown,
        Status::Closed | Status::Finished | Status::Expired => return PayeeStep::Forget,
        Status::Open | Status::Closing => {}
    }
    if standing.now > by {
        let claimable = prospect.claim.map_or(standing.claimed, |claim| claim.amount);
        return PayeeStep::Late { lost: claimable.saturating_sub(standing.claimed) };
    }
    let Prospect { claim, pending, convicted } = prospect;
    let act_at = act_at(by, payee.policy().watch);
    let presses = standing.now >= act_at;
    // After a conviction nothing behind it can ever be claimed; what is pending before it still can.
    let ends = convicted.is_some() || standing.status == Status::Closing || wish == Wish::End || presses;
    // The voucher of a reported window may still come: it is worth waiting for while there is time.
    let hopes = payee.reported().is_some() && convicted.is_none() && wish == Wish::GoOn && !presses;
    if ends && pending == 0 && !hopes {
        return match claim {
            Some(claim) => PayeeStep::ClaimAndClose { claim, by },
            None => PayeeStep::Close,
        };
    }
    let full = payee.waiting_count() >= WINDOWS_CLAIM_AT;
    match claim {
        Some(claim) if presses || full => PayeeStep::Claim { claim, by },
        // With nothing to claim yet, the last moment is the deadline itself: an audit may still end.
        _ => PayeeStep::Wait { until: if presses { by } else { act_at } },
    }
}

/// What the customer's watcher should send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayerStep {
    /// Nothing; look again at the given time at the latest.
    Wait {
        /// When something can be done, since the Unix epoch.
        until: Duration,
    },
    /// `requestClose`: the provider does not close by itself.
    RequestClose,
    /// `finish`: the provider's time is over.
    Finish,
    /// The channel is final: withdraw the credit; the record may be deleted.
    Forget,
    /// There is no such channel in this block.
    Unknown,
}

/// What the customer's watcher should send. A window that was found wrong is a reason to wish the end.
#[must_use]
pub fn payer(standing: &Standing, wish: Wish) -> PayerStep {
    match standing.status {
        Status::None => PayerStep::Unknown,
        Status::Closed | Status::Finished | Status::Expired => PayerStep::Forget,
        Status::Open | Status::Closing if standing.now > standing.deadline => PayerStep::Finish,
        Status::Open if wish == Wish::End => PayerStep::RequestClose,
        Status::Open | Status::Closing => PayerStep::Wait { until: standing.deadline.saturating_add(SECOND) },
    }
}

/// The first second after a deadline.
const SECOND: Duration = Duration::from_secs(1);

/// From when on a claim presses: half of the watcher's time before the deadline, so that a watcher that was away for the other
/// half still comes in time.
const fn act_at(by: Duration, watch: Duration) -> Duration {
    let half = Duration::from_secs(watch.as_secs().div_ceil(2));
    by.saturating_sub(half)
}
