//! The folder of a new recipe.

use crate::cli::{RecipeClass, RecipeNew, RecipeRuntime};
use eyre::{Context as _, Result, ensure};
use keystead_job::{Class, Runtime, spec::RecipeName};
use keystead_recipes::{find, template};
use std::{fs, io::ErrorKind, path::Path};

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(crate) fn new(options: &RecipeNew) -> Result<()> {
    let name = RecipeName::new(&options.name).wrap_err(
        "give a name of lower-case letters, digits and -, such as my-recipe; the folder is made in the current one",
    )?;
    ensure!(find(name.as_str()).is_none(), "{} is a recipe of this program: choose another name", name.as_str());
    let runtime = match options.runtime {
        RecipeRuntime::Wasm => Runtime::Wasm1,
        RecipeRuntime::Wgsl => Runtime::Wgsl1,
    };
    let class = match options.class {
        RecipeClass::Exact => Class::Exact,
        RecipeClass::SelfChecking => Class::SelfChecking,
        RecipeClass::Tolerance => Class::Tolerance,
    };
    let files = template::files(&name, runtime, class)?;
    let folder = Path::new(name.as_str());
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            eyre::bail!(
                "{} exists already: choose another name, or go on with `keystead recipe check ./{}`",
                folder.display(),
                name.as_str()
            )
        }
        other => other.wrap_err_with(|| format!("cannot make {}", folder.display()))?,
    }
    println!("Made {}, {} {class}:", folder.display(), runtime);
    for file in &files {
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).wrap_err_with(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, &file.bytes).wrap_err_with(|| format!("cannot write {}", path.display()))?;
        println!("  {}", path.display());
    }
    println!("\nIt computes square roots. Change the function `item` and recipe.toml into what you need, then:");
    println!("  keystead recipe check ./{}", name.as_str());
    Ok(())
}
