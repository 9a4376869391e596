//! Cuts a simulation into members (units) and spans of time (segments), and reads the last states.
#![allow(clippy::arithmetic_side_effects, reason = "steps, members and bodies are bounded: products stay below 2^40")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "LOSSY: settings become single precision, as the kernel computes"
)]

use super::{
    blob::{BODIES_MAX, BODY_BYTES, Common, HEAD_BYTES, State, UNIT_MEMBERS_MAX, loop_iterations, steps_max},
    bodies::{self, Draws, Named},
    motion, report,
};
use crate::{
    CustomerSide, Error, Inputs, Plan, ResultFile,
    settings::{count, integer, text},
};
use keystead_job::{
    limits::{SEGMENTS_OF_JOB_MAX, UNIT_COUNT_MAX},
    parameter::Parameters,
};

/// Most steps of a simulation: the state counts them in single precision, which is exact up to here.
const STEPS_MAX: i64 = 1 << 24;
/// Most bodies of all members: their last states are held in memory and written as text.
const ROWS_MAX: u64 = 4_194_304;

/// The recipe `nbody`.
#[derive(Clone, Copy, Debug)]
pub struct Nbody;

/// Everything that plan and assembly both derive from files and parameters.
struct Work {
    bodies: Vec<Named>,
    common: Common,
    segment_count: u32,
    unit_count: usize,
    unit_members: usize,
    /// How far a member's places may lie from the first member's.
    spread: f64,
    seed: u64,
}

impl Work {
    fn new(inputs: &Inputs, parameters: &Parameters, iterations_max: u32) -> Result<Self, Error> {
        let seed: u64 = integer(parameters, "seed", 0..=i64::MAX)?;
        let size = integer(parameters, "bodies", 1..=BODIES_MAX as i64)?;
        let bodies = match (inputs.optional("bodies"), text(parameters, "system")?) {
            (Some(file), _) => bodies::read(file)?,
            (None, "plummer") => bodies::plummer(size, seed),
            (None, _) => bodies::figure_8(),
        };
        let steps: u32 = integer(parameters, "steps", 1..=STEPS_MAX)?;
        let millionths = |name, range| integer::<i64>(parameters, name, range).map(|value| value as f64 / 1e6);
        let step_time = millionths("step-millionths", -1_000_000_000..=1_000_000_000)? as f32;
        let softening = millionths("softening-millionths", 0..=1_000_000_000)?;
        let spread = millionths("spread-millionths", 0..=1_000_000_000)?;
        let gravity = match text(parameters, "gravity")? {
            // Units of astronomy: the Sun's mass, its distance, the year.
            "solar" => 39.476_926,
            _ => 1.0,
        };
        let members: u64 = integer(parameters, "members", 1..=1 << 20)?;
        let unit_members: u64 = integer(parameters, "members-per-unit", 1..=UNIT_MEMBERS_MAX as i64)?;
        let unit_members = unit_members.min(members);
        let unit_count = members.div_ceil(unit_members);
        let segment_count = steps.div_ceil(steps_max(bodies.len(), iterations_max));
        let common = Common {
            bodies: bodies.len(),
            steps: steps.div_ceil(segment_count),
            gravity,
            softening_2: (softening * softening) as f32,
            step_time,
        };
        let rows = unit_count * unit_members * bodies.len() as u64;
        let sizes = [
            ("units", unit_count, u64::from(UNIT_COUNT_MAX)),
            ("segments of a unit", u64::from(segment_count), 65_536),
            ("segments of all units", unit_count * u64::from(segment_count), SEGMENTS_OF_JOB_MAX),
            ("bodies of all members", rows, ROWS_MAX),
            ("steps in whole segments", u64::from(common.steps) * u64::from(segment_count), STEPS_MAX as u64),
        ];
        if let Some((what, got, max)) = sizes.into_iter().find(|(_, got, max)| got > max) {
            let advice = "simulate fewer steps, bodies or members, or more members in a unit";
            return Err(Error::TooLarge { what, got, max, advice });
        }
        let (unit_count, unit_members) = (unit_count as usize, unit_members as usize);
        Ok(Self { bodies, common, segment_count, unit_count, unit_members, spread, seed })
    }

    const fn output_bytes(&self) -> usize {
        HEAD_BYTES + BODY_BYTES * self.unit_members * self.bodies.len()
    }

    /// The first state of a unit. Member 0 of the first unit is the system itself; the others' places are moved a little, each by numbers of its
    /// own.
    fn first_state(&self, unit: usize) -> State {
        let mut bodies = Vec::with_capacity(self.unit_members * self.bodies.len());
        for member in unit * self.unit_members..(unit + 1) * self.unit_members {
            let mut draws = Draws::new(self.seed ^ (member as u64).wrapping_mul(0xd134_2543_de82_ef95));
            for named in &self.bodies {
                let mut body = named.body;
                if member > 0 {
                    body.place = body.place.map(|x| (f64::from(x) + self.spread * (2.0 * draws.next() - 1.0)) as f32);
                }
                bodies.push(body);
            }
        }
        State { steps: 0.0, bodies }
    }

    /// The last state of a unit, if its length, steps and masses are those of the plan.
    fn last_state(&self, unit: usize, output: &[u8]) -> Result<State, String> {
        if output.len() != self.output_bytes() {
            return Err(format!("{} bytes, expected {}", output.len(), self.output_bytes()));
        }
        let state = State::decode(output, self.bodies.len()).map_err(str::to_owned)?;
        let steps = self.common.steps * self.segment_count;
        if f64::from(state.steps) != f64::from(steps) {
            return Err(format!("{} steps, expected {steps}", state.steps));
        }
        let masses = self.first_state(unit).bodies.into_iter().map(|body| body.mass.to_bits());
        match state.bodies.iter().zip(masses).position(|(body, mass)| body.mass.to_bits() != mass) {
            Some(at) => Err(format!("the mass of body {at} has changed")),
            None => Ok(state),
        }
    }
}

impl CustomerSide for Nbody {
    fn name(&self) -> &'static str {
        "nbody"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../nbody/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../nbody/kernel/nbody.wgsl")
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let recipe = self.recipe()?;
        let work = Work::new(inputs, parameters, recipe.limits.loop_iterations_max)?;
        // LOSSY: at most 4,096 members of a unit.
        let mut limits = recipe.limits([u32::try_from(work.unit_members).unwrap_or(u32::MAX), 1, 1]);
        limits.output_bytes_max = work.output_bytes() as u64;
        let loops = loop_iterations(work.bodies.len(), work.common.steps);
        limits.loop_iterations_max = limits.loop_iterations_max.min(u32::try_from(loops).unwrap_or(u32::MAX));
        let units = (0..work.unit_count).map(|unit| work.first_state(unit).encode()).collect();
        Ok(Plan { common: work.common.encode(), units, segment_count: work.segment_count, limits })
    }

    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
        motion::run(common, unit)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let work = Work::new(inputs, parameters, self.recipe()?.limits.loop_iterations_max)?;
        count(outputs.len(), work.unit_count)?;
        let names: Vec<&str> = work.bodies.iter().map(|named| named.name.as_str()).collect();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (unit, output) in outputs.iter().enumerate() {
            let state = work.last_state(unit, output).map_err(|what| Error::Output { unit, what })?;
            before.extend(work.first_state(unit).bodies);
            after.extend(state.bodies);
        }
        report::files(&names, &work.common, work.segment_count, &before, &after)
    }
}
