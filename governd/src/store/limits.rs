//! Every maximum of this room.

use crate::core::inventory::AGENTS_MAX;

/// Pages of the file; with [`PAGE_BYTES`] each, 256 MiB.
pub const PAGES_MAX: u32 = 65_536;
/// Bytes of a page.
pub const PAGE_BYTES: u32 = 4_096;
/// Bytes of the write-ahead log that are kept after a checkpoint.
pub const JOURNAL_BYTES_MAX: u32 = 4 * 1_024 * 1_024;
/// How long a write waits for somebody who reads the file, in milliseconds.
pub const BUSY_TIMEOUT_MS: u64 = 1_000;
/// Agents whose latest state waits for a file that cannot be written.
pub const WAITING_MAX: usize = 2 * AGENTS_MAX;
