//! The chain of the proof of hardware on an adapter: every product stays in the device's memory, one buffer each.
//!
//! # Design
//! Each step hands the device the next product before it looks at the last one, so the device computes while the processor reads back and hashes. Two
//! buffers for reading take turns. Factors are made in place of the one before, so beside the products the device holds one matrix, and the host two.

pub(crate) mod kernels;

use super::{
    Failure,
    device::{Found, Gpu, adapters, pipeline, storage_layout},
};
use crate::touchstone::{CONTENT_BYTES, Chain, Range, Task, processor::band_bytes};
use kernels::{FILL, LINE, MIX, PRODUCT, SMALL_PRODUCT, TILE, VECTOR};
use std::{
    num::NonZero,
    time::{Duration, Instant},
};
use wgpu::BufferUsages;

/// One step works about so long.
const STEP: Duration = Duration::from_millis(100);
/// Hashes of one step, bytes, at most: those of rows begun below this number.
const STEP_BYTES_MAX: usize = 4 << 20;
const WORD: u64 = 4;

/// A chain in an adapter's memory.
pub(crate) struct Adapter {
    task: Task,
    name: String,
    gpu: Gpu,
    layout: wgpu::BindGroupLayout,
    fill: wgpu::ComputePipeline,
    mix: wgpu::ComputePipeline,
    product: wgpu::ComputePipeline,
    vector: wgpu::ComputePipeline,
    /// The side alone, for kernels that need no more.
    side: wgpu::Buffer,
    /// The mixed matrix that the next product squares.
    factor: wgpu::Buffer,
    products: Vec<wgpu::Buffer>,
    readbacks: [wgpu::Buffer; 2],
    /// The product that the device works on.
    running: Option<wgpu::SubmissionIndex>,
    threads: usize,
}

impl Adapter {
    /// Opens the adapter with this number in the order of the self-test, and fills the first matrix.
    pub(crate) fn new(task: Task, number: usize) -> Result<Self, Failure> {
        task.check()?;
        let found = adapters()?;
        let on: &Found = found.get(number).ok_or_else(|| Failure::NoAdapter {
            why: format!("adapter {} was asked for, there are {}", number.saturating_add(1), found.len()),
        })?;
        let matrix = (task.matrix_words() as u64).saturating_mul(WORD);
        let gpu = Gpu::open_one(on, matrix.max(Self::vector_words(&task).saturating_mul(WORD)))?;
        let buffers = [(0, true), (1, true), (2, false)];
        let layout = gpu.guarded(Failure::provider, || storage_layout(&gpu.device, buffers))?;
        let build = |source: &str| -> Result<wgpu::ComputePipeline, Failure> {
            let module = naga::front::wgsl::parse_str(source).map_err(Failure::provider)?;
            gpu.guarded(Failure::driver, || pipeline(&gpu.device, &layout, module))
        };
        let product = if task.side < TILE { SMALL_PRODUCT } else { PRODUCT };
        let [fill, mix, product, vector] = [build(FILL)?, build(MIX)?, build(product)?, build(VECTOR)?];
        let side = gpu.filled(&task.side.to_le_bytes())?;
        let factor = gpu.buffer(matrix, BufferUsages::STORAGE)?;
        let readback = || gpu.buffer(matrix, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let readbacks = [readback()?, readback()?];
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = usize::from(task.threads).min(cores).max(1);
        let name = on.summary();
        let products = Vec::new();
        let running = None;
        let chain = Self {
            task,
            name,
            gpu,
            layout,
            fill,
            mix,
            product,
            vector,
            side,
            factor,
            products,
            readbacks,
            running,
            threads,
        };
        chain.seed()?;
        Ok(chain)
    }

    /// Words before and of a vector in its kernel's input.
    const fn vector_words(task: &Task) -> u64 {
        (task.side as u64).saturating_add(3)
    }

    /// Fills the factor with the seeded matrix.
    fn seed(&self) -> Result<(), Failure> {
        let words: Vec<u8> =
            [self.task.side].iter().chain(&self.task.key).flat_map(|word| word.to_le_bytes()).collect();
        let input = self.gpu.filled(&words)?;
        self.gpu.guarded(Failure::driver, || {
            self.submit(|pass| self.over_words(pass, &self.fill, &input, &self.side, &self.factor), |_| ())
        })?;
        Ok(())
    }

    /// Hands the device the next product, its copy for the host, and the next factor.
    fn begin(&mut self) -> Result<(), Failure> {
        let bytes = (self.task.matrix_words() as u64).saturating_mul(WORD);
        let product = self.gpu.buffer(bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC)?;
        let readback = self.readback(self.products.len());
        let index = self.gpu.guarded(Failure::driver, || {
            let groups = self.task.side.div_ceil(if self.task.side < TILE { LINE } else { TILE });
            let rows = if self.task.side < TILE { self.task.side } else { groups };
            let group = self.group(&self.side, &self.factor, &product);
            let mixing = self.group(&self.side, &product, &self.factor);
            self.submit(
                |pass| {
                    pass.set_pipeline(&self.product);
                    pass.set_bind_group(0, &group, &[]);
                    pass.dispatch_workgroups(groups, rows, 1);
                    pass.set_pipeline(&self.mix);
                    pass.set_bind_group(0, &mixing, &[]);
                    pass.dispatch_workgroups(self.task.side.div_ceil(LINE), self.task.side, 1);
                },
                |encoder| encoder.copy_buffer_to_buffer(&product, 0, readback, 0, bytes),
            )
        })?;
        self.products.push(product);
        self.running = Some(index);
        Ok(())
    }

    const fn readback(&self, link: usize) -> &wgpu::Buffer {
        let [even, odd] = &self.readbacks;
        if link.is_multiple_of(2) { even } else { odd }
    }

    fn over_words(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        pipeline: &wgpu::ComputePipeline,
        common: &wgpu::Buffer,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
    ) {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.group(common, from, to), &[]);
        pass.dispatch_workgroups(self.task.side.div_ceil(LINE), self.task.side, 1);
    }

    fn submit(
        &self,
        compute: impl FnOnce(&mut wgpu::ComputePass<'_>),
        after: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> wgpu::SubmissionIndex {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            compute(&mut pass);
        }
        after(&mut encoder);
        self.gpu.queue.submit([encoder.finish()])
    }

    fn group(&self, common: &wgpu::Buffer, from: &wgpu::Buffer, to: &wgpu::Buffer) -> wgpu::BindGroup {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip([common, from, to])
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries };
        self.gpu.device.create_bind_group(&descriptor)
    }

    /// Reads a buffer of the device through another one that the host can read.
    fn fetch(&self, parts: &[(&wgpu::Buffer, u64)], bytes_each: u64) -> Result<Vec<u8>, Failure> {
        let whole = bytes_each.saturating_mul(parts.len() as u64);
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: whole,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let readback = self.gpu.guarded(Failure::driver, || self.gpu.device.create_buffer(&descriptor))?;
        let copy = |encoder: &mut wgpu::CommandEncoder| {
            let mut to = 0u64;
            for (from, offset) in parts {
                encoder.copy_buffer_to_buffer(from, *offset, &readback, to, bytes_each);
                to = to.saturating_add(bytes_each);
            }
        };
        let submitted = self.gpu.guarded(Failure::driver, || self.submit(|_| (), copy))?;
        self.gpu.read(&readback, submitted, <[u8]>::to_vec)
    }
}

impl Chain for Adapter {
    fn device(&self) -> String {
        self.name.clone()
    }

    fn step(&mut self) -> Result<Vec<u8>, Failure> {
        let started = Instant::now();
        let (side, links) = (self.task.side as usize, self.task.links as usize);
        let mut hashes = Vec::new();
        while hashes.is_empty() || (started.elapsed() < STEP && hashes.len() < STEP_BYTES_MAX) {
            let before = self.running.take();
            let finished = self.products.len().saturating_sub(1);
            if self.products.len() < links {
                self.begin()?;
            }
            let Some(submitted) = before else {
                if self.running.is_none() {
                    break;
                }
                continue;
            };
            let words: Vec<u32> = self.gpu.read(self.readback(finished), submitted, |bytes| {
                bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
            })?;
            let bands = band_bytes(self.threads, side, &words);
            hashes.extend(bands.into_iter().flatten());
            debug_assert!(hashes.len().is_multiple_of(CONTENT_BYTES));
        }
        Ok(hashes)
    }

    fn vectors(&mut self, key: [u32; 8], range: Range) -> Result<Vec<u8>, Failure> {
        let side = self.task.side;
        let last = range.first.saturating_add(range.count);
        if last > self.task.links.saturating_add(1) || self.products.len() < self.task.links as usize {
            return Err(Failure::provider(format_args!(
                "no such vectors: last={last} products={}",
                self.products.len()
            )));
        }
        let row_bytes = u64::from(side).saturating_mul(WORD);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
        if range.first == 0 {
            self.seed()?;
        }
        let mut bytes = Vec::new();
        // As many as fit the largest binding at once.
        let matrix = (self.task.matrix_words() as u64).saturating_mul(WORD);
        let at_once = u32::try_from(matrix.checked_div(row_bytes).unwrap_or(1)).unwrap_or(1).max(1);
        let mut first = range.first;
        while first < last {
            let count = at_once.min(last.saturating_sub(first));
            let out = self.gpu.buffer(row_bytes.saturating_mul(u64::from(count)), usage)?;
            for link in first..first.saturating_add(count) {
                let place = link.saturating_sub(first).saturating_mul(side);
                self.one_vector(key, link, place, &out)?;
            }
            bytes.extend(self.fetch(&[(&out, 0)], row_bytes.saturating_mul(u64::from(count)))?);
            first = first.saturating_add(count);
        }
        Ok(bytes)
    }

    fn rows(&mut self, indices: &[u32]) -> Result<Vec<u8>, Failure> {
        if indices.is_empty() {
            return Ok(Vec::new());
        }
        let side = self.task.side;
        let row_bytes = u64::from(side).saturating_mul(WORD);
        let mut parts = Vec::new();
        for index in indices {
            let product = index.checked_div(side).and_then(|link| self.products.get(link as usize));
            let product = product.ok_or_else(|| Failure::provider(format_args!("no such row: index={index}")))?;
            let row = index.checked_rem(side).unwrap_or_default();
            parts.push((product, u64::from(row).saturating_mul(row_bytes)));
        }
        // The device was opened for buffers as large as a matrix.
        let mut bytes = Vec::new();
        for part in parts.chunks(side as usize) {
            bytes.extend(self.fetch(part, row_bytes)?);
        }
        Ok(bytes)
    }
}

impl Adapter {
    /// The product of one matrix with its vector, written from word `place` on.
    fn one_vector(&self, key: [u32; 8], link: u32, place: u32, out: &wgpu::Buffer) -> Result<(), Failure> {
        let side = self.task.side;
        let mut vector = vec![0; side as usize];
        crate::touchstone::words::seed_row(&key, link, &mut vector);
        let product = link.checked_sub(1).and_then(|before| self.products.get(before as usize));
        let head = [side, u32::from(product.is_some()), place];
        let input: Vec<u8> = head.iter().chain(&vector).flat_map(|word| word.to_le_bytes()).collect();
        let input = self.gpu.filled(&input)?;
        self.gpu.guarded(Failure::driver, || {
            let group = self.group(&input, product.unwrap_or(&self.factor), out);
            self.submit(
                |pass| {
                    pass.set_pipeline(&self.vector);
                    pass.set_bind_group(0, &group, &[]);
                    pass.dispatch_workgroups(side, 1, 1);
                },
                |_| (),
            )
        })?;
        Ok(())
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::kernels::{FILL, LINE, MIX, PRODUCT, SMALL_PRODUCT, TILE, VECTOR};
    use keystead_kernel::{Dispatch, Kernel, Profile};
    use keystead_market::touchstone::{
        arithmetic::{dot, mix, seeded_row},
        prover::square,
    };

    /// Runs a kernel on the interpreter, after the checks that a stranger's has to pass.
    fn run(source: &str, common: &[u32], unit: &[u32], output_words: usize, workgroups: [u32; 3]) -> Vec<u32> {
        let program = Kernel::admit(source.as_bytes(), Profile::Exact).unwrap().program().unwrap();
        let (loop_iterations_max, steps_max) = (32_768, u64::MAX);
        program.run(&Dispatch { common, unit, output_words, workgroups, loop_iterations_max, steps_max }).unwrap()
    }

    #[test]
    fn every_kernel_gives_the_words_of_the_reference() {
        let key = [0xdead_beef, 2, 0xffff_fff0, 0x8000_0001, 5, 6, 7, 8];
        for side in [16u32, 32, 64, 128] {
            let words = (side * side) as usize;
            let lines = [side.div_ceil(LINE), side, 1];
            let seeded: Vec<u32> = (0..side).flat_map(|row| seeded_row(&key, row, side)).collect();
            let common: Vec<u32> = [side].into_iter().chain(key).collect();
            assert_eq!(run(FILL, &common, &[0], words, lines), seeded, "fill {side}");
            let mixed: Vec<u32> = seeded.iter().copied().map(mix).collect();
            assert_eq!(run(MIX, &[side], &seeded, words, lines), mixed, "mix {side}");
            let product = square(&mixed, side as usize);
            let by_words = run(SMALL_PRODUCT, &[side], &mixed, words, lines);
            assert_eq!(by_words, product, "small product {side}");
            if side >= TILE {
                let tiles = [side / TILE, side / TILE, 1];
                assert_eq!(run(PRODUCT, &[side], &mixed, words, tiles), product, "product {side}");
            }
            let vector = seeded_row(&key, 9, side);
            for (flag, matrix) in [(0u32, &seeded), (1, &mixed)] {
                let common: Vec<u32> = [side, flag, 16].into_iter().chain(vector.iter().copied()).collect();
                let out = run(VECTOR, &common, &seeded, side as usize + 16, [side, 1, 1]);
                let expected: Vec<u32> = matrix.chunks_exact(side as usize).map(|row| dot(row, &vector)).collect();
                assert_eq!(out[16..], expected, "vector {side} {flag}");
                assert_eq!(out[..16], [0; 16]);
            }
        }
    }
}
