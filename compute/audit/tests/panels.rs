//! How often panels rule falsely, or not at all: the numbers of specs/0008-audit.md section 9, computed from the binomial distribution.
//!
//! # Method
//! A slot is held with the chance that one of its eight places has a vote. A held slot is the ring's with the share of seats that
//! collude. The ring either lies (its slots find the same false value) or stays silent; the others find the truth. Panels follow one
//! another while there is no ruling.
#![allow(clippy::unwrap_used, clippy::float_arithmetic, clippy::print_stdout, clippy::arithmetic_side_effects)] // A test.

use keystead_audit::{
    draw::PLACES_TRIED,
    rounds::{PANELS, quorum},
};

/// The chance of at least `least` of `n`, each with `p`.
fn tail(n: usize, least: usize, p: f64) -> f64 {
    let mut chance = vec![0.0; n + 1];
    chance[0] = 1.0;
    for _ in 0..n {
        for at in (1..=n).rev() {
            chance[at] = chance[at] * (1.0 - p) + chance[at - 1] * p;
        }
        chance[0] *= 1.0 - p;
    }
    chance[least..].iter().sum()
}

/// What becomes of a dispute.
struct Odds {
    /// A false ruling, of the first panel.
    false_first: f64,
    /// A false ruling, of any panel.
    false_any: f64,
    /// No ruling of the first panel.
    none_first: f64,
    /// No ruling at all.
    none_any: f64,
}

/// `ring`: its share of the seats that may vote. `empty`: the share of places without a vote.
fn odds(panels: &[usize], ring: f64, empty: f64, tries: u8) -> Odds {
    let held = 1.0 - empty.powi(i32::from(tries));
    let (mut false_any, mut open) = (0.0, 1.0);
    let mut first = None;
    for &panel in panels {
        let lies = tail(panel, quorum(panel), held * ring);
        let rules = tail(panel, quorum(panel), held * (1.0 - ring));
        first.get_or_insert((lies, 1.0 - lies - rules));
        false_any += open * lies;
        open *= 1.0 - lies - rules;
    }
    let (false_first, none_first) = first.unwrap();
    Odds { false_first, false_any, none_first, none_any: open }
}

/// Rounded to two digits, as the spec writes it.
fn two(value: f64) -> String {
    format!("{value:.1e}")
}

#[test]
fn the_numbers_of_the_spec_are_those_of_the_binomial_distribution() {
    // Ring, false ruling of the first panel, of any, no ruling of the first, at all.
    let rows = [
        (0.1, "1.6e-14", "1.6e-14", "1.3e-4", "1.4e-23"),
        (0.2, "1.1e-8", "1.1e-8", "3.3e-2", "5.3e-8"),
        (0.25, "6.7e-7", "6.7e-7", "1.3e-1", "1.8e-4"),
        (0.3, "1.6e-5", "1.6e-5", "3.1e-1", "2.0e-2"),
        (1.0 / 3.0, "9.4e-5", "9.4e-5", "4.7e-1", "1.2e-1"),
    ];
    for (ring, false_first, false_any, none_first, none_any) in rows {
        let odds = odds(&PANELS, ring, 0.0, PLACES_TRIED);
        println!(
            "{ring:.2}: {} {} {} {}",
            two(odds.false_first),
            two(odds.false_any),
            two(odds.none_first),
            two(odds.none_any)
        );
        assert_eq!(two(odds.false_first), false_first, "{ring}");
        assert_eq!(two(odds.false_any), false_any, "{ring}");
        assert_eq!(two(odds.none_first), none_first, "{ring}");
        assert_eq!(two(odds.none_any), none_any, "{ring}");
    }
}

#[test]
fn seven_referees_were_too_few() {
    let seven = odds(&[7], 1.0 / 3.0, 0.0, 1);
    assert_eq!((two(seven.false_first).as_str(), two(seven.none_first).as_str()), ("4.5e-2", "3.8e-1"));
}

#[test]
fn empty_places_hardly_change_a_panel_because_a_slot_passes_over_them() {
    let full = odds(&PANELS, 0.25, 0.0, PLACES_TRIED);
    for empty in [0.1, 1.0 / 3.0, 0.5] {
        let some = odds(&PANELS, 0.25, empty, PLACES_TRIED);
        assert!(some.false_any <= full.false_any * 1.001, "never easier to lie");
        assert!(some.none_any < 0.000_4, "{}", some.none_any);
    }
    // With one place for each slot a third of holes would stop nearly every ruling, and so would any other way to count only all slots.
    assert!(odds(&PANELS, 0.25, 1.0 / 3.0, 1).none_any > 0.9);
}

#[test]
fn a_quorum_of_the_votes_that_came_would_be_the_rings_when_few_come() {
    // Five of the 31 came: four of them are more than two thirds of the votes, but far from those of the panel.
    let of_votes = tail(5, quorum(5), 1.0 / 3.0);
    assert!(of_votes > 0.04, "{of_votes}");
    assert!(odds(&PANELS, 1.0 / 3.0, 0.0, PLACES_TRIED).false_any < of_votes / 400.0);
}
