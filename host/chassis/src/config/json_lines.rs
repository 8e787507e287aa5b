//! On which line of a JSON text each value stands.

use std::{iter::Peekable, str::CharIndices};

use super::path::KeyPath;

/// Each value of the text with its line, from 1: that of its key where it has one. A key that
/// stands twice in a table is there twice. The text must be JSON; of any other the result is
/// meaningless, but there is one.
///
/// Recursion goes as deep as the text does; whoever parsed it before has bounded that.
pub(super) fn lines(text: &str) -> Vec<(KeyPath, usize)> {
    let mut scanner =
        Scanner { text, chars: text.char_indices().peekable(), line: 1, found: Vec::new() };
    scanner.value(&KeyPath::default());
    scanner.found
}

/// Walks over the text once.
struct Scanner<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
    found: Vec<(KeyPath, usize)>,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<(usize, char)> {
        let next = self.chars.next();
        if let Some((_, '\n')) = next {
            self.line += 1;
        }
        next
    }

    /// Goes over white space and the marks that separate values, and tells what comes then.
    fn seek(&mut self) -> Option<char> {
        while let Some(&(_, c)) = self.chars.peek() {
            if !c.is_ascii_whitespace() && c != ',' && c != ':' {
                return Some(c);
            }
            self.next();
        }
        None
    }

    fn value(&mut self, path: &KeyPath) {
        match self.seek() {
            Some('{') => self.table(path),
            Some('[') => self.list(path),
            Some('"') => {
                self.string();
            }
            _ => self.word(),
        }
    }

    fn table(&mut self, path: &KeyPath) {
        self.next();
        while let Some('"') = self.seek() {
            let line = self.line;
            let path = path.key(&self.string());
            self.found.push((path.clone(), line));
            self.value(&path);
        }
        self.next();
    }

    fn list(&mut self, path: &KeyPath) {
        self.next();
        for index in 0.. {
            match self.seek() {
                None | Some(']') => break,
                Some(_) => {
                    let path = path.index(index);
                    self.found.push((path.clone(), self.line));
                    self.value(&path);
                }
            }
        }
        self.next();
    }

    fn string(&mut self) -> String {
        let start = self.next().map_or(0, |(at, _)| at);
        let mut end = self.text.len();
        while let Some((at, c)) = self.next() {
            match c {
                '\\' => {
                    self.next();
                }
                '"' => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        let literal = self.text.get(start..end).unwrap_or_default();
        serde_json::from_str(literal).unwrap_or_default()
    }

    /// A number, `true`, `false` or `null`. At least one character is gone then.
    fn word(&mut self) {
        self.next();
        while let Some(&(_, c)) = self.chars.peek() {
            if c.is_ascii_whitespace() || ",]}".contains(c) {
                return;
            }
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_the_line_of_its_key() {
        let text =
            "{\n \"a\": {\n  \"b\\u0063\": [1,\n   {\"d\": null}, []],\n  \"e\": \"x\\\"\n\"\n }}";
        let found: Vec<_> =
            lines(text).into_iter().map(|(path, line)| format!("{path}:{line}")).collect();
        let expected =
            ["a:2", "a.bc:3", "a.bc[0]:3", "a.bc[1]:4", "a.bc[1].d:4", "a.bc[2]:4", "a.e:5"];
        assert_eq!(found, expected);
    }
}
