//! The scene file, and the common input that is made from it.
#![allow(clippy::arithmetic_side_effects, reason = "floating point, and counts of at most 256 shapes and 64 materials")]
#![allow(clippy::cast_possible_truncation, reason = "LOSSY: scenes are rendered in single precision")]

use crate::{Error, InputFile, words::push};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most shapes: every ray meets every shape.
pub(super) const SHAPES_MAX: usize = 256;
const MATERIALS_MAX: usize = 64;
/// Greatest absolute value of a coordinate or colour.
const NUMBER_MAX: f64 = 1e4;

pub(super) const FORMAT: u32 = 1;
/// Words before the shapes, of a shape and of a material.
pub(super) const HEAD_WORDS: usize = 24;
pub(super) const SHAPE_WORDS: usize = 12;
pub(super) const MATERIAL_WORDS: usize = 8;

type Vector = [f64; 3];

/// A scene as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scene {
    camera: Camera,
    /// Light that comes from where nothing is.
    #[serde(default)]
    sky: Vector,
    materials: BTreeMap<String, Material>,
    #[serde(default)]
    spheres: Vec<Sphere>,
    #[serde(default)]
    quads: Vec<Quad>,
    #[serde(default)]
    triangles: Vec<Triangle>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Camera {
    from: Vector,
    to: Vector,
    #[serde(default = "upwards")]
    up: Vector,
    /// Height of the view at distance 1: twice the tangent of half the angle.
    height: f64,
}

const fn upwards() -> Vector {
    [0.0, 1.0, 0.0]
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Material {
    Matte { colour: Vector },
    Metal { colour: Vector, roughness: f64 },
    Glass { colour: Vector, index: f64 },
    Light { colour: Vector },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sphere {
    centre: Vector,
    radius: f64,
    material: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quad {
    corner: Vector,
    edges: [Vector; 2],
    material: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Triangle {
    corners: [Vector; 3],
    material: String,
}

/// What a job adds to a scene.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Samples of a segment.
    pub(super) samples: u32,
    pub(super) bounces: u32,
    pub(super) seed: u32,
}

fn minus(a: Vector, b: Vector) -> Vector {
    core::array::from_fn(|axis| a[axis] - b[axis])
}

fn times(a: Vector, factor: f64) -> Vector {
    a.map(|part| part * factor)
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn length(a: Vector) -> f64 {
    a.iter().map(|part| part * part).sum::<f64>().sqrt()
}

impl Scene {
    /// Reads and checks a scene; the file may be hostile.
    pub(super) fn read(file: &InputFile) -> Result<Self, Error> {
        let wrong = |what: String| Error::InputWhole { path: file.path.clone(), what };
        let scene: Self = serde_json::from_slice(&file.bytes).map_err(|error| {
            let (line, what) = (error.line(), error.to_string());
            Error::InputLine { path: file.path.clone(), line, what }
        })?;
        scene.check().map_err(wrong)?;
        Ok(scene)
    }

    pub(super) const fn shapes(&self) -> usize {
        self.spheres.len() + self.quads.len() + self.triangles.len()
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=SHAPES_MAX).contains(&self.shapes()) || self.materials.len() > MATERIALS_MAX {
            let got = (self.shapes(), self.materials.len());
            return Err(format!("needs 1 to {SHAPES_MAX} shapes and at most {MATERIALS_MAX} materials, has {got:?}"));
        }
        let inside = |all: &[Vector], least: f64, most: f64| {
            all.as_flattened().iter().all(|number| (least..=most).contains(number))
        };
        for (name, material) in &self.materials {
            let (colour, most, right) = match *material {
                Material::Matte { colour } => (colour, 1.0, true),
                Material::Metal { colour, roughness } => (colour, 1.0, (0.0..=1.0).contains(&roughness)),
                Material::Glass { colour, index } => (colour, 1.0, (1.0..=4.0).contains(&index)),
                Material::Light { colour } => (colour, NUMBER_MAX, true),
            };
            if !right || !inside(&[colour], 0.0, most) {
                return Err(format!(
                    "material {name}: colours are 0 to {most}, roughness 0 to 1, an index of refraction 1 to 4"
                ));
            }
        }
        let camera = &self.camera;
        let axis = minus(camera.to, camera.from);
        if !inside(&[camera.from, camera.to, camera.up], -NUMBER_MAX, NUMBER_MAX)
            || length(cross(axis, camera.up)) < 1e-6
            || !(1e-3..=20.0).contains(&camera.height)
        {
            return Err(
                "camera: from and to must differ, up must not point along the view, height is 0.001 to 20".into()
            );
        }
        if !inside(&[self.sky], 0.0, NUMBER_MAX) {
            return Err(format!("sky: colours are 0 to {NUMBER_MAX}"));
        }
        self.check_shapes(inside)
    }

    fn check_shapes(&self, inside: impl Fn(&[Vector], f64, f64) -> bool) -> Result<(), String> {
        let known = |material: &String| {
            let known = self.materials.contains_key(material);
            if known { Ok(()) } else { Err(format!("there is no material {material:.40?}")) }
        };
        for (at, sphere) in self.spheres.iter().enumerate() {
            known(&sphere.material)?;
            if !inside(&[sphere.centre], -NUMBER_MAX, NUMBER_MAX) || !(1e-3..=NUMBER_MAX).contains(&sphere.radius) {
                return Err(format!("sphere {at}: coordinates are at most 1e4, a radius is 0.001 to 1e4"));
            }
        }
        for (at, quad) in self.quads.iter().enumerate() {
            known(&quad.material)?;
            let [u, v] = quad.edges;
            if !inside(&[quad.corner, u, v], -NUMBER_MAX, NUMBER_MAX) || length(cross(u, v)) < 1e-9 {
                return Err(format!("quad {at}: coordinates are at most 1e4, the edges must not be parallel"));
            }
        }
        for (at, triangle) in self.triangles.iter().enumerate() {
            known(&triangle.material)?;
            let [a, b, c] = triangle.corners;
            if !inside(&[a, b, c], -NUMBER_MAX, NUMBER_MAX) || length(cross(minus(b, a), minus(c, a))) < 1e-9 {
                return Err(format!("triangle {at}: coordinates are at most 1e4, the corners must not lie on a line"));
            }
        }
        Ok(())
    }

    /// The common input.
    pub(super) fn encode(&self, shot: Shot) -> Vec<u8> {
        let mut bytes = Vec::new();
        // LOSSY: both counts are bounded by `check`.
        let (shapes, materials) = (self.shapes() as u32, self.materials.len() as u32);
        let head = [FORMAT, shot.width, shot.height, shapes, materials, shot.samples, shot.bounces, shot.seed];
        head.iter().for_each(|word| push(&mut bytes, *word));
        push_vectors(&mut bytes, &[self.sky]);
        let shines = |material: &String| matches!(self.materials.get(material), Some(Material::Light { .. }));
        let quads = self.quads.iter().map(|quad| (2, &quad.material, [quad.corner, quad.edges[0], quad.edges[1]]));
        let triangles = self.triangles.iter().map(|triangle| {
            let [a, b, c] = triangle.corners;
            (1, &triangle.material, [a, minus(b, a), minus(c, a)])
        });
        // Flat lamps come last, where matte surfaces look for them.
        let (lamps, others): (Vec<_>, Vec<_>) = triangles.chain(quads).partition(|(_, material, _)| shines(material));
        // LOSSY: at most 256 shapes.
        push(&mut bytes, lamps.len() as u32);
        push_vectors(&mut bytes, &self.view(shot));
        for sphere in &self.spheres {
            let shape = [sphere.centre, [sphere.radius, 0.0, 0.0], [0.0; 3]];
            self.push_shape(&mut bytes, 0, &sphere.material, &shape);
        }
        for (kind, material, shape) in others.iter().chain(&lamps) {
            self.push_shape(&mut bytes, *kind, material, shape);
        }
        for material in self.materials.values() {
            let (kind, colour, number) = match *material {
                Material::Matte { colour } => (0, colour, 0.0),
                Material::Metal { colour, roughness } => (1, colour, roughness),
                Material::Glass { colour, index } => (2, colour, index),
                Material::Light { colour } => (3, colour, 0.0),
            };
            push(&mut bytes, kind);
            push_vectors(&mut bytes, &[colour, [number, 0.0, 0.0]]);
            push(&mut bytes, 0);
        }
        bytes
    }

    /// Origin, way to the upper left corner of the picture, and one pixel to the right and down.
    fn view(&self, shot: Shot) -> [Vector; 4] {
        let camera = &self.camera;
        let axis = minus(camera.to, camera.from);
        let forward = times(axis, 1.0 / length(axis));
        let right = cross(forward, camera.up);
        let right = times(right, 1.0 / length(right));
        let down = cross(forward, right);
        let pixel = camera.height / f64::from(shot.height);
        let (across, along) = (times(right, pixel), times(down, pixel));
        let left = minus(forward, times(across, 0.5 * f64::from(shot.width)));
        [camera.from, minus(left, times(along, 0.5 * f64::from(shot.height))), across, along]
    }

    fn push_shape(&self, bytes: &mut Vec<u8>, kind: u32, material: &str, shape: &[Vector; 3]) {
        let index = self.materials.keys().position(|name| name == material).unwrap_or(0);
        push(bytes, kind);
        push(bytes, index as u32);
        push_vectors(bytes, shape);
        push(bytes, 0);
    }
}

fn push_vectors(bytes: &mut Vec<u8>, vectors: &[Vector]) {
    vectors.as_flattened().iter().for_each(|number| push(bytes, (*number as f32).to_bits()));
}
