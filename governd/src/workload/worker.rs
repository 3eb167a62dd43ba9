//! A thread that answers questions, so that nobody who asks has to wait.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::Notify;

/// The thread. It ends with what it is doing when this is dropped.
#[derive(Debug)]
pub struct Worker<Question, Answer> {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

impl<Question: Send + 'static, Answer: Send + 'static> Worker<Question, Answer> {
    /// Starts the thread, for which at most so many questions wait. To some there is no answer.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn spawn(
        name: &str,
        waiting_max: usize,
        answer: impl FnMut(Question) -> Option<Answer> + Send + 'static,
    ) -> io::Result<Self> {
        Self::spawn_notifying(name, waiting_max, Arc::default(), answer)
    }

    /// The same, and who waits for `news` is woken by each answer.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn_notifying(
        name: &str,
        waiting_max: usize,
        news: Arc<Notify>,
        mut answer: impl FnMut(Question) -> Option<Answer> + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = sync_channel(waiting_max);
        // As many answers as questions: the thread waits where nobody takes them.
        let (told, answers) = sync_channel(waiting_max);
        thread::Builder::new().name(name.into()).spawn(move || {
            for question in asked {
                if let Some(answer) = answer(question) {
                    if told.send(answer).is_err() {
                        return;
                    }
                    news.notify_one();
                }
            }
        })?;
        Ok(Self { questions, answers })
    }

    /// Asks; never waits. False if too much is asked for already.
    pub fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }

    /// An answer that has come.
    pub fn next(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// An answer that comes within a time.
    pub fn next_within(&self, time: Duration) -> Option<Answer> {
        self.answers.recv_timeout(time).ok()
    }
}
