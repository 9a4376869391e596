//! The host as a hostile job could have left it, looked at before and after.

use crate::machine::{block_on, job, open, until};
use keystead_job::{Limits, Runtime};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What a parent's memory may grow by over one hostile job, bytes: caches of the allocator and of this harness.
const MEMORY_SLACK: u64 = 64 << 20;

/// What is compared. Only what belongs to this process and its children: other programs run beside the tests.
#[derive(Debug, PartialEq, Eq)]
struct State {
    environment: Vec<(String, String)>,
    working_folder: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
    mounts: String,
    host_name: String,
    limits: String,
}

/// A host with a folder of secrets; [`Host::check`] says whether it is as it was.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    before: State,
    open_files: usize,
    memory: u64,
}

impl Host {
    pub(crate) fn new() -> Self {
        // What the parent makes once and keeps (threads, probes) is made before the first look.
        honest();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".ssh")).unwrap();
        std::fs::write(folder.path().join(".ssh/id_ed25519"), SECRET).unwrap();
        std::fs::write(folder.path().join("node.key"), SECRET).unwrap();
        until("the workers of the warm-up are gone", || workers() == 0);
        let (before, open_files, memory) = (state(folder.path()), open_files(), memory());
        Self { folder, before, open_files, memory }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Panics unless everything is as before and an honest job runs.
    pub(crate) fn check(&self, name: &str) {
        until(&format!("no process of {name} stays"), || workers() == 0);
        until(&format!("every descriptor is closed after {name}"), || open_files() <= self.open_files);
        until(&format!("no control group of {name} stays"), || groups().is_empty());
        let after = state(self.folder.path());
        // Not compared as one: a difference must not print the owner's environment.
        assert!(after.environment == self.before.environment, "{name} changed the environment");
        assert_eq!(after.files, self.before.files, "{name} changed files");
        assert!(after == self.before, "{name} changed mounts, limits, names or the working folder");
        let grown = memory().saturating_sub(self.memory);
        assert!(grown < MEMORY_SLACK, "{name} left {grown} bytes more in the parent");
        honest();
        until("the honest worker is gone", || workers() == 0);
    }
}

/// A text that no worker may ever see.
pub(crate) const SECRET: &str = "the-owners-secret-key-b7c1";

/// An honest job, from start to end.
pub(crate) fn honest() {
    let program = wat::parse_str(
        "(module (memory (export \"memory\") 1)
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func (export \"run\") (param i32 i32 i32 i32) (result i64)
             (i32.store (i32.const 0) (i32.mul (i32.load (local.get 2)) (i32.const 3))) (i64.const 4)))",
    )
    .unwrap();
    let limits = Limits {
        wall_ms_max: 20_000,
        fuel_max: 1_000_000,
        memory_bytes_max: 1 << 16,
        output_bytes_max: 4,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    let done = block_on(async {
        let mut session = open(job(Runtime::Wasm1, &program, b"", limits)).await.unwrap();
        session.run(&14u32.to_le_bytes()).await.unwrap()
    });
    assert_eq!(done.output, 42u32.to_le_bytes());
}

fn state(folder: &Path) -> State {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut files = BTreeMap::new();
    gather(folder, &mut files);
    let mut environment: Vec<(String, String)> = std::env::vars().collect();
    environment.sort();
    State {
        environment,
        working_folder: std::env::current_dir().unwrap(),
        files,
        mounts: read("/proc/self/mountinfo"),
        host_name: read("/proc/sys/kernel/hostname"),
        limits: read("/proc/self/limits"),
    }
}

fn gather(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap_or_default());
        }
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Resident memory of this process, bytes.
#[allow(unsafe_code)] // A call of the allocator.
fn memory() -> u64 {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: gives free memory back to the system.
    unsafe {
        libc::malloc_trim(0);
    }
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// Processes below this one, whether they run or wait to be reaped.
pub(crate) fn workers() -> usize {
    let own = std::process::id();
    let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let below = |pid: u32| {
        core::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(32).skip(1).any(|above| above == own)
    };
    parents.keys().filter(|&&pid| below(pid)).count()
}

/// Control groups that workers of this process left.
fn groups() -> Vec<PathBuf> {
    let name = format!("keystead-worker-{}-", std::process::id());
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let folder = Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/'));
        for folder in [folder.parent().map(Path::to_path_buf), Some(folder)].into_iter().flatten() {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()).filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|this| this.starts_with(&name))
            }));
        }
    }
    found
}
