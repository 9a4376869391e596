//! Signs of a person: counters that change when somebody types, moves the mouse or uses a terminal.
//!
//! # Design
//! No sign reads what was typed; each is a count or a time that the kernel keeps for other reasons:
//! - USB: the number of transfers of keyboards and mice (`urbnum`), readable by everybody, with or without a display server;
//! - interrupts of built-in keyboards and touchpads (`/proc/interrupts`), by the names of their devices;
//! - when terminals were last read (access times in `/dev/pts`, `/dev/tty*`), also those of remote logins.
//!
//! A machine with a screen whose input devices cannot be watched is *unknown*: its terminals say nothing about who sits before it.
//!
//! # Not here
//! logind's idle hint: it is only on D-Bus, not in files, and most desktops set it minutes late. A caller that has a better source
//! passes it as a further [`Sign`] (see [`crate::watch::Probe`]).

use super::root::{Root, TABLE_BYTES_MAX};
use crate::reading::{Reading, Unknown};
use std::sync::Arc;

const USB: &str = "sys/bus/usb/devices";
const INTERRUPTS: &str = "proc/interrupts";
/// Devices of one kind that are watched.
const DEVICES_MAX: usize = 256;
/// Names of interrupts of built-in keyboards and touchpads: the old controller, and the ACPI names of makers of touchpads and touch screens.
const INPUT_NAMES: [&str; 10] =
    ["i8042", "ELAN", "SYNA", "ALPS", "MSFT", "WCOM", "GXTP", "FTCS", "PNP0C50", "touchscreen"];

/// One thing that is watched, and what it shows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The file, below the root.
    pub path: String,
    /// A number that changes with every input.
    pub mark: u64,
}

/// What is watched on this machine. Finding it costs more than looking at it, so it is kept for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    devices: Vec<String>,
    terminals: Vec<String>,
    interrupts: bool,
    has_screen: bool,
}

/// Finds what can be watched.
#[must_use]
pub fn watched(root: &Root) -> Watched {
    let terminal = |name: &String| {
        let number = name.strip_prefix("tty").unwrap_or(name);
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && name != "tty0"
    };
    let in_folder = |folder: &str| {
        let names = root.names(folder).into_iter().filter(terminal).take(DEVICES_MAX);
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    let consoles = in_folder("dev").into_iter().filter(|path| path.starts_with("dev/tty"));
    let drm = root.names("sys/class/drm");
    let mut screens = drm.iter().filter(|name| name.contains('-'));
    Watched {
        devices: devices(root),
        terminals: consoles.chain(in_folder("dev/pts")).collect(),
        interrupts: interrupts(root).is_some(),
        has_screen: screens.any(|name| {
            root.word(&format!("sys/class/drm/{name}/status")).value().is_some_and(|status| status == "connected")
        }),
    }
}

/// Transfer counters of USB keyboards and mice: interfaces of class 3 (input) with protocol 1 or 2. Others of that class, such as uninterruptible
/// power supplies, talk without a person.
fn devices(root: &Root) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in root.names(USB) {
        let Some((device, _)) = name.split_once(':') else { continue };
        let is = |file: &str, values: &[&str]| {
            root.word(&format!("{USB}/{name}/{file}")).value().is_some_and(|value| values.contains(&value.as_str()))
        };
        let path = format!("{USB}/{device}/urbnum");
        let is_input = is("bInterfaceClass", &["03"]) && is("bInterfaceProtocol", &["01", "02"]);
        if is_input && !found.contains(&path) && found.len() < DEVICES_MAX {
            found.push(path);
        }
    }
    found
}

/// The sum of all interrupts of built-in input devices; none if there is no such device.
fn interrupts(root: &Root) -> Option<u64> {
    let table = root.text_max(INTERRUPTS, TABLE_BYTES_MAX);
    let mut sum: Option<u64> = None;
    for line in table.value()?.lines().skip(1) {
        let Some((_, rest)) = line.split_once(':') else { continue };
        let is_input = rest.split_whitespace().any(|word| INPUT_NAMES.iter().any(|name| word.starts_with(name)));
        if is_input {
            let counts = rest.split_whitespace().map_while(|count| count.parse::<u64>().ok());
            sum = Some(counts.fold(sum.unwrap_or(0), u64::saturating_add));
        }
    }
    sum
}

impl Watched {
    /// What is watched shows now; unknown if nothing can be watched that a person at this machine would touch.
    #[must_use]
    pub fn look(&self, root: &Root) -> Reading<Vec<Sign>> {
        let devices = self.devices.iter().filter_map(|path| {
            let mark = root.number::<u64>(path).value().copied()?;
            Some(Sign { path: path.clone(), mark })
        });
        let mut signs: Vec<Sign> = devices.collect();
        if self.interrupts
            && let Some(mark) = interrupts(root)
        {
            signs.push(Sign { path: INTERRUPTS.to_owned(), mark });
        }
        let touched = !signs.is_empty();
        for path in &self.terminals {
            if let Some(mark) = root.accessed_unix_ms(path).and_then(|ms| u64::try_from(ms).ok()) {
                signs.push(Sign { path: path.clone(), mark });
            }
        }
        if signs.is_empty() || (self.has_screen && !touched) {
            return Reading::Unknown(Unknown::Absent(Arc::from("input device that can be watched")));
        }
        Reading::known(signs, if touched { USB } else { "dev/pts" })
    }

    /// When a terminal was last used, ms since 1970: what is known about the time before the first look.
    #[must_use]
    pub fn last_unix_ms(&self, root: &Root) -> Option<i64> {
        self.terminals.iter().filter_map(|path| root.accessed_unix_ms(path)).max()
    }
}
