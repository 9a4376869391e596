//! Where orders, providers, channels, seats and proofs of hardware lie in the contracts' storage, and what the words there mean.
//!
//! # Design
//! A light client asks for storage proofs of the slots given here and decodes the proved words, so it needs neither the
//! contract nor an EVM. Mappings follow Solidity: the value of key `k` of the mapping at slot `p` starts at
//! `keccak256(pad32(k) || pad32(p))`, and the fields of a structure follow in consecutive slots. Spec: specs/0004-market.md
//! section 6; channels: specs/0009-channel.md section 8; seats: specs/0008-audit.md section 4; proofs of hardware:
//! specs/0010-capability.md section 6.5. The tests
//! compare every offset with the compiler's storage layout in the artifacts and with words that a real EVM stored
//! (`specs/vectors/market-storage.json`, `channel-storage.json`).
//!
//! # Invariants
//! - Decoders are pure, accept every 32-byte word, and refuse words that the contracts cannot write.
//! - All-zero words of an order or a channel mean that there is no such order or channel: absence is provable.

mod beacon;
pub mod channel;
mod error;
mod fields;
mod order;
mod provider;
pub mod seats;
pub mod touchstone;

pub use beacon::{BEACON_NEWEST_SLOT, BEACON_RING, beacon_slot};
pub use error::Error;
pub use order::{Mode, ORDER_COUNT_SLOT, OrderSlots, Parties, Progress, Reason, Record, Status, Terms};
pub use order::{credit_slot, customer_record_slot, decode_address, provider_record_slot, token_credit_slot};
pub use provider::{OfferState, PROVIDER_COUNT_SLOT, ProviderSlots};
