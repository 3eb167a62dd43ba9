//! One direction of a TCP connection, put in order as its receiver does: by sequence number, the
//! first copy of a byte counting.

/// Segments that wait for a gap to be filled; when there are more, the gap is given up.
const WAITING_MAX: usize = 128;

/// What a segment does to the order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// Bytes that continue the stream, and the frame that they came in.
    Bytes(Vec<u8>, u64),
    /// Bytes are missing here, for good.
    Gap,
}

/// The order of one direction.
#[derive(Debug, Default)]
pub(super) struct Order {
    next: Option<u32>,
    waiting: Vec<Segment>,
}

/// A segment that waits.
#[derive(Debug)]
struct Segment {
    at: u32,
    frame: u64,
    bytes: Vec<u8>,
}

impl Order {
    /// A SYN; returns true if it begins a new connection rather than repeating itself.
    pub(super) fn begin(&mut self, sequence: u32) -> bool {
        let first = sequence.wrapping_add(1);
        if self.next == Some(first) {
            return false;
        }
        self.next = Some(first);
        self.waiting.clear();
        true
    }

    /// Adds a segment's payload and returns what can be handed on, in order.
    pub(super) fn add(&mut self, sequence: u32, payload: &[u8], frame: u64) -> Vec<Piece> {
        if payload.is_empty() {
            return Vec::new();
        }
        self.waiting.push(Segment { at: sequence, frame, bytes: payload.to_vec() });
        self.next.get_or_insert(sequence);
        let mut pieces = self.ready();
        if self.waiting.len() > WAITING_MAX {
            pieces.extend(self.give_up_gap());
        }
        pieces
    }

    /// Hands on what still waits, with the gaps before it.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !self.waiting.is_empty() {
            pieces.extend(self.give_up_gap());
        }
        pieces
    }

    fn give_up_gap(&mut self) -> Vec<Piece> {
        let next = self.next.unwrap_or_default();
        let nearest =
            self.waiting.iter().map(|segment| segment.at).min_by_key(|at| ahead(*at, next));
        self.next = nearest;
        let mut pieces = vec![Piece::Gap];
        pieces.extend(self.ready());
        pieces
    }

    fn ready(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(next) = self.next {
            let due = |segment: &Segment| ahead(segment.at, next) <= 0;
            let Some(index) = self.waiting.iter().position(due) else {
                break;
            };
            let Segment { at, frame, bytes } = self.waiting.remove(index);
            let known = ahead(next, at) as usize;
            if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
                self.next = Some(next.wrapping_add(new.len() as u32));
                pieces.push(Piece::Bytes(new.to_vec(), frame));
            }
        }
        pieces
    }
}

/// How far `at` is ahead of `from` in sequence space (RFC 9293 section 3.4).
fn ahead(at: u32, from: u32) -> i32 {
    at.wrapping_sub(from) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: Vec<Piece>) -> String {
        let word = |piece| match piece {
            Piece::Bytes(bytes, _) => String::from_utf8(bytes).unwrap(),
            Piece::Gap => "|".to_owned(),
        };
        pieces.into_iter().map(word).collect()
    }

    #[test]
    fn segments_come_out_in_order_and_once() {
        let mut order = Order::default();
        assert!(order.begin(u32::MAX - 2));
        assert_eq!(text(order.add(u32::MAX - 1, b"abc", 1)), "abc");
        assert_eq!(text(order.add(4, b"gh", 1)), "");
        assert_eq!(text(order.add(u32::MAX, b"bcd", 1)), "d");
        assert_eq!(text(order.add(2, b"efg", 1)), "efgh");
        assert_eq!(text(order.add(0, b"XXXXXXi", 1)), "i");
    }

    #[test]
    fn a_repeated_syn_changes_nothing_and_another_begins_again() {
        let mut order = Order::default();
        assert!(order.begin(9));
        assert!(!order.begin(9));
        assert_eq!(text(order.add(10, b"a", 1)), "a");
        assert!(order.begin(99));
        assert_eq!(text(order.add(100, b"b", 1)), "b");
    }

    #[test]
    fn a_gap_is_given_up_at_the_end_or_when_too_much_waits() {
        let mut order = Order::default();
        order.begin(0);
        assert_eq!(text(order.add(5, b"e", 1)), "");
        assert_eq!(text(order.add(3, b"c", 1)), "");
        assert_eq!(text(order.finish()), "|c|e");
        for at in 0..WAITING_MAX as u32 {
            assert_eq!(text(order.add(100 + 2 * at, b"x", 1)), "");
        }
        assert_eq!(text(order.add(99, b"wx", 1)), "|wx");
    }
}
