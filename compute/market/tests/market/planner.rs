//! The planner and the naive one agree on any table; a table after any changes is the table that was built at once.

use crate::{
    oracle::Known,
    sample::{NOW_MS, need, offer, table},
};
use alloy_primitives::U256;
use keystead_market::{
    Filter, Table,
    need::{Lane, Need},
    offer::Key,
    plan::{self, Plan},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn known(seeds: &[u64]) -> BTreeMap<Key, Known> {
    let mut known: BTreeMap<Key, Known> = BTreeMap::new();
    for seed in seeds {
        let (offer, probe) = offer(*seed);
        let (key, old) = (offer.key, known.remove(&offer.key).and_then(|known| known.probe));
        known.insert(key, Known { offer, probe: old });
        // A probe is of a device, whatever it is paid in.
        let same =
            known.values_mut().filter(|known| (known.key().provider, known.key().device) == (key.provider, key.device));
        if probe.is_some() {
            same.for_each(|known| known.probe.clone_from(&probe));
        }
    }
    known
}

fn ranked(known: &BTreeMap<Key, Known>, need: &Need) -> Vec<(U256, Key, U256, U256, u64, Lane)> {
    let mut fits: Vec<_> = known
        .values()
        .map(|known| (known.key(), known.judge(need)))
        .filter(|(_, judged)| judged.failed.is_empty())
        .map(|(key, judged)| (judged.cost, key, judged.per_unit, judged.price, judged.finish_us, judged.lane))
        .collect();
    fits.sort_by_key(|fit| (fit.0, fit.1));
    fits
}

fn assert_same(plan: &Plan, naive: &[(U256, Key, U256, U256, u64, Lane)], count: usize) {
    assert_eq!(plan.matched, naive.len());
    let made: Vec<_> =
        plan.best.iter().map(|m| (m.cost, m.key, m.price_per_unit, m.price, m.finish_us, m.lane)).collect();
    assert_eq!(made, naive[..count.min(naive.len())]);
}

fn planned(table: &Table, need: &Need, count: usize) -> Plan {
    plan::plan(table, need, NOW_MS, count).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_planner_agrees_with_filtering_and_sorting_whole_offers(
        seeds in prop::collection::vec(any::<u64>(), 0..400),
        need_seed in any::<u64>(),
        strict in 0u64..6,
        count in 1usize..64,
    ) {
        let need = need(need_seed, strict);
        let (table, known) = (table(&seeds), known(&seeds));
        prop_assert_eq!(table.len(), known.len());
        assert_same(&planned(&table, &need, count), &ranked(&known, &need), count);
        for known in known.values() {
            let refusals = plan::refusals(&table, &need, NOW_MS, known.key()).unwrap().unwrap();
            let expected: Vec<Filter> = known.judge(&need).failed.into_iter().collect();
            prop_assert_eq!(refusals, expected);
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_the_order_in_which_offers_came_or_went(
        seeds in prop::collection::vec(any::<u64>(), 1..200),
        gone in prop::collection::vec(any::<u64>(), 0..100),
        need_seed in any::<u64>(),
    ) {
        // Of offers with one name the last one stays, so the names must differ.
        let mut names = BTreeSet::new();
        let mut distinct = |seeds: Vec<u64>| -> Vec<u64> {
            seeds.into_iter().filter(|seed| names.insert(offer(*seed).0.key.provider)).collect()
        };
        let (seeds, gone) = (distinct(seeds), distinct(gone));
        let need = need(need_seed, 1);
        let at_once = planned(&table(&seeds), &need, 32);
        let all: Vec<u64> = gone.iter().chain(seeds.iter().rev()).copied().collect();
        let mut grown = table(&all);
        for seed in &gone {
            prop_assert!(grown.leave(offer(*seed).0.key));
        }
        prop_assert_eq!(planned(&grown, &need, 32), at_once);
    }
}
