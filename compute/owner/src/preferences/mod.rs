//! What the owner allows: the set of BOINC's preferences with its defaults, and limits of price, carbon and heat.
//!
//! # Design
//! One table ([`fields`]) names every key of `owner.toml` with its unit, range, BOINC name and meaning. The parser, the writer of the template
//! and the tests all walk that table, so that a key cannot exist in one of them only.
//!
//! # Not here
//! BOINC's rules for telephone modems and its `dont_verify_images`; there is nothing here that they could apply to.

mod fields;
mod parse;
mod series;
mod template;
mod week;

pub use fields::{FIELDS, Field, Kind};
pub use parse::{Error, FILE_BYTES_MAX, VERSION, parse, read};
pub use series::{FEED_BYTES_MAX, Feed, FeedError, Series, Step};
pub(crate) use series::{decimal, decimal_text};
pub use template::template;
pub(crate) use week::Door;
pub use week::{DAYS, WINDOWS_MAX, Week, Window, WindowError};

use std::{path::PathBuf, time::Duration};

/// Everything that the owner can say. [`Default`] is BOINC's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// While somebody uses the machine.
    pub in_use: Profile,
    /// While nobody does.
    pub not_in_use: Profile,
    /// When somebody counts as using it.
    pub presence: Presence,
    /// Mains and battery.
    pub power: Power,
    /// Temperatures and the graphics card's power.
    pub heat: Heat,
    /// When to compute, local time.
    pub hours: Week,
    /// When to use the network, local time.
    pub network_hours: Week,
    /// Memory.
    pub memory: Memory,
    /// Disk.
    pub disk: Disk,
    /// Network.
    pub network: Network,
    /// How work is taken and ended.
    pub work: Work,
    /// Programs that want the machine for themselves.
    pub exclusive: Exclusive,
    /// Price and carbon intensity of power.
    pub energy: Energy,
}

/// What may be used; there are two, for a machine in use and not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether processors may work.
    pub cpu: bool,
    /// Whether graphics cards may work.
    pub gpu: bool,
    /// Share of the cores, percent, 1 to 100; at least one core.
    pub cores_percent: u64,
    /// Share of the time in which those cores work, percent, 1 to 100.
    pub cpu_time_percent: u64,
    /// Share of the graphics card's time, percent, 1 to 100.
    pub gpu_percent: u64,
    /// Work pauses while other programs use more than this share of all cores, percent; 0 is no such rule.
    pub other_load_percent: u64,
    /// Share of the machine's memory that all jobs together may declare, percent, 1 to 100.
    pub memory_percent: u64,
}

/// When the machine counts as in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Without input for this long, nobody uses it.
    pub idle: Duration,
    /// Work pauses when there was no input for this long, so that the machine can sleep; zero is no such rule.
    pub no_input: Duration,
    /// What holds where no keyboard, mouse or terminal can be watched.
    pub headless_is_idle: bool,
    /// Wait after the start.
    pub start_delay: Duration,
}

/// Mains and battery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// Whether to work on battery.
    pub on_battery: bool,
    /// Least charge, percent: on battery, and for hand-held devices also on mains.
    pub battery_percent_min: u64,
    /// Hottest battery, degrees Celsius; 0 is no such rule.
    pub battery_celsius_max: u64,
}

/// Temperatures and the graphics card's power; 0 is no such rule everywhere but in `band_celsius`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heat {
    /// Hottest processor, degrees Celsius.
    pub cpu_celsius_max: u64,
    /// Hottest graphics card, degrees Celsius.
    pub gpu_celsius_max: u64,
    /// Most power of one graphics card, W.
    pub gpu_watts_max: u64,
    /// How far it must cool below a limit before work goes on, degrees Celsius, 1 to 30.
    pub band_celsius: u64,
}

/// Memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Most of the swap space that workers may use together, percent, 1 to 100.
    pub swap_percent: u64,
    /// Whether paused work stays in memory, where it can.
    pub keep_paused: bool,
}

/// Disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Most that this program may store, MB; 0 is no such rule.
    pub used_mb_max: u64,
    /// Most that this program may store, percent of the disk, 1 to 100.
    pub used_percent_max: u64,
    /// Least that stays free, MB.
    pub free_mb_min: u64,
    /// Shortest time between two saves of an order's progress.
    pub checkpoint: Duration,
}

/// Network; a rate or amount of 0 is no such rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Whether a metered connection may be used.
    pub metered: bool,
    /// Whether only Wi-Fi may be used.
    pub wifi_only: bool,
    /// Fastest upload, KiB/s.
    pub upload_kib_per_s_max: u64,
    /// Fastest download, KiB/s.
    pub download_kib_per_s_max: u64,
    /// Most that is moved in `transfer_days`, MB.
    pub transfer_mb_max: u64,
    /// Days over which `transfer_mb_max` counts, 1 to 365.
    pub transfer_days: u64,
}

/// How work is taken and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Orders that wait, thousandths of a day, down to which none is taken once too many waited.
    pub buffer_millidays_min: u64,
    /// How much more than that waits before none is taken, thousandths of a day.
    pub buffer_millidays_additional: u64,
    /// How long one order computes before whoever waits has the machine.
    pub switch: Duration,
    /// No unit is begun in this time before the hours end or `finish_by`.
    pub finish_lead: Duration,
    /// Local date and time from which on nothing is computed, ms since 1970 as if the local clock showed UTC.
    pub finish_by_local_ms: Option<i64>,
}

/// Programs that want the machine for themselves, by the name of the executable without its folder. Letters count, their case does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusive {
    /// While one of these runs, nothing is computed.
    pub applications: Vec<String>,
    /// While one of these runs, graphics cards are left alone.
    pub gpu_applications: Vec<String>,
}

/// Price and carbon intensity of power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Energy {
    /// Dearest power with which to compute, millionths of the owner's currency per kWh.
    pub price_micro_max: Option<u64>,
    /// What power costs when: a schedule or a file.
    pub price: Series,
    /// Dirtiest power with which to compute, gCO2/kWh.
    pub carbon_grams_max: Option<u64>,
    /// Carbon intensity by time: a schedule or a file.
    pub carbon: Series,
    /// How long the last line of a file holds.
    pub feed_age_max: Duration,
}

impl Energy {
    /// Files to watch, price first.
    pub fn feeds(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.price.file, &self.carbon.file].into_iter().flatten()
    }
}

impl Default for Preferences {
    fn default() -> Self {
        let profile = Profile {
            cpu: true,
            gpu: true,
            cores_percent: 100,
            cpu_time_percent: 100,
            gpu_percent: 100,
            other_load_percent: 25,
            memory_percent: 90,
        };
        Self {
            in_use: Profile { gpu: false, memory_percent: 50, ..profile.clone() },
            not_in_use: Profile { other_load_percent: 50, ..profile },
            presence: Presence {
                idle: Duration::from_secs(180),
                no_input: Duration::ZERO,
                headless_is_idle: false,
                start_delay: Duration::ZERO,
            },
            power: Power { on_battery: false, battery_percent_min: 90, battery_celsius_max: 40 },
            heat: Heat { cpu_celsius_max: 0, gpu_celsius_max: 0, gpu_watts_max: 0, band_celsius: 5 },
            hours: Week::always(),
            network_hours: Week::always(),
            memory: Memory { swap_percent: 75, keep_paused: false },
            disk: Disk { used_mb_max: 0, used_percent_max: 90, free_mb_min: 100, checkpoint: Duration::from_secs(60) },
            network: Network {
                metered: false,
                wifi_only: false,
                upload_kib_per_s_max: 0,
                download_kib_per_s_max: 0,
                transfer_mb_max: 0,
                transfer_days: 1,
            },
            work: Work {
                buffer_millidays_min: 100,
                buffer_millidays_additional: 500,
                switch: Duration::from_secs(3_600),
                finish_lead: Duration::from_secs(600),
                finish_by_local_ms: None,
            },
            exclusive: Exclusive::default(),
            energy: Energy {
                price_micro_max: None,
                price: Series::default(),
                carbon_grams_max: None,
                carbon: Series::default(),
                feed_age_max: Duration::from_secs(3_600),
            },
        }
    }
}
