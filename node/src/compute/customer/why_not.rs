//! `keystead why-not`: who would take a job, and why the others would not. Orders nothing and needs no wallet.

use super::plan::{Work, prepare};
use crate::{
    cli::WhyNot,
    compute::{
        files,
        market::Market,
        matching::{
            explain::Explanation,
            gather::{Patience, Sight, gather, part},
            live::{self, Silence},
            need::{Asked, OWN_CHECK, asks_for_cards},
        },
        money::Money,
        recipe::open,
    },
};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_job::{B256, Checker, JobSpec, Runtime, blob_hash, recipe::Agreement, spec::Draft};
use serde::Deserialize;
use std::{path::Path, process::ExitCode};

/// What of `job.json` counts here.
#[derive(Deserialize)]
struct Job {
    spec: JobSpec,
}

/// The job in question.
struct Question {
    spec: JobSpec,
    input_bytes: u64,
}

/// Answers the question.
pub(crate) async fn run(options: &WhyNot) -> Result<ExitCode> {
    let Question { spec, input_bytes } = question(options).await?;
    let market = Market::to_read(&options.rpc).await?;
    let demands = &options.demands;
    let patience = Patience::QUESTION.or(demands.patience_ms);
    let money = Money::read(&market.account, options.token).await?;
    let (only, interpreters) = (options.provider.as_slice(), demands.take_interpreters());
    let cards = asks_for_cards(&demands.hardware);
    let sight = Sight { only, currency: money.currency(), cards, interpreters };
    let mut gathered = gather(&market, demands.records.as_deref(), patience, sight).await?;
    if let Some(provider) = options.provider {
        ensure!(!gathered.known.providers.is_empty(), "{provider} is not registered as a provider");
    }
    let (currency, total_wei_max) = (money.currency(), options.max_price);
    let checkable = gathered.known.checkable;
    let asked = Asked { spec: &spec, input_bytes, demands, currency, total_wei_max, tried: &[], checkable };
    let need = asked.need(OWN_CHECK);
    let silence = if demands.unanswered { Silence::IsTaken } else { Silence::LeavesOut };
    let plan = live::plan(&mut gathered, &market, &need, patience, silence).await?;
    let explanation = Explanation::of(&gathered.known, &need, &plan)?.written_in(&money);
    let text = if options.json {
        serde_json::to_string_pretty(&explanation.json()).wrap_err("cannot write the answer")?
    } else {
        explanation.words()
    };
    say(&text);
    part(&gathered.socket).await;
    Ok(if explanation.matched() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn question(options: &WhyNot) -> Result<Question> {
    let path = Path::new(&options.job);
    if path.is_file() {
        let text = files::read(path)?.unwrap_or_default();
        let job: Job = serde_json::from_str(&text)
            .wrap_err_with(|| format!("{} is not the job.json of a result", path.display()))?;
        return Ok(Question { spec: job.spec, input_bytes: 0 });
    }
    let work = Work { recipe: &options.job, input: &options.input, set: &options.set };
    if options.input.is_empty() && options.set.is_empty() {
        return Ok(Question { spec: sketch(&options.job)?, input_bytes: 0 });
    }
    let prepared = prepare(work).await?;
    Ok(Question { input_bytes: prepared.input_bytes(), spec: prepared.spec })
}

/// A job of one unit with all that the recipe's limits allow, and no input.
fn sketch(name: &str) -> Result<JobSpec> {
    let side = open(name)?;
    let recipe = side.recipe()?;
    let workgroups = if recipe.runtime == Runtime::Wasm1 { [0; 3] } else { [1; 3] };
    let checker = side.checker().zip(recipe.checker.as_ref());
    let spec = JobSpec::new(Draft {
        recipe: recipe.name.clone(),
        runtime: recipe.runtime,
        class: recipe.class,
        program_hash: blob_hash(side.program()),
        common_hash: B256::ZERO,
        units_hash: B256::ZERO,
        unit_count: 1,
        segment_count: 1,
        limits: recipe.limits(workgroups),
        checker: checker
            .map(|(program, declared)| Checker { program_hash: blob_hash(program), fuel_max: declared.fuel_max }),
        tolerance: recipe.tolerance.as_ref().map(Agreement::tolerance),
    });
    spec.map_err(|error| eyre!("the recipe's limits make no job: {error}"))
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_recipe_has_a_sketch_without_inputs() {
        for side in keystead_recipes::all() {
            assert_eq!(sketch(side.name()).unwrap().unit_count, 1, "{}", side.name());
        }
        let unknown = sketch("no-such-recipe").unwrap_err().to_string();
        assert!(unknown.contains("align") && unknown.contains("no-such-recipe"), "{unknown}");
    }
}
