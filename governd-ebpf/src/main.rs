//! Table of the hooks; the work is in the module of each family.
#![no_std]
#![no_main]
