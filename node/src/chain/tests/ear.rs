//! Hears what the engine logs, so that a test can ask which rule a refused block broke.

use std::{
    fmt::{Debug, Write as _},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
    registry,
};

/// Where refusals are logged, and from which level on.
const TARGETS: [(&str, Level); 3] = [
    ("keystead_consensus", Level::INFO),
    ("commonware_consensus::marshal::standard", Level::DEBUG),
    ("commonware_broadcast", Level::WARN),
];

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static STARTED: OnceLock<()> = OnceLock::new();

/// Starts listening; once is enough for all tests.
pub(super) fn listen() {
    STARTED.get_or_init(|| {
        let targets = TARGETS.into_iter().fold(Targets::new(), |all, (target, level)| all.with_target(target, level));
        tracing::subscriber::set_global_default(registry().with(Ear.with_filter(targets))).unwrap();
    });
}

/// How many lines so far hold all of these words.
pub(super) fn heard(words: &[&str]) -> usize {
    lines().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

fn lines() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Ear;

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        lines().push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
