//! A root with nothing in it but what a runtime needs, read-only.
//!
//! # Design
//! `wasm/1` needs no file at all. `wgsl/1` loads a graphics driver after it is confined: shared libraries, the Vulkan loader's lists, device nodes, and
//! what drivers read about devices in /sys. These folders appear at their own paths in an empty file system, read-only and without set-user-id
//! programs; nothing else exists, neither /home nor /etc/passwd nor a place to write to. The old root is let go, so no path leads back.

use super::{Confinement, call};
use keystead_job::Runtime;
use std::{
    ffi::CString,
    fs,
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};

/// Libraries, and lists of drivers: what a Vulkan loader and its drivers read on the distributions that we know.
const DRIVER_FILES: [&str; 18] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/OpenCL",
    "/usr/share/vulkan",
    "/usr/local/share/vulkan",
    "/usr/share/glvnd",
    "/usr/share/drirc.d",
    "/usr/share/libdrm",
    "/usr/share/nvidia",
    "/run/opengl-driver",
    "/nix/store",
    "/gnu/store",
];
/// Devices of graphics drivers, and what drivers read about them.
const DEVICES: [&str; 8] = [
    "/dev/dri",
    "/dev/kfd",
    "/dev/dxg",
    "/sys/dev/char",
    "/sys/devices",
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/module",
];
/// Devices that libraries expect to exist.
const HARMLESS_DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];
/// Beginning of the names of NVIDIA's device nodes in /dev.
const NVIDIA: &str = "nvidia";
/// Device nodes of one maker that are passed on: 32 cards with some nodes each.
const NODES_MAX: usize = 256;
/// The empty root is made here: a folder that every system has and no worker needs.
const SCAFFOLD: &str = "/proc";
/// Mounts, and folders to put them on: no data.
const OPTIONS: &core::ffi::CStr = c"size=1m,nr_inodes=2k,mode=0755";
const NO_PROGRAMS: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;

/// What a worker may read besides an empty root, that exists here, in the order of mounting.
pub(super) fn readable(confinement: &Confinement) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    if confinement.runtime == Runtime::Wgsl1 {
        let nvidia = fs::read_dir("/dev").into_iter().flatten().flatten().take(1 << 16);
        let nvidia = nvidia
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(NVIDIA.as_bytes())));
        paths.extend(DRIVER_FILES.into_iter().chain(HARMLESS_DEVICES).map(PathBuf::from));
        paths.extend(nvidia.take(NODES_MAX));
        // Without a card there is nothing to read about cards.
        let cards = paths.iter().any(|path| path.starts_with("/dev/nvidiactl"))
            || ["/dev/dri", "/dev/dxg"].into_iter().any(|path| Path::new(path).exists());
        paths.extend(DEVICES.into_iter().filter(|_| cards).map(PathBuf::from));
    }
    paths.extend(confinement.readable.iter().filter(|path| path.is_absolute()).cloned());
    paths.retain(|path| path.symlink_metadata().is_ok());
    paths.sort();
    // What lies inside a folder that is passed on comes with it.
    paths.dedup_by(|later, earlier| later.starts_with(&*earlier) && !earlier.is_symlink());
    paths
}

/// Makes the root and goes there. This process must have a mount table of its own.
pub(super) fn enter(paths: &[PathBuf]) -> io::Result<()> {
    let scaffold = Path::new(SCAFFOLD);
    let kind = c"tmpfs";
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    call::mount(Some(kind), &text(scaffold)?, Some(kind), flags, Some(OPTIONS))?;
    for path in paths {
        show(path, scaffold).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    std::env::set_current_dir(scaffold)?;
    call::root_here()?;
    std::env::set_current_dir("/")?;
    call::restrict_mount(c"/", NO_PROGRAMS | libc::MOUNT_ATTR_NODEV, 0)
}

/// Makes a file or folder of the old root appear in the new one at the same path.
fn show(path: &Path, scaffold: &Path) -> io::Result<()> {
    let target = scaffold.join(path.strip_prefix("/").map_err(io::Error::other)?);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let is = path.symlink_metadata()?;
    if is.is_symlink() {
        // As on systems where /lib is /usr/lib: the link leads to something that is passed on, or nowhere.
        return symlink(fs::read_link(path)?, target);
    }
    if is.is_dir() {
        fs::create_dir_all(&target)?;
    } else {
        fs::File::create(&target)?.flush()?;
    }
    let (path, target) = (text(path)?, text(&target)?);
    call::mount(Some(&path), &target, None, libc::MS_BIND | libc::MS_REC, None)?;
    call::restrict_mount(&target, NO_PROGRAMS, libc::AT_RECURSIVE)
}

fn text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}
