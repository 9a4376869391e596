//! Whether a claim about the chain is true, decided from a file and the network key alone.
//!
//! # Design
//! [`verify`] runs a fixed list of steps over a bundle and says *proved*, *proved false* or *not proved*, with a sentence
//! per step. It is pure: bytes, key and time come in, a [`Report`] goes out. The same rules are implemented a second time in
//! TypeScript (`web/src/proof`); `specs/vectors` keeps the two equal.
//!
//! [`Bundle::new`] and the constructors of [`Claim`] make bundles from what a node has; they run the same steps, so a node
//! never hands out a bundle that does not hold.
//!
//! [`Stretch`] and [`Line`] do the same for whole blocks: a follower executes only what a certificate at or above it proves.
//!
//! A beacon value ([`BeaconProof`]) needs nothing but the key; [`verify`] takes its file as well. A [`ResultCertificate`] is a bundle about
//! an order with the job and the customer's own words beside it. A [`MapCertificate`] shows the windows of a map's channels, and how the steps
//! of these windows make its results.
//!
//! Spec: specs/0001-certificate.md, specs/0002-proof-bundle.md, specs/0007-beacon.md.
//!
//! # Not here
//! I/O, clocks, randomness, threads, consensus, and the making of state proofs (`keystead-state`).
//!
//! # Example
//! ```
//! let report = keystead_proof::verify(b"{}", &[0; 96], 0, None);
//! assert!(matches!(report.verdict, keystead_proof::Verdict::NotProved(_)));
//! println!("{report}");
//! ```

mod audit;
mod beacon;
mod bundle;
mod certificate;
mod claim;
mod compose;
mod header;
mod json;
mod map;
mod market;
mod meaning;
mod outputs;
mod report;
mod request;
mod rlp;
mod signature;
mod stretch;
mod time;
mod trie;
mod value;
mod verify;

pub use audit::{AUDIT_ADDRESS, AUDIT_WORDS, Audit, WINDOW_SLOTS, WindowStatus, bond_slot, window_id, window_slots};
pub use beacon::{BEACON_BYTES_MAX, BEACON_FORMAT, BeaconProof};
pub use bundle::{BUNDLE_BYTES_MAX, Bundle, FORMAT, HEADERS_MAX, ParseError};
pub use certificate::{
    CERTIFICATE_FORMAT, CertificateError, CustomerStatement, Job, OwnCheck, OwnFinding, ResultCertificate,
};
pub use claim::{AccountState, Claim, Path, Statement, TransactionProof};
pub use compose::{
    AuditParts, ComposeError, LogPosition, SlotValue, certificate_json, finalization_json, header_bytes, prove,
};
pub use header::{FinalizationError, HeaderError, verify_finalization};
pub use json::JsonError;
pub use map::{
    CHANNEL_ADDRESS, CHANNEL_SLOTS, CHANNEL_WINDOW_SLOTS, MAP_BYTES_MAX, MAP_CHANNELS_MAX, MAP_FORMAT, MAP_NODES_MAX,
    MAP_WINDOWS_MAX, MapCertificate, MapChannel, MapError, MapFacts, MapFault, MapParts, MapStep, MapWindow,
    channel_slots, channel_window_slots,
};
pub use market::{MARKET_ADDRESS, ORDER_SLOTS, Order, OrderError, OrderMode, OrderReason, OrderStatus, order_slots};
pub use outputs::{Comparison, Difference, NamedOutput, OutputHasher, Results, output_hash, result_root};
pub use report::{BlockFacts, Contradiction, Reason, Report, Step, StepResult, Verdict};
pub use request::Request;
pub use signature::{
    KeyError, NetworkKey, SignatureError, verify_beacon, verify_certificate, verify_certificates, verify_seed,
    verify_seeds,
};
pub use stretch::{
    BlockWithCertificate, LINE_BLOCKS_MAX, LINE_BYTES_MAX, Line, LineError, Proven, Stretch, StretchError,
};
pub use trie::{NODES_MAX, PathError};
pub use value::ValueError;
pub use verify::{AGE_MS_MAX_NOW, LEAD_MS_MAX, verify};
