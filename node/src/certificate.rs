//! A certificate as JSON, hostile or ours.
//!
//! Spec: specs/0001-certificate.md §2.

use alloy_primitives::{B256, FixedBytes, U64};
use keystead_types::{Certificate, SIGNATURE_BYTES};
use serde::{Deserialize, Serialize};

/// The fields of a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CertificateForm {
    epoch: U64,
    view: U64,
    parent_view: U64,
    block_hash: B256,
    signature: FixedBytes<SIGNATURE_BYTES>,
}

impl From<CertificateForm> for Certificate {
    fn from(form: CertificateForm) -> Self {
        Self {
            epoch: form.epoch.to(),
            view: form.view.to(),
            parent_view: form.parent_view.to(),
            block_hash: form.block_hash,
            signature: form.signature.0,
        }
    }
}

impl From<Certificate> for CertificateForm {
    fn from(certificate: Certificate) -> Self {
        Self {
            epoch: U64::from(certificate.epoch),
            view: U64::from(certificate.view),
            parent_view: U64::from(certificate.parent_view),
            block_hash: certificate.block_hash,
            signature: certificate.signature.into(),
        }
    }
}
