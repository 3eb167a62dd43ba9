//! A figure as a picture: a bar for each variant, and a line over what half of the rounds lie
//! between. SVG, readable on light and dark pages.

use std::fmt::Write as _;

use super::figure::{Figure, grouped};

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
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}: time of one, in ns\
         </text>\n",
        figure.title()
    );
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
}
