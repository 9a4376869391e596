//! Making the certificate of a map from what a customer has: its journal, and what a node proved.
//!
//! # Invariants
//! What [`MapCertificate::new`] returns passes every step of a verification but the signature of the network and the age.
//!
//! Spec: specs/0002-proof-bundle.md §12.

use super::{MAP_BYTES_MAX, MapCertificate, MapChannel, check::value, state, state::Pool};
use crate::{
    bundle::{HEADERS_MAX, ParseError},
    certificate::{CustomerStatement, Job},
    compose::encode_headers,
    header,
    report::Reason,
};
use alloy_primitives::{B256, Bytes};
use keystead_types::{Certificate, Header};

/// What a customer has of its map.
#[derive(Clone, Debug)]
pub struct MapParts<'a> {
    /// Chain whose signatures count.
    pub chain_id: u64,
    /// Certificate of the first of the headers.
    pub certificate: Certificate,
    /// From the certified block down to the block of the state, 1 to [`HEADERS_MAX`].
    pub headers: &'a [Header],
    /// Nodes that lead to all slots, in any order; those twice and those that nothing needs are left out.
    pub nodes: Vec<Bytes>,
    /// The job spec's encoding (specs/0003-job.md §2).
    pub job_bytes: Bytes,
    /// Names of the unit inputs, in unit order.
    pub inputs: Vec<B256>,
    /// Names of the unit outputs, in unit order.
    pub results: Vec<B256>,
    /// All channels of the job, in any order.
    pub channels: Vec<MapChannel>,
    /// The customer's words.
    pub statement: CustomerStatement,
    /// Its signature over [`MapCertificate::statement_digest`]: `r || s || v`, `v` 27 or 28, `s` in the lower half.
    pub signature: [u8; 65],
}

/// Why the certificate of a map cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The parts do not fit into the format: too many of something, or not one for each unit or step.
    #[error("the parts do not fit into the format: {0}")]
    Form(#[from] ParseError),
    /// The file would be too large: the map has too many steps or channels for one.
    #[error("certificate of a map too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Bytes of the JSON.
        got_bytes: usize,
        /// Largest file.
        max_bytes: usize,
    },
    /// The parts do not prove anything together, for instance because a window was announced since they were collected.
    #[error("the parts do not fit: {0}")]
    Unfit(#[from] Reason),
}

impl MapCertificate {
    /// Puts one together and checks everything but the network's signature and the age.
    ///
    /// Cost: as a verification.
    ///
    /// # Errors
    /// [`MapError`]: nothing that could be handed out.
    pub fn new(parts: MapParts<'_>) -> Result<Self, MapError> {
        let MapParts { chain_id, certificate, headers, nodes, job_bytes, inputs, results, channels, .. } = parts;
        if headers.len() > HEADERS_MAX {
            let (got, max) = (headers.len(), HEADERS_MAX);
            return Err(ParseError::TooMany { field: "headers", got, max }.into());
        }
        let job = Job::read(&job_bytes)
            .ok_or(ParseError::Form { field: "job", want: "a job spec as specs/0003-job.md has it" })?;
        let mut channels = channels;
        channels.sort_by_key(|channel| channel.id);
        let headers = encode_headers(headers);
        let last = header::link(&headers, certificate.block_hash).map_err(Reason::from)?;
        let block = last.header.number;
        header::bind(&last, block).map_err(Reason::from)?;
        let mut nodes = Pool::sorted(nodes);
        let found = state::find(last.header.state_root, &nodes, &channels)?;
        nodes.keep(&found.used);
        let (statement, signature) = (parts.statement, parts.signature);
        let map = Self {
            chain_id,
            certificate,
            headers,
            block,
            nodes,
            job_bytes,
            job,
            inputs,
            results,
            channels,
            statement,
            signature,
        };
        map.check_form()?;
        value(&map, &found.channels).map_err(Reason::from)?;
        let got_bytes = map.to_json().len();
        if got_bytes > MAP_BYTES_MAX {
            return Err(MapError::TooLarge { got_bytes, max_bytes: MAP_BYTES_MAX });
        }
        Ok(map)
    }
}
