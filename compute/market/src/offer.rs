//! One offer: a device of a provider at a price in one currency, put together from its listing, its record and what was proved.

use crate::{
    amount::Currency,
    band::{Band, Bands},
    need::Country,
    record::{
        Proved, Record,
        claimed::Speed,
        sets::{Isa, Kernel, Kind, Layer, Set, Tier},
    },
};
use alloy_primitives::{Address, B256, U256};
use keystead_contracts::bindings::providers::IProviders;
use keystead_job::{Class, Runtime};

/// Kinds of work, as array length.
pub const KERNELS: usize = Kernel::ALL.len();

/// The place of a kind of work in arrays.
#[must_use]
pub const fn kernel_index(kernel: Kernel) -> usize {
    match kernel {
        Kernel::Wasm => 0,
        Kernel::Integer => 1,
        Kernel::Float => 2,
        Kernel::Memory => 3,
    }
}

/// What names an offer: the order of keys decides between equal costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The provider's account.
    pub provider: Address,
    /// 0 is the processor, then the adapters of its record.
    pub device: u8,
    /// What it is paid in.
    pub currency: Currency,
}

/// A provider as the register has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The account.
    pub account: Address,
    /// Its node on the data network.
    pub node_id: B256,
    /// Hash of its capability record; zero means none.
    pub capability_hash: B256,
    /// Least price of a unit, wei.
    pub price_wei_per_unit: u128,
    /// Whether it takes orders.
    pub offering: bool,
    /// Free bond, wei: what can be locked behind new work.
    pub stake_wei: u128,
}

impl From<&IProviders::Listing> for Listed {
    fn from(listing: &IProviders::Listing) -> Self {
        let IProviders::Listing { account, provider, bondWei: bond_wei } = listing;
        Self {
            account: *account,
            node_id: provider.nodeId,
            capability_hash: provider.capabilityHash,
            price_wei_per_unit: provider.priceWeiPerUnit,
            offering: provider.offering,
            stake_wei: *bond_wei,
        }
    }
}

/// How a provider's leased orders ended, from the market's public counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Accepted and settled.
    pub completed: u32,
    /// Rejected, expired and abandoned.
    pub failed: u32,
}

impl History {
    /// What a reader believes of public counts: they can make a provider look worse than a newcomer, never better. An owner who trades with itself
    /// gains what a new account gains, which is nothing. Spec: specs/0010-capability.md §8.
    #[must_use]
    pub const fn believed(self) -> Self {
        if self.completed >= self.failed { Self { completed: 0, failed: 0 } } else { self }
    }

    /// Probability of failure in 2^-20, with a prior of one success and one failure.
    #[must_use]
    pub fn failure_q20(self) -> u32 {
        let all = u64::from(self.completed).saturating_add(u64::from(self.failed)).saturating_add(2);
        let failed = u64::from(self.failed).saturating_add(1);
        u32::try_from(failed.wrapping_shl(20).checked_div(all).unwrap_or(1 << 20)).unwrap_or(1 << 20)
    }
}

/// One offer before it enters the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub key: Key,
    /// The provider's node.
    pub node_id: B256,
    /// Whether orders are taken.
    pub offering: bool,
    /// Free bond, wei.
    pub stake_wei: u128,
    /// Least price of a unit, smallest units of the currency.
    pub per_unit_min: u128,
    /// Price of a million operations, by kind of work; none means not sold.
    pub per_mop: [Option<u64>; KERNELS],
    /// Millions of operations a second of one lane, by kind of work.
    pub speed_mop_per_s: [Option<u64>; KERNELS],
    /// The runtime of this device.
    pub runtime: Runtime,
    /// Its engine.
    pub engine: String,
    /// Classes taken.
    pub classes: Set<Class>,
    /// What the device is.
    pub kind: Kind,
    /// The processor's instruction set.
    pub isa: Isa,
    /// Layers of isolation.
    pub isolation: Set<Layer>,
    /// Memory, bytes, as claimed.
    pub memory_bytes: u64,
    /// Largest storage binding, bytes; all memory for the processor.
    pub binding_bytes: u64,
    /// Loop iterations of one invocation; no bound for the processor.
    pub loop_iterations: u32,
    /// Units at once.
    pub lanes: u16,
    /// Power while working, milliwatts, claimed; 0 means not said.
    pub power_mw: u32,
    /// Carbon of a kilowatt-hour, grams, claimed; 0 means not said.
    pub carbon_g_per_kwh: u32,
    /// From the network, bytes a second, as claimed.
    pub down_bytes_per_s: u64,
    /// To the network, bytes a second, as claimed.
    pub up_bytes_per_s: u64,
    /// Country, claimed.
    pub country: Option<Country>,
    /// Whether a credential that the caller verified says the same.
    pub country_attested: bool,
    /// What fails together; empty means unknown.
    pub zone: String,
    /// Who runs it; empty means unknown.
    pub operator: String,
    /// What is proved of this device.
    pub proved: Bands,
    /// How its orders ended.
    pub history: History,
}

impl Offer {
    /// All offers of a provider: each device with a speed, in each currency with a price. `proved` are the measurements that the caller
    /// believes ([`Record::proved`]); those of other providers are left out. The register's price is the least for KST.
    #[must_use]
    pub fn all(listed: &Listed, record: &Record, proved: &[Proved], history: History) -> Vec<Self> {
        let currencies: std::collections::BTreeSet<Currency> =
            record.claimed.prices.iter().map(|price| price.currency).collect();
        let mut offers = Vec::new();
        for currency in currencies {
            offers.extend(processor(record).into_iter().chain(adapters(record)).map(|mut offer| {
                offer.key = Key { provider: listed.account, device: offer.key.device, currency };
                offer.node_id = listed.node_id;
                offer.offering = listed.offering;
                offer.stake_wei = listed.stake_wei;
                offer.history = history;
                offer.set_prices(record, listed.price_wei_per_unit);
                offer.set_proved(proved);
                offer
            }));
        }
        offers.retain(|offer| offer.per_mop.iter().zip(offer.speed_mop_per_s).any(|(a, b)| a.is_some() && b.is_some()));
        offers
    }

    fn set_prices(&mut self, record: &Record, listed_wei: u128) {
        let currency = self.key.currency;
        self.per_unit_min = if currency == Currency::KST { listed_wei } else { 0 };
        for price in record.claimed.prices.iter().filter(|price| price.currency == currency) {
            let Tier::Standard = price.tier;
            self.per_mop[kernel_index(price.kernel)] = Some(price.per_mop);
            // One least price for all kinds of work of a device: the highest of those that it sells.
            if self.speed_mop_per_s[kernel_index(price.kernel)].is_some() {
                self.per_unit_min = self.per_unit_min.max(saturated(price.per_unit_min));
            }
        }
    }

    /// Takes over what is proved; a claimed speed counts only up to the end of the proved band.
    fn set_proved(&mut self, proved: &[Proved]) {
        let mine = |statement: &&crate::record::Statement| {
            statement.provider == self.key.provider && statement.device == self.key.device
        };
        let Some(statement) = proved.iter().map(Proved::statement).filter(mine).max_by_key(|s| s.time_s) else {
            return;
        };
        self.proved = statement.bands;
        let end = self.proved.throughput.map(|band| {
            Band::new(band.number().saturating_add(1)).map_or(u64::MAX, |above| above.at_least().saturating_sub(1))
        });
        let speed = &mut self.speed_mop_per_s[kernel_index(Kernel::Integer)];
        *speed = speed.map(|claimed| claimed.min(end.unwrap_or(u64::MAX)).max(1));
    }
}

fn saturated(amount: U256) -> u128 {
    u128::try_from(amount).unwrap_or(u128::MAX)
}

fn speeds(list: &[Speed]) -> [Option<u64>; KERNELS] {
    let mut by_kernel = [None; KERNELS];
    for speed in list {
        by_kernel[kernel_index(speed.kernel)] = Some(speed.mop_per_s);
    }
    by_kernel
}

const MIB: u64 = 1 << 20;

/// What all devices of a record share; the rest is filled in by the callers.
fn base(record: &Record, runtime: Runtime, engine: &str) -> Offer {
    let claimed = &record.claimed;
    let country = <Country>::try_from(claimed.place.country.as_bytes()).ok();
    Offer {
        key: Key { provider: record.provider, device: 0, currency: Currency::KST },
        node_id: B256::ZERO,
        offering: false,
        stake_wei: 0,
        per_unit_min: 0,
        per_mop: [None; KERNELS],
        speed_mop_per_s: speeds(&claimed.processor.speeds),
        runtime,
        engine: engine.to_owned(),
        classes: claimed.classes,
        kind: Kind::Processor,
        isa: claimed.processor.isa,
        isolation: claimed.isolation,
        memory_bytes: claimed.processor.memory_mib.saturating_mul(MIB),
        binding_bytes: claimed.processor.memory_mib.saturating_mul(MIB),
        loop_iterations: u32::MAX,
        lanes: claimed.processor.lanes,
        power_mw: claimed.processor.power_mw,
        carbon_g_per_kwh: claimed.energy.carbon_g_per_kwh,
        down_bytes_per_s: u64::from(claimed.down_kib_per_s).saturating_mul(1_024),
        up_bytes_per_s: u64::from(claimed.up_kib_per_s).saturating_mul(1_024),
        country,
        country_attested: false,
        zone: claimed.place.zone.clone(),
        operator: claimed.place.operator.clone(),
        proved: Bands::default(),
        history: History::default(),
    }
}

fn processor(record: &Record) -> Option<Offer> {
    let engine = record.claimed.engine(Runtime::Wasm1.as_str())?;
    Some(base(record, Runtime::Wasm1, engine))
}

fn adapters(record: &Record) -> Vec<Offer> {
    let Some(engine) = record.claimed.engine(Runtime::Wgsl1.as_str()) else { return Vec::new() };
    let numbered = (1u8..).zip(&record.claimed.adapters);
    let offer = |(number, adapter): (u8, &crate::record::Adapter)| {
        let device = adapter.device();
        let base = base(record, Runtime::Wgsl1, engine);
        Offer {
            key: Key { device: number, ..base.key },
            speed_mop_per_s: speeds(&device.speeds),
            kind: adapter.kind(),
            memory_bytes: device.memory_mib.saturating_mul(MIB),
            binding_bytes: device.binding_bytes_max.min(device.buffer_bytes_max),
            loop_iterations: device.loop_iterations_max,
            lanes: device.lanes,
            power_mw: device.power_mw,
            ..base
        }
    };
    numbered.map(offer).collect()
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
mod tests {
    use super::*;

    /// The row "self-dealing for reputation" of the attack table: a thousand orders with oneself count as none.
    #[test]
    fn self_dealing_for_reputation_gains_nothing() {
        let newcomer = History::default().failure_q20();
        let dealer = History { completed: 1_000, failed: 0 };
        assert!(dealer.failure_q20() < newcomer, "unfiltered it would gain");
        assert_eq!(dealer.believed().failure_q20(), newcomer);
        // It does not wash away failures below the standing of a newcomer either, beyond what a new account would give.
        let washed = History { completed: 1_000, failed: 10 };
        assert_eq!(washed.believed().failure_q20(), newcomer);
        let bad = History { completed: 3, failed: 9 };
        assert_eq!(bad.believed(), bad);
        assert!(bad.believed().failure_q20() > newcomer);
        let even = History { completed: 5, failed: 5 };
        assert_eq!(even.believed(), History::default());
    }
}
