//! Layers: file, environment and flags put over each other, each value with its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::setting::{Refused, Setting};
use super::table::Key;
use super::{Config, ConfigError, ENV_ALIASES, ENV_OTHERS, ENV_PREFIX, FILE, KEYS, RunFlags, check};

/// A configuration and where each of its values is from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings, checked.
    pub config: Config,
    /// Per key (`listen`, `plugin.game-logic`, `plugin_config.game-logic.speed`): `default`, the file's name,
    /// `environment HOTSEAT_LISTEN` or `flag --listen`.
    pub sources: BTreeMap<String, String>,
}

/// Everything a configuration is read from, so that a test can give it without touching the process.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Where `hotseat.toml` is looked for.
    pub dir: PathBuf,
    /// The environment; names that do not begin with `HOTSEAT_` are ignored.
    pub env: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: RunFlags,
}

impl Inputs {
    /// The working directory and environment of this process.
    ///
    /// # Errors
    /// If there is no working directory.
    pub fn of_process(flags: RunFlags) -> Result<Self, ConfigError> {
        let dir = std::env::current_dir().map_err(|source| ConfigError::Unreadable {
            what: "the working directory",
            path: PathBuf::from("."),
            source,
        })?;
        Ok(Self { dir, env: std::env::vars_os().collect(), flags })
    }

    /// Reads and checks all layers.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let layers = Layers::of(self)?;
        let config = Config::read(&layers)?;
        let sources = layers.sources(&config);
        check::check(&config, &sources)?;
        Ok(Loaded { config, sources })
    }
}

/// One origin's values.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The merged layers without the defaults.
pub(crate) struct Layers {
    figment: Figment,
}

impl Layers {
    fn of(inputs: &Inputs) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(layer) = file(inputs)? {
            figment = figment.merge(layer);
        }
        for (name, value) in env(inputs)? {
            if let Some((_, key)) = ENV_ALIASES.iter().find(|(alias, _)| *alias == name) {
                let key = KEYS.iter().find(|known| known.name == *key).expect("aliases are of known keys");
                figment = figment.merge(texts(key, format!("environment {name}"), &[value])?);
                continue;
            }
            let Some(key) = KEYS.iter().find(|key| variable(key) == name) else {
                if ENV_OTHERS.contains(&name.as_str()) {
                    continue;
                }
                let nearest = nearest(&name[ENV_PREFIX.len()..].to_lowercase());
                let nearest = nearest.map(variable);
                return Err(ConfigError::Unknown { key: name, origin: "the environment".into(), nearest });
            };
            figment = figment.merge(texts(key, format!("environment {name}"), &[value])?);
        }
        for (name, values) in &inputs.flags.values {
            let key = KEYS.iter().find(|key| key.name == *name).ok_or_else(|| ConfigError::Unknown {
                key: name.clone(),
                origin: "the flags".into(),
                nearest: nearest(name).map(|key| key.name.to_owned()),
            })?;
            figment = figment.merge(texts(key, format!("flag --{}", key.flag()), values)?);
        }
        Ok(Self { figment })
    }

    /// The value of a key, or its default where no layer has one.
    pub(crate) fn get<S: Setting<T>, T>(
        &self,
        key: &'static str,
        default: T,
        range: &S::Range,
    ) -> Result<T, ConfigError> {
        let Ok(value) = self.figment.find_value(key) else { return Ok(default) };
        S::read(&value, range).map_err(|refused| {
            let mut origins = Vec::new();
            self.walk(key, &value, &mut |_, origin| {
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            });
            refused_value(key, &value, refused, origins.join(" and "))
        })
    }

    /// Calls `see` with the path and origin of each value below `value` that is no table.
    fn walk(&self, path: &str, value: &Value, see: &mut dyn FnMut(&str, String)) {
        match value {
            Value::Dict(_, dict) if !dict.is_empty() => {
                for (key, value) in dict {
                    self.walk(&format!("{path}.{key}"), value, see);
                }
            }
            _ => {
                let origin = self.figment.get_metadata(value.tag()).map(|it| it.name.to_string());
                see(path, origin.unwrap_or_else(|| "default".into()));
            }
        }
    }

    fn sources(&self, config: &Config) -> BTreeMap<String, String> {
        let mut sources = BTreeMap::new();
        for (key, _) in config.values() {
            match self.figment.find_value(key.name) {
                Ok(value) => self.walk(key.name, &value, &mut |path, origin| {
                    sources.insert(path.to_owned(), origin);
                }),
                Err(_) => {
                    sources.insert(key.name.to_owned(), "default".to_owned());
                }
            }
        }
        sources
    }
}

fn refused_value(key: &str, value: &Value, refused: Refused, origin: String) -> ConfigError {
    let whole = || match value {
        Value::String(_, text) => text.clone(),
        Value::Num(_, number) => {
            let float = || number.to_f64().map(|it| it.to_string());
            let unsigned = || number.to_u128().map(|it| it.to_string());
            number.to_i128().map(|it| it.to_string()).or_else(unsigned).or_else(float).unwrap_or_default()
        }
        Value::Bool(_, on) => on.to_string(),
        Value::Char(_, char) => char.to_string(),
        Value::Array(..) => "a list".into(),
        Value::Dict(..) => "a table".into(),
        Value::Empty(..) => "nothing".into(),
    };
    ConfigError::Value {
        key: key.to_owned(),
        value: refused.value.unwrap_or_else(whole),
        allowed: refused.allowed,
        origin,
    }
}

fn file(inputs: &Inputs) -> Result<Option<Layer>, ConfigError> {
    let from_env = || {
        let named = |(name, _): &&(OsString, OsString)| name == "HOTSEAT_CONFIG";
        inputs.env.iter().find(named).map(|(_, path)| PathBuf::from(path))
    };
    let named = inputs.flags.config.clone().or_else(from_env);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let text = match std::fs::read_to_string(inputs.dir.join(&path)) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ConfigError::Unreadable { what: "the configuration file", path, source });
        }
    };
    let values: Dict = Toml::from_str(&text)
        .map_err(|source| ConfigError::Syntax { path: path.clone(), source: Box::new(source) })?;
    let origin = path.display().to_string();
    for key in values.keys() {
        if !KEYS.iter().any(|known| known.name == key) {
            let nearest = nearest(key).map(|key| key.name.to_owned());
            return Err(ConfigError::Unknown { key: key.clone(), origin, nearest });
        }
    }
    Ok(Some(Layer { origin, values }))
}

/// The environment's variables that are meant for us, in the order of their names.
fn env(inputs: &Inputs) -> Result<Vec<(String, String)>, ConfigError> {
    let mut ours = Vec::new();
    for (name, value) in &inputs.env {
        let known =
            |name: &&str| name.starts_with(ENV_PREFIX) || ENV_ALIASES.iter().any(|(alias, _)| alias == name);
        let Some(name) = name.to_str().filter(known) else { continue };
        let value = value.to_str().ok_or_else(|| ConfigError::Value {
            key: name.to_owned(),
            value: value.to_string_lossy().into_owned(),
            allowed: "text in UTF-8".into(),
            origin: "the environment".into(),
        })?;
        ours.push((name.to_owned(), value.to_owned()));
    }
    // Variables that the whole cluster shares come first, so that ours win over them.
    ours.sort_by_key(|(name, _)| (name.starts_with(ENV_PREFIX), name.clone()));
    Ok(ours)
}

fn variable(key: &Key) -> String {
    format!("{ENV_PREFIX}{}", key.name.to_uppercase())
}

fn texts(key: &Key, origin: String, texts: &[String]) -> Result<Layer, ConfigError> {
    let value = (key.text)(texts)
        .map_err(|refused| refused_value(key.name, &Value::from(texts.join(",")), refused, origin.clone()))?;
    Ok(Layer { origin, values: Dict::from([(key.name.to_owned(), value)]) })
}

/// The known key most like `name`, if one is like it at all.
fn nearest(name: &str) -> Option<&'static Key> {
    let name = name.replace('-', "_");
    let scored = KEYS.iter().map(|key| (distance(&name, key.name), key));
    let nearest = scored.min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, key)| *distance <= 1 + key.name.len() / 5).map(|(_, key)| key)
}

/// How many letters to change, add or drop to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
