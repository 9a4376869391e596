//! The recipes' outside checks: real input from packages, results compared with independent software.

use crate::{
    process::{build_workspace, run as run_command, target, tee},
    tally::Tally,
    tools,
};
use eyre::Result;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// One result and the program that judges it.
struct Check {
    recipe: &'static str,
    /// Name of the input and file among the fetched ones.
    inputs: &'static [(&'static str, &'static str)],
    /// The same with files of the tree.
    own: &'static [(&'static str, &'static str)],
    /// Part of the output folder's name.
    label: &'static str,
}

/// What every run checks.
const USUAL: &[Check] = &[
    Check {
        recipe: "align",
        inputs: &[("queries", "insulin.faa"), ("targets", "insulin.faa")],
        own: &[],
        label: "insulin",
    },
    Check { recipe: "align", inputs: &[("queries", "LuxC.faa"), ("targets", "LuxC.faa")], own: &[], label: "luxc" },
    Check {
        recipe: "align-wgsl",
        inputs: &[("queries", "LuxC.faa"), ("targets", "LuxC.faa")],
        own: &[],
        label: "luxc",
    },
    Check { recipe: "matmul", inputs: &[], own: &[], label: "invented" },
    Check { recipe: "nbody", inputs: &[], own: &[], label: "figure-8" },
    Check { recipe: "render", inputs: &[], own: &[("scene", "recipes/render/scenes/furnace.json")], label: "furnace" },
    Check { recipe: "sha256-search", inputs: &[], own: &[], label: "text" },
    Check { recipe: "value-at-risk", inputs: &[("prices", "stocks.csv")], own: &[], label: "stocks" },
];

/// What takes minutes: a whole proteome.
const LONG: &[Check] = &[Check {
    recipe: "align",
    inputs: &[("queries", "LuxC.faa"), ("targets", "938293.PRJEB85.HG003687.faa")],
    own: &[],
    label: "proteome",
}];

/// Folder of everything that the checks fetch and make.
fn cache(root: &Path) -> PathBuf {
    target(root).join("recipe-checks")
}

/// Where the real input files lie once fetched; tests find them through `KEYSTEAD_INPUTS`.
pub(crate) fn inputs(root: &Path) -> PathBuf {
    cache(root).join("inputs")
}

/// Fetches the input files.
pub(crate) fn fetch(root: &Path) -> Result<PathBuf> {
    let python = python(root)?;
    run_command(Command::new(&python).arg(root.join("recipes/fetch_inputs.py")).arg(inputs(root)))?;
    Ok(python)
}

/// Fetches the input files and runs every check.
pub(crate) fn run(root: &Path, long: bool) -> Result<Tally> {
    let python = fetch(root)?;
    let local = build_workspace(root)?.join("examples").join("local");
    let mut tally = Tally::default();
    for check in USUAL.iter().chain(if long { LONG } else { &[] }) {
        tally.add(Tally::step(judge(root, &python, &local, check)?));
    }
    for script in ["recipes/align/build.sh", "recipes/matmul/build.sh"] {
        let rebuilt = tee(Command::new("bash").arg(script).arg("--check").current_dir(root))?;
        tally.add(Tally::step(rebuilt.success));
        tally
            .skipped
            .extend(rebuilt.lines.iter().filter_map(|line| line.trim().strip_prefix("skipped: ")).map(str::to_owned));
    }
    Ok(tally)
}

/// Computes one result with the CPU reference and lets the outside program judge it.
fn judge(root: &Path, python: &Path, local: &Path, check: &Check) -> Result<bool> {
    let out = cache(root).join(format!("{}-{}", check.recipe, check.label));
    let mut compute = Command::new(local);
    compute.arg(check.recipe).arg("--out").arg(&out).current_dir(root);
    let mut outside = Command::new(python);
    let judge = if check.recipe == "align-wgsl" { "align" } else { check.recipe };
    outside.arg(root.join("recipes").join(judge).join("check.py"));
    let fetched = check.inputs.iter().map(|(name, file)| (name, inputs(root).join(file)));
    let own = check.own.iter().map(|(name, file)| (name, root.join(file)));
    for (name, path) in fetched.chain(own) {
        compute.arg("--input").arg(format!("{name}={}", path.display()));
        outside.arg(format!("--{name}")).arg(path);
    }
    if check.recipe == "align-wgsl" {
        // Its default, as it traces what it reports on the customer's machine.
        outside.args(["--score-min", "50"]);
    }
    outside.arg("--result").arg(if judge == "align" { out.join("alignments.tsv") } else { out });
    run_command(&mut compute)?;
    Ok(tee(&mut outside)?.success)
}

/// A Python with the pinned packages, in an environment of its own.
fn python(root: &Path) -> Result<PathBuf> {
    tools::python_packages(&cache(root).join("python"), &root.join("recipes/requirements.txt"))
}
