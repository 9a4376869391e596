//! A recipe in a folder: the manifest, the programs that it names, and what a person sees if something is missing.
//!
//! # Invariants
//! - Only files inside the folder are read, also where a link or a name leads elsewhere: what is read goes to strange machines.
//! - Nothing but regular files is read: a pipe in a stranger's folder would have its reader wait for ever.

use super::{assembly, cut, settings, step, step::Step};
use crate::{
    CustomerSide, Error, InputFile, Inputs, Plan, ResultFile,
    plain::{self, Links},
};
use keystead_job::{
    Recipe, Runtime,
    layout::{Assembly, Cut},
    limits::PROGRAM_BYTES_MAX_WASM,
    parameter::Parameters,
    recipe::{self, MANIFEST_BYTES_MAX},
};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

/// Name of the manifest in its folder.
pub const MANIFEST_FILE: &str = "recipe.toml";

/// Why a folder is not a recipe that can be run, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no manifest.
    #[error(
        "{folder} is not a recipe's folder: {why}; name one that holds recipe.toml, or make one with `keystead recipe new NAME`"
    )]
    NoManifest {
        /// The folder given.
        folder: String,
        /// What the system said.
        why: String,
    },
    /// A rule of the manifest is broken.
    #[error("{0}")]
    Manifest(recipe::Error),
    /// The manifest has no `[plan]`.
    #[error(
        "recipe.toml: [plan] and [assembly] are missing: without them a recipe's plan is code of this program; see docs/guides/write-a-recipe.md"
    )]
    NoPlan,
    /// A file that the manifest names cannot be read.
    #[error("recipe.toml: {key}: cannot read {path}: {why}")]
    File {
        /// The manifest's key.
        key: &'static str,
        /// The path as the manifest has it.
        path: String,
        /// What the system said, or which bound is broken.
        why: String,
    },
    /// A link that leads out of the folder.
    #[error("recipe.toml: {key}: {path} leads out of the recipe's folder: copy the file into it")]
    Outside {
        /// The manifest's key.
        key: &'static str,
        /// The path as the manifest has it.
        path: String,
    },
    /// WebAssembly text that cannot be translated.
    #[error("recipe.toml: {key}: {path} is no WebAssembly text: {why}")]
    Text {
        /// The manifest's key.
        key: &'static str,
        /// The path as the manifest has it.
        path: String,
        /// The translator's message, with the place.
        why: String,
    },
}

/// A recipe whose manifest and programs were read. Nothing of it has run yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    manifest: String,
    recipe: Recipe,
    cut: Cut,
    assembly: Assembly,
    program: Vec<u8>,
    checker: Option<Vec<u8>>,
    reference: Option<Vec<u8>>,
    planner: Option<Vec<u8>>,
    assembler: Option<Vec<u8>>,
}

impl Folder {
    /// Reads a folder, whose files may be a stranger's.
    ///
    /// # Errors
    /// Everything that is wrong with it; never empty.
    pub fn open(path: &Path) -> Result<Self, Vec<Fault>> {
        let manifest = read_manifest(path).map_err(|fault| vec![fault])?;
        let mut faults: Vec<Fault> = recipe::faults(&manifest).into_iter().map(Fault::Manifest).collect();
        let recipe = match Recipe::parse(&manifest) {
            Ok(recipe) => recipe,
            Err(error) if faults.is_empty() => return Err(vec![Fault::Manifest(error)]),
            Err(_) => return Err(faults),
        };
        let mut program = |key: &'static str, name: &str, runtime: Runtime| {
            read_program(path, key, name, runtime).map_err(|fault| faults.push(fault)).ok()
        };
        let wasm = Runtime::Wasm1;
        let main = program("program", &recipe.program, recipe.runtime);
        let checker = recipe.checker.as_ref().map(|checker| program("checker.program", &checker.program, wasm));
        let reference =
            recipe.reference.as_ref().map(|reference| program("reference.program", &reference.program, wasm));
        let planner = match &recipe.plan {
            Some(Cut::Program { program: name, .. }) => Some(program("plan.program", name, wasm)),
            _ => None,
        };
        let assembler = match &recipe.assembly {
            Some(Assembly::Program { program: name, .. }) => Some(program("assembly.program", name, wasm)),
            _ => None,
        };
        let (Some(cut), Some(assembly)) = (recipe.plan.clone(), recipe.assembly.clone()) else {
            faults.push(Fault::NoPlan);
            return Err(faults);
        };
        // A program is missing exactly if there is a fault.
        match main {
            Some(program) if faults.is_empty() => Ok(Self {
                path: path.to_owned(),
                manifest,
                recipe,
                cut,
                assembly,
                program,
                checker: checker.flatten(),
                reference: reference.flatten(),
                planner: planner.flatten(),
                assembler: assembler.flatten(),
            }),
            _ => Err(faults),
        }
    }

    /// The folder as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checked manifest.
    #[must_use]
    pub const fn manifest_keys(&self) -> &Recipe {
        &self.recipe
    }

    /// The reference program's module.
    #[must_use]
    pub fn reference_program(&self) -> Option<&[u8]> {
        self.reference.as_deref()
    }

    /// The files of the golden result's job; `None` if the manifest has no `[golden]`.
    ///
    /// # Errors
    /// [`Fault::File`], [`Fault::Outside`].
    pub fn golden_inputs(&self) -> Option<Result<Inputs, Fault>> {
        let golden = self.recipe.golden.as_ref()?;
        let mut inputs = Inputs::default();
        for (name, path) in &golden.inputs {
            match read_file(&self.path, "golden.inputs", path, crate::FILE_BYTES_MAX) {
                Ok(bytes) => inputs = inputs.with(name, InputFile { path: path.clone(), bytes }),
                Err(fault) => return Some(Err(fault)),
            }
        }
        Some(Ok(inputs))
    }

    /// A file of the golden result.
    ///
    /// # Errors
    /// [`Fault::File`], [`Fault::Outside`].
    pub fn golden_file(&self, name: &str) -> Option<Result<Vec<u8>, Fault>> {
        let golden = self.recipe.golden.as_ref()?;
        let path = format!("{}/{name}", golden.folder);
        Some(read_file(&self.path, "golden.folder", &path, crate::FILE_BYTES_MAX))
    }
}

impl CustomerSide for Folder {
    fn name(&self) -> &str {
        self.recipe.name.as_str()
    }

    fn manifest(&self) -> &str {
        &self.manifest
    }

    fn program(&self) -> &[u8] {
        &self.program
    }

    fn checker(&self) -> Option<&[u8]> {
        self.checker.as_deref()
    }

    fn recipe(&self) -> Result<Recipe, Error> {
        Ok(self.recipe.clone())
    }

    fn is_guest(&self) -> bool {
        true
    }

    fn planner(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Option<Step>, Error> {
        let (Cut::Program { fuel_max, .. }, Some(program)) = (&self.cut, &self.planner) else { return Ok(None) };
        let common = settings::encode(&self.recipe, parameters, inputs, None)?;
        Ok(Some(Step { what: "planner", program: program.clone(), fuel_max: *fuel_max, common, unit: Vec::new() }))
    }

    fn planned(&self, answer: &[u8]) -> Result<Plan, Error> {
        step::read_plan(&self.recipe, answer)
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let plan = cut::plan(&self.recipe, &self.cut, inputs, parameters)?;
        plan.ok_or_else(|| Error::Cut { what: "this recipe plans by a program of its own".to_owned() })
    }

    fn reference(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::Cut { what: "the reference of a recipe in a folder is a program of its own".to_owned() })
    }

    fn assembler(&self, inputs: &Inputs, parameters: &Parameters, outputs: &[Vec<u8>]) -> Result<Option<Step>, Error> {
        let (Assembly::Program { fuel_max, .. }, Some(program)) = (&self.assembly, &self.assembler) else {
            return Ok(None);
        };
        let common = settings::encode(&self.recipe, parameters, inputs, None)?;
        let unit = step::encode_outputs(outputs)?;
        Ok(Some(Step { what: "assembler", program: program.clone(), fuel_max: *fuel_max, common, unit }))
    }

    fn assembled(&self, answer: &[u8]) -> Result<Vec<ResultFile>, Error> {
        step::read_files(&self.recipe, answer)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let files = assembly::assemble(&self.recipe, (&self.cut, &self.assembly), inputs, parameters, outputs)?;
        files.ok_or_else(|| Error::Cut { what: "this recipe assembles by a program of its own".to_owned() })
    }
}

fn read_manifest(folder: &Path) -> Result<String, Fault> {
    let absent = |why: String| Fault::NoManifest { folder: folder.display().to_string(), why };
    let file = plain::open(&folder.join(MANIFEST_FILE), Links::Followed).map_err(|error| absent(error.to_string()))?;
    let mut text = String::new();
    // One byte more than allowed, so that a longer one is seen to be longer.
    let max = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(max).read_to_string(&mut text).map_err(|error| absent(error.to_string()))?;
    Ok(text)
}

/// A program's bytes; WebAssembly text is translated.
fn read_program(folder: &Path, key: &'static str, name: &str, runtime: Runtime) -> Result<Vec<u8>, Fault> {
    let bytes = read_file(folder, key, name, runtime.program_bytes_max().min(PROGRAM_BYTES_MAX_WASM))?;
    if runtime == Runtime::Wasm1 && name.ends_with(".wat") {
        let text = |why: String| Fault::Text { key, path: name.to_owned(), why };
        let source = core::str::from_utf8(&bytes).map_err(|error| text(error.to_string()))?;
        return wat::parse_str(source).map_err(|error| text(error.to_string()));
    }
    Ok(bytes)
}

/// A file inside the folder, at most `bytes_max` long.
fn read_file(folder: &Path, key: &'static str, name: &str, bytes_max: u64) -> Result<Vec<u8>, Fault> {
    let unreadable = |why: String| Fault::File { key, path: name.to_owned(), why };
    let real = |path: &Path| path.canonicalize().map_err(|error| unreadable(error.to_string()));
    let path = real(&folder.join(name))?;
    if !path.starts_with(real(folder)?) {
        return Err(Fault::Outside { key, path: name.to_owned() });
    }
    // A link that came in its place meanwhile may lead anywhere.
    let file = plain::open(&path, Links::Refused).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > bytes_max {
        return Err(unreadable(format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}
