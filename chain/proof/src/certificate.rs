//! The result certificate: a proved order, the job that it names, and what its customer says about its own check.
//!
//! # Design
//! The bundle proves what the chain holds. It names the job by its hash, so the job itself can stand beside it: its class and its tolerance are
//! then as certain as the order. What the customer found by its own sample the chain does not know; that is the customer's word, signed with
//! the account that ordered, and shown as nothing more.
//!
//! Spec: specs/0002-proof-bundle.md §10.

use crate::{
    audit::WindowStatus,
    bundle::{Bundle, ParseError},
    claim::Statement,
    json::{Fields, Writer},
    market::Order,
    rlp,
};
use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};

/// Value of the field `format`.
pub const CERTIFICATE_FORMAT: &str = "keystead-certificate/2";

/// Most checkers that an order names (specs/0008-audit.md §14).
const NAMED_MAX: usize = 4;
/// Longest job spec in bytes (specs/0003-job.md §2).
const JOB_BYTES_MAX: usize = 512;
/// Items of a job spec.
const JOB_ITEMS: usize = 24;
const JOB_DOMAIN: &[u8] = b"keystead/job/v2";
const STATEMENT_DOMAIN: &[u8] = b"keystead/statement/v1";

/// What of a job says how far its results can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// keccak256 of domain and encoding.
    pub hash: B256,
    /// Number of the class: 1 exact, 2 self-checking, 3 tolerance, 4 statistical, 5 opaque.
    pub class: u32,
    /// Units of the job.
    pub units: u32,
    /// Segments of each unit.
    pub segments: u32,
    /// Class tolerance: elements that may lie outside of it, parts per million.
    pub outliers_ppm: u32,
    /// Hash of the list of the unit inputs' names; zero, which is no list's, if the item is not 32 bytes long.
    pub units_hash: B256,
}

/// How a customer checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnCheck {
    /// Not at all.
    #[default]
    None,
    /// It ran some units, or a segment of each, again.
    Sample,
    /// The job's checker program looked at the outputs.
    Program,
}

/// What a customer found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnFinding {
    /// Nothing.
    #[default]
    None,
    /// All that it looked at is right.
    Right,
    /// Something is wrong.
    Wrong,
    /// It could not be found out.
    Unknown,
}

impl OwnCheck {
    const ALL: [(Self, &str); 3] = [(Self::None, "none"), (Self::Sample, "sample"), (Self::Program, "checker-program")];
}

impl OwnFinding {
    const ALL: [(Self, &str); 4] =
        [(Self::None, "none"), (Self::Right, "right"), (Self::Wrong, "wrong"), (Self::Unknown, "unknown")];
}

/// The customer's own words about its check. Nothing but its signature stands behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomerStatement {
    /// How it checked.
    pub check: OwnCheck,
    /// What it found.
    pub finding: OwnFinding,
    /// Units that it looked at.
    pub checked: u32,
    /// Units of those that are right.
    pub right: u32,
    /// Share of the units that its rule asks for, parts per million.
    pub rate_ppm: u32,
}

/// A result certificate that is well formed. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultCertificate {
    /// What proves the order.
    pub bundle: Bundle,
    /// The job spec's encoding (specs/0003-job.md §2).
    pub job_bytes: Bytes,
    /// What it says.
    pub job: Job,
    /// The checkers that the customer of a private order named, in order; empty if the file does not tell. The window has their hash.
    pub named: Vec<Address>,
    /// The customer's words.
    pub statement: CustomerStatement,
    /// The customer's signature: `r || s || v`, `v` 27 or 28, `s` in the lower half.
    pub signature: [u8; 65],
}

/// Parts of a certificate that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bundle is about something else.
    #[error("the bundle's claim is not about an order")]
    Kind,
    /// Another job.
    #[error("the job is not the order's: its hash is {got}, the order has {expected}")]
    Job {
        /// Hash of the job given.
        got: B256,
        /// What the order names.
        expected: B256,
    },
    /// A job of another size.
    #[error("the job is not the order's: it has {got} units, the order {expected}")]
    Units {
        /// Of the job.
        got: u32,
        /// Of the order.
        expected: u32,
    },
    /// The audit was ordered as for another job.
    #[error("the audit is not the job's: {field} is {got}, the job's {expected}")]
    Audit {
        /// `class` or `segments`.
        field: &'static str,
        /// In the window.
        got: u32,
        /// Of the job.
        expected: u32,
    },
    /// Other checkers, or some where none are named.
    #[error("the named checkers are not the audit's: their hash is {got}, the window has {expected}")]
    Named {
        /// Of the list given.
        got: B256,
        /// In the window; zero without one.
        expected: B256,
    },
    /// Somebody else's words.
    #[error("the statement about the check is not signed by the order's customer")]
    Signature,
}

impl Job {
    /// Reads a job spec's encoding, as far as it matters here. Its hash decides whether it is an order's.
    #[must_use]
    pub fn read(encoding: &[u8]) -> Option<Self> {
        if encoding.len() > JOB_BYTES_MAX {
            return None;
        }
        let items: [rlp::Item<'_>; JOB_ITEMS] = rlp::list(encoding)?.try_into().ok()?;
        let number = |item: usize| u32::try_from(rlp::number(items.get(item)?.text()?)?).ok();
        let [version, class, units, segments, outliers_ppm] =
            [number(0)?, number(3)?, number(7)?, number(16)?, number(22)?];
        let units_hash: B256 = items.get(6)?.text().and_then(|hash| hash.try_into().ok()).unwrap_or_default();
        let is_known = version == 2 && (1..=5).contains(&class) && units != 0 && segments != 0;
        let hash = keccak256([JOB_DOMAIN, encoding].concat());
        is_known.then_some(Self { hash, class, units, segments, outliers_ppm, units_hash })
    }
}

impl CustomerStatement {
    /// What the customer signs: these words about this order of this chain, with the result that it delivered.
    #[must_use]
    pub fn digest(&self, chain_id: u64, order: &Order) -> B256 {
        let mut message = STATEMENT_DOMAIN.to_vec();
        message.extend_from_slice(&chain_id.to_be_bytes());
        message.extend_from_slice(&order.number.to_be_bytes());
        message.extend_from_slice(order.job_hash.as_slice());
        message.extend_from_slice(order.result_root.as_slice());
        message.extend_from_slice(&self.signed_bytes());
        keccak256(message)
    }

    /// The words themselves, as the message that is signed ends with them.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        let Self { check, finding, checked, right, rate_ppm } = *self;
        let mut bytes = vec![check as u8, finding as u8];
        [checked, right, rate_ppm].iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes
    }

    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, ParseError> {
        let named =
            |text: &str, all: &[(OwnCheck, &str)]| all.iter().find(|(_, name)| *name == text).map(|(it, _)| *it);
        let check = named(fields.text("check")?, &OwnCheck::ALL)
            .ok_or(ParseError::Form { field: "check", want: "the name of a check" })?;
        let text = fields.text("finding")?;
        let finding = OwnFinding::ALL.iter().find(|(_, name)| *name == text).map(|(it, _)| *it);
        let finding = finding.ok_or(ParseError::Form { field: "finding", want: "the name of a finding" })?;
        let mut number = |name| fields.quantity(name, 32).map(|number| number.saturating_to::<u32>());
        let statement = Self {
            check,
            finding,
            checked: number("checked")?,
            right: number("right")?,
            rate_ppm: number("ownRatePpm")?,
        };
        fields.close()?;
        Ok(statement)
    }

    pub(crate) fn write(&self) -> String {
        let mut out = Writer::object();
        let check = OwnCheck::ALL.iter().find(|(it, _)| *it == self.check).map_or("none", |(_, name)| name);
        let finding = OwnFinding::ALL.iter().find(|(it, _)| *it == self.finding).map_or("none", |(_, name)| name);
        out.text("check", check);
        out.text("finding", finding);
        out.number("checked", self.checked.into());
        out.number("right", self.right.into());
        out.number("ownRatePpm", self.rate_ppm.into());
        out.finish()
    }
}

impl ResultCertificate {
    /// Puts a certificate together, and checks that its parts belong to one order.
    ///
    /// # Errors
    /// [`CertificateError`]; a job that is none counts as another job.
    pub fn new(
        bundle: Bundle,
        job_bytes: Bytes,
        statement: CustomerStatement,
        signature: [u8; 65],
    ) -> Result<Self, CertificateError> {
        let expected = bundle.claim.statement.order().ok_or(CertificateError::Kind)?.job_hash;
        let job = Job::read(&job_bytes).ok_or(CertificateError::Job { got: B256::ZERO, expected })?;
        let certificate = Self { bundle, job_bytes, job, named: Vec::new(), statement, signature };
        certificate.bind()?;
        Ok(certificate)
    }

    /// The same with the checkers that its customer named.
    ///
    /// # Errors
    /// [`CertificateError::Named`] if they are not those of the proved window.
    pub fn naming(mut self, named: Vec<Address>) -> Result<Self, CertificateError> {
        self.named = named;
        self.bind()?;
        Ok(self)
    }

    /// Reads the fields after `format`.
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, ParseError> {
        let bundle = Bundle::read_nested(Fields::open(fields.take("bundle")?, "bundle")?)?;
        let job_bytes = fields.bytes("job")?;
        let job = Job::read(&job_bytes)
            .ok_or(ParseError::Form { field: "job", want: "a job spec as specs/0003-job.md has it" })?;
        let named = if fields.has("named") { read_named(&mut fields)? } else { Vec::new() };
        let statement = CustomerStatement::read(Fields::open(fields.take("statement")?, "statement")?)?;
        let signature = fields.fixed("signature")?;
        fields.close()?;
        Ok(Self { bundle, job_bytes, job, named, statement, signature })
    }

    /// The file's one written form: fields in the order of the spec, no white space.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Writer::object();
        out.text("format", CERTIFICATE_FORMAT);
        out.raw("bundle", &self.bundle.to_json());
        out.bytes("job", &self.job_bytes);
        if !self.named.is_empty() {
            out.list("named", &self.named);
        }
        out.raw("statement", &self.statement.write());
        out.bytes("signature", &self.signature);
        out.finish()
    }

    /// Whether job, statement and claim belong together; the claim itself is proved elsewhere.
    pub(crate) fn bind(&self) -> Result<(), CertificateError> {
        let order = self.bundle.claim.statement.order().ok_or(CertificateError::Kind)?;
        if order.job_hash != self.job.hash {
            return Err(CertificateError::Job { got: self.job.hash, expected: order.job_hash });
        }
        if order.units != self.job.units {
            return Err(CertificateError::Units { got: self.job.units, expected: order.units });
        }
        if let Statement::JobAudit { audit, .. } = &self.bundle.claim.statement
            && audit.status() != WindowStatus::None
        {
            let pairs = [("class", audit.class(), self.job.class), ("segments", audit.segments(), self.job.segments)];
            for (field, got, expected) in pairs {
                if got != expected {
                    return Err(CertificateError::Audit { field, got, expected });
                }
            }
        }
        if !self.named.is_empty() {
            let expected = match &self.bundle.claim.statement {
                Statement::JobAudit { audit, .. } => audit.named(),
                _ => B256::ZERO,
            };
            let got = hash_of_names(&self.named);
            if got != expected {
                return Err(CertificateError::Named { got, expected });
            }
        }
        let digest = self.statement.digest(self.bundle.chain_id, order);
        if recover(&self.signature, digest) == Some(order.customer) { Ok(()) } else { Err(CertificateError::Signature) }
    }
}

/// The optional field `named`: absent rather than empty.
fn read_named(fields: &mut Fields<'_>) -> Result<Vec<Address>, ParseError> {
    let names = fields.list("named", NAMED_MAX)?;
    if names.is_empty() {
        return Err(ParseError::Form { field: "named", want: "1 to 4 addresses" });
    }
    let address = |name: &Bytes| {
        let bytes: Result<[u8; 20], _> = name.as_ref().try_into();
        let wrong = ParseError::Length { field: "named", got_bytes: name.len(), want_bytes: 20 };
        bytes.map(Address::from).map_err(|_| wrong)
    };
    names.iter().map(address).collect()
}

/// As the contract hashes a list of names: each address as a word (specs/0008-audit.md §13).
fn hash_of_names(named: &[Address]) -> B256 {
    keccak256(named.iter().flat_map(|name| name.into_word().0).collect::<Vec<u8>>())
}

/// Who signed; only one form of each signature is taken.
pub(crate) fn recover(signature: &[u8; 65], digest: B256) -> Option<Address> {
    let parity = match signature.last() {
        Some(27) => false,
        Some(28) => true,
        _ => return None,
    };
    let signature = Signature::from_bytes_and_parity(signature.get(..64)?, parity);
    if signature.normalize_s().is_some() {
        return None;
    }
    signature.recover_address_from_prehash(&digest).ok()
}

impl Statement {
    /// The order that a claim is about, if it is about one.
    #[must_use]
    pub fn order(&self) -> Option<&Order> {
        match self {
            Self::JobResult { order, .. } | Self::JobAudit { order, .. } => Some(order),
            _ => None,
        }
    }
}
