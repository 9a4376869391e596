//! What a worker does that a job has taken over: it confines itself as every worker, then tries everything natively and tells on standard error.
//!
//! Each attack answers with what happened; the first word is `denied` or `done`. A process that the system kills in the middle answers nothing.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)] // Attacks: each call is meant to fail, on data of its own.

use libc as c;
use std::{
    ffi::{CString, OsString},
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
};

/// Attempts of a bomb: enough to pass every bound that it could meet, few enough to end.
const BOMB: usize = 10_000;

/// What the test told the attacker: where things are.
pub(crate) struct Aim {
    parent: i32,
    port: u16,
    folder: PathBuf,
    socket: PathBuf,
}

type Attack = (&'static str, fn(&Aim) -> Outcome);
/// `Ok` says what succeeded, `Err` what the system said.
type Outcome = Result<String, io::Error>;

/// Every attack with its name; docs/sandbox.md says what each is for.
pub(crate) const ATTACKS: &[Attack] = &[
    ("fork-bomb", fork_bomb),
    ("thread-bomb", thread_bomb),
    ("address-space-bomb", address_space_bomb),
    ("file-bomb", file_bomb),
    ("descriptor-bomb", descriptor_bomb),
    ("read-etc-passwd", |_| read("/etc/passwd")),
    ("read-ssh-key", |aim| read(aim.folder.join(".ssh/id_ed25519"))),
    ("read-node-key", |aim| read(aim.folder.join("node.key"))),
    ("climb-out", climb_out),
    ("read-parents-environment", |aim| read(format!("/proc/{}/environ", aim.parent))),
    ("read-parents-memory", |aim| read(format!("/proc/{}/mem", aim.parent))),
    ("read-parents-memory-by-call", read_memory),
    ("list-processes", |_| list("/proc", |name| name.bytes().all(|byte| byte.is_ascii_digit()))),
    ("list-root", |_| list("/", |name| ["home", "root", "etc", "var", "tmp"].contains(&name))),
    ("write-working-folder", |_| write("owned")),
    ("write-owners-folder", |aim| write(aim.folder.join("owned"))),
    ("write-tmp", |_| write("/tmp/keystead-owned")),
    ("connect-tcp", |aim| TcpStream::connect(("127.0.0.1", aim.port)).map(|_| "connected".to_owned())),
    ("listen-tcp", |_| TcpListener::bind("127.0.0.1:0").map(|_| "listens".to_owned())),
    ("send-udp", send_udp),
    ("connect-unix-socket", |aim| {
        std::os::unix::net::UnixStream::connect(aim.socket.join("socket")).map(|_| "connected".to_owned())
    }),
    ("connect-abstract-socket", connect_abstract),
    ("raw-socket", |_| number(unsafe { c::socket(c::AF_PACKET, c::SOCK_RAW, 0) })),
    ("run-a-shell", run_shell),
    ("run-from-memory", run_from_memory),
    ("ptrace-parent", |aim| long(unsafe { c::ptrace(c::PTRACE_ATTACH, aim.parent, 0, 0) })),
    ("signal-parent", |aim| number(unsafe { c::kill(aim.parent, c::SIGUSR1) })),
    ("signal-everybody", signal_everybody),
    ("mount", mount),
    ("remount-root-writable", remount),
    ("new-user-namespace", |_| number(unsafe { c::unshare(c::CLONE_NEWUSER) })),
    ("enter-parents-namespaces", enter_namespaces),
    ("set-user", |_| number(unsafe { c::setuid(1) })),
    ("raise-limits", raise_limits),
    ("real-time-priority", real_time),
    ("set-clock", |_| number(unsafe { c::clock_settime(c::CLOCK_REALTIME, &c::timespec { tv_sec: 1, tv_nsec: 0 }) })),
    ("set-host-name", |_| number(unsafe { c::sethostname(c"owned".as_ptr(), 5) })),
    // The command that would do the least harm: Ctrl-Alt-Del sends a signal instead of a reset.
    ("reboot", |_| number(unsafe { c::reboot(c::LINUX_REBOOT_CMD_CAD_OFF) })),
    ("load-kernel-module", |_| call(c::SYS_init_module, [0; 5])),
    ("swap-on", |_| call(c::SYS_swapon, [c"/dev/zero".as_ptr() as i64, 0, 0, 0, 0])),
    ("keyring", |_| call(c::SYS_keyctl, [0, -4, 1, 0, 0])),
    ("bpf", |_| call(c::SYS_bpf, [0, 0, 0, 0, 0])),
    ("perf-events", perf_events),
    ("userfaultfd", |_| call(c::SYS_userfaultfd, [0; 5])),
    ("io-uring", io_uring),
    ("file-handles", file_handle),
    ("kernel-log", |_| call(c::SYS_syslog, [3, [0_u8; 64].as_mut_ptr() as i64, 64, 0, 0])),
    ("physical-memory", |_| read("/dev/mem")),
    ("terminal", |_| fs::File::open("/dev/tty").map(|_| "opened".to_owned())),
    ("type-into-terminal", |_| number(unsafe { c::ioctl(0, c::TIOCSTI, c"x".as_ptr()) })),
    ("other-tenants-shared-memory", shared_memory),
    ("other-tenants-shared-file", |aim| read(format!("/dev/shm/keystead-hostile-{}", aim.parent))),
    ("inherited-descriptors", inherited),
    ("inherited-environment", environment),
    ("become-dumpable", |_| number(unsafe { c::prctl(c::PR_SET_DUMPABLE, 1, 0, 0, 0) })),
    ("undo-parent-death", |_| number(unsafe { c::prctl(c::PR_SET_PDEATHSIG, 0, 0, 0, 0) })),
];

/// Attacks on the protocol, which the parent must survive.
pub(crate) const LIES: &[(&str, fn())] = &[
    ("flood-standard-error", || flood(io::stderr())),
    ("flood-standard-output", || flood(io::stdout())),
    ("announce-four-gigabytes", || tell(&[0xff; 8])),
    ("escape-sequences-on-standard-error", || {
        let _ = io::stderr().write_all(b"\x1b]0;owned\x07\x1b[2J\x00\x08\r last words\n");
    }),
];

/// Runs the attack and ends.
pub(crate) fn main(attack: &str, arguments: impl Iterator<Item = OsString>) -> ! {
    let isolation = keystead_runner::confine(arguments).unwrap();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let aim = Aim {
        parent: variable("AIM_PARENT").parse().unwrap(),
        port: variable("AIM_PORT").parse().unwrap(),
        folder: PathBuf::from(variable("AIM_FOLDER")),
        socket: PathBuf::from(variable("AIM_SOCKET")),
    };
    if attack == "isolation" {
        eprintln!("{isolation}");
    } else if let Some((_, lie)) = LIES.iter().find(|(name, _)| *name == attack) {
        lie();
    } else {
        let (_, run) = ATTACKS.iter().find(|(name, _)| *name == attack).unwrap();
        match run(&aim) {
            Ok(what) => eprintln!("done: {what}"),
            Err(error) => eprintln!("denied: {error}"),
        }
    }
    // SAFETY: ends the process.
    unsafe { c::_exit(0) }
}

fn flood(mut to: impl io::Write) {
    let block = [b'x'; 1 << 16];
    // The parent reads 64 MiB or closes the pipe.
    for _ in 0..1_024 {
        if to.write_all(&block).is_err() {
            return;
        }
    }
}

/// Writes to the frames' pipe and goes on living until the parent kills.
fn tell(bytes: &[u8]) {
    let mut out = io::stdout();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    let _ = io::stdin().read(&mut [0; 1 << 10]);
}

fn denied(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

fn long(result: i64) -> Outcome {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result.to_string()) }
}

fn number(result: i32) -> Outcome {
    long(i64::from(result))
}

fn call(number: i64, arguments: [i64; 5]) -> Outcome {
    let [a, b, d, e, f] = arguments;
    // SAFETY: each caller passes what the call expects, or nothing that it could follow.
    long(unsafe { c::syscall(number, a, b, d, e, f) })
}

fn read(path: impl AsRef<Path>) -> Outcome {
    let mut text = vec![0; 64];
    let count = fs::File::open(path)?.read(&mut text)?;
    text.truncate(count);
    Ok(format!("read {:?}", String::from_utf8_lossy(&text)))
}

fn write(path: impl AsRef<Path>) -> Outcome {
    fs::write(path, b"owned")?;
    Ok("written".to_owned())
}

fn list(path: &str, interesting: impl Fn(&str) -> bool) -> Outcome {
    let names = fs::read_dir(path)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter(|name| interesting(name)).collect();
    if names.is_empty() { Err(denied("nothing to see")) } else { Ok(format!("saw {names:?}")) }
}

fn climb_out(aim: &Aim) -> Outcome {
    let inside = aim.folder.join("node.key");
    let up = format!("{}{}", "../".repeat(40), inside.display());
    let ways = [up, format!("/proc/self/root{}", inside.display()), format!("/proc/1/root{}", inside.display())];
    let mut last = denied("no way");
    for way in ways {
        match read(way) {
            Ok(text) => return Ok(text),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn fork_bomb(_: &Aim) -> Outcome {
    for made in 0..BOMB {
        // SAFETY: the child only waits.
        match unsafe { c::fork() } {
            -1 => return Err(io::Error::other(format!("after {made}: {}", io::Error::last_os_error()))),
            0 => loop {
                // SAFETY: waits for a signal.
                unsafe { c::pause() };
            },
            _ => {}
        }
    }
    Ok(format!("{BOMB} processes"))
}

fn thread_bomb(_: &Aim) -> Outcome {
    for made in 0..BOMB {
        let thread = std::thread::Builder::new().stack_size(1 << 14);
        if let Err(error) = thread.spawn(|| {
            loop {
                std::thread::park();
            }
        }) {
            return Err(io::Error::other(format!("after {made}: {error}")));
        }
    }
    Ok(format!("{BOMB} threads"))
}

fn address_space_bomb(_: &Aim) -> Outcome {
    let flags = c::MAP_PRIVATE | c::MAP_ANONYMOUS;
    // SAFETY: a new mapping that nobody uses.
    let at = unsafe { c::mmap(core::ptr::null_mut(), 64 << 30, c::PROT_READ | c::PROT_WRITE, flags, -1, 0) };
    if at == c::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok("64 GiB".to_owned()) }
}

fn file_bomb(_: &Aim) -> Outcome {
    for made in 0..BOMB {
        fs::write(format!("owned-{made}"), [0; 4_096])?;
    }
    Ok(format!("{BOMB} files"))
}

fn descriptor_bomb(_: &Aim) -> Outcome {
    for made in 0..BOMB {
        // SAFETY: copies a descriptor that is open.
        if unsafe { c::dup(2) } == -1 {
            return Err(io::Error::other(format!("after {made}: {}", io::Error::last_os_error())));
        }
    }
    Ok(format!("{BOMB} descriptors"))
}

fn read_memory(aim: &Aim) -> Outcome {
    let mut here = [0_u8; 16];
    let local = c::iovec { iov_base: here.as_mut_ptr().cast(), iov_len: 16 };
    // Our own address of a constant is the parent's too if the binary is not moved; any answer but an error would be a way in.
    let remote = c::iovec { iov_base: ATTACKS.as_ptr() as *mut _, iov_len: 16 };
    // SAFETY: the local part is a live array.
    long(unsafe { c::process_vm_readv(aim.parent, &raw const local, 1, &raw const remote, 1, 0) } as i64)
}

fn send_udp(aim: &Aim) -> Outcome {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"hello", ("127.0.0.1", aim.port)).map(|count| format!("{count} bytes"))
}

fn connect_abstract(_: &Aim) -> Outcome {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("keystead-hostile-{}", std::env::var("AIM_PARENT").unwrap_or_default());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixStream::connect_addr(&address).map(|_| "connected".to_owned())
}

fn run_shell(_: &Aim) -> Outcome {
    let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), c"echo done: shell >&2".as_ptr(), core::ptr::null()];
    // SAFETY: null-ended lists of texts that live for ever.
    number(unsafe { c::execve(c"/bin/sh".as_ptr(), arguments.as_ptr(), core::ptr::null()) })
}

fn run_from_memory(_: &Aim) -> Outcome {
    let script = b"#!/bin/sh\necho done: script >&2\n";
    // SAFETY: plain calls on a file of our own.
    unsafe {
        let file = c::memfd_create(c"x".as_ptr(), 0);
        if file == -1 || c::write(file, script.as_ptr().cast(), script.len()) == -1 {
            return Err(io::Error::last_os_error());
        }
        let arguments = [c"x".as_ptr(), core::ptr::null()];
        number(c::fexecve(file, arguments.as_ptr(), [core::ptr::null()].as_ptr()))
    }
}

fn signal_everybody(_: &Aim) -> Outcome {
    // SAFETY: signal 0 only asks who could be signalled.
    number(unsafe { c::kill(-1, 0) })
}

fn mount(_: &Aim) -> Outcome {
    let kind = c"tmpfs".as_ptr();
    // SAFETY: texts that live for ever.
    number(unsafe { c::mount(kind, c"/".as_ptr(), kind, 0, core::ptr::null()) })
}

fn remount(_: &Aim) -> Outcome {
    let flags = c::MS_REMOUNT | c::MS_BIND;
    // SAFETY: texts that live for ever.
    number(unsafe { c::mount(core::ptr::null(), c"/".as_ptr(), core::ptr::null(), flags, core::ptr::null()) })
}

fn enter_namespaces(aim: &Aim) -> Outcome {
    let path = CString::new(format!("/proc/{}/ns/mnt", aim.parent)).unwrap();
    // SAFETY: a live text; a descriptor of our own.
    unsafe {
        let file = c::open(path.as_ptr(), c::O_RDONLY);
        if file == -1 {
            return Err(io::Error::last_os_error());
        }
        number(c::setns(file, 0))
    }
}

fn raise_limits(_: &Aim) -> Outcome {
    let more = c::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: a live struct.
    number(unsafe { c::setrlimit(c::RLIMIT_NOFILE, &raw const more) })
}

fn real_time(_: &Aim) -> Outcome {
    let wish = c::sched_param { sched_priority: 50 };
    // SAFETY: a live struct.
    number(unsafe { c::sched_setscheduler(0, c::SCHED_FIFO, &raw const wish) })
}

fn perf_events(_: &Aim) -> Outcome {
    // perf_event_attr: type software (1), size 64, config task clock (1); the rest zero.
    let mut attributes = [0_u32; 32];
    (attributes[0], attributes[1], attributes[2]) = (1, 64, 1);
    call(c::SYS_perf_event_open, [attributes.as_ptr() as i64, -1, 0, -1, 0])
}

fn io_uring(_: &Aim) -> Outcome {
    let mut parameters = [0_u32; 30];
    call(c::SYS_io_uring_setup, [4, parameters.as_mut_ptr() as i64, 0, 0, 0])
}

fn file_handle(_: &Aim) -> Outcome {
    // The handle of the root of an ext4 file system: inode 2, generation 0.
    let handle = [8_u32, 1, 2, 0];
    call(c::SYS_open_by_handle_at, [0, handle.as_ptr() as i64, 0, 0, 0])
}

fn shared_memory(_: &Aim) -> Outcome {
    let key: i32 = std::env::var("AIM_SHM").unwrap().parse().unwrap();
    // SAFETY: the segment, if there is one, has 4,096 bytes.
    unsafe {
        let id = c::shmget(key, 4_096, 0o600);
        if id == -1 {
            return Err(io::Error::last_os_error());
        }
        let at = c::shmat(id, core::ptr::null(), c::SHM_RDONLY);
        if at as isize == -1 { Err(io::Error::last_os_error()) } else { Ok(format!("read {}", *at.cast::<u8>())) }
    }
}

/// Descriptors beyond the three pipes. The listing of descriptors needs no call that a filter could forbid but `fcntl`.
fn inherited(_: &Aim) -> Outcome {
    // SAFETY: a question about a number.
    let open: Vec<i32> = (3..1_024).filter(|&number| unsafe { c::fcntl(number, c::F_GETFD) } != -1).collect();
    if open.is_empty() { Err(denied("none")) } else { Ok(format!("open {open:?}")) }
}

fn environment(_: &Aim) -> Outcome {
    let known =
        ["MESA_SHADER_CACHE_DISABLE", "HOSTILE", "AIM_PARENT", "AIM_PORT", "AIM_FOLDER", "AIM_SOCKET", "AIM_SHM"];
    let others: Vec<String> = std::env::vars().map(|(name, _)| name).filter(|name| !known.contains(&&**name)).collect();
    if others.is_empty() { Err(denied("none but our own")) } else { Ok(format!("saw {others:?}")) }
}
