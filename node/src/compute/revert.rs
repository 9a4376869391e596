//! Why a contract refused, in a sentence that says what to do.

use crate::{client::RpcFailure, compute::amount::kst};
use alloy_primitives::U256;
use alloy_sol_types::{Revert, SolError as _, SolInterface as _};
use eyre::Report;
use keystead_contracts::{
    bindings::{
        audit::Audit::AuditErrors, bond::Bond::BondErrors, erc20::Erc20::Erc20Errors, market::Market::MarketErrors,
        providers::Providers::ProvidersErrors,
    },
    storage::Status,
};

/// The contract's own reason instead of the node's words, if a report carries one. It stays an [`RpcFailure`].
pub(crate) fn explain(report: Report) -> Report {
    let Some(failure) = report.downcast_ref::<RpcFailure>() else { return report };
    match failure.data.as_ref().and_then(|data| sentence(data)) {
        Some(message) => Report::new(RpcFailure { message, ..failure.clone() }),
        None => report,
    }
}

/// Whether a contract refused because a token moves another amount than it is told: it would refuse every payment in it.
pub(crate) fn moves_another_amount(report: &Report) -> bool {
    let data = report.downcast_ref::<RpcFailure>().and_then(|failure| failure.data.as_ref());
    data.is_some_and(|data| matches!(Erc20Errors::abi_decode(data), Ok(Erc20Errors::TransferInexact(_))))
}

/// Whether the bond refused because the list of seats cannot be made shorter now.
pub(crate) fn cannot_be_shorter(report: &Report) -> bool {
    let data = report.downcast_ref::<RpcFailure>().and_then(|failure| failure.data.as_ref());
    data.is_some_and(|data| matches!(BondErrors::abi_decode(data), Ok(BondErrors::NothingToCompact(_))))
}

/// The sentence for a revert's data; `None` if it is none of the contracts' errors.
pub(crate) fn sentence(data: &[u8]) -> Option<String> {
    // First: the market's own list has the last two of them, too.
    if let Ok(error) = Erc20Errors::abi_decode(data) {
        return Some(token(&error));
    }
    if let Ok(error) = MarketErrors::abi_decode(data) {
        return Some(market(&error));
    }
    if let Ok(error) = ProvidersErrors::abi_decode(data) {
        return Some(providers(&error));
    }
    if let Ok(error) = BondErrors::abi_decode(data) {
        return Some(bond(&error));
    }
    if let Ok(error) = AuditErrors::abi_decode(data) {
        return Some(audit(&error));
    }
    Revert::abi_decode(data).ok().map(|revert| revert.reason)
}

fn market(error: &MarketErrors) -> String {
    match error {
        MarketErrors::OrderUnknown(e) => format!("the market has no order {}", e.orderId),
        MarketErrors::WrongStatus(e) => {
            let status =
                Status::try_from(e.status).map_or_else(|_| e.status.to_string(), |status| format!("{status:?}"));
            format!("order {} is {status}, which does not allow this", e.orderId)
        }
        MarketErrors::NotProvider(e) => format!("order {} belongs to another provider than {}", e.orderId, e.caller),
        MarketErrors::NotCustomer(e) => format!("order {} belongs to another customer than {}", e.orderId, e.caller),
        MarketErrors::DeadlinePassed(e) => {
            format!("too late for order {}: deadline={} now={}", e.orderId, e.deadline, e.timestamp)
        }
        MarketErrors::DeadlineNotPassed(e) => {
            format!("too early for order {}: deadline={} now={}", e.orderId, e.deadline, e.timestamp)
        }
        MarketErrors::NotOffering(e) => {
            format!("{} takes no orders at the moment: choose another provider", e.provider)
        }
        MarketErrors::NothingToWithdraw(e) => format!("there is nothing to withdraw for {}", e.account),
        MarketErrors::UnitsOutOfRange(e) => {
            format!("an order has {} to {} units, this one has {}", e.min, e.max, e.units)
        }
        other => format!("the market refused: {other:?}"),
    }
}

fn token(error: &Erc20Errors) -> String {
    match error {
        Erc20Errors::ERC20InsufficientBalance(e) => {
            format!("{} has too little of the token: has={} needs={} smallest units", e.sender, e.balance, e.needed)
        }
        Erc20Errors::ERC20InsufficientAllowance(e) => format!(
            "{} may not take so much of the token: approved={} needs={} smallest units",
            e.spender, e.allowance, e.needed
        ),
        Erc20Errors::SafeERC20FailedOperation(e) => format!("the token {} refuses to be moved", e.token),
        Erc20Errors::TransferInexact(e) => format!(
            "the token {} moves another amount than it is told, so no contract takes it: before={} after={} told={}",
            e.token, e.balanceBefore, e.balanceAfter, e.amount
        ),
    }
}

fn bond(error: &BondErrors) -> String {
    match error {
        BondErrors::FreeTooSmall(e) => format!(
            "{} has a free bond of {}, this needs {}: deposit more with `keystead bond deposit`",
            e.account,
            kst(e.freeWei),
            kst(e.askedWei)
        ),
        BondErrors::NothingLeaving(e) => {
            format!("{} has asked nothing back: `keystead bond leave` and `unseat` do", e.account)
        }
        BondErrors::LeaveTooEarly(e) => {
            let seconds: u64 = e.leaveAt.saturating_sub(e.timestamp).saturating_to();
            let (days, hours) = (seconds / 86_400, (seconds % 86_400).div_ceil(3_600));
            format!("bond can be taken 14 days after it was asked back: in {days} days and {hours} h")
        }
        BondErrors::NothingToCompact(e) => {
            format!("no hole of the list of seats is 14 days old, so none of its {} places goes now", e.places)
        }
        other => format!("the bond refused: {other:?}"),
    }
}

fn audit(error: &AuditErrors) -> String {
    match error {
        AuditErrors::TooLate(e) => {
            format!("too late for this step of the audit: deadline={} now={}", e.deadline, e.timestamp)
        }
        AuditErrors::TooEarly(e) => {
            format!("too early for this step of the audit: after={} now={}", e.deadline, e.timestamp)
        }
        AuditErrors::NotOnDuty(e) => format!("{} is not on duty for unit {} in slot {}", e.caller, e.unit, e.slot),
        AuditErrors::SlotTaken(e) => format!("enough checkers have committed to unit {}", e.unit),
        AuditErrors::BudgetSpent(e) => {
            format!("the deposit for checks is used up: left {}, a check earns {}", kst(e.leftWei), kst(e.feeWei))
        }
        other => format!("the audit refused: {other:?}"),
    }
}

fn providers(error: &ProvidersErrors) -> String {
    match error {
        ProvidersErrors::AlreadyRegistered(e) => format!("{} is already registered", e.account),
        ProvidersErrors::NotRegistered(e) => format!("{} is not registered as a provider", e.account),
        ProvidersErrors::EndpointTooLong(e) => {
            format!(
                "the endpoint has {} bytes, at most {} are stored: advertise fewer addresses",
                e.gotBytes, e.maxBytes
            )
        }
        ProvidersErrors::PriceOutOfRange(e) => format!(
            "a price must lie between {} and {}: {}",
            kst(U256::from(e.minWei)),
            kst(U256::from(e.maxWei)),
            kst(U256::from(e.priceWeiPerUnit))
        ),
        other => format!("the register of providers refused: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use alloy_primitives::Address;
    use keystead_contracts::bindings::{bond::Bond, erc20::Erc20, market::Market};

    #[test]
    fn a_contracts_error_is_found_under_the_context_and_becomes_a_sentence() {
        let late =
            Market::DeadlinePassed { orderId: U256::from(3), deadline: U256::from(40), timestamp: U256::from(42) };
        let failure =
            RpcFailure { code: 3, message: "execution reverted".to_owned(), data: Some(late.abi_encode().into()) };
        let report = explain(Report::new(failure).wrap_err("eth_estimateGas"));
        assert_eq!(
            format!("{report:#}"),
            "too late for order 3: deadline=40 now=42",
            "and nothing of the node's words"
        );
        assert!(report.downcast_ref::<RpcFailure>().is_some_and(|failure| failure.data.is_some()));
        let token = Address::repeat_byte(7);
        let (before, amount) = (U256::from(1), U256::from(10));
        let inexact = Erc20::TransferInexact { token, balanceBefore: before, balanceAfter: before, amount };
        assert!(sentence(&inexact.abi_encode()).unwrap().contains("no contract takes it: before=1 after=1 told=10"));
        let refusal = |data: Vec<u8>| {
            let message = "execution reverted".to_owned();
            explain(Report::new(RpcFailure { code: 3, message, data: Some(data.into()) }).wrap_err("eth_estimateGas"))
        };
        assert!(moves_another_amount(&refusal(inexact.abi_encode())));
        let failed = Erc20::SafeERC20FailedOperation { token };
        assert!(!moves_another_amount(&refusal(failed.abi_encode())), "which may be for a while");
        assert!(!moves_another_amount(&refusal(late.abi_encode())) && !moves_another_amount(&Report::msg("plain")));
        let places = Bond::NothingToCompact { places: 4 };
        assert!(sentence(&places.abi_encode()).unwrap().ends_with("none of its 4 places goes now"));
        assert!(cannot_be_shorter(&refusal(places.abi_encode()).wrap_err("cannot send compact()")));
        assert!(!cannot_be_shorter(&refusal(late.abi_encode())) && !cannot_be_shorter(&Report::msg("plain")));
        assert_eq!(sentence(&Revert::from("no").abi_encode()).unwrap(), "no");
        assert_eq!(sentence(&[1, 2, 3, 4]), None);
        assert_eq!(explain(Report::msg("plain")).to_string(), "plain");
    }
}
