//! Opens files that a stranger may have put there, without ever waiting for one.
//!
//! # Design
//! Whoever opens a named pipe waits until somebody else opens its other end, also if the pipe came after a look that saw a file. So nothing here is
//! looked at first: the opening itself does not wait, and what was opened says what it is.
//!
//! # Not here
//! Bounds: how much of a file is read is for its reader to say.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    path::Path,
};

/// What is said of everything else.
const NOT_PLAIN: &str = "no plain file: pipes, devices and folders are not read";

/// What becomes of a path that ends in a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The file counts to which it leads.
    Followed,
    /// It is not opened. Links before the last part of the path are followed all the same.
    Refused,
}

/// Opens a regular file for reading. It may be hostile; the answer never has to be waited for.
///
/// # Errors
/// Those of the system, which has one of its own for a link that is refused; [`ErrorKind::InvalidInput`] for what is no regular file.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = without_waiting(options.read(true), links).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(ErrorKind::InvalidInput, NOT_PLAIN)) }
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions, links: Links) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.custom_flags(match links {
        Links::Followed => libc::O_NONBLOCK,
        Links::Refused => libc::O_NONBLOCK | libc::O_NOFOLLOW,
    })
}

/// Elsewhere a path leads to no pipe that would have to be waited for, and links need a right that strangers do not have.
#[cfg(not(unix))]
const fn without_waiting(options: &mut OpenOptions, _: Links) -> &mut OpenOptions {
    options
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::{
        fs,
        io::Read as _,
        os::unix::{fs::symlink, net::UnixListener},
        process::Command,
        sync::mpsc,
        thread,
        time::Duration,
    };

    /// Longer than any opening takes; who waits for the other end of a pipe waits for ever.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// What comes of an opening, which must not wait.
    fn opened(path: &Path, links: Links) -> io::Result<String> {
        let (sender, receiver) = mpsc::channel();
        let path = path.to_owned();
        // Not joined: if it waits, it does so until this process ends.
        thread::spawn(move || {
            let read = open(&path, links).and_then(|mut file| {
                let mut text = String::new();
                file.read_to_string(&mut text).map(|_| text)
            });
            let _ = sender.send(read);
        });
        receiver.recv_timeout(PATIENCE).expect("the opening waits")
    }

    #[test]
    fn nothing_but_a_regular_file_is_opened_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "four").unwrap();
        fs::create_dir(path("folder")).unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for links in [Links::Followed, Links::Refused] {
            assert_eq!(opened(&path("file"), links).unwrap(), "four");
            assert_eq!(opened(&path("missing"), links).unwrap_err().kind(), ErrorKind::NotFound);
            for name in ["pipe", "folder"] {
                let refused = opened(&path(name), links).unwrap_err();
                assert_eq!((refused.kind(), refused.to_string().as_str()), (ErrorKind::InvalidInput, NOT_PLAIN));
            }
            assert!(opened(&path("socket"), links).is_err(), "which the system opens for nobody");
        }
    }

    #[test]
    fn a_link_is_followed_or_refused_as_asked_and_never_leads_to_a_pipe_or_device() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "four").unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        symlink("file", path("to-file")).unwrap();
        symlink("pipe", path("to-pipe")).unwrap();
        symlink("/dev/zero", path("to-device")).unwrap();
        assert_eq!(opened(&path("to-file"), Links::Followed).unwrap(), "four");
        for name in ["to-pipe", "to-device"] {
            assert_eq!(opened(&path(name), Links::Followed).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        for name in ["to-file", "to-pipe", "to-device"] {
            assert!(opened(&path(name), Links::Refused).is_err(), "{name}");
        }
    }
}
