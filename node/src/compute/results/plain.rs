//! Opens files of a folder that anybody may have filled, and names parts of them.

use alloy_primitives::B256;
use eyre::{Context as _, Result, ensure};
use keystead_proof::OutputHasher;
use keystead_recipes::plain::{self, Links};
use std::{
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Bytes of a file that are held at once.
const PIECE_BYTES: usize = 1 << 16;

/// An open file, and how long it is.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) file: BufReader<File>,
    pub(super) bytes: u64,
}

/// Opens a file; `None` if there is none.
///
/// # Errors
/// It is a link, a pipe, a device or a folder, which are not opened, or it cannot be read.
pub(super) fn open(path: &Path) -> Result<Option<Plain>> {
    look(path)?.map(|looked| open_looked(path, &looked)).transpose()
}

/// What a plain file's folder says of it; `None` if there is none. Devices are not opened at all: some do something then.
fn look(path: &Path) -> Result<Option<Metadata>> {
    let looked = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        looked => looked.wrap_err_with(|| format!("cannot read {}", path.display()))?,
    };
    ensure!(looked.is_file(), "{} is no plain file: links, pipes and devices are not opened", path.display());
    Ok(Some(looked))
}

/// Opens what was looked at. Something else may have taken its place meanwhile, for which nobody waits here, and of which nothing is said.
fn open_looked(path: &Path, looked: &Metadata) -> Result<Plain> {
    let named = || format!("cannot read {}", path.display());
    let file = plain::open(path, Links::Refused).wrap_err_with(named)?;
    let opened = file.metadata().wrap_err_with(named)?;
    ensure!(
        (opened.dev(), opened.ino()) == (looked.dev(), looked.ino()),
        "{} was replaced while it was opened: try again when nobody works in its folder",
        path.display()
    );
    Ok(Plain { file: BufReader::with_capacity(PIECE_BYTES, file), bytes: opened.len() })
}

/// Names the next so many bytes; `None` if the file ends before. `joined` takes them, too.
pub(super) fn name(from: &mut impl BufRead, bytes: u64, joined: &mut OutputHasher) -> io::Result<Option<B256>> {
    let mut from = from.by_ref().take(bytes);
    let (mut hasher, mut left) = (OutputHasher::default(), bytes);
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        joined.update(piece);
        let got = piece.len();
        from.consume(got);
        left = left.saturating_sub(u64::try_from(got).unwrap_or(u64::MAX));
    }
    Ok((left == 0).then(|| hasher.name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_proof::output_hash;
    use std::{
        os::unix::{fs::symlink, net::UnixListener},
        process::Command,
        sync::mpsc,
        thread,
        time::Duration,
    };

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn links_pipes_and_folders_are_not_opened_and_what_is_missing_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(open(&path("missing")).unwrap().is_none());
        fs::write(path("file"), "four").unwrap();
        assert_eq!(open(&path("file")).unwrap().unwrap().bytes, 4);
        symlink(path("file"), path("link")).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        pipe(&path("pipe"));
        for name in ["link", "device", "dangling", "socket", "folder", "pipe"] {
            let refused = open(&path(name)).unwrap_err().to_string();
            assert!(refused.contains("is no plain file"), "{name}: {refused}");
        }
    }

    /// A pipe would be waited for until somebody writes into it, a device would never end.
    #[test]
    fn what_takes_a_files_place_between_its_look_and_its_open_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "other").unwrap();
        type Taker<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
        let takers: [Taker<'_>; 4] = [
            ("pipe", &pipe, "no plain file"),
            ("link", &|path| symlink(&other, path).unwrap(), "cannot read"),
            ("device", &|path| symlink("/dev/zero", path).unwrap(), "cannot read"),
            ("file", &|path| fs::rename(&other, path).unwrap(), "was replaced while it was opened"),
        ];
        for (name, take, words) in takers {
            let path = folder.path().join(name);
            fs::write(&path, "four").unwrap();
            let looked = look(&path).unwrap().unwrap();
            assert_eq!(open_looked(&path, &looked).unwrap().bytes, 4);
            // The old file keeps its number as long as it has another name.
            fs::rename(&path, folder.path().join(format!("{name}-away"))).unwrap();
            take(&path);
            let (sender, receiver) = mpsc::channel();
            // Not joined: if it waits, it does so until this process ends.
            thread::spawn(move || sender.send(open_looked(&path, &looked).map(|plain| plain.bytes)));
            let refused = receiver.recv_timeout(Duration::from_secs(10)).expect("the opening waits").unwrap_err();
            assert!(format!("{refused:#}").contains(words), "{name}: {refused:#}");
        }
    }

    #[test]
    fn a_part_of_a_file_has_the_name_of_its_bytes_however_it_is_cut_into_pieces() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for capacity in [1, 7, PIECE_BYTES] {
            let mut from = BufReader::with_capacity(capacity, bytes.as_slice());
            let mut joined = OutputHasher::default();
            let (first, rest) = bytes.split_at(100_001);
            assert_eq!(name(&mut from, 100_001, &mut joined).unwrap(), Some(output_hash(first)));
            assert_eq!(name(&mut from, 0, &mut joined).unwrap(), Some(output_hash(b"")));
            let length = u64::try_from(rest.len()).unwrap();
            assert_eq!(name(&mut from, length, &mut joined).unwrap(), Some(output_hash(rest)));
            assert_eq!(joined.name(), output_hash(&bytes));
            assert_eq!(name(&mut from, 1, &mut joined).unwrap(), None);
        }
    }
}
