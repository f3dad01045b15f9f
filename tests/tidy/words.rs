//! Words that must not be where they are, and some that must be.

use super::source::Source;

/// Longer than this, a file has more than one subject.
const LONGEST: usize = 700;

/// Names that say nothing of a subject.
const WITHOUT_SUBJECT: &[&str] = &["util", "utils", "helper", "helpers", "common", "types", "misc", "shared", "stuff"];

/// Folders that are people's own; put together here, so that this file does not name them.
const MACHINES: &[&str] = &[concat!("/wo", "rk"), concat!("/ro", "ot"), concat!("/tmp", "/bw")];

/// Statements of SQL outside `src/store`, test code excepted: tests may look at the tables.
pub fn sql_outside_the_store(file: &Source) -> Vec<String> {
    if !file.is_crate() || file.path.starts_with("src/store") {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for (verb, object) in [("SELECT ", " FROM "), ("UPDATE ", " SET "), ("INSERT INTO ", ""), ("DELETE FROM ", "")] {
        for (at, _) in file.code.match_indices(verb) {
            // A statement is one literal; none of ours is longer than this.
            let statement: String = file.code[at..].chars().take(2_000).take_while(|character| *character != '"').collect();
            let statement = statement.replace(['\n', '\\'], " ");
            let line = file.line_of(at);
            if statement.contains(object) && line < file.tests_from {
                offences.push(file.offence(line, &format!("SQL ({}) belongs into src/store", verb.trim())));
            }
        }
    }
    offences
}

/// Calls of `do_send`, which ignores a mailbox's bound and drops silently when the actor is gone.
pub fn do_send(file: &Source) -> Vec<String> {
    let call = concat!(".do_", "send(");
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    file.code.match_indices(call).map(|(at, _)| file.offence(file.line_of(at), "use try_send or send")).collect()
}

/// Modules whose names say nothing: files, folders, and modules within files.
pub fn names_without_a_subject(file: &Source) -> Vec<String> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut offences: Vec<String> = file
        .path
        .split('/')
        .map(|part| part.trim_end_matches(".rs"))
        .filter(|part| WITHOUT_SUBJECT.contains(part))
        .map(|part| file.offence(0, &format!("a module named {part} has no subject")))
        .collect();
    for (number, line) in file.code.lines().enumerate() {
        let Some((_, after)) = line.split_once("mod ") else { continue };
        let name = after.trim_end_matches([';', '{', ' ']);
        if WITHOUT_SUBJECT.contains(&name) {
            offences.push(file.offence(number, &format!("a module named {name} has no subject")));
        }
    }
    offences
}

/// A source file that is too long.
pub fn too_long(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    if file.is_crate() && lines > LONGEST { vec![file.offence(0, &format!("{lines} lines: split it by subject"))] } else { Vec::new() }
}

/// Paths of somebody's machine, comments included. `/working`, `a/root` and the like are none.
pub fn machine_paths(file: &Source) -> Vec<String> {
    let mut offences = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for machine in MACHINES {
            let named = line.match_indices(machine).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + machine.len()..].chars().next();
                let begins = before
                    .is_none_or(|character| !character.is_alphanumeric() && !matches!(character, '_' | '-' | '.' | '/' | '}' | '$' | ')' | '*'));
                begins && (machine.ends_with('/') || after.is_none_or(|character| !character.is_alphanumeric() && !matches!(character, '_' | '-')))
            });
            if named {
                offences.push(file.offence(number, "a path of somebody's machine"));
            }
        }
    }
    offences
}

/// Lints that are allowed or expected without a word why, in the attribute or in a comment on its line or the one before.
pub fn allow_without_reason(file: &Source) -> Vec<String> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let mut offences = Vec::new();
    for (number, line) in file.code.lines().enumerate() {
        let attribute = line.trim_start();
        if !["#[allow", "#![allow", "#[expect", "#![expect"].iter().any(|start| attribute.starts_with(start)) {
            continue;
        }
        let inside = file.code.lines().skip(number).take(8).scan(false, |ended, line| {
            let before = *ended;
            *ended |= line.trim_end().ends_with(']');
            (!before).then_some(line)
        });
        let reasoned = inside.into_iter().any(|line| line.contains("reason = "));
        let commented = lines[number].contains("//") || number > 0 && lines[number - 1].trim_start().starts_with("//");
        if !reasoned && !commented {
            offences.push(file.offence(number, "say why: reason = \"…\", or a comment above"));
        }
    }
    offences
}

#[cfg(test)]
mod samples {
    use super::*;

    fn offends(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> bool {
        !rule(&Source::new(path, text)).is_empty()
    }

    #[test]
    fn sql_in_a_flow_is_an_offence_and_in_the_store_tests_or_comments_is_none() {
        for statement in
            ["SELECT id FROM payment", "SELECT id \\\n FROM payment", "INSERT INTO payment", "UPDATE payment SET a", "DELETE FROM payment"]
        {
            let text = format!("const A: &str = \"{statement} \";");
            assert!(offends(sql_outside_the_store, "src/router/payment.rs", &text), "{statement}");
            assert!(!offends(sql_outside_the_store, "src/store/payment.rs", &text), "{statement}");
            assert!(!offends(sql_outside_the_store, "src/router/a.rs", &format!("// {statement}")), "{statement}");
            assert!(!offends(sql_outside_the_store, "src/router/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}\n}}")), "{statement}");
        }
        assert!(!offends(sql_outside_the_store, "src/router/a.rs", "\"SELECT 1\"; \"comes FROM here\""));
    }

    #[test]
    fn do_send_is_an_offence_and_its_ban_is_none() {
        let call = concat!("address.do_", "send(Ping);");
        assert!(offends(do_send, "src/router/mod.rs", call));
        assert!(offends(do_send, "tests/a.rs", call));
        assert!(!offends(do_send, "src/router/mod.rs", &format!("// {call}")));
    }

    #[test]
    fn a_name_without_a_subject_is_an_offence_wherever_it_stands() {
        assert!(offends(names_without_a_subject, "src/http/utils.rs", ""));
        assert!(offends(names_without_a_subject, "src/common/mod.rs", ""));
        assert!(offends(names_without_a_subject, "tests/helpers/mod.rs", ""));
        assert!(offends(names_without_a_subject, "src/http/mod.rs", "pub mod types;"));
        assert!(offends(names_without_a_subject, "src/http/mod.rs", "mod helpers {"));
        assert!(!offends(names_without_a_subject, "src/http/payment.rs", "mod problem;"));
    }

    #[test]
    fn a_file_of_701_lines_is_an_offence_and_one_of_700_is_none() {
        assert!(offends(too_long, "src/a.rs", &"\n".repeat(LONGEST + 1)));
        assert!(!offends(too_long, "src/a.rs", &"\n".repeat(LONGEST)));
    }

    #[test]
    fn a_path_of_a_machine_is_an_offence_and_words_like_it_are_none() {
        for machine in MACHINES {
            let folder = machine.trim_end_matches('/');
            assert!(offends(machine_paths, "README.md", &format!("see {folder}/main/file")), "{machine}");
            assert!(offends(machine_paths, "src/a.rs", &format!("\"{folder}/x\"")), "{machine}");
            assert!(!offends(machine_paths, "src/a.rs", &format!("https://host.example{folder}/x")), "{machine}");
        }
        assert!(!offends(machine_paths, "src/a.rs", concat!("/wo", "rking and /wo", "rkflows")));
    }

    #[test]
    fn a_lint_allowed_without_a_reason_is_an_offence() {
        assert!(offends(allow_without_reason, "src/a.rs", "#[allow(dead_code)]\nfn a() {}"));
        assert!(offends(allow_without_reason, "src/a.rs", "fn b() {}\n    #![expect(\n    dead_code,\n)]\nlet reason = 1;"));
        assert!(!offends(allow_without_reason, "src/a.rs", "#[allow(dead_code, reason = \"only Linux uses it\")]"));
        assert!(!offends(allow_without_reason, "src/a.rs", "#[allow(\n    dead_code,\n    reason = \"only Linux uses it\"\n)]"));
        assert!(!offends(allow_without_reason, "src/a.rs", "// Only Linux uses it.\n#[allow(dead_code)]"));
        assert!(!offends(allow_without_reason, "src/a.rs", "#[allow(dead_code)] // only Linux uses it"));
    }
}
