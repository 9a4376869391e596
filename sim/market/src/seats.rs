//! The audit of one window among seats of which some collude: the rules of `keystead_audit` from the draw to the verdict.

use crate::random::Random;
use alloy_primitives::{B256, keccak256};
use keystead_audit::{
    Draw,
    draw::{PPM, SLOTS},
    rounds::{Conclusion, Finding, PANELS, first_round, ruling, second_round},
};

/// Who sits where. Seats below the share's number collude.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    pub(crate) count: u32,
    pub(crate) colluding: u32,
    /// Checkers of a drawn unit in round 0.
    pub(crate) checkers: u32,
    /// The chance that a check of a right unit comes out wrong, by a fault of the checker's machine.
    pub(crate) flip: f64,
    /// The chance that a check finds nothing out (device lost, driver rejection, timeout).
    pub(crate) nothing: f64,
    /// The chance that a re-run shows a wrong unit as wrong: 1 for exact classes.
    pub(crate) power: f64,
}

/// A unit as it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Right,
    Wrong,
}

/// What colluding checkers say, whatever they see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// They cover for the provider.
    Covers,
    /// They want an honest provider convicted.
    Frames,
}

/// How a drawn unit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Verified,
    Unchecked,
    Unpaid,
    Convicted,
    AccuserLost,
}

/// What the audit of one unit took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audited {
    pub(crate) ended: Ended,
    /// Units that were run again for it.
    pub(crate) runs: u32,
    /// Those of them that were ballots.
    pub(crate) ballots: u32,
}

/// Panels that cast so many ballots about one unit.
pub(crate) fn panels(ballots: u32) -> u32 {
    let mut left = ballots as usize;
    let begun = PANELS.iter().take_while(|&&panel| {
        let begins = left > 0;
        left = left.saturating_sub(panel);
        begins
    });
    u32::try_from(begun.count()).unwrap_or_default()
}

/// What a window that closed without a fault adds to its provider's record: each unit that was found right stands for those among which it was drawn.
/// Spec: specs/0008-audit.md §5.
pub(crate) fn recorded(rate_ppm: u32, verified: u64) -> u64 {
    verified.saturating_mul(u64::from(PPM)).checked_div(u64::from(rate_ppm)).unwrap_or_default()
}

impl Seats {
    /// The draw of a window's round 0.
    pub(crate) fn draw(seed: u64, window: u64) -> Draw {
        let bytes = |number: u64| keccak256(number.to_be_bytes());
        Draw::new(bytes(seed), bytes(window), 0)
    }

    /// Audits a unit that was drawn. `opens`: the provider opens it.
    pub(crate) fn audit(
        &self,
        draw: Draw,
        index: u32,
        unit: Unit,
        opens: bool,
        ring: Ring,
        random: &mut Random,
    ) -> Audited {
        let (mut runs, mut ballots) = (self.checkers, 0);
        let seats = self.different(draw, index, self.checkers as usize);
        let findings: Vec<Finding> = seats.iter().map(|&seat| self.finding(seat, unit, ring, random)).collect();
        let ended = match first_round(opens, &findings) {
            Conclusion::Verified => Ended::Verified,
            Conclusion::Unpaid => Ended::Unpaid,
            Conclusion::Unchecked => Ended::Unchecked,
            Conclusion::SecondRound => {
                let ended = self.second(index, unit, ring, &mut ballots, random);
                runs = runs.saturating_add(2).saturating_add(ballots);
                ended
            }
            _ => Ended::Convicted,
        };
        Audited { ended, runs, ballots }
    }

    fn second(&self, index: u32, unit: Unit, ring: Ring, ballots: &mut u32, random: &mut Random) -> Ended {
        let again = Draw::new(B256::from(keccak256(random.word().to_be_bytes())), B256::ZERO, 1);
        let seats = self.different(again, index, 2);
        let findings = [0, 1]
            .map(|at| seats.get(at).map_or(Finding::Inconclusive, |&seat| self.finding(seat, unit, ring, random)));
        match second_round(findings) {
            // Whoever is wronged appeals; whoever is not does not risk the bond.
            Conclusion::Convicted if unit == Unit::Wrong => Ended::Convicted,
            Conclusion::AccuserLoses if unit == Unit::Right => Ended::AccuserLost,
            _ => self.referee(unit, ring, ballots, random),
        }
    }

    /// The panels on one unit; adds the ballots that they cast.
    pub(crate) fn referee(&self, unit: Unit, ring: Ring, ballots: &mut u32, random: &mut Random) -> Ended {
        let (right, wrong) = (B256::repeat_byte(1), B256::repeat_byte(2));
        for panel in PANELS {
            *ballots = ballots.saturating_add(u32::try_from(panel).unwrap_or(u32::MAX));
            let found: Vec<Option<B256>> = (0..panel)
                .map(|_| match self.finding(random.below(self.count), unit, ring, random) {
                    Finding::Right => Some(right),
                    Finding::Wrong => Some(wrong),
                    _ => None,
                })
                .collect();
            if let Some(ruling) = ruling(&found) {
                return if ruling == wrong { Ended::Convicted } else { Ended::AccuserLost };
            }
        }
        // Nobody was found wrong: the case ends without a loser, and the unit is paid.
        Ended::Unchecked
    }

    fn finding(&self, seat: u32, unit: Unit, ring: Ring, random: &mut Random) -> Finding {
        if seat < self.colluding {
            return if ring == Ring::Covers { Finding::Right } else { Finding::Wrong };
        }
        if random.chance(self.nothing) {
            return Finding::Inconclusive;
        }
        let shows = match unit {
            Unit::Wrong => random.chance(self.power),
            Unit::Right => random.chance(self.flip),
        };
        if shows { Finding::Wrong } else { Finding::Right }
    }

    /// The first seats of different accounts that the draw names; here each seat is an account of its own.
    fn different(&self, draw: Draw, unit: u32, count: usize) -> Vec<u32> {
        let mut seats = Vec::with_capacity(count);
        for slot in 0..SLOTS {
            if seats.len() == count {
                break;
            }
            match draw.seat(unit, slot, self.count) {
                Some(seat) if !seats.contains(&seat) => seats.push(seat),
                _ => {}
            }
        }
        seats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_right_is_recorded_for_all_among_which_it_was_drawn_and_nothing_of_a_window_unseen() {
        assert_eq!([64, 63, 0].map(|verified| recorded(PPM, verified)), [64, 63, 0]);
        assert_eq!([2, 1, 0].map(|verified| recorded(30_000, verified)), [66, 33, 0]);
    }

    #[test]
    fn ballots_belong_to_panels_that_follow_each_other() {
        assert_eq!([0, 31, 94, 221].map(panels), [0, 1, 2, 3]);
    }

    #[test]
    fn ballots_are_told_apart_from_checks() {
        let mut random = Random::new(1);
        let none = Seats { count: 3_000, colluding: 0, checkers: 1, flip: 0.0, nothing: 0.0, power: 1.0 };
        let draw = Seats::draw(1, 1);
        let honest = none.audit(draw, 0, Unit::Right, true, Ring::Covers, &mut random);
        assert_eq!((honest.ended, honest.runs, honest.ballots), (Ended::Verified, 1, 0));
        // Every seat accuses a right unit: the ring wins both rounds, and the first panel that its provider appeals to.
        let all = Seats { colluding: 3_000, ..none };
        let framed = all.audit(draw, 0, Unit::Right, true, Ring::Frames, &mut random);
        assert_eq!((framed.ended, framed.runs, framed.ballots), (Ended::Convicted, 34, 31));
    }
}
