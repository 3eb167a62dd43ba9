//! Writes what packages have beside the program and is generated: manual pages and completions from
//! its command line, and the schema of policy documents. `cargo xtask dist` calls it with the
//! directory to write to.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap_complete::Shell;

const NAME: &str = "governd";

fn main() -> Result<()> {
    let directory = env::args_os().nth(1).context("no directory; hint: name one to write to")?;
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    clap_mangen::generate_to(governd::cli::command(), &directory)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut governd::cli::command(), NAME, &directory)?;
    }
    let schema = serde_json::to_string_pretty(&governd::policy::document::schema())?;
    fs::write(directory.join("policy.schema.json"), schema + "\n").context("writing the schema")?;
    Ok(())
}
