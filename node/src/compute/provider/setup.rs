//! The provider's process from its first line to its last.

use super::{
    CHECKER_FOLDER,
    book::{Book, Conduct},
    canary::Canaries,
    claims::{claims, unknown_memory},
    desk::Desk,
    fault::Fault,
    offering::{Offering, Reached},
    owner::{self, Owner},
    payout, power, proving,
    record::Records,
    savings::OnChain,
    self_test::{Capability, Interpreter, say},
    session::{Door, Host, Quiet},
    stream::{self, Desk as Streams},
    watch,
};
use crate::{
    cli::{Provide, RefuseCheckers, TOKENS_MAX, TokenPrice},
    compute::{
        amount::kst,
        checker::{Agent, Means},
        files,
        market::Market,
        money::Money,
        own_node,
        place::Place,
        probation::Stand,
        stores::Stores,
        touchstone::{answers::Answers, chain::Chain, checker::Checker, keeper::Keeper},
        wallet,
    },
};
use alloy_primitives::U256;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_blobs::{
    Acceptor, BLOB_BYTES_MAX, BlobStore, Capacity, Config, DiskStore, Durability, Endpoint, Inquiries, Limits, Meter,
    Questions, StoreError, serve_with, stream::acceptor,
};
use keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX;
use keystead_owner::{
    preferences,
    probe::{Machine, Root, nvidia::Tool},
};
use keystead_runner::WorkerCommand;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::block_in_place,
    time::timeout,
};

/// How long the last transaction (no more orders) may take when the process stops.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the checks may take to come to rest.
const END_MAX: Duration = Duration::from_secs(5);

/// `keystead provide`.
pub(crate) async fn run(options: &Provide) -> Result<ExitCode> {
    ensure!(
        options.price > 0 && U256::from(options.price) <= PRICE_WEI_PER_UNIT_MAX,
        "--price must lie between 1 wei and {}",
        kst(PRICE_WEI_PER_UNIT_MAX)
    );
    check_tokens(&options.claims.token_price)?;
    if let Some(code) = owner::command(options)? {
        return Ok(code);
    }
    let canaries = Canaries::read(&options.canaries)?;
    wallet::own_folder(&options.dir)?;
    let total_bytes_max = options.store.saturating_mul(1 << 20);
    let capacity = Capacity { blob_bytes_max: BLOB_BYTES_MAX, total_bytes_max };
    let store = DiskStore::open(&options.dir.join("blobs"), capacity, Durability::Settled)
        .map_err(|error| unusable(error, &options.dir))?;
    let (store, stores) = (Arc::new(store), Stores::default());
    stores.add(&store);
    let wallet = wallet::open(&options.wallet, Some(&options.dir))?;
    let is_new = wallet.is_new;
    let account = Arc::new(wallet.connect(&options.wallet, &options.rpc).await?);
    if is_new {
        say(&format!(
            "A new wallet for this provider: {} (its key is in {})",
            account.address(),
            options.dir.display()
        ));
    }
    ensure!(
        !account.balance().await?.is_zero(),
        "account {} has no KST, and registering costs a little: send it some, then start again",
        account.address()
    );
    let market = Market { account };
    let tokens = tokens(options, &market).await?;
    say("Self-test:");
    let command = worker_command(options)?;
    let interpreter = if options.interpreter { Interpreter::Offered } else { Interpreter::Never };
    let file = options.dir.join("self-test.json");
    let capability = Capability::measure(&command, &file, &Root::new("/"), interpreter).await?;
    let fault = options.fault_watcher.then(|| options.dir.join(owner::FAULT_FILE));
    let owner = Owner::watch(&options.dir, capability.graphics(), stores, command.clone(), fault)?;
    say(&format!(
        "  owner     {} (preferences: {})",
        owner.headline(),
        options.dir.join(owner::PREFERENCES_FILE).display()
    ));
    let endpoint = endpoint(options, owner.meter().clone()).await?;
    let account = Arc::clone(&market.account);
    let keeper = proving::open(options, account, &command, &capability, owner.at_work())?;
    let savings = OnChain::open(&market.account, &options.dir, options.bond_from_earnings).await?;
    let offered = capability.within(owner.declared_bytes_most());
    let offering = offering(options, (market, tokens), &endpoint, &offered).await?;
    let store: Arc<dyn BlobStore> = store;
    let records = Records::open(&options.dir.join("orders"))?;
    let conduct = conduct(options, canaries, savings);
    let book = Book::new(offering, Arc::clone(&store), records, command, capability, owner, conduct);
    let terms = stream::Terms {
        price_wei: options.price,
        watch: Duration::from_secs(u64::from(options.watch_seconds)),
        store_bytes_max: total_bytes_max,
        gas_percent: options.window_gas,
    };
    let streams = Streams::open(Arc::clone(&book), endpoint.id(), &options.dir.join("channels"), terms).await?;
    serve_until_stopped(options, &book, &streams, &endpoint, store, keeper).await?;
    Ok(ExitCode::SUCCESS)
}

/// What a person wished of this provider; what is unusual is said.
fn conduct(options: &Provide, canaries: Canaries, savings: Option<OnChain>) -> Conduct {
    let segment = options.fault_segment;
    let with = |fault: Fault| fault.staying(options.fault_stays).once(options.fault_once).in_segment(segment);
    let fault = options.fault_seed.map(|seed| with(Fault::new(seed)));
    if fault.is_some() {
        tracing::warn!("--fault-seed: one unit of every order will be wrong");
    }
    if let Some(when) = options.refuse_checkers {
        let whom = match when {
            RefuseCheckers::Always => "no checker gets",
            RefuseCheckers::Opened => "no checker of an opened unit gets",
            RefuseCheckers::Later => "no checker of a unit in a later round gets",
        };
        tracing::warn!("--refuse-checkers: {whom} anything here");
    }
    if options.withhold_states {
        tracing::warn!("--withhold-states: no customer gets the states between segments");
    }
    if options.believe_providers {
        tracing::warn!("--believe-providers: whatever a provider opened is found right here");
    }
    for customer in canaries.customers() {
        tracing::info!(%customer, "audited orders of this customer may have a unit that is wrong on purpose");
    }
    let (refuses_checkers, withholds_states) = (options.refuse_checkers, options.withhold_states);
    let believes = options.believe_providers;
    Conduct { fault, savings, refuses_checkers, withholds_states, believes, canaries }
}

/// Why the folder of a provider cannot be used, with the step.
fn unusable(error: StoreError, dir: &Path) -> eyre::Report {
    let step = match error {
        StoreError::InUse { .. } => "another `keystead provide` uses it: stop it, or give another --dir",
        _ => "choose another folder or change its rights",
    };
    eyre::Report::new(error).wrap_err(format!("cannot use {}: {step}", dir.display()))
}

/// As many as a record has room for, and each once.
fn check_tokens(prices: &[TokenPrice]) -> Result<()> {
    ensure!(
        prices.len() <= TOKENS_MAX,
        "--token-price may be given for {TOKENS_MAX} tokens, it is given {} times",
        prices.len()
    );
    for (index, price) in prices.iter().enumerate() {
        let twice = prices.iter().skip(index.saturating_add(1)).any(|other| other.token == price.token);
        ensure!(!twice, "--token-price is given twice for the token {}", price.token);
    }
    Ok(())
}

/// The tokens that the owner lists, as they name themselves.
async fn tokens(options: &Provide, market: &Market) -> Result<Vec<Money>> {
    let mut tokens = Vec::new();
    for price in &options.claims.token_price {
        tokens.push(Money::read(&market.account, Some(price.token)).await?);
    }
    Ok(tokens)
}

/// Workers confined as the owner wishes.
fn worker_command(options: &Provide) -> Result<WorkerCommand> {
    // This process holds keys and starts processes for strangers.
    keystead_runner::hide_memory().wrap_err("cannot hide this program's memory")?;
    let mut command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
    for path in &options.worker_reads {
        let path = path.canonicalize().wrap_err_with(|| format!("cannot let workers read {}", path.display()))?;
        command = command.with_readable(path);
    }
    if let Some(driver) = &options.vulkan_driver {
        let variables = loaded_alone(driver)?;
        command = variables.into_iter().fold(command, |command, (name, file)| command.with_variable(name, file));
    }
    let command = options.without_layer.iter().fold(command, |command, &layer| command.without(layer));
    Ok(command.requiring(options.require_layer.iter().copied()))
}

/// What tells a Vulkan loader to load one driver alone. A confined worker stands in another folder than this process.
fn loaded_alone(driver: &Path) -> Result<[(&'static str, PathBuf); 2]> {
    let file = std::path::absolute(driver).wrap_err_with(|| format!("cannot find the driver {}", driver.display()))?;
    // Loaders before 1.3.207 know the second name alone.
    Ok([("VK_DRIVER_FILES", file.clone()), ("VK_ICD_FILENAMES", file)])
}

async fn endpoint(options: &Provide, meter: Meter) -> Result<Endpoint> {
    let config = Config {
        secret: own_node::key(&options.dir)?,
        bind: options.listen,
        advertise: options.advertise.clone(),
        limits: Limits::default(),
        meter,
    };
    let endpoint = Endpoint::bind(config).await;
    endpoint.wrap_err_with(|| format!("cannot listen on {}: choose another --listen address", options.listen))
}

/// What this machine offers, not yet registered.
async fn offering(
    options: &Provide,
    (market, tokens): (Market, Vec<Money>),
    endpoint: &Endpoint,
    capability: &Capability,
) -> Result<Offering> {
    let address = endpoint.address().wrap_err("name an address that customers can dial: --advertise IP:PORT")?;
    let reached = Reached { node: endpoint.id(), address: address.to_string() };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let mut machine = Machine::read(&Root::new("/"));
    block_in_place(|| machine.ask(&Tool::new("nvidia-smi")));
    for words in unknown_memory(options, capability, &machine) {
        say(&format!("  memory    {words}"));
    }
    let mut claimed = claims(options, capability, &machine, cores);
    // Preferences that cannot be read are the owner's watcher's to complain of.
    let preferred = preferences::read(&options.dir.join(owner::PREFERENCES_FILE)).ok();
    let preferred_g = preferred.as_ref().and_then(power::carbon_of);
    power::complete(&mut claimed, &options.claims, capability.power_mw, preferred_g);
    say(&format!("  energy    {}", power::words(&claimed, &options.claims, capability.power_mw)));
    Offering::open(market, &options.dir, reached, (options.price, tokens), claimed).await
}

async fn serve_until_stopped(
    options: &Provide,
    book: &Arc<Book>,
    streams: &Arc<Streams>,
    endpoint: &Endpoint,
    store: Arc<dyn BlobStore>,
    mut keeper: Keeper,
) -> Result<()> {
    let place = Place::open(options.dir.join(watch::PLACE_FILE), book.market.account.height().await?)?;
    book.resume()?;
    // A token may take its time, or never come: nothing waits for it.
    tokio::spawn(payout::take_what_is_left(Arc::clone(book)));
    let watcher = Arc::clone(book);
    let watching = tokio::spawn(async move { watch::follow(&watcher, place).await });
    let agent = checker(options, book, endpoint).await?;
    let checking = agent.clone().map(|agent| tokio::spawn(agent.follow()));
    let store = served(store, streams, agent.as_ref());
    let door = Door { book: Arc::clone(book), streams: Arc::clone(streams), checker: agent, node: endpoint.id() };
    let shelf = Arc::clone(&keeper.shelf);
    let desk = Inquiries::new(Arc::new(Desk { book: Arc::clone(book) }));
    let answers = Answers::new(Arc::clone(&shelf), options.dir.join(owner::PREFERENCES_FILE));
    let questions = Questions::new(Arc::new(answers));
    let leases = acceptor(stream::Door(Arc::clone(streams)));
    let beside: Vec<Arc<dyn Acceptor>> = vec![Arc::new(desk), Arc::new(questions), leases];
    let server = serve_with(endpoint, store, door, Host { book: Arc::clone(book), said: Quiet::default() }, beside);
    // Orders that are under way have the machine; the proof comes after them.
    keeper.compare_with(&book.offering.record().claimed);
    if book.open_orders().is_empty() {
        proving::first(&book.owner, &mut keeper).await;
    }
    // Only now, since whoever reads the register may come at once.
    book.offering.announce().await?;
    say_lane(options, book).await;
    say("Stop with Ctrl-C.");
    let chain = Chain { account: Arc::clone(&book.market.account) };
    let checker = Checker::open(chain, endpoint.clone(), &options.dir).await?;
    let proofs = [
        tokio::spawn(proving::keep(Arc::clone(book), keeper)),
        tokio::spawn(proving::tell(Arc::clone(book), shelf)),
        tokio::spawn(checker.run()),
    ];
    let lost = until_stopped(book, streams).await?;
    say("Stopping: no new orders.");
    let (open, channels) = tokio::join!(book.stop(), streams.stop());
    say_open(channels, streams.open_windows());
    // The checker signs nothing that it has not finished checking.
    proofs.iter().for_each(tokio::task::JoinHandle::abort);
    server.shutdown().await;
    endpoint.close().await;
    if !matches!(timeout(PAUSE_MAX, book.market.pause()).await, Ok(Ok(_))) {
        tracing::warn!("the register still lists this provider: new orders will expire until it starts again");
    }
    let _ = watching.await;
    if let Some(checking) = checking {
        let _ = timeout(END_MAX, checking).await;
    }
    remains(book, &open).await;
    lost.map_or(Ok(()), |why| {
        Err(eyre!("nobody watches for the owner of this machine, so nothing may run: {why}; start the program again"))
    })
}

/// Waits until this program is to end; why, where that is because nobody watches for the owner.
async fn until_stopped(book: &Book, streams: &Streams) -> Result<Option<String>> {
    let finished = async {
        book.finished().await;
        streams.finished().await;
    };
    let mut interrupt = signal(SignalKind::interrupt()).wrap_err("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).wrap_err("cannot listen for a request to stop")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = finished => say("The owner wanted to finish, and no order is open."),
        why = book.owner.until_lost() => return Ok(Some(why)),
    }
    Ok(None)
}

/// What others may fetch here: blobs of orders, of channels, and for checkers those of checks that came before theirs.
fn served(orders: Arc<dyn BlobStore>, streams: &Arc<Streams>, agent: Option<&Arc<Agent>>) -> Arc<dyn BlobStore> {
    let own: Arc<dyn BlobStore> = Arc::new(stream::Blobs { orders, beside: Arc::<Streams>::clone(streams) });
    match agent {
        Some(agent) => Arc::new(stream::Blobs { orders: own, beside: Arc::<Agent>::clone(agent) }),
        None => own,
    }
}

/// Says in which lane this provider works; nothing on a chain without audits.
async fn say_lane(options: &Provide, book: &Book) {
    match Stand::read(&book.market.account, options.price, options.bond_from_earnings).await {
        Ok(stand) => {
            for (line, head) in stand.lines().iter().zip(std::iter::once("lane").chain(std::iter::repeat(""))) {
                say(&format!("  {head:<9} {line}"));
            }
        }
        Err(error) => tracing::debug!(error = format!("{error:#}"), "the lane of this provider is not read"),
    }
}

/// Checks other providers' work beside this one's own, if the owner did not say no; it follows nothing yet.
async fn checker(options: &Provide, book: &Arc<Book>, endpoint: &Endpoint) -> Result<Option<Arc<Agent>>> {
    if options.no_check {
        return Ok(None);
    }
    let folder = options.dir.join(CHECKER_FOLDER);
    files::private_folder(&folder)?;
    // A part of what customers may fill; a check has one unit's blobs.
    let bytes_max = options.store.saturating_mul(1 << 20) / 4;
    Agent::open(Means { book, endpoint, folder: &folder, bytes_max }).await.map(Some)
}

/// Says what waits for the next start of channels.
fn say_open(channels: usize, windows: usize) {
    if channels > 0 {
        say(&format!(
            "  Channels still open: {channels}. What they owe is claimed when this provider runs again, or is lost at their ends."
        ));
    }
    if windows > 0 {
        say(&format!(
            "  {windows} of their windows are paid and not over: start again soon. One that is not opened in time costs the bond behind it."
        ));
    }
}

/// Says what is unfinished and until when it can be finished.
async fn remains(book: &Book, open: &[U256]) {
    for order in open {
        let line = match timeout(PAUSE_MAX, book.market.order(*order)).await {
            Ok(Ok(order)) => {
                let due = order.stand.due().map_or_else(String::new, |due| format!(", due at Unix second {due}"));
                format!(
                    "  order {}: {:?}{due}, {}",
                    order.id,
                    order.status(),
                    book.offering.money(order.currency).show(order.escrow_wei)
                )
            }
            _ => format!("  order {order}: the node does not answer"),
        };
        say(&line);
    }
    if open.is_empty() {
        say("Stopped. No order is open.");
    } else {
        say("Stopped. Start again with the same folder to finish the orders above; nothing is lost.");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use alloy_primitives::Address;

    #[test]
    fn a_driver_is_named_to_workers_by_where_it_lies_since_they_stand_elsewhere() {
        let variables = loaded_alone(Path::new("drivers/card.json")).unwrap();
        assert!(variables.iter().all(|(_, file)| file.is_absolute() && file.ends_with("drivers/card.json")));
        assert_eq!(variables.map(|(name, _)| name), ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]);
    }

    #[test]
    fn so_many_tokens_as_a_record_holds_and_none_twice() {
        let price = |byte: u8| TokenPrice { token: Address::repeat_byte(byte), per_unit: U256::from(1), per_mop: 0 };
        let check = |bytes: &[u8]| check_tokens(&bytes.iter().map(|byte| price(*byte)).collect::<Vec<_>>());
        assert!(check(&[]).is_ok() && check(&[1, 2, 3]).is_ok());
        assert!(check(&[1, 2, 3, 4]).is_err_and(|error| error.to_string().contains("4 times")));
        assert!(check(&[1, 2, 1]).is_err_and(|error| error.to_string().contains("twice")));
    }
}
