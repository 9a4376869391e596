//! `canary.json`: the secret that a customer shares with the provider that it is, or pays.
//!
//! # Invariants
//! It is made new and never overwritten, readable by its owner alone, and its secret is in no message and no log.
//!
//! Spec: specs/0008-audit.md §12.1.

use super::{Chosen, Deal};
use crate::compute::{files, random};
use alloy_primitives::{Address, B256};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_job::JobSpec;
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path};

/// Version of the file format.
const VERSION: u32 = 1;
/// Largest file that is read, bytes; one has about 200.
const BYTES_MAX: usize = 1_024;

/// The file.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CanaryFile {
    version: u32,
    /// Whose orders have canaries by it.
    customer: Address,
    secret: B256,
}

impl fmt::Debug for CanaryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanaryFile").field("customer", &self.customer).finish_non_exhaustive()
    }
}

impl CanaryFile {
    /// Makes a new file with a new secret.
    ///
    /// # Errors
    /// There is such a file already, or it cannot be written.
    pub(crate) fn create(path: &Path, customer: Address) -> Result<()> {
        let file = Self { version: VERSION, customer, secret: random::word()? };
        ensure!(!path.exists(), "{} is there already and is never overwritten: choose another --out", path.display());
        files::create_secret(path, &format!("{}\n", serde_json::to_string_pretty(&file)?))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is not there, no regular file, others may read it, it is too large, of another version, or malformed.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let named = || format!("{} is no canary file", path.display());
        let text = files::read_shared_secret(path)?
            .ok_or_else(|| eyre!("there is no {}: its customer makes it with `keystead canary new`", path.display()))?;
        Self::parse(&text).wrap_err_with(named)
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        ensure!(text.len() <= BYTES_MAX, "it is too large: bytes={} max={BYTES_MAX}", text.len());
        // What serde says of a damaged file could repeat a part of it.
        let damaged = |_: serde_json::Error| eyre!("it is damaged");
        let Version { version } = serde_json::from_str(text).map_err(damaged)?;
        ensure!(version == VERSION, "it has version {version}, this program reads {VERSION}");
        serde_json::from_str(text).map_err(damaged)
    }

    pub(crate) const fn customer(&self) -> Address {
        self.customer
    }

    /// What the secret chooses of an order's job.
    pub(crate) fn chosen(&self, deal: &Deal, spec: &JobSpec) -> Chosen {
        Chosen::new(self.secret, deal, spec.unit_count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    pub(crate) const fn file(customer: Address) -> CanaryFile {
        CanaryFile { version: VERSION, customer, secret: B256::repeat_byte(1) }
    }

    #[test]
    fn a_file_is_made_once_private_and_with_a_secret_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let customer = Address::repeat_byte(7);
        CanaryFile::create(&path("one"), customer).unwrap();
        CanaryFile::create(&path("other"), customer).unwrap();
        let [one, other] = ["one", "other"].map(|name| CanaryFile::read(&path(name)).unwrap());
        assert!(one.customer() == customer && one.secret != other.secret && !one.secret.is_zero());
        assert_eq!(fs::metadata(path("one")).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = CanaryFile::create(&path("one"), customer).unwrap_err().to_string();
        assert!(refused.contains("never overwritten"), "{refused}");
        assert_eq!(CanaryFile::read(&path("one")).unwrap(), one);
        assert!(!format!("{one:?}").contains(&one.secret.to_string()));
        fs::set_permissions(path("one"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(CanaryFile::read(&path("one")).unwrap_err().to_string().contains("chmod 600"));
        assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(path("pipe")).status().unwrap().success());
        let (sender, receiver) = std::sync::mpsc::channel();
        let pipe = path("pipe");
        // Not joined: if it waits, it does so until this process ends.
        std::thread::spawn(move || sender.send(CanaryFile::read(&pipe)));
        let refused = receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits").unwrap_err();
        assert!(format!("{refused:#}").contains("no plain file"), "{refused:#}");
        assert!(CanaryFile::read(&path("none")).unwrap_err().to_string().contains("keystead canary new"));
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_reason_and_without_its_content() {
        let text = serde_json::to_string(&file(Address::repeat_byte(7))).unwrap();
        assert_eq!(CanaryFile::parse(&text).unwrap(), file(Address::repeat_byte(7)));
        let longest = format!("{text}{}", " ".repeat(BYTES_MAX - text.len()));
        assert!(CanaryFile::parse(&longest).is_ok());
        let table = [
            (text.replace("\"version\":1", "\"version\":2"), "version 2"),
            (format!("{longest} "), "too large: bytes=1025 max=1024"),
            (text.replace("0101", "01"), "damaged"),
            (text.replace("}", ",\"more\":1}"), "damaged"),
            (text.replace("\"customer\"", "\"other\""), "damaged"),
            (text[..40].to_owned(), "damaged"),
            (String::new(), "damaged"),
        ];
        for (text, words) in table {
            let said = format!("{:#}", CanaryFile::parse(&text).unwrap_err());
            assert!(said.contains(words) && !said.contains("0101"), "no {words:?} in: {said}");
        }
    }
}
