//! Random machines, owners and clocks: what must hold for every decision; and every text of preferences.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

use keystead_owner::{
    Reading,
    decide::{
        CHECK_MAX, Cpu, Decision, Gpu, Load, Memory, Mode, Now, Pause, Reasons, Scope, Signals, Transfers, Wishes,
        decide,
    },
    preferences::{FIELDS, Kind, Preferences, parse, template},
    report,
};
use proptest::{collection::vec, option, prelude::*};
use std::time::Duration;

fn reading<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Reading<T>> {
    option::of(value).prop_map(|value| value.map_or_else(Reading::default, |value| Reading::known(value, "random")))
}

/// Preferences with random values at every key that has a range, by the table itself.
fn preferences() -> impl Strategy<Value = Preferences> {
    vec(any::<u64>(), FIELDS.len()).prop_map(|randoms| {
        let mut preferences = Preferences::default();
        for (field, random) in FIELDS.iter().zip(randoms) {
            let within = |min: u64, max: u64| min + random % (max - min + 1);
            match field.kind {
                Kind::Flag(place) => *place(&mut preferences) = random % 2 == 0,
                Kind::Whole(_, min, max, place) => *place(&mut preferences) = within(min, max),
                Kind::Span(_, seconds, min, max, place) => {
                    *place(&mut preferences) = Duration::from_secs(within(min, max) * seconds);
                }
                Kind::Decimal(_, _, max, place) => *place(&mut preferences) = within(0, max),
                Kind::Optional(_, _, max, place) => {
                    *place(&mut preferences) = (random % 3 == 0).then(|| within(0, max));
                }
                Kind::Moment(place) => {
                    // 1970 to 2100.
                    let seconds = i64::try_from(random % 4_102_444_800).unwrap();
                    *place(&mut preferences) = (random % 3 == 0).then_some(seconds * 1_000);
                }
                _ => {}
            }
        }
        preferences
    })
}

fn signals() -> impl Strategy<Value = Signals> {
    let power = (reading(any::<bool>()), reading(0u8..=100), reading(any::<i64>()), reading(any::<bool>()));
    let heat = (reading(any::<i64>()), reading(any::<i64>()), reading(any::<u64>()));
    let bytes = vec(reading(any::<u64>()), 7);
    let load = reading((0u32..=1_000, any::<u64>()).prop_map(|(permille, taken_ms)| Load { permille, taken_ms }));
    let rest = (
        reading(any::<bool>()),
        reading(any::<bool>()),
        reading(any::<u64>()),
        reading(any::<u64>()),
        any::<u64>(),
        any::<u64>(),
    );
    let idle = reading((0u64..1_000_000).prop_map(Duration::from_millis));
    (any::<u32>(), power, idle, heat, load, bytes, rest).prop_map(
        |(cores, power, idle, heat, other_load, bytes, rest)| {
            let mut bytes = bytes.into_iter();
            let mut next = || bytes.next().unwrap();
            Signals {
                cores,
                on_battery: power.0,
                battery_percent: power.1,
                battery_millicelsius: power.2,
                hand_held: power.3,
                idle,
                cpu_millicelsius: heat.0,
                gpu_millicelsius: heat.1,
                gpu_milliwatts: heat.2,
                other_load,
                memory_bytes: next(),
                memory_available_bytes: next(),
                memory_pressure: Reading::default(),
                swap_bytes: next(),
                swap_ours_bytes: next(),
                disk_bytes: next(),
                disk_free_bytes: next(),
                disk_ours_bytes: next(),
                metered: rest.0,
                wifi: rest.1,
                programs: Reading::default(),
                price_micro: rest.2,
                carbon_grams: rest.3,
                transferred_bytes: rest.4,
                since_start: Duration::from_millis(rest.5),
            }
        },
    )
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let mode = || prop_oneof![Just(Mode::Always), Just(Mode::Auto), Just(Mode::Never)];
    let pause = (any::<i64>(), option::of(any::<i64>()))
        .prop_map(|(made_unix_ms, until_unix_ms)| Pause { made_unix_ms, until_unix_ms });
    (mode(), mode(), mode(), option::of(pause), any::<bool>())
        .prop_map(|(compute, gpu, network, pause, finish)| Wishes { compute, gpu, network, pause, finish })
}

fn now() -> impl Strategy<Value = Now> {
    (any::<i64>(), -86_400i32..=86_400, any::<u64>()).prop_map(|(unix_ms, offset_s, steady_ms)| Now {
        unix_ms,
        offset_s,
        steady_ms,
    })
}

fn check(decision: &Decision, preferences: &Preferences, wishes: &Wishes) -> Result<(), TestCaseError> {
    let stopped = |scope: Scope| decision.words.iter().any(|words| words.stops.meets(scope));
    prop_assert_eq!(
        decision.cpu == Cpu::Pause,
        stopped(Scope::CPU),
        "no pause without a reason, no reason without a pause"
    );
    prop_assert_eq!(decision.gpu == Gpu::Pause, stopped(Scope::GPU));
    prop_assert_eq!(decision.network == Transfers::Pause, stopped(Scope::NETWORK));
    prop_assert!(decision.new_units <= (decision.cpu != Cpu::Pause), "no new unit while computing pauses");
    prop_assert!(decision.next_check <= CHECK_MAX && !decision.next_check.is_zero());
    let mut reasons = Reasons::default();
    for words in &decision.words {
        reasons.add(words.reason);
        prop_assert!(!words.sentence.is_empty() && words.sentence.len() < 400 && !words.sentence.ends_with('.'));
    }
    prop_assert_eq!(reasons, decision.reasons);
    if wishes.compute == Mode::Never {
        prop_assert_eq!(decision.cpu, Cpu::Pause);
    }
    if wishes.compute != Mode::Always && decision.in_use && !preferences.in_use.cpu {
        prop_assert_eq!(decision.cpu, Cpu::Pause, "the owner comes first");
    }
    if wishes.gpu != Mode::Always && decision.in_use && !preferences.in_use.gpu {
        prop_assert_eq!(decision.gpu, Gpu::Pause, "the owner comes first");
    }
    if let Cpu::Run { threads, time_percent } = decision.cpu {
        prop_assert!(threads >= 1 && (1..=100).contains(&time_percent));
    }
    prop_assert!(report::to_json(decision)["headline"].as_str().is_some_and(|line| !line.contains('\n')));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_reasoned_bounded_and_repeatable(
        preferences in preferences(),
        steps in vec((signals(), wishes(), now()), 1..12),
        jitter_ms in any::<u64>(),
    ) {
        let (mut first, mut second) = (Memory::new(jitter_ms), Memory::new(jitter_ms));
        for (signals, wishes, now) in &steps {
            let decision = decide(&mut first, &preferences, signals, wishes, *now);
            check(&decision, &preferences, wishes)?;
            prop_assert_eq!(&decision, &decide(&mut second, &preferences, signals, wishes, *now));
        }
    }

    #[test]
    fn preferences_survive_being_written_and_read(preferences in preferences()) {
        prop_assert_eq!(parse(&template(&preferences)).unwrap(), preferences);
    }

    #[test]
    fn no_text_breaks_the_reader_of_preferences(text in "\\PC{0,200}", key in 0..FIELDS.len(), value in "[-0-9a-z\"\\[\\]:., ]{0,30}") {
        let _ = parse(&text);
        let (section, name) = FIELDS[key].key.split_once('.').unwrap();
        if let Ok(preferences) = parse(&format!("version = 1\n[{section}]\n{name} = {value}")) {
            prop_assert_eq!(parse(&template(&preferences)).unwrap(), preferences, "what is accepted can be written");
        }
    }
}
