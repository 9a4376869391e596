//! A channel as the chain shows it: what was agreed at the opening, and where it stands now.

use crate::voucher::Domain;
use alloy_primitives::{Address, B256};
use keystead_contracts::{bindings::channel::IChannel, storage::channel::Status};
use std::time::Duration;

/// What was agreed at the opening; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The channel.
    pub channel_id: B256,
    /// Its chain and contract.
    pub domain: Domain,
    /// Who opened it and gets the rest.
    pub customer: Address,
    /// Whom it can pay.
    pub provider: Address,
    /// Whose key signs its vouchers.
    pub signer: Address,
    /// The ERC-20, or zero for KST.
    pub token: Address,
    /// Whether windows are audited.
    pub audited: bool,
    /// The channel's number, from 1: what the audit knows it by.
    pub number: u64,
    /// The provider's time to claim after a request to close.
    pub challenge: Duration,
    /// Last second of the channel's life, since the Unix epoch.
    pub expires_at: Duration,
}

/// Where a channel stands as of a final block. Amounts are wei, or the smallest units of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The block's time since the Unix epoch. A side that has seen no block for a while must not begin or sign anything: what it
    /// knows is old, and this number does not say how old.
    pub now: Duration,
    /// The status.
    pub status: Status,
    /// Last second in which the provider may claim, since the Unix epoch.
    pub deadline: Duration,
    /// All that was ever paid in.
    pub deposit: u128,
    /// All that was ever credited to the provider.
    pub claimed: u128,
    /// Number of the last window that was claimed in full.
    pub window: u64,
    /// Hash over all windows up to it; zero without audit.
    pub history: B256,
    /// Number of the last window that was announced to the audit; zero without audit.
    pub announced: u64,
    /// All that was ever taken from the deposit for checks; zero without audit.
    pub budgeted: u128,
}

impl Standing {
    /// What of the deposit can still pay for work.
    #[must_use]
    pub const fn usable(&self) -> u128 {
        self.deposit.saturating_sub(self.budgeted)
    }
}

/// What an audit may take from the deposit for the checks of a window. Spec: specs/0008-audit.md section 11.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Chance of a unit to be drawn, in parts per million.
    pub rate_ppm: u32,
    /// Checkers of a drawn unit.
    pub checkers: u8,
    /// Fee of one check, in wei; zero where nothing is audited.
    pub fee_wei: u128,
}

/// Checks that a dispute about one unit takes up to its first panel.
const CHECKS_EXTRA: u128 = 40;
/// Parts per million in a whole.
const PPM: u128 = 1_000_000;

impl Budget {
    /// For a window of so many units: one and a half times the checks that are expected, and one dispute.
    #[must_use]
    pub const fn of(&self, units: u32) -> u128 {
        let expected = (units as u128).saturating_mul(self.rate_ppm as u128).saturating_mul(self.checkers as u128);
        let checks = expected.saturating_mul(3).div_ceil(PPM.saturating_mul(2)).saturating_add(CHECKS_EXTRA);
        checks.saturating_mul(self.fee_wei)
    }
}

/// The answer of `Channel.channel` has a status that the contract does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown channel status: got={got}")]
pub struct StatusUnknown {
    /// The number found.
    pub got: u8,
}

/// Splits the contract's answer for a channel into what was agreed and where it stands at a block of time `now`.
///
/// # Errors
/// [`StatusUnknown`]: other code answered.
pub fn from_entry(
    domain: Domain,
    channel_id: B256,
    entry: &IChannel::Entry,
    now: Duration,
) -> Result<(Terms, Standing), StatusUnknown> {
    let seconds = |value: u64| Duration::from_secs(value);
    let status = Status::try_from(entry.status).map_err(|_| StatusUnknown { got: entry.status })?;
    let expires_at = seconds(entry.expiresAt.to());
    let close_at = seconds(entry.closeAt.to());
    let terms = Terms {
        channel_id,
        domain,
        customer: entry.customer,
        provider: entry.provider,
        signer: entry.signer,
        token: entry.token,
        audited: entry.audited,
        number: entry.number,
        challenge: seconds(entry.challengeSeconds.into()),
        expires_at,
    };
    let standing = Standing {
        now,
        status,
        deadline: if close_at.is_zero() { expires_at } else { close_at },
        deposit: entry.deposit,
        claimed: entry.claimed,
        window: entry.window,
        history: entry.history,
        announced: entry.announced,
        budgeted: entry.budgeted,
    };
    Ok((terms, standing))
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::*;
    use alloy_primitives::aliases::U40;

    fn entry() -> IChannel::Entry {
        IChannel::Entry {
            status: 1,
            audited: true,
            openedAt: U40::from(100),
            expiresAt: U40::from(900),
            closeAt: U40::ZERO,
            closedAt: U40::ZERO,
            challengeSeconds: 50,
            deposit: 7,
            claimed: 3,
            history: B256::repeat_byte(1),
            customer: Address::repeat_byte(2),
            window: 4,
            provider: Address::repeat_byte(3),
            announced: 6,
            signer: Address::repeat_byte(4),
            number: 8,
            token: Address::repeat_byte(5),
            budgeted: 2,
        }
    }

    #[test]
    fn a_budget_is_what_the_contract_takes() {
        // contracts/src/AuditViews.sol, depositWei: ceil(1.5 * units * rate * checkers) + 40 fees.
        let budget = Budget { rate_ppm: 30_000, checkers: 1, fee_wei: 10 };
        assert_eq!((budget.of(64), budget.of(1), budget.of(0)), (430, 410, 400));
        let whole = Budget { rate_ppm: 1_000_000, checkers: 3, fee_wei: 1 };
        assert_eq!(whole.of(65_536), 294_912 + 40);
        assert_eq!(Budget::default().of(64), 0);
        assert_eq!(Budget { fee_wei: u128::MAX, ..whole }.of(1), u128::MAX);
    }

    #[test]
    fn the_contracts_answer_is_taken_apart_without_loss() {
        let now = Duration::from_secs(200);
        let domain = Domain::of_chain(1);
        let (terms, standing) = from_entry(domain, B256::repeat_byte(9), &entry(), now).unwrap();
        let expected = Terms {
            channel_id: B256::repeat_byte(9),
            domain,
            customer: Address::repeat_byte(2),
            provider: Address::repeat_byte(3),
            signer: Address::repeat_byte(4),
            token: Address::repeat_byte(5),
            audited: true,
            number: 8,
            challenge: Duration::from_secs(50),
            expires_at: Duration::from_secs(900),
        };
        assert_eq!(terms, expected);
        let expected = Standing {
            now,
            status: Status::Open,
            deadline: Duration::from_secs(900),
            deposit: 7,
            claimed: 3,
            window: 4,
            history: B256::repeat_byte(1),
            announced: 6,
            budgeted: 2,
        };
        assert_eq!((standing, standing.usable()), (expected, 5));
    }

    #[test]
    fn a_request_moves_the_deadline_and_an_unknown_status_is_refused() {
        let closing = IChannel::Entry { status: 2, closeAt: U40::from(250), ..entry() };
        let (_, standing) = from_entry(Domain::of_chain(1), B256::ZERO, &closing, Duration::ZERO).unwrap();
        assert_eq!((standing.status, standing.deadline), (Status::Closing, Duration::from_secs(250)));
        for (status, known) in [(0, true), (5, true), (6, false), (255, false)] {
            let other = IChannel::Entry { status, ..entry() };
            let answer = from_entry(Domain::of_chain(1), B256::ZERO, &other, Duration::ZERO);
            assert_eq!(answer.err(), (!known).then_some(StatusUnknown { got: status }));
        }
    }
}
