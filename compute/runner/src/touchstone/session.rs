//! The parent's side: one device, one worker, step after step.

use super::{CONTENT_BYTES, ROWS_ASKED_MAX, Range, Task};
use crate::{
    failure::{Failure, Limit},
    frame::PAYLOAD_BYTES_MAX,
    isolation::Isolation,
    machine::Promise,
    message::{Reply, Request},
    process::{Worker, WorkerCommand},
    session::{Stop, sent, timed, unexpected},
};
use keystead_job::Runtime;

/// One step is short, but a driver may compile its kernels in the first, and a slow machine has large matrices.
const STEP_MS_MAX: u64 = 120_000;
/// From the request to the driver's readiness.
const BEGIN_MS_MAX: u64 = 60_000;
/// What the worker takes beside the matrices that are kept, matrices of one product: two factors, two copies on their way.
const BESIDE_MATRICES: u64 = 4;

/// A device that works on a challenge. Dropping it kills the worker, which gives the memory back.
#[derive(Debug)]
pub struct Touchstone {
    worker: Worker,
    task: Task,
    device: String,
    stop: Stop,
    contents: u64,
    _memory: Option<Promise>,
}

impl Touchstone {
    /// Starts a worker on a device. The processor's matrices count as memory of a job.
    ///
    /// # Errors
    /// [`Failure::ProviderFault`]: no such device, no such task, or not enough memory; what the driver says; `stop` asked.
    pub async fn begin(command: &WorkerCommand, task: Task, stop: Stop) -> Result<Self, Failure> {
        task.check()?;
        let matrix = task.memory_bytes().checked_div(u64::from(task.links)).unwrap_or_default();
        let bytes = task.memory_bytes().saturating_add(matrix.saturating_mul(BESIDE_MATRICES));
        // An adapter's memory is its own; one that is the processor itself is small by default, and the system has the last word.
        let memory = if task.device == 0 { Some(command.promise(bytes)?) } else { None };
        let runtime = if task.device == 0 { Runtime::Wasm1 } else { Runtime::Wgsl1 };
        let started = tokio::select! {
            biased;
            aborted = stop.stopped() => Err(aborted),
            started = start(command, runtime, task) => started,
        };
        let (worker, device) = started?;
        Ok(Self { worker, task, device, stop, contents: 0, _memory: memory })
    }

    /// What the device calls itself; text of a driver, cleaned.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The worker's process id.
    #[must_use]
    pub const fn worker_pid(&self) -> u32 {
        self.worker.pid()
    }

    /// What the worker was confined by.
    #[must_use]
    pub const fn isolation(&self) -> &Isolation {
        self.worker.isolation()
    }

    /// Computes some products and gives the hashes of their rows, in order; `None` once all were given.
    ///
    /// # Errors
    /// See [`Failure`]; also more or fewer hashes than the task has rows. After an error the value is of no use.
    pub async fn step(&mut self) -> Result<Option<Vec<[u8; CONTENT_BYTES]>>, Failure> {
        let bytes = self.ask(&Request::TouchstoneStep, PAYLOAD_BYTES_MAX).await?;
        let (hashes, rest) = bytes.as_chunks::<CONTENT_BYTES>();
        self.contents = self.contents.saturating_add(hashes.len() as u64);
        let rows = u64::from(self.task.side).saturating_mul(u64::from(self.task.links));
        let over = hashes.is_empty();
        if !rest.is_empty() || self.contents > rows || (over && self.contents < rows) {
            return Err(Failure::provider(format_args!("wrong number of rows: got={} expected={rows}", self.contents)));
        }
        Ok((!over).then(|| hashes.to_vec()))
    }

    /// The products of all matrices with the vectors of this key: one for the seeded matrix, then one for each result.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub async fn vectors(&mut self, key: [u32; 8]) -> Result<Vec<Vec<u32>>, Failure> {
        let count = self.task.links.saturating_add(1);
        let row_bytes = self.task.side.saturating_mul(4);
        // Half a frame at a time.
        let at_once = (PAYLOAD_BYTES_MAX / 2).checked_div(row_bytes).unwrap_or(1).max(1);
        let mut vectors = Vec::new();
        let mut first = 0;
        while first < count {
            let range = Range { first, count: at_once.min(count.saturating_sub(first)) };
            let request = Request::TouchstoneVectors { key, range };
            let bytes = self.ask(&request, row_bytes.saturating_mul(range.count)).await?;
            vectors.extend(rows_of(&bytes, row_bytes, range.count)?);
            first = first.saturating_add(range.count);
        }
        Ok(vectors)
    }

    /// Words of some rows, `link * side + row`, at most 512, in the order asked for.
    ///
    /// # Errors
    /// As [`Self::step`]; also a row that is not there.
    pub async fn rows(&mut self, indices: &[u32]) -> Result<Vec<Vec<u32>>, Failure> {
        let (got, max) = (indices.len(), ROWS_ASKED_MAX);
        let count = u32::try_from(got).ok().filter(|_| got <= max);
        let count =
            count.ok_or_else(|| Failure::provider(format_args!("too many rows at once: got={got} max={max}")))?;
        let row_bytes = self.task.side.saturating_mul(4);
        let bytes = self.ask(&Request::TouchstoneRows(indices.to_vec()), row_bytes.saturating_mul(count)).await?;
        rows_of(&bytes, row_bytes, count)
    }

    async fn ask(&mut self, request: &Request, payload_max: u32) -> Result<Vec<u8>, Failure> {
        sent(self.worker.send(request, &[])).await?;
        let answer = timed(STEP_MS_MAX, Limit::WallMs, self.worker.receive(payload_max));
        let answer = tokio::select! {
            biased;
            aborted = self.stop.stopped() => Err(aborted),
            answer = answer => answer,
        };
        match answer? {
            (Reply::Done(_), bytes) => Ok(bytes),
            (other, _) => Err(unexpected(&other)),
        }
    }
}

async fn start(command: &WorkerCommand, runtime: Runtime, task: Task) -> Result<(Worker, String), Failure> {
    let mut worker = Worker::start(command, runtime).await?;
    sent(worker.send(&Request::TouchstoneBegin(task), &[])).await?;
    match timed(BEGIN_MS_MAX, Limit::PrepareMs, worker.receive(0)).await?.0 {
        Reply::Begun { engine } => Ok((worker, crate::failure::cleaned(&engine))),
        other => Err(unexpected(&other)),
    }
}

fn rows_of(bytes: &[u8], row_bytes: u32, count: u32) -> Result<Vec<Vec<u32>>, Failure> {
    let expected = u64::from(row_bytes).saturating_mul(u64::from(count));
    if bytes.len() as u64 != expected {
        return Err(Failure::provider(format_args!("wrong length: got_bytes={} expected={expected}", bytes.len())));
    }
    let words = |row: &[u8]| row.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok(bytes.chunks_exact(row_bytes.max(1) as usize).map(words).collect())
}
