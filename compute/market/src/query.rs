//! A need made ready for one table: sets as bits, texts as tags, money and times as the columns have them; and the hard filters over them.

use crate::{
    band::Bands,
    cost::{Costed, Pricing},
    filter::Filter,
    need::{BlobPlace, Country, Error, Evidence, Lane, Need, PPM, Probation, TIME_US_MAX},
    record::sets::{Member, Set},
    table::{COUNTRY_NONE, Columns, Table, bits, country_number, tag},
};
use alloy_primitives::Address;
use keystead_job::Runtime;

/// Countries as bits, with the absence of one.
#[derive(Clone, Debug)]
pub(crate) struct Countries([u64; 11]);

impl Countries {
    fn of<'a>(countries: impl Iterator<Item = &'a Country>) -> Self {
        let mut words = [0u64; 11];
        for country in countries {
            let number = country_number(Some(*country));
            if number != COUNTRY_NONE {
                words[usize::from(number.wrapping_shr(6))] |= 1u64.wrapping_shl(u32::from(number & 63));
            }
        }
        Self(words)
    }

    const fn all() -> Self {
        Self([u64::MAX; 11])
    }

    fn has(&self, number: u16) -> bool {
        self.0
            .get(usize::from(number.wrapping_shr(6)))
            .is_some_and(|word| word & 1u64.wrapping_shl(u32::from(number & 63)) != 0)
    }
}

/// The prepared need.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    runtime: u64,
    class: u64,
    kernel: u64,
    isolation: u64,
    kinds: u64,
    isas: u64,
    engines: Vec<u64>,
    memory_kib: u32,
    binding_kib: u32,
    loops: u32,
    countries: Countries,
    operators: Vec<u64>,
    providers: Vec<Address>,
    currency: u8,
    price_cap: u128,
    deadline_us: u64,
    residency: Option<(Countries, Evidence)>,
    proved: Bands,
    stake_min: u128,
    probation: bool,
    probed_since_ms: u64,
    failure_max_q20: u32,
    blobs_there: u64,
    pub(crate) pricing: Pricing,
}

fn shifted(bits: u16, by: u32) -> u64 {
    u64::from(bits).wrapping_shl(by)
}

fn one<T: Member>(item: T, by: u32) -> u64 {
    shifted(Set::of(&[item]).bits(), by)
}

/// KiB that hold so many bytes.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX)
}

/// The highest probability of failure, in 2^-20, of who completes at least so many millionths.
fn failure_max(completed_ppm_min: u32) -> u32 {
    let failed = u64::from(PPM.saturating_sub(completed_ppm_min));
    u32::try_from(failed.wrapping_shl(20) / 1_000_000).unwrap_or(u32::MAX)
}

impl Query {
    /// Checks the need and translates it. `now_ms` is the clock of the table's probes.
    pub(crate) fn new(table: &Table, need: &Need, now_ms: u64) -> Result<Self, Error> {
        need.check()?;
        let currency = table.currency_number(need.currency).ok_or(Error::CurrencyNotListed(need.currency))?;
        let (mut blobs, mut blobs_there) = (Vec::new(), 0u64);
        for blob in &need.blobs {
            let bit = table.watch_bit(blob.name).ok_or(Error::NotWatched(blob.name))?;
            blobs.push((bit, blob.bytes));
            if blob.place == BlobPlace::AtProvider {
                blobs_there |= bit;
            }
        }
        let countries = if need.countries.is_empty() { Countries::all() } else { Countries::of(need.countries.iter()) };
        Ok(Self {
            runtime: match need.runtime {
                Runtime::Wasm1 => bits::WASM,
                Runtime::Wgsl1 => bits::WGSL,
            },
            class: one(need.class, bits::CLASS),
            kernel: one(need.kernel, bits::KERNEL),
            isolation: shifted(need.isolation.bits(), bits::ISOLATION),
            kinds: shifted(need.kinds.bits(), bits::KIND),
            isas: shifted(need.isas.bits(), bits::ISA),
            engines: need.engines.iter().map(|engine| tag(engine.as_bytes())).collect(),
            memory_kib: kib(need.memory_bytes),
            binding_kib: kib(need.binding_bytes),
            loops: need.loop_iterations,
            countries,
            operators: need.operators_excluded.iter().map(|operator| tag(operator.as_bytes())).collect(),
            providers: need.providers_excluded.iter().copied().collect(),
            currency,
            price_cap: need.price_cap(),
            deadline_us: need.deadline_us,
            residency: need.residency.as_ref().map(|rule| (Countries::of(rule.countries.iter()), rule.evidence)),
            proved: need.proved,
            stake_min: need.stake.min_wei,
            probation: need.stake.probation == Probation::Allowed && need.class_allows_probation(),
            probed_since_ms: need.probe_age_ms_max.map_or(0, |age| now_ms.saturating_sub(age).max(1)),
            failure_max_q20: failure_max(need.completed_ppm_min),
            blobs_there,
            pricing: Pricing::new(need, blobs),
        })
    }

    /// Rows of `first..end` that pass the cheap tests; every row that passes all filters is among them. Without branches, since nobody
    /// can predict them.
    pub(crate) fn shortlist(&self, columns: &Columns, first: usize, end: usize, out: &mut [u32]) -> usize {
        let all = bits::OFFERING | self.runtime | self.class | self.kernel | self.isolation;
        let features = &columns.features[first..end];
        let memory = &columns.memory_kib[first..end];
        let binding = &columns.binding_kib[first..end];
        let loops = &columns.loops[first..end];
        let currency = &columns.currency[first..end];
        let mut count = 0usize;
        for at in 0..features.len() {
            let word = features[at];
            let pass = (word & all == all)
                & (word & self.kinds != 0)
                & (word & self.isas != 0)
                & (memory[at] >= self.memory_kib)
                & (binding[at] >= self.binding_kib)
                & (loops[at] >= self.loops)
                & (currency[at] == self.currency);
            // LOSSY: never, there are at most a million rows.
            #[allow(clippy::cast_possible_truncation)]
            let row = first.wrapping_add(at) as u32;
            out[count] = row;
            count = count.wrapping_add(usize::from(pass));
        }
        count
    }

    /// The bit of the runtime.
    pub(crate) const fn runtime(&self) -> u64 {
        self.runtime
    }

    /// Under which rules this row would work.
    pub(crate) fn lane(&self, columns: &Columns, row: usize) -> Lane {
        if columns.stake_wei[row] >= self.stake_min { Lane::Bonded } else { Lane::Probation }
    }

    /// What is paid for everything at this row.
    pub(crate) fn price(&self, columns: &Columns, row: usize) -> u128 {
        self.pricing.price(self.pricing.per_unit(columns, row), self.lane(columns, row))
    }

    /// Price and times of a row in the lane that it would work in.
    pub(crate) fn costed(&self, columns: &Columns, row: usize) -> Costed {
        self.pricing.costed(columns, row, self.lane(columns, row))
    }

    /// The filters that a row fails, as bits. With `FIRST` it stops at the first one, which makes zero and non-zero as true, only faster.
    pub(crate) fn failures<const FIRST: bool>(&self, columns: &Columns, row: usize) -> u32 {
        let mut mask = 0u32;
        macro_rules! demand {
            ($($filter:ident: $good:expr,)+) => {
                $(if !$good {
                    mask |= Filter::$filter.bit();
                    if FIRST {
                        return mask;
                    }
                })+
            };
        }
        let word = columns.features[row];
        demand! {
            Offering: word & bits::OFFERING != 0,
            Runtime: word & self.runtime != 0 && self.accepts_engine(columns.engine[row]),
            Class: word & self.class != 0,
            Kernel: word & self.kernel != 0,
            Hardware: word & self.kinds != 0,
            Memory: columns.memory_kib[row] >= self.memory_kib,
            Binding: columns.binding_kib[row] >= self.binding_kib,
            Loops: columns.loops[row] >= self.loops,
            Isa: word & self.isas != 0,
            Isolation: word & self.isolation == self.isolation,
            Region: self.countries.has(columns.country[row]),
            Operator: !self.excluded(columns, row),
            Currency: columns.currency[row] == self.currency,
            Price: self.pricing.per_unit(columns, row) <= self.price_cap,
            Deadline: self.deadline_us >= TIME_US_MAX || self.costed(columns, row).finish_us <= self.deadline_us,
            Residency: self.resides(columns.country[row], word),
            Proof: columns.proved[row].reach(self.proved),
            Stake: self.probation || columns.stake_wei[row] >= self.stake_min,
            Probe: columns.probed_at_ms[row] >= self.probed_since_ms,
            Reputation: columns.failure_q20[row] <= self.failure_max_q20,
            Blob: columns.cached[row] & self.blobs_there == self.blobs_there,
        }
        mask
    }

    fn accepts_engine(&self, engine: u64) -> bool {
        self.engines.is_empty() || self.engines.contains(&engine)
    }

    fn excluded(&self, columns: &Columns, row: usize) -> bool {
        (!self.operators.is_empty() && self.operators.contains(&columns.operator[row]))
            || (!self.providers.is_empty() && self.providers.binary_search(&columns.keys[row].provider).is_ok())
    }

    fn resides(&self, country: u16, word: u64) -> bool {
        self.residency.as_ref().is_none_or(|(countries, evidence)| {
            countries.has(country) && (*evidence == Evidence::Claimed || word & bits::ATTESTED != 0)
        })
    }
}
