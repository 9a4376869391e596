//! Why a plan, a reference run or an assembly cannot be made, in words that say what to do.

use keystead_job::{limits, parameter, recipe};

/// An error of a recipe's customer side. All but the last three and [`Error::Manifest`] are the customer's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The embedded manifest is wrong: a broken build.
    #[error(transparent)]
    Manifest(#[from] recipe::Error),
    /// The plan's limits are outside the format.
    #[error(transparent)]
    Limit(#[from] limits::Error),
    /// A parameter has no such name or value.
    #[error(transparent)]
    Parameter(#[from] parameter::Error),
    /// A required input was not given.
    #[error("input {name} is missing; give --input {name}=FILE ({help})")]
    InputMissing {
        /// The input's name in recipe.toml.
        name: String,
        /// What it should be.
        help: String,
    },
    /// The recipe has no input of this name.
    #[error("unknown input {name:?}; this recipe takes: {known}")]
    InputUnknown {
        /// The name given.
        name: String,
        /// The names there are, joined by commas.
        known: String,
    },
    /// One input was given twice.
    #[error("input given twice: {name}")]
    InputRepeated {
        /// The input's name.
        name: String,
    },
    /// The file could not be read.
    #[error("cannot read input {name}: {path}: {why}")]
    InputUnreadable {
        /// The input's name.
        name: String,
        /// The path given.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The file name's extension is none that the recipe takes.
    #[error("input {name} must be a file of kind {kinds}: {path}")]
    InputKind {
        /// The input's name.
        name: String,
        /// The path given.
        path: String,
        /// Extensions accepted, joined by commas.
        kinds: String,
    },
    /// The file is larger than the recipe takes.
    #[error("input file too large, split it: {path}: got_bytes={got_bytes} max_bytes={max_bytes}")]
    InputTooLarge {
        /// The path given.
        path: String,
        /// Bytes in the file.
        got_bytes: u64,
        /// Bytes accepted.
        max_bytes: u64,
    },
    /// The file holds nothing to compute on.
    #[error("input file is empty, it must hold {expected}: {path}")]
    InputEmpty {
        /// The path given.
        path: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// A line of a file is not what the format says.
    #[error("{path}:{line}: {what}")]
    InputLine {
        /// The path given.
        path: String,
        /// Line number, the first is 1.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The file as a whole is of the wrong format or does not fit the settings.
    #[error("{path}: {what}")]
    InputWhole {
        /// The path given.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A parameter does not fit the others or the files.
    #[error("parameter {name}: {what}")]
    Setting {
        /// The parameter.
        name: &'static str,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The job is larger than one job may be.
    #[error("job too large: {what}: got={got} max={max}; {advice}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How much there is.
        got: u64,
        /// How much there may be.
        max: u64,
        /// What to do.
        advice: &'static str,
    },
    /// Manifest, parameters and files do not fit together.
    #[error("{what}")]
    Cut {
        /// What does not fit.
        what: String,
    },
    /// A program of the recipe says that it cannot work with this.
    #[error("the recipe's {what} refuses: {why}")]
    Refused {
        /// `planner` or `assembler`.
        what: &'static str,
        /// Its own words, cleaned.
        why: String,
    },
    /// A program of the recipe failed, or answered nonsense: the recipe's author was wrong.
    #[error("the recipe's {what} failed: {why}; tell its author, `keystead recipe check` shows it")]
    Step {
        /// `planner` or `assembler`.
        what: &'static str,
        /// What happened.
        why: String,
    },
    /// A blob given to the reference is not one that the plan makes.
    #[error("malformed {blob} input: {what}")]
    Blob {
        /// `common` or `unit`.
        blob: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A unit's output is not what the program can have written: the provider was wrong.
    #[error("output of unit {unit} is not the program's: {what}")]
    Output {
        /// The unit's index, the first is 0.
        unit: usize,
        /// What is wrong.
        what: String,
    },
    /// The number of outputs differs from the number of units: the delivery is incomplete.
    #[error("outputs do not match the plan: got={got} expected={expected}")]
    OutputCount {
        /// Outputs given.
        got: usize,
        /// Units planned.
        expected: usize,
    },
}
