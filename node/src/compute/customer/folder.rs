//! The folder of a job's result, also while the order is under way: nothing in it is a lie, whenever the process ends.
//!
//! ```text
//! DIR/order.json        where the order stands (state); gone once the order is over
//! DIR/order.lock        held by the process that works on the order
//! DIR/unfinished/blobs  outputs as they arrived
//! DIR/unfinished/node.*  this node's identity and port towards providers and checkers
//! DIR/unfinished/search.json  a search for the wrong segment of a unit, whose provider keeps its states to itself
//! DIR/unfinished/files  the result's files, until the order is over and paid
//! DIR/unchecked/        the result's files, if this machine could not check them
//! DIR/convicted-N.json  certificate of order N, whose provider was convicted before another one did the job
//! DIR/job.json, DIR/certificate.json, DIR/<the result's files>
//! DIR/provider.log      what the provider said of its side (provider_log), and provider.log.1
//! DIR/outputs.pack      the unit outputs, with --keep-outputs: one more of the result's files
//! ```
//! The result's files come from `unfinished` by rename, so they are whole or not there.

use super::state::State;
use crate::compute::{
    files::{self, Lock},
    own_node::Node,
    provider_log,
};
use alloy_primitives::U256;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_recipes::ResultFile;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

const STATE_FILE: &str = "order.json";
const LOCK_FILE: &str = "order.lock";
const UNFINISHED: &str = "unfinished";
const UNCHECKED: &str = "unchecked";
/// What a process that was killed before it had an order may leave, as the scratch of [`files::replace`], and what an order without a result leaves: the
/// provider's words.
const LEFTOVERS: [&str; 5] = [LOCK_FILE, UNFINISHED, "order.json.new", provider_log::FILE, provider_log::FILE_BEFORE];

/// How a result is left to the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Checked and right: in the folder itself.
    Right,
    /// Nobody knows: apart from it.
    Unchecked,
}

/// The folder, held by this process.
#[derive(Debug)]
pub(super) struct Folder {
    out: PathBuf,
    /// It was not there before.
    made: bool,
    lock: Option<Lock>,
}

impl Folder {
    /// Makes the folder, or takes up the order that it holds.
    ///
    /// # Errors
    /// It holds something else, or another process works on it.
    pub(super) fn open(out: &Path) -> Result<Self> {
        let made = !out.exists();
        if !made {
            // Before anything is written into what may be somebody's precious folder.
            refuse_others(out)?;
        }
        fs::create_dir_all(out)
            .wrap_err_with(|| format!("cannot make {}: choose another --out or change the rights", out.display()))?;
        let lock = Lock::take(&out.join(LOCK_FILE))?;
        let lock = lock.ok_or_else(|| {
            eyre!("another `keystead run` works in {}: wait for it, or choose another --out", out.display())
        })?;
        let folder = Self { out: out.to_owned(), made, lock: Some(lock) };
        // The other process may have ended between the two.
        refuse_others(out)?;
        Ok(folder)
    }

    /// Where the person finds a file.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Where the certificate of an order stays whose provider was convicted, while the job goes on elsewhere.
    pub(super) fn conviction(&self, order: U256) -> PathBuf {
        self.path(&format!("convicted-{order}.json"))
    }

    /// Whether it holds an order that is not over.
    pub(super) fn is_open(&self) -> bool {
        self.path(STATE_FILE).exists()
    }

    /// The order that is not over.
    pub(super) fn load(&self) -> Result<Option<State>> {
        let path = self.path(STATE_FILE);
        let text = files::read(&path)?;
        text.map(|text| State::parse(&text).wrap_err_with(|| format!("cannot use {}", path.display()))).transpose()
    }

    /// Writes down where the order stands; on the disk when it returns.
    pub(super) fn save(&self, state: &State) -> Result<()> {
        files::replace(&self.path(STATE_FILE), &state.to_json()?)
    }

    /// The order was never placed and never will be.
    pub(super) fn forget(&self) -> Result<()> {
        absent_is_fine(fs::remove_file(self.path(STATE_FILE)))
            .wrap_err_with(|| format!("cannot remove {}", self.path(STATE_FILE).display()))?;
        files::sync_folder(&self.out)
    }

    /// Where outputs are kept until the order is over.
    pub(super) fn blobs(&self) -> PathBuf {
        self.path(UNFINISHED).join("blobs")
    }

    /// Where a search for a wrong segment is kept.
    pub(super) fn search(&self) -> PathBuf {
        self.path(UNFINISHED).join("search.json")
    }

    fn unfinished_file(&self, name: &str) -> PathBuf {
        self.path(UNFINISHED).join("files").join(name)
    }

    /// This node towards providers and checkers: the same for every process that works on the order.
    pub(super) fn node(&self) -> Result<Node> {
        let home = self.path(UNFINISHED);
        files::private_folder(&home)?;
        Node::of(&home)
    }

    /// Writes the result's files where a crash cannot lose them and nobody takes them for a paid result; their names.
    pub(super) fn keep(&self, result: &[ResultFile]) -> Result<Vec<String>> {
        files::private_folder(&self.path(UNFINISHED).join("files"))?;
        for file in result {
            files::replace(&self.unfinished_file(&file.name), &file.bytes)?;
        }
        files::sync_folder(&self.path(UNFINISHED))?;
        files::sync_folder(&self.out)?;
        Ok(result.iter().map(|file| file.name.clone()).collect())
    }

    /// Whether every file is kept, or was published before a crash.
    pub(super) fn has(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.unfinished_file(name).is_file() || self.path(name).is_file())
    }

    /// Gives the kept files to the person; where they are. What an earlier process published stays.
    pub(super) fn publish(&self, names: &[String], standing: Standing) -> Result<Vec<PathBuf>> {
        let place = match standing {
            Standing::Right => self.out.clone(),
            Standing::Unchecked => self.path(UNCHECKED),
        };
        fs::create_dir_all(&place).wrap_err_with(|| format!("cannot make {}", place.display()))?;
        let mut published = Vec::new();
        for name in names {
            let (from, to) = (self.unfinished_file(name), place.join(name));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == ErrorKind::NotFound && to.is_file() => {}
                other => other.wrap_err_with(|| format!("cannot move {} to {}", from.display(), to.display()))?,
            }
            published.push(to);
        }
        files::sync_folder(&place)?;
        if standing == Standing::Right {
            absent_is_fine(fs::remove_dir_all(self.path(UNCHECKED))).wrap_err("cannot remove the unchecked files")?;
        }
        Ok(published)
    }

    /// The order is over: what was only needed on the way goes, the state last.
    pub(super) fn finish(&self) -> Result<()> {
        absent_is_fine(fs::remove_dir_all(self.path(UNFINISHED)))
            .wrap_err_with(|| format!("cannot remove {}", self.path(UNFINISHED).display()))?;
        self.forget()
    }
}

impl Drop for Folder {
    /// Without an order nothing of ours stays. Best effort: what stays is known by its name at the next start.
    fn drop(&mut self) {
        if self.is_open() {
            return;
        }
        let _ = fs::remove_dir_all(self.path(UNFINISHED));
        if let Some(lock) = self.lock.take() {
            let _ = lock.remove();
        }
        if self.made {
            // Only if it is empty.
            let _ = fs::remove_dir(&self.out);
        }
    }
}

/// Fails if the folder holds anything but an order under way.
fn refuse_others(out: &Path) -> Result<()> {
    if out.join(STATE_FILE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(out).wrap_err_with(|| format!("cannot read {}", out.display()))? {
        let name = entry.wrap_err_with(|| format!("cannot read {}", out.display()))?.file_name();
        ensure!(
            LEFTOVERS.iter().any(|leftover| name.to_str() == Some(leftover)),
            "{} exists and is not empty: choose another --out",
            out.display()
        );
    }
    Ok(())
}

fn absent_is_fine(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::state::tests::state, *};

    fn file(name: &str, text: &str) -> ResultFile {
        ResultFile { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn without_an_order_nothing_stays_and_with_one_it_is_found_again() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("result");
        drop(Folder::open(&out).unwrap());
        assert!(!out.exists());
        let folder = Folder::open(&out).unwrap();
        assert_eq!(folder.load().unwrap(), None);
        folder.save(&state()).unwrap();
        assert!(Folder::open(&out).unwrap_err().to_string().contains("another `keystead run`"));
        drop(folder);
        let again = Folder::open(&out).unwrap();
        assert_eq!(again.load().unwrap(), Some(state()));
        again.forget().unwrap();
        drop(again);
        assert_eq!(names(&out), [""; 0]);
    }

    #[test]
    fn a_folder_with_other_things_is_not_touched_and_one_with_leftovers_is_taken() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("precious.txt"), "x").unwrap();
        assert!(Folder::open(home.path()).unwrap_err().to_string().contains("not empty"));
        assert_eq!(names(home.path()), ["precious.txt"]);
        fs::remove_file(home.path().join("precious.txt")).unwrap();
        for leftover in ["order.lock", "order.json.new", "provider.log", "provider.log.1"] {
            fs::write(home.path().join(leftover), "{").unwrap();
        }
        fs::create_dir(home.path().join("unfinished")).unwrap();
        assert_eq!(Folder::open(home.path()).unwrap().load().unwrap(), None);
    }

    #[test]
    fn an_orders_node_is_the_same_after_a_restart_and_gone_with_the_order() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("result");
        let folder = Folder::open(&out).unwrap();
        folder.save(&state()).unwrap();
        let first = folder.node().unwrap().secret.id();
        drop(folder);
        let again = Folder::open(&out).unwrap();
        assert_eq!(again.node().unwrap().secret.id(), first);
        again.finish().unwrap();
        assert!(!out.join("unfinished").exists());
    }

    /// A crash after each rename: the next process publishes the rest.
    #[test]
    fn files_are_published_whole_whenever_the_process_ends() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("result");
        let folder = Folder::open(&out).unwrap();
        folder.save(&state()).unwrap();
        let kept = folder.keep(&[file("a", "1"), file("b", "2")]).unwrap();
        assert!(folder.has(&kept) && !folder.has(&["c".to_owned()]));
        fs::rename(out.join("unfinished/files/a"), out.join("a")).unwrap();
        assert!(folder.has(&kept));
        assert_eq!(folder.publish(&kept, Standing::Right).unwrap(), [out.join("a"), out.join("b")]);
        assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "1");
        folder.publish(&kept, Standing::Right).unwrap();
        folder.finish().unwrap();
        folder.finish().unwrap();
        drop(folder);
        assert_eq!(names(&out), ["a", "b"]);
        assert!(Folder::open(&out).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn unchecked_files_stand_apart_until_they_are_checked() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("result");
        let folder = Folder::open(&out).unwrap();
        folder.save(&state()).unwrap();
        let kept = folder.keep(&[file("a", "1")]).unwrap();
        assert_eq!(folder.publish(&kept, Standing::Unchecked).unwrap(), [out.join("unchecked/a")]);
        assert!(!out.join("a").exists() && !folder.has(&kept));
        let kept = folder.keep(&[file("a", "1")]).unwrap();
        folder.publish(&kept, Standing::Right).unwrap();
        assert!(!out.join("unchecked").exists() && out.join("a").exists());
    }
}
