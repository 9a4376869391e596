//! From the losses of all paths to value at risk, expected shortfall and a histogram that a person reads.
//!
//! # Design
//! Order statistics and sums are exact integers; only the final figures are divided, so equal outputs give equal files. Value at risk
//! is the loss of rank `ceil(c n)`; expected shortfall is the mean of the worst `(1 - c) n` paths, the one at the border in part
//! (Rockafellar and Uryasev 2002).
#![allow(
    clippy::arithmetic_side_effects,
    reason = "at most 2^25 losses below 2^31: 64-bit and 128-bit sums cannot overflow"
)]
#![allow(clippy::cast_precision_loss, reason = "LOSSY: figures for people, 53 bits of them")]

use super::model::{Holding, Model};
use crate::{Error, ResultFile};
use core::fmt::Write as _;
use serde::Serialize;

/// One in Q7.24.
const ONE: f64 = 16_777_216.0;
/// Parts of a confidence of 1.
const BASIS: u64 = 10_000;
/// Rows of the histogram, about.
const BINS_MAX: i64 = 200;
/// 97.5 % of a standard normal lies below this many deviations.
const DEVIATIONS_95: f64 = 1.959_964;

/// What the report is about besides the losses.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) currency: &'a str,
    pub(super) holdings: &'a [Holding],
    pub(super) model: &'a Model,
    pub(super) gross_value: i64,
    pub(super) horizon_months: u32,
    pub(super) confidence_basis_points: u64,
    pub(super) drift: &'a str,
    pub(super) seed: u64,
    pub(super) first_month: String,
    pub(super) last_month: String,
    pub(super) monthly_returns: usize,
}

/// Losses in rising order with the figures that are asked of them.
#[derive(Debug)]
pub(super) struct Losses {
    sorted: Vec<i32>,
}

/// Figures as shares of gross value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) value_at_risk: f64,
    /// 95 % interval of value at risk from simulation noise, by order statistics.
    pub(super) interval: [f64; 2],
    pub(super) expected_shortfall: f64,
    pub(super) expected_shortfall_error: f64,
    pub(super) mean: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Losses {
    /// At least one loss.
    pub(super) fn new(mut losses: Vec<i32>) -> Self {
        losses.sort_unstable();
        Self { sorted: losses }
    }

    /// Figures at a confidence of 1 to 9,999 basis points.
    pub(super) fn figures(&self, confidence: u64) -> Figures {
        let count = self.sorted.len() as u64;
        let at = |rank: u64| i64::from(self.sorted[usize::try_from(rank.clamp(1, count) - 1).unwrap_or(0)]);
        let rank = (count * confidence).div_ceil(BASIS).max(1);
        let border = at(rank);
        let tail = &self.sorted[usize::try_from(rank).unwrap_or(usize::MAX).min(self.sorted.len())..];
        let tail_sum: i64 = tail.iter().map(|loss| i64::from(*loss)).sum();
        // The tail has (1 - c) n paths, which need not be a whole number: the border path counts for the rest.
        let border_share = rank * BASIS - count * confidence;
        let sum = i128::from(tail_sum) * i128::from(BASIS) + i128::from(border) * i128::from(border_share);
        let tail_size = (count * (BASIS - confidence)) as f64 / BASIS as f64;
        let shortfall = sum as f64 / BASIS as f64 / tail_size;
        let level = confidence as f64 / BASIS as f64;
        let spread: f64 = tail.iter().map(|loss| (f64::from(*loss) - shortfall).powi(2)).sum::<f64>() / tail_size;
        let border_gap = shortfall - border as f64;
        let error = ((spread + level * border_gap * border_gap) / tail_size).sqrt();
        let ranks = DEVIATIONS_95 * (count as f64 * level * (1.0 - level)).sqrt();
        // LOSSY: a rank's distance, rounded up.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the count")]
        let ranks = ranks.ceil() as u64;
        let total: i64 = self.sorted.iter().map(|loss| i64::from(*loss)).sum();
        Figures {
            value_at_risk: border as f64 / ONE,
            interval: [at(rank.saturating_sub(ranks)) as f64 / ONE, at(rank + ranks) as f64 / ONE],
            expected_shortfall: shortfall / ONE,
            expected_shortfall_error: error / ONE,
            mean: total as f64 / count as f64 / ONE,
            least: at(1) as f64 / ONE,
            most: at(count) as f64 / ONE,
        }
    }

    /// `losses.csv`: bins of equal, round width over all losses.
    fn histogram(&self, gross_value: i64, currency: &str) -> String {
        const MILLION: i64 = 1_000_000;
        let millionths = |loss: i32| i64::from(loss) * MILLION;
        let (least, most) = (self.sorted.first().copied().unwrap_or(0), self.sorted.last().copied().unwrap_or(0));
        let width = bin_width((millionths(most) - millionths(least)) / (1 << 24));
        let bin = |loss: i32| millionths(loss).div_euclid(width << 24);
        let mut text = format!("loss_from_fraction,loss_to_fraction,loss_from_{currency},loss_to_{currency},paths\n");
        let mut rest = self.sorted.as_slice();
        for index in bin(least)..=bin(most) {
            let (inside, above) = rest.split_at(rest.partition_point(|loss| bin(*loss) <= index));
            rest = above;
            let [from, to] = [index, index + 1].map(|edge| (edge * width) as f64 / MILLION as f64);
            let [from_amount, to_amount] = [from, to].map(|edge| edge * gross_value as f64);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{from:.6},{to:.6},{from_amount:.2},{to_amount:.2},{}", inside.len());
        }
        text
    }
}

/// The least of 1, 2, 5, 10, 20 .. millionths that cuts the range into at most [`BINS_MAX`] bins.
fn bin_width(range_millionths: i64) -> i64 {
    let steps = core::iter::successors(Some(1_i64), |decade| decade.checked_mul(10));
    let mut widths = steps.flat_map(|decade| [decade, decade.saturating_mul(2), decade.saturating_mul(5)]);
    widths.find(|width| range_millionths / width < BINS_MAX).unwrap_or(i64::MAX >> 24)
}

#[derive(Serialize)]
struct Report<'a> {
    recipe: &'static str,
    model: &'static str,
    currency: &'a str,
    gross_value: i64,
    horizon_months: u32,
    confidence: f64,
    drift: &'a str,
    paths: usize,
    seed: u64,
    value_at_risk: Measure,
    expected_shortfall: Measure,
    loss: Loss,
    history: Months<'a>,
    assets: Vec<Asset<'a>>,
}

#[derive(Serialize)]
struct Measure {
    amount: f64,
    fraction_of_gross_value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulation_interval_95_percent_fraction: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulation_standard_error_fraction: Option<f64>,
}

#[derive(Serialize)]
struct Loss {
    mean_fraction: f64,
    mean_fraction_in_closed_form: f64,
    least_fraction: f64,
    most_fraction: f64,
}

#[derive(Serialize)]
struct Months<'a> {
    first: &'a str,
    last: &'a str,
    monthly_returns: usize,
}

#[derive(Serialize)]
struct Asset<'a> {
    symbol: &'a str,
    holding_amount: i64,
    mean_log_return_over_horizon: f64,
    standard_deviation_of_log_return_over_horizon: f64,
}

/// `risk.json` and `losses.csv`.
pub(super) fn files(subject: &Subject<'_>, losses: &Losses) -> Result<Vec<ResultFile>, Error> {
    let figures = losses.figures(subject.confidence_basis_points);
    let amount = |fraction: f64| (fraction * subject.gross_value as f64 * 100.0).round() / 100.0;
    let assets = subject.holdings.iter().enumerate().map(|(at, holding)| Asset {
        symbol: &holding.symbol,
        holding_amount: holding.amount,
        mean_log_return_over_horizon: round(subject.model.means[at]),
        standard_deviation_of_log_return_over_horizon: round(subject.model.deviations[at]),
    });
    let report = Report {
        recipe: "value-at-risk",
        model: "jointly normal monthly log returns, sample mean and covariance, positions held unchanged",
        currency: subject.currency,
        gross_value: subject.gross_value,
        horizon_months: subject.horizon_months,
        confidence: subject.confidence_basis_points as f64 / BASIS as f64,
        drift: subject.drift,
        paths: losses.sorted.len(),
        seed: subject.seed,
        value_at_risk: Measure {
            amount: amount(figures.value_at_risk),
            fraction_of_gross_value: round(figures.value_at_risk),
            simulation_interval_95_percent_fraction: Some(figures.interval.map(round)),
            simulation_standard_error_fraction: None,
        },
        expected_shortfall: Measure {
            amount: amount(figures.expected_shortfall),
            fraction_of_gross_value: round(figures.expected_shortfall),
            simulation_interval_95_percent_fraction: None,
            simulation_standard_error_fraction: Some(round(figures.expected_shortfall_error)),
        },
        loss: Loss {
            mean_fraction: round(figures.mean),
            mean_fraction_in_closed_form: round(subject.model.mean_loss()),
            least_fraction: round(figures.least),
            most_fraction: round(figures.most),
        },
        history: Months {
            first: &subject.first_month,
            last: &subject.last_month,
            monthly_returns: subject.monthly_returns,
        },
        assets: assets.collect(),
    };
    // Plain structs of numbers and strings: writing them as JSON has no failure but an infinite figure, which no input gives.
    let mut json = serde_json::to_string_pretty(&report)
        .map_err(|error| Error::Setting { name: "holdings", what: format!("no figures: {error}") })?;
    json.push('\n');
    let csv = losses.histogram(subject.gross_value, subject.currency);
    let file = |name: &str, text: String| ResultFile { name: name.to_owned(), bytes: text.into_bytes() };
    Ok(vec![file("risk.json", json), file("losses.csv", csv)])
}

/// Nine decimals: one below the resolution of Q7.24.
fn round(fraction: f64) -> f64 {
    (fraction * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]
    use super::*;

    /// Losses 1, 2, .. n as whole multiples of gross value divided by 2^10.
    fn ladder(count: i32) -> Losses {
        Losses::new((1..=count).rev().map(|loss| loss << 14).collect())
    }

    #[test]
    fn rank_and_tail_mean_are_those_of_the_definition() {
        let figures = ladder(1_000).figures(9_900);
        // Rank 990; the worst ten are 991 to 1000.
        assert_eq!(figures.value_at_risk, 990.0 / 1_024.0);
        assert_eq!(figures.expected_shortfall, 995.5 / 1_024.0);
        assert_eq!((figures.mean, figures.least, figures.most), (500.5 / 1_024.0, 1.0 / 1_024.0, 1_000.0 / 1_024.0));
        // 95 % of 50 paths is 47.5: rank 48, the tail is half of 48 and 49, 50.
        let figures = ladder(50).figures(9_500);
        assert_eq!(figures.value_at_risk, 48.0 / 1_024.0);
        assert!((figures.expected_shortfall - (24.0 + 49.0 + 50.0) / 2.5 / 1_024.0).abs() < 1e-15);
        // One path is its own tail.
        let figures = ladder(1).figures(9_999);
        assert!((figures.value_at_risk, figures.expected_shortfall) == (1.0 / 1_024.0, 1.0 / 1_024.0));
    }

    #[test]
    fn histogram_counts_every_path_once_in_bins_of_round_width() {
        let losses = Losses::new(vec![-(1 << 24), -1, 0, 1, 1 << 24]);
        let text = losses.histogram(1_000, "USD");
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(text.lines().next().unwrap(), "loss_from_fraction,loss_to_fraction,loss_from_USD,loss_to_USD,paths");
        assert!(rows.len() <= 201 && rows.len() > 50);
        assert_eq!(rows.iter().map(|row| row[4].parse::<usize>().unwrap()).sum::<usize>(), 5);
        assert_eq!(rows[0], ["-1.000000", "-0.980000", "-1000.00", "-980.00", "1"]);
        assert_eq!(rows.last().unwrap(), &["1.000000", "1.020000", "1000.00", "1020.00", "1"]);
        assert_eq!(Losses::new(vec![5; 9]).histogram(1, "EUR").lines().count(), 2);
    }
}
