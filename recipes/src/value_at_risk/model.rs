//! From holdings and past returns to the fixed-point model that the kernel simulates.
//!
//! # Design
//! Log returns over the horizon are normal with mean `h m` and covariance `h S`, where `m` and `S` (divisor n - 1) are the sample
//! statistics of monthly log returns and `h` the months. Floating point ends here: what leaves this module is rounded to integers, and
//! is only made of operations that every machine rounds equally.
#![allow(clippy::arithmetic_side_effects, reason = "floating point, and indices of at most 16 assets")]

use super::{
    blob::{ASSETS_MAX, Common, TRIANGLE},
    math::exp,
    prices::History,
    tables::Tables,
};
use crate::Error;

/// Log growth at which the kernel saturates: ln 128, rounded down.
const LOG_GROWTH_MAX: f64 = 4.85;
/// An asset may not come nearer to saturation than this many standard deviations: probability 1e-9.
const DEVIATIONS_MIN: f64 = 6.0;
/// Largest normal of the kernel, rounded up: 2^-33 is at 6.34.
const NORMAL_MAX: f64 = 6.35;
/// Q5.26 holds log returns below 32; one is left for rounding.
const LOG_RETURN_MAX: f64 = 31.0;
/// Largest holding, currency units: sums stay exact in f64.
const HOLDING_MAX: i64 = 1_000_000_000_000;
/// A variance that others explain to all but this share is taken for none.
const INDEPENDENT_MIN: f64 = 1e-10;

/// One position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) symbol: String,
    /// Currency units at today's price; negative if sold short, never 0.
    pub(super) amount: i64,
}

/// Whether past mean returns are expected to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// Mean of the history.
    Historical,
    /// Zero mean log return.
    Zero,
}

/// The model in floating point, over the horizon.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    /// Share of gross value.
    pub(super) weights: Vec<f64>,
    /// Mean log returns.
    pub(super) means: Vec<f64>,
    /// Standard deviations of log returns.
    pub(super) deviations: Vec<f64>,
    /// Lower Cholesky factor of the covariance, row by row.
    factor: Vec<Vec<f64>>,
}

/// Reads `AAPL=200000,IBM=-50000`.
pub(super) fn holdings(text: &str) -> Result<Vec<Holding>, Error> {
    let wrong = |what: String| Error::Setting { name: "holdings", what };
    let mut holdings: Vec<Holding> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((symbol, amount)) = part.split_once('=') else {
            return Err(wrong(format!("{part:?} is not SYMBOL=AMOUNT; write for example AAPL=200000,IBM=-50000")));
        };
        let (symbol, amount) = (symbol.trim(), amount.trim().parse::<i64>());
        let amount = amount.ok().filter(|amount| *amount != 0 && (-HOLDING_MAX..=HOLDING_MAX).contains(amount));
        let Some(amount) = amount else {
            return Err(wrong(format!(
                "the amount in {part:?} must be a whole number of currency units, not 0, at most {HOLDING_MAX}"
            )));
        };
        if holdings.iter().any(|known| known.symbol == symbol) {
            return Err(wrong(format!("{symbol} stands twice; add the amounts")));
        }
        holdings.push(Holding { symbol: symbol.to_owned(), amount });
    }
    match holdings.len() {
        1..=ASSETS_MAX => Ok(holdings),
        0 => Err(wrong("at least one SYMBOL=AMOUNT is needed".to_owned())),
        count => Err(wrong(format!("{count} assets, at most {ASSETS_MAX} are possible"))),
    }
}

/// Sum of the holdings' absolute amounts.
pub(super) fn gross_value(holdings: &[Holding]) -> i64 {
    holdings.iter().map(|holding| holding.amount.saturating_abs()).fold(0, i64::saturating_add)
}

impl Model {
    /// Estimates the model.
    ///
    /// # Errors
    /// `Setting` if an asset never changes or is a mixture of others, or if the horizon is too long for the number formats.
    pub(super) fn new(
        holdings: &[Holding],
        history: &History,
        horizon_months: u32,
        drift: Drift,
    ) -> Result<Self, Error> {
        let months = f64::from(horizon_months);
        let gross = whole(gross_value(holdings));
        let weights = holdings.iter().map(|holding| whole(holding.amount) / gross).collect();
        let (mean, covariance) = statistics(&history.returns, holdings.len());
        let means: Vec<f64> = mean.iter().map(|mean| if drift == Drift::Zero { 0.0 } else { mean * months }).collect();
        let covariance: Vec<Vec<f64>> =
            covariance.iter().map(|row| row.iter().map(|value| value * months).collect()).collect();
        let deviations = (0..holdings.len()).map(|at| covariance[at][at].sqrt()).collect();
        let factor = cholesky(&covariance).map_err(|at| {
            let symbol = &holdings[at].symbol;
            let what = format!(
                "the returns of {symbol} do not vary, or follow from those of the assets before it; leave it out"
            );
            Error::Setting { name: "holdings", what }
        })?;
        let model = Self { weights, means, deviations, factor };
        model.check_range(holdings)?;
        Ok(model)
    }

    fn check_range(&self, holdings: &[Holding]) -> Result<(), Error> {
        for (at, holding) in holdings.iter().enumerate() {
            let (mean, deviation) = (self.means[at], self.deviations[at]);
            let sum: f64 = self.factor[at].iter().map(|value| value.abs()).sum();
            let inside = mean + DEVIATIONS_MIN * deviation <= LOG_GROWTH_MAX;
            if !inside || mean.abs() + NORMAL_MAX * sum > LOG_RETURN_MAX {
                let what = format!(
                    "too long for {}: mean log return {mean:.3}, standard deviation {deviation:.3}, growth above 127 would be cut; shorten it",
                    holding.symbol
                );
                return Err(Error::Setting { name: "horizon-months", what });
            }
        }
        Ok(())
    }

    /// Rounds to the kernel's formats.
    pub(super) fn quantise(&self, seed: u64) -> Common {
        let mut common = Common {
            assets: self.means.len(),
            seed,
            means: [0; ASSETS_MAX],
            weights: [0; ASSETS_MAX],
            factor: [0; TRIANGLE],
            tables: Tables::new(),
        };
        let fill = |to: &mut [i32], from: &mut dyn Iterator<Item = f64>, bits: i32| {
            to.iter_mut().zip(from).for_each(|(to, value)| *to = fixed(value, bits));
        };
        fill(&mut common.means, &mut self.means.iter().copied(), 26);
        fill(&mut common.weights, &mut self.weights.iter().copied(), 30);
        fill(&mut common.factor, &mut self.factor.iter().flatten().copied(), 28);
        common
    }

    /// Exact expectation of the loss as a share of gross value: `- sum w (exp(m + s^2 / 2) - 1)`.
    pub(super) fn mean_loss(&self) -> f64 {
        let gain = |at: usize| {
            self.weights[at] * (exp(self.means[at] + self.deviations[at] * self.deviations[at] / 2.0) - 1.0)
        };
        -(0..self.weights.len()).map(gain).sum::<f64>()
    }

    /// Losses that the kernel can give at most and at least, Q7.24: long positions lose at most their value and gain at most 127
    /// times it, short ones the other way round; a unit is left for the rounding of each asset.
    pub(super) fn loss_range(&self) -> core::ops::RangeInclusive<i32> {
        let part = |long: bool| -> f64 {
            self.weights.iter().filter(|weight| (**weight > 0.0) == long).map(|w| w.abs()).sum()
        };
        let (long, short) = (part(true), part(false));
        let most = fixed(long + 127.0 * short, 24).saturating_add(64);
        let least = fixed(-short - 127.0 * long, 24).saturating_sub(64);
        least..=most
    }
}

/// Nearest integer to `value * 2^bits`, ties away from zero. LOSSY: saturates outside 32 bits; `check_range` keeps values inside.
#[allow(clippy::cast_possible_truncation, reason = "saturating by the language's definition")]
fn fixed(value: f64, bits: i32) -> i32 {
    let scale = (0..bits).fold(1.0, |scale, _| scale * 2.0);
    (value * scale).round() as i32
}

/// LOSSY: amounts are below 2^53.
#[allow(clippy::cast_precision_loss, reason = "bounded by HOLDING_MAX times 16")]
const fn whole(amount: i64) -> f64 {
    amount as f64
}

/// Sample means and covariance (divisor n - 1), summed in the order of time.
fn statistics(returns: &[Vec<f64>], assets: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let count = f64::from(u32::try_from(returns.len()).unwrap_or(u32::MAX));
    let mean: Vec<f64> = (0..assets).map(|at| returns.iter().map(|row| row[at]).sum::<f64>() / count).collect();
    let product = |a: usize, b: usize| returns.iter().map(|row| (row[a] - mean[a]) * (row[b] - mean[b])).sum::<f64>();
    let covariance = (0..assets).map(|a| (0..assets).map(|b| product(a, b) / (count - 1.0)).collect()).collect();
    (mean, covariance)
}

/// The lower factor, rows of growing length; `Err(i)` if asset i adds no variance of its own.
fn cholesky(covariance: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, usize> {
    let mut factor: Vec<Vec<f64>> = Vec::new();
    for (at, target) in covariance.iter().enumerate() {
        let mut row: Vec<f64> = Vec::new();
        for (column, done) in factor.iter().enumerate() {
            let known: f64 = row.iter().zip(done).map(|(a, b)| a * b).sum();
            row.push((target[column] - known) / done[column]);
        }
        let own = target[at] - row.iter().map(|value| value * value).sum::<f64>();
        if own <= target[at] * INDEPENDENT_MIN || own <= f64::MIN_POSITIVE {
            return Err(at);
        }
        row.push(own.sqrt());
        factor.push(row);
    }
    Ok(factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::needless_range_loop, reason = "tests")]
    use super::*;
    use crate::{InputFile, value_at_risk::prices};

    /// Thirty months of A, of B (A's return and an own one), and of C (A squared: twice its log return).
    fn history(symbols: &[&str]) -> History {
        let mut text = "symbol,date,price\n".to_owned();
        let (mut a, mut b) = (100.0_f64, 50.0_f64);
        for month in 0..30_u32 {
            let date = format!("{}-{:02}-01", 2000 + month / 12, month % 12 + 1);
            text += &format!("A,{date},{a}\nB,{date},{b}\nC,{date},{}\nD,{date},7\n", a * a);
            let own = f64::from(month * 7 % 5) * 0.02 - 0.03;
            a *= 1.0 + own;
            b *= 1.0 + own / 2.0 + f64::from(month * 3 % 7) * 0.01 - 0.02;
        }
        prices::history(&InputFile { path: "p.csv".to_owned(), bytes: text.into_bytes() }, symbols).unwrap()
    }

    #[test]
    fn factor_times_its_transpose_is_the_covariance_of_the_horizon() {
        let history = history(&["A", "B"]);
        let model = Model::new(&holdings("A=300,B=-100").unwrap(), &history, 3, Drift::Historical).unwrap();
        let (mean, covariance) = statistics(&history.returns, 2);
        assert_eq!(model.weights, [0.75, -0.25]);
        for a in 0..2 {
            assert!((model.means[a] - 3.0 * mean[a]).abs() < 1e-15);
            for b in 0..=a {
                let product: f64 = (0..=b).map(|at| model.factor[a][at] * model.factor[b][at]).sum();
                assert!((product - 3.0 * covariance[a][b]).abs() < 1e-15);
            }
        }
        assert_eq!(Model::new(&holdings("A=1,B=1").unwrap(), &history, 3, Drift::Zero).unwrap().means, [0.0, 0.0]);
    }

    #[test]
    fn assets_without_variance_of_their_own_are_named() {
        for (text, symbols, named) in
            [("A=1,C=1", ["A", "C"], "C"), ("A=1,D=1", ["A", "D"], "D"), ("D=1,A=1", ["D", "A"], "D")]
        {
            let error = Model::new(&holdings(text).unwrap(), &history(&symbols), 1, Drift::Zero).unwrap_err();
            assert!(error.to_string().contains(&format!("returns of {named} ")), "{error}");
        }
    }

    #[test]
    fn holdings_are_read_and_mistakes_explained() {
        let read = holdings(" A=5, B = -7 ,").unwrap();
        assert_eq!((read[1].symbol.as_str(), read[1].amount, gross_value(&read)), ("B", -7, 12));
        for (text, part) in [
            ("", "at least one"),
            ("A", "SYMBOL=AMOUNT"),
            ("A=0", "not 0"),
            ("A=1.5", "whole number"),
            ("A=1,A=2", "twice"),
        ] {
            let error = holdings(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let many = |count: usize| (0..count).map(|at| format!("S{at}=1,")).collect::<String>();
        assert!(holdings(&many(16)).is_ok() && holdings(&many(17)).unwrap_err().to_string().contains("17 assets"));
        assert!(holdings("A=1000000000000").is_ok() && holdings("A=1000000000001").is_err());
    }

    #[test]
    fn a_horizon_beyond_the_formats_is_refused() {
        let calm = history(&["A"]);
        assert!(Model::new(&holdings("A=1").unwrap(), &calm, 24, Drift::Historical).is_ok());
        let returns = calm.returns.iter().map(|row| vec![row[0] * 20.0]).collect();
        let wild = History { returns, ..calm };
        let error = Model::new(&holdings("A=1").unwrap(), &wild, 24, Drift::Zero).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "horizon-months", .. }), "{error}");
    }
}
