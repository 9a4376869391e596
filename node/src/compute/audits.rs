//! The audit and the bond, as calls of one account: what a customer reads of its order's window, and what it does about it.
//!
//! Spec: specs/0008-audit.md.

use crate::compute::{
    account::{Log, Receipt},
    market::Market,
};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent as _};
use eyre::{Context as _, Result};
use keystead_contracts::{
    AUDIT_ADDRESS, BEACON_ADDRESS, BOND_ADDRESS, MARKET_ADDRESS,
    bindings::{
        audit::{Audit as AuditCalls, IAuditTypes},
        beacon::Beacon as BeaconCalls,
        bond::Bond as BondCalls,
        market,
        referee::Referee as RefereeCalls,
    },
    limits::PANEL_FEES,
};
use serde_json::json;

/// Final stages of a unit begin here: verified, unpaid, unchecked, wrong.
pub(crate) const STAGE_FINAL: u8 = 4;
/// A round of a unit runs.
pub(crate) const STAGE_CHECKING: u8 = 1;
/// A unit that was found wrong, and not opened to appeals any more.
pub(crate) const STAGE_WRONG: u8 = 7;
/// A window's number when its source is an order.
const ORDER_WINDOW: u64 = 0;

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowStatus {
    /// Nothing was committed yet.
    None,
    /// Units are drawn and checked.
    Open,
    /// Over, paid but for the unpaid units.
    Closed,
    /// Over, refunded.
    Convicted,
}

/// A window as the audit has it. Times are Unix seconds, zero while not determined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditWindow {
    pub(crate) id: B256,
    pub(crate) status: WindowStatus,
    /// A unit was found wrong; it closes as convicted.
    pub(crate) convicted: bool,
    pub(crate) units: u32,
    pub(crate) rate_ppm: u32,
    pub(crate) pending: u32,
    pub(crate) unpaid: u32,
    pub(crate) verified: u32,
    pub(crate) fee_wei: U256,
    /// Named checkers are on duty: nobody can accuse.
    pub(crate) named: bool,
    pub(crate) draw_height: u64,
    pub(crate) drawn_at: u64,
    pub(crate) randomness: B256,
    pub(crate) check_seconds: u64,
    pub(crate) reveal_seconds: u64,
}

impl AuditWindow {
    /// The last second in which a unit can be accused; `None` while nothing is drawn: then the time has not begun.
    pub(crate) const fn accuse_by(&self) -> Option<u64> {
        if self.drawn_at == 0 {
            return None;
        }
        Some(self.drawn_at.saturating_add(self.check_seconds).saturating_add(self.reveal_seconds))
    }

    /// The second after which it can be closed, if no unit is pending.
    pub(crate) const fn close_after(&self) -> Option<u64> {
        match self.accuse_by() {
            Some(by) => Some(by.saturating_add(self.reveal_seconds / 2)),
            None => None,
        }
    }

    /// What who accuses a unit puts down.
    pub(crate) fn accusation_wei(&self) -> U256 {
        accusation_wei(self.fee_wei)
    }
}

/// What who accuses a unit puts down: it pays the referees, and comes back if they find it wrong.
pub(crate) fn accusation_wei(fee_wei: U256) -> U256 {
    fee_wei.saturating_mul(U256::from(PANEL_FEES))
}

/// The window of an order.
pub(crate) fn window_id(order: U256) -> B256 {
    let mut preimage = b"keystead/window/v1".to_vec();
    preimage.extend_from_slice(MARKET_ADDRESS.as_slice());
    preimage.extend_from_slice(&order.to_be_bytes::<32>());
    preimage.extend_from_slice(&ORDER_WINDOW.to_be_bytes());
    keccak256(preimage)
}

impl Market {
    /// The window of an order, with the draw of its units.
    pub(crate) async fn window(&self, order: U256) -> Result<AuditWindow> {
        let id = window_id(order);
        let window = self.account.read(AUDIT_ADDRESS, &AuditCalls::windowOfCall { windowId: id }).await?;
        let call = AuditCalls::roundOfCall { windowId: id, unit: 0, round: 0 };
        let round = self.account.read(AUDIT_ADDRESS, &call).await?;
        Ok(AuditWindow {
            id,
            status: match window.status {
                0 => WindowStatus::None,
                1 => WindowStatus::Open,
                2 => WindowStatus::Closed,
                _ => WindowStatus::Convicted,
            },
            convicted: window.convicted,
            units: window.units,
            rate_ppm: window.ratePpm,
            pending: window.pending,
            unpaid: window.unpaid,
            verified: window.verified,
            fee_wei: U256::from(window.feeWei),
            named: !window.named.is_zero(),
            draw_height: round.drawHeight.to(),
            drawn_at: round.drawnAt.to(),
            randomness: round.randomness,
            check_seconds: u64::from(window.checkSeconds),
            reveal_seconds: u64::from(window.revealSeconds),
        })
    }

    /// A unit of a window.
    pub(crate) async fn case(&self, window: B256, unit: u32) -> Result<IAuditTypes::Case> {
        self.account.read(AUDIT_ADDRESS, &AuditCalls::caseOfCall { windowId: window, unit }).await
    }

    /// Last seconds to check, to open and to reveal in a unit's round; zeros while it is not drawn.
    pub(crate) async fn case_times(&self, window: B256, unit: u32, round: u8) -> Result<AuditCalls::timesReturn> {
        self.account.read(AUDIT_ADDRESS, &AuditCalls::timesCall { windowId: window, unit, round }).await
    }

    /// Units of a window that something was said about in blocks `first..=last`, in no order.
    pub(crate) async fn units_touched(&self, window: B256, first: u64, last: u64) -> Result<Vec<u32>> {
        let kinds = [
            AuditCalls::CheckCommitted::SIGNATURE_HASH,
            AuditCalls::InputAsked::SIGNATURE_HASH,
            RefereeCalls::Challenged::SIGNATURE_HASH,
        ];
        let filter = json!({
            "address": AUDIT_ADDRESS,
            "fromBlock": format!("{first:#x}"),
            "toBlock": format!("{last:#x}"),
            "topics": [kinds, window],
        });
        let logs = self.account.client().call("eth_getLogs", json!([filter])).await?;
        let logs: Vec<Log> = serde_json::from_value(logs).wrap_err("the node answers with something else than logs")?;
        // The unit is the first word of each.
        let unit = |log: &Log| log.data.get(28..32).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        Ok(logs.iter().filter_map(unit).collect())
    }

    /// Whether the beacon has the randomness of a height.
    pub(crate) async fn has_beacon(&self, height: u64) -> Result<bool> {
        self.account.read(BEACON_ADDRESS, &BeaconCalls::hasCall { height: U256::from(height) }).await
    }

    /// The bond of an account that stands behind nothing.
    pub(crate) async fn free_bond(&self, account: Address) -> Result<U256> {
        let bond = self.account.read(BOND_ADDRESS, &BondCalls::accountOfCall { account }).await?;
        Ok(U256::from(bond.freeWei))
    }

    /// The rate at which a provider's next window is checked.
    pub(crate) async fn effective_rate_ppm(
        &self,
        provider: Address,
        terms: &market::IAuditTypes::Terms,
    ) -> Result<u32> {
        let call = AuditCalls::effectiveRatePpmCall {
            provider,
            class: terms.class,
            bondWei: terms.bondWei,
            ratePpm: terms.ratePpm,
        };
        self.account.read(AUDIT_ADDRESS, &call).await
    }

    /// Whether the audit would take a call now.
    pub(crate) async fn would_take<C: SolCall>(&self, call: &C) -> bool {
        self.account.read(AUDIT_ADDRESS, call).await.is_ok()
    }

    /// Sends a call to the audit.
    pub(crate) async fn to_audit<C: SolCall>(&self, call: &C) -> Result<Receipt> {
        self.account.send(AUDIT_ADDRESS, call, U256::ZERO).await
    }

    /// Accuses a unit of being wrong in one segment, with the bond that this takes.
    pub(crate) async fn accuse(&self, window: &AuditWindow, unit: u32, segment: u32) -> Result<Receipt> {
        let call = RefereeCalls::challengeCall { windowId: window.id, unit, segment };
        self.account.send(AUDIT_ADDRESS, &call, window.accusation_wei()).await
    }

    /// What the audit owes this account.
    pub(crate) async fn audit_credit(&self) -> Result<U256> {
        self.account.read(AUDIT_ADDRESS, &AuditCalls::creditCall { account: self.account.address() }).await
    }

    /// Takes what the audit owes this account, if anything; how much it was.
    pub(crate) async fn withdraw_from_audit(&self) -> Result<U256> {
        let credit = self.audit_credit().await?;
        if !credit.is_zero() {
            self.to_audit(&AuditCalls::withdrawCall {}).await?;
        }
        Ok(credit)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Drawn at second 100; checks until 120, reveals until 130.
    pub(crate) const fn window() -> AuditWindow {
        AuditWindow {
            id: B256::ZERO,
            status: WindowStatus::Open,
            convicted: false,
            units: 10,
            rate_ppm: 1_000_000,
            pending: 0,
            unpaid: 0,
            verified: 0,
            fee_wei: U256::from_limbs([3, 0, 0, 0]),
            named: false,
            draw_height: 9,
            drawn_at: 100,
            randomness: B256::ZERO,
            check_seconds: 20,
            reveal_seconds: 10,
        }
    }

    #[test]
    fn the_times_of_a_window_follow_its_draw() {
        let undrawn = AuditWindow { drawn_at: 0, ..window() };
        assert_eq!((undrawn.accuse_by(), undrawn.close_after()), (None, None));
        assert_eq!((window().accuse_by(), window().close_after()), (Some(130), Some(135)));
        assert_eq!(window().accusation_wei(), U256::from(93));
    }

    #[test]
    fn the_window_of_an_order_is_that_of_the_contract() {
        let vector: serde_json::Value =
            serde_json::from_str(include_str!("../../../specs/vectors/audit.json")).unwrap();
        let number = vector["number"].as_u64().unwrap();
        assert_eq!(window_id(U256::from(number)), vector["window_id"].as_str().unwrap().parse::<B256>().unwrap());
    }
}
