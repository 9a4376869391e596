//! Cuts a picture into bands of rows and samples into segments, and joins the bands.
#![allow(clippy::arithmetic_side_effects, reason = "sides, samples and bounces are bounded: products stay below 2^48")]
#![allow(clippy::cast_precision_loss, reason = "LOSSY: rows are at most 16,384, exact in single precision")]

use super::{
    paths::{self, Band},
    picture,
    scene::{Scene, Shot},
};
use crate::{
    CustomerSide, Error, InputFile, Inputs, Plan, ResultFile, png,
    settings::{count, integer},
};
use keystead_job::parameter::Parameters;

/// Most samples of a segment: a device's watchdog ends dispatches that take seconds.
const SEGMENT_SAMPLES_MAX: u64 = 64;
/// Most pixels of a picture: its sums are held in memory, 12 bytes each.
const PIXELS_MAX: u64 = 33_554_432;
const SIDE_MAX: i64 = 16_384;
/// Rows of a workgroup.
const GROUP: u32 = 8;

/// The recipe `render`.
#[derive(Clone, Copy, Debug)]
pub struct Render;

/// Everything that plan and assembly both derive from files and parameters.
struct Work {
    scene: Scene,
    shot: Shot,
    segment_count: u32,
    unit_rows: u32,
    exposure: f64,
}

/// Entries into loop bodies of one invocation, as the kernel's head says, of one sample and besides.
fn sample_iterations(bounces: u32, shapes: usize) -> u64 {
    1 + u64::from(bounces) + 1 + 2 * u64::from(bounces) * (shapes as u64 + 1)
}

impl Work {
    fn new(inputs: &Inputs, parameters: &Parameters, iterations_max: u32) -> Result<Self, Error> {
        let scene = match inputs.optional("scene") {
            Some(file) => Scene::read(file)?,
            None => Scene::read(&InputFile {
                path: "the committed scene".to_owned(),
                bytes: include_bytes!("../../render/scenes/box.json").to_vec(),
            })?,
        };
        let width: u32 = integer(parameters, "width", 1..=SIDE_MAX)?;
        let height: u32 = integer(parameters, "height", 1..=SIDE_MAX)?;
        let samples: u32 = integer(parameters, "samples", 1..=1 << 20)?;
        let bounces: u32 = integer(parameters, "bounces", 1..=64)?;
        let seed: u32 = integer(parameters, "seed", 0..=i64::from(u32::MAX))?;
        let unit_rows: u32 = integer(parameters, "rows-per-unit", 1..=SIDE_MAX)?;
        let exposure: u32 = integer(parameters, "exposure-percent", 1..=100_000)?;
        let one = sample_iterations(bounces, scene.shapes());
        let most = u64::from(iterations_max.saturating_sub(1)).checked_div(one).unwrap_or(0).min(SEGMENT_SAMPLES_MAX);
        let pixels = u64::from(width) * u64::from(height);
        let sizes =
            [("loop iterations of one sample", one + 1, u64::from(iterations_max)), ("pixels", pixels, PIXELS_MAX)];
        if let Some((what, got, max)) = sizes.into_iter().find(|(_, got, max)| got > max) {
            let advice = "use fewer shapes, bounces or pixels";
            return Err(Error::TooLarge { what, got, max, advice });
        }
        let segment_count = samples.div_ceil(u32::try_from(most).unwrap_or(1).max(1));
        let shot = Shot { width, height, samples: samples.div_ceil(segment_count), bounces, seed };
        let unit_rows = unit_rows.min(height);
        Ok(Self { scene, shot, segment_count, unit_rows, exposure: f64::from(exposure) / 100.0 })
    }

    const fn unit_count(&self) -> u32 {
        self.shot.height.div_ceil(self.unit_rows)
    }

    const fn band_numbers(&self) -> usize {
        3 * self.shot.width as usize * self.unit_rows as usize
    }

    /// The empty sums of a unit. The last band may reach below the picture; what lies there is dropped again.
    fn first_band(&self, unit: u32) -> Band {
        Band {
            samples: 0.0,
            first_row: (unit * self.unit_rows) as f32,
            rows: self.unit_rows as f32,
            sums: vec![0.0; self.band_numbers()],
        }
    }

    #[allow(clippy::float_cmp, reason = "whole numbers that the kernel only adds and copies")]
    fn last_band(&self, unit: usize, output: &[u8]) -> Result<Band, String> {
        let band = Band::decode(output, self.shot.width as usize).map_err(str::to_owned)?;
        let samples = self.shot.samples * self.segment_count;
        let first_row = u32::try_from(unit).unwrap_or(u32::MAX).saturating_mul(self.unit_rows);
        let expected = (samples as f32, first_row as f32, self.unit_rows as f32);
        let got = (band.samples, band.first_row, band.rows);
        if got == expected { Ok(band) } else { Err(format!("samples, row, rows are {got:?}, expected {expected:?}")) }
    }
}

impl CustomerSide for Render {
    fn name(&self) -> &'static str {
        "render"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../render/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../render/kernel/render.wgsl")
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let recipe = self.recipe()?;
        let work = Work::new(inputs, parameters, recipe.limits.loop_iterations_max)?;
        let mut limits = recipe.limits([work.shot.width.div_ceil(GROUP), work.unit_rows.div_ceil(GROUP), 1]);
        let output_bytes = 16 + 4 * work.band_numbers() as u64;
        if output_bytes > limits.output_bytes_max {
            let advice = "set rows-per-unit lower";
            let max = limits.output_bytes_max;
            return Err(Error::TooLarge { what: "bytes of output of a unit", got: output_bytes, max, advice });
        }
        limits.output_bytes_max = output_bytes;
        let one = sample_iterations(work.shot.bounces, work.scene.shapes());
        let loops = 1 + u64::from(work.shot.samples) * one;
        limits.loop_iterations_max = limits.loop_iterations_max.min(u32::try_from(loops).unwrap_or(u32::MAX));
        let units = (0..work.unit_count()).map(|unit| work.first_band(unit).encode()).collect();
        Ok(Plan { common: work.scene.encode(work.shot), units, segment_count: work.segment_count, limits })
    }

    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
        paths::run(common, unit)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let work = Work::new(inputs, parameters, self.recipe()?.limits.loop_iterations_max)?;
        count(outputs.len(), usize::try_from(work.unit_count()).unwrap_or(usize::MAX))?;
        let mut sums = Vec::new();
        for (unit, output) in outputs.iter().enumerate() {
            sums.extend(work.last_band(unit, output).map_err(|what| Error::Output { unit, what })?.sums);
        }
        sums.truncate(3 * work.shot.width as usize * work.shot.height as usize);
        let samples = f64::from(work.shot.samples) * f64::from(work.segment_count);
        let pixels = picture::developed(sums.iter().map(|sum| f64::from(*sum) / samples), work.exposure);
        let bytes = png::encode(work.shot.width, work.shot.height, &pixels);
        Ok(vec![ResultFile { name: "picture.png".to_owned(), bytes }])
    }
}
