//! The threshold signature that makes a block final, as bytes that anyone can check with the network key.
//!
//! Spec: specs/0001-certificate.md. The signature check itself is in `keystead-proof`.

use alloy_primitives::B256;

/// Length of a compressed BLS12-381 G1 point in bytes.
pub const SIGNATURE_BYTES: usize = 48;

/// The network's threshold signature over one view: unpredictable before the view, the same whoever assembles it.
///
/// Shape: compressed G1 point (48 bytes, ZCash encoding) over `<namespace>_SEED` and LEB128(epoch) || LEB128(view).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub [u8; SIGNATURE_BYTES]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed({})", alloy_primitives::hex::encode(self.0))
    }
}

/// Base namespace of a chain's signatures: `keystead-<chain id>` in ASCII. The engine appends `_FINALIZE`, `_SEED`, ...
#[must_use]
pub fn network_namespace(chain_id: u64) -> Vec<u8> {
    format!("keystead-{chain_id}").into_bytes()
}

/// A finality certificate: more than two thirds of the committee signed this block as final.
///
/// Every field is bound by the signature: it covers epoch, view, parent view and block hash under the chain's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Epoch of the committee that signed.
    pub epoch: u64,
    /// View in which the block was proposed.
    pub view: u64,
    /// View of the block's parent.
    pub parent_view: u64,
    /// keccak256 of the RLP header.
    pub block_hash: B256,
    /// Compressed G1 point.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl Certificate {
    /// The signed proposal: LEB128 of epoch, view and parent view, then the block hash.
    #[must_use]
    pub fn proposal_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * 10 + 32);
        for number in [self.epoch, self.view, self.parent_view] {
            put_leb128(&mut out, number);
        }
        out.extend_from_slice(self.block_hash.as_slice());
        out
    }

    /// The whole signed message for a chain: LEB128(length of namespace) || namespace || proposal.
    #[must_use]
    pub fn message(&self, chain_id: u64) -> Vec<u8> {
        let mut namespace = network_namespace(chain_id);
        namespace.extend_from_slice(b"_FINALIZE");
        message(&namespace, &self.proposal_bytes())
    }
}

impl Seed {
    /// The message that the seed of (epoch, view) signs on a chain.
    #[must_use]
    pub fn message(chain_id: u64, epoch: u64, view: u64) -> Vec<u8> {
        let mut namespace = network_namespace(chain_id);
        namespace.extend_from_slice(b"_SEED");
        let mut round = Vec::with_capacity(20);
        put_leb128(&mut round, epoch);
        put_leb128(&mut round, view);
        message(&namespace, &round)
    }
}

pub(crate) fn message(namespace: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(namespace.len().saturating_add(payload.len()).saturating_add(10));
    put_leb128(&mut out, namespace.len() as u64);
    out.extend_from_slice(namespace);
    out.extend_from_slice(payload);
    out
}

/// Unsigned LEB128, shortest form.
pub(crate) fn put_leb128(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_starts_with_the_length_of_its_namespace() {
        let certificate =
            Certificate { epoch: 0, view: 300, parent_view: 299, block_hash: B256::repeat_byte(9), signature: [0; 48] };
        let message = certificate.message(19_283);
        assert_eq!(message.first(), Some(&23));
        assert_eq!(message.get(1..24), Some(b"keystead-19283_FINALIZE".as_slice()));
        assert_eq!(message.get(24..29), Some([0, 0xac, 2, 0xab, 2].as_slice()));
        assert_eq!(message.len(), 29 + 32);
    }
}
