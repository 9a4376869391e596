//! Memory of the machine, or of the control group that we are confined to.

use super::root::{Root, entry};
use crate::reading::Reading;

/// Workers that are looked at for their swap space.
const PROCESSES_MAX: usize = 4_096;
/// Levels of control groups that are climbed.
const LEVELS_MAX: usize = 32;
/// At and above this, version 1 of control groups means "no limit" (the largest multiple of a page).
const UNLIMITED: u64 = 1 << 62;

/// Memory, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: Reading<u64>,
    /// What could be had without paging.
    pub available: Reading<u64>,
    /// Swap space.
    pub swap: Reading<u64>,
    /// What is free of it.
    pub swap_free: Reading<u64>,
}

/// Reads the machine's memory.
#[must_use]
pub fn memory(root: &Root) -> Memory {
    let table = root.text("proc/meminfo");
    let part = |key: &'static str| {
        table.clone().and_then(|text| {
            let kib = entry(&text, key, ':')?.strip_suffix("kB")?.trim();
            kib.parse::<u64>().ok()?.checked_mul(1_024)
        })
    };
    Memory {
        total: part("MemTotal"),
        available: part("MemAvailable"),
        swap: part("SwapTotal"),
        swap_free: part("SwapFree"),
    }
}

/// Swap space that processes use together, bytes. One that has ended uses none; neither does one whose status does not speak of memory, as those that
/// were not reaped yet. Unknown if no status can be read at all.
#[must_use]
pub fn swapped(root: &Root, processes: &[u32]) -> Reading<u64> {
    let mut unknown = None;
    let mut known: Option<u64> = None;
    for process in processes.iter().take(PROCESSES_MAX) {
        match root.text(&format!("proc/{process}/status")) {
            Reading::Known(text, _) => {
                let kib = entry(&text, "VmSwap", ':').and_then(|value| value.strip_suffix("kB")?.trim().parse().ok());
                let bytes = kib.unwrap_or(0_u64).saturating_mul(1_024);
                known = Some(known.unwrap_or(0).saturating_add(bytes));
            }
            Reading::Unknown(why) => unknown = Some(why),
        }
    }
    match (known, unknown) {
        (None, Some(why)) => Reading::Unknown(why),
        (known, _) => Reading::known(known.unwrap_or(0), "proc/PID/status"),
    }
}

/// Limits of the control group that this process is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Memory, bytes; unknown where there is no limit.
    pub memory_bytes: Reading<u64>,
    /// Processors, thousandths of one; unknown where there is no limit.
    pub milli_cpus: Reading<u64>,
}

/// Reads the tightest limits from our group up to the root, in both versions of control groups.
#[must_use]
pub fn group(root: &Root) -> Group {
    let table = root.text("proc/self/cgroup");
    let lines = table.value().map(String::as_str).unwrap_or_default();
    let mut memory: Option<(u64, String)> = None;
    let mut cpus: Option<(u64, String)> = None;
    for line in lines.lines().take(LEVELS_MAX) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (memory_base, cpu_base) = bases(controllers);
        for level in levels(path) {
            if let Some(base) = memory_base {
                let folder = format!("sys/fs/cgroup{base}{level}");
                let limit = root.number(&format!("{folder}/memory.max"));
                let limit = limit.or(root.number::<u64>(&format!("{folder}/memory.limit_in_bytes")));
                tighten(&mut memory, limit.value().copied().filter(|bytes| *bytes < UNLIMITED), folder);
            }
            if let Some(base) = cpu_base {
                let folder = format!("sys/fs/cgroup{base}{level}");
                tighten(&mut cpus, milli_cpus(root, &folder), folder);
            }
        }
    }
    let reading = |limit: Option<(u64, String)>| match limit {
        Some((value, source)) => Reading::known(value, &source),
        None => Reading::Unknown(super::processor::absent("limit of a control group")),
    };
    Group { memory_bytes: reading(memory), milli_cpus: reading(cpus) }
}

/// Mount points of the memory and the processor controller for a line of `/proc/self/cgroup`; version 2 has no controllers in its line.
fn bases(controllers: &str) -> (Option<&'static str>, Option<&'static str>) {
    if controllers.is_empty() {
        return (Some(""), Some(""));
    }
    let has = |name: &str| controllers.split(',').any(|controller| controller == name);
    (has("memory").then_some("/memory"), has("cpu").then_some("/cpu"))
}

/// A group's path and those above it, the root last. In a container the files of our own group are at the mount point itself.
fn levels(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_end_matches('/');
    std::iter::successors(Some(path), |path| path.rfind('/').and_then(|at| path.get(..at))).take(LEVELS_MAX)
}

fn tighten(limit: &mut Option<(u64, String)>, found: Option<u64>, source: String) {
    if let Some(found) = found
        && limit.as_ref().is_none_or(|(tightest, _)| found < *tightest)
    {
        *limit = Some((found, source));
    }
}

fn milli_cpus(root: &Root, folder: &str) -> Option<u64> {
    let (quota, period) = match root.text(&format!("{folder}/cpu.max")).value() {
        Some(text) => {
            let mut parts = text.split_whitespace();
            (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?)
        }
        None => {
            let read = |name: &str| root.number::<u64>(&format!("{folder}/{name}")).value().copied();
            (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
        }
    };
    quota.checked_mul(1_000)?.checked_div(period)
}
