//! What a person can ask for: who checks, how often, for which fee, and what is at risk.

use crate::cli::values;
use clap::Args;
use keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX;
use keystead_types::{Address, U256};
use std::path::PathBuf;

/// Who checks the result besides the customer.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AuditOptions {
    /// Have the result checked by machines drawn by lot, with the provider's bond behind it. The order is final when their window closes,
    /// some minutes after the delivery. Without it, nobody but you checks.
    #[arg(long, conflicts_with = "private")]
    pub(crate) audit: bool,
    /// What a false result may be worth to somebody, in wei: the audit is made so strong that cheating for it is a loss. Implies --audit.
    #[arg(long, value_name = "WEI", conflicts_with = "private", allow_negative_numbers = true,
        value_parser = values::wei::<U256>)]
    pub(crate) value_at_risk: Option<U256>,
    /// What a unit of an order in a token is worth in KST, in wei, for its audit: fees of checks and floors of the bond follow from it as they follow from the
    /// price of an order in KST. The provider sees it before it takes the order.
    #[arg(long, value_name = "WEI", requires = "token", allow_negative_numbers = true, value_parser = parse_unit_value)]
    pub(crate) unit_value: Option<u128>,
    /// Give the input to nobody but the provider and the checkers that --name-checker names: no machine is drawn, the result is
    /// unverified for everybody else.
    #[arg(long)]
    pub(crate) private: bool,
    /// An account that checks a private order: one that runs `keystead provide`, and is neither yours nor the provider's. Up to four, each once; everybody can
    /// read their names. Without any, only you check.
    #[arg(long, value_name = "ADDRESS", requires = "private", num_args = 1, value_parser = values::address)]
    pub(crate) name_checker: Vec<Address>,
    /// Have one unit be wrong on purpose, to see who of the drawn checkers looks: --provider has the same file (`keystead canary new`). After the
    /// checkers have spoken you tell it, pay ten fees to each who found it, and accuse whoever found it right; the unit is not paid.
    #[arg(long, value_name = "FILE", requires = "provider", conflicts_with = "private")]
    pub(crate) canary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) checks: CheckOptions,
}

/// Who checks the windows of a map's channels besides the customer.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MapAuditOptions {
    /// Have every window checked by machines drawn by lot, with the provider's bond behind it. The map ends when the last window is closed, some minutes
    /// after its last unit, or hours if something is disputed, with a certificate of what was checked. Without it, nobody but you checks.
    #[arg(long)]
    pub(crate) audit: bool,
    /// What a false result may be worth to somebody, in wei: the audit is made so strong that cheating for it is a loss. Implies --audit.
    #[arg(long, value_name = "WEI", allow_negative_numbers = true, value_parser = values::wei::<U256>)]
    pub(crate) value_at_risk: Option<U256>,
    #[command(flatten)]
    pub(crate) checks: CheckOptions,
}

/// How drawn machines check, whatever they check.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CheckOptions {
    /// Checkers of each drawn unit, of a map of each drawn step, 1 to 5 [default: 1; 3 with --value-at-risk; of a private order all that are named].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) checkers: Option<u8>,
    /// Chance of each unit, of a map of each step, to be drawn, in percent, at least, 3 to 100; it is more if the provider's bond or record asks for it
    /// [default: 3].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(3..=100))]
    pub(crate) audit_rate: Option<u32>,
    /// Fee of one check, in percent of the price of a unit, of a map of a step, 25 to 200 [default: what the check costs to run].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(25..=200))]
    pub(crate) checker_fee: Option<u32>,
    /// Time for the checkers to run what was drawn, in seconds, 10 to 86400. It is more if referees, who interpret, need it.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub(crate) checker_seconds: u32,
    /// Time for the provider to open what was drawn, and for the checkers to reveal what they found, in seconds, 10 to 86400. Providers take no order with
    /// less than 20, and no map with less than 24. It is more if referees need it.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub(crate) reveal_seconds: u32,
    /// Time to appeal against what others found, in seconds, 60 to 86400; nobody is slashed before it has passed.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    pub(crate) appeal_seconds: u32,
}

fn parse_unit_value(text: &str) -> Result<u128, String> {
    let max: u128 = PRICE_WEI_PER_UNIT_MAX.saturating_to();
    let fits = |value: &u128| (1..=max).contains(value);
    text.parse().ok().filter(fits).ok_or_else(|| format!("write a whole number of wei, 1 to {max}"))
}

impl CheckOptions {
    /// Whether it is said how to check; the times are not known to be said.
    const fn is_given(&self) -> bool {
        let Self { checkers, audit_rate, checker_fee, .. } = self;
        checkers.is_some() || audit_rate.is_some() || checker_fee.is_some()
    }
}

impl AuditOptions {
    /// Whether the order has a window: drawn checkers, or named ones.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.audit || self.value_at_risk.is_some() || !self.name_checker.is_empty()
    }

    /// Whether it is said how to check, but not that anybody should.
    pub(crate) const fn is_in_vain(&self) -> bool {
        !self.is_wanted() && self.checks.is_given()
    }
}

impl MapAuditOptions {
    /// Whether windows are audited.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.audit || self.value_at_risk.is_some()
    }

    /// Whether it is said how to check, but not that anybody should.
    pub(crate) const fn is_in_vain(&self) -> bool {
        !self.is_wanted() && self.checks.is_given()
    }

    /// The same as an order asks for it.
    pub(crate) fn as_order(&self) -> AuditOptions {
        let (value_at_risk, checks) = (self.value_at_risk, self.checks.clone());
        AuditOptions { audit: true, value_at_risk, checks, ..AuditOptions::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_order_is_checked_is_said_in_vain_if_nobody_checks_it() {
        let named = vec![Address::repeat_byte(1)];
        for checks in [
            CheckOptions { checkers: Some(2), ..CheckOptions::default() },
            CheckOptions { audit_rate: Some(10), ..CheckOptions::default() },
            CheckOptions { checker_fee: Some(100), ..CheckOptions::default() },
        ] {
            let with = |audit| AuditOptions { audit, checks: checks.clone(), ..AuditOptions::default() };
            assert!(with(false).is_in_vain() && AuditOptions { private: true, ..with(false) }.is_in_vain());
            assert!(!with(true).is_in_vain());
            assert!(!AuditOptions { private: true, name_checker: named.clone(), ..with(false) }.is_in_vain());
        }
        assert!(!AuditOptions::default().is_in_vain());
    }

    #[test]
    fn how_a_map_is_checked_is_said_in_vain_without_an_audit() {
        let checks = CheckOptions { audit_rate: Some(10), ..CheckOptions::default() };
        let with = |audit, value_at_risk| MapAuditOptions { audit, value_at_risk, checks: checks.clone() };
        assert!(with(false, None).is_in_vain() && !MapAuditOptions::default().is_in_vain());
        assert!(!with(true, None).is_in_vain() && !with(false, Some(U256::ZERO)).is_in_vain());
    }
}
