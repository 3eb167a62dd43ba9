//! The values that stand beside records: user names and command lines, each with its salt.
//!
//! A segment has a file of them, which is the only one of a log that is written anew when values
//! are erased; no hash covers it but the digests in the records. What is in it and does not fit any
//! digest is never shown.
//!
//! ```text
//! 00000000000000000000.values   a header with the number of the file's version, then a line each
//! ```
//!
//! A commit makes its values durable before its records, and repeats none of an earlier one, so
//! that what is erased by time is exact. Whoever reads the file goes on behind what it has read, or
//! begins anew where the version is another.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{
    ReadError, segment,
    storage::{Disk, File, Filesystem, read_up_to, write_all},
};
use crate::audit::{
    canonical::Shown,
    record::{
        Tokens,
        personal::{self, COMMAND_LINE, Erasure, SALT_BYTES, Token, USER, Value},
    },
};

const SUFFIX: &str = ".values";
const NEW_SUFFIX: &str = ".values.new";
const HEADER_BYTES: usize = 32;
/// Records whose values are compared with those of the next one.
const LAST_MAX: usize = 8;
/// Lines that are shown before it is looked whether values were erased meanwhile.
const LOOK_LINES: u32 = 256;

/// Values of the batch that waits for a commit.
pub(super) struct Sealer {
    random: SystemRandom,
    /// Their lines.
    pub(super) lines: String,
    known: HashMap<Box<str>, Token>,
    /// Of the latest records, the last one at the end: most have the values of one of them.
    last: Vec<Last>,
    /// What is looked up.
    key: String,
    text: String,
}

/// The values of a record, and what stands for them.
struct Last {
    user: Option<Box<str>>,
    args: Option<Box<[String]>>,
    tokens: Tokens,
}

impl Last {
    fn has(&self, values: &personal::Values<'_>) -> bool {
        self.user.as_deref() == values.user && self.args.as_deref() == values.args
    }
}

impl Default for Sealer {
    fn default() -> Self {
        let (lines, key, text) = (String::new(), String::new(), String::new());
        let (random, known, last) = (SystemRandom::new(), HashMap::new(), Vec::new());
        Self { random, lines, known, last, key, text }
    }
}

impl Sealer {
    /// Keeps the values of a record, and gives what stands for them in it.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub(super) fn seal(
        &mut self,
        values: &personal::Values<'_>,
        logged_ms: u64,
    ) -> io::Result<Tokens> {
        if let Some(last) = self.last.iter().rfind(|last| last.has(values)) {
            return Ok(last.tokens);
        }
        let mut text = std::mem::take(&mut self.text);
        let has_line = values.write_command_line(&mut text);
        let line = has_line.then(|| self.token(COMMAND_LINE, &text, values.user, logged_ms));
        self.text = text;
        let command_line = line.transpose()?;
        let user = values.user.map(|name| self.token(USER, name, values.user, logged_ms));
        let tokens = Tokens { user: user.transpose()?, command_line };
        let (user, args) = (values.user.map(Box::from), values.args.map(Box::from));
        if self.last.len() >= LAST_MAX {
            self.last.remove(0);
        }
        self.last.push(Last { user, args, tokens });
        Ok(tokens)
    }

    fn token(
        &mut self,
        kind: &str,
        text: &str,
        user: Option<&str>,
        logged_ms: u64,
    ) -> io::Result<Token> {
        self.key.clear();
        // No name of a user has a colon (passwd), and no kind has a space.
        for part in [kind, " ", user.unwrap_or_default(), ":", text] {
            self.key.push_str(part);
        }
        if let Some(token) = self.known.get(self.key.as_str()) {
            return Ok(*token);
        }
        let mut salt = [0; SALT_BYTES];
        let failed = |_| io::Error::other("the system gives no randomness");
        self.random.fill(&mut salt).map_err(failed)?;
        let token = Token::of(&salt, text);
        let shown = Shown(base64::display::Base64Display::new(&salt, &BASE64));
        personal::write_value(&mut self.lines, kind, logged_ms, shown, text, user);
        self.known.insert(self.key.as_str().into(), token);
        Ok(token)
    }

    /// The batch is durable: the next one has values of its own.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.known.clear();
        self.last.clear();
    }
}

/// The file of a segment's values.
pub(super) fn path(directory: &Path, base: u64) -> PathBuf {
    segment::path(directory, base, SUFFIX)
}

fn header(version: u64) -> [u8; HEADER_BYTES] {
    let text = format!("governd values 1 {:014}\n", version % 100_000_000_000_000);
    std::array::from_fn(|at| text.as_bytes().get(at).copied().unwrap_or(b' '))
}

fn version(content: &[u8]) -> u64 {
    let text = std::str::from_utf8(content.get(..HEADER_BYTES).unwrap_or_default());
    let number = text.ok().and_then(|text| text.rsplit(' ').next()?.trim().parse().ok());
    number.unwrap_or(0)
}

/// Makes an empty file durable but for its name; gives it and its bytes.
pub(super) fn create<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    base: u64,
) -> io::Result<(F::File, u64)> {
    let file = filesystem.create(&path(directory, base))?;
    file.set_size(0)?;
    write_all(&file, &header(0), 0)?;
    file.sync()?;
    Ok((file, HEADER_BYTES as u64))
}

/// Writes a segment's values anew, in place of the file that there is, without those that a test
/// does not keep, and without what a crash left behind the last whole line. Gives the file, its
/// bytes, and how many values went.
pub(super) fn rewrite<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    base: u64,
    keeps: impl Fn(&Value) -> bool,
) -> io::Result<(F::File, u64, u64)> {
    let path = path(directory, base);
    let content = read(filesystem, &path)?.unwrap_or_default();
    let mut bytes = header(version(&content) + 1).to_vec();
    let mut gone = 0;
    for line in lines(content.get(HEADER_BYTES..).unwrap_or_default()) {
        let Some(value) = Value::parse(line) else { continue };
        if keeps(&value) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        } else {
            gone += 1;
        }
    }
    let new = segment::path(directory, base, NEW_SUFFIX);
    let file = filesystem.create(&new)?;
    file.set_size(0)?;
    write_all(&file, &bytes, 0)?;
    file.sync()?;
    filesystem.rename(&new, &path)?;
    filesystem.sync_dir(directory)?;
    Ok((file, bytes.len() as u64, gone))
}

/// Takes away what a crash left: files that were being written anew, and those of segments that are
/// gone.
pub(super) fn sweep<F: Filesystem>(filesystem: &F, directory: &Path) -> io::Result<()> {
    let bases = segment::bases(filesystem, directory)?;
    let kept: Vec<PathBuf> = bases.into_iter().map(|base| path(directory, base)).collect();
    for name in filesystem.names(directory)? {
        let file = directory.join(&name);
        if name.ends_with(NEW_SUFFIX) || name.ends_with(SUFFIX) && !kept.contains(&file) {
            filesystem.remove(&file)?;
        }
    }
    Ok(())
}

/// How many values of a log an erasure means.
///
/// # Errors
/// If they cannot be read.
pub fn count<F: Filesystem>(filesystem: &F, directory: &Path, which: &Erasure) -> io::Result<u64> {
    let bases = segment::bases(filesystem, directory)?;
    bases.into_iter().map(|base| meant(filesystem, directory, base, which)).sum()
}

/// Erases values of the segments that begin before an index, which are not written any more; says
/// how many.
///
/// # Errors
/// If the disk refuses: some of them may be erased.
pub fn erase_before<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    before: u64,
    which: &Erasure,
) -> io::Result<u64> {
    let mut gone = 0;
    for base in segment::bases(filesystem, directory)?.into_iter().filter(|base| *base < before) {
        if meant(filesystem, directory, base, which)? > 0 {
            gone += rewrite(filesystem, directory, base, |value| !which.is_meant(value))?.2;
        }
    }
    Ok(gone)
}

fn meant<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    base: u64,
    which: &Erasure,
) -> io::Result<u64> {
    let content = read(filesystem, &path(directory, base))?.unwrap_or_default();
    let values = lines(content.get(HEADER_BYTES..).unwrap_or_default());
    let meant = values.filter_map(Value::parse).filter(|value| which.is_meant(value));
    Ok(meant.count() as u64)
}

fn read<F: Filesystem>(filesystem: &F, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match filesystem.open(path) {
        Ok(file) => segment::read_whole(&file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The whole lines of a file.
fn lines(content: &[u8]) -> impl Iterator<Item = &str> {
    let whole = content.split_inclusive(|byte| *byte == b'\n');
    whole.filter_map(|line| std::str::from_utf8(line.strip_suffix(b"\n")?).ok())
}

/// Reads values, to show the records that they stand beside.
pub struct Values<F: Filesystem = Disk> {
    filesystem: F,
    directory: PathBuf,
    open: Option<Open>,
    shown: u32,
}

/// The values of a segment, as far as they are read.
struct Open {
    base: u64,
    version: u64,
    offset: u64,
    known: HashMap<Token, Value>,
}

impl<F: Filesystem> Values<F> {
    /// Of the log in a directory.
    pub fn new(filesystem: F, directory: impl Into<PathBuf>) -> Self {
        Self { filesystem, directory: directory.into(), open: None, shown: 0 }
    }

    /// A record's line with its values in place; those that were erased are named so.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn show(&mut self, index: u64, line: &[u8]) -> Result<String, ReadError> {
        let text = String::from_utf8_lossy(line);
        let tokens: Vec<Token> = personal::tokens(&text).map(|(_, token)| token).collect();
        self.load(index, &tokens)?;
        let known = self.open.as_ref().map(|open| &open.known);
        let value = |token: &Token| known?.get(token).map(|value| value.text.as_str());
        Ok(personal::plain(&text, value))
    }

    /// Appends the lines of those values that a record has and that are not erased.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn gather(
        &mut self,
        index: u64,
        line: &[u8],
        into: &mut HashMap<Token, Value>,
    ) -> Result<(), ReadError> {
        let text = String::from_utf8_lossy(line);
        let mut tokens: Vec<Token> = personal::tokens(&text).map(|(_, token)| token).collect();
        tokens.retain(|token| !into.contains_key(token));
        self.load(index, &tokens)?;
        for token in tokens {
            let known = self.open.as_ref().and_then(|open| open.known.get(&token));
            if let Some(value) = known {
                into.insert(token, value.clone());
            }
        }
        Ok(())
    }

    /// Sees to it that these values of a record are read, if they are there.
    fn load(&mut self, index: u64, tokens: &[Token]) -> Result<(), ReadError> {
        if tokens.is_empty() {
            return Ok(());
        }
        self.shown += 1;
        let is_known = |open: &Open| tokens.iter().all(|token| open.known.contains_key(token));
        if self.open.as_ref().is_some_and(is_known) && !self.shown.is_multiple_of(LOOK_LINES) {
            return Ok(());
        }
        let failed = |source| ReadError::Io { path: self.directory.clone(), source };
        let bases = segment::bases(&self.filesystem, &self.directory).map_err(failed)?;
        let Some(base) = bases.iter().copied().rfind(|base| *base <= index) else {
            return Ok(());
        };
        if self.open.as_ref().is_none_or(|open| open.base != base) {
            let known = HashMap::new();
            self.open = Some(Open { base, version: 0, offset: HEADER_BYTES as u64, known });
        }
        let path = path(&self.directory, base);
        match self.filesystem.open(&path) {
            Ok(file) => self
                .open
                .as_mut()
                .map_or(Ok(()), |open| open.read_on(&file))
                .map_err(|source| ReadError::Io { path, source }),
            // A log from before there were any.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.open = None;
                Ok(())
            }
            Err(source) => Err(ReadError::Io { path, source }),
        }
    }
}

impl Open {
    fn read_on(&mut self, file: &impl File) -> io::Result<()> {
        let version = version(&read_up_to(file, HEADER_BYTES, 0)?);
        if version != self.version {
            self.known.clear();
            (self.version, self.offset) = (version, HEADER_BYTES as u64);
        }
        let rest = file.size()?.saturating_sub(self.offset);
        let content = read_up_to(file, usize::try_from(rest).unwrap_or(usize::MAX), self.offset)?;
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for value in lines(content.get(..whole).unwrap_or_default()).filter_map(Value::parse) {
            if let Some(token) = value.token() {
                self.known.insert(token, value);
            }
        }
        self.offset += whole as u64;
        Ok(())
    }
}
