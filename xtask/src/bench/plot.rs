//! A figure as a picture: a bar for each variant, and a line over what half of the rounds lie
//! between. SVG, readable on light and dark pages.

use std::fmt::Write as _;

use super::{
    figure::{Bound, Figure, Single, grouped},
    stats,
};

const WIDTH: f64 = 820.0;
const ROW_HEIGHT: f64 = 26.0;
const HEAD_HEIGHT: f64 = 44.0;
const LABELS_WIDTH: f64 = 350.0;
/// For the number behind the longest bar.
const NUMBER_WIDTH: f64 = 130.0;

/// The picture.
pub(super) fn svg(figure: &Figure) -> String {
    let rows = figure.rows();
    let height = HEAD_HEIGHT + ROW_HEIGHT * rows.len() as f64 + 10.0;
    let longest = rows.iter().map(|row| row.time.upper).fold(1.0, f64::max);
    let scale = (WIDTH - LABELS_WIDTH - NUMBER_WIDTH) / longest;
    let mut out = head(height, &format!("{}: time of one, in ns", figure.title()));
    for (position, row) in rows.iter().enumerate() {
        let top = HEAD_HEIGHT + ROW_HEIGHT * position as f64;
        let (middle, text) = (top + 9.0, top + 14.0);
        let colour = if position == 0 { "#9a9a9a" } else { "#3572b0" };
        let [bar, lower, upper] =
            [row.time.median, row.time.lower, row.time.upper].map(|value| value * scale);
        let [from, to] = [lower, upper].map(|x| LABELS_WIDTH + x);
        let number = format!("{} ({:.2})", grouped(row.time.median), row.ratio.median);
        // Writing to a String does not fail.
        writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LABELS_WIDTH}\" y=\"{top}\" width=\"{bar:.1}\" height=\"18\" \
             fill=\"{colour}\"/>\n\
             <path d=\"M{from:.1} {middle}H{to:.1}\" stroke=\"#000000\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{text}\">{number}</text>",
            LABELS_WIDTH - 8.0,
            row.label,
            to.max(LABELS_WIDTH + bar) + 8.0,
        )
        .unwrap_or_default();
    }
    out.push_str("</svg>\n");
    out
}

/// The picture of numbers that have nothing beside them but their goals: how much of a goal each
/// takes, so that what is left of the line has reached it.
pub(super) fn goals(singles: &[Single]) -> String {
    let parts: Vec<(&str, f64)> = singles.iter().filter_map(part).collect();
    let height = HEAD_HEIGHT + ROW_HEIGHT * parts.len() as f64 + 10.0;
    let labels = WIDTH * 0.62;
    let room = WIDTH - labels - NUMBER_WIDTH / 2.0;
    let longest = parts.iter().map(|(_, part)| *part).fold(1.0, f64::max);
    let line = labels + room / longest;
    let mut out = head(height, "goals: how much of it is taken; reached left of the line");
    for (position, (title, part)) in parts.iter().enumerate() {
        let top = HEAD_HEIGHT + ROW_HEIGHT * position as f64;
        let (text, width) = (top + 14.0, part * room / longest);
        let colour = if *part <= 1.0 { "#3572b0" } else { "#b05035" };
        // Writing to a String does not fail.
        writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{text}\" text-anchor=\"end\" font-size=\"11\">{title}</text>\n\
             <rect x=\"{labels:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"18\" \
             fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{text}\">{part:.2}</text>",
            labels - 8.0,
            labels + width + 8.0,
        )
        .unwrap_or_default();
    }
    let bottom = height - 8.0;
    out.push_str(&format!(
        "<path d=\"M{line:.1} {HEAD_HEIGHT}V{bottom}\" stroke=\"#000000\" stroke-width=\"1\"/>\n"
    ));
    out.push_str("</svg>\n");
    out
}

/// How much of its goal a number takes; nothing where that is no proportion.
fn part(single: &Single) -> Option<(&str, f64)> {
    let median = stats::median(&single.values)?;
    let part = match single.goal {
        Bound::Most(most) => median / most,
        Bound::Least(least) => least / median,
    };
    part.is_finite().then_some((single.title.as_str(), part))
}

fn head(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{figure::NOTHING, work::Work};

    #[test]
    fn every_variant_has_a_bar_that_stays_inside() {
        let mut figure = Figure::new(Work::TcpConnect, [NOTHING, "twice"].map(str::to_owned));
        figure.round(vec![1_000.0, 2_000.0]);
        let picture = svg(&figure);
        let widths: Vec<&str> =
            picture.matches("height=\"18\"").chain(picture.matches("<path")).collect();
        assert_eq!(widths.len(), 4);
        assert!(picture.contains("width=\"340.0\"") && picture.contains("width=\"170.0\""));
        assert!(picture.contains("2,000 (2.00)"), "{picture}");
    }

    #[test]
    fn a_goal_that_is_missed_reaches_past_the_line() {
        let singles = [
            Single::new("much", "records/s", Bound::Least(200.0), vec![400.0]),
            Single::new("slow", "ms", Bound::Most(100.0), vec![200.0]),
            Single::new("none", "records", Bound::Most(0.0), vec![0.0]),
        ];
        assert_eq!(
            singles.iter().filter_map(part).collect::<Vec<_>>(),
            [("much", 0.5), ("slow", 2.0)]
        );
        let picture = goals(&singles);
        assert!(picture.contains("#3572b0") && picture.contains("#b05035"), "{picture}");
        assert!(picture.contains(">2.00</text>"), "{picture}");
    }
}
