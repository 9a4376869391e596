//! Mains and batteries, from `/sys/class/power_supply`.

use super::root::Root;
use crate::reading::Reading;

const FOLDER: &str = "sys/class/power_supply";
/// Supplies that are looked at; servers have up to eight.
const SUPPLIES_MAX: usize = 64;

/// What powers the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// Whether it runs from a battery; a machine without one is a known `false`.
    pub on_battery: Reading<bool>,
    /// Charge of the emptiest battery, percent.
    pub percent: Reading<u8>,
    /// The hottest battery, thousandths of a degree Celsius.
    pub millicelsius: Reading<i64>,
}

/// One entry of the folder that powers the machine (not one of a mouse or a headset).
struct Entry {
    path: String,
    battery: bool,
    online: bool,
    status: String,
}

/// Reads what powers the machine.
#[must_use]
pub fn supply(root: &Root) -> Supply {
    let names = match root.list(FOLDER) {
        Reading::Known(names, _) => names,
        Reading::Unknown(why) => {
            return Supply {
                on_battery: Reading::Unknown(why.clone()),
                percent: Reading::Unknown(why.clone()),
                millicelsius: Reading::Unknown(why),
            };
        }
    };
    let entries: Vec<Entry> = names.iter().take(SUPPLIES_MAX).filter_map(|name| entry(root, name)).collect();
    let batteries: Vec<&Entry> = entries.iter().filter(|entry| entry.battery).collect();
    let none = || super::processor::absent("battery");
    let percents = batteries.iter().map(|battery| {
        root.number::<u8>(&format!("{}/capacity", battery.path)).and_then(|percent| (percent <= 100).then_some(percent))
    });
    // The kernel gives tenths of a degree here, other than everywhere else.
    let temperatures = batteries.iter().map(|battery| {
        root.number::<i64>(&format!("{}/temp", battery.path))
            .and_then(|tenths| (-400..=1_500).contains(&tenths).then(|| tenths.saturating_mul(100)))
    });
    Supply {
        on_battery: on_battery(&entries, &batteries),
        percent: best(percents, |a, b| a < b).unwrap_or_else(|| Reading::Unknown(none())),
        millicelsius: best(temperatures, |a, b| a > b).unwrap_or_else(|| Reading::Unknown(none())),
    }
}

fn entry(root: &Root, name: &str) -> Option<Entry> {
    let path = format!("{FOLDER}/{name}");
    let kind = root.word(&format!("{path}/type")).value().cloned()?;
    let scope = root.word(&format!("{path}/scope"));
    if scope.value().is_some_and(|scope| scope == "Device") {
        return None;
    }
    Some(Entry {
        battery: kind == "Battery",
        online: root.number::<u8>(&format!("{path}/online")).value().is_some_and(|online| *online > 0),
        status: root.word(&format!("{path}/status")).value().cloned().unwrap_or_default(),
        path,
    })
}

fn on_battery(entries: &[Entry], batteries: &[&Entry]) -> Reading<bool> {
    let Some(first) = batteries.first() else { return Reading::known(false, FOLDER) };
    if let Some(mains) = entries.iter().find(|entry| !entry.battery && entry.online) {
        return Reading::known(false, &mains.path);
    }
    if let Some(battery) = batteries.iter().find(|battery| battery.status == "Discharging") {
        return Reading::known(true, &battery.path);
    }
    let fed = |battery: &&&Entry| matches!(battery.status.as_str(), "Charging" | "Full" | "Not charging");
    if let Some(battery) = batteries.iter().find(fed) {
        return Reading::known(false, &battery.path);
    }
    // The plug is listed and not in, and the battery does not say what it does.
    match entries.iter().find(|entry| !entry.battery) {
        Some(mains) => Reading::known(true, &mains.path),
        None => Reading::Unknown(crate::Unknown::Malformed(first.path.as_str().into())),
    }
}

/// The reading with the value that is ahead of all others; if none is known, the first reason. None for no readings.
pub(crate) fn best<T: Clone>(
    readings: impl Iterator<Item = Reading<T>>,
    ahead: impl Fn(&T, &T) -> bool,
) -> Option<Reading<T>> {
    readings.reduce(|best, next| match (best.value(), next.value()) {
        (Some(old), Some(new)) if !ahead(new, old) => best,
        (_, Some(_)) => next,
        _ => best,
    })
}
