//! The reference of a segment and the quantities that motion conserves, in double precision.
#![allow(clippy::arithmetic_side_effects, reason = "floating point, and indices of vectors of bodies")]
#![allow(clippy::cast_possible_truncation, reason = "LOSSY: a state is stored in single precision")]

use super::blob::{Body, Common, State};
use crate::Error;

type Vector = [f64; 3];

/// One system in double precision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct System {
    pub(super) masses: Vec<f64>,
    pub(super) places: Vec<Vector>,
    pub(super) velocities: Vec<Vector>,
}

/// The law of motion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Law {
    pub(super) gravity: f64,
    pub(super) softening_2: f64,
    pub(super) step_time: f64,
}

impl From<&Common> for Law {
    fn from(common: &Common) -> Self {
        Self {
            gravity: f64::from(common.gravity),
            softening_2: f64::from(common.softening_2),
            step_time: f64::from(common.step_time),
        }
    }
}

/// The output of one segment.
pub(super) fn run(common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
    let common = Common::decode(common)?;
    let state = State::decode(unit, common.bodies).map_err(|what| Error::Blob { blob: "unit", what })?;
    let law = Law::from(&common);
    let mut bodies = Vec::with_capacity(state.bodies.len());
    for member in state.bodies.chunks_exact(common.bodies) {
        let mut system = System::new(member);
        system.run(law, common.steps);
        bodies.extend(system.bodies());
    }
    // Exact: at most 2^24 steps, which the plan has checked.
    let steps = (f64::from(state.steps) + f64::from(common.steps)) as f32;
    Ok(State { steps, bodies }.encode())
}

impl System {
    pub(super) fn new(bodies: &[Body]) -> Self {
        Self {
            masses: bodies.iter().map(|body| f64::from(body.mass)).collect(),
            places: bodies.iter().map(|body| body.place.map(f64::from)).collect(),
            velocities: bodies.iter().map(|body| body.velocity.map(f64::from)).collect(),
        }
    }

    fn bodies(&self) -> impl Iterator<Item = Body> {
        let body = |((mass, place), velocity): ((&f64, &Vector), &Vector)| Body {
            mass: *mass as f32,
            place: place.map(|part| part as f32),
            velocity: velocity.map(|part| part as f32),
        };
        self.masses.iter().zip(&self.places).zip(&self.velocities).map(body)
    }

    fn pulls(&self, law: Law) -> Vec<Vector> {
        let pull = |place: &Vector| {
            let mut sum = [0.0; 3];
            for (mass, other) in self.masses.iter().zip(&self.places) {
                let away: Vector = core::array::from_fn(|axis| other[axis] - place[axis]);
                let distance_2 = away.iter().map(|part| part * part).sum::<f64>() + law.softening_2;
                if distance_2 > 0.0 {
                    let factor = law.gravity * mass / (distance_2 * distance_2.sqrt());
                    sum.iter_mut().zip(away).for_each(|(sum, part)| *sum += factor * part);
                }
            }
            sum
        };
        self.places.iter().map(pull).collect()
    }

    fn kick(&mut self, pulls: &[Vector], time: f64) {
        for (velocity, pull) in self.velocities.iter_mut().zip(pulls) {
            velocity.iter_mut().zip(pull).for_each(|(velocity, pull)| *velocity += time * pull);
        }
    }

    /// Kick, drift, kick.
    pub(super) fn run(&mut self, law: Law, steps: u32) {
        let mut pulls = self.pulls(law);
        for _ in 0..steps {
            self.kick(&pulls, 0.5 * law.step_time);
            for (place, velocity) in self.places.iter_mut().zip(&self.velocities) {
                place.iter_mut().zip(velocity).for_each(|(place, velocity)| *place += law.step_time * velocity);
            }
            pulls = self.pulls(law);
            self.kick(&pulls, 0.5 * law.step_time);
        }
    }

    /// Kinetic and potential energy together.
    pub(super) fn energy(&self, law: Law) -> f64 {
        let mut energy = 0.0;
        for (at, mass) in self.masses.iter().enumerate() {
            energy += 0.5 * mass * self.velocities[at].iter().map(|part| part * part).sum::<f64>();
            for other in 0..at {
                let square = |axis: usize| (self.places[at][axis] - self.places[other][axis]).powi(2);
                let distance_2 = (0..3).map(square).sum::<f64>() + law.softening_2;
                if distance_2 > 0.0 {
                    energy -= law.gravity * mass * self.masses[other] / distance_2.sqrt();
                }
            }
        }
        energy
    }

    pub(super) fn momentum(&self) -> Vector {
        let part = |axis: usize| self.masses.iter().zip(&self.velocities).map(|(mass, v)| mass * v[axis]).sum();
        core::array::from_fn(part)
    }

    pub(super) fn angular_momentum(&self) -> Vector {
        let part = |axis: usize| {
            let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
            let each = self.masses.iter().zip(&self.places).zip(&self.velocities);
            each.map(|((mass, x), v)| mass * (x[a] * v[b] - x[b] * v[a])).sum()
        };
        core::array::from_fn(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bodies in the orbit of the textbook: semi-major axis 1, eccentricity e, at the pericentre.
    fn kepler(eccentricity: f64, light: f64) -> System {
        let speed = ((1.0 + eccentricity) / (1.0 - eccentricity)).sqrt();
        let (distance, heavy) = (1.0 - eccentricity, 1.0 - light);
        System {
            masses: vec![heavy, light],
            places: vec![[-light * distance, 0.0, 0.0], [heavy * distance, 0.0, 0.0]],
            velocities: vec![[0.0, -light * speed, 0.0], [0.0, heavy * speed, 0.0]],
        }
    }

    #[test]
    fn two_bodies_return_after_keplers_period_and_the_error_falls_with_the_square_of_the_step() {
        // Total mass, gravity and semi-major axis are 1: the period is 2 pi.
        let missed = |steps: u32| {
            let law = Law { gravity: 1.0, softening_2: 0.0, step_time: core::f64::consts::TAU / f64::from(steps) };
            let start = kepler(0.5, 0.25);
            let mut system = start.clone();
            system.run(law, steps);
            let square = |axis: usize| (system.places[1][axis] - start.places[1][axis]).powi(2);
            (0..3).map(square).sum::<f64>().sqrt()
        };
        let (coarse, fine) = (missed(2_000), missed(4_000));
        assert!(fine < 1e-4, "{fine}");
        assert!((3.8..4.2).contains(&(coarse / fine)), "{coarse} {fine}");
    }

    #[test]
    fn energy_and_momenta_are_kept_over_a_hundred_orbits() {
        let law = Law { gravity: 1.0, softening_2: 0.0, step_time: core::f64::consts::TAU / 1_000.0 };
        let start = kepler(0.3, 0.1);
        let mut system = start.clone();
        system.run(law, 100_000);
        // The energy of two bodies is -G m1 m2 / 2a.
        assert!((start.energy(law) + 0.5 * 0.9 * 0.1).abs() < 1e-15);
        assert!((system.energy(law) / start.energy(law) - 1.0).abs() < 1e-5);
        for (before, after) in start.angular_momentum().iter().zip(system.angular_momentum()) {
            assert!((before - after).abs() < 1e-12);
        }
        assert!(system.momentum().iter().all(|part| part.abs() < 1e-13));
    }

    #[test]
    fn leapfrog_runs_backwards() {
        let law = Law { gravity: 1.0, softening_2: 0.01, step_time: 0.01 };
        let start = kepler(0.6, 0.4);
        let mut system = start.clone();
        system.run(law, 500);
        system.run(Law { step_time: -0.01, ..law }, 500);
        for (a, b) in start.places.as_flattened().iter().zip(system.places.as_flattened()) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}
