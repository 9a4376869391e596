//! What `why_not` says is true: counts as the naive filter has them, every advice works, and none is cheaper.

use crate::{
    oracle::{Judged, Known},
    planner::known,
    sample::{NOW_MS, need, table},
};
use alloy_primitives::U256;
use keystead_market::{Currency, Filter, Key, Need, Relaxation, Table, Unit, WhyNot, plan, why_not};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn explained(table: &Table, need: &Need) -> WhyNot {
    why_not(table, need, NOW_MS).unwrap()
}

/// The advice, applied and planned again, must bring in the offer it names at the price it names.
fn assert_works(table: &Table, need: &Need, advice: &Relaxation) {
    let mut relaxed = need.clone();
    advice.changes.iter().for_each(|change| change.apply(&mut relaxed));
    let plan = plan(table, &relaxed, NOW_MS, 4_096).unwrap();
    let found = plan.best.iter().find(|fit| fit.key == advice.key);
    let found = found.unwrap_or_else(|| panic!("{advice:?} does not work for {need:?}"));
    assert_eq!((found.price, found.price_per_unit, found.lane), (advice.price, advice.price_per_unit, advice.lane));
    assert_eq!(found.finish_us, advice.finish_us);
}

/// Filters that no change of the need can satisfy, for this offer.
fn hopeless(known: &Known, need: &Need, judged: &Judged) -> bool {
    let wrong_runtime = judged.failed.contains(&Filter::Runtime) && known.offer.runtime != need.runtime;
    let fixed = [Filter::Offering, Filter::Class, Filter::Kernel];
    wrong_runtime || fixed.iter().any(|filter| judged.failed.contains(filter))
}

/// The price of an offer once its stake is accepted: probation where the class allows it, a bonded lane otherwise.
fn price_after(need: &Need, known: &Known, judged: &Judged) -> U256 {
    if !judged.failed.contains(&Filter::Stake) || need.class_allows_probation() {
        return judged.price;
    }
    let mut lowered = need.clone();
    lowered.stake.min_wei = 0;
    known.judge(&lowered).price
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn counts_are_those_of_the_naive_filter_and_every_advice_works_and_is_the_cheapest(
        seeds in prop::collection::vec(any::<u64>(), 0..150),
        need_seed in any::<u64>(),
        strict in 0u64..10,
    ) {
        let need = need(need_seed, strict);
        let (table, known) = (table(&seeds), known(&seeds));
        let answer = explained(&table, &need);
        let judged: BTreeMap<Key, Judged> = known.iter().map(|(key, known)| (*key, known.judge(&need))).collect();
        prop_assert_eq!(answer.matched, judged.values().filter(|judged| judged.failed.is_empty()).count());
        for fallen in &answer.fallen {
            let has = |judged: &&Judged| judged.failed.contains(&fallen.filter);
            let first = |judged: &&Judged| judged.failed.first() == Some(&fallen.filter);
            prop_assert_eq!(fallen.any, judged.values().filter(has).count());
            prop_assert_eq!(fallen.first, judged.values().filter(first).count());
            prop_assert_eq!(fallen.only, judged.values().filter(|j| has(j) && j.failed.len() == 1).count());
        }
        let first: usize = answer.fallen.iter().map(|fallen| fallen.first).sum();
        prop_assert_eq!(first + answer.matched, known.len());

        for advice in answer.singles.iter().chain(&answer.pair) {
            assert_works(&table, &need, advice);
        }
        for count in [1, 2] {
            // By filters: the lowest price of an offer in the job's currency that fails exactly these.
            let mut lowest: BTreeMap<BTreeSet<Filter>, U256> = BTreeMap::new();
            for (key, judged) in &judged {
                let known = &known[key];
                if judged.failed.len() == count && key.currency == need.currency && !hopeless(known, &need, judged) {
                    let price = price_after(&need, known, judged);
                    let entry = lowest.entry(judged.failed.clone()).or_insert(price);
                    *entry = price.min(*entry);
                }
            }
            if count == 1 {
                for (filters, price) in &lowest {
                    let advice = answer.singles.iter().find(|advice| filters.iter().eq(&advice.filters));
                    prop_assert_eq!(advice.map(|advice| advice.price), Some(*price), "{:?}", filters);
                }
                let cheapest = answer.singles.first().filter(|advice| advice.key.currency == need.currency);
                prop_assert_eq!(cheapest.map(|advice| advice.price), lowest.values().min().copied());
            } else if answer.singles.is_empty() {
                let pair = answer.pair.as_ref().filter(|advice| advice.key.currency == need.currency);
                prop_assert_eq!(pair.map(|advice| advice.price), lowest.values().min().copied());
            } else {
                prop_assert!(answer.pair.is_none());
            }
        }
    }
}

#[test]
fn the_random_tables_reach_every_filter_every_change_and_pairs() {
    let (mut alone, mut words, mut pairs, mut matched) = (BTreeSet::new(), String::new(), 0, 0);
    let unit = |currency: Currency| {
        if currency == Currency::KST { Unit::kst() } else { Unit { symbol: "TOK".into(), decimals: 6 } }
    };
    for seed in 0..600u64 {
        let seeds: Vec<u64> = (0..60).map(|index| seed * 1_000 + index).collect();
        let need = need(seed, seed % 10);
        let answer = explained(&table(&seeds), &need);
        alone.extend(answer.fallen.iter().filter(|fallen| fallen.only > 0).map(|fallen| fallen.filter));
        words += &answer.words(&need, &unit);
        pairs += usize::from(answer.pair.is_some());
        matched += answer.matched;
    }
    let missing: Vec<&Filter> = Filter::ALL.iter().filter(|filter| !alone.contains(filter)).collect();
    assert!(missing.is_empty(), "never alone: {missing:?}");
    assert!(pairs > 10 && matched > 100, "{pairs} {matched}");
    for part in ["cut memory", "raise the price cap", "wait ", "every unit checked", "lower the least stake", "and "] {
        assert!(words.contains(part), "{part}");
    }
}

#[test]
fn an_empty_table_says_that_there_are_no_offers() {
    let need = need(1, 0);
    let answer = explained(&table(&[]), &need);
    assert_eq!((answer.offers, answer.matched, answer.fallen.len(), answer.singles.len()), (0, 0, 0, 0));
    assert!(answer.words(&need, &|_| Unit::kst()).starts_with("0 of 0 offers fit"));
}
