//! One change of a need that lets an offer through a filter, and how it is said.

use crate::{
    amount::{Currency, Unit},
    band::{Band, Bands},
    need::{BlobPlace, Country, Evidence, Need, PPM, Probation, Residency, TIME_US_MAX},
    record::sets::{Isa, Kind, Layer, Set},
};
use alloy_primitives::{Address, B256, U256};
use serde::Serialize;

/// A change of a need. Applying it lets the offer that it was made for pass one filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change", content = "to")]
pub enum Change {
    /// Take any engine version of the runtime.
    AnyEngine,
    /// Take this sort of hardware, too.
    Hardware(Kind),
    /// Ask for so many bytes of memory only.
    Memory(u64),
    /// Ask for bindings of so many bytes only.
    Binding(u64),
    /// Declare so many loop iterations only: cut the work into more dispatches.
    Loops(u32),
    /// Take this instruction set, too.
    Isa(Isa),
    /// Ask for these layers only.
    Isolation(Set<Layer>),
    /// Take this country, too; none takes any, also unknown ones.
    Country(Option<String>),
    /// Stop excluding them.
    Admit {
        /// Operators that are no longer excluded.
        operators: Vec<String>,
        /// The provider, if it is excluded by its account.
        provider: Option<Address>,
    },
    /// Pay in this currency; prices, cap and weights are then in that currency.
    Currency(Currency),
    /// Pay up to so much for a unit.
    PriceCap(U256),
    /// Wait so long, microseconds; [`TIME_US_MAX`] means as long as it takes.
    Deadline(u64),
    /// Let the data go there, on this evidence.
    Residency {
        /// A country more; none drops the rule, since the offer does not say where it stands.
        country: Option<String>,
        /// Whether the provider's word is enough.
        claimed_is_enough: bool,
    },
    /// Ask for these proved bands only.
    Proved(Bands),
    /// Take lanes of probation: every unit is checked.
    Probation,
    /// Ask for so much stake only, wei.
    StakeMin(#[serde(with = "decimal")] u128),
    /// Take probes of this age, milliseconds; none takes offers that were never probed.
    ProbeAge(Option<u64>),
    /// Take providers that completed so many millionths of their orders.
    CompletedMin(u32),
    /// Send these blobs instead of asking that they are there.
    SendBlobs(Vec<B256>),
}

/// Numbers above 2^64 as decimal text: JSON readers lose them otherwise.
mod decimal {
    pub(super) fn serialize<S: serde::Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }
}

fn country(text: &str) -> Option<Country> {
    Country::try_from(text.as_bytes()).ok()
}

impl Change {
    /// Changes the need.
    pub fn apply(&self, need: &mut Need) {
        match self {
            Self::AnyEngine => need.engines.clear(),
            Self::Hardware(kind) => need.kinds = need.kinds.with(*kind),
            Self::Memory(bytes) => need.memory_bytes = *bytes,
            Self::Binding(bytes) => need.binding_bytes = *bytes,
            Self::Loops(count) => need.loop_iterations = *count,
            Self::Isa(isa) => need.isas = need.isas.with(*isa),
            Self::Isolation(layers) => need.isolation = *layers,
            Self::Country(None) => need.countries.clear(),
            Self::Country(Some(text)) => need.countries.extend(country(text)),
            Self::Admit { operators, provider } => {
                need.operators_excluded.retain(|operator| !operators.contains(operator));
                need.providers_excluded.retain(|excluded| Some(*excluded) != *provider);
            }
            Self::Currency(currency) => need.currency = *currency,
            Self::PriceCap(cap) => need.price_per_unit_max = Some(*cap),
            Self::Deadline(us) => need.deadline_us = *us,
            Self::Residency { country: None, .. } => need.residency = None,
            Self::Residency { country: Some(text), claimed_is_enough } => {
                let old = need.residency.take();
                let (mut countries, mut evidence) = old
                    .map_or_else(|| (Default::default(), Evidence::Attested), |rule| (rule.countries, rule.evidence));
                countries.extend(country(text));
                if *claimed_is_enough {
                    evidence = Evidence::Claimed;
                }
                need.residency = Some(Residency { countries, evidence });
            }
            Self::Proved(bands) => need.proved = *bands,
            Self::Probation => need.stake.probation = Probation::Allowed,
            Self::StakeMin(wei) => need.stake.min_wei = *wei,
            Self::ProbeAge(age) => need.probe_age_ms_max = *age,
            Self::CompletedMin(ppm) => need.completed_ppm_min = *ppm,
            Self::SendBlobs(names) => {
                for blob in need.blobs.iter_mut().filter(|blob| names.contains(&blob.name)) {
                    blob.place = BlobPlace::Anywhere;
                }
            }
        }
    }

    /// The change as advice to a person, with old and new value. `unit` writes amounts of the need's currency.
    #[must_use]
    pub fn words(&self, need: &Need, unit: &Unit) -> String {
        match self {
            Self::AnyEngine => "take any engine version of the runtime".to_owned(),
            Self::Hardware(kind) => format!("take hardware of the sort {kind}, too"),
            Self::Memory(bytes) => format!("cut memory of a unit from {} to {}", size(need.memory_bytes), size(*bytes)),
            Self::Binding(bytes) => format!("cut buffers from {} to {}", size(need.binding_bytes), size(*bytes)),
            Self::Loops(count) => format!("cut loop iterations from {} to {count}", need.loop_iterations),
            Self::Isa(isa) => format!("take the instruction set {isa}, too"),
            Self::Isolation(layers) => {
                let names: Vec<&str> =
                    need.isolation.iter().filter(|layer| !layers.has(*layer)).map(Layer::as_str).collect();
                format!("do without {}", names.join(", "))
            }
            Self::Country(None) => "take any country, also unknown ones".to_owned(),
            Self::Country(Some(code)) => format!("take the country {code}, too"),
            Self::Admit { operators, provider } => {
                let names = operators.iter().cloned().chain(provider.map(|account| account.to_string()));
                format!("stop excluding {}", names.collect::<Vec<_>>().join(", "))
            }
            Self::Currency(currency) => match currency.contract() {
                None => "pay in KST".to_owned(),
                Some(contract) => format!("pay in the token {contract}"),
            },
            Self::PriceCap(cap) => {
                let old = need.price_per_unit_max.map_or_else(|| "none".to_owned(), |old| unit.show(old));
                let job = unit.show(cap.saturating_mul(U256::from(need.units)));
                format!("raise the price cap of a unit from {old} to {}, which is {job} for the job", unit.show(*cap))
            }
            Self::Deadline(us) => format!("wait {} instead of {}", time(*us), time(need.deadline_us)),
            Self::Residency { country: None, .. } => "let the data go to an unknown country".to_owned(),
            Self::Residency { country: Some(code), claimed_is_enough: false } => format!("let the data go to {code}"),
            Self::Residency { country: Some(code), claimed_is_enough: true } => {
                format!("let the data go to {code} on the provider's word")
            }
            Self::Proved(bands) => format!("ask for less proved hardware: {}", proof(need.proved, *bands)),
            Self::Probation => "take a provider without stake, with every unit checked".to_owned(),
            Self::StakeMin(wei) => {
                let show = |wei: u128| Unit::kst().show(U256::from(wei));
                format!("lower the least stake from {} to {}", show(need.stake.min_wei), show(*wei))
            }
            Self::ProbeAge(None) => "take offers that were never probed".to_owned(),
            Self::ProbeAge(Some(ms)) => format!("take probes of {}", time(ms.saturating_mul(1_000))),
            Self::CompletedMin(ppm) => {
                format!(
                    "take providers whose share of completed orders counts as {}, instead of {}",
                    share(*ppm),
                    share(need.completed_ppm_min)
                )
            }
            Self::SendBlobs(names) => format!("send {} blobs instead of asking that they are there", names.len()),
        }
    }
}

/// Bytes with a binary unit, rounded down to a tenth unless exact.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.checked_ilog2().unwrap_or(0) / 10).min(4);
    let shift = step.saturating_mul(10);
    let whole = bytes.wrapping_shr(shift);
    let tenth = bytes.wrapping_sub(whole.wrapping_shl(shift)).saturating_mul(10).wrapping_shr(shift);
    let unit = units.get(step as usize).copied().unwrap_or("bytes");
    if tenth == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

/// Microseconds as seconds with three digits, rounded up.
fn time(us: u64) -> String {
    if us >= TIME_US_MAX {
        return "as long as it takes".to_owned();
    }
    let ms = us.div_ceil(1_000);
    format!("{}.{:03} s", ms.wrapping_div(1_000), ms.wrapping_rem(1_000))
}

fn share(ppm: u32) -> String {
    let hundredths = ppm.min(PPM).wrapping_div(100);
    format!("{}.{:02} %", hundredths.wrapping_div(100), hundredths.wrapping_rem(100))
}

fn proof(old: Bands, new: Bands) -> String {
    let text = |band: Option<Band>| band.map_or_else(|| "none".to_owned(), |band| band.at_least().to_string());
    let parts = [
        ("throughput", "Mop/s", old.throughput, new.throughput),
        ("memory", "MiB", old.memory, new.memory),
        ("bandwidth", "KiB/s", old.bandwidth, new.bandwidth),
    ];
    let changed = parts.into_iter().filter(|(_, _, old, new)| old != new);
    let words: Vec<String> =
        changed.map(|(name, unit, old, new)| format!("{name} {} instead of {} {unit}", text(new), text(old))).collect();
    words.join(", ")
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_shares_are_written_with_their_units() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1_023), "1023 bytes");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(8 << 30), "8 GiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        assert_eq!(time(1), "0.001 s");
        assert_eq!(time(90_000_000), "90.000 s");
        assert_eq!(time(TIME_US_MAX), "as long as it takes");
        assert_eq!(share(987_654), "98.76 %");
    }
}
