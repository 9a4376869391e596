//! Texts that let the system start the provider: a systemd unit for one account or for the machine, a launchd plist, a task or a service for Windows.
//!
//! # Design
//! All are made from one description. What stands in it is quoted for each format, and what no format can hold (control characters) is refused, so that a
//! path cannot become a directive.
//!
//! # Not here
//! `PrivateDevices`, `RestrictNamespaces` and `MemoryDenyWriteExecute`: the worker needs graphics devices, makes namespaces of its own, and compiles.
//! `ProtectClock` adds a list of allowed devices, which would shut out the graphics devices too.
//! A service in the sense of `sc.exe` alone: such a program must speak with the service manager, and Windows ends one that does not. The description for
//! [WinSW](https://github.com/winsw/winsw), which does, is for servers: the task does the same for an account that is logged in, which is also the only one
//! whose input it could watch.

use std::{fmt::Write as _, path::PathBuf};

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The binary, an absolute path.
    pub program: PathBuf,
    /// Its arguments, the first one after the program's name; for instance `provide`.
    pub arguments: Vec<String>,
    /// The folder that it writes to, an absolute path.
    pub folder: PathBuf,
    /// Most memory of the program and its workers, bytes; with none the file has no bound, and jobs have that of the preferences.
    pub memory_bytes_max: Option<u64>,
    /// How long the current unit may take to end after the request to stop, seconds.
    pub stop_seconds: u64,
}

/// Why a description cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control character, which none of the formats can hold.
    #[error("{what} holds a control character")]
    Control {
        /// Which part.
        what: &'static str,
    },
    /// A path that is not absolute or not UTF-8.
    #[error("{what} must be an absolute path in UTF-8")]
    Path {
        /// Which part.
        what: &'static str,
    },
    /// A `%`: who reads the file would put a variable there, and knows no way to write it otherwise.
    #[error("{what} must not hold a % in this kind of file")]
    Percent {
        /// Which part.
        what: &'static str,
    },
    /// The name of an account that could be read as something else.
    #[error("the account's name must consist of letters, digits, '.', '_' and '-': {name}")]
    Account {
        /// The name.
        name: String,
    },
}

/// The parts of a description that passed the checks.
struct Checked<'a> {
    program: &'a str,
    arguments: Vec<&'a str>,
    folder: &'a str,
}

impl Description {
    fn checked(&self) -> Result<Checked<'_>, Error> {
        let plain =
            |text: &str, what| if text.chars().any(char::is_control) { Err(Error::Control { what }) } else { Ok(()) };
        let path = |path: &'_ std::path::Path, what| {
            // The same text must be accepted on the machine that writes it for another system.
            let windows = path.to_str().is_some_and(|text| text.get(1..3) == Some(":\\"));
            if path.has_root() || windows { Ok(()) } else { Err(Error::Path { what }) }
        };
        path(&self.program, "the program")?;
        path(&self.folder, "the folder")?;
        let program = self.program.to_str().ok_or(Error::Path { what: "the program" })?;
        let folder = self.folder.to_str().ok_or(Error::Path { what: "the folder" })?;
        plain(program, "the program")?;
        plain(folder, "the folder")?;
        for argument in &self.arguments {
            plain(argument, "an argument")?;
        }
        Ok(Checked { program, arguments: self.arguments.iter().map(String::as_str).collect(), folder })
    }
}

/// A unit for one account, `~/.config/systemd/user/keystead-provide.service`. It sees the account's desktop and needs no rights.
///
/// # Errors
/// [`Error`].
pub fn systemd_user(description: &Description) -> Result<String, Error> {
    let checked = description.checked()?;
    let mut out = systemd_head(description, &checked, "");
    out.push_str(
        "# What needs more rights than an account has (ProtectSystem and its like) stands in the unit for the machine.\n\
         \n[Install]\nWantedBy=default.target\n",
    );
    Ok(out)
}

/// A unit for the machine, `/etc/systemd/system/keystead-provide.service`, under an account of its own.
///
/// # Errors
/// [`Error`].
pub fn systemd_system(description: &Description, account: &str) -> Result<String, Error> {
    let checked = description.checked()?;
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    if account.is_empty() || account.starts_with('-') || !account.chars().all(plain) {
        return Err(Error::Account { name: account.chars().take(64).collect() });
    }
    let network = "After=network-online.target\nWants=network-online.target\n";
    let mut out = systemd_head(description, &checked, network);
    let _ = write!(
        out,
        "User={account}\n\
         PrivateTmp=yes\n\
         ProtectSystem=strict\n\
         ProtectHome=read-only\n\
         ReadWritePaths={}\n\
         ProtectHostname=yes\n\
         ProtectKernelLogs=yes\n\
         ProtectKernelModules=yes\n\
         CapabilityBoundingSet=\n\
         AmbientCapabilities=\n\
         \n[Install]\nWantedBy=multi-user.target\n",
        systemd_path(checked.folder)
    );
    Ok(out)
}

/// What both units have in common, up to the middle of `[Service]`; the manager of an account knows no targets of the network.
fn systemd_head(description: &Description, checked: &Checked<'_>, network: &str) -> String {
    let command: Vec<String> =
        std::iter::once(checked.program).chain(checked.arguments.iter().copied()).map(systemd_word).collect();
    let mut out = format!(
        "# Written by keystead; `keystead service` can write it anew.\n\
         [Unit]\n\
         Description=Keystead provider: computes while the owner allows it\n\
         {network}\
         StartLimitIntervalSec=600\n\
         StartLimitBurst=5\n\
         \n[Service]\n\
         Type=exec\n\
         ExecStart={}\n\
         WorkingDirectory={}\n\
         Restart=on-failure\n\
         RestartSec=10\n\
         # SIGTERM ends the current unit nicely; what is left after the time below is killed and done again elsewhere.\n\
         KillSignal=SIGTERM\n\
         KillMode=mixed\n\
         TimeoutStopSec={}\n\
         Nice=19\n\
         CPUSchedulingPolicy=idle\n\
         CPUWeight=1\n\
         IOSchedulingClass=idle\n\
         IOWeight=1\n\
         OOMScoreAdjust=1000\n\
         # The provider makes groups for its workers below its own, and a leaf for itself: no DelegateSubgroup=, which older managers do not know.\n\
         Delegate=yes\n\
         TasksMax=4096\n",
        command.join(" "),
        systemd_path(checked.folder),
        description.stop_seconds,
    );
    if let Some(bytes) = description.memory_bytes_max {
        let _ = writeln!(out, "MemoryMax={bytes}");
    }
    out.push_str(
        "NoNewPrivileges=yes\n\
         UMask=0077\n\
         LockPersonality=yes\n\
         RestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\n\
         SystemCallArchitectures=native\n",
    );
    out
}

/// One word of a command line. Spec: systemd.service(5), "Command lines": quotes and backslashes are escaped, `%` and `$` doubled.
fn systemd_word(text: &str) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '%' => out.push_str("%%"),
            '$' => out.push_str("$$"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A path as a directive's value: `%` is doubled; spaces are escaped, since some directives take lists. Spec: systemd.syntax(7).
fn systemd_path(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            ' ' => out.push_str("\\x20"),
            '"' => out.push_str("\\x22"),
            '\'' => out.push_str("\\x27"),
            '\\' => out.push_str("\\x5c"),
            '%' => out.push_str("%%"),
            other => out.push(other),
        }
    }
    out
}

/// A launchd agent, `~/Library/LaunchAgents/org.keystead.provide.plist`: the background class gives low priority for processors, disk and network.
///
/// # Errors
/// [`Error`].
pub fn launchd(description: &Description) -> Result<String, Error> {
    let checked = description.checked()?;
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n\
         \t<key>Label</key>\n\t<string>org.keystead.provide</string>\n\
         \t<key>ProgramArguments</key>\n\t<array>\n",
    );
    for word in std::iter::once(checked.program).chain(checked.arguments.iter().copied()) {
        let _ = writeln!(out, "\t\t<string>{}</string>", xml(word));
    }
    let _ = writeln!(out, "\t</array>\n\t<key>WorkingDirectory</key>\n\t<string>{}</string>", xml(checked.folder));
    let _ = write!(
        out,
        "\t<key>RunAtLoad</key>\n\t<true/>\n\
         \t<key>KeepAlive</key>\n\t<dict>\n\t\t<key>SuccessfulExit</key>\n\t\t<false/>\n\t</dict>\n\
         \t<key>ThrottleInterval</key>\n\t<integer>10</integer>\n\
         \t<key>ExitTimeOut</key>\n\t<integer>{}</integer>\n\
         \t<key>ProcessType</key>\n\t<string>Background</string>\n\
         \t<key>Nice</key>\n\t<integer>19</integer>\n\
         \t<key>LowPriorityIO</key>\n\t<true/>\n\
         \t<key>LowPriorityBackgroundIO</key>\n\t<true/>\n\
         \t<key>Umask</key>\n\t<integer>63</integer>\n\
         </dict>\n</plist>\n",
        description.stop_seconds
    );
    Ok(out)
}

/// A task for Windows, for `schtasks /create /tn Keystead /xml FILE`. To be written to the file as UTF-16 with a byte order mark
/// ([`windows_task_bytes`]). Priority 10 is the idle class. The rules of batteries are the preferences', so the task's own are off.
///
/// # Errors
/// [`Error`].
pub fn windows_task(description: &Description) -> Result<String, Error> {
    let checked = description.checked()?;
    let arguments: Vec<String> = checked.arguments.iter().map(|argument| windows_word(argument)).collect();
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n\
         <Task version=\"1.4\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\n\
         \x20 <RegistrationInfo>\n    <Description>Keystead provider: computes while the owner allows it</Description>\n  </RegistrationInfo>\n\
         \x20 <Triggers>\n    <LogonTrigger>\n      <Enabled>true</Enabled>\n      <Delay>PT30S</Delay>\n    </LogonTrigger>\n  </Triggers>\n\
         \x20 <Principals>\n    <Principal id=\"Author\">\n      <LogonType>InteractiveToken</LogonType>\n      <RunLevel>LeastPrivilege</RunLevel>\n    </Principal>\n  </Principals>\n\
         \x20 <Settings>\n    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>\n    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>\n\
         \x20   <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>\n    <AllowHardTerminate>true</AllowHardTerminate>\n    <StartWhenAvailable>true</StartWhenAvailable>\n\
         \x20   <WakeToRun>false</WakeToRun>\n    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>\n    <Priority>10</Priority>\n\
         \x20   <RestartOnFailure>\n      <Interval>PT1M</Interval>\n      <Count>5</Count>\n    </RestartOnFailure>\n  </Settings>\n\
         \x20 <Actions Context=\"Author\">\n    <Exec>\n      <Command>{}</Command>\n      <Arguments>{}</Arguments>\n      <WorkingDirectory>{}</WorkingDirectory>\n    </Exec>\n  </Actions>\n\
         </Task>\n",
        xml(checked.program),
        xml(&arguments.join(" ")),
        xml(checked.folder),
    ))
}

/// The task's text as the file's bytes: UTF-16, little endian, with a byte order mark, lines ended as Windows does.
#[must_use]
pub fn windows_task_bytes(text: &str) -> Vec<u8> {
    let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A service for Windows, for [WinSW](https://github.com/winsw/winsw): a text file in UTF-8 beside its program, with the same name. It runs before anybody
/// logs on, as an account that owns nothing, and sees nobody's input.
///
/// # Errors
/// [`Error`]; also of a `%`, which WinSW would expand.
pub fn windows_service(description: &Description) -> Result<String, Error> {
    let checked = description.checked()?;
    let plain = |text: &str, what| if text.contains('%') { Err(Error::Percent { what }) } else { Ok(()) };
    plain(checked.program, "the program")?;
    plain(checked.folder, "the folder")?;
    checked.arguments.iter().try_for_each(|argument| plain(argument, "an argument"))?;
    let arguments: Vec<String> = checked.arguments.iter().map(|argument| windows_word(argument)).collect();
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!-- Written by keystead; `keystead service` can write it anew. -->\n\
         <service>\n\
         \x20 <id>keystead</id>\n\
         \x20 <name>Keystead provider</name>\n\
         \x20 <description>Keystead provider: computes while the owner allows it</description>\n\
         \x20 <executable>{}</executable>\n\
         \x20 <arguments>{}</arguments>\n\
         \x20 <workingdirectory>{}</workingdirectory>\n\
         \x20 <priority>Idle</priority>\n\
         \x20 <startmode>Automatic</startmode>\n\
         \x20 <delayedAutoStart>true</delayedAutoStart>\n\
         \x20 <stoptimeout>{} sec</stoptimeout>\n\
         \x20 <onfailure action=\"restart\" delay=\"10 sec\"/>\n\
         \x20 <onfailure action=\"restart\" delay=\"60 sec\"/>\n\
         \x20 <resetfailure>1 hour</resetfailure>\n\
         \x20 <serviceaccount>\n    <username>NT AUTHORITY\\LocalService</username>\n  </serviceaccount>\n\
         \x20 <logpath>{}</logpath>\n\
         \x20 <log mode=\"roll-by-size\">\n    <sizeThreshold>10240</sizeThreshold>\n    <keepFiles>4</keepFiles>\n  </log>\n\
         </service>\n",
        xml(checked.program),
        xml(&arguments.join(" ")),
        xml(checked.folder),
        description.stop_seconds,
        xml(checked.folder),
    ))
}

/// One argument as the C runtime of Windows splits a command line: backslashes count only before a quote.
fn windows_word(text: &str) -> String {
    if !text.is_empty() && !text.contains([' ', '"']) {
        return text.to_owned();
    }
    let mut out = String::from('"');
    let mut backslashes = 0usize;
    for char in text.chars() {
        match char {
            '\\' => backslashes = backslashes.saturating_add(1),
            '"' => {
                out.push_str(&"\\".repeat(backslashes.saturating_add(1)));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        out.push(char);
    }
    out.push_str(&"\\".repeat(backslashes));
    out.push('"');
    out
}

fn xml(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&apos;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            program: "/usr/local/bin/keystead".into(),
            arguments: vec!["provide".to_owned(), "--dir".to_owned(), "/var/lib/keystead".to_owned()],
            folder: "/var/lib/keystead".into(),
            memory_bytes_max: Some(8_589_934_592),
            stop_seconds: 900,
        }
    }

    #[test]
    fn the_unit_for_the_machine_is_as_reviewed() {
        insta::assert_snapshot!(systemd_system(&description(), "keystead").unwrap());
    }

    #[test]
    fn the_unit_for_an_account_is_as_reviewed() {
        insta::assert_snapshot!(systemd_user(&Description { memory_bytes_max: None, ..description() }).unwrap());
    }

    #[test]
    fn the_launchd_agent_is_as_reviewed() {
        insta::assert_snapshot!(launchd(&description()).unwrap());
    }

    #[test]
    fn the_windows_task_is_as_reviewed() {
        let description = Description {
            program: "C:\\Program Files\\Keystead\\keystead.exe".into(),
            arguments: vec!["provide".to_owned(), "--dir".to_owned(), "C:\\My Data\\".to_owned()],
            folder: "C:\\My Data".into(),
            ..description()
        };
        insta::assert_snapshot!(windows_task(&description).unwrap());
        let bytes = windows_task_bytes("a\n\u{1f600}");
        assert_eq!(bytes, [0xff, 0xfe, b'a', 0, b'\r', 0, b'\n', 0, 0x3d, 0xd8, 0x00, 0xde]);
    }

    #[test]
    fn the_windows_service_is_as_reviewed() {
        let description = Description {
            program: "C:\\Program Files\\Key & <stead>\\keystead.exe".into(),
            arguments: vec!["provide".to_owned(), "--dir".to_owned(), "C:\\My 'Data'\\".to_owned()],
            folder: "C:\\My 'Data'".into(),
            ..description()
        };
        insta::assert_snapshot!(windows_service(&description).unwrap());
        // What begins and ends the elements is the format's own, whatever stands in a path.
        let text = windows_service(&description).unwrap();
        assert_eq!((text.matches("<executable>").count(), text.matches("&lt;stead&gt;").count()), (1, 1));
        let expanded = Description { folder: "C:\\%TEMP%".into(), ..description };
        assert_eq!(windows_service(&expanded), Err(Error::Percent { what: "the folder" }));
    }

    /// systemd's own parser, where it is installed.
    #[cfg(target_os = "linux")]
    #[test]
    #[allow(clippy::print_stderr)] // How tests say that they were skipped.
    fn systemd_accepts_the_unit_without_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let description = Description {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), "echo $HOME %h \"a b\"".to_owned()],
            folder: folder.path().join("a b%c"),
            ..description()
        };
        let path = folder.path().join("keystead-provide.service");
        std::fs::write(&path, systemd_system(&description, "root").unwrap()).unwrap();
        match std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && !said.contains("keystead"), "{said}");
            }
            Err(_) => eprintln!("skipped: systemd-analyze is not installed"),
        }
    }

    #[test]
    fn a_path_or_argument_cannot_become_a_directive() {
        for (what, change) in [
            ("the program", (|d| d.program = "/bin/x\nExecStartPre=/bin/evil".into()) as fn(&mut Description)),
            ("the folder", |d| d.folder = "/var\r/x".into()),
            ("an argument", |d| d.arguments = vec!["a\0b".to_owned()]),
        ] {
            let mut bad = description();
            change(&mut bad);
            let windows = [windows_task(&bad), windows_service(&bad)];
            for text in [systemd_user(&bad), systemd_system(&bad, "keystead"), launchd(&bad)].into_iter().chain(windows)
            {
                assert_eq!(text, Err(Error::Control { what }));
            }
        }
        let relative = Description { program: "keystead".into(), ..description() };
        assert_eq!(systemd_user(&relative), Err(Error::Path { what: "the program" }));
        for account in ["", "-x", "root\nUser=root", "a b", "a/b"] {
            assert!(matches!(systemd_system(&description(), account), Err(Error::Account { .. })), "{account}");
        }
    }

    #[test]
    fn each_format_quotes_what_means_something_to_it() {
        assert_eq!(systemd_word("a \"b\" %h $HOME \\"), "\"a \\\"b\\\" %%h $$HOME \\\\\"");
        assert_eq!(systemd_path("/a b%c"), "/a\\x20b%%c");
        assert_eq!(xml("<&\"'>"), "&lt;&amp;&quot;&apos;&gt;");
        for (text, word) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("C:\\My Data\\", "\"C:\\My Data\\\\\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
            ("a\\\"b", "\"a\\\\\\\"b\""),
        ] {
            assert_eq!(windows_word(text), word);
        }
    }
}
