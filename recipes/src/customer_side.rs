//! What every recipe offers to the customer's program, and the list of the recipes there are.

use crate::{
    Error, Inputs, Step,
    align::{Align, AlignWgsl},
    matmul::Matmul,
    nbody::Nbody,
    render::Render,
    sha256_search::Sha256Search,
    value_at_risk::ValueAtRisk,
};
use core::fmt::Debug;
use keystead_job::{Limits, Recipe, parameter::Parameters};

/// Everything that a job spec needs besides the program: made by [`CustomerSide::plan`], equal for equal files and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The common input, in the recipe's own layout; at most `keystead_job::limits::INPUT_BYTES_MAX` bytes.
    pub common: Vec<u8>,
    /// The unit inputs in unit order; 1 to `keystead_job::limits::UNIT_COUNT_MAX`.
    pub units: Vec<Vec<u8>>,
    /// How often the program is applied to each unit: 1 unless the recipe is iterative, at most the manifest's `segments_max`.
    pub segment_count: u32,
    /// The recipe's limits, lowered to what one segment of this job needs; they pass `Limits::check` for the recipe's runtime.
    pub limits: Limits,
}

/// A file that a person reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultFile {
    /// Plain file name, one of the manifest's outputs.
    pub name: String,
    /// Content; text in UTF-8 with line feeds.
    pub bytes: Vec<u8>,
}

/// The customer's side of one recipe. All methods are pure: no I/O, no clock, no randomness.
pub trait CustomerSide: Debug + Send + Sync {
    /// The recipe's name: its folder, and `recipe` in the job spec.
    fn name(&self) -> &str;

    /// The text of recipe.toml.
    fn manifest(&self) -> &str;

    /// The program's bytes: a WebAssembly module or WGSL source, as the manifest's runtime says.
    fn program(&self) -> &[u8];

    /// The checker program's bytes, for a recipe of class *self-checking*.
    fn checker(&self) -> Option<&[u8]> {
        None
    }

    /// The checked manifest.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the embedded manifest were wrong; the tests parse every one.
    fn recipe(&self) -> Result<Recipe, Error> {
        Ok(Recipe::parse(self.manifest())?)
    }

    /// Whether the recipe was not made with this program. Then an assembly that fails may be the recipe's fault, and says nothing against a
    /// provider.
    fn is_guest(&self) -> bool {
        false
    }

    /// The run of the recipe's own planner, if it has one: its output goes to [`CustomerSide::planned`], and [`CustomerSide::plan`] is not used.
    ///
    /// # Errors
    /// As [`CustomerSide::plan`].
    fn planner(&self, _inputs: &Inputs, _parameters: &Parameters) -> Result<Option<Step>, Error> {
        Ok(None)
    }

    /// Reads what the planner gave. The answer is hostile.
    ///
    /// # Errors
    /// [`Error::Refused`] with the planner's own words, [`Error::Step`] if it is no answer.
    fn planned(&self, _answer: &[u8]) -> Result<Plan, Error> {
        Err(Error::Step { what: "planner", why: "this recipe has none".to_owned() })
    }

    /// The run of the recipe's own assembler, if it has one: its output goes to [`CustomerSide::assembled`], and [`CustomerSide::assemble`]
    /// is not used.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    fn assembler(
        &self,
        _inputs: &Inputs,
        _parameters: &Parameters,
        _outputs: &[Vec<u8>],
    ) -> Result<Option<Step>, Error> {
        Ok(None)
    }

    /// Reads what the assembler gave. The answer is hostile.
    ///
    /// # Errors
    /// As [`CustomerSide::planned`].
    fn assembled(&self, _answer: &[u8]) -> Result<Vec<ResultFile>, Error> {
        Err(Error::Step { what: "assembler", why: "this recipe has none".to_owned() })
    }

    /// Turns files and parameters into the common input and the unit inputs. Files may be anything; `parameters` come from
    /// `Recipe::parameters` of this recipe.
    ///
    /// # Errors
    /// Every variant that names a file, a line or a setting: the customer changes it and tries again.
    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error>;

    /// The output of one segment of one unit, computed on this CPU: equal to the kernel's output bit by bit, or within the manifest's
    /// tolerance if it has one, or right by the checker if it has that. Takes about the kernel's time on one core.
    ///
    /// # Errors
    /// [`Error::Blob`] if a blob is not one that [`CustomerSide::plan`] makes; the kernel refuses the same blobs.
    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error>;

    /// Turns the unit outputs, in unit order, into the files of the manifest's `outputs`. Files and parameters are those of the plan.
    /// The outputs are hostile: whatever can be checked without running the kernel again is checked.
    ///
    /// # Errors
    /// [`Error::Output`] and [`Error::OutputCount`] mean that the provider delivered something else than the program's output.
    fn assemble(&self, inputs: &Inputs, parameters: &Parameters, outputs: &[Vec<u8>])
    -> Result<Vec<ResultFile>, Error>;
}

/// Every recipe of this build, by name.
#[must_use]
pub const fn all() -> &'static [&'static dyn CustomerSide] {
    &[&Align, &AlignWgsl, &Matmul, &Nbody, &Render, &Sha256Search, &ValueAtRisk]
}

/// The recipe of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn CustomerSide> {
    all().iter().copied().find(|recipe| recipe.name() == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_manifest_is_valid_and_names_its_own_program() {
        assert_eq!(all().len(), 7);
        for side in all() {
            let recipe = side.recipe().unwrap();
            assert_eq!(recipe.name.as_str(), side.name());
            assert!(find(side.name()).is_some());
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(side.name());
            assert_eq!(std::fs::read(folder.join(&recipe.program)).unwrap(), side.program());
            assert!(folder.join("README.md").is_file());
            let checker = recipe.checker.as_ref().map(|checker| std::fs::read(folder.join(&checker.program)).unwrap());
            assert_eq!(checker.as_deref(), side.checker());
        }
        assert!(find("no-such-recipe").is_none());
    }
}
