//! EventKit's values as this connector has them.
//!
//! Must not know: EventKit's objects.

/// Numbers of Apple's `EKEventStatus`.
pub(crate) const CONFIRMED: isize = 1;
pub(crate) const TENTATIVE: isize = 2;
pub(crate) const CANCELLED: isize = 3;

/// The word for a status; none for an event that has none, or one that is unknown here.
pub(crate) fn status(number: isize) -> Option<&'static str> {
    match number {
        CONFIRMED => Some("confirmed"),
        TENTATIVE => Some("tentative"),
        CANCELLED => Some("cancelled"),
        _ => None,
    }
}

/// A text that says something.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A participant by name, or by address.
pub(crate) fn person(name: Option<String>, url: Option<String>) -> Option<String> {
    let address = |url: String| match url.strip_prefix("mailto:") {
        Some(address) => address.to_owned(),
        None => url,
    };
    filled(name).or_else(|| filled(url.map(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_word_and_an_unknown_one_none() {
        let words = [0, 1, 2, 3, 4, -1].map(status);
        let known = ["confirmed", "tentative", "cancelled"].map(Some);
        assert_eq!(words[1..4], known);
        assert_eq!([words[0], words[4], words[5]], [None; 3]);
    }

    #[test]
    fn participant_goes_by_name_else_by_address() {
        let of = |name: Option<&str>, url: Option<&str>| {
            person(name.map(str::to_owned), url.map(str::to_owned))
        };
        let ann = Some("mailto:ann@example.org");
        assert_eq!(of(Some("Ann"), ann).unwrap(), "Ann");
        for nobody in [None, Some("")] {
            assert_eq!(of(nobody, ann).unwrap(), "ann@example.org");
            assert_eq!(of(nobody, Some("urn:uuid:1")).unwrap(), "urn:uuid:1");
            assert_eq!(of(nobody, Some("mailto:")), None);
            assert_eq!(of(nobody, None), None);
        }
    }
}
