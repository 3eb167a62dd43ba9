//! Where governd reads and writes: the command line and environment, as typed values.
