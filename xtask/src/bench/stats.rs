//! Medians and quartiles.

/// A median and what half of the values lie between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lower: f64,
    pub(super) upper: f64,
}

/// The median; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    spread(values).map(|spread| spread.median)
}

/// The median and the quartiles; `None` of nothing.
pub(super) fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [lower, median, upper] = [1, 2, 3].map(|quarter| quantile(&sorted, quarter));
    Some(Spread { median: median?, lower: lower?, upper: upper? })
}

/// A quartile of sorted values; between two of them, in proportion.
fn quantile(sorted: &[f64], quarter: usize) -> Option<f64> {
    let at = sorted.len().checked_sub(1)? * quarter;
    let (whole, rest) = (at / 4, at % 4);
    let below = *sorted.get(whole)?;
    let above = sorted.get(whole + 1).copied().unwrap_or(below);
    let part = [0.0, 0.25, 0.5, 0.75].get(rest).copied()?;
    Some(below + (above - below) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values() {
        let rows: &[(&[f64], [f64; 3])] = &[
            (&[5.0], [5.0, 5.0, 5.0]),
            (&[4.0, 1.0, 3.0, 2.0, 0.0], [1.0, 2.0, 3.0]),
            (&[2.0, 1.0], [1.25, 1.5, 1.75]),
        ];
        for (values, [lower, median, upper]) in rows {
            let expected = Spread { lower: *lower, median: *median, upper: *upper };
            assert_eq!(spread(values), Some(expected), "{values:?}");
        }
        assert_eq!(spread(&[]), None);
    }
}
