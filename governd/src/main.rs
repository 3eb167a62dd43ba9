//! The `governd` binary.

fn main() {}
