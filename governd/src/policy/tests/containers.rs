//! Agents that are recognised by their container.

use super::host::TestHost;
use crate::policy::{
    compile::Surroundings, ids::Ids, image::Compiled, load, tables::ImageTables, testing,
    value::container::ContainerFacts,
};

fn agent(name: &str, entries: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  \
         owner: {{name: Dana, mail: d@acme.example}}\n  match: {entries}\n  \
         egress: {{rules: [{{allow: [{name}.example]}}]}}\n"
    )
}

fn container(image: &str, namespace: &str, account: &str, label: &str) -> ContainerFacts {
    ContainerFacts {
        image: Some(image.into()),
        digest: None,
        namespace: Some(namespace.into()),
        service_account: Some(account.into()),
        labels: [("app".to_owned(), label.to_owned())].into(),
    }
}

fn compile(text: &str, containers: Vec<(ContainerFacts, u64)>) -> Result<Compiled, String> {
    let host = TestHost { containers, ..TestHost::new(&[("/a", 1)]) };
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let documents = load(&[("p.yaml", text)]).map_err(|bad| bad.to_string())?;
    documents.compile(&around, &mut Ids::default()).map_err(|bad| bad.to_string())
}

/// The selectors of a cgroup, as names of agents.
fn selectors(compiled: &Compiled, id: u64) -> Vec<&str> {
    let image = &compiled.image;
    let found = image.cgroups.iter().find(|(known, _)| *known == id);
    let set = found.map_or(image.any[2], |(_, set)| *set);
    let fitting =
        (0..image.selectors.len()).filter(|one| set.words[one / 64] >> (one % 64) & 1 == 1);
    fitting.map(|one| &*compiled.agent(image.selectors[one]).unwrap().name).collect()
}

#[test]
fn a_container_that_fits_is_a_cgroup_of_the_selector() {
    let text = [
        agent("image", "[{image: [ghcr.io/acme/bot, quay.io/acme/*]}]"),
        agent("space", "[{namespace: agents, image: ghcr.io/acme/bot}]"),
        agent("account", "[{service_account: robot}]"),
        agent("label", "[{labels: {app: web}}]"),
        agent("exe", "[{exe: /a, image: ghcr.io/acme/tool}]"),
        agent("anywhere", "[{exe: /a}]"),
    ]
    .concat();
    let containers = vec![
        (container("ghcr.io/acme/bot:1", "x", "default", "bot"), 11),
        (container("ghcr.io/acme/bot:2", "agents", "robot", "web"), 12),
        (container("ghcr.io/acme/tool", "x", "default", "web"), 13),
        (container("quay.io/acme/any/thing", "x", "default", "bot"), 14),
        (container("quay.io/other", "x", "default", "bot"), 15),
        (ContainerFacts::default(), 16),
    ];
    let compiled = compile(&text, containers).unwrap();
    // What says more comes first.
    let rows: [(u64, &[&str]); 6] = [
        (11, &["anywhere", "image"]),
        (12, &["space", "anywhere", "image", "account", "label"]),
        (13, &["exe", "anywhere", "label"]),
        (14, &["anywhere", "image"]),
        (15, &["anywhere"]),
        (16, &["anywhere"]),
    ];
    for (id, expected) in rows {
        assert_eq!(selectors(&compiled, id), expected, "{id}");
    }
    // Without its container, the entry is for nothing.
    let none = compile(&text, Vec::new()).unwrap();
    assert!(none.image.cgroups.is_empty());
    assert_eq!(selectors(&none, 12), ["anywhere"]);
    assert_eq!(none.digest, compiled.digest);
    assert!(ImageTables::new(&none.image).name_set("image.example").is_some());
}

#[test]
fn two_agents_that_could_claim_one_container_are_refused_whatever_runs() {
    let rows = [
        ("{image: a.io/b}", "{image: a.io/b}", true),
        ("{image: a.io/b}", "{image: a.io/c}", false),
        ("{image: a.io/b}", "{image: 'a.io/b:1'}", false),
        ("{image: 'a.io/b*'}", "{image: 'a.io/bc*'}", false),
        ("{image: 'a.io/b*'}", "{image: 'a.io/c*'}", false),
        ("{image: [a.io/x, a.io/b]}", "{image: [a.io/b, a.io/y]}", true),
        ("{namespace: a}", "{namespace: b}", false),
        ("{namespace: a}", "{service_account: a}", false),
        ("{namespace: a, labels: {x: y}}", "{namespace: b, labels: {x: y}}", false),
        ("{labels: {x: y}}", "{labels: {z: y}}", true),
        ("{labels: {x: y}}", "{labels: {x: z}}", false),
        ("{labels: {x: y}}", "{labels: {x: y, z: y}}", false),
        ("{image: a.io/b, exe: /a}", "{image: a.io/b, exe: /b}", false),
        ("{image: a.io/b, user: '1'}", "{image: a.io/b, user: '1'}", true),
    ];
    for (one, other, is_refused) in rows {
        let text = agent("one", &format!("[{one}]")) + &agent("other", &format!("[{other}]"));
        let refused = compile(&text, Vec::new()).err();
        let is_ambiguous = refused.as_ref().is_some_and(|why| why.contains("ambiguous-match"));
        assert_eq!((refused.is_some(), is_ambiguous), (is_refused, is_refused), "{one} {other}");
    }
}

#[test]
fn what_cannot_be_a_container_is_told_with_place_and_hint() {
    let bad = |entries: &str| compile(&agent("bot", entries), Vec::new()).unwrap_err();
    let all = [
        "[{image: 'ghcr.io*'}]",
        "[{image: []}]",
        "[{image: [a.io/b, A.io/B]}]",
        "[{namespace: Agents}]",
        "[{service_account: a_b}]",
        "[{labels: {}}]",
        "[{labels: {app: 'a b'}, exe: /a}]",
        "[{parent: other}]",
    ];
    insta::assert_snapshot!(all.map(bad).join("\n"));
}

#[test]
fn a_test_names_the_container_of_a_process() {
    let case = |process: &str, expect: &str| {
        format!("    - {{process: {{{process}}}, to: bot.example, expect: {expect}}}\n")
    };
    let digest = format!("sha256:{}", "ab".repeat(32));
    let text = [
        agent("bot", "[{image: ghcr.io/acme/bot, exe: /a}, {labels: {app: bot}, namespace: x}]"),
        agent("pinned", &format!("[{{image: '{digest}', cgroup: /pods}}]")),
        "---\napiVersion: governd.dev/v1\nkind: PolicyTest\nmetadata: {name: t}\nspec:\n  cases:\n"
            .to_owned(),
        case("image: 'ghcr.io/acme/bot:1', exe: /a", "allow"),
        case("image: 'ghcr.io/acme/bot:1', exe: /a, cgroup: /pods/x", "allow"),
        case("namespace: x, labels: {app: bot, tier: web}", "allow"),
        "    - {process: {image: 'ghcr.io/acme/bot:1', exe: /b}, to: bot.example, \
         expect: allow, rule: unregistered/default}\n"
            .to_owned(),
        "    - {process: {labels: {app: bot}}, to: bot.example, expect: allow, \
         rule: unregistered/default}\n"
            .to_owned(),
        format!(
            "    - {{process: {{image: '{digest}', cgroup: /pods/x}}, to: bot.example, \
             expect: deny, rule: pinned/default}}\n"
        ),
        format!(
            "    - {{process: {{image: '{digest}'}}, to: bot.example, expect: allow, \
             rule: unregistered/default}}\n"
        ),
    ]
    .concat();
    let documents = load(&[("p.yaml", &*text)]).unwrap_or_else(|bad| panic!("{bad}"));
    let outcomes = testing::run(&documents, &[]).unwrap_or_else(|bad| panic!("{bad}"));
    let words: Vec<String> = outcomes.iter().flat_map(|one| one.words()).collect();
    assert!(outcomes.len() == 7 && outcomes.iter().all(|one| one.passed), "{words:#?}");
    assert!(words[0].contains("bot/egress/1"), "{words:#?}");
}
