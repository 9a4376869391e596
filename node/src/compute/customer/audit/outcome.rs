//! What an order's check was worth, in words that a person understands and that say no more than is so.
//!
//! # Invariants
//! *Verified* is said only if machines drawn by lot found a unit right. A private order, and one of which nobody checked a unit, is
//! *unverified* in every line about it.

use super::plan::percent;
use crate::compute::{
    amount::kst,
    customer::state::AuditTerms,
    market::Order,
    windows::{Drawn, Window, WindowStatus},
};
use keystead_audit::{Draw, draw::PPM};
use keystead_contracts::storage::Mode;
use serde_json::{Value, json};

/// Who vouches for a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute) enum Assurance {
    /// Machines drawn by lot found drawn units right, and none wrong.
    Verified,
    /// The audit found a unit wrong.
    Convicted,
    /// Only the customer looked at it.
    Customer,
    /// Private: whom the customer named looked at it, or nobody.
    Private,
    /// Private, and whom the customer named did not find a unit right that they looked at.
    Doubted,
    /// It was to be audited, and nobody found a unit right.
    Unchecked,
    /// The window goes on.
    Pending,
}

impl Assurance {
    /// As in `job.json` and `map.json`: what it is for anybody but the customer.
    pub(in crate::compute) const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Convicted => "convicted",
            Self::Customer | Self::Private | Self::Doubted | Self::Unchecked => "unverified",
            Self::Pending => "pending",
        }
    }
}

/// An audit at its end.
#[derive(Clone, Copy, Debug)]
pub(in crate::compute::customer) struct Outcome<'a> {
    pub(in crate::compute::customer) drawn: &'a Drawn,
    pub(in crate::compute::customer) terms: &'a AuditTerms,
    pub(in crate::compute::customer) segments: u32,
}

/// Who vouches for the result of an order; `drawn` if it has a window.
pub(in crate::compute::customer) fn assurance(order: &Order, drawn: Option<&Drawn>) -> Assurance {
    let Some(Drawn { window, .. }) = drawn else { return Assurance::Customer };
    match window.status {
        WindowStatus::None | WindowStatus::Open => Assurance::Pending,
        WindowStatus::Convicted => Assurance::Convicted,
        WindowStatus::Closed if order.stand.mode == Mode::Private && window.unpaid > 0 => Assurance::Doubted,
        WindowStatus::Closed if order.stand.mode == Mode::Private => Assurance::Private,
        WindowStatus::Closed if window.verified == 0 => Assurance::Unchecked,
        WindowStatus::Closed => Assurance::Verified,
    }
}

impl Outcome<'_> {
    /// Units that were drawn.
    fn drawn(&self) -> u32 {
        let Drawn { window: Window { id, units, rate_ppm, .. }, draw } = *self.drawn;
        if draw.drawn_at == 0 {
            return 0;
        }
        u32::try_from(Draw::new(draw.randomness, id, 0).units(units, rate_ppm).count()).unwrap_or(u32::MAX)
    }

    /// The sentence after "audit".
    pub(in crate::compute::customer) fn sentence(&self, assurance: Assurance) -> String {
        let Window { units, rate_ppm, verified, unpaid, canary_unit, .. } = self.drawn.window;
        let drawn = self.drawn();
        let unpaid = match (unpaid, canary_unit) {
            (0, None) => String::new(),
            (1, None) if assurance == Assurance::Doubted => {
                "; 1 unit was found wrong, or outside the tolerance, and is not paid".to_owned()
            }
            (many, None) if assurance == Assurance::Doubted => {
                format!("; {many} units were found wrong, or outside the tolerance, and are not paid")
            }
            (1, None) => "; 1 unit was outside the tolerance and is not paid".to_owned(),
            (many, None) => format!("; {many} units were outside the tolerance and are not paid"),
            (1, Some(unit)) => format!("; unit {unit} was a canary; 1 unit is not paid"),
            (many, Some(unit)) => format!("; unit {unit} was a canary; {many} units are not paid"),
        };
        let whole = if self.segments == 1 { "" } else { " (in one segment of each)" };
        match assurance {
            Assurance::Pending => "the window is still open: nothing is said yet".to_owned(),
            Assurance::Convicted => {
                let bond = kst(self.terms.bond_wei);
                format!(
                    "CONVICTED: a unit was found wrong; the whole order is refunded, the provider loses its bond of {bond}"
                )
            }
            Assurance::Customer => "checked by you, not by anybody else".to_owned(),
            Assurance::Private | Assurance::Doubted => match self.terms.named.len() {
                1 => format!(
                    "UNVERIFIED (private): the checker that you named found {verified} of {units} units right{unpaid}"
                ),
                many => format!(
                    "UNVERIFIED (private): the {many} checkers that you named found {verified} of {units} units right{unpaid}"
                ),
            },
            Assurance::Unchecked => {
                format!("UNVERIFIED: {drawn} of {units} units were drawn, and no checker found one right{unpaid}")
            }
            Assurance::Verified => {
                let checkers = match self.terms.checkers {
                    1 => "a machine drawn by lot".to_owned(),
                    many => format!("{many} machines drawn by lot for each"),
                };
                let chance = chance_ppm(rate_ppm, self.segments);
                format!(
                    "verified: {verified} of {drawn} drawn units ({units} in all) were found right by {checkers}{whole}; one wrong {} is \
                     drawn with {}{unpaid}",
                    if self.segments == 1 { "unit" } else { "segment" },
                    percent(chance)
                )
            }
        }
    }

    /// The same for programs.
    pub(in crate::compute::customer) fn json(&self, assurance: Assurance) -> Value {
        let Window { id, units, rate_ppm, verified, unpaid, convicted, canary_unit, .. } = self.drawn.window;
        let AuditTerms { checkers, bond_wei, deposit_wei, ref named, .. } = *self.terms;
        json!({
            "window": id,
            "assurance": assurance.name(),
            "sentence": self.sentence(assurance),
            "units": units,
            "drawn": self.drawn(),
            "ratePpm": rate_ppm,
            "checkers": checkers,
            "named": named,
            "verified": verified,
            "unpaid": unpaid,
            "convicted": convicted,
            "canaryUnit": canary_unit,
            "bondWei": bond_wei.to_string(),
            "depositWei": deposit_wei.to_string(),
        })
    }
}

/// The chance that a wrong segment of a unit is in the draw.
const fn chance_ppm(rate_ppm: u32, segments: u32) -> u32 {
    let rate_ppm = if rate_ppm > PPM { PPM } else { rate_ppm };
    match rate_ppm.checked_div(segments) {
        Some(chance) => chance,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{market, windows::tests::drawn};
    use alloy_primitives::{Address, U256};
    use keystead_contracts::storage::Status;

    fn order(mode: Mode) -> Order {
        Order { paid_units: 9, ..market::tests::order(Status::Audited, mode) }
    }

    fn terms(named: usize) -> AuditTerms {
        AuditTerms {
            named: vec![Address::ZERO; named],
            rate_ppm: 30_000,
            checkers: 1,
            bond_wei: U256::from(5),
            deposit_wei: U256::from(50),
            unit_value_wei: None,
        }
    }

    #[test]
    fn only_what_strangers_found_right_is_called_verified() {
        let with = |window| Drawn { window, ..drawn() };
        let open = drawn().window;
        let closed = Window { status: WindowStatus::Closed, ..open };
        let found = Window { verified: 3, ..closed };
        let table = [
            (Mode::Own, None, Assurance::Customer),
            (Mode::Audited, Some(found), Assurance::Verified),
            (Mode::Audited, Some(closed), Assurance::Unchecked),
            (Mode::Audited, Some(open), Assurance::Pending),
            (Mode::Private, Some(found), Assurance::Private),
            (Mode::Private, Some(Window { unpaid: 1, ..found }), Assurance::Doubted),
            (Mode::Audited, Some(Window { status: WindowStatus::Convicted, ..found }), Assurance::Convicted),
        ];
        for (mode, window, expected) in table {
            assert_eq!(assurance(&order(mode), window.map(with).as_ref()), expected, "{mode:?}");
        }
        assert_eq!(order(Mode::Audited).paid_wei(), U256::from(90));
    }

    #[test]
    fn private_and_unchecked_results_say_unverified_in_their_sentence() {
        let open = drawn();
        let window = Window { status: WindowStatus::Closed, verified: 3, unpaid: 1, ..open.window };
        let drawn = Drawn { window, ..open };
        let (one, none) = (terms(1), terms(0));
        let say = |terms, assurance| Outcome { drawn: &drawn, terms, segments: 1 }.sentence(assurance);
        let doubted = say(&one, Assurance::Doubted);
        assert!(
            doubted.starts_with(
                "UNVERIFIED (private): the checker that you named found 3 of 10 units right; 1 unit was found wrong"
            ),
            "{doubted}"
        );
        assert!(!say(&one, Assurance::Private).contains("found wrong"));
        for assurance in [Assurance::Customer, Assurance::Private, Assurance::Doubted, Assurance::Unchecked] {
            assert_eq!(assurance.name(), "unverified", "{assurance:?}");
        }
        assert!(say(&none, Assurance::Unchecked).starts_with("UNVERIFIED: 10 of 10 units were drawn"));
        let said = say(&none, Assurance::Verified);
        assert!(
            said.contains("3 of 10 drawn units") && said.contains("100 %") && said.contains("1 unit was outside"),
            "{said}"
        );
        let told = Drawn { window: Window { canary_unit: Some(7), ..window }, ..open };
        let said_of = Outcome { drawn: &told, terms: &none, segments: 1 }.sentence(Assurance::Verified);
        assert!(said_of.ends_with("; unit 7 was a canary; 1 unit is not paid"), "{said_of}");
        let said = Outcome { drawn: &drawn, terms: &none, segments: 4 }.sentence(Assurance::Verified);
        assert!(said.contains("one wrong segment is drawn with 25 %"), "{said}");
    }
}
