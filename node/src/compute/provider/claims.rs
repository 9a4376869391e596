//! What this machine says of itself in its capability record: from what was tested, measured and read, and from what its owner typed.
//!
//! # Design
//! A pure function of its inputs, so that machines of all sorts stand in tests. Nothing is rounded up: a layer counts if every runtime's worker has it, a
//! driver that does not say what it drives drives no GPU, and what is not known is zero or absent. Spec: specs/0010-capability.md §3.
//!
//! # Invariants
//! Software never carries the claim of a GPU, whatever the driver says.

use super::self_test::{Capability, Card as Tested};
use crate::cli::Provide;
use alloy_primitives::U256;
use keystead_job::Class;
use keystead_market::{
    Currency,
    record::{
        Adapter, Claimed,
        claimed::{
            Device, Energy, GpuKind, NAME_BYTES_MAX, Place, Price, Processor, RuntimeClaim, SOFTWARE_NAMES,
            SoftwareKind, Speed,
        },
        sets::{EnergyMethod, Isa, Kernel, Layer, Set, Tier},
    },
};
use keystead_owner::probe::{Machine, graphics::Card};
use keystead_runner::{Device as Found, DeviceKind, Layer as Obtained, SelfTest, Speed as Measured, Work};
use std::collections::{BTreeMap, BTreeSet};

/// Units at once: one job has the machine, and its units run one after the other.
pub(super) const LANES: u16 = 1;
/// Memory of a machine that does not say how much it has, MiB.
const MEMORY_MIB_UNKNOWN: u64 = 1_024;
const MIB: u64 = 1 << 20;
/// Words of an engine's name before the device that it runs on.
const ENGINE_WORDS: usize = 3;

/// All claims. The record's own check comes after it.
pub(super) fn claims(options: &Provide, capability: &Capability, machine: &Machine, cores: u16) -> Claimed {
    let adapters: Vec<Adapter> =
        capability.cards().iter().map(|card| adapter(options, card, capability, machine)).collect();
    let mut runtimes: Vec<RuntimeClaim> = capability.tests.iter().map(runtime).collect();
    runtimes.sort_by(|a, b| a.name.cmp(&b.name));
    let processor = Processor {
        isa: isa(std::env::consts::ARCH, machine.processors.flags.value().map_or(&[][..], Vec::as_slice)),
        cores: cores.max(1),
        memory_mib: memory_mib(capability, machine),
        lanes: LANES,
        power_mw: 0,
        speeds: speeds(capability.speeds.iter().filter(|speed| speed.work == Work::Wasm)),
    };
    let prices = prices(options, &processor, &adapters);
    Claimed {
        runtimes,
        classes: Set::of(&[Class::Exact, Class::SelfChecking, Class::Tolerance]),
        processor,
        adapters,
        disk_mib: options.store,
        down_kib_per_s: options.claims.down_kib_per_s,
        up_kib_per_s: options.claims.up_kib_per_s,
        place: Place {
            country: options.claims.country.clone(),
            zone: options.claims.zone.clone(),
            operator: options.claims.operator.clone(),
        },
        isolation: isolation(&capability.tests),
        prices,
        energy: Energy { method: energy(machine), carbon_g_per_kwh: 0, source: String::new(), year: 0 },
    }
}

fn runtime(test: &SelfTest) -> RuntimeClaim {
    let engine: Vec<&str> = test.engine.split(' ').take(ENGINE_WORDS).collect();
    // The architecture stands in the record's instruction set.
    RuntimeClaim { name: test.runtime.as_str().to_owned(), engine: printable(&engine.join(" "), "unknown") }
}

fn memory_mib(capability: &Capability, machine: &Machine) -> u64 {
    let read = || machine.memory.total.value().copied();
    capability.memory_bytes().or_else(read).map_or(MEMORY_MIB_UNKNOWN, |bytes| bytes / MIB).max(1)
}

/// What was measured, by kernel.
fn speeds<'a>(measured: impl Iterator<Item = &'a Measured>) -> Vec<Speed> {
    let mut speeds: Vec<Speed> =
        measured.map(|speed| Speed { kernel: kernel(speed.work), mop_per_s: speed.mop_per_s }).collect();
    speeds.sort_by_key(|speed| speed.kernel);
    speeds
}

pub(super) const fn kernel(work: Work) -> Kernel {
    match work {
        Work::Wasm => Kernel::Wasm,
        Work::Integer => Kernel::Integer,
        Work::Float => Kernel::Float,
        Work::Memory => Kernel::Memory,
    }
}

/// One adapter that may run jobs.
fn adapter(options: &Provide, tested: &Tested<'_>, capability: &Capability, machine: &Machine) -> Adapter {
    let (found, number) = (tested.device, tested.number);
    let speeds = speeds(tested.speeds.iter());
    let (kind, card) = (real_gpu(found), card_of(found, machine));
    let memory_mib = match kind {
        // Of a card whose memory nobody names what a proof is to show of it. Its largest buffer is the driver's bound, on small cards and large ones.
        Some(GpuKind::Discrete | GpuKind::Virtual) => {
            own_memory_mib(card).unwrap_or_else(|| options.proving.memory_mib(number))
        }
        Some(GpuKind::Integrated) | None => memory_mib(capability, machine),
    };
    let power = card.filter(|_| kind.is_some()).and_then(|card| card.milliwatts_max.value().copied());
    let device = Device {
        name: name_of(found),
        driver: tag(&format!("{} {}", found.driver, found.driver_info), "unknown"),
        memory_mib: memory_mib.max(1),
        buffer_bytes_max: found.buffer_bytes_max.max(4),
        binding_bytes_max: found.binding_bytes_max.min(found.buffer_bytes_max).max(4),
        loop_iterations_max: found.max_loop_iterations,
        lanes: LANES,
        power_mw: power.and_then(|power| u32::try_from(power).ok()).unwrap_or(0),
        speeds,
    };
    match kind {
        Some(kind) => {
            Adapter::Gpu { kind, vendor: found.vendor_id, architecture: format!("pci-{:04x}", found.device_id), device }
        }
        None => Adapter::Software { kind: software_kind(found.kind), device },
    }
}

/// What the owner should hear of cards whose memory nobody names: nothing of one of which somebody does, or that has none of its own.
pub(super) fn unknown_memory(options: &Provide, capability: &Capability, machine: &Machine) -> Vec<String> {
    capability.cards().iter().filter_map(|card| unknown_memory_of(options, card, machine)).collect()
}

fn unknown_memory_of(options: &Provide, tested: &Tested<'_>, machine: &Machine) -> Option<String> {
    let (found, number) = (tested.device, tested.number);
    let is_own = matches!(real_gpu(found), Some(GpuKind::Discrete | GpuKind::Virtual));
    if !is_own || own_memory_mib(card_of(found, machine)).is_some() {
        return None;
    }
    let (name, mib) = (name_of(found), options.proving.memory_mib(number));
    Some(format!(
        "nobody says how much memory {name} has (of NVIDIA's cards their driver's nvidia-smi does): the record claims {mib} MiB, which a proof is to \
         show; --prove-memory {number}=MIB claims more"
    ))
}

fn name_of(found: &Found) -> String {
    printable(&found.name, "unnamed")
}

/// The sort of a real GPU; none of a program that acts as one.
fn real_gpu(found: &Found) -> Option<GpuKind> {
    let name = name_of(found).to_ascii_lowercase();
    let is_software = SOFTWARE_NAMES.iter().any(|word| name.contains(word));
    if is_software || found.vendor_id == 0 { None } else { gpu(found.kind) }
}

fn card_of<'m>(found: &Found, machine: &'m Machine) -> Option<&'m Card> {
    machine.cards.iter().find(|card| is_card(card, found.vendor_id, found.device_id))
}

/// What a card says of its own memory, MiB.
fn own_memory_mib(card: Option<&Card>) -> Option<u64> {
    card.and_then(|card| card.memory_bytes.value().copied()).map(|bytes| bytes / MIB)
}

const fn gpu(kind: DeviceKind) -> Option<GpuKind> {
    match kind {
        DeviceKind::Discrete => Some(GpuKind::Discrete),
        DeviceKind::Integrated => Some(GpuKind::Integrated),
        DeviceKind::Virtual => Some(GpuKind::Virtual),
        DeviceKind::Other | DeviceKind::Cpu | DeviceKind::Reference => None,
    }
}

const fn software_kind(kind: DeviceKind) -> SoftwareKind {
    if matches!(kind, DeviceKind::Reference) { SoftwareKind::Interpreter } else { SoftwareKind::Cpu }
}

fn is_card(card: &Card, vendor: u32, device: u32) -> bool {
    card.ids.value().is_some_and(|ids| ids.eq_ignore_ascii_case(&format!("{vendor:#06x}:{device:#06x}")))
}

/// A price for every kind of work that some device has a speed for, in KST and in each token that the owner lists (specs/0004 §4, 9).
fn prices(options: &Provide, processor: &Processor, adapters: &[Adapter]) -> Vec<Price> {
    let all = adapters.iter().flat_map(|adapter| &adapter.device().speeds).chain(&processor.speeds);
    let kernels: BTreeSet<Kernel> = all.map(|speed| speed.kernel).collect();
    let native = (Currency::KST, (options.claims.price_per_mop, U256::from(options.price)));
    let tokens = options.claims.token_price.iter();
    let tokens = tokens.map(|price| (Currency::token(price.token), (price.per_mop, price.per_unit)));
    // In the order of a record.
    let currencies: BTreeMap<Currency, (u64, U256)> = tokens.chain([native]).collect();
    let mut prices = Vec::new();
    for (currency, (per_mop, per_unit_min)) in currencies {
        let of = |kernel: &Kernel| Price { tier: Tier::Standard, currency, kernel: *kernel, per_mop, per_unit_min };
        prices.extend(kernels.iter().map(of));
    }
    prices
}

/// Layers that the workers of every runtime have.
fn isolation(tests: &[SelfTest]) -> Set<Layer> {
    let of = |layer: Obtained| match layer {
        Obtained::UserNamespace => Some(Layer::UserNamespace),
        Obtained::Seccomp => Some(Layer::Seccomp),
        Obtained::Landlock => Some(Layer::Landlock),
        Obtained::ResourceLimits => Some(Layer::Rlimits),
        Obtained::Cgroup => Some(Layer::Cgroup),
        Obtained::NetworkNamespace => Some(Layer::NoNetwork),
        _ => None,
    };
    let held = Obtained::ALL.into_iter().filter(|layer| tests.iter().all(|test| test.isolation.has(*layer)));
    held.filter_map(of).fold(Set::of(&[Layer::Process]), Set::with)
}

fn energy(machine: &Machine) -> EnergyMethod {
    let counted = machine.counters.value().is_some_and(|all| all.iter().any(|one| one.microjoules.value().is_some()));
    let card = machine.cards.iter().any(|card| card.milliwatts.value().is_some());
    match (counted, card) {
        (true, _) => EnergyMethod::Rapl,
        (false, true) => EnergyMethod::Gpu,
        (false, false) => EnergyMethod::Unknown,
    }
}

/// The highest level of an instruction set of which the kernel names every flag. A level that only the maker's manual promises does not count.
fn isa(architecture: &str, flags: &[String]) -> Isa {
    let has = |wanted: &[&str]| wanted.iter().all(|flag| flags.iter().any(|named| named == flag));
    match architecture {
        "aarch64" if has(&["sve"]) => Isa::Arm64Sve,
        "aarch64" => Isa::Arm64,
        "riscv64" => Isa::Riscv64,
        _ => {
            let second = has(&["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"]);
            let third = second && has(&["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"]);
            let fourth = third && has(&["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]);
            match (second, third, fourth) {
                (.., true) => Isa::X86V4,
                (_, true, _) => Isa::X86V3,
                (true, ..) => Isa::X86V2,
                _ => Isa::X86V1,
            }
        }
    }
}

/// Text as a record takes it: printable, without space at its ends, cut to its bound; `instead` if nothing is left.
fn printable(text: &str, instead: &str) -> String {
    let clean: String =
        text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(NAME_BYTES_MAX).collect();
    let clean = clean.trim();
    if clean.is_empty() { instead.to_owned() } else { clean.to_owned() }
}

/// Text as a tag: lower case, everything else than letters, digits and points becomes one dash.
fn tag(text: &str, instead: &str) -> String {
    let mut tag = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' | '.' => tag.push(c),
            _ if tag.ends_with('-') || tag.is_empty() => {}
            _ => tag.push('-'),
        }
        if tag.len() >= NAME_BYTES_MAX {
            break;
        }
    }
    let tag = tag.trim_end_matches('-');
    if tag.is_empty() { instead.to_owned() } else { tag.to_owned() }
}

/// The new claims with the old speeds and powers where these differ by a quarter at most: a measurement varies, and each change of the record is a transaction.
pub(super) fn settled(mut new: Claimed, old: &Claimed) -> Claimed {
    let near = |new: u64, old: u64| {
        new.saturating_mul(4) >= old.saturating_mul(3) && new.saturating_mul(4) <= old.saturating_mul(5)
    };
    let settle = |new: &mut [Speed], old: &[Speed]| {
        for speed in new {
            let before = old.iter().find(|before| before.kernel == speed.kernel).map(|before| before.mop_per_s);
            speed.mop_per_s = before.filter(|before| near(speed.mop_per_s, *before)).unwrap_or(speed.mop_per_s);
        }
    };
    let settle_power = |new: &mut u32, old: u32| {
        if *new != 0 && near(u64::from(*new), u64::from(old)) {
            *new = old;
        }
    };
    settle(&mut new.processor.speeds, &old.processor.speeds);
    settle_power(&mut new.processor.power_mw, old.processor.power_mw);
    for (new, old) in new.adapters.iter_mut().zip(&old.adapters).filter(|(new, old)| same_device(new, old)) {
        let old = old.device();
        match new {
            Adapter::Gpu { device, .. } | Adapter::Software { device, .. } => {
                settle(&mut device.speeds, &old.speeds);
                settle_power(&mut device.power_mw, old.power_mw);
            }
        }
    }
    new
}

/// Whether both are the same device under the same driver.
fn same_device(new: &Adapter, old: &Adapter) -> bool {
    let (new_device, old_device) = (new.device(), old.device());
    new.kind() == old.kind()
        && new.hardware_class() == old.hardware_class()
        && new_device.name == old_device.name
        && new_device.memory_mib == old_device.memory_mib
}

/// Whether what was measured on each device still says something about the same one.
pub(super) fn same_devices(new: &Claimed, old: &Claimed) -> bool {
    let processors = (new.processor.isa, new.processor.cores) == (old.processor.isa, old.processor.cores);
    let adapters = new.adapters.len() == old.adapters.len()
        && new.adapters.iter().zip(&old.adapters).all(|(new, old)| same_device(new, old));
    processors && adapters
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
