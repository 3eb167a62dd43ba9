//! The bypass table: every technique in `attempts`, run by a governed workload without governd,
//! where it must reach, and with it, where the outcome must be the one that `expected.tsv` says.
//! A row that changes either way fails: what is newly stopped belongs into the table too.
//!
//! `BYPASS_ONLY=a01,d` runs only the techniques with these prefixes; the table then says less.

use std::{collections::BTreeMap, env, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, daemon::Place, harness};
use libtest_mimic::Trial;

mod attempt;
mod field;
mod table;

use attempt::{Attempt, Outcome};
use field::Field;
use table::Row;

type Rows = BTreeMap<String, Row>;
type Outcomes = BTreeMap<String, Outcome>;

/// How long governd may write what the attempts made it record.
const BACKLOG_LIMIT: Duration = Duration::from_secs(180);
const NAME: &str = "bypass::every_technique_ends_as_expected";

fn main() -> ExitCode {
    let test = Trial::test(NAME, || run().map_err(|error| format!("{error:#}").into()));
    harness::run(vec![test])
}

fn run() -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass");
    let rows = table::read(&source.join("expected.tsv"))?;
    let attempts = chosen(attempt::all(&source.join("attempts"))?);
    ensure!(!attempts.is_empty(), "no technique has a prefix of BYPASS_ONLY");

    let lab = Lab::start()?;
    let field = Field::create(&lab, &source)?;
    let mut without = field.ground.run_all(&attempts, None)?;
    again(&field, &attempts, &rows, &mut without, None, |row| &row.without)?;
    // A technique that does not even reach without governd proves nothing with it.
    let wrong = differences(&attempts, &rows, &without, |row| &row.without)?;
    ensure!(wrong.is_empty(), "without governd {} rows differ:\n{}", wrong.len(), wrong.join("\n"));
    let place = Place::new(&lab, "bypass")?;
    place.write_policy(&field.ground.policy())?;
    let daemon = place.start()?;
    let mut with = field.ground.run_all(&attempts, Some(daemon.pid()))?;
    again(&field, &attempts, &rows, &mut with, Some(daemon.pid()), |row| &row.with)?;
    print(&attempts, &rows, &without, &with)?;
    // One of them made a hundred thousand records.
    daemon.stop_within(BACKLOG_LIMIT)?;
    let wrong = differences(&attempts, &rows, &with, |row| &row.with)?;
    ensure!(wrong.is_empty(), "with governd {} rows differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Runs once more, one after another, what should have reached and did not: on a busy machine an
/// attempt may give up too early. What should have been stopped gets no second chance.
fn again(
    field: &Field,
    attempts: &[Attempt],
    rows: &Rows,
    outcomes: &mut Outcomes,
    governd: Option<u32>,
    expected: impl Fn(&Row) -> &str,
) -> Result<()> {
    for attempt in attempts {
        let should_reach = expected(find(rows, &attempt.id)?) == attempt::REACHED;
        if should_reach && find(outcomes, &attempt.id)?.word == attempt::STOPPED {
            outcomes.insert(attempt.id.clone(), field.ground.run_alone(attempt, governd)?);
        }
    }
    Ok(())
}

fn chosen(mut attempts: Vec<Attempt>) -> Vec<Attempt> {
    if let Ok(only) = env::var("BYPASS_ONLY") {
        attempts.retain(|attempt| only.split(',').any(|prefix| attempt.id.starts_with(prefix)));
    }
    attempts
}

fn differences(
    attempts: &[Attempt],
    rows: &Rows,
    outcomes: &Outcomes,
    expected: impl Fn(&Row) -> &str,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for Attempt { id, .. } in attempts {
        let expected = expected(find(rows, id)?);
        let Outcome { word, said } = find(outcomes, id)?;
        if *word != expected {
            wrong.push(format!("{id}: {word}, not {expected}: {said}"));
        }
    }
    Ok(wrong)
}

fn print(attempts: &[Attempt], rows: &Rows, without: &Outcomes, with: &Outcomes) -> Result<()> {
    println!(
        "\n{:<30} {:<7} {:<8} {:<8} why it is not stopped",
        "technique", "goal", "free", "held"
    );
    let mut stopped = 0;
    for Attempt { id, goal, .. } in attempts {
        let (free, held) = (find(without, id)?.word, find(with, id)?.word);
        println!("{id:<30} {goal:<7} {free:<8} {held:<8} {}", find(rows, id)?.reason);
        stopped += usize::from(held == attempt::STOPPED);
    }
    println!("{} techniques, {stopped} stopped", attempts.len());
    Ok(())
}

fn find<'a, T>(by_id: &'a BTreeMap<String, T>, id: &str) -> Result<&'a T> {
    by_id.get(id).with_context(|| format!("{id} has no row or did not run"))
}
