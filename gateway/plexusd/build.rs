//! Puts an `Info.plist` into the program: macOS holds a service's own binary responsible for what its workers ask for, and
//! without these sentences it refuses without asking (decision 0050).

#[path = "../../workers/apple/info_plist.rs"]
mod info_plist;

fn main() -> std::io::Result<()> {
    info_plist::embed()
}
