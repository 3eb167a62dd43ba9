//! Records as lines on standard output, for who collects what containers print.

use std::io::{self, Write as _};

use super::{Batch, Delivered, Destination, Fault};

pub(super) struct Stdout;

impl Destination for Stdout {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        let mut text = String::new();
        for item in batch.items {
            text.push_str(&item.line);
            text.push('\n');
        }
        let mut output = io::stdout().lock();
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        written.map_err(|error| Fault::later("cannot write to standard output", error))?;
        Ok(Delivered::default())
    }
}
