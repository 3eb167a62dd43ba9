//! `governd agents register`: a document for an agent that was found.

use std::{fs::OpenOptions, io::Write as _};

use super::{Register, ask};
use crate::{
    app::clock,
    cli::{
        Outcome,
        exit::{Exit, Failure},
        printer::Printer,
        unwritable,
    },
    control::{
        inventory::{AgentDetail, ProcessRow},
        protocol::Request,
    },
    policy::{
        self,
        draft::{Draft, is_interpreter},
        value::container::image_name,
    },
};

/// Days until somebody looks at the approval again.
const REVIEW_DAYS: i64 = 90;

impl Register {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(false);
        let detail: AgentDetail = ask(&self.socket, &Request::Agent { id: self.id.clone() })?;
        let has_owner = self.owner.is_some();
        let draft = draft(&detail, self.name, self.owner);
        let text = draft.text().ok_or_else(|| {
            let error = anyhow::anyhow!("nothing is known that could recognise {}", self.id);
            Failure::new(Exit::No, error, "register it while it runs")
        })?;
        if let Err(diagnostics) = policy::load(&[("draft", &text)]) {
            return Err(Failure::plain(Exit::Internal, anyhow::anyhow!("{diagnostics}")));
        }
        match &self.output {
            None => printer.line(text.trim_end()).map_err(unwritable)?,
            Some(path) => {
                let file = OpenOptions::new().write(true).create_new(true).open(path);
                file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
                    let error = anyhow::Error::new(error)
                        .context(format!("cannot write {}", path.display()));
                    Failure::new(Exit::Environment, error, "name a file that does not exist yet")
                })?;
            }
        }
        if !has_owner {
            printer.note("the owner is a placeholder: name one in the document, or with --owner");
        }
        Ok(Exit::Yes)
    }
}

fn draft(detail: &AgentDetail, name: Option<String>, owner: Option<(String, String)>) -> Draft {
    let summary = &detail.summary;
    let process = detail.processes.last().or(detail.latest.as_ref());
    let kind = summary.kind.as_deref().unwrap_or("agent");
    let exe = process.and_then(|process| process.exe.clone());
    let endpoints = detail.endpoints.iter();
    let workload = process.and_then(|process| process.workload.as_ref());
    let image = workload.and_then(|workload| workload.image.as_deref());
    let digest = workload.and_then(|workload| workload.image_digest.clone());
    Draft {
        name: name.unwrap_or_else(|| summary.name.clone()),
        is_registered: false,
        owner,
        purpose: format!("{kind} {}, found as {}", summary.name, summary.id)
            .chars()
            .take(200)
            .collect(),
        is_interpreter: exe.as_deref().is_some_and(is_interpreter),
        exe,
        script: detail.script.clone(),
        user: summary.user.clone(),
        cgroup: process.and_then(|process| unit_cgroup(process, summary.place.as_deref())),
        // An image without a name has at least its digest.
        image: match image.map(image_name) {
            Some("sha256") => digest.clone(),
            name => name.map(str::to_owned),
        },
        image_digest: digest,
        namespace: workload.and_then(|workload| workload.namespace.clone()),
        sha256: detail.sha256.clone(),
        script_sha256: detail.script_sha256.clone(),
        version: detail.version.clone(),
        review_by: review_by(clock::now_ms()),
        endpoints: endpoints.map(|seen| (seen.host.clone(), seen.port, seen.outside)).collect(),
    }
}

/// The cgroup of a unit, which is the same at each start; containers and sessions have another.
fn unit_cgroup(process: &ProcessRow, place: Option<&str>) -> Option<String> {
    let unit = place.filter(|place| place.ends_with(".service"))?;
    let cgroup = process.cgroup.as_deref()?;
    let (above, _) = cgroup.split_once(&format!("/{unit}"))?;
    Some(format!("{above}/{unit}"))
}

fn review_by(now_ms: u64) -> Option<String> {
    let now = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let day = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let later = day.checked_add(jiff::Span::new().days(REVIEW_DAYS)).ok()?;
    Some(later.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_due_in_90_days() {
        assert_eq!(review_by(1_795_219_200_000).as_deref(), Some("2027-02-19"));
        assert_eq!(review_by(u64::MAX), None);
    }
}
