//! Records of machines of several sorts.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use super::*;
use crate::cli::{Cli, Command};
use alloy_primitives::Address;
use clap::Parser as _;
use keystead_job::Runtime;
use keystead_market::record::{Draft, Error, Record, sets::Kind};
use keystead_owner::{Reading, probe::Root};
use keystead_runner::{CARDS_MAX, Isolation, LayerReport, Loops, Tested as OnePassed};

fn parsed(more: &[&str]) -> Result<Cli, clap::Error> {
    let words = ["keystead", "provide", "--dir", "x", "--price", "5000"];
    Cli::try_parse_from(words.iter().chain(more))
}

fn options(more: &[&str]) -> Provide {
    match parsed(more).unwrap().command {
        Command::Provide(options) => options,
        other => panic!("{other:?}"),
    }
}

fn isolation_of(layers: &[Obtained]) -> Isolation {
    let report = |layer: &Obtained| LayerReport { layer: *layer, obtained: true, note: String::new() };
    Isolation { layers: layers.iter().map(report).collect() }
}

fn wasm() -> SelfTest {
    SelfTest {
        runtime: Runtime::Wasm1,
        engine: "wasm/1 wasmtime-48.0.8 config-1 x86_64".to_owned(),
        known_answer: true,
        device: None,
        adapters: Vec::new(),
        cards: Vec::new(),
        took_ms: 1,
        memory_bytes_max: 6 << 30,
        isolation: isolation_of(&[Obtained::Seccomp, Obtained::Landlock, Obtained::NetworkNamespace]),
    }
}

fn wgsl(name: &str, kind: DeviceKind, vendor_id: u32) -> SelfTest {
    let device = Found {
        name: name.to_owned(),
        backend: "Vulkan".to_owned(),
        kind,
        driver: "NVIDIA".to_owned(),
        driver_info: "550.54.14 (Ünicode)".to_owned(),
        vendor_id,
        device_id: 0x2704,
        binding_bytes_max: 1 << 31,
        buffer_bytes_max: 1 << 32,
        workgroup_bytes_max: 16_384,
        workgroup_invocations_max: 256,
        max_loop_iterations: 70_000,
        long_loops: Loops::Whole,
        divergent_loops: Loops::Whole,
    };
    SelfTest {
        runtime: Runtime::Wgsl1,
        engine: "wgsl/1 wgpu-30.0.1 naga-30.0.1 a device with a very long name (Vulkan, driver 1.2.3, and more words)"
            .to_owned(),
        device: Some(device),
        isolation: isolation_of(&[Obtained::Seccomp]),
        ..wasm()
    }
}

fn capability(tests: Vec<SelfTest>) -> Capability {
    let speed = |work, mop_per_s| Measured { work, mop_per_s };
    let all = [
        (Runtime::Wasm1, speed(Work::Wasm, 900)),
        (Runtime::Wgsl1, speed(Work::Integer, 5_000)),
        (Runtime::Wgsl1, speed(Work::Float, 6_000)),
        (Runtime::Wgsl1, speed(Work::Memory, 7_000)),
    ];
    let has = |runtime: Runtime| tests.iter().any(|test| test.runtime == runtime);
    let speeds = all.into_iter().filter(|(runtime, _)| has(*runtime)).map(|(_, speed)| speed).collect();
    Capability { tests, speeds, beside: Vec::new(), power_mw: None }
}

fn bare() -> (tempfile::TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::read(&Root::new(folder.path()));
    (folder, machine)
}

fn record(claimed: Claimed) -> Result<Record, Error> {
    Record::new(Draft { provider: Address::ZERO, issued_height: 1, claimed, attested: Vec::new() })
}

fn of(tests: Vec<SelfTest>, more: &[&str]) -> Claimed {
    let (_folder, machine) = bare();
    claims(&options(more), &capability(tests), &machine, 4)
}

#[test]
fn a_card_is_a_gpu_and_every_claim_fits_a_record() {
    let claimed =
        of(vec![wgsl("Example RTX", DeviceKind::Discrete, 0x10de), wasm()], &["--country", "DE", "--zone", "house-1"]);
    let record = record(claimed).unwrap();
    let names: Vec<(&str, &str)> =
        record.claimed.runtimes.iter().map(|runtime| (runtime.name.as_str(), runtime.engine.as_str())).collect();
    assert_eq!(names, [("wasm/1", "wasm/1 wasmtime-48.0.8 config-1"), ("wgsl/1", "wgsl/1 wgpu-30.0.1 naga-30.0.1")]);
    let adapter = &record.claimed.adapters[0];
    assert_eq!(adapter.kind(), Kind::Discrete);
    assert_eq!(adapter.device().driver, "nvidia-550.54.14-nicode");
    assert_eq!(adapter.device().memory_mib, 256, "nobody says how much it has, and 4 GiB are the bound of its driver");
    assert_eq!(record.claimed.processor.memory_mib, 6_144);
    assert_eq!(record.claimed.isolation, Set::of(&[Layer::Process, Layer::Seccomp]), "what both have");
    assert_eq!(record.claimed.prices.len(), 4);
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
}

#[test]
fn a_cards_memory_is_what_its_driver_says_or_what_a_proof_is_to_show_and_the_owner_hears_which() {
    let (_folder, mut machine) = bare();
    let tested = capability(vec![wgsl("Example RTX", DeviceKind::Discrete, 0x10de)]);
    let claimed = |machine: &Machine, more: &[&str]| {
        let options = options(more);
        let mib = claims(&options, &tested, machine, 4).adapters[0].device().memory_mib;
        (mib, unknown_memory(&options, &tested, machine).into_iter().next())
    };
    let (mib, words) = claimed(&machine, &[]);
    assert_eq!(mib, 256);
    let words = words.unwrap();
    assert!(words.contains("memory Example RTX has") && words.contains("claims 256 MiB"), "{words}");
    assert!(words.ends_with("--prove-memory 1=MIB claims more"), "{words}");
    let (mib, words) = claimed(&machine, &["--prove-memory", "1=2048"]);
    assert!(mib == 2_048 && words.unwrap().contains("claims 2048 MiB"));
    let ids = |device: &str| Reading::known(format!("0x10de:{device}"), "test");
    machine.cards.push(Card { ids: ids("0x9999"), memory_bytes: Reading::known(1 << 30, "test"), ..Card::default() });
    assert_eq!(claimed(&machine, &[]).0, 256, "another card's");
    machine.cards.push(Card {
        ids: ids("0x2704"),
        memory_bytes: Reading::known(16_376 << 20, "nvidia-smi"),
        ..Card::default()
    });
    assert_eq!(claimed(&machine, &["--prove-memory", "1=2048"]), (16_376, None));
    // What shares the processor's memory has no other, and a program no card.
    for (name, kind) in [("Example iGPU", DeviceKind::Integrated), ("llvmpipe", DeviceKind::Discrete)] {
        let tested = capability(vec![wgsl(name, kind, 0x8086)]);
        assert_eq!(unknown_memory(&options(&[]), &tested, &machine), Vec::<String>::new(), "{name}");
        assert_eq!(claims(&options(&[]), &tested, &machine, 4).adapters[0].device().memory_mib, 6_144, "{name}");
    }
}

/// A machine with these cards, of which each is a little slower than the one before.
fn with_cards(cards: &[(&str, DeviceKind, u32)]) -> Capability {
    let mut test = wgsl("unused", DeviceKind::Discrete, 1);
    let passed = (0..).zip(cards).map(|(place, (name, kind, vendor))| {
        let device = wgsl(name, *kind, *vendor).device.unwrap();
        OnePassed { place, summary: (*name).to_owned(), device }
    });
    test.cards = passed.collect();
    let slower = |number: u64| vec![Measured { work: Work::Integer, mop_per_s: 5_000 - number }];
    let beside = (1..).take(cards.len() - 1).map(slower).collect();
    Capability { beside, ..capability(vec![test, wasm()]) }
}

#[test]
fn every_card_is_claimed_under_its_number_with_its_own_speed_and_sixteen_fit_a_record() {
    let (_folder, machine) = bare();
    let cards = [("Example RTX", DeviceKind::Discrete, 0x10de); CARDS_MAX];
    let claimed = claims(&options(&["--prove-memory", "2=512"]), &with_cards(&cards), &machine, 4);
    let whole = record(claimed).unwrap();
    assert_eq!(whole.claimed.adapters.len(), CARDS_MAX);
    assert!(whole.claimed.adapters.iter().all(|adapter| adapter.kind() == Kind::Discrete));
    let claims = |number: usize| {
        let device = whole.claimed.adapters[number - 1].device();
        (device.memory_mib, device.speeds[0].mop_per_s)
    };
    assert_eq!((claims(1), claims(2), claims(16)), ((256, 5_000), (512, 4_999), (256, 4_985)));
    assert_eq!(Record::decode(&whole.encode()).unwrap(), whole);
    let words = unknown_memory(&options(&[]), &with_cards(&cards[..2]), &machine);
    assert!(words.len() == 2 && words[1].ends_with("--prove-memory 2=MIB claims more"), "{words:?}");
}

#[test]
fn a_card_and_what_shares_the_processors_memory_are_two_devices_and_a_program_among_them_is_no_card() {
    let (_folder, machine) = bare();
    let cards = [
        ("Example Radeon", DeviceKind::Discrete, 0x1002),
        ("Example Graphics", DeviceKind::Integrated, 0x8086),
        ("SwiftShader Device", DeviceKind::Virtual, 0x1ae0),
    ];
    let claimed = claims(&options(&[]), &with_cards(&cards), &machine, 4);
    let kinds: Vec<Kind> = record(claimed).unwrap().claimed.adapters.iter().map(Adapter::kind).collect();
    assert_eq!(kinds, [Kind::Discrete, Kind::Integrated, Kind::Cpu]);
}

#[test]
fn who_tests_cards_and_who_reads_records_know_the_same_programs() {
    assert_eq!(keystead_runner::SOFTWARE_NAMES, SOFTWARE_NAMES);
}

#[test]
fn a_processor_is_never_sold_as_a_gpu_whatever_its_driver_says() {
    let lavapipe = "llvmpipe (LLVM 15.0.6, 256 bits)";
    for test in [
        wgsl(lavapipe, DeviceKind::Cpu, 0x10005),
        wgsl(lavapipe, DeviceKind::Discrete, 0x10005),
        wgsl("Microsoft Basic Render Driver", DeviceKind::Virtual, 0x1414),
        wgsl("somebody", DeviceKind::Other, 0x10de),
        wgsl("a card without a maker", DeviceKind::Discrete, 0),
    ] {
        let record = record(of(vec![test.clone()], &[])).unwrap();
        assert_eq!(record.claimed.adapters[0].kind(), Kind::Cpu, "{test:?}");
    }
    let interpreter = of(vec![wgsl("interpreter", DeviceKind::Reference, 0)], &[]);
    assert_eq!(record(interpreter).unwrap().claimed.adapters[0].kind(), Kind::Interpreter);
}

#[test]
fn an_interpreter_takes_what_ends_in_its_time_and_no_lease_and_holds_no_seat_of_a_device() {
    use crate::compute::matching::need::tests::spec;
    let machine = |kind, mop_per_s| {
        let test = wgsl("interpreter", kind, 0);
        let speeds = vec![Measured { work: Work::Integer, mop_per_s }];
        Capability { speeds, ..capability(vec![test, wasm()]) }
    };
    // A million operations at most, of which a unit has a millisecond.
    let job = spec(Runtime::Wgsl1);
    let (able, slow) = (machine(DeviceKind::Reference, 1_000), machine(DeviceKind::Reference, 500));
    assert_eq!(able.admit(&job), Ok(()));
    let refused = slow.admit(&job).unwrap_err();
    assert!(refused.ends_with("needed_ms=2 allowed_ms=1"), "{refused}");
    assert!(able.admit_lease(&job).unwrap_err().contains("for orders alone"));
    // A driver may be faster than the limits let one think, and whoever has one takes leases.
    let driver = machine(DeviceKind::Cpu, 1);
    assert_eq!((driver.admit(&job), driver.admit_lease(&job)), (Ok(()), Ok(())));
    assert_eq!((able.standing().abilities, driver.standing().abilities), (1 | 8, 1 | 2 | 4 | 8));
    assert!(!options(&[]).interpreter && options(&["--interpreter"]).interpreter);
}

#[test]
fn a_machine_with_one_runtime_states_speeds_and_prices_of_that_one() {
    let claimed = of(vec![wasm()], &["--price-per-mop", "7"]);
    let record = record(claimed).unwrap();
    assert!(record.claimed.adapters.is_empty());
    let prices: Vec<(bool, Kernel, u64, U256)> = record
        .claimed
        .prices
        .iter()
        .map(|price| (price.currency == Currency::KST, price.kernel, price.per_mop, price.per_unit_min))
        .collect();
    assert_eq!(prices, [(true, Kernel::Wasm, 7, U256::from(5_000))]);
}

#[test]
fn a_token_is_listed_beside_kst_for_every_kind_of_work_and_three_fill_a_record() {
    let token = |byte: u8| format!("{}={byte}", Address::repeat_byte(byte));
    let words = [3, 1, 2].map(|byte| format!("--token-price={}", token(byte)));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let record = record(of(vec![wgsl("Example RTX", DeviceKind::Discrete, 0x10de), wasm()], &words)).unwrap();
    let of = |currency: Currency| {
        let listed = record.claimed.prices.iter().filter(|price| price.currency == currency);
        listed.map(|price| (price.kernel, price.per_unit_min, price.per_mop)).collect::<Vec<_>>()
    };
    for byte in 1..=3 {
        let expected = Kernel::ALL.iter().map(|kernel| (*kernel, U256::from(byte), 0)).collect::<Vec<_>>();
        assert_eq!(of(Currency::token(Address::repeat_byte(byte))), expected);
    }
    assert_eq!(of(Currency::KST).len(), 4);
    assert!(of(Currency::token(Address::repeat_byte(4))).is_empty());
    let one = of_wasm(&["--token-price", &format!("{},9", token(7))]);
    let prices: Vec<(Currency, u64)> = one.prices.iter().map(|price| (price.currency, price.per_mop)).collect();
    assert_eq!(prices, [(Currency::KST, 0), (Currency::token(Address::repeat_byte(7)), 9)]);
}

#[test]
fn a_unit_costs_the_higher_of_its_price_and_its_work_in_each_currency_and_nothing_is_sold_in_others() {
    let token = Address::repeat_byte(7);
    let record = |prices: &str| {
        record(of_wasm(&["--price-per-mop", "2", "--token-price", &format!("{token}={prices}")])).unwrap()
    };
    // A million operations.
    let spec = super::super::record::tests::spec(1);
    let price = |record: &Record, currency| super::super::offering::price_of(record, 5_000, &spec, currency);
    let (dear, cheap) = (record("9"), record("9,10"));
    assert_eq!(price(&dear, Currency::token(token)), Some(U256::from(9)));
    assert_eq!(price(&cheap, Currency::token(token)), Some(U256::from(10)));
    assert_eq!(price(&dear, Currency::KST), Some(U256::from(5_000)));
    assert_eq!(price(&dear, Currency::token(Address::repeat_byte(8))), None);
}

fn of_wasm(more: &[&str]) -> Claimed {
    of(vec![wasm()], more)
}

#[test]
fn places_that_a_record_cannot_hold_are_refused_before_anything_runs() {
    for wrong in [&["--country", "de"][..], &["--zone", "A B"], &["--operator", "ü"]] {
        assert!(parsed(wrong).is_err(), "{wrong:?}");
    }
    for right in [&["--country", "DE"][..], &["--zone", "rack-7.example"], &["--operator", "me"]] {
        assert!(record(of(vec![wasm()], right)).is_ok(), "{right:?}");
    }
}

#[test]
fn levels_of_instruction_sets_need_every_flag() {
    let flags = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let second = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3";
    let third = format!("{second} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave");
    let fourth = format!("{third} avx512f avx512bw avx512cd avx512dq avx512vl");
    assert_eq!(isa("x86_64", &[]), Isa::X86V1);
    assert_eq!(isa("x86_64", &flags(second)), Isa::X86V2);
    assert_eq!(isa("x86_64", &flags(&third)), Isa::X86V3);
    assert_eq!(isa("x86_64", &flags(&fourth)), Isa::X86V4);
    assert_eq!(isa("x86_64", &flags(&fourth.replace(" fma", ""))), Isa::X86V2);
    assert_eq!(isa("aarch64", &flags("fp asimd")), Isa::Arm64);
    assert_eq!(isa("aarch64", &flags("fp sve")), Isa::Arm64Sve);
    assert_eq!(isa("riscv64", &[]), Isa::Riscv64);
}

#[test]
fn texts_become_what_a_record_takes() {
    assert_eq!(printable(" a\u{202e}b ", "x"), "a?b");
    assert_eq!(printable(" ", "x"), "x");
    assert_eq!(printable(&"é".repeat(500), "x").len(), 64);
    assert_eq!(tag("Mesa 22.3.6 (git-ABC)", "x"), "mesa-22.3.6-git-abc");
    assert_eq!(tag("--", "x"), "x");
    assert!(tag(&"a ".repeat(100), "x").len() <= 64);
}

#[test]
fn a_speed_that_varies_a_little_is_the_old_one_and_a_new_driver_is_a_new_device() {
    let old = of(vec![wgsl("card", DeviceKind::Discrete, 1), wasm()], &[]);
    let mut new = old.clone();
    new.processor.speeds[0].mop_per_s = 900 * 5 / 4;
    assert_eq!(settled(new.clone(), &old), old);
    new.processor.speeds[0].mop_per_s = 900 * 5 / 4 + 1;
    assert_eq!(settled(new.clone(), &old), new);
    new.processor.speeds[0].mop_per_s = 675;
    assert_eq!(settled(new.clone(), &old), old);
    new.processor.speeds[0].mop_per_s = 674;
    assert_eq!(settled(new.clone(), &old), new);
    assert!(same_devices(&new, &old));
    let mut test = wgsl("card", DeviceKind::Discrete, 1);
    test.device.as_mut().unwrap().driver_info = "551".to_owned();
    let other = of(vec![test, wasm()], &[]);
    assert!(!same_devices(&other, &old));
    assert_eq!(settled(other.clone(), &old), other);
}

#[test]
fn energy_is_counted_only_where_a_counter_can_be_read() {
    let (_folder, mut machine) = bare();
    assert_eq!(energy(&machine), EnergyMethod::Unknown);
    machine.cards.push(Card { milliwatts: Reading::known(9, "test"), ..Card::default() });
    assert_eq!(energy(&machine), EnergyMethod::Gpu);
}

#[test]
fn no_more_memory_is_claimed_than_the_owner_ever_gives() {
    let (_folder, machine) = bare();
    let tested = capability(vec![wasm()]);
    for (most, mib) in [(None, 6_144), (Some(7 << 30), 6_144), (Some(2 << 30), 2_048)] {
        let claimed = claims(&options(&[]), &tested.within(most), &machine, 4);
        assert_eq!(claimed.processor.memory_mib, mib, "{most:?}");
    }
}

#[test]
fn power_and_carbon_are_what_counters_show_else_what_the_owner_says_else_nothing() {
    let said = |tests: Vec<SelfTest>, more: &[&str], measured_mw: Option<u32>, preferred_g: Option<u32>| {
        let (options, mut claimed) = (options(more), of(tests, more));
        super::super::power::complete(&mut claimed, &options.claims, measured_mw, preferred_g);
        let words = super::super::power::words(&claimed, &options.claims, measured_mw);
        let adapter = claimed.adapters.first().map(|adapter| adapter.device().power_mw);
        let energy = (claimed.energy.method, claimed.energy.carbon_g_per_kwh);
        let power = claimed.processor.power_mw;
        assert!(record(claimed).is_ok());
        (power, adapter, energy, words)
    };
    let (power, adapter, energy, words) = said(vec![wasm()], &[], None, None);
    assert_eq!((power, adapter, energy), (0, None, (EnergyMethod::Unknown, 0)));
    assert!(words.contains("customers count 2000 W") && words.contains("customers count 1200 g a kWh"), "{words}");
    let options = ["--watts", "85", "--carbon", "40"];
    let (power, _, energy, words) = said(vec![wasm()], &options, None, Some(300));
    assert_eq!((power, energy), (85_000, (EnergyMethod::Model, 40)), "the option comes before the preferences");
    assert_eq!(words, "85 W while it works, as you say; 40 g of carbon dioxide a kWh, as you say");
    let (power, _, energy, words) = said(vec![wasm()], &["--watts", "85"], Some(60_001), Some(300));
    assert_eq!((power, energy.1), (60_001, 300), "what was counted comes before what is said");
    assert!(words.starts_with("61 W while it works, as its counters show, so --watts is not used"), "{words}");
    // A program draws what the processor does; a card what its owner says, where its driver names no limit.
    let lavapipe = wgsl("llvmpipe", DeviceKind::Cpu, 0x10005);
    assert_eq!(said(vec![lavapipe, wasm()], &["--watts", "85"], Some(60_000), None).1, Some(60_000));
    let card = wgsl("Example RTX", DeviceKind::Discrete, 0x10de);
    assert_eq!(said(vec![card, wasm()], &["--watts", "385"], Some(60_000), None).1, Some(385_000));
    for wrong in [["--watts", "0"], ["--watts", "100001"], ["--carbon", "0"], ["--carbon", "5001"]] {
        assert!(parsed(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_power_that_varies_a_little_is_the_old_one() {
    let mut old = of(vec![wasm()], &[]);
    old.processor.power_mw = 60_000;
    let with = |power_mw: u32| {
        let mut new = old.clone();
        new.processor.power_mw = power_mw;
        settled(new, &old).processor.power_mw
    };
    assert_eq!([45_000, 75_000, 44_999, 75_001, 0].map(with), [60_000, 60_000, 44_999, 75_001, 0]);
}
