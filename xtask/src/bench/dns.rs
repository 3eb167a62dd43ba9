//! DNS messages (RFC 1035, section 4), as few as the bench needs: questions for addresses of one
//! name, and their answers.

use std::net::Ipv4Addr;

const HEADER_BYTES: usize = 12;
/// A query with recursion desired; an answer to one, with recursion available and without error.
const FLAGS_QUERY: [u8; 2] = [0x01, 0x00];
const FLAGS_ANSWER: [u8; 2] = [0x81, 0x80];
const TYPE_A: [u8; 2] = [0, 1];
const CLASS_IN: [u8; 2] = [0, 1];
const TTL_S: u32 = 300;

/// A question for the addresses of a name.
pub(super) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(FLAGS_QUERY);
    // One question and nothing else.
    message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len().min(63) as u8);
        message.extend(label.bytes().take(63));
    }
    message.push(0);
    message.extend(TYPE_A);
    message.extend(CLASS_IN);
    message
}

/// The answer to a question: what `addresses` says, and nothing for types other than A. `None` if
/// it is no question.
pub(super) fn answer(
    query: &[u8],
    addresses: impl FnOnce(&str) -> Vec<Ipv4Addr>,
) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let question = query.get(HEADER_BYTES..end + 4)?;
    let found = if question.ends_with(&[TYPE_A, CLASS_IN].concat()) {
        addresses(&name.to_ascii_lowercase())
    } else {
        Vec::new()
    };
    let mut message = query.get(..2)?.to_vec();
    message.extend(FLAGS_ANSWER);
    message.extend([0, 1]);
    message.extend(u16::try_from(found.len()).ok()?.to_be_bytes());
    message.extend([0, 0, 0, 0]);
    message.extend(question);
    for address in found {
        // The name is the question's, at byte 12.
        message.extend([0xc0, HEADER_BYTES as u8]);
        message.extend(TYPE_A);
        message.extend(CLASS_IN);
        message.extend(TTL_S.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}

/// How many addresses an answer to `query` has; `None` if it answers something else.
pub(super) fn answered(query: &[u8], message: &[u8]) -> Option<u16> {
    let is_same = message.get(..2)? == query.get(..2)?
        && message.get(HEADER_BYTES..)?.starts_with(query.get(HEADER_BYTES..)?);
    let count = message.get(6..8)?.try_into().ok()?;
    is_same.then(|| u16::from_be_bytes(count))
}

/// The name of the question, and where its type begins.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER_BYTES);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?));
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_its_question_and_has_the_addresses() {
        let asked = query(7, "API.bench.example");
        let address = Ipv4Addr::new(10, 99, 0, 2);
        let found = answer(&asked, |name| {
            assert_eq!(name, "api.bench.example");
            vec![address, address]
        });
        let found = found.unwrap();
        assert_eq!(answered(&asked, &found), Some(2));
        assert!(found.ends_with(&[0, 4, 10, 99, 0, 2]), "{found:?}");
        assert_eq!(answered(&query(8, "api.bench.example"), &found), None);
        // AAAA: there is none.
        let mut other = asked.clone();
        let at = other.len() - 3;
        other[at] = 28;
        assert_eq!(answered(&other, &answer(&other, |_| vec![address]).unwrap()), Some(0));
        assert_eq!(answer(&asked[..20], |_| vec![address]), None);
    }
}
