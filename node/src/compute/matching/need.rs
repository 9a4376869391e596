//! What a job asks of a provider: from its spec and what its customer demands.

use crate::cli::{Demands, Hardware};
use alloy_primitives::{Address, U256};
use keystead_job::{JobSpec, Runtime};
use keystead_market::{
    Currency, Need,
    band::{Band, Bands},
    need::{Checks, MOVED_BYTES_MAX, Probation, StakeRule, TIME_US_MAX, Weights, kernel_of, work_mop},
    record::sets::{Kind, Layer, Set},
};

/// Microseconds of a second.
const US: u64 = 1_000_000;
/// No unit is checked at the customer's cost but by the customer itself.
pub(crate) const OWN_CHECK: Checks = Checks { rate_ppm: 0, units_min: 0, fee_per_1024: 0 };
/// Parts per million in a percent.
pub(super) const PPM_PER_PERCENT: u32 = 10_000;
/// What a country says nothing about: said wherever strangers are asked to check.
pub(crate) const CHECKERS_ANYWHERE: &str =
    "Warning: machines that are drawn to check get inputs, too, and may stand in any country, whatever --country says";
/// Three that are hardware, whatever they are called.
const GPUS: [Kind; 3] = [Kind::Discrete, Kind::Integrated, Kind::Virtual];
const MIB: u64 = 1 << 20;

/// Whether nothing but graphics cards is asked for. Who takes a processor, too, gets what a false card is.
pub(crate) fn asks_for_cards(hardware: &[Hardware]) -> bool {
    let is_card = |wanted: &Hardware| match wanted {
        Hardware::Gpu => true,
        Hardware::Of(kind) => GPUS.contains(kind),
    };
    !hardware.is_empty() && hardware.iter().all(is_card)
}

/// What a card must have proved if nothing else is said: some speed, which every statement has. Spec: specs/0010-capability.md §6.7.
pub(super) fn least_of_a_card() -> Bands {
    Bands { throughput: Band::of(1), ..Bands::default() }
}

/// A job about to be ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) spec: &'a JobSpec,
    /// Bytes that go to the provider.
    pub(crate) input_bytes: u64,
    pub(crate) demands: &'a Demands,
    /// What it is paid in.
    pub(crate) currency: Currency,
    /// Most to pay for all of it, wei, or smallest units of the token.
    pub(crate) total_wei_max: Option<U256>,
    /// Providers that had their chance.
    pub(crate) tried: &'a [Address],
    /// Somebody holds a seat who could check a proof of hardware.
    pub(crate) checkable: bool,
}

impl Asked<'_> {
    /// The need, with these checks.
    pub(crate) fn need(&self, checks: Checks) -> Need {
        let Self { spec, demands, .. } = self;
        let need = Need::of(spec, kernel_of(spec), work_mop(spec));
        let kinds = kinds(spec.runtime, &demands.hardware);
        let layers = demands.isolation.iter().fold(Set::of(&[Layer::Process]), |set, layer| set.with(*layer));
        Need {
            kinds,
            isolation: layers,
            currency: self.currency,
            countries: demands.country.iter().copied().collect(),
            operators_excluded: demands.not_operator.iter().cloned().collect(),
            providers_excluded: demands.not_provider.iter().chain(self.tried).copied().collect(),
            price_per_unit_max: self.total_wei_max.map(|total| cap(total, spec.unit_count, checks)),
            deadline_us: demands.deadline.map_or_else(|| longest_us(spec, kinds), seconds_us).min(TIME_US_MAX),
            proved: self.proved(),
            stake: StakeRule { min_wei: 0, probation: Probation::Allowed },
            completed_ppm_min: u32::from(demands.min_completed.unwrap_or_default()).saturating_mul(PPM_PER_PERCENT),
            input_bytes: self.input_bytes.min(MOVED_BYTES_MAX),
            weights: Weights { time_per_s: self.value_of_time(), carbon_per_g: demands.value_of_carbon },
            checks,
            ..need
        }
    }

    /// What a device must have proved.
    fn proved(&self) -> Bands {
        let Self { spec, demands, .. } = self;
        let asked = Bands {
            throughput: demands.proved_speed.and_then(Band::of),
            // Who asks for proved memory does not get a unit run in memory that is only claimed.
            memory: demands
                .proved_memory
                .map(|mib| mib.max(spec.limits.memory_bytes_max.div_ceil(MIB)))
                .and_then(Band::of),
            bandwidth: None,
        };
        let is_usual = asked == Bands::default() && !demands.unproved;
        if is_usual && self.checkable && asks_for_cards(&demands.hardware) { least_of_a_card() } else { asked }
    }

    /// What a token is worth nobody knows but its holder: without a word of theirs, only the price counts.
    fn value_of_time(&self) -> u128 {
        let usual = if self.currency == Currency::KST { Weights::START.time_per_s } else { 0 };
        self.demands.value_of_time.unwrap_or(usual)
    }
}

const fn seconds_us(seconds: u64) -> u64 {
    seconds.saturating_mul(US)
}

/// Without a deadline of the customer's: of an interpreter, what the job's units have together, since at its claimed speed they may well need more.
fn longest_us(spec: &JobSpec, kinds: Set<Kind>) -> u64 {
    if kinds != Set::of(&[Kind::Interpreter]) {
        return TIME_US_MAX;
    }
    let runs = u64::from(spec.unit_count).saturating_mul(u64::from(spec.segment_count));
    runs.saturating_mul(spec.limits.wall_ms_max).saturating_mul(US / 1_000)
}

fn kinds(runtime: Runtime, hardware: &[Hardware]) -> Set<Kind> {
    if hardware.is_empty() {
        // The interpreter is right and hundreds of times slower: nobody gets it without asking for it.
        let usual = |kind: &Kind| *kind != Kind::Interpreter && (runtime != Runtime::Wasm1 || *kind == Kind::Processor);
        return Kind::ALL.iter().copied().filter(usual).fold(Set::EMPTY, Set::with);
    }
    hardware.iter().fold(Set::EMPTY, |set, wanted| match wanted {
        Hardware::Of(kind) => set.with(*kind),
        Hardware::Gpu => GPUS.into_iter().fold(set, Set::with),
    })
}

/// The highest price of a unit at which units and checks together cost no more than the total.
fn cap(total: U256, units: u32, checks: Checks) -> U256 {
    let checked = U256::from(checks.units(units));
    let checks = checked.saturating_mul(U256::from(checks.fee_per_1024.saturating_add(1_024)));
    let paid_q10 = U256::from(units).saturating_mul(U256::from(1_024)).saturating_add(checks);
    total.saturating_mul(U256::from(1_024)).checked_div(paid_q10).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use alloy_primitives::B256;
    use clap::Parser as _;
    use keystead_job::{
        Class, Limits,
        spec::{Draft, RecipeName},
    };

    pub(crate) fn spec(runtime: Runtime) -> JobSpec {
        let wasm = runtime == Runtime::Wasm1;
        JobSpec::new(Draft {
            recipe: RecipeName::new("r").unwrap(),
            runtime,
            class: Class::Exact,
            program_hash: B256::ZERO,
            common_hash: B256::ZERO,
            units_hash: B256::ZERO,
            unit_count: 1,
            segment_count: 1,
            limits: Limits {
                wall_ms_max: 1,
                fuel_max: if wasm { 1_000_000 } else { 0 },
                memory_bytes_max: 65_536,
                output_bytes_max: 4,
                loop_iterations_max: if wasm { 0 } else { 1_000 },
                workgroups: if wasm { [0; 3] } else { [1; 3] },
            },
            checker: None,
            tolerance: None,
        })
        .unwrap()
    }

    pub(crate) fn demands(more: &[&str]) -> Demands {
        let words = ["keystead", "why-not", "align"];
        match Cli::try_parse_from(words.iter().chain(more)).unwrap().command {
            Command::WhyNot(options) => options.demands,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn need(runtime: Runtime) -> Need {
        needed(runtime, &[], None)
    }

    fn needed(runtime: Runtime, more: &[&str], total: Option<u64>) -> Need {
        let (spec, demands) = (spec(runtime), demands(more));
        let total_wei_max = total.map(U256::from);
        Asked { input_bytes: 7, total_wei_max, ..asked(&spec, &demands) }.need(OWN_CHECK)
    }

    /// Paid in KST, without a cap or an input, where nobody could check a proof.
    const fn asked<'a>(spec: &'a JobSpec, demands: &'a Demands) -> Asked<'a> {
        Asked {
            currency: Currency::KST,
            spec,
            input_bytes: 0,
            demands,
            total_wei_max: None,
            tried: &[],
            checkable: false,
        }
    }

    #[test]
    fn a_gpu_that_is_asked_for_is_none_of_the_programs_on_a_processor() {
        let gpu = needed(Runtime::Wgsl1, &["--hardware", "gpu"], None).kinds;
        assert_eq!(gpu, Set::of(&GPUS));
        let usual = need(Runtime::Wgsl1).kinds;
        assert!(usual.has(Kind::Cpu) && !usual.has(Kind::Interpreter));
        assert_eq!(need(Runtime::Wasm1).kinds, Set::of(&[Kind::Processor]));
        let both = needed(Runtime::Wgsl1, &["--hardware", "discrete", "--hardware", "cpu"], None).kinds;
        assert_eq!(both, Set::of(&[Kind::Discrete, Kind::Cpu]));
        // One unit has a millisecond.
        let interpreted = needed(Runtime::Wgsl1, &["--hardware", "interpreter"], None);
        assert_eq!((interpreted.kinds, interpreted.deadline_us), (Set::of(&[Kind::Interpreter]), 1_000));
        let later = needed(Runtime::Wgsl1, &["--hardware", "interpreter", "--deadline", "9"], None);
        assert_eq!((later.deadline_us, need(Runtime::Wgsl1).deadline_us), (9_000_000, TIME_US_MAX));
        let mixed = needed(Runtime::Wgsl1, &["--hardware", "interpreter", "--hardware", "cpu"], None);
        assert_eq!(mixed.deadline_us, TIME_US_MAX);
    }

    #[test]
    fn options_become_demands_and_nonsense_is_refused_on_the_command_line() {
        let need = needed(
            Runtime::Wasm1,
            &[
                "--country",
                "DE",
                "--isolation",
                "seccomp",
                "--deadline",
                "60",
                "--not-operator",
                "x",
                "--value-of-time",
                "9",
            ],
            Some(100),
        );
        assert_eq!(need.isolation, Set::of(&[Layer::Process, Layer::Seccomp]));
        assert_eq!((need.deadline_us, need.weights.time_per_s, need.input_bytes), (60_000_000, 9, 7));
        assert_eq!(need.price_per_unit_max, Some(U256::from(100)));
        assert!(need.countries.contains(b"DE") && need.operators_excluded.contains("x"));
        for wrong in [
            ["--country", "de"],
            ["--country", "DE,fr"],
            ["--country", "DE,"],
            ["--min-completed", "0"],
            ["--min-completed", "51"],
            ["--hardware", "fast"],
            ["--isolation", "walls"],
            ["--deadline", "0"],
            ["--value-of-time", "-1"],
            ["--value-of-time", "1000000000000000000000001"],
        ] {
            assert!(Cli::try_parse_from(["keystead", "why-not", "align"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn countries_are_given_one_by_one_or_with_commas_and_bind_whoever_is_named() {
        for words in [&["--country", "DE,FR"][..], &["--country", "FR", "--country", "DE"]] {
            let countries = needed(Runtime::Wasm1, words, None).countries;
            assert_eq!(countries.into_iter().collect::<Vec<_>>(), [*b"DE", *b"FR"]);
            assert!(demands(words).bind_whoever_is_named(), "{words:?}");
        }
        assert!(need(Runtime::Wasm1).countries.is_empty());
        assert!(!demands(&["--hardware", "cpu", "--not-operator", "x"]).bind_whoever_is_named());
    }

    #[test]
    fn a_share_of_completed_orders_is_asked_for_in_percent_and_of_nobody_by_default() {
        let least = |more: &[&str]| needed(Runtime::Wasm1, more, None).completed_ppm_min;
        let (one, half) = (["--min-completed", "1"], ["--min-completed", "50"]);
        assert_eq!([least(&[]), least(&one), least(&half)], [0, 10_000, 500_000]);
        assert!(demands(&half).bind_whoever_is_named());
    }

    #[test]
    fn in_a_token_waiting_is_worth_nothing_unless_it_is_said() {
        let spec = spec(Runtime::Wasm1);
        let currency = Currency::token(Address::repeat_byte(7));
        let time = |more: &[&str], currency| {
            let demands = demands(more);
            let need = Asked { currency, checkable: true, ..asked(&spec, &demands) }.need(OWN_CHECK);
            assert_eq!(need.currency, currency);
            need.weights.time_per_s
        };
        assert_eq!((time(&[], Currency::KST), time(&[], currency)), (Weights::START.time_per_s, 0));
        assert_eq!(time(&["--value-of-time", "9"], currency), 9);
    }

    #[test]
    fn who_asks_for_a_card_gets_one_that_proved_something_where_somebody_could_check_it() {
        let proved = |runtime, more: &[&str], checkable| {
            let (spec, demands) = (spec(runtime), demands(more));
            Asked { checkable, ..asked(&spec, &demands) }.need(OWN_CHECK).proved
        };
        let (none, some) = (Bands::default(), least_of_a_card());
        assert!(some.throughput.is_some() && !none.reach(some));
        let cases: [(&[&str], Bands); 6] = [
            (&[], none),
            (&["--hardware", "gpu"], some),
            (&["--hardware", "discrete", "--hardware", "virtual"], some),
            (&["--hardware", "gpu", "--unproved"], none),
            // A processor is what a false card is.
            (&["--hardware", "gpu", "--hardware", "cpu"], none),
            (&["--hardware", "cpu"], none),
        ];
        for (words, wanted) in cases {
            assert_eq!(proved(Runtime::Wgsl1, words, true), wanted, "{words:?}");
            assert_eq!(proved(Runtime::Wgsl1, words, false), none, "{words:?}: nobody could state it");
        }
        let fast = proved(Runtime::Wgsl1, &["--hardware", "gpu", "--proved-speed", "1000"], true);
        assert_eq!(fast, Bands { throughput: Band::of(1_000), ..none });
    }

    #[test]
    fn who_asks_for_proved_memory_gets_all_that_a_unit_takes_proved() {
        let memory = |more: &[&str]| needed(Runtime::Wasm1, more, None).proved.memory;
        assert_eq!(memory(&[]), None);
        assert_eq!(memory(&["--proved-speed", "9"]), None, "a fast card shows none by default");
        // The unit takes 64 KiB.
        assert_eq!(memory(&["--proved-memory", "1"]), Band::of(1));
        assert_eq!(memory(&["--proved-memory", "4096"]), Band::of(4_096));
        let mut spec = Draft::from(spec(Runtime::Wasm1));
        spec.limits.memory_bytes_max = 1 << 30;
        let (spec, demands) = (JobSpec::new(spec).unwrap(), demands(&["--proved-memory", "1"]));
        assert_eq!(asked(&spec, &demands).need(OWN_CHECK).proved.memory, Band::of(1_024));
    }

    #[test]
    fn the_cap_of_a_unit_keeps_units_and_checks_within_the_total() {
        assert_eq!(cap(U256::from(30), 3, OWN_CHECK), U256::from(10));
        assert_eq!(cap(U256::from(29), 3, OWN_CHECK), U256::from(9));
        // Three units, all checked, a fifth on top: 6.6 units are paid.
        assert_eq!(cap(U256::from(660), 3, Checks::START), U256::from(99));
        assert_eq!(cap(U256::MAX, 1, OWN_CHECK), U256::MAX / U256::from(1_024));
    }
}
