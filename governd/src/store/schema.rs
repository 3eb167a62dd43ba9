//! The tables, as the steps that lead to them. A step is never changed once it was released: a file
//! of any older version goes through the steps that it lacks.

/// What SQLite's header says of our files: `govd`.
pub(super) const APPLICATION_ID: i32 = 0x676f_7664;

/// Steps from an empty file to the present version, which is their number.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    program TEXT NOT NULL,
    place TEXT,
    uid INTEGER,
    name TEXT NOT NULL,
    kind TEXT,
    standing TEXT NOT NULL,
    state TEXT NOT NULL,
    registered_as TEXT,
    owner TEXT,
    parent TEXT,
    confidence INTEGER NOT NULL,
    is_runtime INTEGER NOT NULL,
    instances_total INTEGER NOT NULL,
    endpoints_dropped INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (
    agent TEXT NOT NULL,
    position INTEGER NOT NULL,
    signal TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    weight TEXT NOT NULL,
    source TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (agent, signal, name, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE endpoints (
    agent TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    address TEXT NOT NULL,
    provider TEXT,
    count INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (agent, host, port)
) STRICT, WITHOUT ROWID;
CREATE TABLE instances (
    agent TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    is_latest INTEGER NOT NULL,
    is_running INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    process TEXT NOT NULL,
    PRIMARY KEY (agent, boot_id, pid, started_ns)
) STRICT, WITHOUT ROWID;
",
    "
ALTER TABLE agents ADD COLUMN digest TEXT;
ALTER TABLE endpoints ADD COLUMN outside_ms INTEGER;
",
    "
ALTER TABLE endpoints ADD COLUMN sent_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN received_bytes INTEGER NOT NULL DEFAULT 0;
",
];

/// Columns that came later and that whoever does not know them does without: table, name and type.
/// They raise no version, so that a file may go back to a governd of before. Where one is missing
/// it is added.
pub(super) const LATER: &[(&str, &str, &str)] = &[
    ("agents", "script", "TEXT"),
    ("agents", "script_digest", "TEXT"),
    ("agents", "version", "TEXT"),
];
