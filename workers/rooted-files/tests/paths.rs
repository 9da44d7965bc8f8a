//! Bounds and parts of paths.

use plexus_rooted_files::{MAX_COMPONENT_BYTES, MAX_PATH_BYTES, PathError, RelPath};

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

#[test]
fn longest_path_and_component_are_accepted() {
    let component = "a".repeat(MAX_COMPONENT_BYTES);
    let longest = format!("{component}/").repeat(MAX_PATH_BYTES / (MAX_COMPONENT_BYTES + 1));
    assert_eq!(longest.len(), MAX_PATH_BYTES);
    assert_eq!(path(&longest).components().count(), 4);
    let refused = |text: &str| RelPath::parse(text).unwrap_err();
    assert_eq!(
        refused(&format!("{component}a")),
        PathError::ComponentTooLong
    );
    assert_eq!(refused(&format!("{longest}a")), PathError::TooLong);
}

#[test]
fn path_of_a_file_names_one() {
    for folder in ["", ".", "./", "a/", "a/.", "a/./"] {
        let refused = RelPath::parse_file(folder);
        assert_eq!(refused, Err(PathError::NotAFileName), "{folder}");
    }
    assert_eq!(RelPath::parse_file("./a/.b"), Ok(path("a/.b")));
}

#[test]
fn one_component_is_joined() {
    assert_eq!(path("a").join("b"), Ok(path("a/b")));
    assert_eq!(RelPath::root().join("b"), Ok(path("b")));
    assert_eq!(path("a").join(".."), Err(PathError::Parent));
    for bad in ["", ".", "b/c", "/b", "b/"] {
        let refused = path("a").join(bad);
        assert_eq!(refused, Err(PathError::EmptyComponent), "{bad}");
    }
}

#[test]
fn parts_of_a_path_are_named() {
    let (deep, root) = (path("a/b.c/D.Md"), RelPath::root());
    assert_eq!((deep.as_str(), deep.name()), ("a/b.c/D.Md", "D.Md"));
    assert_eq!((deep.display_id(), root.display_id()), ("a/b.c/D.Md", "."));
    assert_eq!(
        (String::from(deep.clone()), root.name()),
        ("a/b.c/D.Md".into(), "")
    );
    assert_eq!(deep.split_last(), Some((path("a/b.c"), "D.Md")));
    assert_eq!(
        (path("a").split_last(), root.split_last()),
        (Some((root.clone(), "a")), None)
    );
    assert_eq!(deep.extension().as_deref(), Some("md"));
    for none in ["a", ".a", "a.", "a.b/c"] {
        assert_eq!(path(none).extension(), None, "{none}");
    }
    for (text, has_dot) in [("a/.b/c", true), (".a", true), ("a.b", false), ("", false)] {
        assert_eq!(path(text).has_dot_component(), has_dot, "{text}");
    }
    let parsed = RelPath::try_from("a/./b/".to_owned());
    assert_eq!(parsed, Ok(path("a/b")));
}
