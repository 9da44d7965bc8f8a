//! Puts an `Info.plist` into the worker's program: without its sentences macOS refuses EventKit without asking.

#[path = "../apple/info_plist.rs"]
mod info_plist;

fn main() -> std::io::Result<()> {
    info_plist::embed()
}
