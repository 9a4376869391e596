//! The manifest of a recipe (`recipe.toml`): what a person sees, what a plan may ask for, which program runs.
//!
//! # Invariants
//! A [`Recipe`] passed every rule of specs/0003-job.md §8: names are safe as file names, limits are inside the format's bounds,
//! defaults are inside their ranges.

use crate::{
    check::{self, Bound, Element, Tolerance},
    layout::{self, Assembly, Cut, Golden, Items, ReferenceProgram},
    limits::{self, Limits},
    parameter::{self, Parameter, Parameters},
    spec::{self, Class, RecipeName, Runtime},
};
use core::ops::Deref;
use serde::{Deserialize, Serialize};

/// Longest recipe.toml, bytes.
pub const MANIFEST_BYTES_MAX: usize = 65_536;
/// Most parameters of a recipe.
pub const PARAMETERS_MAX: usize = 32;
/// Most inputs of a recipe.
pub const INPUTS_MAX: usize = 8;
/// Most outputs of a recipe.
pub const OUTPUTS_MAX: usize = 16;

/// Why a manifest is not acceptable. The recipe's author was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any sensible manifest.
    #[error("recipe.toml too long: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLong {
        /// Bytes read.
        got_bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// Not TOML, a missing or unknown key, or a value of the wrong type; the message has line and column.
    #[error("recipe.toml cannot be read: {0}")]
    Toml(String),
    /// Name, runtime or class is wrong.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// A limit is outside the format's range.
    #[error(transparent)]
    Limit(#[from] limits::Error),
    /// The tolerance is outside the format's range.
    #[error("recipe.toml: [tolerance]: {0}")]
    Tolerance(#[from] check::Error),
    /// A parameter is badly declared.
    #[error(transparent)]
    Parameter(#[from] parameter::Error),
    /// A text, list or path breaks its rule.
    #[error("recipe.toml: {field} {rule}")]
    Field {
        /// The key.
        field: &'static str,
        /// What must hold.
        rule: &'static str,
    },
}

/// The manifest's keys before they are checked together. Read them through [`Recipe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The recipe's name, also its folder.
    pub name: RecipeName,
    /// 1 to 80 characters, one line.
    pub title: String,
    /// 1 to 400 characters, one line.
    pub summary: String,
    /// The program's interface.
    pub runtime: Runtime,
    /// How results can be checked.
    pub class: Class,
    /// Path of the program inside the recipe's folder.
    pub program: String,
    /// What one unit may use at most.
    pub limits: Ceiling,
    /// For class *self-checking*, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<CheckerProgram>,
    /// For class *tolerance*, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Agreement>,
    /// How work is cut; without it the plan is code of this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Cut>,
    /// What the program makes of an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Items>,
    /// What the outputs become; there if `plan` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assembly: Option<Assembly>,
    /// A second way to the same outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceProgram>,
    /// A small job whose result is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<Golden>,
    /// What a person may set.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Files that a person brings.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Files that a person gets.
    pub outputs: Vec<Output>,
}

/// The limits of a recipe's units; workgroups come from the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// Wall time of a unit, ms.
    pub wall_ms_max: u64,
    /// Fuel of a unit; only `wasm/1`.
    #[serde(default)]
    pub fuel_max: u64,
    /// Memory of a unit, bytes.
    pub memory_bytes_max: u64,
    /// Output of a unit, bytes.
    pub output_bytes_max: u64,
    /// Loop iterations of an invocation; only `wgsl/1`.
    #[serde(default)]
    pub loop_iterations_max: u32,
    /// Segments of a unit that a plan may ask for; all other limits are per segment.
    #[serde(default = "one")]
    pub segments_max: u32,
}

const fn one() -> u32 {
    1
}

/// The program that tells right outputs from wrong ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckerProgram {
    /// Path of a `wasm/1` program inside the recipe's folder.
    pub program: String,
    /// Fuel of one check.
    pub fuel_max: u64,
}

/// When two outputs agree, as a person writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// What the output is an array of.
    pub element: Element,
    /// The absolute part of the bound; written in any precision, used as binary32.
    pub absolute: Bound,
    /// The part that grows with the elements.
    pub relative: Bound,
    /// Elements that may disagree, parts per million.
    #[serde(default)]
    pub outliers_ppm: u32,
    /// A result beyond the bound times this is wrong, within it only unpaid.
    pub sound_factor: u32,
}

impl Agreement {
    /// As it stands in a job spec.
    #[must_use]
    pub const fn tolerance(&self) -> Tolerance {
        let Self { element, absolute, relative, outliers_ppm, sound_factor } = *self;
        Tolerance { element, absolute, relative, outliers_ppm, sound_factor }
    }
}

/// A file that a person brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// As a parameter's name; on the command line: `--input name=path`.
    pub name: String,
    /// File name extensions accepted, lower case, without the dot.
    pub kinds: Vec<String>,
    /// One line for a person.
    pub help: String,
    /// Whether the recipe runs without it.
    #[serde(default)]
    pub optional: bool,
}

/// A file that a person gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// File name without folders.
    pub file: String,
    /// One line for a person.
    pub help: String,
}

/// A checked manifest. Its keys are read through `Deref` to [`Manifest`]; they cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe(Manifest);

impl Recipe {
    /// Reads and checks the text of a recipe.toml, at most [`MANIFEST_BYTES_MAX`] bytes; the text may be hostile.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::new(read(text)?)
    }

    /// Checks every rule of specs/0003-job.md §8; the first that is broken is the error.
    pub fn new(manifest: Manifest) -> Result<Self, Error> {
        match manifest.faults().into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(Self(manifest)),
        }
    }

    /// The limits for a job whose plan needs these workgroups (all 0 for `wasm/1`). A plan may lower them before the job spec is made.
    /// The workgroups are checked by [`crate::JobSpec::new`].
    #[must_use]
    pub const fn limits(&self, workgroups: [u32; 3]) -> Limits {
        self.0.ceiling(workgroups)
    }

    /// Reads what a person set, as (name, text) pairs.
    pub fn parameters(&self, given: &[(String, String)]) -> Result<Parameters, parameter::Error> {
        Parameters::new(&self.0.parameters, given)
    }
}

impl Deref for Recipe {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.0
    }
}

/// Everything that is wrong with the text of a recipe.toml; empty if [`Recipe::parse`] takes it. A text that is no manifest at all has one fault.
#[must_use]
pub fn faults(text: &str) -> Vec<Error> {
    match read(text) {
        Ok(manifest) => manifest.faults(),
        Err(error) => vec![error],
    }
}

fn read(text: &str) -> Result<Manifest, Error> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(Error::TooLong { got_bytes: text.len(), max_bytes: MANIFEST_BYTES_MAX });
    }
    toml::from_str(text).map_err(|error| Error::Toml(error.to_string()))
}

impl Manifest {
    /// Every rule that is broken, in the order of the keys.
    fn faults(&self) -> Vec<Error> {
        let mut found = Vec::new();
        self.text_faults(&mut found);
        found.extend(self.parameters.iter().filter_map(|parameter| parameter.check().err()).map(Error::Parameter));
        if let Err(error) = check_class(self) {
            found.push(error);
        }
        let workgroups = if self.runtime == Runtime::Wasm1 { [0; 3] } else { [1; 3] };
        if let Err(error) = self.ceiling(workgroups).check(self.runtime) {
            found.push(error.into());
        }
        // Numbers and names of a plan rest on parameters and limits that hold.
        layout::faults(self, &mut found);
        found
    }

    fn text_faults(&self, found: &mut Vec<Error>) {
        let mut rule = |holds: bool, field, rule| {
            if !holds {
                found.push(Error::Field { field, rule });
            }
        };
        rule(is_line(&self.title, 80), "title", "must be one line of 1 to 80 characters");
        rule(is_line(&self.summary, 400), "summary", "must be one line of 1 to 400 characters");
        rule(is_path(&self.program), "program", "must be a relative path of plain names inside the folder");
        rule(self.parameters.len() <= PARAMETERS_MAX, "parameters", "may have at most 32 entries");
        rule(self.inputs.len() <= INPUTS_MAX, "inputs", "may have at most 8 entries");
        rule((1..=OUTPUTS_MAX).contains(&self.outputs.len()), "outputs", "must have 1 to 16 entries");
        rule(unique(self.parameters.iter().map(|p| &p.name)), "parameters", "must have different names");
        for input in &self.inputs {
            rule(parameter::is_name(&input.name), "inputs.name", "must match [a-z][a-z0-9-]{0,31}");
            rule(is_line(&input.help, 400), "inputs.help", "must be one line of 1 to 400 characters");
            let kinds = (1..=8).contains(&input.kinds.len()) && input.kinds.iter().all(|kind| is_kind(kind));
            rule(kinds, "inputs.kinds", "must have 1 to 8 extensions of [a-z0-9]{1,16}");
        }
        rule(unique(self.inputs.iter().map(|i| &i.name)), "inputs", "must have different names");
        for output in &self.outputs {
            let plain = is_path(&output.file) && !output.file.contains('/');
            rule(plain, "outputs.file", "must be a plain file name");
            rule(is_line(&output.help, 400), "outputs.help", "must be one line of 1 to 400 characters");
        }
        rule(unique(self.outputs.iter().map(|o| &o.file)), "outputs", "must have different file names");
    }

    const fn ceiling(&self, workgroups: [u32; 3]) -> Limits {
        let Ceiling { wall_ms_max, fuel_max, memory_bytes_max, output_bytes_max, loop_iterations_max, segments_max: _ } =
            self.limits;
        Limits { wall_ms_max, fuel_max, memory_bytes_max, output_bytes_max, loop_iterations_max, workgroups }
    }
}

/// What belongs to the class and to no other, and its numbers.
fn check_class(manifest: &Manifest) -> Result<(), Error> {
    let rule = |holds: bool, field, rule| if holds { Ok(()) } else { Err(Error::Field { field, rule }) };
    let (checks, tolerates) = (manifest.class == Class::SelfChecking, manifest.class == Class::Tolerance);
    rule(checks == manifest.checker.is_some(), "[checker]", "belongs to class self-checking, and to no other")?;
    rule(tolerates == manifest.tolerance.is_some(), "[tolerance]", "belongs to class tolerance, and to no other")?;
    if let Some(checker) = &manifest.checker {
        rule(is_path(&checker.program), "checker.program", "must be a relative path of plain names inside the folder")?;
        limits::range("checker.fuel_max", checker.fuel_max, 1, limits::FUEL_MAX)?;
    }
    if let Some(agreement) = &manifest.tolerance {
        agreement.tolerance().check(manifest.limits.output_bytes_max)?;
    }
    let segments = u64::from(manifest.limits.segments_max);
    Ok(limits::range("segments_max", segments, 1, u64::from(limits::SEGMENT_COUNT_MAX))?)
}

fn is_line(text: &str, chars_max: usize) -> bool {
    let count = text.chars().count();
    (1..=chars_max).contains(&count) && !text.chars().any(char::is_control)
}

fn is_kind(kind: &str) -> bool {
    (1..=16).contains(&kind.len()) && kind.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// A relative path of plain names: no `..`, no hidden names, no drive letters, no separators of other systems.
pub(crate) fn is_path(path: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    let name = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
    path.len() <= 128 && path.split('/').all(name)
}

fn unique<'a>(names: impl Iterator<Item = &'a String>) -> bool {
    let names: Vec<&String> = names.collect();
    (1..names.len()).all(|at| !names[..at].contains(&names[at]))
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::parameter::Kind;

    const ALIGN: &str = r#"
name = "align"
title = "Protein alignment"
summary = "Finds the best local alignment of every query with every target."
runtime = "wasm/1"
class = "exact"
program = "kernel/align.wasm"

[limits]
wall_ms_max = 60000
fuel_max = 20000000000
memory_bytes_max = 67108864
output_bytes_max = 1048576

[[parameters]]
name = "gap-open"
type = "integer"
default = 11
min = 1
max = 100
help = "Penalty for opening a gap."

[[parameters]]
name = "matrix"
type = "choice"
default = "blosum62"
choices = ["blosum62", "pam250"]
help = "Substitution matrix."

[[inputs]]
name = "queries"
kinds = ["fasta", "faa"]
help = "Protein sequences."

[[outputs]]
file = "alignments.tsv"
help = "One line per pair."
"#;

    fn changed(from: &str, to: &str) -> Result<Recipe, Error> {
        assert!(ALIGN.contains(from), "the test changes what is there: {from}");
        Recipe::parse(&ALIGN.replacen(from, to, 1))
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let recipe = Recipe::parse(ALIGN).unwrap();
        assert_eq!(recipe.name.as_str(), "align");
        assert_eq!((recipe.runtime, recipe.class), (Runtime::Wasm1, Class::Exact));
        assert_eq!(recipe.parameters[0].kind, Kind::Integer { default: 11, min: 1, max: 100 });
        assert_eq!(recipe.limits([0; 3]).fuel_max, 20_000_000_000);
        assert!(!recipe.inputs[0].optional);
        let values = recipe.parameters(&[("gap-open".to_owned(), "10".to_owned())]).unwrap();
        assert_eq!((values.integer("gap-open"), values.text("matrix")), (Some(10), Some("blosum62")));
    }

    #[test]
    fn unknown_keys_wrong_types_and_missing_keys_name_the_place() {
        for (from, to) in [
            ("title =", "titel ="),
            ("[limits]", "[limits]\nfoo = 1"),
            ("kinds =", "kind ="),
            ("max = 100", "max = 100\nstep = 2"),
            ("choices =", "min = 1\nchoices ="),
            ("default = 11", "default = \"11\""),
            ("type = \"integer\"", "type = \"number\""),
            ("runtime = \"wasm/1\"", "runtime = \"wasm/2\""),
            ("class = \"exact\"", "class = \"fast\""),
            ("name = \"align\"", "name = \"Align\""),
            ("wall_ms_max = 60000", "wall_ms_max = -1"),
            ("name = \"align\"", "name = "),
        ] {
            let error = changed(from, to).unwrap_err();
            assert!(matches!(&error, Error::Toml(text) if text.contains("line")), "{to}: {error}");
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for bad in ["/etc/passwd", "../x.wasm", "a/../b", "", "a//b", ".hidden", "c:\\\\x", "a b"] {
            let error = changed("\"kernel/align.wasm\"", &format!("\"{bad}\"")).unwrap_err();
            assert!(matches!(error, Error::Field { field: "program", .. }), "{bad}: {error}");
        }
        let error = changed("alignments.tsv", "a/b.tsv").unwrap_err();
        assert!(matches!(error, Error::Field { field: "outputs.file", .. }));
    }

    #[test]
    fn limits_and_parameters_are_checked_with_the_manifest() {
        assert!(matches!(changed("fuel_max = 20000000000", "fuel_max = 0"), Err(Error::Limit(_))));
        assert!(matches!(changed("memory_bytes_max = 67108864", "memory_bytes_max = 1"), Err(Error::Limit(_))));
        assert!(matches!(changed("max = 100", "max = 10"), Err(Error::Parameter(_))));
        assert!(matches!(changed("name = \"matrix\"", "name = \"gap-open\""), Err(Error::Field { .. })));
        // A GPU recipe declares loops and no fuel.
        let gpu = ALIGN.replace("wasm/1", "wgsl/1").replace("fuel_max = 20000000000", "loop_iterations_max = 32768");
        assert_eq!(Recipe::parse(&gpu).unwrap().limits([2, 1, 1]).workgroups, [2, 1, 1]);
        assert!(matches!(Recipe::parse(&ALIGN.replace("wasm/1", "wgsl/1")), Err(Error::Limit(_))));
    }

    #[test]
    fn texts_are_one_bounded_line() {
        assert!(matches!(changed("Protein alignment", ""), Err(Error::Field { field: "title", .. })));
        assert!(matches!(changed("Protein alignment", "a\\u001b[31m"), Err(Error::Field { field: "title", .. })));
        assert!(changed("Protein alignment", &"x".repeat(80)).is_ok());
        assert!(matches!(changed("Protein alignment", &"x".repeat(81)), Err(Error::Field { .. })));
        let long = format!("{ALIGN}#{}", " ".repeat(MANIFEST_BYTES_MAX));
        assert!(matches!(Recipe::parse(&long), Err(Error::TooLong { .. })));
    }
}
