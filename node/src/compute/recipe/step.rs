//! Runs a recipe's planner or assembler in a worker of this machine.

use keystead_job::{
    Class, JobSpec, Limits, Recipe, Runtime, blob_hash, hash_list,
    limits::{MEMORY_BYTES_MIN, OUTPUT_BYTES_MAX},
    spec::Draft,
};
use keystead_recipes::{Error, Step};
use keystead_runner::{Failure, Job, Session, Stop, WorkerCommand};

/// The program's output. It runs as a `wasm/1` program with the recipe's limits of time and memory.
///
/// # Errors
/// [`Error::Step`]: it did not end as it should.
pub(crate) async fn run(recipe: &Recipe, step: Step) -> Result<Vec<u8>, Error> {
    let Step { what, program, fuel_max, common, unit } = step;
    let failed = |why: String| Error::Step { what, why };
    let memory_bytes_max = recipe.limits.memory_bytes_max.max(MEMORY_BYTES_MIN);
    let spec = JobSpec::new(Draft {
        recipe: recipe.name.clone(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(&program),
        common_hash: blob_hash(&common),
        units_hash: hash_list(&[blob_hash(&unit)]),
        unit_count: 1,
        segment_count: 1,
        limits: Limits {
            wall_ms_max: recipe.limits.wall_ms_max,
            fuel_max,
            memory_bytes_max,
            output_bytes_max: memory_bytes_max.min(OUTPUT_BYTES_MAX),
            loop_iterations_max: 0,
            workgroups: [0; 3],
        },
        checker: None,
        tolerance: None,
    })
    .map_err(|error| failed(error.to_string()))?;
    let command = WorkerCommand::current_exe().map_err(|error| failed(error.to_string()))?;
    let job = Job { spec, program: program.into(), common: common.into() };
    let failure = |failure: Failure| failed(failure.to_string());
    let mut session = Session::open(command, job, Stop::new()).await.map_err(failure)?;
    Ok(session.run(&unit).await.map_err(failure)?.output)
}
