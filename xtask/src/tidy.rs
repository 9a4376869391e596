//! The tree's own rules, checked by a machine: edges between packages, owners of heavy dependencies, sizes, module
//! docs, names, paths; and that the page of figures says what was measured.
//!
//! The table of edges is that of the design: an edge that is not in it fails, whoever needs it changes the table and
//! says why.

use crate::{
    attacks, bench,
    measure::{Function, Production},
    process::{cargo, quiet},
};
use eyre::{Context as _, Result, bail, eyre};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Production lines that a file may have: those that are not of an item for tests.
const FILE_LINES_MAX: usize = 600;
/// Lines that a function may have, braces included.
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "common", "shared", "helpers", "helper", "misc"];

/// Package and the packages of ours that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("keystead-types", &[]),
    ("keystead-mempool", &["types"]),
    ("keystead-consensus", &["types"]),
    ("keystead-execution", &["types"]),
    ("keystead-state", &["types"]),
    ("keystead-import", &["types", "execution", "state"]),
    ("keystead-proof", &["types"]),
    ("keystead-rpc", &["types", "mempool", "execution", "state", "proof", "job", "market"]),
    ("keystead-job", &["types"]),
    ("keystead-contracts", &["types"]),
    ("keystead-market", &["types", "job", "contracts"]),
    ("keystead-blobs", &["types"]),
    ("keystead-kernel", &["job"]),
    ("keystead-runner", &["job", "kernel", "blobs"]),
    ("keystead-audit", &["types", "job"]),
    ("keystead-owner", &[]),
    ("keystead-payment", &["types", "job", "contracts"]),
    ("keystead-lease", &[]),
    ("keystead-recipes", &["job"]),
    ("keystead", &["*"]),
    ("keystead-sim-market", &["*"]),
    ("xtask", &[]),
];

/// Beginning of an outside package's name, and the packages that may depend on it directly.
const OWNERS: &[(&str, &[&str])] = &[
    ("commonware-", &["keystead-consensus"]),
    ("revm", &["keystead-execution"]),
    ("alloy-evm", &["keystead-execution"]),
    ("fjall", &["keystead-state"]),
    ("axum", &["keystead-rpc"]),
    ("hyper", &["keystead-rpc"]),
    ("tungstenite", &["keystead-rpc"]),
    ("iroh", &["keystead-blobs"]),
    ("wgpu", &["keystead-runner"]),
    ("naga", &["keystead-kernel", "keystead-runner"]),
    ("wasmtime", &["keystead-runner"]),
    ("wasmparser", &["keystead-runner"]),
    ("landlock", &["keystead-runner"]),
    ("seccompiler", &["keystead-runner"]),
    ("blst", &["keystead-proof"]),
    ("clap", &["keystead"]),
];

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = packages(root)?;
    for path in tracked_files(root)? {
        check_file(root, &path, &mut findings)?;
    }
    attacks::check(root, &mut findings)?;
    bench::check_page(root, &mut findings)?;
    if findings.is_empty() {
        println!("tidy: clean");
        return Ok(());
    }
    for finding in &findings {
        println!("tidy: {finding}");
    }
    bail!("tidy found {} places", findings.len())
}

/// Files that git tracks or would track.
fn tracked_files(root: &Path) -> Result<Vec<String>> {
    let list =
        quiet(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root))
            .ok_or_else(|| eyre!("git does not list the files: is this a clone?"))?;
    Ok(list.lines().filter(|path| root.join(path).is_file()).map(str::to_owned).collect())
}

fn packages(root: &Path) -> Result<Vec<String>> {
    let metadata = quiet(cargo().args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root))
        .ok_or_else(|| eyre!("cargo metadata failed"))?;
    let metadata: Value = serde_json::from_str(&metadata).wrap_err("cargo metadata is not JSON")?;
    let mut findings = Vec::new();
    for package in list(&metadata, "packages") {
        let name = text(package, "name");
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            findings.push(format!("package {name} is not in the table of edges (xtask/src/tidy.rs)"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            // Tests may use what the product may not.
            if dependency.get("kind").is_some_and(|kind| kind == "dev") {
                continue;
            }
            let target = text(dependency, "name");
            check_dependency(name, target, allowed, &mut findings);
        }
    }
    Ok(findings)
}

fn check_dependency(package: &str, target: &str, allowed: &[&str], findings: &mut Vec<String>) {
    if let Some(short) = target.strip_prefix("keystead-")
        && !allowed.contains(&short)
        && !allowed.contains(&"*")
    {
        findings.push(format!("edge {package} -> {target} is not allowed"));
    }
    let owner = OWNERS.iter().find(|(prefix, _)| target.starts_with(prefix));
    if let Some((prefix, owners)) = owner
        && !owners.contains(&package)
    {
        findings.push(format!("{package} depends on {target}: only {} may depend on {prefix}*", owners.join(", ")));
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn check_file(root: &Path, path: &str, findings: &mut Vec<String>) -> Result<()> {
    for name in Path::new(path).iter().filter_map(|name| name.to_str()) {
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        if EMPTY_NAMES.contains(&stem) {
            findings.push(format!("{path}: a name like `{stem}` says nothing"));
        }
    }
    let bytes = fs::read(root.join(path)).wrap_err_with(|| format!("cannot read {path}"))?;
    let Ok(content) = String::from_utf8(bytes) else { return Ok(()) };
    if !path.ends_with(".lock") && !path.ends_with("package-lock.json") {
        check_paths(path, &content, findings);
    }
    if path.ends_with(".rs") {
        check_rust(path, &content, findings);
    }
    Ok(())
}

/// Absolute paths of somebody's machine do not belong into the tree.
fn check_paths(path: &str, content: &str, findings: &mut Vec<String>) {
    let roots = ["work", "root", "home"].map(|name| format!("/{name}/"));
    for (line, number) in content.lines().zip(1u32..) {
        for root in &roots {
            let starts = line.match_indices(root.as_str()).any(|(at, _)| {
                !line
                    .as_bytes()
                    .get(at.wrapping_sub(1))
                    .is_some_and(|before| before.is_ascii_alphanumeric() || b".*}".contains(before))
            });
            if starts {
                findings.push(format!("{path}:{number}: an absolute path of a machine ({root})"));
            }
        }
    }
}

fn check_rust(path: &str, content: &str, findings: &mut Vec<String>) {
    if !content.starts_with("//!") {
        findings.push(format!("{path}: the file does not start with a module doc (`//!`)"));
    }
    let is_test = path.contains("/tests/") || path.contains("/benches/") || path.ends_with("tests.rs");
    if is_test {
        return;
    }
    let production = Production::of(content);
    if production.lines > FILE_LINES_MAX {
        findings.push(format!("{path}: {} production lines, at most {FILE_LINES_MAX}", production.lines));
    }
    for Function { name, line, lines } in long_functions(&production) {
        findings.push(format!("{path}:{line}: fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"));
    }
}

/// Functions that are too long.
fn long_functions(production: &Production) -> Vec<Function> {
    production.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_is_not_in_the_table_is_found() {
        let mut findings = Vec::new();
        check_dependency("keystead-state", "keystead-execution", &["types"], &mut findings);
        check_dependency("keystead-state", "keystead-types", &["types"], &mut findings);
        check_dependency("keystead", "keystead-state", &["*"], &mut findings);
        assert_eq!(findings, ["edge keystead-state -> keystead-execution is not allowed"]);
    }

    #[test]
    fn a_heavy_dependency_has_one_owner() {
        let mut findings = Vec::new();
        check_dependency("keystead-rpc", "revm", &[], &mut findings);
        check_dependency("keystead-execution", "revm", &[], &mut findings);
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn a_function_of_71_lines_is_found_and_one_of_70_is_not() {
        let found = |lines: usize| {
            let text = format!(
                "impl A {{\n    pub(super) fn long() {{\n{}    }}\n}}\n",
                "        work();\n".repeat(lines.saturating_sub(2))
            );
            long_functions(&Production::of(&text))
        };
        assert_eq!(found(71), [Function { name: "long".to_owned(), line: 2, lines: 71 }]);
        assert!(found(70).is_empty());
    }

    #[test]
    fn a_file_without_module_doc_and_an_absolute_path_are_found() {
        let mut findings = Vec::new();
        check_rust("a.rs", "fn main() {}", &mut findings);
        let path = ["let p = \"", "/home", "/somebody/x\";"].concat();
        check_paths("a.rs", &path, &mut findings);
        let harmless = ["see ..", "/home", "/page and https://example.invalid", "/home", "/page"].concat();
        check_paths("a.rs", &harmless, &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
