//! `keystead prove`: what this machine would prove, and whether what somebody published holds.

use super::{
    answers::fetch,
    chain::Chain,
    measure::{Device, Workshop, found, measure},
    round::{Holding, challenge},
    words,
};
use crate::{
    cli::Prove,
    client::Client,
    compute::{account::Account, own_node, random},
};
use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_job::Runtime;
use keystead_market::{
    band::Bands,
    record::{Proved, Trust, attested::agreed},
    touchstone::{
        Published,
        challenge::Round,
        due::quorum,
        lapse::Lapse,
        prover::vectors_root,
        read_answer,
        round::{check, rows_height},
        verify,
        verify::{Committed, Times},
    },
};
use keystead_runner::{Failure, WorkerCommand, probe};
use std::{process::ExitCode, sync::Arc, time::Instant};

/// `keystead prove`.
pub(crate) async fn run(options: &Prove) -> Result<ExitCode> {
    match options.verify {
        Some(account) => look(options, account).await,
        None => show(options).await,
    }
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}

/// Proves to this terminal: the same work as on the chain, with a challenge from this machine's own randomness.
async fn show(options: &Prove) -> Result<ExitCode> {
    let mut command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
    for path in &options.worker_reads {
        let path = path.canonicalize().wrap_err_with(|| format!("cannot let workers read {}", path.display()))?;
        command = command.with_readable(path);
    }
    say("What this machine shows about itself, device by device (nothing is sent, nothing is recorded):");
    let tests = match probe(&command, Runtime::Wgsl1).await {
        Ok(test) if !test.adapters.is_empty() => vec![test],
        Ok(_) | Err(Failure::NoAdapter { .. }) => Vec::new(),
        Err(failure) => {
            say(&format!("  1  not tried: {failure}"));
            Vec::new()
        }
    };
    let (workshop, mut failed) = (Workshop::alone(command), false);
    for device in found(&tests) {
        let shown = async {
            let device = measure(&workshop, &device, &options.proving).await?;
            say(&format!(
                "  {}  {}: fills {} MiB in about {} s, claims {}",
                device.number,
                device.name,
                device.filled_mib(),
                device.seconds(),
                words::speed(device.mop_per_s)
            ));
            let bands = prove_here(&workshop, device).await?;
            say(&format!("     {}", words::bands(bands)));
            if let Some(why) = words::without_memory(bands) {
                say(&format!("     {why}"));
            }
            Ok::<(), eyre::Report>(())
        };
        if let Err(error) = shown.await {
            failed = true;
            say(&format!("  {}  proves nothing: {error:#}", device.number));
        }
    }
    say("A provider proves the same to checkers whom the network draws: keystead provide");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The whole challenge and its check on this machine.
async fn prove_here(workshop: &Workshop, device: Device) -> Result<Bands> {
    let round = Round { chain_id: 0, height: 1, time_s: 0, beacon: random::word()? };
    let challenge = challenge(&device, Address::ZERO, round)?;
    let start = Instant::now();
    let mut holding = Holding::compute(workshop, device, challenge).await?;
    let root_ms = milliseconds(start);
    let (vector_beacon, rows_beacon) = (random::word()?, random::word()?);
    let start = Instant::now();
    let key = holding.commitment().vector_key(vector_beacon);
    let vectors = holding.touchstone().vectors(key).await?;
    let vectors_ms = milliseconds(start);
    let root = holding.commitment().root();
    let committed = Committed { root, vector_beacon, vectors_root: vectors_root(&vectors), rows_beacon };
    let opened = holding.open(&vectors, rows_beacon).await?;
    let answer = read_answer(&challenge, &opened.answer)?;
    // What a network says about the way there, no machine can say alone.
    let times = Times { root_ms, vectors_ms, answer_ms: u64::MAX };
    let bands = verify(&challenge, committed, &answer, times)?.bands();
    Ok(Bands { bandwidth: None, ..bands })
}

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Checks what somebody published, trusting no checker, and says what checkers state about it.
async fn look(options: &Prove, account: Address) -> Result<ExitCode> {
    let reader = Account::open(Client::new(&options.rpc)?, PrivateKeySigner::random()).await?;
    let chain = Chain { account: Arc::new(reader) };
    ensure!(
        chain.has_touchstone().await?,
        "chain {} began without the proof of hardware: nothing is recorded there",
        chain.account.chain_id()
    );
    let listed = chain.listing(account).await?;
    let address: keystead_blobs::Address =
        listed.parse().map_err(|error| eyre!("the endpoint of {account} is none: {error}"))?;
    let endpoint = own_node::passing(address.sockets()).await?;
    let fetched = fetch(&endpoint, &address).await;
    endpoint.close().await;
    let (published, answer_ms) = fetched.wrap_err_with(|| format!("cannot check {account}"))?;
    ensure!(published.provider == account, "what is published there is of {}", published.provider);
    let facts = chain.facts(&published, answer_ms).await?;
    let vectors_block =
        rows_height(facts.recorded.iter().map(|entry| entry.vectors_block)).unwrap_or(1).saturating_sub(1);
    let proved = match check(&published, &facts, Address::ZERO) {
        Ok(proved) => proved,
        Err(why) => {
            say(&format!(
                "NOT PROVED: {account} published a round for height {} that does not hold: {why}",
                published.height
            ));
            return Ok(ExitCode::FAILURE);
        }
    };
    say(&format!(
        "PROVED by {account} for the challenge of height {}, checked here against the chain:",
        published.height
    ));
    for one in &proved {
        let statement = one.statement();
        say(&format!("  device {}  {}", statement.device, words::bands(statement.bands)));
    }
    let drawn = statements(&chain, &published, &proved, vectors_block).await?;
    // Where nobody could state a proof none lapses.
    let lapsed = if drawn == 0 { None } else { lapse(&chain, &published).await? };
    if let Some(lapse) = lapsed {
        say(&format!("All the same its hardware counts as not proved: {lapse}."));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Why readers count the round no more.
async fn lapse(chain: &Chain, published: &Published) -> Result<Option<Lapse>> {
    let (head, _) = chain.account.head().await?;
    let draws = chain.draws(head, published.height).await?;
    Ok(draws.lapse(published.provider, published.height))
}

/// Says how many drawn checkers state the same; how many were drawn.
async fn statements(chain: &Chain, published: &Published, proved: &[Proved], vectors_block: u64) -> Result<usize> {
    let checkers = chain.checkers(published.provider, vectors_block).await?;
    let drawn = |account: Address| checkers.contains(&account);
    let trust = Trust { chain_id: chain.account.chain_id(), checkers: &drawn, oldest_s: 0 };
    // Only statements about what was just checked count.
    let about = |one: &Proved| proved.iter().any(|checked| checked.statement().challenge == one.statement().challenge);
    let believed: Vec<Proved> = published
        .statements
        .iter()
        .filter_map(|entry| entry.prove(published.provider, trust).ok())
        .filter(about)
        .collect();
    let mut who: Vec<Address> = believed.iter().map(|one| one.statement().checker).collect();
    who.sort_unstable();
    who.dedup();
    let needed = quorum(checkers.len());
    let whole = agreed(&believed, needed).len() == proved.len();
    match (checkers.len(), whole) {
        (0, _) => say("No checker could be drawn: nobody else held a seat. The check above is all there is."),
        (count, true) => say(&format!("{} of {count} drawn checkers state the same.", who.len())),
        (count, false) => {
            say(&format!("{} of {count} drawn checkers have stated it so far; {needed} are needed.", who.len()));
        }
    }
    let strangers = published.statements.len().saturating_sub(believed.len());
    if strangers > 0 {
        say(&format!(
            "{strangers} statements count for nothing: of nobody who was drawn, of another round, or not signed so."
        ));
    }
    Ok(checkers.len())
}
