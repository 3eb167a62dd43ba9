//! What compiling gives, in tables small enough to read.
