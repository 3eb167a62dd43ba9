//! Which subject a process is, as the kernel would say at exec: for processes that already run when
//! a policy comes into force, for those that only their script tells, and for `explain`.

use std::collections::HashMap;

use governd_common::table::{SelectorSet, SocketOwner, Task};

use super::process::Process;
use crate::policy::image::TableImage;

/// Selectors of a policy, indexed.
#[derive(Debug)]
pub struct Classifier<'a> {
    image: &'a TableImage,
    exes: HashMap<(u32, u64), &'a SelectorSet>,
    scripts: HashMap<(u32, u64), &'a SelectorSet>,
    uids: HashMap<u32, &'a SelectorSet>,
    cgroups: HashMap<u64, &'a SelectorSet>,
    parents: HashMap<u32, &'a SelectorSet>,
    delegations: HashMap<(u32, u32), u32>,
}

/// A process and where it is in the cgroup tree.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The process.
    pub process: &'a Process,
    /// Ids of its cgroup and of every cgroup above.
    pub cgroups: &'a [u64],
    /// Device and inode of the script that it runs, as far as it is known.
    pub script: Option<(u32, u64)>,
}

/// A change of the kernel's table of tracked processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskChange {
    /// Track the process with this tgid.
    Track(u32, Task),
    /// Stop tracking it: the policy no longer has its subject.
    Forget(u32),
}

impl<'a> Classifier<'a> {
    /// Indexes the selectors of a compiled policy.
    pub fn new(image: &'a TableImage) -> Self {
        Self {
            image,
            exes: image.exes.iter().map(|(key, set)| (*key, set)).collect(),
            scripts: image.scripts.iter().map(|(key, set)| (*key, set)).collect(),
            uids: image.uids.iter().map(|(key, set)| (*key, set)).collect(),
            cgroups: image.cgroups.iter().map(|(key, set)| (*key, set)).collect(),
            parents: image.parents.iter().map(|(key, set)| (*key, set)).collect(),
            delegations: image.delegations.iter().copied().collect(),
        }
    }

    /// Whether it may depend on the script that a process runs which agent it is.
    pub fn asks_script(&self, candidate: &Candidate<'_>) -> bool {
        let [exe, uid, cgroup] = self.fitting(candidate);
        let asking =
            exe.words.iter().zip(uid.words).zip(cgroup.words).zip(self.image.asking_script.words);
        asking.into_iter().any(|(((exe, uid), cgroup), asks)| exe & uid & cgroup & asks != 0)
    }

    /// The subject of a process by its own executable, script, user and cgroups; `None` if no
    /// selector claims it. What is unknown of the process matches no selector that asks for it.
    pub fn subject(&self, candidate: &Candidate<'_>) -> Option<u32> {
        self.agent(candidate, 0)
    }

    /// What becomes of a subject by what a process of it is recognised as; `None` if nothing does.
    fn delegated(&self, candidate: &Candidate<'_>, subject: u32) -> Option<u32> {
        let agent = self.agent(candidate, subject)?;
        self.delegations.get(&(subject, agent)).copied()
    }

    /// The agent that the first selector says that fits a process of a subject.
    fn agent(&self, candidate: &Candidate<'_>, subject: u32) -> Option<u32> {
        let [mut exe, uid, cgroup] = self.fitting(candidate);
        match candidate.script.and_then(|script| self.scripts.get(&script)) {
            None => exe = self.image.without_scripts(&exe),
            Some(script) => exe.meet(script),
        }
        let parents = self.parents.get(&subject).or_else(|| self.parents.get(&0));
        let words = exe.words.iter().zip(uid.words).zip(cgroup.words);
        for (word, ((exe, uid), cgroup)) in words.enumerate() {
            let started = parents.and_then(|set| set.words.get(word)).copied();
            let both = exe & uid & cgroup & started.unwrap_or(u64::MAX);
            if both != 0 {
                let selector = word * 64 + both.trailing_zeros() as usize;
                return self.image.selectors.get(selector).copied();
            }
        }
        None
    }

    /// The selectors that the executable, the user and the cgroups of a process fit.
    fn fitting(&self, candidate: &Candidate<'_>) -> [SelectorSet; 3] {
        let [any_exe, any_uid, any_cgroup] = &self.image.any;
        let process = candidate.process;
        let exe = process.exe.as_ref().and_then(|exe| self.exes.get(&(exe.device, exe.inode)));
        let uid = process.uid.and_then(|uid| self.uids.get(&uid));
        let mut cgroup = *any_cgroup;
        for set in candidate.cgroups.iter().filter_map(|id| self.cgroups.get(id)) {
            cgroup.join(set);
        }
        [**exe.unwrap_or(&any_exe), **uid.unwrap_or(&any_uid), cgroup]
    }

    /// Whether a subject stands for all agents that another one does, and more.
    fn is_stricter(&self, subject: u32, than: u32) -> bool {
        let members = |subject: u32| {
            let found = self.image.subjects.iter().find(|(known, _)| *known == subject);
            found.map(|(_, settings)| settings.members_or(subject))
        };
        let (Some(all), Some(before)) = (members(subject), members(than)) else { return false };
        before.iter().filter(|member| **member != 0).all(|member| all.contains(member))
    }

    fn has_subject(&self, subject: u32) -> bool {
        self.image.subjects.iter().any(|(known, _)| *known == subject)
    }
}

/// What to change in the kernel's table so that it fits a new policy: a tracked process stays what
/// it is while its subject exists, whatever became of its ancestors; others become what their
/// nearest tracked ancestor is, else what they are by themselves. Parents must come before their
/// children.
pub fn reconcile(
    classifier: &Classifier<'_>,
    candidates: &[Candidate<'_>],
    tracked: &HashMap<u32, Task>,
    now_ns: u64,
) -> Vec<TaskChange> {
    let mut known: HashMap<u32, Task> = HashMap::new();
    let mut changes = Vec::new();
    for (tgid, task) in tracked {
        if classifier.has_subject(task.subject) {
            known.insert(*tgid, *task);
        } else {
            changes.push(TaskChange::Forget(*tgid));
        }
    }
    for candidate in candidates {
        let pid = candidate.process.pid;
        if let Some(task) = known.get(&pid) {
            // The documents may say more of it now; that it becomes less strict is for its next
            // exec, since somebody may have written into the memory that it has.
            if let Some(subject) = classifier.delegated(candidate, task.subject)
                && classifier.is_stricter(subject, task.subject)
            {
                let task = Task { subject, root: pid, since_ns: now_ns };
                known.insert(pid, task);
                changes.push(TaskChange::Track(pid, task));
            }
            continue;
        }
        let inherited = candidate.process.parent.and_then(|parent| known.get(&parent)).copied();
        let inherited = inherited.map(|task| match classifier.delegated(candidate, task.subject) {
            Some(subject) => Task { subject, root: pid, since_ns: now_ns },
            None => task,
        });
        let own = || {
            // Of what is unclassified nothing may stay.
            let subject = classifier.subject(candidate).filter(|it| SocketOwner::is_agent(*it))?;
            Some(Task { subject, root: pid, since_ns: now_ns })
        };
        if let Some(task) = inherited.or_else(own) {
            known.insert(pid, task);
            changes.retain(|change| *change != TaskChange::Forget(pid));
            changes.push(TaskChange::Track(pid, task));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use zerocopy::FromZeros;

    use super::*;
    use crate::core::process::Exe;
    use governd_common::table::Subject;

    fn bits(selectors: &[usize]) -> SelectorSet {
        let mut set = SelectorSet::default();
        for selector in selectors {
            set.words[selector / 64] |= 1 << (selector % 64);
        }
        set
    }

    /// Selector 0: executable (1, 10) and user 5, subject 7. Selector 65: cgroup 99, subject 8.
    fn image() -> TableImage {
        let mut selectors = vec![0; 66];
        selectors[0] = 7;
        selectors[65] = 8;
        TableImage {
            selector_words: 2,
            any: [bits(&[65]), bits(&[65]), bits(&[0])],
            selectors,
            exes: vec![((1, 10), bits(&[0, 65]))],
            uids: vec![(5, bits(&[0, 65]))],
            cgroups: vec![(99, bits(&[0, 65]))],
            subjects: [0, 7, 8].map(|id| (id, Subject::new_zeroed())).to_vec(),
            ..TableImage::default()
        }
    }

    fn process(pid: u32, parent: u32, inode: u64, uid: u32) -> Process {
        let exe = Exe { path: PathBuf::from("/x"), device: 1, inode };
        Process { pid, parent: Some(parent), exe: Some(exe), uid: Some(uid), ..Process::default() }
    }

    #[test]
    fn all_fields_of_a_selector_must_hold() {
        let image = image();
        let classifier = Classifier::new(&image);
        let rows: &[(u64, u32, &[u64], Option<u32>)] = &[
            (10, 5, &[1], Some(7)),
            (10, 6, &[1], None),
            (11, 5, &[1], None),
            (11, 6, &[3, 99, 1], Some(8)),
            (10, 5, &[99], Some(7)),
        ];
        for (inode, uid, cgroups, expected) in rows {
            let process = process(1, 0, *inode, *uid);
            let candidate = Candidate { process: &process, cgroups, script: None };
            assert_eq!(classifier.subject(&candidate), *expected, "{inode} {uid} {cgroups:?}");
        }
    }

    #[test]
    fn what_is_unknown_matches_no_selector_that_asks_for_it() {
        let image = image();
        let process = Process { pid: 1, ..Process::default() };
        let candidate = Candidate { process: &process, cgroups: &[], script: None };
        assert_eq!(Classifier::new(&image).subject(&candidate), None);
    }

    /// Selector 0: executable (1, 10), running script (1, 20), subject 7. Selector 1: user 5,
    /// subject 8.
    fn scripted() -> TableImage {
        TableImage {
            selector_words: 1,
            any: [bits(&[1]), bits(&[0]), bits(&[0, 1])],
            selectors: vec![7, 8],
            exes: vec![((1, 10), bits(&[0, 1]))],
            uids: vec![(5, bits(&[0, 1]))],
            asking_script: bits(&[0]),
            scripts: vec![((1, 20), bits(&[0, 1]))],
            subjects: [0, 7, 8].map(|id| (id, Subject::new_zeroed())).to_vec(),
            ..TableImage::default()
        }
    }

    #[test]
    fn who_is_told_by_a_script_is_nobody_while_it_is_not_known() {
        let image = scripted();
        let classifier = Classifier::new(&image);
        let rows = [
            (10, 6, Some((1, 20)), Some(7), true),
            (10, 5, Some((1, 20)), Some(7), true),
            (10, 5, Some((1, 21)), Some(8), true),
            (10, 6, Some((1, 21)), None, true),
            (10, 6, None, None, true),
            (11, 6, Some((1, 20)), None, false),
        ];
        for (inode, uid, script, expected, asks) in rows {
            let process = process(1, 0, inode, uid);
            let candidate = Candidate { process: &process, cgroups: &[], script };
            assert_eq!(classifier.subject(&candidate), expected, "{inode} {uid} {script:?}");
            assert_eq!(classifier.asks_script(&candidate), asks, "{inode} {uid} {script:?}");
        }
        assert_eq!(image.without_scripts(&bits(&[0, 1])), bits(&[1]), "what the kernel gets");
    }

    /// Agent 7 is executable (1, 10), agent 8 executable (1, 11), and 9 executable (1, 12) where 7
    /// started it; 20 is 8 started by 7, 21 is 9 started by 7. 7 leaves 8 its own rights, if so.
    fn starting(is_own: bool) -> TableImage {
        let alone = Subject { default_rule: 1, ..Subject::new_zeroed() };
        let of = |members| Subject { members, ..Subject::new_zeroed() };
        TableImage {
            selector_words: 1,
            any: [bits(&[]), bits(&[0, 1, 2]), bits(&[0, 1, 2])],
            selectors: vec![7, 8, 9],
            exes: vec![((1, 10), bits(&[0])), ((1, 11), bits(&[1])), ((1, 12), bits(&[2]))],
            parents: vec![
                (0, bits(&[0, 1])),
                (7, bits(&[0, 1, 2])),
                (20, bits(&[0, 1, 2])),
                (21, bits(&[0, 1, 2])),
            ],
            delegations: vec![((7, 8), if is_own { 8 } else { 20 }), ((7, 9), 21)],
            subjects: vec![
                (0, alone),
                (7, alone),
                (8, alone),
                (9, alone),
                (20, of([7, 8, 0, 0])),
                (21, of([7, 9, 0, 0])),
            ],
            ..TableImage::default()
        }
    }

    #[test]
    fn what_an_agent_started_is_told_apart_and_own_rights_wait_for_an_exec() {
        let processes = [
            process(100, 1, 10, 5),
            process(101, 100, 11, 5),
            process(102, 101, 13, 5),
            process(103, 100, 12, 5),
            process(104, 1, 12, 5),
            process(105, 103, 10, 5),
        ];
        let candidates: Vec<Candidate<'_>> = processes
            .iter()
            .map(|process| Candidate { process, cgroups: &[], script: None })
            .collect();
        let task = |subject, root| Task { subject, root, since_ns: 5 };
        let image = starting(false);
        let changes = reconcile(&Classifier::new(&image), &candidates, &HashMap::new(), 5);
        let expected = [
            TaskChange::Track(100, task(7, 100)),
            TaskChange::Track(101, task(20, 101)),
            TaskChange::Track(102, task(20, 101)),
            TaskChange::Track(103, task(21, 103)),
            // Nobody started it, and it is the agent of nothing else.
            TaskChange::Track(105, task(21, 103)),
        ];
        assert_eq!(changes, expected);
        // Tracked as the one that started it, from a time without a document of its own.
        let tracked = HashMap::from([(101, task(7, 100))]);
        let later = |is_own: bool| {
            let image = starting(is_own);
            reconcile(&Classifier::new(&image), &candidates[1..2], &tracked, 5)
        };
        assert_eq!(later(false), [TaskChange::Track(101, task(20, 101))]);
        assert_eq!(later(true), []);
    }

    #[test]
    fn children_inherit_and_tracked_orphans_stay() {
        let image = image();
        let parent = process(100, 1, 10, 5);
        let child = process(101, 100, 11, 0);
        let orphan = process(102, 1, 11, 0);
        let gone = process(103, 1, 11, 0);
        let candidates = [&parent, &child, &orphan, &gone].map(|process| Candidate {
            process,
            cgroups: &[],
            script: None,
        });
        let task = |subject| Task { subject, root: 50, since_ns: 1 };
        let tracked = HashMap::from([(102, task(8)), (103, task(99))]);
        let changes = reconcile(&Classifier::new(&image), &candidates, &tracked, 5);
        let root = Task { subject: 7, root: 100, since_ns: 5 };
        let expected =
            [TaskChange::Forget(103), TaskChange::Track(100, root), TaskChange::Track(101, root)];
        assert_eq!(changes, expected);
    }
}
