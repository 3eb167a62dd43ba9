//! Processes, cgroups, users and what they belong to, as the host tells it.
