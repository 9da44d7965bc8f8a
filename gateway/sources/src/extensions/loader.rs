//! Whether a program is a shared object and no program of its own: the loader runs any other program that its arguments
//! name, by mapping it, which no rule about starting programs sees.
//!
//! Must not know: why it is asked.

/// A shared object; a program that needs no loader is one as well, and says that it is a program.
const DYNAMIC: u64 = 3;
/// Program headers: the dynamic section, and which loader the program needs.
const SECTION: u32 = 2;
const INTERPRETER: u32 = 3;
/// The entry of the dynamic section, and the flag in it, by which a static program says that it is one.
const FLAGS_1: u64 = 0x6fff_fffb;
const IS_PROGRAM: u64 = 0x0800_0000;

/// Whether these bytes of a file begin a 64-bit ELF object that is a library or a loader. Other formats are none.
pub(super) fn is_library(file: &[u8]) -> bool {
    judged(file).unwrap_or(false)
}

fn judged(file: &[u8]) -> Option<bool> {
    // 64 bits, least byte first: what this machine runs.
    if file.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] || number(file, 16, 2)? != DYNAMIC {
        return Some(false);
    }
    let (at, size, count) = (
        number(file, 32, 8)?,
        number(file, 54, 2)?,
        number(file, 56, 2)?,
    );
    let headers = (0..count).filter_map(|n| {
        let at = usize::try_from(at.checked_add(n.checked_mul(size)?)?).ok()?;
        Some((u32::try_from(number(file, at, 4)?).ok()?, at))
    });
    let headers: Vec<(u32, usize)> = headers.collect();
    if headers.iter().any(|(kind, _)| *kind == INTERPRETER) {
        return Some(false);
    }
    let section = headers.iter().find(|(kind, _)| *kind == SECTION);
    let says_so = section.and_then(|(_, at)| {
        let begin = usize::try_from(number(file, at + 8, 8)?).ok()?;
        let length = usize::try_from(number(file, at + 32, 8)?).ok()?;
        let entries = file
            .get(begin..begin.checked_add(length)?)?
            .chunks_exact(16);
        let mut flags = entries.filter(|entry| number(entry, 0, 8) == Some(FLAGS_1));
        number(flags.next()?, 8, 8)
    });
    Some(says_so.is_none_or(|flags| flags & IS_PROGRAM == 0))
}

fn number(file: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = file.get(at..at.checked_add(bytes)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}
