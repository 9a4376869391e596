//! The document and the suite name the same attacks.

use crate::{Test, wasm, wgsl};

pub(crate) fn tests() -> Vec<Test> {
    vec![("paper::every_attack_stands_in_the_document".to_owned(), Box::new(every_attack))]
}

fn every_attack() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sandbox.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut names: Vec<&str> = wasm::CASES.iter().map(|case| case.name).collect();
    names.extend(wgsl::CASES.iter().map(|case| case.name).chain(wgsl::OTHERS));
    #[cfg(target_os = "linux")]
    {
        names.extend(crate::attacks::ATTACKS.iter().map(|(name, _)| *name));
        names.extend(crate::attacks::LIES.iter().map(|(name, _)| *name));
    }
    let missing: Vec<&str> = names.into_iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/sandbox.md lacks {missing:?}");
}
