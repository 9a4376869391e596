//! The figures of the state engine, of searches for logs and of the import, measured by programs of their packages.

use super::{Row, page::Figures, printed, speed};
use crate::process::build_workspace;
use eyre::Result;
use std::{path::Path, process::Command};

const GROUP: &str = "state engine";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Ten million accounts: some minutes. The figures are kept.
    Full,
    /// Shows within seconds that the programs run: the figures of so small a state say nothing, and are not kept.
    Quick,
}

pub(super) fn run(root: &Path, size: Size) -> Result<()> {
    let examples = build_workspace(root)?.join("examples");
    let speed = speed::measure();
    let [mut state, mut logs, mut import] =
        ["figures", "logs", "import_time"].map(|program| Command::new(examples.join(program)));
    // One core, as the goal says.
    import.env("RAYON_NUM_THREADS", "1");
    if size == Size::Quick {
        state.arg("--quick");
        logs.args(["100", "20"]);
        import.arg("3");
    }
    let mut rows = printed::rows(&mut state)?;
    rows.extend(printed::rows(&mut logs)?);
    rows.extend(printed::rows(&mut import)?);
    rows.iter().for_each(Row::print);
    if size == Size::Quick {
        return Ok(());
    }
    let mut figures = Figures::read(root)?;
    figures.set(root, GROUP, "cargo xtask bench --state", speed, rows)?;
    figures.write(root)
}
