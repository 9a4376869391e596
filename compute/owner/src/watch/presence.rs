//! From signs of a person to the time since the last one: pure.

use crate::{decide::Now, probe::activity::Sign, reading::Reading};
use std::{collections::BTreeMap, time::Duration};

/// Remembers what was seen last.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    last: Option<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    marks: BTreeMap<String, u64>,
    input_ms: u64,
    /// What terminals said about the time before the first look, at that look.
    before_ms: u64,
}

impl Presence {
    /// Whether nothing was seen yet, so that [`Self::look`] wants to know about the time before.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// The time since the last input. `before` is the time since a terminal was last used, as far as files tell, and counts at the first look only;
    /// a keyboard or mouse has no such memory, so with one of them the first look counts as input: nobody knows who just started this.
    pub fn look(&mut self, signs: &Reading<Vec<Sign>>, before: Option<Duration>, now: Now) -> Reading<Duration> {
        let (signs, source) = match signs {
            Reading::Known(signs, source) => (signs, source),
            Reading::Unknown(why) => {
                self.last = None;
                return Reading::Unknown(why.clone());
            }
        };
        let marks: BTreeMap<String, u64> = signs.iter().map(|sign| (sign.path.clone(), sign.mark)).collect();
        let seen = match self.last.take() {
            None => {
                let before = before.filter(|_| signs.iter().all(|sign| sign.path.starts_with("dev/")));
                let before_ms = before.map_or(0, |before| u64::try_from(before.as_millis()).unwrap_or(u64::MAX));
                Seen { marks, input_ms: now.steady_ms, before_ms }
            }
            // A path that is new is a login or a device that somebody plugged in; one that is gone is nobody.
            Some(last) if marks.iter().any(|(path, mark)| last.marks.get(path) != Some(mark)) => {
                Seen { marks, input_ms: now.steady_ms, before_ms: 0 }
            }
            Some(last) => Seen { marks, ..last },
        };
        let idle_ms = now.steady_ms.saturating_sub(seen.input_ms).saturating_add(seen.before_ms);
        self.last = Some(seen);
        Reading::Known(Duration::from_millis(idle_ms), source.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn sign(path: &str, mark: u64) -> Sign {
        Sign { path: path.to_owned(), mark }
    }

    fn idle(presence: &mut Presence, signs: &[Sign], steady_ms: u64) -> u64 {
        let now = Now { unix_ms: 0, offset_s: 0, steady_ms };
        let before = Some(Duration::from_secs(500));
        let reading = presence.look(&Reading::known(signs.to_vec(), "test"), before, now);
        u64::try_from(reading.value().unwrap().as_millis()).unwrap()
    }

    #[test]
    fn a_change_a_login_and_a_new_device_are_input_and_a_logout_is_not() {
        let mut presence = Presence::default();
        let both = [sign("usb", 1), sign("dev/pts/0", 1)];
        assert_eq!(idle(&mut presence, &both, 1_000), 0, "a keyboard remembers nothing");
        assert_eq!(idle(&mut presence, &both, 2_000), 1_000);
        assert_eq!(idle(&mut presence, &both[..1], 3_000), 2_000, "logged out");
        assert_eq!(idle(&mut presence, &both, 4_000), 0, "logged in");
        assert_eq!(idle(&mut presence, &[sign("usb", 2), both[1].clone()], 5_000), 0);
        assert_eq!(idle(&mut presence, &[sign("usb", 0), both[1].clone()], 6_000), 0, "set back: somebody did that");
    }

    #[test]
    fn terminals_tell_about_the_time_before_the_first_look() {
        let mut presence = Presence::default();
        let terminal = [sign("dev/pts/0", 1)];
        assert_eq!(idle(&mut presence, &terminal, 1_000), 500_000);
        assert_eq!(idle(&mut presence, &terminal, 2_000), 501_000);
        assert_eq!(idle(&mut presence, &[sign("dev/pts/0", 2)], 3_000), 0);
        assert_eq!(idle(&mut presence, &[sign("dev/pts/0", 2)], 4_000), 1_000);
    }

    #[test]
    fn what_cannot_be_watched_is_unknown_and_begins_anew() {
        let mut presence = Presence::default();
        idle(&mut presence, &[sign("usb", 1)], 1_000);
        let now = Now { unix_ms: 0, offset_s: 0, steady_ms: 2_000 };
        assert!(presence.look(&Reading::default(), None, now).value().is_none());
        assert_eq!(idle(&mut presence, &[sign("usb", 1)], 3_000), 0);
    }
}
