//! What the parsers say of the bytes that they are given.

use governd_common::{
    conversation::Conversation,
    http::HttpRefusal,
    stream::Progress,
    tls::{Hello, TlsRefusal},
};

#[cfg(feature = "calls")]
use crate::skb::copy;
use crate::{hello::HelloScratch, loops::Helper};

/// How far the bytes came.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Reading {
    More,
    Named,
    /// The code of a refusal, and whether the bytes are of another protocol or name nobody.
    Refused(u8, bool),
    /// No name can come any more.
    Over,
}

#[inline(always)]
pub(crate) fn read_tls(hello: &mut Hello, scratch: &mut HelloScratch) -> Reading {
    match feed_hello(hello, scratch) {
        Ok(Progress::More) => Reading::More,
        Ok(Progress::Complete) => Reading::Named,
        Err(TlsRefusal::NotTls) if hello.is_another() => Reading::Over,
        Err(refusal) => {
            let names_nobody =
                matches!(refusal, TlsRefusal::NotTls | TlsRefusal::NoName | TlsRefusal::Address);
            Reading::Refused(refusal as u8, names_nobody)
        }
    }
}

#[inline(always)]
pub(crate) fn read_http(talk: &mut Conversation, scratch: &mut HelloScratch) -> Reading {
    match feed_talk(talk, scratch) {
        Ok(Progress::More) => Reading::More,
        Ok(Progress::Complete) => Reading::Named,
        Err(refusal) => {
            let names_nobody = matches!(
                refusal,
                HttpRefusal::NotHttp | HttpRefusal::NoHost | HttpRefusal::Address
            );
            Reading::Refused(refusal as u8, names_nobody)
        }
    }
}

#[cfg(not(feature = "calls"))]
#[inline(always)]
fn feed_hello(hello: &mut Hello, scratch: &mut HelloScratch) -> Result<Progress, TlsRefusal> {
    hello.feed::<Helper>(&mut scratch.chunk)
}

#[cfg(not(feature = "calls"))]
#[inline(always)]
fn feed_talk(talk: &mut Conversation, scratch: &mut HelloScratch) -> Result<Progress, HttpRefusal> {
    talk.feed::<Helper>(&mut scratch.chunk)
}

/// A socket's storage has no number, so the state is copied from there and back.
#[cfg(feature = "calls")]
#[inline(always)]
fn feed_hello(hello: &mut Hello, scratch: &mut HelloScratch) -> Result<Progress, TlsRefusal> {
    copy(&mut scratch.hello, hello);
    let progress = scratch.hello.feed::<Helper>(&mut scratch.chunk);
    copy(hello, &scratch.hello);
    progress
}

/// As above.
#[cfg(feature = "calls")]
#[inline(always)]
fn feed_talk(talk: &mut Conversation, scratch: &mut HelloScratch) -> Result<Progress, HttpRefusal> {
    copy(&mut scratch.talk, talk);
    let progress = scratch.talk.feed::<Helper>(&mut scratch.chunk);
    copy(talk, &scratch.talk);
    progress
}
