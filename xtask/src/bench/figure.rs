//! What was measured: figures that compare variants round by round, and single numbers.

use anyhow::Result;

use super::{
    field::Worker,
    stats::{self, Spread},
    work::Work,
};

/// The first variant of every figure.
pub(super) const NOTHING: &str = "nothing attached";
/// A process that no policy knows.
pub(super) const OTHER: &str = "a process that is no agent";
/// A process that is an agent in enforce mode, and is allowed.
pub(super) const AGENT: &str = "an enforced agent, allowed and recorded";

/// The label of a process under governd.
pub(super) fn governd(rules: usize, who: &str) -> String {
    format!("governd, {} rules: {who}", grouped(rules as f64))
}

/// A number in groups of three digits, without a fraction.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

/// The variants that are measured side by side.
#[derive(Default)]
pub(super) struct Beside {
    variants: Vec<(String, Worker)>,
}

impl Beside {
    pub(super) fn add(&mut self, label: &str, worker: Worker) {
        self.variants.push((label.to_owned(), worker));
    }

    pub(super) fn labels(&self) -> Vec<String> {
        self.variants.iter().map(|(label, _)| label.clone()).collect()
    }

    /// One batch of each, in the order of the labels. Each round begins with another variant, so
    /// that none always follows the same one.
    pub(super) fn measure(&mut self, work: Work, round: u32) -> Result<Vec<f64>> {
        let count = self.variants.len();
        let first = round as usize % count.max(1);
        let mut values = Vec::with_capacity(count);
        for offset in 0..count {
            if let Some((_, worker)) = self.variants.get_mut((first + offset) % count) {
                values.push(worker.measure(work)?);
            }
        }
        values.rotate_right(first);
        Ok(values)
    }
}

/// One figure: batches of all variants, round by round.
pub(super) struct Figure {
    pub(super) work: Work,
    /// Attached and detached in turns: with what is attached to the whole host.
    in_turns: bool,
    variants: Vec<(String, Vec<f64>)>,
}

/// What came out for one variant, in nanoseconds of an operation.
pub(super) struct Row<'a> {
    pub(super) label: &'a str,
    pub(super) time: Spread,
    /// More than with nothing attached, in the same round.
    pub(super) added: Spread,
    /// As many times as long as with nothing attached, in the same round.
    pub(super) ratio: Spread,
    pub(super) goal: Option<Goal>,
}

/// The most that a variant may cost, or the least that it may leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// Nanoseconds more than nothing attached.
    Added(f64),
    /// Times as long as nothing attached.
    Ratio(f64),
    /// The least of what passes, as a part of what passes with nothing attached.
    Throughput(f64),
}

impl Row<'_> {
    /// Whether the goal is reached; `None` without one.
    pub(super) fn is_reached(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::Added(most) => self.added.median <= most,
            Goal::Ratio(most) => self.ratio.median <= most,
            Goal::Throughput(least) => self.ratio.median * least <= 1.0,
        })
    }
}

impl Figure {
    pub(super) fn new(work: Work, labels: impl IntoIterator<Item = String>) -> Self {
        let variants = labels.into_iter().map(|label| (label, Vec::new())).collect();
        Self { work, in_turns: false, variants }
    }

    /// One of which the variants are measured in turns.
    pub(super) fn in_turns(work: Work, labels: impl IntoIterator<Item = String>) -> Self {
        Self { in_turns: true, ..Self::new(work, labels) }
    }

    /// Its title in the report.
    pub(super) fn title(&self) -> String {
        let title = self.work.title();
        if self.in_turns {
            format!("{title}, attached and detached in turns")
        } else {
            title.to_owned()
        }
    }

    /// Its word in names of files.
    pub(super) fn word(&self) -> String {
        let word = self.work.word();
        if self.in_turns { format!("{word}-in-turns") } else { word.to_owned() }
    }

    /// Takes a round: a value for each variant.
    pub(super) fn round(&mut self, values: Vec<f64>) {
        for ((_, all), value) in self.variants.iter_mut().zip(values) {
            all.push(value);
        }
    }

    /// How many times as long one variant takes as another, round by round.
    pub(super) fn against(&self, label: &str, other: &str) -> Vec<f64> {
        let of = |label| self.variants.iter().find(|(name, _)| name == label);
        let (Some((_, values)), Some((_, others))) = (of(label), of(other)) else {
            return Vec::new();
        };
        values.iter().zip(others).map(|(value, other)| value / other).collect()
    }

    /// What came out, beginning with nothing attached.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some((_, nothing)) = self.variants.first() else { return Vec::new() };
        let spreads = |values: &[f64]| -> Option<(Spread, Spread, Spread)> {
            let pairs = || values.iter().zip(nothing);
            let added: Vec<f64> = pairs().map(|(value, base)| value - base).collect();
            let ratios: Vec<f64> = pairs().map(|(value, base)| value / base).collect();
            Some((stats::spread(values)?, stats::spread(&added)?, stats::spread(&ratios)?))
        };
        let rows = self.variants.iter().filter_map(|(label, values)| {
            let (time, added, ratio) = spreads(values)?;
            Some(Row { label, time, added, ratio, goal: goal(self.work, label) })
        });
        rows.collect()
    }
}

/// The goals: of a policy of 1,000 rules.
fn goal(work: Work, label: &str) -> Option<Goal> {
    let label = label.strip_prefix("governd, 1,000 rules")?;
    let is_other = label.ends_with(OTHER);
    let is_agent = label.ends_with(AGENT);
    match work {
        Work::TcpConnect if is_other => Some(Goal::Added(160.0)),
        Work::TcpConnect if is_agent => Some(Goal::Added(650.0)),
        Work::TcpCycle if is_other => Some(Goal::Ratio(1.05)),
        Work::TcpRoundTrip if is_other => Some(Goal::Ratio(1.06)),
        Work::UdpSendto if is_other => Some(Goal::Added(130.0)),
        Work::UdpSend if is_other => Some(Goal::Added(75.0)),
        Work::HttpsConnection if is_agent => Some(Goal::Ratio(1.02)),
        Work::HttpsDownload | Work::HttpsUpload if is_agent => Some(Goal::Throughput(0.99)),
        Work::ForkExec => Some(Goal::Ratio(1.03)),
        _ => None,
    }
}

/// What a number may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    Most(f64),
    Least(f64),
}

/// A number that is compared with nothing but its goal.
pub(super) struct Single {
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) goal: Bound,
    pub(super) values: Vec<f64>,
}

impl Single {
    pub(super) fn new(title: &str, unit: &'static str, goal: Bound, values: Vec<f64>) -> Self {
        Self { title: title.to_owned(), unit, goal, values }
    }

    /// Whether the goal is reached by a value.
    pub(super) fn is_reached(&self, value: f64) -> bool {
        match self.goal {
            Bound::Most(most) => value <= most,
            Bound::Least(least) => value >= least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_differences_within_a_round() {
        let label = governd(1_000, OTHER);
        let mut figure = Figure::new(Work::TcpConnect, [NOTHING.to_owned(), label]);
        // The second round was on a machine half as fast.
        for (nothing, governd) in [(1_000.0, 1_100.0), (2_000.0, 2_200.0), (1_000.0, 1_100.0)] {
            figure.round(vec![nothing, governd]);
        }
        let rows = figure.rows();
        let [first, second] = rows.as_slice() else { panic!("{} rows", rows.len()) };
        assert_eq!((first.added.median, first.goal), (0.0, None));
        assert_eq!((second.added.median, second.ratio.median), (100.0, 1.1));
        assert_eq!(second.goal, Some(Goal::Added(160.0)));
        assert_eq!(second.is_reached(), Some(true));
        assert_eq!(figure.against(second.label, NOTHING), [1.1, 1.1, 1.1]);
        assert!(figure.against(second.label, "unknown").is_empty());
    }

    #[test]
    fn less_throughput_is_more_time() {
        let label = governd(1_000, AGENT);
        let mut figure = Figure::new(Work::HttpsUpload, [NOTHING.to_owned(), label]);
        figure.round(vec![1_000.0, 1_010.0]);
        let reached = |figure: &Figure| figure.rows().get(1).and_then(Row::is_reached);
        assert_eq!(reached(&figure), Some(true));
        figure.round(vec![1_000.0, 1_030.0]);
        assert_eq!(reached(&figure), Some(false));
    }

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in
            [(0.2, "0"), (-0.4, "0"), (999.6, "1,000"), (-1_234_567.0, "-1,234,567")]
        {
            assert_eq!(grouped(value), text);
        }
    }
}
