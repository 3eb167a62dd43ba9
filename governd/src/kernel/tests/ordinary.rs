//! Who is not registered: left alone where no rule of the host's could fit, and nowhere else.

use std::net::IpAddr;

use governd_common::{
    address::Address,
    key::BindingKey,
    table::{Binding, BoundSet},
    verdict::{Mode, Verdict},
};
use zerocopy::FromZeros;

use super::{
    host::{Host, is_root},
    image::{AGENT, FIRST_SET, Policy},
};
use crate::kernel::KernelOptions;

const BOUND: &str = "127.0.0.3";
const OTHER: &str = "127.0.0.4";

/// A name that is denied to everybody who is not registered, of whom this is the policy.
fn policy() -> Policy {
    let mut policy = Policy::empty()
        .subject(Mode::Enforce, Verdict::Deny, 0)
        .name(Verdict::Deny, "api.example.com");
    for (subject, ..) in &mut policy.image.blocks {
        *subject = 0;
    }
    for (subject, settings) in &mut policy.image.subjects {
        if *subject == 0 {
            settings.mode = Mode::Enforce as u8;
        }
    }
    policy
}

/// The policy with other settings for who is not registered.
fn with(change: impl Fn(&mut governd_common::table::Subject)) -> Policy {
    let mut policy = policy();
    for (subject, settings) in &mut policy.image.subjects {
        if *subject == 0 {
            change(settings);
        }
    }
    policy
}

/// The policy with a rule that denies them a network.
fn with_network() -> Policy {
    let mut policy = policy().network(Verdict::Deny, OTHER, (0, u16::MAX), 0);
    for (subject, ..) in &mut policy.image.networks {
        *subject = 0;
    }
    for (subject, ..) in &mut policy.image.blocks {
        *subject = 0;
    }
    policy
}

fn bind(host: &mut Host, learner: u32, address: &str, set: u32) {
    let mut binding = Binding::new_zeroed();
    binding.sets[0] = BoundSet { expires_ns: u64::MAX, set, reserved: 0 };
    let address = Address::from(address.parse::<IpAddr>().unwrap());
    host.kernel.rebind(&[(BindingKey { subject: learner, address }, binding)]).unwrap();
}

#[test]
fn what_no_rule_can_fit_is_left_alone_and_nothing_else() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let quiet = with(|_| {});
    let recorded = with(|settings| settings.flags = 0);
    let closed = with(|settings| settings.default_verdict = Verdict::Deny as u8);
    for (policy, learner, address, expected, decisions) in [
        (&quiet, None, OTHER, "ok", 0),
        (&quiet, Some(0), BOUND, "EACCES", 1),
        (&quiet, Some(BindingKey::HOST), BOUND, "EACCES", 1),
        // What an agent learned is the agent's.
        (&quiet, Some(AGENT), BOUND, "ok", 0),
        (&quiet, Some(0), OTHER, "ok", 0),
        (&with_network(), None, OTHER, "EACCES", 1),
        (&recorded, None, OTHER, "ok", 1),
        (&closed, None, OTHER, "EACCES", 1),
    ] {
        host.kernel.install(&policy.image).unwrap();
        let old = host.kernel.bindings().unwrap().into_iter();
        let gone: Vec<_> = old.map(|(key, _)| (key, Binding::new_zeroed())).collect();
        host.kernel.rebind(&gone).unwrap();
        if let Some(learner) = learner {
            bind(&mut host, learner, BOUND, FIRST_SET);
        }
        for step in ["udp-sendto", "udp-connect"] {
            let step = format!("{step} {address}:9");
            assert_eq!(host.one(&step), expected, "{step} {learner:?}");
            assert_eq!(host.flows().len(), decisions, "{step} {learner:?}");
        }
    }
}
