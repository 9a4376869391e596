//! The register of providers and the market, as calls of one account.

use crate::{
    client::{Client, RpcFailure},
    compute::{
        account::{Account, Cost, Failed, Log, Receipt, Signed},
        customer::audit::plan::Plan,
        lifecycle::Stand,
        named,
        past::AsCustomer,
        windows::Windows,
    },
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolEvent as _};
use eyre::{Context as _, Result, eyre};
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS, MARKET_ADDRESS, PROVIDERS_ADDRESS,
    bindings::{
        audit::Audit,
        bond::Bond,
        market::{IAuditTypes, IMarket, Market as MarketCalls},
        providers::{IProviders, Providers},
    },
    limits::PAGE_COUNT_MAX,
    storage::{Mode, Reason, Status},
};
use keystead_market::{Currency, offer::History};
use serde_json::json;
use std::sync::Arc;

/// A node's code for a call that a contract refused.
const REVERTED: i64 = 3;
/// A node's code for a call that breaks off: no gas is enough, or the code is none. Transactions that a node does not take have it as well.
const SERVER: i64 = -32_000;

/// What came of taking home what the market, or the contract of channels, owes.
#[derive(Debug)]
pub(crate) enum Taken {
    /// So much, in smallest units.
    Out(U256),
    /// The token does not let it go now; why.
    Owed(eyre::Report),
}

/// Providers that a customer looks at, at most: 64 pages of 64.
const PROVIDERS_MAX: usize = 4_096;

/// An order as the chain has it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: U256,
    pub(crate) stand: Stand,
    pub(crate) customer: Address,
    pub(crate) provider: Address,
    pub(crate) job_hash: B256,
    pub(crate) commitment: B256,
    pub(crate) result_root: B256,
    pub(crate) units: u32,
    /// The price of all units, in wei, or in the smallest units of the token; the deposit for checks of an audited order is not in it.
    pub(crate) escrow_wei: U256,
    /// What it is paid in.
    pub(crate) currency: Currency,
    /// Of a closed order that was audited or stopped: units that were paid.
    pub(crate) paid_units: u32,
    /// Of an order that was stopped: units, from the first on, that its provider committed to; zero if it committed to all of them, or to none yet.
    pub(crate) done_units: u32,
    /// Its result is checked by drawn or named checkers, and `deliver` is followed by the end of a window.
    pub(crate) audited: bool,
}

impl Order {
    pub(crate) const fn status(&self) -> Status {
        self.stand.status
    }

    /// Units that its commitment is, or will be, about; of an order that is stopped and has none yet, at most.
    pub(crate) const fn committed_units(&self) -> u32 {
        if self.done_units == 0 { self.units } else { self.done_units }
    }

    /// Whether its result is a part of what was ordered.
    pub(crate) const fn is_part(&self) -> bool {
        self.committed_units() < self.units
    }

    /// What one unit is paid.
    pub(crate) fn price_wei_per_unit(&self) -> U256 {
        self.escrow_wei.checked_div(U256::from(self.units)).unwrap_or_default()
    }

    /// What the provider was or will be paid; of an order that was audited or stopped and is not closed yet, at most.
    pub(crate) fn paid_wei(&self) -> U256 {
        let partly = self.status().is_paid() && (self.stand.mode != Mode::Own || self.stand.stopped);
        if !partly {
            return self.escrow_wei;
        }
        self.price_wei_per_unit().saturating_mul(U256::from(self.paid_units))
    }
}

/// A provider that takes orders. The endpoint is hostile text.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) account: Address,
    pub(crate) node_id: B256,
    /// Of its capability record; zero if it has none.
    pub(crate) capability_hash: B256,
    pub(crate) price_wei_per_unit: u128,
    /// Free bond.
    pub(crate) stake_wei: u128,
    pub(crate) endpoint: String,
    pub(crate) offering: bool,
}

/// The two contracts.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    pub(crate) account: Arc<Account>,
}

impl Market {
    /// The audit, for the same account.
    pub(crate) fn windows(&self) -> Windows {
        Windows { account: Arc::clone(&self.account) }
    }

    /// For questions only: a key that nobody keeps.
    pub(crate) async fn to_read(rpc: &str) -> Result<Self> {
        let account = Account::open(Client::new(rpc)?, PrivateKeySigner::random()).await?;
        Ok(Self { account: Arc::new(account) })
    }

    pub(crate) async fn order(&self, id: U256) -> Result<Order> {
        let order = self.account.read(MARKET_ADDRESS, &MarketCalls::orderCall { orderId: id }).await?;
        let status = Status::try_from(order.status).wrap_err("the market answers with an unknown status")?;
        let after = |since: u64, seconds: u32| if since == 0 { 0 } else { since.saturating_add(u64::from(seconds)) };
        let stand = Stand {
            status,
            lease_by: after(order.orderedAt.to(), order.leaseSeconds),
            deliver_by: after(order.leasedAt.to(), order.deliverSeconds),
            check_by: after(order.deliveredAt.to(), order.checkSeconds),
            deliver_seconds: u64::from(order.deliverSeconds),
            check_seconds: u64::from(order.checkSeconds),
            mode: Mode::try_from(order.mode).wrap_err("the market answers with an unknown mode")?,
            stopped: order.stopped,
        };
        Ok(Order {
            id,
            stand,
            customer: order.customer,
            provider: order.provider,
            job_hash: order.jobHash,
            commitment: order.commitment,
            result_root: order.resultRoot,
            units: order.units,
            escrow_wei: U256::from(order.priceWeiPerUnit).saturating_mul(U256::from(order.units)),
            currency: currency_of(&order),
            paid_units: order.paidUnits,
            done_units: order.doneUnits.to(),
            audited: order.mode != 0,
        })
    }

    /// The terms of an order's audit; `None` if it has none.
    pub(crate) async fn audit_terms(&self, order: &Order) -> Result<Option<IAuditTypes::Terms>> {
        if !order.audited {
            return Ok(None);
        }
        let call = MarketCalls::auditOfCall { orderId: order.id };
        Ok(Some(self.account.read(MARKET_ADDRESS, &call).await?.terms))
    }

    /// Signs an order with its exact escrow, without sending it; with an audit, and its deposit, if it has a plan for one. The escrow of an order in a
    /// token must be approved before: the market takes it.
    ///
    /// # Errors
    /// As [`Account::sign_call`]; also if no money would be left for the order's later calls: an order that its customer cannot reject,
    /// or accuse, is as good as paid.
    pub(crate) async fn sign_order(
        &self,
        terms: IMarket::Terms,
        audit: Option<&Plan>,
        currency: Currency,
    ) -> Result<Signed> {
        let escrow = U256::from(terms.priceWeiPerUnit).saturating_mul(U256::from(terms.units));
        let escrow_wei = if currency == Currency::KST { escrow } else { U256::ZERO };
        let paid = escrow_wei.saturating_add(audit.map_or(U256::ZERO, |plan| plan.deposit_wei));
        let needed = paid.saturating_add(audit.map_or(U256::ZERO, Plan::later_wei));
        let (account, to) = (&self.account, MARKET_ADDRESS);
        let signed = match (audit, currency.contract()) {
            (None, None) => account.sign_call(to, &MarketCalls::placeOrderCall { terms }, paid).await?,
            (None, Some(token)) => account.sign_call(to, &MarketCalls::placeOrderInCall { token, terms }, paid).await?,
            (Some(plan), None) => {
                let call = MarketCalls::placeAuditedCall { terms, audit: plan.terms.clone() };
                account.sign_input(to, naming(&call, plan), paid).await?
            }
            (Some(plan), Some(token)) => {
                let (value_wei, audit) = (plan.value_wei_per_unit, plan.terms.clone());
                let call = MarketCalls::placeAuditedInCall { token, valueWei: value_wei, terms, audit };
                account.sign_input(to, naming(&call, plan), paid).await?
            }
        };
        // Placing an order costs more gas than any later call of its customer.
        let fee_wei = signed.fee_wei_max.saturating_mul(U256::from(2));
        self.account.afford(Cost { value_wei: needed, fee_wei }).await?;
        Ok(signed)
    }

    /// The number of the order that a transaction placed.
    pub(crate) fn number_in(receipt: &Receipt) -> Result<U256> {
        let placed = receipt.logs.iter().find_map(placed);
        placed.map(|placed| placed.orderId).ok_or_else(|| eyre!("the market took the order without naming its number"))
    }

    pub(crate) async fn lease(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::leaseCall { orderId: id }, U256::ZERO).await
    }

    pub(crate) async fn decline(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::declineCall { orderId: id }, U256::ZERO).await
    }

    pub(crate) async fn cancel(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::cancelCall { orderId: id }, U256::ZERO).await
    }

    /// Ends a leased order: its provider is paid for what it commits to by then.
    pub(crate) async fn stop(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::stopCall { orderId: id }, U256::ZERO).await
    }

    /// Commits to the first units of an order that was stopped.
    pub(crate) async fn commit_part(&self, id: U256, commitment: B256, done_units: u32) -> Result<Receipt> {
        let call = MarketCalls::commitPartialCall { orderId: id, commitment, doneUnits: done_units };
        self.account.send(MARKET_ADDRESS, &call, U256::ZERO).await
    }

    pub(crate) async fn commit(&self, id: U256, commitment: B256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::commitCall { orderId: id, commitment }, U256::ZERO).await
    }

    pub(crate) async fn deliver(&self, id: U256, result_root: B256) -> Result<Receipt> {
        let call = MarketCalls::deliverCall { orderId: id, resultRoot: result_root };
        self.account.send(MARKET_ADDRESS, &call, U256::ZERO).await
    }

    pub(crate) async fn abandon(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::abandonCall { orderId: id }, U256::ZERO).await
    }

    pub(crate) async fn accept(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::acceptCall { orderId: id }, U256::ZERO).await
    }

    pub(crate) async fn reject(&self, id: U256, reason: Reason, evidence_hash: B256) -> Result<Receipt> {
        let call = MarketCalls::rejectCall { orderId: id, reason: reason as u8, evidenceHash: evidence_hash };
        self.account.send(MARKET_ADDRESS, &call, U256::ZERO).await
    }

    pub(crate) async fn settle(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::settleCall { orderId: id }, U256::ZERO).await
    }

    pub(crate) async fn expire(&self, id: U256) -> Result<Receipt> {
        self.account.send(MARKET_ADDRESS, &MarketCalls::expireCall { orderId: id }, U256::ZERO).await
    }

    /// What the market owes this account in a currency.
    pub(crate) async fn credit(&self, currency: Currency) -> Result<U256> {
        let account = self.account.address();
        match currency.contract() {
            None => self.account.read(MARKET_ADDRESS, &MarketCalls::creditCall { account }).await,
            Some(token) => self.account.read(MARKET_ADDRESS, &MarketCalls::tokenCreditCall { account, token }).await,
        }
    }

    /// Takes what the market owes this account in a currency, if anything; how much it was.
    pub(crate) async fn withdraw(&self, currency: Currency) -> Result<U256> {
        if self.credit(currency).await?.is_zero() {
            return Ok(U256::ZERO);
        }
        let receipt = match currency.contract() {
            None => self.account.send(MARKET_ADDRESS, &MarketCalls::withdrawCall {}, U256::ZERO).await?,
            Some(token) => {
                self.account.send(MARKET_ADDRESS, &MarketCalls::withdrawTokenCall { token }, U256::ZERO).await?
            }
        };
        Ok(receipt.logs.iter().find_map(|log| withdrawn(log, currency)).unwrap_or_default())
    }

    /// Takes home what is owed in a currency. KST always comes; a token may refuse, for a while or for ever: then the market goes on owing it, and
    /// nothing else has to wait. Done already, by another process of this account, is done as well.
    ///
    /// # Errors
    /// The node's: worth another try.
    pub(crate) async fn take(&self, currency: Currency) -> Result<Taken> {
        match self.withdraw(currency).await {
            Ok(amount) => Ok(Taken::Out(amount)),
            Err(_) if self.credit(currency).await?.is_zero() => Ok(Taken::Out(U256::ZERO)),
            Err(error) => {
                let call = currency.contract().map(|token| MarketCalls::withdrawTokenCall { token });
                held_back(error, &self.account, MARKET_ADDRESS, call).await
            }
        }
    }

    /// Orders placed with this account as provider, in blocks `first..=last`.
    pub(crate) async fn placed_with_me(&self, first: u64, last: u64) -> Result<Vec<MarketCalls::OrderPlaced>> {
        let me = self.account.address().into_word();
        let topics = json!([MarketCalls::OrderPlaced::SIGNATURE_HASH, null, null, me]);
        let logs = self.account.logs(MARKET_ADDRESS, first, last, topics).await?;
        Ok(logs.iter().filter_map(placed).collect())
    }

    /// This account's own entry in the register.
    pub(crate) async fn my_entry(&self) -> Result<Option<IProviders::Provider>> {
        let me = self.account.address();
        // A price of zero cannot be listed, so this tells the registered from the others without a revert.
        let quote = self.account.read(PROVIDERS_ADDRESS, &Providers::quoteCall { account: me }).await?;
        if quote.priceWeiPerUnit == 0 {
            return Ok(None);
        }
        self.account.read(PROVIDERS_ADDRESS, &Providers::providerCall { account: me }).await.map(Some)
    }

    /// Where a provider says that it is reached now. Hostile text.
    pub(crate) async fn endpoint_of(&self, account: Address) -> Result<String> {
        Ok(self.account.read(PROVIDERS_ADDRESS, &Providers::providerCall { account }).await?.endpoint)
    }

    pub(crate) async fn register(&self, offer: IProviders::Offer) -> Result<Receipt> {
        self.account.send(PROVIDERS_ADDRESS, &Providers::registerCall { offer }, U256::ZERO).await
    }

    pub(crate) async fn update(&self, offer: IProviders::Offer) -> Result<Receipt> {
        self.account.send(PROVIDERS_ADDRESS, &Providers::updateCall { offer }, U256::ZERO).await
    }

    pub(crate) async fn resume(&self) -> Result<Receipt> {
        self.account.send(PROVIDERS_ADDRESS, &Providers::resumeCall {}, U256::ZERO).await
    }

    pub(crate) async fn pause(&self) -> Result<Receipt> {
        self.account.send(PROVIDERS_ADDRESS, &Providers::pauseCall {}, U256::ZERO).await
    }

    /// Everybody in the register, in order of registration.
    pub(crate) async fn offers(&self) -> Result<Vec<Offer>> {
        let mut offers = Vec::new();
        while offers.len() < PROVIDERS_MAX {
            let call = Providers::pageCall { first: U256::from(offers.len()), countMax: U256::from(PAGE_COUNT_MAX) };
            let page = self.account.read(PROVIDERS_ADDRESS, &call).await?;
            let got = page.len();
            offers.extend(page.into_iter().map(|listing| Offer {
                account: listing.account,
                node_id: listing.provider.nodeId,
                capability_hash: listing.provider.capabilityHash,
                stake_wei: listing.bondWei,
                price_wei_per_unit: listing.provider.priceWeiPerUnit,
                endpoint: listing.provider.endpoint,
                offering: listing.provider.offering,
            }));
            if got < PAGE_COUNT_MAX {
                break;
            }
        }
        Ok(offers)
    }

    /// How many seats an account holds as a checker.
    pub(crate) async fn seats_of(&self, account: Address) -> Result<u32> {
        Ok(self.account.read(BOND_ADDRESS, &Bond::accountOfCall { account }).await?.seats)
    }

    /// How the leased orders of a provider ended, in public counts. What it abandoned counts as failed: the money came back, but the time was lost, and who
    /// gives up whatever it leases must not look like a newcomer. An order that its customer stopped is among it only if not one unit was done in the time
    /// to stop; who orders and stops such jobs to harm somebody pays gas for each, and counts of failures below those of completed orders change nothing
    /// ([`History::believed`]).
    pub(crate) async fn history_of(&self, account: Address) -> Result<History> {
        let record = self.account.read(MARKET_ADDRESS, &MarketCalls::providerRecordCall { account }).await?;
        let sum =
            |counts: &[u64]| u32::try_from(counts.iter().copied().fold(0, u64::saturating_add)).unwrap_or(u32::MAX);
        Ok(History {
            completed: sum(&[record.accepted.to(), record.settled.to()]),
            failed: sum(&[record.rejected.to(), record.expired.to(), record.abandoned.to()]),
        })
    }

    /// What is counted in public about a customer.
    async fn as_customer(&self, account: Address) -> Result<AsCustomer> {
        let record = self.account.read(MARKET_ADDRESS, &MarketCalls::customerRecordCall { account }).await?;
        let withheld = self.account.read(AUDIT_ADDRESS, &Audit::withheldCountCall { customer: account }).await?;
        Ok(AsCustomer::of(&record, withheld))
    }

    /// The same in words, for the owner of a provider.
    pub(crate) async fn words_of_customer(&self, account: Address) -> String {
        match self.as_customer(account).await {
            Ok(known) => known.to_string(),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot read a customer's record");
                "the node does not say".to_owned()
            }
        }
    }

    /// The bundle that proves an order's state at a block, as JSON text; with its window if it has one.
    pub(crate) async fn certificate(&self, order: &Order, block: u64) -> Result<String> {
        let kind = if order.stand.mode == Mode::Own { "job-result" } else { "job-audit" };
        let claim = json!({"kind": kind, "order": order.id, "block": format!("{block:#x}")});
        Ok(self.account.client().call("keystead_getProof", json!([claim])).await?.to_string())
    }
}

/// The data of a call that places an order, and behind it whom its customer names.
fn naming<C: SolCall>(call: &C, plan: &Plan) -> Bytes {
    [call.abi_encode(), named::note(&plan.named)].concat().into()
}

/// The two parts of the token's address lie in what two words of the order leave over; zero is KST. As `currencyOf` answers.
fn currency_of(order: &IMarket::Order) -> Currency {
    let token = U256::from(order.tokenHigh).wrapping_shl(64) | U256::from(order.tokenLow);
    Currency::token(Address::from_word(B256::from(token)))
}

/// How much a withdrawal moved.
fn withdrawn(log: &Log, currency: Currency) -> Option<U256> {
    if log.address != MARKET_ADDRESS {
        return None;
    }
    let topics = log.topics.iter().copied();
    match currency.contract() {
        None => MarketCalls::Withdrawn::decode_raw_log(topics, &log.data).ok().map(|event| event.amountWei),
        Some(token) => {
            let event = MarketCalls::TokenWithdrawn::decode_raw_log(topics, &log.data).ok()?;
            (event.token == token).then_some(event.amount)
        }
    }
}

/// What a withdrawal comes to that failed while something is owed: it goes on being owed if the token does not let it go. `call` is the withdrawal of a
/// token; none of KST, which always comes.
///
/// # Errors
/// The failure itself, if it is the node's: worth another try.
pub(crate) async fn held_back<C: SolCall>(
    error: eyre::Report,
    account: &Account,
    contract: Address,
    call: Option<C>,
) -> Result<Taken> {
    let Some(call) = call else { return Err(error) };
    // A token can break off whenever it is called, instead of refusing. Trying the call without a transaction tells that from a transaction that the node
    // does not take.
    let stays = is_refusal(&error) || account.read(contract, &call).await.is_err_and(|again| is_end(&again));
    if stays { Ok(Taken::Owed(error)) } else { Err(error) }
}

/// The token's own word about its payout, before or in a block, and not a fault on the way to it.
fn is_refusal(error: &eyre::Report) -> bool {
    let reverts = |failure: &RpcFailure| failure.code == REVERTED || failure.data.is_some();
    error.downcast_ref::<RpcFailure>().is_some_and(reverts) || error.downcast_ref::<Failed>().is_some()
}

/// The machine's word about a call that did not come to its end, or the contract's.
fn is_end(error: &eyre::Report) -> bool {
    is_refusal(error) || error.downcast_ref::<RpcFailure>().is_some_and(|failure| failure.code == SERVER)
}

fn placed(log: &Log) -> Option<MarketCalls::OrderPlaced> {
    let event = MarketCalls::OrderPlaced::decode_raw_log(log.topics.iter().copied(), &log.data).ok()?;
    (log.address == MARKET_ADDRESS).then_some(event)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An order of ten units at ten wei each.
    pub(crate) fn order(status: Status, mode: Mode) -> Order {
        let stand = Stand {
            status,
            lease_by: 0,
            deliver_by: 0,
            check_by: 0,
            deliver_seconds: 1,
            check_seconds: 1,
            mode,
            stopped: false,
        };
        Order {
            id: U256::from(7),
            stand,
            customer: Address::ZERO,
            provider: Address::ZERO,
            job_hash: B256::ZERO,
            commitment: B256::ZERO,
            result_root: B256::ZERO,
            units: 10,
            escrow_wei: U256::from(100),
            paid_units: 0,
            done_units: 0,
            audited: mode != Mode::Own,
            currency: Currency::KST,
        }
    }

    #[test]
    fn a_stopped_order_pays_its_units_and_is_a_part_unless_all_are_done() {
        let plain = order(Status::Accepted, Mode::Own);
        assert_eq!((plain.committed_units(), plain.is_part(), plain.paid_wei()), (10, false, U256::from(100)));
        let stopped = |done_units, paid_units| {
            let stand = Stand { stopped: true, ..plain.stand };
            Order { stand, done_units, paid_units, ..plain.clone() }
        };
        let part = stopped(3, 3);
        assert_eq!((part.committed_units(), part.is_part(), part.paid_wei()), (3, true, U256::from(30)));
        // Everything was done: by `commit`, or by `commitPartial`.
        for all in [stopped(0, 10), stopped(10, 10)] {
            assert_eq!((all.committed_units(), all.is_part(), all.paid_wei()), (10, false, U256::from(100)));
        }
        // Not closed: at most.
        let open = Order { stand: Stand { status: Status::Delivered, ..part.stand }, paid_units: 0, ..part };
        assert_eq!(open.paid_wei(), U256::from(100));
    }

    #[test]
    fn a_token_can_break_off_instead_of_refusing_and_a_node_in_trouble_is_neither() {
        let failed = |code| {
            let failure = RpcFailure { code, message: String::new(), data: None };
            eyre::Report::new(failure).wrap_err("cannot send it")
        };
        assert!(is_refusal(&failed(REVERTED)) && is_end(&failed(REVERTED)));
        assert!(!is_refusal(&failed(SERVER)) && is_end(&failed(SERVER)));
        assert!(!is_end(&failed(-32_603)) && !is_end(&eyre!("cannot reach it")));
    }
}
