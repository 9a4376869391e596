//! The options of `keystead recipe`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What `keystead recipe` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Recipe {
    /// Print the recipes that this program has.
    List,
    /// Print what a recipe computes, its inputs, parameters, limits, and how it is ordered.
    Show(RecipeShow),
    /// Make the folder of a recipe that works at once, to change into your own.
    New(RecipeNew),
    /// Check a recipe's folder on this machine: manifest, programs, golden result, determinism, whether wrong results are found, limits.
    ///
    /// Exit code 0: nothing failed. 1: something did; each failure says what to do next.
    Check(RecipeCheck),
}

/// Options of `keystead recipe show`.
#[derive(Args, Debug)]
pub(crate) struct RecipeShow {
    /// A name of `keystead recipe list`, or a recipe's folder, such as `./my-recipe`.
    pub(crate) recipe: String,
}

/// Options of `keystead recipe new`.
#[derive(Args, Debug)]
pub(crate) struct RecipeNew {
    /// Name of the recipe: lower-case letters, digits and `-`. Also the folder that is made, in the current one.
    pub(crate) name: String,
    /// What runs the program: `wasm` on processors, `wgsl` on graphics cards.
    #[arg(long, value_enum)]
    pub(crate) runtime: RecipeRuntime,
    /// How a result can be checked: equal bytes, a checker program of the recipe, or equal within a tolerance.
    #[arg(long, value_enum, default_value_t = RecipeClass::Exact)]
    pub(crate) class: RecipeClass,
}

/// A runtime as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecipeRuntime {
    /// WebAssembly.
    Wasm,
    /// WGSL compute kernels.
    Wgsl,
}

/// The classes whose results can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecipeClass {
    /// Every machine gives equal bytes: integers, or WebAssembly.
    Exact,
    /// A checker program tells right from wrong, more cheaply than computing.
    SelfChecking,
    /// Machines differ by rounding, within a declared bound.
    Tolerance,
}

/// Options of `keystead recipe check`.
#[derive(Args, Debug)]
pub(crate) struct RecipeCheck {
    /// The recipe's folder.
    pub(crate) folder: PathBuf,
    /// Write the golden result anew instead of comparing with it: an approval of a changed result. Look at the difference.
    #[arg(long)]
    pub(crate) write_golden: bool,
}
