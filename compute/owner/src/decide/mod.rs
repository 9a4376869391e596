//! Whether work may run now, how much of it, and why not: one pure function over a table of rules.
//!
//! # Design
//! [`decide`] takes everything in and changes nothing but its [`Memory`]. It evaluates every row of the table, so that the owner sees all
//! reasons at once, and does not lift one pause only to meet the next.
//!
//! # Invariants
//! The same inputs in the same order give the same decisions. A reason that appears stops its scope in the same decision; none waits.

mod memory;
mod reason;
mod rules;
mod signals;
#[cfg(test)]
mod tests;
mod throttle;

pub use memory::{JITTER_MS_MAX, Memory};
pub use reason::{Reason, Reasons, Scope};
pub use signals::{Load, Mode, Now, Pause, Signals, Wishes};
pub use throttle::throttle;

use crate::preferences::Preferences;
use rules::{Case, RULES, Rule};
use std::time::Duration;

/// Longest time between two decisions; load and temperatures change without telling anybody.
pub const CHECK_MAX: Duration = Duration::from_secs(10);
/// Bytes of a KiB and of an MB.
const KIB: u64 = 1_024;
const MB: u64 = 1_000_000;
/// A thousandth of a day.
const MILLIDAY_MS: u64 = 86_400;

/// What may run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Processors.
    pub cpu: Cpu,
    /// Graphics cards.
    pub gpu: Gpu,
    /// Transfers.
    pub network: Transfers,
    /// Whether new units may be taken and begun.
    pub new_units: bool,
    /// Whether the owner wants the program to stop when the current unit has ended.
    pub finish: bool,
    /// Whether the machine counts as in use.
    pub in_use: bool,
    /// Whether paused work must leave the memory: the owner did not say that it may stay, memory is short, or too much is swapped. What was computed
    /// since its last segment is lost then. False while processors work.
    pub evict: bool,
    /// Bounds of memory and disk.
    pub bounds: Bounds,
    /// All reasons, as bits.
    pub reasons: Reasons,
    /// The same for people, in the order of decision.
    pub words: Vec<Words>,
    /// When to decide again at the latest, even if no signal changes; at most [`CHECK_MAX`].
    pub next_check: Duration,
}

/// What processors may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// Work.
    Run {
        /// Threads at once, at least 1.
        threads: u32,
        /// Share of the time in which they work, percent, 1 to 100.
        time_percent: u8,
    },
    /// Nothing; within a second.
    Pause,
}

/// What graphics cards may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// Work.
    Run {
        /// Share of the time, percent, 1 to 100.
        time_percent: u8,
        /// Most power of a card, W, for whoever can set that.
        watts_max: Option<u64>,
    },
    /// Nothing; within a second.
    Pause,
}

/// What transfers may do; a rate of none is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfers {
    /// Move bytes.
    Run {
        /// Fastest upload, bytes/s.
        upload_max: Option<u64>,
        /// Fastest download, bytes/s.
        download_max: Option<u64>,
    },
    /// Nothing.
    Pause,
}

impl Default for Transfers {
    /// Without limit.
    fn default() -> Self {
        Self::Run { upload_max: None, download_max: None }
    }
}

/// Bounds of what work may take; none is without limit or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Memory of all jobs that run together, bytes.
    pub memory_bytes: Option<u64>,
    /// The largest that `memory_bytes` becomes when somebody comes or goes.
    pub memory_most_bytes: Option<u64>,
    /// Swap space of all workers together, bytes.
    pub swap_bytes: Option<u64>,
    /// Disk, bytes that this program may hold in all.
    pub disk_bytes: Option<u64>,
    /// Shortest time between two saves of an order's progress.
    pub checkpoint: Duration,
    /// Work that may wait.
    pub buffer: Option<Buffer>,
    /// How long one order computes before whoever waits has the machine.
    pub switch: Duration,
}

/// How much work may wait behind what runs: from `full` on nothing is taken, until it is no more than `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// More is taken again.
    pub low: Duration,
    /// Nothing is taken any more; at least `low`.
    pub full: Duration,
}

/// One reason for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Which.
    pub reason: Reason,
    /// What it stops.
    pub stops: Scope,
    /// One plain sentence with the numbers, without full stop.
    pub sentence: String,
}

/// Decides what may run now.
pub fn decide(
    memory: &mut Memory,
    preferences: &Preferences,
    signals: &Signals,
    wishes: &Wishes,
    now: Now,
) -> Decision {
    memory.learn(preferences, signals, wishes, now);
    let profile = if memory.in_use { &preferences.in_use } else { &preferences.not_in_use };
    let case = Case { preferences, profile, signals, wishes, memory, now };
    let mut words = Vec::new();
    for rule in RULES {
        let stops = scope(rule, wishes);
        if stops == Scope::NONE {
            continue;
        }
        if let Some(sentence) = (rule.holds)(&case) {
            words.push(Words { reason: rule.reason, stops, sentence });
        }
    }
    let next_check = next_check(&case);
    let mut decision = compose(&case, words, next_check);
    decision.evict = memory.evict(decision.cpu, preferences, signals);
    decision
}

/// The decision while the preferences cannot be read or understood: rules that nobody knows cannot be kept, so nothing runs.
#[must_use]
pub fn refuse(error: &str) -> Decision {
    stop(Reason::Preferences, format!("the preferences cannot be used: {}", shortened(error)))
}

/// The decision while nobody watches for the owner, who may have come: nothing runs. `why` is what happened, for a person.
#[must_use]
pub fn unwatched(why: &str) -> Decision {
    stop(Reason::Unwatched, format!("nobody watches for the owner: {}", shortened(why)))
}

/// Says beside a decision that the preferences' file cannot be used, so that those from before hold. It stops nothing.
pub fn keeps_preferences(decision: &mut Decision, error: &str) {
    let sentence = format!("owner.toml cannot be used, what it said before holds: {}", shortened(error));
    decision.reasons.add(Reason::Preferences);
    decision.words.push(Words { reason: Reason::Preferences, stops: Scope::NONE, sentence });
}

/// What an error says, bounded: it may quote a file.
fn shortened(error: &str) -> String {
    error.chars().take(400).collect()
}

/// Nothing runs, for one reason.
fn stop(reason: Reason, sentence: String) -> Decision {
    let stops = Scope::COMPUTE.with(Scope::NETWORK);
    let mut reasons = Reasons::default();
    reasons.add(reason);
    let defaults = Preferences::default();
    Decision {
        cpu: Cpu::Pause,
        gpu: Gpu::Pause,
        network: Transfers::Pause,
        new_units: false,
        finish: false,
        in_use: true,
        // Whether it may stay nobody knows either.
        evict: true,
        bounds: Bounds {
            memory_bytes: None,
            memory_most_bytes: None,
            swap_bytes: None,
            disk_bytes: None,
            checkpoint: defaults.disk.checkpoint,
            buffer: None,
            switch: defaults.work.switch,
        },
        reasons,
        words: vec![Words { reason, stops, sentence }],
        next_check: CHECK_MAX,
    }
}

/// What a rule stops under the owner's modes.
fn scope(rule: &Rule, wishes: &Wishes) -> Scope {
    if !rule.overruled {
        return rule.stops;
    }
    let mut stops = rule.stops;
    // A rule that stops processors is about all computing, so the general mode overrules all of it.
    if rule.stops.meets(Scope::CPU.with(Scope::UNITS)) {
        if wishes.compute == Mode::Always {
            stops = stops.without(Scope::COMPUTE);
        }
    } else if wishes.gpu == Mode::Always {
        stops = stops.without(Scope::GPU);
    }
    if wishes.network == Mode::Always {
        stops = stops.without(Scope::NETWORK);
    }
    stops
}

fn compose(case: &Case<'_>, words: Vec<Words>, next_check: Duration) -> Decision {
    let stopped = |scope: Scope| words.iter().any(|words| words.stops.meets(scope));
    let percent = |value: u64| u8::try_from(value.clamp(1, 100)).unwrap_or(100);
    let rate = |kib: u64| (kib > 0).then(|| kib.saturating_mul(KIB));
    let (profile, network) = (case.profile, &case.preferences.network);
    let cores = u64::from(case.signals.cores).saturating_mul(profile.cores_percent) / 100;
    let cpu = Cpu::Run {
        threads: u32::try_from(cores).unwrap_or(u32::MAX).max(1),
        time_percent: percent(profile.cpu_time_percent),
    };
    let watts = case.preferences.heat.gpu_watts_max;
    let gpu = Gpu::Run { time_percent: percent(profile.gpu_percent), watts_max: (watts > 0).then_some(watts) };
    let transfers = Transfers::Run {
        upload_max: rate(network.upload_kib_per_s_max),
        download_max: rate(network.download_kib_per_s_max),
    };
    let mut reasons = Reasons::default();
    for words in &words {
        reasons.add(words.reason);
    }
    Decision {
        cpu: if stopped(Scope::CPU) { Cpu::Pause } else { cpu },
        gpu: if stopped(Scope::GPU) { Gpu::Pause } else { gpu },
        network: if stopped(Scope::NETWORK) { Transfers::Pause } else { transfers },
        new_units: !stopped(Scope::UNITS.with(Scope::CPU)),
        finish: case.wishes.finish,
        in_use: case.memory.in_use,
        evict: false,
        bounds: bounds(case),
        reasons,
        words,
        next_check,
    }
}

fn bounds(case: &Case<'_>) -> Bounds {
    let (preferences, signals) = (case.preferences, case.signals);
    let (disk, work) = (&preferences.disk, &preferences.work);
    let by_size = (disk.used_mb_max > 0).then(|| disk.used_mb_max.saturating_mul(MB));
    let by_share = signals.disk_bytes.value().map(|total| share(*total, disk.used_percent_max));
    let by_free = signals
        .disk_free_bytes
        .value()
        .zip(signals.disk_ours_bytes.value())
        .map(|(free, ours)| ours.saturating_add(free.saturating_sub(disk.free_mb_min.saturating_mul(MB))));
    let most = preferences.in_use.memory_percent.max(preferences.not_in_use.memory_percent);
    // Whoever says *always* does not want work to wait until nobody is there.
    let is_always = case.wishes.compute == Mode::Always;
    let percent = if is_always { most } else { case.profile.memory_percent };
    let memory = |percent| signals.memory_bytes.value().map(|total| share(*total, percent));
    let days = |thousandths: u64| Duration::from_millis(thousandths.saturating_mul(MILLIDAY_MS));
    let (low, additional) = (days(work.buffer_millidays_min), days(work.buffer_millidays_additional));
    Bounds {
        memory_bytes: memory(percent),
        memory_most_bytes: memory(most),
        swap_bytes: swap_bytes_max(preferences, signals),
        disk_bytes: by_size.into_iter().chain(by_share).chain(by_free).min(),
        checkpoint: disk.checkpoint,
        buffer: (!is_always).then(|| Buffer { low, full: low.saturating_add(additional) }),
        switch: work.switch,
    }
}

/// Swap space that workers may use together, bytes; none where the machine does not say what it has.
fn swap_bytes_max(preferences: &Preferences, signals: &Signals) -> Option<u64> {
    signals.swap_bytes.value().map(|total| share(*total, preferences.memory.swap_percent))
}

/// A part of a number of bytes. Division first: it may round down, and must not overflow.
fn share(total: u64, percent: u64) -> u64 {
    total.checked_div(100).unwrap_or(0).saturating_mul(percent)
}

/// The next moment at which time alone can change the decision: a full minute (hours, schedules, dates), the end of a pause or of the delay.
fn next_check(case: &Case<'_>) -> Duration {
    let in_minute = u64::try_from(case.now.local_ms().rem_euclid(60_000)).unwrap_or(0);
    let minute = Duration::from_millis(60_000u64.saturating_sub(in_minute));
    let pause = case.memory.pause_left_ms(case.now).map(Duration::from_millis);
    let delay = case.preferences.presence.start_delay.checked_sub(case.signals.since_start);
    let idle = case.signals.idle.value().and_then(|idle| case.preferences.presence.idle.checked_sub(*idle));
    let all = [Some(minute), pause, delay, idle].into_iter().flatten().filter(|left| !left.is_zero());
    all.min().unwrap_or(CHECK_MAX).min(CHECK_MAX)
}
