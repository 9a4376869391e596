//! The files that a customer brings to a recipe.

use crate::{
    Error,
    plain::{self, Links},
};
use keystead_job::Recipe;
use std::{collections::BTreeMap, io::Read, path::Path, path::PathBuf};

/// Largest input file, bytes: half of the largest blob, as a plan may hold a file's content in the common input with tables beside it.
pub const FILE_BYTES_MAX: u64 = 67_108_864;

/// One file: where it came from (for messages) and its bytes, which may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// The path as the customer wrote it.
    pub path: String,
    /// The content, at most [`FILE_BYTES_MAX`] bytes when read by [`Inputs::read`].
    pub bytes: Vec<u8>,
}

/// Files by input name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs(BTreeMap<String, InputFile>);

impl Inputs {
    /// Reads the files of (input name, path) pairs. Checks names, file kinds, sizes, and that nothing required is missing; the
    /// content is checked by the plan.
    ///
    /// # Errors
    /// The `Input*` variants of [`Error`].
    pub fn read(recipe: &Recipe, given: &[(String, PathBuf)]) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for (name, path) in given {
            let Some(input) = recipe.inputs.iter().find(|input| input.name == *name) else {
                let known = recipe.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Error::InputUnknown { name: name.chars().take(80).collect(), known });
            };
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if !input.kinds.iter().any(|kind| kind.eq_ignore_ascii_case(extension)) {
                let (path, kinds) = (path.display().to_string(), input.kinds.join(", "));
                return Err(Error::InputKind { name: name.clone(), path, kinds });
            }
            let file = read_file(name, path)?;
            if files.insert(name.clone(), file).is_some() {
                return Err(Error::InputRepeated { name: name.clone() });
            }
        }
        match recipe.inputs.iter().find(|input| !input.optional && !files.contains_key(&input.name)) {
            Some(input) => Err(Error::InputMissing { name: input.name.clone(), help: input.help.clone() }),
            None => Ok(Self(files)),
        }
    }

    /// The same files with one more, or with another in its place: for callers that hold bytes instead of paths.
    #[must_use]
    pub fn with(mut self, name: &str, file: InputFile) -> Self {
        self.0.insert(name.to_owned(), file);
        self
    }

    /// The file given for an optional input.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&InputFile> {
        self.0.get(name)
    }

    /// The file given for an input.
    ///
    /// # Errors
    /// [`Error::InputMissing`].
    pub fn file(&self, name: &str) -> Result<&InputFile, Error> {
        self.0.get(name).ok_or_else(|| Error::InputMissing { name: name.to_owned(), help: "required".to_owned() })
    }
}

/// Reads at most [`FILE_BYTES_MAX`] bytes, whatever the system says about the file's size. It is no pipe: who goes on with an order reads its inputs again.
fn read_file(name: &str, path: &Path) -> Result<InputFile, Error> {
    let shown = path.display().to_string();
    let unreadable = |why: String| Error::InputUnreadable { name: name.to_owned(), path: shown.clone(), why };
    let file = plain::open(path, Links::Followed).map_err(|error| unreadable(error.to_string()))?;
    let size_bytes = file.metadata().map_err(|error| unreadable(error.to_string()))?.len();
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    let got_bytes = size_bytes.max(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    if got_bytes > FILE_BYTES_MAX {
        return Err(Error::InputTooLarge { path: shown, got_bytes, max_bytes: FILE_BYTES_MAX });
    }
    Ok(InputFile { path: shown, bytes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::find;
    use std::fs;

    fn read(given: &[(&str, PathBuf)]) -> Result<Inputs, Error> {
        let given: Vec<_> = given.iter().map(|(name, path)| ((*name).to_owned(), path.clone())).collect();
        Inputs::read(&find("align").unwrap().recipe().unwrap(), &given)
    }

    #[test]
    fn files_are_read_by_name_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.faa");
        fs::write(&path, ">a\nMK\n").unwrap();
        let inputs = read(&[("queries", path.clone()), ("targets", path.clone())]).unwrap();
        assert_eq!(inputs.file("queries").unwrap().bytes, b">a\nMK\n");
        let error = read(&[("queries", path)]).unwrap_err();
        assert!(matches!(&error, Error::InputMissing { name, .. } if name == "targets"));
        assert!(error.to_string().contains("--input targets=FILE"), "{error}");
    }

    #[test]
    fn wrong_names_kinds_and_paths_say_what_would_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.faa");
        fs::write(&path, ">a\nMK\n").unwrap();
        let unknown = read(&[("query", path.clone())]).unwrap_err();
        assert_eq!(unknown.to_string(), "unknown input \"query\"; this recipe takes: queries, targets");
        assert!(matches!(read(&[("queries", folder.path().join("a.png"))]), Err(Error::InputKind { .. })));
        assert!(matches!(read(&[("queries", folder.path().join("b.faa"))]), Err(Error::InputUnreadable { .. })));
        assert!(matches!(read(&[("queries", path.clone()), ("queries", path)]), Err(Error::InputRepeated { .. })));
        let directory = folder.path().join("c.faa");
        fs::create_dir(&directory).unwrap();
        assert!(matches!(read(&[("queries", directory)]), Err(Error::InputUnreadable { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.faa");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (sender, receiver) = std::sync::mpsc::channel();
        // Not joined: if it waits, it does so until this process ends.
        std::thread::spawn(move || sender.send(read(&[("queries", path)])));
        let error = receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits").unwrap_err();
        assert!(matches!(&error, Error::InputUnreadable { why, .. } if why.contains("no plain file")), "{error}");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_by_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.faa");
        fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = read(&[("queries", path)]).unwrap_err();
        assert!(matches!(error, Error::InputTooLarge { got_bytes, .. } if got_bytes == FILE_BYTES_MAX + 1));
    }
}
