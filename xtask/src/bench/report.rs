//! The report: Markdown for people, JSON for programs, and a picture of each figure.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    figure::{Bound, Figure, Goal, Row, Single, grouped},
    plot,
    programs::Part,
    put,
    stats::{self, Spread},
};
use crate::run;

/// The page that shows the report, and the folder of its parts.
const PAGE: &str = "docs/performance.md";
const FOLDER: &str = "docs/performance";
/// What stands between these is replaced.
const BEGIN: &str = "<!-- cargo xtask bench --write -->\n";
const END: &str = "<!-- end -->\n";

/// Everything that one run measured.
pub(super) struct Report {
    rounds: u32,
    /// Whether the daemon was given, and may be another than the tree's.
    is_given: bool,
    load_before: String,
    /// What else was there, and what was not.
    pub(super) notes: Vec<String>,
    pub(super) figures: Vec<Figure>,
    pub(super) singles: Vec<Single>,
    /// What each work takes in each program.
    pub(super) parts: Vec<Part>,
}

impl Report {
    pub(super) fn new(rounds: u32, is_given: bool) -> Self {
        Self {
            rounds,
            is_given,
            load_before: load(),
            notes: Vec::new(),
            figures: Vec::new(),
            singles: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The report for people.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "{} rounds on {}{}. Load (1, 5, 15 minutes) {} before, {} after.\n",
            self.rounds,
            machine().0,
            if self.is_given { ", and a daemon built elsewhere" } else { "" },
            self.load_before,
            load()
        );
        if !self.notes.is_empty() {
            text.push_str("\nBeside governd:\n\n");
            text.extend(self.notes.iter().map(|note| format!("- {note}\n")));
        }
        for figure in &self.figures {
            text.push_str(&table(figure));
        }
        text.push_str("\n### Against goals\n\n![Against goals](performance/goals.svg)\n");
        text.push_str("\n| figure | median | half of all between | goal | reached |\n");
        text.push_str("|---|---|---|---|---|\n");
        text.extend(self.singles.iter().filter_map(single));
        if !self.parts.is_empty() {
            text.push_str("\n### Time in programs\n\n");
            text.push_str("| operation | program | runs | no agent | agent |\n");
            text.push_str("|---|---|---|---|---|\n");
            for parts in self.parts.chunk_by(|part, next| part.work == next.work) {
                text.extend(parts.iter().map(part));
                text.push_str(&whole(parts));
            }
        }
        text
    }

    /// Puts the report into the documentation.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        for figure in &self.figures {
            put(&folder.join(format!("{}.svg", figure.word())), &plot::svg(figure))?;
        }
        put(&folder.join("goals.svg"), &plot::goals(&self.singles))?;
        let json = serde_json::to_string_pretty(&self.json())?;
        put(&folder.join("results.json"), &format!("{json}\n"))?;
        let page = root.join(PAGE);
        let text = fs::read_to_string(&page).with_context(|| format!("reading {PAGE}"))?;
        let (head, rest) = text.split_once(BEGIN).context("the page has no place for a report")?;
        let (_, tail) = rest.split_once(END).context("the page's place has no end")?;
        put(&page, &format!("{head}{BEGIN}{}\n{END}{tail}", self.markdown()))
    }

    fn json(&self) -> Value {
        let (_, machine) = machine();
        let figures: Vec<Value> = self.figures.iter().map(figure_json).collect();
        let singles: Vec<Value> = self.singles.iter().map(single_json).collect();
        json!({
            "rounds": self.rounds,
            "daemon_built_elsewhere": self.is_given,
            "machine": machine,
            "load_before": self.load_before,
            "load_after": load(),
            "notes": self.notes,
            "figures": figures,
            "singles": singles,
            "programs": self.parts.iter().map(part_json).collect::<Vec<_>>(),
        })
    }
}

fn table(figure: &Figure) -> String {
    let (title, word) = (figure.title(), figure.word());
    let mut text = format!(
        "\n### {title}\n\n![{title}](performance/{word}.svg)\n\n\
         | variant | ns | added | half of the rounds between | ratio | goal | reached |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for row in figure.rows() {
        let Row { label, time, added, ratio, goal } = &row;
        let goal = match goal {
            Some(Goal::Added(most)) => format!("+{most:.0}"),
            Some(Goal::Ratio(most)) => format!("{most}"),
            Some(Goal::Throughput(least)) => format!("throughput {least}"),
            None => String::new(),
        };
        text.push_str(&format!(
            "| {label} | {} | {} | {} to {} | {:.3} | {goal} | {} |\n",
            grouped(time.median),
            signed(added.median),
            signed(added.lower),
            signed(added.upper),
            ratio.median,
            answer(row.is_reached()),
        ));
    }
    text
}

fn signed(value: f64) -> String {
    let text = grouped(value);
    if value > 0.0 && text != "0" { format!("+{text}") } else { text }
}

fn answer(reached: Option<bool>) -> &'static str {
    match reached {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    }
}

fn single(single: &Single) -> Option<String> {
    let Single { title, unit, goal, values } = single;
    let spread = stats::spread(values)?;
    let [median, lower, upper] = [spread.median, spread.lower, spread.upper].map(plain);
    let between = if values.len() > 1 { format!("{lower} to {upper}") } else { String::new() };
    let reached = answer(Some(single.is_reached(spread.median)));
    let goal = match goal {
        Bound::Most(most) => format!("at most {}", short(*most)),
        Bound::Least(least) => format!("at least {}", short(*least)),
    };
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    Some(format!("| {title} | {median}{unit} | {between} | {goal}{unit} | {reached} |\n"))
}

/// A number with as many digits as say something.
fn plain(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1_000.0 { short(value) } else { format!("{value:.3}") }
}

/// A number as one writes it.
fn short(value: f64) -> String {
    if value.abs() >= 1_000.0 { grouped(value) } else { value.to_string() }
}

fn part(part: &Part) -> String {
    let time = |ns: Option<f64>| ns.map_or(String::new(), grouped);
    let (title, Part { program, runs, .. }) = (part.work.title(), part);
    let [other, agent] = [part.other_ns, part.agent_ns].map(time);
    format!("| {title} | `{program}` | {runs:.1} | {other} | {agent} |\n")
}

/// What all programs take together for one operation.
fn whole(parts: &[Part]) -> String {
    let sum = |time: fn(&Part) -> Option<f64>| {
        grouped(parts.iter().filter_map(|part| Some(part.runs * time(part)?)).sum())
    };
    let title = parts.first().map_or("", |part| part.work.title());
    let (other, agent) = (sum(|part| part.other_ns), sum(|part| part.agent_ns));
    format!("| {title} | in all, for one operation | | {other} | {agent} |\n")
}

fn part_json(part: &Part) -> Value {
    json!({
        "figure": part.work.word(),
        "program": part.program,
        "runs": part.runs,
        "other_ns": part.other_ns,
        "agent_ns": part.agent_ns,
    })
}

fn figure_json(figure: &Figure) -> Value {
    let rows = figure.rows();
    let variants: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "variant": row.label,
                "ns": spread_json(row.time),
                "added_ns": spread_json(row.added),
                "ratio": spread_json(row.ratio),
                "goal": match row.goal {
                    Some(Goal::Added(most)) => json!({"added_ns_max": most}),
                    Some(Goal::Ratio(most)) => json!({"ratio_max": most}),
                    Some(Goal::Throughput(least)) => json!({"throughput_ratio_min": least}),
                    None => Value::Null,
                },
                "reached": row.is_reached(),
            })
        })
        .collect();
    json!({"figure": figure.word(), "title": figure.title(), "variants": variants})
}

fn single_json(single: &Single) -> Value {
    json!({
        "figure": single.title,
        "unit": single.unit,
        "values": single.values,
        "spread": stats::spread(&single.values).map(spread_json),
        "goal": match single.goal {
            Bound::Most(most) => json!({"max": most}),
            Bound::Least(least) => json!({"min": least}),
        },
    })
}

fn spread_json(spread: Spread) -> Value {
    json!({"median": spread.median, "lower_quartile": spread.lower, "upper_quartile": spread.upper})
}

/// The machine in words and as JSON.
fn machine() -> (String, Value) {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("a processor", |(_, it)| it);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = run::command("git")
        .and_then(|mut git| run::read(git.args(["rev-parse", "--short", "HEAD"])))
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    let words = format!("{model}, {cores} cores, Linux {kernel}, commit {commit}");
    let value = json!({"cpu": model, "cores": cores, "kernel": kernel, "commit": commit});
    (words, value)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}
