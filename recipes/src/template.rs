//! A recipe to begin with: a folder that works at once and needs no tool.
//!
//! # Design
//! Square roots of a range of numbers: the whole root can be compared exactly and checked more cheaply than computed, the root in single precision
//! agrees within a tolerance. So one example serves every class. Programs are WebAssembly text or WGSL, which this program reads itself.

use crate::{Error, ResultFile};
use core::fmt::Write as _;
use keystead_job::{Class, Runtime, spec::RecipeName};

const FRAME: &str = include_str!("../templates/frame.wat");
const CHECKER: &str = include_str!("../templates/checker.wat");
const MANIFEST: &str = include_str!("../templates/recipe.toml.txt");
const README: &str = include_str!("../templates/README.md.txt");

/// The golden result's job: two units, the second one short.
const GOLDEN_FIRST: u32 = 999_950;
const GOLDEN_COUNT: u32 = 100;
const GOLDEN_SIZE: u32 = 64;

/// The files of a new recipe; names are paths inside of its folder, with `/`.
///
/// # Errors
/// [`Error::Cut`] for a class without a check.
pub fn files(name: &RecipeName, runtime: Runtime, class: Class) -> Result<Vec<ResultFile>, Error> {
    if matches!(class, Class::Statistical | Class::Opaque) {
        let what = format!("no result of class {class} can be checked: choose exact, self-checking or tolerance");
        return Err(Error::Cut { what });
    }
    let single = class == Class::Tolerance;
    let mut files = vec![
        ("recipe.toml".to_owned(), manifest(name, runtime, class)),
        ("README.md".to_owned(), readme(name, runtime, class)),
        (program_path(runtime).to_owned(), program(runtime, single)),
        ("reference/reference.wat".to_owned(), reference(single)),
        ("golden/roots.tsv".to_owned(), golden(single)),
    ];
    if class == Class::SelfChecking {
        files.push(("kernel/checker.wat".to_owned(), checker(runtime)));
    }
    Ok(files.into_iter().map(|(name, text)| ResultFile { name, bytes: text.into_bytes() }).collect())
}

const fn program_path(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Wasm1 => "kernel/program.wat",
        Runtime::Wgsl1 => "kernel/program.wgsl",
    }
}

fn framed(about: &str, item: &str, single: bool) -> String {
    let store = if single { "f32.store" } else { "i32.store" };
    FRAME.replace("{about}", about).replace("{item}", item.trim_end()).replace("{store}", store)
}

fn program(runtime: Runtime, single: bool) -> String {
    match (runtime, single) {
        (Runtime::Wgsl1, false) => include_str!("../templates/roots.wgsl").to_owned(),
        (Runtime::Wgsl1, true) => include_str!("../templates/roots_float.wgsl").to_owned(),
        (Runtime::Wasm1, false) => {
            framed("Whole square roots of a range of numbers.", include_str!("../templates/item_bits.wat"), false)
        }
        (Runtime::Wasm1, true) => framed(
            "Square roots of a range of numbers in single precision.",
            include_str!("../templates/item_single.wat"),
            true,
        ),
    }
}

/// An output must have its one right length too: what is behind the items is nobody's result.
fn checker(runtime: Runtime) -> String {
    let (length, words) = match runtime {
        Runtime::Wasm1 => ("A word for each item.", "(local.get $left)"),
        Runtime::Wgsl1 => (
            "As many words as the largest unit of the job has items: the smaller of the parameters count and numbers-per-unit.",
            "(i32.wrap_i64 (select (i64.load offset=8 (local.get $common)) (i64.load offset=16 (local.get $common))\n        \
             (i64.lt_u (i64.load offset=8 (local.get $common)) (i64.load offset=16 (local.get $common)))))",
        ),
    };
    CHECKER.replace("{length}", length).replace("{words}", words)
}

/// Another way to the same numbers.
fn reference(single: bool) -> String {
    let about = "The reference: what the program must give, computed in another way.";
    if single {
        framed(about, include_str!("../templates/item_double.wat"), true)
    } else {
        framed(about, include_str!("../templates/item_halves.wat"), false)
    }
}

/// Computed here, by neither of the programs.
fn golden(single: bool) -> String {
    let mut text = "number\troot\n".to_owned();
    for number in GOLDEN_FIRST..GOLDEN_FIRST.saturating_add(GOLDEN_COUNT) {
        // LOSSY: the golden numbers are below 2^24, so they are exact. Writing into memory cannot fail.
        #[allow(clippy::cast_precision_loss)]
        let _ = if single {
            writeln!(text, "{number}\t{}", (number as f32).sqrt())
        } else {
            writeln!(text, "{number}\t{}", number.isqrt())
        };
    }
    text
}

fn summary(class: Class) -> &'static str {
    if class == Class::Tolerance {
        "Square roots of a range of numbers in single precision."
    } else {
        "Whole square roots of a range of numbers."
    }
}

fn manifest(name: &RecipeName, runtime: Runtime, class: Class) -> String {
    let (name, program, summary) = (name.as_str(), program_path(runtime), summary(class));
    let gpu = runtime == Runtime::Wgsl1;
    let bound = if gpu { "loop_iterations_max = 64" } else { "fuel_max = 2000000000" };
    let workgroup =
        if gpu { "\nworkgroup = [64, 1]            # the kernel's workgroup size: one invocation an item" } else { "" };
    let kind = if class == Class::Tolerance { "f32" } else { "u32" };
    let check = match class {
        Class::SelfChecking => "\n[checker]\nprogram = \"kernel/checker.wat\"\nfuel_max = 1000000000\n",
        Class::Tolerance => {
            "\n[tolerance]                      # when two machines' results agree\nelement = \"f32\"\nabsolute = 1e-5\nrelative = 1e-5\nsound_factor = 100\n"
        }
        Class::Exact | Class::Statistical | Class::Opaque => "",
    };
    MANIFEST
        .replace("{name}", name)
        .replace("{summary}", summary)
        .replace("{runtime}", runtime.as_str())
        .replace("{class}", class.as_str())
        .replace("{program}", program)
        .replace("{check}", check)
        .replace("{bound}", bound)
        .replace("{workgroup}", workgroup)
        .replace("{kind}", kind)
        .replace("{GOLDEN_FIRST}", &GOLDEN_FIRST.to_string())
        .replace("{GOLDEN_COUNT}", &GOLDEN_COUNT.to_string())
        .replace("{GOLDEN_SIZE}", &GOLDEN_SIZE.to_string())
}

fn readme(name: &RecipeName, runtime: Runtime, class: Class) -> String {
    let checker = "| `kernel/checker.wat` | tells right outputs from wrong ones, more cheaply than they are made |\n";
    let compiler = match runtime {
        Runtime::Wgsl1 => "",
        Runtime::Wasm1 => {
            "\nA program in another language: C with `clang --target=wasm32 -O3 -ffreestanding -nostdlib -Wl,--no-entry`, Rust with the target \
             `wasm32-unknown-unknown`; it\nimports nothing and exports `memory`, `alloc` and `run` (specs/0003-job.md §6). Name the `.wasm` in recipe.toml.\n"
        }
    };
    let text = README
        .replace("{name}", name.as_str())
        .replace("{summary}", summary(class))
        .replace("{runtime}", runtime.as_str())
        .replace("{class}", class.as_str())
        .replace("{program}", program_path(runtime))
        .replace("{checker_row}", if class == Class::SelfChecking { checker } else { "" })
        .replace("{compiler}", compiler);
    format!("{}\n", text.trim_end())
}
