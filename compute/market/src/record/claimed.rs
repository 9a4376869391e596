//! What a provider says about its machine. Nobody has checked it: a claim ranks and filters, it proves nothing.
//!
//! Spec: specs/0010-capability.md §3.

use super::{
    Error,
    sets::{EnergyMethod, Isa, Kernel, Kind, Layer, Set, Tier},
    text,
};
use crate::amount::Currency;
use alloy_primitives::{B256, U256, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};
use keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX;
use keystead_job::Class;
use serde::{Deserialize, Serialize};

/// Runtimes with their engines: there are two, more may come within a version.
pub const RUNTIMES_MAX: usize = 8;
/// Adapters of one machine: more than any board carries.
pub const ADAPTERS_MAX: usize = 32;
/// Prices: every kernel in four currencies.
pub const PRICES_MAX: usize = 16;
/// Units that one device runs at once.
pub const LANES_MAX: u16 = 1_024;
/// Speed, millions of operations a second: a thousand times the fastest machine known.
pub const SPEED_MOP_MAX: u64 = 1_000_000_000_000;
/// Memory or disk, MiB: one PiB.
pub const MEMORY_MIB_MAX: u64 = 1 << 30;
/// Power, milliwatts: 100 kW.
pub const POWER_MW_MAX: u32 = 100_000_000;
/// Carbon of a kilowatt-hour, grams: five times the worst grid.
pub const CARBON_G_MAX: u32 = 5_000;
/// Price of a million operations, smallest units of the currency: fits 64 bits with room to add.
pub const PRICE_PER_MOP_MAX: u64 = u64::MAX / 2;
/// Characters of a name.
pub const NAME_BYTES_MAX: usize = 64;
/// Words of software that runs kernels on the processor; a GPU of such a name is refused. A liar takes another name: the proof catches it.
pub const SOFTWARE_NAMES: [&str; 5] = ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "basic render"];

/// All claims of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claimed {
    /// Runtimes by name, strictly ascending; 1 to [`RUNTIMES_MAX`].
    pub runtimes: Vec<RuntimeClaim>,
    /// Job classes that are taken; not empty.
    pub classes: Set<Class>,
    /// The processor; device 0.
    pub processor: Processor,
    /// Adapters in the order of their device numbers, from 1; at most [`ADAPTERS_MAX`].
    pub adapters: Vec<Adapter>,
    /// Free disk for jobs, MiB, at most [`MEMORY_MIB_MAX`].
    pub disk_mib: u64,
    /// From the network, KiB a second.
    pub down_kib_per_s: u32,
    /// To the network, KiB a second.
    pub up_kib_per_s: u32,
    /// Where it stands and who runs it.
    pub place: Place,
    /// Layers between a job and the machine, as obtained.
    pub isolation: Set<Layer>,
    /// Strictly ascending by (tier, currency, kernel); 1 to [`PRICES_MAX`].
    pub prices: Vec<Price>,
    /// How joules are known, and the carbon of the supply.
    pub energy: Energy,
}

/// A runtime that passed the self-test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeClaim {
    /// `wasm/1`, `wgsl/1`, or one that this program does not know.
    pub name: String,
    /// Engine and version; results and fuel are comparable only between equal ones.
    pub engine: String,
}

/// Speed for one kind of work, measured by the provider itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Speed {
    /// The kind of work.
    pub kernel: Kernel,
    /// Of one lane, millions of operations a second, 1 to [`SPEED_MOP_MAX`].
    pub mop_per_s: u64,
}

/// The processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Processor {
    /// Instruction set.
    pub isa: Isa,
    /// Cores that jobs may use, at least 1.
    pub cores: u16,
    /// Memory that jobs may use, MiB, at most [`MEMORY_MIB_MAX`].
    pub memory_mib: u64,
    /// Units at once, 1 to [`LANES_MAX`].
    pub lanes: u16,
    /// Power while it works, milliwatts; 0 means unknown.
    pub power_mw: u32,
    /// Strictly ascending by kernel; empty if the processor takes no job.
    pub speeds: Vec<Speed>,
}

/// What an adapter has, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// Name as the driver gives it; hostile text, printable ASCII.
    pub name: String,
    /// Driver and the band of its version, as `[a-z0-9.-]`.
    pub driver: String,
    /// Memory, MiB, at most [`MEMORY_MIB_MAX`].
    pub memory_mib: u64,
    /// Largest buffer, bytes.
    pub buffer_bytes_max: u64,
    /// Largest storage binding, bytes.
    pub binding_bytes_max: u64,
    /// Iterations of one invocation that the canary saw counted right.
    pub loop_iterations_max: u32,
    /// Units at once, 1 to [`LANES_MAX`].
    pub lanes: u16,
    /// Power while it works, milliwatts; 0 means unknown.
    pub power_mw: u32,
    /// Strictly ascending by kernel; not empty.
    pub speeds: Vec<Speed>,
}

/// The sort of a real GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuKind {
    /// With memory of its own.
    Discrete,
    /// Sharing the processor's memory.
    Integrated,
    /// A share given by a hypervisor.
    Virtual,
}

/// The sort of a program that acts as a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SoftwareKind {
    /// A driver that compiles kernels for the processor.
    Cpu,
    /// An interpreter.
    Interpreter,
}

/// Something that runs `wgsl/1`. Software has no vendor and no architecture, so it cannot carry the claim of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "is")]
pub enum Adapter {
    /// A GPU.
    #[serde(rename_all = "camelCase")]
    Gpu {
        /// Its sort.
        kind: GpuKind,
        /// PCI vendor number, not zero.
        vendor: u32,
        /// Architecture, as `[a-z0-9.-]`.
        architecture: String,
        /// The rest.
        device: Device,
    },
    /// A program on the processor.
    #[serde(rename_all = "camelCase")]
    Software {
        /// Its sort.
        kind: SoftwareKind,
        /// The rest.
        device: Device,
    },
}

/// Where a machine stands and who runs it. Claimed; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// ISO 3166-1 country of two capital letters, or empty.
    pub country: String,
    /// What fails together: a house, a rack, a data centre; `[a-z0-9.-]`.
    pub zone: String,
    /// Who runs it; `[a-z0-9.-]`.
    pub operator: String,
}

/// A price that an order may rely on. Spec: specs/0010-capability.md §3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    /// The rules.
    pub tier: Tier,
    /// The currency.
    pub currency: Currency,
    /// The kind of work.
    pub kernel: Kernel,
    /// Of a million operations, smallest units, at most [`PRICE_PER_MOP_MAX`].
    pub per_mop: u64,
    /// Least for one unit of a job, smallest units, at most 10^24.
    pub per_unit_min: U256,
}

/// How joules are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Energy {
    /// The method.
    pub method: EnergyMethod,
    /// Carbon dioxide equivalent of a kilowatt-hour, grams, at most [`CARBON_G_MAX`]; 0 means unknown.
    pub carbon_g_per_kwh: u32,
    /// Where that figure is from, printable ASCII.
    pub source: String,
    /// The year of the figure; 0 means none.
    pub year: u16,
}

/// A hardware class by its id: equal ids mean equal vendor, architecture and driver band, so equal bits may be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HardwareClass(pub B256);

#[derive(RlpEncodable)]
struct ClassWire<'a> {
    vendor: u32,
    architecture: &'a str,
    driver: &'a str,
}

impl HardwareClass {
    /// `keccak256("keystead/hardware-class/v1" || rlp[vendor, architecture, driver])`.
    #[must_use]
    pub fn of(vendor: u32, architecture: &str, driver: &str) -> Self {
        let mut bytes = b"keystead/hardware-class/v1".to_vec();
        ClassWire { vendor, architecture, driver }.encode(&mut bytes);
        Self(keccak256(bytes))
    }
}

impl Adapter {
    /// What it is; software is never a GPU.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Gpu { kind: GpuKind::Discrete, .. } => Kind::Discrete,
            Self::Gpu { kind: GpuKind::Integrated, .. } => Kind::Integrated,
            Self::Gpu { kind: GpuKind::Virtual, .. } => Kind::Virtual,
            Self::Software { kind: SoftwareKind::Cpu, .. } => Kind::Cpu,
            Self::Software { kind: SoftwareKind::Interpreter, .. } => Kind::Interpreter,
        }
    }

    /// What every adapter has.
    #[must_use]
    pub const fn device(&self) -> &Device {
        match self {
            Self::Gpu { device, .. } | Self::Software { device, .. } => device,
        }
    }

    /// The class by which an audit chooses other hardware.
    #[must_use]
    pub fn hardware_class(&self) -> HardwareClass {
        match self {
            Self::Gpu { vendor, architecture, device, .. } => HardwareClass::of(*vendor, architecture, &device.driver),
            Self::Software { device, .. } => HardwareClass::of(0, "software", &device.driver),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let device = self.device();
        text::printable("adapter name", &device.name, 1)?;
        text::tag("driver", &device.driver, 1)?;
        text::range("memory_mib", device.memory_mib, 1, MEMORY_MIB_MAX)?;
        text::range("buffer_bytes_max", device.buffer_bytes_max, 4, MEMORY_MIB_MAX.saturating_mul(1 << 20))?;
        text::range("binding_bytes_max", device.binding_bytes_max, 4, device.buffer_bytes_max)?;
        text::range("lanes", u64::from(device.lanes), 1, u64::from(LANES_MAX))?;
        text::range("power_mw", u64::from(device.power_mw), 0, u64::from(POWER_MW_MAX))?;
        speeds(&device.speeds, 1, |kernel| kernel != Kernel::Wasm)?;
        if let Self::Gpu { vendor, architecture, .. } = self {
            text::tag("architecture", architecture, 1)?;
            text::range("vendor", u64::from(*vendor), 1, u64::from(u32::MAX))?;
            let name = device.name.to_ascii_lowercase();
            if SOFTWARE_NAMES.iter().any(|word| name.contains(word)) {
                return Err(Error::SoftwareAsGpu { name: device.name.clone() });
            }
        }
        Ok(())
    }
}

/// One RLP list for both kinds of adapter; software has vendor 0 and an empty architecture.
#[derive(RlpEncodable, RlpDecodable)]
struct AdapterWire {
    kind: Kind,
    vendor: u32,
    architecture: String,
    device: Device,
}

impl AdapterWire {
    fn of(adapter: &Adapter) -> Self {
        let (vendor, architecture) = match adapter {
            Adapter::Gpu { vendor, architecture, .. } => (*vendor, architecture.clone()),
            Adapter::Software { .. } => (0, String::new()),
        };
        Self { kind: adapter.kind(), vendor, architecture, device: adapter.device().clone() }
    }
}

impl Encodable for Adapter {
    fn encode(&self, out: &mut dyn BufMut) {
        AdapterWire::of(self).encode(out);
    }

    fn length(&self) -> usize {
        AdapterWire::of(self).length()
    }
}

impl Decodable for Adapter {
    fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let AdapterWire { kind, vendor, architecture, device } = AdapterWire::decode(bytes)?;
        let gpu = |kind| Ok(Self::Gpu { kind, vendor, architecture: architecture.clone(), device: device.clone() });
        let software = |kind| {
            if vendor != 0 || !architecture.is_empty() {
                return Err(alloy_rlp::Error::Custom("software with a vendor or an architecture"));
            }
            Ok(Self::Software { kind, device: device.clone() })
        };
        match kind {
            Kind::Discrete => gpu(GpuKind::Discrete),
            Kind::Integrated => gpu(GpuKind::Integrated),
            Kind::Virtual => gpu(GpuKind::Virtual),
            Kind::Cpu => software(SoftwareKind::Cpu),
            Kind::Interpreter => software(SoftwareKind::Interpreter),
            Kind::Processor => Err(alloy_rlp::Error::Custom("a processor among the adapters")),
        }
    }
}

impl Claimed {
    /// Checks every bound and order of specs/0010-capability.md §3.
    pub(super) fn check(&self) -> Result<(), Error> {
        text::count("runtimes", self.runtimes.len(), 1, RUNTIMES_MAX)?;
        for runtime in &self.runtimes {
            text::printable("runtime", &runtime.name, 1)?;
            text::printable("engine", &runtime.engine, 1)?;
        }
        text::ascending("runtimes", self.runtimes.iter().map(|runtime| &runtime.name))?;
        text::count("classes", self.classes.iter().count(), 1, usize::MAX)?;
        self.processor.check()?;
        text::count("adapters", self.adapters.len(), 0, ADAPTERS_MAX)?;
        self.adapters.iter().try_for_each(Adapter::check)?;
        text::range("disk_mib", self.disk_mib, 0, MEMORY_MIB_MAX)?;
        text::country(&self.place.country)?;
        text::tag("zone", &self.place.zone, 0)?;
        text::tag("operator", &self.place.operator, 0)?;
        text::count("prices", self.prices.len(), 1, PRICES_MAX)?;
        for price in &self.prices {
            text::range("per_mop", price.per_mop, 0, PRICE_PER_MOP_MAX)?;
            if price.per_unit_min > PRICE_WEI_PER_UNIT_MAX {
                return Err(Error::PriceTooHigh { got: price.per_unit_min });
            }
        }
        text::ascending("prices", self.prices.iter().map(|price| (price.tier, price.currency, price.kernel)))?;
        text::printable("energy source", &self.energy.source, 0)?;
        text::range("carbon_g_per_kwh", u64::from(self.energy.carbon_g_per_kwh), 0, u64::from(CARBON_G_MAX))
    }

    /// The engine of a runtime, if it is offered.
    #[must_use]
    pub fn engine(&self, runtime: &str) -> Option<&str> {
        self.runtimes.iter().find(|claim| claim.name == runtime).map(|claim| claim.engine.as_str())
    }
}

impl Processor {
    fn check(&self) -> Result<(), Error> {
        text::range("cores", u64::from(self.cores), 1, u64::from(u16::MAX))?;
        text::range("memory_mib", self.memory_mib, 1, MEMORY_MIB_MAX)?;
        text::range("lanes", u64::from(self.lanes), 1, u64::from(LANES_MAX))?;
        text::range("power_mw", u64::from(self.power_mw), 0, u64::from(POWER_MW_MAX))?;
        speeds(&self.speeds, 0, |kernel| kernel == Kernel::Wasm)
    }
}

fn speeds(speeds: &[Speed], least: usize, fits: impl Fn(Kernel) -> bool) -> Result<(), Error> {
    text::count("speeds", speeds.len(), least, Kernel::ALL.len())?;
    for speed in speeds {
        text::range("mop_per_s", speed.mop_per_s, 1, SPEED_MOP_MAX)?;
        if !fits(speed.kernel) {
            return Err(Error::WrongKernel { kernel: speed.kernel });
        }
    }
    text::ascending("speeds", speeds.iter().map(|speed| speed.kernel))
}
