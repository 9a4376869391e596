//! Runs a `wgsl/1` unit as specs/0003-job.md section 7 says, for comparing kernels with references without the runner's crate.

use wgpu::{BufferUsages, PollType};

/// A compiled kernel on the machine's first Vulkan, Metal or DX12 adapter.
pub(crate) struct Kernel {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    /// For messages.
    pub(crate) adapter: String,
}

impl Kernel {
    /// `None` where there is no adapter. A kernel that does not compile is a failure.
    pub(crate) fn new(source: &str) -> Option<Self> {
        let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = pollster::block_on(instance.enumerate_adapters(backends)).into_iter().next()?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Some(Self { device, queue, pipeline, adapter: adapter.get_info().name })
    }

    pub(crate) fn run(&self, common: &[u8], unit: &[u8], output_bytes: u64, workgroups: [u32; 3]) -> Vec<u8> {
        let buffer = |size, usage| {
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let filled = |bytes: &[u8]| {
            let buffer = buffer(bytes.len() as u64, BufferUsages::STORAGE | BufferUsages::COPY_DST);
            self.queue.write_buffer(&buffer, 0, bytes);
            buffer
        };
        let output = buffer(output_bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
        let readback = buffer(output_bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let buffers = [filled(common), filled(unit), output];
        let entries: Vec<_> = (0..)
            .zip(&buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(workgroups[0], workgroups[1], workgroups[2]);
        }
        encoder.copy_buffer_to_buffer(&buffers[2], 0, &readback, 0, output_bytes);
        self.queue.submit([encoder.finish()]);
        readback.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        self.device.poll(PollType::wait_indefinitely()).unwrap();
        readback.get_mapped_range(..).unwrap().to_vec()
    }
}

/// The kernel of a recipe, or a loud skip where no adapter is.
#[allow(dead_code, reason = "one module for several test binaries")]
pub(crate) fn kernel_of(side: &dyn keystead_recipes::CustomerSide) -> Option<Kernel> {
    let kernel = Kernel::new(core::str::from_utf8(side.program()).unwrap());
    match &kernel {
        Some(kernel) => eprintln!("adapter: {}", kernel.adapter),
        None => eprintln!("skipped: no Vulkan, Metal or DX12 adapter (apt-get install mesa-vulkan-drivers libvulkan1)"),
    }
    kernel
}
