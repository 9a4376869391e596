//! Energy counters, and the sum of what they counted.
//!
//! # Units
//! All counters are in millionths of a joule. Powercap's wrap around at the range that they name; those of hardware monitors have 64 bits.
//!
//! # Design
//! Only the difference of two readings over a whole job is used; a power sample is never stretched over time. Packages and their memory are summed;
//! cores and graphics inside of a package, and the platform as a whole, would count the same joules twice.

use super::{
    heat::{is_input, monitors},
    root::Root,
};
use crate::reading::{Reading, Unknown};
use std::{collections::BTreeMap, sync::Arc};

const POWERCAP: &str = "sys/class/powercap";
/// Counters that are looked at; two sockets with memory have four.
const COUNTERS_MAX: usize = 256;

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Where it is, below the root.
    pub path: String,
    /// What it counts: `package-0`, `dram`, or a monitor's driver.
    pub name: String,
    /// Its value, millionths of a joule.
    pub microjoules: Reading<u64>,
    /// The value after which it starts again at 0; none for counters of 64 bits.
    pub range: Option<u64>,
}

/// All counters that add up to what the machine's parts used.
#[must_use]
pub fn counters(root: &Root) -> Reading<Vec<Counter>> {
    let mut found = Vec::new();
    for zone in root.names(POWERCAP).into_iter().take(COUNTERS_MAX) {
        let path = format!("{POWERCAP}/{zone}");
        let Some(name) = root.word(&format!("{path}/name")).value().cloned() else { continue };
        // `intel-rapl:0` is a package, `intel-rapl:0:2` a part of it; the twin through registers of the board (mmio) counts the same.
        let counts = (name.starts_with("package-") || name == "dram") && !zone.contains("mmio");
        if counts {
            found.push(Counter {
                microjoules: root.number(&format!("{path}/energy_uj")),
                range: root.number(&format!("{path}/max_energy_range_uj")).value().copied(),
                path,
                name,
            });
        }
    }
    for (path, driver) in monitors(root) {
        // amd_energy and its like count packages that powercap counts too.
        let twice = driver.contains("amd_energy") && !found.is_empty();
        for input in root.names(&path).into_iter().filter(|name| is_input(name, "energy") && !twice).take(COUNTERS_MAX)
        {
            let file = format!("{path}/{input}");
            found.push(Counter { microjoules: root.number(&file), range: None, path: file, name: driver.clone() });
        }
    }
    found.truncate(COUNTERS_MAX);
    if found.is_empty() {
        return Reading::Unknown(Unknown::Absent(Arc::from("energy counter (as in most virtual machines)")));
    }
    Reading::known(found, POWERCAP)
}

/// Sums what counters count between its first and last look.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    last: BTreeMap<String, u64>,
    total_microjoules: u64,
    gaps: u64,
}

/// What a meter has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Energy since the first look, millionths of a joule.
    pub microjoules: u64,
    /// How often a counter could not be read or followed: then the energy is a lower bound.
    pub gaps: u64,
}

impl Meter {
    /// Looks at the counters. To be called more often than the fastest counter wraps: about every minute on the largest machines.
    pub fn look(&mut self, counters: &[Counter]) -> Used {
        for counter in counters.iter().take(COUNTERS_MAX) {
            let Some(now) = counter.microjoules.value().copied() else {
                // What it counts until it can be read again belongs to nobody.
                self.last.remove(&counter.path);
                self.gaps = self.gaps.saturating_add(1);
                continue;
            };
            let Some(before) = self.last.insert(counter.path.clone(), now) else { continue };
            match difference(before, now, counter.range) {
                Some(used) => self.total_microjoules = self.total_microjoules.saturating_add(used),
                None => self.gaps = self.gaps.saturating_add(1),
            }
        }
        let gone = self.last.len();
        self.last.retain(|path, _| counters.iter().any(|counter| counter.path == *path));
        let gone = gone.saturating_sub(self.last.len());
        self.gaps = self.gaps.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
        Used { microjoules: self.total_microjoules, gaps: self.gaps }
    }
}

/// What was counted between two values; none if the counter was set back without a range that explains it.
fn difference(before: u64, now: u64, range: Option<u64>) -> Option<u64> {
    if now >= before {
        return Some(now.saturating_sub(before));
    }
    // The value after `range` is 0.
    range?.checked_sub(before)?.checked_add(now)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(value: Option<u64>, range: Option<u64>) -> Counter {
        let microjoules = value.map_or_else(Reading::default, |value| Reading::known(value, "c"));
        Counter { path: "c".to_owned(), name: "package-0".to_owned(), microjoules, range }
    }

    #[test]
    fn a_counter_that_wraps_is_followed_exactly() {
        let mut meter = Meter::default();
        let range = Some(262_143_328_850);
        for (value, expected) in [(262_143_328_849, 0), (262_143_328_850, 1), (0, 2), (10, 12), (9, 262_143_328_862)] {
            assert_eq!(meter.look(&[counter(Some(value), range)]), Used { microjoules: expected, gaps: 0 });
        }
    }

    #[test]
    fn a_counter_that_vanishes_is_denied_or_goes_back_leaves_a_gap_and_no_invented_energy() {
        let mut meter = Meter::default();
        meter.look(&[counter(Some(100), None)]);
        assert_eq!(meter.look(&[counter(None, None)]), Used { microjoules: 0, gaps: 1 });
        assert_eq!(meter.look(&[counter(Some(900), None)]), Used { microjoules: 0, gaps: 1 });
        assert_eq!(meter.look(&[counter(Some(800), None)]), Used { microjoules: 0, gaps: 2 });
        assert_eq!(meter.look(&[]), Used { microjoules: 0, gaps: 3 });
        assert_eq!(meter.look(&[counter(Some(1), Some(0))]), Used { microjoules: 0, gaps: 3 });
        assert_eq!(meter.look(&[counter(Some(0), Some(0))]), Used { microjoules: 0, gaps: 4 });
    }
}
