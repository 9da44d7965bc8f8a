//! What a story says while it happens, where somebody watches (`cargo xtask demo`).

/// Says what happens, once `PLEXUS_DEMO` is set.
pub fn tell(what: &str) {
    if std::env::var_os("PLEXUS_DEMO").is_some() {
        eprintln!("· {what}");
    }
}
