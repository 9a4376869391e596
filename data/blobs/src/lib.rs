//! Moves a job's inputs and outputs between customer and provider: directly, encrypted, named by their BLAKE3 hash.
//!
//! # Design
//! [`BlobStore`] keeps bytes by name. [`Endpoint`] is this machine's socket and identity in the network (QUIC by iroh,
//! without relay, discovery or port mapping). [`serve`] is the provider: it asks an injected [`Authorise`] whether an
//! order is its own and gives the session to a [`Handler`]. [`Session`] is the customer. Either side fetches blobs from
//! the other and verifies every 64 KiB before it keeps them. [`Inquiry`] asks a provider what it offers, outside of any order. [`seal`] encrypts a blob for a machine that only stores it.
//!
//! A drawn checker fetches one unit's blobs with a [`CheckSession`] ([`Authorise::on_duty`] decides). [`stream`] is the session of a job that goes over
//! in leases. A [`Meter`] keeps an endpoint's transfers to the rates of the machine's owner and counts their bytes.
//!
//! Spec: specs/0005-transfer.md, specs/0011-stream.md. Why not iroh-blobs: docs/adr/0003-blob-transfer.md.
//!
//! # Not here
//! What a job is (its specification is opaque bytes here), the chain, keys of customers, erasure coding, relays.

mod address;
mod admission;
mod check;
mod connection;
mod customer;
mod endpoint;
mod error;
pub mod hash;
mod inquiry;
mod limits;
mod note;
mod outline;
mod provider;
mod question;
mod rate;
pub mod seal;
pub mod store;
pub mod stream;
mod transfer;
mod wire;

pub use address::{ADDRESS_BYTES_MAX, Address, AddressError, NodeId, SOCKETS_MAX};
pub use check::{CheckHello, CheckSession, Duty, Offer, check_digest};
pub use customer::{Event, Inputs, Session};
pub use endpoint::{Config, Endpoint, SecretKey};
pub use error::{SessionError, Unavailable, Violation};
pub use hash::Hash;
pub use inquiry::{Availability, INQUIRY_ALPN, Inform, Inquiries, Inquiry, QUESTIONS_MAX, RECORD_BYTES_MAX, State};
pub use limits::{
    ALPN, ALPN_BEFORE, ANSWER_BYTES_MAX, BEFORE_BYTES_MAX, CHECK_ALPN, CREDENTIAL_BYTES_MAX, JOB_BYTES_MAX, Limits,
    MESSAGE_BYTES_MAX, QUESTION_ALPN, REASON_BYTES_MAX, STREAMS_MAX, WANTS_MAX, WINDOW_BYTES,
};
pub use note::{NOTE_WORDS_MAX, NOTES_MAX, Note, NoteKind, Notes, Pace};
pub use outline::{GROUP_BYTES, Outline, OutlineMismatch};
pub use provider::{Acceptor, Authorise, Ended, Guest, Handler, Job, Server, serve, serve_with};
pub use question::{Answer, Question, Questions, ask};
pub use rate::{BURST, Meter, Moved, Rate, Rates};
pub use store::{BLOB_BYTES_MAX, BlobStore, Capacity, DiskStore, Durability, MemoryStore, StoreError};
pub use transfer::{Fetched, Sent, Want};
pub use wire::{Delivery, Failure, FailureCode, Hello, Parties, Progress, Reason, Refusal, RefusalCode, hello_digest};
