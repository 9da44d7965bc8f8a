//! What macOS reads of a program before it asks a person for consent (decisions 0050 and 0140): without a sentence it refuses
//! and asks nobody. It holds the program that started a worker responsible, or the worker, so both have the same. The build
//! scripts of these programs take this file in, and `cargo xtask dist` does for the application.

/// Keys, each with its sentence.
type Sentences = &'static [(&'static str, &'static str)];

/// The list of one package's program, in order.
pub(crate) type Entries = Vec<(&'static str, String)>;

const EVENTS: &str = "Plexus lists events for the agents that you allow it to. It changes nothing.";
const REMINDERS: &str = "Plexus lists reminders for the agents that you allow it to, and adds or completes those that you approve.";

/// Things is asked by Apple events.
const OF_THINGS: Sentences = &[(
    "NSAppleEventsUsageDescription",
    "Plexus lists to-dos of Things for the agents that you allow it to.",
)];
/// The second key is for systems before macOS 14; so it is with the reminders.
const OF_CALENDAR: Sentences = &[
    ("NSCalendarsFullAccessUsageDescription", EVENTS),
    ("NSCalendarsUsageDescription", EVENTS),
];
const OF_REMINDERS: Sentences = &[
    ("NSRemindersFullAccessUsageDescription", REMINDERS),
    ("NSRemindersUsageDescription", REMINDERS),
];

/// Identifier, name and sentences of a package's program; none of one that asks for nothing.
pub(crate) fn entries(package: &str) -> Option<Entries> {
    let (identifier, name, sentences): (_, _, &[Sentences]) = match package {
        "plexusd" => (
            "local.plexus.plexusd",
            "Plexus",
            &[OF_THINGS, OF_CALENDAR, OF_REMINDERS],
        ),
        "plexus-worker-apple-calendar" => (
            "local.plexus.worker.apple-calendar",
            "Plexus Calendar",
            &[OF_CALENDAR],
        ),
        "plexus-worker-apple-reminders" => (
            "local.plexus.worker.apple-reminders",
            "Plexus Reminders",
            &[OF_REMINDERS],
        ),
        _ => return None,
    };
    let named = [("CFBundleIdentifier", identifier), ("CFBundleName", name)];
    let sentences = sentences.iter().copied().flatten().copied();
    let all = named.into_iter().chain(sentences);
    Some(all.map(|(key, text)| (key, string(text))).collect())
}

/// A text as a value of a property list.
pub(crate) fn string(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<string>{text}</string>")
}

/// A property list of keys and values; the values are XML.
pub(crate) fn property_list(entries: &[(&str, String)]) -> String {
    let lines = entries
        .iter()
        .map(|(key, value)| format!("    <key>{key}</key>\n    {value}\n"));
    let lines: String = lines.collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n{lines}</dict>\n</plist>\n"
    )
}

/// Puts the list of the package that is built into its program, on macOS.
pub(crate) fn embed() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let entries = entries(&of("CARGO_PKG_NAME")).ok_or(std::io::ErrorKind::NotFound)?;
    if of("CARGO_CFG_TARGET_OS") == "macos" {
        let file = std::path::Path::new(&of("OUT_DIR")).join("Info.plist");
        std::fs::write(&file, property_list(&entries))?;
        println!(
            "cargo::rustc-link-arg-bins=-Wl,-sectcreate,__TEXT,__info_plist,{}",
            file.display()
        );
    }
    Ok(())
}
