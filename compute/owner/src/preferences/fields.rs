//! The table of all keys of `owner.toml`: name, BOINC's name, kind with unit and range, and what it means.

use super::{Preferences, series::Step, week::Week};
use std::{path::PathBuf, time::Duration};

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// `section.name`.
    pub key: &'static str,
    /// The preference of BOINC that this is, empty if BOINC has none. `cc_config` is BOINC's other file.
    pub boinc: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// One sentence for the owner.
    pub meaning: &'static str,
}

/// What may stand at a key, and where it is kept. Ranges include both ends.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag(fn(&mut Preferences) -> &mut bool),
    /// A whole number: (unit, smallest, largest, place).
    Whole(&'static str, u64, u64, fn(&mut Preferences) -> &mut u64),
    /// A time, whole number of a unit: (unit, seconds of the unit, smallest, largest, place).
    Span(&'static str, u64, u64, u64, fn(&mut Preferences) -> &mut Duration),
    /// A number with decimals: (unit, decimals, largest, place); kept as a whole number of the last decimal.
    Decimal(&'static str, u32, u64, fn(&mut Preferences) -> &mut u64),
    /// The same, and absent if the owner does not say it.
    Optional(&'static str, u32, u64, fn(&mut Preferences) -> &mut Option<u64>),
    /// A list of windows, `"always"` or `"never"`: (day or every day, place).
    Hours(Option<usize>, fn(&mut Preferences) -> &mut Week),
    /// A list of names.
    Names(fn(&mut Preferences) -> &mut Vec<String>),
    /// A list of `"HH:MM-HH:MM VALUE"`: (unit, decimals, place).
    Steps(&'static str, u32, fn(&mut Preferences) -> &mut Vec<Step>),
    /// The path of a file.
    File(fn(&mut Preferences) -> &mut Option<PathBuf>),
    /// A local date and time.
    Moment(fn(&mut Preferences) -> &mut Option<i64>),
}

const fn field(key: &'static str, boinc: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { key, boinc, kind, meaning }
}

const PERCENT: &str = "percent";
/// Largest price, currency units per kWh in millionths: a thousand units, more than power costs in any currency that is not collapsing.
const PRICE_MAX: u64 = 1_000_000_000;
/// Largest carbon intensity, gCO2/kWh: above what burning lignite gives.
const CARBON_MAX: u64 = 5_000;
/// Largest size of a disk in MB: 1 EB.
const MB_MAX: u64 = 1_000_000_000_000;

/// All keys, in the order of the template.
pub const FIELDS: &[Field] = &[
    field(
        "in_use.cpu",
        "run_if_user_active",
        Kind::Flag(|p| &mut p.in_use.cpu),
        "Processors may work while somebody uses the machine.",
    ),
    field(
        "in_use.gpu",
        "run_gpu_if_user_active",
        Kind::Flag(|p| &mut p.in_use.gpu),
        "Graphics cards may work while somebody uses the machine.",
    ),
    field(
        "in_use.cores_percent",
        "max_ncpus_pct",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.in_use.cores_percent),
        "Share of the cores; at least one core.",
    ),
    field(
        "in_use.cpu_time_percent",
        "cpu_usage_limit",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.in_use.cpu_time_percent),
        "Share of the time in which those cores work.",
    ),
    field(
        "in_use.gpu_percent",
        "",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.in_use.gpu_percent),
        "Share of the graphics card's time.",
    ),
    field(
        "in_use.other_load_percent",
        "suspend_cpu_usage",
        Kind::Whole(PERCENT, 0, 100, |p| &mut p.in_use.other_load_percent),
        "Pause while other programs use more than this share of all cores; 0: no such rule.",
    ),
    field(
        "in_use.memory_percent",
        "ram_max_used_busy_frac",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.in_use.memory_percent),
        "Share of the memory that all jobs together may declare.",
    ),
    field(
        "not_in_use.cpu",
        "",
        Kind::Flag(|p| &mut p.not_in_use.cpu),
        "Processors may work while nobody uses the machine.",
    ),
    field(
        "not_in_use.gpu",
        "",
        Kind::Flag(|p| &mut p.not_in_use.gpu),
        "Graphics cards may work while nobody uses the machine.",
    ),
    field(
        "not_in_use.cores_percent",
        "niu_max_ncpus_pct",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.not_in_use.cores_percent),
        "Share of the cores; at least one core.",
    ),
    field(
        "not_in_use.cpu_time_percent",
        "niu_cpu_usage_limit",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.not_in_use.cpu_time_percent),
        "Share of the time in which those cores work.",
    ),
    field(
        "not_in_use.gpu_percent",
        "",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.not_in_use.gpu_percent),
        "Share of the graphics card's time.",
    ),
    field(
        "not_in_use.other_load_percent",
        "niu_suspend_cpu_usage",
        Kind::Whole(PERCENT, 0, 100, |p| &mut p.not_in_use.other_load_percent),
        "Pause while other programs use more than this share of all cores; 0: no such rule.",
    ),
    field(
        "not_in_use.memory_percent",
        "ram_max_used_idle_frac",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.not_in_use.memory_percent),
        "Share of the memory that all jobs together may declare.",
    ),
    field(
        "presence.idle_minutes",
        "idle_time_to_run",
        Kind::Span("minutes", 60, 1, 1_440, |p| &mut p.presence.idle),
        "Without input for this long, nobody uses the machine.",
    ),
    field(
        "presence.no_input_minutes",
        "suspend_if_no_recent_input",
        Kind::Span("minutes", 60, 0, 525_600, |p| &mut p.presence.no_input),
        "Pause when there was no input for this long, so that the machine can sleep; 0: no such rule.",
    ),
    field(
        "presence.headless_is_idle",
        "",
        Kind::Flag(|p| &mut p.presence.headless_is_idle),
        "Where no keyboard, mouse or terminal can be watched, nobody uses the machine. Say true on a server.",
    ),
    field(
        "presence.start_delay_seconds",
        "cc_config start_delay",
        Kind::Span("seconds", 1, 0, 86_400, |p| &mut p.presence.start_delay),
        "Wait after the start.",
    ),
    field("power.on_battery", "run_on_batteries", Kind::Flag(|p| &mut p.power.on_battery), "Work on battery."),
    field(
        "power.battery_percent_min",
        "battery_charge_min_pct",
        Kind::Whole(PERCENT, 0, 100, |p| &mut p.power.battery_percent_min),
        "Least charge: on battery, and for hand-held devices also on mains.",
    ),
    field(
        "power.battery_celsius_max",
        "battery_max_temperature",
        Kind::Whole("degrees Celsius", 0, 90, |p| &mut p.power.battery_celsius_max),
        "Hottest battery; 0: no such rule.",
    ),
    field(
        "heat.cpu_celsius_max",
        "",
        Kind::Whole("degrees Celsius", 0, 120, |p| &mut p.heat.cpu_celsius_max),
        "Hottest processor; 0: no such rule.",
    ),
    field(
        "heat.gpu_celsius_max",
        "",
        Kind::Whole("degrees Celsius", 0, 120, |p| &mut p.heat.gpu_celsius_max),
        "Hottest graphics card; 0: no such rule.",
    ),
    field(
        "heat.gpu_watts_max",
        "",
        Kind::Whole("W", 0, 2_000, |p| &mut p.heat.gpu_watts_max),
        "Most power of one graphics card; 0: no such rule.",
    ),
    field(
        "heat.band_celsius",
        "",
        Kind::Whole("degrees Celsius", 1, 30, |p| &mut p.heat.band_celsius),
        "Work goes on when it is this much cooler than the limit.",
    ),
    field(
        "hours.every_day",
        "start_hour, end_hour",
        Kind::Hours(None, |p| &mut p.hours),
        "When to compute, local time.",
    ),
    field(
        "hours.monday",
        "day_prefs",
        Kind::Hours(Some(0), |p| &mut p.hours),
        "On Mondays, instead of `every_day`; the other days likewise.",
    ),
    field("hours.tuesday", "day_prefs", Kind::Hours(Some(1), |p| &mut p.hours), ""),
    field("hours.wednesday", "day_prefs", Kind::Hours(Some(2), |p| &mut p.hours), ""),
    field("hours.thursday", "day_prefs", Kind::Hours(Some(3), |p| &mut p.hours), ""),
    field("hours.friday", "day_prefs", Kind::Hours(Some(4), |p| &mut p.hours), ""),
    field("hours.saturday", "day_prefs", Kind::Hours(Some(5), |p| &mut p.hours), ""),
    field("hours.sunday", "day_prefs", Kind::Hours(Some(6), |p| &mut p.hours), ""),
    field(
        "network_hours.every_day",
        "net_start_hour, net_end_hour",
        Kind::Hours(None, |p| &mut p.network_hours),
        "When to use the network, local time.",
    ),
    field(
        "network_hours.monday",
        "day_prefs",
        Kind::Hours(Some(0), |p| &mut p.network_hours),
        "On Mondays, instead of `every_day`; the other days likewise.",
    ),
    field("network_hours.tuesday", "day_prefs", Kind::Hours(Some(1), |p| &mut p.network_hours), ""),
    field("network_hours.wednesday", "day_prefs", Kind::Hours(Some(2), |p| &mut p.network_hours), ""),
    field("network_hours.thursday", "day_prefs", Kind::Hours(Some(3), |p| &mut p.network_hours), ""),
    field("network_hours.friday", "day_prefs", Kind::Hours(Some(4), |p| &mut p.network_hours), ""),
    field("network_hours.saturday", "day_prefs", Kind::Hours(Some(5), |p| &mut p.network_hours), ""),
    field("network_hours.sunday", "day_prefs", Kind::Hours(Some(6), |p| &mut p.network_hours), ""),
    field(
        "memory.swap_percent",
        "vm_max_used_frac",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.memory.swap_percent),
        "Most of the swap space that workers may use together; beyond it they end, and none begins for five minutes.",
    ),
    field(
        "memory.keep_paused",
        "leave_apps_in_memory",
        Kind::Flag(|p| &mut p.memory.keep_paused),
        "Paused orders and checks stay in memory (on Linux) and go on where they were, as far as `memory_percent` has room for them; without it they end and go on from their last segment. What computes on a graphics card and leases of maps never stay.",
    ),
    field(
        "disk.used_gb_max",
        "disk_max_used_gb",
        Kind::Decimal("GB", 3, MB_MAX, |p| &mut p.disk.used_mb_max),
        "Most that this program may store of others' work before it takes no more; 0: no such rule.",
    ),
    field(
        "disk.used_percent_max",
        "disk_max_used_pct",
        Kind::Whole(PERCENT, 1, 100, |p| &mut p.disk.used_percent_max),
        "The same, as a share of the whole disk.",
    ),
    field(
        "disk.free_gb_min",
        "disk_min_free_gb",
        Kind::Decimal("GB", 3, MB_MAX, |p| &mut p.disk.free_mb_min),
        "Least that stays free.",
    ),
    field(
        "disk.checkpoint_seconds",
        "disk_interval",
        Kind::Span("seconds", 1, 1, 86_400, |p| &mut p.disk.checkpoint),
        "Shortest time between two saves of an order's progress; what a crash loses is computed again.",
    ),
    field("network.metered", "", Kind::Flag(|p| &mut p.network.metered), "Use a connection that is paid by volume."),
    field(
        "network.wifi_only",
        "network_wifi_only (Android)",
        Kind::Flag(|p| &mut p.network.wifi_only),
        "Use Wi-Fi only.",
    ),
    field(
        "network.upload_kib_per_s_max",
        "max_bytes_sec_up",
        Kind::Whole("KiB/s", 0, 100_000_000, |p| &mut p.network.upload_kib_per_s_max),
        "Fastest upload, all transfers together; 0: no such rule.",
    ),
    field(
        "network.download_kib_per_s_max",
        "max_bytes_sec_down",
        Kind::Whole("KiB/s", 0, 100_000_000, |p| &mut p.network.download_kib_per_s_max),
        "Fastest download, all transfers together; 0: no such rule.",
    ),
    field(
        "network.transfer_mb_max",
        "daily_xfer_limit_mb",
        Kind::Whole("MB", 0, MB_MAX, |p| &mut p.network.transfer_mb_max),
        "Most that is moved, both ways together, in `transfer_days`; beyond it nothing moves and no order is taken; 0: no such rule.",
    ),
    field(
        "network.transfer_days",
        "daily_xfer_period_days",
        Kind::Whole("days", 1, 365, |p| &mut p.network.transfer_days),
        "Days over which `transfer_mb_max` counts, today included.",
    ),
    field(
        "work.buffer_days_min",
        "work_buf_min_days",
        Kind::Decimal("days", 3, 10_000, |p| &mut p.work.buffer_millidays_min),
        "Where too much work waited, more is taken again once the orders that wait are no more than this.",
    ),
    field(
        "work.buffer_days_additional",
        "work_buf_additional_days",
        Kind::Decimal("days", 3, 10_000, |p| &mut p.work.buffer_millidays_additional),
        "Nothing more is taken while orders wait that take longer than `buffer_days_min` and this together.",
    ),
    field(
        "work.switch_minutes",
        "cpu_scheduling_period_minutes",
        Kind::Span("minutes", 60, 1, 1_440, |p| &mut p.work.switch),
        "How long one order computes before whoever else waits has the machine, if its deadline leaves time for that.",
    ),
    field(
        "work.finish_lead_minutes",
        "",
        Kind::Span("minutes", 60, 0, 1_440, |p| &mut p.work.finish_lead),
        "Begin no unit in this time before the hours end or `finish_by`.",
    ),
    field(
        "work.finish_by",
        "",
        Kind::Moment(|p| &mut p.work.finish_by_local_ms),
        "From this local date and time on, compute nothing.",
    ),
    field(
        "exclusive.applications",
        "cc_config exclusive_app",
        Kind::Names(|p| &mut p.exclusive.applications),
        "Compute nothing while one of these programs runs; names of executables, upper or lower case.",
    ),
    field(
        "exclusive.gpu_applications",
        "cc_config exclusive_gpu_app",
        Kind::Names(|p| &mut p.exclusive.gpu_applications),
        "Leave graphics cards alone while one of these programs runs.",
    ),
    field(
        "energy.price_max",
        "",
        Kind::Optional("currency units per kWh", 6, PRICE_MAX, |p| &mut p.energy.price_micro_max),
        "Compute nothing while power is dearer than this, or its price is not known.",
    ),
    field(
        "energy.price",
        "",
        Kind::Optional("currency units per kWh", 6, PRICE_MAX, |p| &mut p.energy.price.base),
        "What power costs.",
    ),
    field(
        "energy.price_schedule",
        "",
        Kind::Steps("currency units per kWh", 6, |p| &mut p.energy.price.steps),
        "What power costs at certain hours, local time; the first that fits counts.",
    ),
    field(
        "energy.price_file",
        "",
        Kind::File(|p| &mut p.energy.price.file),
        "A file with lines `2026-11-28T14:00:00Z 0.23` that another program writes; it counts before the schedule.",
    ),
    field(
        "energy.carbon_max",
        "",
        Kind::Optional("gCO2/kWh", 0, CARBON_MAX, |p| &mut p.energy.carbon_grams_max),
        "Compute nothing while power is dirtier than this, or that is not known.",
    ),
    field(
        "energy.carbon",
        "",
        Kind::Optional("gCO2/kWh", 0, CARBON_MAX, |p| &mut p.energy.carbon.base),
        "Carbon intensity of the power here.",
    ),
    field(
        "energy.carbon_schedule",
        "",
        Kind::Steps("gCO2/kWh", 0, |p| &mut p.energy.carbon.steps),
        "Carbon intensity at certain hours, local time.",
    ),
    field(
        "energy.carbon_file",
        "",
        Kind::File(|p| &mut p.energy.carbon.file),
        "A file with lines `2026-11-28T14:00:00Z 310`.",
    ),
    field(
        "energy.feed_minutes_max",
        "",
        Kind::Span("minutes", 60, 1, 10_080, |p| &mut p.energy.feed_age_max),
        "How long the last line of a file holds.",
    ),
];
