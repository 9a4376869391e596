//! Which recipes there are, and what one wants and gives.

use super::open;
use crate::compute::amount::bytes;
use core::fmt::Write as _;
use eyre::Result;
use keystead_job::{Recipe, Runtime, parameter::Kind};
use keystead_recipes::all;

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(crate) fn list() {
    println!("{:<16} {:<8} {:<14} what", "recipe", "runtime", "class");
    for side in all() {
        // The tests parse every manifest.
        let Ok(recipe) = side.recipe() else { continue };
        let (runtime, class) = (recipe.runtime.to_string(), recipe.class.to_string());
        println!("{:<16} {runtime:<8} {class:<14} {}", side.name(), recipe.title);
    }
    println!(
        "\n`keystead recipe show NAME` tells more; `keystead recipe new NAME --runtime wasm` makes one of your own."
    );
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(crate) fn show(name: &str) -> Result<()> {
    let recipe = open(name)?.recipe()?;
    print!("{}", described(name, &recipe));
    Ok(())
}

/// Everything that a customer wants to know. Writing into memory cannot fail.
fn described(name: &str, recipe: &Recipe) -> String {
    let mut text = format!("{}: {}\n{}\n\n", recipe.name.as_str(), recipe.title, recipe.summary);
    let needs = match recipe.runtime {
        Runtime::Wasm1 => "any machine",
        Runtime::Wgsl1 => "a machine with a Vulkan, Metal or DX12 adapter",
    };
    let _ = writeln!(text, "runs on   {} ({needs})", recipe.runtime);
    let _ = writeln!(text, "checked   class {}", recipe.class);
    let limits = recipe.limits;
    let _ = writeln!(
        text,
        "limits    {} of memory, {} of output, {} s for one unit",
        bytes(limits.memory_bytes_max),
        bytes(limits.output_bytes_max),
        limits.wall_ms_max.div_ceil(1_000)
    );
    for input in &recipe.inputs {
        let optional = if input.optional { ", optional" } else { "" };
        let _ = writeln!(text, "\n--input {}=FILE   (.{}{optional})", input.name, input.kinds.join(", ."));
        let _ = writeln!(text, "    {}", input.help);
    }
    for parameter in &recipe.parameters {
        let kind = match &parameter.kind {
            Kind::Integer { default, min, max } => format!("{default}   ({min} to {max})"),
            Kind::Choice { default, choices } => format!("{default}   ({})", choices.join(", ")),
            Kind::Text { default, bytes_max } => format!("{default:?}   (at most {bytes_max} bytes)"),
            Kind::Flag { default } => format!("{default}   (true, false)"),
        };
        let _ = writeln!(text, "\n--set {}={kind}\n    {}", parameter.name, parameter.help);
    }
    text.push_str("\nresult\n");
    for output in &recipe.outputs {
        let _ = writeln!(text, "    {:<16} {}", output.file, output.help);
    }
    let required = recipe.inputs.iter().filter(|input| !input.optional);
    let inputs: String = required.map(|input| format!(" --input {}=FILE", input.name)).collect();
    let _ = writeln!(text, "\norder it  keystead run {name}{inputs} --dir wallet --out result");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_recipe_shows_all_that_can_be_given_and_how_it_is_ordered() {
        for side in all() {
            let recipe = side.recipe().unwrap();
            let text = described(side.name(), &recipe);
            for parameter in &recipe.parameters {
                assert!(text.contains(&format!("--set {}=", parameter.name)), "{text}");
            }
            for input in &recipe.inputs {
                let named = format!("--input {}=FILE", input.name);
                assert_eq!(text.matches(&named).count(), if input.optional { 1 } else { 2 }, "{text}");
            }
            assert!(text.contains(&format!("keystead run {}", side.name())));
        }
    }
}
