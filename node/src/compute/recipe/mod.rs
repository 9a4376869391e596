//! Recipes as a person meets them: which there are, how one is opened, made and checked.
//!
//! # Design
//! [`open`] takes a name of this program's recipes or the path of a folder. Whatever a folder holds may be a stranger's, so its programs run in
//! workers only: as jobs of a provider, as [`step`]s of planning and assembling on the customer's machine, and in [`check`].

mod check;
mod list;
mod new;
mod step;

use eyre::{Result, bail};
use keystead_recipes::{CustomerSide, Folder, MANIFEST_FILE, all, find};
use std::path::Path;

pub(crate) use check::{check, sample};
pub(crate) use list::{list, show};
pub(crate) use new::new;
pub(crate) use step::run as run_step;

/// The recipe of this name or in this folder.
pub(crate) fn open(recipe: &str) -> Result<&'static dyn CustomerSide> {
    if is_path(recipe) {
        let folder = open_folder(Path::new(recipe))?;
        // A command has one recipe for its whole life, as the built-in ones are there for the program's: so nothing is gained by freeing it.
        return Ok(Box::leak(Box::new(folder)));
    }
    if let Some(side) = find(recipe) {
        return Ok(side);
    }
    let known: Vec<&str> = all().iter().map(|side| side.name()).collect();
    let shown: String = recipe.chars().take(80).collect();
    if Path::new(recipe).join(MANIFEST_FILE).is_file() {
        bail!("there is no recipe {shown:?} in this program; for the folder of this name write ./{shown}");
    }
    bail!(
        "there is no recipe {shown:?}; this program has: {}. A recipe in a folder is named by its path, such as ./my-recipe",
        known.join(", ")
    );
}

/// A recipe's folder; the error says everything that is wrong with it.
pub(crate) fn open_folder(path: &Path) -> Result<Folder> {
    Folder::open(path).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        eyre::eyre!("{}", faults.join("\n       "))
    })
}

/// Names have neither separators nor dots.
fn is_path(recipe: &str) -> bool {
    recipe.contains(['/', '\\', '.'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_is_not_a_path_and_a_wrong_one_says_what_there_is() {
        assert_eq!(open("align").unwrap().name(), "align");
        for (name, words) in
            [("aling", "this program has: align,"), ("./aling", "keystead recipe new"), ("..", "keystead recipe new")]
        {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
    }
}
