//! `keystead map` from its first line to its last.

use super::{
    bank::{self, Bank},
    certificate::{self, Missing},
    choose::Chooser,
    closing::{Closed, Closing, Left},
    conduct::{Conductor, Ending, Parts, compared},
    events::{EVENTS_MAX, Event},
    examine::Examiner,
    farewell::{Farewells, Means},
    folder::{Folder, Identity},
    happened::{self, Ended},
    journal::{Entry, Journal},
    kept,
    outputs::Outputs,
    record,
    reduce::Reduce,
    show::{Row, Show},
    state::{State, words},
    watch::{Watch, Watched},
    window,
};
use crate::{
    cli::{self, Map},
    compute::{
        account::Account,
        amount::{self, counted, kst},
        channels::Channels,
        customer::{
            plan::{Prepared, Work, prepare},
            result::how_to_check,
            stop::Stops,
        },
        event_log::EventLog,
        market::Market,
        matching::{links::Links, need::CHECKERS_ANYWHERE},
        money::Money,
        provider_log::{Detail, ProviderLog},
        token::Token,
        wallet,
        windows::Windows,
    },
};
use alloy_primitives::{B256, U256};
use eyre::{Context as _, Result, ensure};
use keystead_audit::SampleRule;
use keystead_blobs::{BlobStore as _, Hash};
use keystead_contracts::CHANNEL_ADDRESS;
use keystead_job::Class;
use keystead_lease::{Provider, Rules, STEPS_MAX};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Parts per million in a percent.
const PPM_PER_PERCENT: u32 = 10_000;
/// Questions that wait for the bank.
const ASKS_MAX: usize = 256;
/// Longest window by a provider's pace, in seconds: one that is announced is worth a larger one.
const WINDOW_SECONDS: u32 = 60;
/// The same where windows are audited.
pub(super) const WINDOW_SECONDS_AUDITED: u32 = 300;
/// Bytes of states in one lease or report (specs/0011-stream.md section 3).
const PACK_BYTES: u64 = 1 << 27;

/// `keystead map`.
pub(crate) async fn run(options: &Map) -> Result<ExitCode> {
    let log = Arc::new(EventLog::open(options.told.events.as_deref())?);
    let ended = Box::pin(see_through(options, &log)).await;
    match &ended {
        Ok(ended) => log.tell(&ended.happened()),
        Err(error) => log.tell(&Ended::refused(format!("{error:#}")).happened()),
    }
    Ok(ExitCode::from(ended?.code))
}

/// Fails if what is asked for contradicts itself.
fn consistent(options: &Map) -> Result<()> {
    ensure!(
        !options.audit.is_in_vain(),
        "--checkers, --audit-rate and --checker-fee say how strangers check, but nobody is asked to: give --audit, too"
    );
    ensure!(
        options.token.is_none() || !options.audit.is_wanted(),
        "the checks of a map's windows are paid from its channels, and their fees are in KST: audit a map that is paid in KST, or leave --audit out"
    );
    Ok(())
}

/// From the files of the job to its end, or to the end of this process.
async fn see_through(options: &Map, log: &Arc<EventLog>) -> Result<Ended> {
    consistent(options)?;
    let reduce = Reduce::parse(&options.reduce)?;
    let prepared = Arc::new(prepare(Work { recipe: &options.recipe, input: &options.input, set: &options.set }).await?);
    let spec = &prepared.spec;
    ensure!(
        spec.class != Class::SelfChecking || spec.segment_count == 1,
        "a checker program looks at whole units, and a map pays {} segments of each, to different providers: order it with `keystead run`",
        spec.segment_count
    );
    let show = Show::new(Arc::clone(log), ProviderLog::new(&options.out, Detail::of(options.told.verbose)));
    let folder = Folder::open(&options.out)?;
    let (market, genesis) = match customer(options, log).await {
        Ok(found) => found,
        // What is begun goes on once the network answers.
        Err(error) if folder.is_begun() => return Ok(undecided(&error, log)),
        Err(error) => return Err(error),
    };
    let identity = Identity {
        chain_id: market.account.chain_id(),
        genesis,
        customer: market.account.address(),
        recipe: prepared.spec.recipe.to_string(),
        job: prepared.spec.hash(),
        token: options.token,
    };
    let money = Money::read(&market.account, options.token).await?;
    let goes_on = folder.belongs_to(&identity)?;
    let worked = Box::pin(work(options, &reduce, &prepared, &folder, (&market, &money), show, goes_on)).await;
    Ok(worked.unwrap_or_else(|error| undecided(&error, log)))
}

/// Who orders, and the genesis of its chain.
async fn customer(options: &Map, log: &EventLog) -> Result<(Market, B256)> {
    let account =
        wallet::of_customer(&options.wallet, options.dir.as_deref(), &options.rpc, |line| log.answer(line)).await?;
    let genesis = account.genesis().await?;
    Ok((Market { account: Arc::new(account) }, genesis))
}

/// What kept this process from the map's end, as the person hears it.
fn undecided(error: &eyre::Report, log: &EventLog) -> Ended {
    cli::print_error(error);
    log.answer("What is done is kept: run the same command again to go on.");
    Ended::undecided(error)
}

async fn work(
    options: &Map,
    reduce: &Reduce,
    prepared: &Arc<Prepared>,
    folder: &Folder,
    (market, money): (&Market, &Money),
    mut show: Show,
    goes_on: bool,
) -> Result<Ended> {
    let spec = &prepared.spec;
    let (journal, entries) = Journal::open(&folder.path(kept::JOURNAL_FILE))?;
    // Of a map that is not begun nobody was told, or the plan alone.
    if !goes_on || entries.is_empty() {
        show.begins(&happened::planned(prepared, money, options.audit.is_wanted()));
    }
    let state = State::new(spec.unit_count, spec.segment_count, rules(options, prepared));
    let state = replay(state, &entries, spec.hash(), &mut show);
    let outputs = Outputs::open(&folder.path(kept::OUTPUTS_FILE), state.outputs_end)?;
    let (units, steps) = (counted(spec.unit_count.into(), "unit"), counted(spec.segment_count.into(), "step"));
    show.say(&format!("{}: {units} of {steps}", prepared.recipe.title));
    if goes_on {
        let done = spec.unit_count.saturating_sub(state.table.units_left());
        show.say(&format!("Going on in {}: {done} of {} units are done.", options.out.display(), spec.unit_count));
    }
    if let Some(missing) = certificate::impossible(spec).filter(|_| options.audit.is_wanted()) {
        show.say(&format!("This map is audited, but gets no certificate: {missing}."));
    }
    if options.audit.is_wanted() && !options.demands.country.is_empty() {
        show.say(CHECKERS_ANYWHERE);
    }
    let parts = Parts {
        options,
        prepared: Arc::clone(prepared),
        examiner: Arc::new(examiner(options, prepared, &outputs)?),
        state,
        journal: journal.clone(),
        outputs,
        market: market.clone(),
        money: money.clone(),
        signer: folder.signer()?,
        // One socket for all providers, which are anywhere.
        endpoint: folder.node()?.bind(Ipv4Addr::UNSPECIFIED.into()).await?,
        shared: Arc::default(),
        served: Vec::new(),
        rule: rule(options),
        show,
        watched: Watched::default(),
    };
    let endpoint = parts.endpoint.clone();
    let stops = Stops::listen_to_both()?;
    let done = complete(parts, reduce, folder, &stops).await;
    endpoint.close().await;
    let Done { ending, state, show, took, files, heard, closed } = done?;
    let ended = Ended::of(&ending, &closed);
    let left = closed.left;
    let path = folder.path(certificate::FILE);
    let work = certificate::Work { market, prepared, state: &state, rule: rule(options), path: &path };
    let missing = tokio::select! {
        // First: a map that has none at all is told so.
        biased;
        made = certificate::make(work) => made.err(),
        () = stops.wait(heard.saturating_add(1)) => Some(Missing::Stopped),
    };
    show.end();
    conclude(&ending, &state, (&show, money), took, &files, &left);
    record::write(folder, prepared, (&state, money), &ending, (left.as_slice(), missing.as_ref()))?;
    tell_certificate(&path, missing, market, &show).await;
    Ok(ended)
}

/// What an earlier process left. Of its last lines the log is told what it lacks: that process may have died before it could.
fn replay(mut state: State, entries: &[Entry], job: B256, show: &mut Show) -> State {
    let mut last = Vec::new();
    let first = entries.len().saturating_sub(happened::RETOLD_MAX);
    for (index, entry) in entries.iter().enumerate() {
        if index >= first {
            last.extend(happened::of_journal(entry, &state));
        }
        state.apply(entry, Duration::ZERO);
    }
    if !entries.is_empty() {
        show.goes_on(job, state.units());
        last.iter().for_each(|happened| show.note(happened));
    }
    state
}

/// Writes a line down and lets it happen, where no conductor does.
fn enter(entry: &Entry, journal: &Journal, state: &mut State, show: &Show) -> Result<()> {
    journal.append(entry)?;
    happened::of_journal(entry, state).iter().for_each(|happened| show.note(happened));
    state.apply(entry, Duration::ZERO);
    Ok(())
}

/// What is left when the channels are over, or left to a later process.
struct Done {
    ending: Ending,
    state: State,
    show: Show,
    took: Duration,
    files: Vec<String>,
    /// How often Ctrl-C was pressed while there was work: once more leaves the channels.
    heard: u32,
    closed: Closed,
}

/// Does the units, writes the result, ends the channels.
async fn complete(parts: Parts<'_>, reduce: &Reduce, folder: &Folder, stops: &Stops) -> Result<Done> {
    let channels = Channels { account: Arc::clone(&parts.market.account) };
    let means = Means::of(&parts, &channels);
    let (journal, prepared, money) = (parts.journal.clone(), Arc::clone(&parts.prepared), parts.money.clone());
    let (ending, end) = conduct(parts, &channels, stops).await?;
    let End { mut state, outputs, show, told, went_on, took, heard } = end;
    settle_openings(&channels, &journal, &mut state, &show).await?;
    let served = told.union(&went_on).copied().collect();
    // Before the result is written: that may take long, or fail.
    let farewells = Farewells::begin(means, &state, &served);
    let mut reduced = Ok(Vec::new());
    if matches!(ending, Ending::Whole) {
        reduced = reduce.run(&prepared, &state, &outputs, folder).await;
        if reduced.is_ok() && !state.done {
            enter(&Entry::Done, &journal, &mut state, &show)?;
            journal.sync()?;
        }
        if let Ok(files) = &reduced {
            show.note(&happened::reduced(files));
        }
    }
    let mut closing = Closing { channels: &channels, journal: &journal, show: &show, money: &money, told, farewells };
    let closed = closing.run_until(&mut state, stops.wait(heard.saturating_add(1))).await?;
    drop(closing);
    tokio::select! {
        () = revoke(&channels, &money, &show) => {}
        // A network that stands still keeps nobody waiting.
        () = stops.wait(stops.pressed().saturating_add(1)) => {
            show.say("Stopping before the approval of the contract of channels is taken back: the next map in this token does it.");
        }
    }
    if !state.windows.is_empty() && !closed.is_stopped {
        take_home(&channels, &show).await;
    }
    let files = reduced?;
    Ok(Done { ending, state, show, took, files, heard, closed })
}

/// What checks did not cost. It stays this account's if that fails.
async fn take_home(channels: &Channels, show: &Show) {
    match (Windows { account: Arc::clone(&channels.account) }).withdraw().await {
        Ok(taken) if taken.is_zero() => {}
        Ok(taken) => show.say(&format!("{} came back from the audit.", kst(taken))),
        Err(error) => show.say(&format!(
            "What the audit gives back was not taken ({error:#}): it comes with the next order or map of this account."
        )),
    }
}

/// No channel takes anything any more: what is left of the approval goes. It stays harmless if that fails, since the contract takes only what this account
/// tells it to.
async fn revoke(channels: &Channels, money: &Money, show: &Show) {
    let account: &Account = &channels.account;
    let Some(contract) = money.currency().contract() else { return };
    if let Err(error) = (Token { account, contract, spender: CHANNEL_ADDRESS }).clear().await {
        show.say(&format!("The approval of the contract of channels stays: {error:#}"));
    }
}

/// Lets the lines say goodbye, and hears what comes meanwhile: nobody waits for a full queue.
async fn parted(
    conductor: &mut Conductor<'_>,
    inbox: &mut mpsc::Receiver<Event>,
    late: &mut Vec<Entry>,
) -> (BTreeSet<Provider>, BTreeSet<Provider>) {
    let mut parting = Box::pin(conductor.part());
    loop {
        tokio::select! {
            parted = &mut parting => return parted,
            Some(event) = inbox.recv() => late.extend(opened(event)),
        }
    }
}

/// What of a late event must not be forgotten.
fn opened(event: Event) -> Option<Entry> {
    if let Event::Opened { provider, channel } = event { Some(Entry::Opened { provider, channel }) } else { None }
}

/// Openings that were signed and of which nobody has heard what became: their channels hold money.
async fn settle_openings(channels: &Channels, journal: &Journal, state: &mut State, show: &Show) -> Result<()> {
    let open: Vec<_> = state.providers().filter_map(|(p, partner)| Some((p, partner.opening.clone()?))).collect();
    for (provider, opening) in open {
        let entry = match bank::settle(channels, provider, &opening).await {
            Event::Opened { provider, channel } => Entry::Opened { provider, channel },
            Event::NotOpened { provider, .. } => Entry::NotOpened { provider },
            Event::Stuck(reason) => {
                show.say(&format!("{reason}. Run the same command again to take home what may lie in it."));
                continue;
            }
            _ => continue,
        };
        enter(&entry, journal, state, show)?;
    }
    journal.sync()
}

/// What is left when the units are done.
struct End {
    state: State,
    outputs: Outputs,
    show: Show,
    /// Who heard goodbye, and who has its last voucher in any case.
    told: BTreeSet<Provider>,
    went_on: BTreeSet<Provider>,
    took: Duration,
    /// How often Ctrl-C was pressed by then.
    heard: u32,
}

/// Whether there is nothing to be done but to end what is open.
fn over(parts: &Parts<'_>) -> Option<Ending> {
    if parts.state.is_whole() {
        return Some(Ending::Whole);
    }
    let is_full = parts.state.table.units_left() > 0 && parts.journal.is_full();
    let reason = "its journal is full, and no more work can be written down: split it into smaller jobs";
    is_full.then(|| Ending::Failed(reason.to_owned()))
}

/// Does what is left of the units, and waits until nothing can be taken back.
async fn conduct(mut parts: Parts<'_>, channels: &Channels, stops: &Stops) -> Result<(Ending, End)> {
    if let Some(ending) = over(&parts) {
        let Parts { state, outputs, show, .. } = parts;
        let (told, went_on) = (BTreeSet::new(), BTreeSet::new());
        return Ok((ending, End { state, outputs, show, told, went_on, took: Duration::ZERO, heard: 0 }));
    }
    let began = Entry::Began { first_lease: parts.state.next_process() };
    parts.journal.append(&began)?;
    // A number of a lease that a power cut took back must not be used for another one.
    parts.journal.sync()?;
    parts.state.apply(&began, Duration::ZERO);
    let Prepared { side, common, .. } = &*parts.prepared;
    for bytes in [side.program(), common.as_slice()] {
        let name: Hash = parts.shared.put(bytes).wrap_err("the inputs are too large")?;
        parts.served.push(name);
    }
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
    let chooser = Chooser {
        market: parts.market.clone(),
        prepared: Arc::clone(&parts.prepared),
        demands: parts.options.demands.clone(),
        named: parts.options.provider.clone(),
        money: parts.money.clone(),
    };
    let (journal, over) = (parts.journal.clone(), Arc::new(AtomicBool::new(false)));
    let bank = Bank {
        channels: channels.clone(),
        chooser,
        audit: parts.options.audit.as_order(),
        agreed: BTreeMap::new(),
        journal: journal.clone(),
        asks: asked,
        events: events.clone(),
        over: Arc::clone(&over),
    };
    let bank = tokio::spawn(bank.run());
    let (windows, watched) = (parts.market.windows(), parts.watched.clone());
    let watch = tokio::spawn(Watch { windows, watched, events: events.clone() }.run());
    let mut conductor = Conductor::new(parts, asks, events);
    let ending = conductor.run(&mut inbox, stops).await;
    let heard = stops.pressed();
    over.store(true, Ordering::Relaxed);
    watch.abort();
    let mut late = Vec::new();
    if ending.is_err() {
        conductor.leave();
    }
    let (told, went_on) = parted(&mut conductor, &mut inbox, &mut late).await;
    let Conductor { mut state, outputs, show, begin, asks, events, .. } = conductor;
    // The bank ends with its last asker; a transaction under way is seen to its end, and what it opened is known.
    drop((asks, events));
    while let Some(event) = inbox.recv().await {
        late.extend(opened(event));
    }
    let _ = bank.await;
    for entry in &late {
        enter(entry, &journal, &mut state, &show)?;
    }
    Ok((ending?, End { state, outputs, show, told, went_on, took: begin.elapsed(), heard }))
}

fn rules(options: &Map, prepared: &Prepared) -> Rules {
    let spec = &prepared.spec;
    let step_max = Duration::from_millis(spec.limits.wall_ms_max).saturating_add(Duration::from_secs(1));
    let input_max = prepared.units.iter().map(Vec::len).max().unwrap_or_default();
    let largest = spec.limits.output_bytes_max.max(u64::try_from(input_max).unwrap_or(u64::MAX)).max(1);
    let usual = if options.audit.is_wanted() { WINDOW_SECONDS_AUDITED } else { WINDOW_SECONDS };
    let fits = u32::try_from(PACK_BYTES.checked_div(largest).unwrap_or(1)).unwrap_or(u32::MAX);
    Rules {
        steps_max: fits.clamp(1, STEPS_MAX),
        window: Duration::from_secs(u64::from(options.window_seconds.unwrap_or(usual))),
        silence: Duration::from_secs(u64::from(options.silence_seconds)),
        ..Rules::new(step_max)
    }
}

fn examiner(options: &Map, prepared: &Arc<Prepared>, outputs: &Outputs) -> Result<Examiner> {
    let links = Links::open(options.demands.records.as_deref());
    Examiner::new(Arc::clone(prepared), outputs.clone(), links)
}

fn rule(options: &Map) -> SampleRule {
    SampleRule {
        rate_ppm: options
            .sample_rate
            .map_or(SampleRule::START.rate_ppm, |percent| percent.saturating_mul(PPM_PER_PERCENT)),
        units_min: options.sample.unwrap_or(SampleRule::START.units_min),
    }
}

fn conclude(
    ending: &Ending,
    state: &State,
    (show, money): (&Show, &Money),
    took: Duration,
    files: &[String],
    left: &[Left],
) {
    let promised = money.show(U256::from(state.promised_wei()));
    // What an audit finds wrong, or never sees, is promised and not paid.
    let paid = if state.windows.is_empty() { "paid" } else { "promised" };
    match ending {
        Ending::Whole => {
            show.say(&format!("Every unit is done after {}; {promised} were {paid}.", amount::duration(took)))
        }
        Ending::Failed(reason) => show.say(&format!("The job cannot be done: {reason}. {promised} were {paid}.")),
        Ending::Stopped => show.say(&format!("Stopped; {promised} were {paid}. The same command goes on.")),
    }
    let rows: Vec<Row> = state
        .providers()
        .map(|(provider, partner)| Row {
            account: partner.account,
            steps: partner.steps,
            paid: money.show(U256::from(partner.price_wei.saturating_mul(u128::from(partner.steps)))),
            stand: state.table.out(provider).map(words).unwrap_or_default().to_owned(),
        })
        .collect();
    show.table(&rows);
    if let Some(promise) = &state.promise {
        show.say(&compared(money, promise, state.promised_wei()));
    }
    if state.lost_wei() > 0 {
        let lost = money.show(U256::from(state.lost_wei()));
        show.say(&format!("{lost} of it were for results that were thrown away."));
    }
    window::summary(state).iter().for_each(|line| show.say(line));
    if state.steps_unchecked > 0 {
        show.say(&format!("{} could not be checked on this machine.", counted(state.steps_unchecked, "step")));
    }
    for file in files {
        show.say(&format!("  {file}"));
    }
    for Left { account, channel, after, owes } in left {
        let when = after.map_or_else(String::new, |after| format!(" after Unix second {after}"));
        show.say(&format!(
            "The channel {channel} with {account} is not closed: run the same command again{when} to take its rest."
        ));
        if *owes {
            show.say("  It was away before it had what was promised last: run the same command again before that, too, to hand it over.");
        }
    }
}

/// The next step: how anybody can check the certificate; or why there is none.
async fn tell_certificate(path: &Path, missing: Option<Missing>, market: &Market, show: &Show) {
    match missing {
        None => {
            show.note(&happened::certificate(path));
            show.say(&format!("  proof    {}", path.display()));
            let lines = how_to_check(market.account.client(), path).await;
            lines.iter().for_each(|line| show.say(line));
        }
        // That was said.
        Some(Missing::NotDone) => {}
        Some(missing) => {
            show.note(&happened::no_certificate(&missing.to_string()));
            show.say(&format!("No certificate: {missing}."));
        }
    }
}
