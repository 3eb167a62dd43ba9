//! Bounded loops that both targets can run.
//!
//! A plain loop over message bytes makes the verifier walk every round; the `bpf_loop` helper
//! (Linux 5.17) lets it check the body once. Parsers therefore say what one round does and leave
//! the driving to a [`Repeat`]: `bpf_loop` in the programs, a `for` here. All that changes from
//! round to round lives in the state, which the programs keep in map memory, where the verifier
//! does not track values. The helper wants its context on the stack, so a program hands it the
//! address of a pointer to the state, and the callback, an `extern "C"` function generic over state
//! and work, reads that pointer back.
//!
//! Before that helper, what is checked once is a global function, which is told numbers and no
//! pointers, and cannot be generic. So each work says which loop it is the body of, and in which of
//! the memories of its kind its state is: by that the programs for such kernels find both.

/// Whether another round follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Go on.
    Again,
    /// Leave the loop.
    Stop,
}

/// A loop, and in which memory its state is, where there are several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loop {
    /// Over the bytes of a DNS question's name.
    Question(u32),
    /// Over the labels of a name that is passed over.
    Labels(u32),
    /// Over the bytes of two names that are compared.
    Comparison(u32),
    /// Over the records of an answer.
    Records(u32),
    /// Over the options of a query.
    Options(u32),
    /// Over the bytes of a query's padding.
    Padding(u32),
    /// Over the addresses of an answer.
    Addresses(u32),
    /// Over the bytes of a TLS hello.
    Hello,
    /// Over the bytes of an HTTP conversation.
    Conversation,
    /// So little in each round that the verifier may walk them all.
    Short,
}

/// The body of a loop.
pub trait Work<S> {
    /// The loop that it is the body of.
    fn of(state: &S) -> Loop;

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
