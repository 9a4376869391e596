//! Finds a suite's files, runs its cases on all cores, and counts.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tempfile::TempDir;

/// Failures that are printed in full.
const SHOWN_MAX: usize = 25;
/// A hundredth of a suite may be inapplicable.
const INAPPLICABLE_SHARE: usize = 100;

/// The result of one case: its name, and what went wrong.
pub(crate) type Case = (String, Result<(), String>);

/// Runs every JSON file of a suite, prints the counts, and fails if any case did.
///
/// `cases` is how many the vectors had when this was written, for the message of a machine without them.
pub(crate) fn run(name: &str, cases: usize, file: impl Fn(&str) -> Result<Vec<Case>, String> + Sync) {
    let Some(vectors) = Vectors::find(name, cases) else { return };
    let mut files = Vec::new();
    collect(&vectors.folder, "json", &mut files);
    files.sort();
    let inapplicable = inapplicable(name);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, Into::into) {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = file_cases(path, &file);
                    let whole = |error| vec![(path.display().to_string(), Err(error))];
                    results.lock().unwrap().extend(ran.unwrap_or_else(whole));
                }
            });
        }
    });
    report(name, results.into_inner().unwrap(), &inapplicable);
}

/// The cases of one file. Whatever goes wrong is a failure of this file, and the others still run.
fn file_cases(path: &Path, file: &(impl Fn(&str) -> Result<Vec<Case>, String> + Sync)) -> Result<Vec<Case>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let ran = catch_unwind(AssertUnwindSafe(|| file(&text))).map_err(|_| "panicked".to_owned())??;
    if ran.is_empty() { Err("no case".to_owned()) } else { Ok(ran) }
}

fn report(name: &str, mut results: Vec<Case>, inapplicable: &BTreeMap<String, String>) {
    results.sort();
    let total = results.len();
    let (left_out, judged): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|(case, _)| inapplicable.contains_key(case));
    let failures: Vec<_> = judged.iter().filter_map(|(case, result)| Some((case, result.as_ref().err()?))).collect();
    for (case, error) in failures.iter().take(SHOWN_MAX) {
        println!("failed: {case}: {error}");
    }
    let (passed, failed) = (judged.len() - failures.len(), failures.len());
    println!("suite {name}: {passed} passed, {failed} failed, {} inapplicable", left_out.len());
    let fixed = left_out.iter().filter(|(_, result)| result.is_ok()).count();
    assert_eq!(fixed, 0, "cases in inapplicable.toml that pass");
    assert!(left_out.len() * INAPPLICABLE_SHARE <= total, "more than one in a hundred is inapplicable");
    assert!(total > 0 && failed == 0, "{failed} of {total} cases failed");
}

/// A suite's files: unpacked into the target folder, or as they lie in the vectors.
pub(crate) struct Vectors {
    pub(crate) folder: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Vectors {
    /// `None`, said on standard error, if the suite is not here.
    #[allow(clippy::disallowed_methods, reason = "a test finds its vectors by the environment")]
    pub(crate) fn find(name: &str, cases: usize) -> Option<Self> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
        let vectors = std::env::var_os("KEYSTEAD_VECTORS").map_or_else(default, PathBuf::from).join("evm");
        let (archive, folder) = (vectors.join(format!("{name}.tar.zst")), vectors.join(name));
        if folder.is_dir() {
            return Some(Self { folder, _unpacked: None });
        }
        if !archive.is_file() {
            eprintln!("skipped: the vectors evm/{name}.tar.zst, {cases} cases (set KEYSTEAD_VECTORS)");
            return None;
        }
        let unpacked = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = "--use-compress-program=zstd -d --long=27";
        let status = Command::new("tar").arg(program).arg("-xf").arg(&archive).arg("-C").arg(unpacked.path()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("skipped: the programs tar and zstd");
            return None;
        }
        Some(Self { folder: unpacked.path().to_owned(), _unpacked: Some(unpacked) })
    }
}

/// The files below a folder with this ending.
pub(crate) fn collect(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // `.meta` holds an index of the suite, no cases.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            collect(&path, ending, files);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            files.push(path);
        }
    }
}

fn inapplicable(name: &str) -> BTreeMap<String, String> {
    let mut lists: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(include_str!("inapplicable.toml")).unwrap();
    lists.remove(name).unwrap_or_default()
}
