//! `cargo xtask demo`: the whole path once. Four validators agree, two providers compute, a validator dies, every
//! certificate is verified offline in a process of its own.

use crate::{
    network::{Network, build},
    process::show,
    recipes, tools,
};
use eyre::{Context as _, Result, bail, ensure, eyre};
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a provider may take until it takes orders.
const PROVIDER_START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A job is over by then, or the demo failed.
const JOB_MAX: Duration = Duration::from_secs(300);

/// One job of the demo.
struct Job {
    recipe: &'static str,
    inputs: &'static [(&'static str, &'static str)],
    settings: &'static [&'static str],
    needs_vulkan: bool,
    /// The validator that is killed while the job runs.
    kill: Option<usize>,
}

const JOBS: &[Job] = &[
    Job {
        recipe: "align",
        inputs: &[("queries", "LuxC.faa"), ("targets", "938293.PRJEB85.HG003687.faa")],
        settings: &[],
        needs_vulkan: false,
        kill: Some(3),
    },
    Job { recipe: "value-at-risk", inputs: &[("prices", "stocks.csv")], settings: &[], needs_vulkan: true, kill: None },
];

/// A line of the table at the end.
struct Line {
    recipe: &'static str,
    seconds: f64,
    units: String,
    price: String,
    verdict: String,
    folder: PathBuf,
}

/// A process that ends with the demo.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(root: &Path) -> Result<()> {
    let vulkan = tools::vulkan()?;
    recipes::fetch(root)?;
    let keystead = build(root)?;
    let results = tempfile::Builder::new().prefix("keystead-demo-").tempdir()?.keep();
    println!("starting four validators and two providers");
    let mut network = Network::start(&keystead, 4, 200)?;
    let key = network.network_key()?;
    let url = network.url(0)?;
    let mut providers = Vec::new();
    for account in ["1", "2"] {
        providers.push(provide(&keystead, &url, account, &results.join(format!("provider-{account}")))?);
    }
    let mut lines = Vec::new();
    for job in JOBS {
        if job.needs_vulkan && !vulkan {
            println!("{}: left out, no Vulkan device", job.recipe);
            continue;
        }
        lines.push(order(root, &keystead, &mut network, job, &results)?);
    }
    for line in &mut lines {
        line.verdict = verify(&keystead, &line.folder.join("certificate.json"), &key)?;
    }
    report(&lines, &key);
    ensure!(lines.iter().all(|line| line.verdict == "proved"), "a certificate is not proved");
    ensure!(lines.len() == JOBS.len(), "a job was left out");
    Ok(())
}

/// Starts a provider and waits until it takes orders.
fn provide(keystead: &Path, url: &str, account: &str, folder: &Path) -> Result<Ended> {
    fs::create_dir_all(folder)?;
    let log = folder.join("log.txt");
    let file = File::create(&log)?;
    let mut command = Command::new(keystead);
    command.args(["provide", "--compute", "always", "--dev-account", account, "--rpc", url, "--dir"]).arg(folder);
    println!("$ {}", show(&command));
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let mut provider = Ended(child);
    let start = Instant::now();
    while !fs::read_to_string(&log)?.contains("Stop with Ctrl-C") {
        let ended = provider.0.try_wait()?.is_some();
        if ended || start.elapsed() > PROVIDER_START_MAX {
            bail!("a provider did not start:\n{}", fs::read_to_string(&log)?);
        }
        thread::sleep(POLL);
    }
    Ok(provider)
}

/// Runs one job to its end, with its progress on the screen.
fn order(root: &Path, keystead: &Path, network: &mut Network, job: &Job, results: &Path) -> Result<Line> {
    let folder = results.join(job.recipe);
    let mut command = Command::new(keystead);
    command.args(["run", job.recipe, "--dev-account", "3", "--rpc", &network.url(0)?]);
    for (name, file) in job.inputs {
        command.arg(format!("--input={name}={}", recipes::inputs(root).join(file).display()));
    }
    for setting in job.settings {
        command.arg(format!("--set={setting}"));
    }
    command.arg("--out").arg(&folder);
    println!("\n$ {}", show(&command));
    let log = results.join(format!("{}.log", job.recipe));
    let start = Instant::now();
    let mut child = Ended(command.stdout(File::create(&log)?).spawn().wrap_err("cannot start `keystead run`")?);
    let mut kill = job.kill;
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        ensure!(start.elapsed() < JOB_MAX, "{} did not end within {JOB_MAX:?}", job.recipe);
        if let Some(victim) = kill.filter(|_| start.elapsed() > Duration::from_secs(2)) {
            println!("killing validator {victim} in the middle (kill -9)");
            network.kill(victim)?;
            kill = None;
        }
        thread::sleep(POLL);
    };
    let printed = fs::read_to_string(&log)?;
    print!("{printed}");
    std::io::stdout().flush()?;
    ensure!(status.success(), "`keystead run {}` failed: {status}", job.recipe);
    let line = |name: &str| printed.lines().map(str::trim).find_map(|line| line.strip_prefix(name)).unwrap_or("?");
    let units =
        line("check").split_once('(').and_then(|(_, rest)| rest.split_once(" in all")).map_or("?", |(all, _)| all);
    Ok(Line {
        recipe: job.recipe,
        seconds: start.elapsed().as_secs_f64(),
        units: units.to_owned(),
        price: line("paid").trim().split(" to ").next().unwrap_or("?").to_owned(),
        verdict: String::new(),
        folder,
    })
}

/// Verifies a certificate offline in a process of its own; the first words it prints are the verdict.
fn verify(keystead: &Path, certificate: &Path, key: &str) -> Result<String> {
    let mut command = Command::new(keystead);
    command.arg("verify").arg(certificate).args(["--network-key", key]);
    let output = command.output().wrap_err("cannot start `keystead verify`")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("\n{text}");
    let first = text.lines().next().ok_or_else(|| eyre!("`keystead verify` printed nothing"))?;
    Ok(first.to_owned())
}

fn report(lines: &[Line], key: &str) {
    println!("\n{:<16} {:<7} {:>6} {:>9}  {:<14} verdict", "job", "class", "units", "seconds", "price");
    for line in lines {
        println!(
            "{:<16} {:<7} {:>6} {:>9.1}  {:<14} {}",
            line.recipe, "exact", line.units, line.seconds, line.price, line.verdict
        );
    }
    println!("network key: 0x{key}");
    for line in lines {
        println!("result: {}", line.folder.display());
        println!("certificate: {}", line.folder.join("certificate.json").display());
    }
}
