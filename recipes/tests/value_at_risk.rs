//! The value-at-risk kernel against its reference, its golden result, the closed form and, where present, the real prices.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "tests")]

mod wgsl_runner;

use keystead_recipes::{CustomerSide, InputFile, Inputs, Plan, find};
use proptest::prelude::*;
use std::{fmt::Write as _, fs, path::Path, path::PathBuf};
use wgsl_runner::Kernel;

fn side() -> &'static dyn CustomerSide {
    find("value-at-risk").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("value-at-risk")
}

fn kernel() -> Option<Kernel> {
    let kernel = Kernel::new(core::str::from_utf8(side().program()).unwrap());
    match &kernel {
        Some(kernel) => eprintln!("adapter: {}", kernel.adapter),
        None => eprintln!("skipped: no Vulkan, Metal or DX12 adapter (apt-get install mesa-vulkan-drivers libvulkan1)"),
    }
    kernel
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn prices(path: &Path) -> Inputs {
    Inputs::read(&side().recipe().unwrap(), &[("prices".to_owned(), path.to_owned())]).unwrap()
}

fn golden_prices() -> Inputs {
    prices(&folder().join("golden/prices.csv"))
}

fn planned(inputs: &Inputs, given: &[(&str, &str)]) -> Plan {
    side().plan(inputs, &side().recipe().unwrap().parameters(&pairs(given)).unwrap()).unwrap()
}

/// All outputs by the reference, one thread for each unit.
fn reference(plan: &Plan) -> Vec<Vec<u8>> {
    std::thread::scope(|scope| {
        let common = &plan.common;
        let running: Vec<_> =
            plan.units.iter().map(|unit| scope.spawn(move || side().reference(common, unit).unwrap())).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Result files by name.
fn assembled(inputs: &Inputs, given: &[(&str, &str)], outputs: &[Vec<u8>]) -> (serde_json::Value, String) {
    let parameters = side().recipe().unwrap().parameters(&pairs(given)).unwrap();
    let files = side().assemble(inputs, &parameters, outputs).unwrap();
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["risk.json", "losses.csv"]);
    (serde_json::from_slice(&files[0].bytes).unwrap(), String::from_utf8(files[1].bytes.clone()).unwrap())
}

const SMALL: [(&str, &str); 5] = [
    ("holdings", "AAA=500000,BBB=300000,CCC=-200000"),
    ("horizon-months", "3"),
    ("paths", "65536"),
    ("paths-per-unit", "16384"),
    ("seed", "20261123"),
];

#[test]
fn golden_prices_give_the_committed_plan_outputs_and_report() {
    let (inputs, plan) = (golden_prices(), planned(&golden_prices(), &SMALL));
    let outputs = reference(&plan);
    let hash = |bytes: &[u8]| keystead_job::blob_hash(bytes).to_string();
    let mut text = format!("common {}\n", hash(&plan.common));
    for (index, (unit, output)) in plan.units.iter().zip(&outputs).enumerate() {
        writeln!(text, "unit {index} input {} output {}", hash(unit), hash(output)).unwrap();
    }
    let parameters = side().recipe().unwrap().parameters(&pairs(&SMALL)).unwrap();
    let mut files = vec![("hashes.txt".to_owned(), text.into_bytes())];
    files.extend(
        side().assemble(&inputs, &parameters, &outputs).unwrap().into_iter().map(|file| (file.name, file.bytes)),
    );
    for (name, bytes) in files {
        let path = folder().join("golden").join(&name);
        if std::env::var_os("KEYSTEAD_BLESS").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{name}");
    }
}

#[test]
fn kernel_equals_reference_for_every_number_of_assets() {
    let Some(kernel) = kernel() else { return };
    for assets in 1..=16 {
        let inputs = many_assets(assets);
        let amount = |at: usize| if at % 3 == 1 { "-1000".to_owned() } else { (2_000 + at).to_string() };
        let holdings: String = (0..assets).map(|at| format!("S{at}={},", amount(at))).collect();
        let given = [
            ("holdings", holdings.as_str()),
            ("paths", "65536"),
            ("paths-per-unit", "16384"),
            ("seed", "9223372036854775807"),
        ];
        let plan = planned(&inputs, &given);
        for unit in [&plan.units[0], plan.units.last().unwrap()] {
            let output = kernel.run(&plan.common, unit, plan.limits.output_bytes_max, plan.limits.workgroups);
            assert!(output == side().reference(&plan.common, unit).unwrap(), "{assets} assets");
        }
    }
}

#[test]
fn kernel_equals_reference_across_the_carry_of_the_path_number_and_at_the_default_size() {
    let Some(kernel) = kernel() else { return };
    let mut plan = planned(&golden_prices(), &SMALL);
    // A unit that begins just below 2^32, as the plan would write it.
    plan.units[0][..8].copy_from_slice(&(u64::from(u32::MAX) - 5_000).to_le_bytes());
    plan.units[1][..8].copy_from_slice(&(u64::MAX - 5_000).to_le_bytes());
    for unit in &plan.units {
        let output = kernel.run(&plan.common, unit, plan.limits.output_bytes_max, plan.limits.workgroups);
        assert!(output == side().reference(&plan.common, unit).unwrap());
    }
    let plan = planned(&golden_prices(), &SMALL[..2]);
    assert_eq!(
        (plan.units.len(), plan.limits.output_bytes_max, plan.limits.workgroups),
        (16, 1_048_576, [4_096, 1, 1])
    );
    let output = kernel.run(&plan.common, &plan.units[7], plan.limits.output_bytes_max, plan.limits.workgroups);
    assert!(output == side().reference(&plan.common, &plan.units[7]).unwrap());
}

#[test]
fn kernel_is_valid_and_has_no_floating_point() {
    let module = naga::front::wgsl::parse_str(core::str::from_utf8(side().program()).unwrap()).unwrap();
    let float = |scalar: naga::Scalar| matches!(scalar.kind, naga::ScalarKind::Float | naga::ScalarKind::AbstractFloat);
    for (_, kind) in module.types.iter() {
        match kind.inner {
            naga::TypeInner::Scalar(scalar) | naga::TypeInner::Vector { scalar, .. } => assert!(!float(scalar)),
            naga::TypeInner::Matrix { .. } | naga::TypeInner::Image { .. } => panic!("{kind:?}"),
            _ => {}
        }
    }
    let literals = module.functions.iter().flat_map(|(_, function)| function.expressions.iter());
    for (_, expression) in literals {
        assert!(!matches!(expression, naga::Expression::Literal(naga::Literal::F32(_) | naga::Literal::F64(_))));
    }
}

/// One lognormal asset has a closed form: VaR = 1 - exp(m + s q), ES = 1 - exp(m + s^2/2) Phi(q - s) / (1 - c), q the (1 - c) quantile.
#[test]
fn one_asset_agrees_with_the_closed_form_within_three_standard_errors() {
    // Quantile and distribution values from tables with 15 digits.
    for (confidence, quantile) in
        [("9000", -1.281_551_565_544_600_4), ("9500", -1.644_853_626_951_473), ("9900", -2.326_347_874_040_841)]
    {
        let given = [
            ("holdings", "BBB=1000"),
            ("horizon-months", "6"),
            ("confidence-basis-points", confidence),
            ("paths", "1048576"),
        ];
        let inputs = golden_prices();
        let (report, _) = assembled(&inputs, &given, &reference(&planned(&inputs, &given)));
        let number = |pointer: &str| report.pointer(pointer).unwrap().as_f64().unwrap();
        let mean = number("/assets/0/mean_log_return_over_horizon");
        let deviation = number("/assets/0/standard_deviation_of_log_return_over_horizon");
        let tail = 1.0 - confidence.parse::<f64>().unwrap() / 10_000.0;
        let value_at_risk = 1.0 - (mean + deviation * quantile).exp();
        let low = phi(quantile - deviation);
        let shortfall = 1.0 - (mean + deviation * deviation / 2.0).exp() * low / tail;
        // Standard error of a quantile: sqrt(c (1 - c) / n) / density.
        let density = (-quantile * quantile / 2.0).exp()
            / (2.0 * core::f64::consts::PI).sqrt()
            / deviation
            / (1.0 - value_at_risk);
        let error = (tail * (1.0 - tail) / number("/paths")).sqrt() / density;
        let off = number("/value_at_risk/fraction_of_gross_value") - value_at_risk;
        assert!(off.abs() < 3.0 * error, "{confidence}: off by {off}, error {error}");
        let interval =
            ["0", "1"].map(|at| number(&format!("/value_at_risk/simulation_interval_95_percent_fraction/{at}")));
        assert!(((interval[1] - interval[0]) / (2.0 * 1.96 * error) - 1.0).abs() < 0.2, "{interval:?} {error}");
        let error = number("/expected_shortfall/simulation_standard_error_fraction");
        let off = number("/expected_shortfall/fraction_of_gross_value") - shortfall;
        assert!(off.abs() < 3.0 * error, "{confidence}: off by {off}, error {error}");
    }
}

/// The mean loss of a portfolio has a closed form, whatever the correlations: the means of lognormals.
#[test]
fn mean_loss_of_a_mixed_portfolio_agrees_with_the_closed_form() {
    let inputs = golden_prices();
    let given = [("holdings", "AAA=5,BBB=3,CCC=-2"), ("horizon-months", "3"), ("paths", "1048576")];
    let outputs = reference(&planned(&inputs, &given));
    let losses: Vec<f64> = outputs
        .iter()
        .flatten()
        .copied()
        .collect::<Vec<u8>>()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| f64::from(i32::from_le_bytes(*word)))
        .collect();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    let variance = losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / losses.len() as f64;
    let error = (variance / losses.len() as f64).sqrt() / 16_777_216.0;
    let (report, _) = assembled(&inputs, &given, &outputs);
    let number = |name: &str| report.pointer(&format!("/loss/{name}")).unwrap().as_f64().unwrap();
    let off = number("mean_fraction") - number("mean_fraction_in_closed_form");
    assert!(off.abs() < 3.0 * error, "off by {off}, error {error}");
}

#[test]
fn outputs_that_no_kernel_writes_are_refused_by_unit() {
    let (inputs, plan) = (golden_prices(), planned(&golden_prices(), &SMALL));
    let parameters = side().recipe().unwrap().parameters(&pairs(&SMALL)).unwrap();
    let good = reference(&plan);
    let refused = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut outputs = good.clone();
        change(&mut outputs);
        side().assemble(&inputs, &parameters, &outputs).unwrap_err().to_string()
    };
    assert!(refused(&|outputs| outputs.truncate(3)).contains("got=3 expected=4"));
    assert!(refused(&|outputs| outputs[2].truncate(65_532)).contains("unit 2"));
    assert!(refused(&|outputs| outputs[1][..4].copy_from_slice(&i32::MAX.to_le_bytes())).contains("unit 1"));
    assert!(refused(&|outputs| outputs[3][8..12].copy_from_slice(&i32::MIN.to_le_bytes())).contains("unit 3"));
}

#[test]
fn settings_out_of_range_are_explained() {
    let inputs = golden_prices();
    for (name, value, part) in [
        ("paths-per-unit", "16385", "multiple of 64"),
        ("holdings", "ZZZ=1", "it has: AAA, BBB, CCC"),
        ("holdings", "AAA", "SYMBOL=AMOUNT"),
        ("currency", "US D", "letters or digits"),
        ("paths", "33554432", "paths in whole units"),
    ] {
        let mut given = pairs(&[(name, value)]);
        if name == "paths" {
            given.extend(pairs(&[("paths-per-unit", "1000000")]));
        }
        let parameters = side().recipe().unwrap().parameters(&given).unwrap();
        let error = side().plan(&inputs, &parameters).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let missing = side().plan(&Inputs::default(), &side().recipe().unwrap().parameters(&[]).unwrap()).unwrap_err();
    assert!(missing.to_string().contains("prices"), "{missing}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn any_change_of_the_price_file_gives_a_plan_or_an_error(at in 0..2_000_usize, byte: u8, cut in 0..2_600_usize) {
        let mut bytes = fs::read(folder().join("golden/prices.csv")).unwrap();
        bytes[at] = byte;
        bytes.truncate(cut);
        let inputs = Inputs::default().with("prices", InputFile { path: "any".to_owned(), bytes });
        let recipe = side().recipe().unwrap();
        let parameters = recipe.parameters(&pairs(&[("holdings", "AAA=1,BBB=1")])).unwrap();
        if let Ok(plan) = side().plan(&inputs, &parameters) {
            plan.limits.check(recipe.runtime).unwrap();
        }
    }
}

/// Real prices, fetched by `recipes/fetch_inputs.py FOLDER`; `KEYSTEAD_INPUTS` names the folder.
#[test]
fn real_prices_give_the_committed_report_in_kernel_and_reference() {
    let path = std::env::var_os("KEYSTEAD_INPUTS")
        .map(|folder| Path::new(&folder).join("stocks.csv"))
        .filter(|path| path.is_file());
    let Some(path) = path else {
        eprintln!("skipped: stocks.csv (run recipes/fetch_inputs.py FOLDER and set KEYSTEAD_INPUTS=FOLDER)");
        return;
    };
    let Some(kernel) = kernel() else { return };
    let inputs = prices(&path);
    let plan = planned(&inputs, &[]);
    let run = |unit: &Vec<u8>| kernel.run(&plan.common, unit, plan.limits.output_bytes_max, plan.limits.workgroups);
    let outputs: Vec<_> = plan.units.iter().map(run).collect();
    assert!(outputs == reference(&plan));
    let (report, histogram) = assembled(&inputs, &[], &outputs);
    assert!(histogram.lines().count() > 50);
    let golden = folder().join("golden/real.json");
    if std::env::var_os("KEYSTEAD_BLESS").is_some() {
        fs::write(&golden, format!("{report:#}\n")).unwrap();
    }
    // Compared as values: the order of the fields depends on serde_json's features, which differ between builds.
    let committed: serde_json::Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    assert_eq!(report, committed);
}

/// The lower tail of the standard normal by its continued fraction (z < -1), as tables do.
fn phi(z: f64) -> f64 {
    let fraction = (1..200).rev().fold(-z, |below, k| -z + f64::from(k) / below);
    (-z * z / 2.0).exp() / (2.0 * core::f64::consts::PI).sqrt() / fraction
}

/// Sixty months of invented prices of `count` assets that move partly together.
fn many_assets(count: usize) -> Inputs {
    let mut text = "symbol,date,price\n".to_owned();
    let mut state = 12_345_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / 16_777_216.0 - 0.5
    };
    let mut prices = vec![100.0_f64; count];
    for month in 0..60 {
        let together = next() * 0.1;
        for (at, price) in prices.iter_mut().enumerate() {
            writeln!(text, "S{at},{}-{:02}-01,{price:.6}", 2_000 + month / 12, month % 12 + 1).unwrap();
            *price *= 1.0 + together + next() * 0.15;
        }
    }
    Inputs::default().with("prices", InputFile { path: "made.csv".to_owned(), bytes: text.into_bytes() })
}
