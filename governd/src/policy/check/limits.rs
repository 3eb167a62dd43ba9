//! Limits.

use governd_common::limit::{Limit, Limits};

use super::Checker;
use crate::policy::{
    diagnostic::{Code, Diagnostic, Place},
    document::{AmountsDocument, LimitsDocument},
    shape::Located,
    value::limit,
};

const KINDS: usize = Limit::ALL.len();

impl Checker<'_> {
    /// What an agent may do; what is not said has no limit.
    pub(super) fn limits(&mut self, limits: Option<Located<LimitsDocument>>) -> Limits {
        let Some(limits) = limits else {
            return Limits::default();
        };
        let place = self.place(&limits);
        let LimitsDocument { notify, halt } = limits.value;
        if notify.is_none() && halt.is_none() && self.is_whole {
            let message = "no limit is set";
            let hint = "add one, such as `halt: {connections_per_minute: 600}`";
            self.out.push(Diagnostic::warning(Code::EmptyList, &place, message).hint(hint));
        }
        let limits = Limits { notify: self.amounts(notify), halt: self.amounts(halt) };
        self.warn_untold(&limits, &place);
        limits
    }

    fn amounts(&mut self, amounts: Option<Located<AmountsDocument>>) -> [u64; KINDS] {
        let Some(amounts) = amounts else {
            return [0; KINDS];
        };
        let place = self.place(&amounts);
        let AmountsDocument { connections_per_minute, new_destinations_per_hour, bytes_per_hour } =
            amounts.value;
        let all = [connections_per_minute, new_destinations_per_hour, bytes_per_hour];
        if all.iter().all(Option::is_none) && self.is_whole {
            let message = "no limit is set";
            let hint = "add one, such as `connections_per_minute: 600`";
            self.out.push(Diagnostic::warning(Code::EmptyList, &place, message).hint(hint));
        }
        let parsers = [limit::parse_count, limit::parse_count, limit::parse_bytes];
        let mut parsed = [0; KINDS];
        for ((place, amount), parse) in parsed.iter_mut().zip(all).zip(parsers) {
            let amount = amount.map(|amount| amount.map(|scalar| scalar.0));
            *place = amount.and_then(|amount| self.parse(&amount, parse)).unwrap_or(0);
        }
        parsed
    }

    /// Who is halted first is never told.
    fn warn_untold(&mut self, limits: &Limits, place: &Place) {
        for (limit, (notify, halt)) in Limit::ALL.iter().zip(limits.notify.iter().zip(limits.halt))
        {
            if *notify != 0 && halt != 0 && *notify >= halt {
                let word = limit.word();
                let message = format!("`{word}` halts at {halt}, before it would notify");
                let hint = "let `notify` be less than `halt`";
                self.out.push(Diagnostic::warning(Code::ShadowedRule, place, message).hint(hint));
            }
        }
    }
}
