//! Medians, percentiles, slopes, and how ratios are told.

use std::fmt;
use std::time::Duration;

/// The middle of the values; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value below which this part of the values lies; 0 of none.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return 0.0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index within the length"
    )]
    let index = ((sorted.len() - 1) as f64 * part.clamp(0.0, 1.0)).round() as usize;
    sorted[index]
}

/// Microseconds.
pub fn microseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e6).collect()
}

/// The line through the points by least squares: slope and where it starts.
pub fn least_squares(points: &[(f64, f64)]) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
    let number = points.len().max(1) as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / number;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / number;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
    (slope, mean_y - slope * mean_x)
}

/// One figure over the rounds.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// Least.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// Most.
    pub max: f64,
}

impl Spread {
    /// Of these values, one a round.
    pub fn of(values: &[f64]) -> Self {
        Self { min: percentile(values, 0.0), median: median(values), max: percentile(values, 1.0) }
    }

    /// Whether the machine was too noisy for the figure to be believed without a second look.
    pub fn is_noisy(&self) -> bool {
        self.max > self.min * 1.5
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let (min, median, max) = (self.min, self.median, self.max);
        write!(f, "{median:.digits$} ({min:.digits$} to {max:.digits$})")?;
        if self.is_noisy() { f.write_str(", noisy") } else { Ok(()) }
    }
}

/// A goal and whether it was met.
pub fn verdict(what: &str, value: f64, goal: f64, at_most: bool) -> String {
    let met = if at_most { value <= goal } else { value >= goal };
    let sign = if at_most { "≤" } else { "≥" };
    format!("{what}: {value:.2}, goal {sign} {goal}: {}", if met { "met" } else { "MISSED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_right() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((percentile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.99) - 5.0).abs() < 1e-9);
        let (slope, start) = least_squares(&[(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]);
        assert!((slope - 2.0).abs() < 1e-9 && (start - 10.0).abs() < 1e-9);
        assert!(Spread::of(&[1.0, 2.0]).is_noisy());
        assert!(verdict("x", 2.0, 2.5, true).ends_with(": met"));
    }
}
