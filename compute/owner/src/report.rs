//! A decision for people and programs: one line, and JSON.

use crate::{
    decide::{Cpu, Decision, Gpu, Reason, Scope, Signals, Transfers, Words},
    reading::Reading,
};
use serde_json::{Value, json};

/// One line for a person: what runs and how fast bytes may move, and the first reason for what does not.
#[must_use]
pub fn headline(decision: &Decision) -> String {
    let mut line = course(decision);
    let kept = |words: &&Words| words.reason == Reason::Preferences && words.stops == Scope::NONE;
    if let Some(words) = decision.words.iter().find(kept) {
        line.push_str(&format!("; {}", words.sentence));
    }
    line
}

/// What runs, and why not.
fn course(decision: &Decision) -> String {
    let stopped = |scope: Scope| decision.words.iter().find(|words| words.stops.meets(scope));
    match decision.cpu {
        Cpu::Pause => {
            let why = stopped(Scope::CPU).map_or("no reason is known", |words| words.sentence.as_str());
            format!("paused: {why}")
        }
        Cpu::Run { threads, time_percent } => {
            let verb = if decision.finish { "finishing" } else { "may work" };
            let mut line = format!("{verb}: {threads} threads, {time_percent} % of their time");
            if let Some(words) = stopped(Scope::GPU) {
                line.push_str(&format!("; graphics cards paused: {}", words.sentence));
            }
            // That nothing is taken while the owner lets the program finish is said by the verb.
            let is_news = |words: &&Words| words.stops == Scope::UNITS && words.reason != Reason::Finishing;
            if let Some(words) = decision.words.iter().find(is_news) {
                line.push_str(&format!("; nothing new is taken: {}", words.sentence));
            }
            if decision.network != Transfers::default() {
                line.push_str(&format!("; network {}", network(decision)));
            }
            line
        }
    }
}

/// What the network may do, for a person.
fn network(decision: &Decision) -> String {
    let rate = |most: Option<u64>, way: &str| match most {
        // Rates are whole KiB/s.
        Some(bytes) => format!("at most {} KiB/s {way}", bytes / 1_024),
        None => format!("any speed {way}"),
    };
    match decision.network {
        Transfers::Run { upload_max: None, download_max: None } => "without limit".to_owned(),
        Transfers::Run { upload_max, download_max } => {
            format!("{}, {}", rate(upload_max, "up"), rate(download_max, "down"))
        }
        Transfers::Pause => {
            let why = decision.words.iter().find(|words| words.stops.meets(Scope::NETWORK));
            format!("paused: {}", why.map_or("no reason is known", |words| words.sentence.as_str()))
        }
    }
}

/// What the rules look at, each value beside its source, or null beside the reason. For people; no format that others parse.
#[must_use]
pub fn signals_to_json(signals: &Signals) -> Value {
    json!({
        "cores": signals.cores,
        "on_battery": shown(&signals.on_battery),
        "battery_percent": shown(&signals.battery_percent),
        "battery_millicelsius": shown(&signals.battery_millicelsius),
        "hand_held": shown(&signals.hand_held),
        "idle_s": shown(&signals.idle.clone().map(|idle| idle.as_secs())),
        "cpu_millicelsius": shown(&signals.cpu_millicelsius),
        "gpu_millicelsius": shown(&signals.gpu_millicelsius),
        "gpu_milliwatts": shown(&signals.gpu_milliwatts),
        "other_load_permille": shown(&signals.other_load.clone().map(|load| load.permille)),
        "memory_bytes": shown(&signals.memory_bytes),
        "memory_available_bytes": shown(&signals.memory_available_bytes),
        "memory_pressure_hundredths_of_percent": shown(&signals.memory_pressure),
        "swap_bytes": shown(&signals.swap_bytes),
        "swap_ours_bytes": shown(&signals.swap_ours_bytes),
        "disk_bytes": shown(&signals.disk_bytes),
        "disk_free_bytes": shown(&signals.disk_free_bytes),
        "disk_ours_bytes": shown(&signals.disk_ours_bytes),
        "metered": shown(&signals.metered),
        "wifi": shown(&signals.wifi),
        "price_millionths_per_kwh": shown(&signals.price_micro),
        "carbon_grams_per_kwh": shown(&signals.carbon_grams),
        "transferred_bytes": signals.transferred_bytes,
    })
}

/// A reading as JSON: its value beside the source, or null beside the reason.
pub(crate) fn shown<T: Clone + Into<Value>>(reading: &Reading<T>) -> Value {
    match reading {
        Reading::Known(value, source) => json!({"value": value.clone().into(), "source": source.as_ref()}),
        Reading::Unknown(why) => json!({"value": null, "why": why.to_string()}),
    }
}

/// All of a decision. Codes and bits keep their meaning; sentences do not.
#[must_use]
pub fn to_json(decision: &Decision) -> Value {
    let reasons = decision.words.iter().map(|words| {
        let stops: Vec<&str> =
            [(Scope::CPU, "cpu"), (Scope::GPU, "gpu"), (Scope::NETWORK, "network"), (Scope::UNITS, "new_units")]
                .iter()
                .filter(|(scope, _)| words.stops.meets(*scope))
                .map(|(_, name)| *name)
                .collect();
        json!({
            "code": words.reason.code(),
            "bit": words.reason.bit(),
            "stops": stops,
            "sentence": words.sentence,
            "remedy": words.reason.remedy(),
        })
    });
    let cpu = match decision.cpu {
        Cpu::Run { threads, time_percent } => json!({"run": true, "threads": threads, "time_percent": time_percent}),
        Cpu::Pause => json!({"run": false}),
    };
    let gpu = match decision.gpu {
        Gpu::Run { time_percent, watts_max } => {
            json!({"run": true, "time_percent": time_percent, "watts_max": watts_max})
        }
        Gpu::Pause => json!({"run": false}),
    };
    let says = network(decision);
    let network = match decision.network {
        Transfers::Run { upload_max, download_max } => json!({
            "run": true,
            "says": says,
            "upload_bytes_per_s_max": upload_max,
            "download_bytes_per_s_max": download_max,
        }),
        Transfers::Pause => json!({"run": false, "says": says}),
    };
    let bounds = &decision.bounds;
    let buffer = bounds.buffer.map(|buffer| json!({"low_s": buffer.low.as_secs(), "full_s": buffer.full.as_secs()}));
    json!({
        "headline": headline(decision),
        "cpu": cpu,
        "gpu": gpu,
        "network": network,
        "new_units": decision.new_units,
        "finish": decision.finish,
        "in_use": decision.in_use,
        "evict": decision.evict,
        "bounds": {
            "memory_bytes": bounds.memory_bytes,
            "memory_most_bytes": bounds.memory_most_bytes,
            "swap_bytes": bounds.swap_bytes,
            "disk_bytes": bounds.disk_bytes,
            "checkpoint_s": bounds.checkpoint.as_secs(),
            "buffer": buffer,
            "switch_s": bounds.switch.as_secs(),
        },
        "reason_bits": decision.reasons.bits(),
        "reasons": reasons.collect::<Vec<_>>(),
    })
}
