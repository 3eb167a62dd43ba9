use super::*;

const MODEL: &str = "api.openai.com";
const ADDRESS: &str = "203.0.113.7";

impl Host {
    fn ends(&mut self, program: &Program, name: &str, address: &str, bytes: (u64, u64)) {
        self.now_ms += 1;
        let address = address.parse().unwrap();
        let contact = Contact { name: Some(name), address, port: 443, is_denied: false };
        let traffic = Traffic { sent_bytes: bytes.0, received_bytes: bytes.1 };
        self.inventory.observe_traffic(&program.sighting(), &contact, traffic, self.now_ms);
    }

    /// Bytes of each destination.
    fn bytes(&self, pid: u32) -> Vec<(&str, u64, u64)> {
        let agent = self.inventory.agents().find(|agent| {
            agent.latest.as_ref().is_some_and(|latest| latest.actor.process.pid == pid)
        });
        let endpoints = agent.unwrap().endpoints.values();
        endpoints.map(|seen| (&*seen.host, seen.sent_bytes, seen.received_bytes)).collect()
    }
}

#[test]
fn bytes_are_counted_with_the_destination_and_the_agent() {
    let mut host = Host::new();
    let codex = program(10, "/usr/local/bin/codex", "codex");
    host.runs(&codex);
    host.contacts(&codex, MODEL);
    host.ends(&codex, MODEL, ADDRESS, (1, 20));
    // An answer that came meanwhile calls the address otherwise.
    host.ends(&codex, "other.example", ADDRESS, (300, 4_000));
    // A shell of the agent's, and the end of the agent itself, which closes what is open.
    let curl = program(11, "/usr/bin/curl", "curl https://api.openai.com").started_by(&codex);
    host.ends(&curl, MODEL, ADDRESS, (50_000, 0));
    host.inventory.observe_exit(10);
    host.ends(&codex, MODEL, ADDRESS, (0, 600_000));
    assert_eq!(host.bytes(10), [(MODEL, 50_301, 604_020)]);
}

#[test]
fn bytes_of_open_connections_are_counted_anew_at_each_look_and_kept_when_they_end() {
    let mut host = Host::new();
    let codex = program(10, "/usr/local/bin/codex", "codex");
    host.runs(&codex);
    host.contacts(&codex, MODEL);
    let address = ADDRESS.parse().unwrap();
    let contact = Contact { name: None, address, port: 443, is_denied: false };
    let open = |host: &Host| {
        let agent = host.inventory.agent_of(10).unwrap();
        let seen = agent.endpoints.values().next().unwrap();
        (seen.open.sent_bytes, seen.open.received_bytes)
    };
    for (sent_bytes, received_bytes) in [(5, 60), (7, 80)] {
        host.inventory.forget_open();
        let traffic = Traffic { sent_bytes, received_bytes };
        host.inventory.observe_open(10, &contact, traffic);
        host.inventory.observe_open(10, &contact, traffic);
        host.inventory.observe_open(11, &contact, traffic);
        assert_eq!(open(&host), (2 * sent_bytes, 2 * received_bytes));
        assert_eq!(host.bytes(10), [(MODEL, 0, 0)]);
    }
    host.ends(&codex, MODEL, ADDRESS, (7, 90));
    assert_eq!((open(&host), host.bytes(10)), ((7, 70), vec![(MODEL, 7, 90)]));
}

#[test]
fn bytes_of_strangers_and_to_unknown_places_are_not_kept() {
    let mut host = Host::new();
    let codex = program(10, "/usr/local/bin/codex", "codex");
    host.runs(&codex);
    host.contacts(&codex, MODEL);
    let stranger = program(11, "/usr/bin/curl", "curl https://api.openai.com");
    host.ends(&stranger, MODEL, ADDRESS, (1, 1));
    host.ends(&codex, "other.example", "203.0.113.8", (1, 1));
    assert_eq!(host.bytes(10), [(MODEL, 0, 0)]);
    host.ends(&codex, MODEL, ADDRESS, (u64::MAX, 1));
    host.ends(&codex, MODEL, ADDRESS, (u64::MAX, 1));
    assert_eq!(host.bytes(10), [(MODEL, u64::MAX, 2)]);
}
