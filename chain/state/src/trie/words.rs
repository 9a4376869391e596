//! Memory for branches: runs of 32-byte words at numbered places.
//!
//! # Design
//! A walk reads branches at random places, so what it costs is misses, and not only of the cache: a processor remembers where
//! some thousand pages are, and under a hypervisor it looks up each further one in two tables. Allocated one by one, the
//! branches of ten million accounts lie on some 400,000 pages of 4 KiB. Here they lie in few segments that double in size;
//! the large ones are mappings of their own, which Linux is asked to back by pages of 2 MiB.
//!
//! A run has its length for good, in its first two bytes, and is given again to whoever wants the same length. So all runs
//! can be walked in order, and nothing is ever merged or moved; what is freed goes back to the system with the whole.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "places are below 2^30, lengths below 64; overflow is checked in release as well"
)]

use super::node::{Link, Word};
use memmap2::MmapMut;

/// Words of the first segment: 32 KiB. Most tries are those of small contracts.
const FIRST: u32 = 1 << 10;
/// Words from which on a segment is a mapping of its own: 4 MiB.
const MAPPED_MIN: usize = 1 << 17;
/// Bytes of a word.
const WORD: usize = size_of::<Word>();

#[derive(Debug)]
enum Segment {
    Heap(Box<[Word]>),
    Mapped(MmapMut),
}

impl Segment {
    fn new(words: usize) -> Self {
        if words >= MAPPED_MIN
            && let Ok(map) = MmapMut::map_anon(words * WORD)
        {
            // A wish: where it is not granted, walks are slower.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Mapped(map);
        }
        Self::Heap(vec![[0; WORD]; words].into_boxed_slice())
    }

    fn words(&self) -> &[Word] {
        match self {
            Self::Heap(words) => words,
            Self::Mapped(map) => map.as_chunks().0,
        }
    }

    fn words_mut(&mut self) -> &mut [Word] {
        match self {
            Self::Heap(words) => words,
            Self::Mapped(map) => map.as_chunks_mut().0,
        }
    }
}

/// Runs of words.
#[derive(Debug, Default)]
pub(super) struct Words {
    segments: Vec<Segment>,
    /// The first word that was never given.
    next: u32,
    /// How many runs there are, given or free.
    runs: usize,
    /// Runs that may be given again, by length.
    free: Vec<Vec<u32>>,
    /// Runs at the ends of segments that are shorter than what was wanted; nobody uses them.
    left_over: Vec<u32>,
}

/// The segment of a place, and the place in it.
const fn locate(at: u32) -> (usize, usize) {
    match (at / FIRST).checked_ilog2() {
        None => (0, at as usize),
        Some(power) => (power as usize + 1, (at - (FIRST << power)) as usize),
    }
}

const fn segment_words(segment: usize) -> usize {
    if segment == 0 { FIRST as usize } else { (FIRST as usize) << (segment - 1) }
}

impl Words {
    /// How many runs there are, given or free.
    pub(super) const fn runs(&self) -> usize {
        self.runs
    }

    /// A run of `length` words, at least one. The first word begins with the length, which must stay; the rest is what was
    /// there before.
    ///
    /// # Panics
    /// If there are 2^30 words, 32 GiB: a bound on memory is below that.
    pub(super) fn take(&mut self, length: usize) -> (u32, &mut [Word]) {
        let at = match self.free.get_mut(length).and_then(Vec::pop) {
            Some(at) => at,
            None => self.begin(length),
        };
        // Not by the length in the run: whoever writes all of it need not wait for what was there.
        (at, self.words_mut(at, length))
    }

    /// A new run.
    fn begin(&mut self, length: usize) -> u32 {
        let (segment, offset) = locate(self.next);
        if segment == self.segments.len() {
            self.segments.push(Segment::new(segment_words(segment)));
        }
        let left = segment_words(segment) - offset;
        let given = length.min(left);
        let at = self.next;
        self.next =
            at.checked_add(given as u32).filter(|next| *next < Link::END).expect("invariant: 2^30 words suffice");
        self.runs += 1;
        self.words_mut(at, 1)[0] = head(given);
        if given < length {
            self.left_over.push(at);
            return self.begin(length);
        }
        at
    }

    /// Takes a run back.
    pub(super) fn free(&mut self, at: u32) {
        let length = self.run(at).len();
        if self.free.len() <= length {
            self.free.resize_with(length + 1, Vec::new);
        }
        self.free[length].push(at);
    }

    /// The words of a run.
    pub(super) fn run(&self, at: u32) -> &[Word] {
        let (segment, offset) = locate(at);
        let words = &self.segments[segment].words()[offset..];
        &words[..length(&words[0])]
    }

    /// The words of a run, to be changed; its first two bytes must stay.
    pub(super) fn run_mut(&mut self, at: u32) -> &mut [Word] {
        let length = self.run(at).len();
        self.words_mut(at, length)
    }

    fn words_mut(&mut self, at: u32, length: usize) -> &mut [Word] {
        let (segment, offset) = locate(at);
        &mut self.segments[segment].words_mut()[offset..offset + length]
    }

    /// The run after one, or the first if it is the last. There must be one.
    pub(super) fn following(&self, at: u32) -> u32 {
        let next = at + self.run(at).len() as u32;
        if next < self.next { next } else { 0 }
    }
}

#[cfg(test)]
impl Words {
    /// Every run that may be given again, and those that the ends of segments left over.
    pub(super) fn idle(&self) -> impl Iterator<Item = u32> {
        self.free.iter().flatten().chain(&self.left_over).copied()
    }
}

/// The first word of a run, with nothing in it but the length.
pub(super) fn head(length: usize) -> Word {
    let [low, high] = (length as u16).to_le_bytes();
    let mut word = [0; WORD];
    word[..2].copy_from_slice(&[low, high]);
    word
}

/// The length of the run that a word begins.
const fn length(word: &Word) -> usize {
    u16::from_le_bytes([word[0], word[1]]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_keep_their_words_and_are_given_again_by_length() {
        let mut words = Words::default();
        // Past the first segments of the heap and into mapped ones.
        let lengths: Vec<usize> = (0..60_000).map(|n| 3 + n * 7 % 35).collect();
        let places: Vec<u32> = lengths.iter().map(|&length| words.take(length).0).collect();
        assert!(matches!(words.segments.last(), Some(Segment::Mapped(_))));
        for (&at, mark) in places.iter().zip(0_u64..) {
            words.run_mut(at).iter_mut().for_each(|word| word[8..16].copy_from_slice(&mark.to_le_bytes()));
        }
        for ((&at, &length), mark) in places.iter().zip(&lengths).zip(0_u64..) {
            assert_eq!(words.run(at).len(), length);
            assert!(words.run(at).iter().all(|word| word[8..16] == mark.to_le_bytes()), "run {mark} was written over");
        }
        // All are met in order, and between them only what the ends of segments left over.
        let (mut at, mut met, mut other) = (0, Vec::new(), 0);
        loop {
            if places.binary_search(&at).is_ok() {
                met.push(at)
            } else {
                other += 1
            }
            at = words.following(at);
            if at == 0 {
                break;
            }
        }
        assert_eq!(met, places);
        assert!(other < words.segments.len() && met.len() + other == words.runs());
        let runs = words.runs();
        places.iter().for_each(|&at| words.free(at));
        let mut again: Vec<u32> = lengths.iter().map(|&length| words.take(length).0).collect();
        again.sort_unstable();
        assert_eq!((again, words.runs()), (places, runs), "memory of the same lengths is enough");
    }

    #[test]
    fn a_place_is_in_the_segment_that_holds_it() {
        let mut start = 0;
        for segment in 0..18 {
            let words = segment_words(segment);
            assert_eq!(locate(start), (segment, 0));
            assert_eq!(locate(start + words as u32 - 1), (segment, words - 1));
            start += words as u32;
        }
    }
}
