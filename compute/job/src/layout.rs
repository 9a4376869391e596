//! How a manifest says, without code, how files and parameters become unit inputs and how outputs become files.
//!
//! # Design
//! `[plan]` names a *way* to cut the work into items and units, `[items]` what a program makes of one item, `[assembly]` what the outputs become.
//! What no way covers is a program of the recipe's own, run in a worker as any other. Spec: specs/0003-job.md §8.
//!
//! # Not here
//! Cutting and joining themselves (`keystead-recipes`).

use crate::{
    limits::{self, FUEL_MAX},
    parameter::{self, Kind},
    recipe::{Error, Manifest, is_path},
    spec::{Class, Runtime},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most columns of a table: a row is read by a person.
pub const COLUMNS_MAX: usize = 64;
/// Most items of one unit: their bytes of output are at least as many, and an output is bounded by 64 MiB.
pub const ITEMS_OF_UNIT_MAX: u64 = limits::OUTPUT_BYTES_MAX;
/// Invocations of a workgroup: WebGPU's default limit.
const WORKGROUP_INVOCATIONS_MAX: u32 = 256;

/// A whole number of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// The same in every job.
    Fixed(u64),
    /// What a person sets: the name of an integer parameter.
    Parameter(String),
}

/// How work is cut into units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "units", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cut {
    /// One unit without content: everything stands in the common input.
    One {},
    /// The whole numbers from `first`.
    Range {
        /// The first number.
        first: Number,
        /// How many.
        count: Number,
        /// How many in a unit.
        size: Number,
    },
    /// The squares of a rectangle, row by row; those at the right and lower edge may be smaller.
    Tiles {
        /// Width of the rectangle.
        width: Number,
        /// Height of the rectangle.
        height: Number,
        /// Side of a square.
        size: Number,
    },
    /// The lines of a file.
    Lines {
        /// Name of the input.
        input: String,
        /// Lines in a unit.
        size: Number,
    },
    /// The bytes of a file.
    Bytes {
        /// Name of the input.
        input: String,
        /// Bytes in a unit.
        size: Number,
    },
    /// Whatever a `wasm/1` program of the recipe says.
    Program {
        /// Its path inside the recipe's folder.
        program: String,
        /// Its fuel.
        fuel_max: u64,
    },
}

/// What the program makes of an item, and how a dispatch covers the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Items {
    /// Bytes of output of one item.
    pub output_bytes: u32,
    /// Items of one workgroup along x and y: the kernel's workgroup size if an invocation does one item. Only `wgsl/1`.
    #[serde(default = "single")]
    pub workgroup: [u32; 2],
}

const fn single() -> [u32; 2] {
    [1, 1]
}

/// What the outputs become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "files", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Assembly {
    /// One file: the outputs one after another.
    Join {
        /// Each output begins with a 32-bit word that says how many of the bytes after it count.
        #[serde(default)]
        counted: bool,
    },
    /// One file of text: a line for each row, separated by commas if the file's name ends in `.csv`, otherwise by tabs.
    Table {
        /// What a row is made of, without gaps.
        columns: Vec<Column>,
        /// Heading of a first column with the item's number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<String>,
    },
    /// One JSON file: the sum of each column over all rows of all units.
    Sum {
        /// What a row is made of, without gaps.
        columns: Vec<Column>,
    },
    /// One PNG of tiles whose items are four bytes: red, green, blue, and one that is left out.
    Picture {},
    /// Whatever a `wasm/1` program of the recipe makes of them.
    Program {
        /// Its path inside the recipe's folder.
        program: String,
        /// Its fuel.
        fuel_max: u64,
    },
}

/// One number of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its heading: as a parameter's name.
    pub name: String,
    /// How it lies in the output.
    #[serde(rename = "type")]
    pub kind: ColumnKind,
}

/// Type of a number in an output; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// 32 bits without sign.
    U32,
    /// 32 bits with sign.
    I32,
    /// 64 bits without sign.
    U64,
    /// 64 bits with sign.
    I64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl ColumnKind {
    /// Bytes in an output.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// A second program that gives what the recipe's program must give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceProgram {
    /// Path of a `wasm/1` program inside the recipe's folder.
    pub program: String,
    /// Fuel of one unit.
    pub fuel_max: u64,
}

/// A small job whose result is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Folder inside the recipe's that holds the result's files under their own names.
    pub folder: String,
    /// What is set, as on the command line.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Paths inside the recipe's folder by input name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

/// Bytes of a row.
#[must_use]
pub fn row_bytes(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.kind.bytes()).sum()
}

impl Cut {
    /// The input that is cut; the others stand whole in the common input.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        match self {
            Self::Lines { input, .. } | Self::Bytes { input, .. } => Some(input),
            Self::One {} | Self::Range { .. } | Self::Tiles { .. } | Self::Program { .. } => None,
        }
    }

    /// The numbers with their keys and least values.
    fn numbers(&self) -> Vec<(&'static str, &Number, u64)> {
        match self {
            Self::One {} | Self::Program { .. } => Vec::new(),
            Self::Range { first, count, size } => {
                vec![("plan.first", first, 0), ("plan.count", count, 1), ("plan.size", size, 1)]
            }
            Self::Tiles { width, height, size } => {
                vec![("plan.width", width, 1), ("plan.height", height, 1), ("plan.size", size, 1)]
            }
            Self::Lines { size, .. } | Self::Bytes { size, .. } => vec![("plan.size", size, 1)],
        }
    }
}

/// Every rule of `[plan]`, `[items]`, `[assembly]`, `[reference]` and `[golden]` that a manifest breaks.
pub(crate) fn faults(manifest: &Manifest, found: &mut Vec<Error>) {
    let mut rule = |holds: bool, field, rule| {
        if !holds {
            found.push(Error::Field { field, rule });
        }
    };
    rule(
        manifest.plan.is_some() == manifest.assembly.is_some(),
        "[plan] and [assembly]",
        "belong together: give both or none",
    );
    rule(manifest.items.is_none() || manifest.plan.is_some(), "[items]", "belongs to a [plan]");
    if let Some(plan) = &manifest.plan {
        plan_faults(manifest, plan, &mut rule);
    }
    if let Some(assembly) = &manifest.assembly {
        assembly_faults(manifest, assembly, &mut rule);
    }
    if let Some(reference) = &manifest.reference {
        program_faults(&reference.program, reference.fuel_max, ("reference.program", "reference.fuel_max"), &mut rule);
    }
    if let Some(golden) = &manifest.golden {
        rule(is_path(&golden.folder), "golden.folder", "must be a relative path of plain names inside the folder");
        let known = |name: &String| manifest.inputs.iter().any(|input| input.name == *name);
        rule(golden.inputs.keys().all(known), "golden.inputs", "may name the recipe's inputs only");
        rule(
            golden.inputs.values().all(|path| is_path(path)),
            "golden.inputs",
            "must be relative paths of plain names inside the folder",
        );
        let given: Vec<_> = golden.set.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        if let Err(error) = parameter::Parameters::new(&manifest.parameters, &given) {
            found.push(Error::Parameter(error));
        }
    }
}

fn plan_faults(manifest: &Manifest, plan: &Cut, rule: &mut impl FnMut(bool, &'static str, &'static str)) {
    for (field, number, least) in plan.numbers() {
        match number {
            Number::Fixed(value) => {
                rule(
                    (least..=i64::MAX.cast_unsigned()).contains(value),
                    field,
                    "must be from 1 (first: 0) to 2^63 - 1",
                );
            }
            Number::Parameter(name) => {
                let kind = manifest.parameters.iter().find(|parameter| parameter.name == *name).map(|p| &p.kind);
                let fits = matches!(kind, Some(Kind::Integer { min, .. }) if u64::try_from(*min).is_ok_and(|min| min >= least));
                rule(
                    fits,
                    field,
                    "must be a number, or the name of an integer parameter whose min is at least 1 (first: 0)",
                );
            }
        }
    }
    if let Some(name) = plan.input() {
        let input = manifest.inputs.iter().find(|input| input.name == name);
        rule(
            input.is_some_and(|input| !input.optional),
            "plan.input",
            "must be the name of an input that is not optional",
        );
    }
    let by_program = matches!(plan, Cut::Program { .. });
    if let Cut::Program { program, fuel_max } = plan {
        program_faults(program, *fuel_max, ("plan.program", "plan.fuel_max"), rule);
    }
    rule(
        by_program || manifest.limits.segments_max == 1,
        "limits.segments_max",
        "must be 1: only units = \"program\" plans segments",
    );
    let gpu = manifest.runtime == Runtime::Wgsl1;
    let needs_items = gpu && !by_program;
    rule(
        !needs_items || manifest.items.is_some(),
        "[items]",
        "is needed with wgsl/1: output_bytes of an item gives the length of an output, workgroup the dispatch",
    );
    let Some(items) = manifest.items else { return };
    rule(!by_program, "[items]", "does not belong to units = \"program\": that program says everything");
    rule(items.output_bytes >= 1, "items.output_bytes", "must be at least 1");
    let [x, y] = items.workgroup;
    let fits = x >= 1 && y >= 1 && x.checked_mul(y).is_some_and(|product| product <= WORKGROUP_INVOCATIONS_MAX);
    rule(fits, "items.workgroup", "must be two numbers from 1 with a product of at most 256");
    rule(
        y == 1 || matches!(plan, Cut::Tiles { .. }),
        "items.workgroup",
        "must end in 1 unless units = \"tiles\": other items have one dimension",
    );
    rule(gpu || items.workgroup == [1, 1], "items.workgroup", "belongs to wgsl/1");
}

fn assembly_faults(manifest: &Manifest, assembly: &Assembly, rule: &mut impl FnMut(bool, &'static str, &'static str)) {
    let by_program = matches!(assembly, Assembly::Program { .. });
    rule(by_program || manifest.outputs.len() == 1, "outputs", "must have one entry unless files = \"program\"");
    match assembly {
        Assembly::Join { .. } => {}
        Assembly::Table { columns, index } => {
            column_faults(manifest, columns, rule);
            let counts = matches!(&manifest.plan, Some(Cut::Range { .. } | Cut::Lines { .. } | Cut::Bytes { .. }));
            rule(
                index.is_none() || (counts && manifest.items.is_some()),
                "assembly.index",
                "needs units = \"range\", \"lines\" or \"bytes\", and [items]",
            );
            rule(index.as_deref().is_none_or(parameter::is_name), "assembly.index", "must match [a-z][a-z0-9-]{0,31}");
        }
        Assembly::Sum { columns } => column_faults(manifest, columns, rule),
        Assembly::Picture {} => {
            let tiles = matches!(&manifest.plan, Some(Cut::Tiles { .. }));
            let pixels = manifest.items.is_some_and(|items| items.output_bytes == 4);
            rule(tiles && pixels, "assembly.files", "\"picture\" needs units = \"tiles\" and items.output_bytes = 4");
            rule(
                manifest.outputs.iter().all(|output| output.file.ends_with(".png")),
                "outputs.file",
                "must end in .png with files = \"picture\"",
            );
        }
        Assembly::Program { program, fuel_max } => {
            program_faults(program, *fuel_max, ("assembly.program", "assembly.fuel_max"), rule);
        }
    }
    rule(
        !matches!(manifest.class, Class::Statistical | Class::Opaque),
        "class",
        "must be exact, self-checking or tolerance: no result of another class can be checked",
    );
}

fn column_faults(manifest: &Manifest, columns: &[Column], rule: &mut impl FnMut(bool, &'static str, &'static str)) {
    rule((1..=COLUMNS_MAX).contains(&columns.len()), "assembly.columns", "must have 1 to 64 entries");
    rule(
        columns.iter().all(|column| parameter::is_name(&column.name)),
        "assembly.columns.name",
        "must match [a-z][a-z0-9-]{0,31}",
    );
    let row = u32::try_from(row_bytes(columns)).unwrap_or(u32::MAX).max(1);
    rule(
        manifest.items.is_none_or(|items| items.output_bytes.is_multiple_of(row)),
        "items.output_bytes",
        "must be whole rows: a multiple of the bytes of all columns",
    );
}

fn program_faults(
    program: &str,
    fuel_max: u64,
    (program_key, fuel_key): (&'static str, &'static str),
    rule: &mut impl FnMut(bool, &'static str, &'static str),
) {
    rule(is_path(program), program_key, "must be a relative path of plain names inside the folder");
    rule((1..=FUEL_MAX).contains(&fuel_max), fuel_key, "must be 1 to 10000000000000");
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recipe::{Recipe, faults as all_faults};

    const ROOTS: &str = r#"
name = "roots"
title = "Square roots"
summary = "Whole square roots of a range of numbers."
runtime = "wgsl/1"
class = "exact"
program = "kernel/roots.wgsl"

[limits]
wall_ms_max = 60000
memory_bytes_max = 16777216
output_bytes_max = 4000000
loop_iterations_max = 64

[plan]
units = "range"
first = "first"
count = 1000
size = "size"

[items]
output_bytes = 4
workgroup = [64, 1]

[assembly]
files = "table"
index = "number"
columns = [{ name = "root", type = "u32" }]

[reference]
program = "reference/roots.wat"
fuel_max = 1000000

[golden]
folder = "golden"
set = { first = "5" }

[[parameters]]
name = "first"
type = "integer"
default = 0
min = 0
max = 100
help = "First number."

[[parameters]]
name = "size"
type = "integer"
default = 10
min = 1
max = 100
help = "Numbers of a unit."

[[inputs]]
name = "words"
kinds = ["txt"]
help = "Words."

[[outputs]]
file = "roots.tsv"
help = "One line per number."
"#;

    fn changed(changes: &[(&str, &str)]) -> Vec<String> {
        let mut text = ROOTS.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "the test changes what is there: {from}");
            text = text.replacen(from, to, 1);
        }
        all_faults(&text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_manifest_with_plan_items_and_assembly_is_read_and_written_again() {
        let recipe = Recipe::parse(ROOTS).unwrap();
        let name = |text: &str| Number::Parameter(text.to_owned());
        assert_eq!(
            recipe.plan,
            Some(Cut::Range { first: name("first"), count: Number::Fixed(1000), size: name("size") })
        );
        assert_eq!(recipe.items, Some(Items { output_bytes: 4, workgroup: [64, 1] }));
        assert!(matches!(&recipe.assembly, Some(Assembly::Table { index: Some(index), .. }) if index == "number"));
        let again = toml::to_string(&*recipe).unwrap();
        assert_eq!(Recipe::parse(&again).unwrap(), recipe);
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let found = changed(&[
            ("first = \"first\"", "first = \"last\""),
            ("count = 1000", "count = 0"),
            ("workgroup = [64, 1]", "workgroup = [64, 64]"),
            ("type = \"u32\"", "type = \"u64\""),
            ("title = \"Square roots\"", "title = \"\""),
            ("set = { first = \"5\" }", "set = { first = \"101\" }"),
        ]);
        let all = found.join("\n");
        for part in ["title", "plan.first", "plan.count", "items.workgroup", "items.output_bytes", "got=\"101\""] {
            assert!(all.contains(part), "{part} is missing in:\n{all}");
        }
    }

    #[test]
    fn each_rule_is_broken_alone() {
        for (from, to, field) in [
            (
                "[assembly]\nfiles = \"table\"\nindex = \"number\"\ncolumns = [{ name = \"root\", type = \"u32\" }]",
                "",
                "belong together",
            ),
            (
                "units = \"range\"\nfirst = \"first\"\ncount = 1000\nsize = \"size\"",
                "units = \"lines\"\ninput = \"word\"\nsize = 1",
                "plan.input",
            ),
            ("min = 1", "min = 0", "plan.size"),
            ("[items]\noutput_bytes = 4\nworkgroup = [64, 1]", "", "[items]"),
            ("output_bytes = 4", "output_bytes = 0", "items.output_bytes"),
            ("workgroup = [64, 1]", "workgroup = [8, 8]", "items.workgroup"),
            ("loop_iterations_max = 64", "loop_iterations_max = 64\nsegments_max = 2", "limits.segments_max"),
            (
                "files = \"table\"\nindex = \"number\"\ncolumns = [{ name = \"root\", type = \"u32\" }]",
                "files = \"picture\"",
                "assembly.files",
            ),
            ("columns = [{ name = \"root\", type = \"u32\" }]", "columns = []", "assembly.columns"),
            ("index = \"number\"", "index = \"No\"", "assembly.index"),
            ("reference/roots.wat", "../roots.wat", "reference.program"),
            ("fuel_max = 1000000", "fuel_max = 0", "reference.fuel_max"),
            ("folder = \"golden\"", "folder = \"/golden\"", "golden.folder"),
            ("set = { first = \"5\" }", "inputs = { numbers = \"a.txt\" }", "golden.inputs"),
            ("class = \"exact\"", "class = \"opaque\"", "class"),
        ] {
            let found = changed(&[(from, to)]);
            assert!(found.iter().any(|fault| fault.contains(field)), "{to:?}: {found:?}");
        }
        assert_eq!(changed(&[]), [""; 0]);
    }

    #[test]
    fn unknown_keys_and_ways_name_the_line() {
        for (from, to) in [
            ("count = 1000", "count = 1000\nstep = 2"),
            ("units = \"range\"", "units = \"rows\""),
            ("files = \"table\"", "files = \"rows\""),
            ("type = \"u32\" }", "type = \"u16\" }"),
            ("count = 1000", "count = -1"),
        ] {
            let found = changed(&[(from, to)]);
            assert!(matches!(&found[..], [one] if one.contains("line")), "{to}: {found:?}");
        }
    }
}
