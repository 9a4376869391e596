//! Graphics cards: what is built in, and how hot and hungry each is.
//!
//! # Design
//! The kernel's list (`/sys/class/drm`) and NVIDIA's (`/proc/driver/nvidia`) are joined by the address on the bus; a card without a part for screens is in
//! the second one alone. NVIDIA's own driver tells memory,
//! temperature and power through its library only; these stay unknown here, and say so, until [`super::nvidia`] has asked its tool.

use super::{
    heat::{is_input, millicelsius},
    power::best,
    root::{Root, entry, word},
};
use crate::reading::{Reading, Unknown};
use std::{collections::BTreeMap, sync::Arc};

/// Cards that are looked at; the largest machines have sixteen.
const CARDS_MAX: usize = 64;
const DRM: &str = "sys/class/drm";
const NVIDIA: &str = "proc/driver/nvidia/gpus";
const BUS: &str = "sys/bus/pci/devices";

/// One card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Address on the bus, such as `0000:01:00.0`; or the kernel's name of the card.
    pub address: String,
    /// PCI vendor and device, such as `0x10de:0x2704`.
    pub ids: Reading<String>,
    /// The maker's name, where the driver says it.
    pub model: Reading<String>,
    /// The kernel's driver.
    pub driver: Reading<String>,
    /// Memory of its own, bytes.
    pub memory_bytes: Reading<u64>,
    /// How busy it is, percent.
    pub busy_percent: Reading<u8>,
    /// Temperature, thousandths of a degree Celsius.
    pub millicelsius: Reading<i64>,
    /// Power that it draws, mW.
    pub milliwatts: Reading<u64>,
    /// Power that it is set to draw at most, mW.
    pub milliwatts_max: Reading<u64>,
    /// Whether a screen is connected to it.
    pub has_screen: bool,
}

/// All cards, by address.
#[must_use]
pub fn cards(root: &Root) -> Vec<Card> {
    let mut cards = BTreeMap::new();
    let names = root.names(DRM);
    for name in names.iter().filter(|name| is_card(name)).take(CARDS_MAX) {
        let card = kernel_card(root, name, &names);
        cards.insert(card.address.clone(), card);
    }
    for address in root.names(NVIDIA).into_iter().take(CARDS_MAX) {
        let text = root.text(&format!("{NVIDIA}/{address}/information"));
        let model = text.clone().and_then(|text| entry(&text, "Model", ':').and_then(word));
        let card = cards.entry(address.to_lowercase()).or_insert_with(|| Card {
            address: address.to_lowercase(),
            ids: ids(root, &format!("{BUS}/{}", address.to_lowercase())),
            driver: text.map(|_| "nvidia".to_owned()),
            ..library_only()
        });
        card.model = model;
    }
    cards.into_values().collect()
}

/// What only NVIDIA's library tells.
fn library_only() -> Card {
    let absent = || Unknown::Absent(Arc::from("figure of this card in a file: NVIDIA's library alone has it"));
    Card {
        memory_bytes: Reading::Unknown(absent()),
        busy_percent: Reading::Unknown(absent()),
        millicelsius: Reading::Unknown(absent()),
        milliwatts: Reading::Unknown(absent()),
        milliwatts_max: Reading::Unknown(absent()),
        ..Card::default()
    }
}

/// Vendor and device of what is in this folder.
fn ids(root: &Root, folder: &str) -> Reading<String> {
    root.word(&format!("{folder}/vendor")).and_then(|vendor| {
        let device = root.word(&format!("{folder}/device")).value().cloned()?;
        Some(format!("{vendor}:{device}"))
    })
}

/// `card0` is a card, `card0-DP-1` one of its connectors.
fn is_card(name: &str) -> bool {
    name.strip_prefix("card")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn kernel_card(root: &Root, name: &str, names: &[String]) -> Card {
    let device = format!("{DRM}/{name}/device");
    let event = root.text(&format!("{device}/uevent"));
    let field = |key: &'static str| event.clone().and_then(|text| entry(&text, key, '=').and_then(word));
    let ids = ids(root, &device);
    let driver = field("DRIVER");
    let connectors = names.iter().filter(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')));
    let mut screens = connectors.map(|connector| root.word(&format!("{DRM}/{connector}/status")));
    let has_screen = screens.any(|status| status.value().is_some_and(|status| status == "connected"));
    let address = field("PCI_SLOT_NAME").value().map_or_else(|| name.to_owned(), |slot| slot.to_lowercase());
    if driver.value().is_some_and(|driver| driver == "nvidia") {
        return Card { address, ids, driver, has_screen, ..library_only() };
    }
    let monitor = root.names(&format!("{device}/hwmon")).into_iter().find(|name| name.starts_with("hwmon"));
    let monitor = format!("{device}/hwmon/{}", monitor.unwrap_or_else(|| "hwmon*".to_owned()));
    let milliwatts = |file: &str| root.number::<u64>(&format!("{monitor}/{file}")).map(|microwatts| microwatts / 1_000);
    let inputs = root.names(&monitor).into_iter().filter(|name| is_input(name, "temp")).take(CARDS_MAX);
    let temperatures = inputs.map(|input| millicelsius(root, &format!("{monitor}/{input}")));
    Card {
        address,
        ids,
        model: root.word(&format!("{device}/product_name")),
        driver,
        memory_bytes: root
            .number(&format!("{device}/mem_info_vram_total"))
            .or(root.number(&format!("{DRM}/{name}/lmem_total_bytes"))),
        busy_percent: root
            .number::<u8>(&format!("{device}/gpu_busy_percent"))
            .and_then(|percent| (percent <= 100).then_some(percent)),
        millicelsius: best(temperatures, |a, b| a > b)
            .unwrap_or_else(|| Reading::Unknown(Unknown::Absent(Arc::from(format!("{monitor}/temp1_input"))))),
        milliwatts: milliwatts("power1_average").or(milliwatts("power1_input")),
        milliwatts_max: milliwatts("power1_cap"),
        has_screen,
    }
}
