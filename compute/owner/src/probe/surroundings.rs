//! What kind of machine this is: its form, and whether it is a virtual machine or a container.

use super::root::{Root, TABLE_BYTES_MAX, entry};
use crate::reading::Reading;

/// The machine's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A desktop or workstation.
    Desktop,
    /// A notebook.
    Laptop,
    /// A telephone or tablet.
    HandHeld,
    /// A server.
    Server,
    /// A single board.
    Board,
    /// A virtual machine.
    Virtual,
}

/// What kind of machine this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its form.
    pub form: Reading<Form>,
    /// What it is a guest of, if the machine says so: a hypervisor's name. Hints only: a hypervisor can hide.
    pub hypervisor: Reading<String>,
    /// What contains this process, if something says so.
    pub container: Reading<String>,
}

/// Reads what kind of machine this is.
#[must_use]
pub fn surroundings(root: &Root) -> Surroundings {
    let hypervisor = hypervisor(root);
    let form = match &hypervisor {
        Reading::Known(_, source) => Reading::known(Form::Virtual, source),
        Reading::Unknown(_) => form(root),
    };
    Surroundings { form, hypervisor, container: container(root) }
}

fn hypervisor(root: &Root) -> Reading<String> {
    let vendor = root.word("sys/class/dmi/id/sys_vendor");
    let guest = ["QEMU", "VMware, Inc.", "innotek GmbH", "Xen", "Amazon EC2", "Google", "Parallels", "Red Hat"];
    let by_vendor = vendor.and_then(|vendor| guest.contains(&vendor.as_str()).then_some(vendor));
    let by_flag = root.text_max("proc/cpuinfo", TABLE_BYTES_MAX).and_then(|table| {
        let flags = entry(&table, "flags", ':')?;
        flags.split_whitespace().any(|flag| flag == "hypervisor").then(|| "a hypervisor without a name".to_owned())
    });
    root.word("sys/hypervisor/type").or(by_vendor).or(by_flag)
}

fn container(root: &Root) -> Reading<String> {
    let marker = |path: &str, name: &str| match root.exists(path) {
        true => Reading::known(name.to_owned(), path),
        false => Reading::Unknown(super::processor::absent("sign of a container")),
    };
    marker(".dockerenv", "docker").or(root.word("run/systemd/container")).or(marker("run/.containerenv", "podman"))
}

/// Spec: DMTF DSP0134, System Enclosure or Chassis Types.
fn form(root: &Root) -> Reading<Form> {
    let by_chassis = root.number::<u8>("sys/class/dmi/id/chassis_type").and_then(|kind| match kind {
        3..=7 | 13 | 15 | 16 | 24 | 35 | 36 => Some(Form::Desktop),
        8..=10 | 14 | 31 | 32 => Some(Form::Laptop),
        11 | 30 => Some(Form::HandHeld),
        17 | 22 | 23 | 25..=29 => Some(Form::Server),
        33 | 34 => Some(Form::Board),
        _ => None,
    });
    let supply = super::power::supply(root);
    let by_tree = root
        .word("proc/device-tree/model")
        .or(root.word("sys/firmware/devicetree/base/model"))
        .map(|_| if supply.percent.value().is_some() { Form::HandHeld } else { Form::Board });
    by_chassis.or(by_tree)
}
