//! Promises: the page that names a test for each promise names tests that there are.

use std::fs;

use crate::guests::root;

#[test]
fn every_test_that_holds_a_promise_exists() {
    let page = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let mut found = 0;
    for named in page.split('`').filter(|text| text.contains(".rs::")) {
        let (path, name) = named.split_once("::").unwrap();
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        if path.starts_with("tests/sim/") {
            assert!(
                text.contains(&format!("\"{name}\"")),
                "docs/promises.md names {named}, which is no case"
            );
            found += 1;
            continue;
        }
        let (before, _) = text
            .split_once(&format!("fn {name}("))
            .unwrap_or_else(|| panic!("docs/promises.md names {named}, which is not there"));
        let attribute = before.rfind("#[").map_or("", |at| &before[at..]);
        assert!(attribute.contains("test"), "{named} is no test");
        found += 1;
    }
    assert!(found > 50, "{found}");
    let (held, _) = page.split_once("## Without a test").unwrap();
    for row in held.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise")) {
        assert!(row.contains(".rs::"), "no test: {row}");
    }
}
