//! Bounded loops that both targets can run.
//!
//! A plain loop over message bytes makes the verifier walk every round; the `bpf_loop` helper
//! (Linux 5.17) lets it check the body once. Parsers therefore say what one round does and leave
//! the driving to a [`Repeat`]: `bpf_loop` in the programs, a `for` here. All that changes from
//! round to round lives in the state, which the programs keep in map memory, where the verifier
//! does not track values. The helper wants its context on the stack, so a program hands it the
//! address of a pointer to the state, and the callback, an `extern "C"` function generic over state
//! and work, reads that pointer back.

/// Whether another round follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Go on.
    Again,
    /// Leave the loop.
    Stop,
}

/// The body of a loop.
pub trait Work<S> {
    /// One round; `index` counts from 0.
    fn step(index: u32, state: &mut S) -> Step;
}

/// Who drives the loops.
pub trait Repeat {
    /// Runs `W` until it stops, at most `max` times.
    fn repeat<S, W: Work<S>>(max: u32, state: &mut S);
}

/// Loops of user space.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Repeat for Plain {
    fn repeat<S, W: Work<S>>(max: u32, state: &mut S) {
        for index in 0..max {
            if W::step(index, state) == Step::Stop {
                return;
            }
        }
    }
}
