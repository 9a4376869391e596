//! A decision for people and programs: one line, and JSON.

use crate::decide::{Cpu, Decision, Gpu, Scope, Transfers};
use serde_json::{Value, json};

/// One line for a person: what runs, and the first reason for what does not.
#[must_use]
pub fn headline(decision: &Decision) -> String {
    let stopped = |scope: Scope| decision.words.iter().find(|words| words.stops.meets(scope));
    match decision.cpu {
        Cpu::Pause => {
            let why = stopped(Scope::CPU).map_or("no reason is known", |words| words.sentence.as_str());
            format!("paused: {why}")
        }
        Cpu::Run { threads, time_percent } => {
            let verb = if decision.finish { "finishing" } else { "may work" };
            let cpu = format!("{verb}: {threads} threads, {time_percent} % of their time");
            match stopped(Scope::GPU) {
                Some(words) => format!("{cpu}; graphics cards paused: {}", words.sentence),
                None => cpu,
            }
        }
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
    let network = match decision.network {
        Transfers::Run { upload_max, download_max } => {
            json!({"run": true, "upload_bytes_per_s_max": upload_max, "download_bytes_per_s_max": download_max})
        }
        Transfers::Pause => json!({"run": false}),
    };
    json!({
        "headline": headline(decision),
        "cpu": cpu,
        "gpu": gpu,
        "network": network,
        "new_units": decision.new_units,
        "finish": decision.finish,
        "in_use": decision.in_use,
        "keep_paused": decision.keep_paused,
        "bounds": {
            "memory_bytes": decision.bounds.memory_bytes,
            "swap_bytes": decision.bounds.swap_bytes,
            "disk_bytes": decision.bounds.disk_bytes,
            "checkpoint_s": decision.bounds.checkpoint.as_secs(),
        },
        "reason_bits": decision.reasons.bits(),
        "reasons": reasons.collect::<Vec<_>>(),
    })
}
