//! Runs a recipe on this machine alone with its CPU reference: what a network's result is compared with, and what the outside
//! checks read.
//!
//! `cargo run -p keystead-recipes --example local -- RECIPE --out FOLDER [--input NAME=FILE]... [--set NAME=VALUE]...`
#![allow(clippy::print_stdout, reason = "a command line program")]

use keystead_recipes::{CustomerSide, Inputs, find};
use std::{env, error::Error, fs, path::PathBuf, thread, time::Instant};

type Settings = Vec<(String, String)>;

/// All segments of a unit, one after another.
fn chain(
    side: &dyn CustomerSide,
    common: &[u8],
    unit: &[u8],
    segments: u32,
) -> Result<Vec<u8>, keystead_recipes::Error> {
    (0..segments).try_fold(unit.to_vec(), |state, _| side.reference(common, &state))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let name =
        arguments.next().ok_or("usage: local RECIPE --out FOLDER [--input NAME=FILE]... [--set NAME=VALUE]...")?;
    let side = find(&name).ok_or_else(|| format!("no recipe {name:?}"))?;
    let (mut out, mut files, mut settings) = (None, Vec::new(), Settings::new());
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        let pair = || value.split_once('=').ok_or_else(|| format!("{option} needs NAME=VALUE"));
        match option.as_str() {
            "--out" => out = Some(PathBuf::from(value)),
            "--input" => files.push(pair().map(|(name, path)| (name.to_owned(), PathBuf::from(path)))?),
            "--set" => settings.push(pair().map(|(name, text)| (name.to_owned(), text.to_owned()))?),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let out = out.ok_or("--out FOLDER is needed")?;
    let recipe = side.recipe()?;
    let inputs = Inputs::read(&recipe, &files)?;
    let parameters = recipe.parameters(&settings)?;
    let plan = side.plan(&inputs, &parameters)?;
    println!("{name}: {} units, {} bytes in common, {:?}", plan.units.len(), plan.common.len(), plan.limits);

    let (common, segments) = (plan.common.as_slice(), plan.segment_count);
    let begin = Instant::now();
    let workers = thread::available_parallelism()?.get();
    let mut outputs = Vec::with_capacity(plan.units.len());
    for units in plan.units.chunks(workers) {
        let results: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                units.iter().map(|unit| scope.spawn(move || chain(side, common, unit, segments))).collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for result in results {
            outputs.push(result.map_err(|_| "a reference thread panicked")??);
        }
    }
    println!("reference: {} ms", begin.elapsed().as_millis());
    fs::create_dir_all(&out)?;
    for file in side.assemble(&inputs, &parameters, &outputs)? {
        fs::write(out.join(&file.name), &file.bytes)?;
        println!("wrote {}, {} bytes", out.join(&file.name).display(), file.bytes.len());
    }
    Ok(())
}
