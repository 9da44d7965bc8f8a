//! `plexus-egress` with one more authority, which signed the certificate of the tests' hosts: the same code, without a switch
//! for tests in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    plexus_egress::run(include_bytes!("../../../tests/fixture/tls/ca.pem"))
}
