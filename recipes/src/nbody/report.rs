//! The last state as a table, and what motion should conserve, before and after.
#![allow(clippy::arithmetic_side_effects, reason = "floating point, and steps that the plan has bounded")]

use super::{
    blob::{Body, Common},
    motion::{Law, System},
};
use crate::{Error, ResultFile};
use core::fmt::Write as _;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    bodies: usize,
    members: usize,
    steps: u32,
    step_time: f32,
    time: f64,
    gravity: f32,
    softening: f64,
    largest_relative_energy_error: f64,
    each_member: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    energy_before: f64,
    energy_after: f64,
    momentum_change: f64,
    angular_momentum_change: f64,
}

/// The files of the manifest. `before` and `after` hold all members, one after another.
pub(super) fn files(
    names: &[&str],
    common: &Common,
    segment_count: u32,
    before: &[Body],
    after: &[Body],
) -> Result<Vec<ResultFile>, Error> {
    let law = Law::from(common);
    let change = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let member = |(before, after): (&[Body], &[Body])| {
        let (before, after) = (System::new(before), System::new(after));
        Member {
            energy_before: before.energy(law),
            energy_after: after.energy(law),
            momentum_change: change(before.momentum(), after.momentum()),
            angular_momentum_change: change(before.angular_momentum(), after.angular_momentum()),
        }
    };
    let members = before.chunks_exact(common.bodies).zip(after.chunks_exact(common.bodies));
    let each_member: Vec<Member> = members.map(member).collect();
    let error = |member: &Member| {
        let scale = member.energy_before.abs();
        if scale > 0.0 { (member.energy_after - member.energy_before).abs() / scale } else { 0.0 }
    };
    let steps = common.steps * segment_count;
    let report = Report {
        bodies: common.bodies,
        members: each_member.len(),
        steps,
        step_time: common.step_time,
        time: f64::from(common.step_time) * f64::from(steps),
        gravity: common.gravity,
        softening: f64::from(common.softening_2).sqrt(),
        largest_relative_energy_error: each_member.iter().map(error).fold(0.0, f64::max),
        each_member,
    };
    let json =
        serde_json::to_string_pretty(&report).map_err(|error| Error::Output { unit: 0, what: error.to_string() })?;
    let mut table = "member,name,mass,x,y,z,vx,vy,vz\n".to_owned();
    for (member, bodies) in after.chunks_exact(common.bodies).enumerate() {
        for (name, body) in names.iter().zip(bodies) {
            let ([x, y, z], [vx, vy, vz]) = (body.place, body.velocity);
            let _ = writeln!(table, "{member},{name},{},{x},{y},{z},{vx},{vy},{vz}", body.mass);
        }
    }
    Ok(vec![
        ResultFile { name: "bodies.csv".to_owned(), bytes: table.into_bytes() },
        ResultFile { name: "energy.json".to_owned(), bytes: (json + "\n").into_bytes() },
    ])
}
