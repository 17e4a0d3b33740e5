//! Rules about Cargo.toml files.

use super::Finding;
use toml::{Table, Value};

/// What the rules read of a Cargo.toml.
pub struct Manifest {
    /// Path of the file from the top of the repository.
    pub file: String,
    /// The package's name.
    pub package: String,
    /// Names of all dependencies of every kind (normal, dev, build, per platform).
    pub dependencies: Vec<String>,
    table: Table,
}

impl Manifest {
    /// Reads the manifest `text` of the file named `file`.
    ///
    /// # Errors
    /// What the text lacks: valid TOML, or a package name.
    pub fn parse(file: &str, text: &str) -> Result<Manifest, String> {
        let table: Table = text.parse().map_err(|e| format!("{file}: {e}"))?;
        let package = table.get("package").and_then(|p| p.get("name")).and_then(Value::as_str);
        let package = package.ok_or_else(|| format!("{file}: no package name"))?.to_owned();
        let dependencies = dependency_tables(&table).flat_map(|t| t.keys().cloned()).collect();
        Ok(Manifest { file: file.to_owned(), package, dependencies, table })
    }

    /// What the package says it is.
    pub fn description(&self) -> Option<&str> {
        self.table.get("package")?.get("description")?.as_str()
    }

    /// Names of the dependencies that the crate itself is built on, without those of its tests and build script.
    pub fn built_on(&self) -> impl Iterator<Item = &str> {
        let tables = std::iter::once(&self.table).chain(
            self.table
                .get("target")
                .and_then(Value::as_table)
                .into_iter()
                .flat_map(|t| t.values())
                .filter_map(Value::as_table),
        );
        tables
            .filter_map(|owner| owner.get("dependencies").and_then(Value::as_table))
            .flat_map(|dependencies| dependencies.keys().map(String::as_str))
    }
}

fn dependency_tables(table: &Table) -> impl Iterator<Item = &Table> {
    let platforms = table.get("target").and_then(Value::as_table).into_iter().flat_map(|t| t.values());
    let owners = std::iter::once(table).chain(platforms.filter_map(Value::as_table));
    owners.flat_map(|owner| {
        ["dependencies", "dev-dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|kind| owner.get(kind).and_then(Value::as_table))
    })
}

/// Dependencies of a member that don't take their version from the top (`NAME.workspace = true`).
pub fn shared_versions(manifest: &Manifest) -> Vec<Finding> {
    let tables = dependency_tables(&manifest.table);
    let entries = tables.flat_map(|table| table.iter());
    entries
        .filter(|(_, value)| value.get("workspace").and_then(Value::as_bool) != Some(true))
        .map(|(name, _)| {
            Finding::new(
                &manifest.file,
                0,
                format!("write `{name}.workspace = true`; its version belongs in the top Cargo.toml"),
            )
        })
        .collect()
}

/// Outside dependencies in the top Cargo.toml (or that of a crate outside the workspace) without a word of why.
pub fn outside_reasons(file: &str, text: &str, section: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut inside, mut reason_above) = (false, false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if line.starts_with('#') {
            reason_above = true;
            continue;
        } else if inside && line.contains('=') && !line.contains("path =") && !line.contains('#') {
            // A comment above a group covers its first line only: each crate says its own reason.
            if !reason_above
                || !text.lines().nth(number.wrapping_sub(1)).is_some_and(|l| l.trim().starts_with('#'))
            {
                let name = line.split('=').next().unwrap_or_default().trim();
                findings.push(Finding::new(
                    file,
                    number + 1,
                    format!("`{name}` has no comment that says why it is here"),
                ));
            }
        }
        reason_above = false;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_every_kind_are_seen() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n[dev-dependencies]\nc = \"1\"\n[target.'cfg(unix)'.dependencies]\nd = { path = \"../d\" }\n";
        let manifest = Manifest::parse("a/Cargo.toml", text).unwrap();
        assert_eq!(manifest.dependencies, ["b", "c", "d"]);
        let findings = shared_versions(&manifest);
        assert_eq!(findings.len(), 2);
        assert!(
            findings[0].text.contains("`c.workspace = true`") && findings[1].text.contains("`d.workspace")
        );
        assert!(Manifest::parse("a/Cargo.toml", "[dependencies]").is_err());
    }

    #[test]
    fn an_outside_crate_says_why() {
        let text = "[package]\nx = \"1\"\n[workspace.dependencies]\nown = { path = \"own\" }\ngood = \"1\" # for this\n# for that\nalso = \"1\"\nbad = \"2\"\n[other]\ny = 1\n";
        let findings = outside_reasons("Cargo.toml", text, "workspace.dependencies");
        assert_eq!(findings.iter().map(|f| f.line).collect::<Vec<_>>(), [8]);
    }
}
