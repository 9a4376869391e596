//! What a unit of ordinary size needs, against what the manifest declares.

use super::{
    machines, plan,
    report::Report,
    trial::{On, Trial},
};
use crate::compute::amount::bytes;
use keystead_job::{Limits, Runtime};
use keystead_recipes::{Folder, Inputs};
use keystead_runner::{Done, Failure};
use std::time::{Duration, Instant};

/// A WebAssembly page.
const PAGE_BYTES: u64 = 65_536;
/// The search for what is needed ends by then with what it has.
const SEARCH_MAX: Duration = Duration::from_secs(30);
/// Memory above which many machines refuse a job, bytes.
const MUCH_MEMORY_BYTES: u64 = 1 << 30;

/// Runs the first unit of the job with default settings, or of the golden one where the defaults make none.
pub(super) async fn measure(folder: &Folder, inputs: &Inputs, golden: Trial<'_>, report: &mut Report) {
    let trial = match usual(folder, inputs).await {
        Some(trial) => trial,
        None => golden,
    };
    let Some(unit) = trial.plan.units.first() else { return };
    let done = match first(&trial, unit).await {
        Ok(done) => done,
        Err(failure) => {
            let next = super::next_step(&failure, trial.recipe);
            report.failed("limits", &format!("the first unit of the job with default settings fails: {failure}"), next);
            return;
        }
    };
    let limits = trial.spec.limits;
    let mut said = Vec::new();
    let wall_ms = done.usage.wall_us.div_ceil(1_000);
    said.push(format!("time {wall_ms} of {} ms", limits.wall_ms_max));
    said.push(format!("output {} of {} bytes", done.output.len(), limits.output_bytes_max));
    let mut close = wall_ms.saturating_mul(4) > limits.wall_ms_max;
    match trial.recipe.runtime {
        Runtime::Wasm1 => {
            said.push(format!("fuel {} of {}", done.usage.fuel, limits.fuel_max));
            close |= done.usage.fuel.saturating_mul(2) > limits.fuel_max;
            let pages = limits.memory_bytes_max.div_ceil(PAGE_BYTES);
            let least = limits.output_bytes_max.div_ceil(PAGE_BYTES).max(1);
            let with = |pages: u64| Limits { memory_bytes_max: pages.saturating_mul(PAGE_BYTES), ..limits };
            let needed = least_that_works(&trial, unit, (least, pages), with).await;
            said.push(format!(
                "memory {} of {}",
                bytes(needed.saturating_mul(PAGE_BYTES)),
                bytes(limits.memory_bytes_max)
            ));
        }
        Runtime::Wgsl1 => {
            let with = |loops: u64| Limits { loop_iterations_max: u32::try_from(loops).unwrap_or(u32::MAX), ..limits };
            let needed = least_that_works(&trial, unit, (1, limits.loop_iterations_max.into()), with).await;
            said.push(format!("loops {needed} of {} (sampled workgroups)", limits.loop_iterations_max));
        }
    }
    report.passed("limits", &said.join(", "));
    if close {
        report.noted(
            "limits",
            "a slower machine or another input may not end in time: raise them, or make the units smaller",
        );
    }
    if limits.memory_bytes_max > MUCH_MEMORY_BYTES {
        let declared = bytes(limits.memory_bytes_max);
        report.noted("limits", &format!("memory_bytes_max is {declared}: machines with less memory refuse the job"));
    }
}

/// The job with default settings and the golden job's files.
async fn usual<'a>(folder: &'a Folder, inputs: &Inputs) -> Option<Trial<'a>> {
    let recipe = folder.manifest_keys();
    let parameters = recipe.parameters(&[]).ok()?;
    let plan = plan(folder, recipe, inputs, &parameters).await.ok()?;
    Trial::new(folder, plan).ok()
}

async fn first(trial: &Trial<'_>, unit: &[u8]) -> Result<Done, Failure> {
    trial.session(On::Machine).await?.run(unit).await
}

/// The least value between two bounds with which the unit runs; the larger one is known to do.
async fn least_that_works(
    trial: &Trial<'_>,
    unit: &[u8],
    (mut low, mut high): (u64, u64),
    limits: impl Fn(u64) -> Limits,
) -> u64 {
    let start = Instant::now();
    while low < high && start.elapsed() < SEARCH_MAX {
        let middle = low.midpoint(high);
        if works(trial, unit, limits(middle)).await {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    high
}

async fn works(trial: &Trial<'_>, unit: &[u8], limits: Limits) -> bool {
    // Loops are counted alike everywhere, and the interpreter needs no driver's time for each try.
    if trial.recipe.runtime == Runtime::Wgsl1 {
        let Ok(mut session) = trial.session_within(limits, On::Reference).await else { return false };
        return session.run_workgroups(unit, &machines::sample(limits.workgroups)).await.is_ok();
    }
    let Ok(mut session) = trial.session_within(limits, On::Machine).await else { return false };
    session.run(unit).await.is_ok()
}
