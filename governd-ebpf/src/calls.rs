//! Loops of the programs where the kernel has no helper that repeats (before Linux 5.17).
//!
//! A round is a global function: the verifier checks it once, by itself, and each call of it costs
//! two instructions. A loop over such calls may then be walked to its end, and is in two global
//! functions of its own, so that it is walked once, however many ways lead to it.
//!
//! Before Linux 5.13 global functions take numbers and no pointers to memory. So the state is where
//! a function finds it by a number: in the memory that a CPU has for one message, or for one chunk.

use core::{arch::asm, ptr};

use governd_common::{
    limits::CHUNK_BYTES_MAX,
    repeat::{Loop, Plain, Repeat, Step, Work},
};

use crate::{
    answer::BindAddress,
    dns::DnsScratch,
    hello::HelloScratch,
    tables::{DNS_SCRATCH, HELLO_SCRATCH},
};

/// Rounds that are walked together, and how many times that.
const TOGETHER: u32 = 64;
const TIMES: u32 = 65;
const _: () = assert!(TOGETHER * TIMES > CHUNK_BYTES_MAX as u32);

/// What a round gives when none is to follow.
const STOP: u32 = 1;

/// The functions, since Linux 5.6.
pub(crate) struct Helper;

impl Repeat for Helper {
    #[inline(always)]
    fn repeat<S, W: Work<S>>(max: u32, state: &mut S) {
        let of = W::of(state);
        yield_to_others(state);
        match of {
            Loop::Question(place) => question_rounds(place, max),
            Loop::Labels(place) => label_rounds(place, max),
            Loop::Comparison(place) => comparison_rounds(place, max),
            Loop::Records(place) => record_rounds(place, max),
            Loop::Options(place) => option_rounds(place, max),
            Loop::Padding(place) => padding_rounds(place, max),
            Loop::Addresses(place) => address_rounds(place, max),
            Loop::Hello => hello_rounds(0, max),
            Loop::Conversation => conversation_rounds(0, max),
            Loop::Short => {
                Plain::repeat::<S, W>(max, state);
                0
            }
        };
        yield_to_others(state);
    }
}

/// Makes the compiler write the state before the functions change it, and read it again after that:
/// they have it by another way than through this reference.
#[inline(always)]
fn yield_to_others<S>(state: &mut S) {
    // SAFETY: no instruction at all, of which the compiler knows only that it gets the address.
    unsafe { asm!("/* {0} */", in(reg) ptr::from_mut(state), options(nostack, preserves_flags)) };
}

/// Makes the compiler pass on a number that a round may have no use for: it would leave the
/// register as it is, and the verifier wants something in it.
#[inline(always)]
fn take(number: u32) {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", in(reg) number, options(nomem, nostack, preserves_flags)) };
}

/// The functions of a loop: all rounds, those that are walked together, and one.
macro_rules! rounds {
    ($all:ident, $some:ident, $one:ident, |$place:ident, $index:ident| $step:expr) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $all(place: u32, max: u32) -> u32 {
            for times in 0..TIMES {
                if $some(place, times * TOGETHER, max) != 0 {
                    break;
                }
            }
            0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $some(place: u32, first: u32, max: u32) -> u32 {
            for at in 0..TOGETHER {
                let index = first.wrapping_add(at);
                if index >= max || $one(place, index) != 0 {
                    return STOP;
                }
            }
            0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $one($place: u32, $index: u32) -> u32 {
            take($place);
            take($index);
            $step.map_or(STOP, |step: Step| u32::from(step == Step::Stop))
        }
    };
}

rounds!(question_rounds, some_question_rounds, question_round, |place, index| {
    message(place).map(|it| it.dns.round::<Helper>(Loop::Question(place), index))
});
rounds!(label_rounds, some_label_rounds, label_round, |place, index| {
    message(place).map(|it| it.dns.round::<Helper>(Loop::Labels(place), index))
});
rounds!(comparison_rounds, some_comparison_rounds, comparison_round, |place, index| {
    message(place).map(|it| it.dns.round::<Helper>(Loop::Comparison(place), index))
});
rounds!(record_rounds, some_record_rounds, record_round, |place, index| {
    message(place).map(|it| it.dns.round::<Helper>(Loop::Records(place), index))
});
rounds!(option_rounds, some_option_rounds, option_round, |place, index| {
    message(place).map(|it| it.dns.round::<Helper>(Loop::Options(place), index))
});
rounds!(padding_rounds, some_padding_rounds, padding_round, |place, index| {
    message(place).map(|it| it.dns.round::<Helper>(Loop::Padding(place), index))
});
rounds!(address_rounds, some_address_rounds, address_round, |place, index| {
    message(place).map(|it| BindAddress::step(index, it))
});
rounds!(hello_rounds, some_hello_rounds, hello_round, |place, index| {
    chunk(place).map(|it| it.hello.round(&mut it.chunk))
});
rounds!(conversation_rounds, some_conversation_rounds, conversation_round, |place, index| {
    chunk(place).map(|it| it.talk.round(&mut it.chunk))
});

/// The message that is in a place; there is one in each that somebody tells.
#[inline(always)]
fn message(place: u32) -> Option<&'static mut DnsScratch> {
    // SAFETY: this CPU's memory, which whoever calls keeps for himself.
    DNS_SCRATCH.get_ptr_mut(place).map(|scratch| unsafe { &mut *scratch })
}

/// The chunk, and how far it was read; there is one place.
#[inline(always)]
fn chunk(place: u32) -> Option<&'static mut HelloScratch> {
    // SAFETY: this CPU's memory, which whoever calls keeps for himself.
    HELLO_SCRATCH.get_ptr_mut(place).map(|scratch| unsafe { &mut *scratch })
}
