//! Changes of a table, one at a time, and the edges of its numbers: largest values, floods, needs out of bounds.

use crate::{
    oracle::Known,
    sample::{NOW_MS, TOKEN, blob, need, offer, provider, table},
};
use alloy_primitives::{Address, B256, U256};
use keystead_job::{Class, Runtime};
use keystead_market::{
    Currency, Key, Need, Offer, Plan, Probe, Table,
    need::{self, Blob, BlobPlace, MEMORY_BYTES_MAX, MOVED_BYTES_MAX, TIME_US_MAX, VALUE_MAX, WORK_MOP_MAX, Weights},
    offer::{History, kernel_index},
    plan,
    record::claimed::{CARBON_G_MAX, LANES_MAX, POWER_MW_MAX, PRICE_PER_MOP_MAX, SPEED_MOP_MAX},
    record::sets::{Isa, Kernel, Set},
    table::{BANDWIDTH_UNKNOWN, Bandwidth, Error, OFFERS_PER_PROVIDER_MAX, TRANSFER_BYTES_MIN, WATCHED_MAX},
    why_not,
};

/// A need that the sample's offers of one runtime pass but for what a test sets.
fn open() -> Need {
    let seed = (0..).find(|seed| need(*seed, 0).runtime == Runtime::Wgsl1).unwrap();
    Need {
        kernel: Kernel::Integer,
        class: Class::Exact,
        memory_bytes: 0,
        binding_bytes: 0,
        loop_iterations: 0,
        isolation: Set::EMPTY,
        isas: Set::of(Isa::ALL),
        currency: Currency::KST,
        blobs: Vec::new(),
        ..need(seed, 0)
    }
}

/// An offer that passes [`open`].
fn fitting() -> Offer {
    let fits = |offer: &Offer| {
        let passes = offer.runtime == Runtime::Wgsl1 && offer.offering && offer.key.currency == Currency::KST;
        passes && offer.classes.has(Class::Exact)
    };
    (0..).map(|seed| offer(seed).0).find(fits).unwrap()
}

fn of(offers: &[&Offer]) -> Table {
    let mut table = Table::new(&[Currency::token(TOKEN)]);
    offers.iter().for_each(|offer| table.join(offer).unwrap());
    table
}

fn planned(table: &Table, need: &Need) -> Plan {
    plan(table, need, NOW_MS, 32).unwrap()
}

#[test]
fn a_change_in_place_gives_the_table_that_the_changed_offer_would_have_made() {
    let (old, need) = (fitting(), open());
    let mut table = of(&[&old]);
    assert_eq!(planned(&table, &need).matched, 1);

    let mut new = old.clone();
    (new.per_unit_min, new.per_mop[1]) = (old.per_unit_min + 7, Some(123_456));
    table.join(&new).unwrap();
    assert_eq!(planned(&table, &need), planned(&of(&[&new]), &need));
    // A price that goes and comes back; a speed that was never there does not come with a price.
    table.join(&Offer { per_unit_min: 1, per_mop: [None; 4], ..new.clone() }).unwrap();
    assert_eq!(planned(&table, &need).matched, 0);
    table.join(&new).unwrap();
    assert_eq!(planned(&table, &need).matched, 1);
    table.join(&Offer { per_unit_min: 1, per_mop: [Some(1); 4], ..new.clone() }).unwrap();
    assert!(old.speed_mop_per_s[kernel_index(Kernel::Float)].is_none());
    assert_eq!(planned(&table, &Need { kernel: Kernel::Float, ..need.clone() }).matched, 0);
    table.join(&new).unwrap();

    new.history = History { completed: 3, failed: 9 };
    table.set_history(old.key.provider, new.history);
    assert_eq!(planned(&table, &need), planned(&of(&[&new]), &need));

    table.join(&Offer { offering: false, ..new.clone() }).unwrap();
    assert_eq!(planned(&table, &need).matched, 0);
    table.join(&new).unwrap();
    assert_eq!(planned(&table, &need).matched, 1);
    assert_eq!(table.leave_provider(old.key.provider), 1);
    assert!(table.is_empty() && !table.has(old.key) && !table.leave(old.key));
}

#[test]
fn bandwidth_follows_long_transfers_with_count_and_age_and_ignores_short_ones() {
    let mut seen = Bandwidth::default();
    assert!(!seen.transferred(TRANSFER_BYTES_MIN - 1, 1_000, 5) && !seen.transferred(TRANSFER_BYTES_MIN, 0, 5));
    assert_eq!(seen, Bandwidth::default());
    assert!(seen.transferred(TRANSFER_BYTES_MIN, 1_000_000, 6));
    assert_eq!((seen.bytes_per_s, seen.count, seen.at_ms), (TRANSFER_BYTES_MIN, 1, 6));
    assert!(seen.transferred(TRANSFER_BYTES_MIN * 5, 1_000_000, 7));
    assert_eq!((seen.bytes_per_s, seen.count, seen.at_ms), (TRANSFER_BYTES_MIN * 2, 2, 7));
    assert!(seen.transferred(u64::MAX, 1, 8) && seen.transferred(TRANSFER_BYTES_MIN, u64::MAX, 9));
    assert_eq!(seen.count, 4);
}

#[test]
fn what_was_seen_of_a_provider_is_planned_by_and_what_was_not_is_a_part_of_its_claim() {
    let offer = fitting();
    let mut table = of(&[&offer]);
    let need = Need { input_bytes: 1 << 30, output_bytes: 1 << 30, rounds: 0, ..open() };
    let net_us = |table: &Table| planned(table, &need).best[0].net_us;
    let seconds = |rate: u64| (1_u64 << 30) / rate;
    let [down, up] = table.bandwidths(offer.key).unwrap();
    assert_eq!((down.bytes_per_s, down.count), (offer.down_bytes_per_s.min(BANDWIDTH_UNKNOWN), 0));
    assert_eq!((up.bytes_per_s, up.count), (offer.up_bytes_per_s.min(BANDWIDTH_UNKNOWN), 0));
    let believed_us = net_us(&table);
    assert!(believed_us / 1_000_000 >= seconds(BANDWIDTH_UNKNOWN) * 2 - 2, "{believed_us}");
    let fast = Bandwidth { bytes_per_s: 1 << 28, count: 1, at_ms: 6 };
    table.set_bandwidths(offer.key.provider, [fast, fast]);
    assert_eq!(net_us(&table), 8_000_000, "a gibibyte each way takes four seconds");
    // One direction alone; and what was seen outlives a new claim.
    let slow = Bandwidth { bytes_per_s: 1 << 20, ..fast };
    table.set_bandwidths(offer.key.provider, [slow, Bandwidth::default()]);
    table.join(&offer).unwrap();
    assert_eq!(table.bandwidths(offer.key), Some([slow, fast]));
    table.set_bandwidths(Address::ZERO, [slow, slow]);
    assert_eq!(table.bandwidths(offer.key), Some([slow, fast]), "of another provider");
}

#[test]
fn blobs_are_known_only_while_they_are_watched_and_places_for_them_end() {
    let offer = fitting();
    let mut table = of(&[&offer]);
    let need = Need { blobs: vec![Blob { name: blob(1), bytes: 1, place: BlobPlace::AtProvider }], ..open() };
    assert_eq!(plan(&table, &need, NOW_MS, 1), Err(need::Error::NotWatched(blob(1))));
    (0..WATCHED_MAX as u64).for_each(|number| table.watch(blob(number)).unwrap());
    table.watch(blob(1)).unwrap();
    assert_eq!(table.watch(blob(999)), Err(Error::TooManyWatched));
    let flood: Vec<B256> = (500..100_000).map(blob).collect();
    let probe = |blobs: Vec<B256>| Probe { at_ms: 1, rtt_us: 1, queue_us: 1, free_memory_bytes: 1 << 40, blobs };
    assert!(table.probed(offer.key.provider, offer.key.device, &probe(flood)));
    assert!(!table.probed(offer.key.provider, 77, &probe(Vec::new())));
    assert_eq!(planned(&table, &need).matched, 0);
    table.probed(offer.key.provider, offer.key.device, &probe(vec![blob(1)]));
    assert_eq!(planned(&table, &need).matched, 1);
    table.unwatch(blob(1));
    table.watch(blob(1)).unwrap();
    assert_eq!(planned(&table, &need).matched, 0, "a place that was free says nothing about the next blob");
}

#[test]
fn one_provider_cannot_flood_the_table() {
    let offer = fitting();
    let currencies: Vec<Currency> = (1..=40u8).map(|byte| Currency::token(Address::repeat_byte(byte))).collect();
    let mut table = Table::new(&currencies);
    let mut refused = 0;
    for device in 0..=u8::MAX {
        for currency in &currencies {
            let key = Key { device, currency: *currency, ..offer.key };
            match table.join(&Offer { key, ..offer.clone() }) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error, Error::ProviderFull(offer.key.provider));
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((table.len(), refused), (OFFERS_PER_PROVIDER_MAX, 256 * 40 - OFFERS_PER_PROVIDER_MAX));
    let other = Key { provider: provider(12_345), currency: currencies[0], ..offer.key };
    table.join(&Offer { key: other, ..offer.clone() }).unwrap();
    assert_eq!(table.leave_provider(offer.key.provider), OFFERS_PER_PROVIDER_MAX);
    assert_eq!(table.len(), 1);
}

#[test]
fn the_largest_values_of_everything_do_not_overflow() {
    let dear = Offer {
        per_unit_min: 10u128.pow(24),
        per_mop: [Some(PRICE_PER_MOP_MAX); 4],
        speed_mop_per_s: [Some(1); 4],
        lanes: 1,
        power_mw: POWER_MW_MAX,
        carbon_g_per_kwh: CARBON_G_MAX,
        down_bytes_per_s: 0,
        up_bytes_per_s: 0,
        stake_wei: 0,
        history: History { completed: 0, failed: u32::MAX },
        ..fitting()
    };
    let quick = Offer {
        key: Key { device: 9, ..dear.key },
        per_mop: [Some(0); 4],
        speed_mop_per_s: [Some(SPEED_MOP_MAX); 4],
        lanes: LANES_MAX,
        down_bytes_per_s: u64::MAX,
        up_bytes_per_s: u64::MAX,
        history: History { completed: u32::MAX, failed: 0 },
        ..dear.clone()
    };
    let queue =
        Probe { at_ms: 1, rtt_us: u32::MAX, queue_us: u64::MAX, free_memory_bytes: u64::MAX, blobs: Vec::new() };
    let mut table = of(&[&dear, &quick]);
    table.watch(blob(0)).unwrap();
    table.probed(dear.key.provider, dear.key.device, &queue);
    let known = [Known { offer: dear, probe: Some(queue) }, Known { offer: quick, probe: None }];
    for (work_mop, units) in [(1, 1 << 20), (1_000_000, 1 << 20), (WORK_MOP_MAX, 1), (WORK_MOP_MAX, 1 << 20)] {
        let need = Need {
            work_mop,
            units,
            rounds: need::ROUNDS_MAX,
            input_bytes: MOVED_BYTES_MAX,
            output_bytes: MOVED_BYTES_MAX,
            source_bytes_per_s: 1,
            blobs: vec![Blob { name: blob(0), bytes: MOVED_BYTES_MAX, place: BlobPlace::Anywhere }],
            weights: Weights { time_per_s: VALUE_MAX, carbon_per_g: VALUE_MAX },
            ..open()
        };
        let plan = planned(&table, &need);
        let mut naive: Vec<(U256, Key, U256)> = known
            .iter()
            .map(|known| (known.key(), known.judge(&need)))
            .filter(|(_, judged)| judged.failed.is_empty())
            .map(|(key, judged)| (judged.cost, key, judged.price))
            .collect();
        naive.sort();
        let made: Vec<_> = plan.best.iter().map(|fit| (fit.cost, fit.key, fit.price)).collect();
        assert_eq!(made, naive);
        assert!(!made.is_empty());
        why_not(&table, &need, NOW_MS).unwrap();
    }
}

#[test]
fn a_need_out_of_bounds_is_refused_by_name() {
    let table = table(&[1, 2, 3]);
    type Case = (&'static str, fn(&mut Need));
    let bad: [Case; 11] = [
        ("units", |need| need.units = 0),
        ("units", |need| need.units = (1 << 20) + 1),
        ("work_mop", |need| need.work_mop = WORK_MOP_MAX + 1),
        ("memory_bytes", |need| need.memory_bytes = MEMORY_BYTES_MAX + 1),
        ("deadline_us", |need| need.deadline_us = TIME_US_MAX + 1),
        ("time_per_s", |need| need.weights.time_per_s = VALUE_MAX + 1),
        ("carbon_per_g", |need| need.weights.carbon_per_g = u128::MAX),
        ("input_bytes", |need| need.input_bytes = u64::MAX),
        ("source_bytes_per_s", |need| need.source_bytes_per_s = 0),
        ("fee_per_1024", |need| need.checks.fee_per_1024 = 1_025),
        ("engines", |need| need.engines = (0..65).map(|number| number.to_string()).collect()),
    ];
    for (field, change) in bad {
        let mut need = open();
        change(&mut need);
        let refused = plan(&table, &need, NOW_MS, 1).unwrap_err();
        assert!(matches!(refused, need::Error::OutOfRange { name, .. } if name == field), "{refused}");
        assert_eq!(why_not(&table, &need, NOW_MS).unwrap_err(), refused);
    }
    let currency = Currency::token(Address::repeat_byte(1));
    let unlisted = plan(&table, &Need { currency, ..open() }, NOW_MS, 1);
    assert_eq!(unlisted, Err(need::Error::CurrencyNotListed(currency)));
}
