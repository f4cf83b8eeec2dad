//! One file of `tests/vectors/smp`: comments, then `field: value`.
//!
//! Bytes are written as pieces between spaces: `00ff` hex, `"text"` or `'text'`, `11*32` a byte many times,
//! `00..17` a run of bytes.

use std::path::Path;

pub(crate) struct Case {
    pub(crate) name: String,
    fields: Vec<(String, String)>,
}

impl Case {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{}: {line}", path.display()));
            (name.to_owned(), value.to_owned())
        };
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Self { name, fields: lines.map(field).collect() }
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn maybe<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub(crate) fn text<'a>(&'a self, name: &'a str) -> &'a str {
        self.maybe(name).unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(self.text(name))
    }

    pub(crate) fn maybe_bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.maybe(name).map(bytes)
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap_or_else(|_| panic!("{}: length of {name}", self.name))
    }

    pub(crate) fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, name: &str) -> T {
        self.text(name).parse().unwrap()
    }

    /// The versions of `versions: 15-18` or of every `version: 15`.
    pub(crate) fn versions(&self) -> Vec<u16> {
        match self.maybe("versions") {
            Some(range) => {
                let (min, max) = range.split_once('-').unwrap_or((range, range));
                (min.parse().unwrap()..=max.parse().unwrap()).collect()
            }
            None => self.all("version").map(|version| version.parse().unwrap()).collect(),
        }
    }

    /// Compares the outcome with `expect`: `ok`, or the text of the error.
    pub(crate) fn expect<T>(&self, outcome: Result<T, impl ToString>) -> Option<T> {
        let (outcome, value) = match outcome {
            Ok(value) => ("ok".to_owned(), Some(value)),
            Err(error) => (error.to_string(), None),
        };
        assert_eq!(outcome, self.text("expect"), "{}", self.name);
        value
    }

    /// As [`Case::expect`], where all errors are `malformed`.
    pub(crate) fn expect_format<T, E>(&self, outcome: Result<T, E>) -> Option<T> {
        self.expect(outcome.map_err(|_| "malformed"))
    }

    pub(crate) fn assert_eq<T: PartialEq + std::fmt::Debug>(&self, ours: T, expected: T) {
        assert_eq!(ours, expected, "{}", self.name);
    }
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '\'' => {
                let end = rest[1..].find(first).expect("a closing quote") + 1;
                out.extend_from_slice(&rest.as_bytes()[1..end]);
                end + 1
            }
            _ => {
                let end = rest.find(' ').unwrap_or(rest.len());
                piece(&rest[..end], &mut out);
                end
            }
        };
        rest = rest[end..].trim_start();
    }
    out
}

fn piece(text: &str, out: &mut Vec<u8>) {
    let byte = |text: &str| u8::from_str_radix(text, 16).unwrap_or_else(|_| panic!("not hex: {text}"));
    if let Some((unit, count)) = text.split_once('*') {
        out.resize(out.len() + count.parse::<usize>().unwrap(), byte(unit));
    } else if let Some((first, last)) = text.split_once("..") {
        out.extend(byte(first)..=byte(last));
    } else {
        assert!(text.len().is_multiple_of(2), "odd number of digits: {text}");
        out.extend((0..text.len()).step_by(2).map(|at| byte(&text[at..at + 2])));
    }
}
