//! Reads the file and the environment, and refuses what is misspelt or has a wrong type. Every
//! error names the file and the line, or the environment variable.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Spanned, Table, Value};

use super::Config;
use super::renamed::renamed;
use super::schema::variable;

/// A configuration, with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// The default.
    #[default]
    Default,
    /// A line of the file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

impl Config {
    /// Reads the file, if one is given, lets the environment take precedence, and checks the
    /// values.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        Loaded::read(file, environment)?.checked()
    }

    /// [`load`](Self::load) with the environment of the process. The command line takes precedence
    /// over both.
    pub fn load_over(
        file: Option<&Path>,
        data: Option<PathBuf>,
        listen: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        Loaded::read_over(file, data, listen)?.checked()
    }

    /// The environment variables that begin with `REGISTRY_` and are no key: misspelt, perhaps.
    #[must_use]
    pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
        let entries = Self::default().entries();
        let keys = entries.iter().filter(|entry| entry.value.is_some());
        let known: Vec<_> = keys.map(super::Entry::variable).collect();
        let is_known = |name: &String| name == "REGISTRY_CONFIG" || known.contains(name);
        names.filter(|name| name.starts_with("REGISTRY_") && !is_known(name)).collect()
    }
}

impl Loaded {
    /// Reads the file and the environment. The types are checked, the values are not: see
    /// [`problems`](Self::problems).
    pub fn read(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let mut origins = BTreeMap::new();
        let mut table = match file {
            None => Table::new(),
            Some(path) => read_file(path, &mut origins)?,
        };
        let environment = |name: &str| environment(name).filter(|text| !text.is_empty());
        for (old, new) in renamed() {
            let (old, new) = (variable(old), variable(new));
            if environment(&old).is_some() {
                bail!("{old}: this variable is now {new}");
            }
        }
        for entry in Config::default().entries() {
            let Some(value) = &entry.value else { continue };
            let name = entry.variable();
            let Some(text) = environment(&name) else { continue };
            let value = if value.is_text { Value::String(text) } else { toml_value(&name, &text)? };
            let mut alone = Table::new();
            set(&mut alone, &entry.path, value.clone());
            Config::deserialize(alone).map_err(|error| anyhow!("{name}: {}", error.message()))?;
            set(&mut table, &entry.path, value);
            origins.insert(entry.path, Origin::Environment(name));
        }
        let config = Config::deserialize(table)
            .map_err(|error| anyhow!("the configuration cannot be read: {}", error.message()))?;
        Ok(Self { config, origins })
    }

    /// [`read`](Self::read) with the environment of the process. The command line takes precedence
    /// over both. `REGISTRY_CONFIG` names the file if the command line does not.
    pub fn read_over(
        file: Option<&Path>,
        data: Option<PathBuf>,
        listen: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let variable_file = std::env::var_os("REGISTRY_CONFIG").filter(|path| !path.is_empty());
        let file = file.or(variable_file.as_deref().map(Path::new));
        let given = [data.is_some().then_some("data"), listen.is_some().then_some("listen")];
        let given = given.into_iter().flatten();
        let mut loaded = Self::read(file, |name| {
            let is_over = given.clone().any(|key| variable(key) == name);
            std::env::var(name).ok().filter(|_| !is_over)
        })?;
        loaded.origins.extend(given.map(|key| (key.to_owned(), Origin::CommandLine)));
        loaded.config.data = data.unwrap_or(loaded.config.data);
        loaded.config.listen = listen.unwrap_or(loaded.config.listen);
        Ok(loaded)
    }

    /// The origin of the value of a key.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }

    /// Everything that is wrong with the values, each with its origin.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let located = |(key, text): (&'static str, String)| match self.origin(key) {
            Origin::Default => text,
            origin => format!("{origin}: {text}"),
        };
        self.config.problems().into_iter().map(located).collect()
    }

    /// The configuration, if nothing is wrong with it.
    fn checked(self) -> anyhow::Result<Config> {
        let problems = self.problems();
        if problems.is_empty() { Ok(self.config) } else { bail!("{}", problems.join("\n")) }
    }
}

/// Reads the file, and notes the line of each key.
fn read_file(path: &Path, origins: &mut BTreeMap<String, Origin>) -> anyhow::Result<Table> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration {name} cannot be read"))?;
    let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let at = |error: &toml::de::Error| error.span().map_or(1, |span| line(span.start));
    let parsed = DeTable::parse(&text);
    let parsed =
        parsed.map_err(|error| anyhow!("{name}:{}: not TOML: {}", at(&error), error.message()))?;
    let mut lines = BTreeMap::new();
    let mut scalars = Vec::new();
    note_keys(parsed.get_ref(), "", &mut |key, offset, is_table| {
        if !is_table {
            scalars.push(key.clone());
        }
        lines.insert(key, line(offset));
    });
    for (old, new) in renamed() {
        if let Some(line) = lines.get(old) {
            bail!("{name}:{line}: `{old}` is now `{new}`");
        }
    }
    for entry in Config::default().entries().into_iter().filter(|entry| entry.value.is_none()) {
        // The error of the type would repeat the value, which may be the password of a database.
        let section = entry.path;
        if let Some(line) = lines.get(&section).filter(|_| scalars.contains(&section)) {
            bail!(
                "{name}:{line}: `{section}` is a section: write `[{section}]`, and its keys below"
            );
        }
    }
    let typed = serde_path_to_error::deserialize::<_, Config>(Deserializer::from(parsed));
    typed.map_err(|error| {
        let (key, error) = (error.path().to_string(), error.inner());
        // A misspelt key is its own path, so the message has it already.
        let key = if key == "." { String::new() } else { format!("`{key}`: ") };
        anyhow!("{name}:{}: {key}{}", at(error), error.message())
    })?;
    let origin = |(key, line)| (key, Origin::File(path.to_owned(), line));
    origins.extend(lines.into_iter().map(origin));
    toml::from_str(&text)
        .map_err(|error| anyhow!("{name}:{}: not TOML: {}", at(&error), error.message()))
}

/// Calls `note` with each key of the table, the offset of it in the file, and true if its value is
/// a table.
fn note_keys(table: &DeTable<'_>, path: &str, note: &mut impl FnMut(String, usize, bool)) {
    for (name, value) in table {
        let key = super::schema::join(path, name.get_ref());
        let below = if let DeValue::Table(below) = value.get_ref() { Some(below) } else { None };
        note(key.clone(), Spanned::span(name).start, below.is_some());
        if let Some(below) = below {
            note_keys(below, &key, note);
        }
    }
}

fn toml_value(name: &str, text: &str) -> anyhow::Result<Value> {
    let parsed: Result<Table, _> = format!("value = {text}").parse();
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    value.with_context(|| {
        format!("{name}: not a TOML value. Write a number, or a list such as [\"a\", \"b\"]")
    })
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                set(section, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
