//! The only room that names aya: load, attach, tables, events.
