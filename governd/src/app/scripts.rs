//! What scripts processes run, as far as some entry of the policy may be about them.
//!
//! A thread looks. A file system that does not answer (FUSE, of whoever runs the process) may hold
//! it up for ever: then another thread goes on with the next process, a few times.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use governd_common::event::EventHeader;
use tokio::sync::Notify;

use crate::{
    core::process::Process,
    workload::{
        proc::ProcFs,
        program::script::{self, FileId, Question, has_script},
        table::Known,
    },
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most threads that wait for file systems; beyond them no further script is looked for.
const STALLED_MAX: usize = 16;
/// Most processes of which it is kept what script they run.
const KNOWN_MAX: usize = 65_536;

/// Starts a thread that wakes who waits for its answers.
type Start = Box<dyn Fn(Arc<Notify>) -> io::Result<script::Scripts>>;

/// Scripts of processes.
pub(super) struct Scripts {
    start: Start,
    /// `None` if the system gave no thread.
    worker: Option<script::Scripts>,
    news: Arc<Notify>,
    /// By pid who was asked about, and what the answer was.
    known: HashMap<u32, (Arc<Process>, Option<FileId>)>,
    /// Pids of which the answer is still to come, in its order.
    waiting: VecDeque<u32>,
    /// When the thread had an answer last, or got something to do.
    lively: Instant,
    stalled: usize,
    /// Whether all processes are to be looked at again: some could not be asked about, or started
    /// others before they were recognised.
    pub(super) is_behind: bool,
}

impl Scripts {
    /// Over a proc file system.
    pub(super) fn over(proc: ProcFs) -> Self {
        Self::new(Box::new(move |news| script::Scripts::start(proc.clone(), news)))
    }

    fn new(start: Start) -> Self {
        let mut scripts = Self {
            start,
            worker: None,
            news: Arc::default(),
            known: HashMap::new(),
            waiting: VecDeque::new(),
            lively: Instant::now(),
            stalled: 0,
            is_behind: false,
        };
        scripts.restart();
        scripts
    }

    fn restart(&mut self) {
        let worker = (self.start)(Arc::clone(&self.news));
        let worker = worker.inspect_err(|error| tracing::warn!(%error, "no agent by its script"));
        self.worker = worker.ok();
    }

    /// Is notified of each answer.
    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// The script of a process, if it is known.
    pub(super) fn of(&self, process: &Process) -> Option<FileId> {
        self.asked(process).flatten()
    }

    fn asked(&self, process: &Process) -> Option<Option<FileId>> {
        let is_same = |of: &Process| of.exe == process.exe && of.args == process.args;
        self.known.get(&process.pid).filter(|(of, _)| is_same(of)).map(|(_, file)| *file)
    }

    /// Asks about a process, unless it was or its command line names no script; whether the answer
    /// is still to come.
    pub(super) fn ask(&mut self, known: &Known, executed: Option<EventHeader>) -> bool {
        let process = &known.process;
        let Some(worker) = &self.worker else { return false };
        if !has_script(process) || (executed.is_none() && self.asked(process).is_some()) {
            return false;
        }
        if !worker.ask(Question { known: known.clone(), executed }) {
            self.is_behind = true;
            return false;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(process.pid, (Arc::clone(process), None));
        if self.waiting.is_empty() {
            self.lively = Instant::now();
        }
        self.waiting.push_back(process.pid);
        true
    }

    /// Whether answers are still to come.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// An answer that is there, or comes within a time.
    pub(super) fn next(&mut self, patience: Duration) -> Option<(Question, Option<FileId>)> {
        let worker = self.worker.as_ref()?;
        let answer = if patience.is_zero() { worker.next() } else { worker.next_within(patience) };
        let (question, file) = answer?;
        self.waiting.pop_front();
        self.lively = Instant::now();
        let process = &question.known.process;
        self.known.insert(process.pid, (Arc::clone(process), file));
        Some((question, file))
    }

    /// Leaves a process alone that holds up all others.
    pub(super) fn look_after(&mut self, now: Instant) {
        let is_stalled = self.is_waiting() && now.duration_since(self.lively) > PATIENCE;
        if !is_stalled || self.worker.is_none() {
            return;
        }
        let held_up = self.waiting.pop_front();
        for pid in self.waiting.drain(..) {
            self.known.remove(&pid);
        }
        self.is_behind = true;
        self.stalled += 1;
        tracing::error!(pid = held_up, "where its script is does not answer: it is no agent by it");
        if self.stalled < STALLED_MAX {
            self.restart();
        } else {
            tracing::error!(
                threads = self.stalled,
                "no process is an agent by its script any more"
            );
            self.worker = None;
        }
    }

    /// Forgets who does not run any more.
    pub(super) fn keep(&mut self, running: &[Known]) {
        if !self.known.is_empty() {
            let running: HashSet<u32> = running.iter().map(|known| known.process.pid).collect();
            self.known.retain(|pid, _| running.contains(pid));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::workload::worker::Worker;

    /// A thread that never comes back from process 1, and finds inode 7 for others.
    fn scripts() -> Scripts {
        Scripts::new(Box::new(|news| {
            Worker::spawn_notifying("test", 2, news, |question: Question| {
                if question.known.process.pid == 1 {
                    loop {
                        thread::park();
                    }
                }
                Some((question, Some((1, 7))))
            })
        }))
    }

    fn process(pid: u32) -> Known {
        let args: Vec<String> = ["python3", "a.py"].map(str::to_owned).to_vec();
        let process = Process { pid, args: Some(args.into()), ..Process::default() };
        Known { process: Arc::new(process), lineage: Arc::new([]) }
    }

    #[test]
    fn who_holds_up_others_is_left_alone() {
        let mut scripts = scripts();
        let [stuck, other] = [process(1), process(2)];
        assert!(scripts.ask(&stuck, None) && scripts.ask(&other, None));
        scripts.look_after(Instant::now());
        assert!(!scripts.is_behind && scripts.next(Duration::from_millis(1)).is_none());
        scripts.look_after(Instant::now() + 2 * PATIENCE);
        assert!(scripts.is_behind && !scripts.is_waiting());
        assert!(!scripts.ask(&stuck, None), "it is not asked about again");
        assert!(scripts.ask(&other, None), "it is");
        let (_, file) = scripts.next(Duration::from_secs(60)).unwrap();
        assert_eq!((file, scripts.of(&other.process)), (Some((1, 7)), Some((1, 7))));
        assert_eq!(scripts.of(&stuck.process), None);
    }

    #[test]
    fn after_some_of_them_no_further_thread_is_left_behind() {
        let mut scripts = scripts();
        for _ in 0..STALLED_MAX {
            scripts.known.clear();
            assert!(scripts.ask(&process(1), None));
            scripts.look_after(Instant::now() + 2 * PATIENCE);
        }
        scripts.known.clear();
        assert!(!scripts.ask(&process(2), None));
    }

    #[test]
    fn what_cannot_be_asked_is_not_forgotten() {
        let mut scripts = scripts();
        let asked = (0..8).filter(|_| {
            scripts.known.clear();
            scripts.ask(&process(1), None)
        });
        assert!(asked.count() < 8);
        assert!(scripts.is_behind);
        let mut nothing = process(3);
        nothing.process = Arc::new(Process { pid: 3, ..Process::default() });
        assert!(!scripts.ask(&nothing, None), "it runs no script");
    }
}
