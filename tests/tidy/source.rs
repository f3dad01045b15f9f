//! A file as the rules see it.

use std::fs;
use std::path::Path;

/// A text file of the tree.
pub struct Source {
    /// From the top of the tree, with `/`.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// With comments turned into spaces, line by line the same; only for Rust, elsewhere as it stands.
    pub code: String,
    /// The line (from 0) at which test code begins; beyond the end when there is none.
    pub tests_from: usize,
}

impl Source {
    /// A file of this path and text.
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { without_comments(text) } else { text.to_owned() };
        let whole_is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("/properties.rs");
        let tests_from = if whole_is_test { 0 } else { test_module(&code).unwrap_or(usize::MAX) };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// Whether it is Rust that becomes part of the crate.
    pub fn is_crate(&self) -> bool {
        self.path.starts_with("src/") && self.path.ends_with(".rs")
    }

    /// An offence of this file, on this line (from 0).
    pub fn offence(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }

    /// The line (from 0) of a place in the text or code.
    pub fn line_of(&self, at: usize) -> usize {
        self.code.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Where the `#[cfg(test)] mod …` that holds a file's tests begins. A `mod tests;` in a file of its own ends nothing here.
fn test_module(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().collect();
    (0..lines.len()).find(|&line| {
        lines[line] == "#[cfg(test)]"
            && lines[line + 1..].iter().find(|next| !next.starts_with("#[")).is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
    })
}

/// The code with comments turned into spaces. Strings, raw strings and characters keep what they hold.
fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            code.extend(std::iter::repeat_n(b' ', length));
            at += length;
            continue;
        } else if rest.starts_with(b"/*") {
            let length = block_comment(rest);
            code.extend(rest[..length].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at += length;
            continue;
        } else if rest[0] == b'"' {
            string(rest)
        } else if rest[0] == b'r' && !follows_identifier(bytes, at) {
            raw_string(rest)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            1
        };
        code.extend_from_slice(&rest[..length]);
        at += length;
    }
    // Whole sequences were kept or replaced by spaces byte by byte, and a comment's bytes are replaced all: it is UTF-8 still.
    String::from_utf8(code).unwrap()
}

fn follows_identifier(bytes: &[u8], at: usize) -> bool {
    // `br"…"` and `cr"…"` are raw strings too.
    at > 0 && bytes[at - 1] != b'b' && bytes[at - 1] != b'c' && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 1;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = 2 + hashes;
    rest[body..].windows(end.len()).position(|window| window == end).map_or(rest.len(), |found| body + found + end.len())
}

/// The length of a character literal such as `'"'` or `'\''`, or 1 for the mark of a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest.get(1) {
        Some(b'\\') => rest[3.min(rest.len())..].iter().position(|byte| *byte == b'\'').map_or(1, |end| end + 4),
        Some(b'"' | b'/') if rest.get(2) == Some(&b'\'') => 3,
        _ => 1,
    }
}

/// The tree's own text files. What is built, and what git keeps, is not ours to judge.
pub fn read_tree(top: &Path) -> Vec<Source> {
    let mut tree = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let relative = path.strip_prefix(top).unwrap().to_str().unwrap().replace('\\', "/");
            if relative == "target" || relative == ".git" || relative == "Cargo.lock" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                tree.push(Source::new(&relative, &text));
            }
        }
    }
    tree.sort_by(|a, b| a.path.cmp(&b.path));
    tree
}

#[test]
fn comments_are_taken_out_and_strings_stay() {
    let code =
        without_comments("let a = \"// no \\\" comment\"; // gone\n/* gone /* too */\n */ let b = r#\"/* \"stays */\"#; '\"'; '\\''; &'a // gone");
    assert!(!code.contains("gone"), "{code}");
    assert!(code.contains("// no \\\" comment") && code.contains("/* \"stays */"), "{code}");
    assert_eq!(code.lines().count(), 3);
}

#[test]
fn test_code_begins_at_its_module() {
    assert_eq!(Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n").tests_from, 1);
    assert_eq!(Source::new("src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n").tests_from, usize::MAX);
    assert_eq!(Source::new("src/a/tests.rs", "fn a() {}").tests_from, 0);
}
