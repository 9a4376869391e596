//! The reference of the path tracer: the same paths in single precision on this CPU, and the sums that are unit input and output alike.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "floating point; indices and sums of a format whose lengths were checked"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "LOSSY: rows, columns and samples are below 2^24, exact in single precision"
)]

use super::scene::{FORMAT, HEAD_WORDS, MATERIAL_WORDS, SHAPE_WORDS, SHAPES_MAX};
use crate::{
    Error,
    words::{push, words},
};

type Vector = [f32; 3];

const NEAR: f32 = 1e-3;
const FAR: f32 = 1e30;

/// The sums of a band of rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Band {
    /// Samples of each pixel so far.
    pub(super) samples: f32,
    pub(super) first_row: f32,
    pub(super) rows: f32,
    /// Red, green and blue of each pixel, row by row.
    pub(super) sums: Vec<f32>,
}

impl Band {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + 4 * self.sums.len());
        let head = [self.samples, self.first_row, self.rows, 0.0];
        head.iter().chain(&self.sums).for_each(|number| push(&mut bytes, number.to_bits()));
        bytes
    }

    /// Reads a band of this width; all numbers must be finite and not negative.
    pub(super) fn decode(bytes: &[u8], width: usize) -> Result<Self, &'static str> {
        let words = words(bytes).ok_or("length is not a multiple of 4")?;
        let numbers: Vec<f32> = words.iter().map(|word| f32::from_bits(*word)).collect();
        let (&[samples, first_row, rows, _], sums) = numbers.split_first_chunk().ok_or("too short")?;
        if !numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
            return Err("a number is negative or not finite");
        }
        if rows.fract() != 0.0 || first_row.fract() != 0.0 || rows > 16_384.0 || first_row > 16_384.0 {
            return Err("rows are not whole or too many");
        }
        if sums.len() != 3 * width * rows as usize {
            return Err("length is not that of its rows");
        }
        Ok(Self { samples, first_row, rows, sums: sums.to_vec() })
    }
}

/// A decoded common input.
struct Scene {
    width: usize,
    shapes: Vec<Shape>,
    materials: Vec<Material>,
    samples: u32,
    bounces: u32,
    seed: u32,
    /// Flat lamps: the last shapes.
    lamps: usize,
    sky: Vector,
    view: [Vector; 4],
}

struct Shape {
    kind: u32,
    material: usize,
    place: Vector,
    u: Vector,
    v: Vector,
}

struct Material {
    kind: u32,
    colour: Vector,
    number: f32,
}

fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// a + factor b.
fn plus(a: Vector, factor: f32, b: Vector) -> Vector {
    core::array::from_fn(|axis| a[axis] + factor * b[axis])
}

fn times(a: Vector, factor: f32) -> Vector {
    a.map(|part| part * factor)
}

fn unit_of(a: Vector) -> Vector {
    times(a, 1.0 / dot(a, a).sqrt())
}

const fn mixed(value: u32) -> u32 {
    let state = value.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

struct Draws(u32);

impl Draws {
    fn next(&mut self) -> f32 {
        self.0 = mixed(self.0);
        (self.0 >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A point of the unit sphere.
    fn direction(&mut self) -> Vector {
        let z = 1.0 - 2.0 * self.next();
        let t = (self.next() * 2.0 - 1.0) * core::f32::consts::FRAC_PI_2;
        let (s, c) = (f64::from(t).sin() as f32, f64::from(t).cos() as f32);
        let across = (1.0 - z * z).max(0.0).sqrt();
        [across * (c * c - s * s), across * (2.0 * s * c), z]
    }
}

/// The output of one segment.
pub(super) fn run(common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
    let scene = Scene::decode(common)?;
    let mut band = Band::decode(unit, scene.width).map_err(|what| Error::Blob { blob: "unit", what })?;
    for (at, pixel) in band.sums.chunks_exact_mut(3).enumerate() {
        let (x, y) = (at % scene.width, band.first_row as usize + at / scene.width);
        let mut sum = [0.0; 3];
        for sample in 0..scene.samples {
            let number = (y * scene.width + x) as u32;
            let mut draws = Draws(mixed(number ^ mixed((band.samples as u32 + sample) ^ mixed(scene.seed))));
            let across = x as f32 + draws.next();
            let along = y as f32 + draws.next();
            let way = plus(plus(scene.view[1], across, scene.view[2]), along, scene.view[3]);
            sum = plus(sum, 1.0, scene.trace(scene.view[0], unit_of(way), &mut draws));
        }
        pixel.iter_mut().zip(sum).for_each(|(before, sum)| *before += sum);
    }
    band.samples += scene.samples as f32;
    Ok(band.encode())
}

impl Scene {
    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let words = words(bytes).filter(|words| words.len() >= HEAD_WORDS).ok_or_else(|| wrong("too short"))?;
        let (head, rest) = words.split_at(HEAD_WORDS);
        let (shapes, materials) = (head[3] as usize, head[4] as usize);
        let lamps = head[11] as usize;
        let small = shapes <= SHAPES_MAX && lamps <= shapes && materials <= SHAPES_MAX && head[1] <= 16_384;
        if head[0] != FORMAT || !small || rest.len() != SHAPE_WORDS * shapes + MATERIAL_WORDS * materials {
            return Err(wrong("unknown format or wrong length"));
        }
        let vector =
            |words: &[u32], at: usize| -> Vector { core::array::from_fn(|axis| f32::from_bits(words[at + axis])) };
        let (shape_words, material_words) = rest.split_at(SHAPE_WORDS * shapes);
        let shape = |words: &[u32; SHAPE_WORDS]| Shape {
            kind: words[0],
            material: words[1] as usize,
            place: vector(words, 2),
            u: vector(words, 5),
            v: vector(words, 8),
        };
        let material = |words: &[u32; MATERIAL_WORDS]| Material {
            kind: words[0],
            colour: vector(words, 1),
            number: f32::from_bits(words[4]),
        };
        let shapes: Vec<Shape> = shape_words.as_chunks().0.iter().map(shape).collect();
        if shapes.iter().any(|shape| shape.material >= materials) {
            return Err(wrong("a shape has no material"));
        }
        Ok(Self {
            width: head[1] as usize,
            shapes,
            materials: material_words.as_chunks().0.iter().map(material).collect(),
            samples: head[5],
            bounces: head[6],
            seed: head[7],
            lamps,
            sky: vector(head, 8),
            view: [12, 15, 18, 21].map(|at| vector(head, at)),
        })
    }

    /// Distance and index of the nearest shape.
    fn nearest(&self, origin: Vector, way: Vector) -> Option<(f32, usize)> {
        let mut hit = (FAR, None);
        for (index, shape) in self.shapes.iter().enumerate() {
            let distance = shape.meet(origin, way);
            if distance < hit.0 {
                hit = (distance, Some(index));
            }
        }
        hit.1.map(|index| (hit.0, index))
    }

    /// The light of a flat lamp on a matte surface of colour 1: a point of a lamp by chance, if nothing is between.
    fn lamp_light(&self, origin: Vector, normal: Vector, draws: &mut Draws) -> Vector {
        let index = self.shapes.len() - self.lamps + ((draws.next() * self.lamps as f32) as usize).min(self.lamps - 1);
        let lamp = &self.shapes[index];
        let (mut u, mut v) = (draws.next(), draws.next());
        if lamp.kind == 1 && u + v > 1.0 {
            (u, v) = (1.0 - u, 1.0 - v);
        }
        let size = if lamp.kind == 1 { 0.5 } else { 1.0 };
        let away = plus(plus(plus(lamp.place, u, lamp.u), v, lamp.v), -1.0, origin);
        let distance_2 = dot(away, away);
        let way = times(away, 1.0 / distance_2.sqrt());
        let facing = dot(cross(lamp.u, lamp.v), way).abs() * size;
        let cosine = dot(normal, way);
        let seen = cosine > 0.0 && distance_2 >= NEAR && self.nearest(origin, way).is_some_and(|hit| hit.1 == index);
        if !seen {
            return [0.0; 3];
        }
        let factor = cosine * facing * self.lamps as f32 / (core::f32::consts::PI * distance_2);
        times(self.materials[lamp.material].colour, factor)
    }

    /// The light that comes from a direction.
    fn trace(&self, mut origin: Vector, mut way: Vector, draws: &mut Draws) -> Vector {
        let (mut share, mut light, mut looked) = ([1.0; 3], [0.0; 3], false);
        let shared = |share: Vector, colour: Vector| -> Vector { core::array::from_fn(|at| share[at] * colour[at]) };
        for _ in 0..self.bounces {
            let Some((distance, index)) = self.nearest(origin, way) else {
                return plus(light, 1.0, shared(share, self.sky));
            };
            let shape = &self.shapes[index];
            let material = &self.materials[shape.material];
            if material.kind == 3 {
                let counted = looked && index >= self.shapes.len() - self.lamps;
                return if counted { light } else { plus(light, 1.0, shared(share, material.colour)) };
            }
            origin = plus(origin, distance, way);
            let outward = shape.normal(origin);
            let normal = if dot(way, outward) > 0.0 { times(outward, -1.0) } else { outward };
            let chance = draws.direction();
            share = shared(share, material.colour);
            looked = material.kind == 0 && self.lamps > 0;
            if looked {
                light = plus(light, 1.0, shared(share, self.lamp_light(origin, normal, draws)));
            }
            way = match material.kind {
                0 => plus(normal, 1.0, chance),
                1 => {
                    let mirrored = plus(way, -2.0 * dot(way, normal), normal);
                    let way = plus(mirrored, material.number, chance);
                    if dot(way, normal) <= 0.0 {
                        return light;
                    }
                    way
                }
                _ => through_glass(way, outward, material.number, draws),
            };
            let length_2 = dot(way, way);
            way = if length_2 < 1e-12 { normal } else { times(way, 1.0 / length_2.sqrt()) };
        }
        light
    }
}

fn through_glass(way: Vector, outward: Vector, index: f32, draws: &mut Draws) -> Vector {
    let inside = dot(way, outward) > 0.0;
    let normal = if inside { times(outward, -1.0) } else { outward };
    let ratio = if inside { index } else { 1.0 / index };
    let cosine = (-dot(way, normal)).min(1.0);
    let sine_2 = ratio * ratio * (1.0 - cosine * cosine);
    let base = (1.0 - index) / (1.0 + index);
    let base_2 = base * base;
    let other = (1.0 - sine_2).max(0.0).sqrt();
    let grazing = 1.0 - if inside { other } else { cosine };
    let mirrored = base_2 + (1.0 - base_2) * grazing.powi(5);
    if draws.next() < mirrored || sine_2 > 1.0 {
        return plus(way, 2.0 * cosine, normal);
    }
    plus(times(way, ratio), ratio * cosine - other, normal)
}

impl Shape {
    fn meet(&self, origin: Vector, way: Vector) -> f32 {
        let away = plus(origin, -1.0, self.place);
        let beyond = |distance: f32| if distance > NEAR { distance } else { FAR };
        if self.kind == 0 {
            let half_b = dot(away, way);
            let offset = plus(away, -half_b, way);
            let rest = self.u[0] * self.u[0] - dot(offset, offset);
            if rest < 0.0 {
                return FAR;
            }
            let first = -half_b - rest.sqrt();
            return if first > NEAR { first } else { beyond(-half_b + rest.sqrt()) };
        }
        let p = cross(way, self.v);
        let determinant = dot(self.u, p);
        if determinant.abs() < 1e-12 {
            return FAR;
        }
        let inverse = 1.0 / determinant;
        let u = dot(away, p) * inverse;
        let q = cross(away, self.u);
        let v = dot(way, q) * inverse;
        let inside = if self.kind == 1 { u + v <= 1.0 } else { u <= 1.0 && v <= 1.0 };
        if inside && u >= 0.0 && v >= 0.0 { beyond(dot(self.v, q) * inverse) } else { FAR }
    }

    fn normal(&self, place: Vector) -> Vector {
        match self.kind {
            0 => times(plus(place, -1.0, self.place), 1.0 / self.u[0]),
            _ => unit_of(cross(self.u, self.v)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn directions_are_unit_vectors_without_a_preferred_one() {
        let mut draws = Draws(7);
        let mut sum = [0.0_f64; 3];
        for _ in 0..20_000 {
            let way = draws.direction();
            assert!((dot(way, way) - 1.0).abs() < 1e-5);
            sum.iter_mut().zip(way).for_each(|(sum, part)| *sum += f64::from(part));
        }
        // The deviation of a mean of 20,000 parts of variance 1/3 is 0.0041.
        assert!(sum.iter().all(|sum| (sum / 20_000.0).abs() < 0.017), "{sum:?}");
    }

    #[test]
    fn bands_round_trip_and_hostile_ones_are_refused() {
        let band = Band { samples: 3.0, first_row: 8.0, rows: 2.0, sums: vec![1.0; 12] };
        let bytes = band.encode();
        assert_eq!(Band::decode(&bytes, 2).unwrap(), band);
        assert!(Band::decode(&bytes, 3).is_err());
        assert!((0..bytes.len()).all(|length| Band::decode(&bytes[..length], 2).is_err()));
        for (at, number) in [(0, f32::NAN), (8, 2.5), (8, -2.0), (8, 1e9), (20, f32::INFINITY), (20, -1.0)] {
            let mut bad = bytes.clone();
            bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert!(Band::decode(&bad, 2).is_err(), "{at} {number}");
        }
    }
}
