//! What self-tests try.

use super::host::TestHost;
use crate::policy::{
    compile::Surroundings,
    ids::Ids,
    load,
    tables::{Controls, ImageTables},
    trial::{Trial, choose},
};

/// What is tried for an agent with these rules: where it has to come, and where not.
fn tried(egress: &str, is_quarantined: bool) -> (Option<String>, Option<String>) {
    let text = format!(
        "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: bot}}\nspec:\n  \
         owner: {{name: D, mail: d@acme.example}}\n  match: [{{user: 1}}]\n  egress: {egress}\n"
    );
    let host = TestHost::default();
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let mut ids = Ids::default();
    let compiled = load(&[("p.yaml", &text)]).unwrap().compile(&around, &mut ids).unwrap();
    let quarantined = is_quarantined.then_some(1).into_iter().collect();
    let controls = Controls { quarantined, ..Controls::default() };
    let mut tables = ImageTables::new(&compiled.image).under(controls);
    let Trial { allowed, refused } = choose(&mut tables, &compiled, 1, 5);
    let allowed = allowed.map(|allowed| {
        let rule = &compiled.sets[&allowed.set];
        format!("{rule} {} {}", allowed.to, if allowed.binding.is_some() { "bound" } else { "" })
    });
    (allowed, refused.map(|to| to.to_string()))
}

#[test]
fn a_place_is_chosen_by_what_the_policy_says_of_it() {
    let rows = [
        ("{rules: [{allow: [a.example], ports: [443]}]}", "a.example 192.0.2.2:443 bound", true),
        ("{rules: [{allow: [10.1.0.0/16], ports: [5432]}]}", "10.1.0.0/16 10.1.0.0:5432 ", true),
        // A person, or another protocol, would be needed.
        ("{rules: [{approve: [a.example]}]}", "", true),
        ("{rules: [{allow: [a.example], protocol: udp}]}", "", true),
        ("{rules: [{notify: [a.example]}]}", "a.example 192.0.2.2:1 bound", true),
        // What is refused would quarantine the agent, or nothing is refused.
        ("{rules: [{halt: [0.0.0.0/0]}]}", "", false),
        ("{default: allow, rules: [{allow: [a.example]}]}", "a.example 192.0.2.2:1 bound", false),
    ];
    for (egress, allowed, is_refused) in rows {
        let (found, refused) = tried(egress, false);
        assert_eq!(found.unwrap_or_default(), allowed, "{egress}");
        assert_eq!(refused.is_some(), is_refused, "{egress}");
    }
    let (allowed, refused) = tried("{rules: [{allow: [a.example]}]}", true);
    assert!(allowed.is_none() && refused.is_some());
}
