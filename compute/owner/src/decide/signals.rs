//! What the rules look at: signals of the machine, the owner's wishes of the moment, and the time.

use crate::reading::Reading;
use std::time::Duration;

/// A moment on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, ms since 1970, UTC. It can jump in both directions.
    pub unix_ms: i64,
    /// What is added to UTC to get the owner's local time, seconds.
    pub offset_s: i32,
    /// A clock that never goes back, ms. If it also counts while the machine sleeps, pauses are exact over a sleep.
    pub steady_ms: u64,
}

/// Minutes of a day.
const DAY_MINUTES: i64 = 1_440;

impl Now {
    /// The local clock, ms since 1970 as if it showed UTC.
    #[must_use]
    pub fn local_ms(self) -> i64 {
        self.unix_ms.saturating_add(i64::from(self.offset_s).saturating_mul(1_000))
    }

    /// Local minute of the week; 0 is Monday 00:00.
    #[must_use]
    pub fn minute_of_week(self) -> u32 {
        // 1970-01-01 was a Thursday, three days after a Monday.
        let minutes = self.local_ms().div_euclid(60_000).saturating_add(3 * DAY_MINUTES);
        u32::try_from(minutes.rem_euclid(7 * DAY_MINUTES)).unwrap_or(0)
    }

    /// Local minute of the day, 0 to 1439.
    #[must_use]
    pub fn minute_of_day(self) -> u16 {
        u16::try_from(self.local_ms().div_euclid(60_000).rem_euclid(DAY_MINUTES)).unwrap_or(0)
    }
}

/// Load of all programs but our own, over some seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Share of all cores, thousandths, 0 to 1000.
    pub permille: u32,
    /// When the measured time ended, on the steady clock, ms; tells a new measurement from an old one.
    pub taken_ms: u64,
}

/// Everything that the rules know about the machine. What nobody has read is [`Reading::Unknown`]; each rule's row says what it does then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Cores that this program may use, at least 1.
    pub cores: u32,
    /// Whether a battery is what powers the machine. A machine without battery is a known `false`.
    pub on_battery: Reading<bool>,
    /// Charge of the emptiest battery, percent.
    pub battery_percent: Reading<u8>,
    /// The hottest battery, thousandths of a degree Celsius.
    pub battery_millicelsius: Reading<i64>,
    /// Whether this is a telephone or tablet.
    pub hand_held: Reading<bool>,
    /// Time since the last input of a person.
    pub idle: Reading<Duration>,
    /// The hottest processor, thousandths of a degree Celsius.
    pub cpu_millicelsius: Reading<i64>,
    /// The hottest graphics card, thousandths of a degree Celsius.
    pub gpu_millicelsius: Reading<i64>,
    /// The graphics card that draws most, mW.
    pub gpu_milliwatts: Reading<u64>,
    /// Load of others.
    pub other_load: Reading<Load>,
    /// Memory of the machine or of the group that we are confined to, bytes.
    pub memory_bytes: Reading<u64>,
    /// Memory that could be had without paging, bytes.
    pub memory_available_bytes: Reading<u64>,
    /// Share of the time in which somebody waited for memory, hundredths of a percent.
    pub memory_pressure: Reading<u32>,
    /// Swap space of the machine, bytes.
    pub swap_bytes: Reading<u64>,
    /// What our workers use of it, bytes.
    pub swap_ours_bytes: Reading<u64>,
    /// Size of the disk with our data, bytes.
    pub disk_bytes: Reading<u64>,
    /// What is free on it for us, bytes.
    pub disk_free_bytes: Reading<u64>,
    /// What we store ourselves, bytes.
    pub disk_ours_bytes: Reading<u64>,
    /// Whether the connection is paid by volume.
    pub metered: Reading<bool>,
    /// Whether the connection is Wi-Fi.
    pub wifi: Reading<bool>,
    /// Names of running programs, sorted.
    pub programs: Reading<Vec<String>>,
    /// Price of power from a feed, millionths per kWh.
    pub price_micro: Reading<u64>,
    /// Carbon intensity from a feed, gCO2/kWh.
    pub carbon_grams: Reading<u64>,
    /// What we moved over the network in the period of the limit, bytes.
    pub transferred_bytes: u64,
    /// Time since this program started.
    pub since_start: Duration,
}

/// What the owner wants apart from the preferences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Without regard to the preferences; heat, a pause, swap space and full disks still count.
    Always,
    /// As the preferences say.
    #[default]
    Auto,
    /// Not at all.
    Never,
}

/// A pause that the owner asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it was asked for, wall clock, ms since 1970.
    pub made_unix_ms: i64,
    /// When it ends; none is until the owner resumes.
    pub until_unix_ms: Option<i64>,
}

/// The owner's wishes of the moment, as [`crate::control`] keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// For all computing.
    pub compute: Mode,
    /// For graphics cards.
    pub gpu: Mode,
    /// For the network.
    pub network: Mode,
    /// A pause of all computing.
    pub pause: Option<Pause>,
    /// End the current unit and take no other.
    pub finish: bool,
}
