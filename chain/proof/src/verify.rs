//! The seven steps from a bundle's bytes to a verdict.
//!
//! # Invariants
//! No verdict but *not proved* exists before the certificate is verified; no step is skipped; time comes in as a number.
//!
//! Spec: specs/0002-proof-bundle.md §5 and §6.

use crate::{
    audit::{AUDIT_ADDRESS, AUDIT_WORDS, Audit, WindowStatus, bond_slot, window_slots},
    beacon::{self, BeaconProof},
    bundle::{Bundle, Document},
    claim::{AccountState, Claim, Path, Statement, TransactionProof},
    header::{self, Sealed},
    map::{self, MapFacts},
    market::{MARKET_ADDRESS, ORDER_SLOTS, Order, order_slots},
    meaning::{Beside, meaning},
    outputs::Results,
    report::{BlockFacts, Contradiction, Reason, Report, Step, StepResult, Verdict},
    signature::{NetworkKey, verify_certificate},
    time::{Span, Utc},
    trie::walk,
    value::{self, ReceiptFacts},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use keystead_types::{Certificate, Header};

/// Greatest age of a claim about now, in milliseconds, unless the caller gives another.
pub const AGE_MS_MAX_NOW: u64 = 10_000;

/// How far a block may be ahead of the reader's clock, in milliseconds: clocks of phones are off by seconds.
pub const LEAD_MS_MAX: u64 = 60_000;

/// Decides a bundle, a certificate of a result or of a map, or a beacon value's file, for which neither clock nor age matter
/// (specs/0007-beacon.md §7).
///
/// `network_key` is the compressed G2 key of the network that the reader trusts; `now_ms` the reader's clock in Unix
/// milliseconds; `max_age_ms` the greatest age to accept, `None` for the default: [`AGE_MS_MAX_NOW`] for claims about now, none
/// for claims about the past (specs/0002-proof-bundle.md §6).
///
/// Trust: the bundle is hostile. Cost: about two milliseconds, bounded by [`crate::BUNDLE_BYTES_MAX`]; of the certificate of a map a few
/// hashes a step and a walk a slot more, bounded by [`crate::MAP_BYTES_MAX`]. Never panics.
#[must_use]
pub fn verify(bundle_json: &[u8], network_key: &[u8; 96], now_ms: u64, max_age_ms: Option<u64>) -> Report {
    let mut progress = Progress { steps: Vec::with_capacity(7), ..Progress::default() };
    let verdict = match run(&mut progress, bundle_json, network_key, Clock { now_ms, max_age_ms }) {
        Ok(()) => Verdict::Proved,
        Err(Stop { step, verdict, sentence }) => {
            progress.steps.push(StepResult { step, passed: false, sentence });
            verdict
        }
    };
    let Progress { steps, claim, beside, map, meaning: of_map, results: of_map_results, beacon, block } = progress;
    // What is not proved means nothing.
    let proved = claim.as_ref().filter(|_| verdict == Verdict::Proved);
    let meaning = proved.map_or(of_map, |claim| meaning(claim, beside.as_ref()));
    let order = proved.and_then(|claim| claim.statement.order());
    let results = order.map_or(of_map_results, Results::of_order);
    Report { verdict, steps, claim, map, meaning, results, beacon, block }
}

/// What is known so far.
#[derive(Default)]
pub(crate) struct Progress {
    steps: Vec<StepResult>,
    claim: Option<Claim>,
    /// Of a result certificate.
    beside: Option<Beside>,
    pub(crate) map: Option<MapFacts>,
    /// Of the certificate of a map: set once it is proved.
    pub(crate) meaning: Vec<String>,
    /// As `meaning`.
    pub(crate) results: Option<Results>,
    beacon: Option<BeaconProof>,
    block: Option<BlockFacts>,
}

/// The reader's side of the age.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    now_ms: u64,
    max_age_ms: Option<u64>,
}

/// Where and how a verification ended early; the sentence is that of the verdict.
pub(crate) struct Stop {
    step: Step,
    verdict: Verdict,
    sentence: String,
}

impl Stop {
    /// The end in the last step: something else is certified.
    pub(crate) fn contradicted(contradiction: Contradiction) -> Self {
        let sentence = contradiction.to_string();
        Self { step: Step::Value, sentence, verdict: Verdict::ProvedFalse(contradiction) }
    }
}

/// Turns an error of a step into the end of the verification.
pub(crate) trait OrStop<T> {
    fn or_stop(self, step: Step) -> Result<T, Stop>;
}

impl<T, E: Into<Reason>> OrStop<T> for Result<T, E> {
    fn or_stop(self, step: Step) -> Result<T, Stop> {
        self.map_err(|error| {
            let reason = error.into();
            Stop { step, sentence: reason.to_string(), verdict: Verdict::NotProved(reason) }
        })
    }
}

impl Progress {
    pub(crate) fn pass(&mut self, step: Step, sentence: String) {
        self.steps.push(StepResult { step, passed: true, sentence });
    }
}

fn run(progress: &mut Progress, bundle_json: &[u8], network_key: &[u8; 96], clock: Clock) -> Result<(), Stop> {
    let (bundle, certificate) = match Document::from_json(bundle_json).or_stop(Step::Parse)? {
        Document::Bundle(bundle) => (*bundle, None),
        Document::Certificate(certificate) => (certificate.bundle.clone(), Some(certificate)),
        Document::Beacon(proof) => {
            let (bytes, chain_id) = (bundle_json.len(), proof.chain_id);
            progress.pass(Step::Parse, format!("a beacon value in {bytes} bytes, chain {chain_id}"));
            progress.beacon = Some(proof);
            return beacon::run(progress, &proof, network_key);
        }
        Document::Map(map) => {
            let (bytes, chain_id) = (bundle_json.len(), map.chain_id);
            progress.pass(Step::Parse, format!("a certificate of a map in {bytes} bytes, chain {chain_id}"));
            return map::run(progress, &map, network_key, clock);
        }
    };
    let result_certificate = certificate;
    let Bundle { chain_id, certificate, headers, claim } = &bundle;
    let kind = claim.statement.kind();
    let form = if result_certificate.is_some() { "a result certificate with a claim" } else { "a claim" };
    progress.pass(Step::Parse, format!("{form} of kind {kind} in {} bytes, chain {chain_id}", bundle_json.len()));
    progress.claim = Some(claim.clone());

    let sealed = header::link(headers, certificate.block_hash).or_stop(Step::Headers)?;
    progress.pass(Step::Headers, led_by(headers.len()));

    header::bind(&sealed, claim.block).or_stop(Step::Binding)?;
    let mut bound = format!("the claim is about this block, number {}", claim.block);
    if let Some(certificate) = &result_certificate {
        certificate.bind().or_stop(Step::Binding)?;
        let named = certificate.named.clone();
        progress.beside = Some(Beside { job: certificate.job, named, statement: certificate.statement });
        bound.push_str("; the job is the order's, and its customer signed the statement");
    }
    progress.pass(Step::Binding, bound);

    let found = find(&sealed.header, claim).or_stop(Step::Path)?;
    progress.pass(Step::Path, format!("{} trie nodes lead from the header to the value", claim.node_count()));

    vouch(progress, (certificate, *chain_id), &sealed, network_key, clock)?;
    check_age(progress, sealed.time_ms, clock, found.is_about_now())?;

    compare(claim, &found).map_err(Stop::contradicted)?;
    progress.pass(Step::Value, "the certified value is the claimed one".to_owned());
    Ok(())
}

/// What the headers of a file say, once they are linked.
pub(crate) fn led_by(headers: usize) -> String {
    match headers {
        1 => "the certificate names the block's own header".to_owned(),
        count => format!("{count} headers lead from the certified block to its ancestor"),
    }
}

/// The step *certificate*: from here on `sealed` is a fact. `signed`: the certificate and its chain.
pub(crate) fn vouch(
    progress: &mut Progress,
    signed: (&Certificate, u64),
    sealed: &Sealed,
    network_key: &[u8; 96],
    clock: Clock,
) -> Result<(), Stop> {
    let (certificate, chain_id) = signed;
    let key = NetworkKey::from_bytes(network_key).or_stop(Step::Certificate)?;
    verify_certificate(certificate, chain_id, &key).or_stop(Step::Certificate)?;
    let Certificate { epoch, view, .. } = certificate;
    progress.pass(Step::Certificate, format!("the network key signed it as final in epoch {epoch}, view {view}"));
    let Sealed { header, hash, time_ms } = sealed;
    let age_ms = clock.now_ms.saturating_sub(*time_ms);
    progress.block = Some(BlockFacts { number: header.number, hash: *hash, time_ms: *time_ms, age_ms });
    Ok(())
}

/// The step *age*.
pub(crate) fn check_age(progress: &mut Progress, time_ms: u64, clock: Clock, about_now: bool) -> Result<(), Stop> {
    let sentence = age(time_ms, clock, about_now).or_stop(Step::Age)?;
    progress.pass(Step::Age, sentence);
    Ok(())
}

fn age(time_ms: u64, clock: Clock, about_now: bool) -> Result<String, Reason> {
    let lead_ms = time_ms.saturating_sub(clock.now_ms);
    if lead_ms > LEAD_MS_MAX {
        return Err(Reason::Future { lead_ms, max_ms: LEAD_MS_MAX });
    }
    let age_ms = clock.now_ms.saturating_sub(time_ms);
    let max_ms = clock.max_age_ms.or_else(|| about_now.then_some(AGE_MS_MAX_NOW));
    match max_ms {
        Some(max_ms) if age_ms > max_ms => Err(Reason::Stale { age_ms, max_ms }),
        Some(max_ms) => {
            Ok(format!("the block of {} is {} old, {} are allowed", Utc(time_ms), Span(age_ms), Span(max_ms)))
        }
        None => Ok(format!("the block of {} is {} old; what it says stays true", Utc(time_ms), Span(age_ms))),
    }
}

/// What the paths of a claim lead to.
pub(crate) enum Found {
    Account(AccountState),
    Slot(U256),
    Transaction(Option<B256>),
    Receipt { transaction: Option<B256>, receipt: Option<ReceiptFacts> },
    Order(Box<Order>),
    Audit(Box<Order>, Box<Audit>),
}

impl Found {
    /// True if later blocks may change what was found.
    fn is_about_now(&self) -> bool {
        match self {
            Self::Account(_) | Self::Slot(_) => true,
            Self::Transaction(_) | Self::Receipt { .. } => false,
            Self::Order(order) => !order.status.is_final(),
            // An order may end before its window does.
            Self::Audit(order, audit) => !order.status.is_final() || audit.status() == WindowStatus::Open,
        }
    }
}

/// Checks a claim against a header that is taken as true: the steps *binding* without time, *path* and *value*.
pub(crate) fn check(header: &Header, claim: &Claim) -> Result<Result<(), Contradiction>, Reason> {
    Ok(compare(claim, &find(header, claim)?))
}

fn find(header: &Header, claim: &Claim) -> Result<Found, Reason> {
    match &claim.statement {
        Statement::Account { address, account_nodes, .. } => {
            find_account(header, *address, account_nodes).map(Found::Account)
        }
        Statement::Storage { address, slot, account_nodes, storage_nodes, .. }
        | Statement::StorageAbsent { address, slot, account_nodes, storage_nodes } => {
            let account = find_account(header, *address, account_nodes)?;
            find_slot(account.storage_root, *slot, storage_nodes, || "storageNodes".to_owned()).map(Found::Slot)
        }
        Statement::Transaction(transaction) => find_transaction(header, transaction).map(Found::Transaction),
        Statement::Receipt { transaction, receipt_nodes, .. } | Statement::Log { transaction, receipt_nodes, .. } => {
            let hash = find_transaction(header, transaction)?;
            let key = alloy_rlp::encode(transaction.index);
            let value = path(header.receipts_root, &key, receipt_nodes, || "receiptNodes".to_owned())?;
            let receipt = value.map(value::receipt).transpose()?;
            Ok(Found::Receipt { transaction: hash, receipt })
        }
        Statement::JobResult { order, account_nodes, storage_nodes } => {
            let account = find_account(header, MARKET_ADDRESS, account_nodes)?;
            find_order(account.storage_root, order.number, storage_nodes).map(Found::Order)
        }
        Statement::JobAudit { order, account_nodes, storage_nodes, audit_account_nodes, audit_nodes, .. } => {
            let market = find_account(header, MARKET_ADDRESS, account_nodes)?;
            let found = find_order(market.storage_root, order.number, storage_nodes)?;
            let named = || "auditAccountNodes".to_owned();
            let account = find_account_by(header, AUDIT_ADDRESS, audit_account_nodes, named)?;
            let mut words = [U256::ZERO; AUDIT_WORDS];
            find_words(account.storage_root, &window_slots(order.number), audit_nodes, "auditNodes", &mut words)?;
            let bond = storage_nodes.get(ORDER_SLOTS).zip(words.last_mut());
            if let Some((nodes, word)) = bond {
                let named = || format!("storageNodes {ORDER_SLOTS}");
                *word = find_slot(market.storage_root, bond_slot(order.number), nodes, named)?;
            }
            Ok(Found::Audit(found, Box::new(Audit::from_words(&words)?)))
        }
    }
}

fn find_order(root: B256, number: u64, nodes: &[Path]) -> Result<Box<Order>, Reason> {
    let mut words = [U256::ZERO; ORDER_SLOTS];
    find_words(root, &order_slots(number), nodes, "storageNodes", &mut words)?;
    Ok(Box::new(Order::from_words(number, &words)?))
}

/// The words of some slots, each by its own path; `field` names the paths.
fn find_words(root: B256, slots: &[B256], nodes: &[Path], field: &str, words: &mut [U256]) -> Result<(), Reason> {
    for (index, ((word, slot), nodes)) in words.iter_mut().zip(slots).zip(nodes).enumerate() {
        *word = find_slot(root, *slot, nodes, || format!("{field} {index}"))?;
    }
    Ok(())
}

fn find_account(header: &Header, address: Address, nodes: &Path) -> Result<AccountState, Reason> {
    find_account_by(header, address, nodes, || "accountNodes".to_owned())
}

fn find_account_by(
    header: &Header,
    address: Address,
    nodes: &Path,
    name: impl Fn() -> String,
) -> Result<AccountState, Reason> {
    let value = path(header.state_root, keccak256(address).as_slice(), nodes, name)?;
    Ok(value::account(value)?)
}

fn find_slot(root: B256, slot: B256, nodes: &Path, name: impl Fn() -> String) -> Result<U256, Reason> {
    Ok(value::slot(path(root, keccak256(slot).as_slice(), nodes, name)?)?)
}

fn find_transaction(header: &Header, transaction: &TransactionProof) -> Result<Option<B256>, Reason> {
    let key = alloy_rlp::encode(transaction.index);
    let value = path(header.transactions_root, &key, &transaction.nodes, || "transactionNodes".to_owned())?;
    Ok(value.map(keccak256))
}

fn path<'a>(root: B256, key: &[u8], nodes: &'a Path, name: impl Fn() -> String) -> Result<Option<&'a [u8]>, Reason> {
    walk(root, key, nodes).map_err(|source| Reason::Path { path: name(), source })
}

fn compare(claim: &Claim, found: &Found) -> Result<(), Contradiction> {
    match (&claim.statement, found) {
        (Statement::Account { account, .. }, Found::Account(found)) => {
            same("nonce", &account.nonce, &found.nonce)?;
            same("balance", &account.balance, &found.balance)?;
            same("codeHash", &account.code_hash, &found.code_hash)?;
            same("storageRoot", &account.storage_root, &found.storage_root)
        }
        (Statement::Storage { value, .. }, Found::Slot(found)) => same("value", value, &B256::from(*found)),
        (Statement::StorageAbsent { .. }, Found::Slot(found)) => same("value", &B256::ZERO, &B256::from(*found)),
        (Statement::Transaction(transaction), Found::Transaction(found)) => same_transaction(transaction, *found),
        (
            Statement::Receipt { transaction, succeeded, cumulative_gas_used, .. },
            Found::Receipt { transaction: hash, receipt },
        ) => {
            same_transaction(transaction, *hash)?;
            let receipt = receipt.as_ref().ok_or_else(|| absent("receipt"))?;
            same("status", &u64::from(*succeeded), &u64::from(receipt.succeeded))?;
            same("cumulativeGasUsed", cumulative_gas_used, &receipt.cumulative_gas_used)
        }
        (Statement::Log { transaction, receipt_log_index, log, .. }, Found::Receipt { transaction: hash, receipt }) => {
            same_transaction(transaction, *hash)?;
            let receipt = receipt.as_ref().ok_or_else(|| absent("receipt"))?;
            let index = usize::try_from(*receipt_log_index).unwrap_or(usize::MAX);
            let found = receipt.logs.get(index).ok_or_else(|| absent("log"))?;
            same("address", &format!("{:#x}", log.address), &format!("{:#x}", found.address))?;
            same("topics", &format!("{:?}", log.topics()), &format!("{:?}", found.topics()))?;
            same("data", &log.data.data, &found.data.data)
        }
        (Statement::JobResult { order, .. }, Found::Order(found)) => none_differs(order.difference(found)),
        (Statement::JobAudit { order, audit, .. }, Found::Audit(found, found_audit)) => {
            none_differs(order.difference(found))?;
            none_differs(audit.difference(found_audit))
        }
        // `find` answers each kind of statement with its own kind of finding.
        _ => Err(absent("value")),
    }
}

/// `differing`: name, claimed and certified value of a field.
fn none_differs(differing: Option<(&'static str, String, String)>) -> Result<(), Contradiction> {
    match differing {
        Some((field, claimed, certified)) => Err(Contradiction { field, claimed, certified }),
        None => Ok(()),
    }
}

fn same_transaction(claimed: &TransactionProof, found: Option<B256>) -> Result<(), Contradiction> {
    let found = found.ok_or_else(|| absent("transaction"))?;
    same("transactionHash", &claimed.hash, &found)
}

fn same<T: PartialEq + ToString>(field: &'static str, claimed: &T, certified: &T) -> Result<(), Contradiction> {
    if claimed == certified {
        return Ok(());
    }
    Err(Contradiction { field, claimed: claimed.to_string(), certified: certified.to_string() })
}

fn absent(field: &'static str) -> Contradiction {
    Contradiction { field, claimed: "there".to_owned(), certified: "absent".to_owned() }
}

impl Claim {
    /// Trie nodes of all paths.
    fn node_count(&self) -> usize {
        match &self.statement {
            Statement::Account { account_nodes, .. } => account_nodes.len(),
            Statement::Storage { account_nodes, storage_nodes, .. }
            | Statement::StorageAbsent { account_nodes, storage_nodes, .. } => {
                account_nodes.len().saturating_add(storage_nodes.len())
            }
            Statement::Transaction(transaction) => transaction.nodes.len(),
            Statement::Receipt { transaction, receipt_nodes, .. }
            | Statement::Log { transaction, receipt_nodes, .. } => {
                transaction.nodes.len().saturating_add(receipt_nodes.len())
            }
            Statement::JobResult { account_nodes, storage_nodes, .. } => {
                storage_nodes.iter().map(Vec::len).fold(account_nodes.len(), usize::saturating_add)
            }
            Statement::JobAudit { account_nodes, storage_nodes, audit_account_nodes, audit_nodes, .. } => {
                let accounts = account_nodes.len().saturating_add(audit_account_nodes.len());
                storage_nodes.iter().chain(audit_nodes).map(Vec::len).fold(accounts, usize::saturating_add)
            }
        }
    }
}
