//! The console in the real Chromium, as the owner sees it. One file for each thing that the owner relies on.
//!
//! On Linux, where the packages of `cargo xtask test` bring the browser and its driver.
#![cfg(target_os = "linux")]

plexus_hostile::in_own_processes!();

mod accessible;
mod approvals;
mod change_sets;
mod changes;
mod crowd;
mod extensions;
mod film;
mod grace;
mod half_filled;
mod hands;
mod hostile;
mod house;
mod newcomer;
mod pomodoro;
mod presses;
mod scene;
mod sign_in;
mod signs_in;
mod sources;
mod talks;
mod together;
mod tray;
mod walls;
