//! Maps: settings that hold one value a name; flags and variables write them `NAME=VALUE`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Dict, Num, Value};

use super::setting::{Refused, Setting};

/// Plugins, services and their keys are named like this, so that they fit in paths, metrics and room names.
const NAME: &str = "a name of 1 to 64 of a-z 0-9 - _";

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

fn name(text: &str) -> Result<String, Refused> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(Refused::part(text, NAME)) }
}

fn config_key(text: &str) -> Result<String, Refused> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(Refused::part(text, "keys of 1 to 128 of a-z A-Z 0-9 - _ ."))
    }
}

/// Splits `a=x,b=y` and repeated texts into pairs.
fn pairs<'a>(texts: &'a [String], form: &str) -> Result<Vec<(&'a str, &'a str)>, Refused> {
    texts
        .iter()
        .flat_map(|text| text.split(','))
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() => Ok((name.trim(), value.trim())),
            _ => Err(Refused::part(pair, format!("{form}, several separated by commas"))),
        })
        .collect()
}

fn table<'a>(value: &'a Value, form: &str) -> Result<&'a Dict, Refused> {
    value.as_dict().ok_or_else(|| Refused::whole(format!("a table of {form}")))
}

impl Setting<Self> for BTreeMap<String, PathBuf> {
    type Range = ();
    const PLACEHOLDER: &'static str = "NAME=FILE";
    const REPEATABLE: bool = true;

    fn from_texts(texts: &[String]) -> Result<Value, Refused> {
        let mut plugins = Dict::new();
        for (name, file) in pairs(texts, "NAME=FILE")? {
            if plugins.insert(name.to_owned(), Value::from(file)).is_some() {
                return Err(Refused::part(format!("{name}={file}"), "each name once"));
            }
        }
        Ok(Value::from(plugins))
    }

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        let file = |(key, value): (&String, &Value)| {
            let file = value.as_str().filter(|file| !file.is_empty());
            let allowed = || Refused::part(key, "a name and the path of a component");
            Ok((name(key)?, file.ok_or_else(allowed)?.into()))
        };
        table(value, "NAME = \"FILE\"")?.iter().map(file).collect()
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        let entry = |(name, file): (&String, &PathBuf)| (name.clone(), file.display().to_string().into());
        Some(toml::Value::Table(value.iter().map(entry).collect()))
    }
}

impl Setting<Self> for BTreeMap<String, Vec<String>> {
    type Range = ();
    const PLACEHOLDER: &'static str = "NAME=URL";
    const REPEATABLE: bool = true;

    fn from_texts(texts: &[String]) -> Result<Value, Refused> {
        let mut services = BTreeMap::<String, Vec<String>>::new();
        for (name, url) in pairs(texts, "NAME=http://HOST:PORT")? {
            services.entry(name.to_owned()).or_default().push(url.to_owned());
        }
        let urls = |(name, urls): (String, Vec<String>)| (name, Value::from(urls));
        Ok(Value::from(services.into_iter().map(urls).collect::<Dict>()))
    }

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        const FORM: &str = "NAME = [\"http://HOST:PORT\"]";
        let url = |value: &Value| {
            let url = value.as_str().unwrap_or_default();
            let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
            match host {
                Some(host) if !host.is_empty() && url.parse::<tonic::transport::Uri>().is_ok() => {
                    Ok(url.to_owned())
                }
                _ => Err(Refused::part(url, "URLs such as http://127.0.0.1:50051")),
            }
        };
        let service = |(key, value): (&String, &Value)| {
            let urls = value.as_array().filter(|urls| !urls.is_empty());
            let urls = urls.ok_or_else(|| Refused::part(key, FORM))?;
            Ok((name(key)?, urls.iter().map(url).collect::<Result<_, _>>()?))
        };
        table(value, FORM)?.iter().map(service).collect()
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        let entry = |(name, urls): (&String, &Vec<String>)| (name.clone(), urls.clone().into());
        Some(toml::Value::Table(value.iter().map(entry).collect()))
    }
}

impl Setting<Self> for BTreeMap<String, BTreeMap<String, String>> {
    type Range = ();
    const PLACEHOLDER: &'static str = "PLUGIN.KEY=VALUE";
    const REPEATABLE: bool = true;

    fn from_texts(texts: &[String]) -> Result<Value, Refused> {
        let mut plugins = BTreeMap::<String, Dict>::new();
        for (path, value) in pairs(texts, "PLUGIN.KEY=VALUE")? {
            let (plugin, key) =
                path.split_once('.').ok_or_else(|| Refused::part(path, "PLUGIN.KEY=VALUE"))?;
            plugins.entry(plugin.to_owned()).or_default().insert(key.to_owned(), Value::from(value));
        }
        let table = |(plugin, keys): (String, Dict)| (plugin, Value::from(keys));
        Ok(Value::from(plugins.into_iter().map(table).collect::<Dict>()))
    }

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        const FORM: &str = "PLUGIN tables of KEY = \"VALUE\"";
        let text = |key: &str, value: &Value| match value {
            Value::String(_, text) => Ok(text.clone()),
            Value::Bool(_, on) => Ok(on.to_string()),
            Value::Num(_, Num::F64(number)) => Ok(number.to_string()),
            Value::Num(_, Num::I64(number)) => Ok(number.to_string()),
            _ => Err(Refused::part(key, FORM)),
        };
        let plugin = |(key, value): (&String, &Value)| {
            let keys = value.as_dict().ok_or_else(|| Refused::part(key, FORM))?;
            let keys = keys.iter().map(|(key, value)| Ok((config_key(key)?, text(key, value)?)));
            Ok((name(key)?, keys.collect::<Result<_, _>>()?))
        };
        table(value, FORM)?.iter().map(plugin).collect()
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        let entry = |(plugin, keys): (&String, &BTreeMap<String, String>)| {
            let keys = keys.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
            (plugin.clone(), toml::Value::Table(keys))
        };
        Some(toml::Value::Table(value.iter().map(entry).collect()))
    }
}
