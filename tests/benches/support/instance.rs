//! One guest of a plugin, called as an actor calls it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use hotseat::plugin::{Env, Instance, Version};
use hotseat::snowflake::Generator;

/// An instance that has not seen a call yet.
pub(crate) fn fresh(version: &Arc<Version>, key: &str, settings: &[(&str, &str)]) -> Result<Instance> {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let settings: Arc<BTreeMap<_, _>> = Arc::new(settings.collect());
    let ids = Arc::new(Generator::new(1));
    Ok(Instance::new(version, key.into(), Env::new(1), &ids, &settings)?)
}
