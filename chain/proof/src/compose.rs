//! Making bundles from what a node has: headers, transactions, receipts and state proofs.
//!
//! # Invariants
//! A bundle that [`Bundle::new`] returns passes every step of a verification but the signature and the age.
//!
//! Spec: specs/0002-proof-bundle.md §2 and §3.

use crate::{
    audit::{AUDIT_WORDS, Audit, WINDOW_SLOTS},
    bundle::{BUNDLE_BYTES_MAX, Bundle, HEADERS_MAX},
    claim::{AccountState, Claim, Path, Statement, TransactionProof},
    header,
    json::Writer,
    market::{ORDER_SLOTS, Order, OrderError, OrderMode},
    report::{Contradiction, Reason},
    verify,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, proof::ProofRetainer};
use keystead_types::{Account, Certificate, Header, Receipt, Transaction};
use std::collections::BTreeMap;

/// Why a bundle cannot be made. All but `NoSuchItem` and the limits mean that the parts do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The block has no such transaction or log.
    #[error("no such {item}: index={index} count={count}")]
    NoSuchItem {
        /// `transaction`, `receipt`, `log` or `audit`.
        item: &'static str,
        /// Index asked for.
        index: u64,
        /// How many there are.
        count: usize,
    },
    /// Too many headers lie between the block and its certificate: ask again for a block near a certificate.
    #[error("too many headers to the next certificate: got={got} max={max}")]
    TooManyHeaders {
        /// Headers given.
        got: usize,
        /// Most that a bundle holds.
        max: usize,
    },
    /// The bundle would be too large, for instance because a receipt has more than half a MiB of log data.
    #[error("bundle too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Bytes of the JSON.
        got_bytes: usize,
        /// Largest bundle.
        max_bytes: usize,
    },
    /// The parts do not prove anything together: a bug of the caller.
    #[error("the parts do not fit: {0}")]
    Unfit(#[from] Reason),
    /// The parts prove that the claim is false: a bug of the caller.
    #[error("the claim is false: {0}")]
    False(#[from] Contradiction),
}

impl From<OrderError> for ComposeError {
    fn from(error: OrderError) -> Self {
        Self::Unfit(error.into())
    }
}

impl Bundle {
    /// Puts a bundle together and checks everything but the signature and the age.
    ///
    /// `headers`: from the certified block down to the block of the claim, 1 to [`HEADERS_MAX`].
    ///
    /// # Errors
    /// [`ComposeError`]: nothing that could be handed out.
    pub fn new(
        chain_id: u64,
        certificate: Certificate,
        headers: &[Header],
        claim: Claim,
    ) -> Result<Self, ComposeError> {
        if headers.len() > HEADERS_MAX {
            return Err(ComposeError::TooManyHeaders { got: headers.len(), max: HEADERS_MAX });
        }
        let bundle = Self { chain_id, certificate, headers: encode_headers(headers), claim };
        let last = header::link(&bundle.headers, certificate.block_hash).map_err(Reason::from)?;
        header::bind(&last, bundle.claim.block).map_err(Reason::from)?;
        verify::check(&last.header, &bundle.claim)??;
        let got_bytes = bundle.to_json().len();
        if got_bytes > BUNDLE_BYTES_MAX {
            return Err(ComposeError::TooLarge { got_bytes, max_bytes: BUNDLE_BYTES_MAX });
        }
        Ok(bundle)
    }
}

/// A certificate as JSON (specs/0001-certificate.md §2).
#[must_use]
pub fn certificate_json(certificate: &Certificate) -> String {
    let mut out = Writer::object();
    out.number("epoch", certificate.epoch);
    out.number("view", certificate.view);
    out.number("parentView", certificate.parent_view);
    out.bytes("blockHash", certificate.block_hash.as_slice());
    out.bytes("signature", &certificate.signature);
    out.finish()
}

/// A certificate and the headers from its block downwards, as `keystead_getFinalization` answers.
#[must_use]
pub fn finalization_json(certificate: &Certificate, headers: &[Header]) -> String {
    let mut out = Writer::object();
    out.raw("certificate", &certificate_json(certificate));
    out.list("headers", &encode_headers(headers));
    out.finish()
}

/// The RLP of a header, as a finalization holds it.
#[must_use]
pub fn header_bytes(header: &Header) -> Bytes {
    alloy_rlp::encode(header).into()
}

pub(crate) fn encode_headers(headers: &[Header]) -> Vec<Bytes> {
    headers.iter().map(header_bytes).collect()
}

impl Claim {
    /// Claims an account's state. `account`: nonce, balance and code hash with the storage root, `None` if it does not exist.
    /// `nodes`: path from the state root.
    #[must_use]
    pub fn account(block: u64, address: Address, account: Option<(Account, B256)>, nodes: Path) -> Self {
        let account = account.map_or(AccountState::EMPTY, |(account, storage_root)| AccountState {
            nonce: account.nonce,
            balance: account.balance,
            code_hash: account.code_hash,
            storage_root,
        });
        Self { block, statement: Statement::Account { address, account, account_nodes: nodes } }
    }

    /// Claims the value of a storage slot, or its absence if `value` is zero.
    #[must_use]
    pub fn storage(block: u64, slot: SlotValue, account_nodes: Path, storage_nodes: Path) -> Self {
        let SlotValue { address, slot, value } = slot;
        let slot = B256::from(slot);
        let statement = if value.is_zero() {
            Statement::StorageAbsent { address, slot, account_nodes, storage_nodes }
        } else {
            Statement::Storage { address, slot, value: value.into(), account_nodes, storage_nodes }
        };
        Self { block, statement }
    }

    /// Claims that a transaction stands at `index` of a block with these transactions.
    ///
    /// # Errors
    /// [`ComposeError::NoSuchItem`].
    pub fn transaction(block: u64, transactions: &[Transaction], index: u64) -> Result<Self, ComposeError> {
        let statement = Statement::Transaction(TransactionProof::of(transactions, index)?);
        Ok(Self { block, statement })
    }

    /// Claims how the transaction at `index` of a block with these transactions and receipts ended.
    ///
    /// # Errors
    /// [`ComposeError::NoSuchItem`].
    pub fn receipt(
        block: u64,
        transactions: &[Transaction],
        receipts: &[Receipt],
        index: u64,
    ) -> Result<Self, ComposeError> {
        let receipt = item("receipt", receipts, index)?;
        let statement = Statement::Receipt {
            transaction: TransactionProof::of(transactions, index)?,
            succeeded: receipt.status(),
            cumulative_gas_used: receipt.cumulative_gas_used(),
            receipt_nodes: ordered_path(receipts, index),
        };
        Ok(Self { block, statement })
    }

    /// Claims log number `receipt_log_index` of the receipt of the transaction at `index`.
    ///
    /// # Errors
    /// [`ComposeError::NoSuchItem`].
    pub fn log(
        block: u64,
        transactions: &[Transaction],
        receipts: &[Receipt],
        at: LogPosition,
    ) -> Result<Self, ComposeError> {
        let LogPosition { transaction_index: index, receipt_log_index } = at;
        let receipt = item("receipt", receipts, index)?;
        let statement = Statement::Log {
            transaction: TransactionProof::of(transactions, index)?,
            receipt_log_index,
            log: item("log", receipt.logs(), receipt_log_index)?.clone(),
            receipt_nodes: ordered_path(receipts, index),
        };
        Ok(Self { block, statement })
    }

    /// Claims an order of the market from the words and paths of [`crate::order_slots`], in that order.
    ///
    /// # Errors
    /// [`ComposeError::Unfit`] if the words are no order.
    pub fn job_result(
        block: u64,
        order: u64,
        account_nodes: Path,
        slots: [(U256, Path); ORDER_SLOTS],
    ) -> Result<Self, ComposeError> {
        let words: [U256; ORDER_SLOTS] = std::array::from_fn(|n| slots.get(n).map_or(U256::ZERO, |(word, _)| *word));
        let order = Box::new(Order::from_words(order, &words)?);
        let storage_nodes = slots.into_iter().map(|(_, nodes)| nodes).collect();
        Ok(Self { block, statement: Statement::JobResult { order, account_nodes, storage_nodes } })
    }
}

/// What a node has of an order with an audit: words and paths, in the order in which bundles list them.
#[derive(Clone, Debug)]
pub struct AuditParts {
    /// Path to the market's account.
    pub account_nodes: Path,
    /// Of [`crate::order_slots`].
    pub order: [(U256, Path); ORDER_SLOTS],
    /// Of [`crate::bond_slot`].
    pub bond: (U256, Path),
    /// Path to the audit's account.
    pub audit_account_nodes: Path,
    /// Of [`crate::window_slots`].
    pub window: [(U256, Path); WINDOW_SLOTS],
}

impl Claim {
    /// Claims an order of the market and its audit.
    ///
    /// # Errors
    /// [`ComposeError::NoSuchItem`] if the order has no audit; [`ComposeError::Unfit`] if the words are none.
    pub fn job_audit(block: u64, order: u64, parts: AuditParts) -> Result<Self, ComposeError> {
        let AuditParts { account_nodes, order: slots, bond, audit_account_nodes, window } = parts;
        let number = order;
        let words: [U256; ORDER_SLOTS] = std::array::from_fn(|n| slots.get(n).map_or(U256::ZERO, |(word, _)| *word));
        let order = Box::new(Order::from_words(number, &words)?);
        if order.mode == OrderMode::Own {
            return Err(ComposeError::NoSuchItem { item: "audit", index: number, count: 0 });
        }
        let last = |n| if n == WINDOW_SLOTS { Some(bond.0) } else { None };
        let words: [U256; AUDIT_WORDS] =
            std::array::from_fn(|n| window.get(n).map(|(word, _)| *word).or_else(|| last(n)).unwrap_or_default());
        let audit = Box::new(Audit::from_words(&words)?);
        let storage_nodes = slots.into_iter().chain([bond]).map(|(_, nodes)| nodes).collect();
        let audit_nodes = window.into_iter().map(|(_, nodes)| nodes).collect();
        let statement =
            Statement::JobAudit { order, audit, account_nodes, storage_nodes, audit_account_nodes, audit_nodes };
        Ok(Self { block, statement })
    }
}

/// A storage slot and the word in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotValue {
    /// Whose storage.
    pub address: Address,
    /// Which slot.
    pub slot: U256,
    /// The word; zero if absent.
    pub value: U256,
}

/// Where a log stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// Index of the transaction in the block.
    pub transaction_index: u64,
    /// Index of the log in the transaction's receipt.
    pub receipt_log_index: u64,
}

impl TransactionProof {
    fn of(transactions: &[Transaction], index: u64) -> Result<Self, ComposeError> {
        let hash = *item("transaction", transactions, index)?.tx_hash();
        Ok(Self { index, hash, nodes: ordered_path(transactions, index) })
    }
}

fn item<'a, T>(item: &'static str, items: &'a [T], index: u64) -> Result<&'a T, ComposeError> {
    let found = usize::try_from(index).ok().and_then(|index| items.get(index));
    found.ok_or(ComposeError::NoSuchItem { item, index, count: items.len() })
}

/// Path to an item of the trie that maps RLP(index) to EIP-2718 bytes.
fn ordered_path<T: Encodable2718>(items: &[T], index: u64) -> Path {
    let entries = (0u64..).zip(items).map(|(index, item)| (alloy_rlp::encode(index), item.encoded_2718())).collect();
    prove(&entries, &alloy_rlp::encode(index)).1
}

/// Root of a trie and the path that decides `key` in it, whether the key is there or not.
///
/// `entries`: raw keys (hashed already, if the trie hashes its keys) and values; no key may be a prefix of another. Cost: builds
/// the whole trie, so it is for blocks and tests; `keystead-state` proves from its own tree.
#[must_use]
pub fn prove(entries: &BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8]) -> (B256, Path) {
    if entries.is_empty() {
        return (EMPTY_ROOT_HASH, Path::new());
    }
    let target = Nibbles::unpack(key);
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![target]));
    for (key, value) in entries {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes().into_nodes_sorted();
    // Nodes below 32 bytes are part of their parent; only the root is hashed whatever its size.
    let listed = nodes.into_iter().filter(|(path, node)| path.is_empty() || node.len() >= 32);
    (root, listed.map(|(_, node)| node).collect())
}
