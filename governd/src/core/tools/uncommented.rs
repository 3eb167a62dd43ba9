//! JSON as editors allow it (comments, commas at ends), made JSON as it is read.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Bytes, Read},
};

/// Leaves comments out, and commas before a closing bracket. Strings stay as they are.
pub(super) struct Uncommented<R> {
    bytes: Bytes<BufReader<R>>,
    state: State,
    /// A comma that stays only if another value follows.
    has_comma: bool,
    ready: VecDeque<u8>,
}

#[derive(Clone, Copy)]
enum State {
    Outside,
    String,
    Escape,
    Slash,
    Line,
    Block,
    Star,
}

impl<R: Read> Uncommented<R> {
    pub(super) fn new(inner: R) -> Self {
        let bytes = BufReader::new(inner).bytes();
        Self { bytes, state: State::Outside, has_comma: false, ready: VecDeque::new() }
    }

    fn take(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Outside, b'/') => State::Slash,
            (State::Outside, _) => self.outside(byte),
            (State::String, b'\\') => self.pass(byte, State::Escape),
            (State::String, b'"') => self.pass(byte, State::Outside),
            (State::String | State::Escape, _) => self.pass(byte, State::String),
            (State::Slash, b'/') => State::Line,
            (State::Slash, b'*') => State::Block,
            (State::Slash, _) => {
                self.ready.push_back(b'/');
                self.outside(byte)
            }
            (State::Line, b'\n') => State::Outside,
            (State::Line, _) => State::Line,
            (State::Star, b'/') => State::Outside,
            (State::Block | State::Star, b'*') => State::Star,
            (State::Block | State::Star, _) => State::Block,
        };
    }

    fn outside(&mut self, byte: u8) -> State {
        match byte {
            b'}' | b']' => self.has_comma = false,
            byte if byte.is_ascii_whitespace() => {}
            _ => self.comma(),
        }
        match byte {
            b',' => self.has_comma = true,
            _ => self.ready.push_back(byte),
        }
        if byte == b'"' { State::String } else { State::Outside }
    }

    fn pass(&mut self, byte: u8, next: State) -> State {
        self.ready.push_back(byte);
        next
    }

    fn comma(&mut self) {
        if std::mem::take(&mut self.has_comma) {
            self.ready.push_back(b',');
        }
    }
}

impl<R: Read> Read for Uncommented<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.len() < buffer.len() {
            match self.bytes.next() {
                Some(byte) => self.take(byte?),
                None => {
                    self.comma();
                    break;
                }
            }
        }
        self.ready.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_left_out_and_strings_stay() {
        let rows = [
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("{\"a\": 1,\n}", "{\"a\": 1\n}"),
            ("[1, 2, /* 3 */ ]", "[1 ,2  ]"),
            ("[1, // 2\n3]", "[1 ,3]"),
            ("\"a // b \\\" /* c */ ,]\"", "\"a // b \\\" /* c */ ,]\""),
            ("/* ** / */[]", "[]"),
            ("a/b", "a/b"),
            ("[1,,2]", "[1,,2]"),
        ];
        for (text, expected) in rows {
            for step in [1, 3, 64] {
                let mut whole = Vec::new();
                let mut from = Uncommented::new(text.as_bytes());
                let mut part = vec![0; step];
                loop {
                    let read = from.read(&mut part).unwrap();
                    if read == 0 {
                        break;
                    }
                    whole.extend_from_slice(&part[..read]);
                }
                assert_eq!(String::from_utf8(whole).unwrap(), expected, "{text}");
            }
        }
    }
}
