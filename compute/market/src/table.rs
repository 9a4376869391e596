//! All offers as columns of numbers, kept up to date one change at a time, so that a plan reads only what it compares.
//!
//! # Design
//! A row is one [`Offer`]; rows move when another leaves, so nothing outside names a row by its number. Texts become 64-bit tags (the
//! first bytes of a hash), speeds and bandwidths become reciprocals, the small closed lists become one word of bits. The cheap tests of a
//! plan read few narrow columns; what survives them reads the rest.
//!
//! # Invariants
//! All columns have one length, at most [`OFFERS_MAX`]; `rows` names each key's row; no key is there twice.

use crate::{
    amount::Currency,
    band::Bands,
    carbon::Counted,
    need::Country,
    offer::{History, KERNELS, Key, Offer, kernel_index},
    record::{
        claimed::{CARBON_G_MAX, LANES_MAX, POWER_MW_MAX, PRICE_PER_MOP_MAX, SPEED_MOP_MAX},
        sets::{Kernel, Kind, Set},
    },
};
use alloy_primitives::{Address, B256, U256, keccak256};
use keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX;
use keystead_job::{Class, Runtime};
use std::collections::BTreeMap;

/// Offers in one table: about 400 bytes each with their place in the map of keys, so at most 400 MB.
pub const OFFERS_MAX: usize = 1_000_000;
/// Currencies that a table lists.
pub const CURRENCIES_MAX: usize = 64;
/// Blobs whose holders a table knows: one bit each.
pub const WATCHED_MAX: usize = 64;
/// Offers of one provider: 33 devices in the currencies of 16 prices.
pub const OFFERS_PER_PROVIDER_MAX: usize = 33 * 16;
/// Transfers shorter than this say nothing about bandwidth: they end before the line is full.
pub const TRANSFER_BYTES_MIN: u64 = 4 << 20;
/// Round trip of a provider that was never probed, microseconds.
pub const RTT_US_UNKNOWN: u32 = 150_000;
/// Bandwidth that a provider is believed before a transfer was seen, bytes a second: 10 Mbit/s, or less if it claims less.
pub const BANDWIDTH_UNKNOWN: u64 = 1_250_000;

/// Why a change of the table is refused. The table stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No room.
    #[error("table is full: offers={OFFERS_MAX}")]
    Full,
    /// One provider with more devices and currencies than a record can have.
    #[error("too many offers of one provider: provider={0} max={OFFERS_PER_PROVIDER_MAX}")]
    ProviderFull(Address),
    /// Not one of the table's currencies.
    #[error("currency is not listed: {0:?}")]
    CurrencyNotListed(Currency),
    /// A price above what can be ordered.
    #[error("price out of range: got={got}")]
    PriceOutOfRange {
        /// The price, smallest units.
        got: u128,
    },
    /// A number that no record can hold.
    #[error("out of range: {0}")]
    OutOfRange(&'static str),
    /// All bits are taken.
    #[error("too many watched blobs: max={WATCHED_MAX}")]
    TooManyWatched,
}

/// What a provider answered to a probe; hostile numbers that only rank and filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Time of the answer, milliseconds of the caller's clock, not 0.
    pub at_ms: u64,
    /// Round trip as the caller measured it, microseconds.
    pub rtt_us: u32,
    /// Time until a new unit would begin, microseconds.
    pub queue_us: u64,
    /// Free memory of the device, bytes.
    pub free_memory_bytes: u64,
    /// Which of the caller's watched blobs are there; at most [`WATCHED_MAX`] are read.
    pub blobs: Vec<B256>,
}

/// Which way bytes went, seen from the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the provider.
    Down,
    /// From the provider.
    Up,
}

/// A moving average of a bandwidth, with how much it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes a second; a quarter of every new transfer goes in.
    pub bytes_per_s: u64,
    /// Transfers seen; 0 means that the figure is the believed part of the claim.
    pub count: u32,
    /// Time of the last one, milliseconds of the caller's clock; the planner does not look at it.
    pub at_ms: u64,
}

impl Bandwidth {
    fn claimed(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.min(BANDWIDTH_UNKNOWN), count: 0, at_ms: 0 }
    }

    /// Takes a transfer of verified bytes in; whether it counts: shorter ones than [`TRANSFER_BYTES_MIN`], and those without a duration, say nothing.
    pub fn transferred(&mut self, bytes: u64, took_us: u64, at_ms: u64) -> bool {
        if bytes < TRANSFER_BYTES_MIN || took_us == 0 {
            return false;
        }
        let rate = u128::from(bytes).saturating_mul(1_000_000).checked_div(u128::from(took_us)).unwrap_or(0);
        self.take(u64::try_from(rate).unwrap_or(u64::MAX).max(1), at_ms);
        true
    }

    fn take(&mut self, sample: u64, at_ms: u64) {
        let old = u128::from(if self.count == 0 { sample } else { self.bytes_per_s });
        let mean = old.saturating_mul(3).saturating_add(u128::from(sample)).wrapping_shr(2);
        *self =
            Self { bytes_per_s: u64::try_from(mean).unwrap_or(u64::MAX), count: self.count.saturating_add(1), at_ms };
    }
}

/// The columns. One entry a row each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// Runtime, classes, kernels, kind, instruction set, isolation, offering, attested country, claimed carbon: see [`bits`].
    pub(crate) features: Vec<u64>,
    /// Memory that a unit may use, KiB: the lower of claimed and probed.
    pub(crate) memory_kib: Vec<u32>,
    pub(crate) binding_kib: Vec<u32>,
    pub(crate) loops: Vec<u32>,
    pub(crate) currency: Vec<u8>,
    pub(crate) engine: Vec<u64>,
    pub(crate) country: Vec<u16>,
    pub(crate) operator: Vec<u64>,
    pub(crate) zone: Vec<u64>,
    pub(crate) per_unit_min: Vec<u128>,
    pub(crate) per_mop: [Vec<u64>; KERNELS],
    /// Microseconds per million operations, times 2^32; 0 where there is no speed.
    pub(crate) slowness: [Vec<u64>; KERNELS],
    pub(crate) lanes: Vec<u16>,
    pub(crate) rtt_us: Vec<u32>,
    pub(crate) queue_us: Vec<u64>,
    /// Microseconds per byte, times 2^32.
    pub(crate) down: Vec<u64>,
    pub(crate) up: Vec<u64>,
    pub(crate) cached: Vec<u64>,
    pub(crate) failure_q20: Vec<u32>,
    /// Micrograms of carbon dioxide a second while working, as counted.
    pub(crate) carbon_ug_per_s: Vec<u32>,
    pub(crate) stake_wei: Vec<u128>,
    pub(crate) proved: Vec<Bands>,
    pub(crate) probed_at_ms: Vec<u64>,
    pub(crate) keys: Vec<Key>,
    pub(crate) nodes: Vec<B256>,
    memory_claimed_kib: Vec<u32>,
    /// As probed; all while there was no probe.
    memory_free_kib: Vec<u32>,
    links: Vec<[Bandwidth; 2]>,
}

/// Where the small lists lie in a row's word of features.
pub(crate) mod bits {
    pub(crate) const OFFERING: u64 = 1;
    pub(crate) const ATTESTED: u64 = 1 << 1;
    pub(crate) const WASM: u64 = 1 << 2;
    pub(crate) const WGSL: u64 = 1 << 3;
    pub(crate) const CLASS: u32 = 4;
    pub(crate) const KERNEL: u32 = 12;
    pub(crate) const KIND: u32 = 20;
    pub(crate) const ISA: u32 = 32;
    pub(crate) const ISOLATION: u32 = 48;
    /// Power and the supply's carbon are claimed.
    pub(crate) const CARBON: u64 = 1 << 60;
}

/// The offers that a customer knows.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) columns: Columns,
    rows: BTreeMap<Key, u32>,
    currencies: Vec<Currency>,
    watched: Vec<Option<B256>>,
}

/// Applies one expression to every column.
macro_rules! each_column {
    ($columns:expr, |$column:ident| $do:expr) => {{
        let columns = $columns;
        each_column!(@ $column, $do, columns.features, columns.memory_kib, columns.binding_kib, columns.loops,
            columns.currency, columns.engine, columns.country, columns.operator, columns.zone, columns.per_unit_min,
            columns.lanes, columns.rtt_us, columns.queue_us, columns.down, columns.up, columns.cached,
            columns.failure_q20, columns.carbon_ug_per_s, columns.stake_wei, columns.proved, columns.probed_at_ms,
            columns.keys, columns.nodes, columns.memory_claimed_kib, columns.memory_free_kib, columns.links);
        for kernel in 0..KERNELS {
            each_column!(@ $column, $do, columns.per_mop[kernel], columns.slowness[kernel]);
        }
    }};
    (@ $column:ident, $do:expr, $($field:expr),+) => {
        $({ let $column = &mut $field; $do; })+
    };
}

/// A tag of a text: 64 bits of a hash. Two texts with one tag cost 2^32 tries to make, and gain what an equal text gains.
pub(crate) fn tag(text: &[u8]) -> u64 {
    let hash = keccak256(text);
    u64::from_be_bytes(hash.0.first_chunk().copied().unwrap_or_default())
}

/// The tag of an operator; unknown operators are one for each provider.
pub(crate) fn operator_tag(operator: &str, provider: Address) -> u64 {
    if operator.is_empty() { tag(provider.as_slice()) } else { tag(operator.as_bytes()) }
}

/// The number of a country, 0 to 675; 676 for none.
pub(crate) fn country_number(country: Option<Country>) -> u16 {
    let letter = |byte: u8| byte.is_ascii_uppercase().then(|| u16::from(byte.wrapping_sub(b'A')));
    country.and_then(|[a, b]| Some(letter(a)?.wrapping_mul(26).wrapping_add(letter(b)?))).unwrap_or(COUNTRY_NONE)
}

/// The number of no country.
pub(crate) const COUNTRY_NONE: u16 = 676;

/// The country of a number.
pub(crate) fn country_of(number: u16) -> Option<Country> {
    let letter = |index: u16| u8::try_from(index).ok().map(|index| b'A'.wrapping_add(index));
    (number < COUNTRY_NONE).then_some(())?;
    Some([letter(number.wrapping_div(26))?, letter(number.wrapping_rem(26))?])
}

/// `ceil(2^32 * 1,000,000 / rate)`: microseconds per thing for things a second, in 2^-32. Zero counts as one a second.
pub(crate) fn reciprocal(per_second: u64) -> u64 {
    (1u64 << 32).wrapping_mul(1_000_000).div_ceil(per_second.max(1))
}

/// Microseconds of so many things at a reciprocal, rounded down; none of it overflows.
pub(crate) fn duration_us(things: u64, reciprocal: u64) -> u64 {
    let product = u128::from(things).wrapping_mul(u128::from(reciprocal)).wrapping_shr(32);
    u64::try_from(product).unwrap_or(u64::MAX)
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.wrapping_shr(10)).unwrap_or(u32::MAX)
}

impl Table {
    /// An empty table of offers in these currencies; KST is always listed. More than [`CURRENCIES_MAX`] are left out.
    #[must_use]
    pub fn new(listed: &[Currency]) -> Self {
        let mut currencies = vec![Currency::KST];
        for currency in listed {
            if !currencies.contains(currency) && currencies.len() < CURRENCIES_MAX {
                currencies.push(*currency);
            }
        }
        Self { columns: Columns::default(), rows: BTreeMap::new(), currencies, watched: vec![None; WATCHED_MAX] }
    }

    /// Offers in the table.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.columns.features.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.columns.features.is_empty()
    }

    /// Whether this offer is in the table.
    #[must_use]
    pub fn has(&self, key: Key) -> bool {
        self.rows.contains_key(&key)
    }

    /// The bandwidths that a plan goes by for an offer's provider: down, up. Those of which no transfer was seen are the believed part of its claim.
    #[must_use]
    pub fn bandwidths(&self, key: Key) -> Option<[Bandwidth; 2]> {
        self.columns.links.get(self.row(key)?).copied()
    }

    /// The offer with this key enters, or replaces the one that is there; what probes and transfers said of it stays.
    ///
    /// # Errors
    /// Every [`Error`] but [`Error::TooManyWatched`]; the table stays as it was.
    pub fn join(&mut self, offer: &Offer) -> Result<(), Error> {
        let currency = self.currency_number(offer.key.currency).ok_or(Error::CurrencyNotListed(offer.key.currency))?;
        check(offer)?;
        if let Some(row) = self.row(offer.key) {
            self.columns.set(row, offer, currency);
            return Ok(());
        }
        if self.len() >= OFFERS_MAX {
            return Err(Error::Full);
        }
        if self.rows_of(offer.key.provider).count() >= OFFERS_PER_PROVIDER_MAX {
            return Err(Error::ProviderFull(offer.key.provider));
        }
        let row = self.len();
        self.columns.push(offer.key);
        self.columns.set(row, offer, currency);
        // LOSSY: never, there are at most OFFERS_MAX rows.
        #[allow(clippy::cast_possible_truncation)]
        self.rows.insert(offer.key, row as u32);
        Ok(())
    }

    /// The offer leaves; whether it was there.
    pub fn leave(&mut self, key: Key) -> bool {
        let Some(row) = self.rows.remove(&key) else { return false };
        let at = row as usize;
        each_column!(&mut self.columns, |column| {
            column.swap_remove(at);
        });
        if let Some(moved) = self.columns.keys.get(at) {
            self.rows.insert(*moved, row);
        }
        true
    }

    /// All offers of a provider leave; how many there were.
    pub fn leave_provider(&mut self, provider: Address) -> usize {
        let keys: Vec<Key> = self.rows_of(provider).map(|(key, _)| key).collect();
        keys.into_iter().filter(|key| self.leave(*key)).count()
    }

    /// How the orders of a provider ended, for all of its offers.
    pub fn set_history(&mut self, provider: Address, history: History) {
        let rows: Vec<usize> = self.rows_of(provider).map(|(_, row)| row).collect();
        for row in rows {
            if let Some(failure) = self.columns.failure_q20.get_mut(row) {
                *failure = history.failure_q20();
            }
        }
    }

    /// A probe's answer for one device, in all currencies; whether the device is known.
    pub fn probed(&mut self, provider: Address, device: u8, probe: &Probe) -> bool {
        let mut cached = 0u64;
        for blob in probe.blobs.iter().take(WATCHED_MAX) {
            cached |= self.watch_bit(*blob).unwrap_or(0);
        }
        let rows: Vec<usize> =
            self.rows_of(provider).filter(|(key, _)| key.device == device).map(|(_, row)| row).collect();
        for row in &rows {
            self.columns.set_probe(*row, probe, cached);
        }
        !rows.is_empty()
    }

    /// What the caller's own transfers with a provider showed, down and up, for all of its offers: a direction of which none counted keeps what is believed of
    /// the claim.
    pub fn set_bandwidths(&mut self, provider: Address, seen: [Bandwidth; 2]) {
        let rows: Vec<usize> = self.rows_of(provider).map(|(_, row)| row).collect();
        for row in rows {
            self.columns.set_seen(row, seen);
        }
    }

    /// From now on probes say who holds this blob; until then nobody does.
    ///
    /// # Errors
    /// [`Error::TooManyWatched`]: stop watching another one.
    pub fn watch(&mut self, blob: B256) -> Result<(), Error> {
        if self.watch_bit(blob).is_some() {
            return Ok(());
        }
        let free = self.watched.iter_mut().find(|slot| slot.is_none()).ok_or(Error::TooManyWatched)?;
        *free = Some(blob);
        Ok(())
    }

    /// Nobody is asked about this blob any longer; its place is free.
    pub fn unwatch(&mut self, blob: B256) {
        let Some(bit) = self.watch_bit(blob) else { return };
        for cached in &mut self.columns.cached {
            *cached &= !bit;
        }
        for slot in &mut self.watched {
            if *slot == Some(blob) {
                *slot = None;
            }
        }
    }

    pub(crate) fn watch_bit(&self, blob: B256) -> Option<u64> {
        let slot = self.watched.iter().position(|watched| *watched == Some(blob))?;
        1u64.checked_shl(u32::try_from(slot).ok()?)
    }

    pub(crate) fn currency_number(&self, currency: Currency) -> Option<u8> {
        self.currencies.iter().position(|listed| *listed == currency).and_then(|at| u8::try_from(at).ok())
    }

    pub(crate) fn row(&self, key: Key) -> Option<usize> {
        self.rows.get(&key).map(|row| *row as usize)
    }

    fn rows_of(&self, provider: Address) -> impl Iterator<Item = (Key, usize)> {
        let first = Key { provider, device: 0, currency: Currency::KST };
        let last = Key { provider, device: u8::MAX, currency: Currency::token(Address::repeat_byte(0xff)) };
        self.rows.range(first..=last).map(|(key, row)| (*key, *row as usize))
    }
}

fn check_prices(per_unit_min: u128, per_mop: [Option<u64>; KERNELS]) -> Result<(), Error> {
    if U256::from(per_unit_min) > PRICE_WEI_PER_UNIT_MAX {
        return Err(Error::PriceOutOfRange { got: per_unit_min });
    }
    match per_mop.into_iter().flatten().find(|price| *price > PRICE_PER_MOP_MAX) {
        Some(price) => Err(Error::PriceOutOfRange { got: u128::from(price) }),
        None => Ok(()),
    }
}

fn check(offer: &Offer) -> Result<(), Error> {
    check_prices(offer.per_unit_min, offer.per_mop)?;
    let speed_good = |speed: &u64| (1..=SPEED_MOP_MAX).contains(speed);
    for (good, name) in [
        (offer.speed_mop_per_s.iter().flatten().all(speed_good), "speed"),
        ((1..=LANES_MAX).contains(&offer.lanes), "lanes"),
        (offer.power_mw <= POWER_MW_MAX, "power"),
        (offer.carbon_g_per_kwh <= CARBON_G_MAX, "carbon"),
    ] {
        if !good {
            return Err(Error::OutOfRange(name));
        }
    }
    Ok(())
}

impl Columns {
    /// A row without content.
    fn push(&mut self, key: Key) {
        each_column!(&mut *self, |column| column.push(Default::default()));
        let row = self.keys.len().wrapping_sub(1);
        self.keys[row] = key;
        self.rtt_us[row] = RTT_US_UNKNOWN;
        self.memory_free_kib[row] = u32::MAX;
    }

    fn set(&mut self, row: usize, offer: &Offer, currency: u8) {
        self.features[row] = features(offer);
        self.memory_claimed_kib[row] = kib(offer.memory_bytes);
        self.memory_kib[row] = kib(offer.memory_bytes).min(self.memory_free_kib[row]);
        self.binding_kib[row] = kib(offer.binding_bytes);
        self.loops[row] = offer.loop_iterations;
        self.currency[row] = currency;
        self.engine[row] = tag(offer.engine.as_bytes());
        self.country[row] = country_number(offer.country);
        self.operator[row] = operator_tag(&offer.operator, offer.key.provider);
        self.zone[row] = if offer.zone.is_empty() { self.operator[row] } else { tag(offer.zone.as_bytes()) };
        for kernel in 0..KERNELS {
            self.slowness[kernel][row] = offer.speed_mop_per_s[kernel].map_or(0, reciprocal);
        }
        self.set_prices(row, offer.per_unit_min, offer.per_mop);
        self.lanes[row] = offer.lanes;
        self.failure_q20[row] = offer.history.failure_q20();
        self.carbon_ug_per_s[row] = Counted::of(offer.power_mw, offer.carbon_g_per_kwh).ug_per_s();
        self.stake_wei[row] = offer.stake_wei;
        self.proved[row] = offer.proved;
        self.nodes[row] = offer.node_id;
        let claims = [offer.down_bytes_per_s, offer.up_bytes_per_s];
        for (link, claim) in self.links[row].iter_mut().zip(claims) {
            if link.count == 0 {
                *link = Bandwidth::claimed(claim);
            }
        }
        self.set_links(row);
    }

    fn set_prices(&mut self, row: usize, per_unit_min: u128, per_mop: [Option<u64>; KERNELS]) {
        // What the market takes is at least one.
        self.per_unit_min[row] = per_unit_min.max(1);
        for (kernel, price) in per_mop.into_iter().enumerate() {
            self.per_mop[kernel][row] = price.unwrap_or(0);
        }
        // A kind of work is possible where there is a price and a speed.
        for kernel in Kernel::ALL {
            let at = kernel_index(*kernel);
            let bit = 1u64.wrapping_shl(bits::KERNEL.wrapping_add(u32::from(*kernel as u8)));
            let possible = per_mop[at].is_some() && self.slowness[at][row] != 0;
            self.features[row] = if possible { self.features[row] | bit } else { self.features[row] & !bit };
        }
    }

    fn set_probe(&mut self, row: usize, probe: &Probe, cached: u64) {
        self.probed_at_ms[row] = probe.at_ms.max(1);
        self.rtt_us[row] = probe.rtt_us;
        self.queue_us[row] = probe.queue_us;
        self.memory_free_kib[row] = kib(probe.free_memory_bytes);
        self.memory_kib[row] = self.memory_claimed_kib[row].min(self.memory_free_kib[row]);
        self.cached[row] = cached;
    }

    fn set_seen(&mut self, row: usize, seen: [Bandwidth; 2]) {
        for (link, seen) in self.links[row].iter_mut().zip(seen) {
            if seen.count > 0 {
                *link = seen;
            }
        }
        self.set_links(row);
    }

    fn set_links(&mut self, row: usize) {
        let [down, up] = self.links[row];
        self.down[row] = reciprocal(down.bytes_per_s);
        self.up[row] = reciprocal(up.bytes_per_s);
    }
}

fn features(offer: &Offer) -> u64 {
    let flag = |set: bool, bit: u64| if set { bit } else { 0 };
    let shifted = |bits: u16, by: u32| u64::from(bits).wrapping_shl(by);
    let class_bits: Set<Class> = offer.classes;
    let kind: Set<Kind> = Set::of(&[offer.kind]);
    flag(offer.offering, bits::OFFERING)
        | flag(offer.country_attested, bits::ATTESTED)
        | flag(offer.runtime == Runtime::Wasm1, bits::WASM)
        | flag(offer.runtime == Runtime::Wgsl1, bits::WGSL)
        | flag(Counted::of(offer.power_mw, offer.carbon_g_per_kwh).is_claimed, bits::CARBON)
        | shifted(class_bits.bits(), bits::CLASS)
        | shifted(kind.bits(), bits::KIND)
        | shifted(Set::of(&[offer.isa]).bits(), bits::ISA)
        | shifted(offer.isolation.bits(), bits::ISOLATION)
}
