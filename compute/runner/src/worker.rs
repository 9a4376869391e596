//! The worker process: reads requests, runs the engine, answers; leaves when its input ends.
//!
//! # Design
//! Before anything else the process confines itself ([`sandbox::enter`]), while it has one thread and has read nothing. The main thread then only reads. The engine works on a thread of its own with a known stack (the WGSL parser recurses over hostile source). So the
//! end of the input, which is also the parent's death, ends the process even in the middle of a unit.

use crate::{
    failure::Failure,
    frame,
    isolation::{Isolation, LayerReport},
    message::{PROTOCOL, Reply, Request, Usage},
    runtime::{Prepared, Runtime, engine},
    said::Listener,
    sandbox::{self, Confinement},
    touchstone::{Chain, Task, processor::Processor},
};
use keystead_job::JobSpec;
use std::{
    ffi::OsString,
    io::Write,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Instant,
};

/// The engine thread's stack, bytes: naga parses recursively, and the wasm stack (1 MiB) lies on it too.
const ENGINE_STACK_BYTES: usize = 64 << 20;
/// Wrong call: not started by a parent.
const EXIT_USAGE: u8 = 2;
/// The parent broke the protocol, or the answer could not be written.
const EXIT_PROTOCOL: u8 = 3;
/// The engine panicked; the message is on standard error.
const EXIT_PANIC: u8 = 101;

/// Option: the next argument is a file or folder that the worker may read.
pub(crate) const READ_OPTION: &str = "--read";
/// Option: the next argument is a layer to leave out.
pub(crate) const WITHOUT_OPTION: &str = "--without";

/// The whole worker process. `arguments` are those after `worker`: the runtime's name, then `--read PATH` and `--without LAYER`, each as often
/// as needed. Returns the exit code for a wrong call; otherwise the process ends inside.
#[must_use]
pub fn worker_main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let Some(confinement) = confinement(arguments) else {
        complain(&format!(
            "usage: worker wasm/1|wgsl/1 [{READ_OPTION} PATH]... [{WITHOUT_OPTION} LAYER]... (started by the node itself, with frames on its pipes)"
        ));
        return EXIT_USAGE;
    };
    let frames = match sandbox::take_stdout() {
        Ok(frames) => frames,
        Err(error) => {
            complain(&format!("worker: cannot take the standard output: {error}"));
            return EXIT_PROTOCOL;
        }
    };
    let runtime = confinement.runtime;
    // The system's answer lies in files that a confined worker cannot read.
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let layers = sandbox::enter(&confinement);
    // One request at a time: the parent waits for each answer.
    let (sender, requests) = mpsc::sync_channel(1);
    let serve = move || {
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve(runtime, layers, cores, &requests, frames)));
        sandbox::leave(if outcome.is_ok() { EXIT_PROTOCOL } else { EXIT_PANIC })
    };
    let thread = std::thread::Builder::new().name("engine".to_owned()).stack_size(ENGINE_STACK_BYTES);
    if let Err(error) = thread.spawn(serve) {
        complain(&format!("worker: cannot start the engine thread: {error}"));
        return EXIT_PROTOCOL;
    }
    let mut stdin = std::io::stdin().lock();
    loop {
        match frame::read::<Request>(&mut stdin) {
            Ok(request) => {
                // The engine thread ends the process itself, so this cannot fail while we are here.
                if sender.send(request).is_err() {
                    sandbox::leave(EXIT_PROTOCOL);
                }
            }
            Err(frame::Error::Closed) => sandbox::leave(0),
            Err(error) => {
                complain(&format!("worker: {error}"));
                sandbox::leave(EXIT_PROTOCOL)
            }
        }
    }
}

/// What the arguments of a worker say; `None` if they are wrong.
fn confinement(mut arguments: impl Iterator<Item = OsString>) -> Option<Confinement> {
    let runtime = arguments.next()?.to_str()?.parse().ok()?;
    let mut confinement = Confinement { runtime, readable: Vec::new(), without: Vec::new() };
    while let Some(option) = arguments.next() {
        let value = arguments.next()?;
        match option.to_str()? {
            READ_OPTION => confinement.readable.push(value.into()),
            WITHOUT_OPTION => confinement.without.push(value.to_str()?.parse().ok()?),
            _ => return None,
        }
    }
    Some(confinement)
}

/// Confines this process as a worker with these arguments (as for [`worker_main`]) confines itself, and says how far: for programs that try the
/// sandbox from inside. To be called once, before any thread is made. `None` if the arguments are wrong.
#[must_use]
pub fn confine(arguments: impl Iterator<Item = OsString>) -> Option<Isolation> {
    Some(Isolation::new(sandbox::enter(&confinement(arguments)?)))
}

/// Standard error is the worker's only way to say something outside the protocol; the parent keeps its end.
#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}

/// Answers requests until the parent is gone.
fn serve(
    runtime: keystead_job::Runtime,
    layers: Vec<LayerReport>,
    cores: u64,
    requests: &mpsc::Receiver<(Request, Vec<u8>)>,
    frames: impl Write + Send + 'static,
) {
    let frames = Arc::new(Mutex::new(frames));
    let mut engine = match engine(runtime) {
        Ok(engine) => engine,
        Err(failure) => {
            let _ = write(&frames, &Reply::Failed(failure), &[]);
            return;
        }
    };
    let said = Arc::clone(&frames);
    // A parent that is gone is noticed with the answer.
    let listener: Listener = Arc::new(move |words| drop(write(&said, &Reply::Said(words), &[])));
    let mut begun = Begun::Nothing;
    let mut reply = (Reply::Ready { protocol: PROTOCOL, layers }, Vec::new());
    while write(&frames, &reply.0, &reply.1).is_ok() {
        let Ok((request, payload)) = requests.recv() else {
            return;
        };
        reply = answer(&mut *engine, &mut begun, cores, (request, payload), &listener)
            .unwrap_or_else(|failure| (Reply::Failed(failure), Vec::new()));
    }
}

/// Writes one frame whole. Only the engine's thread writes; the lock is for what it runs.
fn write(frames: &Mutex<impl Write>, reply: &Reply, payload: &[u8]) -> Result<(), frame::Error> {
    // No code panics while it holds this lock.
    frame::write(&mut *frames.lock().unwrap_or_else(PoisonError::into_inner), reply, payload)
}

/// What this process works on: one thing in its life.
enum Begun {
    Nothing,
    Job(Box<JobSpec>, Box<dyn Prepared>),
    Touchstone(Box<dyn Chain>),
}

impl Begun {
    fn job(&mut self) -> Result<(&JobSpec, &mut dyn Prepared), Failure> {
        match self {
            Self::Job(spec, job) => Ok((spec, &mut **job)),
            _ => Err(Failure::provider("no job was begun")),
        }
    }

    fn touchstone(&mut self) -> Result<&mut dyn Chain, Failure> {
        match self {
            Self::Touchstone(chain) => Ok(&mut **chain),
            _ => Err(Failure::provider("no challenge was begun")),
        }
    }
}

fn answer(
    engine: &mut dyn Runtime,
    begun: &mut Begun,
    cores: u64,
    (request, mut payload): (Request, Vec<u8>),
    listener: &Listener,
) -> Result<(Reply, Vec<u8>), Failure> {
    match request {
        Request::Probe { adapters } => {
            Ok((Reply::SelfTest(Box::new(engine.probe(usize::from(adapters))?)), Vec::new()))
        }
        Request::Begin { spec, program_bytes, engine: on } => {
            only_once(begun)?;
            let spec = JobSpec::decode(&spec).map_err(Failure::provider)?;
            if program_bytes as usize > payload.len() {
                return Err(Failure::provider("the program is longer than the frame"));
            }
            let common = payload.split_off(program_bytes as usize);
            let job = engine.prepare(&spec, &payload, common, on)?;
            let engine = job.engine();
            *begun = Begun::Job(Box::new(spec), job);
            Ok((Reply::Begun { engine }, Vec::new()))
        }
        Request::Unit => {
            let (spec, job) = begun.job()?;
            backstop(spec, cores)?;
            let started = Instant::now();
            let mut done = job.run(&payload, listener)?;
            done.usage.wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            Ok((Reply::Done(done.usage), done.output))
        }
        Request::Workgroups(workgroups) => {
            let (spec, job) = begun.job()?;
            backstop(spec, cores)?;
            let started = Instant::now();
            let words = job.run_workgroups(&payload, &workgroups)?;
            let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            Ok((Reply::Done(Usage { fuel: 0, wall_us }), words.encode()))
        }
        Request::TouchstoneBegin(task) => {
            only_once(begun)?;
            let chain = chain(task)?;
            let engine = chain.device();
            *begun = Begun::Touchstone(chain);
            Ok((Reply::Begun { engine }, Vec::new()))
        }
        Request::TouchstoneStep => {
            let started = Instant::now();
            touched(started, begun.touchstone()?.step()?)
        }
        Request::TouchstoneVectors { key, range } => {
            let started = Instant::now();
            touched(started, begun.touchstone()?.vectors(key, range)?)
        }
        Request::TouchstoneRows(rows) => {
            let started = Instant::now();
            touched(started, begun.touchstone()?.rows(&rows)?)
        }
    }
}

fn only_once(begun: &Begun) -> Result<(), Failure> {
    match begun {
        Begun::Nothing => Ok(()),
        _ => Err(Failure::provider("a worker serves one job only")),
    }
}

fn touched(started: Instant, bytes: Vec<u8>) -> Result<(Reply, Vec<u8>), Failure> {
    let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok((Reply::Done(Usage { fuel: 0, wall_us }), bytes))
}

/// The chain of a device: 0 is the processor, the others are adapters.
fn chain(task: Task) -> Result<Box<dyn Chain>, Failure> {
    match task.device.checked_sub(1) {
        None => Ok(Box::new(Processor::new(task)?)),
        #[cfg(feature = "wgsl")]
        Some(adapter) => Ok(Box::new(crate::wgsl::Adapter::new(task, usize::from(adapter))?)),
        #[cfg(not(feature = "wgsl"))]
        Some(_) => Err(Failure::provider("this binary was built without runtime wgsl/1")),
    }
}

/// Bounds the processor time of a unit: its wall time on every core, twice.
fn backstop(spec: &JobSpec, cores: u64) -> Result<(), Failure> {
    let seconds = spec.limits.wall_ms_max.div_ceil(1_000).saturating_mul(cores).saturating_mul(2);
    sandbox::limit_cpu(seconds).map_err(Failure::provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::Layer;

    #[test]
    fn arguments_are_a_runtime_and_pairs_and_nothing_else() {
        let read = |arguments: &[&str]| confinement(arguments.iter().map(OsString::from));
        let all = read(&["wgsl/1", "--read", "/opt/a", "--without", "seccomp", "--read", "/opt/b"]);
        let all = all.map(|all| (all.runtime, all.readable, all.without));
        let folders = ["/opt/a", "/opt/b"].map(Into::into).to_vec();
        assert_eq!(all, Some((keystead_job::Runtime::Wgsl1, folders, vec![Layer::Seccomp])));
        for wrong in [&[][..], &["wasm/2"], &["wasm/1", "--read"], &["wasm/1", "--without", "x"], &["wasm/1", "a", "b"]]
        {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }
}
