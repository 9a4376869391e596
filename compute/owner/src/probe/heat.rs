//! Temperatures of processors, from thermal zones and hardware monitors.

use super::{power::best, root::Root};
use crate::reading::{Reading, Unknown};
use std::sync::Arc;

/// Zones, monitors and sensors of one monitor that are looked at: a server with eight cards has about a hundred.
const SENSORS_MAX: usize = 256;
/// Monitors of processors by the name of their driver.
const MONITORS: [&str; 7] = ["coretemp", "k10temp", "zenpower", "k8temp", "cpu_thermal", "via_cputemp", "scmi_sensors"];

/// The hottest processor, thousandths of a degree Celsius.
#[must_use]
pub fn processor(root: &Root) -> Reading<i64> {
    let zones = root.names("sys/class/thermal").into_iter().take(SENSORS_MAX).filter_map(|name| {
        let kind = root.word(&format!("sys/class/thermal/{name}/type"));
        let is_processor = name.starts_with("thermal_zone") && kind.value().is_some_and(|kind| of_processor(kind));
        is_processor.then(|| millicelsius(root, &format!("sys/class/thermal/{name}/temp")))
    });
    let monitors = monitors(root).filter(|(_, name)| MONITORS.contains(&name.as_str())).flat_map(|(path, _)| {
        let names = root.names(&path);
        let inputs = names.into_iter().filter(|name| is_input(name, "temp")).take(SENSORS_MAX);
        inputs.map(|input| millicelsius(root, &format!("{path}/{input}"))).collect::<Vec<_>>()
    });
    best(zones.chain(monitors), |a, b| a > b)
        .unwrap_or_else(|| Reading::Unknown(Unknown::Absent(Arc::from("temperature sensor of a processor"))))
}

/// Zones of processors: Intel's package, ACPI's `TCPU`, and what boards with ARM call theirs.
fn of_processor(kind: &str) -> bool {
    let kind = kind.to_lowercase();
    kind == "x86_pkg_temp"
        || kind == "tcpu"
        || (kind.contains("cpu") && kind.contains("therm"))
        || kind == "soc-thermal"
}

/// Folders of hardware monitors with the names of their drivers.
pub(super) fn monitors(root: &Root) -> impl Iterator<Item = (String, String)> {
    root.names("sys/class/hwmon").into_iter().take(SENSORS_MAX).filter_map(|name| {
        let path = format!("sys/class/hwmon/{name}");
        let driver = root.word(&format!("{path}/name")).value().cloned()?;
        Some((path, driver))
    })
}

/// Whether a file is `temp1_input` and the like.
pub(super) fn is_input(name: &str, kind: &str) -> bool {
    let number = name.strip_prefix(kind).and_then(|rest| rest.strip_suffix("_input"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A temperature; what no silicon can have is malformed (broken sensors give -273 or 255 degrees).
pub(super) fn millicelsius(root: &Root, path: &str) -> Reading<i64> {
    root.number::<i64>(path).and_then(|value| (-40_000..=150_000).contains(&value).then_some(value))
}
