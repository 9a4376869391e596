//! The connection that is used now: its kind, and whether it is paid by volume.

use super::root::{Root, entry};
use crate::reading::Reading;

/// Stored connections that are looked at.
const CONNECTIONS_MAX: usize = 512;
/// Folders in which NetworkManager keeps connections, the volatile ones first.
const CONNECTIONS: [&str; 2] = ["run/NetworkManager/system-connections", "etc/NetworkManager/system-connections"];

/// What is known about the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The interface of the default route.
    pub interface: Reading<String>,
    /// Whether it is Wi-Fi.
    pub wifi: Reading<bool>,
    /// Whether it is paid by volume: mobile modems always are; else what NetworkManager was told.
    pub metered: Reading<bool>,
}

/// Reads what is known about the connection.
#[must_use]
pub fn connection(root: &Root) -> Connection {
    let interface = root.text("proc/net/route").and_then(|text| default_interface(&text));
    let Some(name) = interface.value().cloned() else {
        let absent = || Reading::Unknown(super::processor::absent("default route"));
        return Connection { interface, wifi: absent(), metered: absent() };
    };
    let folder = format!("sys/class/net/{name}");
    let event = root.text(&format!("{folder}/uevent"));
    let kind = event.value().and_then(|text| entry(text, "DEVTYPE", '='));
    let wifi =
        kind == Some("wlan") || ["wireless", "phy80211"].iter().any(|file| root.exists(&format!("{folder}/{file}")));
    let wifi = if root.exists(&folder) {
        Reading::known(wifi, &folder)
    } else {
        Reading::Unknown(super::processor::absent(&folder))
    };
    let metered = if kind == Some("wwan") { Reading::known(true, &folder) } else { metered(root, &folder) };
    Connection { interface, wifi, metered }
}

/// The interface of the default route with the smallest metric.
fn default_interface(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let [name, destination, _, _, _, _, metric, mask] = fields.try_into().ok()?;
        let is_default = destination == "00000000" && mask == "00000000" && !name.contains('/');
        is_default.then(|| Some((metric.parse::<u32>().ok()?, name.to_owned()))).flatten()
    });
    routes.min().map(|(_, name)| name)
}

/// What NetworkManager was told about the connection. Its own guesses are not in files.
fn metered(root: &Root, folder: &str) -> Reading<bool> {
    let index = root.number::<u32>(&format!("{folder}/ifindex"));
    let uuid = match index {
        Reading::Known(index, _) => root
            .text(&format!("run/NetworkManager/devices/{index}"))
            .and_then(|text| entry(&text, "connection-uuid", '=').map(str::to_owned)),
        Reading::Unknown(why) => Reading::Unknown(why),
    };
    let Some(uuid) = uuid.value() else { return uuid.map(|_| false) };
    let mut answer = Reading::Unknown(super::processor::absent("stored connection of NetworkManager"));
    for base in CONNECTIONS {
        for file in root.names(base).into_iter().take(CONNECTIONS_MAX) {
            let path = format!("{base}/{file}");
            let text = root.text(&path);
            match text.value() {
                Some(text) if entry(text, "uuid", '=') == Some(uuid) => {
                    // Without the key NetworkManager guesses; 1 and 2 are what a person chose (NMMetered).
                    return Reading::known(entry(text, "metered", '='), &path)
                        .and_then(|value| value.map(|value| matches!(value, "1" | "yes" | "true")));
                }
                Some(_) => {}
                None => answer = text.map(|_| false),
            }
        }
    }
    answer
}
