//! The lab: network namespaces with their own DNS and TLS servers, in which real clients run.
