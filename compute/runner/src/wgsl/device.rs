//! Adapters, and one kernel on one of them: buffers, pipeline, dispatch, readback.
//!
//! # Design
//! Everything that a driver does is inside error scopes, and a lost device is looked for after each step, because a driver may give up without an
//! error. The parent process kills a dispatch that does not end.

use crate::{
    cards::{Listed, cards},
    failure::{Failure, Limit},
    report::DeviceKind,
};
use keystead_job::{Limits, limits::INPUT_BYTES_MAX};
use keystead_kernel::{CUT_SHORT, OVER_LIMIT, STATUS_BINDING};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError, mpsc},
};
use wgpu::{BufferUsages, DeviceType, PollType};

/// Shared memory of a workgroup and its invocations: WebGPU's defaults, the same for every kernel on every machine.
pub(super) const WORKGROUP_BYTES_MAX: u32 = 16_384;
pub(super) const WORKGROUP_INVOCATIONS_MAX: u32 = 256;
const WORD: u64 = 4;

/// An adapter of this machine.
pub(super) struct Found {
    pub(super) adapter: wgpu::Adapter,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) kind: DeviceKind,
}

impl Found {
    pub(super) fn summary(&self) -> String {
        let wgpu::AdapterInfo { name, backend, driver, driver_info, .. } = &self.info;
        format!("{name} ({backend}, {driver} {driver_info})")
    }

    fn listed(&self) -> Listed {
        let wgpu::AdapterInfo { name, vendor, device, device_pci_bus_id, backend, driver, .. } = &self.info;
        let interface = match backend {
            wgpu::Backend::Vulkan => 0,
            wgpu::Backend::Metal => 1,
            _ => 2,
        };
        Listed {
            name: name.clone(),
            kind: self.kind,
            ids: (*vendor, *device),
            bus: device_pci_bus_id.clone(),
            interface,
            driver: driver.clone(),
        }
    }
}

/// What the drivers of this machine list.
pub(super) struct Adapters {
    /// Those that are used, best first: each card once, or one program that acts as one. By its place here a worker knows an adapter.
    pub(super) used: Vec<Found>,
    /// The others: seen twice, programs beside cards, too many.
    pub(super) others: Vec<Found>,
}

/// The adapters that are used, best first, the same each time.
pub(super) fn adapters() -> Result<Vec<Found>, Failure> {
    all().map(|adapters| adapters.used)
}

/// All adapters that are listed.
pub(super) fn all() -> Result<Adapters, Failure> {
    // No GL: it adds a second, weaker copy of the same devices.
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        // No driver debugging: it needs layers that a machine without a development kit lacks.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut found: Vec<Option<Found>> = pollster::block_on(instance.enumerate_adapters(backends))
        .into_iter()
        .map(|adapter| {
            let info = adapter.get_info();
            let kind = kind(info.device_type);
            Some(Found { adapter, info, kind })
        })
        .collect();
    let listed: Vec<Listed> = found.iter().flatten().map(Found::listed).collect();
    let used: Vec<Found> =
        cards(&listed).into_iter().filter_map(|place| found.get_mut(place).and_then(Option::take)).collect();
    if used.is_empty() {
        return Err(Failure::NoAdapter { why: "no Vulkan, Metal or DX12 adapter on this machine".to_owned() });
    }
    Ok(Adapters { used, others: found.into_iter().flatten().collect() })
}

const fn kind(device_type: DeviceType) -> DeviceKind {
    match device_type {
        DeviceType::DiscreteGpu => DeviceKind::Discrete,
        DeviceType::IntegratedGpu => DeviceKind::Integrated,
        DeviceType::VirtualGpu => DeviceKind::Virtual,
        DeviceType::Other => DeviceKind::Other,
        DeviceType::Cpu => DeviceKind::Cpu,
    }
}

/// What a driver said although nobody asked.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Option<String>>>);

impl Complaints {
    fn add(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }

    fn check(&self) -> Result<(), Failure> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(text) => Err(Failure::driver(text)),
            None => Ok(()),
        }
    }
}

/// A device with error handling.
pub(super) struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    complaints: Complaints,
    binding_bytes_max: u64,
}

impl Gpu {
    /// Opens the best adapter with the limits that the job declares, no more.
    fn open(found: &[Found], limits: Limits) -> Result<Self, Failure> {
        let best = found.first().ok_or_else(|| Failure::NoAdapter { why: "no adapter".to_owned() })?;
        let wish = limits.memory_bytes_max.min(INPUT_BYTES_MAX).max(limits.output_bytes_max.saturating_add(WORD));
        Self::open_one(best, wish)
    }

    /// Opens an adapter for bindings and buffers up to `wish` bytes, or as large as it has them.
    pub(super) fn open_one(on: &Found, wish: u64) -> Result<Self, Failure> {
        let has = on.adapter.limits();
        let binding_bytes_max = wish.min(has.max_storage_buffer_binding_size).min(has.max_buffer_size);
        let required_limits = wgpu::Limits {
            max_storage_buffers_per_shader_stage: 4,
            max_storage_buffer_binding_size: binding_bytes_max,
            max_buffer_size: binding_bytes_max,
            max_compute_workgroup_storage_size: WORKGROUP_BYTES_MAX,
            max_compute_invocations_per_workgroup: WORKGROUP_INVOCATIONS_MAX,
            max_compute_workgroup_size_x: 256,
            max_compute_workgroup_size_y: 256,
            max_compute_workgroup_size_z: 64,
            max_compute_workgroups_per_dimension: 65_535,
            // Without textures: what the weakest API has.
            ..wgpu::Limits::downlevel_webgl2_defaults()
        };
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..wgpu::DeviceDescriptor::default() };
        let (device, queue) = pollster::block_on(on.adapter.request_device(&descriptor))
            .map_err(|error| Failure::provider(format_args!("{}: {error}", on.summary())))?;
        let complaints = Complaints::default();
        let lost = complaints.clone();
        device.set_device_lost_callback(move |reason, text| lost.add(format!("device lost: {reason:?} {text}")));
        let uncaptured = complaints.clone();
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.add(error.to_string())));
        Ok(Self { device, queue, complaints, binding_bytes_max })
    }

    /// Runs something that talks to the driver; `blame` says whose fault a validation error is.
    pub(super) fn guarded<T>(&self, blame: fn(String) -> Failure, step: impl FnOnce() -> T) -> Result<T, Failure> {
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = step();
        let validation = pollster::block_on(validation.pop());
        let others = [pollster::block_on(memory.pop()), pollster::block_on(internal.pop())];
        if let Some(error) = validation {
            return Err(blame(chain(&error)));
        }
        if let Some(error) = others.into_iter().flatten().next() {
            return Err(Failure::driver(chain(&error)));
        }
        self.alive()?;
        Ok(value)
    }

    /// Looks whether the driver gave up silently.
    fn alive(&self) -> Result<(), Failure> {
        if let Err(error) = self.device.poll(PollType::Poll) {
            return Err(Failure::driver(error));
        }
        self.complaints.check()
    }

    pub(super) fn buffer(&self, bytes: u64, usage: BufferUsages) -> Result<wgpu::Buffer, Failure> {
        if bytes > self.binding_bytes_max {
            return Err(Failure::provider(format_args!(
                "the device cannot bind so large a buffer: needed_bytes={bytes} available_bytes={}",
                self.binding_bytes_max
            )));
        }
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        self.guarded(Failure::provider, || self.device.create_buffer(&descriptor))
    }

    /// Waits for what was submitted (the parent has the deadline), and gives the bytes of a buffer that can be read to `take`.
    pub(super) fn read<T>(
        &self,
        readback: &wgpu::Buffer,
        submitted: wgpu::SubmissionIndex,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Failure> {
        let (sender, mapped) = mpsc::channel();
        readback.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver lives until the end of this function.
            let _ = sender.send(result);
        });
        let wait = PollType::Wait { submission_index: Some(submitted), timeout: None };
        self.device.poll(wait).map_err(Failure::driver)?;
        self.complaints.check()?;
        match mapped.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failure::driver(error)),
            Err(error) => return Err(Failure::driver(format_args!("the output was not mapped: {error}"))),
        }
        let taken = take(&readback.get_mapped_range(..).map_err(Failure::driver)?);
        readback.unmap();
        Ok(taken)
    }

    /// A buffer with these bytes; an empty input becomes one zero word.
    pub(super) fn filled(&self, bytes: &[u8]) -> Result<wgpu::Buffer, Failure> {
        let buffer = self.buffer(bound_bytes(bytes.len() as u64), BufferUsages::STORAGE | BufferUsages::COPY_DST)?;
        if !bytes.is_empty() {
            self.guarded(Failure::provider, || self.queue.write_buffer(&buffer, 0, bytes))?;
        }
        Ok(buffer)
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str("; ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

const fn bound_bytes(bytes: u64) -> u64 {
    if bytes == 0 { WORD } else { bytes.next_multiple_of(WORD) }
}

/// A kernel ready to run units.
pub(super) struct Kernel {
    gpu: Gpu,
    limits: Limits,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    common: wgpu::Buffer,
    common_bytes: u64,
    output: wgpu::Buffer,
    status: wgpu::Buffer,
    /// The output and the status word, where the processor can read them.
    readback: wgpu::Buffer,
}

impl Kernel {
    /// Builds the pipeline and uploads the common input. `module` is valid and carries the loop counter.
    pub(super) fn new(found: &[Found], module: naga::Module, limits: Limits, common: &[u8]) -> Result<Self, Failure> {
        whole_words("common input", common)?;
        declared_memory(limits, common.len() as u64, 0)?;
        let gpu = Gpu::open(found, limits)?;
        let buffers = [(0, true), (1, true), (2, false), (STATUS_BINDING, false)];
        let layout = gpu.guarded(Failure::provider, || storage_layout(&gpu.device, buffers))?;
        let pipeline = gpu.guarded(Failure::kernel, || pipeline(&gpu.device, &layout, module))?;
        let common_buffer = gpu.filled(common)?;
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let output = gpu.buffer(limits.output_bytes_max, usage)?;
        let status = gpu.buffer(WORD, usage)?;
        let readback_bytes = limits.output_bytes_max.saturating_add(WORD);
        let readback = gpu.buffer(readback_bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        let common_bytes = common.len() as u64;
        Ok(Self { gpu, limits, pipeline, layout, common: common_buffer, common_bytes, output, status, readback })
    }

    /// Runs one unit; gives the whole output buffer.
    pub(super) fn run(&self, unit: &[u8]) -> Result<Vec<u8>, Failure> {
        whole_words("unit input", unit)?;
        declared_memory(self.limits, self.common_bytes, unit.len() as u64)?;
        let unit = self.gpu.filled(unit)?;
        let submitted = self.gpu.guarded(Failure::driver, || self.submit(&unit))?;
        let mut bytes = self.read(submitted)?;
        let status = bytes.split_off(bytes.len().saturating_sub(size_of::<u32>()));
        let status = status.try_into().map_or(u32::MAX, u32::from_le_bytes);
        if status & OVER_LIMIT != 0 {
            let limit = u64::from(self.limits.loop_iterations_max);
            return Err(Failure::LimitHit { which: Limit::LoopIterations, limit, got: None });
        }
        if status & CUT_SHORT != 0 {
            return Err(Failure::driver("the driver ended a loop before the program did"));
        }
        Ok(bytes)
    }

    fn submit(&self, unit: &wgpu::Buffer) -> wgpu::SubmissionIndex {
        let device = &self.gpu.device;
        let buffers = [&self.common, unit, &self.output, &self.status];
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries };
        let group = device.create_bind_group(&descriptor);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.clear_buffer(&self.output, 0, None);
        encoder.clear_buffer(&self.status, 0, None);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            let [x, y, z] = self.limits.workgroups;
            pass.dispatch_workgroups(x, y, z);
        }
        let output_bytes = self.limits.output_bytes_max;
        encoder.copy_buffer_to_buffer(&self.output, 0, &self.readback, 0, output_bytes);
        encoder.copy_buffer_to_buffer(&self.status, 0, &self.readback, output_bytes, WORD);
        self.gpu.queue.submit([encoder.finish()])
    }

    fn read(&self, submitted: wgpu::SubmissionIndex) -> Result<Vec<u8>, Failure> {
        self.gpu.read(&self.readback, submitted, <[u8]>::to_vec)
    }
}

pub(super) fn whole_words(what: &str, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len().is_multiple_of(size_of::<u32>()) {
        return Ok(());
    }
    Err(Failure::kernel(format_args!("{what} is not whole u32 words: bytes={}", bytes.len())))
}

/// The memory rule of specs/0003-job.md §7, before anything is allocated.
pub(super) fn declared_memory(limits: Limits, common_bytes: u64, unit_bytes: u64) -> Result<(), Failure> {
    let output = bound_bytes(limits.output_bytes_max);
    let parts = [bound_bytes(common_bytes), bound_bytes(unit_bytes), output, output];
    let got = parts.into_iter().fold(0, u64::saturating_add);
    let limit = limits.memory_bytes_max;
    if got <= limit { Ok(()) } else { Err(Failure::LimitHit { which: Limit::MemoryBytes, limit, got: Some(got) }) }
}

/// The layout of a group of storage buffers: the binding of each, and whether it is only read.
pub(super) fn storage_layout<const N: usize>(
    device: &wgpu::Device,
    buffers: [(u32, bool); N],
) -> wgpu::BindGroupLayout {
    let entries = buffers.map(|(binding, read_only)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    });
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

pub(super) fn pipeline(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    module: naga::Module,
) -> wgpu::ComputePipeline {
    let source = wgpu::ShaderSource::Naga(Cow::Owned(module));
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_memory_counts_every_buffer_and_the_readback_copy() {
        let limits = super::super::small_limits(1, 1_000);
        let at = |memory_bytes_max| declared_memory(Limits { memory_bytes_max, ..limits }, 0, 6);
        // One word, two words, and the output twice.
        assert_eq!(at(4 + 8 + 2_000), Ok(()));
        let limit = 4 + 8 + 2_000 - 1;
        assert_eq!(at(limit), Err(Failure::LimitHit { which: Limit::MemoryBytes, limit, got: Some(2_012) }));
    }

    #[test]
    fn inputs_that_are_not_whole_words_are_the_jobs_fault() {
        assert_eq!(whole_words("x", &[0; 8]), Ok(()));
        assert!(matches!(whole_words("x", &[0; 7]), Err(Failure::KernelRejected { .. })));
    }
}
