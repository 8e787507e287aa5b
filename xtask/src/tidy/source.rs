//! Habits of the Rust files.

use super::tree::{Finding, Tree};

/// A file that says it is generated may be longer, and so may tests.
const MAX_LINES: usize = 700;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.texts(".rs") {
        if !text.starts_with("//!") {
            let message = "say in a first `//!` line what the file is for";
            findings.push(Finding::line(path, 1, message));
        }
        if path.rsplit('/').next() == Some("mod.rs") {
            findings.push(Finding::file(path, "call it after its module: `foo.rs` beside `foo/`"));
        }
        let length = lines_without_tests(text);
        if length > MAX_LINES && !is_test(path) && !text.starts_with("//! Generated") {
            let message = format!("{length} lines without tests; at most {MAX_LINES}");
            findings.push(Finding::file(path, message));
        }
        for line in idle_matches(text) {
            let message = "this `matches!` checks nothing; assert it, or use its value";
            findings.push(Finding::line(path, line, message));
        }
    }
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
}

fn lines_without_tests(text: &str) -> usize {
    enum At {
        Code,
        /// After `#[cfg(test)]`.
        Gate,
        Tests,
    }
    let mut at = At::Code;
    let mut count = 0;
    for line in text.lines() {
        at = match at {
            At::Code if line == "#[cfg(test)]" => At::Gate,
            At::Code => At::Code,
            At::Gate if line.starts_with("mod tests {") => At::Tests,
            At::Gate if line.starts_with("#[") => At::Gate,
            At::Gate => At::Code,
            At::Tests if line == "}" => At::Code,
            At::Tests => At::Tests,
        };
        if !matches!(at, At::Tests) {
            count += 1;
        }
    }
    count
}

/// Numbers of the lines on which a statement is a `matches!` and nothing else.
fn idle_matches(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at_statement = true;
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let code = line.trim();
        if at_statement && code.starts_with("matches!(") {
            let rest = text.get(offset..).unwrap_or_default();
            if after_call(rest) == Some(';') {
                found.push(index + 1);
            }
        }
        if !code.is_empty() && !code.starts_with("//") {
            at_statement = code.ends_with([';', '{', '}']);
        }
        offset += line.len();
    }
    found
}

/// The first character after the first pair of brackets and what is in it.
fn after_call(text: &str) -> Option<char> {
    let mut depth = 0_usize;
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '"' => skip_string(&mut rest),
            '\'' => skip_character(&mut rest),
            '(' => depth += 1,
            ')' if depth <= 1 => return rest.find(|next| !next.is_whitespace()),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(next) = rest.next() {
        match next {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// Skips the rest of a literal such as `'('`, but nothing of a lifetime.
fn skip_character(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    let escaped = ahead.next() == Some('\\');
    if escaped {
        ahead.next();
        if ahead.any(|next| next == '\'') {
            *rest = ahead;
        }
    } else if ahead.next() == Some('\'') {
        *rest = ahead;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Finding, Tree};
    use super::{MAX_LINES, check, idle_matches};

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Tree::of(&[(path, text)]), &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_file_that_opens_with_its_purpose_passes() {
        assert_eq!(findings("host/record/src/id.rs", "//! Ids.\n\nfn f() {}\n"), [""; 0]);
    }

    #[test]
    fn a_file_that_opens_otherwise_is_found() {
        for text in ["fn f() {}\n", "// Ids.\n", "\n//! Ids.\n", ""] {
            assert_eq!(findings("host/record/src/id.rs", text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_mod_rs_is_found() {
        assert_eq!(findings("tests/support/mod.rs", "//! Support.\n").len(), 1);
        assert_eq!(findings("host/wasm/src/my_mod.rs", "//! Mine.\n"), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found_by_its_lines_without_tests() {
        let full = format!("//! Full.\n{}", "fn f() {}\n".repeat(MAX_LINES - 1));
        assert_eq!(findings("host/wasm/src/full.rs", &full), [""; 0]);
        let over = format!("{full}fn g() {{}}\n");
        assert_eq!(findings("host/wasm/src/over.rs", &over).len(), 1);

        let gate = "#[cfg(test)]\n#[expect(unused, reason = \"a sample\")]\nmod tests {\n";
        let tests = format!("//! Short.\n{gate}{}}}\n", "    fn f() {}\n".repeat(MAX_LINES));
        assert_eq!(findings("host/wasm/src/short.rs", &tests), [""; 0]);
        let after = format!("{tests}{}", "fn f() {}\n".repeat(MAX_LINES));
        assert_eq!(findings("host/wasm/src/after.rs", &after).len(), 1);
    }

    #[test]
    fn a_long_file_of_tests_or_of_a_generator_passes() {
        let long = "fn f() {}\n".repeat(MAX_LINES);
        assert_eq!(findings("tests/delivery.rs", &format!("//! Tests.\n{long}")), [""; 0]);
        assert_eq!(findings("host/wasm/src/x/tests.rs", &format!("//! Tests.\n{long}")), [""; 0]);
        assert_eq!(findings("guest/sdk/src/b.rs", &format!("//! Generated.\n{long}")), [""; 0]);
    }

    #[test]
    fn a_statement_that_only_matches_is_found() {
        for text in [
            "fn f() {\n    matches!(x, 1);\n}",
            "fn f() {\n    g();\n    // Why.\n\n    matches!(\n        x,\n        1\n    )\n    ;\n}",
            "fn f() {\n    matches!(x, ')' | '\\'' | \"\\\")\");\n}",
            "fn f<'a>() {\n    matches!(x as X<'a>, y(z));\n}",
        ] {
            assert_eq!(idle_matches(text).len(), 1, "{text}");
        }
        assert_eq!(idle_matches("fn f() {\n    g();\n    matches!(x, 1);\n}"), [3]);
    }

    #[test]
    fn a_matches_whose_value_is_used_passes() {
        for text in [
            "fn f() -> bool {\n    matches!(x, 1)\n}",
            "fn f() -> bool {\n    matches!(x, 1)\n        && y;\n}",
            "let x =\n    matches!(x, 1);",
            "assert!(\n    matches!(x, 1),\n);",
            "fn f() {\n    assert!(matches!(x, 1));\n}",
            "fn f() {\n    // matches!(x, 1);\n}",
        ] {
            assert_eq!(idle_matches(text), [0; 0], "{text}");
        }
    }
}
