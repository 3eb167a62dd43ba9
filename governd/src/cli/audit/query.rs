//! `governd audit query`: the records that answer a question, from the log on the disk.

use anyhow::anyhow;
use clap::Args;

use super::{Outcome, question::Question, unreadable};
use crate::{
    audit::log::{Disk, ReadError, Reader},
    cli::exit::{Exit, Failure},
    settings,
};

/// Flags of `governd audit query`.
#[derive(Args, Debug)]
pub(super) struct Query {
    #[command(flatten)]
    question: Question,
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: std::path::PathBuf,
}

impl Query {
    pub(super) fn run(self) -> Outcome {
        // A directory that is not there has no records, and is a mistake.
        let directory = self.state_dir.join("log");
        std::fs::read_dir(&directory)
            .map_err(|source| unreadable(ReadError::Io { path: directory.clone(), source }))?;
        let mut reader = Reader::new(Disk, directory, 0).shown();
        let (mut answers, mut is_damaged) = (self.question.begin()?, false);
        while answers.go_on() {
            match reader.read() {
                Ok(Some(line)) => answers.take(&line.bytes)?,
                Ok(None) => break,
                Err(error @ ReadError::Damaged { .. }) => {
                    is_damaged = true;
                    answers.note(error);
                }
                Err(error) => return Err(unreadable(error)),
            }
        }
        if is_damaged {
            let error = anyhow!("some records could not be read");
            let hint = "`governd audit verify` says which is the first that is wrong";
            return Err(Failure::new(Exit::Environment, error, hint));
        }
        Ok(answers.end())
    }
}
