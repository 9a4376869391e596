//! What the operating system really takes away from a worker: named layers, each obtained or refused with a reason.
//!
//! # Design
//! Nothing is assumed. A worker tries every layer that its system could have, and says of each what became of it; the parent adds what it did
//! itself before the worker began. The first worker of a [`crate::WorkerCommand`] is the probe: a layer that it had and a later one lacks is an
//! error. An owner may demand layers (then nothing runs without them) or leave some out (then they are shown as left out).
//! What each layer stops, and what none of them stops, stands in docs/sandbox.md.

use serde::{Deserialize, Serialize};

/// One thing taken away. JSON and command line: kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Own user namespace: no privilege and no identity outside of it.
    UserNamespace,
    /// Own process namespace: no other process can be named.
    PidNamespace,
    /// Own mount table.
    MountNamespace,
    /// Own network without any interface that is up.
    NetworkNamespace,
    /// Own System V shared memory, semaphores and message queues.
    IpcNamespace,
    /// Own host name.
    UtsNamespace,
    /// A read-only root with nothing in it, or with the graphics driver's files only.
    EmptyRoot,
    /// The kernel's per-process rules on files, TCP, abstract sockets and signals.
    Landlock,
    /// A filter on system calls.
    Seccomp,
    /// No capability, and no way to gain one.
    NoCapabilities,
    /// Programs with more rights cannot be started.
    NoNewPrivileges,
    /// Its memory cannot be read by processes of the same user.
    NotDumpable,
    /// Bounds on core files, descriptors, file sizes, locked memory, threads; on memory and processor time once the job is known.
    ResourceLimits,
    /// A control group that bounds memory and the number of processes.
    Cgroup,
    /// Ends when its parent ends.
    ParentDeath,
    /// Own session and process group: no terminal.
    OwnSession,
    /// Three pipes, an environment made for it, and nothing else of its parent.
    CleanStart,
}

impl Layer {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 17] = [
        Self::UserNamespace,
        Self::PidNamespace,
        Self::MountNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::EmptyRoot,
        Self::Landlock,
        Self::Seccomp,
        Self::NoCapabilities,
        Self::NoNewPrivileges,
        Self::NotDumpable,
        Self::ResourceLimits,
        Self::Cgroup,
        Self::ParentDeath,
        Self::OwnSession,
        Self::CleanStart,
    ];

    /// Its name in JSON and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::EmptyRoot => "empty-root",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::NoCapabilities => "no-capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::NotDumpable => "not-dumpable",
            Self::ResourceLimits => "resource-limits",
            Self::Cgroup => "cgroup",
            Self::ParentDeath => "parent-death",
            Self::OwnSession => "own-session",
            Self::CleanStart => "clean-start",
        }
    }
}

impl core::fmt::Display for Layer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no layer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such layer: {name:?}; there are {}", Layer::ALL.map(Layer::as_str).join(", "))]
pub struct UnknownLayer {
    /// What was given.
    pub name: String,
}

impl core::str::FromStr for Layer {
    type Err = UnknownLayer;

    fn from_str(name: &str) -> Result<Self, UnknownLayer> {
        Self::ALL.into_iter().find(|layer| layer.as_str() == name).ok_or_else(|| UnknownLayer { name: name.to_owned() })
    }
}

/// What became of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerReport {
    /// Which layer.
    pub layer: Layer,
    /// It holds.
    pub obtained: bool,
    /// If it holds: how far, or empty. If not: why not.
    pub note: String,
}

impl LayerReport {
    pub(crate) fn obtained(layer: Layer, note: impl Into<String>) -> Self {
        Self { layer, obtained: true, note: note.into() }
    }

    pub(crate) fn refused(layer: Layer, why: impl core::fmt::Display) -> Self {
        Self { layer, obtained: false, note: why.to_string() }
    }
}

/// What a worker is really confined by: one report for every [`Layer`], in their order. Claimed by the machine about itself, as the self-test is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Isolation {
    /// What became of each layer.
    pub layers: Vec<LayerReport>,
}

impl Isolation {
    /// Puts the reports of parent and worker together. The later of two reports on one layer counts; a layer that nobody reported is refused.
    pub(crate) fn new(reports: impl IntoIterator<Item = LayerReport>) -> Self {
        let mut layers: Vec<LayerReport> = Layer::ALL
            .into_iter()
            .map(|layer| LayerReport::refused(layer, format_args!("not on {}", std::env::consts::OS)))
            .collect();
        for report in reports {
            if let Some(slot) = layers.iter_mut().find(|slot| slot.layer == report.layer) {
                slot.obtained = report.obtained;
                slot.note = crate::failure::cleaned(&report.note);
            }
        }
        Self { layers }
    }

    /// Whether a layer holds.
    #[must_use]
    pub fn has(&self, layer: Layer) -> bool {
        self.layers.iter().any(|report| report.layer == layer && report.obtained)
    }

    /// The reports of those among `wanted` that do not hold.
    pub fn missing<'a>(&'a self, wanted: &'a [Layer]) -> impl Iterator<Item = &'a LayerReport> {
        self.layers.iter().filter(|report| !report.obtained && wanted.contains(&report.layer))
    }

    /// The layers that hold.
    #[must_use]
    pub fn held(&self) -> Vec<Layer> {
        self.layers.iter().filter(|report| report.obtained).map(|report| report.layer).collect()
    }
}

/// For people: what holds on one line, then a line with its reason for each layer that does not.
impl core::fmt::Display for Isolation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let held = self.held();
        let names: Vec<&str> = held.iter().map(|layer| layer.as_str()).collect();
        write!(f, "confined by {} of {} layers: {}", held.len(), self.layers.len(), names.join(", "))?;
        for report in self.layers.iter().filter(|report| !report.obtained) {
            write!(f, "\nwithout {}: {}", report.layer, report.note)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn every_layers_name_is_that_of_its_json_and_can_be_read_back() {
        for layer in Layer::ALL {
            assert_eq!(serde_json::to_string(&layer).unwrap(), format!("\"{layer}\""));
            assert_eq!(layer.as_str().parse(), Ok(layer));
        }
        let unknown = "Seccomp".parse::<Layer>().unwrap_err();
        assert!(unknown.to_string().contains("seccomp, no-capabilities"), "{unknown}");
    }

    #[test]
    fn what_nobody_reports_is_missing_and_the_last_report_counts() {
        let isolation = Isolation::new([
            LayerReport::obtained(Layer::Seccomp, ""),
            LayerReport::obtained(Layer::Cgroup, ""),
            LayerReport::refused(Layer::Cgroup, "not \u{1b}[31mwritable"),
        ]);
        assert_eq!(isolation.layers.len(), Layer::ALL.len());
        assert_eq!(isolation.held(), [Layer::Seccomp]);
        let missing: Vec<Layer> = isolation.missing(&[Layer::Cgroup, Layer::Seccomp]).map(|r| r.layer).collect();
        assert_eq!(missing, [Layer::Cgroup]);
        let text = isolation.to_string();
        assert!(
            text.starts_with("confined by 1 of 17 layers: seccomp\n")
                && text.contains("\nwithout cgroup: not  [31mwritable"),
            "{text}"
        );
        assert!(text.contains("without landlock: not on "));
        let json = serde_json::to_string(&isolation).unwrap();
        assert_eq!(serde_json::from_str::<Isolation>(&json).unwrap(), isolation);
    }
}
