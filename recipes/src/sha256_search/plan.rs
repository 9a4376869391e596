//! Cuts a search into ranges of nonces, and reads what comes back.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "at most 2^36 nonces in ranges of 2^14: sums and products of counts stay far below 2^64"
)]

use super::{
    search::{
        self, BUCKETS, RANGE, RECORD_WORDS, SUFFIX_BYTES, Searched, UNIT_NONCES_MAX, bucket, encode_common,
        encode_unit, suffix,
    },
    sha256::State,
};
use crate::{
    CustomerSide, Error, Inputs, Plan, ResultFile,
    settings::{count, integer, text},
    words::words,
};
use core::fmt::Write as _;
use keystead_job::{limits::UNIT_COUNT_MAX, parameter::Parameters};
use serde::Serialize;

/// Most nonces of a job: its records (40 bytes for each 16,384) are held in memory, 160 MiB.
const NONCES_MAX: u64 = 1 << 36;
/// Largest message: compressing it is the plan's and the assembly's own work.
const MESSAGE_BYTES_MAX: usize = 16_777_216;

/// The recipe `sha256-search`.
#[derive(Clone, Copy, Debug)]
pub struct Sha256Search;

/// Everything that plan and assembly both derive from files and parameters.
struct Work {
    message: Vec<u8>,
    first: u64,
    unit_nonces: u32,
    unit_count: u64,
    list: usize,
}

/// A record that was hashed again here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    digest: State,
    nonce: u64,
}

#[derive(Serialize)]
struct Report {
    message_bytes: usize,
    message: String,
    first_nonce: u64,
    nonces: u64,
    best: Hit,
    /// How many digests begin with exactly this many zero bits; the last row counts 32 and more.
    leading_zero_bits: Vec<Bucket>,
}

#[derive(Serialize)]
struct Hit {
    nonce: u64,
    suffix: String,
    digest: String,
    leading_zero_bits: u32,
}

#[derive(Serialize)]
struct Bucket {
    bits: usize,
    digests: u64,
    expected: f64,
}

impl Work {
    fn new(inputs: &Inputs, parameters: &Parameters) -> Result<Self, Error> {
        let first: u64 = integer(parameters, "first-nonce", 0..=i64::MAX)?;
        let nonces: u64 = integer(parameters, "nonces", 1..=i64::MAX)?;
        let unit_nonces: u32 = integer(parameters, "nonces-per-unit", i64::from(RANGE)..=i64::from(UNIT_NONCES_MAX))?;
        let list = integer(parameters, "list", 1..=10_000)?;
        if !unit_nonces.is_multiple_of(RANGE) {
            let what = format!("must be a multiple of {RANGE}, got {unit_nonces}");
            return Err(Error::Setting { name: "nonces-per-unit", what });
        }
        let unit_count = nonces.div_ceil(u64::from(unit_nonces));
        let sizes = [
            ("nonces in whole units", unit_count.saturating_mul(u64::from(unit_nonces)), NONCES_MAX),
            ("units", unit_count, u64::from(UNIT_COUNT_MAX)),
        ];
        for (what, got, max) in sizes {
            if got > max {
                let advice = "set nonces lower or nonces-per-unit higher";
                return Err(Error::TooLarge { what, got, max, advice });
            }
        }
        let first = first - first % u64::from(RANGE);
        Ok(Self { message: message(inputs, parameters)?, first, unit_nonces, unit_count, list })
    }

    fn unit_first(&self, unit: u64) -> u64 {
        self.first.wrapping_add(unit * u64::from(self.unit_nonces))
    }

    const fn ranges(&self) -> usize {
        (self.unit_nonces / RANGE) as usize
    }

    /// Checks one output: every record's nonce lies in its range and has this digest, the histogram counts every nonce once and agrees
    /// with the best record.
    fn unit(&self, searched: &Searched, unit: u64, output: &[u8]) -> Result<([u32; BUCKETS], Vec<Record>), String> {
        let expected = BUCKETS + RECORD_WORDS * self.ranges();
        let words = words(output).filter(|words| words.len() == expected);
        let words = words.ok_or_else(|| format!("{} bytes, expected {}", output.len(), 4 * expected))?;
        let (head, rest) = words.split_at(BUCKETS);
        let histogram: [u32; BUCKETS] = core::array::from_fn(|at| head[at]);
        let (rows, _) = rest.as_chunks::<RECORD_WORDS>();
        let mut records = Vec::with_capacity(rows.len());
        for (range, row) in (0_u64..).zip(rows) {
            let nonce = u64::from(row[0]) | (u64::from(row[1]) << 32);
            let begin = self.unit_first(unit).wrapping_add(range * u64::from(RANGE));
            if nonce.wrapping_sub(begin) >= u64::from(RANGE) {
                return Err(format!("nonce {nonce} is not in range {range}, which begins at {begin}"));
            }
            let digest: State = core::array::from_fn(|at| row[2 + at]);
            if digest != searched.digest(nonce) {
                return Err(format!("digest of nonce {nonce} is wrong"));
            }
            records.push(Record { digest, nonce });
        }
        let sum: u64 = histogram.iter().map(|count| u64::from(*count)).sum();
        let most = records.iter().map(|record| bucket(&record.digest)).max();
        let top = histogram.iter().rposition(|count| *count > 0);
        if sum != u64::from(self.unit_nonces) || top != most {
            return Err(format!("histogram counts {sum} digests up to {top:?} zero bits, best record has {most:?}"));
        }
        Ok((histogram, records))
    }
}

fn message(inputs: &Inputs, parameters: &Parameters) -> Result<Vec<u8>, Error> {
    let Some(file) = inputs.optional("message") else {
        let text = text(parameters, "text")?;
        if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            let what = "must be visible ASCII characters and spaces; give other bytes as a file: --input message=FILE";
            return Err(Error::Setting { name: "text", what: what.to_owned() });
        }
        return Ok(text.as_bytes().to_vec());
    };
    if file.bytes.len() > MESSAGE_BYTES_MAX {
        let (got_bytes, max_bytes) = (file.bytes.len() as u64, MESSAGE_BYTES_MAX as u64);
        return Err(Error::InputTooLarge { path: file.path.clone(), got_bytes, max_bytes });
    }
    Ok(file.bytes.clone())
}

fn hex(digest: &State) -> String {
    digest.iter().fold(String::new(), |mut text, word| {
        let _ = write!(text, "{word:08x}");
        text
    })
}

fn leading_zero_bits(digest: &State) -> u32 {
    let zeros = digest.iter().take_while(|word| **word == 0).count();
    let rest = digest.get(zeros).map_or(0, |word| word.leading_zeros());
    u32::try_from(zeros).unwrap_or(8) * 32 + rest
}

impl CustomerSide for Sha256Search {
    fn name(&self) -> &'static str {
        "sha256-search"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../sha256-search/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../sha256-search/kernel/sha256_search.wgsl")
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let work = Work::new(inputs, parameters)?;
        let units = (0..work.unit_count).map(|unit| encode_unit(work.unit_first(unit), work.unit_nonces)).collect();
        let mut limits = self.recipe()?.limits([work.unit_nonces / RANGE, 1, 1]);
        limits.output_bytes_max = 4 * (BUCKETS + RECORD_WORDS * work.ranges()) as u64;
        Ok(Plan { common: encode_common(&work.message), units, segment_count: 1, limits })
    }

    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
        search::run(common, unit)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let work = Work::new(inputs, parameters)?;
        count(outputs.len(), usize::try_from(work.unit_count).unwrap_or(usize::MAX))?;
        let searched = Searched::new(&work.message);
        let (mut histogram, mut records) = ([0_u64; BUCKETS], Vec::new());
        for (unit, output) in outputs.iter().enumerate() {
            let (counts, found) =
                work.unit(&searched, unit as u64, output).map_err(|what| Error::Output { unit, what })?;
            histogram.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(count));
            records.extend(found);
        }
        records.sort_unstable();
        records.truncate(work.list);
        let best = records.first().ok_or(Error::OutputCount { got: 0, expected: 1 })?;
        let report = report(&work, &histogram, best);
        let json = serde_json::to_string_pretty(&report)
            .map_err(|error| Error::Output { unit: 0, what: error.to_string() })?;
        Ok(vec![
            ResultFile { name: "search.json".to_owned(), bytes: (json + "\n").into_bytes() },
            ResultFile { name: "best.tsv".to_owned(), bytes: table(&records).into_bytes() },
        ])
    }
}

#[allow(clippy::cast_precision_loss, reason = "LOSSY: expected counts for people; a power of two over 2^36 is exact")]
fn report(work: &Work, histogram: &[u64; BUCKETS], best: &Record) -> Report {
    let nonces = work.unit_count * u64::from(work.unit_nonces);
    let share = |bits: usize| 0.5_f64.powi(i32::try_from(bits + 1).map_or(32, |power| power.min(32)));
    let buckets = histogram.iter().enumerate();
    let buckets =
        buckets.map(|(bits, &digests)| Bucket { bits, digests, expected: nonces as f64 * share(bits) }).collect();
    let shown = String::from_utf8_lossy(&work.message[..work.message.len().min(200)]).into_owned();
    let hit = Hit {
        nonce: best.nonce,
        suffix: suffix(best.nonce),
        digest: hex(&best.digest),
        leading_zero_bits: leading_zero_bits(&best.digest),
    };
    Report {
        message_bytes: work.message.len() + SUFFIX_BYTES,
        message: shown,
        first_nonce: work.first,
        nonces,
        best: hit,
        leading_zero_bits: buckets,
    }
}

fn table(records: &[Record]) -> String {
    let mut text = "nonce\tsuffix\tdigest\tleading_zero_bits\n".to_owned();
    for record in records {
        let (digest, bits) = (hex(&record.digest), leading_zero_bits(&record.digest));
        let _ = writeln!(text, "{}\t{}\t{digest}\t{bits}", record.nonce, suffix(record.nonce));
    }
    text
}
