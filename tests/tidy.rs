//! The house keeps itself in order: this test reads every source file as text and fails, naming file, line and rule, when a floor is crossed,
//! SQL stands outside the store, a metric is not in the catalogue, and so on. Each rule is a function from a file to its offences, and each has
//! a small sample beside it that shows that it can fail.
//!
//! ```text
//! tidy/source.rs   a file with its comments taken out, and where its test code begins
//! tidy/floors.rs   who may import whom           tidy/metrics.rs  literals of metrics against the catalogue
//! tidy/points.rs   crash points against their places
//! tidy/words.rs    SQL, banned calls and names, lengths, machine paths, reasons of `allow`
//! ```

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/points.rs"]
mod points;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::path::Path;

use source::{Source, read_tree};

/// Every file of the crate's tree that is text and ours.
fn tree() -> Vec<Source> {
    let tree = read_tree(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.iter().any(|file| file.path == "src/lib.rs"), "the tree was not found");
    tree
}

/// Judges every file of the tree by one rule, and shows all offences at once.
fn judge(rule: impl Fn(&Source) -> Vec<String>) {
    let offences: Vec<String> = tree().iter().flat_map(rule).collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn a_module_imports_only_from_floors_below_its_own() {
    judge(floors::offences);
}

#[test]
fn every_statement_of_sql_is_in_the_store() {
    judge(words::sql_outside_the_store);
}

#[test]
fn nothing_is_sent_to_an_actor_with_do_send() {
    judge(words::do_send);
}

#[test]
fn no_module_is_without_a_subject() {
    judge(words::names_without_a_subject);
}

#[test]
fn no_source_file_is_over_700_lines() {
    judge(words::too_long);
}

#[test]
fn no_text_names_a_path_of_somebodys_machine() {
    judge(words::machine_paths);
}

#[test]
fn every_lint_that_is_allowed_has_its_reason() {
    judge(words::allow_without_reason);
}

#[test]
fn every_metric_that_is_counted_is_in_the_catalogue_with_its_kind_and_labels() {
    judge(metrics::offences);
}

#[test]
fn every_crash_point_stands_at_exactly_one_place() {
    let offences = points::offences(&tree());
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}
