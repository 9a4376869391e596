//! Honest work of another vendor is never wrong by the recipes' own rules, and cheats are.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::indexing_slicing, reason = "tests")]

mod vendors;
mod wasm_runner;

use vendors::{CLUSTER, EIGHT, PICTURE, PRODUCT, Work, cheats, honest};

const SEED: u64 = 20_261_128;

/// The picture with fewer samples, for the time of a test.
const SMALL_PICTURE: Work =
    Work { settings: &[("width", "16"), ("height", "16"), ("samples", "16"), ("rows-per-unit", "8")], ..PICTURE };

/// Units that another vendor computed honestly are right, by the reference and by a third vendor.
fn never_wrong(work: Work, units: u64) {
    let count = honest(work, SEED, units, &mut |unit, judgement| {
        assert!(!matches!(judgement, keystead_audit::Judgement::Wrong(_)), "{} unit {unit}: {judgement:?}", work.what);
    });
    eprintln!("{} ({}): {count:?}", work.recipe, work.what);
    assert!(count.all() >= units && count.right == count.all(), "{count:?}");
}

/// Each cheat is wrong in each of so many units, but those named here: the rule does not see them.
fn caught(work: Work, units: u64, unseen: &[&str]) {
    for (cheat, count) in cheats(work, SEED, units) {
        eprintln!("{} ({}), {}: {count:?}", work.recipe, work.what, cheat.name);
        assert_eq!((count.all(), count.inconclusive), (units, 0));
        assert_eq!(count.wrong == units, !unseen.contains(&cheat.name), "{}: {}: {count:?}", work.what, cheat.name);
    }
}

#[test]
fn honest_motion_of_another_vendor_is_never_wrong() {
    never_wrong(EIGHT, 24);
    never_wrong(CLUSTER, 6);
}

#[test]
fn honest_pictures_of_another_vendor_are_never_wrong() {
    never_wrong(SMALL_PICTURE, 3);
}

#[test]
fn honest_products_of_another_vendor_are_never_wrong() {
    never_wrong(PRODUCT, 32);
}

/// Steps twice as long are a coarser method: with steps as short as these its result differs by less than what honest devices round. Who needs the
/// steps must order so long ones that it shows.
#[test]
fn cheap_motion_is_caught() {
    caught(EIGHT, 3, &["half of the steps, each twice as long"]);
    caught(CLUSTER, 3, &["half of the steps, each twice as long"]);
}

#[test]
fn cheap_pictures_are_caught() {
    caught(SMALL_PICTURE, 2, &[]);
}

#[test]
fn cheap_products_are_caught() {
    caught(PRODUCT, 8, &[]);
}
