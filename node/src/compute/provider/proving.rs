//! The provider's part in the proof of hardware: before it earns, while it earns, and for others who do.

use super::{book::Book, owner::Owner, self_test::Capability};
use crate::{
    cli::Provide,
    compute::{
        account::Account,
        touchstone::{
            chain::Chain,
            keeper::{Keeper, stated},
            measure::{Workshop, found},
            shelf::Shelf,
            words,
        },
    },
};
use eyre::Result;
use keystead_job::Runtime;
use keystead_runner::{Stop, WorkerCommand};
use std::sync::Arc;

/// Opens what an earlier process of this folder published.
pub(super) fn open(
    options: &Provide,
    account: Arc<Account>,
    command: &WorkerCommand,
    capability: &Capability,
    at_work: Arc<dyn Fn(u32) + Send + Sync>,
) -> Result<Keeper> {
    let shelf = Shelf::open(&options.dir, account.address(), account.chain_id())?;
    let workshop = Workshop { command: command.clone(), stop: Stop::new(), at_work };
    let found = found(&capability.tests);
    let chain = Chain { account };
    Ok(Keeper::new(chain, workshop, found, options.prove, options.proving.clone(), Arc::new(shelf)))
}

/// The proof before the first order. What stops it is said; orders are taken without it then, in probation lanes.
pub(super) async fn first(owner: &Owner, keeper: &mut Keeper) {
    let _proof = owner.proof();
    let proof = async {
        keeper.first().await.unwrap_or_else(|error| tracing::warn!("no proof of hardware: {error:#}"));
    };
    tokio::select! {
        () = proof => {}
        () = owner.until_forbidden(Runtime::Wasm1) => tracing::info!("the owner comes first: the proof of hardware is made later"),
        () = owner.until_forbidden(Runtime::Wgsl1) => tracing::info!("the owner comes first: the proof of hardware is made later"),
    }
}

/// Proves whenever that is needed, until the process stops. The owner comes first, and a job that runs is not disturbed.
pub(super) async fn keep(book: Arc<Book>, mut keeper: Keeper) {
    let mut stopping = book.stopping.subscribe();
    let keeping = async {
        let mut failures = 0_u32;
        loop {
            failures = match once(&book, &mut keeper).await {
                Ok(()) => 0,
                Err(error) => {
                    tracing::warn!("no proof of hardware: {error:#}");
                    failures.saturating_add(1)
                }
            };
            Keeper::rest(failures).await;
        }
    };
    tokio::select! {
        () = keeping => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn once(book: &Book, keeper: &mut Keeper) -> Result<()> {
    if keeper.needed().await?.is_none() {
        return Ok(());
    }
    // Only then: who waits for the owner with the machine in its hands would keep it from orders that may run.
    let _machine = loop {
        for runtime in [Runtime::Wasm1, Runtime::Wgsl1] {
            book.owner.until_allowed(runtime).await;
        }
        let machine = book.machine.take().await;
        if book.owner.is_allowed(Runtime::Wasm1) && book.owner.is_allowed(Runtime::Wgsl1) {
            break machine;
        }
    };
    // An owner stays for hours: what was due before is late now, and would be made and paid for in vain.
    let Some(height) = keeper.needed().await? else { return Ok(()) };
    let _proof = book.owner.proof();
    tokio::select! {
        // Dropping the proof kills its workers.
        proved = keeper.prove(height) => proved,
        () = book.owner.until_forbidden(Runtime::Wasm1) => Err(eyre::eyre!("the owner came back; it is tried again later")),
        () = book.owner.until_forbidden(Runtime::Wgsl1) => Err(eyre::eyre!("the owner came back; it is tried again later")),
    }
}

/// Says what is proved as soon as enough checkers have stated it, for each round anew, and puts it into the record.
pub(super) async fn tell(book: Arc<Book>, shelf: Arc<Shelf>) {
    let mut stopping = book.stopping.subscribe();
    let telling = async {
        let (mut told, mut failures) = (None, 0_u32);
        let mut news = shelf.news();
        loop {
            let Ok(statements) = stated(&shelf).await else { return };
            if told.as_ref() != Some(&statements) {
                for proved in shelf.proved() {
                    let statement = proved.statement();
                    let (device, height) = (statement.device, statement.height);
                    tracing::info!(device, height, "proved: {}", words::bands(statement.bands));
                }
                match book.offering.replace_attested(statements.clone()).await {
                    Ok(()) => {
                        tracing::info!(statements = statements.len(), "the capability record shows what is proved")
                    }
                    Err(error) => {
                        // What it shows lapses meanwhile.
                        tracing::warn!("the record does not show what is proved, which is tried again: {error:#}");
                        failures = failures.saturating_add(1);
                        Keeper::rest(failures).await;
                        continue;
                    }
                }
                (told, failures) = (Some(statements), 0);
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}
