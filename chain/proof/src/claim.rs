//! What a bundle claims, with the trie paths that decide it.
//!
//! Spec: specs/0002-proof-bundle.md §3.

use crate::{
    audit::{Audit, WINDOW_SLOTS, WindowStatus},
    bundle::ParseError,
    json::{self, Fields, Writer},
    market::{ORDER_SLOTS, Order, OrderMode},
    trie::NODES_MAX,
    value::TOPICS_MAX,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Log, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use std::fmt;

/// Longest log data that [`Claim`] spells out in words, in bytes.
const DATA_BYTES_SHOWN: usize = 64;

/// Trie nodes from the root down, as RLP; at most [`NODES_MAX`].
pub type Path = Vec<Bytes>;

/// A statement about the state or the content of one block.
///
/// `Display` gives the claim in words, without saying whether it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Number of the block.
    pub block: u64,
    /// What is stated about it.
    pub statement: Statement,
}

/// An account as its leaf in the state trie holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Transactions sent or contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak256 of the code.
    pub code_hash: B256,
    /// Root of the storage trie.
    pub storage_root: B256,
}

impl AccountState {
    /// The account that does not exist.
    pub const EMPTY: Self =
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY, storage_root: EMPTY_ROOT_HASH };
}

/// That a transaction stands at an index of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionProof {
    /// Position in the block, from 0.
    pub index: u64,
    /// keccak256 of the EIP-2718 bytes.
    pub hash: B256,
    /// Path in the transactions trie.
    pub nodes: Path,
}

/// The kinds of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// An account is in this state; [`AccountState::EMPTY`] if it does not exist.
    Account {
        /// Which account.
        address: Address,
        /// Its state after the block.
        account: AccountState,
        /// Path in the state trie.
        account_nodes: Path,
    },
    /// A storage slot holds a value that is not zero.
    Storage {
        /// Whose storage.
        address: Address,
        /// Which slot.
        slot: B256,
        /// The word after the block; never zero.
        value: B256,
        /// Path in the state trie.
        account_nodes: Path,
        /// Path in the account's storage trie.
        storage_nodes: Path,
    },
    /// A storage slot holds nothing.
    StorageAbsent {
        /// Whose storage.
        address: Address,
        /// Which slot.
        slot: B256,
        /// Path in the state trie.
        account_nodes: Path,
        /// Path in the account's storage trie; empty if the account does not exist.
        storage_nodes: Path,
    },
    /// A transaction is in the block.
    Transaction(TransactionProof),
    /// A transaction of the block ended so.
    Receipt {
        /// Which transaction.
        transaction: TransactionProof,
        /// True unless it reverted.
        succeeded: bool,
        /// Gas used in the block up to and including this transaction.
        cumulative_gas_used: u64,
        /// Path in the receipts trie.
        receipt_nodes: Path,
    },
    /// A transaction of the block emitted a log.
    Log {
        /// Which transaction.
        transaction: TransactionProof,
        /// Position in the transaction's receipt, from 0.
        receipt_log_index: u64,
        /// The log.
        log: Log,
        /// Path in the receipts trie.
        receipt_nodes: Path,
    },
    /// The market holds this order.
    JobResult {
        /// The order after the block.
        order: Box<Order>,
        /// Path to the market's account in the state trie.
        account_nodes: Path,
        /// A path in the market's storage trie for each of [`crate::order_slots`].
        storage_nodes: Vec<Path>,
    },
    /// The market holds this order, and the audit this window of it.
    JobAudit {
        /// The order after the block; its mode is not *own*.
        order: Box<Order>,
        /// Its audit after the block.
        audit: Box<Audit>,
        /// Path to the market's account in the state trie.
        account_nodes: Path,
        /// A path in the market's storage trie for each of [`crate::order_slots`], and one for [`crate::bond_slot`].
        storage_nodes: Vec<Path>,
        /// Path to the audit's account in the state trie.
        audit_account_nodes: Path,
        /// A path in the audit's storage trie for each of [`crate::window_slots`].
        audit_nodes: Vec<Path>,
    },
}

/// Paths in the market's storage that an order with an audit has.
pub(crate) const AUDITED_ORDER_SLOTS: usize = ORDER_SLOTS + 1;

impl Statement {
    /// The `kind` in bundles.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Account { .. } => "account",
            Self::Storage { .. } => "storage",
            Self::StorageAbsent { .. } => "storage-absent",
            Self::Transaction(_) => "transaction",
            Self::Receipt { .. } => "receipt",
            Self::Log { .. } => "log",
            Self::JobResult { .. } => "job-result",
            Self::JobAudit { .. } => "job-audit",
        }
    }
}

impl Claim {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        let kind = fields.text("kind")?;
        let block = fields.number("block")?;
        let statement = match kind {
            "account" => Statement::Account {
                address: fields.address("address")?,
                account: AccountState {
                    nonce: fields.number("nonce")?,
                    balance: fields.quantity("balance", 256)?,
                    code_hash: fields.word("codeHash")?,
                    storage_root: fields.word("storageRoot")?,
                },
                account_nodes: fields.list("accountNodes", NODES_MAX)?,
            },
            "storage" => Statement::Storage {
                address: fields.address("address")?,
                slot: fields.word("slot")?,
                value: nonzero(fields.word("value")?)?,
                account_nodes: fields.list("accountNodes", NODES_MAX)?,
                storage_nodes: fields.list("storageNodes", NODES_MAX)?,
            },
            "storage-absent" => Statement::StorageAbsent {
                address: fields.address("address")?,
                slot: fields.word("slot")?,
                account_nodes: fields.list("accountNodes", NODES_MAX)?,
                storage_nodes: fields.list("storageNodes", NODES_MAX)?,
            },
            "transaction" => Statement::Transaction(TransactionProof::read(fields)?),
            "receipt" => Statement::Receipt {
                transaction: TransactionProof::read(fields)?,
                succeeded: succeeded(fields)?,
                cumulative_gas_used: fields.number("cumulativeGasUsed")?,
                receipt_nodes: fields.list("receiptNodes", NODES_MAX)?,
            },
            "log" => Statement::Log {
                transaction: TransactionProof::read(fields)?,
                receipt_log_index: fields.number("receiptLogIndex")?,
                log: read_log(fields)?,
                receipt_nodes: fields.list("receiptNodes", NODES_MAX)?,
            },
            "job-result" => Statement::JobResult {
                order: Box::new(Order::read(fields)?),
                account_nodes: fields.list("accountNodes", NODES_MAX)?,
                storage_nodes: read_paths(fields, "storageNodes", ORDER_SLOTS)?,
            },
            "job-audit" => Statement::JobAudit {
                order: Box::new(read_audited(fields)?),
                audit: Box::new(Audit::read(fields)?),
                account_nodes: fields.list("accountNodes", NODES_MAX)?,
                storage_nodes: read_paths(fields, "storageNodes", AUDITED_ORDER_SLOTS)?,
                audit_account_nodes: fields.list("auditAccountNodes", NODES_MAX)?,
                audit_nodes: read_paths(fields, "auditNodes", WINDOW_SLOTS)?,
            },
            _ => return Err(ParseError::Form { field: "kind", want: "a kind of claim that this version knows" }),
        };
        Ok(Self { block, statement })
    }

    pub(crate) fn write(&self) -> String {
        let mut out = Writer::object();
        out.text("kind", self.statement.kind());
        out.number("block", self.block);
        match &self.statement {
            Statement::Account { address, account, account_nodes } => {
                out.bytes("address", address.as_slice());
                out.number("nonce", account.nonce);
                out.quantity("balance", account.balance);
                out.bytes("codeHash", account.code_hash.as_slice());
                out.bytes("storageRoot", account.storage_root.as_slice());
                out.list("accountNodes", account_nodes);
            }
            Statement::Storage { address, slot, value, account_nodes, storage_nodes } => {
                out.bytes("address", address.as_slice());
                out.bytes("slot", slot.as_slice());
                out.bytes("value", value.as_slice());
                out.list("accountNodes", account_nodes);
                out.list("storageNodes", storage_nodes);
            }
            Statement::StorageAbsent { address, slot, account_nodes, storage_nodes } => {
                out.bytes("address", address.as_slice());
                out.bytes("slot", slot.as_slice());
                out.list("accountNodes", account_nodes);
                out.list("storageNodes", storage_nodes);
            }
            Statement::Transaction(transaction) => {
                transaction.write(&mut out);
                out.list("transactionNodes", &transaction.nodes);
            }
            Statement::Receipt { transaction, succeeded, cumulative_gas_used, receipt_nodes } => {
                transaction.write(&mut out);
                out.number("status", u64::from(*succeeded));
                out.number("cumulativeGasUsed", *cumulative_gas_used);
                out.list("transactionNodes", &transaction.nodes);
                out.list("receiptNodes", receipt_nodes);
            }
            Statement::Log { transaction, receipt_log_index, log, receipt_nodes } => {
                transaction.write(&mut out);
                out.number("receiptLogIndex", *receipt_log_index);
                out.bytes("address", log.address.as_slice());
                out.list("topics", log.topics());
                out.bytes("data", &log.data.data);
                out.list("transactionNodes", &transaction.nodes);
                out.list("receiptNodes", receipt_nodes);
            }
            Statement::JobResult { order, account_nodes, storage_nodes } => {
                order.write(&mut out);
                out.list("accountNodes", account_nodes);
                out.lists("storageNodes", storage_nodes);
            }
            Statement::JobAudit { order, audit, account_nodes, storage_nodes, audit_account_nodes, audit_nodes } => {
                order.write(&mut out);
                audit.write(&mut out);
                out.list("accountNodes", account_nodes);
                out.lists("storageNodes", storage_nodes);
                out.list("auditAccountNodes", audit_account_nodes);
                out.lists("auditNodes", audit_nodes);
            }
        }
        out.finish()
    }
}

impl TransactionProof {
    fn read(fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            index: fields.number("transactionIndex")?,
            hash: fields.word("transactionHash")?,
            nodes: fields.list("transactionNodes", NODES_MAX)?,
        })
    }

    /// Writes the naming fields; the path comes after the fields of the kind.
    fn write(&self, out: &mut Writer) {
        out.number("transactionIndex", self.index);
        out.bytes("transactionHash", self.hash.as_slice());
    }
}

fn nonzero(value: B256) -> Result<B256, ParseError> {
    if value.is_zero() {
        return Err(ParseError::Form {
            field: "value",
            want: "a word that is not zero; zero is claimed by storage-absent",
        });
    }
    Ok(value)
}

fn succeeded(fields: &mut Fields<'_>) -> Result<bool, ParseError> {
    match fields.number("status")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ParseError::Form { field: "status", want: "0x0 or 0x1" }),
    }
}

fn read_log(fields: &mut Fields<'_>) -> Result<Log, ParseError> {
    let address = fields.address("address")?;
    let topics = fields.array("topics", TOPICS_MAX)?;
    let topics = topics.iter().map(|topic| json::fixed::<32>(json::text(topic, "topics")?, "topics").map(B256::from));
    Ok(Log::new_unchecked(address, topics.collect::<Result<_, _>>()?, fields.bytes("data")?))
}

/// An order with a window: one that the customer checks alone has none.
fn read_audited(fields: &mut Fields<'_>) -> Result<Order, ParseError> {
    let order = Order::read(fields)?;
    if order.mode == OrderMode::Own {
        return Err(ParseError::Form { field: "mode", want: "audited or private" });
    }
    Ok(order)
}

/// A path for each slot.
fn read_paths(fields: &mut Fields<'_>, name: &'static str, count: usize) -> Result<Vec<Path>, ParseError> {
    let paths = fields.array(name, count)?;
    if paths.len() != count {
        return Err(ParseError::Form { field: name, want: "a path for each of the slots" });
    }
    paths.into_iter().map(|path| json::list(path, name, NODES_MAX)).collect()
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in block {}, ", self.block)?;
        match &self.statement {
            Statement::Account { address, account, .. } => {
                let AccountState { nonce, balance, code_hash, storage_root } = account;
                write!(f, "account {address:#x} has nonce {nonce}, balance {balance} wei, ")?;
                write!(f, "code hash {code_hash}, storage root {storage_root}")
            }
            Statement::Storage { address, slot, value, .. } => {
                write!(f, "storage slot {slot} of {address:#x} holds {value}")
            }
            Statement::StorageAbsent { address, slot, .. } => {
                write!(f, "storage slot {slot} of {address:#x} holds nothing")
            }
            Statement::Transaction(transaction) => {
                write!(f, "the transaction at index {} is {}", transaction.index, transaction.hash)
            }
            Statement::Receipt { transaction, succeeded, cumulative_gas_used, .. } => {
                let end = if *succeeded { "succeeded" } else { "failed" };
                write!(f, "transaction {} at index {} {end}, ", transaction.hash, transaction.index)?;
                write!(f, "the block's gas used after it is {cumulative_gas_used}")
            }
            Statement::Log { transaction, receipt_log_index, log, .. } => {
                write!(f, "transaction {} at index {} ", transaction.hash, transaction.index)?;
                write!(f, "emitted as its log {receipt_log_index}: address {:#x}, topics [", log.address)?;
                for (index, topic) in log.topics().iter().enumerate() {
                    write!(f, "{}{topic}", if index == 0 { "" } else { ", " })?;
                }
                match log.data.data.len() {
                    length if length > DATA_BYTES_SHOWN => write!(f, "], data of {length} bytes"),
                    _ => write!(f, "], data {}", log.data.data),
                }
            }
            Statement::JobResult { order, .. } => write_order(order, f),
            Statement::JobAudit { order, audit, .. } => {
                write_order(order, f)?;
                write_audit(audit, f)
            }
        }
    }
}

fn write_order(order: &Order, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Order { number, status, reason, units, price_wei_per_unit, customer, provider, .. } = order;
    if *status == crate::OrderStatus::None {
        return write!(f, "the market has no order {number}");
    }
    write!(f, "order {number} of the market is {status}")?;
    if *reason != crate::OrderReason::None {
        write!(f, " ({reason}, evidence {})", order.evidence_hash)?;
    }
    write!(f, ": job {}, {units} units at {price_wei_per_unit} ", order.job_hash)?;
    if order.is_in_kst() {
        write!(f, "wei, ")?;
    } else {
        write!(f, "smallest units of the token {:#x}, ", order.token)?;
    }
    write!(f, "customer {customer:#x}, provider {provider:#x}, ")?;
    write!(f, "commitment {}, result root {}", order.commitment, order.result_root)?;
    if order.stopped {
        write!(f, ", stopped by the customer")?;
    }
    match order.mode {
        crate::OrderMode::Own if order.stopped => write!(f, ", {} units paid", order.paid_units),
        crate::OrderMode::Own => Ok(()),
        crate::OrderMode::Audited => write!(f, ", audited, {} units paid", order.paid_units),
        crate::OrderMode::Private => {
            write!(f, ", private (checked by nobody that the beacon drew), {} units paid", order.paid_units)
        }
    }
}

fn write_audit(audit: &Audit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if audit.status() == WindowStatus::None {
        return write!(f, "; it has no window");
    }
    write!(f, "; its window is {}: class {}, {} units, ", audit.status().name(), audit.class(), audit.units())?;
    write!(
        f,
        "{} ppm drawn, {} checkers each, {} found right, ",
        audit.rate_ppm(),
        audit.checkers(),
        audit.verified()
    )?;
    write!(f, "{} unpaid, a bond of {} wei was agreed", audit.unpaid(), audit.bond_wei())
}
