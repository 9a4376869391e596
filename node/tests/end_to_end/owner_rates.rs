//! The owner's rates of the network, by real processes: outputs leave no faster, and a changed rate holds while they leave.

use crate::{
    market::job,
    network::{KEYSTEAD, Network, wait_until},
    parties::{MARKET, Provider, balance},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Bytes of one output of the job.
const OUTPUT: u64 = 65_536;
/// Outputs of the job.
const OUTPUTS: u64 = 16;
/// Bytes of all of them.
const ALL: u64 = OUTPUTS * OUTPUT;

/// A product of matrices whose result comes in [`OUTPUTS`] blocks of rows: 64 rows of 256 numbers of four bytes.
const PRODUCT: [&str; 9] =
    ["matmul", "--set", "rows=1024", "--set", "inner=64", "--set", "columns=256", "--set", "rows-per-unit=64"];

/// The owner's preferences with this fastest upload, KiB/s.
pub(crate) fn allow(folder: &Path, kib_per_s: u64) {
    let text = format!("version = 1\n\n[network]\nupload_kib_per_s_max = {kib_per_s}\n");
    fs::write(folder.join("owner.toml"), text).unwrap();
}

pub(crate) fn status(folder: &Path) -> Value {
    let output = Command::new(KEYSTEAD).args(["provide", "--status", "--dir"]).arg(folder).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Bytes of all files below a folder; those that vanish meanwhile have none.
fn stored(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |path: &Path| if path.is_dir() { stored(path) } else { path.metadata().map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| of(&entry.path())).sum()
}

#[test]
fn outputs_leave_no_faster_than_the_owners_rate_and_a_higher_one_holds_while_they_leave() {
    const KIB_PER_S: u64 = 16;
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    fs::create_dir_all(&folder).unwrap();
    allow(&folder, KIB_PER_S);
    let mut provider = Provider::start(&network, &folder);
    assert_eq!(status(&folder)["network"]["says"], "at most 16 KiB/s up, any speed down");
    let headline = status(&folder)["headline"].as_str().unwrap().to_owned();
    assert!(headline.ends_with("; network at most 16 KiB/s up, any speed down"), "{headline}");

    let (out, log) = (network.directory.join("result"), network.directory.join("customer.txt"));
    let file = File::create(&log).unwrap();
    let mut customer = Command::new(KEYSTEAD)
        .arg("run")
        .args(PRODUCT)
        .args(["--dev-account", "2", "--rpc", &network.url(0), "--out"])
        .arg(&out)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let arrived = || stored(&out.join("unfinished").join("blobs"));
    let said = || format!("{}\n{}", fs::read_to_string(&log).unwrap(), provider.text());

    // From the last look that did not find the first output, so that the time before the delivery does not count. However late this test looks, that is
    // too early and never too late.
    let (mut begin, mut before) = (Instant::now(), 0);
    wait_until("the first output", || {
        let (now, bytes) = (Instant::now(), arrived());
        if bytes < OUTPUT {
            (begin, before) = (now, bytes);
        }
        (bytes >= OUTPUT).then_some(())
    });
    let third = wait_until("two more", || Some(arrived()).filter(|bytes| *bytes >= before + 3 * OUTPUT));
    // All of the first output may have been on its way then, and the bucket may have saved a quarter of a second.
    let moved = third - before - OUTPUT;
    let least = Duration::from_millis(moved * 1_000 / (KIB_PER_S * 1_024)).saturating_sub(Duration::from_secs(1));
    assert!(begin.elapsed() >= least, "{moved} bytes in {:?}\n{}", begin.elapsed(), said());
    assert!(third < ALL / 2, "most is still to come: {third}\n{}", said());

    // At the old rate the rest would take longer: each output four seconds.
    let old_rate = Duration::from_millis((ALL - third) * 1_000 / (KIB_PER_S * 1_024));
    allow(&folder, 0);
    let raised = Instant::now();
    // What has arrived moves to another place when the order is over.
    wait_until("the rest", || (arrived() >= ALL || out.join("job.json").exists()).then_some(()));
    assert!(raised.elapsed() < old_rate * 3 / 4, "{:?} of {old_rate:?}\n{}", raised.elapsed(), said());
    // The rest can be there before the provider has written its state again.
    let free = || (status(&folder)["network"]["says"] == "without limit").then_some(());
    wait_until("the state that says so", free);

    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", said());
    assert_eq!(job(&out)["status"], "accepted");
    provider.wait_for("order paid");
    assert_eq!(balance(&network, MARKET), 0);
    // What was moved is remembered for the limit of the volume: the outputs at least, and the inputs.
    assert_eq!(provider.interrupt(), Some(0));
    let traffic: toml::Table = fs::read_to_string(folder.join("owner-traffic.toml")).unwrap().parse().unwrap();
    let moved: i64 = traffic["days"].as_table().unwrap().values().map(|bytes| bytes.as_integer().unwrap()).sum();
    assert!(u64::try_from(moved).unwrap() >= ALL, "{traffic}");
}

#[test]
fn a_provider_that_has_moved_what_its_owner_allows_takes_no_order_and_says_why() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("owner.toml"), "version = 1\n\n[network]\ntransfer_mb_max = 1\ntransfer_days = 365\n")
        .unwrap();
    // Today's number is not the test's to know; a day of the future counts as today.
    fs::write(folder.join("owner-traffic.toml"), "version = 1\n\n[days]\n900000 = 1000001\n").unwrap();
    let _provider = Provider::start(&network, &folder);
    let says = status(&folder)["network"]["says"].as_str().unwrap().to_owned();
    assert_eq!(says, "paused: 1 MB moved in 365 days; your limit: 1 MB");
    let out = network.directory.join("result");
    let mut customer = Command::new(KEYSTEAD);
    customer.arg("run").args(PRODUCT).args(["--dev-account", "2", "--rpc", &network.url(0), "--out"]).arg(&out);
    let refused = customer.args(["--reach-seconds", "2"]).stdin(Stdio::null()).output().unwrap();
    let said = crate::parties::text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("network paused: 1 MB moved in 365 days"), "{said}");
    assert!(!out.join("order.json").exists(), "nothing was ordered");

    // The owner allows more: within a second it takes orders again.
    fs::write(folder.join("owner.toml"), "version = 1\n\n[network]\ntransfer_mb_max = 9\ntransfer_days = 365\n")
        .unwrap();
    wait_until("the network is free", || (status(&folder)["network"]["says"] == "without limit").then_some(()));
}
