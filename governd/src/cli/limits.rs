//! Limits of agents, for people.

use super::printer::{Table, Tone};
use crate::control::inventory::LimitRow;

/// A row for each limit, below a head if there is any.
pub(super) fn table<'a>(limits: impl Iterator<Item = (&'a str, &'a LimitRow)>) -> Table {
    let mut table = Table::default();
    let mut limits = limits.peekable();
    if limits.peek().is_some() {
        let head = ["AGENT", "LIMIT", "USED", "NOTIFY", "HALT"];
        table.row(head.map(|word| (Tone::Dim, word.to_string())));
    }
    for (agent, LimitRow { limit, used, notify, halt }) in limits {
        let is_over = |most: &Option<u64>| most.is_some_and(|most| *used > most);
        let tone = match (is_over(halt), is_over(notify)) {
            (true, _) => Tone::Bad,
            (_, true) => Tone::Warn,
            _ => Tone::Plain,
        };
        let most = |most: &Option<u64>| most.map_or_else(|| "-".to_owned(), |it| it.to_string());
        table.row([
            (Tone::Plain, agent.to_owned()),
            (Tone::Plain, limit.clone()),
            (tone, used.to_string()),
            (Tone::Plain, most(notify)),
            (Tone::Plain, most(halt)),
        ]);
    }
    table
}
