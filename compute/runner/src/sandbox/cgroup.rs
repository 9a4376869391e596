//! A control group for each worker, where this process may make one: bounds its memory and the number of its processes.
//!
//! # Design
//! Version 1 has a tree for each controller, version 2 one tree in which a group that has processes cannot pass controllers on. So groups are
//! made below our own group (version 1, or an empty delegated one) or beside it (version 2 with a service's processes in a subgroup). Where neither goes, and this program is
//! alone in its group, it steps down into a leaf itself ([`super::subtree`]). Beside it in a slice of systemd comes last: what lies there is the manager's, and
//! neither ends with this program's unit nor keeps to its bounds. Nothing else is moved but the worker: the child itself joins, through files that the parent opened.
//!
//! A group is removed when its worker is reaped; those of a program that was killed are removed at the next start.

use super::subtree;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Beginning of every group's name; process id and number follow.
const NAME: &str = "keystead-worker-";
/// Processes and threads of a worker: an engine, a driver's threads (one for each core) and its compiler's.
const TASKS_MAX: u64 = 512;
/// Memory before the job is known, bytes: what a self-test with a graphics driver needs, several times.
const MEMORY_BYTES_BEFORE: u64 = 4 << 30;
/// Where control groups are mounted on every distribution.
const MOUNT: &str = "/sys/fs/cgroup";
/// Attempts to remove a group whose process has just ended, 5 ms apart.
const REMOVALS_MAX: u32 = 200;

/// Folders below which groups can be made, and the names of their files.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    /// Name of the file for each bound that this folder's controllers know.
    memory: Option<&'static str>,
    tasks: Option<&'static str>,
    /// The file that bounds swap space; version 1 has one for both together only.
    swap: Option<&'static str>,
    /// The file that shares processors, where only this program and its workers share them.
    weight: Option<&'static str>,
    /// The file that counts how often memory ran out, and the word before the number.
    out_of_memory: (&'static str, &'static str),
}

const V2: (&str, &str, (&str, &str)) = ("memory.max", "pids.max", ("memory.events", "oom_kill "));
/// The file of version 2 that shares processors, and the least share: this program answers its customers, however its workers compute.
const WEIGHT: (&str, u64) = ("cpu.weight", 1);
/// The file of version 2 that bounds swap space.
const SWAP: &str = "memory.swap.max";
const V1: (&str, &str, (&str, &str)) = ("memory.limit_in_bytes", "pids.max", ("memory.oom_control", "oom_kill "));

/// The groups of one worker: one, or one for each controller.
#[derive(Debug)]
pub(super) struct Group {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    folder: PathBuf,
    place: &'static Place,
    door: File,
}

impl Group {
    /// Makes a group with the bounds that hold before the job is known.
    pub(super) fn new() -> Result<Self, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let places = places().as_ref().map_err(Clone::clone)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut group = Self { parts: Vec::new() };
        for place in places {
            let folder = place.folder.join(format!("{NAME}{}-{number}", std::process::id()));
            group.parts.push(Part::new(folder, place).map_err(|error| format!("{}: {error}", place.folder.display()))?);
        }
        group.limit_memory(MEMORY_BYTES_BEFORE).map_err(|error| error.to_string())?;
        Ok(group)
    }

    /// What it bounds.
    pub(super) fn note(&self) -> String {
        let has = |bound: fn(&Place) -> bool| self.parts.iter().any(|part| bound(part.place));
        let bounds = [
            ("memory", has(|place| place.memory.is_some())),
            ("pids", has(|place| place.tasks.is_some())),
            ("cpu (below this program's group, which moved into a leaf)", has(|place| place.weight.is_some())),
        ];
        let names: Vec<&str> = bounds.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        names.join(", ")
    }

    /// The files through which a process joins by writing `0`.
    pub(super) fn doors(&self) -> impl Iterator<Item = &File> {
        self.parts.iter().map(|part| &part.door)
    }

    /// Bounds the memory, bytes.
    pub(super) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| match part.place.memory {
            Some(file) => set(&part.folder.join(file), bytes),
            None => Ok(()),
        })
    }

    /// Bounds the swap space, bytes, where the system counts it: not every kernel does.
    pub(super) fn limit_swap(&self, bytes: u64) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| set_if_there(&part.folder, part.place.swap, bytes))
    }

    /// Whether a process was killed because memory ran out.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.parts.iter().filter(|part| part.place.memory.is_some()).any(|part| {
            let (file, word) = part.place.out_of_memory;
            let text = fs::read_to_string(part.folder.join(file)).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix(word).is_some_and(|count| count.trim() != "0"))
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for part in &self.parts {
            remove(&part.folder);
        }
    }
}

impl Part {
    fn new(folder: PathBuf, place: &'static Place) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        let made = place.tasks.map_or(Ok(()), |file| set(&folder.join(file), TASKS_MAX));
        let made = made.and_then(|()| set_if_there(&folder, place.weight, WEIGHT.1));
        let door = made.and_then(|()| OpenOptions::new().write(true).open(folder.join("cgroup.procs")));
        match door {
            Ok(door) => Ok(Self { folder, place, door }),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }
}

fn set(file: &Path, value: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value.to_string().as_bytes())
}

/// The same of a bound that not every system has.
fn set_if_there(folder: &Path, file: Option<&str>, value: u64) -> io::Result<()> {
    match file.map(|file| set(&folder.join(file), value)) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a group; the system counts a process to it for a moment after it was reaped.
fn remove(folder: &Path) {
    for _ in 0..REMOVALS_MAX {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            _ => return,
        }
    }
    tracing::warn!(folder = %folder.display(), "a worker's control group stays: something still runs in it");
}

/// Where groups can be made, found once by making one.
fn places() -> &'static Result<Vec<Place>, String> {
    static PLACES: OnceLock<Result<Vec<Place>, String>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("/proc/self/cgroup: {error}"))?;
        let mount = Path::new(MOUNT);
        let (slices, ours): (Vec<Place>, Vec<Place>) = candidates(&own, mount).into_iter().partition(Place::is_slice);
        let mut reasons = Vec::new();
        let found = trials(ours, &mut reasons);
        if bound_memory(&found) {
            return Ok(found);
        }
        match below(&own, mount) {
            Some(Ok(place)) => return Ok(vec![place]),
            Some(Err(why)) => reasons.push(why),
            None => {}
        }
        let found = trials(slices, &mut reasons);
        if bound_memory(&found) { Ok(found) } else { Err(reasons.join("; ")) }
    })
}

fn bound_memory(places: &[Place]) -> bool {
    places.iter().any(|place| place.memory.is_some())
}

/// Those of these places in which a group can be made, one for each bound; why not in others.
fn trials(places: Vec<Place>, reasons: &mut Vec<String>) -> Vec<Place> {
    let mut found = Vec::new();
    for place in places {
        let known = |bound: Option<&str>, has: fn(&Place) -> bool| bound.is_none() || found.iter().any(has);
        if known(place.memory, |place| place.memory.is_some()) && known(place.tasks, |place| place.tasks.is_some()) {
            continue;
        }
        clear(&place.folder);
        match usable(&place) {
            Ok(()) => found.push(place),
            Err(error) => reasons.push(format!("{}: {error}", place.folder.display())),
        }
    }
    found
}

/// The place that this program leaves to its workers by stepping down; none where there are no groups of version 2.
fn below(own: &str, mount: &Path) -> Option<Result<Place, String>> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| !path.contains(".."))?;
    if !mount.join("cgroup.controllers").exists() {
        return None;
    }
    let (folder, process) = (mount.join(path.trim_start_matches('/')), std::process::id());
    let named = |why: String| format!("{}: {why}", folder.display());
    Some(subtree::step_down(&folder, process).map_err(named).and_then(|passed| {
        let weight = passed.cpu.then_some(WEIGHT.0);
        let place = Place { weight, ..Place::second(folder.clone()) };
        match usable(&place) {
            Ok(()) => Ok(place),
            Err(error) => {
                subtree::go_back(&folder, process);
                Err(named(error.to_string()))
            }
        }
    }))
}

impl Place {
    /// Of version 2.
    const fn second(folder: PathBuf) -> Self {
        Self { folder, memory: Some(V2.0), tasks: Some(V2.1), swap: Some(SWAP), weight: None, out_of_memory: V2.2 }
    }

    /// Whether it is a slice of version 2, which systemd delegates to nobody.
    fn is_slice(&self) -> bool {
        self.out_of_memory == V2.2 && self.folder.extension().is_some_and(|kind| kind == "slice")
    }
}

/// Places worth a trial, the better first, from the text of `/proc/self/cgroup`.
fn candidates(own: &str, mount: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        // The last of a path that leaves the tree that we see would be somebody else's.
        if path.contains("..") {
            continue;
        }
        let below = path.trim_start_matches('/');
        if controllers.is_empty() {
            let folder = mount.join(below);
            let beside = folder.parent().filter(|parent| parent.starts_with(mount)).map(Path::to_path_buf);
            for folder in beside.into_iter().chain([folder]) {
                places.push(Place::second(folder));
            }
            continue;
        }
        for controller in controllers.split(',') {
            let (memory, tasks) = match controller {
                "memory" => (Some(V1.0), None),
                "pids" => (None, Some(V1.1)),
                _ => continue,
            };
            let folder = mount.join(controllers).join(below);
            places.push(Place { folder, memory, tasks, swap: None, weight: None, out_of_memory: V1.2 });
        }
    }
    places
}

/// Makes and removes a group with bounds.
fn usable(place: &Place) -> io::Result<()> {
    if place.out_of_memory == V2.2 {
        // Groups below get these controllers only if the group above passes them on, which it cannot while it has processes.
        let passed = place.folder.join("cgroup.subtree_control");
        let now = fs::read_to_string(&passed)?;
        if !["memory", "pids"].iter().all(|name| now.split_whitespace().any(|has| has == *name)) {
            OpenOptions::new().write(true).open(&passed)?.write_all(b"+memory +pids")?;
        }
    }
    let folder = place.folder.join(format!("{NAME}{}-trial", std::process::id()));
    fs::create_dir(&folder)?;
    let bounds = [(place.memory, MEMORY_BYTES_BEFORE), (place.tasks, TASKS_MAX)];
    let outcome = bounds
        .into_iter()
        .filter_map(|(file, value)| file.map(|file| (file, value)))
        .try_for_each(|(file, value)| set(&folder.join(file), value))
        .and_then(|()| OpenOptions::new().write(true).open(folder.join("cgroup.procs")).map(drop));
    remove(&folder);
    outcome
}

/// Removes empty groups whose maker does not run any more.
fn clear(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(NAME)).and_then(|rest| rest.split('-').next());
        if let Some(maker) = maker
            && !Path::new("/proc").join(maker).exists()
        {
            // Only an empty group can be removed.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn swap_space_is_bounded_where_the_system_counts_it_and_nothing_fails_where_it_does_not() {
        let tree = tempfile::tempdir().unwrap();
        let group = |own: &str| {
            let parts = candidates(own, tree.path()).into_iter().map(|place| {
                fs::create_dir_all(&place.folder).unwrap();
                let door = File::create(place.folder.join("cgroup.procs")).unwrap();
                Part { folder: place.folder.clone(), place: Box::leak(Box::new(place)), door }
            });
            Group { parts: parts.collect() }
        };
        let second = group("0::/\n");
        second.limit_swap(5 << 30).unwrap();
        let file = tree.path().join(SWAP);
        assert!(!file.exists(), "a kernel that does not count it has no such file, and none is made");
        fs::write(&file, "max").unwrap();
        second.limit_swap(5 << 30).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), (5_u64 << 30).to_string());
        let first = group("4:memory:/a\n8:pids:/a\n");
        first.limit_swap(1).unwrap();
        assert_eq!(first.parts.len(), 2);
    }

    #[test]
    fn a_program_that_cannot_step_down_says_why_and_one_without_version_2_does_not_try() {
        let tree = tempfile::tempdir().unwrap();
        assert!(below("0::/a\n", tree.path()).is_none(), "not mounted here");
        fs::write(tree.path().join("cgroup.controllers"), "memory pids").unwrap();
        assert!(below("4:memory:/a\n", tree.path()).is_none());
        assert!(below("0::/../b\n", tree.path()).is_none(), "somebody else's");
        let own = tree.path().join("a");
        fs::create_dir(&own).unwrap();
        let own_process = std::process::id().to_string();
        for (processes, controllers, why) in
            [(format!("{own_process}\n1\n"), "memory pids", "others=1"), (own_process, "memory", "controller on: pids")]
        {
            fs::write(own.join("cgroup.procs"), processes).unwrap();
            fs::write(own.join("cgroup.controllers"), controllers).unwrap();
            let refused = below("0::/a\n", tree.path()).unwrap().unwrap_err();
            assert!(refused.starts_with(&own.display().to_string()) && refused.ends_with(why), "{refused}");
        }
    }

    #[test]
    fn a_slice_is_the_managers_and_comes_last() {
        let slices = |own: &str| -> Vec<(String, bool)> {
            let named = |place: &Place| (place.folder.display().to_string(), place.is_slice());
            candidates(own, Path::new("/c")).iter().map(named).collect()
        };
        let named = |folder: &str, is_slice| (folder.to_owned(), is_slice);
        assert_eq!(
            slices("0::/user.slice/app.slice/x.service\n"),
            [named("/c/user.slice/app.slice", true), named("/c/user.slice/app.slice/x.service", false)]
        );
        assert!(slices("0::/system.slice/x.service/node\n").iter().all(|(_, is_slice)| !is_slice));
        assert!(slices("4:memory:/user.slice\n").iter().all(|(_, is_slice)| !is_slice), "version 1 has no such rule");
    }

    #[test]
    fn version_1_gives_a_place_for_each_controller_and_version_2_one_beside_and_one_below() {
        let folders = |own: &str| -> Vec<String> {
            candidates(own, Path::new("/c")).iter().map(|place| place.folder.display().to_string()).collect()
        };
        assert_eq!(
            folders("9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n"),
            ["/c/pids/", "/c/memory/a/b"]
        );
        assert_eq!(
            folders("0::/user.slice/x.service/node\n"),
            ["/c/user.slice/x.service", "/c/user.slice/x.service/node"]
        );
        assert_eq!(folders("0::/\n"), ["/c/"], "nothing above the mount");
        assert_eq!(folders("4:memory:/../../other\nnonsense\n"), [""; 0]);
    }
}
