//! How likely a sample finds a wrong unit: for people and tests, never for a decision.
//!
//! # Not here
//! Nothing that enters consensus, a price or a verdict: the figure is a floating-point number.

/// The probability that a sample of `sampled` units (without replacement) of `unit_count` holds at least one of `wrong` wrong
/// units: `1 - C(n-k, s) / C(n, s)`.
///
/// Relative error below 1e-10 for every job size; arguments above `unit_count` count as `unit_count`; 0 units give 0.
#[must_use]
pub fn probability(unit_count: u32, wrong: u32, sampled: u32) -> f64 {
    let (wrong, sampled) = (wrong.min(unit_count), sampled.min(unit_count));
    // The formula is symmetric in k and s: multiply over the shorter of the two.
    let (few, many) = if wrong < sampled { (wrong, sampled) } else { (sampled, wrong) };
    let missed: f64 = (0..few)
        .map(|drawn| {
            let left = unit_count.saturating_sub(drawn);
            f64::from(left.saturating_sub(many)) / f64::from(left)
        })
        .product();
    1.0 - missed
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Small numbers in tests.
mod tests {
    use super::*;

    /// Counts, over all subsets of n units of size s, those that hold a unit below k: the definition itself.
    fn counted(n: u32, k: u32, s: u32) -> f64 {
        let subsets = (0u32..1 << n).filter(|set| set.count_ones() == s);
        let (mut all, mut hit) = (0u32, 0u32);
        for set in subsets {
            all += 1;
            hit += u32::from(set & ((1 << k) - 1) != 0);
        }
        f64::from(hit) / f64::from(all)
    }

    #[test]
    fn the_formula_equals_counting_all_subsets_of_up_to_ten_units() {
        for n in 1..=10 {
            for k in 0..=n {
                for s in 0..=n {
                    let (formula, truth) = (probability(n, k, s), counted(n, k, s));
                    assert!((formula - truth).abs() < 1e-12, "n={n} k={k} s={s}: {formula} {truth}");
                }
            }
        }
    }

    #[test]
    fn one_wrong_unit_is_found_with_the_share_sampled() {
        assert!((probability(64, 1, 10) - 10.0 / 64.0).abs() < 1e-12);
        assert!((probability(65_536, 1, 1_967) - 1_967.0 / 65_536.0).abs() < 1e-12);
        assert!(probability(0, 0, 0).abs() < f64::EPSILON);
        assert!((probability(5, 9, 9) - 1.0).abs() < f64::EPSILON);
    }
}
