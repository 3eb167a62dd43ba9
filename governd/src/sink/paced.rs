//! Handshakes in turns: each of their steps, which are the dearest thing that a stranger can have a
//! sink do, is followed by everything else that can go on meanwhile. However many come at once, who
//! is in waits for one step of theirs and not for all.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
};

/// What takes turns.
#[derive(Debug)]
pub(super) struct Pace {
    step: Semaphore,
}

impl Default for Pace {
    fn default() -> Self {
        Self { step: Semaphore::new(1) }
    }
}

/// That a future may go on.
struct MayGoOn(Notify);

impl Wake for MayGoOn {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Pace {
    /// Goes through with a future, a step at a time.
    pub(super) async fn go<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let may_go_on = Arc::new(MayGoOn(Notify::new()));
        let waker = Waker::from(Arc::clone(&may_go_on));
        loop {
            let step = self.step.acquire().await;
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            yield_now().await;
            drop(step);
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => may_go_on.0.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::{join, sync::oneshot, time};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn others_go_on_between_two_steps_of_many() {
        const STEPS: usize = 5;
        let (pace, steps) = (Pace::default(), Cell::new(0));
        let work = || {
            pace.go(async {
                for _ in 0..STEPS {
                    steps.set(steps.get() + 1);
                    yield_now().await;
                }
            })
        };
        // Steps that were made when another task came on; they may be few more than that.
        let seen = RefCell::new(Vec::new());
        let other = async {
            while steps.get() < 4 * STEPS {
                seen.borrow_mut().push(steps.get());
                yield_now().await;
            }
        };
        join!(work(), work(), work(), work(), other);
        let seen = seen.into_inner();
        assert!(seen.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{seen:?}");
        assert!(seen.len() >= 4 * STEPS - 1, "{seen:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_that_waits_keeps_nobody() {
        let pace = Pace::default();
        let (_never, silent) = oneshot::channel::<()>();
        let (say, heard) = oneshot::channel();
        let first = time::timeout(time::Duration::from_millis(50), pace.go(silent));
        let second = pace.go(heard);
        let third = async {
            time::sleep(time::Duration::from_millis(10)).await;
            say.send(7).unwrap();
        };
        let (first, second, ()) = join!(first, second, third);
        assert!(first.is_err());
        assert_eq!(second, Ok(7));
    }
}
