//! User names: the local `/etc/passwd` (passwd(5)). Users that only a directory service knows have
//! a number and no name here, since asking such a service could block the daemon.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{limits::PASSWD_BYTES_MAX, read};

/// Users by id and by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Users {
    names: HashMap<u32, Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
}

impl Users {
    /// Reads a passwd file; an unreadable one has no users.
    pub fn read(path: &Path) -> Self {
        read::text(path, PASSWD_BYTES_MAX).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Reads the text of a passwd file. The first entry of an id or name counts, as in libc.
    pub fn parse(text: &str) -> Self {
        let mut users = Self::default();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Ok(id) = id.parse::<u32>() else { continue };
            if name.is_empty() || name.starts_with(['#', '+', '-']) {
                continue;
            }
            let name: Arc<str> = name.into();
            users.names.entry(id).or_insert_with(|| Arc::clone(&name));
            users.ids.entry(name).or_insert(id);
        }
        users
    }

    /// Name of a user id.
    pub fn name(&self, id: u32) -> Option<Arc<str>> {
        self.names.get(&id).cloned()
    }

    /// Id of a user name.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_an_id_and_of_a_name_counts() {
        let users = Users::parse(
            "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n# note:x:7:7\n+nis\n\
             svc-invoice:x:1001:1001::/srv:/usr/sbin/nologin\nbad:x:abc:0\n:x:9:9\n",
        );
        assert_eq!(users.name(0).as_deref(), Some("root"));
        assert_eq!(users.id("toor"), Some(0));
        assert_eq!(users.id("svc-invoice"), Some(1001));
        assert_eq!((users.id("bad"), users.name(9), users.name(7)), (None, None, None));
    }
}
