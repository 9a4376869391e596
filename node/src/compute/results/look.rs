//! Looks into a folder, and says in words what of it is what a certificate binds.

use super::{FILE, mapped, packed, plain};
use crate::compute::map::kept::{JOURNAL_FILE, OUTPUTS_FILE};
use alloy_primitives::B256;
use eyre::{Context as _, Result, ensure};
use keystead_proof::{Comparison, OutputHasher, Results};
use serde_json::{Value, json};
use std::{ffi::OsStr, fs, path::Path};

/// Differences that are told, and files of which it is said that nothing is known; of the others how many there are.
const TOLD_MAX: usize = 16;
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4_096;
/// Most outputs that are looked for: the steps of the largest map (specs/0002-proof-bundle.md §12).
const UNITS_MAX: u32 = 1 << 20;
/// Files that are held against all outputs together: more than that of the right size nobody has for a good reason, and each is read whole.
const JOINED_MAX: usize = 16;
/// What `keystead run` and `keystead map` write beside results and outputs. Anybody may give a file such a name, so it is told which are not looked at.
const OWN: [&str; 11] = [
    "certificate.json",
    "job.json",
    "map.json",
    "map.lock",
    "node.key",
    "node.port",
    "order.json",
    "order.lock",
    "provider.log",
    "provider.log.1",
    "signer.key",
];

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Every output is there and is the one that is named, and audited windows lead to one of them at least.
    Equal,
    /// One is missing or another, or the file that should hold them is not whole.
    Different,
    /// All are equal to what a customer signed, and nothing else speaks for any of them.
    Unproved,
    /// No outputs are in the folder, or nothing is proved of any.
    Nothing,
}

/// Outputs that were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Their names in unit order; `None` of one that is not there, or not whole.
    pub(super) names: Vec<Option<B256>>,
    /// How many bytes they have together, and what these are named one after the other; `None` if one is not there.
    pub(super) joined: Option<(u64, B256)>,
    /// What is wrong with the files that hold them.
    pub(super) faults: Vec<String>,
    /// So wrong that no output was looked for.
    pub(super) is_unusable: bool,
}

impl Found {
    pub(super) fn unusable(fault: String) -> Self {
        Self { faults: vec![fault], is_unusable: true, ..Self::default() }
    }

    /// Notes what all outputs are together; `lengths` are those of the outputs.
    pub(super) fn join(&mut self, lengths: Vec<u64>, joined: &OutputHasher) {
        let is_whole = self.names.iter().all(Option::is_some);
        self.joined = is_whole.then(|| (lengths.into_iter().fold(0, u64::saturating_add), joined.name()));
    }
}

/// What a folder holds of what is proved.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The file in which the outputs were found.
    source: Option<&'static str>,
    comparison: Option<Comparison>,
    faults: Vec<String>,
    /// Of files and statements, what was not found out.
    notes: Vec<String>,
}

/// Holds the outputs in a folder against what is proved of them; `None`: nothing is.
///
/// # Errors
/// It is no folder, or a file in it is no plain file or cannot be read: then nothing is known of it.
pub(crate) fn look(folder: &Path, results: Option<&Results>) -> Result<Looked> {
    let named = || format!("cannot look into {}: give the folder of a result", folder.display());
    ensure!(fs::metadata(folder).wrap_err_with(named)?.is_dir(), "{} is no folder", folder.display());
    let mut looked = Looked { source: None, comparison: None, faults: Vec::new(), notes: Vec::new() };
    let Some(results) = results else {
        looked
            .notes
            .push("this certificate proves no result: nothing was delivered, or it is about something else".into());
        return Ok(looked);
    };
    let units = results.units();
    ensure!(units <= UNITS_MAX, "the job has more units than are looked for: got={units} max={UNITS_MAX}");
    let found = outputs(folder, results, &mut looked)?;
    if let Some(found) = &found {
        looked.comparison = (!found.is_unusable).then(|| results.compare(&found.names));
    }
    looked.notes.extend(customer_only(looked.comparison.as_ref()));
    if looked.source.is_none() && looked.faults.is_empty() {
        looked.notes.push(format!(
            "a certificate names the outputs of units, and none are in {}: `keystead run --keep-outputs` and `keystead map` leave them",
            folder.display()
        ));
    }
    others(folder, found.as_ref().and_then(|found| found.joined), &mut looked)?;
    looked.faults.extend(found.into_iter().flat_map(|found| found.faults));
    Ok(looked)
}

/// The outputs as `keystead run` or `keystead map` left them.
fn outputs(folder: &Path, results: &Results, looked: &mut Looked) -> Result<Option<Found>> {
    if let Some(pack) = plain::open(&folder.join(FILE))? {
        looked.source = Some(FILE);
        return packed::read(pack, results.units()).map(Some);
    }
    let states = plain::open(&folder.join(OUTPUTS_FILE))?;
    match (plain::open(&folder.join(JOURNAL_FILE))?, states) {
        (Some(journal), Some(states)) => {
            looked.source = Some(OUTPUTS_FILE);
            mapped::read(journal, states, results).map(Some)
        }
        (Some(_), None) => {
            looked.faults.push(format!("{OUTPUTS_FILE} is missing, in which {JOURNAL_FILE} says that the outputs lie"));
            Ok(None)
        }
        (None, Some(_)) => {
            looked
                .faults
                .push(format!("{JOURNAL_FILE} is missing, which says where in {OUTPUTS_FILE} each output lies"));
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// What of the equal outputs nobody but the customer says.
fn customer_only(comparison: Option<&Comparison>) -> Option<String> {
    let Comparison { equal, uncovered, .. } = comparison.filter(|comparison| comparison.uncovered > 0)?;
    Some(format!(
        "of {uncovered} of the {equal} equal outputs only the customer says that they are the job's: not all of their steps stand in audited windows"
    ))
}

/// Says of every other file what is known: whether it is nothing but the outputs, one after the other.
fn others(folder: &Path, joined: Option<(u64, B256)>, looked: &mut Looked) -> Result<()> {
    let named = || format!("cannot look into {}", folder.display());
    let mut names = Vec::new();
    let mut entries = fs::read_dir(folder).wrap_err_with(named)?;
    for entry in entries.by_ref().take(ENTRIES_MAX) {
        names.push(entry.wrap_err_with(named)?.file_name());
    }
    if entries.next().is_some() {
        looked.notes.push(format!("the folder has more entries than are looked at: max={ENTRIES_MAX}"));
    }
    names.sort();
    let compared: &[&str] = if looked.source == Some(FILE) { &[FILE] } else { &[JOURNAL_FILE, OUTPUTS_FILE] };
    let (mut own, mut unknown, mut tries) = (Vec::new(), Vec::new(), 0_usize);
    for name in names.iter().filter(|name| !compared.iter().any(|compared| name == compared)) {
        if is_own(name) {
            own.push(shown(name));
            continue;
        }
        let path = folder.join(name);
        let has_size = joined.is_some_and(|(bytes, _)| is_of_size(&path, bytes));
        tries = tries.saturating_add(usize::from(has_size));
        if has_size && tries <= JOINED_MAX && is_joined(&path, joined) {
            looked.notes.push(format!("{} is these outputs, one after the other", shown(name)));
        } else {
            unknown.push(shown(name));
        }
    }
    for (names, why) in [
        (unknown, "not compared, since a certificate names outputs and not what is made of them"),
        (own, "not looked at, since their names are those of what keystead itself keeps"),
    ] {
        if !names.is_empty() {
            looked.notes.push(format!("{why}: {}", bounded(&names).join(", ")));
        }
    }
    looked.notes.push("not compared: the inputs, which the job's hash binds, and whether equal outputs are right, of which the lines above tell".into());
    Ok(())
}

/// Whether a file has the name of one that keystead keeps.
fn is_own(name: &OsStr) -> bool {
    let convicted = || name.to_str()?.strip_prefix("convicted-")?.strip_suffix(".json");
    OWN.iter().any(|own| name == *own)
        || convicted().is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// A name that somebody else chose: what could be taken for words of ours stands in quotation marks, and nothing in it moves a terminal.
fn shown(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.bytes().all(is_plain) { name.into_owned() } else { format!("{name:?}") }
}

/// Whether it is a plain file of so many bytes, of one at least.
fn is_of_size(path: &Path, bytes: u64) -> bool {
    bytes > 0 && fs::symlink_metadata(path).is_ok_and(|looked| looked.is_file() && looked.len() == bytes)
}

/// Whether a file holds the outputs one after the other. Of one that cannot be read nothing is known.
fn is_joined(path: &Path, joined: Option<(u64, B256)>) -> bool {
    let (Some((bytes, expected)), Ok(Some(mut plain))) = (joined, plain::open(path)) else { return false };
    let got = plain::name(&mut plain.file, bytes, &mut OutputHasher::default());
    plain.bytes == bytes && got.is_ok_and(|got| got == Some(expected))
}

/// The first of some lines, and how many more there are.
fn bounded(lines: &[String]) -> Vec<String> {
    let mut told: Vec<String> = lines.iter().take(TOLD_MAX).cloned().collect();
    match lines.len().saturating_sub(TOLD_MAX) {
        0 => {}
        more => told.push(format!("{more} more")),
    }
    told
}

impl Looked {
    pub(crate) const fn standing(&self) -> Standing {
        if !self.faults.is_empty() {
            return Standing::Different;
        }
        match &self.comparison {
            None => Standing::Nothing,
            Some(comparison) if !comparison.differences.is_empty() => Standing::Different,
            Some(Comparison { equal: 0, .. }) => Standing::Nothing,
            Some(comparison) if comparison.uncovered == comparison.equal => Standing::Unproved,
            Some(_) => Standing::Equal,
        }
    }

    /// What differs as far as it is told, and how much more does.
    fn differences(&self) -> (Vec<String>, usize) {
        let compared = self.comparison.as_ref().map(|comparison| comparison.differences.as_slice()).unwrap_or_default();
        let all = self.faults.iter().cloned().chain(compared.iter().map(ToString::to_string));
        let more = self.faults.len().saturating_add(compared.len()).saturating_sub(TOLD_MAX);
        (all.take(TOLD_MAX).collect(), more)
    }

    /// The answer, one line each, as they follow a report.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("files: {}", self.headline())];
        let (told, more) = self.differences();
        lines.extend(told.into_iter().map(|line| format!("  {line}")));
        lines.extend((more > 0).then(|| format!("  {more} more")));
        lines.extend(self.notes.iter().map(|note| format!("note:  {note}")));
        lines
    }

    /// What somebody takes away who reads no further.
    fn headline(&self) -> String {
        let source = self.source.unwrap_or("the folder");
        let Some(Comparison { equal, units, uncovered, .. }) = &self.comparison else {
            return if self.faults.is_empty() {
                "NOTHING TO COMPARE".to_owned()
            } else {
                format!("DIFFERENT from what is proved: no output is known to be equal, in {source}")
            };
        };
        match self.standing() {
            Standing::Nothing => "NOTHING TO COMPARE".to_owned(),
            Standing::Equal if *uncovered == 0 => {
                format!("equal to what is proved: {equal} of {units} outputs, in {source}")
            }
            Standing::Equal => {
                let covered = equal.saturating_sub(*uncovered);
                format!(
                    "equal to what is proved: {covered} of {units} outputs, and {uncovered} to what ONLY THE CUSTOMER says, in {source}"
                )
            }
            Standing::Unproved => {
                format!("NOTHING PROVED: {equal} of {units} outputs are what ONLY THE CUSTOMER says, in {source}")
            }
            Standing::Different => {
                format!("DIFFERENT from what is proved: {equal} of {units} outputs are known to be equal, in {source}")
            }
        }
    }

    pub(crate) fn json(&self) -> Value {
        let (differences, more) = self.differences();
        let comparison = self.comparison.as_ref();
        json!({
            "standing": match self.standing() {
                Standing::Equal => "equal",
                Standing::Different => "different",
                Standing::Unproved => "nothing proved",
                Standing::Nothing => "nothing to compare",
            },
            "source": self.source,
            "units": comparison.map(|comparison| comparison.units),
            "equal": comparison.map(|comparison| comparison.equal),
            "onlyCustomer": comparison.map(|comparison| comparison.uncovered),
            "differences": differences,
            "differencesMore": more,
            "notes": self.notes,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::map::kept::tests::write;
    use keystead_blobs::stream::pack;
    use keystead_proof::{NamedOutput, output_hash, result_root};
    use std::os::unix::fs::symlink;

    const OUTPUTS: [&[u8]; 3] = [b"one", b"two", b"three"];
    const ENDING: &str = "note:  not compared: the inputs, which the job's hash binds, and whether equal outputs are right, of which the lines above tell";

    fn order() -> Results {
        Results::Root { root: result_root(OUTPUTS.map(output_hash)), units: 3 }
    }

    /// The last output stands on the customer's word alone.
    fn map() -> Results {
        let named = |(output, is_covered)| NamedOutput { name: output_hash(output), is_covered };
        Results::Names(OUTPUTS.into_iter().zip([true, true, false]).map(named).collect())
    }

    fn said(folder: &Path, results: &Results) -> (Standing, Vec<String>) {
        let looked = look(folder, Some(results)).unwrap();
        (looked.standing(), looked.lines())
    }

    #[test]
    fn an_orders_outputs_are_equal_or_another_and_its_other_files_are_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for own in ["certificate.json", "job.json", "convicted-1.json"] {
            fs::write(path(own), "{}").unwrap();
        }
        fs::write(path("table.tsv"), "one\ttwo\tthree\n").unwrap();
        fs::write(path(FILE), pack::encode(&OUTPUTS)).unwrap();
        let table = "note:  not compared, since a certificate names outputs and not what is made of them: table.tsv";
        let own = "note:  not looked at, since their names are those of what keystead itself keeps: certificate.json, convicted-1.json, job.json";
        let equal = "files: equal to what is proved: 3 of 3 outputs, in outputs.pack";
        assert_eq!(
            said(folder.path(), &order()),
            (Standing::Equal, [equal, table, own, ENDING].map(str::to_owned).to_vec())
        );
        // A join of them is known.
        fs::write(path("result.bin"), "onetwothree").unwrap();
        let lines = said(folder.path(), &order()).1;
        assert!(lines.contains(&"note:  result.bin is these outputs, one after the other".to_owned()), "{lines:?}");

        fs::write(path(FILE), pack::encode(&[b"one".as_slice(), b"twO", b"three"])).unwrap();
        let (standing, lines) = said(folder.path(), &order());
        let (got, expected) = (
            result_root([b"one".as_slice(), b"twO", b"three"].map(output_hash)),
            result_root(OUTPUTS.map(output_hash)),
        );
        assert_eq!(standing, Standing::Different);
        assert_eq!(
            lines.first().unwrap(),
            "files: DIFFERENT from what is proved: 0 of 3 outputs are known to be equal, in outputs.pack"
        );
        let line = format!(
            "  at least one output is another, and an order's certificate does not tell which: got={got} expected={expected}"
        );
        assert_eq!(lines.get(1), Some(&line));
        // Another file of as many bytes is none of ours to judge.
        assert!(lines.iter().any(|line| line.ends_with("what is made of them: result.bin, table.tsv")), "{lines:?}");

        fs::remove_file(path(FILE)).unwrap();
        let (standing, lines) = said(folder.path(), &order());
        assert_eq!((standing, lines.first().unwrap().as_str()), (Standing::Nothing, "files: NOTHING TO COMPARE"));
        assert!(lines.iter().any(|line| line.contains("none are in ") && line.contains("--keep-outputs")), "{lines:?}");
    }

    #[test]
    fn a_maps_outputs_are_told_one_by_one_with_what_its_customer_alone_says() {
        let folder = tempfile::tempdir().unwrap();
        let states: Vec<(u32, u32, &[u8])> = (0..).zip(OUTPUTS).map(|(unit, state)| (unit, 1, state)).collect();
        write(folder.path(), &states);
        let (standing, lines) = said(folder.path(), &map());
        assert_eq!(standing, Standing::Equal);
        let only = "note:  of 1 of the 3 equal outputs only the customer says that they are the job's: not all of their steps stand in audited windows";
        let equal = "files: equal to what is proved: 2 of 3 outputs, and 1 to what ONLY THE CUSTOMER says, in outputs";
        assert_eq!(lines, [equal, only, ENDING]);

        let path = folder.path().join(OUTPUTS_FILE);
        fs::write(&path, "onetwOthree").unwrap();
        let (standing, lines) = said(folder.path(), &map());
        assert_eq!(standing, Standing::Different);
        assert_eq!(
            lines.first().unwrap(),
            "files: DIFFERENT from what is proved: 2 of 3 outputs are known to be equal, in outputs"
        );
        let (got, expected) = (output_hash(b"twO"), output_hash(b"two"));
        assert_eq!(lines.get(1), Some(&format!("  the output of unit 1 is another: got={got} expected={expected}")));

        for (missing, words) in [
            (OUTPUTS_FILE, "  outputs is missing, in which journal says that the outputs lie"),
            (JOURNAL_FILE, "  journal is missing, which says where in outputs each output lies"),
        ] {
            let kept = fs::read(folder.path().join(missing)).unwrap();
            fs::remove_file(folder.path().join(missing)).unwrap();
            let (standing, lines) = said(folder.path(), &map());
            assert_eq!((standing, lines.get(1).unwrap().as_str()), (Standing::Different, words));
            fs::write(folder.path().join(missing), kept).unwrap();
        }
    }

    #[test]
    fn many_differences_are_told_up_to_a_bound_with_how_many_more() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), pack::encode(&[b""; 0])).unwrap();
        let results = Results::Names(vec![NamedOutput { name: output_hash(b"x"), is_covered: true }; 100]);
        let looked = look(folder.path(), Some(&results)).unwrap();
        let lines = looked.lines();
        assert_eq!(lines.iter().filter(|line| line.starts_with("  the output of unit ")).count(), TOLD_MAX);
        assert!(lines.contains(&"  84 more".to_owned()), "{lines:?}");
        let json = looked.json();
        assert_eq!(
            (&json["standing"], &json["differencesMore"], &json["units"]),
            (&json!("different"), &json!(84), &json!(100))
        );
        assert_eq!(json["differences"].as_array().unwrap().len(), TOLD_MAX);
    }

    #[test]
    fn what_is_no_folder_or_no_plain_file_is_refused_and_what_is_not_proved_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        symlink("/dev/zero", &path).unwrap();
        let refused = |folder: &Path, results: &Results| format!("{:#}", look(folder, Some(results)).unwrap_err());
        assert!(refused(folder.path(), &order()).contains("is no plain file"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(refused(&path, &order()).contains("is no folder"));
        assert!(refused(&folder.path().join("missing"), &order()).contains("give the folder of a result"));
        let huge = Results::Root { root: B256::ZERO, units: u32::MAX };
        assert!(refused(folder.path(), &huge).contains("max=1048576"));
        let looked = look(folder.path(), None).unwrap();
        assert_eq!(looked.standing(), Standing::Nothing);
        assert!(looked.lines().iter().any(|line| line.contains("proves no result")), "{looked:?}");
        // Names of others are shown without what a terminal would obey.
        fs::write(&path, pack::encode(&OUTPUTS)).unwrap();
        fs::write(folder.path().join("\u{1b}[2J"), "x").unwrap();
        let lines = said(folder.path(), &order()).1;
        assert!(lines.iter().any(|line| line.ends_with(r#"made of them: "\u{1b}[2J""#)), "{lines:?}");
    }

    /// Who signs a certificate of no window signs whatever he likes.
    #[test]
    fn outputs_that_only_a_customer_names_are_not_said_to_be_equal_to_what_is_proved_and_no_output_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), pack::encode(&OUTPUTS)).unwrap();
        let alone = |output| NamedOutput { name: output_hash(output), is_covered: false };
        let results = Results::Names(OUTPUTS.map(alone).to_vec());
        let looked = look(folder.path(), Some(&results)).unwrap();
        assert_eq!((looked.standing(), &looked.json()["standing"]), (Standing::Unproved, &json!("nothing proved")));
        let lines = looked.lines();
        let none = "files: NOTHING PROVED: 3 of 3 outputs are what ONLY THE CUSTOMER says, in outputs.pack";
        assert_eq!(lines.first().unwrap(), none);
        assert!(!lines.iter().any(|line| line.contains("equal to what is proved")), "{lines:?}");

        fs::write(folder.path().join(FILE), pack::encode(&[b""; 0])).unwrap();
        let empty = Results::Root { root: result_root([]), units: 0 };
        assert_eq!(said(folder.path(), &empty).0, Standing::Nothing);
    }

    /// Each of these is there to be taken for something that was compared.
    #[test]
    fn every_other_file_is_told_whatever_its_name_and_no_name_can_speak_for_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::write(folder.path().join(FILE), pack::encode(&OUTPUTS)).unwrap();
        for name in [JOURNAL_FILE, OUTPUTS_FILE, "map.json", "convicted-7.json", "convicted-table.json"] {
            write(name, "false");
        }
        write("table.tsv and sum.csv", "onetwothree");
        write("x, one after the other", "false");
        fs::create_dir(folder.path().join("folder")).unwrap();
        let (standing, lines) = said(folder.path(), &order());
        assert_eq!(standing, Standing::Equal);
        assert_eq!(
            lines.get(1..4).unwrap(),
            [
                r#"note:  "table.tsv and sum.csv" is these outputs, one after the other"#,
                r#"note:  not compared, since a certificate names outputs and not what is made of them: convicted-table.json, folder, journal, outputs, "x, one after the other""#,
                "note:  not looked at, since their names are those of what keystead itself keeps: convicted-7.json, map.json",
            ]
        );
    }

    #[test]
    fn only_so_many_files_are_read_whole_and_one_that_cannot_be_read_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, pack::encode(&OUTPUTS)).unwrap();
        symlink(&path, folder.path().join("a-link")).unwrap();
        for number in 0..TOLD_MAX + 2 {
            fs::write(folder.path().join(format!("joined-{number:02}")), "onetwothree").unwrap();
        }
        let lines = said(folder.path(), &order()).1;
        let joined = |line: &&String| line.ends_with(" is these outputs, one after the other");
        assert_eq!(lines.iter().filter(joined).count(), JOINED_MAX);
        assert!(lines.iter().any(|line| line.ends_with("made of them: a-link, joined-16, joined-17")), "{lines:?}");
        let joined = Some((11, output_hash(b"onetwothree")));
        assert!(is_joined(&folder.path().join("joined-00"), joined));
        assert!(!is_joined(&folder.path().join("missing"), joined) && !is_joined(folder.path(), joined));
    }
}
