//! Receipts in their EIP-2718 envelopes.

use alloy_consensus::{Eip658Value, Receipt as Body, ReceiptWithBloom, TxType};
use alloy_primitives::Log;
use keystead_types::Receipt;

/// What a receipt says.
pub(crate) struct Parts {
    pub(crate) kind: TxType,
    /// Success or failure; the state root after it before Byzantium.
    pub(crate) status: Eip658Value,
    /// Gas of this and all transactions before it in the block.
    pub(crate) cumulative_gas_used: u64,
    pub(crate) logs: Vec<Log>,
}

/// The receipt with its bloom.
pub(crate) fn receipt(parts: Parts) -> Receipt {
    let body = Body { status: parts.status, cumulative_gas_used: parts.cumulative_gas_used, logs: parts.logs };
    let receipt = ReceiptWithBloom::from(body);
    match parts.kind {
        TxType::Legacy => Receipt::Legacy(receipt),
        TxType::Eip2930 => Receipt::Eip2930(receipt),
        TxType::Eip1559 => Receipt::Eip1559(receipt),
        TxType::Eip4844 => Receipt::Eip4844(receipt),
        TxType::Eip7702 => Receipt::Eip7702(receipt),
    }
}
