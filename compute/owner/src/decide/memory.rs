//! What the decisions remember: hysteresis, so that work yields at once and comes back slowly, and jumps of the clocks.
//!
//! # Design
//! Every time span is measured on the steady clock. The wall clock is asked only for hours, dates and feeds, where it is what the owner means; so a
//! wall clock that jumps cannot end a pause, count as idle time or shorten a rest.

use super::{
    Cpu,
    signals::{Now, Pause, Signals, Wishes},
    swap_bytes_max,
};
use crate::preferences::Preferences;

/// A step that comes this late, on either clock, means that the machine slept (or was stopped): the loop steps every ten seconds at least.
const SLEPT_MS: u64 = 60_000;
/// Rest after a battery was too hot or too empty, a card drew too much, or workers used too much swap space. Spec: BOINC's back-off on Android, five minutes.
const REST_MS: u64 = 300_000;
/// How much fuller than the limit a battery must be before work goes on, percent.
const CHARGE_BAND: u64 = 2;
/// Measurements of load that must agree before the rule changes its mind. Spec: BOINC, two of ten seconds.
const LOAD_AGREES: u8 = 2;
/// Memory pressure above which paused work leaves at once, hundredths of a percent: somebody waits for memory in a tenth of the time.
const PRESSURE_MAX: u32 = 1_000;
/// Largest extra wait before work resumes, so that machines that fall idle together do not all ask for work in one second.
pub const JITTER_MS_MAX: u64 = 30_000;

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    jitter_ms: u64,
    last: Option<Now>,
    woke_ms: Option<u64>,
    pub(super) in_use: bool,
    pub(super) battery_low: bool,
    pub(super) battery_hot: bool,
    pub(super) cpu_hot: bool,
    pub(super) gpu_hot: bool,
    pub(super) gpu_power: bool,
    pub(super) loaded: bool,
    load_agrees: u8,
    load_taken_ms: Option<u64>,
    cpu_heat: Heat,
    gpu_heat: Heat,
    battery_rest_ms: u64,
    power_rest_ms: u64,
    pub(super) swapped: bool,
    swap_rest_ms: u64,
    pause: Option<(Pause, Option<u64>)>,
    pub(super) paused: bool,
}

impl Memory {
    /// An empty memory. `jitter_ms` is this machine's own extra wait before work resumes after the owner left; at most [`JITTER_MS_MAX`].
    #[must_use]
    pub fn new(jitter_ms: u64) -> Self {
        Self {
            jitter_ms: jitter_ms.min(JITTER_MS_MAX),
            last: None,
            woke_ms: None,
            in_use: true,
            battery_low: false,
            battery_hot: false,
            cpu_hot: false,
            gpu_hot: false,
            gpu_power: false,
            loaded: false,
            load_agrees: 0,
            load_taken_ms: None,
            cpu_heat: Heat::default(),
            gpu_heat: Heat::default(),
            battery_rest_ms: 0,
            power_rest_ms: 0,
            swapped: false,
            swap_rest_ms: 0,
            pause: None,
            paused: false,
        }
    }

    /// Whether work that is paused now must leave the memory.
    pub(super) fn evict(&self, cpu: Cpu, preferences: &Preferences, signals: &Signals) -> bool {
        let is_short = signals.memory_pressure.value().is_some_and(|pressure| *pressure > PRESSURE_MAX);
        cpu == Cpu::Pause && (!preferences.memory.keep_paused || is_short || self.swapped)
    }

    /// Takes in what is known now.
    pub(super) fn learn(&mut self, preferences: &Preferences, signals: &Signals, wishes: &Wishes, now: Now) {
        let first = self.last.is_none();
        if self.slept(now) {
            self.woke_ms = Some(now.steady_ms);
            self.load_agrees = 0;
        }
        self.last = Some(now);
        self.learn_presence(preferences, signals, now, first);
        self.learn_battery(preferences, signals, now);
        self.learn_heat(preferences, signals, now);
        self.learn_swap(preferences, signals, now);
        self.learn_load(preferences, signals);
        self.learn_pause(wishes, now);
    }

    fn slept(&self, now: Now) -> bool {
        self.last.is_some_and(|last| {
            let steady = now.steady_ms.saturating_sub(last.steady_ms);
            let wall = u64::try_from(now.unix_ms.saturating_sub(last.unix_ms)).unwrap_or(0);
            // A wall clock that was set forward looks the same on systems whose steady clock stops in sleep; the price is a late resumption.
            now.steady_ms < last.steady_ms || steady > SLEPT_MS || wall.saturating_sub(steady) > SLEPT_MS
        })
    }

    fn learn_presence(&mut self, preferences: &Preferences, signals: &Signals, now: Now, first: bool) {
        let Some(idle) = signals.idle.value() else {
            self.in_use = !preferences.presence.headless_is_idle;
            return;
        };
        // Whoever woke the machine is likely to sit before it, whatever the input devices remember.
        let awake_ms = self.woke_ms.map_or(u64::MAX, |woke| now.steady_ms.saturating_sub(woke));
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX).min(awake_ms);
        let limit_ms = u64::try_from(preferences.presence.idle.as_millis()).unwrap_or(u64::MAX);
        let extra_ms = if self.in_use && !first { self.jitter_ms } else { 0 };
        self.in_use = idle_ms < limit_ms.saturating_add(extra_ms);
    }

    fn learn_battery(&mut self, preferences: &Preferences, signals: &Signals, now: Now) {
        let power = &preferences.power;
        let limit = power.battery_percent_min;
        let matters = signals.on_battery.value() == Some(&true) || signals.hand_held.value() == Some(&true);
        let low = signals.battery_percent.value().filter(|_| matters).is_some_and(|percent| {
            let resume = if self.battery_low { limit.saturating_add(CHARGE_BAND).min(100) } else { limit };
            u64::from(*percent) < resume
        });
        let hot = signals.battery_millicelsius.value().is_some_and(|value| {
            above(*value, power.battery_celsius_max, preferences.heat.band_celsius, self.battery_hot)
        });
        if low || hot {
            self.battery_rest_ms = now.steady_ms.saturating_add(REST_MS);
        }
        let rests = now.steady_ms < self.battery_rest_ms;
        // While it rests, the reason stays the one that it was.
        self.battery_low = low || (rests && self.battery_low && matters && limit > 0);
        self.battery_hot = hot || (rests && self.battery_hot && power.battery_celsius_max > 0);
    }

    fn learn_heat(&mut self, preferences: &Preferences, signals: &Signals, now: Now) {
        let heat = &preferences.heat;
        let band = heat.band_celsius;
        self.cpu_hot = self.cpu_heat.learn(signals.cpu_millicelsius.value(), heat.cpu_celsius_max, band, now);
        self.gpu_hot = self.gpu_heat.learn(signals.gpu_millicelsius.value(), heat.gpu_celsius_max, band, now);
        let limit_mw = heat.gpu_watts_max.saturating_mul(1_000);
        let draws = limit_mw > 0 && signals.gpu_milliwatts.value().is_some_and(|draws| *draws > limit_mw);
        if draws {
            self.power_rest_ms = now.steady_ms.saturating_add(REST_MS);
        }
        // A card that pauses draws little at once: without a rest it would start again in the next second.
        self.gpu_power = draws || (limit_mw > 0 && self.gpu_power && now.steady_ms < self.power_rest_ms);
    }

    fn learn_swap(&mut self, preferences: &Preferences, signals: &Signals, now: Now) {
        let used = signals.swap_ours_bytes.value().copied();
        let exceeds = used.zip(swap_bytes_max(preferences, signals)).is_some_and(|(used, most)| used > most);
        if exceeds {
            self.swap_rest_ms = now.steady_ms.saturating_add(REST_MS);
        }
        // Workers that have ended use none: without a rest they would begin again at once.
        self.swapped = exceeds || (self.swapped && now.steady_ms < self.swap_rest_ms);
    }

    fn learn_load(&mut self, preferences: &Preferences, signals: &Signals) {
        let profile = if self.in_use { &preferences.in_use } else { &preferences.not_in_use };
        if profile.other_load_percent == 0 {
            (self.loaded, self.load_agrees) = (false, 0);
            return;
        }
        let Some(load) = signals.other_load.value().filter(|load| self.load_taken_ms != Some(load.taken_ms)) else {
            return;
        };
        self.load_taken_ms = Some(load.taken_ms);
        let above = u64::from(load.permille) > profile.other_load_percent.saturating_mul(10);
        self.load_agrees = if above == self.loaded { 0 } else { self.load_agrees.saturating_add(1) };
        if self.load_agrees >= LOAD_AGREES {
            (self.loaded, self.load_agrees) = (above, 0);
        }
    }

    fn learn_pause(&mut self, wishes: &Wishes, now: Now) {
        let Some(pause) = wishes.pause else {
            (self.pause, self.paused) = (None, false);
            return;
        };
        let known = self.pause.filter(|(known, _)| *known == pause);
        let (_, end) = known.unwrap_or_else(|| (pause, end_of(pause, now)));
        self.pause = Some((pause, end));
        self.paused = end.is_none_or(|end| now.steady_ms < end);
    }

    /// How long the owner's pause still lasts, ms; none if there is none or it has no end.
    pub(super) fn pause_left_ms(&self, now: Now) -> Option<u64> {
        let end = self.pause.filter(|_| self.paused)?.1?;
        Some(end.saturating_sub(now.steady_ms))
    }
}

/// One temperature: whether it is above its limit, and when that was last known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heat {
    hot: bool,
    known_ms: u64,
}

impl Heat {
    /// A sensor that vanishes while it is hot (a card that falls asleep has none) counts as hot for the length of a rest.
    fn learn(&mut self, value: Option<&i64>, limit_celsius: u64, band_celsius: u64, now: Now) -> bool {
        self.hot = match value {
            Some(value) => {
                self.known_ms = now.steady_ms;
                above(*value, limit_celsius, band_celsius, self.hot)
            }
            None => self.hot && limit_celsius > 0 && now.steady_ms.saturating_sub(self.known_ms) < REST_MS,
        };
        self.hot
    }
}

/// When a pause that is seen for the first time ends on the steady clock: by the wall clock, but never longer than was asked for, so that a clock that
/// was set back meanwhile does not prolong it.
fn end_of(pause: Pause, now: Now) -> Option<u64> {
    let until = pause.until_unix_ms?;
    let left = until.saturating_sub(now.unix_ms).min(until.saturating_sub(pause.made_unix_ms));
    Some(now.steady_ms.saturating_add(u64::try_from(left).unwrap_or(0)))
}

/// Whether a temperature is above its limit; one that was stays so until it is a band below. A limit of 0 is none.
fn above(millicelsius: i64, limit_celsius: u64, band_celsius: u64, was: bool) -> bool {
    let limit = if was { limit_celsius.saturating_sub(band_celsius) } else { limit_celsius };
    limit_celsius > 0 && millicelsius > i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(1_000)
}
