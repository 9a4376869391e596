//! The link from delivered files to the result root of a proved order.
//!
//! Spec: specs/0002-proof-bundle.md §7, specs/0003-job.md.

use alloy_primitives::B256;

/// Name of one unit output: BLAKE3 of its bytes.
#[must_use]
pub fn output_hash(output: &[u8]) -> B256 {
    B256::from(*blake3::hash(output).as_bytes())
}

/// Result root of a job: BLAKE3 of the unit output names, concatenated in unit order.
///
/// Compare it with `result_root` of the [`crate::Order`] in a *proved* report, and the count with its `units`.
#[must_use]
pub fn result_root(outputs: impl IntoIterator<Item = B256>) -> B256 {
    let mut hasher = blake3::Hasher::new();
    for output in outputs {
        hasher.update(output.as_slice());
    }
    B256::from(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_root_changes_with_every_output_and_their_order() {
        let names: Vec<B256> = [b"a".as_slice(), b"b", b""].map(output_hash).to_vec();
        let root = result_root(names.clone());
        assert_ne!(root, result_root(names.iter().rev().copied()));
        assert_ne!(root, result_root(names.iter().take(2).copied()));
        assert_eq!(root, output_hash(&names.concat()));
    }
}
