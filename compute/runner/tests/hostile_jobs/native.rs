//! A worker that has been taken over, under every layer and under all but some: what one layer misses, the next one stops.
#![allow(unsafe_code)] // A shared memory segment of another tenant.

use crate::{
    Test,
    attacks::{ATTACKS, LIES},
    host::{Host, SECRET},
    machine::{block_on, command},
};
use keystead_job::Runtime;
use keystead_runner::{Failure, Isolation, Layer, WorkerCommand, probe};
use std::{
    net::TcpListener,
    os::{linux::net::SocketAddrExt as _, unix::net::UnixListener},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Longest life of an attacker that the system does not end: the parent's patience with a start, and some.
const LIFE_MAX: Duration = Duration::from_secs(45);
/// Processes or threads that any bomb may reach.
const BOMB_MAX: usize = 512;
/// Descriptors that a worker may open.
const DESCRIPTORS_MAX: usize = 256;

/// Which runtime, and which layers are left out.
type Course = (&'static str, Runtime, &'static [Layer]);
const COURSES: [Course; 5] = [
    ("wasm", Runtime::Wasm1, &[]),
    ("wgsl", Runtime::Wgsl1, &[]),
    ("no seccomp", Runtime::Wasm1, &[Layer::Seccomp]),
    ("no seccomp, no root", Runtime::Wasm1, &[Layer::Seccomp, Layer::EmptyRoot]),
    ("no seccomp, no landlock", Runtime::Wasm1, &[Layer::Seccomp, Layer::Landlock]),
];

/// What succeeds when the named layer is left out, because no other layer stops it and it harms nobody outside the worker, or only as docs/sandbox.md says.
const REST: &[(&str, Layer)] = &[
    ("become-dumpable", Layer::Seccomp),
    ("undo-parent-death", Layer::Seccomp),
    ("new-user-namespace", Layer::Seccomp),
    ("keyring", Layer::Seccomp),
    ("perf-events", Layer::Seccomp),
    ("io-uring", Layer::Seccomp),
    ("kernel-log", Layer::Seccomp),
    // In a network of its own, where nobody listens and nobody comes.
    ("listen-tcp", Layer::Landlock),
    // Landlock of this kernel does not know sockets in the file system.
    ("connect-unix-socket", Layer::EmptyRoot),
];
/// What every course lets pass, as it is in the worker's own right.
const ALLOWED: &[(&str, &str)] = &[
    // A driver may name its threads and memory; nothing else of `prctl` passes.
    ("descriptor-bomb", "wgsl"),
];

struct Stage {
    host: Host,
    port: u16,
    listener: TcpListener,
    socket: UnixListener,
    socket_folder: tempfile::TempDir,
    abstract_socket: UnixListener,
    key: i32,
}

/// The targets, made once: files, listeners, another tenant's memory.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let own = std::process::id();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let socket_folder = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(socket_folder.path().join("socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = std::os::unix::net::SocketAddr::from_abstract_name(format!("keystead-hostile-{own}")).unwrap();
        let abstract_socket = UnixListener::bind_addr(&name).unwrap();
        abstract_socket.set_nonblocking(true).unwrap();
        std::fs::write(format!("/dev/shm/keystead-hostile-{own}"), SECRET).unwrap();
        let key = own.cast_signed() | 1 << 30;
        // SAFETY: makes a segment of 4,096 bytes and fills its first.
        unsafe {
            let id = libc::shmget(key, 4_096, libc::IPC_CREAT | 0o600);
            let at = libc::shmat(id, core::ptr::null(), 0);
            assert!(id != -1 && at as isize != -1, "shared memory");
            *at.cast::<u8>() = b's';
            // The segment goes with this process.
            libc::shmctl(id, libc::IPC_RMID, core::ptr::null_mut());
        }
        let host = Host::new();
        let port = listener.local_addr().unwrap().port();
        Stage { host, port, listener, socket, socket_folder, abstract_socket, key }
    })
}

fn attacker(name: &str, without: &[Layer]) -> WorkerCommand {
    let stage = stage();
    let command = command()
        .with_variable("HOSTILE", name)
        .with_variable("AIM_PARENT", std::process::id().to_string())
        .with_variable("AIM_PORT", stage.port.to_string())
        .with_variable("AIM_FOLDER", stage.host.folder())
        .with_variable("AIM_SOCKET", stage.socket_folder.path())
        .with_variable("AIM_SHM", stage.key.to_string());
    without.iter().fold(command, |command, &layer| command.without(layer))
}

/// What an honest worker of this course has on this machine.
fn isolation(runtime: Runtime, without: &[Layer]) -> Isolation {
    let command = without.iter().fold(command(), |command, &layer| command.without(layer));
    let failure = block_on(probe(
        &command.with_variable("HOSTILE", "isolation").with_variable("AIM_PARENT", "1").with_variable("AIM_PORT", "1"),
        runtime,
    ));
    match failure {
        Err(Failure::WorkerDied { stderr, .. }) => parsed(&stderr),
        other => panic!("{other:?}"),
    }
}

/// The layers in the text of an [`Isolation`].
fn parsed(text: &str) -> Isolation {
    let held = text.lines().next().unwrap().split(": ").nth(1).unwrap_or_default();
    let json: Vec<serde_json::Value> =
        held.split(", ").map(|name| serde_json::json!({ "layer": name, "obtained": true, "note": "" })).collect();
    serde_json::from_value(serde_json::Value::Array(json)).unwrap()
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for &(name, _) in ATTACKS {
        tests.push((format!("native::{name}"), Box::new(move || attack(name))));
    }
    for &(name, _) in LIES {
        tests.push((format!("native::{name}"), Box::new(move || lie(name))));
    }
    tests.push(("native::demanded_layers_are_there_or_nothing_runs".to_owned(), Box::new(demanded)));
    tests.push(("native::nobody_was_reached".to_owned(), Box::new(nobody_was_reached)));
    tests
}

/// One attack in every course; then the host is looked at.
fn attack(name: &'static str) {
    for (course, runtime, without) in COURSES {
        let started = Instant::now();
        let failure = block_on(probe(&attacker(name, without), runtime)).unwrap_err();
        let Failure::WorkerDied { status, stderr } = &failure else { panic!("{course}: {failure:?}") };
        assert!(started.elapsed() < LIFE_MAX, "{course}: {:?}", started.elapsed());
        let told = stderr.lines().last().unwrap_or_default();
        let killed = status.contains("signal: 31") || status.contains("out of memory");
        eprintln!("  {course}: {}", if killed { status } else { told });
        if killed {
            continue;
        }
        if let Some(number) = told.strip_prefix("denied: after ").and_then(|rest| rest.split(':').next()) {
            let bound = if name == "descriptor-bomb" { DESCRIPTORS_MAX } else { BOMB_MAX };
            assert!(number.parse::<usize>().unwrap() <= bound, "{course}: {told}");
        }
        let may_pass = REST.iter().any(|(rest, layer)| *rest == name && without.contains(layer))
            || ALLOWED.contains(&(name, course));
        assert!(
            told.starts_with("denied") || may_pass && told.starts_with("done"),
            "{name} {course}: {status} {stderr}"
        );
        assert!(!stderr.contains(SECRET));
    }
    stage().host.check(name);
}

/// A worker that floods or lies; the parent says whose fault it is and keeps its memory.
fn lie(name: &'static str) {
    let started = Instant::now();
    let failure = block_on(probe(&attacker(name, &[]), Runtime::Wasm1)).unwrap_err();
    assert_eq!(failure.fault(), keystead_runner::Fault::Provider, "{failure:?}");
    assert!(started.elapsed() < LIFE_MAX);
    let text = failure.to_string();
    assert!(text.len() < 20_000, "{} bytes", text.len());
    if let Failure::WorkerDied { stderr, .. } = &failure {
        assert!(stderr.chars().all(|c| c == '\n' || !c.is_control()), "{stderr:?}");
    }
    match name {
        "announce-four-gigabytes" | "flood-standard-output" => assert!(text.contains("broke the protocol"), "{text}"),
        "escape-sequences-on-standard-error" => assert!(text.contains("last words"), "{text}"),
        _ => {}
    }
    stage().host.check(name);
}

/// Shows what this machine has, and that a demand is kept from both sides.
fn demanded() {
    for (course, runtime, without) in COURSES {
        let isolation = isolation(runtime, without);
        eprintln!("  {course}: {isolation}");
        for layer in without {
            assert!(!isolation.has(*layer), "{course}: {layer}");
        }
        for layer in
            [Layer::NoNewPrivileges, Layer::ResourceLimits, Layer::ParentDeath, Layer::OwnSession, Layer::CleanStart]
        {
            assert!(isolation.has(layer), "{course}: {layer} works on every Linux");
        }
        let held: Vec<Layer> = isolation.held();
        let command = without.iter().fold(command(), |command, &layer| command.without(layer));
        if runtime == Runtime::Wasm1 {
            let report = block_on(probe(&command.clone().requiring(held.clone()), runtime)).unwrap();
            assert_eq!(report.isolation.held().len(), held.len() + beside(&report.isolation), "{:?}", report.isolation);
        }
        for &layer in without {
            let failure = block_on(probe(&command.clone().requiring([layer]), runtime)).unwrap_err();
            let text = failure.to_string();
            assert!(text.contains(&format!("a demanded layer is missing: {layer}: left out")), "{text}");
        }
    }
}

/// Layers that only the parent can report.
fn beside(isolation: &Isolation) -> usize {
    [Layer::UserNamespace, Layer::PidNamespace, Layer::Cgroup].into_iter().filter(|&layer| isolation.has(layer)).count()
}

fn nobody_was_reached() {
    let stage = stage();
    assert!(stage.listener.accept().is_err(), "somebody connected over TCP");
    assert!(stage.abstract_socket.accept().is_err(), "somebody connected to the abstract socket");
    // Once, in the course without an empty root.
    while stage.socket.accept().is_ok() {}
    let _ = std::fs::remove_file(format!("/dev/shm/keystead-hostile-{}", std::process::id()));
}
