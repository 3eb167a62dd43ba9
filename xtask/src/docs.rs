//! `cargo xtask docs`: the documentation as a site, by mdBook.

use anyhow::Result;

use crate::{
    pinned, place, run, say,
    setup::{self, Part},
};

pub(crate) fn run() -> Result<()> {
    setup::provide(&[Part::Docs])?;
    let docs = place::root()?.join("docs");
    run::loud(run::command(pinned::MDBOOK.name)?.arg("build").arg(&docs))?;
    say::note(format_args!("the site is in {}", place::target()?.join("book").display()));
    Ok(())
}
