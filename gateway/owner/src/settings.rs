//! Bounds of the numbers among the owner's settings (`/v1/config`); the gateway takes the nearest value.

use plexus_protocol::capability::DAY_MS;

/// Life of a token, in milliseconds: the least and the most (docs/protocol/owner.md#shells-and-tray-applications).
pub const TOKEN_MS: (u64, u64) = (60_000, 3_600_000);
/// The least that the longest window may be, in milliseconds.
pub const LEAST_WINDOW_MS: u64 = DAY_MS;
/// The least number of audit events that stay in the ledger's file: a screen or two of what happened just now.
pub const LEAST_KEPT: u64 = 1_000;
/// The most that can be counted: JSON's numbers are exact up to it.
pub const MOST: u64 = 9_007_199_254_740_991;
