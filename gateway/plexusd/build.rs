//! Puts `Info.plist` into the program: macOS holds a service's own binary responsible for what its workers ask for, and
//! without these sentences it refuses without asking (decision 0050).

fn main() {
    println!("cargo::rerun-if-changed=Info.plist");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!(
            "cargo::rustc-link-arg-bins=-Wl,-sectcreate,__TEXT,__info_plist,{folder}/Info.plist"
        );
    }
}
