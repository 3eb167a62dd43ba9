//! How often each rule decided about a destination of a governed subject.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns};
use governd_common::{
    decide::Decision,
    key::RuleKey,
    table::RuleHits,
    verdict::{Loss, Reason},
};

use crate::{emit, limit::add_to, tables::RULE_HITS};

const EEXIST: i32 = 17;

/// Counts a decision, if a rule or a subject's default made it or let pass what was too much by a
/// limit; `now_ns` is the time if it is known, or else 0.
#[inline(always)]
pub(crate) fn count(generation: u64, subject: u32, decision: &Decision, now_ns: u64) {
    let is_by_rule = matches!(
        decision.reason,
        Reason::Rule
            | Reason::NoRule
            | Reason::Approval
            | Reason::Granted
            | Reason::Halt
            | Reason::ServerName
            | Reason::ConnectionsLimit
            | Reason::DestinationsLimit
    );
    if subject != 0 && is_by_rule {
        count_rule(generation, decision.rule, now_ns);
    }
}

/// Global, for the verifier to check it once; gives nothing that counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_rule(generation: u64, rule: u32, now_ns: u64) -> u32 {
    let key = RuleKey { generation, rule, reserved: 0 };
    // SAFETY: the helper only reads the clock.
    let last_ns = if now_ns == 0 { unsafe { bpf_ktime_get_boot_ns() } } else { now_ns };
    let mut hits = RULE_HITS.get_ptr_mut(key);
    if hits.is_none() {
        let first = RuleHits { count: 0, last_ns };
        if let Err(error) = RULE_HITS.insert(key, first, u64::from(BPF_NOEXIST))
            && error != -EEXIST
        {
            emit::count(Loss::Tables);
        }
        hits = RULE_HITS.get_ptr_mut(key);
    }
    if let Some(hits) = hits {
        // SAFETY: the entry is the map's. One that is reused meanwhile costs a count.
        unsafe {
            (*hits).last_ns = last_ns;
            add_to(&raw mut (*hits).count, 1);
        }
    }
    0
}
