//! `governd sink rotate-keys`: another authority, and another key that cosigns.

use clap::Args;

use super::{Place, failed, unusable};
use crate::{
    cli::{
        Outcome,
        exit::{Exit, Failure},
        printer::Printer,
    },
    sink::authority,
};

/// Hosts that are named at once.
const NAMED_MAX: usize = 8;

/// Flags of `governd sink rotate-keys`.
#[derive(Args, Debug)]
pub(super) struct RotateKeys {
    #[command(flatten)]
    place: Place,
    /// Take the former keys away, once every host knows the ones that replace them.
    #[arg(long, requires = "name")]
    finish: bool,
    /// A DNS name or address that hosts reach the sink by, for the server's next certificate.
    #[arg(long, value_name = "NAME", requires = "finish")]
    name: Vec<String>,
    /// Finish although there are hosts that do not know the next keys: they must enroll again.
    #[arg(long, requires = "finish")]
    leave_behind: bool,
}

impl RotateKeys {
    pub(super) fn run(self) -> Outcome {
        if self.finish {
            return self.finish();
        }
        let store = self.place.store()?;
        authority::begin(&self.place.dir).map_err(unusable)?;
        let detail = format!("{} begins to replace its keys", super::beside::who());
        store.tell(KEYS, &detail).map_err(failed)?;
        Printer::new(false).note(
            "from its next start on the sink has both its former keys and the next ones; when \
             hosts have taken these by themselves, finish with --finish",
        );
        Ok(Exit::Yes)
    }

    fn finish(self) -> Outcome {
        let (printer, store) = (Printer::new(false), self.place.store()?);
        let left = match self.place.authority()?.next() {
            Some(next) => store.left_by(next).map_err(failed)?,
            None => Vec::new(),
        };
        if !left.is_empty() && !self.leave_behind {
            let text = format!("{} do not know the next keys yet", named(&left));
            let hint = "start the sink anew, and wait for them; --leave-behind lets them enroll \
                        again";
            return Err(Failure::new(Exit::No, anyhow::anyhow!(text), hint));
        }
        authority::finish(&self.place.dir, &self.name).map_err(unusable)?;
        let behind =
            if left.is_empty() { String::new() } else { format!(", without {}", named(&left)) };
        let detail = format!("{} takes its former keys away{behind}", super::beside::who());
        store.tell(KEYS, &detail).map_err(failed)?;
        printer.note("the former keys are no good from the sink's next start on");
        Ok(Exit::Yes)
    }
}

/// The word for it in the sink's log.
const KEYS: &str = "keys";

/// Some of the hosts by their names, and how many there are besides.
fn named(hosts: &[String]) -> String {
    let some = hosts.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match hosts.len().saturating_sub(NAMED_MAX) {
        0 => format!("hosts {some}"),
        more => format!("hosts {some} and {more} more"),
    }
}
