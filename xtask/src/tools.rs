//! Installs what a task needs from the ordinary package registries, after saying so.

use crate::process::{quiet, run, show};
use eyre::{Context as _, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes `node_modules` of a folder what its lock file says.
pub(crate) fn npm_packages(folder: &Path) -> Result<()> {
    npm_packages_with(folder, None)
}

/// As [`npm_packages`]. `node` is the folder of a Node to run npm on, if that on the path is too old for the packages: npm
/// leaves out optional ones, such as native parts, that do not fit the Node it runs on.
pub(crate) fn npm_packages_with(folder: &Path, node: Option<&Path>) -> Result<()> {
    let lock = fs::read(folder.join("package-lock.json"))
        .wrap_err_with(|| format!("{} has no package-lock.json", folder.display()))?;
    let stamp = folder.join("node_modules").join(".keystead-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    ensure!(
        quiet(Command::new("npm").arg("--version")).is_some(),
        "npm is missing: install Node 20 or newer (Debian: apt-get install nodejs npm), then try again"
    );
    println!("installing the npm packages of {}", folder.display());
    let mut install = Command::new("npm");
    install.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    if let Some(node) = node {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(node.to_owned()).chain(std::env::split_paths(&rest));
        install.env("PATH", std::env::join_paths(folders)?);
    }
    run(&mut install)?;
    fs::write(stamp, lock)?;
    Ok(())
}

/// Makes an environment of its own in `folder` hold the Python packages of a requirements file; gives its interpreter.
pub(crate) fn python_packages(folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let python = folder.join("bin").join("python");
    let wanted = fs::read(requirements).wrap_err_with(|| format!("no {}", requirements.display()))?;
    let stamp = folder.join("requirements.txt");
    if python.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!("installing the Python packages of {}", requirements.display());
    fs::create_dir_all(folder)?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
        .wrap_err("python3 cannot make an environment (Debian: apt-get install python3-venv)")?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

/// Installs Debian packages if `present` says that they are missing and this user may. Says what to do otherwise.
pub(crate) fn debian_packages(packages: &[&str], present: bool) -> Result<bool> {
    if present {
        return Ok(true);
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    // SAFETY: geteuid reads a number and cannot fail.
    #[allow(unsafe_code, reason = "libc call without arguments")]
    let root = unsafe { libc::geteuid() } == 0;
    if !root || quiet(Command::new("apt-get").arg("--version")).is_none() {
        println!("missing: {}. Install them with `{}` and try again.", packages.join(", "), show(&install));
        return Ok(false);
    }
    println!("installing the Debian packages {}", packages.join(", "));
    run(Command::new("apt-get").arg("update").arg("--quiet"))?;
    run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(true)
}

/// Installs the software Vulkan device unless some Vulkan driver is there.
pub(crate) fn vulkan() -> Result<bool> {
    let driver = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .any(|entry| entry.path().extension().is_some_and(|extension| extension == "json"));
    debian_packages(&["mesa-vulkan-drivers", "libvulkan1"], driver || cfg!(not(target_os = "linux")))
}

/// Installs what the outside checks and the vectors are read with, unless it is there.
pub(crate) fn outside_programs() -> Result<bool> {
    let answers = |program: &str| quiet(Command::new(program).arg("--version")).is_some();
    let compiler = debian_packages(&["clang", "lld"], answers("clang") && answers("wasm-ld"))?;
    let unpacker = debian_packages(&["zstd"], answers("zstd"))?;
    let venv = quiet(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_some();
    Ok(debian_packages(&["python3-venv"], venv)? && compiler && unpacker)
}
