//! Every cheat of the attack table, played many times against the rules: how often it is caught beside what the formula says, and what it
//! earns beside honesty.
//!
//! # Design
//! A row is a window of 64 units at the price of 1 each, a bond of 100, a rate of 3 % unless the row says otherwise. *Caught* counts what the
//! row tries to get away with, once per trial. The gain is the mean per window in units of one unit's price, after bonds, bounties and fees;
//! honesty earns the price less the cost of the work.

use crate::{
    random::Random,
    seats::{Ended, Ring, Seats, Unit},
};
use keystead_audit::{
    draw::{PPM, PROBATION_UNITS, effective_rate_ppm},
    economics::Checking,
    rounds::BOUNTY_PPM_MAX,
};
use serde::Serialize;

const UNITS: u32 = 64;
const RATE_PPM: u32 = 30_000;
/// In units' prices.
const BOND: f64 = 100.0;
/// What a unit costs who computes it, in units' prices.
const WORK: f64 = 0.5;
/// What a check earns.
const FEE: f64 = 1.0;
const SEATS: u32 = 3_000;

/// One row of the results.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// As in specs/0008-audit.md §15.
    pub(crate) attack: &'static str,
    /// What was varied.
    pub(crate) variant: String,
    /// What was tried, once per trial.
    pub(crate) tried: u64,
    pub(crate) caught: u64,
    /// The formula's probability for one trial.
    pub(crate) formula: f64,
    /// (caught - expected) / sigma of the binomial; 0 for certain events that came out.
    pub(crate) sigmas: f64,
    /// Mean gain of the cheat per window, in units' prices.
    pub(crate) gain: f64,
    /// Mean gain of an honest party in the same place.
    pub(crate) honest: f64,
}

impl Row {
    fn new(attack: &'static str, variant: String, count: Count, formula: f64, gain: f64, honest: f64) -> Self {
        let Count { tried, caught } = count;
        let (n, p) = (tried as f64, formula);
        let (off, sigma) = (caught as f64 - n * p, (n * p * (1.0 - p)).sqrt());
        let sigmas = if sigma > 0.0 {
            off / sigma
        } else if off.abs() < 0.5 {
            0.0
        } else {
            f64::INFINITY
        };
        Self { attack, variant, tried, caught, formula, sigmas, gain, honest }
    }

    /// The measured rate is the formula's within three sigma, and the cheat earns less than honesty.
    pub(crate) fn holds(&self) -> bool {
        self.sigmas.abs() <= 3.0 && self.gain < self.honest
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    tried: u64,
    caught: u64,
}

/// A window played to its end.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    wrong: u32,
    /// Wrong units that led to a conviction or were refused pay.
    caught: u32,
    /// Wrong units that were drawn.
    drawn: u32,
    convicted: bool,
    unpaid: u32,
}

/// The stage on which cheats play: one seed, one set of seats.
struct Stage {
    seed: u64,
    window: u64,
    random: Random,
}

/// What a provider does with a window.
#[derive(Clone, Copy)]
struct Plan {
    seats: Seats,
    rate_ppm: u32,
    units: u32,
    /// The share of units that are made up.
    junk: f64,
    /// Whether made-up units are opened when drawn.
    opens: bool,
}

const fn seats(colluding_ppm: u32, checkers: u32) -> Seats {
    // LOSSY: at most SEATS.
    let colluding = (SEATS as u64 * colluding_ppm as u64 / PPM as u64) as u32;
    Seats { count: SEATS, colluding, checkers, flip: 0.0, nothing: 0.0, power: 1.0 }
}

impl Plan {
    const fn junk(junk: f64) -> Self {
        Self { seats: seats(0, 1), rate_ppm: RATE_PPM, units: UNITS, junk, opens: true }
    }
}

impl Stage {
    fn new(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(seed, |mixed, byte| Random::new(mixed ^ u64::from(byte)).word());
        Self { seed: mixed, window: 0, random: Random::new(mixed) }
    }

    fn play(&mut self, plan: &Plan) -> Played {
        self.window = self.window.wrapping_add(1);
        let draw = Seats::draw(self.seed, self.window);
        let mut played = Played::default();
        for index in 0..plan.units {
            let wrong = self.random.chance(plan.junk);
            played.wrong = played.wrong.saturating_add(u32::from(wrong));
            if !wrong || !draw.draws(index, plan.rate_ppm) {
                continue;
            }
            played.drawn = played.drawn.saturating_add(1);
            let audited = plan.seats.audit(draw, index, Unit::Wrong, plan.opens, Ring::Covers, &mut self.random);
            let unpaid = audited.ended == Ended::Unpaid;
            played.unpaid = played.unpaid.saturating_add(u32::from(unpaid));
            played.convicted |= audited.ended == Ended::Convicted;
            played.caught = played.caught.saturating_add(u32::from(unpaid || audited.ended == Ended::Convicted));
        }
        played
    }

    /// What the window brings the provider: the whole price is forfeited by a conviction, and the bond.
    fn gain(plan: &Plan, played: &Played) -> f64 {
        let work = f64::from(plan.units.saturating_sub(played.wrong)) * WORK;
        let paid = if played.convicted { -BOND } else { f64::from(plan.units.saturating_sub(played.unpaid)) };
        paid - work
    }

    /// Plays windows until so many wrong units were committed; counts wrong units.
    fn units(&mut self, plan: &Plan, wrong_min: u64) -> (Count, f64) {
        let (mut count, mut gain, mut windows) = (Count::default(), 0.0, 0.0);
        while count.tried < wrong_min {
            let played = self.play(plan);
            count.tried = count.tried.saturating_add(u64::from(played.wrong));
            count.caught = count.caught.saturating_add(u64::from(played.caught));
            gain += Self::gain(plan, &played);
            windows += 1.0;
        }
        (count, gain / windows)
    }

    /// Plays so many windows; counts those that were convicted.
    fn windows(&mut self, plan: &Plan, windows: u64) -> (Count, f64) {
        let (mut count, mut gain) = (Count { tried: windows, caught: 0 }, 0.0);
        for _ in 0..windows {
            let played = self.play(plan);
            count.caught = count.caught.saturating_add(u64::from(played.convicted));
            gain += Self::gain(plan, &played);
        }
        (count, gain / windows as f64)
    }
}

fn caught(rate_ppm: u32, power: f64, colluding: f64, checkers: i32) -> f64 {
    f64::from(rate_ppm) / f64::from(PPM) * power * (1.0 - colluding.powi(checkers))
}

fn honest(units: u32) -> f64 {
    f64::from(units) * (1.0 - WORK)
}

/// Plays every row.
pub(crate) fn all(seed: u64, scale: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend([0.02, 0.1, 1.0].map(|junk| junk_row(seed, scale, junk)));
    rows.extend([0.5, 0.9].map(|power| precision_row(seed, scale, power)));
    rows.extend([(100_000, 1), (200_000, 1), (333_333, 1), (333_333, 3)].map(|ring| ring_row(seed, scale, ring)));
    rows.push(hidden_row(seed, scale));
    rows.push(foreseen_row(seed, scale));
    rows.push(batch_row(seed, scale));
    rows.push(exit_row(seed, scale));
    rows.push(self_dealing_row(seed, scale));
    rows.push(lazy_row(seed, scale));
    rows.push(self_conviction_row(seed, scale));
    rows.push(framing_row(seed, scale));
    rows.push(griefing_row(seed, scale));
    rows.push(newcomer_row(seed, scale));
    rows
}

fn junk_row(seed: u64, scale: u64, junk: f64) -> Row {
    let plan = Plan::junk(junk);
    let (count, gain) = Stage::new(seed, "junk").units(&plan, 20_000 * scale);
    let variant = format!("{:.0} % of units made up", junk * 100.0);
    Row::new(
        "junk, cheaper precision, smaller model",
        variant,
        count,
        caught(RATE_PPM, 1.0, 0.0, 1),
        gain,
        honest(UNITS),
    )
}

fn precision_row(seed: u64, scale: u64, power: f64) -> Row {
    let mut plan = Plan::junk(1.0);
    plan.seats.power = power;
    // A re-run that misses in round 0 ends it; after one that shows it, misses work like a ring that covers.
    let mut stage = Stage::new(seed, "precision");
    let mut count = Count::default();
    let mut gain = 0.0;
    for _ in 0..2_000 * scale {
        let played = stage.play(&plan);
        count.tried = count.tried.saturating_add(u64::from(played.drawn));
        count.caught = count.caught.saturating_add(u64::from(played.caught));
        gain += Stage::gain(&plan, &played);
    }
    let variant = format!("all units in half precision, a re-run shows it with {power}; of drawn units");
    let gain = gain / (2_000 * scale) as f64;
    Row::new(
        "junk, cheaper precision, smaller model",
        variant,
        count,
        power * escalated(1.0 - power, Unruled::Pays),
        gain,
        honest(UNITS),
    )
}

fn ring_row(seed: u64, scale: u64, (colluding_ppm, checkers): (u32, u32)) -> Row {
    let mut plan = Plan::junk(0.1);
    plan.seats = seats(colluding_ppm, checkers);
    let (count, gain) = Stage::new(seed, "ring").units(&plan, 40_000 * scale);
    let colluding = f64::from(plan.seats.colluding) / f64::from(SEATS);
    let checking = Checking { rate_ppm: RATE_PPM, power_ppm: PPM, colluding_ppm, checkers };
    let bond = if checking.caught_ppm() == 0 { 0.0 } else { 1e6 / f64::from(checking.caught_ppm()) };
    let variant =
        format!("a ring holds {:.0} % of seats, k = {checkers}; needs a bond of {bond:.0}", colluding * 100.0);
    let k = i32::try_from(checkers).unwrap_or(1);
    // Different seats are drawn: hypergeometric, not a power.
    let none = (0..k).fold(1.0, |p, drawn| {
        p * (f64::from(plan.seats.colluding) - f64::from(drawn)) / (f64::from(SEATS) - f64::from(drawn))
    });
    let formula = f64::from(RATE_PPM) / f64::from(PPM) * (1.0 - none) * escalated(colluding, Unruled::Pays);
    Row::new("provider = checker", variant, count, formula, gain, honest(UNITS))
}

/// For whom the end of a case is that no panel rules: the unit is paid, and nobody is slashed.
enum Unruled {
    /// For who made a wrong unit.
    Pays,
    /// For who accused a right one.
    Fails,
}

/// The chance that the ring does not get its way about a unit, of whose round 0 the other side was: all paths but a panel that the ring
/// rules, or on which nobody rules if that serves it.
fn escalated(colluding: f64, unruled: Unruled) -> f64 {
    use keystead_audit::rounds::{PANELS, quorum};
    let (mut lost, mut open) = (0.0, 1.0);
    for panel in PANELS {
        let (ring, honest) = (tail(panel, quorum(panel), colluding), tail(panel, quorum(panel), 1.0 - colluding));
        lost += open * ring;
        open *= 1.0 - ring - honest;
    }
    if matches!(unruled, Unruled::Pays) {
        lost += open;
    }
    let both_wrong = (1.0 - colluding).powi(2);
    1.0 - (1.0 - both_wrong) * lost
}

/// The chance of at least `least` of `n`, each with `p`.
pub(crate) fn tail(n: usize, least: usize, p: f64) -> f64 {
    let mut chance = vec![0.0; n.saturating_add(1)];
    chance[0] = 1.0;
    for _ in 0..n {
        for at in (1..chance.len()).rev() {
            chance[at] = chance[at] * (1.0 - p) + chance[at - 1] * p;
        }
        chance[0] *= 1.0 - p;
    }
    chance.iter().skip(least).sum()
}

fn hidden_row(seed: u64, scale: u64) -> Row {
    let plan = Plan { opens: false, ..Plan::junk(0.1) };
    let (count, gain) = Stage::new(seed, "hidden").units(&plan, 20_000 * scale);
    let variant = "made-up units are not opened when drawn".to_owned();
    Row::new("abort when drawn", variant, count, caught(RATE_PPM, 1.0, 0.0, 1), gain, honest(UNITS))
}

fn foreseen_row(seed: u64, scale: u64) -> Row {
    // The cheat guesses the draw with the beacon of the block in which it commits, and makes up what that would not draw.
    let mut stage = Stage::new(seed, "foreseen");
    let (mut count, mut gain) = (Count::default(), 0.0);
    let windows = 4_000 * scale;
    let plan = Plan::junk(0.0);
    for _ in 0..windows {
        stage.window = stage.window.wrapping_add(1);
        let (guess, real) = (Seats::draw(stage.seed ^ 1, stage.window), Seats::draw(stage.seed, stage.window));
        let mut played = Played::default();
        for index in (0..UNITS).filter(|&index| !guess.draws(index, RATE_PPM)) {
            played.wrong = played.wrong.saturating_add(1);
            if real.draws(index, RATE_PPM) {
                let audited = plan.seats.audit(real, index, Unit::Wrong, true, Ring::Covers, &mut stage.random);
                played.convicted |= audited.ended == Ended::Convicted;
                played.caught = played.caught.saturating_add(u32::from(audited.ended == Ended::Convicted));
            }
        }
        count.tried = count.tried.saturating_add(u64::from(played.wrong));
        count.caught = count.caught.saturating_add(u64::from(played.caught));
        gain += Stage::gain(&plan, &played);
    }
    let variant = "makes up what an earlier beacon would not draw".to_owned();
    let formula = caught(RATE_PPM, 1.0, 0.0, 1);
    Row::new("predict the sample, grind", variant, count, formula, gain / windows as f64, honest(UNITS))
}

fn batch_row(seed: u64, scale: u64) -> Row {
    let units = 10_000;
    let plan = Plan { units, ..Plan::junk(0.005) };
    let (count, gain) = Stage::new(seed, "batch").windows(&plan, 100 * scale);
    let formula = 1.0 - (1.0 - 0.005 * caught(RATE_PPM, 1.0, 0.0, 1)).powi(10_000);
    let variant = "0.5 % of a window of 10,000 units; windows convicted".to_owned();
    Row::new("one slash, big batch", variant, count, formula, gain, honest(units))
}

fn exit_row(seed: u64, scale: u64) -> Row {
    let rate_ppm = effective_rate_ppm(RATE_PPM, 10_000, true);
    let plan = Plan { rate_ppm, ..Plan::junk(1.0) };
    let (count, gain) = Stage::new(seed, "exit").windows(&plan, 2_000 * scale);
    let formula = 1.0 - (1.0 - f64::from(rate_ppm) / f64::from(PPM)).powi(64);
    let variant = "10,000 units verified, then a window of junk; windows convicted".to_owned();
    Row::new("build trust, then leave", variant, count, formula, gain, honest(UNITS))
}

fn self_dealing_row(seed: u64, scale: u64) -> Row {
    // It buys 10,000 right units from itself: the price comes back, the fees of the checks do not. Then the rate is at its floor and no lower, so the window
    // of junk is caught as after any other work.
    let mut stage = Stage::new(seed, "self-dealing");
    let mut plan = Plan::junk(1.0);
    let bought = 10_000_u64;
    let draw = Seats::draw(stage.seed, 0);
    let mut fees = 0.0;
    for verified in 0..bought {
        // LOSSY: below 10,000.
        let unit = verified as u32;
        fees += if draw.draws(unit, effective_rate_ppm(RATE_PPM, verified, true)) { FEE + WORK } else { WORK };
    }
    plan.rate_ppm = effective_rate_ppm(RATE_PPM, bought, true);
    let (count, gain) = stage.windows(&plan, 2_000 * scale);
    let formula = 1.0 - (1.0 - f64::from(RATE_PPM) / f64::from(PPM)).powi(64);
    let variant = format!(
        "10,000 right units bought from itself for {fees:.0} of fees and work, then a window of junk; windows convicted"
    );
    Row::new("self-dealing for reputation", variant, count, formula, gain - fees, honest(UNITS))
}

fn lazy_row(seed: u64, scale: u64) -> Row {
    // A checker that runs nothing and says right. One of a hundred checks is a canary: its customer accuses it, a panel decides, and it
    // loses a seat.
    let mut random = Stage::new(seed, "lazy").random;
    let (mut count, mut runs) = (Count { tried: 100_000 * scale, caught: 0 }, 0);
    for _ in 0..count.tried {
        if random.chance(0.01) {
            let ended = seats(100_000, 1).referee(Unit::Wrong, Ring::Covers, &mut runs, &mut random);
            count.caught = count.caught.saturating_add(u64::from(ended == Ended::Convicted));
        }
    }
    let per_check = count.caught as f64 / count.tried as f64;
    let gain = FEE - per_check * BOND;
    let variant = "says right to everything, a tenth of the seats with it; canaries are 1 % of checks".to_owned();
    Row::new("lazy checker", variant, count, 0.01, gain, FEE - WORK)
}

fn self_conviction_row(seed: u64, scale: u64) -> Row {
    // A provider whose own checker is always drawn convicts itself to get its bond out before the delay.
    let mut stage = Stage::new(seed, "self");
    let plan = Plan { seats: seats(PPM, 1), ..Plan::junk(1.0) };
    let bounty = BOND * f64::from(BOUNTY_PPM_MAX) / f64::from(PPM);
    let (mut count, mut gain) = (Count::default(), 0.0);
    for _ in 0..2_000 * scale {
        stage.window = stage.window.wrapping_add(1);
        let draw = Seats::draw(stage.seed, stage.window);
        let drawn = draw.units(UNITS, RATE_PPM).next();
        let Some(index) = drawn else { continue };
        count.tried = count.tried.saturating_add(1);
        let audited = plan.seats.audit(draw, index, Unit::Wrong, true, Ring::Frames, &mut stage.random);
        if audited.ended == Ended::Convicted {
            count.caught = count.caught.saturating_add(1);
            gain += bounty - BOND;
        }
    }
    let variant = "own seats always drawn: at least half of the bond burns".to_owned();
    Row::new("self-conviction", variant, count, 1.0, gain / (2_000 * scale) as f64, honest(UNITS))
}

fn framing_row(seed: u64, scale: u64) -> Row {
    // A third of the seats says wrong to every unit of honest providers: it needs both other checkers, and then a panel.
    let seats = seats(333_333, 1);
    let mut stage = Stage::new(seed, "framing");
    let (mut count, mut gain) = (Count::default(), 0.0);
    let windows = 3_000 * scale;
    for _ in 0..windows {
        stage.window = stage.window.wrapping_add(1);
        let draw = Seats::draw(stage.seed, stage.window);
        for index in draw.units(UNITS, RATE_PPM) {
            let audited = seats.audit(draw, index, Unit::Right, true, Ring::Frames, &mut stage.random);
            if draw.seat(index, 0, SEATS).is_some_and(|seat| seat < seats.colluding) {
                count.tried = count.tried.saturating_add(1);
                count.caught = count.caught.saturating_add(u64::from(audited.ended != Ended::Convicted));
                gain += if audited.ended == Ended::AccuserLost { -BOND } else { 0.0 };
            }
        }
    }
    let share = f64::from(seats.colluding) / f64::from(SEATS);
    // The same paths as for a wrong unit, with the sides exchanged: anything but two honest answers goes to the panels.
    let formula = escalated(share, Unruled::Fails);
    let variant = "a third of the seats accuses everybody; accusations that fail".to_owned();
    Row::new("griefing by appeals, accusations", variant, count, formula, gain / windows as f64, 0.0)
}

fn griefing_row(seed: u64, scale: u64) -> Row {
    let seats = seats(0, 1);
    let mut stage = Stage::new(seed, "griefing");
    let mut count = Count { tried: 500 * scale, caught: 0 };
    let mut runs = 0;
    for _ in 0..count.tried {
        let ended = seats.referee(Unit::Right, Ring::Covers, &mut runs, &mut stage.random);
        count.caught = count.caught.saturating_add(u64::from(ended == Ended::AccuserLost));
    }
    let variant = "accuses right units: each costs its bond of 31 fees".to_owned();
    Row::new("griefing by appeals, accusations", variant, count, 1.0, -31.0 * FEE, 0.0)
}

fn newcomer_row(seed: u64, scale: u64) -> Row {
    // Without a bond everything is checked: an identity made for one window of junk earns nothing.
    let rate_ppm = effective_rate_ppm(RATE_PPM, 0, false);
    let plan = Plan { rate_ppm, units: u32::try_from(PROBATION_UNITS).unwrap_or(10), ..Plan::junk(1.0) };
    let (count, _) = Stage::new(seed, "newcomer").units(&plan, 5_000 * scale);
    let gain = count.tried.saturating_sub(count.caught) as f64;
    let variant = "a new identity without a bond, junk only".to_owned();
    Row::new("newcomers and Sybils in probation", variant, count, 1.0, gain, honest(plan.units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_is_caught_as_the_formula_says_and_earns_less_than_honesty() {
        for row in all(20_261_128, 1) {
            assert!(row.holds(), "{row:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        let rows = |seed| serde_json::to_string(&all(seed, 1)).unwrap_or_default();
        assert_eq!(rows(7), rows(7));
        assert_ne!(rows(7), rows(8));
    }

    #[test]
    fn tails_of_the_binomial_are_those_of_the_textbook() {
        assert!((tail(7, 5, 1.0 / 3.0) - 0.0453).abs() < 1e-4);
        assert!((tail(7, 5, 2.0 / 3.0) - 0.5706).abs() < 1e-4);
        assert!(tail(31, 21, 1.0 / 3.0) < 1e-4);
        assert!((tail(4, 0, 0.3) - 1.0).abs() < 1e-12);
    }
}
