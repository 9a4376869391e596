//! A worker as its parent sees it: started confined, spoken to over two pipes, always killed and always reaped.
//!
//! # Design
//! On Linux a child dies with the *thread* that started it (`PR_SET_PDEATHSIG`), and threads of an async runtime come and go. So one thread
//! that lives as long as the process starts all workers.

use crate::{
    WORKER_SUBCOMMAND,
    failure::{Failure, cleaned},
    frame,
    isolation::{Isolation, Layer, LayerReport},
    machine::{Budget, Promise},
    message::{PROTOCOL, Reply, Request},
    sandbox::{self, Child, Start, Started},
    worker::{READ_OPTION, WITHOUT_OPTION},
};
use keystead_job::Runtime;
use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt as _,
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::oneshot,
    task::JoinHandle,
};

/// From start to the first frame: loading the binary; generous, as laptops wake up slowly.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a process whose pipe is closed may take to end by itself, so that its own exit code is seen.
const EXIT_MAX: Duration = Duration::from_secs(2);
/// What is kept of a worker's standard error, bytes.
const STDERR_TAIL_BYTES: usize = 8_192;
/// What is read of a worker's standard error in all, bytes; then its pipe is closed, so that noise costs no more than this.
const STDERR_BYTES_MAX: usize = 16 << 20;
/// Starts that may wait for the starting thread; more would mean that it hangs.
const STARTS_WAITING_MAX: usize = 64;

/// How to start a worker, and how it must be confined: a binary whose `main` calls [`crate::worker_main`] under the subcommand `worker`.
/// Clones share the memory for workers, the bound of their swap space and what is known of the confinement.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
    readable: Vec<PathBuf>,
    without: Vec<Layer>,
    required: Vec<Layer>,
    memory: Budget,
    /// Swap space that one worker may use, bytes; the largest number for no bound.
    swap_bytes: Arc<AtomicU64>,
    /// What the first worker of each runtime had.
    seen: Arc<Mutex<Vec<(Runtime, Isolation)>>>,
}

impl WorkerCommand {
    /// The running binary itself, also if its file was replaced meanwhile (Linux).
    ///
    /// # Errors
    /// The system does not say where the running binary is.
    pub fn current_exe() -> io::Result<Self> {
        let linux = PathBuf::from("/proc/self/exe");
        let program = if cfg!(target_os = "linux") && linux.exists() { linux } else { std::env::current_exe()? };
        Ok(Self::new(program))
    }

    /// Another binary, by its path; for tests and unusual installations.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            // Mesa would write compiled kernels of strangers into the home folder.
            environment: vec![("MESA_SHADER_CACHE_DISABLE".into(), "true".into())],
            readable: Vec::new(),
            without: Vec::new(),
            required: Vec::new(),
            memory: Budget::of_machine(),
            swap_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            seen: Arc::default(),
        }
    }

    /// Gives workers one variable of the otherwise empty environment, for drivers in unusual places.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Lets workers read one file or folder more, by its absolute path: drivers in unusual places. Never a folder with secrets.
    #[must_use]
    pub fn with_readable(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// Refuses to work without these layers.
    #[must_use]
    pub fn requiring(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.required.extend(layers);
        self
    }

    /// Leaves one layer out: for a driver that cannot live with it, and to measure what it costs. Reports say so.
    #[must_use]
    pub fn without(mut self, layer: Layer) -> Self {
        self.without.push(layer);
        self.seen = Arc::default();
        self
    }

    /// Bounds the memory that all running jobs together may declare, bytes; the default is seven eighths of the machine's.
    #[must_use]
    pub fn with_memory(mut self, total_bytes: u64) -> Self {
        self.memory = Budget::new(total_bytes);
        self
    }

    /// Bounds the swap space of each worker that begins a job from now on, bytes, for all clones; `None` for no bound. It holds where a worker has a control
    /// group of version 2 and the system counts swap space there; elsewhere nothing does, and whoever wants a bound has to look.
    pub fn limit_swap(&self, bytes: Option<u64>) {
        self.swap_bytes.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Swap space that one worker may use, bytes, if that is bounded.
    pub(crate) fn swap_bytes(&self) -> Option<u64> {
        Some(self.swap_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != u64::MAX)
    }

    /// Memory that one job may declare if no other runs, bytes.
    pub(crate) const fn memory_bytes_max(&self) -> u64 {
        self.memory.declared_bytes_max()
    }

    /// Promises memory to a job that declares so much.
    pub(crate) fn promise(&self, declared_bytes: u64) -> Result<Promise, Failure> {
        self.memory.promise(declared_bytes)
    }

    fn start(&self, runtime: Runtime) -> Start {
        let mut arguments: Vec<OsString> = [WORKER_SUBCOMMAND, runtime.as_str()].map(OsString::from).to_vec();
        arguments.extend(self.readable.iter().flat_map(|path| [READ_OPTION.into(), path.into()]));
        arguments.extend(self.without.iter().flat_map(|layer| [WITHOUT_OPTION, layer.as_str()]).map(OsString::from));
        Start {
            program: self.program.clone(),
            arguments,
            environment: self.environment.clone(),
            graphics: runtime == Runtime::Wgsl1,
            without: self.without.clone(),
        }
    }

    /// Holds what a worker obtained against what the owner demands and what this machine could before.
    fn judge(&self, runtime: Runtime, isolation: &Isolation) -> Result<(), Failure> {
        let reasons = |missing: Vec<&LayerReport>| -> String {
            let each: Vec<String> = missing.iter().map(|report| format!("{}: {}", report.layer, report.note)).collect();
            each.join("; ")
        };
        let missing: Vec<&LayerReport> = isolation.missing(&self.required).collect();
        if !missing.is_empty() {
            return Err(Failure::provider(format_args!("a demanded layer is missing: {}", reasons(missing))));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, before)) = seen.iter().find(|(known, _)| *known == runtime) else {
            seen.push((runtime, isolation.clone()));
            return Ok(());
        };
        let held = before.held();
        let lost: Vec<&LayerReport> = isolation.missing(&held).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(Failure::provider(format_args!("a layer that this machine has failed now: {}", reasons(lost))))
    }
}

/// A running worker. Dropping it kills the process and reaps it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Option<Child>,
    pid: u32,
    isolation: Isolation,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    stderr_reader: JoinHandle<()>,
}

impl Worker {
    /// Starts a worker, waits until it has confined itself, and judges how far.
    pub(crate) async fn start(command: &WorkerCommand, runtime: Runtime) -> Result<Self, Failure> {
        let Started { child, stdin, stdout, stderr, reports } =
            start_on_lasting_thread(command.start(runtime)).await.map_err(|error| {
                Failure::provider(format_args!("cannot start a worker: program={} {error}", command.program.display()))
            })?;
        let pid = child.id();
        let pipes = ChildStdin::from_std(stdin)
            .and_then(|stdin| Ok((stdin, ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?)));
        let (stdin, stdout, stderr) = match pipes {
            Ok(pipes) => pipes,
            Err(error) => {
                end(child);
                return Err(Failure::provider(error));
            }
        };
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let stderr_reader = tokio::spawn(keep_tail(stderr, Arc::clone(&tail)));
        let isolation = Isolation::default();
        let mut worker = Self { child: Some(child), pid, isolation, stdin, stdout, stderr: tail, stderr_reader };
        match tokio::time::timeout(START_MAX, worker.receive(0)).await {
            Ok(Ok((Reply::Ready { protocol: PROTOCOL, layers }, _))) => {
                worker.isolation = Isolation::new(layers.into_iter().chain(reports));
                command.judge(runtime, &worker.isolation)?;
                Ok(worker)
            }
            Ok(Err(failure)) => Err(failure),
            Ok(Ok((other, _))) => Err(Failure::provider(format_args!("the worker began with {other:?}"))),
            Err(_) => {
                Err(Failure::provider(format_args!("the worker was not ready: waited_ms={}", START_MAX.as_millis())))
            }
        }
    }

    /// What it is confined by.
    pub(crate) const fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Bounds the memory of its control group, bytes, where it has one.
    pub(crate) fn limit_memory(&self, bytes: u64) -> Result<(), Failure> {
        let limited = self.child.as_ref().map_or(Ok(()), |child| child.limit_memory(bytes));
        limited.map_err(|error| Failure::provider(format_args!("cannot bound a worker's memory: {error}")))
    }

    /// Bounds the swap space of its control group, bytes, where that can be done.
    pub(crate) fn limit_swap(&self, bytes: Option<u64>) {
        if let Some((child, bytes)) = self.child.as_ref().zip(bytes)
            && let Err(error) = child.limit_swap(bytes)
        {
            tracing::debug!(%error, bytes, "a worker's swap space is not bounded by its control group");
        }
    }

    /// The process id, while the process is known to exist.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a request with its payload.
    pub(crate) async fn send(&mut self, request: &Request, payload: &[&[u8]]) -> Result<(), Failure> {
        match frame::send(&mut self.stdin, request, payload).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Receives a reply with a payload of at most `payload_max` bytes; a failure that the worker reports is an error.
    pub(crate) async fn receive(&mut self, payload_max: u32) -> Result<(Reply, Vec<u8>), Failure> {
        match frame::receive(&mut self.stdout, payload_max).await {
            Ok((Reply::Failed(failure), _)) => Err(failure.cleaned()),
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// What a broken pipe or frame means: the process ended, or it broke the protocol.
    async fn failed(&mut self, error: frame::Error) -> Failure {
        let frame::Error::Closed = error else {
            return Failure::provider(format_args!("the worker broke the protocol: {error}"));
        };
        let status = match self.child.take() {
            Some(child) => tokio::task::spawn_blocking(move || ended(child)).await.unwrap_or_else(|e| e.to_string()),
            None => "already ended".to_owned(),
        };
        // The reader ends when the pipe does; a grandchild that holds it open must not hold us.
        let _ = tokio::time::timeout(EXIT_MAX, &mut self.stderr_reader).await;
        let tail: Vec<u8> = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        Failure::WorkerDied { status, stderr: cleaned(&String::from_utf8_lossy(&tail)) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stderr_reader.abort();
        if let Some(child) = self.child.take() {
            end(child);
        }
    }
}

/// Kills at once; reaps on a thread of its own, as a driver can hold a dying process for seconds.
fn end(mut child: Child) {
    child.kill();
    let reap = move || {
        let _ = child.wait();
    };
    if let Err(error) = std::thread::Builder::new().name("worker-reaper".to_owned()).spawn(reap) {
        tracing::warn!(%error, "a killed worker stays a zombie until this process ends");
    }
}

/// Waits for a process that closed its pipe, kills it if it does not end by itself, and says how it ended. Blocks.
fn ended(mut child: Child) -> String {
    let deadline = Instant::now().checked_add(EXIT_MAX);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if child.ran_out_of_memory() => return format!("{status}, out of memory"),
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => {
                end(child);
                return "closed its pipe and was killed".to_owned();
            }
            Err(error) => return error.to_string(),
        }
    }
}

async fn keep_tail(mut from: ChildStderr, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut chunk = [0; 1_024];
    let mut left = STDERR_BYTES_MAX;
    while left > 0
        && let Ok(count @ 1..) = from.read(&mut chunk).await
    {
        left = left.saturating_sub(count);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(chunk.iter().take(count));
        let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..excess);
    }
}

struct Order {
    wish: Start,
    reply: oneshot::Sender<io::Result<Started>>,
}

async fn start_on_lasting_thread(wish: Start) -> io::Result<Started> {
    static STARTER: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
    let (reply, started) = oneshot::channel();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::sync_channel::<Order>(STARTS_WAITING_MAX);
        // If the thread cannot start, the receiver is dropped here and every send fails with a clear error.
        let _ = std::thread::Builder::new().name("worker-starter".to_owned()).spawn(move || {
            for Order { wish, reply } in orders {
                // Nobody may be waiting any more: then the child must not stay.
                if let Err(Ok(started)) = reply.send(sandbox::start(&wish)) {
                    end(started.child);
                }
            }
        });
        sender
    });
    starter.try_send(Order { wish, reply }).map_err(|error| io::Error::other(format!("worker starter: {error}")))?;
    started.await.map_err(|_| io::Error::other("worker starter ended"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_demanded_or_was_there_before_must_be_there_and_the_reason_is_told() {
        let having = |layers: &[Layer]| Isolation::new(layers.iter().map(|&layer| LayerReport::obtained(layer, "")));
        let both = having(&[Layer::Seccomp, Layer::Landlock]);
        let lost = Isolation::new([
            LayerReport::obtained(Layer::Seccomp, ""),
            LayerReport::refused(Layer::Landlock, "switched off"),
        ]);
        let command = WorkerCommand::new("worker").requiring([Layer::Seccomp]);
        assert_eq!(command.judge(Runtime::Wasm1, &both), Ok(()));
        assert_eq!(command.judge(Runtime::Wgsl1, &lost), Ok(()), "each runtime has its own first worker");
        assert_eq!(command.judge(Runtime::Wasm1, &both), Ok(()));
        let clone = command.clone();
        let text = clone.judge(Runtime::Wasm1, &lost).map_err(|failure| failure.to_string());
        let told = "provider fault: a layer that this machine has failed now: landlock: switched off";
        assert_eq!(text, Err(told.to_owned()), "clones remember together");
        let text = command.judge(Runtime::Wasm1, &having(&[Layer::Landlock])).map_err(|failure| failure.to_string());
        assert!(text.is_err_and(|text| text.contains("a demanded layer is missing: seccomp: not on ")));
        let after = WorkerCommand::new("worker").without(Layer::Landlock);
        assert_eq!(after.judge(Runtime::Wasm1, &lost), Ok(()), "left out from the start");
    }

    #[test]
    fn the_bound_of_swap_space_is_that_of_all_clones() {
        let command = WorkerCommand::new("worker");
        let clone = command.clone();
        assert_eq!(clone.swap_bytes(), None);
        for bytes in [Some(0), Some(1 << 30), None] {
            command.limit_swap(bytes);
            assert_eq!(clone.swap_bytes(), bytes);
        }
    }

    #[test]
    fn a_workers_arguments_name_its_runtime_what_it_may_read_and_what_is_left_out() {
        let command = WorkerCommand::new("worker").with_readable("/opt/driver").without(Layer::EmptyRoot);
        let start = command.start(Runtime::Wgsl1);
        let expected = ["worker", "wgsl/1", "--read", "/opt/driver", "--without", "empty-root"];
        assert_eq!(start.arguments, expected.map(OsString::from));
        assert_eq!(start.without, [Layer::EmptyRoot]);
    }
}
