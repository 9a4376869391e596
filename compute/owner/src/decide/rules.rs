//! The table of rules, in BOINC's order of decision: what each stops, whether the mode *always* overrules it, and when it holds.
//!
//! # Unknown signals
//! A rule whose signal is unknown does not hold, with three exceptions that protect what the owner asked for: presence
//! (`presence.headless_is_idle` decides), a battery that exists and does not say whether it is discharging (it counts as discharging), and a limit
//! of price or carbon without a known value (it counts as exceeded).

use super::{
    memory::Memory,
    reason::{Reason, Scope},
    signals::{Mode, Now, Signals, Wishes},
    swap_bytes_max,
};
use crate::{
    preferences::{Door, Preferences, Profile, Series, decimal_text},
    reading::Reading,
};

/// Minutes of a week: how far ahead the hours are searched.
const WEEK_MINUTES: u32 = 7 * 1_440;
/// Bytes of an MB.
const MB: u64 = 1_000_000;

/// Everything that a rule may look at.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) preferences: &'a Preferences,
    pub(super) profile: &'a Profile,
    pub(super) signals: &'a Signals,
    pub(super) wishes: &'a Wishes,
    pub(super) memory: &'a Memory,
    pub(super) now: Now,
}

/// One row.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) reason: Reason,
    pub(super) stops: Scope,
    /// Whether the mode *always* overrules it.
    pub(super) overruled: bool,
    /// The sentence with the numbers, if the rule holds.
    pub(super) holds: fn(&Case<'_>) -> Option<String>,
}

const fn row(reason: Reason, stops: Scope, overruled: bool, holds: fn(&Case<'_>) -> Option<String>) -> Rule {
    Rule { reason, stops, overruled, holds }
}

const ALL: Scope = Scope::COMPUTE.with(Scope::NETWORK);

/// All rules. The first that holds is the one that a short display shows.
pub(super) const RULES: &[Rule] = &[
    row(Reason::StartDelay, Scope::COMPUTE, false, start_delay),
    row(Reason::OwnerPaused, Scope::COMPUTE, false, owner_paused),
    row(Reason::OnBattery, Scope::COMPUTE, true, on_battery),
    row(Reason::InUse, ALL, true, in_use),
    row(Reason::NotInUse, Scope::COMPUTE, true, not_in_use),
    row(Reason::OutsideHours, Scope::COMPUTE, true, outside_hours),
    row(Reason::NoInput, Scope::COMPUTE, true, no_input),
    row(Reason::Exclusive, ALL, true, exclusive),
    row(Reason::OtherLoad, Scope::COMPUTE, true, other_load),
    row(Reason::BatteryHot, Scope::COMPUTE, false, battery_hot),
    row(Reason::BatteryLow, Scope::COMPUTE, true, battery_low),
    row(Reason::CpuHot, Scope::COMPUTE, false, cpu_hot),
    row(Reason::Swap, Scope::COMPUTE, false, swap),
    row(Reason::Price, Scope::COMPUTE, true, price),
    row(Reason::Carbon, Scope::COMPUTE, true, carbon),
    row(Reason::FinishBy, Scope::COMPUTE, true, finish_by),
    row(Reason::DiskFull, Scope::UNITS, false, disk_full),
    row(Reason::Finishing, Scope::UNITS, false, finishing),
    row(Reason::EndsSoon, Scope::UNITS, true, ends_soon),
    row(Reason::OwnerPaused, Scope::GPU, false, gpu_never),
    row(Reason::Exclusive, Scope::GPU, true, exclusive_gpu),
    row(Reason::InUse, Scope::GPU, true, gpu_in_use),
    row(Reason::NotInUse, Scope::GPU, true, gpu_not_in_use),
    row(Reason::GpuHot, Scope::GPU, false, gpu_hot),
    row(Reason::GpuPower, Scope::GPU, false, gpu_power),
    row(Reason::OwnerPaused, Scope::NETWORK, false, network_never),
    row(Reason::Quota, Scope::NETWORK, true, quota),
    row(Reason::OutsideHours, Scope::NETWORK, true, outside_network_hours),
    row(Reason::Metered, Scope::NETWORK, true, metered),
    row(Reason::NoWifi, Scope::NETWORK, true, no_wifi),
];

fn start_delay(case: &Case<'_>) -> Option<String> {
    let delay = case.preferences.presence.start_delay;
    let left = delay.checked_sub(case.signals.since_start).filter(|left| !left.is_zero())?;
    let rounded = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
    Some(format!("work begins {} s after the start; {rounded} s are left", delay.as_secs()))
}

fn owner_paused(case: &Case<'_>) -> Option<String> {
    if case.wishes.compute == Mode::Never {
        return Some("you switched computing off".to_owned());
    }
    if !case.memory.paused {
        return None;
    }
    Some(case.memory.pause_left_ms(case.now).map_or_else(
        || "you paused until you resume".to_owned(),
        |left_ms| format!("you paused; {} are left", span(left_ms.div_ceil(1_000))),
    ))
}

fn on_battery(case: &Case<'_>) -> Option<String> {
    let discharging = match &case.signals.on_battery {
        Reading::Known(on, _) => *on,
        // There is a battery and nobody says what it does: careful is right.
        Reading::Unknown(_) => case.signals.battery_percent.value().is_some(),
    };
    if !discharging || case.preferences.power.on_battery {
        return None;
    }
    let charge = case.signals.battery_percent.value().map(|percent| format!(" at {percent} %")).unwrap_or_default();
    Some(format!("on battery{charge}; your rule: only on mains"))
}

fn presence_words(case: &Case<'_>) -> String {
    let limit = span(case.preferences.presence.idle.as_secs());
    case.signals.idle.value().map_or_else(
        || "nobody can tell whether the machine is in use, as no input device can be watched".to_owned(),
        |idle| format!("the machine is in use: last input {} ago, idle after {limit}", span(idle.as_secs())),
    )
}

fn in_use(case: &Case<'_>) -> Option<String> {
    let holds = case.memory.in_use && !case.preferences.in_use.cpu;
    holds.then(|| format!("{}; your rule: no computing then", presence_words(case)))
}

fn not_in_use(case: &Case<'_>) -> Option<String> {
    let holds = !case.memory.in_use && !case.preferences.not_in_use.cpu;
    holds.then(|| "nobody uses the machine; your rule: no computing then".to_owned())
}

fn hours(case: &Case<'_>, network: Network) -> Option<String> {
    let (week, what) = match network {
        Network::Yes => (&case.preferences.network_hours, "the network is not used"),
        Network::No => (&case.preferences.hours, "nothing is computed"),
    };
    let minute = case.now.minute_of_week();
    if week.open(minute) {
        return None;
    }
    Some(week.minutes_until(Door::Open, minute, WEEK_MINUTES).map_or_else(
        || format!("your hours: {what} at any time"),
        |minutes| {
            let at = minute.saturating_add(minutes) % 1_440;
            let seconds = u64::from(minutes).saturating_mul(60);
            format!("your hours: {what} until {:02}:{:02}, in {}", at / 60, at % 60, span(seconds))
        },
    ))
}

/// Which hours are meant.
enum Network {
    Yes,
    No,
}

fn outside_hours(case: &Case<'_>) -> Option<String> {
    hours(case, Network::No)
}

fn outside_network_hours(case: &Case<'_>) -> Option<String> {
    hours(case, Network::Yes)
}

fn no_input(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.presence.no_input;
    let idle = *case.signals.idle.value()?;
    // As in BOINC, the machine must first have been idle long enough to count as not in use.
    let holds = !limit.is_zero() && idle > limit && !case.memory.in_use;
    holds.then(|| format!("no input for {}; your rule: pause after {}", span(idle.as_secs()), span(limit.as_secs())))
}

fn running<'a>(case: &'a Case<'_>, wanted: &'a [String]) -> Option<&'a str> {
    let programs = case.signals.programs.value()?;
    // Most names are ASCII and differ; only others are worth an allocation, as this is asked four times a second.
    let same = |a: &str, b: &str| {
        a.eq_ignore_ascii_case(b) || (!a.is_ascii() && !b.is_ascii() && a.to_lowercase() == b.to_lowercase())
    };
    let found = wanted.iter().find(|name| programs.iter().any(|program| same(program, name)));
    found.map(String::as_str)
}

fn exclusive(case: &Case<'_>) -> Option<String> {
    let name = running(case, &case.preferences.exclusive.applications)?;
    Some(format!("{name} is running; your rule: it has the machine for itself"))
}

fn exclusive_gpu(case: &Case<'_>) -> Option<String> {
    let name = running(case, &case.preferences.exclusive.gpu_applications)?;
    Some(format!("{name} is running; your rule: it has the graphics cards for itself"))
}

fn other_load(case: &Case<'_>) -> Option<String> {
    if !case.memory.loaded {
        return None;
    }
    let limit = case.profile.other_load_percent;
    Some(case.signals.other_load.value().map_or_else(
        || format!("other programs used more than {limit} % of the cores, and it is not known how much they use now"),
        |load| format!("other programs use {} % of the cores; your limit: {limit} %", load.permille / 10),
    ))
}

fn battery_low(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.power.battery_percent_min;
    let charge = case.signals.battery_percent.value().filter(|_| case.memory.battery_low)?;
    Some(format!("the battery is at {charge} %; your limit: {limit} %"))
}

fn battery_hot(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.power.battery_celsius_max;
    hot(case.memory.battery_hot, "battery", &case.signals.battery_millicelsius, limit, case)
}

fn cpu_hot(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.heat.cpu_celsius_max;
    hot(case.memory.cpu_hot, "processor", &case.signals.cpu_millicelsius, limit, case)
}

fn gpu_hot(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.heat.gpu_celsius_max;
    hot(case.memory.gpu_hot, "graphics card", &case.signals.gpu_millicelsius, limit, case)
}

fn hot(holds: bool, what: &str, reading: &Reading<i64>, limit: u64, case: &Case<'_>) -> Option<String> {
    if !holds {
        return None;
    }
    let resume = limit.saturating_sub(case.preferences.heat.band_celsius);
    let now = reading.value().map_or_else(|| "was".to_owned(), |value| format!("is at {} C,", value / 1_000));
    Some(format!("the {what} {now} too hot; your limit: {limit} C, work goes on at {resume} C"))
}

fn swap(case: &Case<'_>) -> Option<String> {
    let most = swap_bytes_max(case.preferences, case.signals).filter(|_| case.memory.swapped)? / MB;
    Some(case.signals.swap_ours_bytes.value().map_or_else(
        || format!("workers used too much of the swap space a moment ago; your limit: {most} MB"),
        |used| {
            let used = used / MB;
            format!("workers use {used} MB of the swap space or used too much a moment ago; your limit: {most} MB")
        },
    ))
}

/// What power costs or emits now: the feed, or else the schedule.
pub(super) fn energy(reading: &Reading<u64>, series: &Series, now: Now) -> Option<u64> {
    reading.value().copied().or_else(|| series.scheduled(now.minute_of_day()))
}

fn price(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.energy.price_micro_max?;
    let words = decimal_text(limit, 6);
    match energy(&case.signals.price_micro, &case.preferences.energy.price, case.now) {
        Some(now) if now <= limit => None,
        Some(now) => Some(format!("power costs {} per kWh; your limit: {words}", decimal_text(now, 6))),
        None => Some(format!("nobody says what power costs now; your limit: {words} per kWh")),
    }
}

fn carbon(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.energy.carbon_grams_max?;
    match energy(&case.signals.carbon_grams, &case.preferences.energy.carbon, case.now) {
        Some(now) if now <= limit => None,
        Some(now) => Some(format!("power emits {now} gCO2/kWh; your limit: {limit}")),
        None => Some(format!("nobody says what power emits now; your limit: {limit} gCO2/kWh")),
    }
}

fn finish_by(case: &Case<'_>) -> Option<String> {
    let until = case.preferences.work.finish_by_local_ms?;
    let over = case.now.local_ms().checked_sub(until).filter(|over| *over >= 0)?;
    let seconds = u64::try_from(over / 1_000).unwrap_or(0);
    Some(format!("the time in work.finish_by has passed, {} ago", span(seconds)))
}

fn disk_full(case: &Case<'_>) -> Option<String> {
    let disk = &case.preferences.disk;
    let signals = case.signals;
    if let Some(free) = signals.disk_free_bytes.value()
        && *free < disk.free_mb_min.saturating_mul(MB)
    {
        return Some(format!("{} MB are free; your rule: keep {} MB free", free / MB, disk.free_mb_min));
    }
    let ours = *signals.disk_ours_bytes.value()?;
    let by_size = (disk.used_mb_max > 0).then(|| disk.used_mb_max.saturating_mul(MB));
    let share = |total: &u64| total.checked_div(100).unwrap_or(0).saturating_mul(disk.used_percent_max);
    let by_share = signals.disk_bytes.value().map(share);
    let limit = by_size.into_iter().chain(by_share).min()?;
    (ours >= limit).then(|| format!("this program stores {} MB; your limit: {} MB", ours / MB, limit / MB))
}

fn finishing(case: &Case<'_>) -> Option<String> {
    case.wishes.finish.then(|| "you said: finish the current unit, then stop".to_owned())
}

fn ends_soon(case: &Case<'_>) -> Option<String> {
    let lead_minutes = u32::try_from(case.preferences.work.finish_lead.as_secs() / 60).unwrap_or(u32::MAX);
    let by_hours = case
        .preferences
        .hours
        .minutes_until(Door::Closed, case.now.minute_of_week(), lead_minutes)
        .filter(|minutes| *minutes > 0 && *minutes <= lead_minutes);
    let left_ms = case.preferences.work.finish_by_local_ms.map(|until| until.saturating_sub(case.now.local_ms()));
    let by_date = left_ms
        .filter(|left| *left > 0)
        .and_then(|left| u32::try_from(left.saturating_add(59_999) / 60_000).ok())
        .filter(|minutes| *minutes <= lead_minutes);
    let minutes = by_hours.into_iter().chain(by_date).min()?;
    Some(format!("your hours end within {minutes} min; no unit is begun in the last {lead_minutes} min"))
}

fn gpu_never(case: &Case<'_>) -> Option<String> {
    (case.wishes.gpu == Mode::Never).then(|| "you switched the graphics cards off".to_owned())
}

fn gpu_in_use(case: &Case<'_>) -> Option<String> {
    let holds = case.memory.in_use && !case.preferences.in_use.gpu;
    holds.then(|| format!("{}; your rule: graphics cards are left alone then", presence_words(case)))
}

fn gpu_not_in_use(case: &Case<'_>) -> Option<String> {
    let holds = !case.memory.in_use && !case.preferences.not_in_use.gpu;
    holds.then(|| "nobody uses the machine; your rule: graphics cards are left alone then".to_owned())
}

fn gpu_power(case: &Case<'_>) -> Option<String> {
    let limit = case.preferences.heat.gpu_watts_max;
    let draws = case.signals.gpu_milliwatts.value().filter(|_| case.memory.gpu_power)?;
    Some(format!("a graphics card draws {} W or did so a moment ago; your limit: {limit} W", draws / 1_000))
}

fn network_never(case: &Case<'_>) -> Option<String> {
    (case.wishes.network == Mode::Never).then(|| "you switched the network off".to_owned())
}

fn quota(case: &Case<'_>) -> Option<String> {
    let network = &case.preferences.network;
    let (limit, moved) = (network.transfer_mb_max, case.signals.transferred_bytes);
    let holds = limit > 0 && moved > limit.saturating_mul(MB);
    holds.then(|| format!("{} MB moved in {} days; your limit: {limit} MB", moved / MB, network.transfer_days))
}

fn metered(case: &Case<'_>) -> Option<String> {
    let holds = case.signals.metered.value() == Some(&true) && !case.preferences.network.metered;
    holds.then(|| "the connection is paid by volume; your rule: not then".to_owned())
}

fn no_wifi(case: &Case<'_>) -> Option<String> {
    let holds = case.preferences.network.wifi_only && case.signals.wifi.value() == Some(&false);
    holds.then(|| "the connection is not Wi-Fi; your rule: Wi-Fi only".to_owned())
}

/// A time span for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..=299 => format!("{seconds} s"),
        300..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}
