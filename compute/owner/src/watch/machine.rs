//! The probe and the clock of a real machine (or of a fixture tree).

use super::{Clock, Facts, Probe};
use crate::{
    decide::{Now, Signals},
    preferences::{FEED_BYTES_MAX, Feed, Preferences, Series},
    probe::{
        Root,
        activity::{self, Sign, Watched},
        graphics, heat, memory, network,
        nvidia::Tool,
        power,
        processor::{self, LoadMeter, Resource},
        storage,
        surroundings::{self, Form},
    },
    reading::{Reading, Unknown},
    system,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant, SystemTime},
};

/// Refreshes between two searches for devices, connections and feeds: once a minute.
const SEARCH_EVERY: u32 = 6;
/// Refreshes between two questions to NVIDIA's tool, which costs about a tenth of a second of a core: while the owner limits heat or power of cards.
const ASK_EVERY: u32 = 3;

/// Reads a machine.
#[derive(Debug)]
pub struct MachineProbe {
    root: Root,
    folder: PathBuf,
    watched: Watched,
    load: LoadMeter,
    refreshes: u32,
    hand_held: Reading<bool>,
    connection: network::Connection,
    price: Option<Feed>,
    carbon: Option<Feed>,
    nvidia: Option<Tool>,
}

impl MachineProbe {
    /// Reads the machine below `root`, whose disk with our data is the one of `folder`.
    #[must_use]
    pub fn new(root: Root, folder: &Path) -> Self {
        Self {
            watched: activity::watched(&root),
            // The tool speaks of this machine, not of a fixture's.
            nvidia: (root.is_machine() && root.exists("proc/driver/nvidia")).then(|| Tool::new("nvidia-smi")),
            root,
            folder: folder.to_owned(),
            load: LoadMeter::default(),
            refreshes: 0,
            hand_held: Reading::default(),
            connection: network::Connection::default(),
            price: None,
            carbon: None,
        }
    }

    fn search(&mut self, preferences: &Preferences) {
        self.watched = activity::watched(&self.root);
        self.connection = network::connection(&self.root);
        self.hand_held = surroundings::surroundings(&self.root).form.map(|form| form == Form::HandHeld);
        self.price = self.feed(&preferences.energy.price, 6);
        self.carbon = self.feed(&preferences.energy.carbon, 0);
    }

    fn feed(&self, series: &Series, digits: u32) -> Option<Feed> {
        let path = series.file.as_ref()?;
        // A feed's path is the owner's own: it is not below the root of a fixture unless it is written so.
        let bytes = crate::probe::read(path, FEED_BYTES_MAX).ok()??;
        Feed::parse(std::str::from_utf8(&bytes).ok()?, digits).ok()
    }

    fn cores(&self) -> u32 {
        let machine = self.root.is_machine().then(|| available_parallelism().ok()).flatten();
        let counted = machine.and_then(|cores| u32::try_from(cores.get()).ok());
        counted.or_else(|| processor::processors(&self.root).threads.value().copied()).unwrap_or(1)
    }
}

impl Probe for MachineProbe {
    fn signs(&mut self) -> Reading<Vec<Sign>> {
        if self.watched.is_stale(&self.root) {
            self.watched = activity::watched(&self.root);
        }
        self.watched.look(&self.root)
    }

    fn before(&mut self, now: Now) -> Option<Duration> {
        let last = self.watched.last_unix_ms(&self.root)?;
        Some(Duration::from_millis(u64::try_from(now.unix_ms.saturating_sub(last)).unwrap_or(0)))
    }

    fn refresh(&mut self, preferences: &Preferences, facts: &Facts, now: Now, signals: &mut Signals) {
        if self.refreshes.is_multiple_of(SEARCH_EVERY) {
            self.search(preferences);
            signals.cores = self.cores();
        }
        let limited = preferences.heat.gpu_celsius_max > 0 || preferences.heat.gpu_watts_max > 0;
        if let Some(tool) = &self.nvidia
            && limited
            && self.refreshes.is_multiple_of(ASK_EVERY)
        {
            tool.ask(now.steady_ms);
        }
        self.refreshes = self.refreshes.wrapping_add(1);
        let supply = power::supply(&self.root);
        (signals.on_battery, signals.battery_percent) = (supply.on_battery, supply.percent);
        (signals.battery_millicelsius, signals.hand_held) = (supply.millicelsius, self.hand_held.clone());
        signals.cpu_millicelsius = heat::processor(&self.root);
        let mut cards = graphics::cards(&self.root);
        if let Some(tool) = &self.nvidia {
            tool.complete(&mut cards, now.steady_ms);
        }
        let none = || Reading::Unknown(Unknown::Absent(Arc::from("sensor of a graphics card")));
        signals.gpu_millicelsius =
            power::best(cards.iter().map(|card| card.millicelsius.clone()), |a, b| a > b).unwrap_or_else(none);
        signals.gpu_milliwatts = power::best(cards.iter().map(|card| card.milliwatts.clone()), |a, b| a > b)
            .unwrap_or_else(|| Reading::Unknown(Unknown::Absent(Arc::from("power sensor of a graphics card"))));
        signals.other_load = self.load.sample(&self.root, &facts.own_processes, now.steady_ms);
        let memory = memory::memory(&self.root);
        // Inside of a group its limit is all that there is.
        let group = memory::group(&self.root).memory_bytes;
        signals.memory_bytes = match (group, memory.total) {
            (Reading::Known(group, source), Reading::Known(total, _)) if group < total => Reading::Known(group, source),
            (_, total) => total,
        };
        signals.memory_available_bytes = memory.available;
        (signals.swap_bytes, signals.swap_ours_bytes) = (memory.swap, memory::swapped(&self.root, &facts.workers));
        signals.memory_pressure = processor::pressure(&self.root, Resource::Memory);
        let disk = storage::disk(&self.root, &self.folder);
        (signals.disk_bytes, signals.disk_free_bytes) = (disk.total, disk.free);
        (signals.metered, signals.wifi) = (self.connection.metered.clone(), self.connection.wifi.clone());
        let exclusive = &preferences.exclusive;
        let wanted = !exclusive.applications.is_empty() || !exclusive.gpu_applications.is_empty();
        signals.programs = if wanted { processor::programs(&self.root) } else { Reading::default() };
        let age_ms = i64::try_from(preferences.energy.feed_age_max.as_millis()).unwrap_or(i64::MAX);
        let at = |feed: &Option<Feed>| match feed.as_ref().and_then(|feed| feed.at(now.unix_ms, age_ms)) {
            Some(value) => Reading::known(value, "feed"),
            None => Reading::Unknown(Unknown::Absent(Arc::from("value of this hour in a feed"))),
        };
        (signals.price_micro, signals.carbon_grams) = (at(&self.price), at(&self.carbon));
    }
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    start: Instant,
}

impl MachineClock {
    /// Starts the substitute for systems without a clock that counts in sleep.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for MachineClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        let substitute = || u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            unix_ms,
            offset_s: system::local_offset_s(unix_ms / 1_000).unwrap_or(0),
            steady_ms: system::steady_ms().unwrap_or_else(substitute),
        }
    }
}
