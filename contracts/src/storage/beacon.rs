//! Slots of the beacon. Spec: specs/0007-beacon.md section 5.

use alloy_primitives::{B256, U256};

/// Slot of the newest height whose randomness is known, as a plain number; zero when there is none.
pub const BEACON_NEWEST_SLOT: B256 = B256::ZERO;

/// Heights whose randomness the beacon keeps.
pub const BEACON_RING: u64 = 8_192;

/// First slot of the ring.
const RING_SLOT: u64 = 1;

/// Slot of the randomness of a height. Compare the height with the newest one: the slot may hold a later one's.
#[must_use]
pub fn beacon_slot(height: u64) -> B256 {
    B256::from(U256::from((height % BEACON_RING).saturating_add(RING_SLOT)))
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_slots_are_those_of_the_compilers_layout() {
        let artifact: serde_json::Value = serde_json::from_str(include_str!("../../artifacts/Beacon.json")).unwrap();
        let variables = artifact["storageLayout"]["storage"].as_array().unwrap();
        let slot = |label: &str| variables.iter().find(|it| it["label"] == label).unwrap()["slot"].as_str().unwrap();
        assert_eq!(slot("_newest"), U256::from_be_bytes(BEACON_NEWEST_SLOT.0).to_string());
        assert_eq!(slot("_ring"), RING_SLOT.to_string());
        let ring = variables.iter().find(|it| it["label"] == "_ring").unwrap();
        assert_eq!(ring["type"], format!("t_array(t_bytes32){BEACON_RING}_storage"));
        assert_eq!(beacon_slot(BEACON_RING), B256::with_last_byte(1));
        assert_eq!(beacon_slot(BEACON_RING + 1), beacon_slot(1));
    }
}
