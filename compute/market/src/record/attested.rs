//! What somebody else measured on a machine, and the difference between such a statement and a proof.
//!
//! # Design
//! A record carries [`Attested`] entries: hostile bytes with a checker's signature. A [`Proved`] has no public constructor: it comes out
//! of [`Attested::prove`], for checkers that the reader trusts, or out of [`crate::touchstone`], where the reader checked the answer
//! itself. A claim is of another type altogether, so the two cannot be mixed up. Spec: specs/0010-capability.md §5.

use crate::band::Bands;
use alloy_primitives::{Address, B256, FixedBytes, Signature, keccak256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use serde::{Deserialize, Serialize};

const DOMAIN: &[u8] = b"keystead/proved/v1";
/// Statements in one record: three checkers for each of 33 devices.
pub const STATEMENTS_MAX: usize = 99;

/// What was measured, when, by whom; without a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    /// The provider's account.
    pub provider: Address,
    /// Device: 0 the processor, then the adapters.
    pub device: u8,
    /// Id of the challenge (specs/0010-capability.md §6.1).
    pub challenge: B256,
    /// Height of the challenge's beacon value.
    pub height: u64,
    /// Unix time of that block, seconds.
    pub time_s: u64,
    /// What was measured.
    pub bands: Bands,
    /// Who checked the answer.
    pub checker: Address,
}

impl Statement {
    /// What the checker signs: `keccak256("keystead/proved/v1" || be64(chain_id) || rlp(statement))`.
    #[must_use]
    pub fn signing_hash(&self, chain_id: u64) -> B256 {
        let mut bytes = [DOMAIN, &chain_id.to_be_bytes()].concat();
        self.encode(&mut bytes);
        keccak256(bytes)
    }
}

/// A statement with its checker's signature, as a record carries it. Hostile until [`Attested::prove`] says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attested {
    /// The statement.
    pub statement: Statement,
    /// secp256k1 signature over the signing hash: r, s (low), v (27 or 28).
    pub signature: FixedBytes<65>,
}

/// Why a statement proves nothing to this reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// It speaks of somebody else.
    #[error("statement is about another provider: got={got} expected={expected}")]
    OtherProvider {
        /// Whom it speaks of.
        got: Address,
        /// Whose record it stands in.
        expected: Address,
    },
    /// The checker is nobody whom this reader trusts.
    #[error("checker is not trusted: checker={checker}")]
    NotTrusted {
        /// The checker named.
        checker: Address,
    },
    /// The checker did not sign this.
    #[error("signature is not the checker's: checker={checker}")]
    Signature {
        /// The checker named.
        checker: Address,
    },
    /// It is older than the reader accepts.
    #[error("statement is too old: time_s={time_s} oldest_s={oldest_s}")]
    TooOld {
        /// Unix time of the measurement, seconds.
        time_s: u64,
        /// The oldest accepted.
        oldest_s: u64,
    },
}

/// Whom a reader believes, and for how long.
#[derive(Clone, Copy)]
pub struct Trust<'a> {
    /// The chain that the checkers sign for.
    pub chain_id: u64,
    /// Whether a checker is believed.
    pub checkers: &'a dyn Fn(Address) -> bool,
    /// Unix time, seconds, of the oldest measurement that counts; inclusive.
    pub oldest_s: u64,
}

impl core::fmt::Debug for Trust<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Trust")
            .field("chain_id", &self.chain_id)
            .field("oldest_s", &self.oldest_s)
            .finish_non_exhaustive()
    }
}

/// A measurement that this reader has reason to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved(Statement);

impl Proved {
    /// For the verifier of an answer in this crate.
    pub(crate) const fn checked(statement: Statement) -> Self {
        Self(statement)
    }

    /// What is proved.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.0
    }
}

impl Attested {
    /// Puts a checker's signature to a statement that came out of its own check.
    #[must_use]
    pub const fn new(proved: &Proved, signature: FixedBytes<65>) -> Self {
        Self { statement: proved.0, signature }
    }

    /// Believes the statement, for a record of `provider`: cheap checks first, the signature last.
    ///
    /// # Errors
    /// Every [`NotProved`]; each means that the entry counts for nothing here.
    pub fn prove(&self, provider: Address, trust: Trust<'_>) -> Result<Proved, NotProved> {
        let Statement { provider: got, checker, time_s, .. } = self.statement;
        if got != provider {
            return Err(NotProved::OtherProvider { got, expected: provider });
        }
        if time_s < trust.oldest_s {
            return Err(NotProved::TooOld { time_s, oldest_s: trust.oldest_s });
        }
        if !(trust.checkers)(checker) {
            return Err(NotProved::NotTrusted { checker });
        }
        let wrong = NotProved::Signature { checker };
        // One signature per statement: v is 27 or 28, and s is the low one of the two.
        if ![27, 28].contains(&self.signature[64]) {
            return Err(wrong);
        }
        let signature = Signature::from_raw(self.signature.as_slice()).map_err(|_| wrong)?;
        if signature.normalize_s().is_some() {
            return Err(wrong);
        }
        let signer = signature.recover_address_from_prehash(&self.statement.signing_hash(trust.chain_id));
        if signer.is_ok_and(|signer| signer == checker) { Ok(Proved(self.statement)) } else { Err(wrong) }
    }
}

/// What enough checkers agree on: for each device the lowest of the bands that distinct checkers stated about its newest challenge, if there are at
/// least `quorum` of them. With fewer statements a device has proved nothing.
#[must_use]
pub fn agreed(proved: &[Proved], quorum: usize) -> Vec<Proved> {
    let mut agreed: Vec<Proved> = Vec::new();
    let mut devices: Vec<u8> = proved.iter().map(|proved| proved.0.device).collect();
    devices.sort_unstable();
    devices.dedup();
    for device in devices {
        let of_device = || proved.iter().map(Proved::statement).filter(move |statement| statement.device == device);
        let Some(newest) = of_device().max_by_key(|statement| statement.height) else { continue };
        let same: Vec<&Statement> = of_device().filter(|statement| statement.challenge == newest.challenge).collect();
        let mut checkers: Vec<Address> = same.iter().map(|statement| statement.checker).collect();
        checkers.sort_unstable();
        checkers.dedup();
        if checkers.len() < quorum.max(1) {
            continue;
        }
        let bands = same.iter().fold(newest.bands, |bands, statement| bands.lower(statement.bands));
        agreed.push(Proved(Statement { bands, ..*newest }));
    }
    agreed
}
