//! What can be checked once the plugins are known: their names, and their own settings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Config, PluginConfig,
    check::Checker,
    error::ConfigError,
    nearest::{nearest, quoted_list},
    path::KeyPath,
    schema, schema_cost,
};

/// How much is shown of what is wrong with a schema, in characters.
const MAX_REASON: usize = 300;

impl Config {
    /// Which of the plugins that the configuration names are none of those that there are. Each
    /// error has the nearest right name, if one is near, and all of them, sorted.
    ///
    /// A table of settings counts as naming its plugin, whether that is chosen or not.
    pub fn check_plugins(&self, known: &[&str]) -> Vec<ConfigError> {
        let known: BTreeSet<&str> = known.iter().copied().collect();
        let schema = schema();
        let mut errors = Vec::new();
        for sink in &self.sinks {
            let name = sink.plugin.as_str();
            if !known.contains(name) {
                errors.push(self.unknown_plugin(&sink.plugin_key, name, &known, &[]));
            }
        }
        for (path, name) in &self.tables {
            if !known.contains(name.as_str()) {
                errors.push(self.unknown_plugin(path, name, &known, &keys_beside(&schema, path)));
            }
        }
        errors.sort();
        errors
    }

    fn unknown_plugin(
        &self,
        path: &KeyPath,
        name: &str,
        known: &BTreeSet<&str>,
        keys: &[&str],
    ) -> ConfigError {
        let near = nearest(name, known.iter().chain(keys).copied());
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let available = match known.is_empty() {
            true => "no plugin is available".to_owned(),
            false => format!("available: {}", quoted_list(known.iter().copied())),
        };
        let separator = if near.is_empty() { ";" } else { "" };
        let name = name.escape_debug();
        let message = format!("unknown plugin `{name}`{near}{separator} {available}");
        ConfigError::new(self.origins.of(path), path, message)
    }
}

/// The keys that the table of a plugin stands beside, which its name may be a slip of.
fn keys_beside<'a>(schema: &'a Value, path: &KeyPath) -> Vec<&'a str> {
    let section = path.parent().and_then(|section| section.last_key().map(str::to_owned));
    let section = section.and_then(|section| schema.get("properties")?.get(&section));
    section.into_iter().flat_map(schema::properties).map(|(key, _)| key.as_str()).collect()
}

/// Checks the settings of a sink against the JSON Schema (draft 2020-12) that its plugin describes
/// them by.
///
/// The schema is not trusted: it may refer to nothing outside itself and not to itself, and it may
/// not take long.
///
/// # Errors
///
/// Every mistake in the settings, or what is wrong with the schema, for which the error blames the
/// plugin.
pub fn check_settings(schema: &Value, sink: &PluginConfig) -> Result<(), Vec<ConfigError>> {
    let checker = schema_cost::check(schema).and_then(|()| Checker::new(schema));
    let checker = checker.map_err(|reason| {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let message = format!(
            "the schema that plugin `{}` gives for its settings is not right: {}; report it to the \
             plugin's author, or choose another plugin",
            sink.plugin,
            reason.escape_debug()
        );
        vec![ConfigError::new(sink.origins.of(&sink.plugin_key), &sink.plugin_key, message)]
    })?;
    let mistakes = checker.mistakes(&Value::Object(sink.settings.clone()));
    let mut errors: Vec<ConfigError> = mistakes
        .into_iter()
        .map(|mistake| {
            let path = sink.settings_key.join(&mistake.path);
            ConfigError::new(sink.origins.around(&path), &path, mistake.message)
        })
        .collect();
    errors.sort();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
