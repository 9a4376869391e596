//! What `keystead_getProof` is asked for: a claim's name without its value.
//!
//! Spec: specs/0002-proof-bundle.md §8.

use alloy_primitives::{Address, B256, U64};
use serde::{Deserialize, Serialize};

/// A request for a bundle. Numbers travel as hexadecimal quantities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// An account.
    Account {
        /// Which account.
        address: Address,
        /// Block number; the newest provable one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<U64>,
    },
    /// A storage slot; the answer claims its value, or its absence.
    #[serde(alias = "storage-absent")]
    Storage {
        /// Whose storage.
        address: Address,
        /// Which slot.
        slot: B256,
        /// Block number; the newest provable one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<U64>,
    },
    /// A transaction.
    Transaction {
        /// Its hash.
        transaction_hash: B256,
    },
    /// The receipt of a transaction.
    Receipt {
        /// The transaction's hash.
        transaction_hash: B256,
    },
    /// One log of a transaction.
    Log {
        /// The transaction's hash.
        transaction_hash: B256,
        /// Position in the transaction's receipt, from 0.
        receipt_log_index: U64,
    },
    /// An order of the market.
    JobResult {
        /// The order's number.
        order: U64,
        /// Block number; the newest provable one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<U64>,
    },
    /// An order of the market that others check, with its audit.
    JobAudit {
        /// The order's number.
        order: U64,
        /// Block number; the newest provable one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<U64>,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn requests_read_as_the_spec_writes_them() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        let order = read(r#"{"kind":"job-result","order":"0x7"}"#).unwrap();
        assert_eq!(order, Request::JobResult { order: U64::from(7), block: None });
        let address = "0x4b53540000000000000000000000000000000002";
        let slot = format!("0x{}", "00".repeat(32));
        for kind in ["storage", "storage-absent"] {
            let text = format!(r#"{{"kind":"{kind}","address":"{address}","slot":"{slot}","block":"0x2a"}}"#);
            assert!(matches!(read(&text), Ok(Request::Storage { block: Some(_), .. })), "{text}");
        }
        let hash = format!("0x{}", "11".repeat(32));
        let log = read(&format!(r#"{{"kind":"log","transactionHash":"{hash}","receiptLogIndex":"0x0"}}"#)).unwrap();
        assert!(matches!(log, Request::Log { .. }));
        assert_eq!(serde_json::from_str::<Request>(&serde_json::to_string(&log).unwrap()).unwrap(), log);
        assert!(read(&format!(r#"{{"kind":"log","transactionHash":"{hash}"}}"#)).is_err());
        assert!(read(&format!(r#"{{"kind":"receipt","transactionHash":"{hash}","x":"0x0"}}"#)).is_err());
    }
}
