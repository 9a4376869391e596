//! Who cheats in a world, how often that is tried and caught, and what it brings.
//!
//! # Design
//! Everything random about cheats comes from a generator of its own, so a world without them is the same as if this did not exist. A third of
//! the seats is one ring's. Its seats cover for the ring's own providers and devices, accuse an honest unit now and then, and three in ten
//! of them say *right* to whatever they see. Beside each trial stands the probability that the formula gives for it, with the rate of that provider at that
//! moment: the sum of the differences has the sum of the variances, however the rates came about.

use super::RATE_PPM;
use crate::{
    attacks::tail,
    random::Random,
    seats::{Ring, Seats},
};
use alloy_primitives::{Address, B256, keccak256};
use keystead_audit::{
    Draw,
    draw::{PPM, effective_rate_ppm},
    rounds::{BOUNTY_PPM_MAX, PANELS, quorum},
};
use keystead_market::touchstone::due::{self, CHECKERS, CheckerDraw, DUE_ONE_IN, QUORUM, is_due};
use serde::Serialize;

/// Of the seats; all of them colluding is a third, and of these some say *right* to strangers' units, too.
const RING_PPM: u64 = 333_333;
const LAZY_PPM: u64 = 100_000;
/// Of honest units whose checker is of the ring, those that it accuses.
const FRAMES: f64 = 0.000_3;
/// Of checks, those of a unit that its customer knows to be wrong.
pub(super) const CANARIES: f64 = 0.01;
/// What a unit costs who computes it, what a check earns, and what stands behind a window and a seat: in units' prices.
const WORK: f64 = 0.5;
const FEE: f64 = 1.0;
const BOND: f64 = 100.0;
/// What stands behind a window that is worth many bonds.
const SMALL_BOND: f64 = 1.0;
/// Units of a record that its owner buys from itself: from here on the rate is at its floor.
pub(super) const BOUGHT: u64 = 1_000;
/// A processor that says it is a GPU is so many times slower than what it says.
const FAKE_SLOWER: u32 = 12;
/// Accounts that one card is sold under.
const CARD_ACCOUNTS: usize = 16;
/// Below so many leases a mean gain says little.
const LEASES_MIN: u64 = 200;

/// What a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Honest,
    Junk,
    Cheap,
    Hides,
    Copies,
    Grinds,
    Leaves,
    Ring,
    Fake,
    Card,
    Faulty,
    Sybil,
    Batch,
    SelfConvicts,
    SelfDeals,
}

/// How many kinds there are.
const PARTS: usize = 15;

impl Part {
    const CHEATS: [Self; PARTS - 1] = [
        Self::Junk,
        Self::Cheap,
        Self::Hides,
        Self::Copies,
        Self::Grinds,
        Self::Leaves,
        Self::Ring,
        Self::Fake,
        Self::Card,
        Self::Faulty,
        Self::Sybil,
        Self::Batch,
        Self::SelfConvicts,
        Self::SelfDeals,
    ];

    /// The attack, by its name in docs/attacks.md, and how it is tried.
    const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Honest => ("none", "honest"),
            Self::Junk => ("junk, cheaper precision, smaller model", "10 % of units made up"),
            Self::Cheap => (
                "junk, cheaper precision, smaller model",
                "all units in half precision, a re-run shows it with 0.9; it costs nothing",
            ),
            Self::Hides => ("abort when drawn", "10 % of units made up, and not opened when drawn"),
            Self::Copies => ("copy another's result", "commits to what another committed to, so it can open nothing"),
            Self::Grinds => ("predict the sample, grind", "makes up what an earlier beacon would not draw"),
            Self::Leaves => ("build trust, then leave", "a record of 1,000 units, then a window of junk"),
            Self::Ring => ("provider = checker", "10 % of units made up; a third of the seats covers for it"),
            Self::Fake => ("fake GPU", "a processor, 12 times slower; a third of the seats states its proofs; rounds"),
            Self::Card => (
                "one GPU sold many times",
                "16 accounts on one card; a third of the seats states its proofs; epochs of a card",
            ),
            Self::Faulty => ("chaos, other hardware", "honest, but its machine gets 1 % of units wrong"),
            Self::Sybil => ("newcomers and Sybils in probation", "a new identity for each window, junk only"),
            Self::Batch => {
                ("one slash, big batch", "5 % of units made up; a window is worth 64 of the bonds behind it; windows")
            }
            Self::SelfConvicts => (
                "self-conviction",
                "junk that its own third of the seats calls wrong, for half of its bond before the delay; windows",
            ),
            Self::SelfDeals => (
                "self-dealing for reputation",
                "1,000 right units bought from itself, then junk until a window is convicted, then again; windows",
            ),
        }
    }

    /// The share of units that it computes, but those that who grinds leaves out.
    const fn effort(self) -> f64 {
        match self {
            Self::Honest | Self::Fake | Self::Card | Self::Faulty | Self::Grinds => 1.0,
            Self::Junk | Self::Hides | Self::Ring => 0.9,
            Self::Batch => 0.95,
            Self::Cheap | Self::Copies | Self::Leaves | Self::Sybil | Self::SelfConvicts | Self::SelfDeals => 0.0,
        }
    }

    /// The chance that a unit is wrong; who grinds chooses.
    const fn wrong(self) -> f64 {
        match self {
            Self::Honest | Self::Fake | Self::Card | Self::Grinds => 0.0,
            Self::Junk | Self::Hides | Self::Ring => 0.1,
            Self::Faulty => 0.01,
            Self::Batch => 0.05,
            Self::Cheap | Self::Copies | Self::Leaves | Self::Sybil | Self::SelfConvicts | Self::SelfDeals => 1.0,
        }
    }

    /// Whether it opens its wrong units.
    pub(super) const fn opens(self) -> bool {
        !matches!(self, Self::Hides | Self::Copies)
    }

    /// Whether a trial is a window, instead of a wrong unit.
    pub(super) const fn tries_windows(self) -> bool {
        matches!(self, Self::Batch | Self::SelfConvicts | Self::SelfDeals)
    }

    /// What the ring's seats say of its units.
    pub(super) const fn stance(self) -> Ring {
        if matches!(self, Self::SelfConvicts) { Ring::Frames } else { Ring::Covers }
    }

    /// What stands behind one of its windows, in units' prices.
    const fn bond(self) -> f64 {
        if matches!(self, Self::Batch) { SMALL_BOND } else { BOND }
    }
}

/// Trials beside what the formula says about each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    tried: u64,
    caught: u64,
    expected: f64,
    variance: f64,
}

impl Tally {
    /// One trial, that is caught with this probability, and whether it was.
    pub(super) fn count(&mut self, probability: f64, caught: bool) {
        self.tried = self.tried.saturating_add(1);
        self.caught = self.caught.saturating_add(u64::from(caught));
        self.expected += probability;
        self.variance += probability * (1.0 - probability);
    }
}

/// What is known about all of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Book {
    pub(super) tally: Tally,
    pub(super) leases: u64,
    pub(super) convicted: u64,
    pub(super) bonds_lost: u64,
    pub(super) paid: u64,
    pub(super) wrong_paid: u64,
    /// Bonds that it lost, of which its own seats got the bounty.
    pub(super) bounties: u64,
    /// Records that it bought from itself.
    pub(super) bought: u64,
    /// Units that were computed, also in vain.
    work: f64,
}

impl Book {
    /// Of this kind, in units' prices.
    fn gain(&self, part: Part) -> f64 {
        let back = self.bounties as f64 * f64::from(BOUNTY_PPM_MAX) / f64::from(PPM);
        let bonds = (self.bonds_lost as f64 - back) * part.bond();
        self.paid as f64 - self.work * WORK - bonds - self.bought as f64 * bought()
    }
}

/// One row of what came of the cheats of a world.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheatRow {
    /// As in docs/attacks.md.
    pub(crate) attack: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) tried: u64,
    pub(crate) caught: u64,
    /// How many the formula says of these trials.
    pub(crate) expected: f64,
    /// (caught - expected) / sigma; 0 for certain events that came out.
    pub(crate) sigmas: f64,
    /// What the kind was given to do.
    pub(crate) leases: u64,
    /// Windows that were forfeited.
    pub(crate) convicted: u64,
    /// Wrong units that were paid for.
    pub(crate) wrong_paid: u64,
    /// Mean gain for each lease (seats: each canary, each accusation), in units' prices.
    pub(crate) gain: f64,
    /// The same of the honest providers of this world (seats: of who says what it saw).
    pub(crate) honest: f64,
}

impl CheatRow {
    fn new((attack, variant): (&'static str, &'static str), tally: &Tally) -> Self {
        let Tally { tried, caught, expected, variance } = *tally;
        let (off, sigma) = (caught as f64 - expected, variance.sqrt());
        let sigmas = if sigma > 1e-6 {
            off / sigma
        } else if off.abs() < 0.5 {
            0.0
        } else {
            f64::INFINITY
        };
        let (leases, convicted, wrong_paid, gain, honest) = (0, 0, 0, 0.0, 0.0);
        Self { attack, variant, tried, caught, expected, sigmas, leases, convicted, wrong_paid, gain, honest }
    }

    /// Caught as often as the formula says within three sigma, or three cases where a sigma is less than one; and, of enough leases, worse off than
    /// honesty.
    pub(crate) fn holds(&self) -> bool {
        let near = self.sigmas.abs() <= 3.0 || (self.caught as f64 - self.expected).abs() <= 3.0;
        near && (self.leases < LEASES_MIN || self.gain < self.honest)
    }
}

/// The cheats of a world.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) seed: u64,
    pub(super) random: Random,
    parts: Vec<Part>,
    /// Who is chosen no more: it left for good, or is not proved any more.
    gone: Vec<bool>,
    pub(super) fakes: Vec<u32>,
    /// The accounts of each card.
    pub(super) cards: Vec<Vec<u32>>,
    card_of: Vec<Option<u32>>,
    books: [Book; PARTS],
    pub(super) canaries: Tally,
    pub(super) accusations: Tally,
    accusers_lost: u64,
    /// Windows that were opened, each with a draw of its own.
    pub(super) windows: u64,
    /// Epochs of the touchstone that have begun.
    pub(super) epochs: u64,
    /// Units of convicted windows, which their customers order again.
    pub(super) refunds: Vec<(u32, u64)>,
    /// Seats in all, of the ring, and of those of it that look at nothing.
    seats: Seats,
    ring: u32,
    lazy: u32,
    /// The chance that a wrong unit that is drawn is caught, for each kind.
    odds: [f64; PARTS],
}

impl Cast {
    /// Makes this share of the providers cheats, as many of each kind. `seats` are the world's, without colluders.
    pub(super) fn new(seed: u64, providers: u32, share: f64, seats: Seats) -> Self {
        let seed = Random::new(seed ^ 0x6368_6561_7473).word();
        let mut random = Random::new(seed);
        let kinds = u32::try_from(Part::CHEATS.len()).unwrap_or(1);
        let mut parts = Vec::new();
        for _ in 0..providers {
            let cheats = random.chance(share);
            let kind = random.below(kinds);
            parts.push(if cheats { Part::CHEATS[kind as usize] } else { Part::Honest });
        }
        // Or nobody would ever do what is ordered: cheats leave, are found out, or are convicted each time.
        if !parts.contains(&Part::Honest)
            && let Some(first) = parts.first_mut()
        {
            *first = Part::Honest;
        }
        let all =
            |part: Part| (0..providers).zip(&parts).filter(move |(_, one)| **one == part).map(|(number, _)| number);
        let fakes = all(Part::Fake).collect();
        let cards: Vec<Vec<u32>> =
            all(Part::Card).collect::<Vec<_>>().chunks(CARD_ACCOUNTS).map(<[u32]>::to_vec).collect();
        let mut card_of = vec![None; parts.len()];
        for (card, accounts) in (0..).zip(&cards) {
            for &account in accounts {
                card_of[account as usize] = Some(card);
            }
        }
        // LOSSY: a part of the number of seats.
        let of = |ppm: u64| (u64::from(seats.count) * ppm / 1_000_000) as u32;
        let (ring, lazy) = (of(RING_PPM), of(LAZY_PPM));
        let gone = vec![false; parts.len()];
        let mut cast = Self {
            seed,
            random,
            parts,
            gone,
            fakes,
            cards,
            card_of,
            books: [Book::default(); PARTS],
            canaries: Tally::default(),
            accusations: Tally::default(),
            accusers_lost: 0,
            windows: 0,
            epochs: 0,
            refunds: Vec::new(),
            seats,
            ring,
            lazy,
            odds: [0.0; PARTS],
        };
        for part in Part::CHEATS {
            let seats = cast.checkers(part);
            cast.odds[part as usize] = if part.opens() { convicted(&seats, part.stance()) } else { 1.0 };
        }
        cast
    }

    pub(super) fn part(&self, provider: u32) -> Part {
        self.parts[provider as usize]
    }

    pub(super) const fn book(&mut self, part: Part) -> &mut Book {
        &mut self.books[part as usize]
    }

    pub(super) fn is_gone(&self, provider: u32) -> bool {
        self.gone[provider as usize]
    }

    pub(super) fn go(&mut self, provider: u32) {
        self.gone[provider as usize] = true;
    }

    /// Units that a provider spent its time on.
    pub(super) fn worked(&mut self, provider: u32, units: u64) {
        let part = self.part(provider);
        self.book(part).work += f64::from(units.count_ones()) * part.effort();
    }

    /// How many times slower than it says a provider is, if so many accounts of its card are at work.
    pub(super) fn slower(&self, provider: u32, busy: impl Fn(u32) -> bool) -> u32 {
        match self.part(provider) {
            Part::Fake => FAKE_SLOWER,
            Part::Card => {
                let card = self.card_of[provider as usize].and_then(|card| self.cards.get(card as usize));
                let others = card.into_iter().flatten().filter(|&&other| other != provider && busy(other)).count();
                u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1)
            }
            _ => 1,
        }
    }

    /// The seats as a provider of this kind meets them: who covers for it.
    pub(super) fn checkers(&self, part: Part) -> Seats {
        let colluding = if matches!(part, Part::Ring | Part::SelfConvicts) { self.ring } else { self.lazy };
        let power = if part == Part::Cheap { 0.9 } else { 1.0 };
        Seats { colluding, power, ..self.seats }
    }

    /// Whether the ring wants this honest unit called wrong; the checkers and what they say then.
    pub(super) fn frames(&mut self) -> Option<(Seats, Ring)> {
        let frames = self.random.chance(FRAMES);
        frames.then_some((Seats { colluding: self.ring, ..self.seats }, Ring::Frames))
    }

    /// Whether the first who is asked about this unit is of the ring that its provider belongs to, and calls it wrong.
    pub(super) fn accuses_itself(&self, part: Part, draw: Draw, unit: u32) -> bool {
        let first = draw.seat(unit, 0, self.seats.count);
        part == Part::SelfConvicts && first.is_some_and(|seat| seat < self.ring)
    }

    /// The ring's checker said that a right unit is wrong; whether its provider was convicted.
    pub(super) fn accused(&mut self, convicted: bool) {
        let seats = Seats { colluding: self.ring, ..self.seats };
        self.accusations.count(1.0 - framed(&seats), !convicted);
    }

    pub(super) const fn accuser_lost(&mut self) {
        self.accusers_lost = self.accusers_lost.saturating_add(1);
    }

    /// Whether this seat says *right* to whatever it sees.
    pub(super) const fn is_lazy(&self, seat: u32) -> bool {
        seat < self.lazy
    }

    /// A canary was called right, and its customer accused who did: whether a panel took the seat.
    pub(super) fn told(&mut self, lost: bool) {
        let (wrong, right) = votes(&self.checkers(Part::Honest), Ring::Covers);
        self.canaries.count(ruled(wrong, right), lost);
    }

    /// The units that this provider gets wrong. `undrawn`: those that an earlier beacon would not draw.
    pub(super) fn wrong(&mut self, part: Part, units: u64, undrawn: u64) -> u64 {
        if part == Part::Grinds {
            return units & undrawn;
        }
        let chance = part.wrong();
        if chance <= 0.0 {
            return 0;
        }
        (0..u64::BITS).map(|unit| 1_u64 << unit).filter(|bit| units & bit != 0 && self.random.chance(chance)).sum()
    }

    /// The chance that a wrong unit that is drawn is caught.
    pub(super) const fn odds(&self, part: Part) -> f64 {
        self.odds[part as usize]
    }

    /// The chance that a window of so many units is convicted, if this share of them is drawn.
    pub(super) fn forfeited(&self, part: Part, drawn: f64, units: u32) -> f64 {
        let each = part.wrong() * drawn * self.odds(part);
        1.0 - (1.0 - each).powi(i32::try_from(units).unwrap_or(i32::MAX))
    }

    /// Whether a provider is challenged in the epoch of this randomness.
    pub(super) fn is_due(provider: u32, randomness: B256) -> bool {
        is_due(account(1, provider), randomness)
    }

    /// Whether enough drawn checkers state a proof that only the ring's seats would.
    pub(super) fn is_stated(&self, provider: u32, randomness: B256) -> bool {
        let provider = account(1, provider);
        let rows = keccak256(randomness);
        let places = CheckerDraw::new(provider, rows).places(self.seats.count);
        let drawn = due::checkers(provider, places.map(seat));
        let end = seat(self.ring);
        drawn.iter().filter(|one| **one < end).count() >= due::quorum(drawn.len())
    }

    /// The chance that no proof is stated of a device that is not there.
    pub(super) fn unproved(&self) -> f64 {
        let (all, ring) = (f64::from(self.seats.count), f64::from(self.ring));
        // Different seats are drawn: hypergeometric.
        let ways = |of: f64, take: usize| (0..take).fold(1.0, |ways, at| ways * (of - at as f64) / (at as f64 + 1.0));
        let lies = |found: usize| ways(ring, found) * ways(all - ring, CHECKERS - found) / ways(all, CHECKERS);
        1.0 - (QUORUM..=CHECKERS).map(lies).sum::<f64>()
    }

    /// The chance that a processor is found out in one epoch.
    pub(super) fn fake_odds(&self) -> f64 {
        self.unproved() / DUE_ONE_IN as f64
    }

    /// The chance that a card with so many accounts is found out in one epoch: two of them are due, and of those that are one is not stated.
    pub(super) fn card_odds(&self, accounts: usize) -> f64 {
        let (due, unproved) = (1.0 / DUE_ONE_IN as f64, self.unproved());
        let count = accounts as f64;
        let all_stated = (1.0 - due * unproved).powf(count);
        // One alone answers in its time.
        let alone = count * due * (1.0 - due).powf(count - 1.0);
        1.0 - all_stated - alone * unproved
    }

    /// What came of all kinds.
    pub(super) fn rows(&self) -> Vec<CheatRow> {
        let mean = |part: Part| {
            let book = &self.books[part as usize];
            book.gain(part) / book.leases.max(1) as f64
        };
        let honest = mean(Part::Honest);
        let row = |part: Part| {
            let book = &self.books[part as usize];
            CheatRow {
                leases: book.leases,
                convicted: book.convicted,
                wrong_paid: book.wrong_paid,
                gain: mean(part),
                honest,
                ..CheatRow::new(part.name(), &book.tally)
            }
        };
        let each = |lost: u64, tried: u64| lost as f64 * -BOND / tried.max(1) as f64;
        let lazy = "says right to everything, a tenth of the seats; canaries that it called right";
        let griefing = "a third of the seats accuses honest units; accusations that fail";
        let mut rows: Vec<CheatRow> = Part::CHEATS.into_iter().map(row).collect();
        rows.push(CheatRow {
            gain: FEE + each(self.canaries.caught, self.canaries.tried),
            honest: FEE - WORK,
            ..CheatRow::new(("lazy checker", lazy), &self.canaries)
        });
        rows.push(CheatRow {
            gain: each(self.accusers_lost, self.accusations.tried),
            ..CheatRow::new(("griefing by appeals, accusations", griefing), &self.accusations)
        });
        rows
    }
}

/// Providers and seats have different accounts.
fn account(kind: u8, number: u32) -> Address {
    let mut bytes = [0; 20];
    bytes[0] = kind;
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    Address::from(bytes)
}

fn seat(number: u32) -> Address {
    account(2, number)
}

/// What it costs to buy a record from oneself: the price comes back, the work and the fees of the checks do not.
fn bought() -> f64 {
    let rate = |verified: u64| f64::from(effective_rate_ppm(RATE_PPM, verified, true)) / f64::from(PPM);
    (0..BOUGHT).map(|verified| WORK + FEE * rate(verified)).sum()
}

/// The chances that a checker or referee calls a wrong unit wrong, and right, if the ring's say this.
fn votes(seats: &Seats, stance: Ring) -> (f64, f64) {
    let ring = f64::from(seats.colluding) / f64::from(seats.count);
    let sees = (1.0 - ring) * (1.0 - seats.nothing);
    let (wrong, right) = (sees * seats.power, sees * (1.0 - seats.power));
    match stance {
        Ring::Covers => (wrong, ring + right),
        Ring::Frames => (ring + wrong, right),
    }
}

/// The chance that a panel rules for a side, if each referee is for it, and for the other, with these chances.
pub(super) fn ruled(side: f64, other: f64) -> f64 {
    let (mut rules, mut open) = (0.0, 1.0);
    for panel in PANELS {
        let (won, lost) = (tail(panel, quorum(panel), side), tail(panel, quorum(panel), other));
        rules += open * won;
        open *= 1.0 - won - lost;
    }
    rules
}

/// The chance that a wrong unit that is drawn and opened convicts its provider, with one checker in round 0.
fn convicted(seats: &Seats, stance: Ring) -> f64 {
    let (wrong, right) = votes(seats, stance);
    let both = wrong * wrong;
    wrong * (both + (1.0 - both) * ruled(wrong, right))
}

/// The chance that a right unit convicts its provider once a checker of the ring has called it wrong.
fn framed(seats: &Seats) -> f64 {
    let ring = f64::from(seats.colluding) / f64::from(seats.count);
    let sees = (1.0 - ring) * (1.0 - seats.nothing);
    let (wrong, right) = (ring + sees * seats.flip, sees * (1.0 - seats.flip));
    (1.0 - right * right) * ruled(wrong, right)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SEATS: Seats = Seats { count: 3_000, colluding: 0, checkers: 1, flip: 0.0, nothing: 0.0, power: 1.0 };

    #[test]
    fn the_chances_are_those_of_the_textbook() {
        let covered = |seats: &Seats| convicted(seats, Ring::Covers);
        assert!((covered(&SEATS) - 1.0).abs() < 1e-12);
        // A third of the seats: 1.866 % of wrong units at a rate of 3 %, as on the stage of the attacks.
        let third = Seats { colluding: 999, ..SEATS };
        assert!((covered(&third) * 0.03 - 0.018_66).abs() < 1e-5, "{}", covered(&third));
        // Who wants to be convicted is, by its own seats and by all others.
        assert!((convicted(&third, Ring::Frames) - 1.0).abs() < 1e-12);
        let found = convicted(&Seats { nothing: 0.1, ..third }, Ring::Frames);
        assert!((found - 0.933_3).abs() < 1e-3, "{found}");
        // Seven of 100,000 first panels, and five of nine accusations come before one.
        assert!((1e-5..8e-5).contains(&framed(&third)), "{}", framed(&third));
        assert!(framed(&Seats { colluding: 2_000, ..SEATS }) > 0.3);
        let mut cast = Cast::new(1, 0, 0.0, SEATS);
        cast.ring = 1_000;
        // A lie finds two of three in 26 of 100 rounds.
        assert!((cast.unproved() - 20.0 / 27.0).abs() < 1e-3, "{}", cast.unproved());
        assert!(cast.card_odds(1).abs() < 1e-12, "one account on one card is honest");
        let two = 1.0 - (1.0 - cast.unproved()).powi(2);
        assert!((cast.card_odds(2) - two / 64.0).abs() < 1e-12);
    }

    #[test]
    fn a_window_is_forfeited_for_one_wrong_unit_and_a_record_costs_more_than_a_window_brings() {
        let cast = Cast::new(1, 0, 0.0, SEATS);
        // A twentieth of 64 units, of which 3 of 100 are drawn and nine of ten of these found: 8.3 % of windows.
        let batch = cast.forfeited(Part::Batch, 0.03, 64);
        assert!((batch - (1.0 - 0.998_65_f64.powi(64))).abs() < 1e-4, "{batch}");
        assert!(cast.forfeited(Part::SelfDeals, 1.0, 64) > 0.999_999);
        assert!(cast.forfeited(Part::Batch, 0.03, 0) < 1e-12 && cast.forfeited(Part::Honest, 1.0, 64) < 1e-12);
        // Work for 1,000 units; checks of the first ten and of 3 % of the others, and a few between.
        assert!((538.0..546.0).contains(&bought()), "{}", bought());
        let lost = Book { bonds_lost: 2, bounties: 1, ..Book::default() };
        assert!((lost.gain(Part::SelfConvicts) + 150.0).abs() < 1e-9, "half of one bond comes back");
        assert!((lost.gain(Part::Batch) + 1.5).abs() < 1e-9);
        let deals = Book { bought: 1, ..Book::default() };
        assert!((deals.gain(Part::SelfDeals) + bought()).abs() < 1e-9);
    }

    #[test]
    fn statements_come_from_the_rings_seats_alone_and_as_often_as_the_formula_says() {
        let mut cast = Cast::new(2, 0, 0.0, SEATS);
        let mut stated = |ring: u32| {
            cast.ring = ring;
            (0..4_000_u32).filter(|&round| cast.is_stated(7, keccak256(round.to_be_bytes()))).count()
        };
        assert_eq!((stated(0), stated(3_000)), (0, 4_000));
        // 7/27 of 4,000: 1,037, sigma 27.7.
        assert!((954..=1_120).contains(&stated(1_000)), "{}", stated(1_000));
    }

    #[test]
    fn a_row_off_its_formula_or_better_off_than_honesty_does_not_hold() {
        let mut tally = Tally::default();
        for trial in 0..1_000_u32 {
            tally.count(0.1, trial.is_multiple_of(10));
        }
        let row = CheatRow { leases: 1_000, gain: 1.0, honest: 2.0, ..CheatRow::new(("a", "b"), &tally) };
        assert!(row.holds() && row.sigmas.abs() < 1e-6, "{row:?}");
        assert!(!CheatRow { gain: 2.0, ..row }.holds());
        for _ in 0..100 {
            tally.count(0.1, true);
        }
        assert!(!CheatRow::new(("a", "b"), &tally).holds());
    }

    #[test]
    fn one_at_least_is_honest_so_that_every_order_comes_to_its_end() {
        for seed in 0..20 {
            for providers in 1..4 {
                let cast = Cast::new(seed, providers, 1.0, SEATS);
                assert_eq!(cast.parts.len(), providers as usize);
                assert!(cast.parts.contains(&Part::Honest), "{cast:?}");
            }
        }
        assert!(Cast::new(1, 0, 1.0, SEATS).parts.is_empty());
    }

    #[test]
    fn every_kind_is_in_a_large_cast_and_a_card_has_sixteen_accounts() {
        let cast = Cast::new(3, 5_000, 0.2, SEATS);
        let cheats = cast.parts.iter().filter(|part| **part != Part::Honest).count();
        assert!((850..1_150).contains(&cheats), "{cheats}");
        assert!(Part::CHEATS.iter().all(|part| cast.parts.contains(part)));
        let card = cast.cards.first().unwrap();
        assert_eq!(card.len(), CARD_ACCOUNTS);
        assert_eq!(cast.slower(card[0], |_| false), 1);
        assert_eq!(cast.slower(card[0], |_| true), 16);
        assert_eq!(cast.slower(cast.fakes[0], |_| true), FAKE_SLOWER);
    }
}
