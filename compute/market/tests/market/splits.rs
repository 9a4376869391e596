//! Splits: every unit once, shares kept, sooner or cheaper as asked, and never later than the time that is stated.

use crate::sample::{NOW_MS, need, table};
use alloy_primitives::U256;
use keystead_market::{
    Match, Need,
    need::{PPM, TIME_US_MAX, Weights},
    plan,
    split::{Error, Rule, Split, split},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn matches(seeds: &[u64], need: &Need) -> Vec<Match> {
    plan(&table(seeds), need, NOW_MS, 64).unwrap().best
}

/// Longest time of a share, by its own definition.
fn finish(split: &Split, matches: &[Match], rule: Rule) -> u64 {
    let one = |share: &keystead_market::split::Share| {
        let fit = &matches[share.index];
        let unit = (fit.unit_us * u64::from(PPM + rule.margin_ppm)).div_ceil(u64::from(PPM));
        fit.queue_us + fit.stage_us + fit.net_us + unit * u64::from(share.units.div_ceil(u32::from(fit.lanes)))
    };
    split.shares.iter().map(one).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn every_unit_is_given_once_within_the_shares_and_the_stated_time(
        seeds in prop::collection::vec(any::<u64>(), 0..200),
        need_seed in any::<u64>(),
        margin_ppm in 0u32..1_000_000,
        operator_ppm_max in 0u32..=1_000_000,
        zone_ppm_max in 0u32..=1_000_000,
        deadline_us in prop_oneof![Just(TIME_US_MAX), 0u64..1_000_000_000],
    ) {
        // The plan ranks by the whole job, so it gets the long deadline; the split has its own.
        let asked = Need { deadline_us: TIME_US_MAX, ..need(need_seed, 0) };
        let need = Need { deadline_us, ..asked.clone() };
        let matches = matches(&seeds, &asked);
        let rule = Rule { margin_ppm, operator_ppm_max, zone_ppm_max };
        match split(&need, &matches, rule) {
            Ok(split) => {
                prop_assert_eq!(split.shares.iter().map(|share| share.units).sum::<u32>(), need.units);
                prop_assert!(split.shares.iter().all(|share| share.units > 0));
                prop_assert!(finish(&split, &matches, rule) <= split.finish_us && split.finish_us <= deadline_us);
                let most = |ppm: u32| (u64::from(need.units) * u64::from(ppm) / 1_000_000).max(1);
                let (mut operators, mut zones, mut price) = (BTreeMap::new(), BTreeMap::new(), U256::ZERO);
                for share in &split.shares {
                    let fit = &matches[share.index];
                    *operators.entry(fit.operator).or_insert(0u64) += u64::from(share.units);
                    *zones.entry(fit.zone).or_insert(0u64) += u64::from(share.units);
                    price += fit.price_per_unit * U256::from(share.units);
                }
                prop_assert!(operators.values().all(|units| *units <= most(operator_ppm_max)));
                prop_assert!(zones.values().all(|units| *units <= most(zone_ppm_max)));
                prop_assert_eq!(price, split.price);
            }
            Err(Error::NotPlaced { placed, units, .. }) => prop_assert!(placed < units && units == need.units),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

/// Ten equal offers of different operators but for price: number `i` costs `100 + i`.
fn equal_offers() -> (Need, Vec<Match>) {
    let seeds: Vec<u64> = (0..300).collect();
    let (need, fit) = (0..100)
        .map(|seed| Need { units: 100, ..need(seed, 0) })
        .find_map(|need| matches(&seeds, &need).pop().map(|fit| (need, fit)))
        .unwrap();
    let one = |index: u64| Match {
        key: keystead_market::Key { device: index as u8, ..fit.key },
        price_per_unit: U256::from(100 + index),
        queue_us: 0,
        stage_us: 0,
        net_us: 0,
        unit_us: 1_000_000,
        lanes: 2,
        operator: index,
        zone: index % 5,
        ..fit.clone()
    };
    (need, (0..10).map(one).collect())
}

#[test]
fn who_does_not_mind_waiting_gets_the_cheapest_and_who_does_gets_more_providers() {
    let (need, matches) = equal_offers();
    let with = |time_per_s: u128| {
        let weights = Weights { time_per_s, carbon_per_g: 0 };
        split(&Need { weights, ..need.clone() }, &matches, Rule { margin_ppm: 0, ..Rule::ANYWHERE }).unwrap()
    };
    let patient = with(0);
    assert_eq!((patient.shares.len(), patient.finish_us, patient.price), (1, 50_000_000, U256::from(10_000u64)));
    let hasty = with(1_000_000);
    assert_eq!((hasty.shares.len(), hasty.finish_us), (10, 5_000_000));
    assert!(hasty.price > patient.price);
}

#[test]
fn a_share_limit_spreads_units_and_an_impossible_one_is_an_error() {
    let (need, matches) = equal_offers();
    let patient = Need { weights: Weights { time_per_s: 0, carbon_per_g: 0 }, ..need };
    let half = split(&patient, &matches, Rule { margin_ppm: 0, ..Rule::START }).unwrap();
    assert_eq!(half.shares.iter().map(|share| share.units).collect::<Vec<_>>(), [50, 50]);
    let tenth = Rule { operator_ppm_max: 100_000, zone_ppm_max: PPM, margin_ppm: 0 };
    assert_eq!(split(&patient, &matches, tenth).unwrap().shares.len(), 10);
    let less = Rule { operator_ppm_max: 90_000, ..tenth };
    let error = Error::NotPlaced { placed: 90, units: 100, operators: 10, zones: 5 };
    assert_eq!(split(&patient, &matches, less), Err(error));
    assert_eq!(
        split(&patient, &[], Rule::START),
        Err(Error::NotPlaced { placed: 0, units: 100, operators: 0, zones: 0 })
    );
    let many = vec![matches[0].clone(); 4_097];
    assert_eq!(split(&patient, &many, Rule::START), Err(Error::TooMany { got: 4_097 }));
    // The same device twice is one device.
    let twice = [matches[0].clone(), matches[0].clone()];
    assert_eq!(split(&patient, &twice, Rule::ANYWHERE).unwrap().shares.len(), 1);
    let margin_ppm = 10_000_001;
    assert_eq!(split(&patient, &matches, Rule { margin_ppm, ..Rule::START }), Err(Error::Margin { got: margin_ppm }));
}
