//! Windows of audited channels: what is known of each, how its audit ended, and what all of them are worth in words.
//!
//! # Invariants
//! *Verified* is said only of what machines drawn by lot found right; what no provider announced, and what nobody checked, is *unverified*.

use super::{
    journal::{Audited, Place},
    state::State,
};
use crate::compute::{
    amount::{counted, kst},
    customer::audit::{outcome::Assurance, plan::percent},
    windows::{Drawn, Window as Found, WindowStatus},
};
use alloy_primitives::{Address, B256, U256};
use keystead_audit::Draw;
use keystead_job::Step;
use keystead_lease::Provider;
use keystead_payment::Budget;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Open windows that are named one by one.
const NAMED_MAX: usize = 8;
/// Of a map without audits. The certificate of an order that only its customer checked has the same words (specs/0002-proof-bundle.md §11).
const CUSTOMER_ALONE: &str =
    "Audit: none. UNVERIFIED for anybody but its customer: nobody else checked it (--audit has strangers check it).";

/// A window that was paid.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) provider: Provider,
    pub(super) channel: B256,
    /// In its channel.
    pub(super) number: u64,
    pub(super) since_block: u64,
    pub(super) budget_wei: u128,
    pub(super) units: u32,
    /// Steps that its customer's own check found right.
    pub(super) checked: u32,
    /// From which the salts of its commitment follow; an older journal has none.
    pub(super) secret: Option<B256>,
    /// Empty once neither a checker nor a certificate can ask for them.
    pub(super) steps: Vec<Step>,
    /// The states after them; empty once nobody asks for them any more.
    pub(super) outputs: Vec<Place>,
    /// Their names, for a certificate, once the states are forgotten.
    pub(super) names: Vec<B256>,
    pub(super) verdict: Option<Verdict>,
    /// Steps that were thrown away with the state that they went on from, which another provider made.
    pub(super) lost: u32,
}

/// How the audit of a window ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Verdict {
    pub(super) end: WindowEnd,
    pub(super) drawn: u32,
    pub(super) verified: u32,
    /// Steps outside of the tolerance.
    pub(super) unpaid: u32,
    pub(super) rate_ppm: u32,
    pub(super) checkers: u8,
    /// What was taken from the channel for its checks.
    pub(super) taken_wei: u128,
    /// What checks of the drawn steps cost; a dispute costs more.
    pub(super) cost_wei: u128,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WindowEnd {
    /// Nothing was found wrong.
    Closed,
    /// A step was found wrong.
    Convicted,
    /// Its provider did not announce it in time: nobody checked it. The channel does not pay it before it is announced and its audit is over.
    Unannounced,
}

impl Verdict {
    /// Of a window that nobody announced.
    pub(super) const UNANNOUNCED: Self = Self {
        end: WindowEnd::Unannounced,
        drawn: 0,
        verified: 0,
        unpaid: 0,
        rate_ppm: 0,
        checkers: 0,
        taken_wei: 0,
        cost_wei: 0,
    };

    /// As the chain has it; `None` while it goes on.
    pub(super) fn of(found: &Drawn) -> Option<Self> {
        let Found { id, status, checkers, units, rate_ppm, verified, unpaid, fee_wei, .. } = found.window;
        let end = match status {
            WindowStatus::None | WindowStatus::Open => return None,
            WindowStatus::Closed => WindowEnd::Closed,
            WindowStatus::Convicted => WindowEnd::Convicted,
        };
        let draw = found.draw;
        let drawn =
            if draw.drawn_at == 0 { 0 } else { Draw::new(draw.randomness, id, 0).units(units, rate_ppm).count() };
        let budget = Budget { rate_ppm, checkers, fee_wei: fee_wei.saturating_to() };
        let drawn = u32::try_from(drawn).unwrap_or(u32::MAX);
        let cost_wei = budget.fee_wei.saturating_mul(u128::from(drawn)).saturating_mul(checkers.into());
        Some(Self { end, drawn, verified, unpaid, rate_ppm, checkers, taken_wei: budget.of(units), cost_wei })
    }
}

impl Window {
    /// As its settlement says; its states are those after each step.
    pub(super) fn of(provider: Provider, audited: &Audited, states: &[Place]) -> Self {
        let Audited { channel, number, since_block, budget_wei, secret, ref inputs, .. } = *audited;
        let step = |(place, input): (&Place, &B256)| Step {
            unit: place.unit,
            segment: place.done.saturating_sub(1),
            input: *input,
        };
        Self {
            provider,
            channel,
            number,
            since_block,
            budget_wei,
            units: u32::try_from(states.len()).unwrap_or(u32::MAX),
            checked: 0,
            secret,
            steps: states.iter().zip(inputs).map(step).collect(),
            outputs: states.to_vec(),
            names: Vec::new(),
            verdict: None,
            lost: 0,
        }
    }

    /// Counts the steps whose states do not stand any more. Those that nobody goes on from always stand, and may be forgotten.
    pub(super) fn lose(&mut self, stands: impl Fn(&Place) -> bool) {
        let lost = self.outputs.iter().filter(|place| !stands(place)).count();
        self.lost = u32::try_from(lost).unwrap_or(u32::MAX);
    }

    /// Whether nobody waits for its announcement any more. It may still come, as long as the channel lives.
    pub(super) fn is_unannounced(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict.end == WindowEnd::Unannounced)
    }

    /// Whether checkers may still ask for what it has.
    pub(super) fn is_over(&self) -> bool {
        self.verdict.is_some() && !self.is_unannounced()
    }

    /// Names of the states after its steps; none once they are not listed any more.
    pub(super) fn results(&self) -> Vec<B256> {
        if self.outputs.is_empty() {
            return self.names.clone();
        }
        self.outputs.iter().map(|place| place.name).collect()
    }

    /// It is over, and its states are the inputs of no other window's steps. What a certificate says of it stays.
    pub(super) fn forget(&mut self) {
        self.names = self.results();
        self.outputs = Vec::new();
        if self.secret.is_none() {
            self.unlist();
        }
    }

    /// No certificate lists it: what nobody else asks for is not kept.
    pub(super) fn unlist(&mut self) {
        if self.outputs.is_empty() {
            (self.steps, self.names) = (Vec::new(), Vec::new());
        }
    }

    /// What its checks cost; while that is not known, what they may take from its channel.
    pub(super) fn checks_wei(&self) -> u128 {
        self.verdict.map_or(self.budget_wei, |verdict| verdict.cost_wei)
    }
}

/// Many windows, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) windows: u64,
    pub(super) steps: u64,
    /// Of these, the ones that were thrown away with what they went on from.
    pub(super) lost: u64,
    /// Windows that are not over.
    pub(super) open: u64,
    pub(super) drawn: u64,
    pub(super) verified: u64,
    pub(super) unpaid: u64,
    pub(super) convicted: u64,
    /// Windows and steps that nobody announced.
    pub(super) unaudited: u64,
    pub(super) steps_unaudited: u64,
    pub(super) taken_wei: u128,
    /// The lowest rate and the fewest checkers of those that were closed.
    least: Option<(u32, u8)>,
}

impl Tally {
    pub(super) fn of<'a>(windows: impl Iterator<Item = &'a Window>) -> Self {
        windows.fold(Self::default(), |mut tally, window| {
            tally.count(window);
            tally
        })
    }

    fn count(&mut self, window: &Window) {
        let steps = u64::from(window.units);
        self.windows = self.windows.saturating_add(1);
        self.steps = self.steps.saturating_add(steps);
        self.lost = self.lost.saturating_add(window.lost.into());
        let Some(verdict) = window.verdict else {
            self.open = self.open.saturating_add(1);
            return;
        };
        self.taken_wei = self.taken_wei.saturating_add(verdict.taken_wei);
        self.drawn = self.drawn.saturating_add(verdict.drawn.into());
        self.verified = self.verified.saturating_add(verdict.verified.into());
        self.unpaid = self.unpaid.saturating_add(verdict.unpaid.into());
        match verdict.end {
            WindowEnd::Closed => {
                let (rate, checkers) = self.least.unwrap_or((u32::MAX, u8::MAX));
                self.least = Some((rate.min(verdict.rate_ppm), checkers.min(verdict.checkers)));
            }
            WindowEnd::Convicted => self.convicted = self.convicted.saturating_add(1),
            WindowEnd::Unannounced => {
                self.unaudited = self.unaudited.saturating_add(1);
                self.steps_unaudited = self.steps_unaudited.saturating_add(steps);
            }
        }
    }

    /// Who vouches for what is kept, in a sentence; it is of so many `steps` in all.
    pub(super) fn sentence(&self, steps: u64) -> String {
        let Self { drawn, verified, .. } = *self;
        let mut sentence = match self.least {
            Some((rate_ppm, checkers)) if verified > 0 => {
                let who = match checkers {
                    0 | 1 => "a machine drawn by lot".to_owned(),
                    many => format!("{many} machines drawn by lot for each"),
                };
                format!(
                    "verified: {verified} of {drawn} drawn steps ({steps} in all) were found right by {who}; one wrong step of an audited \
                     window is drawn with {}",
                    percent(rate_ppm)
                )
            }
            _ => format!("UNVERIFIED: {drawn} of {steps} steps were drawn, and no checker found one right"),
        };
        if self.unpaid > 0 {
            sentence.push_str(&format!("; {} outside the tolerance", counted(self.unpaid, "step")));
        }
        if self.unaudited > 0 {
            sentence.push_str(&format!(
                "; NOT AUDITED: {} in {}, which their providers did not announce",
                counted(self.steps_unaudited, "step"),
                counted(self.unaudited, "window")
            ));
        }
        if self.lost > 0 {
            sentence.push_str(&format!(
                "; {} of these windows thrown away with what they went on from: draws among them count here, too",
                counted(self.lost, "step")
            ));
        }
        let beside = steps.saturating_sub(self.steps.saturating_sub(self.lost));
        if beside > 0 {
            sentence
                .push_str(&format!("; {} in channels without an audit: checked by you alone", counted(beside, "step")));
        }
        if self.open > 0 {
            sentence.push_str(&format!("; nothing is said yet of {}", counted(self.open, "open window")));
        }
        sentence
    }

    /// Who vouches for what is kept, so many `steps` in all: strangers only if their checks cover every step, and found more right than can be steps that
    /// count for nothing. So says the certificate.
    const fn assurance(&self, steps: u64) -> Assurance {
        let covered = self.steps.saturating_sub(self.lost).saturating_sub(self.steps_unaudited);
        match self {
            Self { windows: 0, .. } => Assurance::Customer,
            Self { open: 1.., .. } => Assurance::Pending,
            Self { verified, lost, .. } if *verified > *lost && covered >= steps => Assurance::Verified,
            _ => Assurance::Unchecked,
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "windows": self.windows,
            "steps": self.steps,
            "stepsThrownAway": self.lost,
            "open": self.open,
            "drawn": self.drawn,
            "verified": self.verified,
            "unpaid": self.unpaid,
            "convicted": self.convicted,
            "notAudited": self.unaudited,
            "stepsNotAudited": self.steps_unaudited,
            "takenWei": self.taken_wei.to_string(),
        })
    }

    /// One provider's, as a line.
    fn line(&self, account: Address) -> String {
        let mut line = format!(
            "  {account}  {} of {}: {} drawn, {} found right",
            counted(self.windows, "window"),
            counted(self.steps, "step"),
            self.drawn,
            self.verified
        );
        let parts = [
            (self.unpaid, "step", "outside the tolerance"),
            (self.lost, "step", "thrown away with what they went on from"),
            (self.convicted, "window", "CONVICTED"),
            (self.unaudited, "window", "not audited"),
            (self.open, "window", "still open"),
        ];
        for (count, piece, how) in parts.into_iter().filter(|(count, ..)| *count > 0) {
            line.push_str(&format!(", {} {how}", counted(count, piece)));
        }
        line
    }
}

/// The windows of providers that were not caught.
pub(super) fn counting(state: &State) -> Tally {
    Tally::of(state.windows.values().filter(|window| !state.is_discarded(window.provider)))
}

/// Of these, the windows of which something is kept.
pub(super) fn kept(state: &State) -> Tally {
    let is_kept = |window: &&Window| !state.is_discarded(window.provider) && window.lost < window.units;
    Tally::of(state.windows.values().filter(is_kept))
}

/// Who vouches for what the map keeps.
pub(super) fn assurance(state: &State) -> Assurance {
    kept(state).assurance(state.steps_done())
}

/// What the person reads of the audits at the end; of a map without any, that there are none.
pub(super) fn summary(state: &State) -> Vec<String> {
    if state.windows.is_empty() {
        return if state.steps_done() == 0 { Vec::new() } else { vec![CUSTOMER_ALONE.to_owned()] };
    }
    let mut lines = vec![format!("Audit: {}.", kept(state).sentence(state.steps_done()))];
    for (provider, partner) in state.providers() {
        let tally = Tally::of(state.windows_of(provider));
        if tally.windows > 0 {
            lines.push(tally.line(partner.account));
        }
    }
    let all = Tally::of(state.windows.values());
    lines.push(format!(
        "{} were taken from channels for checks; what those do not cost comes back to this account when the windows are over.",
        kst(U256::from(all.taken_wei))
    ));
    let thrown_away = all.open.saturating_sub(counting(state).open);
    if thrown_away > 0 {
        lines.push(format!(
            "{} of providers that were caught: not waited for, since nothing of it is used. Run the same command later to take home what those checks do not cost.",
            counted(thrown_away, "open window")
        ));
    }
    let open: Vec<&Window> = state.windows_awaited().map(|(_, window)| window).collect();
    if !open.is_empty() {
        let name = |window: &&Window| {
            let account = state.partner(window.provider).map(|partner| partner.account).unwrap_or_default();
            format!("{} of {account}", window.number)
        };
        let named: Vec<String> = open.iter().take(NAMED_MAX).map(name).collect();
        let more = match open.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        lines.push(format!(
            "Windows whose audit is not over: {}{more}. Run the same command again to wait for it: what is found wrong is done again.",
            named.join(", ")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::windows::tests::drawn;

    const CLOSED: Verdict = Verdict {
        end: WindowEnd::Closed,
        drawn: 3,
        verified: 2,
        unpaid: 1,
        rate_ppm: 30_000,
        checkers: 1,
        taken_wei: 7,
        cost_wei: 6,
    };

    fn window(verdict: Option<Verdict>) -> Window {
        let place = Place { unit: 5, done: 3, offset: 0, length: 1, name: B256::repeat_byte(1) };
        let audited = Audited {
            id: B256::ZERO,
            channel: B256::ZERO,
            number: 1,
            since_block: 2,
            budget_wei: 9,
            inputs: vec![B256::repeat_byte(8)],
            secret: None,
        };
        let mut window = Window::of(Provider(0), &audited, &[place]);
        assert_eq!(window.steps, [Step { unit: 5, segment: 2, input: B256::repeat_byte(8) }]);
        window.verdict = verdict;
        window
    }

    #[test]
    fn what_is_forgotten_stays_listed_if_a_certificate_can_open_its_commitment() {
        let mut listed = Window { secret: Some(B256::repeat_byte(2)), ..window(None) };
        let results = listed.results();
        listed.unlist();
        assert_eq!((listed.steps.len(), results.len()), (1, 1), "checkers still ask for it");
        // Twice is once.
        listed.forget();
        listed.forget();
        assert_eq!((listed.steps.len(), listed.outputs.len(), listed.results()), (1, 0, results));
        listed.unlist();
        assert!(listed.steps.is_empty() && listed.results().is_empty());
        let mut old = window(None);
        old.forget();
        assert!(old.steps.is_empty() && old.results().is_empty());
    }

    #[test]
    fn a_verdict_is_what_the_chain_says_once_the_window_is_over() {
        let open = drawn();
        assert_eq!(Verdict::of(&open), None);
        let over = |status| Drawn { window: Found { status, verified: 2, ..open.window }, ..open };
        let closed = Verdict::of(&over(WindowStatus::Closed));
        // Ten units, all drawn, for a fee of 3: 15 and 40 fees.
        assert_eq!(
            closed,
            Some(Verdict {
                drawn: 10,
                verified: 2,
                unpaid: 0,
                rate_ppm: 1_000_000,
                taken_wei: 165,
                cost_wei: 30,
                ..CLOSED
            })
        );
        assert_eq!(Verdict::of(&over(WindowStatus::Convicted)).map(|verdict| verdict.end), Some(WindowEnd::Convicted));
    }

    #[test]
    fn only_what_strangers_found_right_is_called_verified() {
        let of = |windows: &[Window]| Tally::of(windows.iter());
        let said = of(&[window(Some(CLOSED)), window(None)]).sentence(2);
        assert!(
            said.starts_with("verified: 2 of 3 drawn steps (2 in all) were found right by a machine drawn by lot"),
            "{said}"
        );
        assert!(said.contains("drawn with 3 %; 1 step outside") && said.ends_with("yet of 1 open window"), "{said}");
        let said = of(&[window(Some(Verdict { verified: 0, unpaid: 0, ..CLOSED }))]).sentence(9);
        assert!(
            said.starts_with("UNVERIFIED: 3 of 9") && said.contains("8 steps in channels without an audit"),
            "{said}"
        );
        let mut lost = window(Some(CLOSED));
        lost.lose(|_| false);
        let said = of(&[lost, window(Some(CLOSED))]).sentence(1);
        assert!(said.contains("(1 in all)") && said.contains("; 1 step of these windows thrown away"), "{said}");
        assert!(!said.contains("without an audit"), "{said}");
        let said = of(&[window(Some(Verdict::UNANNOUNCED))]).sentence(1);
        assert!(said.starts_with("UNVERIFIED: 0 of 1") && said.contains("NOT AUDITED: 1 step in 1 window"), "{said}");
    }

    #[test]
    fn a_map_is_called_verified_for_programs_only_if_checks_cover_all_that_is_kept() {
        let of = |windows: &[Window], steps| Tally::of(windows.iter()).assurance(steps).name();
        let closed = || window(Some(CLOSED));
        assert_eq!(of(&[], 3), "unverified", "no audit");
        assert_eq!((of(&[closed()], 1), of(&[closed()], 2)), ("verified", "unverified"), "a step beside it");
        assert_eq!(of(&[closed(), window(None)], 2), "pending");
        assert_eq!(of(&[closed(), window(Some(Verdict::UNANNOUNCED))], 2), "unverified");
        assert_eq!(of(&[window(Some(Verdict { verified: 0, unpaid: 0, ..CLOSED }))], 1), "unverified");
        // Two were found right, and two count for nothing.
        let mut lost = [closed(), closed(), window(Some(Verdict { verified: 0, ..CLOSED }))];
        lost.iter_mut().take(2).for_each(|window| window.lost = window.units);
        lost[1].verdict = Some(Verdict { verified: 0, ..CLOSED });
        assert_eq!(of(&lost, 1), "unverified");
        lost[1].verdict = Some(CLOSED);
        assert_eq!(of(&lost, 1), "verified");
    }

    #[test]
    fn what_checks_cost_is_the_budget_until_it_is_known() {
        assert_eq!(window(None).checks_wei(), 9);
        assert_eq!(window(Some(CLOSED)).checks_wei(), 6);
        assert_eq!(window(Some(Verdict::UNANNOUNCED)).checks_wei(), 0);
        let two = [window(None), window(Some(Verdict { end: WindowEnd::Convicted, ..CLOSED }))];
        let line = Tally::of(two.iter()).line(Address::ZERO);
        let end = "2 windows of 2 steps: 3 drawn, 2 found right, 1 step outside the tolerance, 1 window CONVICTED, 1 window still open";
        assert!(line.ends_with(end), "{line}");
        let tally = Tally::of([window(Some(CLOSED)), window(Some(Verdict::UNANNOUNCED)), window(None)].iter());
        assert_eq!((tally.windows, tally.open, tally.unaudited, tally.taken_wei), (3, 1, 1, 7));
    }
}
