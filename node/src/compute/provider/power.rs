//! How much power this machine draws while it works, and how much carbon its supply makes: measured where it has counters, else as its owner says.
//!
//! # Design
//! The energy counters are looked at before and after the measurement of speed, which keeps a core busy as a job does. What they do not count (supply, disks,
//! fans) is in no figure, and a machine without counters has none: then only its owner knows, from a meter or a data sheet. A gap in what was counted
//! makes a figure too low, so there is none then. Customers count what is not said as the worst that is known. Spec: specs/0010-capability.md §3, §10.
//!
//! # Trust
//! All of it is claimed, and nobody checks it.

use crate::cli::Claims;
use keystead_market::{
    carbon::{CARBON_G_PER_KWH_UNSAID, POWER_MW_UNSAID},
    record::{Adapter, Claimed, claimed::POWER_MW_MAX, sets::EnergyMethod},
};
use keystead_owner::{
    preferences::{Preferences, Series},
    probe::{
        Root,
        energy::{Meter, Used, counters},
    },
};
use std::time::{Duration, Instant};

/// Shortest time over which counters say something: they move about every millisecond.
const TOOK_MIN: Duration = Duration::from_millis(200);
/// Where the carbon is from, in the record.
const SOURCE: &str = "the owner's word";

/// A look at the counters that has begun.
#[derive(Debug)]
pub(super) struct Draw<'a> {
    root: &'a Root,
    meter: Meter,
    begin: Instant,
}

impl<'a> Draw<'a> {
    /// Begins with what the machine's counters show now.
    pub(super) fn begin(root: &'a Root) -> Self {
        let mut meter = Meter::default();
        if let Some(counters) = counters(root).value() {
            meter.look(counters);
        }
        Self { root, meter, begin: Instant::now() }
    }

    /// The mean power since then, milliwatts; none where nothing counts it without a gap.
    pub(super) fn end(self) -> Option<u32> {
        let took = self.begin.elapsed();
        self.end_after(took)
    }

    fn end_after(mut self, took: Duration) -> Option<u32> {
        let found = counters(self.root);
        let used = self.meter.look(found.value()?);
        mean_mw(used, took)
    }
}

/// Mean power, milliwatts, rounded up; none if it was not counted whole, or for too short.
fn mean_mw(used: Used, took: Duration) -> Option<u32> {
    if used.gaps > 0 || used.microjoules == 0 || took < TOOK_MIN {
        return None;
    }
    // Millionths of a joule in so many milliseconds are milliwatts.
    let milliwatts = u128::from(used.microjoules).div_ceil(took.as_millis());
    u32::try_from(milliwatts).ok().filter(|milliwatts| *milliwatts <= POWER_MW_MAX)
}

/// The carbon of the supply as its owner's preferences have it, g/kWh: the dirtiest of the day, since a record holds for all of it. What a file says by the
/// hour does not enter a record.
pub(super) fn carbon_of(preferences: &Preferences) -> Option<u32> {
    let Series { base, steps, .. } = &preferences.energy.carbon;
    let dirtiest = steps.iter().map(|step| step.value).chain(*base).max()?;
    u32::try_from(dirtiest).ok().filter(|grams| *grams > 0)
}

/// Puts into the claims what was measured of the processor's power, and what the owner says where nothing was. `preferred_g` is what the owner's preferences say
/// of the supply; the option comes before it.
pub(super) fn complete(claimed: &mut Claimed, said: &Claims, measured_mw: Option<u32>, preferred_g: Option<u32>) {
    // No option is above a record's bound.
    let said_mw = said.watts.map(|watts| watts.saturating_mul(1_000));
    let own_mw = measured_mw.or(said_mw).unwrap_or(0);
    claimed.processor.power_mw = own_mw;
    for adapter in &mut claimed.adapters {
        match adapter {
            // Its driver's limit, where one is known, is there already.
            Adapter::Gpu { device, .. } if device.power_mw == 0 => device.power_mw = said_mw.unwrap_or(0),
            Adapter::Gpu { .. } => {}
            Adapter::Software { device, .. } => device.power_mw = own_mw,
        }
    }
    if claimed.energy.method == EnergyMethod::Unknown && said_mw.is_some() {
        claimed.energy.method = EnergyMethod::Model;
    }
    if let Some(grams) = said.carbon.or(preferred_g) {
        claimed.energy.carbon_g_per_kwh = grams;
        SOURCE.clone_into(&mut claimed.energy.source);
    }
}

/// What is claimed of both, for the owner.
pub(super) fn words(claimed: &Claimed, said: &Claims, measured_mw: Option<u32>) -> String {
    let power = match (claimed.processor.power_mw, measured_mw) {
        (0, _) => format!("power not known (--watts says it; customers count {} W)", POWER_MW_UNSAID / 1_000),
        (milliwatts, Some(_)) => {
            let unused = if said.watts.is_some() { ", so --watts is not used" } else { "" };
            format!("{} W while it works, as its counters show{unused}", milliwatts.div_ceil(1_000))
        }
        (milliwatts, None) => format!("{} W while it works, as you say", milliwatts.div_ceil(1_000)),
    };
    let supply = match claimed.energy.carbon_g_per_kwh {
        0 => format!(
            "carbon of the supply not known (--carbon says it; customers count {CARBON_G_PER_KWH_UNSAID} g a kWh)"
        ),
        grams => format!("{grams} g of carbon dioxide a kWh, as you say"),
    };
    format!("{power}; {supply}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_owner::preferences::parse;
    use std::fs;

    #[test]
    fn power_is_what_was_counted_over_the_time_and_a_gap_or_a_moment_says_nothing() {
        let used = |microjoules, gaps| Used { microjoules, gaps };
        let second = Duration::from_secs(1);
        assert_eq!(mean_mw(used(65_000_000, 0), second), Some(65_000));
        assert_eq!(mean_mw(used(65_000_001, 0), second), Some(65_001), "never rounded down");
        assert_eq!(mean_mw(used(65_000_000, 1), second), None);
        assert_eq!(mean_mw(used(0, 0), second), None);
        assert_eq!(mean_mw(used(65_000_000, 0), Duration::from_millis(199)), None);
        assert_eq!(mean_mw(used(u64::MAX, 0), second), None, "no machine draws that");
    }

    #[test]
    fn a_package_that_counts_is_measured_and_a_machine_without_counters_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        assert!(Draw::begin(&root).end().is_none());
        let zone = folder.path().join("sys/class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), "package-0\n").unwrap();
        fs::write(zone.join("energy_uj"), "1000\n").unwrap();
        let draw = Draw::begin(&root);
        fs::write(zone.join("energy_uj"), "90001000\n").unwrap();
        assert_eq!(draw.end_after(Duration::from_secs(2)), Some(45_000), "90 J in 2 s");
        let draw = Draw::begin(&root);
        fs::remove_file(zone.join("energy_uj")).unwrap();
        assert!(draw.end_after(Duration::from_secs(2)).is_none(), "it cannot be read any more");
    }

    #[test]
    fn of_a_supply_that_changes_by_the_hour_the_dirtiest_hour_is_claimed() {
        let of = |text: &str| carbon_of(&parse(&format!("version = 1\n[energy]\n{text}\n")).unwrap());
        assert_eq!(of(""), None);
        assert_eq!(of("carbon = 300"), Some(300));
        assert_eq!(of("carbon = 300\ncarbon_schedule = [\"01:00-02:00 40\"]"), Some(300));
        assert_eq!(of("carbon = 30\ncarbon_schedule = [\"01:00-02:00 400\"]"), Some(400));
        assert_eq!(of("carbon = 0"), None, "0 stands for nothing said");
    }
}
