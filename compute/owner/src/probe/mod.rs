//! What the machine is and how it feels, read from files below a root folder.
//!
//! # Design
//! Each reader takes a [`Root`], so that a fixture tree stands for a laptop, a desktop, a server or a board. Every value is a [`Reading`]: known
//! with its source, or unknown with the reason. On macOS and Windows there are no such files, and everything is unknown.
//!
//! # Trust
//! Nothing here is proof: a machine can lie about itself. What it can do is measured and challenged elsewhere.

pub mod activity;
pub mod energy;
pub mod graphics;
pub mod heat;
pub mod memory;
pub mod network;
pub mod nvidia;
pub mod power;
pub mod processor;
mod root;
pub mod storage;
pub mod surroundings;

pub(crate) use root::read;
pub use root::{ENTRIES_MAX, FILE_BYTES_MAX, Root, TABLE_BYTES_MAX};

use crate::{reading::Reading, report::shown};
use serde_json::{Value, json};

/// What the machine is; read once, at a start.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors.
    pub processors: processor::Processors,
    /// Memory.
    pub memory: memory::Memory,
    /// Limits of our control group.
    pub group: memory::Group,
    /// Graphics cards.
    pub cards: Vec<graphics::Card>,
    /// Mains and batteries.
    pub supply: power::Supply,
    /// The hottest processor, thousandths of a degree Celsius.
    pub cpu_millicelsius: Reading<i64>,
    /// Energy counters.
    pub counters: Reading<Vec<energy::Counter>>,
    /// The connection.
    pub connection: network::Connection,
    /// Its form and what it is a guest of.
    pub surroundings: surroundings::Surroundings,
}

impl Machine {
    /// Reads everything.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        Self {
            processors: processor::processors(root),
            memory: memory::memory(root),
            group: memory::group(root),
            cards: graphics::cards(root),
            supply: power::supply(root),
            cpu_millicelsius: heat::processor(root),
            counters: energy::counters(root),
            connection: network::connection(root),
            surroundings: surroundings::surroundings(root),
        }
    }

    /// Puts in what no file tells of NVIDIA's cards, by the driver's own tool; waits for it, 20 s at most. Where there is no such card it is not started.
    pub fn ask(&mut self, tool: &nvidia::Tool) {
        if self.cards.iter().any(|card| card.driver.value().is_some_and(|driver| driver == "nvidia")) {
            tool.ask_now(0);
            tool.complete(&mut self.cards, 0);
        }
    }

    /// Everything as JSON: each value beside its source, or null beside the reason. For people and reports; no format that others parse.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let cards = self.cards.iter().map(|card| {
            json!({
                "address": card.address,
                "ids": shown(&card.ids),
                "model": shown(&card.model),
                "driver": shown(&card.driver),
                "memory_bytes": shown(&card.memory_bytes),
                "busy_percent": shown(&card.busy_percent),
                "millicelsius": shown(&card.millicelsius),
                "milliwatts": shown(&card.milliwatts),
                "milliwatts_max": shown(&card.milliwatts_max),
                "has_screen": card.has_screen,
            })
        });
        let counters = self.counters.clone().map(|counters| {
            let lines = counters.iter().map(|counter| format!("{}: {}", counter.path, counter.microjoules));
            lines.collect::<Vec<_>>().join("; ")
        });
        json!({
            "form": shown(&self.surroundings.form.clone().map(|form| format!("{form:?}"))),
            "hypervisor": shown(&self.surroundings.hypervisor),
            "container": shown(&self.surroundings.container),
            "processor": {
                "model": shown(&self.processors.model),
                "sockets": shown(&self.processors.sockets),
                "cores": shown(&self.processors.cores),
                "threads": shown(&self.processors.threads),
                "flags": shown(&self.processors.flags.clone().map(|flags| flags.join(" "))),
                "khz_max": shown(&self.processors.khz_max),
                "millicelsius": shown(&self.cpu_millicelsius),
            },
            "memory": {
                "bytes": shown(&self.memory.total),
                "available_bytes": shown(&self.memory.available),
                "swap_bytes": shown(&self.memory.swap),
                "group_bytes_max": shown(&self.group.memory_bytes),
                "group_milli_cpus_max": shown(&self.group.milli_cpus),
            },
            "cards": cards.collect::<Vec<_>>(),
            "power": {
                "on_battery": shown(&self.supply.on_battery),
                "battery_percent": shown(&self.supply.percent),
                "battery_millicelsius": shown(&self.supply.millicelsius),
                "energy_microjoules": shown(&counters),
            },
            "network": {
                "interface": shown(&self.connection.interface),
                "wifi": shown(&self.connection.wifi),
                "metered": shown(&self.connection.metered),
            },
        })
    }
}
