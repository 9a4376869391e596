//! Honest work of another vendor is never wrong by the recipes' own rules, and cheats are.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::indexing_slicing, reason = "tests")]

mod vendors;
mod wasm_runner;

use vendors::{CLUSTER, Count, EIGHT, How, PICTURE, PRODUCT, Work, cheats, honest};

const SEED: u64 = 20_261_128;

/// Of units that another vendor computed honestly none is wrong, and at most `unpaid` are not paid.
fn never_wrong(work: Work, units: u64, unpaid_max: u64) {
    let count = honest(work, SEED, units, &mut |unit, judgement| {
        assert!(!matches!(judgement, keystead_audit::Judgement::Wrong(_)), "{} unit {unit}: {judgement:?}", work.what);
    });
    eprintln!("{} ({}): {count:?}", work.recipe, work.what);
    assert!(count.all() >= units && count.inconclusive == 0 && count.unpaid <= unpaid_max, "{count:?}");
}

/// Each cheat is wrong in each of so many units, but those named here, which are at least not right.
fn caught(work: Work, units: u64, unpaid_at_least: &[&str]) {
    for (cheat, count) in cheats(work, SEED, units) {
        eprintln!("{} ({}), {}: {count:?}", work.recipe, work.what, cheat.name);
        let expected = if unpaid_at_least.contains(&cheat.name) {
            Count { right: 0, ..count }
        } else {
            Count { wrong: units, ..Count::default() }
        };
        assert_eq!(count, expected, "{}: {}", work.what, cheat.name);
        assert!(count.all() == units || matches!(cheat.how, How::Idle));
    }
}

#[test]
fn honest_motion_of_another_vendor_is_never_wrong() {
    never_wrong(EIGHT, 6, 0);
    never_wrong(CLUSTER, 6, 0);
}

#[test]
fn honest_pictures_of_another_vendor_are_never_wrong() {
    never_wrong(PICTURE, 4, 0);
}

#[test]
fn honest_products_of_another_vendor_are_never_wrong() {
    never_wrong(PRODUCT, 32, 0);
}

#[test]
fn cheap_motion_is_caught() {
    caught(EIGHT, 3, &[]);
    caught(CLUSTER, 3, &[]);
}

#[test]
fn cheap_pictures_are_caught() {
    caught(PICTURE, 2, &[]);
}

#[test]
fn cheap_products_are_caught() {
    caught(PRODUCT, 8, &[]);
}
