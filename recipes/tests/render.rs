//! The path tracer's kernel against its reference, furnaces and an analytic scene.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::cast_precision_loss, clippy::indexing_slicing, reason = "tests")]

mod wgsl_runner;

use keystead_recipes::{CustomerSide, Error, InputFile, Inputs, Plan, find};
use std::{fs, path::Path, path::PathBuf};
use wgsl_runner::kernel_of;

fn side() -> &'static dyn CustomerSide {
    find("render").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("render")
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn scene(text: &str) -> Inputs {
    Inputs::default().with("scene", InputFile { path: "s.json".to_owned(), bytes: text.as_bytes().to_vec() })
}

fn plan_of(inputs: &Inputs, given: &[(&str, &str)]) -> Result<Plan, Error> {
    side().plan(inputs, &side().recipe().unwrap().parameters(&pairs(given)).unwrap())
}

fn reference(plan: &Plan) -> Vec<Vec<u8>> {
    let chain = |unit: &Vec<u8>| {
        (0..plan.segment_count).fold(unit.clone(), |state, _| side().reference(&plan.common, &state).unwrap())
    };
    plan.units.iter().map(chain).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Mean light of each pixel, all colours, of the first unit.
fn light(plan: &Plan) -> Vec<[f32; 3]> {
    let numbers = numbers(&reference(plan)[0]);
    numbers[4..].as_chunks::<3>().0.iter().map(|sum| sum.map(|part| part / numbers[0])).collect()
}

/// Share of elements that disagree by specs/0003-job.md section 9.
fn disagreeing(a: &[u8], b: &[u8], factor: f64) -> f64 {
    let tolerance = side().recipe().unwrap().tolerance.as_ref().unwrap().tolerance();
    let (absolute, relative) = (factor * tolerance.absolute.to_f64(), factor * tolerance.relative.to_f64());
    let (a, b) = (numbers(a), numbers(b));
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(&b).filter(|(a, b)| {
        let (a, b) = (f64::from(**a), f64::from(**b));
        (a - b).abs() > absolute + relative * a.abs().max(b.abs())
    });
    far.count() as f64 / a.len() as f64
}

const GOLDEN: [(&str, &str); 4] = [("width", "48"), ("height", "40"), ("samples", "12"), ("rows-per-unit", "24")];

#[test]
fn golden_settings_give_the_committed_picture() {
    let plan = plan_of(&Inputs::default(), &GOLDEN).unwrap();
    assert_eq!((plan.units.len(), plan.limits.workgroups), (2, [6, 3, 1]));
    let parameters = side().recipe().unwrap().parameters(&pairs(&GOLDEN)).unwrap();
    let files = side().assemble(&Inputs::default(), &parameters, &reference(&plan)).unwrap();
    let path = folder().join("golden/picture.png");
    if std::env::var_os("KEYSTEAD_BLESS").is_some() {
        fs::write(&path, &files[0].bytes).unwrap();
    }
    assert!(files[0].bytes == fs::read(path).unwrap());
}

#[test]
fn each_segment_of_the_kernel_is_within_the_tolerance_of_the_reference() {
    let Some(kernel) = kernel_of(side()) else { return };
    let given = [("width", "61"), ("height", "50"), ("samples", "100"), ("rows-per-unit", "20")];
    let plan = plan_of(&Inputs::default(), &given).unwrap();
    assert_eq!((plan.units.len(), plan.segment_count), (3, 2));
    for unit in &plan.units {
        let mut state = unit.clone();
        for _ in 0..plan.segment_count {
            let expected = side().reference(&plan.common, &state).unwrap();
            state = kernel.run(&plan.common, &state, plan.limits.output_bytes_max, plan.limits.workgroups);
            let share = disagreeing(&state, &expected, 1.0);
            eprintln!("outliers: {share}");
            assert!(share <= 0.025, "{share}");
        }
    }
}

#[test]
fn shortcuts_are_beyond_the_wider_bound() {
    let plan = plan_of(&Inputs::default(), &[("width", "32"), ("height", "32"), ("samples", "64")]).unwrap();
    let factor = f64::from(side().recipe().unwrap().tolerance.as_ref().unwrap().sound_factor);
    let right = side().reference(&plan.common, &plan.units[0]).unwrap();
    let with = |word: usize, value: u32| {
        let mut common = plan.common.clone();
        common[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
        let mut output = side().reference(&common, &plan.units[0]).unwrap();
        // The count of samples is easily forged.
        output[..4].copy_from_slice(&right[..4]);
        output
    };
    for (name, cheat) in
        [("a quarter of the samples", with(5, 16)), ("two bounces", with(6, 2)), ("other paths", with(7, 9))]
    {
        assert!(disagreeing(&cheat, &right, factor) > 0.05, "{name}");
    }
}

/// In a sky of equal light a convex matte body shows its colour, mirror and clear glass show nothing: without any noise.
#[test]
fn furnaces_are_constant() {
    let text = fs::read_to_string(folder().join("scenes/furnace.json")).unwrap();
    let given = [("width", "24"), ("height", "24"), ("samples", "4"), ("bounces", "64")];
    let sky = [1.0, 0.5, 0.25];
    for (material, share) in [("half", 0.5), ("mirror", 1.0), ("glass", 1.0)] {
        let text = text.replacen(
            "\"radius\": 0.8, \"material\": \"half\"",
            &format!("\"radius\": 2.0, \"material\": {material:?}"),
            1,
        );
        let got = light(&plan_of(&scene(&text), &given).unwrap());
        let centre = got[12 * 24 + 12];
        assert!((0..3).all(|at| (centre[at] - share * sky[at]).abs() < 1e-5), "{material}: {centre:?}");
        let corner = got[0];
        assert!((0..3).all(|at| (corner[at] - sky[at]).abs() < 1e-5), "{material}: {corner:?}");
    }
}

/// Straight below a round lamp a matte floor shows `colour * lamp * (R / d)^2`.
#[test]
fn a_floor_below_a_lamp_is_as_bright_as_the_formula_says() {
    let text = r#"{
        "camera": {"from": [0.0, 0.5, 0.6], "to": [0.0, 0.0, 0.0], "height": 0.01},
        "materials": {"floor": {"kind": "matte", "colour": [0.8, 0.4, 0.2]}, "lamp": {"kind": "light", "colour": [5.0, 5.0, 5.0]}},
        "spheres": [{"centre": [0.0, 3.0, 0.0], "radius": 1.0, "material": "lamp"}],
        "quads": [{"corner": [-50.0, 0.0, -50.0], "edges": [[100.0, 0.0, 0.0], [0.0, 0.0, 100.0]], "material": "floor"}]
    }"#;
    let got = light(&plan_of(&scene(text), &[("width", "24"), ("height", "24"), ("samples", "512")]).unwrap());
    let mean: f64 = got.iter().map(|pixel| f64::from(pixel[0])).sum::<f64>() / got.len() as f64;
    // A path meets the lamp with the probability (1/3)^2 and then brings 4: over 294,912 paths the deviation is 0.0023.
    let (expected, deviation) = (0.8 * 5.0 / 9.0, 4.0 * (1.0_f64 / 9.0 * 8.0 / 9.0 / 294_912.0).sqrt());
    assert!((mean - expected).abs() < 4.0 * deviation, "{mean} {expected} {deviation}");
}

/// Far below a small flat lamp: `colour * lamp * area / (pi d^2)`, whether it is a quad or two triangles, seen directly by matte surfaces.
#[test]
fn a_floor_below_a_flat_lamp_is_as_bright_as_the_formula_says() {
    let quad = r#""quads": [FLOOR, {"corner": [-0.1, 3.0, -0.1], "edges": [[0.2, 0.0, 0.0], [0.0, 0.0, 0.2]], "material": "lamp"}]"#;
    let triangles = r#""quads": [FLOOR], "triangles": [
        {"corners": [[-0.1, 3.0, -0.1], [0.1, 3.0, -0.1], [0.1, 3.0, 0.1]], "material": "lamp"},
        {"corners": [[-0.1, 3.0, -0.1], [0.1, 3.0, 0.1], [-0.1, 3.0, 0.1]], "material": "lamp"}]"#;
    let floor =
        r#"{"corner": [-50.0, 0.0, -50.0], "edges": [[100.0, 0.0, 0.0], [0.0, 0.0, 100.0]], "material": "floor"}"#;
    for shapes in [quad, triangles] {
        let text = r#"{
            "camera": {"from": [0.0, 0.5, 0.6], "to": [0.0, 0.0, 0.0], "height": 0.01},
            "materials": {"floor": {"kind": "matte", "colour": [0.8, 0.4, 0.2]}, "lamp": {"kind": "light", "colour": [90, 90, 90]}},
            SHAPES }"#;
        let text = text.replace("SHAPES", shapes).replace("FLOOR", floor);
        let got = light(&plan_of(&scene(&text), &[("width", "8"), ("height", "8"), ("samples", "64")]).unwrap());
        let mean: f64 = got.iter().map(|pixel| f64::from(pixel[1])).sum::<f64>() / got.len() as f64;
        // The lamp's size changes the formula by less than 0.3 percent.
        let expected = 0.4 * 90.0 * 0.04 / (core::f64::consts::PI * 9.0);
        assert!((mean / expected - 1.0).abs() < 0.005, "{mean} {expected}");
    }
}

#[test]
fn scenes_that_are_wrong_are_named_with_what_is_wrong() {
    let good = fs::read_to_string(folder().join("scenes/box.json")).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        plan_of(&scene(&good.replacen(from, to, 1)), &[]).unwrap_err().to_string()
    };
    for (from, to, what) in [
        ("\"kind\": \"matte\"", "\"kind\": \"velvet\"", "velvet"),
        ("\"camera\"", "\"camra\"", "camra"),
        ("\"radius\": 0.42", "\"radius\": 0", "radius"),
        ("\"radius\": 0.42", "\"radius\": -1", "radius"),
        ("\"material\": \"glass\"", "\"material\": \"glas\"", "no material"),
        ("\"index\": 1.5", "\"index\": 0.5", "index"),
        ("\"height\": 0.75", "\"height\": 0", "camera"),
        ("\"to\": [0.0, 0.98, 0.0]", "\"to\": [0.0, 1.0, 3.6]", "camera"),
        ("[[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]", "[[2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]", "parallel"),
        ("[0.60, 1.10, -0.78]", "[1.50, 0.0, -0.38]", "line"),
        ("[13.0, 10.6, 7.6]", "[1e300, 1, 1]", "colours"),
        ("{", "", "s.json:"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(what) && error.starts_with("s.json"), "{to}: {error}");
    }
    let many = format!(
        "{}, {}",
        "{\"centre\": [0,0,0], \"radius\": 1, \"material\": \"glass\"}, ".repeat(256).trim_end_matches(", "),
        ""
    );
    let error = refused("\"spheres\": [", &format!("\"spheres\": [{}", many.trim_end_matches(", ").to_owned() + ","));
    assert!(error.contains("256 shapes"), "{error}");
}

#[test]
fn sums_that_the_program_cannot_have_written_are_refused() {
    let plan = plan_of(&Inputs::default(), &GOLDEN).unwrap();
    let parameters = side().recipe().unwrap().parameters(&pairs(&GOLDEN)).unwrap();
    let right = reference(&plan);
    let assembled = |outputs: &[Vec<u8>]| side().assemble(&Inputs::default(), &parameters, outputs);
    assert!(assembled(&right).is_ok());
    assert!(matches!(assembled(&right[1..]), Err(Error::OutputCount { .. })));
    for (at, number) in [(0, 11.0), (4, 0.0), (8, 23.0), (100, f32::NAN), (100, -1.0), (100, f32::INFINITY)] {
        let mut bad = right.clone();
        bad[1][at..at + 4].copy_from_slice(&f32::to_le_bytes(number));
        assert!(matches!(assembled(&bad), Err(Error::Output { unit: 1, .. })), "{at} {number}");
    }
    let mut short = right;
    short[0].truncate(64);
    assert!(matches!(assembled(&short), Err(Error::Output { unit: 0, .. })));
}
