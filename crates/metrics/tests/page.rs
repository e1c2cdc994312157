//! docs/metrics.md and the programs have the same names, types, labels and label values.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use kaspath_metrics::Role;
use support::{metrics, parse};

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// A metric as the page has it: its type, its labels with their values if it lists them, and who has it.
#[derive(Debug, PartialEq)]
struct Entry {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
    who: BTreeSet<char>,
}

/// What stands in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn page() -> BTreeMap<String, Entry> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut last: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, who, _] = cells[..] else { continue };
        // Labels that share their values are named together: `a`, `b`: `x`, `y`.
        let mut found = BTreeMap::new();
        for part in labels.split(';').filter(|part| !part.trim().is_empty()) {
            let (keys, values) = part.split_once(':').unwrap_or((part, ""));
            for key in quoted(keys) {
                let mut values: BTreeSet<String> = quoted(values).into_iter().map(str::to_owned).collect();
                if values.is_empty() || part.contains("as above") {
                    values = last.get(key).cloned().unwrap_or_default();
                }
                last.insert(key.to_owned(), values.clone());
                found.insert(key.to_owned(), values);
            }
        }
        let who = who.chars().filter(char::is_ascii_uppercase).collect();
        let entry = Entry { kind: kind.to_owned(), labels: found, who };
        assert!(entries.insert(quoted(name)[0].to_owned(), entry).is_none(), "{name} twice");
    }
    entries
}

/// The labels of which the page does not list the values in the cell: `path` and `relay`, whose
/// values stand above their tables, and what depends on the program.
const ELSEWHERE: &[&str] = &["path", "relay", "version", "role", "to", "outcome", "reason"];

fn program() -> BTreeMap<String, Entry> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for (role, letter) in [(Role::Relay, 'R'), (Role::Node, 'N'), (Role::Gateway, 'G')] {
        let text = metrics(role).encode();
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| line.split_once(' ').unwrap());
        for (family, kind) in kinds {
            let suffix = match kind {
                "counter" => "_total",
                "histogram" => "_count",
                _ => "",
            };
            let series = format!("{family}{suffix}");
            let name = if kind == "histogram" { family.to_owned() } else { series.clone() };
            let entry = entries.entry(name).or_insert_with(|| Entry {
                kind: kind.to_owned(),
                labels: BTreeMap::new(),
                who: BTreeSet::new(),
            });
            entry.who.insert(letter);
            for ((_, labels), _) in parse(&text).into_iter().filter(|((other, _), _)| *other == series) {
                for (key, value) in labels {
                    entry.labels.entry(key).or_default().insert(value);
                }
            }
        }
    }
    entries
}

#[test]
fn the_page_has_what_the_programs_have() {
    let (page, program) = (page(), program());
    let names = |entries: &BTreeMap<String, Entry>| entries.keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(names(&page), names(&program));
    for (name, entry) in &program {
        let told = &page[name];
        assert_eq!((&told.kind, &told.who), (&entry.kind, &entry.who), "{name}");
        let keys = |entry: &Entry| entry.labels.keys().cloned().collect::<Vec<String>>();
        assert_eq!(keys(told), keys(entry), "{name}");
        for (key, values) in &entry.labels {
            let told = &told.labels[key];
            if ELSEWHERE.contains(&key.as_str()) && !told.is_superset(values) {
                let missing =
                    values.iter().filter(|value| !PAGE.contains(&format!("`{value}`")) && key != "relay" && key != "version");
                assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new(), "{name} {key}");
            } else {
                assert_eq!(told, values, "{name} {key}");
            }
        }
    }
}
