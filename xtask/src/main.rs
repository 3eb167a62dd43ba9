//! Set-up, builds, tests and checks.

fn main() {}
