//! All variants side by side, each attached to a cgroup of its own.

use anyhow::Result;

use super::{
    Bench, RULES, RULES_USUAL,
    daemon::Daemon,
    field::{Cgroup, Namespace, Servant},
    figure::{self, Beside, Bound, Figure, Single},
    nftables,
    report::Report,
    work::{Chore, Work},
};
use crate::say;

impl Bench {
    /// All variants side by side.
    pub(super) fn beside(&self, rounds: u32, report: &mut Report) -> Result<()> {
        let files = self.files();
        // Programs at interfaces are there for everybody in a namespace, agent or not.
        let namespace = Namespace::create("beside", files)?;
        let apart = Namespace::create("apart", files)?;
        let filter = Namespace::create("nftables", files)?;
        let _servers = [(&namespace, "beside"), (&apart, "apart"), (&filter, "nftables")]
            .map(|(namespace, what)| Servant::serve(namespace, what, &self.other))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let nothing = Cgroup::create("nothing")?;
        let cgroups = RULES.map(|rules| Cgroup::create(&format!("rules-{rules}")));
        let cgroups = cgroups.into_iter().collect::<Result<Vec<_>>>()?;
        let places = RULES.map(|rules| self.place("beside", rules));
        let places = places.into_iter().collect::<Result<Vec<_>>>()?;
        let filtered = Cgroup::create("nftables")?;
        let mut daemons: Vec<Daemon<'_>> = Vec::new();
        let mut variants = Beside::default();
        variants.add(figure::NOTHING, self.worker(&self.other, &nothing, &apart)?);
        for ((place, cgroup), rules) in places.iter().zip(&cgroups).zip(RULES) {
            daemons.push(place.start(cgroup.path())?.0);
            for (program, who) in [(&self.other, figure::OTHER), (&self.agent, figure::AGENT)] {
                let mut worker = self.worker(program, cgroup, &namespace)?;
                if who == figure::AGENT {
                    worker.act(Chore::Judged, 1)?;
                }
                variants.add(&figure::governd(rules, who), worker);
            }
        }
        nftables::filter(&filter, filtered.path(), RULES_USUAL)?;
        variants.add(nftables::LABEL, self.worker(&self.other, &filtered, &filter)?);
        let mut figures = Work::NETWORK.map(|work| Figure::new(work, variants.labels()));
        for round in 0..rounds {
            say::note(format_args!("round {} of {rounds}", round + 1));
            for figure in &mut figures {
                let values = variants.measure(figure.work, round)?;
                figure.round(values);
            }
        }
        report.singles.extend(figures.iter().flat_map(growth));
        report.figures.extend(figures);
        drop(variants);
        Ok(())
    }
}

/// How many times as long the most rules take as the fewest.
fn growth(figure: &Figure) -> Vec<Single> {
    let [few, _, many] = RULES;
    let single = |who| {
        let values = figure.against(&figure::governd(many, who), &figure::governd(few, who));
        let [few, many] = [few, many].map(|rules| figure::grouped(rules as f64));
        let title = format!("{}, {many} rules against {few}: {who}", figure.title());
        Single::new(&title, "", Bound::Most(1.1), values)
    };
    [figure::OTHER, figure::AGENT].map(single).into()
}
