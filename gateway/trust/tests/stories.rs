//! The rules of trust, one readable example each.

mod agents;
mod approvals;
mod bounds;
mod calls;
mod children;
mod code;
mod last_look;
mod moves;
mod proposals;
mod requests;
mod sources;
mod turns;
mod windows;
