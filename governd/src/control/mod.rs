//! The local API: a socket in /run/governd for the command line.
