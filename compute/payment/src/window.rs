//! A window of units: what the provider reports, and the proof that the customer has its outputs.

use crate::voucher::{Malformed, decode_message};
use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use keystead_job::{
    commitment::{Secret, Tree},
    step::audited_root,
};

/// The provider's statement that a window is done; its outputs and its secret travel beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Report {
    /// The channel.
    pub channel_id: B256,
    /// Number of the window, from 1.
    pub window: u64,
    /// Units in it.
    pub units: u32,
    /// Commitment over its salted unit results (specs/0003-job.md section 4); in an audited channel [`audited_root`] of it.
    pub root: B256,
}

/// Why a delivery is not what its report says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Another number of outputs arrived.
    #[error("the delivery has another number of outputs: window={window} got={got} reported={reported}")]
    UnitCount {
        /// The window.
        window: u64,
        /// Outputs that arrived.
        got: usize,
        /// Units in the report.
        reported: u32,
    },
    /// No tree has so many leaves, or none.
    #[error("the outputs form no commitment")]
    Tree(#[from] keystead_job::commitment::Error),
    /// The outputs give another root.
    #[error("the outputs do not give the reported root: window={window} got={got} reported={reported}")]
    RootMismatch {
        /// The window.
        window: u64,
        /// The root of what arrived.
        got: B256,
        /// The root in the report.
        reported: B256,
    },
}

/// Longest message with a report: two 32-byte words and two numbers with their heads.
pub const REPORT_BYTES_MAX: usize = 84;

impl Report {
    /// The message to the customer: RLP, at most [`REPORT_BYTES_MAX`] bytes. Spec: specs/0009-channel.md section 11.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads such a message; hostile bytes are fine. One encoding per value.
    ///
    /// # Errors
    /// [`Malformed`]: drop it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        decode_message(bytes, REPORT_BYTES_MAX)
    }

    /// Compares what arrived with the report: the blob names of all outputs in unit order, and the window's secret. In an audited channel
    /// with the name of the list of the window's steps, as the receiver knows it.
    ///
    /// # Errors
    /// [`DeliveryError`]: nothing is owed for this report. Ask for the delivery again, or stop.
    pub fn receive(
        self,
        secret: &Secret,
        output_hashes: &[B256],
        steps: Option<B256>,
    ) -> Result<Received, DeliveryError> {
        let window = self.window;
        if usize::try_from(self.units) != Ok(output_hashes.len()) {
            return Err(DeliveryError::UnitCount { window, got: output_hashes.len(), reported: self.units });
        }
        let commitment = Tree::new(secret, output_hashes)?.root();
        let got = steps.map_or(commitment, |steps| audited_root(commitment, steps));
        if got != self.root {
            return Err(DeliveryError::RootMismatch { window, got, reported: self.root });
        }
        Ok(Received(self))
    }
}

/// A report whose outputs are here and give its root: only for this a voucher is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received(Report);

impl Received {
    /// The report.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.0
    }
}
