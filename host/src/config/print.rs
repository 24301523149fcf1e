//! Print: the configuration as the file would hold it, each value with its origin.

use std::fmt::Write as _;

use toml::Value;

use super::{Config, Loaded};

impl Loaded {
    /// Valid TOML: every key with its value, and `# origin` behind it. Holds no secrets; `auth_key` is a path.
    pub fn to_toml(&self) -> String {
        let mut top = String::new();
        let mut tables = String::new();
        for (key, value) in Config::values(&self.config) {
            match value {
                None => push(&mut top, &format!("# {} is not set", key.name)),
                Some(Value::Table(table)) if table.is_empty() => {
                    push(&mut top, &format!("{} = {{}} # {}", key.name, self.source(key.name)));
                }
                Some(Value::Table(table)) => self.table(&mut tables, key.name, key.name, &table),
                Some(value) => push(&mut top, &format!("{} = {value} # {}", key.name, self.source(key.name))),
            }
        }
        top + &tables
    }

    fn table(&self, text: &mut String, header: &str, path: &str, table: &toml::Table) {
        let nested = table.values().any(Value::is_table);
        if !nested {
            push(text, &format!("\n[{header}]"));
        }
        for (name, value) in table {
            let written = written(name);
            let path = format!("{path}.{name}");
            match value {
                Value::Table(inner) => self.table(text, &format!("{header}.{written}"), &path, inner),
                value => push(text, &format!("{written} = {value} # {}", self.source(&path))),
            }
        }
    }

    fn source(&self, path: &str) -> &str {
        self.sources.get(path).map_or("default", String::as_str)
    }
}

fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}

/// A key as TOML writes it: bare where it can be.
fn written(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { Value::from(name).to_string() }
}
