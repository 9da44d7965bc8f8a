//! The program of the connector that breaks rules: for the rule about the cage, and for `plexus-try`.

mod faulty;

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<faulty::Faulty>(faulty::MANIFEST)
}
