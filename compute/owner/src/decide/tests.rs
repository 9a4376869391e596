//! Every rule from both sides of its edge, hysteresis, modes, pauses and jumps of the clocks.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

use super::{rules::RULES, *};
use crate::{
    preferences::{Preferences, Week, Window},
    reading::{Reading, Unknown},
};
use std::{collections::BTreeSet, sync::Arc};

/// Saturday 2026-11-28, 12:00:00 UTC.
const NOON_MS: i64 = (20_785 * 86_400 + 12 * 3_600) * 1_000;
const HOUR_MS: i64 = 3_600_000;

/// A machine on mains, idle for an hour, cool, with everything known, and an owner who said nothing.
#[derive(Clone)]
struct World {
    preferences: Preferences,
    signals: Signals,
    wishes: Wishes,
    now: Now,
}

fn known<T>(value: T) -> Reading<T> {
    Reading::known(value, "test")
}

fn unknown<T>() -> Reading<T> {
    Reading::Unknown(Unknown::Absent(Arc::from("test")))
}

fn world() -> World {
    let gb = 1_000_000_000;
    let signals = Signals {
        cores: 8,
        on_battery: known(false),
        battery_percent: known(80),
        battery_millicelsius: known(25_000),
        hand_held: known(false),
        idle: known(Duration::from_secs(3_600)),
        cpu_millicelsius: known(50_000),
        gpu_millicelsius: known(50_000),
        gpu_milliwatts: known(20_000),
        other_load: known(Load { permille: 10, taken_ms: 0 }),
        memory_bytes: known(16 * gb),
        memory_available_bytes: known(8 * gb),
        memory_pressure: known(0),
        swap_bytes: known(4 * gb),
        swap_ours_bytes: known(0),
        disk_bytes: known(500 * gb),
        disk_free_bytes: known(200 * gb),
        disk_ours_bytes: known(gb),
        metered: known(false),
        wifi: known(true),
        programs: known(vec!["bash".to_owned(), "Firefox".to_owned()]),
        price_micro: unknown(),
        carbon_grams: unknown(),
        transferred_bytes: 0,
        since_start: Duration::from_secs(600),
    };
    let now = Now { unix_ms: NOON_MS, offset_s: 0, steady_ms: 1_000_000 };
    World { preferences: Preferences::default(), signals, wishes: Wishes::default(), now }
}

impl World {
    fn decide(&self, memory: &mut Memory) -> Decision {
        decide(memory, &self.preferences, &self.signals, &self.wishes, self.now)
    }

    fn once(&self) -> Decision {
        self.decide(&mut Memory::new(0))
    }

    fn pass(&mut self, ms: u64) {
        self.now.steady_ms += ms;
        self.now.unix_ms += i64::try_from(ms).unwrap();
    }

    fn load(&mut self, permille: u32) {
        self.signals.other_load = known(Load { permille, taken_ms: self.now.steady_ms });
    }
}

/// What runs: processors, graphics cards, network, new units.
fn runs(decision: &Decision) -> [bool; 4] {
    [decision.cpu != Cpu::Pause, decision.gpu != Gpu::Pause, decision.network != Transfers::Pause, decision.new_units]
}

const COMPUTE: [bool; 4] = [false, false, true, false];
const ALL: [bool; 4] = [false, false, false, false];
const GPU: [bool; 4] = [true, false, true, true];
const NETWORK: [bool; 4] = [true, true, false, true];
const UNITS: [bool; 4] = [true, true, true, false];

/// One edge: the last state in which the rule does not hold, the first in which it does, and what stands then.
struct Edge {
    reason: Reason,
    runs: [bool; 4],
    says: &'static str,
    before: fn(&mut World),
    after: fn(&mut World),
}

/// BOINC's whole set in its order, then ours.
const EDGES: &[Edge] = &[
    Edge {
        reason: Reason::StartDelay,
        runs: COMPUTE,
        says: "work begins 60 s after the start; 1 s are left",
        before: |w| {
            (w.preferences.presence.start_delay, w.signals.since_start) =
                (Duration::from_secs(60), Duration::from_secs(60))
        },
        after: |w| {
            (w.preferences.presence.start_delay, w.signals.since_start) =
                (Duration::from_secs(60), Duration::from_millis(59_999))
        },
    },
    Edge {
        reason: Reason::OwnerPaused,
        runs: COMPUTE,
        says: "you paused; 1 s are left",
        before: |w| w.wishes.pause = Some(Pause { made_unix_ms: NOON_MS - HOUR_MS, until_unix_ms: Some(NOON_MS) }),
        after: |w| w.wishes.pause = Some(Pause { made_unix_ms: NOON_MS - HOUR_MS, until_unix_ms: Some(NOON_MS + 1) }),
    },
    Edge {
        reason: Reason::OwnerPaused,
        runs: COMPUTE,
        says: "until you resume",
        before: |_| (),
        after: |w| w.wishes.pause = Some(Pause { made_unix_ms: NOON_MS, until_unix_ms: None }),
    },
    Edge {
        reason: Reason::OwnerPaused,
        runs: COMPUTE,
        says: "switched computing off",
        before: |_| (),
        after: |w| w.wishes.compute = Mode::Never,
    },
    Edge {
        reason: Reason::OnBattery,
        runs: COMPUTE,
        says: "on battery at 95 %; your rule: only on mains",
        before: |w| (w.signals.battery_percent, w.signals.on_battery) = (known(95), known(false)),
        after: |w| (w.signals.battery_percent, w.signals.on_battery) = (known(95), known(true)),
    },
    Edge {
        reason: Reason::OnBattery,
        runs: COMPUTE,
        says: "on battery; your rule",
        before: |w| {
            (w.signals.battery_percent, w.signals.on_battery, w.preferences.power.on_battery) =
                (unknown(), known(true), true)
        },
        after: |w| (w.signals.battery_percent, w.signals.on_battery) = (unknown(), known(true)),
    },
    Edge {
        reason: Reason::OnBattery,
        runs: COMPUTE,
        says: "on battery at 80 %",
        before: |w| (w.signals.battery_percent, w.signals.on_battery) = (unknown(), unknown()),
        after: |w| w.signals.on_battery = unknown(),
    },
    Edge {
        reason: Reason::InUse,
        runs: ALL,
        says: "the machine is in use: last input 179 s ago, idle after 180 s",
        before: |w| (w.preferences.in_use.cpu, w.signals.idle) = (false, known(Duration::from_secs(180))),
        after: |w| (w.preferences.in_use.cpu, w.signals.idle) = (false, known(Duration::from_millis(179_999))),
    },
    Edge {
        reason: Reason::NotInUse,
        runs: COMPUTE,
        says: "nobody uses the machine",
        before: |w| {
            (w.preferences.not_in_use.cpu, w.preferences.in_use.gpu, w.signals.idle) =
                (false, true, known(Duration::from_secs(179)))
        },
        after: |w| (w.preferences.not_in_use.cpu, w.signals.idle) = (false, known(Duration::from_secs(180))),
    },
    Edge {
        reason: Reason::OutsideHours,
        runs: COMPUTE,
        says: "nothing is computed until 12:01, in 60 s",
        before: |w| {
            (w.preferences.hours.every_day, w.preferences.work.finish_lead) =
                (windows(&["12:00-13:00"]), Duration::ZERO)
        },
        after: |w| w.preferences.hours.every_day = windows(&["12:01-13:00"]),
    },
    Edge {
        reason: Reason::OutsideHours,
        runs: COMPUTE,
        says: "nothing is computed until 00:00, in 12 h 0 min",
        before: |w| w.preferences.hours.days[4] = Some(Vec::new()),
        after: |w| w.preferences.hours.days[5] = Some(Vec::new()),
    },
    Edge {
        reason: Reason::NoInput,
        runs: COMPUTE,
        says: "no input for 60 min; your rule: pause after 60 min",
        before: |w| w.preferences.presence.no_input = Duration::from_secs(3_600),
        after: |w| {
            (w.preferences.presence.no_input, w.signals.idle) =
                (Duration::from_secs(3_600), known(Duration::from_millis(3_600_001)))
        },
    },
    Edge {
        reason: Reason::Exclusive,
        runs: ALL,
        says: "fireFOX is running",
        before: |w| w.preferences.exclusive.applications = vec!["Firefo".to_owned()],
        after: |w| w.preferences.exclusive.applications = vec!["fireFOX".to_owned()],
    },
    Edge {
        reason: Reason::BatteryLow,
        runs: COMPUTE,
        says: "the battery is at 89 %; your limit: 90 %",
        before: |w| {
            (w.preferences.power.on_battery, w.signals.on_battery, w.signals.battery_percent) =
                (true, known(true), known(90))
        },
        after: |w| {
            (w.preferences.power.on_battery, w.signals.on_battery, w.signals.battery_percent) =
                (true, known(true), known(89))
        },
    },
    Edge {
        reason: Reason::BatteryLow,
        runs: COMPUTE,
        says: "the battery is at 80 %",
        before: |w| w.signals.battery_percent = known(80),
        after: |w| w.signals.hand_held = known(true),
    },
    Edge {
        reason: Reason::BatteryHot,
        runs: COMPUTE,
        says: "the battery is at 40 C, too hot; your limit: 40 C, work goes on at 35 C",
        before: |w| w.signals.battery_millicelsius = known(40_000),
        after: |w| w.signals.battery_millicelsius = known(40_001),
    },
    Edge {
        reason: Reason::CpuHot,
        runs: COMPUTE,
        says: "the processor is at 80 C",
        before: |w| (w.preferences.heat.cpu_celsius_max, w.signals.cpu_millicelsius) = (80, known(80_000)),
        after: |w| (w.preferences.heat.cpu_celsius_max, w.signals.cpu_millicelsius) = (80, known(80_001)),
    },
    Edge {
        reason: Reason::Swap,
        runs: COMPUTE,
        says: "workers use 3000 MB of the swap space or used too much a moment ago; your limit: 3000 MB",
        before: |w| w.signals.swap_ours_bytes = known(3_000_000_000),
        after: |w| w.signals.swap_ours_bytes = known(3_000_000_001),
    },
    Edge {
        reason: Reason::Price,
        runs: COMPUTE,
        says: "power costs 0.300001 per kWh; your limit: 0.3",
        before: |w| (w.preferences.energy.price_micro_max, w.signals.price_micro) = (Some(300_000), known(300_000)),
        after: |w| (w.preferences.energy.price_micro_max, w.signals.price_micro) = (Some(300_000), known(300_001)),
    },
    Edge {
        reason: Reason::Price,
        runs: COMPUTE,
        says: "nobody says what power costs now",
        before: |w| (w.preferences.energy.price_micro_max, w.preferences.energy.price.base) = (Some(300_000), Some(1)),
        after: |w| w.preferences.energy.price_micro_max = Some(300_000),
    },
    Edge {
        reason: Reason::Carbon,
        runs: COMPUTE,
        says: "power emits 301 gCO2/kWh; your limit: 300",
        before: |w| (w.preferences.energy.carbon_grams_max, w.preferences.energy.carbon.base) = (Some(300), Some(300)),
        after: |w| (w.preferences.energy.carbon_grams_max, w.preferences.energy.carbon.base) = (Some(300), Some(301)),
    },
    Edge {
        reason: Reason::FinishBy,
        runs: COMPUTE,
        says: "work.finish_by has passed, 0 s ago",
        before: |w| w.preferences.work.finish_by_local_ms = Some(NOON_MS + HOUR_MS),
        after: |w| w.preferences.work.finish_by_local_ms = Some(NOON_MS),
    },
    Edge {
        reason: Reason::DiskFull,
        runs: UNITS,
        says: "99 MB are free; your rule: keep 100 MB free",
        before: |w| w.signals.disk_free_bytes = known(100_000_000),
        after: |w| w.signals.disk_free_bytes = known(99_999_999),
    },
    Edge {
        reason: Reason::DiskFull,
        runs: UNITS,
        says: "this program stores 1000 MB; your limit: 1000 MB",
        before: |w| w.preferences.disk.used_mb_max = 1_001,
        after: |w| w.preferences.disk.used_mb_max = 1_000,
    },
    Edge {
        reason: Reason::DiskFull,
        runs: UNITS,
        says: "this program stores 450000 MB; your limit: 450000 MB",
        before: |w| w.signals.disk_ours_bytes = known(449_999_999_999),
        after: |w| w.signals.disk_ours_bytes = known(450_000_000_000),
    },
    Edge {
        reason: Reason::Finishing,
        runs: UNITS,
        says: "finish the current unit",
        before: |_| (),
        after: |w| w.wishes.finish = true,
    },
    Edge {
        reason: Reason::EndsSoon,
        runs: UNITS,
        says: "your hours end within 10 min",
        before: |w| w.preferences.hours.every_day = windows(&["09:00-12:11"]),
        after: |w| w.preferences.hours.every_day = windows(&["09:00-12:10"]),
    },
    Edge {
        reason: Reason::EndsSoon,
        runs: UNITS,
        says: "your hours end within 10 min",
        before: |w| w.preferences.work.finish_by_local_ms = Some(NOON_MS + 600_001),
        after: |w| w.preferences.work.finish_by_local_ms = Some(NOON_MS + 600_000),
    },
    Edge {
        reason: Reason::OwnerPaused,
        runs: GPU,
        says: "switched the graphics cards off",
        before: |_| (),
        after: |w| w.wishes.gpu = Mode::Never,
    },
    Edge {
        reason: Reason::Exclusive,
        runs: GPU,
        says: "Firefox is running; your rule: it has the graphics cards",
        before: |w| w.preferences.exclusive.gpu_applications = vec!["Fire".to_owned()],
        after: |w| w.preferences.exclusive.gpu_applications = vec!["Firefox".to_owned()],
    },
    Edge {
        reason: Reason::InUse,
        runs: GPU,
        says: "graphics cards are left alone then",
        before: |w| w.signals.idle = known(Duration::from_secs(180)),
        after: |w| w.signals.idle = known(Duration::from_millis(179_999)),
    },
    Edge {
        reason: Reason::NotInUse,
        runs: GPU,
        says: "nobody uses the machine; your rule: graphics",
        before: |w| {
            (w.preferences.not_in_use.gpu, w.preferences.in_use.gpu, w.signals.idle) =
                (false, true, known(Duration::ZERO))
        },
        after: |w| w.preferences.not_in_use.gpu = false,
    },
    Edge {
        reason: Reason::GpuHot,
        runs: GPU,
        says: "the graphics card is at 70 C",
        before: |w| (w.preferences.heat.gpu_celsius_max, w.signals.gpu_millicelsius) = (70, known(70_000)),
        after: |w| (w.preferences.heat.gpu_celsius_max, w.signals.gpu_millicelsius) = (70, known(70_001)),
    },
    Edge {
        reason: Reason::GpuPower,
        runs: GPU,
        says: "draws 200 W",
        before: |w| (w.preferences.heat.gpu_watts_max, w.signals.gpu_milliwatts) = (200, known(200_000)),
        after: |w| (w.preferences.heat.gpu_watts_max, w.signals.gpu_milliwatts) = (200, known(200_001)),
    },
    Edge {
        reason: Reason::OwnerPaused,
        runs: NETWORK,
        says: "switched the network off",
        before: |_| (),
        after: |w| w.wishes.network = Mode::Never,
    },
    Edge {
        reason: Reason::Quota,
        runs: NETWORK,
        says: "5000 MB moved in 1 days; your limit: 5000 MB",
        before: |w| (w.preferences.network.transfer_mb_max, w.signals.transferred_bytes) = (5_000, 5_000_000_000),
        after: |w| (w.preferences.network.transfer_mb_max, w.signals.transferred_bytes) = (5_000, 5_000_000_001),
    },
    Edge {
        reason: Reason::OutsideHours,
        runs: NETWORK,
        says: "the network is not used until 11:59, in 23 h 59 min",
        before: |w| w.preferences.network_hours.every_day = windows(&["11:59-12:01"]),
        after: |w| w.preferences.network_hours.every_day = windows(&["11:59-12:00"]),
    },
    Edge {
        reason: Reason::Metered,
        runs: NETWORK,
        says: "paid by volume",
        before: |w| (w.signals.metered, w.preferences.network.metered) = (known(true), true),
        after: |w| w.signals.metered = known(true),
    },
    Edge {
        reason: Reason::NoWifi,
        runs: NETWORK,
        says: "not Wi-Fi",
        before: |w| w.preferences.network.wifi_only = true,
        after: |w| (w.preferences.network.wifi_only, w.signals.wifi) = (true, known(false)),
    },
];

fn windows(list: &[&str]) -> Vec<Window> {
    list.iter().map(|text| Window::parse(text).unwrap()).collect()
}

#[test]
fn an_idle_machine_of_an_owner_who_said_nothing_runs_everything() {
    let decision = world().once();
    assert_eq!(runs(&decision), [true; 4], "{:?}", decision.words);
    assert_eq!(decision.cpu, Cpu::Run { threads: 8, time_percent: 100 });
    assert_eq!(decision.reasons, Reasons::default());
}

#[test]
fn every_rule_holds_on_one_side_of_its_edge_and_not_on_the_other() {
    for (edge, at) in EDGES.iter().zip(0..) {
        let name = format!("edge {at}, {:?}, {}", edge.reason, edge.says);
        let mut allowed = world();
        (edge.before)(&mut allowed);
        let decision = allowed.once();
        assert_eq!(runs(&decision), [true; 4], "{name}: {:?}", decision.words);
        let mut stopped = world();
        (edge.after)(&mut stopped);
        let decision = stopped.once();
        assert_eq!(runs(&decision), edge.runs, "{name}: {:?}", decision.words);
        assert!(decision.reasons.holds(edge.reason), "{name}: {:?}", decision.words);
        assert!(
            decision.words.iter().any(|words| words.reason == edge.reason && words.sentence.contains(edge.says)),
            "{name}: {:?}",
            decision.words
        );
    }
}

#[test]
fn no_rule_of_the_table_is_without_an_edge() {
    let tested: BTreeSet<(u8, [bool; 4])> = EDGES.iter().map(|edge| (edge.reason as u8, edge.runs)).collect();
    for rule in RULES {
        // The load rule needs two measurements and has tests of its own.
        if rule.reason == Reason::OtherLoad {
            continue;
        }
        let stops = |scope| !rule.stops.meets(scope);
        let compute = stops(Scope::CPU);
        let runs = [compute, stops(Scope::GPU), stops(Scope::NETWORK), stops(Scope::UNITS)];
        assert!(tested.contains(&(rule.reason as u8, runs)), "{rule:?}");
    }
}

#[test]
fn the_order_is_boincs() {
    let boinc = [
        Reason::StartDelay,
        Reason::OwnerPaused,
        Reason::OnBattery,
        Reason::InUse,
        Reason::OutsideHours,
        Reason::NoInput,
        Reason::Exclusive,
        Reason::OtherLoad,
        Reason::BatteryHot,
        Reason::BatteryLow,
    ];
    let ours: Vec<Reason> = RULES.iter().map(|rule| rule.reason).filter(|reason| boinc.contains(reason)).collect();
    assert_eq!(ours[..boinc.len()], boinc);
    // Then those of graphics cards alone.
    let cards: Vec<Reason> = RULES.iter().filter(|rule| rule.stops == Scope::GPU).map(|rule| rule.reason).collect();
    assert_eq!(cards[..3], [Reason::OwnerPaused, Reason::Exclusive, Reason::InUse]);
}

#[test]
fn the_mode_always_overrules_preferences_and_not_heat_pauses_or_the_disk() {
    for edge in EDGES {
        let rules = RULES.iter().filter(|rule| rule.reason == edge.reason);
        let overruled = rules.clone().all(|rule| rule.overruled);
        let mut world = world();
        (edge.after)(&mut world);
        let chosen = world.wishes;
        world.wishes = Wishes { compute: Mode::Always, gpu: Mode::Always, network: Mode::Always, ..chosen };
        if chosen.compute == Mode::Never || chosen.gpu == Mode::Never || chosen.network == Mode::Never {
            continue;
        }
        let decision = world.once();
        assert_eq!(runs(&decision) == [true; 4], overruled, "{:?}: {:?}", edge.reason, decision.words);
    }
}

#[test]
fn all_reasons_are_told_at_once_and_in_the_order_of_decision() {
    let mut world = world();
    world.wishes.finish = true;
    world.signals.on_battery = known(true);
    world.signals.idle = known(Duration::from_secs(1));
    world.preferences.hours = Week { every_day: Vec::new(), ..Week::always() };
    let decision = world.once();
    let told: Vec<Reason> = decision.words.iter().map(|words| words.reason).collect();
    // On battery both the rule of mains and the least charge hold; the world's battery is at 80 %.
    let expected = [Reason::OnBattery, Reason::OutsideHours, Reason::BatteryLow, Reason::Finishing, Reason::InUse];
    assert_eq!(told, expected);
    assert!(decision.finish && decision.in_use);
    assert_eq!(decision.words[1].sentence, "your hours: nothing is computed at any time");
}

#[test]
fn work_pauses_at_once_and_resumes_after_three_minutes_and_the_jitter() {
    let mut world = world();
    let mut memory = Memory::new(20_000);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4]);
    world.pass(1_000);
    world.signals.idle = known(Duration::from_millis(200));
    assert_eq!(runs(&world.decide(&mut memory)), GPU, "in the same decision");
    for (idle_ms, expected) in [(179_999, GPU), (180_000, GPU), (199_999, GPU), (200_000, [true; 4])] {
        world.pass(1_000);
        world.signals.idle = known(Duration::from_millis(idle_ms));
        assert_eq!(runs(&world.decide(&mut memory)), expected, "{idle_ms}");
    }
    world.pass(1_000);
    world.signals.idle = known(Duration::from_millis(180_000));
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4], "the jitter is for resuming only");
}

#[test]
fn other_load_needs_two_measurements_that_agree_both_ways() {
    let mut world = world();
    let mut memory = Memory::new(0);
    // The limit of the profile not in use is 50 %.
    for (permille, expected) in [
        (500, [true; 4]),
        (501, [true; 4]),
        (500, [true; 4]),
        (501, [true; 4]),
        (1_000, COMPUTE),
        (500, COMPUTE),
        (501, COMPUTE),
        (500, COMPUTE),
        (500, [true; 4]),
    ] {
        world.pass(10_000);
        world.load(permille);
        let decision = world.decide(&mut memory);
        assert_eq!(runs(&decision), expected, "{permille} {:?}", decision.words);
        world.pass(1_000);
        assert_eq!(runs(&world.decide(&mut memory)), expected, "the same measurement counts once");
    }
}

#[test]
fn the_load_limit_is_the_one_of_the_profile_in_force_and_zero_is_none() {
    let run = |permille: u32, idle_s: u64, limit: u64| {
        let mut world = world();
        let mut memory = Memory::new(0);
        world.preferences.in_use.gpu = true;
        world.preferences.in_use.other_load_percent = limit;
        world.signals.idle = known(Duration::from_secs(idle_s));
        for _ in 0..2 {
            world.pass(10_000);
            world.load(permille);
            world.decide(&mut memory);
        }
        runs(&world.decide(&mut memory))
    };
    assert_eq!(run(250, 1, 25), [true; 4]);
    assert_eq!(run(251, 1, 25), COMPUTE);
    assert_eq!(run(251, 600, 25), [true; 4], "idle: 50 %");
    assert_eq!(run(1_000, 1, 0), [true; 4]);
}

#[test]
fn heat_cools_by_its_band_and_a_battery_rests_five_minutes_more() {
    let mut world = world();
    let mut memory = Memory::new(0);
    world.preferences.heat.cpu_celsius_max = 80;
    for (milli, expected) in
        [(80_000, true), (80_001, false), (79_000, false), (75_001, false), (75_000, true), (80_000, true)]
    {
        world.pass(1_000);
        world.signals.cpu_millicelsius = known(milli);
        assert_eq!(runs(&world.decide(&mut memory))[0], expected, "{milli}");
    }
    world.signals.battery_millicelsius = known(41_000);
    assert!(!runs(&world.decide(&mut memory))[0]);
    world.signals.battery_millicelsius = known(20_000);
    for _ in 0..29 {
        world.pass(10_000);
        assert!(!runs(&world.decide(&mut memory))[0], "it rests");
    }
    world.pass(9_999);
    assert!(!runs(&world.decide(&mut memory))[0]);
    world.pass(1);
    assert!(runs(&world.decide(&mut memory))[0]);
}

#[test]
fn a_sensor_that_vanishes_while_hot_counts_as_hot_for_five_minutes() {
    let mut world = world();
    let mut memory = Memory::new(0);
    world.preferences.heat.gpu_celsius_max = 80;
    world.signals.gpu_millicelsius = known(90_000);
    assert_eq!(runs(&world.decide(&mut memory)), GPU);
    world.signals.gpu_millicelsius = unknown();
    for _ in 0..29 {
        world.pass(10_000);
        let decision = world.decide(&mut memory);
        assert_eq!(runs(&decision), GPU);
        assert!(decision.words[0].sentence.contains("the graphics card was too hot"), "{:?}", decision.words);
    }
    world.pass(10_000);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4]);
    world.signals.gpu_millicelsius = known(90_000);
    assert_eq!(runs(&world.decide(&mut memory)), GPU);
    world.signals.gpu_millicelsius = unknown();
    world.preferences.heat.gpu_celsius_max = 0;
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4], "the owner took the rule back");
}

#[test]
fn a_battery_that_was_low_needs_two_percent_more_and_five_minutes() {
    let mut world = world();
    let mut memory = Memory::new(0);
    world.preferences.power.on_battery = true;
    world.signals.on_battery = known(true);
    world.signals.battery_percent = known(89);
    assert!(!runs(&world.decide(&mut memory))[0]);
    for percent in [90, 91] {
        world.pass(30_000);
        world.signals.battery_percent = known(percent);
        for _ in 0..20 {
            world.pass(30_000);
            assert!(!runs(&world.decide(&mut memory))[0], "{percent}");
        }
    }
    world.signals.battery_percent = known(92);
    let mut waited = 0;
    while !runs(&world.decide(&mut memory))[0] {
        world.pass(10_000);
        waited += 10_000;
        assert!(waited <= 300_000);
    }
    assert!(waited >= 270_000, "{waited}");
    world.signals.battery_percent = known(90);
    assert!(runs(&world.decide(&mut memory))[0], "90 is allowed until it is low again");
    world.signals.on_battery = known(false);
    world.signals.battery_percent = known(5);
    assert!(runs(&world.decide(&mut memory))[0], "a laptop on mains charges as it likes");
}

#[test]
fn a_card_that_drew_too_much_rests_although_it_draws_nothing_now() {
    let mut world = world();
    let mut memory = Memory::new(0);
    world.preferences.heat.gpu_watts_max = 100;
    world.signals.gpu_milliwatts = known(150_000);
    assert_eq!(runs(&world.decide(&mut memory)), GPU);
    world.signals.gpu_milliwatts = known(5_000);
    for _ in 0..29 {
        world.pass(10_000);
        assert_eq!(runs(&world.decide(&mut memory)), GPU);
    }
    world.pass(10_000);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4]);
}

#[test]
fn a_pause_lasts_as_long_as_was_said_whatever_the_wall_clock_does() {
    for jump_ms in [0, 10 * HOUR_MS, -10 * HOUR_MS] {
        let mut world = world();
        let mut memory = Memory::new(0);
        world.wishes.pause = Some(Pause { made_unix_ms: NOON_MS, until_unix_ms: Some(NOON_MS + 60_000) });
        // Unknown presence with an owner who calls that idle: the jump must not matter for other reasons.
        world.signals.idle = unknown();
        world.preferences.presence.headless_is_idle = true;
        assert_eq!(runs(&world.decide(&mut memory)), COMPUTE);
        world.now.unix_ms += jump_ms;
        world.pass(59_999);
        assert_eq!(runs(&world.decide(&mut memory)), COMPUTE, "{jump_ms}");
        world.pass(1);
        assert_eq!(runs(&world.decide(&mut memory)), [true; 4], "{jump_ms}");
        // The same pause does not begin anew when it is over.
        world.now.unix_ms = NOON_MS;
        assert_eq!(runs(&world.decide(&mut memory)), [true; 4], "{jump_ms}");
    }
}

#[test]
fn a_pause_found_after_a_restart_with_a_clock_set_back_is_not_longer_than_asked() {
    let mut world = world();
    world.now.unix_ms = NOON_MS - 100 * HOUR_MS;
    world.wishes.pause = Some(Pause { made_unix_ms: NOON_MS, until_unix_ms: Some(NOON_MS + 60_000) });
    let mut memory = Memory::new(0);
    assert_eq!(runs(&world.decide(&mut memory)), COMPUTE);
    world.pass(60_000);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4]);
    let backwards = Pause { made_unix_ms: NOON_MS, until_unix_ms: Some(NOON_MS - 1) };
    world.wishes.pause = Some(backwards);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4], "a pause that ends before it begins is none");
    world.wishes.pause = Some(Pause { made_unix_ms: i64::MIN, until_unix_ms: Some(i64::MAX) });
    world.now.unix_ms = i64::MIN;
    assert_eq!(runs(&world.decide(&mut memory)), COMPUTE, "extremes do not overflow");
}

#[test]
fn after_sleep_the_machine_counts_as_in_use_for_three_minutes() {
    // On one kind of system the steady clock counts in sleep, on the other only the wall clock does.
    for (steady_ms, wall_ms) in [(HOUR_MS, HOUR_MS), (1_000, HOUR_MS)] {
        let mut world = world();
        let mut memory = Memory::new(0);
        assert!(!world.decide(&mut memory).in_use);
        world.now.steady_ms += u64::try_from(steady_ms).unwrap();
        world.now.unix_ms += wall_ms;
        world.signals.idle = known(Duration::from_secs(7_200));
        assert!(world.decide(&mut memory).in_use, "the lid was just opened");
        for _ in 0..17 {
            world.pass(10_000);
            assert!(world.decide(&mut memory).in_use);
        }
        world.pass(10_000);
        assert!(!world.decide(&mut memory).in_use);
    }
}

#[test]
fn small_corrections_of_the_clock_change_nothing() {
    let mut world = world();
    let mut memory = Memory::new(0);
    world.decide(&mut memory);
    world.now.unix_ms += 59_000;
    world.pass(1_000);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4]);
    world.now.unix_ms -= 30 * 24 * HOUR_MS;
    world.pass(1_000);
    assert_eq!(runs(&world.decide(&mut memory)), [true; 4], "set back by a month");
}

#[test]
fn hours_follow_the_local_clock_and_its_changes() {
    let mut world = world();
    world.preferences.work.finish_lead = Duration::ZERO;
    world.preferences.hours.every_day = windows(&["14:00-15:00"]);
    assert_eq!(runs(&world.once()), COMPUTE);
    world.now.offset_s = 7_200;
    assert_eq!(runs(&world.once()), [true; 4]);
    // 12:00 UTC on Saturday is Sunday 02:00 on the Line Islands.
    world.preferences.hours = Week { every_day: Vec::new(), ..Week::always() };
    world.preferences.hours.days[6] = Some(windows(&["02:00-03:00"]));
    world.now.offset_s = 14 * 3_600;
    assert_eq!(runs(&world.once()), [true; 4]);
}

#[test]
fn an_unknown_presence_is_in_use_unless_the_owner_says_otherwise() {
    let mut world = world();
    world.signals.idle = unknown();
    let decision = world.once();
    assert_eq!(runs(&decision), GPU);
    assert!(decision.words[0].sentence.starts_with("nobody can tell whether the machine is in use"));
    world.preferences.presence.headless_is_idle = true;
    assert_eq!(runs(&world.once()), [true; 4]);
}

#[test]
fn shares_and_bounds_come_from_the_profile_in_force() {
    let mut world = world();
    world.preferences.in_use.cores_percent = 30;
    world.preferences.in_use.cpu_time_percent = 60;
    world.preferences.in_use.gpu = true;
    world.preferences.heat.gpu_watts_max = 150;
    world.preferences.network.upload_kib_per_s_max = 2;
    world.signals.idle = known(Duration::ZERO);
    let decision = world.once();
    assert_eq!(decision.cpu, Cpu::Run { threads: 2, time_percent: 60 });
    assert_eq!(decision.gpu, Gpu::Run { time_percent: 100, watts_max: Some(150) });
    assert_eq!(decision.network, Transfers::Run { upload_max: Some(2_048), download_max: None });
    assert_eq!(decision.bounds.memory_bytes, Some(8_000_000_000));
    assert_eq!(decision.bounds.memory_most_bytes, Some(14_400_000_000), "what it becomes when nobody is there");
    assert_eq!(decision.bounds.disk_bytes, Some(200_900_000_000), "what is free counts, less the rest that stays free");
    world.wishes.compute = Mode::Always;
    assert_eq!(world.once().bounds.memory_bytes, Some(14_400_000_000), "the larger share, whoever is there");
    world.wishes.compute = Mode::Auto;
    world.preferences.in_use.cores_percent = 1;
    world.signals.cores = 0;
    assert_eq!(world.once().cpu, Cpu::Run { threads: 1, time_percent: 60 }, "at least one");
}

#[test]
fn the_next_look_is_no_later_than_the_next_change_by_time() {
    let mut world = world();
    assert_eq!(world.once().next_check, CHECK_MAX);
    world.now.unix_ms = NOON_MS - 2_500;
    assert_eq!(world.once().next_check, Duration::from_millis(2_500), "the full minute");
    world.wishes.pause = Some(Pause { made_unix_ms: NOON_MS - 2_500, until_unix_ms: Some(NOON_MS - 2_000) });
    assert_eq!(world.once().next_check, Duration::from_millis(500));
    world.wishes.pause = None;
    world.signals.idle = known(Duration::from_millis(179_000));
    assert_eq!(world.once().next_check, Duration::from_secs(1));
}

#[test]
fn paused_work_stays_in_memory_if_the_owner_says_so_and_memory_is_not_short() {
    for keep in [false, true] {
        let mut world = world();
        let mut memory = Memory::new(0);
        world.preferences.memory.keep_paused = keep;
        world.wishes.pause = Some(Pause { made_unix_ms: NOON_MS, until_unix_ms: None });
        assert_eq!(world.decide(&mut memory).evict, !keep);
        world.pass(86_400_000);
        assert_eq!(world.decide(&mut memory).evict, !keep, "time alone changes nothing");
        world.wishes.pause = None;
        assert!(!world.decide(&mut memory).evict);
        world.signals.memory_pressure = known(1_001);
        assert!(!world.decide(&mut memory).evict, "work that runs has its own bound");
        world.wishes.pause = Some(Pause { made_unix_ms: NOON_MS, until_unix_ms: None });
        assert!(world.decide(&mut memory).evict);
        world.signals.memory_pressure = known(1_000);
        assert_eq!(world.decide(&mut memory).evict, !keep);
        world.signals.swap_ours_bytes = known(3_000_000_001);
        assert!(world.decide(&mut memory).evict, "what is paused swaps, too");
    }
    assert!(refuse("").evict, "nobody knows what the owner said");
}

#[test]
fn workers_that_swapped_too_much_rest_for_five_minutes() {
    let mut world = world();
    let mut memory = Memory::new(0);
    world.signals.swap_ours_bytes = known(3_000_000_001);
    assert!(world.decide(&mut memory).evict);
    // The workers ended, and use none any more.
    world.signals.swap_ours_bytes = known(0);
    world.pass(299_999);
    assert!(world.decide(&mut memory).reasons.holds(Reason::Swap));
    world.pass(1);
    assert_eq!(world.decide(&mut memory).cpu, world.once().cpu, "it works again");
    assert!(!world.decide(&mut memory).reasons.holds(Reason::Swap));
    // A machine that does not say what it has has no such rule; one without swap space can use none.
    world.signals.swap_ours_bytes = known(1);
    world.signals.swap_bytes = unknown();
    assert!(!world.once().reasons.holds(Reason::Swap));
    world.signals.swap_bytes = known(0);
    assert!(world.once().reasons.holds(Reason::Swap));
    world.signals.swap_ours_bytes = known(0);
    assert!(!world.once().reasons.holds(Reason::Swap));
}

#[test]
fn the_owners_buffer_and_stints_are_bounds_and_always_knows_no_buffer() {
    let mut world = world();
    let (low, full) = (Duration::from_secs(8_640), Duration::from_secs(51_840));
    assert_eq!(world.once().bounds.buffer, Some(Buffer { low, full }), "a tenth of a day, and half of one more");
    assert_eq!(world.once().bounds.switch, Duration::from_secs(3_600));
    assert_eq!(world.once().bounds.swap_bytes, Some(3_000_000_000));
    world.preferences.work.buffer_millidays_min = u64::MAX;
    assert!(world.once().bounds.buffer.is_some_and(|buffer| buffer.full >= buffer.low));
    world.wishes.compute = Mode::Always;
    assert_eq!(world.once().bounds.buffer, None);
}

#[test]
fn preferences_that_nobody_understands_stop_everything() {
    let decision = refuse(&"x".repeat(100_000));
    assert_eq!(runs(&decision), ALL);
    assert!(decision.words[0].sentence.len() < 500);
}
