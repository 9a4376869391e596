//! `keystead service`: the file by which the system starts `keystead provide`, printed or put in its place.
//!
//! # Design
//! The options of `provide` are read as `provide` itself would read them, so that a mistake shows now and not in a log; paths become absolute, since a
//! service starts somewhere else. Nothing is enabled or started: the last lines say how.

use crate::{
    cli::{Cli, Command, Provide, Service, ServiceSystem},
    compute::files,
};
use clap::Parser as _;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_owner::service::{
    Description, launchd, systemd_system, systemd_user, windows_service, windows_task, windows_task_bytes,
};
use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// How long the unit that is running may take after the request to stop, seconds: it is saved and goes on at the next start.
const STOP_SECONDS: u64 = 60;

/// Name of WinSW's program and of the file that it reads, without their endings.
const WRAPPED: &str = "keystead-service";

/// `keystead service`.
pub(crate) fn run(options: &Service) -> Result<ExitCode> {
    let provide = provide(&options.provide)?;
    let system = match options.system {
        Some(system) => system,
        None => here()?,
    };
    let here = env::current_dir().wrap_err("cannot find the present folder")?;
    let folder = here.join(&provide.dir);
    let mut arguments = vec!["provide".to_owned()];
    arguments.extend(absolute(&options.provide, &here));
    let description = Description {
        program: env::current_exe().wrap_err("cannot find this program's own file")?,
        arguments,
        folder: folder.clone(),
        memory_bytes_max: options.memory.map(|mib| mib.saturating_mul(1 << 20)),
        stop_seconds: STOP_SECONDS,
    };
    let text = match system {
        ServiceSystem::SystemdUser => systemd_user(&description),
        ServiceSystem::Systemd => systemd_system(&description, &options.account),
        ServiceSystem::Launchd => launchd(&description),
        ServiceSystem::Windows => windows_task(&description),
        ServiceSystem::WindowsService => windows_service(&description),
    };
    let text = text.wrap_err("these options cannot stand in a service file")?;
    // The manager changes into the folder before it starts the program.
    files::private_folder(&folder)?;
    let bytes = if system == ServiceSystem::Windows { windows_task_bytes(&text) } else { text.into_bytes() };
    let mut out = io::stdout().lock();
    if !options.install {
        out.write_all(&bytes).wrap_err("cannot print the file")?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = place(system, &folder)?;
    install(&path, &bytes, options.force)?;
    writeln!(out, "Written: {}", path.display())?;
    writeln!(out, "Start it, now and at each start of the system:")?;
    for line in next(system, &path) {
        writeln!(out, "  {line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The options of `provide`, read as the command line is.
fn provide(words: &[String]) -> Result<Provide> {
    let line = ["keystead", "provide"].into_iter().map(str::to_owned).chain(words.iter().cloned());
    let cli = Cli::try_parse_from(line).map_err(|error| {
        let said = error.render().to_string();
        // Whoever prints this begins with the same word.
        eyre!("{}", said.strip_prefix("error: ").unwrap_or(&said).trim_end())
    })?;
    let Command::Provide(provide) = cli.command else { return Err(eyre!("these are no options of `provide`")) };
    let wish = provide.pause.is_some() || provide.resume || provide.finish || provide.status;
    ensure!(!wish, "--pause, --resume, --finish and --status talk to a provider that runs: leave them out");
    Ok(provide)
}

/// The words with the paths of known options made absolute.
fn absolute(words: &[String], here: &Path) -> Vec<String> {
    const PATHS: [&str; 3] = ["--dir", "--worker-reads", "--vulkan-driver"];
    let path = |text: &str| here.join(text).to_string_lossy().into_owned();
    let mut follows = false;
    let each = words.iter().map(|word| {
        let (is_path, was) = (PATHS.contains(&word.as_str()), follows);
        follows = is_path;
        match word.split_once('=') {
            _ if was => path(word),
            Some((name, value)) if PATHS.contains(&name) => format!("{name}={}", path(value)),
            _ => word.clone(),
        }
    });
    each.collect()
}

fn here() -> Result<ServiceSystem> {
    match env::consts::OS {
        "linux" => Ok(ServiceSystem::SystemdUser),
        "macos" => Ok(ServiceSystem::Launchd),
        "windows" => Ok(ServiceSystem::Windows),
        other => Err(eyre!("no service manager is known for {other}: choose one with --for")),
    }
}

/// Where the file belongs.
fn place(system: ServiceSystem, folder: &Path) -> Result<PathBuf> {
    let home =
        || env::home_dir().ok_or_else(|| eyre!("this account has no home folder: print the file without --install"));
    Ok(match system {
        ServiceSystem::SystemdUser => match env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
            Some(config) => PathBuf::from(config).join("systemd/user/keystead-provide.service"),
            None => home()?.join(".config/systemd/user/keystead-provide.service"),
        },
        ServiceSystem::Systemd => PathBuf::from("/etc/systemd/system/keystead-provide.service"),
        ServiceSystem::Launchd => home()?.join("Library/LaunchAgents/org.keystead.provide.plist"),
        ServiceSystem::Windows => folder.join("keystead-task.xml"),
        ServiceSystem::WindowsService => folder.join(format!("{WRAPPED}.xml")),
    })
}

fn install(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    let there = match fs::read(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).wrap_err_with(|| format!("cannot read {}", path.display())),
    };
    if there.as_deref() == Some(bytes) {
        return Ok(());
    }
    ensure!(
        there.is_none() || force,
        "{} is there and differs: look at it, then use --force to replace it",
        path.display()
    );
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).wrap_err_with(|| format!("cannot make {}", folder.display()))?;
    }
    files::replace(path, bytes).wrap_err("print the file without --install and put it there as an administrator")
}

fn next(system: ServiceSystem, path: &Path) -> Vec<String> {
    match system {
        ServiceSystem::SystemdUser => vec![
            "systemctl --user daemon-reload".to_owned(),
            "systemctl --user enable --now keystead-provide".to_owned(),
            "loginctl enable-linger   # only if it shall also work while you are logged out".to_owned(),
        ],
        ServiceSystem::Systemd => {
            vec!["systemctl daemon-reload".to_owned(), "systemctl enable --now keystead-provide".to_owned()]
        }
        ServiceSystem::Launchd => vec![format!("launchctl bootstrap gui/$(id -u) \"{}\"", path.display())],
        ServiceSystem::Windows => vec![
            format!("schtasks /create /tn Keystead /xml \"{}\"", path.display()),
            "schtasks /run /tn Keystead".to_owned(),
        ],
        ServiceSystem::WindowsService => {
            let program = path.with_file_name(format!("{WRAPPED}.exe"));
            // Numbers in place of names, which Windows translates: LocalService, and the administrators.
            let (service, administrators) = ("*S-1-5-19", "*S-1-5-32-544");
            vec![
                format!(
                    "copy WinSW.exe \"{}\"   # version 3, from https://github.com/winsw/winsw/releases",
                    program.display()
                ),
                format!("icacls \"{}\" /grant \"{service}:(OI)(CI)M\"", path.parent().unwrap_or(path).display()),
                // An administrator runs the one and Windows believes the other: the service must not be able to change them.
                format!(
                    "icacls \"{}\" /inheritance:r /grant \"{administrators}:F\" \"{service}:RX\"",
                    path.with_file_name(format!("{WRAPPED}.*")).display()
                ),
                format!("\"{}\" install   # as an administrator", program.display()),
                format!("\"{}\" start", program.display()),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn paths_become_absolute_and_nothing_else_changes() {
        let line = words("--dir here --rpc http://a:1 --worker-reads=x/y --price 5 --dir=/z");
        let expected = words("--dir /at/here --rpc http://a:1 --worker-reads=/at/x/y --price 5 --dir=/z");
        assert_eq!(absolute(&line, Path::new("/at")), expected);
    }

    #[test]
    fn options_that_provide_refuses_are_refused_here() {
        assert_eq!(provide(&words("--dir x --price 7")).unwrap().price, 7);
        for (line, told) in
            [("--price 7", "--dir"), ("--dir x --nonsense", "--nonsense"), ("--dir x --pause", "--pause")]
        {
            let error = provide(&words(line)).unwrap_err().to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn a_windows_service_lies_beside_its_wrapper_and_the_steps_name_both() {
        let path = place(ServiceSystem::WindowsService, Path::new("/data")).unwrap();
        assert_eq!(path, Path::new("/data/keystead-service.xml"));
        let steps = next(ServiceSystem::WindowsService, &path);
        assert!(steps[0].contains("WinSW") && steps[0].contains("/data/keystead-service.exe"), "{steps:?}");
        assert!(steps[1].contains("icacls \"/data\" "), "{steps:?}");
        let locked = "icacls \"/data/keystead-service.*\" /inheritance:r /grant ";
        assert!(steps[2].starts_with(locked) && steps[2].ends_with("S-1-5-19:RX\""), "{steps:?}");
        assert!(steps[3].contains("install") && steps[4].ends_with("start"), "{steps:?}");
    }

    #[test]
    fn a_file_that_differs_is_kept_unless_replacing_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.service");
        install(&path, b"one", false).unwrap();
        install(&path, b"one", false).unwrap();
        let refused = install(&path, b"two", false).unwrap_err().to_string();
        assert!(refused.contains("--force"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        install(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}
