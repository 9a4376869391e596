//! Keeps the bytes of blobs to the rates that the owner of this machine allows, and counts them.
//!
//! # Design
//! A [`Meter`] has a token bucket for each direction; all sessions of an endpoint share it. Whoever moves bytes asks for a grant, gets a part of what it
//! wants, moves that, and asks again. Grants are given in the order of the questions and are small beside the rate, so transfers take turns: each gets its
//! share, and none waits so long that its peer takes it for dead. A changed rate holds at once, also for those that wait.
//!
//! # Invariants
//! Between two changes of the rate, no more is granted in a time than the rate gives in it and one burst ([`BURST`]).
//!
//! # Not here
//! Messages (hello, progress, vouchers, questions with their short answers) pass uncounted, as do the transport's own bytes: heads of packets, what is
//! sent again, acknowledgements. They are a few percent of a transfer. A download is slowed by reading late: what a peer may have in flight
//! ([`window_bytes`]) can come at the line's own speed.
//!
//! Spec: specs/0005-transfer.md §5.1.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    error::{SessionError, Unavailable},
    limits::{WINDOW_BYTES, WINDOW_BYTES_MIN},
    outline::GROUP_BYTES,
};

/// What a bucket holds at most, as time: long enough that a timer that comes late costs no speed, short beside the second in which a rate is meant.
pub const BURST: Duration = Duration::from_millis(250);
/// One grant is at most this part of a second's bytes.
const GRANTS_PER_SECOND: u64 = 16;
/// Smallest grant in bytes: at the lowest rate, 1 KiB/s, still four a second.
const GRANT_BYTES_MIN: u64 = 256;
/// Largest grant in bytes: a group. LOSSY: not; 65,536 fits.
const GRANT_BYTES_MAX: u64 = GROUP_BYTES as u64;
/// Nanoseconds of a second.
const SECOND_NS: u128 = 1_000_000_000;

/// How fast bytes may move one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rate {
    /// As fast as they can.
    #[default]
    Unlimited,
    /// At most so many in a second.
    BytesPerSecond(NonZeroU64),
    /// Not at all, until that changes.
    Paused,
}

/// How fast bytes may move each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// From this machine.
    pub upload: Rate,
    /// To this machine.
    pub download: Rate,
}

/// What has moved since a meter was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes handed to the transport.
    pub upload_bytes: u64,
    /// Bytes taken from it.
    pub download_bytes: u64,
}

impl Moved {
    /// Both ways together.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.upload_bytes.saturating_add(self.download_bytes)
    }
}

/// The rates of an endpoint and the count of its bytes. Clones share both; a new one is without limit.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    pub(crate) upload: Lane,
    pub(crate) download: Lane,
}

impl Meter {
    /// Changes the rates, at once and for transfers that are under way too.
    pub fn set(&self, rates: Rates) {
        self.upload.set(rates.upload);
        self.download.set(rates.download);
    }

    /// The rates now.
    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates { upload: self.upload.rate(), download: self.download.rate() }
    }

    /// What has moved. Bytes of blobs, their outlines and long answers; see the module for what is not counted.
    #[must_use]
    pub fn moved(&self) -> Moved {
        Moved { upload_bytes: self.upload.moved(), download_bytes: self.download.moved() }
    }
}

/// One direction.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Shared>);

struct Shared {
    rate: watch::Sender<Rate>,
    /// Held by whoever is next, over its wait: tokio's lock is given in the order of the questions.
    bucket: Mutex<Bucket>,
    moved: AtomicU64,
    /// What the bucket's time counts from.
    start: Instant,
}

impl Default for Lane {
    fn default() -> Self {
        let (rate, bucket, moved) = (watch::Sender::default(), Mutex::default(), AtomicU64::default());
        Self(Arc::new(Shared { rate, bucket, moved, start: Instant::now() }))
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("rate", &self.rate()).field("moved", &self.moved()).finish_non_exhaustive()
    }
}

impl Lane {
    fn set(&self, rate: Rate) {
        self.0.rate.send_if_modified(|now| std::mem::replace(now, rate) != rate);
    }

    pub(crate) fn rate(&self) -> Rate {
        *self.0.rate.borrow()
    }

    fn moved(&self) -> u64 {
        self.0.moved.load(Ordering::Relaxed)
    }

    /// Takes in that bytes have moved.
    pub(crate) fn count(&self, bytes: usize) {
        self.0.moved.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many of `wanted` bytes may move now, at least one and at most a group; waits for its turn and for the rate.
    ///
    /// # Errors
    /// [`Unavailable::Paused`]: the owner lets nothing move for `paused_max`.
    pub(crate) async fn grant(&self, wanted: usize, paused_max: Duration) -> Result<usize, SessionError> {
        let wanted = wanted.min(GROUP_BYTES);
        if wanted == 0 {
            return Ok(0);
        }
        let mut rate = self.0.rate.subscribe();
        loop {
            let now = *rate.borrow_and_update();
            match now {
                Rate::Unlimited => return Ok(wanted),
                Rate::Paused => {
                    let paused = Unavailable::Paused { waited: paused_max };
                    let changed = timeout(paused_max, rate.changed()).await;
                    // The sender lives as long as this lane.
                    let _ = changed.map_err(|_| SessionError::from(paused))?;
                }
                Rate::BytesPerSecond(_) => {
                    if let Some(granted) = self.take_turn(wanted, &mut rate).await {
                        return Ok(granted);
                    }
                }
            }
        }
    }

    /// Waits for the turn and the bytes; nothing if the rate is no longer a number.
    async fn take_turn(&self, wanted: usize, rate: &mut watch::Receiver<Rate>) -> Option<usize> {
        let mut bucket = tokio::select! {
            bucket = self.0.bucket.lock() => bucket,
            _ = rate.changed() => return None,
        };
        loop {
            let Rate::BytesPerSecond(now) = *rate.borrow_and_update() else { return None };
            match bucket.take(now, wanted, self.0.start.elapsed()) {
                Take::Granted(bytes) => return Some(bytes),
                Take::Wait(time) => tokio::select! {
                    () = sleep(time) => {}
                    _ = rate.changed() => {}
                },
            }
        }
    }
}

/// What a bucket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    /// So many bytes may move.
    Granted(usize),
    /// None before this time has passed.
    Wait(Duration),
}

/// A token bucket; its clock is a parameter and its tokens are bytes.
#[derive(Debug, Default)]
struct Bucket {
    /// The rate of `tokens`; none at the start.
    rate: Option<NonZeroU64>,
    tokens: u64,
    /// Up to when `tokens` are right. What a later time has brought that is no whole byte is not lost.
    at: Duration,
}

impl Bucket {
    /// Takes a grant for `wanted` bytes (at least one) at a rate, `now` after the start. A clock that goes back brings nothing.
    fn take(&mut self, rate: NonZeroU64, wanted: usize, now: Duration) -> Take {
        self.fill(now);
        if self.rate != Some(rate) {
            // What was saved at a higher rate is not spent at a lower one, and a time without rate saved nothing.
            if self.rate.is_none() {
                self.at = now;
            }
            self.rate = Some(rate);
            self.tokens = self.tokens.min(burst_bytes(rate));
        }
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).min(grant_bytes(rate));
        match self.tokens.checked_sub(wanted) {
            Some(left) => {
                self.tokens = left;
                // At most a group.
                Take::Granted(usize::try_from(wanted).unwrap_or(GROUP_BYTES))
            }
            None => {
                let full = self.at.saturating_add(time_for(wanted.saturating_sub(self.tokens), rate));
                Take::Wait(full.saturating_sub(now).max(Duration::from_nanos(1)))
            }
        }
    }

    /// Adds what the time since the last time has brought.
    fn fill(&mut self, now: Duration) {
        let (Some(rate), Some(passed)) = (self.rate, now.checked_sub(self.at)) else { return };
        // 2^64 seconds at 2^64 bytes/s in nanoseconds would not fit; what does not is more than any bucket holds.
        let bytes =
            passed.as_nanos().checked_mul(u128::from(rate.get())).map_or(u128::MAX, |product| product / SECOND_NS);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let most = burst_bytes(rate);
        if self.tokens.saturating_add(bytes) >= most {
            (self.tokens, self.at) = (most, now);
        } else {
            self.tokens = self.tokens.saturating_add(bytes);
            // Rounded down, so that the rest of a byte stays to come; never beyond `now`.
            self.at = self.at.saturating_add(time_before(bytes, rate)).min(now);
        }
    }
}

/// Bytes of one grant.
fn grant_bytes(rate: NonZeroU64) -> u64 {
    (rate.get() / GRANTS_PER_SECOND).clamp(GRANT_BYTES_MIN, GRANT_BYTES_MAX)
}

/// What a bucket holds: [`BURST`] at its rate, and at least a grant.
fn burst_bytes(rate: NonZeroU64) -> u64 {
    (rate.get() / 4).max(grant_bytes(rate))
}

/// The time in which a rate gives so many bytes, rounded up to the nanosecond.
fn time_for(bytes: u64, rate: NonZeroU64) -> Duration {
    nanoseconds(u128::from(bytes).saturating_mul(SECOND_NS).div_ceil(u128::from(rate.get())))
}

/// The same, rounded down.
fn time_before(bytes: u64, rate: NonZeroU64) -> Duration {
    // Never a division by zero: the rate is none.
    nanoseconds(u128::from(bytes).saturating_mul(SECOND_NS).checked_div(u128::from(rate.get())).unwrap_or_default())
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

/// What a peer may have in flight to us: a second's worth of a rate, so that it goes on sending while we read slowly instead of waiting for us to have
/// read a large part of a large window, and so that little comes faster than the rate.
pub(crate) fn window_bytes(rate: Rate) -> u32 {
    match rate {
        Rate::Unlimited => WINDOW_BYTES,
        Rate::Paused => WINDOW_BYTES_MIN,
        Rate::BytesPerSecond(rate) => {
            u32::try_from(rate.get()).unwrap_or(u32::MAX).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    const KIB: u64 = 1_024;

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    /// Takes as much as it can until `end`, sleeping as long as it is told, and gives the bytes and the largest grant.
    fn drain(bucket: &mut Bucket, rate: NonZeroU64, now: &mut Duration, end: Duration) -> (u64, u64) {
        let (mut bytes, mut largest) = (0, 0);
        while *now < end {
            match bucket.take(rate, GROUP_BYTES, *now) {
                Take::Granted(granted) => {
                    let granted = u64::try_from(granted).unwrap();
                    (bytes, largest) = (bytes + granted, largest.max(granted));
                }
                Take::Wait(time) => *now += time,
            }
        }
        (bytes, largest)
    }

    #[test]
    fn a_bucket_gives_the_rate_and_no_more_than_one_burst_above_it() {
        for bytes_per_s in [1, 3, 255, KIB, 32 * KIB, 1_000_003, 12_500_000, 100_000_000 * KIB] {
            let rate = rate(bytes_per_s);
            let (mut bucket, mut now) = (Bucket::default(), Duration::from_secs(7));
            assert!(matches!(bucket.take(rate, 1, now), Take::Wait(_)), "an empty one at the start: {bytes_per_s}");
            // A fast one is looked at for a shorter time: each grant is a step of this test.
            let seconds = if bytes_per_s > 1_000_000_000 { 1 } else { 20 };
            let end = now + Duration::from_secs(seconds);
            let (bytes, largest) = drain(&mut bucket, rate, &mut now, end);
            let whole = bytes_per_s * seconds;
            assert!(bytes <= whole, "{bytes} of {whole}");
            assert!(bytes + grant_bytes(rate).max(1) * 2 >= whole, "{bytes} of {whole}: nothing is lost to rounding");
            assert!(largest <= grant_bytes(rate));

            // Left alone for a long time, it gives one burst at once and then the rate again.
            now += Duration::from_secs(3_600);
            let end = now + Duration::from_secs(1);
            let (bytes, _) = drain(&mut bucket, rate, &mut now, end);
            assert!(bytes <= bytes_per_s + burst_bytes(rate), "{bytes} of {bytes_per_s}");
            assert!(bytes >= bytes_per_s.saturating_sub(grant_bytes(rate)));
        }
    }

    #[test]
    fn a_small_want_is_granted_as_soon_as_its_own_bytes_are_there() {
        let rate = rate(KIB);
        let mut bucket = Bucket::default();
        let Take::Wait(time) = bucket.take(rate, 1, Duration::ZERO) else { panic!("nothing can be there") };
        assert_eq!(time, Duration::from_nanos(976_563));
        assert_eq!(bucket.take(rate, 1, time - Duration::from_nanos(1)), Take::Wait(Duration::from_nanos(1)));
        assert_eq!(bucket.take(rate, 1, time), Take::Granted(1));
        assert!(matches!(bucket.take(rate, 1, time), Take::Wait(_)));
    }

    #[test]
    fn a_lower_rate_does_not_spend_what_a_higher_one_saved_and_a_higher_one_holds_at_once() {
        let (fast, slow) = (rate(1_024 * KIB), rate(4 * KIB));
        let mut bucket = Bucket::default();
        assert!(matches!(bucket.take(fast, 1, Duration::ZERO), Take::Wait(_)));
        let mut now = Duration::from_secs(60);
        let end = now + Duration::from_secs(1);
        let (bytes, _) = drain(&mut bucket, slow, &mut now, end);
        assert!(bytes <= 5 * KIB, "{bytes}: a second and a burst of the slow rate");
        let end = now + Duration::from_secs(1);
        let (bytes, _) = drain(&mut bucket, fast, &mut now, end);
        assert!(bytes >= 1_023 * KIB - grant_bytes(fast), "{bytes}");
    }

    #[test]
    fn times_without_end_rates_without_measure_and_clocks_that_go_back_overflow_nothing() {
        let most = NonZeroU64::MAX;
        let mut bucket = Bucket::default();
        assert!(matches!(bucket.take(most, usize::MAX, Duration::ZERO), Take::Wait(_)));
        assert_eq!(bucket.take(most, usize::MAX, Duration::MAX), Take::Granted(GROUP_BYTES));
        // Back at the beginning the bucket has what it had, and no more comes.
        assert_eq!(bucket.take(most, usize::MAX, Duration::ZERO), Take::Granted(GROUP_BYTES));
        assert_eq!(bucket.tokens, u64::MAX / 4 - 2 * GRANT_BYTES_MAX);
        let mut slow = Bucket::default();
        assert!(matches!(slow.take(rate(1), usize::MAX, Duration::MAX), Take::Wait(_)));
        assert!(matches!(slow.take(rate(1), usize::MAX, Duration::ZERO), Take::Wait(_)));
    }

    #[test]
    fn a_window_is_a_second_of_the_rate_between_its_bounds() {
        let window = |bytes| window_bytes(Rate::BytesPerSecond(rate(bytes)));
        assert_eq!(window(1), WINDOW_BYTES_MIN);
        assert_eq!(window(u64::from(WINDOW_BYTES_MIN) + 1), WINDOW_BYTES_MIN + 1);
        assert_eq!(window(u64::MAX), WINDOW_BYTES);
        assert_eq!((window_bytes(Rate::Unlimited), window_bytes(Rate::Paused)), (WINDOW_BYTES, WINDOW_BYTES_MIN));
    }

    /// Whether a grant is there at once.
    fn now(grant: impl Future<Output = Result<usize, SessionError>>) -> Option<usize> {
        match pin!(grant).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(granted) => Some(granted.unwrap()),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_meter_without_limit_grants_at_once_and_one_that_is_set_to_none_again_lets_waiters_go() {
        let meter = Meter::default();
        let hour = Duration::from_secs(3_600);
        assert_eq!(now(meter.upload.grant(10, hour)), Some(10));
        assert_eq!(now(meter.upload.grant(usize::MAX, hour)), Some(GROUP_BYTES));
        assert_eq!(now(meter.upload.grant(0, hour)), Some(0));
        let slow = Rates { upload: Rate::BytesPerSecond(rate(1)), download: Rate::Paused };
        meter.set(slow);
        assert_eq!(meter.rates(), slow);
        let lanes = [&meter.upload, &meter.upload, &meter.download, &meter.download];
        let mut waiting: Vec<_> = lanes.into_iter().map(|lane| Box::pin(lane.grant(4_096, hour))).collect();
        for grant in &mut waiting {
            assert!(grant.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        meter.set(Rates::default());
        for grant in waiting {
            assert_eq!(timeout(Duration::from_secs(60), grant).await.unwrap().unwrap(), 4_096);
        }
    }

    #[tokio::test]
    async fn waiters_are_served_in_the_order_of_their_coming() {
        let meter = Meter::default();
        meter.set(Rates { upload: Rate::BytesPerSecond(rate(1 << 20)), download: Rate::Unlimited });
        let order = std::sync::Mutex::new(Vec::new());
        let ask = async |name: usize| {
            for _ in 0..3 {
                meter.upload.grant(GROUP_BYTES, Duration::from_secs(60)).await.unwrap();
                order.lock().unwrap().push(name);
            }
        };
        // Polled in this order, each asks again behind the others.
        tokio::join!(biased; ask(0), ask(1), ask(2));
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn a_pause_that_lasts_is_told_and_bytes_are_counted_by_direction() {
        let meter = Meter::default();
        meter.set(Rates { upload: Rate::Unlimited, download: Rate::Paused });
        let refused = meter.download.grant(1, Duration::from_millis(1)).await;
        assert!(matches!(refused, Err(SessionError::Unavailable(Unavailable::Paused { .. }))), "{refused:?}");
        meter.upload.count(7);
        meter.clone().download.count(5);
        assert_eq!(meter.moved(), Moved { upload_bytes: 7, download_bytes: 5 });
        assert_eq!(meter.moved().total_bytes(), 12);
    }
}
