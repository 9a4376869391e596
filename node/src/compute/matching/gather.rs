//! From the register to what is known of every provider: records from the own folder, else from the providers, many at once.

use super::{
    absent::Absent,
    known::{Believed, Known, Sighted},
    links::Links,
    shelf::Shelf,
};
use crate::compute::{
    market::{Market, Offer as Entry},
    own_node,
    touchstone::chain::Chain,
};
use alloy_primitives::{Address as Account, B256};
use eyre::{Context as _, Result};
use keystead_blobs::{Address, Endpoint, Inquiry};
use keystead_market::{
    Currency, Record,
    touchstone::{due::CHECKERS, lapse::Draws},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// Providers that are asked for their record at once. Each sends at most 32 KiB, which are hashed before they are read.
const ASKED_AT_ONCE: usize = 32;
/// Checkers whose seats are looked up.
const CHECKERS_MAX: usize = 64;

/// How long the goodbye to those who were asked may take.
const PARTING_MAX: Duration = Duration::from_millis(300);

/// How long providers may take to answer, all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// If some have answered.
    pub(crate) some: Duration,
    /// If none has.
    pub(crate) none: Duration,
}

impl Patience {
    /// Before an order: nobody waits long for one who is silent, but a slow line is no reason to do without.
    pub(crate) const ORDER: Self = Self { some: Duration::from_millis(1_500), none: Duration::from_secs(10) };
    /// For a question: an answer within two seconds.
    pub(crate) const QUESTION: Self = Self { some: Duration::from_millis(900), none: Duration::from_millis(900) };

    /// As much as was asked for, if it was.
    pub(crate) fn or(self, asked_ms: Option<u64>) -> Self {
        asked_ms.map_or(self, |ms| {
            let some = Duration::from_millis(ms);
            Self { some, none: self.none.max(some) }
        })
    }
}

/// The socket from which providers are asked; it listens to nobody.
pub(crate) async fn socket(entries: &[Sighted]) -> Result<Endpoint> {
    let sockets: Vec<SocketAddr> =
        entries.iter().filter_map(|entry| entry.endpoint.as_ref()).flat_map(Address::sockets).copied().collect();
    own_node::passing(&sockets).await.wrap_err("cannot open a socket to ask providers")
}

/// Says goodbye to everybody who was asked. Who does not hear it notices by itself.
pub(crate) async fn part(socket: &Endpoint) {
    let _ = timeout(PARTING_MAX, socket.close()).await;
}

/// What is known, and the socket for further questions.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) known: Known,
    pub(crate) socket: Endpoint,
}

/// Whose offers are looked at, and what they are paid in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight<'a> {
    /// Those of these providers alone, if there are any.
    pub(crate) only: &'a [Account],
    /// Planned over, even if no record names it.
    pub(crate) currency: Currency,
    /// A card is asked for, so it is looked up whether a proof of it can be had.
    pub(crate) cards: bool,
    /// Whether interpreters are asked for.
    pub(crate) interpreters: bool,
}

/// Reads the register and gets every record that can be had.
///
/// # Errors
/// The node's; those of providers are what is known of them.
pub(crate) async fn gather(
    market: &Market,
    records: Option<&Path>,
    patience: Patience,
    sight: Sight<'_>,
) -> Result<Gathered> {
    let entries = market.offers().await?;
    let wanted = |entry: &Entry| sight.only.is_empty() || sight.only.contains(&entry.account);
    let mut sighted: Vec<Sighted> = entries.into_iter().filter(wanted).map(Sighted::new).collect();
    let shelf = Shelf::open(records);
    for provider in &mut sighted {
        let Sighted { entry, record, .. } = provider;
        if *record == Err(Absent::NotAsked)
            && let Some(known) = shelf.record(entry.account, entry.capability_hash)
        {
            *record = Ok(known);
        }
    }
    let socket = socket(&sighted).await?;
    fetch(&socket, &mut sighted, &shelf, patience).await;
    shelf.tidy(&sighted.iter().map(|provider| provider.entry.capability_hash).collect());
    let mut seen = Links::open(records).read();
    for provider in &mut sighted {
        provider.seen = seen.remove(&provider.entry.node_id).unwrap_or_default();
    }
    let chain = Chain { account: Arc::clone(&market.account) };
    // A network without the contract has seats, and nobody can prove anything.
    let checkable = sight.cards && chain.has_touchstone().await? && chain.has_checkers().await?;
    let Sight { currency, interpreters, .. } = sight;
    let believed = Believed { currency, interpreters, checkable, ..believed(market, &chain, &sighted).await? };
    Ok(Gathered { known: Known::new(sighted, &believed), socket })
}

/// A record to be had.
struct Errand {
    account: Account,
    hash: B256,
    address: Address,
}

/// Asks who was not known, the cheapest first, until all have answered or patience is over.
async fn fetch(socket: &Endpoint, sighted: &mut [Sighted], shelf: &Shelf, patience: Patience) {
    let mut unknown: Vec<&Sighted> =
        sighted.iter().filter(|provider| provider.record == Err(Absent::NotAsked)).collect();
    unknown.sort_by_key(|provider| provider.entry.price_wei_per_unit);
    let mut some = sighted.iter().any(|provider| provider.record.is_ok());
    let places = Arc::new(Semaphore::new(ASKED_AT_ONCE));
    let mut asked = JoinSet::new();
    for provider in unknown {
        let Some(address) = provider.endpoint.clone() else { continue };
        let errand = Errand { account: provider.entry.account, hash: provider.entry.capability_hash, address };
        let (socket, places) = (socket.clone(), Arc::clone(&places));
        asked.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            (errand.account, record(&socket, &errand).await)
        });
    }
    let start = Instant::now();
    let mut found: BTreeMap<Account, Result<Record, Absent>> = BTreeMap::new();
    loop {
        let end = start.checked_add(if some { patience.some } else { patience.none }).unwrap_or(start);
        tokio::select! {
            answer = asked.join_next() => match answer {
                Some(Ok((account, answer))) => {
                    some |= answer.is_ok();
                    found.insert(account, answer);
                }
                Some(Err(error)) => tracing::error!(%error, "a question ended abnormally"),
                None => break,
            },
            () = sleep_until(end) => break,
        }
    }
    for provider in sighted {
        if let Some(answer) = found.remove(&provider.entry.account) {
            answer.iter().for_each(|record| shelf.keep(record));
            provider.record = answer;
        }
    }
}

/// One record from its provider. The bytes are hostile until they hash to what the register says.
async fn record(socket: &Endpoint, errand: &Errand) -> Result<Record, Absent> {
    let inquiry = Inquiry::open(socket, &errand.address).await.map_err(|error| Absent::not_served(&error))?;
    let bytes = inquiry.record(errand.hash.0).await.map_err(|error| Absent::not_served(&error))?;
    let bytes = bytes.ok_or_else(|| Absent::NotServed("it does not have it".to_owned()))?;
    Record::listed(&bytes, errand.account, errand.hash).map_err(|error| Absent::WrongRecord(error.to_string()))
}

/// Whom a record names as its checkers, and the height of its round. No more than a round can have: names cost nothing, and each is looked up.
fn stated(record: &Record) -> Vec<(Account, u64)> {
    let mut named: Vec<(Account, u64)> = Vec::new();
    for statement in record.attested.iter().map(|entry| &entry.statement) {
        let one = (statement.checker, statement.height);
        if named.len() < CHECKERS && !named.contains(&one) {
            named.push(one);
        }
    }
    named
}

/// Which checkers hold a seat now, who was drawn to prove again, and what time it is.
async fn believed(market: &Market, chain: &Chain, sighted: &[Sighted]) -> Result<Believed> {
    let records = sighted.iter().filter_map(|provider| provider.record.as_ref().ok());
    let stated: Vec<(Account, u64)> = records.flat_map(stated).collect();
    let mut named = BTreeSet::new();
    for (checker, _) in &stated {
        if named.len() < CHECKERS_MAX {
            named.insert(*checker);
        }
    }
    let mut checkers = BTreeSet::new();
    for checker in named {
        if market.seats_of(checker).await? > 0 {
            checkers.insert(checker);
        }
    }
    let (head, now_s) = market.account.head().await?;
    // Of statements that nobody believes anyway no draw matters.
    let oldest = stated.iter().filter(|(checker, _)| checkers.contains(checker)).map(|(_, height)| *height).min();
    let draws = match oldest {
        Some(oldest) => chain.draws(head, oldest).await?,
        None => Draws::default(),
    };
    Ok(Believed { chain_id: market.account.chain_id(), checkers, now_s, draws, ..Believed::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::matching::known::tests::record;
    use alloy_primitives::FixedBytes;
    use keystead_market::{
        band::Bands,
        record::{Attested, Statement},
    };

    #[test]
    fn a_record_that_names_many_checkers_has_no_more_looked_up_than_a_round_has() {
        let many = record(1, |draft| {
            let (provider, signature) = (draft.provider, FixedBytes::ZERO);
            let statement = |checker| Statement {
                provider,
                device: 0,
                challenge: B256::ZERO,
                height: 9,
                time_s: 1,
                bands: Bands::default(),
                checker,
            };
            let checkers = (1..=9).map(Account::repeat_byte);
            draft.attested = checkers.map(|one| Attested { statement: statement(one), signature }).collect();
        });
        assert_eq!(stated(&many), [1, 2, 3].map(|number| (Account::repeat_byte(number), 9)));
    }
}
