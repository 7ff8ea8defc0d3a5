//! As much TOML as Cargo manifests use, flattened: every value with the whole path of its keys.
//!
//! ```text
//!   [dependencies]                                dependencies, bytes, workspace       true
//!   bytes.workspace = true                   ►
//!   serde = { version = "1", features = [] }      dependencies, serde, version         "1"
//!                                                 dependencies, serde, features        []
//! ```
//!
//! So the three ways to write a dependency look the same to a check. Values stay text.

/// One value of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The keys from the outermost table in, without quotes; never empty.
    pub keys: Vec<String>,
    /// The value as it is written, on one line.
    pub value: String,
    /// Where its key stands, from 1.
    pub line: usize,
}

/// A manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// In the order of the file.
    pub entries: Vec<Entry>,
}

/// One crate that a manifest depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name in the code.
    pub name: String,
    /// Where it first stands, from 1.
    pub line: usize,
    /// What is said about it, such as `version`, `workspace`, `default-features`; a lone version has the key `version`.
    pub attributes: Vec<(String, String)>,
}

impl Dependency {
    /// The value of an attribute, as it is written.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The name of the package, which a dependency may rename.
    #[must_use]
    pub fn package(&self) -> &str {
        self.attribute("package").map_or(self.name.as_str(), unquoted)
    }
}

impl Manifest {
    /// Reads a manifest; lines that are no TOML are passed over, Cargo refuses them anyway.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut table = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let mut statement = without_comment(line).trim().to_owned();
            if let Some(name) = statement.strip_prefix('[').filter(|_| !statement.contains('=')) {
                table = keys(name.trim_matches(['[', ']']));
                continue;
            }
            while depth(&statement) > 0 {
                let Some((_, more)) = lines.next() else { break };
                statement.push(' ');
                statement.push_str(without_comment(more).trim());
            }
            manifest.add(&table, &statement, index + 1);
        }
        manifest
    }

    fn add(&mut self, table: &[String], statement: &str, line: usize) {
        let Some(at) = outside(statement, '=').first().copied() else { return };
        let mut path = table.to_vec();
        path.extend(keys(&statement[..at]));
        let value = statement[at + 1..].trim();
        match value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(inside) => {
                for part in split(inside, ',') {
                    self.add(&path, part, line);
                }
            }
            None => self.entries.push(Entry { keys: path, value: value.to_owned(), line }),
        }
    }

    /// The entry at a path of keys.
    #[must_use]
    pub fn entry(&self, keys: &[&str]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.keys == keys)
    }

    /// The text at a path of keys, without quotes.
    #[must_use]
    pub fn string(&self, keys: &[&str]) -> Option<&str> {
        self.entry(keys).map(|entry| unquoted(&entry.value))
    }

    /// The texts of a list at a path of keys, without quotes; empty when there is none.
    #[must_use]
    pub fn strings(&self, keys: &[&str]) -> Vec<&str> {
        let list = self.entry(keys).map_or("", |entry| entry.value.as_str());
        let inside = list.trim_start_matches('[').trim_end_matches(']');
        split(inside, ',').into_iter().map(unquoted).filter(|text| !text.is_empty()).collect()
    }

    /// What the code itself depends on: `[dependencies]` and `[build-dependencies]`, those of single targets too.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut found: Vec<Dependency> = Vec::new();
        for entry in &self.entries {
            let keys: Vec<&str> = entry.keys.iter().map(String::as_str).collect();
            let within = match keys.as_slice() {
                ["target", _, rest @ ..] => rest,
                all => all,
            };
            if let ["dependencies" | "build-dependencies", name, attribute @ ..] = within {
                let attribute = (attribute.first().map_or("version", |key| *key).to_owned(), entry.value.clone());
                match found.iter_mut().find(|dependency| dependency.name == *name) {
                    Some(dependency) => dependency.attributes.push(attribute),
                    None => found.push(Dependency {
                        name: (*name).to_owned(),
                        line: entry.line,
                        attributes: vec![attribute],
                    }),
                }
            }
        }
        found
    }
}

/// A value without its quotes.
#[must_use]
pub fn unquoted(value: &str) -> &str {
    value.trim().trim_matches(['"', '\''])
}

fn keys(path: &str) -> Vec<String> {
    split(path, '.').into_iter().map(|key| unquoted(key).to_owned()).collect()
}

/// The parts between separators that stand in no quotes and no brackets, trimmed.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in outside(text, separator) {
        parts.push(text[start..at].trim());
        start = at + separator.len_utf8();
    }
    parts.push(text[start..].trim());
    parts
}

fn without_comment(line: &str) -> &str {
    outside(line, '#').first().map_or(line, |at| &line[..*at])
}

/// How many brackets a statement leaves open.
fn depth(statement: &str) -> usize {
    let mut depth = 0_usize;
    scan(statement, |_, _, inside| depth = inside);
    depth
}

/// The places of a character outside of quotes and brackets.
fn outside(text: &str, wanted: char) -> Vec<usize> {
    let mut places = Vec::new();
    scan(text, |at, character, depth| {
        if character == wanted && depth == 0 {
            places.push(at);
        }
    });
    places
}

/// Visits each character outside of quotes, with the number of brackets open after it.
fn scan(text: &str, mut visit: impl FnMut(usize, char, usize)) {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => continue,
            (None, '"' | '\'') => quote = Some(character),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        visit(at, character, depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_a_dependency_look_the_same() {
        let tables = [
            "[dependencies]\nbytes.workspace = true\n",
            "[dependencies]\nbytes = { workspace = true }  # why\n",
            "[dependencies.bytes]\nworkspace = true\n",
            "[target.'cfg(unix)'.dependencies]\nbytes = { workspace = true }\n",
        ];
        for table in tables {
            let dependencies = Manifest::parse(table).dependencies();
            assert_eq!(dependencies.len(), 1, "{table}");
            assert_eq!(dependencies[0].name, "bytes");
            assert_eq!(dependencies[0].attribute("workspace"), Some("true"), "{table}");
            assert_eq!(dependencies[0].line, 2);
        }
    }

    #[test]
    fn a_renamed_dependency_is_its_package() {
        let manifest =
            Manifest::parse("[dependencies]\nclock = { package = \"tokio\", version = \"1\" }\nrand = \"0.9\"\n");
        let packages: Vec<String> = manifest.dependencies().iter().map(|one| one.package().to_owned()).collect();
        assert_eq!(packages, ["tokio", "rand"]);
        assert_eq!(manifest.dependencies()[1].attribute("version"), Some("\"0.9\""));
    }

    #[test]
    fn only_what_the_code_needs_is_a_dependency() {
        let text = "[dev-dependencies]\ntempfile = \"3\"\n[build-dependencies]\ncc = \"1\"\n[workspace.dependencies]\nbytes = \"1\"\n";
        let names: Vec<String> = Manifest::parse(text).dependencies().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["cc"]);
    }

    #[test]
    fn lists_may_run_over_lines_and_hold_comments() {
        let manifest = Manifest::parse("[workspace]\nmembers = [\n  \"a\", # first\n  \"b#c\",\n]\nresolver = \"3\"\n");
        assert_eq!(manifest.strings(&["workspace", "members"]), ["a", "b#c"]);
        assert_eq!(manifest.string(&["workspace", "resolver"]), Some("3"));
        assert_eq!(manifest.entry(&["workspace", "resolver"]).map(|entry| entry.line), Some(6));
        assert!(manifest.strings(&["workspace", "exclude"]).is_empty());
    }
}
