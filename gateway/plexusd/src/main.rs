//! The gateway daemon with the connectors that ship with it.

fn main() -> std::process::ExitCode {
    plexusd::run(plexusd::SHIPPED)
}
