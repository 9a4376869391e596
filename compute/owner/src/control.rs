//! The owner's commands, carried from `keystead provide --pause` and its like to the running provider through a file in the data folder.
//!
//! # Design
//! The file holds the owner's wishes, not a queue of commands: whoever reads it late or twice does the same. A writer takes a lock, reads, changes,
//! and replaces the file at once (a new file, synced, renamed), so that a reader sees the old wishes or the new ones and nothing between. The wishes
//! outlive restarts: a pause stays one.
//!
//! # Trust
//! Whoever can write the data folder could change the preferences too. Still the reader takes the file only if it is a regular file of this account
//! that nobody else can write.

use crate::{
    decide::{Mode, Pause, Wishes},
    probe::Root,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "owner-wishes.toml";
const LOCK_NAME: &str = "owner-wishes.lock";
/// Largest file, bytes; what is written has about 200.
const BYTES_MAX: u64 = 4_096;
/// How long a writer waits for another one.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Time between two tries of the lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// The longest pause with an end: a year. A longer one is one without an end.
pub const PAUSE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What the owner can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Compute nothing until then; none is until [`Command::Resume`].
    Pause {
        /// How long; at most [`PAUSE_MAX`].
        duration: Option<Duration>,
    },
    /// Go on as the preferences say: ends a pause and takes a wish to finish back. Modes stay.
    Resume,
    /// End the current unit and take no other; the provider then stops.
    Finish,
    /// Changes the mode of all computing.
    Compute(Mode),
    /// Changes the mode of graphics cards.
    Gpu(Mode),
    /// Changes the mode of the network.
    Network(Mode),
}

/// Why a control file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be written or read.
    #[error("cannot use the owner's control file {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said. Not its source, since the sentence has it already.
        cause: io::Error,
    },
    /// Another process holds the lock for too long.
    #[error("another process is changing {path} for more than {waited_s} s")]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long was waited, seconds.
        waited_s: u64,
    },
    /// It is no regular file, belongs to another account, or others may write it.
    #[error("the owner's control file {path} is not private: {what}; remove it, or give it the mode 600")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// What stands in it is not what was written.
    #[error("the owner's control file {path} is damaged; `keystead provide --dir DIR --resume` writes it anew")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The control file of one data folder.
#[derive(Clone, Debug)]
pub struct Control {
    folder: PathBuf,
    path: PathBuf,
}

/// What tells one state of the file from another without reading it: size, time of change, and the number of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64, Option<SystemTime>, u64);

impl Stamp {
    /// That of a file with this metadata.
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let number = 0;
        Self(metadata.len(), metadata.modified().ok(), number)
    }
}

impl Control {
    /// The control file in a data folder; nothing is opened.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), path: folder.join(FILE_NAME) }
    }

    /// The wishes of now. A file that does not exist is an owner who said nothing.
    ///
    /// # Errors
    /// All but [`Error::Busy`]. The caller should compute nothing then: the owner may have said so.
    pub fn read(&self) -> Result<Wishes, Error> {
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Wishes::default()),
            other => other.map_err(|cause| self.io(cause))?,
        };
        self.check_private(&metadata)?;
        let text = Root::new(&self.folder).text_max(FILE_NAME, BYTES_MAX);
        text.value().and_then(|text| parse(text)).ok_or_else(|| Error::Damaged { path: self.path.clone() })
    }

    /// The file's stamp; it changes whenever the file is replaced. None if there is no file.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        fs::symlink_metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata))
    }

    /// Changes the wishes by one command and returns the new ones. `unix_ms` is the wall clock, ms since 1970.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Busy`], [`Error::NotPrivate`]. A damaged file is replaced by [`Command::Resume`] alone.
    pub fn send(&self, command: Command, unix_ms: i64) -> Result<Wishes, Error> {
        let lock = self.lock()?;
        let before = match self.read() {
            Err(Error::Damaged { .. }) if command == Command::Resume => Wishes::default(),
            other => other?,
        };
        let after = apply(before, command, unix_ms);
        self.replace(&text(&after)).map_err(|cause| self.io(cause))?;
        drop(lock);
        Ok(after)
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.folder.join(LOCK_NAME);
        let failed = |cause| Error::Io { path: path.clone(), cause };
        let file = private(OpenOptions::new().write(true).create(true).truncate(false)).open(&path).map_err(failed)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(cause)) => return Err(failed(cause)),
                Err(fs::TryLockError::WouldBlock) if start.elapsed() > LOCK_WAIT_MAX => {
                    return Err(Error::Busy { path, waited_s: LOCK_WAIT_MAX.as_secs() });
                }
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            }
        }
    }

    /// Under the lock nobody else uses the temporary name; what a crash left there is removed.
    fn replace(&self, text: &str) -> io::Result<()> {
        let new = self.folder.join(format!("{FILE_NAME}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        #[cfg(unix)]
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    #[cfg(unix)]
    fn check_private(&self, metadata: &fs::Metadata) -> Result<(), Error> {
        use std::os::unix::fs::MetadataExt as _;
        let what = if !metadata.is_file() {
            "it is no regular file"
        } else if metadata.uid() != crate::system::account() {
            "it belongs to another account"
        } else if metadata.mode() & 0o022 != 0 {
            "others may write it"
        } else {
            return Ok(());
        };
        Err(Error::NotPrivate { path: self.path.clone(), what })
    }

    #[cfg(not(unix))]
    fn check_private(&self, metadata: &fs::Metadata) -> Result<(), Error> {
        if metadata.is_file() {
            return Ok(());
        }
        Err(Error::NotPrivate { path: self.path.clone(), what: "it is no regular file" })
    }

    fn io(&self, cause: io::Error) -> Error {
        Error::Io { path: self.path.clone(), cause }
    }
}

/// For this account alone (0600), not through a link, and without waiting for the other end of a pipe.
#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
}

/// Elsewhere the folder's own rights have to do.
#[cfg(not(unix))]
const fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn apply(mut wishes: Wishes, command: Command, unix_ms: i64) -> Wishes {
    match command {
        Command::Pause { duration } => {
            let limited = duration.filter(|duration| *duration <= PAUSE_MAX);
            let end = limited.map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
            let until_unix_ms = end.map(|ms| unix_ms.saturating_add(ms));
            wishes.pause = Some(Pause { made_unix_ms: unix_ms, until_unix_ms });
        }
        Command::Resume => (wishes.pause, wishes.finish) = (None, false),
        Command::Finish => wishes.finish = true,
        Command::Compute(mode) => wishes.compute = mode,
        Command::Gpu(mode) => wishes.gpu = mode,
        Command::Network(mode) => wishes.network = mode,
    }
    wishes
}

const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Always => "always",
        Mode::Auto => "auto",
        Mode::Never => "never",
    }
}

fn text(wishes: &Wishes) -> String {
    let mut out = format!(
        "# What the owner said last; written by `keystead provide --pause` and its like.\nversion = 1\n\
         compute = \"{}\"\ngpu = \"{}\"\nnetwork = \"{}\"\nfinish = {}\n",
        mode_word(wishes.compute),
        mode_word(wishes.gpu),
        mode_word(wishes.network),
        wishes.finish
    );
    if let Some(pause) = wishes.pause {
        out.push_str(&format!("pause_made_unix_ms = {}\n", pause.made_unix_ms));
        if let Some(until) = pause.until_unix_ms {
            out.push_str(&format!("pause_until_unix_ms = {until}\n"));
        }
    }
    out
}

/// Every key must be known: half understood wishes are not obeyed.
fn parse(text: &str) -> Option<Wishes> {
    let table: toml::Table = text.parse().ok()?;
    let mut wishes = Wishes::default();
    let (mut made, mut until, mut version) = (None, None, None);
    for (key, value) in &table {
        match key.as_str() {
            "version" => version = value.as_integer(),
            "compute" => wishes.compute = mode(value)?,
            "gpu" => wishes.gpu = mode(value)?,
            "network" => wishes.network = mode(value)?,
            "finish" => wishes.finish = value.as_bool()?,
            "pause_made_unix_ms" => made = Some(value.as_integer()?),
            "pause_until_unix_ms" => until = Some(value.as_integer()?),
            _ => return None,
        }
    }
    wishes.pause = made.map(|made_unix_ms| Pause { made_unix_ms, until_unix_ms: until });
    (version == Some(1) && (made.is_some() || until.is_none())).then_some(wishes)
}

fn mode(value: &toml::Value) -> Option<Mode> {
    [Mode::Always, Mode::Auto, Mode::Never].into_iter().find(|mode| value.as_str() == Some(mode_word(*mode)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn commands_change_what_they_name_and_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::new(folder.path());
        assert_eq!(control.read().unwrap(), Wishes::default());
        assert_eq!(control.stamp(), None);
        control.send(Command::Pause { duration: Some(Duration::from_secs(60)) }, 1_000).unwrap();
        control.send(Command::Gpu(Mode::Never), 2_000).unwrap();
        control.send(Command::Finish, 3_000).unwrap();
        let pause = Pause { made_unix_ms: 1_000, until_unix_ms: Some(61_000) };
        let expected = Wishes { pause: Some(pause), gpu: Mode::Never, finish: true, ..Wishes::default() };
        assert_eq!(Control::new(folder.path()).read().unwrap(), expected);
        let stamp = control.stamp();
        assert_eq!(control.send(Command::Resume, 4_000).unwrap(), Wishes { gpu: Mode::Never, ..Wishes::default() });
        assert_ne!(control.stamp(), stamp);
        let endless = Pause { made_unix_ms: 5_000, until_unix_ms: None };
        let too_long = Command::Pause { duration: Some(PAUSE_MAX.saturating_add(Duration::from_millis(1))) };
        assert_eq!(control.send(too_long, 5_000).unwrap().pause, Some(endless));
    }

    #[test]
    fn a_damaged_file_is_refused_and_resume_alone_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::new(folder.path());
        control.send(Command::Finish, 0).unwrap();
        let good = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        let long = format!("{good}#{}", "x".repeat(5_000));
        let newer = good.replace("version = 1", "version = 2");
        let unknown = format!("{good}boost = true\n");
        let end_only = format!("{good}pause_until_unix_ms = 5\n");
        for bad in ["", "version = 1\ncompute = \"maybe\"", "\u{0}", &long, &newer, &unknown, &end_only] {
            fs::write(folder.path().join(FILE_NAME), bad).unwrap();
            assert!(matches!(control.read(), Err(Error::Damaged { .. })), "{bad:.40}");
            assert!(matches!(control.send(Command::Finish, 0), Err(Error::Damaged { .. })));
        }
        assert_eq!(control.send(Command::Resume, 0).unwrap(), Wishes::default());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_one_that_is_not_is_refused() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let control = Control::new(folder.path());
        let path = folder.path().join(FILE_NAME);
        control.send(Command::Finish, 0).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (mode, private) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(control.read().is_ok(), private, "{mode:o}");
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(matches!(control.read(), Err(Error::NotPrivate { what: "it is no regular file", .. })));
        // A link in place of the temporary file is not followed either.
        fs::remove_file(&path).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        symlink(&elsewhere, folder.path().join(format!("{FILE_NAME}.new"))).unwrap();
        control.send(Command::Pause { duration: None }, 7).unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), before);
        assert!(control.read().unwrap().pause.is_some());
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::new(folder.path());
        let commands = [
            Command::Compute(Mode::Always),
            Command::Gpu(Mode::Never),
            Command::Network(Mode::Never),
            Command::Finish,
            Command::Pause { duration: None },
        ];
        std::thread::scope(|scope| {
            for command in commands {
                let control = &control;
                scope.spawn(move || control.send(command, 9).unwrap());
            }
        });
        let expected = Wishes {
            compute: Mode::Always,
            gpu: Mode::Never,
            network: Mode::Never,
            pause: Some(Pause { made_unix_ms: 9, until_unix_ms: None }),
            finish: true,
        };
        assert_eq!(control.read().unwrap(), expected);
    }
}
