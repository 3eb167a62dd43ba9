//! The body of the loop over a chunk.

use super::Hello;
use crate::{
    limits::HELLO_BYTES_MAX,
    repeat::{Loop, Step, Work},
    stream::Chunk,
};

impl Hello {
    /// One round of the loop over the chunk, for who cannot hand on a [`Work`].
    #[inline(always)]
    pub fn round(&mut self, chunk: &mut Chunk) -> Step {
        FeedByte::step(0, &mut Feed { hello: self, chunk })
    }
}

pub(super) struct Feed<'a> {
    pub(super) hello: &'a mut Hello,
    pub(super) chunk: &'a mut Chunk,
}

pub(super) struct FeedByte;

impl Work<Feed<'_>> for FeedByte {
    #[inline(always)]
    fn of(_: &Feed<'_>) -> Loop {
        Loop::Hello
    }

    #[inline(always)]
    fn step(_index: u32, feed: &mut Feed<'_>) -> Step {
        let Feed { hello, chunk } = feed;
        let available = chunk.left();
        let is_over = hello.complete | hello.refusal != 0 || hello.taken >= HELLO_BYTES_MAX as u32;
        if available == 0 || is_over {
            return Step::Stop;
        }
        if hello.record_left == 0 {
            let byte = chunk.take();
            return hello.record_byte(byte);
        }
        let step = if hello.skip != 0 {
            let mut bytes = hello.skip;
            if bytes > hello.record_left {
                bytes = hello.record_left;
            }
            if bytes > available {
                bytes = available;
            }
            chunk.at = chunk.at.wrapping_add(bytes);
            hello.skip(bytes);
            Step::Again
        } else {
            hello.account(1);
            let byte = chunk.take();
            hello.message_byte(byte)
        };
        if step == Step::Again && hello.has_hello != 0 && hello.message_left == 0 {
            return hello.finish();
        }
        step
    }
}
