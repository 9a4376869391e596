//! `keystead verify FILE`: checks a bundle, a certificate, or a beacon value, offline, and holds a folder's outputs against it.

use crate::{
    cli::Verify,
    compute::results::{Looked, Standing, look},
    digits::hex_array,
};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_proof::{Report, Verdict, verify};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read as _, stdin},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// Largest bundle read; the verifier's own limit is smaller.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Exit code of a usage or file error, apart from the three verdicts' codes 0, 1, 2.
const EXIT_USAGE: u8 = 3;
/// Proved, but the outputs in the folder are others, or one is missing.
const EXIT_DIFFERENT: u8 = 4;
/// Proved, but no outputs are in the folder, or nothing but what its customer says is known of any.
const EXIT_NOTHING: u8 = 5;
/// Where the key is found.
const KEY_PLACE: &str = "it is `network_key` in the network.json of whoever runs the network, `cargo xtask up` prints it, and `keystead run` and \
    `keystead map --audit` end with the whole line to type";

pub(crate) fn run(options: &Verify) -> Result<ExitCode> {
    let (bundle, key) = match read(options) {
        Ok(read) => read,
        Err(error) => {
            crate::cli::print_error(&error);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).wrap_err("the clock stands before 1970")?;
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let report = verify(&bundle, &key, now_ms, options.max_age.map(|seconds| seconds.saturating_mul(1_000)));
    // What is not proved says nothing of any file.
    let folder = options.results.as_deref().filter(|_| report.verdict == Verdict::Proved);
    let (looked, unusable) = match folder.map(|folder| look(folder, report.results.as_ref())) {
        None => (None, None),
        Some(Ok(looked)) => (Some(looked), None),
        Some(Err(error)) => (None, Some(error)),
    };
    print(&report, looked.as_ref(), options)?;
    if let Some(error) = &unusable {
        crate::cli::print_error(error);
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    Ok(ExitCode::from(match looked.as_ref().map(Looked::standing) {
        None | Some(Standing::Equal) => report.verdict.exit_code(),
        Some(Standing::Different) => EXIT_DIFFERENT,
        Some(Standing::Nothing | Standing::Unproved) => EXIT_NOTHING,
    }))
}

fn read(options: &Verify) -> Result<(Vec<u8>, [u8; 96])> {
    let key = options.network_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| eyre!("name the network key that you trust with --network-key HEX: {KEY_PLACE}"))?;
    let key = hex_array::<96>(key, "--network-key").wrap_err_with(|| format!("no usable network key: {KEY_PLACE}"))?;
    let mut bundle = Vec::new();
    if options.file.as_os_str() == "-" {
        stdin().take(FILE_BYTES_MAX).read_to_end(&mut bundle)?;
    } else {
        let name = options.file.display();
        let file = File::open(&options.file)
            .wrap_err_with(|| format!("cannot open {name}: give the certificate.json of a result"))?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bundle).wrap_err_with(|| format!("cannot read {name}"))?;
    }
    ensure!(
        !bundle.is_empty(),
        "{} is empty: give the certificate.json of a result, or what `keystead_getProof` or `keystead_getBeacon` returns",
        options.file.display()
    );
    Ok((bundle, key))
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn print(report: &Report, looked: Option<&Looked>, options: &Verify) -> Result<()> {
    if !options.json {
        print!("{report}");
        looked.iter().flat_map(|looked| looked.lines()).for_each(|line| println!("{line}"));
        if options.results.is_some() && report.verdict != Verdict::Proved {
            println!("files: not compared: nothing is proved");
        }
        return Ok(());
    }
    let steps: Vec<Value> = report
        .steps
        .iter()
        .map(|step| json!({"step": step.step.name(), "passed": step.passed, "sentence": step.sentence}))
        .collect();
    let block = report.block.as_ref().map(
        |block| json!({"number": block.number, "hash": block.hash, "timeMs": block.time_ms, "ageMs": block.age_ms}),
    );
    let map = report.map.map(|map| {
        json!({
            "jobHash": map.job_hash, "block": map.block, "units": map.units, "steps": map.steps,
            "channels": map.channels, "windows": map.windows,
        })
    });
    let report = json!({
        "verdict": report.verdict.name(),
        "claim": report.about(),
        "map": map,
        "meaning": report.meaning,
        "block": block,
        "steps": steps,
        "results": looked.map(Looked::json),
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
