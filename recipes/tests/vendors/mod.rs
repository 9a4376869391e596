//! Units of real recipes, computed by false second vendors and by cheats, before the real judge with the recipe's own rule.
//!
//! # Design
//! A [`Work`] is a recipe with settings; its seed gives other units. A provider's [`Machine`] runs a unit up to a drawn segment, a checker's machine
//! runs that segment again from the provider's own state, and `keystead_audit::judge` says what follows: the same calls that a customer or a
//! drawn checker makes. A cheat is the recipe's kernel with one line changed, or with shorter numbers; what its output says about itself (steps or
//! samples done) it forges.
//!
//! # Not here
//! Real devices: lavapipe is compared in the recipes' own tests.
#![allow(dead_code, reason = "one module for a test and a program")]

use super::wasm_runner;
use keystead_audit::judge::{self, Answer, Judgement, Task};
use keystead_job::{B256, Checker, Class, JobSpec, blob_hash, hash_list, recipe::Agreement, spec::Draft};
use keystead_kernel::{
    Dispatch, Kernel, Profile, Program,
    perturbed::{Perturbation, PerturbedProgram},
};
use keystead_recipes::{CustomerSide, Inputs, Plan, find};
use wasm_runner::Outcome;

/// Bytes at the begin of a state of `nbody` and `render` that say how far it is: easily forged.
const HEAD_BYTES: usize = 16;
/// Far more than a unit here takes.
const STEPS_MAX: u64 = 1 << 42;

/// A recipe with settings. The seed makes the units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) recipe: &'static str,
    /// What is special about it.
    pub(crate) what: &'static str,
    pub(crate) settings: &'static [(&'static str, &'static str)],
    pub(crate) cheats: &'static [Cheat],
}

/// A way to save work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cheat {
    pub(crate) name: &'static str,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// Each text of the kernel becomes the other.
    Edited(&'static [(&'static str, &'static str)]),
    /// Numbers with so many bits of significand.
    Short(u32),
    /// Gives its input back.
    Idle,
}

const fn cheat(name: &'static str, how: How) -> Cheat {
    Cheat { name, how }
}

const MOTION_CHEATS: &[Cheat] = &[
    cheat("half precision", How::Short(11)),
    cheat("a body left out", How::Edited(&[("var other = 0u; other < count", "var other = 1u; other < count")])),
    cheat("half of the steps", How::Edited(&[("let steps = common_words[2];", "let steps = common_words[2] / 2u;")])),
    cheat(
        "half of the steps, each twice as long",
        How::Edited(&[
            ("let steps = common_words[2];", "let steps = common_words[2] / 2u;"),
            ("bitcast<f32>(common_words[5]);", "2.0 * bitcast<f32>(common_words[5]);"),
        ]),
    ),
    cheat("nothing done", How::Idle),
];

const PICTURE_CHEATS: &[Cheat] = &[
    cheat("half precision", How::Short(11)),
    cheat(
        "a quarter of the samples, each counted four times",
        How::Edited(&[
            ("let samples = scene[5];", "let samples = scene[5] / 4u;"),
            ("sum += trace(origin, normalize(way));", "sum += 4.0 * trace(origin, normalize(way));"),
        ]),
    ),
    cheat("two bounces", How::Edited(&[("bounce < scene[6]", "bounce < 2u")])),
    cheat(
        "lamps not looked for",
        How::Edited(&[("light += share * lamp_light(origin, normal, materials_at);", "light += vec3<f32>(0.0);")]),
    ),
    cheat("nothing done", How::Idle),
];

const PRODUCT_CHEATS: &[Cheat] = &[
    cheat("half precision", How::Short(11)),
    cheat("sixteen terms left out", How::Edited(&[("var tile = 0u; tile < tiles", "var tile = 1u; tile < tiles")])),
    cheat("half of the rows", How::Edited(&[("let rows = a_words[0];", "let rows = a_words[0] / 2u;")])),
];

/// The figure of eight: a thousand slightly different ones, in segments of the recipe's full length.
pub(crate) const EIGHT: Work = Work {
    recipe: "nbody",
    what: "figure of eight",
    settings: &[("members", "64"), ("members-per-unit", "1"), ("spread-millionths", "1000"), ("steps", "1440")],
    cheats: MOTION_CHEATS,
};
/// A star cluster, softened as the manifest advises.
pub(crate) const CLUSTER: Work = Work {
    recipe: "nbody",
    what: "star cluster",
    settings: &[
        ("system", "plummer"),
        ("bodies", "40"),
        ("members", "16"),
        ("members-per-unit", "1"),
        ("steps", "200"),
        ("step-millionths", "5000"),
        ("softening-millionths", "20000"),
    ],
    cheats: MOTION_CHEATS,
};
/// Small bands of the recipe's own scene, with as many samples as a segment can have.
pub(crate) const PICTURE: Work = Work {
    recipe: "render",
    what: "box",
    settings: &[("width", "16"), ("height", "16"), ("samples", "128"), ("rows-per-unit", "8")],
    cheats: PICTURE_CHEATS,
};
pub(crate) const PRODUCT: Work = Work {
    recipe: "matmul",
    what: "invented matrices",
    settings: &[("rows", "256"), ("inner", "144"), ("columns", "64"), ("rows-per-unit", "64")],
    cheats: PRODUCT_CHEATS,
};

/// Who computes.
#[derive(Debug)]
pub(crate) enum Machine {
    Reference(Program),
    Vendor(PerturbedProgram),
    Idle,
}

/// A job of a recipe, and what is needed to run and to judge it.
pub(crate) struct Trial {
    pub(crate) work: Work,
    pub(crate) plan: Plan,
    spec: JobSpec,
    kernel: Kernel,
    common: Vec<u32>,
    checker: Option<wasm_runner::Program>,
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()
}

fn admitted(source: &str) -> Kernel {
    Kernel::admit(source.as_bytes(), Profile::Float).unwrap()
}

fn source(side: &dyn CustomerSide) -> &str {
    core::str::from_utf8(side.program()).unwrap()
}

impl Trial {
    pub(crate) fn new(work: Work, seed: u64) -> Self {
        let side = find(work.recipe).unwrap();
        let recipe = side.recipe().unwrap();
        let mut given: Vec<(String, String)> =
            work.settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        given.push(("seed".to_owned(), seed.to_string()));
        let plan = side.plan(&Inputs::default(), &recipe.parameters(&given).unwrap()).unwrap();
        let names: Vec<B256> = plan.units.iter().map(|unit| blob_hash(unit)).collect();
        let declared = side.checker().zip(recipe.checker.as_ref());
        let spec = JobSpec::new(Draft {
            recipe: recipe.name.clone(),
            runtime: recipe.runtime,
            class: recipe.class,
            program_hash: blob_hash(side.program()),
            common_hash: blob_hash(&plan.common),
            units_hash: hash_list(&names),
            unit_count: u32::try_from(plan.units.len()).unwrap(),
            segment_count: plan.segment_count,
            limits: plan.limits,
            checker: declared
                .map(|(program, rule)| Checker { program_hash: blob_hash(program), fuel_max: rule.fuel_max }),
            tolerance: recipe.tolerance.as_ref().map(Agreement::tolerance),
        });
        Self {
            work,
            spec: spec.unwrap(),
            kernel: admitted(source(side)),
            common: words(&plan.common),
            checker: side.checker().map(wasm_runner::Program::new),
            plan,
        }
    }

    pub(crate) fn reference(&self) -> Machine {
        Machine::Reference(self.kernel.program().unwrap())
    }

    pub(crate) fn vendor(&self, perturbation: Perturbation) -> Machine {
        Machine::Vendor(PerturbedProgram::new(&self.kernel, perturbation).unwrap())
    }

    /// The machine of a cheat. Every text that it changes must be there.
    pub(crate) fn cheat(&self, cheat: &Cheat) -> Machine {
        match cheat.how {
            How::Idle => Machine::Idle,
            How::Short(bits) => self.vendor(Perturbation::cheap(bits)),
            How::Edited(edits) => {
                let mut text = source(find(self.work.recipe).unwrap()).to_owned();
                for (old, new) in edits {
                    assert_eq!(text.matches(old).count(), 1, "the kernel has not one {old:?}");
                    text = text.replace(old, new);
                }
                Machine::Reference(admitted(&text).program().unwrap())
            }
        }
    }

    /// One segment.
    fn run(&self, machine: &Machine, state: &[u8]) -> Vec<u8> {
        let limits = &self.plan.limits;
        let unit = words(state);
        let dispatch = Dispatch {
            common: &self.common,
            unit: &unit,
            output_words: usize::try_from(limits.output_bytes_max / 4).unwrap(),
            workgroups: limits.workgroups,
            loop_iterations_max: limits.loop_iterations_max,
            steps_max: STEPS_MAX,
        };
        let output = match machine {
            Machine::Reference(program) => program.run(&dispatch).unwrap(),
            Machine::Vendor(program) => program.run(&dispatch).unwrap(),
            Machine::Idle => return state.to_vec(),
        };
        output.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    /// The state of an honest provider before a segment.
    pub(crate) fn state(&self, provider: &Machine, unit: usize, segment: u32) -> Vec<u8> {
        (0..segment).fold(self.plan.units[unit].clone(), |state, _| self.run(provider, &state))
    }

    /// The verdict on what the provider makes of `state`, the one before a segment of the unit. `checker` runs it again, in class tolerance. `seed` is that
    /// of the checker program, in class self-checking. With `forges` the provider's head is the checker's.
    pub(crate) fn judged(&self, pair: Pair<'_>, unit: usize, segment: u32, state: &[u8]) -> Judgement {
        let mut delivered = self.run(pair.provider, state);
        let (number, seed) = (u32::try_from(unit).unwrap(), pair.seed);
        if self.spec.class == Class::SelfChecking {
            let question = judge::checker_input(seed, &self.plan.units[unit], &delivered).unwrap();
            let (fuel, memory) = (self.spec.checker.unwrap().fuel_max, self.plan.limits.memory_bytes_max);
            let outcome = self.checker.as_ref().unwrap().run(&self.plan.common, &question, fuel, memory);
            let answer = match outcome {
                Outcome::Done { output, .. } => Answer::output(output),
                Outcome::Refused(code) => Answer::JobError(code),
                Outcome::Trapped(why) => Answer::NotRun(why),
            };
            return judge::judge(&self.spec, Task::Checker { unit: number, seed }, blob_hash(&delivered), answer);
        }
        let expected = self.run(pair.checker, state);
        if pair.forges {
            delivered[..HEAD_BYTES].copy_from_slice(&expected[..HEAD_BYTES]);
        }
        let name = blob_hash(&delivered);
        let answer = Answer::Output { bytes: expected, delivered: Some(delivered) };
        judge::judge(&self.spec, Task::Rerun { unit: number, segment }, name, answer)
    }
}

/// Who is judged by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'m> {
    pub(crate) provider: &'m Machine,
    pub(crate) checker: &'m Machine,
    pub(crate) seed: [u8; 32],
    pub(crate) forges: bool,
}

/// Verdicts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) right: u64,
    pub(crate) unpaid: u64,
    pub(crate) wrong: u64,
    pub(crate) inconclusive: u64,
}

impl Count {
    pub(crate) const fn all(&self) -> u64 {
        self.right + self.unpaid + self.wrong + self.inconclusive
    }

    pub(crate) const fn add(&mut self, judgement: &Judgement) {
        *match judgement {
            Judgement::Right => &mut self.right,
            Judgement::Unpaid(_) => &mut self.unpaid,
            Judgement::Wrong(_) => &mut self.wrong,
            Judgement::Inconclusive(_) => &mut self.inconclusive,
        } += 1;
    }

    pub(crate) const fn join(&mut self, other: &Self) {
        self.right += other.right;
        self.unpaid += other.unpaid;
        self.wrong += other.wrong;
        self.inconclusive += other.inconclusive;
    }
}

/// A number that depends on all of these (`SplitMix64` over them), for draws that repeat.
pub(crate) fn mixed(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |state: u64, number| {
        let mut word = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    })
}

/// 32 bytes of it.
pub(crate) fn seed_of(numbers: &[u64]) -> [u8; 32] {
    let mut seed = [0; 32];
    for (at, chunk) in (0..).zip(seed.as_chunks_mut::<8>().0) {
        *chunk = mixed(&[mixed(numbers), at]).to_le_bytes();
    }
    seed
}

/// Judges so many honest units of a work, each by the reference and by another vendor; every unit and its segment come from `seed`.
pub(crate) fn honest(work: Work, seed: u64, units: u64, seen: &mut dyn FnMut(u64, &Judgement)) -> Count {
    let mut count = Count::default();
    let mut done = 0;
    for round in 0.. {
        let trial = Trial::new(work, mixed(&[seed, round]) >> 32);
        // A vendor with every freedom, one with some, and one that rounds toward zero and does nothing else: its errors all point the same way.
        let (whole, some) = (mixed(&[seed, round, 1]), mixed(&[seed, round, 2]));
        let taken = |bit: u32| some >> bit & 1 == 1;
        let partial = Perturbation {
            contract: taken(0),
            reassociate: taken(1),
            flush: taken(2),
            truncate: taken(3),
            inaccurate: taken(4),
            ..Perturbation::all(some)
        };
        let biased = Perturbation { truncate: true, ..Perturbation::none(some) };
        let vendors = [Perturbation::all(whole), partial, biased].map(|perturbation| trial.vendor(perturbation));
        let reference = trial.reference();
        for unit in 0..trial.plan.units.len() {
            if done == units {
                return count;
            }
            let [provider, other] = [0, 1].map(|next| &vendors[(unit + next) % vendors.len()]);
            let numbers = [seed, round, 3, unit as u64];
            let segment = u32::try_from(mixed(&numbers) % u64::from(trial.plan.segment_count)).unwrap();
            let state = trial.state(provider, unit, segment);
            // A checker program gives one answer, whoever runs it.
            let checkers: &[&Machine] = if trial.checker.is_some() { &[&reference] } else { &[&reference, other] };
            for checker in checkers {
                let pair = Pair { provider, checker, seed: seed_of(&numbers), forges: false };
                let judgement = trial.judged(pair, unit, segment, &state);
                seen(done, &judgement);
                count.add(&judgement);
            }
            done += 1;
        }
    }
    count
}

/// Judges so many units of each cheat of a work by the reference.
pub(crate) fn cheats(work: Work, seed: u64, units: u64) -> Vec<(Cheat, Count)> {
    let mut counts: Vec<(Cheat, Count)> = work.cheats.iter().map(|cheat| (*cheat, Count::default())).collect();
    let mut done = 0;
    for round in 0.. {
        let trial = Trial::new(work, mixed(&[seed, round, 4]) >> 32);
        let reference = trial.reference();
        let machines: Vec<Machine> = work.cheats.iter().map(|cheat| trial.cheat(cheat)).collect();
        for unit in 0..trial.plan.units.len() {
            if done == units {
                return counts;
            }
            let numbers = [seed, round, 5, unit as u64];
            let state = trial.state(&reference, unit, 0);
            for ((_, count), provider) in counts.iter_mut().zip(&machines) {
                let pair = Pair { provider, checker: &reference, seed: seed_of(&numbers), forges: true };
                count.add(&trial.judged(pair, unit, 0, &state));
            }
            done += 1;
        }
    }
    counts
}
