//! What checkers of a map's windows may fetch, by name: nothing is copied that is in memory or on the disk anyway.

use crate::compute::{
    audited::door::Gives,
    checker::source::{self, Admitted, StepMaterial},
    customer::plan::Prepared,
    map::{journal::Place, outputs::Outputs},
};
use alloy_primitives::B256;
use keystead_blobs::{
    BlobStore, GROUP_BYTES, Hash, Offer, Outline, Refusal, RefusalCode, StoreError,
    store::{Part, Source},
};
use keystead_job::{JobSpec, Step, blob_hash, step::encode_list};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The blobs of a job that its customer has in memory: program, checker program, common input, unit inputs.
pub(super) trait Held: Debug + Send + Sync + 'static {
    /// The number of each by its name.
    fn numbers(&self) -> BTreeMap<B256, usize>;

    /// One of them, by its number.
    fn blob(&self, number: usize) -> &[u8];
}

/// Blobs of a job that are not unit inputs, whose numbers come after them.
const SHARED: usize = 3;

impl Held for Prepared {
    fn numbers(&self) -> BTreeMap<B256, usize> {
        let units = self.unit_names.iter().zip(SHARED..).map(|(name, number)| (*name, number));
        let checker = self.spec.checker.map(|checker| (checker.program_hash, 2));
        let shared = [(self.spec.program_hash, 0), (self.spec.common_hash, 1)];
        units.chain(checker).chain(shared).collect()
    }

    fn blob(&self, number: usize) -> &[u8] {
        match number {
            0 => self.side.program(),
            1 => &self.common,
            2 => self.side.checker().unwrap_or_default(),
            unit => self.units.get(unit.saturating_sub(SHARED)).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// A window as checkers are told of it.
#[derive(Debug)]
struct Window {
    steps: Vec<Step>,
    /// Names of the states after them.
    outputs: Vec<B256>,
    /// Name of the list of steps, and the list.
    list_name: B256,
    list: Vec<u8>,
    since_block: u64,
}

#[derive(Debug, Default)]
struct Known {
    windows: BTreeMap<B256, Arc<Window>>,
    /// Where the states lie; at most as many as the job has.
    states: BTreeMap<B256, Place>,
}

/// The shelf.
#[derive(Debug)]
pub(super) struct Shelf {
    held: Arc<dyn Held>,
    numbers: BTreeMap<B256, usize>,
    outputs: Outputs,
    known: Mutex<Known>,
}

impl Shelf {
    /// With the job's own blobs.
    pub(super) fn new(held: Arc<dyn Held>, outputs: Outputs) -> Self {
        Self { numbers: held.numbers(), held, outputs, known: Mutex::default() }
    }

    /// States that can be fetched from now on.
    pub(super) fn keep(&self, places: &[Place]) {
        self.known().states.extend(places.iter().map(|place| (place.name, *place)));
    }

    /// Adds a window, with the states after its steps.
    pub(super) fn add(&self, id: B256, steps: Vec<Step>, places: &[Place], since_block: u64) {
        let list = encode_list(&steps);
        let (list_name, outputs) = (blob_hash(&list), places.iter().map(|place| place.name).collect());
        let window = Window { steps, outputs, list_name, list, since_block };
        self.keep(places);
        self.known().windows.insert(id, Arc::new(window));
    }

    /// A window is over: nobody may fetch for it any more. Its states stay.
    pub(super) fn remove(&self, id: B256) {
        self.known().windows.remove(&id);
    }

    /// Whether a window is here.
    pub(super) fn holds(&self, id: B256) -> bool {
        self.known().windows.contains_key(&id)
    }

    /// The windows, each with a block not after its opening.
    pub(super) fn windows(&self) -> BTreeMap<B256, u64> {
        self.known().windows.iter().map(|(id, window)| (*id, window.since_block)).collect()
    }

    /// What is here under a name, read.
    fn find(&self, hash: Hash) -> Result<Blob, StoreError> {
        let name = B256::from(hash);
        if let Some(number) = self.numbers.get(&name) {
            return Ok(Blob::Held(Arc::clone(&self.held), *number));
        }
        if let Some(window) = self.with_list(name) {
            return Ok(Blob::Read(window.list.clone()));
        }
        let place = self.known().states.get(&name).copied().ok_or(StoreError::NotFound { hash })?;
        match self.outputs.read(&place) {
            Ok(state) => Ok(Blob::Read(state)),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a state that a checker wants cannot be read");
                Err(StoreError::NotFound { hash })
            }
        }
    }

    /// A window whose list of steps has this name; two that are done again may share it.
    fn with_list(&self, name: B256) -> Option<Arc<Window>> {
        self.known().windows.values().find(|window| window.list_name == name).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No code panics while it holds this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To be read alone: checkers bring nothing.
impl BlobStore for Shelf {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        Err(StoreError::Full { need_bytes: size(bytes.len()), free_bytes: 0 })
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let got_bytes = self.size(hash)?.ok_or(StoreError::NotFound { hash })?;
        if got_bytes > bytes_max {
            return Err(StoreError::TooLarge { got_bytes, max_bytes: bytes_max });
        }
        Ok(self.find(hash)?.bytes().to_vec())
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        let name = B256::from(hash);
        if let Some(number) = self.numbers.get(&name) {
            return Ok(Some(size(self.held.blob(*number).len())));
        }
        if let Some(window) = self.with_list(name) {
            return Ok(Some(size(window.list.len())));
        }
        Ok(self.known().states.get(&name).map(|place| place.length))
    }

    fn delete(&self, _: Hash) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        let blob = self.find(hash)?;
        Ok(Box::new(Opened { outline: Outline::of(blob.bytes()), blob }))
    }

    fn receive(&self, _: Hash) -> Result<Box<dyn Part>, StoreError> {
        Err(StoreError::Full { need_bytes: 1, free_bytes: 0 })
    }
}

/// A length as formats count it.
fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The bytes of a blob.
#[derive(Debug)]
enum Blob {
    Held(Arc<dyn Held>, usize),
    Read(Vec<u8>),
}

impl Blob {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Held(held, number) => held.blob(*number),
            Self::Read(bytes) => bytes,
        }
    }
}

/// A blob being sent.
struct Opened {
    outline: Outline,
    blob: Blob,
}

impl Source for Opened {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn read_group(&mut self, index: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let group = usize::try_from(index).ok().and_then(|index| self.blob.bytes().chunks(GROUP_BYTES).nth(index));
        out.extend_from_slice(group.unwrap_or_default());
        Ok(())
    }
}

/// What checkers of the windows on a shelf are offered.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) spec: JobSpec,
    pub(super) shelf: Arc<Shelf>,
}

impl Gives for Steps {
    fn has(&self, window: B256) -> bool {
        self.shelf.holds(window)
    }

    fn offer(&self, admitted: &Admitted) -> Result<Offer, Refusal> {
        let window = self.shelf.known().windows.get(&admitted.which.window).cloned();
        let gone = || Refusal::new(RefusalCode::NotAssigned, "this customer has no such window open");
        let window = window.ok_or_else(gone)?;
        source::offer_step(admitted, &StepMaterial { spec: &self.spec, steps: &window.steps, outputs: &window.outputs })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::path::Path;

    /// The blobs of a job of one unit.
    #[derive(Debug)]
    struct Job([Vec<u8>; 2]);

    impl Held for Job {
        fn numbers(&self) -> BTreeMap<B256, usize> {
            self.0.iter().zip(0..).map(|(blob, number)| (blob_hash(blob), number)).collect()
        }

        fn blob(&self, number: usize) -> &[u8] {
            self.0.get(number).unwrap()
        }
    }

    const WINDOW: B256 = B256::repeat_byte(1);
    const OTHER: B256 = B256::repeat_byte(2);

    fn name(bytes: &[u8]) -> Hash {
        Hash::from(blob_hash(bytes))
    }

    fn step(input: &[u8], segment: u32) -> Step {
        Step { unit: 0, segment, input: blob_hash(input) }
    }

    /// A program, a unit input of several groups, and two windows of which the second begins with the first one's state.
    fn shelf(folder: &Path) -> (Shelf, Vec<u8>) {
        let mut outputs = Outputs::open(&folder.join("outputs"), 0).unwrap();
        let mut place = |state: &[u8], done| {
            let offset = outputs.append(state).unwrap();
            Place { unit: 0, done, offset, length: size(state.len()), name: blob_hash(state) }
        };
        let (first, second) = (place(b"first", 1), place(b"second", 2));
        let unit: Vec<u8> = (0..=250_u8).cycle().take(GROUP_BYTES.saturating_mul(2).saturating_add(5)).collect();
        let shelf = Shelf::new(Arc::new(Job([b"program".to_vec(), unit.clone()])), outputs);
        shelf.add(WINDOW, vec![step(&unit, 0)], &[first], 7);
        shelf.add(OTHER, vec![step(b"first", 1)], &[second], 9);
        (shelf, unit)
    }

    #[test]
    fn inputs_lists_and_states_are_found_by_name_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, unit) = shelf(folder.path());
        let list = encode_list(&[step(&unit, 0)]);
        let blobs: [&[u8]; 5] = [b"program", &unit, &list, b"first", b"second"];
        for bytes in blobs {
            let hash = name(bytes);
            assert_eq!(shelf.size(hash).unwrap(), Some(size(bytes.len())));
            assert_eq!(shelf.get(hash, size(bytes.len())).unwrap(), bytes);
            let mut source = shelf.open(hash).unwrap();
            assert_eq!(source.outline().hash(), hash);
            let mut sent = Vec::new();
            for index in 0..source.outline().group_count() {
                source.read_group(index, &mut sent).unwrap();
            }
            assert_eq!(sent, bytes);
        }
        assert!(matches!(shelf.get(name(b"first"), 4), Err(StoreError::TooLarge { got_bytes: 5, max_bytes: 4 })));
        let unknown = name(b"unknown");
        assert_eq!(shelf.size(unknown).unwrap(), None);
        assert!(matches!(shelf.get(unknown, 9), Err(StoreError::NotFound { .. })));
        assert!(matches!(shelf.open(unknown), Err(StoreError::NotFound { .. })));
    }

    #[test]
    fn nothing_can_be_brought_or_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, _) = shelf(folder.path());
        assert!(matches!(shelf.put(b"new"), Err(StoreError::Full { need_bytes: 3, free_bytes: 0 })));
        assert!(shelf.receive(name(b"new")).is_err());
        assert!(!shelf.delete(name(b"first")).unwrap() && shelf.has(name(b"first")).unwrap());
    }

    #[test]
    fn a_window_goes_and_its_states_stay_for_the_steps_that_begin_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, unit) = shelf(folder.path());
        let list = name(&encode_list(&[step(&unit, 0)]));
        assert_eq!(shelf.windows(), BTreeMap::from([(WINDOW, 7), (OTHER, 9)]));
        // The same steps once more, by another provider: the list has the same name.
        let again = B256::repeat_byte(3);
        shelf.add(again, vec![step(&unit, 0)], &[], 11);
        shelf.remove(WINDOW);
        assert!(!shelf.holds(WINDOW) && shelf.holds(OTHER));
        assert!(shelf.has(list).unwrap());
        shelf.remove(again);
        assert!(!shelf.has(list).unwrap());
        assert_eq!(shelf.get(name(b"first"), 5).unwrap(), b"first");
        // A state that no window left here.
        let (whole, bytes) = (name(b"firstsecond"), b"firstsecond".len());
        assert!(!shelf.has(whole).unwrap());
        shelf.keep(&[Place { unit: 0, done: 2, offset: 0, length: size(bytes), name: whole.into() }]);
        assert_eq!(shelf.get(whole, size(bytes)).unwrap(), b"firstsecond");
    }

    #[test]
    fn a_damaged_state_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, _) = shelf(folder.path());
        std::fs::write(folder.path().join("outputs"), b"fIrstsecond").unwrap();
        assert!(shelf.open(name(b"first")).is_err());
        assert!(shelf.open(name(b"second")).is_ok());
    }
}
