//! Who is not registered: left alone where no rule of the host's could fit, and nowhere else.

use std::net::IpAddr;

use governd_common::{
    address::Address,
    event::NameEvent,
    key::BindingKey,
    table::{Binding, BoundSet, subject_flag},
    verdict::{Mode, Verdict},
};
use zerocopy::FromZeros;

use super::{
    host::{Host, is_root},
    image::{AGENT, FIRST_SET, Policy},
    say::{LOST, extension, hello, hello_to, say, serve, server_name},
};
use crate::kernel::{KernelOptions, RawEvent};

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

fn names(host: &mut Host) -> Vec<NameEvent> {
    let names = host.drain().into_iter().filter_map(|event| match event {
        RawEvent::Name(name) => Some(*name),
        _ => None,
    });
    names.collect()
}

/// What is noted of who is not registered says where he goes, and changes nothing.
#[test]
fn hellos_are_told_of_who_is_noted_and_of_his_children_alone() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let (name, denied) = ("dns.example.org", "api.example.com");
    let (web, other) = (serve("127.0.0.98:443"), serve("127.0.0.98:8443"));
    let ech = extension(0xfe0d, &[0; 200]);
    let large = hello(&[extension(21, &[0; 1_800]), server_name(name), ech], 16_384);
    let pieces = large.chunks(700).map(<[u8]>::to_vec).collect();
    let (plain, bad) = (hello_to(name), hello_to(denied));
    let http = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
    let rows = [
        // What is said, where, whether the policy for names lets it, names that are told where
        // nothing has to be proved and where names are denied, ECH.
        ("plain", vec![plain.clone()], web, true, [1, 1], 0),
        ("large, with ECH", vec![large], web, true, [1, 1], 1),
        ("cut, with ECH", pieces, web, true, [1, 1], 1),
        (
            "with what follows",
            vec![[plain.clone(), vec![23; 9_000]].concat()],
            web,
            true,
            [1, 1],
            0,
        ),
        ("another port", vec![plain], other, true, [0, 0], 0),
        ("plaintext", vec![http], web, true, [0, 1], 0),
        ("no protocol", vec![vec![0; 300]], web, true, [0, 0], 0),
        ("a denied name", vec![bad], web, false, [1, 1], 0),
    ];
    let free = Policy::empty().image;
    let by_name = with(|settings| settings.flags |= subject_flag::NAME_DENIALS).image;
    for (is_noted, image) in [(false, &free), (false, &by_name), (true, &free), (true, &by_name)] {
        host.kernel.install(image).unwrap();
        if is_noted {
            host.kernel.note(std::process::id()).unwrap();
        }
        let judges = image.names.len() > free.names.len();
        for (what, pieces, to, is_fine, told, ech) in &rows {
            let passes = *is_fine || !judges || *to == other;
            let said = say(&host, *to, pieces);
            assert_eq!(said, if passes { "ok" } else { LOST }, "{what}, {is_noted}, {judges}");
            let found = names(&mut host);
            // What is refused is told of everybody.
            let told = if judges { told[1] } else { told[0] };
            let expected = if is_noted || !passes { told } else { 0 };
            assert_eq!(found.len(), expected, "{what}, {is_noted}, {judges}");
            for one in found.iter().filter(|_| passes) {
                let said = &one.name[..usize::from(one.name_len)];
                let expected = if *is_fine { name } else { denied };
                assert_eq!(said, expected.as_bytes(), "{what}");
                assert_eq!((one.header.subject, one.verdict), (0, Verdict::Allow as u8), "{what}");
                assert_eq!(one.has_ech, *ech, "{what}");
            }
        }
    }
}
