//! What a machine can do, as its own self-test found it: claimed, not proved.

use crate::isolation::Isolation;
use serde::{Deserialize, Serialize};

/// The result of a runtime's self-test. JSON with camelCase keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTest {
    /// `wasm/1` or `wgsl/1`.
    pub runtime: keystead_job::Runtime,
    /// The engine with its version and configuration; part of every result report.
    pub engine: String,
    /// A kernel with a known answer gave this answer.
    pub known_answer: bool,
    /// The best adapter that passed, or the best one if none did; `None` for `wasm/1`.
    pub device: Option<Device>,
    /// Every adapter that a driver lists: those that are used, best first, then the others. Empty for `wasm/1`.
    pub adapters: Vec<String>,
    /// The adapters that passed, best first, at most 16. Empty for `wasm/1`, where none did, on the interpreter, and in reports of older versions.
    #[serde(default)]
    pub cards: Vec<Tested>,
    /// How long the self-test took, ms.
    pub took_ms: u64,
    /// Memory that one job may declare here, bytes. `u64::MAX` in reports of older versions, inside the worker, and where the system does not say
    /// what it has.
    #[serde(default = "unknown")]
    pub memory_bytes_max: u64,
    /// What the worker was confined by. Empty in reports of older versions, and inside the worker.
    #[serde(default)]
    pub isolation: Isolation,
}

const fn unknown() -> u64 {
    u64::MAX
}

impl SelfTest {
    /// The adapters that may run jobs, best first, each with its place among those of this machine.
    #[must_use]
    pub fn devices(&self) -> Vec<(u8, &Device)> {
        let listed: Vec<(u8, &Device)> = self.cards.iter().map(|card| (card.place, &card.device)).collect();
        // Reports of older versions name the best alone.
        if listed.is_empty() { self.device.iter().map(|device| (0, device)).collect() } else { listed }
    }
}

/// An adapter that passed its self-test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tested {
    /// Its place among the adapters of this machine, from 0: by it a worker finds it.
    pub place: u8,
    /// What it calls itself, with its driver.
    pub summary: String,
    /// What it allows.
    pub device: Device,
}

/// An adapter and what it allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The driver's name for it; can be spoofed by the owner. `interpreter` where there is no driver.
    pub name: String,
    /// Vulkan, Metal or Dx12; `none` for the interpreter.
    pub backend: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// The driver's name.
    pub driver: String,
    /// The driver's version text.
    pub driver_info: String,
    /// PCI vendor id.
    pub vendor_id: u32,
    /// PCI device id.
    pub device_id: u32,
    /// Largest buffer that a kernel can bind, bytes.
    pub binding_bytes_max: u64,
    /// Largest buffer, bytes.
    pub buffer_bytes_max: u64,
    /// Memory that a workgroup can share, bytes.
    pub workgroup_bytes_max: u32,
    /// Invocations of one workgroup.
    pub workgroup_invocations_max: u32,
    /// Loop iterations that an invocation was seen to run correctly: 70,000 or more is written as 70,000.
    pub max_loop_iterations: u32,
    /// A loop of 70,000 iterations.
    pub long_loops: Loops,
    /// Loops in which the lanes of a group work at different times, each well below the format's bound.
    pub divergent_loops: Loops,
}

/// How a driver treated a loop that is hard for it (lavapipe ends all loops of a shader after 65,535 rounds in total, without a word).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loops {
    /// The loop ran to its end.
    Whole,
    /// The driver ended it early, and the marks in the kernel noticed: such a unit fails, with no output.
    CutShortNoticed,
    /// The result was wrong without a sign: this machine must not run kernels.
    Wrong,
}

/// The kind of an adapter, as its driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A card with its own memory.
    Discrete,
    /// Shares memory with the processor.
    Integrated,
    /// A slice of a card in a virtual machine.
    Virtual,
    /// The driver does not say.
    Other,
    /// The processor; never to be offered as a GPU.
    Cpu,
    /// No adapter at all: kernels are interpreted, hundreds of times slower. Right for a check of a few workgroups, too slow to earn with.
    Reference,
}

impl DeviceKind {
    /// Whether it may be offered as a GPU.
    #[must_use]
    pub const fn is_gpu(self) -> bool {
        matches!(self, Self::Discrete | Self::Integrated | Self::Virtual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_or_an_unknown_device_is_never_a_gpu_and_ranks_behind_every_gpu() {
        use DeviceKind::{Cpu, Discrete, Integrated, Other, Reference, Virtual};
        assert!([Discrete, Integrated, Virtual].into_iter().all(DeviceKind::is_gpu));
        assert!(![Other, Cpu, Reference].into_iter().any(DeviceKind::is_gpu));
        assert!(Discrete < Integrated && Integrated < Virtual && Virtual < Other && Other < Cpu && Cpu < Reference);
    }
}
