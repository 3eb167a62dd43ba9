//! Dependencies and lints are chosen once, in the workspace's manifest.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Findings;

pub(super) fn check(text: &str, findings: &mut Findings<'_>) -> Result<()> {
    let manifest: Table = text.parse().with_context(|| format!("{} is no TOML", findings.file))?;
    if manifest.contains_key("workspace") {
        return Ok(());
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(Value::Table(dependencies)) = manifest.get(section) else { continue };
        for (name, value) in dependencies.iter().filter(|(_, value)| !is_inherited(value)) {
            let line = line_of(text, name);
            let message = format!("`{name}` is {value}; its version belongs to the workspace");
            findings.add(line, "manifest", message);
        }
    }
    if !manifest.get("lints").is_some_and(is_inherited) {
        findings.add(1, "manifest", "lints are not the workspace's: `[lints] workspace = true`");
    }
    Ok(())
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn line_of(text: &str, name: &str) -> usize {
    text.lines().position(|line| line.starts_with(name)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::violations;

    #[test]
    fn versions_and_lints_come_from_the_workspace() {
        let lints = "[lints]\nworkspace = true\n";
        let fine =
            format!("[dependencies]\na.workspace = true\nb = {{ workspace = true }}\n{lints}");
        assert_eq!(violations("governd/Cargo.toml", &fine), []);
        let own = format!("[dev-dependencies]\na.workspace = true\nb = \"1\"\n{lints}");
        assert_eq!(violations("governd/Cargo.toml", &own), [("manifest", 3)]);
        assert_eq!(violations("governd/Cargo.toml", "[dependencies]\n"), [("manifest", 1)]);
        let workspace = "[workspace]\n[workspace.dependencies]\na = \"1\"\n";
        assert_eq!(violations("Cargo.toml", workspace), []);
    }
}
