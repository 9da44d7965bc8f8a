//! The console in the real Chromium, as the owner sees it. One file for each thing that the owner relies on.

mod approvals;
mod hostile;
mod pages;
mod scene;
mod sign_in;
mod walls;
