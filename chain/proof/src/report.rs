//! The answer of a verification, for programs and for people.
//!
//! Spec: specs/0002-proof-bundle.md §1 and §5.

use crate::{
    beacon::BeaconProof,
    bundle::ParseError,
    certificate::CertificateError,
    claim::Claim,
    header::HeaderError,
    map::{MapFacts, MapFault},
    market::OrderError,
    outputs::Results,
    signature::{KeyError, SignatureError},
    time::{Span, Utc},
    trie::PathError,
    value::ValueError,
};
use alloy_primitives::B256;
use std::fmt;

/// The steps of a verification, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The bytes are a bundle.
    Parse = 1,
    /// The headers lead from the certified block to the last one.
    Headers = 2,
    /// The claim is about the last header.
    Binding = 3,
    /// The trie nodes lead to a value or to absence.
    Path = 4,
    /// The network key signed the certificate.
    Certificate = 5,
    /// The block is young enough.
    Age = 6,
    /// The certified value is the claimed one.
    Value = 7,
}

impl Step {
    /// Number of the step, from 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Name of the step.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Headers => "headers",
            Self::Binding => "binding",
            Self::Path => "path",
            Self::Certificate => "certificate",
            Self::Age => "age",
            Self::Value => "value",
        }
    }
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// Which step.
    pub step: Step,
    /// True if the next step was taken; false in the last entry of a report that is not *proved*.
    pub passed: bool,
    /// One sentence without a full stop.
    pub sentence: String,
}

/// The three answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The certified chain says what the claim says.
    Proved,
    /// The certified chain contradicts the claim.
    ProvedFalse(Contradiction),
    /// Neither; nothing may be concluded.
    NotProved(Reason),
}

impl Verdict {
    /// The answer in words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::ProvedFalse(_) => "proved false",
            Self::NotProved(_) => "not proved",
        }
    }

    /// Exit code of a command that prints it: 0, 1 or 2.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Proved => 0,
            Self::ProvedFalse(_) => 1,
            Self::NotProved(_) => 2,
        }
    }
}

/// What the certified block holds instead of what is claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certified {field} is {certified}, the claimed one {claimed}")]
pub struct Contradiction {
    /// Field of the claim.
    pub field: &'static str,
    /// The claim's value.
    pub claimed: String,
    /// The block's value.
    pub certified: String,
}

/// Why nothing is proved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes are no bundle.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The headers do not lead to the block of the claim.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A path proves nothing.
    #[error("{path}: {source}")]
    Path {
        /// Field of the claim; for the order's slots with the slot's number.
        path: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A path leads to something of another kind.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The market's words are no order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The parts of a result certificate do not belong together.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The parts of a map's certificate do not belong together.
    #[error(transparent)]
    Map(#[from] Box<MapFault>),
    /// The reader's network key is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is not signed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The block is too old for what is claimed.
    #[error("stale: the block is {} old, at most {} are allowed", Span(*age_ms), Span(*max_ms))]
    Stale {
        /// Age of the block in milliseconds.
        age_ms: u64,
        /// Greatest age allowed, inclusive.
        max_ms: u64,
    },
    /// The block is from the future: the reader's clock or the network's is wrong.
    #[error("the block is {} ahead of this clock, at most {} are allowed", Span(*lead_ms), Span(*max_ms))]
    Future {
        /// Lead of the block in milliseconds.
        lead_ms: u64,
        /// Greatest lead allowed, inclusive.
        max_ms: u64,
    },
}

impl From<MapFault> for Reason {
    fn from(fault: MapFault) -> Self {
        Self::Map(Box::new(fault))
    }
}

/// The block that a verified certificate stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    /// Number of the block of the claim.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its time in Unix milliseconds.
    pub time_ms: u64,
    /// How long ago that was, in milliseconds; 0 for a block ahead of the clock.
    pub age_ms: u64,
}

/// The answer of a verification. `Display` is the whole answer in plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// The steps taken, in order; the last one decided.
    pub steps: Vec<StepResult>,
    /// The claim as parsed, true or not; `None` if the bytes are no bundle.
    pub claim: Option<Claim>,
    /// What the certificate of a map is about, as parsed, if the file is one instead of a bundle.
    pub map: Option<MapFacts>,
    /// What a proved claim about an order, or the proved certificate of a map, means for whoever wants to rely on the result: sentences
    /// without full stops, empty if it is not proved or about something else.
    pub meaning: Vec<String>,
    /// What the outputs of the order or of the map are, for whoever holds files; `None` if that is not proved, or nothing was delivered.
    pub results: Option<Results>,
    /// The beacon value as parsed, true or not, if the file holds one instead of a bundle.
    pub beacon: Option<BeaconProof>,
    /// The block of the claim; `None` until its certificate is verified, because before nobody vouches for it.
    pub block: Option<BlockFacts>,
}

impl Report {
    /// The step that decided.
    #[must_use]
    pub fn step(&self) -> Step {
        self.steps.last().map_or(Step::Parse, |last| last.step)
    }

    /// What the file is about, in one line, true or not: its claim, its map or its beacon value. `None` if it is no such file.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        let claim = self.claim.as_ref().map(ToString::to_string);
        let map = || self.map.as_ref().map(ToString::to_string);
        claim.or_else(map).or_else(|| self.beacon.as_ref().map(ToString::to_string))
    }

    /// The claim, if it is proved.
    #[must_use]
    pub fn proved(&self) -> Option<&Claim> {
        self.claim.as_ref().filter(|_| self.verdict == Verdict::Proved)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict.name())?;
        match &self.verdict {
            Verdict::Proved => {}
            Verdict::ProvedFalse(contradiction) => write!(f, ": {contradiction}")?,
            Verdict::NotProved(reason) => write!(f, ": {reason}")?,
        }
        match self.about() {
            Some(about) => writeln!(f, "\nclaim: {about}")?,
            None => writeln!(f, "\nclaim: unreadable")?,
        }
        for line in &self.meaning {
            writeln!(f, "means: {line}")?;
        }
        match &self.block {
            None if self.beacon.is_some() => writeln!(f, "block: none, a beacon value needs only the network key")?,
            Some(BlockFacts { number, hash, time_ms, age_ms }) => {
                writeln!(f, "block: {number}, {hash}")?;
                writeln!(f, "time:  {}, {} ago", Utc(*time_ms), Span(*age_ms))?;
            }
            None => writeln!(f, "block: unknown, no verified certificate")?,
        }
        for StepResult { step, passed, sentence } in &self.steps {
            let mark = if *passed { "ok  " } else { "stop" };
            writeln!(f, "  {} {:<12}{mark}  {sentence}", step.number(), step.name())?;
        }
        Ok(())
    }
}
