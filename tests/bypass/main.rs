//! The bypass table: every technique in `attempts`, run by a governed workload without governd,
//! where it must reach, and with it, where the outcome must be the one that `expected.tsv` says.
//! A row that changes either way fails: what is newly stopped belongs into the table too.
//!
//! `BYPASS_ONLY=a01,d` runs only the techniques with these prefixes; the table then says less.

use std::{collections::BTreeMap, env, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, daemon::Place, harness, tool::Tools};
use libtest_mimic::Trial;

mod attempt;
mod evidence;
mod field;
mod fields;
mod own;
mod program;
mod table;

use attempt::{Attempt, FOUND, Outcome, REACHED, STOPPED, Stage};
use fields::Fields;
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
    let attempts = attempt::all(&source.join("attempts"))?;
    for id in rows.keys() {
        ensure!(attempts.iter().any(|attempt| attempt.id == *id), "{id}: no such attempt");
    }
    let attempts = chosen(attempts);
    ensure!(!attempts.is_empty(), "no technique has a prefix of BYPASS_ONLY");

    let lab = Lab::start_with(Tools::of_bypass()?)?;
    let mut fields = Fields::create(&lab, &source)?;
    let mut without = fields.run_all(&attempts, &[])?;
    again(&fields, &attempts, &rows, &mut without, &[], |row| &row.without)?;
    // A technique that does not even reach without governd proves nothing with it.
    let mut wrong = differences("without", &attempts, &rows, &without, |row| &row.without)?;
    let (shared, own): (Vec<Attempt>, Vec<Attempt>) =
        attempts.iter().cloned().partition(|attempt| attempt.stage == Stage::Shared);
    let mut with = under_governd(&lab, &mut fields, &shared, &rows)?;
    for attempt in own {
        let reason = &find(&rows, &attempt.id)?.reason;
        let outcome = own::run(&lab, &fields, &attempt, reason)
            .with_context(|| format!("{} under its own governd", attempt.id))?;
        with.insert(attempt.id, outcome);
    }
    print(&attempts, &rows, &without, &with)?;
    wrong.extend(differences("with", &attempts, &rows, &with, |row| &row.with)?);
    ensure!(wrong.is_empty(), "{} outcomes differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Runs attempts under one governd and looks into its log.
fn under_governd(
    lab: &Lab,
    fields: &mut Fields,
    attempts: &[Attempt],
    rows: &Rows,
) -> Result<Outcomes> {
    if attempts.is_empty() {
        return Ok(Outcomes::new());
    }
    let place = Place::new(lab, "bypass")?;
    place.write_policy(&fields.policy(attempts, ""))?;
    let daemon = place.start()?;
    let environment = own::environment(&daemon, &place);
    let mut outcomes = fields.run_all(attempts, &environment)?;
    again(fields, attempts, rows, &mut outcomes, &environment, |row| &row.with)?;
    daemon.stop_within(BACKLOG_LIMIT)?;
    let records = place.records()?;
    let mut judged = Outcomes::new();
    for (id, outcome) in outcomes {
        let reason = &find(rows, &id)?.reason;
        judged.insert(id, evidence::judge_by(outcome.counted(), &records, reason));
    }
    Ok(judged)
}

/// Runs once more, one after another, what should have reached and did not: on a busy machine an
/// attempt may give up too early. What should have been stopped gets no second chance.
fn again(
    fields: &Fields,
    attempts: &[Attempt],
    rows: &Rows,
    outcomes: &mut Outcomes,
    environment: &[(&str, String)],
    expected: impl Fn(&Row) -> &str,
) -> Result<()> {
    for attempt in attempts {
        let should_reach = [REACHED, FOUND].contains(&expected(find(rows, &attempt.id)?));
        if should_reach && find(outcomes, &attempt.id)?.word != REACHED {
            outcomes.insert(attempt.id.clone(), fields.first()?.attempt(attempt, environment)?);
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
    how: &str,
    attempts: &[Attempt],
    rows: &Rows,
    outcomes: &Outcomes,
    expected: impl Fn(&Row) -> &str,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for Attempt { id, .. } in attempts {
        let expected = expected(find(rows, id)?);
        let Outcome { word, said, packets, .. } = find(outcomes, id)?;
        if !expected.split('|').any(|each| each == *word) {
            wrong.push(format!(
                "{id} {how} governd: {word}, not {expected}, {packets} packets: {said}"
            ));
        }
    }
    Ok(wrong)
}

fn print(attempts: &[Attempt], rows: &Rows, without: &Outcomes, with: &Outcomes) -> Result<()> {
    println!(
        "\n{:<38} {:<7} {:<8} {:<8} {:>7} {:>5} why",
        "technique", "goal", "without", "with", "packets", "ms"
    );
    let mut stopped = 0;
    for Attempt { id, goal, .. } in attempts {
        let (free, held) = (find(without, id)?, find(with, id)?);
        let reason = &find(rows, id)?.reason;
        let (before, word, packets) = (free.word, held.word, held.packets);
        let took_ms = held.took.as_millis();
        println!("{id:<38} {goal:<7} {before:<8} {word:<8} {packets:>7} {took_ms:>5} {reason}");
        stopped += usize::from(word == STOPPED);
    }
    println!("{} techniques, {stopped} stopped", attempts.len());
    Ok(())
}

fn find<'a, T>(by_id: &'a BTreeMap<String, T>, id: &str) -> Result<&'a T> {
    by_id.get(id).with_context(|| format!("{id} has no row or did not run"))
}
