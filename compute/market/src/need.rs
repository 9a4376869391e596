//! What a job asks of an offer, and what waiting, carbon and failure are worth to its customer.

use crate::{
    amount::Currency,
    band::Bands,
    record::sets::{Isa, Kernel, Kind, Layer, Set},
};
use alloy_primitives::{Address, B256, U256};
use keystead_contracts::limits::{PRICE_WEI_PER_UNIT_MAX, UNITS_MAX};
use keystead_job::{Class, JobSpec, Runtime};
use std::collections::BTreeSet;

/// Time that any term may have, microseconds: 12.7 days, longer than an order lives (11 days). Longer ones count as that.
pub const TIME_US_MAX: u64 = 1 << 40;
/// Value of a second, or of a gram of carbon dioxide, smallest units: that of the dearest unit.
pub const VALUE_MAX: u128 = 1_000_000_000_000_000_000_000_000;
/// Work of one unit, millions of operations.
pub const WORK_MOP_MAX: u64 = 1 << 40;
/// Blobs, engines, countries, operators or providers named by one job.
pub const NAMES_MAX: usize = 64;
/// Bytes of all blobs and inputs that one job moves: an exbibyte would not arrive before its deadline on any line.
pub const MOVED_BYTES_MAX: u64 = 1 << 50;
/// Memory or binding of one unit: 2 TiB, which the table's columns hold exactly.
pub const MEMORY_BYTES_MAX: u64 = 1 << 41;
/// Rounds of messages per job.
pub const ROUNDS_MAX: u32 = 1 << 20;
/// A million: shares are stated in millionths.
pub const PPM: u32 = 1_000_000;

/// A country: two capital letters of ISO 3166-1.
pub type Country = [u8; 2];

/// Why a need cannot be planned. The caller was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A number outside its range.
    #[error("out of range: {name}={got} min={min} max={max}")]
    OutOfRange {
        /// The field.
        name: &'static str,
        /// The value given.
        got: u128,
        /// The least allowed.
        min: u128,
        /// The greatest allowed.
        max: u128,
    },
    /// A currency that the table does not list.
    #[error("currency is not listed: {0:?}")]
    CurrencyNotListed(Currency),
    /// A blob that the table does not watch, so it does not know who holds it.
    #[error("blob is not watched: {0}")]
    NotWatched(B256),
}

/// What the customer's time and carbon are worth, in smallest units of the job's currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Of a second until the result is there; at most [`VALUE_MAX`].
    pub time_per_s: u128,
    /// Of a gram of carbon dioxide equivalent; at most [`VALUE_MAX`].
    pub carbon_per_g: u128,
}

impl Weights {
    /// Waiting costs a tenth of a thousandth KST a second (0.36 KST an hour), carbon nothing: price leads, ties go to the faster.
    pub const START: Self = Self { time_per_s: 100_000_000_000_000, carbon_per_g: 0 };
}

/// Which money a provider must have at stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StakeRule {
    /// Least stake of a bonded provider, wei.
    pub min_wei: u128,
    /// What becomes of a provider with less.
    pub probation: Probation,
}

/// Whether providers without enough stake may take the job in a lane of probation, where every unit is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probation {
    /// They may, if the job's class is exact or self-checking.
    Allowed,
    /// They may not.
    Refused,
}

/// Where data may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residency {
    /// The countries; empty allows none.
    pub countries: BTreeSet<Country>,
    /// What shows it.
    pub evidence: Evidence,
}

/// What a statement about a place rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A credential that the caller verified.
    Attested,
    /// The provider's word.
    Claimed,
}

/// A blob that the job reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub name: B256,
    /// Its size, bytes.
    pub bytes: u64,
    /// Whether a provider without it is out.
    pub place: BlobPlace,
}

/// Whether a blob may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobPlace {
    /// It is sent if it is not there.
    Anywhere,
    /// It must be there already.
    AtProvider,
}

/// Everything that a job asks. Plain data; [`crate::plan()`] checks it against the bounds of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The program's interface.
    pub runtime: Runtime,
    /// Engine versions that are accepted; empty means any.
    pub engines: BTreeSet<String>,
    /// How the result is checked.
    pub class: Class,
    /// The kind of work.
    pub kernel: Kernel,
    /// Units, 1 to 2^20.
    pub units: u32,
    /// Work of one unit, millions of operations, 1 to [`WORK_MOP_MAX`]; an estimate of the recipe's plan.
    pub work_mop: u64,
    /// Memory of one unit, bytes, at most [`MEMORY_BYTES_MAX`].
    pub memory_bytes: u64,
    /// Largest binding of one unit, bytes, at most [`MEMORY_BYTES_MAX`].
    pub binding_bytes: u64,
    /// Iterations of one invocation.
    pub loop_iterations: u32,
    /// Accepted sorts of hardware.
    pub kinds: Set<Kind>,
    /// Accepted instruction sets.
    pub isas: Set<Isa>,
    /// Layers that must all be there.
    pub isolation: Set<Layer>,
    /// Accepted countries, claimed; empty means any, also unknown.
    pub countries: BTreeSet<Country>,
    /// Operators (their tags) that must not be chosen.
    pub operators_excluded: BTreeSet<String>,
    /// Providers that must not be chosen.
    pub providers_excluded: BTreeSet<Address>,
    /// What is paid in.
    pub currency: Currency,
    /// Most for one unit, smallest units, inclusive.
    pub price_per_unit_max: Option<U256>,
    /// Until when the result must be there, microseconds from now, at most [`TIME_US_MAX`], which means no deadline.
    pub deadline_us: u64,
    /// Where data may go; none means anywhere. With the provider's word as evidence it asks what [`Need::countries`] asks. For programs: no command of
    /// Keystead has a credential of a place. Spec: specs/0010-capability.md §9.
    pub residency: Option<Residency>,
    /// What must be proved at least.
    pub proved: Bands,
    /// Stake and probation.
    pub stake: StakeRule,
    /// Oldest probe that counts, milliseconds; none accepts offers that were never probed.
    pub probe_age_ms_max: Option<u64>,
    /// Least share of completed orders, millionths, with the prior of one success and one failure. By counts that are only believed as far as
    /// [`crate::offer::History::believed`] does, nobody has more than 500,000.
    pub completed_ppm_min: u32,
    /// Blobs that all units read.
    pub blobs: Vec<Blob>,
    /// What all holders of the blobs together can send, bytes a second, at least 1.
    pub source_bytes_per_s: u64,
    /// Inputs of all units together, bytes.
    pub input_bytes: u64,
    /// Outputs of all units together, bytes.
    pub output_bytes: u64,
    /// Rounds of messages until the result is there.
    pub rounds: u32,
    /// What time and carbon are worth.
    pub weights: Weights,
    /// How many units are checked, and what a check costs.
    pub checks: Checks,
}

/// What is checked, by which the price of checking is known before. Spec: specs/0010-capability.md §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Share of the units, millionths, at most 1,000,000.
    pub rate_ppm: u32,
    /// At least so many units.
    pub units_min: u32,
    /// Fee of a checker above the price of the unit that it runs again, 1/1024 of that price; at most 1,024.
    pub fee_per_1024: u32,
}

impl Checks {
    /// 3 %, the first ten always, and a fifth on top for the checker: the start of the notes on audits.
    pub const START: Self = Self { rate_ppm: 30_000, units_min: 10, fee_per_1024: 205 };

    /// Units that are checked of so many.
    #[must_use]
    pub fn units(self, units: u32) -> u32 {
        let share = u64::from(units).saturating_mul(u64::from(self.rate_ppm)).div_ceil(u64::from(PPM));
        u32::try_from(share).unwrap_or(u32::MAX).max(self.units_min).min(units)
    }
}

/// Whether units are checked one by one, or by sample against a stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// The stake stands behind what is not checked.
    Bonded,
    /// Every unit is checked.
    Probation,
}

/// Invocations of a workgroup, as work is counted: the spec does not hold what the program says.
const GROUP: u64 = 64;
/// A million operations.
const MEGA: u64 = 1_000_000;

/// What a job spec allows one unit to do, millions of operations: the work by which a unit is priced, the same for everybody who has the spec.
/// Spec: specs/0010-capability.md §3.4.
#[must_use]
pub fn work_mop(spec: &JobSpec) -> u64 {
    let limits = &spec.limits;
    let operations = match spec.runtime {
        Runtime::Wasm1 => limits.fuel_max,
        Runtime::Wgsl1 => {
            let groups =
                limits.workgroups.iter().fold(1u64, |product, count| product.saturating_mul(u64::from(*count)));
            groups.saturating_mul(GROUP).saturating_mul(u64::from(limits.loop_iterations_max))
        }
    };
    operations.saturating_mul(u64::from(spec.segment_count)).div_ceil(MEGA).clamp(1, WORK_MOP_MAX)
}

/// The kind of work of a job's units.
#[must_use]
pub fn kernel_of(spec: &JobSpec) -> Kernel {
    match (spec.runtime, spec.class) {
        (Runtime::Wasm1, _) => Kernel::Wasm,
        (Runtime::Wgsl1, Class::Exact) => Kernel::Integer,
        (Runtime::Wgsl1, _) => Kernel::Float,
    }
}

impl Need {
    /// The need of a job spec with safe defaults: any hardware of the runtime, KST, a process of its own, the spec's limits, one hour for
    /// a unit at the longest, probation allowed. `work_mop` is the recipe's estimate of one unit.
    #[must_use]
    pub fn of(spec: &JobSpec, kernel: Kernel, work_mop: u64) -> Self {
        let limits = &spec.limits;
        let wasm = spec.runtime == Runtime::Wasm1;
        let units = u64::from(spec.unit_count);
        Self {
            runtime: spec.runtime,
            engines: BTreeSet::new(),
            class: spec.class,
            kernel,
            units: spec.unit_count,
            work_mop,
            memory_bytes: limits.memory_bytes_max,
            binding_bytes: if wasm { 0 } else { limits.output_bytes_max },
            loop_iterations: limits.loop_iterations_max,
            kinds: if wasm { Set::of(&[Kind::Processor]) } else { Set::all() },
            isas: Set::all(),
            isolation: Set::of(&[Layer::Process]),
            countries: BTreeSet::new(),
            operators_excluded: BTreeSet::new(),
            providers_excluded: BTreeSet::new(),
            currency: Currency::KST,
            price_per_unit_max: None,
            deadline_us: TIME_US_MAX,
            residency: None,
            proved: Bands::default(),
            stake: StakeRule { min_wei: 0, probation: Probation::Allowed },
            probe_age_ms_max: None,
            completed_ppm_min: 0,
            blobs: Vec::new(),
            source_bytes_per_s: 1_250_000,
            input_bytes: 0,
            output_bytes: limits.output_bytes_max.saturating_mul(units).min(MOVED_BYTES_MAX),
            rounds: 4,
            weights: Weights::START,
            checks: Checks::START,
        }
    }

    /// Whether a provider without stake may take this job: every unit must be checkable by itself.
    #[must_use]
    pub const fn class_allows_probation(&self) -> bool {
        matches!(self.class, Class::Exact | Class::SelfChecking)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let moved = u128::from(MOVED_BYTES_MAX);
        let names = NAMES_MAX as u128;
        range("units", self.units, 1, UNITS_MAX.into())?;
        range("work_mop", self.work_mop, 1, WORK_MOP_MAX.into())?;
        range("memory_bytes", self.memory_bytes, 0, MEMORY_BYTES_MAX.into())?;
        range("binding_bytes", self.binding_bytes, 0, MEMORY_BYTES_MAX.into())?;
        range("deadline_us", self.deadline_us, 0, TIME_US_MAX.into())?;
        range("completed_ppm_min", self.completed_ppm_min, 0, PPM.into())?;
        range("source_bytes_per_s", self.source_bytes_per_s, 1, u64::MAX.into())?;
        range("input_bytes", self.input_bytes, 0, moved)?;
        range("output_bytes", self.output_bytes, 0, moved)?;
        range("rounds", self.rounds, 0, ROUNDS_MAX.into())?;
        range("time_per_s", self.weights.time_per_s, 0, VALUE_MAX)?;
        range("carbon_per_g", self.weights.carbon_per_g, 0, VALUE_MAX)?;
        range("rate_ppm", self.checks.rate_ppm, 0, PPM.into())?;
        range("fee_per_1024", self.checks.fee_per_1024, 0, 1_024)?;
        for (name, count) in [
            ("engines", self.engines.len()),
            ("operators_excluded", self.operators_excluded.len()),
            ("providers_excluded", self.providers_excluded.len()),
            ("blobs", self.blobs.len()),
        ] {
            range(name, count as u128, 0, names)?;
        }
        self.blobs.iter().try_for_each(|blob| range("blob bytes", blob.bytes, 0, moved))
    }

    /// The cap as the planner uses it: never above what the market takes.
    pub(crate) fn price_cap(&self) -> u128 {
        let cap = self.price_per_unit_max.unwrap_or(PRICE_WEI_PER_UNIT_MAX).min(PRICE_WEI_PER_UNIT_MAX);
        u128::try_from(cap).unwrap_or(u128::MAX)
    }
}

fn range(name: &'static str, got: impl Into<u128>, min: u128, max: u128) -> Result<(), Error> {
    let got = got.into();
    if got < min || got > max { Err(Error::OutOfRange { name, got, min, max }) } else { Ok(()) }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use keystead_job::{
        Limits,
        spec::{Draft, RecipeName},
    };

    fn spec(change: impl FnOnce(&mut Draft)) -> JobSpec {
        let limits = Limits {
            wall_ms_max: 1,
            fuel_max: 1_000_000,
            memory_bytes_max: 65_536,
            output_bytes_max: 4,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        };
        let mut draft = Draft {
            recipe: RecipeName::new("r").unwrap(),
            runtime: Runtime::Wasm1,
            class: Class::Exact,
            program_hash: B256::ZERO,
            common_hash: B256::ZERO,
            units_hash: B256::ZERO,
            unit_count: 3,
            segment_count: 1,
            limits,
            checker: None,
            tolerance: None,
        };
        change(&mut draft);
        JobSpec::new(draft).unwrap()
    }

    fn wgsl(draft: &mut Draft) {
        draft.runtime = Runtime::Wgsl1;
        draft.limits.fuel_max = 0;
        draft.limits.loop_iterations_max = 1_000;
        draft.limits.workgroups = [5, 5, 1];
    }

    #[test]
    fn work_is_what_the_spec_allows_rounded_up_and_never_nothing() {
        assert_eq!(work_mop(&spec(|_| ())), 1);
        assert_eq!(work_mop(&spec(|draft| draft.limits.fuel_max = 1)), 1);
        assert_eq!(work_mop(&spec(|draft| draft.limits.fuel_max = 1_000_001)), 2);
        assert_eq!(work_mop(&spec(|draft| draft.segment_count = 7)), 7);
        // 25 groups of 64 invocations, a thousand iterations each.
        assert_eq!(work_mop(&spec(wgsl)), 2);
        let most = spec(|draft| {
            wgsl(draft);
            draft.unit_count = 1;
            draft.segment_count = 65_536;
            draft.limits.loop_iterations_max = 32_768;
            draft.limits.workgroups = [65_535; 3];
        });
        assert_eq!(work_mop(&most), WORK_MOP_MAX);
    }

    #[test]
    fn the_kind_of_work_follows_from_runtime_and_class() {
        assert_eq!(kernel_of(&spec(|_| ())), Kernel::Wasm);
        assert_eq!(kernel_of(&spec(wgsl)), Kernel::Integer);
        let opaque = |draft: &mut Draft| {
            wgsl(draft);
            draft.class = Class::Opaque;
        };
        assert_eq!(kernel_of(&spec(opaque)), Kernel::Float);
    }
}
