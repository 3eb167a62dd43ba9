//! Syslog messages (RFC 5424) over TCP, each behind its length (RFC 6587 section 3.4.1), and over
//! TLS (RFC 5425).
//!
//! Syslog has no answers: a message that was written is not yet one that arrived. What was written
//! last is therefore kept, and written again on the next connection when one breaks.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::Value;

use super::{
    Batch, Delivered, Destination, Fault, Item, SetUpError, TIMEOUT, config, record, text, tls,
};

/// Bytes of messages that are written again when a connection breaks.
const AGAIN_BYTES_MAX: usize = 1_024 * 1_024;
/// Names of structured data need a number that IANA gave, and 32473 is for examples (RFC 5612).
const STRUCTURED_DATA: &str = "governd@32473";
/// Longest HOSTNAME (RFC 5424 section 6).
const HOSTNAME_BYTES_MAX: usize = 255;

pub(super) struct Syslog {
    address: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    facility: u8,
    connection: Option<Connection>,
    /// Messages that were written last, and their bytes together.
    written: VecDeque<Vec<u8>>,
    written_bytes: usize,
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Syslog {
    pub(super) fn new(spec: &config::Syslog) -> Result<Self, SetUpError> {
        let config::Syslog { name, from: _, address, tls, facility } = spec;
        let tls = match tls {
            None => None,
            Some(tls) => {
                let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let server = ServerName::try_from(host.to_owned())
                    .map_err(|error| SetUpError::unusable(name, error))?;
                Some((tls::Identity::read(name, tls)?.client(name)?, server))
            }
        };
        Ok(Self {
            address: address.clone(),
            tls,
            facility: *facility,
            connection: None,
            written: VecDeque::new(),
            written_bytes: 0,
        })
    }

    fn connect(&self) -> io::Result<Connection> {
        let mut last = io::Error::other("the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => return self.secure(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn secure(&self, mut stream: TcpStream) -> io::Result<Connection> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let Some((config, server)) = &self.tls else {
            return Ok(Connection::Plain(stream));
        };
        let client = ClientConnection::new(Arc::clone(config), server.clone());
        let mut client = client.map_err(io::Error::other)?;
        while client.is_handshaking() {
            client.complete_io(&mut stream)?;
        }
        Ok(Connection::Tls(Box::new(StreamOwned::new(client, stream))))
    }

    /// The connection that is there and not ended by the other side, or a new one, to which has
    /// been written what may not have arrived over the one before.
    fn connection(&mut self) -> io::Result<&mut Connection> {
        let open = self.connection.take().filter(Connection::is_open);
        let connection = match open {
            Some(connection) => connection,
            None => {
                let mut connection = self.connect()?;
                for message in &self.written {
                    connection.write_all(message)?;
                }
                connection.flush()?;
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    fn write(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        let connection = self.connection()?;
        let mut written = Ok(());
        for message in messages {
            written = written.and_then(|()| connection.write_all(message));
        }
        let written = written.and_then(|()| connection.flush());
        if written.is_err() {
            self.connection = None;
        }
        written
    }

    fn remember(&mut self, messages: Vec<Vec<u8>>) {
        for message in messages {
            self.written_bytes += message.len();
            self.written.push_back(message);
        }
        while self.written_bytes > AGAIN_BYTES_MAX
            && let Some(oldest) = self.written.pop_front()
        {
            self.written_bytes -= oldest.len();
        }
    }
}

impl Connection {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Whether the other side has not ended it. What it sends is thrown away.
    fn is_open(&self) -> bool {
        let mut stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        };
        let mut byte = [0; 1];
        if stream.set_nonblocking(true).is_err() {
            return false;
        }
        let peeked = match self {
            Self::Plain(_) => stream.read(&mut byte),
            // A byte that is taken away would break the encryption.
            Self::Tls(_) => stream.peek(&mut byte),
        };
        let is_open = match peeked {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        stream.set_nonblocking(false).is_ok() && is_open
    }
}

impl Destination for Syslog {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        let frame = |item: &Item| {
            let message = message(self.facility, batch.origin, item);
            format!("{} {message}", message.len()).into_bytes()
        };
        let messages: Vec<Vec<u8>> = batch.items.iter().map(frame).collect();
        self.write(&messages)
            .map_err(|error| Fault::later(&format!("cannot write to {}", self.address), error))?;
        self.remember(messages);
        Ok(Delivered::default())
    }
}

fn message(facility: u8, origin: &str, item: &Item) -> String {
    let record = record(&item.line);
    let priority = u16::from(facility) * 8 + u16::from(severity(&record));
    let time = record.get("time").and_then(Value::as_i64);
    let time = time.and_then(|time| Timestamp::from_millisecond(time).ok());
    let time = time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"));
    let hostname = printable(text(&record, "/device/hostname").unwrap_or_default());
    let class = record.get("class_uid").and_then(Value::as_u64).unwrap_or_default();
    let index = item.index.to_string();
    let mut data = format!("[{STRUCTURED_DATA}");
    let uid = text(&record, "/metadata/uid").unwrap_or_default();
    for (name, value) in [("origin", origin), ("index", &index), ("uid", uid)] {
        data.push_str(&parameter(name, value));
    }
    format!("<{priority}>1 {time} {hostname} governd - {class} {data}] {}", item.line)
}

/// Syslog's severity for OCSF's.
fn severity(record: &Value) -> u8 {
    match record.get("severity_id").and_then(Value::as_u64) {
        Some(2) => 5,
        Some(3) => 4,
        Some(4) => 3,
        Some(5) => 2,
        Some(6) => 1,
        _ => 6,
    }
}

/// A header field: printable ASCII, or `-`.
fn printable(text: &str) -> &str {
    let is_fine = text.len() <= HOSTNAME_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    if text.is_empty() || !is_fine { "-" } else { text }
}

/// A parameter of structured data, in which `"`, `\` and `]` are escaped (RFC 5424 section 6.3.3).
fn parameter(name: &str, value: &str) -> String {
    let mut text = format!(" {name}=\"");
    for char in value.chars() {
        if matches!(char, '"' | '\\' | ']') {
            text.push('\\');
        }
        // Writing to a string does not fail.
        text.write_char(char).ok();
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::export::tests::DENIED;

    #[test]
    fn a_record_is_a_message_with_its_place_in_the_log() {
        let item = Item { index: 7, line: DENIED.to_owned() };
        assert_eq!(
            message(13, "governd/0123", &item),
            format!(
                "<108>1 2025-11-20T12:00:00.101Z host-a.example governd - 4001 \
                 [governd@32473 origin=\"governd/0123\" index=\"7\" \
                 uid=\"019aa122-be7b-7000-8000-00079987cb3c\"] {DENIED}"
            )
        );
        let empty = message(0, "", &Item { index: 0, line: "{}".to_owned() });
        assert_eq!(
            empty,
            "<6>1 - - governd - 0 [governd@32473 origin=\"\" index=\"0\" uid=\"\"] {}"
        );
    }

    /// RFC 5424, section 6.3.3: what has to be escaped in a PARAM-VALUE, and what must not be.
    #[test]
    fn parameters_are_escaped_as_rfc_5424_has_it() {
        for (value, want) in [
            ("plain", " n=\"plain\""),
            ("a\"b", " n=\"a\\\"b\""),
            ("a\\b", " n=\"a\\\\b\""),
            ("a]b", " n=\"a\\]b\""),
            ("[a", " n=\"[a\""),
            ("a'b\tc\nd", " n=\"a'b\tc\nd\""),
            ("\\\"]", " n=\"\\\\\\\"\\]\""),
            ("é世", " n=\"é世\""),
            ("", " n=\"\""),
        ] {
            assert_eq!(parameter("n", value), want, "{value:?}");
        }
    }

    #[test]
    fn header_fields_are_printable_or_absent() {
        let long = "a".repeat(256);
        for (text, want) in
            [("host-a", "host-a"), ("", "-"), ("a b", "-"), ("hé", "-"), (&long, "-")]
        {
            assert_eq!(printable(text), want);
        }
    }

    #[test]
    fn what_a_broken_connection_may_have_lost_is_written_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut syslog = Syslog::new(&config::Syslog {
            name: "siem".to_owned(),
            from: config::From::Start,
            address: listener.local_addr().unwrap().to_string(),
            tls: None,
            facility: 13,
        })
        .unwrap();
        let mut deliver = |index| {
            let items = [Item { index, line: "{}".to_owned() }];
            syslog.deliver(Batch { origin: "governd/a", items: &items })
        };
        deliver(0).unwrap();
        deliver(1).unwrap();
        // It ends the connection without having read anything.
        drop(listener.accept().unwrap());
        let mut text = String::new();
        while !text.contains("index=\"2\"") {
            // The end may not have been seen yet: then the message went with the first connection.
            if deliver(2).is_ok() {
                listener.set_nonblocking(true).unwrap();
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
                    let mut buffer = [0; 4_096];
                    while !text.contains("index=\"2\"") {
                        let count = (&stream).read(&mut buffer).unwrap();
                        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
                    }
                }
            }
        }
        assert!(text.contains("index=\"0\"") && text.contains("index=\"1\""), "{text}");
    }
}
