//! Processors: model, counts, instruction sets, frequency; and how busy others keep them.

use super::root::{Root, TABLE_BYTES_MAX, entry, word};
use crate::{
    decide::Load,
    reading::{Reading, Unknown},
};
use std::{collections::BTreeSet, sync::Arc};

const CPUINFO: &str = "proc/cpuinfo";
/// Flags of one processor; x86 has about 150.
const FLAGS_MAX: usize = 1_024;
/// Processes of ours that are looked at for their time.
const OWN_MAX: usize = 4_096;

/// What the processors are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// The maker's name for them.
    pub model: Reading<String>,
    /// Physical packages.
    pub sockets: Reading<u32>,
    /// Cores, all sockets together.
    pub cores: Reading<u32>,
    /// Hardware threads.
    pub threads: Reading<u32>,
    /// Instruction set flags as the kernel names them, sorted.
    pub flags: Reading<Vec<String>>,
    /// Highest frequency, kHz.
    pub khz_max: Reading<u64>,
}

/// Reads what the processors are.
#[must_use]
pub fn processors(root: &Root) -> Processors {
    let table = root.text_max(CPUINFO, TABLE_BYTES_MAX);
    let part = |read: fn(&str) -> Option<u32>| table.clone().and_then(|text| read(&text));
    let model = |text: String| {
        let keys = ["model name", "Model", "cpu model", "Hardware"];
        keys.iter().find_map(|key| entry(&text, key, ':')).and_then(word)
    };
    let flags = |text: String| {
        let line = entry(&text, "flags", ':').or_else(|| entry(&text, "Features", ':'))?;
        let flags: BTreeSet<String> = line.split_whitespace().take(FLAGS_MAX).filter_map(word).collect();
        Some(flags.into_iter().collect())
    };
    let mhz = |text: String| {
        let whole = entry(&text, "cpu MHz", ':')?.split('.').next()?;
        whole.parse::<u64>().ok()?.checked_mul(1_000)
    };
    Processors {
        model: table
            .clone()
            .and_then(model)
            .or(root.word("proc/device-tree/model"))
            .or(root.word("sys/firmware/devicetree/base/model")),
        sockets: part(sockets),
        cores: part(cores),
        threads: part(threads),
        flags: table.clone().and_then(flags),
        khz_max: root.number("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").or(table.and_then(mhz)),
    }
}

fn values<'a>(table: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    table.lines().filter_map(move |line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

fn count(items: usize) -> Option<u32> {
    u32::try_from(items).ok().filter(|count| *count > 0)
}

fn threads(table: &str) -> Option<u32> {
    count(values(table, "processor").count())
}

/// Where the table does not say, as on ARM, there is one socket.
fn sockets(table: &str) -> Option<u32> {
    threads(table)?;
    let ids: BTreeSet<&str> = values(table, "physical id").collect();
    count(ids.len().max(1))
}

/// Distinct pairs of socket and core; where the table does not say, each thread is a core.
fn cores(table: &str) -> Option<u32> {
    let pairs: BTreeSet<(&str, &str)> = values(table, "physical id").zip(values(table, "core id")).collect();
    if pairs.is_empty() { threads(table) } else { count(pairs.len()) }
}

/// Share of the time in which somebody waited for a processor, hundredths of a percent over ten seconds (PSI `some avg10`).
#[must_use]
pub fn pressure(root: &Root, resource: Resource) -> Reading<u32> {
    let path = match resource {
        Resource::Cpu => "proc/pressure/cpu",
        Resource::Memory => "proc/pressure/memory",
        Resource::Disk => "proc/pressure/io",
    };
    root.text(path).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let value = line.split_whitespace().find_map(|part| part.strip_prefix("avg10="))?;
        u32::try_from(crate::preferences::decimal(value, 2)?).ok()
    })
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Reads and writes of disks.
    Disk,
}

/// Measures the load of others as the difference of two looks at `/proc/stat`, less the time of our own processes.
#[derive(Clone, Debug, Default)]
pub struct LoadMeter {
    last: Option<Ticks>,
}

/// Clock ticks since the start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    busy: u64,
    own: u64,
}

impl LoadMeter {
    /// The load since the last call. `own` are process ids of ours: this process and its workers; what a worker used before it ended is in its parent's
    /// account.
    pub fn sample(&mut self, root: &Root, own: &[u32], steady_ms: u64) -> Reading<Load> {
        let now = root.text_max("proc/stat", TABLE_BYTES_MAX).and_then(|text| machine_ticks(&text));
        let now = now.map(|(all, busy)| {
            let own = own.iter().take(OWN_MAX).filter_map(|pid| own_ticks(root, *pid));
            Ticks { all, busy, own: own.fold(0, u64::saturating_add) }
        });
        let last = std::mem::replace(&mut self.last, now.value().copied());
        let Some(last) = last else {
            return match now {
                Reading::Known(..) => Reading::Unknown(Unknown::NotYet),
                Reading::Unknown(why) => Reading::Unknown(why),
            };
        };
        now.and_then(|now| {
            let all = now.all.checked_sub(last.all).filter(|all| *all > 0)?;
            let busy = now.busy.saturating_sub(last.busy).saturating_sub(now.own.saturating_sub(last.own));
            let permille = busy.min(all).saturating_mul(1_000).checked_div(all)?;
            Some(Load { permille: u32::try_from(permille).ok()?, taken_ms: steady_ms })
        })
    }
}

/// All ticks and the busy ones. Time that a hypervisor gave to other machines (`steal`) is neither ours nor the owner's: not busy.
fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|part| part.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user and nice.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.try_into().ok()?;
    let busy = [user, nice, system, irq, softirq].into_iter().fold(0, u64::saturating_add);
    Some(([idle, iowait, steal].into_iter().fold(busy, u64::saturating_add), busy))
}

/// Time of a process and of its children that ended.
fn own_ticks(root: &Root, pid: u32) -> Option<u64> {
    let stat = root.text(&format!("proc/{pid}/stat"));
    // The name in parentheses may hold spaces and parentheses.
    let (_, fields) = stat.value()?.rsplit_once(')')?;
    let times: Vec<u64> = fields.split_whitespace().skip(11).take(4).filter_map(|part| part.parse().ok()).collect();
    (times.len() == 4).then(|| times.into_iter().fold(0, u64::saturating_add))
}

/// Names of running programs, sorted, without repetition: what the kernel keeps, and the executable's name where the kernel cut it.
#[must_use]
pub fn programs(root: &Root) -> Reading<Vec<String>> {
    /// The kernel keeps so many bytes of a name (`TASK_COMM_LEN` less the final zero).
    const KEPT: usize = 15;
    let processes = root.list("proc");
    processes.and_then(|names| {
        let mut found = BTreeSet::new();
        for pid in names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            let Some(name) = root.word(&format!("proc/{pid}/comm")).value().cloned() else { continue };
            if name.len() >= KEPT {
                let command = root.text_max(&format!("proc/{pid}/cmdline"), TABLE_BYTES_MAX);
                let first = command.value().and_then(|line| line.split('\0').next());
                found.extend(first.and_then(|path| word(path.rsplit(['/', '\\']).next()?)));
            }
            found.insert(name);
        }
        // A process table without a process is no process table.
        (!found.is_empty()).then(|| found.into_iter().collect())
    })
}

/// Why the machine's load is not known, for a machine that is not probed.
pub(crate) fn absent(path: &str) -> Unknown {
    Unknown::Absent(Arc::from(path))
}
