//! A world with cheats among its providers: what they commit to, how its audit ends, and who finds out what they are.
//!
//! # Design
//! A conviction forfeits a window: nothing is paid, the bond is gone, and once its audit has taken its time the units are ordered again from somebody else.
//! Who was convicted goes on as a newcomer without a bond, and customers do not avoid it. A provider that the touchstone finds out gets no
//! orders any more, since customers ask for proved devices: the default for jobs that ask for graphics cards alone, and for no others.

use super::{
    DRAW_MS, Kind, Lease, Provider, RATE_PPM, REVEAL_MS, UNITS, World,
    cast::{BOUGHT, CANARIES, Cast, Part},
};
use crate::seats::{Audited, Ended, Ring, Seats, Unit, recorded};
use alloy_primitives::keccak256;
use keystead_audit::{
    Draw,
    draw::{PPM, effective_rate_ppm},
};

/// 4,096 heights at five blocks a second.
const EPOCH_MS: u64 = 819_200;

/// A window whose audit is over.
#[derive(Clone, Copy, Debug, Default)]
struct Judged {
    convicted: bool,
    /// The longest of its checks.
    slowest_ms: u64,
    checks: u64,
    /// Units that were drawn and found right.
    verified: u64,
    /// A seat of its own ring was the first that accused it.
    by_its_own: bool,
}

/// A window as it is committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    part: Part,
    draw: Draw,
    rate_ppm: u32,
    unit_ms: u32,
    units: u64,
    wrong: u64,
}

impl World {
    /// Makes some of the providers cheats, if the scenario has any.
    pub(super) fn invite(&mut self) {
        let scenario = self.scenario;
        if scenario.cheating <= 0.0 {
            return;
        }
        let cast = Cast::new(scenario.seed, scenario.providers, scenario.cheating, self.seats);
        for (number, provider) in (0..).zip(&mut self.providers) {
            // Who wants to leave with a window of junk has built its record before.
            if cast.part(number) == Part::Leaves {
                provider.verified = 1_000;
            }
        }
        self.cast = Some(Box::new(cast));
        self.at(EPOCH_MS, Kind::Epoch);
    }

    /// A provider begins a lease: how many times slower it is than it says.
    pub(super) fn begin(&mut self, provider: u32) -> u32 {
        let Some(cast) = &mut self.cast else { return 1 };
        let part = cast.part(provider);
        let book = cast.book(part);
        book.leases = book.leases.saturating_add(1);
        let providers = &self.providers;
        cast.slower(provider, |other| providers[other as usize].lease.is_some())
    }

    /// The units of a convicted window are ordered again.
    pub(super) fn refund(&mut self, number: u32) {
        let refund = self.cast.as_ref().and_then(|cast| cast.refunds.get(number as usize).copied());
        if let Some((window, units)) = refund {
            self.again(window, units);
        }
    }

    /// A commitment to these units.
    pub(super) fn settle_among_cheats(&mut self, lease: &Lease, units: u64) {
        let Some(mut cast) = self.cast.take() else { return };
        self.settle_with(&mut cast, lease, units);
        self.cast = Some(cast);
    }

    fn settle_with(&mut self, cast: &mut Cast, lease: &Lease, units: u64) {
        let fresh = units & !self.windows[lease.window as usize].paid;
        if fresh == 0 {
            cast.worked(lease.provider, units);
            return;
        }
        let part = cast.part(lease.provider);
        if part == Part::SelfDeals {
            buy_record(cast, &mut self.providers[lease.provider as usize]);
        }
        let provider = self.providers[lease.provider as usize];
        let settled = provider.verified >= 1_000;
        let bonded = part != Part::Sybil && (settled || provider.windows >= 3);
        let rate_ppm = effective_rate_ppm(RATE_PPM, provider.verified, bonded);
        cast.windows = cast.windows.saturating_add(1);
        let draw = Seats::draw(cast.seed, cast.windows);
        let undrawn = if part == Part::Grinds { undrawn(cast, rate_ppm) } else { 0 };
        cast.worked(lease.provider, units & !undrawn);
        let wrong = cast.wrong(part, fresh, undrawn);
        let judged =
            self.judge(cast, &Committed { part, draw, rate_ppm, unit_ms: provider.unit_ms, units: fresh, wrong });
        self.outcome.commitments = self.outcome.commitments.saturating_add(1);
        let hold_ms = DRAW_MS.saturating_add(judged.slowest_ms).saturating_add(REVEAL_MS);
        let book = cast.book(part);
        let provider = &mut self.providers[lease.provider as usize];
        if judged.convicted {
            book.convicted = book.convicted.saturating_add(1);
            book.bonds_lost = book.bonds_lost.saturating_add(u64::from(bonded));
            book.bounties = book.bounties.saturating_add(u64::from(bonded && judged.by_its_own));
            (provider.verified, provider.windows) = (0, 0);
            self.outcome.refunded = self.outcome.refunded.saturating_add(1);
            let number = u32::try_from(cast.refunds.len()).unwrap_or(u32::MAX);
            cast.refunds.push((lease.window, fresh));
            self.at(hold_ms, Kind::Refund(number));
        } else {
            let (paid, wrong) = (u64::from(fresh.count_ones()), u64::from(wrong.count_ones()));
            book.paid = book.paid.saturating_add(paid);
            book.wrong_paid = book.wrong_paid.saturating_add(wrong);
            let more = recorded(rate_ppm, judged.verified);
            provider.verified = if part == Part::Sybil { 0 } else { provider.verified.saturating_add(more) };
            provider.windows = provider.windows.saturating_add(1);
            self.outcome.wrong_paid = self.outcome.wrong_paid.saturating_add(wrong);
            if settled {
                self.settled.0 = self.settled.0.saturating_add(judged.checks);
                self.settled.1 = self.settled.1.saturating_add(paid);
            }
            self.holds.push(hold_ms);
            self.take(lease.window, fresh);
        }
        if part == Part::Leaves {
            cast.go(lease.provider);
            self.unlist(lease.provider);
        }
    }

    /// The audit of a window.
    fn judge(&mut self, cast: &mut Cast, window: &Committed) -> Judged {
        let mut judged = Judged::default();
        let drawn = f64::from(window.rate_ppm) / f64::from(PPM);
        for (unit, bit) in bits(UNITS).filter(|(_, bit)| window.units & bit != 0) {
            let wrong = window.wrong & bit != 0;
            let mut caught = false;
            if window.draw.draws(unit, window.rate_ppm) {
                let audited = self.check(cast, window, unit, wrong);
                judged.checks = judged.checks.saturating_add(u64::from(audited.runs));
                let away = cast.random.chance(0.15);
                self.outcome.units_drawn = self.outcome.units_drawn.saturating_add(1);
                self.outcome.seats_offline = self.outcome.seats_offline.saturating_add(u64::from(away));
                let check_ms = u64::from(window.unit_ms).saturating_mul(if away { 3 } else { 1 });
                judged.slowest_ms = judged.slowest_ms.max(check_ms);
                caught = matches!(audited.ended, Ended::Convicted | Ended::Unpaid);
                let right = matches!(audited.ended, Ended::Verified | Ended::AccuserLost);
                judged.verified = judged.verified.saturating_add(u64::from(right));
                if caught && !judged.convicted {
                    judged.by_its_own = cast.accuses_itself(window.part, window.draw, unit);
                }
                judged.convicted |= caught;
            }
            if wrong && !window.part.tries_windows() {
                let odds = cast.odds(window.part);
                cast.book(window.part).tally.count(drawn * odds, caught);
            }
        }
        if window.part.tries_windows() {
            let odds = cast.forfeited(window.part, drawn, window.units.count_ones());
            cast.book(window.part).tally.count(odds, judged.convicted);
        }
        self.outcome.checks_run = self.outcome.checks_run.saturating_add(judged.checks);
        judged
    }

    /// The audit of one drawn unit.
    fn check(&mut self, cast: &mut Cast, window: &Committed, unit: u32, wrong: bool) -> Audited {
        let honest = window.part == Part::Honest;
        let framing = if honest { cast.frames() } else { None };
        let (seats, ring) = framing.unwrap_or_else(|| (cast.checkers(window.part), window.part.stance()));
        let is = if wrong { Unit::Wrong } else { Unit::Right };
        let opens = !wrong || window.part.opens();
        let audited = seats.audit(window.draw, unit, is, opens, ring, &mut cast.random);
        let duty = window.draw.seat(unit, 0, seats.count);
        let convicted = audited.ended == Ended::Convicted;
        let accuses = framing.is_some() && duty.is_some_and(|seat| seat < seats.colluding);
        if accuses {
            cast.accused(convicted);
        }
        let outcome = &mut self.outcome;
        outcome.voted(audited.ballots);
        match audited.ended {
            Ended::Verified => {}
            Ended::Unchecked => outcome.inconclusive = outcome.inconclusive.saturating_add(1),
            Ended::AccuserLost if accuses => cast.accuser_lost(),
            Ended::AccuserLost => outcome.broken_checkers = outcome.broken_checkers.saturating_add(1),
            Ended::Convicted | Ended::Unpaid => {
                outcome.false_slashes = outcome.false_slashes.saturating_add(u64::from(!wrong));
            }
        }
        if honest && cast.random.chance(CANARIES) {
            self.canary(cast, duty);
        }
        audited
    }

    /// A unit that its customer knows to be wrong, beside the others, for the same seat.
    fn canary(&mut self, cast: &mut Cast, duty: Option<u32>) {
        self.outcome.canaries = self.outcome.canaries.saturating_add(1);
        if duty.is_some_and(|seat| cast.is_lazy(seat)) {
            let mut ballots = 0;
            let seats = cast.checkers(Part::Honest);
            let ended = seats.referee(Unit::Wrong, Ring::Covers, &mut ballots, &mut cast.random);
            cast.told(ended == Ended::Convicted);
            self.outcome.voted(ballots);
            self.outcome.checks_run = self.outcome.checks_run.saturating_add(u64::from(ballots));
        } else {
            self.outcome.canaries_found = self.outcome.canaries_found.saturating_add(1);
        }
    }

    /// Some providers have to prove their devices. What is not there, only the ring's seats state.
    pub(super) fn epoch(&mut self) {
        let Some(mut cast) = self.cast.take() else { return };
        for one in self.found_out(&mut cast) {
            cast.go(one);
            self.unlist(one);
        }
        self.cast = Some(cast);
        self.at(EPOCH_MS, Kind::Epoch);
    }

    /// Whose proofs of this epoch nobody states.
    fn found_out(&self, cast: &mut Cast) -> Vec<u32> {
        cast.epochs = cast.epochs.saturating_add(1);
        let randomness = keccak256([cast.seed.to_be_bytes(), cast.epochs.to_be_bytes()].concat());
        let mut found: Vec<u32> = Vec::new();
        let odds = cast.fake_odds();
        for one in self.there(cast, &cast.fakes) {
            let caught = Cast::is_due(one, randomness) && !cast.is_stated(one, randomness);
            cast.book(Part::Fake).tally.count(odds, caught);
            found.extend(caught.then_some(one));
        }
        let cards: Vec<Vec<u32>> = cast.cards.iter().map(|accounts| self.there(cast, accounts)).collect();
        for online in cards.into_iter().filter(|online| online.len() > 1) {
            let due: Vec<u32> = online.iter().copied().filter(|&one| Cast::is_due(one, randomness)).collect();
            // One alone answers in its time; of several each is late, since the card does the work of all.
            let late = if due.len() < 2 { Vec::new() } else { due };
            let before = found.len();
            found.extend(late.into_iter().filter(|&one| !cast.is_stated(one, randomness)));
            let odds = cast.card_odds(online.len());
            cast.book(Part::Card).tally.count(odds, found.len() > before);
        }
        found
    }

    /// Those of these providers who are online and get orders.
    fn there(&self, cast: &Cast, of: &[u32]) -> Vec<u32> {
        of.iter().copied().filter(|&one| self.providers[one as usize].online && !cast.is_gone(one)).collect()
    }
}

/// Who has no record buys one from itself before its next window, in no time.
const fn buy_record(cast: &mut Cast, provider: &mut Provider) {
    if provider.windows > 0 {
        return;
    }
    let book = cast.book(Part::SelfDeals);
    book.bought = book.bought.saturating_add(1);
    // With the bond that stands from the fourth window on.
    (provider.verified, provider.windows) = (BOUGHT, 3);
}

/// The units of the window that is being opened that another beacon would not draw.
fn undrawn(cast: &Cast, rate_ppm: u32) -> u64 {
    let guess = Seats::draw(cast.seed ^ 1, cast.windows);
    bits(UNITS).filter(|(unit, _)| !guess.draws(*unit, rate_ppm)).map(|(_, bit)| bit).sum()
}

/// Units and their bits.
fn bits(units: u32) -> impl Iterator<Item = (u32, u64)> {
    (0..units).map(|unit| (unit, 1_u64 << unit))
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Scenario, run};

    #[test]
    fn cheats_are_caught_as_the_formula_says_and_nobody_else_under_churn_and_collusion() {
        let outcome = run(Scenario { cheating: 0.4, latency: true, ..Scenario::new(11, 6_000, 1.5) });
        assert_eq!((outcome.units_lost, outcome.units_paid_twice, outcome.false_slashes), (0, 0, 0), "{outcome:?}");
        assert_eq!(outcome.windows_complete, outcome.windows_ordered);
        assert!(outcome.refunded > 100 && outcome.wrong_paid > 100, "{outcome:?}");
        for row in &outcome.cheats {
            assert!(row.tried > 0, "{row:?}");
            // Four sigma, as sixteen rows are looked at; or three cases where a sigma is less than one.
            let off = (row.caught as f64 - row.expected).abs();
            assert!(row.sigmas.abs() <= 4.0 || off <= 3.0, "{row:?}");
            assert!(row.leases < 200 || row.gain < row.honest, "{row:?}");
        }
        let none = outcome.cheats.iter().filter(|row| row.caught == 0).count();
        assert_eq!(none, 0, "{:?}", outcome.cheats);
        // A tenth of the seats looks at nothing.
        let found = outcome.canaries_found as f64 / outcome.canaries as f64;
        assert!((0.8..0.97).contains(&found), "{outcome:?}");
    }

    #[test]
    fn what_a_convicted_provider_did_is_done_again_by_somebody_else() {
        let honest = run(Scenario::new(12, 1_000, 0.5));
        let mixed = run(Scenario { cheating: 0.5, ..Scenario::new(12, 1_000, 0.5) });
        assert_eq!((honest.refunded, honest.cheats.len()), (0, 0));
        assert!(mixed.refunded > 20, "{mixed:?}");
        assert_eq!(mixed.units_paid, mixed.windows_ordered * 64);
        let computed = |outcome: &Outcome| outcome.units_run as f64 / outcome.units_paid as f64;
        assert!(computed(&mixed) > computed(&honest) + 0.02, "{honest:?} {mixed:?}");
    }

    #[test]
    fn the_same_scenario_gives_the_same_cheats() {
        let text = |seed| {
            let outcome = run(Scenario { cheating: 0.3, latency: true, ..Scenario::new(seed, 500, 0.5) });
            serde_json::to_string(&outcome).unwrap_or_default()
        };
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }
}
