//! What the doctor calls degraded is, and the rest is not; both on this kernel as it is, and as if
//! it lacked what older ones lack.

use aya::maps::Map;
use governd_common::{
    layout::KernelLayout,
    verdict::{Mode, Verdict},
};

use super::{
    agent,
    dns::{answer_once, hex, message, query, v4},
    host::{Host, TestCgroup, is_root},
    image::Policy,
};
use crate::kernel::{
    KernelOptions, Lack, Offer, attach, layout,
    load::{TRACED, load_object},
    probe::{Outcome, probe_programs},
};

const RESOLVER: &str = "127.0.0.120";
const NAMED: &str = "203.0.113.9:443";
const NETWORK: &str = "127.0.0.121";

#[test]
fn what_the_doctor_calls_degraded_here_is_and_the_rest_works() {
    if is_root() {
        doctor_tells_the_truth(Offer::of_kernel().unwrap());
    }
}

#[test]
fn what_the_doctor_would_call_degraded_on_older_kernels_is_and_the_rest_works() {
    if !is_root() {
        return;
    }
    let own = Offer::of_kernel().unwrap();
    let older = KernelLayout {
        has_set_retval: 0,
        has_allocator: 0,
        has_current_task: 0,
        path_connection: 0,
        has_interfaces: 0,
        ..own.layout
    };
    doctor_tells_the_truth(Offer { layout: older, has_filters: true, ..own.clone() });
    let layout = KernelLayout { has_loops: 0, ..older };
    doctor_tells_the_truth(Offer { layout, has_filters: false, ..own });
}

fn doctor_tells_the_truth(offer: Offer) {
    let lacks = offer.lacks();
    let probes = probe_programs(&offer);
    let outcome = |name: &str| probes.iter().find(|probe| probe.name == name).unwrap().outcome;
    let host = Host::with(TestCgroup::new(), KernelOptions::default(), &offer);
    assert_eq!(host.kernel.lacks(), lacks);
    for lack in Lack::EVERY {
        let expected = if lacks.contains(&lack) { Outcome::Degraded } else { Outcome::Ok };
        assert_eq!(outcome(lack.word()), expected, "{lack:?}");
    }
    let attached = host.kernel.status().unwrap().programs;
    for name in attach::programs() {
        let found = outcome(&format!("program {name}"));
        let is_left_out = lacks.iter().any(|lack| lack.programs().contains(&name));
        assert_eq!(found, if is_left_out { Outcome::Degraded } else { Outcome::Ok }, "{name}");
        assert!(!is_left_out || attached.iter().all(|program| program.name != name), "{name}");
    }
    rules_work(host);
}

#[test]
fn tables_that_tracepoint_programs_read_have_their_memory_where_none_can_be_given_later() {
    /// include/uapi/linux/bpf.h.
    const BPF_F_NO_PREALLOC: u32 = 1;
    if !is_root() {
        return;
    }
    let own = layout::of_kernel().unwrap();
    for (layout, flags) in [
        (KernelLayout { has_allocator: 0, ..own }, 0),
        (KernelLayout { has_allocator: 1, ..own }, BPF_F_NO_PREALLOC),
    ] {
        let collection = load_object(&KernelOptions::default(), &layout, None).unwrap();
        for name in TRACED {
            let Some(Map::HashMap(data)) = collection.map(name) else { panic!("no {name}") };
            assert_eq!(data.info().unwrap().map_flags(), flags, "{name}");
        }
    }
}

/// Rules about networks work, and those about names when these were learned.
fn rules_work(mut host: Host) {
    let refused = host.refusal();
    let enforced = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .resolver(RESOLVER)
        .name(Verdict::Allow, "api.example.com")
        .network(Verdict::Allow, NETWORK, (0, u16::MAX), 0);
    let exe = std::env::current_exe().unwrap();
    let run = |host: &Host, step: &str| agent::run(&exe, &host.cgroup.path, step).remove(0);
    host.kernel.install(&enforced.image).unwrap();
    assert_eq!(run(&host, "udp-connect 127.0.0.122:9"), refused);
    assert_eq!(run(&host, &format!("udp-connect {NETWORK}:9")), "ok");
    assert_eq!(run(&host, &format!("udp-open {NAMED}")), refused);
    let answer = message("api.example.com", &[v4("api.example.com")]);
    let server = answer_once(RESOLVER, answer);
    let ask = format!("ask {RESOLVER}:53 {}", hex(&query("api.example.com")));
    assert_eq!(run(&host, &ask), "ok");
    server.join().unwrap();
    // Not "ok" where no route leads there.
    assert_ne!(run(&host, &format!("udp-open {NAMED}")), refused);
}
