//! What was moved over the network on each day, kept over restarts: `network.transfer_mb_max` counts it.
//!
//! # Design
//! A number for each local day, in a file of the data folder. The watcher adds what a counter of the running program has gained since the last look and
//! writes the file every ten seconds while it changes, and at its end: a program that is killed forgets ten seconds at most. Of more days than the file may
//! hold the oldest fall out.
//!
//! # Invariants
//! A clock that goes back and forth loses nothing: each day keeps its number, what lies after today counts as today's, and what was moved while the clock
//! was not set counts on the first day on which it is. What a clock that went ahead has dated counts until that day is past: too much rather than too little.

use crate::probe::Root;
use std::{
    collections::BTreeMap,
    fs, io, mem,
    path::{Path, PathBuf},
};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "owner-traffic.toml";
/// Most days that are kept: twice the longest period, `network.transfer_days`, so that a clock that goes astray pushes none out that counts. By number and
/// not by age, since a clock that goes ahead for a moment would make all of them old.
const DAYS_MAX: usize = 2 * 365;
/// 2024-01-01. A clock that shows less is not set: machines without one of their own begin at 1970, or where their maker did.
const CLOCK_DAY_MIN: i64 = 19_723;
/// Largest file in bytes: a line of at most 40 for each day, with room to spare.
const BYTES_MAX: u64 = 65_536;

/// The file cannot be read, or holds something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the count of what was moved over the network is damaged; remove {path} to count from zero")]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
}

/// Bytes by day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    folder: PathBuf,
    /// Days since 1970, local time.
    days: BTreeMap<i64, u64>,
    /// Where the program's counter stood at the last look.
    counter_bytes: u64,
    is_saved: bool,
}

impl Traffic {
    /// Reads the file of a data folder; none is nothing moved.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn open(folder: &Path) -> Result<Self, Damaged> {
        let path = folder.join(FILE_NAME);
        let days = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(BTreeMap::new()),
            _ => Root::new(folder).text_max(FILE_NAME, BYTES_MAX).value().and_then(|text| parse(text)),
        };
        let days = days.ok_or(Damaged { path })?;
        Ok(Self { folder: folder.to_owned(), days, counter_bytes: 0, is_saved: true })
    }

    /// Takes in how much the running program has moved since its start; a number that falls is one of a new start.
    pub fn add(&mut self, counter_bytes: u64, today: i64) {
        let gained = counter_bytes.checked_sub(self.counter_bytes).unwrap_or(counter_bytes);
        self.counter_bytes = counter_bytes;
        let mut moved = gained;
        if today >= CLOCK_DAY_MIN {
            let dated = self.days.split_off(&CLOCK_DAY_MIN);
            let undated = mem::replace(&mut self.days, dated);
            moved = undated.values().copied().fold(gained, u64::saturating_add);
        }
        if moved > 0 {
            let of_today = self.days.entry(today).or_default();
            *of_today = of_today.saturating_add(moved);
            self.is_saved = false;
        }
        while self.days.len() > DAYS_MAX {
            // What is not dated yet is not old.
            let (dated, undated) = (self.days.range(CLOCK_DAY_MIN..), self.days.range(..CLOCK_DAY_MIN));
            let oldest = dated.chain(undated).map(|(day, _)| *day).find(|day| *day != today);
            let Some(oldest) = oldest else { break };
            self.days.remove(&oldest);
        }
    }

    /// What was moved in so many days, today and what lies after it included, bytes.
    #[must_use]
    pub fn within(&self, days: u64, today: i64) -> u64 {
        let before = i64::try_from(days.saturating_sub(1)).unwrap_or(i64::MAX);
        let first = today.saturating_sub(before);
        self.days.range(first..).map(|(_, bytes)| *bytes).fold(0, u64::saturating_add)
    }

    /// Writes the file if something has changed. One that cannot be written is tried again at the next call.
    pub fn save(&mut self) {
        if !self.is_saved {
            self.is_saved = self.write().is_ok();
        }
    }

    /// The old file or the new one, and nothing between. It is not synced: the watcher must not wait for a disk.
    fn write(&self) -> io::Result<()> {
        let new = self.folder.join(format!("{FILE_NAME}.new"));
        fs::write(&new, self.text())?;
        fs::rename(&new, self.folder.join(FILE_NAME))
    }

    fn text(&self) -> String {
        let mut text =
            "# Bytes moved over the network by day (days since 1970, local time), for network.transfer_mb_max.\n\
                        version = 1\n\n[days]\n"
                .to_owned();
        for (day, bytes) in &self.days {
            // The format's numbers are signed.
            text.push_str(&format!("{day} = {}\n", i64::try_from(*bytes).unwrap_or(i64::MAX)));
        }
        text
    }
}

fn parse(text: &str) -> Option<BTreeMap<i64, u64>> {
    let table: toml::Table = text.parse().ok()?;
    let is_known = table.len() == 2 && table.get("version")?.as_integer()? == 1;
    let days = table.get("days")?.as_table().filter(|_| is_known)?;
    days.iter().map(|(day, bytes)| Some((day.parse().ok()?, u64::try_from(bytes.as_integer()?).ok()?))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn a_period_counts_its_days_and_restarts_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut traffic = Traffic::open(folder.path()).unwrap();
        traffic.add(0, 20_000);
        traffic.save();
        assert!(!folder.path().join(FILE_NAME).exists(), "nothing was moved, nothing is written");
        traffic.add(700, 20_000);
        traffic.add(1_000, 20_000);
        traffic.add(1_500, 20_001);
        traffic.save();
        assert_eq!((traffic.within(1, 20_001), traffic.within(2, 20_001)), (500, 1_500));
        let mut again = Traffic::open(folder.path()).unwrap();
        // The counter of a new process begins at zero.
        again.add(30, 20_002);
        let sums = [1, 2, 3, 365, u64::MAX].map(|days| again.within(days, 20_002));
        assert_eq!(sums, [30, 530, 1_530, 1_530, 1_530]);
        assert_eq!(again.within(1, 20_003), 0, "a new day");
        again.add(10, 20_002);
        assert_eq!(again.within(1, 20_002), 40, "a counter that fell is one of a new start");
    }

    #[test]
    fn days_beyond_the_period_do_not_count_and_of_too_many_the_oldest_fall_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut traffic = Traffic::open(folder.path()).unwrap();
        traffic.add(1, 20_000);
        traffic.add(11, 20_364);
        assert_eq!(traffic.within(365, 20_364), 11);
        traffic.add(111, 20_365);
        assert_eq!(traffic.within(365, 20_365), 110, "the first of 366 days is gone");
        let most = i64::try_from(DAYS_MAX).unwrap();
        for day in 0..most - 3 {
            traffic.add(112 + u64::try_from(day).unwrap(), 21_000 + day);
        }
        assert_eq!((traffic.days.len(), traffic.days.first_key_value()), (DAYS_MAX, Some((&20_000, &1))));
        let last = traffic.counter_bytes;
        traffic.add(last + 1, 21_000 + most);
        assert_eq!((traffic.days.len(), traffic.days.first_key_value()), (DAYS_MAX, Some((&20_364, &10))));
        traffic.add(u64::MAX, i64::MAX);
        traffic.add(1, i64::MIN);
        traffic.add(500, i64::MIN);
        assert_eq!(traffic.within(u64::MAX, i64::MIN), u64::MAX, "sums stop at their largest number");
        traffic.save();
        assert!(fs::metadata(folder.path().join(FILE_NAME)).unwrap().len() < BYTES_MAX);
        let read = Traffic::open(folder.path()).unwrap();
        assert!(read.within(1, i64::MIN) >= u64::try_from(i64::MAX).unwrap());
    }

    #[test]
    fn a_boot_without_a_clock_loses_no_day_and_what_it_moved_counts_on_the_first_real_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = Traffic::open(folder.path()).unwrap();
        before.add(1_000, 20_700);
        before.add(1_500, 20_710);
        before.save();
        // The machine boots at 1970, moves something, and its process even ends there.
        let mut traffic = Traffic::open(folder.path()).unwrap();
        traffic.add(0, 0);
        traffic.add(30, 0);
        traffic.add(50, 1);
        assert_eq!(traffic.within(1, 1), 1_520, "what lies after today counts; yesterday does not");
        traffic.save();
        let mut traffic = Traffic::open(folder.path()).unwrap();
        traffic.add(7, 1);
        // The network says what time it is.
        traffic.add(7, 20_712);
        assert_eq!([1, 3, 13].map(|days| traffic.within(days, 20_712)), [57, 557, 1_557]);
        assert_eq!(traffic.within(12, 20_712), 557, "an old day goes as it would have gone");
        traffic.save();
        assert_eq!(Traffic::open(folder.path()).unwrap().days, traffic.days);
        // A full file makes room for it by what is older than any period.
        traffic.days.extend((21_000..).take(DAYS_MAX).map(|day| (day, 1)));
        traffic.add(8, 22_000);
        traffic.add(9, 0);
        assert_eq!((traffic.days.len(), traffic.days.get(&0)), (DAYS_MAX, Some(&1)));
    }

    #[test]
    fn a_small_step_back_or_a_moment_ahead_moves_no_day() {
        let folder = tempfile::tempdir().unwrap();
        let mut traffic = Traffic::open(folder.path()).unwrap();
        traffic.add(100, 20_709);
        traffic.add(300, 20_710);
        // Over midnight and back again.
        traffic.add(307, 20_709);
        assert_eq!(traffic.within(1, 20_709), 307, "all of both days");
        traffic.add(310, 20_710);
        assert_eq!([1, 2].map(|days| traffic.within(days, 20_710)), [203, 310]);
        // A year ahead, and back: the days are still there, and what was moved meanwhile counts.
        traffic.add(311, 21_400);
        assert_eq!(traffic.within(365, 21_400), 1);
        traffic.add(311, 20_711);
        assert_eq!([1, 2, 3].map(|days| traffic.within(days, 20_711)), [1, 204, 311]);
        assert_eq!(traffic.within(1, 21_401), 0, "until that day is past");
    }

    #[test]
    fn a_damaged_file_is_told_and_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        for text in [
            "",
            "version = 2\n[days]\n",
            "version = 1\n",
            "version = 1\n[days]\n1 = -1\n",
            "version = 1\n[days]\nx = 1\n",
            "version = 1\nmore = 1\n[days]\n",
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(Traffic::open(folder.path()), Err(Damaged { path: path.clone() }), "{text}");
        }
        fs::write(&path, "version = 1\n[days]\n-3 = 5\n").unwrap();
        assert_eq!(Traffic::open(folder.path()).unwrap().within(1, -3), 5);
        fs::write(&path, vec![b'#'; 70_000]).unwrap();
        assert!(Traffic::open(folder.path()).is_err());
    }
}
