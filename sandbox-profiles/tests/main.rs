//! The profiles, and the language that they are written in.

mod answers;
mod follow;
mod goldens;
mod kernels;
mod language;
mod lint;
#[cfg(target_os = "macos")]
mod mac;
mod oracles;
mod profiles;
mod sweep;
