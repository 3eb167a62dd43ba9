//! What the parsers say of the bytes that they are given.

use governd_common::{
    conversation::Conversation,
    http::HttpRefusal,
    stream::{Chunk, Progress},
    tls::{Hello, TlsRefusal},
};

use crate::skb::Helper;

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
pub(crate) fn read_tls(hello: &mut Hello, chunk: &mut Chunk) -> Reading {
    match hello.feed::<Helper>(chunk) {
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
pub(crate) fn read_http(talk: &mut Conversation, chunk: &mut Chunk) -> Reading {
    match talk.feed::<Helper>(chunk) {
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
