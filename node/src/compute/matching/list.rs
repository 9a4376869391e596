//! `keystead offers`: every provider, with what it claims apart from what others proved.

use super::{
    gather::{Gathered, Patience, Sight, gather, part},
    known::Sighted,
    links,
    live::{self, Silence},
};
use crate::{
    cli::Offers,
    compute::{
        amount::{bytes, kst},
        market::Market,
        money::{Money, unit_of},
        probation,
    },
};
use alloy_primitives::U256;
use eyre::{Context as _, Result};
use keystead_market::{
    band::Band,
    record::{Record, Statement, claimed::Speed},
    touchstone::lapse::Lapse,
};
use serde_json::{Value, json};
use std::{fmt::Write as _, process::ExitCode};

/// Providers that are asked whether they take orders now: the list is for people.
const ASKED_MAX: usize = 64;

/// Prints the list.
pub(crate) async fn run(options: &Offers) -> Result<ExitCode> {
    let market = Market::to_read(&options.rpc).await?;
    let Gathered { mut known, socket } =
        gather(&market, options.records.as_deref(), Patience::QUESTION, Sight::default()).await?;
    let money = Money::read(&market.account, options.token).await?;
    if options.token.is_some() {
        known.providers.retain(|_, provider| takes(provider, &money));
    }
    if !options.country.is_empty() {
        known.providers.retain(|_, provider| stands_in(provider, &options.country));
    }
    let with_record = known.providers.values().filter(|one| one.record.is_ok() && one.entry.offering);
    let asked: Vec<_> = with_record.map(|one| one.entry.account).take(ASKED_MAX).collect();
    // Whoever is silent stays in the list, without an answer.
    live::ask(&mut known, &socket, &asked, Patience::QUESTION, Silence::IsTaken).await;
    live::read_histories(&mut known, &market, &asked).await?;
    if options.json {
        let all: Vec<Value> = known.providers.values().map(to_json).collect();
        say(&serde_json::to_string_pretty(&all).wrap_err("cannot write the list")?);
    } else {
        known.providers.values().for_each(|provider| say(words(provider, &money).trim_end()));
        say(&format!(
            "{} providers. Claimed: what the provider says of itself. Proved: what checkers with a seat measured.",
            known.providers.len()
        ));
        say(
            "Orders: as the market counts those that were leased. Its owner can be their customer: good counts prove nothing.",
        );
    }
    part(&socket).await;
    Ok(ExitCode::SUCCESS)
}

/// Whether its record names a price in this money.
fn takes(provider: &Sighted, money: &Money) -> bool {
    let prices = provider.record.iter().flat_map(|record| &record.claimed.prices);
    prices.into_iter().any(|price| price.currency == money.currency())
}

/// Whether it says that it stands in one of these countries.
fn stands_in(provider: &Sighted, countries: &[[u8; 2]]) -> bool {
    provider.country().is_some_and(|claimed| countries.iter().any(|country| claimed.as_bytes() == country))
}

fn to_json(provider: &Sighted) -> Value {
    let Sighted { entry, record, proved, lapsed, answer, history, seen, .. } = provider;
    let left_out = record
        .as_ref()
        .err()
        .map(|absent| json!({"code": absent.code(), "words": absent.words(), "detail": absent.detail()}));
    let answer = answer.as_ref().map(|(state, took)| {
        json!({
            "availability": state.availability.name(),
            "reason": state.reason.as_str(),
            "lanes": state.lanes,
            "lanesFree": state.lanes_free,
            "waiting": state.waiting,
            "queueMs": state.queue_ms,
            "memoryMib": state.memory_mib,
            "roundTripUs": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    });
    json!({
        "provider": entry.account,
        "offering": entry.offering,
        "priceWeiPerUnit": entry.price_wei_per_unit.to_string(),
        "stakeWei": entry.stake_wei.to_string(),
        "capabilityHash": entry.capability_hash,
        "leftOut": left_out,
        "claimed": record.as_ref().ok().map(|record| &record.claimed),
        "proved": proved.iter().map(|one| one.statement()).collect::<Vec<_>>(),
        "lapsed": lapsed.map(|lapse| lapse.to_string()),
        "answer": answer,
        "measured": links::words(seen).map(|_| links::to_json(seen)),
        "orders": history.map(|counts| json!({"completed": counts.completed, "failed": counts.failed})),
    })
}

/// One provider for a person. A device is a line, with what is claimed before what is proved. Amounts of other tokens than `money` are in smallest units:
/// strangers list them, and nobody asked for their names.
fn words(provider: &Sighted, money: &Money) -> String {
    let Sighted { entry, record, answer, .. } = provider;
    let price = kst(U256::from(entry.price_wei_per_unit));
    let mut text = format!("{}  {price} a unit", entry.account);
    // Writing to a string does not fail.
    let _ = match (record, answer) {
        (Err(absent), _) => writeln!(text, "  [{}] {absent}", absent.code()),
        (Ok(_), Some((state, took))) => {
            let said = format!("{} waiting, round trip {} us", state.waiting, took.as_micros());
            writeln!(text, "  takes orders ({said})")
        }
        (Ok(_), None) => writeln!(text, "  no answer now"),
    };
    let Ok(record) = record else { return text };
    let place = &record.claimed.place;
    let named = [("country", &place.country), ("zone", &place.zone), ("operator", &place.operator)];
    let named: Vec<String> =
        named.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name} {value}")).collect();
    let layers: Vec<&str> = record.claimed.isolation.iter().map(|layer| layer.as_str()).collect();
    let mut claimed = [named, vec![format!("isolation {}", layers.join(" "))]].concat();
    if record.claimed.energy.carbon_g_per_kwh > 0 {
        claimed.push(format!("{} g of carbon dioxide a kWh", record.claimed.energy.carbon_g_per_kwh));
    }
    let _ = writeln!(text, "    claimed: {}", claimed.join(", "));
    let lane = probation::of_offer(entry.stake_wei, entry.price_wei_per_unit);
    let _ = writeln!(text, "    audited: {lane}");
    if let Some(counts) = provider.history {
        let _ = writeln!(text, "    orders:  {} completed, {} failed", counts.completed, counts.failed);
    }
    if let Some(seen) = links::words(&provider.seen) {
        let _ = writeln!(text, "    network: {seen}, as you measured it");
    }
    for (device, (claimed, claimed_mib)) in devices(record).into_iter().enumerate() {
        let proved = provider.proved.iter().map(|one| one.statement()).find(|one| usize::from(one.device) == device);
        let _ = writeln!(
            text,
            "    device {device}  claimed: {claimed}  proved: {}",
            proved.map_or_else(|| nothing(provider.lapsed), |statement| measured(statement, claimed_mib))
        );
    }
    for price in &record.claimed.prices {
        let unit = if price.currency == money.currency() { money.unit().clone() } else { unit_of(price.currency) };
        let (least, per_mop) = (unit.show(price.per_unit_min), unit.show(U256::from(price.per_mop)));
        let _ =
            writeln!(text, "    price    {}: {least} a unit at least, {per_mop} a million operations", price.kernel);
    }
    text
}

/// Each device in words, and the memory that is claimed of it, MiB.
fn devices(record: &Record) -> Vec<(String, u64)> {
    let processor = &record.claimed.processor;
    let own = format!(
        "{}, {} cores, {}, {}{}",
        processor.isa,
        processor.cores,
        memory(processor.memory_mib),
        speeds(&processor.speeds),
        watts(processor.power_mw)
    );
    let adapters = record.claimed.adapters.iter().map(|adapter| {
        let device = adapter.device();
        let words = format!(
            "{} ({}), {}, {}{}",
            device.name,
            adapter.kind(),
            memory(device.memory_mib),
            speeds(&device.speeds),
            watts(device.power_mw)
        );
        (words, device.memory_mib)
    });
    std::iter::once((own, processor.memory_mib)).chain(adapters).collect()
}

/// Of so many MiB, in the unit that a person reads most easily.
fn memory(mib: u64) -> String {
    bytes(mib.saturating_mul(1 << 20))
}

fn speeds(speeds: &[Speed]) -> String {
    let words: Vec<String> = speeds.iter().map(|speed| format!("{} {} Mop/s", speed.kernel, speed.mop_per_s)).collect();
    words.join(", ")
}

/// Power while it works; nothing if it is not claimed.
fn watts(milliwatts: u32) -> String {
    if milliwatts == 0 { String::new() } else { format!(", {} W", milliwatts.div_ceil(1_000)) }
}

/// Nothing is proved, or no longer.
fn nothing(lapsed: Option<Lapse>) -> String {
    lapsed.map_or_else(|| "nothing".to_owned(), |lapse| format!("nothing ({lapse})"))
}

/// What was proved. Memory stands beside what is claimed, since a proof fills what its owner lets it fill, which may be little of it.
fn measured(statement: &Statement, claimed_mib: u64) -> String {
    let least = |name: &str, unit: &str, band: Option<Band>| {
        band.map(|band| format!("{name} {} {unit} at least", band.at_least()))
    };
    let claimed = memory(claimed_mib);
    let filled = |band: Option<Band>| match band {
        Some(band) => format!("memory {} at least of {claimed} claimed", memory(band.at_least())),
        None => format!("memory nothing of {claimed} claimed"),
    };
    let bands = &statement.bands;
    let all = [
        least("integer", "Mop/s", bands.throughput),
        Some(filled(bands.memory)),
        least("bandwidth", "KiB/s", bands.bandwidth),
    ];
    let words: Vec<String> = all.into_iter().flatten().collect();
    format!("{} (height {}, checker {})", words.join(", "), statement.height, statement.checker)
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::market::Offer as Entry;
    use crate::compute::matching::{
        absent::Absent,
        known::{Believed, Known, tests::sighted},
    };
    use alloy_primitives::{Address, B256, FixedBytes};
    use keystead_market::{band::Bands, offer::History, record::Attested, table::Bandwidth};

    /// A statement in a record that nobody signed must not show as proved, whoever it names as its checker.
    #[test]
    fn a_statement_of_whom_nobody_trusts_is_claimed_by_nobody_and_proved_by_nobody() {
        let forged = |draft: &mut keystead_market::record::Draft| {
            draft.attested = vec![Attested {
                statement: Statement {
                    provider: draft.provider,
                    device: 1,
                    challenge: B256::ZERO,
                    height: 1,
                    time_s: 1_000,
                    bands: Bands { throughput: Band::of(1_000_000), memory: None, bandwidth: None },
                    checker: Address::repeat_byte(0x77),
                },
                signature: FixedBytes::ZERO,
            }];
        };
        let believed = Believed {
            chain_id: 1,
            checkers: [Address::repeat_byte(0x77)].into_iter().collect(),
            now_s: 1_000,
            ..Believed::default()
        };
        let known = Known::new(vec![sighted(1, 5, forged)], &believed);
        let provider = &known.providers[&Address::repeat_byte(1)];
        assert!(provider.proved.is_empty());
        let text = words(provider, &Money::kst());
        assert!(
            text.contains("device 1  claimed: llvmpipe (cpu), 4 GiB, integer 100 Mop/s  proved: nothing"),
            "{text}"
        );
        assert_eq!(to_json(provider)["proved"], json!([]));
    }

    #[test]
    fn a_country_shows_as_claimed_and_counts_of_orders_apart_from_it() {
        let german = |draft: &mut keystead_market::record::Draft| draft.claimed.place.country = "DE".to_owned();
        let mut known = Known::new(vec![sighted(1, 5, german), sighted(2, 5, |_| ())], &Believed::default());
        known.set_history(Address::repeat_byte(1), History { completed: 7, failed: 2 });
        let provider = &known.providers[&Address::repeat_byte(1)];
        let text = words(provider, &Money::kst());
        assert!(text.contains("claimed: country DE, isolation process"), "{text}");
        assert!(text.contains("orders:  7 completed, 2 failed"), "{text}");
        assert_eq!(to_json(provider)["claimed"]["place"]["country"], "DE");
        assert_eq!(to_json(provider)["orders"], json!({"completed": 7, "failed": 2}));
        assert!(stands_in(provider, &[*b"FR", *b"DE"]) && !stands_in(provider, &[*b"FR"]));
        let unsaid = &known.providers[&Address::repeat_byte(2)];
        assert!(!stands_in(unsaid, &[*b"DE"]) && to_json(unsaid)["orders"].is_null());
        assert!(!words(unsaid, &Money::kst()).contains("orders:"), "not read is not zero");
    }

    #[test]
    fn power_and_carbon_show_as_claimed_and_not_at_all_where_they_are_not() {
        let says = |draft: &mut keystead_market::record::Draft| {
            draft.claimed.processor.power_mw = 65_001;
            draft.claimed.energy.carbon_g_per_kwh = 381;
        };
        let text = words(&sighted(1, 5, says), &Money::kst());
        assert!(text.contains("isolation process, 381 g of carbon dioxide a kWh\n"), "{text}");
        assert!(text.contains("wasm 1000 Mop/s, 66 W  proved: nothing"), "{text}");
        let silent = words(&sighted(1, 5, |_| ()), &Money::kst());
        assert!(!silent.contains("carbon") && !silent.contains(" W "), "{silent}");
    }

    #[test]
    fn what_was_measured_of_a_line_is_shown_and_nothing_where_nothing_was() {
        let fast = Bandwidth { bytes_per_s: 3 << 20, count: 2, at_ms: 5 };
        let measured = Sighted { seen: [fast, Bandwidth::default()], ..sighted(1, 5, |_| ()) };
        let text = words(&measured, &Money::kst());
        assert!(text.contains("network: 3 MiB/s to it (2 transfers), as you measured it"), "{text}");
        let down = json!({"bytesPerS": 3 << 20, "transfers": 2, "unixMs": 5});
        assert_eq!(to_json(&measured)["measured"]["down"], down);
        let plain = sighted(1, 5, |_| ());
        assert!(to_json(&plain)["measured"].is_null() && !words(&plain, &Money::kst()).contains("network:"));
    }

    #[test]
    fn proved_memory_stands_beside_what_is_claimed_also_if_it_is_none() {
        let statement = |memory| Statement {
            provider: Address::ZERO,
            device: 1,
            challenge: B256::ZERO,
            height: 7,
            time_s: 1_000,
            bands: Bands { throughput: Band::of(1_000_000), memory, bandwidth: None },
            checker: Address::ZERO,
        };
        let some = measured(&statement(Band::of(256)), 24_576);
        assert!(some.contains(", memory 256 MiB at least of 24 GiB claimed (height 7, "), "{some}");
        let none = measured(&statement(None), 24_576);
        assert!(none.contains(", memory nothing of 24 GiB claimed (height 7, "), "{none}");
    }

    #[test]
    fn a_proof_that_lapsed_shows_as_nothing_with_the_block_at_which_it_was_due() {
        let provider = Sighted { lapsed: Some(Lapse::Due(4_096)), ..sighted(1, 5, |_| ()) };
        let text = words(&provider, &Money::kst());
        assert!(text.contains("proved: nothing (proof lapsed: was due at block 4096)"), "{text}");
        assert_eq!(to_json(&provider)["lapsed"], "proof lapsed: was due at block 4096");
        assert!(to_json(&sighted(1, 5, |_| ()))["lapsed"].is_null());
    }

    #[test]
    fn each_of_several_devices_has_a_line_and_proved_is_what_was_stated_of_that_one() {
        let three = |draft: &mut keystead_market::record::Draft| {
            let one = draft.claimed.adapters[0].clone();
            draft.claimed.adapters = vec![one.clone(), one.clone(), one];
        };
        let provider = sighted(1, 5, three);
        let text = words(&provider, &Money::kst());
        for device in 0..=3 {
            assert_eq!(text.matches(&format!("device {device}  claimed: ")).count(), 1, "{text}");
        }
        assert!(!text.contains("device 4") && text.matches("proved: nothing").count() == 4, "{text}");
        assert!(text.contains("audited: in probation: every unit is checked"), "{text}");
        let bonded = Sighted { entry: Entry { stake_wei: 500, ..provider.entry.clone() }, ..provider };
        assert!(words(&bonded, &Money::kst()).contains("audited: bonded"));
    }

    #[test]
    fn who_is_left_out_is_in_the_list_with_the_code_of_the_reason() {
        let mut known = Known::new(vec![sighted(1, 5, |_| ())], &Believed::default());
        known.leave_out(Address::repeat_byte(1), Absent::WrongRecord("another hash".to_owned()));
        let provider = &known.providers[&Address::repeat_byte(1)];
        assert!(
            words(provider, &Money::kst())
                .contains("[record-wrong] gives another record than it registered: another hash")
        );
        assert_eq!(to_json(provider)["leftOut"]["code"], "record-wrong");
    }
}
