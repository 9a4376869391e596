//! `keystead recipe check`: what can be found out about a recipe's folder on this machine, before a stranger's machine is paid for it.
//!
//! # Design
//! The small job under `[golden]` is planned and run as a provider would run it ([`trial`]), then looked at from every side that the market has:
//! again, on the reference, on a false second vendor ([`machines`]); by the class' own rule with forged outputs ([`forgeries`]); within tighter limits
//! ([`limits`]). Everything is told as it is found out ([`report`]); a failure does not stop what does not rest on it.
//!
//! # Invariants
//! Nothing of the folder runs in this process. What is run is bounded by the recipe's own limits, by [`UNITS_MAX`] and by the format's bounds.

mod forgeries;
mod limits;
mod machines;
mod report;
mod trial;

pub(crate) use machines::sample;

use super::run_step;
use crate::{cli::RecipeCheck, compute::files};
use eyre::{Context as _, Result};
use keystead_job::{Class, Recipe, Runtime, parameter::Parameters};
use keystead_recipes::{CustomerSide as _, Folder, Inputs, Plan, ResultFile};
use keystead_runner::{Failure, Limit, Said};
use report::Report;
use std::{path::Path, process::ExitCode};
use trial::{On, Trial};

/// Most units of a golden job: it is run several times while a person waits.
const UNITS_MAX: usize = 256;
const GUIDE: &str = "docs/guides/write-a-recipe.md";

/// The golden job's files and settings.
struct Golden {
    inputs: Inputs,
    parameters: Parameters,
}

pub(crate) async fn check(options: &RecipeCheck) -> Result<ExitCode> {
    let mut report = Report::default();
    if let Some(folder) = opened(&options.folder, &mut report) {
        examine(&folder, options, &mut report).await?;
    }
    report.end();
    Ok(ExitCode::from(u8::from(report.has_failed())))
}

/// Everything that is wrong with the folder, at once.
fn opened(path: &Path, report: &mut Report) -> Option<Folder> {
    match Folder::open(path) {
        Ok(folder) => {
            let recipe = folder.manifest_keys();
            let detail = format!("{}, {} {}", recipe.name.as_str(), recipe.runtime, recipe.class);
            report.passed("manifest", &detail);
            if !path.join("README.md").is_file() {
                report.noted("README.md", "is missing: say what the recipe computes and how results are checked");
            }
            Some(folder)
        }
        Err(faults) => {
            let next = format!("mend it and check again; {GUIDE} explains each key");
            for (at, fault) in faults.iter().enumerate() {
                report.failed(
                    "manifest",
                    &fault.to_string(),
                    if at.saturating_add(1) == faults.len() { &next } else { "" },
                );
            }
            None
        }
    }
}

async fn examine(folder: &Folder, options: &RecipeCheck, report: &mut Report) -> Result<()> {
    let recipe = folder.manifest_keys();
    let Some(golden) = golden(folder, recipe, report) else { return Ok(()) };
    let Some(plan) = planned(folder, recipe, &golden, report).await else { return Ok(()) };
    let trial = match Trial::new(folder, plan) {
        Ok(trial) => trial,
        Err(error) => {
            report.failed("plan", &format!("{error:#}"), "no provider would take this job: change [plan] or [limits]");
            return Ok(());
        }
    };
    if !admitted(&trial, report).await {
        return Ok(());
    }
    let Some(outputs) = machines::twice(&trial, report).await else { return Ok(()) };
    machines::on_reference(&trial, report).await;
    machines::by_reference_program(&trial, &outputs, report).await;
    forgeries::find(&trial, &outputs, report).await;
    if recipe.class == Class::Tolerance {
        machines::other_vendors(&trial, report).await;
    }
    if let Some(files) = result(&trial, &golden, outputs, report).await {
        compare_golden(folder, options, &files, report)?;
    }
    limits::measure(folder, &golden.inputs, trial, report).await;
    Ok(())
}

/// Files and settings of `[golden]`; without it the defaults.
fn golden(folder: &Folder, recipe: &Recipe, report: &mut Report) -> Option<Golden> {
    let set: Vec<_> = recipe.golden.iter().flat_map(|golden| golden.set.clone()).collect();
    if recipe.golden.is_none() {
        report.failed(
            "golden result",
            "recipe.toml has no [golden]: nobody would notice that the result changed",
            "add [golden] with folder = \"golden\" and a small job, then `keystead recipe check FOLDER --write-golden`",
        );
    }
    let inputs = match folder.golden_inputs().transpose() {
        Ok(inputs) => inputs.unwrap_or_default(),
        Err(fault) => {
            report.failed("golden result", &fault.to_string(), "put the file into the recipe's folder");
            return None;
        }
    };
    match recipe.parameters(&set) {
        Ok(parameters) => Some(Golden { inputs, parameters }),
        Err(error) => {
            report.failed("golden result", &error.to_string(), "change [golden] set");
            None
        }
    }
}

async fn planned(folder: &Folder, recipe: &Recipe, golden: &Golden, report: &mut Report) -> Option<Plan> {
    match plan(folder, recipe, &golden.inputs, &golden.parameters).await {
        Ok(plan) if plan.units.len() > UNITS_MAX => {
            let why = format!("the golden job has {} units, at most {UNITS_MAX} are checked", plan.units.len());
            report.failed("plan", &why, "make [golden] a smaller job");
            None
        }
        Ok(plan) => {
            let longest = plan.units.iter().map(Vec::len).max().unwrap_or_default();
            report.passed(
                "plan",
                &format!(
                    "{} units of at most {longest} bytes, {} bytes in common, {} segments",
                    plan.units.len(),
                    plan.common.len(),
                    plan.segment_count
                ),
            );
            Some(plan)
        }
        Err(error) => {
            report.failed("plan", &error.to_string(), "change [plan], [items] or [golden] of recipe.toml");
            None
        }
    }
}

/// As `keystead run` plans.
async fn plan(
    folder: &Folder,
    recipe: &Recipe,
    inputs: &Inputs,
    parameters: &Parameters,
) -> Result<Plan, keystead_recipes::Error> {
    match folder.planner(inputs, parameters)? {
        Some(step) => folder.planned(&run_step(recipe, step).await?),
        None => folder.plan(inputs, parameters),
    }
}

/// Whether a provider's worker takes the program. Every program is looked at, so that all reasons are said at once.
async fn admitted(trial: &Trial<'_>, report: &mut Report) -> bool {
    let mut good = true;
    match trial.session(On::Machine).await {
        Ok(session) => report.passed("program", &format!("taken by {}", session.engine())),
        Err(failure) => {
            good = false;
            report.failed("program", &failure.to_string(), next_step(&failure, trial.recipe));
        }
    }
    if trial.spec.class == Class::SelfChecking {
        match trial.open_checker().await {
            Ok(_) => report.passed("checker", "taken"),
            Err(failure) => {
                good = false;
                report.failed("checker", &failure.to_string(), next_step(&failure, trial.recipe));
            }
        }
    }
    good
}

/// What to do about a failure of the recipe's own program.
fn next_step(failure: &Failure, recipe: &Recipe) -> &'static str {
    match failure {
        Failure::KernelRejected { .. } => match recipe.runtime {
            Runtime::Wasm1 => "change the program at the place named; its rules stand in specs/0003-job.md §6",
            Runtime::Wgsl1 => "change the program at the place named; its rules stand in specs/0003-job.md §7",
        },
        Failure::LimitHit { which, .. } => match which {
            Limit::Fuel | Limit::WallMs | Limit::LoopIterations => {
                "raise this limit under [limits] of recipe.toml, or make the units smaller"
            }
            Limit::MemoryBytes => {
                "raise memory_bytes_max under [limits]; machines with less memory will refuse the job"
            }
            Limit::OutputBytes => "raise output_bytes_max under [limits], or make the units smaller",
            Limit::PrepareMs | Limit::InputBytes | Limit::ProgramBytes | Limit::StackBytes => {
                "make it smaller: this bound is the format's"
            }
        },
        Failure::JobError { .. } => "the code is the program's own: look where it returns a negative number",
        Failure::Trapped { .. } => "mend the program: it did what a machine forbids, in the function named",
        Failure::NoAdapter { .. } => "install a Vulkan driver (Debian: apt-get install mesa-vulkan-drivers libvulkan1)",
        Failure::DriverRejected { .. } => "write the place named in a simpler way: this driver cannot translate it",
        Failure::WorkerDied { .. } | Failure::ProviderFault { .. } | Failure::Aborted { .. } => {
            "this machine is at fault, not the recipe: free memory, and try again"
        }
    }
}

/// The recipe's files. Where devices may differ they are made of the interpreter's outputs, which are equal on every host.
async fn result(
    trial: &Trial<'_>,
    golden: &Golden,
    outputs: Vec<Vec<u8>>,
    report: &mut Report,
) -> Option<Vec<ResultFile>> {
    let rounding = trial.recipe.runtime == Runtime::Wgsl1 && trial.recipe.class != Class::Exact;
    let outputs = if rounding {
        machines::all(trial, On::Reference, report, &mut |_: usize, _: Said| ()).await?
    } else {
        outputs
    };
    let folder = trial.folder;
    let files = match folder.assembler(&golden.inputs, &golden.parameters, &outputs) {
        Ok(Some(step)) => match run_step(trial.recipe, step).await {
            Ok(answer) => folder.assembled(&answer),
            Err(error) => Err(error),
        },
        Ok(None) => folder.assemble(&golden.inputs, &golden.parameters, &outputs),
        Err(error) => Err(error),
    };
    match files {
        Ok(files) => {
            let shown: Vec<_> =
                files.iter().map(|file| format!("{} ({} bytes)", file.name, file.bytes.len())).collect();
            report.passed("assembly", &shown.join(", "));
            Some(files)
        }
        Err(error) => {
            report.failed(
                "assembly",
                &error.to_string(),
                "change [items] or [assembly] so that they fit what the program writes",
            );
            None
        }
    }
}

fn compare_golden(folder: &Folder, options: &RecipeCheck, files: &[ResultFile], report: &mut Report) -> Result<()> {
    let Some(golden) = &folder.manifest_keys().golden else { return Ok(()) };
    for file in files {
        let path = folder.path().join(&golden.folder).join(&file.name);
        if options.write_golden {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).wrap_err_with(|| format!("cannot make {}", parent.display()))?;
            }
            files::replace(&path, &file.bytes)?;
            report.noted(
                "golden result",
                &format!("{} written: look at it, it is what must come out from now on", path.display()),
            );
            continue;
        }
        match folder.golden_file(&file.name) {
            Some(Ok(known)) if known == file.bytes => {
                report.passed("golden result", &format!("{} is equal", file.name))
            }
            Some(Ok(known)) => report.failed(
                "golden result",
                &format!("{} differs: {}", file.name, difference(&known, &file.bytes)),
                "mend the program; if the change is wanted: `keystead recipe check FOLDER --write-golden`",
            ),
            Some(Err(fault)) => report.failed(
                "golden result",
                &fault.to_string(),
                "write it with `keystead recipe check FOLDER --write-golden`, and look at it",
            ),
            None => {}
        }
    }
    Ok(())
}

/// The first line that differs, or the first byte.
fn difference(known: &[u8], got: &[u8]) -> String {
    let (Ok(known_text), Ok(got_text)) = (core::str::from_utf8(known), core::str::from_utf8(got)) else {
        let at = known.iter().zip(got).take_while(|(a, b)| a == b).count();
        return format!("byte {at}, lengths {} and {}", known.len(), got.len());
    };
    let (mut known_lines, mut got_lines) = (known_text.lines(), got_text.lines());
    for number in 1_usize.. {
        match (known_lines.next(), got_lines.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let short = |line: Option<&str>| line.unwrap_or("the end").chars().take(60).collect::<String>();
                return format!("line {number} is {:?}, known is {:?}", short(b), short(a));
            }
        }
    }
    "only in its line ends".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_line_or_the_byte() {
        assert_eq!(difference(b"a\nb\n", b"a\nc\n"), "line 2 is \"c\", known is \"b\"");
        assert_eq!(difference(b"a\n", b"a\nb\n"), "line 2 is \"b\", known is \"the end\"");
        assert_eq!(difference(b"a", b"a\n"), "only in its line ends");
        assert_eq!(difference(&[1, 0xff], &[1, 0xfe, 3]), "byte 1, lengths 2 and 3");
    }
}
