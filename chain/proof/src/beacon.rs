//! A beacon value as a file that proves itself with the network key alone.
//!
//! Spec: specs/0007-beacon.md §7.

use crate::{
    bundle::ParseError,
    json::{Fields, JsonError, Writer},
    report::{Contradiction, Step},
    signature::{NetworkKey, verify_beacon},
    verify::{OrStop as _, Progress, Stop},
};
use alloy_primitives::B256;
use keystead_types::BeaconValue;
use std::fmt;

/// Value of the field `format`.
pub const BEACON_FORMAT: &str = "keystead-beacon/1";

/// Largest file in bytes; as written it takes some 300.
pub const BEACON_BYTES_MAX: usize = 1_024;

/// A beacon value that is well formed. Nothing in it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeaconProof {
    /// Chain whose signatures count.
    pub chain_id: u64,
    /// The height; not zero.
    pub height: u64,
    /// The network's signature over it.
    pub value: BeaconValue,
    /// What the value is claimed to give.
    pub randomness: B256,
}

impl BeaconProof {
    /// The proof of a value.
    #[must_use]
    pub fn new(chain_id: u64, height: u64, value: BeaconValue) -> Self {
        Self { chain_id, height, value, randomness: value.randomness() }
    }

    /// Reads the fields after `format`. `got_bytes`: length of the file.
    pub(crate) fn read(mut fields: Fields<'_>, got_bytes: usize) -> Result<Self, ParseError> {
        if got_bytes > BEACON_BYTES_MAX {
            return Err(JsonError::TooLarge { got_bytes, max_bytes: BEACON_BYTES_MAX }.into());
        }
        let proof = Self {
            chain_id: fields.number("chainId")?,
            height: fields.number("height")?,
            value: BeaconValue(fields.fixed("value")?),
            randomness: fields.word("randomness")?,
        };
        if proof.height == 0 {
            return Err(ParseError::Form { field: "height", want: "a height from 1 on" });
        }
        fields.close()?;
        Ok(proof)
    }

    /// The file's one written form: fields in the order of the spec, no white space.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Writer::object();
        out.text("format", BEACON_FORMAT);
        out.number("chainId", self.chain_id);
        out.number("height", self.height);
        out.bytes("value", &self.value.0);
        out.bytes("randomness", self.randomness.as_slice());
        out.finish()
    }
}

impl fmt::Display for BeaconProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the beacon of height {} gives the randomness {}", self.height, self.randomness)
    }
}

/// The steps *certificate* and *value* of a file that was parsed.
pub(crate) fn run(progress: &mut Progress, proof: &BeaconProof, network_key: &[u8; 96]) -> Result<(), Stop> {
    let BeaconProof { chain_id, height, value, randomness } = proof;
    let key = NetworkKey::from_bytes(network_key).or_stop(Step::Certificate)?;
    verify_beacon(value, *chain_id, *height, &key).or_stop(Step::Certificate)?;
    progress.pass(
        Step::Certificate,
        format!("the network key signed height {height}, which its members do only once it is final"),
    );
    let certified = value.randomness();
    if certified != *randomness {
        let (claimed, certified) = (randomness.to_string(), certified.to_string());
        return Err(Stop::contradicted(Contradiction { field: "randomness", claimed, certified }));
    }
    progress
        .pass(Step::Value, "the randomness is keccak256 of the value, which nobody could predict or choose".to_owned());
    Ok(())
}
