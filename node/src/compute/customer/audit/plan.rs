//! The terms of an order's audit, and what it costs: the one place that knows how the contract's terms are filled.
//!
//! # Design
//! The customer says what is at risk, the provider's free bond says what it can lose. From both the rule of `keystead_audit::economics`
//! gives bond and rate: as much bond as makes the lowest rate enough, or else all that there is and a higher rate. A provider without a
//! bond works in probation, where every unit is drawn. What cannot be made safe is refused if somebody said what is at risk, and said
//! aloud if nobody did.

mod channel;
mod lane;

pub(crate) use channel::{ChannelPlan, budget};

use self::lane::Lane;
use super::{
    canary::{Canary, Toll},
    options::AuditOptions,
    referee::{self, Panel, Times},
};
use crate::compute::{
    amount::kst,
    bond::Bonds,
    checker::judged_by_foreigner,
    customer::plan::Prepared,
    market::Market,
    money::Money,
    named::{self, NameFault, Parties},
    random,
    windows::accusation_wei,
};
use alloy_primitives::{Address, B256, U256};
use eyre::Result;
use keystead_audit::{
    draw::PPM,
    economics::{Checking, Pieces},
};
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS,
    bindings::{
        audit::{Audit as AuditCalls, IAuditTypes as audit_types},
        bond::Bond,
        market::IAuditTypes,
    },
    limits::{AUDIT_BOND_UNITS_MIN, AUDIT_FEE_PPM_MIN, AUDIT_NAMED_MAX, AUDIT_RATE_PPM_MIN},
};
use keystead_job::{Class, JobSpec, Runtime};
use std::sync::Arc;

/// Share of the seats that is taken to say *right* to anything: a third.
const COLLUDING_PPM: u32 = 333_333;
/// What one check of class tolerance notices: it may miss a deviation just above the bound.
const TOLERANCE_POWER_PPM: u32 = 990_000;
/// Checkers where a false result has outside value.
const CHECKERS_AT_RISK: u8 = 3;
/// Parts per million in a percent.
const PPM_PER_PERCENT: u32 = 10_000;

/// What is needed to know the terms; pure.
#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    spec: &'a JobSpec,
    options: &'a AuditOptions,
    shape: Shape,
    /// What a unit is worth: its price, or what the customer states of a price in a token.
    value_wei_per_unit: u128,
    /// Bond of the provider that stands behind nothing.
    free_bond_wei: U256,
}

/// What one window is.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Units in it.
    units: u32,
    /// Segments of each, of which a check sees one.
    segments: u32,
    /// Windows of the provider that are open at once and share its bond.
    at_once: u32,
}

/// How strong the audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Strength {
    bond_wei: U256,
    rate_ppm: u32,
    /// Whether cheating is a loss by this rule.
    is_enough: bool,
}

/// Why a provider cannot take the order with such an audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// Nothing to compare.
    #[error("results of class {0} cannot be audited: they stay unverified")]
    Class(Class),
    /// No checker that is drawn would look.
    #[error(
        "no checker that is drawn runs a checker program which belongs to no built-in recipe: whoever wrote it could have it contradict them. Name checkers of \
         yours, or order without an audit: a sample is run again on this machine"
    )]
    Foreign,
    /// Too many names.
    #[error("a private order names at most {AUDIT_NAMED_MAX} checkers: got {0}")]
    Names(usize),
    /// One that cannot be named.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// The class needs a bond.
    #[error(
        "an audit of class {class} needs a bond of {} behind it, provider {provider} has {} that is free: choose another provider",
        kst(*needed_wei),
        kst(*free_wei)
    )]
    Bond {
        /// Who.
        provider: Address,
        /// Of the job.
        class: Class,
        /// The least.
        needed_wei: U256,
        /// What there is.
        free_wei: U256,
    },
    /// Something is at risk, and no dispute about it would end with a ruling.
    #[error("{}", referee::never(*run_seconds, *is_least))]
    NoPanel {
        /// What one run takes a referee.
        run_seconds: u64,
        /// It may take longer.
        is_least: bool,
    },
    /// Even with every unit checked cheating might pay.
    #[error(
        "with {} at risk, provider {provider} could gain by cheating even if every unit is checked: that takes a bond of {}, it has {} that \
         is free. Take more checkers (--checkers), another provider, or a lower --value-at-risk",
        kst(*risk_wei),
        needed_wei.map_or_else(|| "more than there is".to_owned(), kst),
        kst(*free_wei)
    )]
    Risk {
        /// Who.
        provider: Address,
        /// What the customer declared.
        risk_wei: U256,
        /// What would be enough.
        needed_wei: Option<U256>,
        /// What there is.
        free_wei: U256,
    },
}

/// An audit as it will be ordered.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) terms: IAuditTypes::Terms,
    pub(crate) named: Vec<Address>,
    /// What is paid for checks beforehand.
    pub(crate) deposit_wei: U256,
    /// Chance of a unit to be drawn, with the provider's record.
    pub(crate) rate_ppm: u32,
    /// What is put down to accuse a unit.
    pub(crate) accusation_wei: U256,
    /// The unit that is wrong on purpose, if one is, and what telling it may take.
    pub(in crate::compute::customer) canary: Option<(Canary, Toll)>,
    /// What a unit is worth: its price if it is in KST.
    pub(crate) value_wei_per_unit: u128,
    fee_wei: U256,
    units: u32,
    is_enough: bool,
    /// Chance that one wrong unit, or segment, is found.
    caught_ppm: u32,
    at_risk_wei: Option<U256>,
    /// Places of the list that checkers are drawn from, as it is now.
    places: u32,
    /// What a panel of referees can do about a dispute.
    panel: Panel,
}

impl Plan {
    /// The terms for an order from one provider of units that are worth so much; the outer error is the node's.
    pub(in crate::compute::customer) async fn make(
        options: &AuditOptions,
        market: &Market,
        prepared: &Prepared,
        (provider, value_wei_per_unit): (Address, u128),
        canary: Option<Canary>,
    ) -> Result<Result<Self, Unfit>> {
        let parties = Parties { provider, customer: market.account.address() };
        if let Some(fault) = named::fault(&options.name_checker, parties) {
            return Ok(Err(fault.into()));
        }
        let bonds = Bonds { account: Arc::clone(&market.account) };
        let ask = Ask {
            spec: &prepared.spec,
            options,
            shape: Shape::of_order(&prepared.spec),
            value_wei_per_unit,
            free_bond_wei: bonds.free_wei_of(provider).await?,
        };
        let (mut terms, strength) = match ask.terms(provider) {
            Ok(terms) => terms,
            Err(unfit) => return Ok(Err(unfit)),
        };
        terms.canary = match canary {
            Some(canary) => canary.hash(),
            // Nobody can tell it from a canary's hash.
            None => random::word()?,
        };
        let units = prepared.spec.unit_count;
        let panel = match panel(options, prepared, &terms).await {
            Ok(panel) => panel,
            Err(unfit) => return Ok(Err(unfit)),
        };
        lengthen(&mut terms, panel);
        let deposit = AuditCalls::depositWeiCall {
            provider,
            units,
            priceWeiPerUnit: value_wei_per_unit,
            terms: terms_as!(audit_types::Terms, &terms),
        };
        let deposit_wei = market.account.read(AUDIT_ADDRESS, &deposit).await?;
        let rate_ppm = market.windows().effective_rate_ppm(provider, &terms).await?;
        let fee_wei = part(U256::from(value_wei_per_unit), terms.feePpm);
        let places = market.account.read(BOND_ADDRESS, &Bond::placesNowCall {}).await?.places;
        Ok(Ok(Self {
            named: options.name_checker.clone(),
            deposit_wei,
            rate_ppm,
            accusation_wei: accusation_wei(fee_wei),
            canary: canary.map(|canary| (canary, Toll::new(fee_wei, terms.checkers))),
            value_wei_per_unit,
            fee_wei,
            units,
            is_enough: strength.is_enough,
            caught_ppm: Checking { rate_ppm, ..ask.checking(terms.checkers) }.caught_ppm(),
            at_risk_wei: options.value_at_risk,
            places,
            panel,
            terms,
        }))
    }

    /// What must be there beside the price and the deposit, wei: for what its customer may have to say on the chain.
    pub(crate) fn later_wei(&self) -> U256 {
        self.accusation_wei.saturating_add(self.canary_wei())
    }

    /// What telling its canary may take, wei; nothing without one.
    pub(in crate::compute::customer) fn canary_wei(&self) -> U256 {
        self.canary.map_or(U256::ZERO, |(_, toll)| toll.max_wei)
    }

    /// What checks cost if all is right, about, wei.
    pub(in crate::compute::customer) fn expected_wei(&self) -> U256 {
        self.expected().1
    }

    /// Units that are drawn, with half as many again as are expected: as many as checks are paid for.
    pub(in crate::compute::customer) fn drawn_most(&self) -> u64 {
        let millionths = u64::from(self.units).saturating_mul(self.rate_ppm.into());
        let half_more = millionths.saturating_add(millionths / 2).div_ceil(PPM.into()).saturating_add(1);
        half_more.min(self.units.into())
    }

    /// Checks that are expected, and what they cost.
    fn expected(&self) -> (U256, U256) {
        let millionths = U256::from(self.units)
            .saturating_mul(U256::from(self.rate_ppm))
            .saturating_mul(U256::from(self.terms.checkers));
        let checks = millionths.div_ceil(U256::from(PPM));
        (checks, checks.saturating_mul(self.fee_wei).min(self.deposit_wei))
    }

    /// What the person reads before anything is paid. `price` is of all units, in this money.
    pub(crate) fn lines(&self, money: &Money, price: U256) -> Vec<String> {
        let (checks, expected_wei) = self.expected();
        let bond_wei = U256::from(self.terms.bondWei);
        let k = self.terms.checkers;
        let checkers = if k == 1 { "1 checker".to_owned() } else { format!("{k} checkers") };
        let who = if self.named.is_empty() { "drawn by lot" } else { "that you named" };
        let draw = if self.rate_ppm >= PPM {
            format!("every unit by {checkers} {who}")
        } else {
            format!("each unit with a chance of {} by {checkers} {who}", percent(self.rate_ppm))
        };
        let mut lines = vec![
            format!("Audit: {draw}, {} a check; about {checks} checks are expected", kst(self.fee_wei)),
            format!(
                "Deposit for checks: {}, of which about {} come back",
                kst(self.deposit_wei),
                kst(self.deposit_wei.saturating_sub(expected_wei))
            ),
            format!(
                "All in: {} are paid now, about {} are spent if all is right, and the gas below",
                money.show_with(price, self.deposit_wei),
                money.show_with(price, expected_wei)
            ),
        ];
        if !self.named.is_empty() {
            lines.push(
                "Private: the named checkers stake nothing; for everybody else the result is unverified".to_owned(),
            );
            return lines;
        }
        lines.extend(self.canary.iter().map(|(_, toll)| toll.line()));
        lines.extend(self.panel.line());
        if self.places == 0 {
            lines.push(
                "Warning: nobody on this network has a seat now, so nobody may check: then the result stays unverified, and the deposit comes back"
                    .to_owned(),
            );
        }
        let lane = Lane { bond_wei, asked_ppm: self.terms.ratePpm, rate_ppm: self.rate_ppm };
        lines.extend(lane.probation("unit"));
        if !bond_wei.is_zero() {
            let bond = kst(bond_wei);
            lines.push(format!(
                "Bond of the provider behind it: {bond}, lost with the price if one unit is found wrong"
            ));
        }
        lines.push(worth(("unit", "order"), self.is_enough, self.at_risk_wei, self.caught_ppm));
        lines
    }
}

const fn asked(terms: &IAuditTypes::Terms) -> Times {
    Times { check_seconds: terms.checkSeconds, reveal_seconds: terms.revealSeconds }
}

/// Makes the times long enough for a panel, if they are not.
const fn lengthen(terms: &mut IAuditTypes::Terms, panel: Panel) {
    let Times { check_seconds, reveal_seconds } = panel.times(asked(terms));
    terms.checkSeconds = check_seconds;
    terms.revealSeconds = reveal_seconds;
}

/// What a panel can do about this job. Nobody can take what named checkers find before one.
async fn panel(options: &AuditOptions, prepared: &Prepared, terms: &IAuditTypes::Terms) -> Result<Panel, Unfit> {
    if !options.name_checker.is_empty() {
        return Ok(Panel::AsChecked);
    }
    let run = prepared.interpreted.get_or_init(|| Box::pin(referee::measure(prepared))).await;
    match Panel::of(prepared.spec.class, *run, asked(terms)) {
        Panel::Never { run_seconds, is_least } if options.value_at_risk.is_some() => {
            Err(Unfit::NoPanel { run_seconds, is_least })
        }
        panel => Ok(panel),
    }
}

impl Shape {
    /// An order is one window, and all of its provider's free bond may stand behind it.
    fn of_order(spec: &JobSpec) -> Self {
        Self { units: spec.unit_count, segments: spec.segment_count, at_once: 1 }
    }
}

impl Ask<'_> {
    /// Everything but the canary.
    fn terms(&self, provider: Address) -> Result<(IAuditTypes::Terms, Strength), Unfit> {
        let Self { spec, options, shape, .. } = *self;
        if !matches!(spec.class, Class::Exact | Class::SelfChecking | Class::Tolerance) {
            return Err(Unfit::Class(spec.class));
        }
        let names = options.name_checker.len();
        if judged_by_foreigner(spec, names > 0) {
            return Err(Unfit::Foreign);
        }
        if names > AUDIT_NAMED_MAX {
            return Err(Unfit::Names(names));
        }
        let usual = match (u8::try_from(names).unwrap_or(u8::MAX), options.value_at_risk) {
            (0, Some(_)) => CHECKERS_AT_RISK,
            (0, None) => 1,
            (names, _) => names,
        };
        let checkers = options.checks.checkers.unwrap_or(usual);
        let strength = self.strength(provider, checkers)?;
        let terms = IAuditTypes::Terms {
            class: spec.class as u8,
            checkers,
            abilities: abilities(spec),
            ratePpm: strength.rate_ppm,
            feePpm: options
                .checks
                .checker_fee
                .map_or_else(|| usual_fee_ppm(spec, shape.segments), |fee| fee.saturating_mul(PPM_PER_PERCENT)),
            checkSeconds: options.checks.checker_seconds,
            revealSeconds: options.checks.reveal_seconds,
            appealSeconds: options.checks.appeal_seconds,
            segments: shape.segments,
            bondWei: strength.bond_wei.saturating_to(),
            named: named::hash_of(&options.name_checker),
            canary: B256::ZERO,
        };
        Ok((terms, strength))
    }

    /// The least bond that the contract takes, if it takes any.
    fn bond_floor_wei(&self) -> U256 {
        U256::from(self.value_wei_per_unit).saturating_mul(U256::from(AUDIT_BOND_UNITS_MIN))
    }

    /// What of the free bond may stand behind one window: an even part, if the contract takes that, or else all of it.
    fn usable_bond_wei(&self) -> U256 {
        let (floor_wei, free_wei) = (self.bond_floor_wei(), self.free_bond_wei.min(U256::from(u128::MAX)));
        // No provider lets its customer's own program decide over its bond.
        if self.free_bond_wei < floor_wei || judged_by_foreigner(self.spec, false) {
            return U256::ZERO;
        }
        let part_wei = free_wei.checked_div(U256::from(self.shape.at_once)).unwrap_or(free_wei);
        if part_wei < floor_wei { free_wei } else { part_wei }
    }

    fn strength(&self, provider: Address, checkers: u8) -> Result<Strength, Unfit> {
        let Self { spec, options, free_bond_wei: free_wei, .. } = *self;
        let floor_wei = self.bond_floor_wei();
        let asked_ppm =
            options.checks.audit_rate.map_or(AUDIT_RATE_PPM_MIN, |percent| percent.saturating_mul(PPM_PER_PERCENT));
        let may_lack_bond = spec.class != Class::Tolerance;
        if free_wei < floor_wei && !may_lack_bond {
            return Err(Unfit::Bond { provider, class: spec.class, needed_wei: floor_wei, free_wei });
        }
        if !options.name_checker.is_empty() {
            // What named checkers find slashes nobody, so a bond would stand behind little.
            let (bond_wei, rate_ppm) = if may_lack_bond { (U256::ZERO, PPM) } else { (floor_wei, asked_ppm) };
            return Ok(Strength { bond_wei, rate_ppm, is_enough: false });
        }
        let (pieces, checking) = (self.pieces(), self.checking(checkers));
        let at = |rate_ppm| Checking { rate_ppm, ..checking };
        let bond_for = |rate_ppm| pieces.bond_min(at(rate_ppm));
        let usable_wei = self.usable_bond_wei();
        // Without a bond the contract draws every unit.
        let asked_ppm = if usable_wei.is_zero() { PPM } else { asked_ppm };
        let wanted_wei = bond_for(asked_ppm).map(|bond| if usable_wei.is_zero() { bond } else { bond.max(floor_wei) });
        if let Some(bond_wei) = wanted_wei.filter(|bond| *bond <= usable_wei) {
            return Ok(Strength { bond_wei, rate_ppm: asked_ppm, is_enough: true });
        }
        if let Some(rate_ppm) = pieces.rate_min_ppm(checking, usable_wei) {
            return Ok(Strength { bond_wei: usable_wei, rate_ppm: rate_ppm.max(asked_ppm), is_enough: true });
        }
        match options.value_at_risk {
            Some(risk_wei) => {
                let needed_wei = bond_for(PPM).map(|bond| bond.saturating_mul(U256::from(self.shape.at_once)));
                Err(Unfit::Risk { provider, risk_wei, needed_wei, free_wei })
            }
            None => Ok(Strength { bond_wei: usable_wei, rate_ppm: asked_ppm, is_enough: false }),
        }
    }

    /// A check looks at one segment of a drawn unit.
    fn pieces(&self) -> Pieces {
        let Self { options, shape, value_wei_per_unit, .. } = *self;
        Pieces {
            count: shape.units.saturating_mul(shape.segments),
            price: U256::from(value_wei_per_unit).saturating_mul(U256::from(shape.units)),
            gain: options.value_at_risk.unwrap_or_default(),
        }
    }

    fn checking(&self, checkers: u8) -> Checking {
        let whole = if self.spec.class == Class::Tolerance { TOLERANCE_POWER_PPM } else { PPM };
        // A checker program looks at the whole unit.
        let segments = if self.spec.class == Class::SelfChecking { 1 } else { self.shape.segments };
        Checking {
            rate_ppm: AUDIT_RATE_PPM_MIN,
            power_ppm: whole.checked_div(segments).unwrap_or_default(),
            colluding_ppm: COLLUDING_PPM,
            checkers: u32::from(checkers),
        }
    }
}

/// What a checker's machine must be able to run (specs/0008-audit.md §4).
fn abilities(spec: &JobSpec) -> u8 {
    const WASM: u8 = 1;
    const WGSL_EXACT: u8 = 2;
    const WGSL_FLOAT: u8 = 4;
    match (spec.runtime, spec.class) {
        // A checker program is one of `wasm/1`.
        (_, Class::SelfChecking) | (Runtime::Wasm1, _) => WASM,
        (Runtime::Wgsl1, Class::Exact) => WGSL_EXACT,
        (Runtime::Wgsl1, _) => WGSL_FLOAT,
    }
}

/// The share of a unit's work that a check is: one segment of it; a checker program costs little.
fn usual_fee_ppm(spec: &JobSpec, segments: u32) -> u32 {
    if spec.class == Class::SelfChecking {
        return AUDIT_FEE_PPM_MIN;
    }
    PPM.checked_div(segments).unwrap_or_default().max(AUDIT_FEE_PPM_MIN)
}

fn part(whole: U256, ppm: u32) -> U256 {
    whole.saturating_mul(U256::from(ppm)).checked_div(U256::from(PPM)).unwrap_or_default()
}

/// `3 %`, `1.98 %`: exact, without trailing zeros.
pub(crate) fn percent(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / PPM_PER_PERCENT, ppm % PPM_PER_PERCENT);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What an audit is worth to whom cheating would pay, of an order's units or a job's steps.
fn worth((piece, whole): (&str, &str), is_enough: bool, at_risk_wei: Option<U256>, caught_ppm: u32) -> String {
    match (is_enough, at_risk_wei) {
        (true, Some(risk)) => format!(
            "With that, cheating is a loss as long as a false result is worth less than {}, even if a third of all checkers collude",
            kst(risk)
        ),
        (true, None) => format!(
            "With that, cheating is a loss even if a third of all checkers collude, as long as a false result has no value outside of this {whole} \
             (--value-at-risk)"
        ),
        (false, _) => format!(
            "Without a bond a cheat loses no more than its pay; one wrong {piece} is found with {}, even if a third of all checkers collude",
            percent(caught_ppm)
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::{
        super::{canary::tests::CANARY, options::CheckOptions},
        *,
    };
    use crate::compute::samples::spec;
    use keystead_job::spec::Draft;

    pub(super) const PRICE: u128 = 1_000_000;

    pub(super) fn options() -> AuditOptions {
        AuditOptions {
            audit: true,
            checks: CheckOptions {
                checker_seconds: 120,
                reveal_seconds: 60,
                appeal_seconds: 60,
                ..CheckOptions::default()
            },
            ..AuditOptions::default()
        }
    }

    fn terms(spec: &JobSpec, options: &AuditOptions, bond: u128) -> Result<(IAuditTypes::Terms, Strength), Unfit> {
        let shape = Shape::of_order(spec);
        let ask = Ask { spec, options, shape, value_wei_per_unit: PRICE, free_bond_wei: U256::from(bond) };
        ask.terms(Address::repeat_byte(9))
    }

    #[test]
    fn a_provider_with_bond_enough_is_checked_at_the_lowest_rate() {
        let (terms, strength) = terms(&spec(Class::Exact, 64, 1), &options(), 1_000 * PRICE).unwrap();
        assert_eq!((terms.ratePpm, terms.checkers, terms.feePpm), (30_000, 1, 1_000_000));
        // The contract's floor is above what the rule asks for.
        assert_eq!(terms.bondWei, 100 * PRICE);
        assert!(strength.is_enough && terms.named.is_zero());
    }

    #[test]
    fn without_a_bond_every_unit_is_drawn_and_a_tolerance_is_not_ordered() {
        let (terms_, _) = terms(&spec(Class::Exact, 64, 1), &options(), 100 * PRICE - 1).unwrap();
        assert_eq!((terms_.ratePpm, terms_.bondWei), (1_000_000, 0));
        let (terms_, _) = terms(&spec(Class::SelfChecking, 64, 1), &options(), 0).unwrap();
        assert_eq!((terms_.ratePpm, terms_.bondWei, terms_.abilities, terms_.feePpm), (1_000_000, 0, 1, 250_000));
        let unfit = terms(&spec(Class::Tolerance, 64, 1), &options(), 100 * PRICE - 1).unwrap_err();
        assert!(matches!(unfit, Unfit::Bond { .. }) && unfit.to_string().contains("another provider"), "{unfit}");
        assert!(terms(&spec(Class::Tolerance, 64, 1), &options(), 100 * PRICE).is_ok());
    }

    #[test]
    fn a_checker_program_that_is_built_in_nowhere_is_judged_by_named_checkers_alone_and_over_no_bond() {
        let checker = keystead_job::Checker { program_hash: B256::repeat_byte(4), fuel_max: 1_000 };
        let foreign =
            JobSpec::new(Draft { checker: Some(checker), ..(*spec(Class::SelfChecking, 64, 1)).clone() }).unwrap();
        let unfit = terms(&foreign, &options(), 1_000 * PRICE).unwrap_err();
        assert!(unfit == Unfit::Foreign && unfit.to_string().contains("Name checkers"), "{unfit}");
        let named = AuditOptions { name_checker: vec![Address::repeat_byte(7)], ..options() };
        assert_eq!(terms(&foreign, &named, 1_000 * PRICE).unwrap().0.bondWei, 0);
    }

    #[test]
    fn what_is_at_risk_takes_more_bond_then_a_higher_rate_and_is_refused_at_last() {
        let risk = |wei: u128| AuditOptions { value_at_risk: Some(U256::from(wei)), ..options() };
        let job = spec(Class::Exact, 64, 1);
        // q = 3 % * (1 - 1/27) = 2.88 %: a bond of about 34 times what is at risk, as far as the price does not do it.
        let (terms_, strength) = terms(&job, &risk(100 * PRICE), 100_000 * PRICE).unwrap();
        assert_eq!((terms_.ratePpm, terms_.checkers), (30_000, 3));
        assert!((3_300 * PRICE..3_500 * PRICE).contains(&terms_.bondWei), "{}", terms_.bondWei);
        assert!(strength.is_enough);
        // With a tenth of it all of it is locked, and the rate rises about tenfold.
        let (terms_, strength) = terms(&job, &risk(100 * PRICE), 340 * PRICE).unwrap();
        assert_eq!(terms_.bondWei, 340 * PRICE);
        assert!((150_000..350_000).contains(&terms_.ratePpm), "{}", terms_.ratePpm);
        assert!(strength.is_enough);
        // Three checkers of whom a third colludes miss one of 27: so much more than what can be lost cannot be at risk.
        let unfit = terms(&job, &risk(1_000_000 * PRICE), 340 * PRICE).unwrap_err();
        assert!(matches!(unfit, Unfit::Risk { .. }) && unfit.to_string().contains("--value-at-risk"), "{unfit}");
        // Nobody said what is at risk: a window of one unit in probation is ordered, and its weakness is said.
        let (_, strength) = terms(&spec(Class::Exact, 1, 1), &options(), 0).unwrap();
        assert!(!strength.is_enough);
    }

    #[test]
    fn a_unit_of_several_segments_is_checked_in_one_and_paid_for_one() {
        let (terms_, _) = terms(&spec(Class::Tolerance, 10, 8), &options(), 1_000 * PRICE).unwrap();
        assert_eq!((terms_.segments, terms_.feePpm, terms_.abilities), (8, 250_000, 4));
        let (terms_, _) = terms(&spec(Class::Exact, 10, 2), &options(), 1_000 * PRICE).unwrap();
        assert_eq!(terms_.feePpm, 500_000);
    }

    #[test]
    fn named_checkers_make_it_private_and_a_fifth_is_refused() {
        let naming = |count| AuditOptions {
            private: true,
            audit: false,
            name_checker: (1..=count).map(Address::repeat_byte).collect(),
            ..options()
        };
        assert!(naming(1).is_wanted() && !AuditOptions { private: true, audit: false, ..options() }.is_wanted());
        let job = spec(Class::Exact, 10, 1);
        let (terms_, strength) = terms(&job, &naming(2), 1_000 * PRICE).unwrap();
        assert_eq!((terms_.checkers, terms_.bondWei, terms_.ratePpm), (2, 0, 1_000_000));
        assert_eq!(terms_.named, named::hash_of(&naming(2).name_checker));
        assert!(!terms_.named.is_zero());
        assert!(!strength.is_enough);
        assert_eq!(terms(&job, &naming(5), 0).unwrap_err(), Unfit::Names(5));
        assert!(terms(&job, &naming(4), 0).is_ok());
    }

    #[test]
    fn what_a_canary_may_take_is_said_beside_the_price_and_must_be_there() {
        let (terms, strength) = terms(&spec(Class::Exact, 64, 1), &options(), 1_000 * PRICE).unwrap();
        let fee_wei = U256::from(PRICE);
        let without = Plan {
            named: Vec::new(),
            deposit_wei: U256::from(43 * PRICE),
            rate_ppm: terms.ratePpm,
            accusation_wei: accusation_wei(fee_wei),
            canary: None,
            value_wei_per_unit: PRICE,
            fee_wei,
            units: 64,
            is_enough: strength.is_enough,
            caught_ppm: 30_000,
            at_risk_wei: None,
            places: 9,
            panel: Panel::AsChecked,
            terms,
        };
        let said = |plan: &Plan| plan.lines(&Money::kst(), U256::from(64 * PRICE)).join("\n");
        assert!(!said(&without).contains("Canary"), "{}", said(&without));
        assert_eq!((without.later_wei(), without.canary_wei()), (U256::from(31 * PRICE), U256::ZERO));
        // Two are expected of 64 at 3 %.
        assert_eq!((without.drawn_most(), without.expected_wei()), (4, U256::from(2 * PRICE)));
        assert_eq!(Plan { rate_ppm: PPM, ..without.clone() }.drawn_most(), 64);
        let toll = Toll::new(fee_wei, without.terms.checkers);
        let with = Plan { canary: Some((CANARY, toll)), ..without };
        assert!(said(&with).contains(&toll.line()), "{}", said(&with));
        // One checker and two of round 1: ten fees for two of them, and the bond; beside the bond of an accusation.
        assert_eq!((with.canary_wei(), with.later_wei()), (U256::from(51 * PRICE), U256::from(82 * PRICE)));
    }

    #[test]
    fn shares_are_said_exactly() {
        let table = [(30_000, "3 %"), (19_800, "1.98 %"), (1_000_000, "100 %"), (1, "0.0001 %"), (0, "0 %")];
        table.into_iter().for_each(|(ppm, words)| assert_eq!(percent(ppm), words));
    }
}
