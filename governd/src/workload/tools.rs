//! Reads the files in which agents are told of tool servers (MCP), by a thread of its own.
//!
//! The files are a process's user's, and so is whatever they might lead to: they are opened below
//! the root of the process's own file system or below its directory, count only if they are plain
//! files of that user (of root, for the administrator's), and are read up to
//! [`TOOL_FILE_BYTES_MAX`]. Who has a slow file system stops nobody but this thread.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use super::{
    limits::{PASSWD_BYTES_MAX, TOOL_FILE_BYTES_MAX, TOOLS_WAITING_MAX},
    proc::ProcFs,
    worker::Worker,
};
use crate::core::{
    process::Process,
    tools::{self, Base, FILES, Server, ToolFile},
};

/// An agent whose configuration is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// Its id.
    pub agent: Arc<str>,
    /// What the catalogue calls it.
    pub product: Arc<str>,
    /// A process of it that runs.
    pub process: Arc<Process>,
}

/// What is configured for an agent.
#[derive(Debug, Eq, PartialEq)]
pub struct Configured {
    /// Its id.
    pub agent: Arc<str>,
    /// The files, as [`ToolFile::shown`] calls them, and the servers of each.
    pub servers: Vec<(String, Server)>,
}

/// The thread.
pub type Tools = Worker<Wanted, Configured>;

impl Tools {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(proc: ProcFs) -> io::Result<Self> {
        Self::spawn("tools", TOOLS_WAITING_MAX, move |Wanted { agent, product, process }| {
            let servers = configured(&proc, &process, &product);
            Some(Configured { agent, servers })
        })
    }
}

/// The servers of a process; none, if it is gone before its files are read.
fn configured(proc: &ProcFs, process: &Process, product: &str) -> Vec<(String, Server)> {
    let Some(uid) = process.uid else { return Vec::new() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let link = |name: &str| open(proc.file(process.pid, name), flags, Mode::empty()).ok();
    let directory = fs::read_link(proc.file(process.pid, "cwd")).ok();
    let place = Place {
        root: link("root"),
        directory: link("cwd"),
        path: directory.as_deref().and_then(Path::to_str),
        named: proc.directories_named_by(process.pid, &tools::variables()),
        uid,
    };
    let servers = place.servers(product);
    if proc.still_runs(process) { servers } else { Vec::new() }
}

/// Where a process lives.
struct Place<'a> {
    root: Option<OwnedFd>,
    directory: Option<OwnedFd>,
    path: Option<&'a str>,
    /// Directories that its variables name.
    named: BTreeMap<&'static str, String>,
    uid: u32,
}

impl Place<'_> {
    fn servers(&self, product: &str) -> Vec<(String, Server)> {
        let home = self.home();
        let mut found = Vec::new();
        for file in FILES.iter().filter(|file| file.product == product) {
            let moved =
                file.moved.and_then(|(name, path)| Some((name, self.named.get(name)?, path)));
            let text = match moved {
                Some((_, directory, path)) => self.open_named(directory, path),
                None => self.open(file, home.as_deref()),
            };
            let Some(text) = text else { continue };
            let servers = file.servers(text.take(TOOL_FILE_BYTES_MAX), self.path);
            let shown = file.shown(moved.map(|(name, ..)| name));
            let servers = servers.unwrap_or_default().into_iter();
            found.extend(servers.map(|server| (shown.clone(), server)));
        }
        found
    }

    fn open_named(&self, directory: &str, path: &str) -> Option<File> {
        let (root, path) = (self.root.as_ref()?, format!("{directory}/{path}"));
        opened(root, &path, ResolveFlags::IN_ROOT, self.uid, TOOL_FILE_BYTES_MAX)
    }

    fn open(&self, file: &ToolFile, home: Option<&str>) -> Option<File> {
        let root = self.root.as_ref();
        let within = ResolveFlags::IN_ROOT;
        let (at, path, resolve, owner) = match file.base {
            Base::Home => (root?, format!("{}/{}", home?, file.path), within, self.uid),
            Base::Root => (root?, file.path.to_owned(), within, 0),
            Base::Directory => {
                let beneath = ResolveFlags::BENEATH;
                (self.directory.as_ref()?, file.path.to_owned(), beneath, self.uid)
            }
        };
        opened(at, &path, resolve, owner, TOOL_FILE_BYTES_MAX)
    }

    /// The home directory of the user, by the process's own `/etc/passwd`.
    fn home(&self) -> Option<String> {
        let within = ResolveFlags::IN_ROOT;
        let limit = PASSWD_BYTES_MAX as u64;
        let passwd = opened(self.root.as_ref()?, "etc/passwd", within, 0, limit)?;
        let text = io::read_to_string(passwd.take(limit)).ok()?;
        let home = |line: &str| {
            let mut fields = line.split(':').skip(2);
            let is_users = fields.next()?.parse() == Ok(self.uid);
            is_users.then(|| fields.nth(2).unwrap_or_default().to_owned())
        };
        text.lines().find_map(home).filter(|home| home.len() > 1)
    }
}

/// Opens a plain file that belongs to a user. Pipes that nobody writes to stop nobody.
fn opened(
    at: &OwnedFd,
    path: &str,
    resolve: ResolveFlags,
    owner: u32,
    bytes_max: u64,
) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(at, path, flags, Mode::empty(), resolve).ok()?);
    let found = file.metadata().ok()?;
    (found.is_file() && found.uid() == owner && found.len() <= bytes_max).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory(path: &Path) -> OwnedFd {
        open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn files_of_the_user_count_wherever_links_in_its_own_root_lead() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (root, work) = (dir.path(), dir.path().join("work"));
        let uid = fs::metadata(root).unwrap().uid();
        let write = |path: &Path, name: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!("{{\"mcpServers\": {{\"{name}\": {{\"command\": \"{name}\"}}}}}}");
            fs::write(path, text).unwrap();
        };
        write(&root.join("home/dana/.claude.json"), "home");
        write(&work.join(".mcp.json"), "work");
        write(&outside.path().join("stray.json"), "stray");
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), format!("dana:x:{uid}:7::/home/dana:/bin/sh\n"))
            .unwrap();
        let named = std::cell::RefCell::new(BTreeMap::new());
        let servers = |uid: u32, product: &str| {
            let place = Place {
                named: named.borrow().clone(),
                root: Some(directory(root)),
                directory: Some(directory(&work)),
                path: None,
                uid,
            };
            let found = place.servers(product);
            let words = found.iter().map(|(file, server)| format!("{file} {server}"));
            words.collect::<Vec<_>>()
        };
        // passwd counts if it is root's.
        let mut expected = vec!["./.mcp.json work: work"];
        if uid == 0 {
            expected.insert(0, "~/.claude.json home: home");
        }
        assert_eq!(servers(uid, "claude-code"), expected);
        assert_eq!(servers(uid, "codex"), [""; 0]);
        assert_eq!(servers(uid + 1, "claude-code"), [""; 0]);

        // A variable names another directory, which takes the place of the one at home.
        write(&root.join("srv/claude/.claude.json"), "moved");
        let moved = "$CLAUDE_CONFIG_DIR/.claude.json moved: moved";
        named.borrow_mut().insert("CLAUDE_CONFIG_DIR", "/srv/claude".to_owned());
        assert_eq!(servers(uid, "claude-code"), [moved, "./.mcp.json work: work"]);
        named.borrow_mut().insert("CLAUDE_CONFIG_DIR", "/../../etc".to_owned());
        assert_eq!(servers(uid, "claude-code"), ["./.mcp.json work: work"]);
        named.borrow_mut().clear();

        // A link leads out of neither the root nor the directory, and what is no file is none.
        fs::remove_file(work.join(".mcp.json")).unwrap();
        symlink(outside.path().join("stray.json"), work.join(".mcp.json")).unwrap();
        fs::create_dir_all(work.join(".cursor/mcp.json")).unwrap();
        let left: Vec<String> = servers(uid, "claude-code");
        assert!(left.iter().all(|one| !one.contains("stray")), "{left:?}");
        assert_eq!(servers(uid, "cursor"), [""; 0]);
        fs::remove_file(work.join(".mcp.json")).unwrap();
        write(&work.join("real.json"), "real");
        symlink("real.json", work.join(".mcp.json")).unwrap();
        assert!(servers(uid, "claude-code").contains(&"./.mcp.json real: real".to_owned()));
        let large = fs::File::options().write(true).open(work.join("real.json")).unwrap();
        large.set_len(TOOL_FILE_BYTES_MAX + 1).unwrap();
        assert!(servers(uid, "claude-code").iter().all(|one| !one.contains("real")));
    }
}
