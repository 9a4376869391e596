//! The bundle: certificate, headers and claim in one JSON object.
//!
//! Spec: specs/0002-proof-bundle.md §2.

use crate::{
    beacon::{BEACON_FORMAT, BeaconProof},
    certificate::{CERTIFICATE_FORMAT, ResultCertificate},
    claim::Claim,
    compose::certificate_json,
    json::{self, Fields, JsonError, Writer},
    map::{MAP_BYTES_MAX, MAP_FORMAT, MapCertificate},
};
use alloy_primitives::Bytes;
use keystead_types::Certificate;

/// Value of the field `format`.
pub const FORMAT: &str = "keystead-bundle/1";

/// Largest bundle in bytes: eight paths of a full trie and the 256 headers fit four times.
pub const BUNDLE_BYTES_MAX: usize = 1_048_576;

/// Most headers from the certified block to the block of the claim.
///
/// Measured gaps between certified heights are 1 to 3 blocks; 256 is what `BLOCKHASH` reaches.
pub const HEADERS_MAX: usize = 256;

/// A bundle that is well formed. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Chain whose signatures count.
    pub chain_id: u64,
    /// Certificate of `headers[0]`.
    pub certificate: Certificate,
    /// RLP headers from the certified block down to the block of the claim.
    pub headers: Vec<Bytes>,
    /// What is claimed.
    pub claim: Claim,
}

/// Bytes that are no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not the JSON of a bundle.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing.
    #[error("field is missing: field={field}")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// A field that does not belong here, or one twice.
    #[error("field is unknown or repeated: field={field}")]
    Unknown {
        /// Name of the field, at most 40 characters of it.
        field: String,
    },
    /// The value has another form.
    #[error("field is not {want}: field={field}")]
    Form {
        /// Name of the field.
        field: &'static str,
        /// The form it must have.
        want: &'static str,
    },
    /// The number is too big.
    #[error("number has more than {bits} bits: field={field}")]
    TooBig {
        /// Name of the field.
        field: &'static str,
        /// Most bits allowed.
        bits: usize,
    },
    /// The bytes have another length.
    #[error("wrong length: field={field} got_bytes={got_bytes} want_bytes={want_bytes}")]
    Length {
        /// Name of the field.
        field: &'static str,
        /// Bytes given.
        got_bytes: usize,
        /// Bytes that the field has.
        want_bytes: usize,
    },
    /// The array is too long.
    #[error("too many items: field={field} got={got} max={max}")]
    TooMany {
        /// Name of the field.
        field: &'static str,
        /// Items given.
        got: usize,
        /// Most items allowed.
        max: usize,
    },
}

/// What a file can be that [`crate::verify`] decides.
pub(crate) enum Document {
    Bundle(Box<Bundle>),
    Certificate(Box<ResultCertificate>),
    Beacon(BeaconProof),
    Map(Box<MapCertificate>),
}

impl Document {
    /// Reads exactly one file. Trust and cost as [`Bundle::from_json`]; the certificate of a map may be longer.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut fields = Fields::open(json::parse_up_to(bytes, MAP_BYTES_MAX)?, "bundle")?;
        let format = fields.text("format")?;
        if format == MAP_FORMAT {
            return MapCertificate::read(fields).map(|map| Self::Map(Box::new(map)));
        }
        json::bound(bytes, BUNDLE_BYTES_MAX)?;
        match format {
            FORMAT => Bundle::read(fields).map(|bundle| Self::Bundle(Box::new(bundle))),
            CERTIFICATE_FORMAT => {
                ResultCertificate::read(fields).map(|certificate| Self::Certificate(Box::new(certificate)))
            }
            BEACON_FORMAT => BeaconProof::read(fields, bytes.len()).map(Self::Beacon),
            _ => Err(ParseError::Form { field: "format", want: FORMAT }),
        }
    }
}

impl Bundle {
    /// Reads exactly one bundle.
    ///
    /// Trust: hostile input; nothing is verified. Limits: [`BUNDLE_BYTES_MAX`]. Cost: linear in the input.
    ///
    /// # Errors
    /// [`ParseError`]; whoever made the bundle was wrong.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::read_nested(Fields::open(json::parse(bytes)?, "bundle")?)
    }

    /// Reads all fields.
    pub(crate) fn read_nested(mut fields: Fields<'_>) -> Result<Self, ParseError> {
        if fields.text("format")? != FORMAT {
            return Err(ParseError::Form { field: "format", want: FORMAT });
        }
        Self::read(fields)
    }

    /// Reads the fields after `format`.
    fn read(mut fields: Fields<'_>) -> Result<Self, ParseError> {
        let chain_id = fields.number("chainId")?;
        let certificate = read_certificate(&mut fields)?;
        let headers = read_headers(&mut fields)?;
        let mut inner = Fields::open(fields.take("claim")?, "claim")?;
        let claim = Claim::read(&mut inner)?;
        inner.close()?;
        fields.close()?;
        Ok(Self { chain_id, certificate, headers, claim })
    }

    /// The bundle's one written form: fields in the order of the spec, no white space.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Writer::object();
        out.text("format", FORMAT);
        out.number("chainId", self.chain_id);
        out.raw("certificate", &certificate_json(&self.certificate));
        out.list("headers", &self.headers);
        out.raw("claim", &self.claim.write());
        out.finish()
    }
}

/// The field `certificate`.
pub(crate) fn read_certificate(fields: &mut Fields<'_>) -> Result<Certificate, ParseError> {
    let mut inner = Fields::open(fields.take("certificate")?, "certificate")?;
    let certificate = Certificate {
        epoch: inner.number("epoch")?,
        view: inner.number("view")?,
        parent_view: inner.number("parentView")?,
        block_hash: inner.word("blockHash")?,
        signature: inner.fixed("signature")?,
    };
    inner.close()?;
    Ok(certificate)
}

/// The field `headers`: at least one.
pub(crate) fn read_headers(fields: &mut Fields<'_>) -> Result<Vec<Bytes>, ParseError> {
    let headers = fields.list("headers", HEADERS_MAX)?;
    if headers.is_empty() {
        return Err(ParseError::Form { field: "headers", want: "an array of at least one header" });
    }
    Ok(headers)
}
