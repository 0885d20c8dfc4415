//! Options that the installation was started with: the defaults of later runs and of the agent.

use std::path::{Path, PathBuf};

use appliance_install::{Install, PRODUCT, load_state};
use serde::{Deserialize, Serialize};

/// Options that the installation was started with, stored in the state folder. They are the
/// defaults of later runs and of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredOptions {
    #[serde(default = "namespace_of_earlier_versions")]
    pub(crate) namespace: String,
    pub(crate) output: Option<PathBuf>,
    pub(crate) kubectl: PathBuf,
    pub(crate) job: Option<PathBuf>,
    pub(crate) bootstrap_image: Option<String>,
}

/// Versions before the `--namespace` option had one namespace only.
fn namespace_of_earlier_versions() -> String {
    "msp".to_owned()
}

/// Reads the name of a namespace: a label as in RFC 1123. Empty text, as an environment file may
/// have it, names none.
pub(crate) fn namespace(name: &str) -> Result<String, &'static str> {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_label = (1..=63).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_label || name.is_empty() {
        Ok(name.to_owned())
    } else {
        Err("use 1 to 63 lower-case letters, digits and dashes, with no dash at either end")
    }
}

/// Returns the namespace that the installation in this folder was started with, if the state can
/// be read.
pub(crate) fn stored_namespace(state: &Path) -> Option<String> {
    let stored: Option<StoredOptions> = load_state(state, PRODUCT).unwrap_or_default();
    let earlier = || Install::is_started(state).then(namespace_of_earlier_versions);
    stored.map(|stored| stored.namespace).or_else(earlier)
}

/// Options of this command line.
#[derive(Clone, Default)]
pub(crate) struct CommandLineOptions {
    pub(crate) namespace: Option<String>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) kubectl: Option<PathBuf>,
    pub(crate) job: Option<PathBuf>,
    pub(crate) bootstrap_image: Option<String>,
}

/// Merges the stored options with those of the command line, which take precedence; an option of
/// the command line also removes a stored option that it excludes. `--output` with a stored
/// `--job` is an error instead: without the Job nobody would bootstrap the product. So is another
/// namespace once the installation `is_started`: the Secrets would be in two namespaces.
pub(crate) fn merge(
    stored: Option<StoredOptions>,
    command_line: CommandLineOptions,
    is_started: bool,
) -> Result<StoredOptions, String> {
    let stored = stored.unwrap_or_else(|| StoredOptions {
        // A started installation without stored options is one of an earlier version.
        namespace: if is_started { namespace_of_earlier_versions() } else { "default".to_owned() },
        output: None,
        kubectl: "kubectl".into(),
        job: None,
        bootstrap_image: None,
    });
    let namespace = match command_line.namespace.filter(|name| !name.is_empty()) {
        Some(other) if is_started && other != stored.namespace => {
            return Err(format!(
                "the installation was started with the namespace `{}`: omit --namespace \
                 (APPLIANCE_NAMESPACE), or start over with `appliance-setup reset --yes`",
                stored.namespace
            ));
        }
        given => given.unwrap_or(stored.namespace),
    };
    let (job, bootstrap_image) = match (command_line.job, command_line.bootstrap_image) {
        (None, None) => (stored.job, stored.bootstrap_image),
        overrides => overrides,
    };
    let is_applied = command_line.kubectl.is_some() || job.is_some();
    let output = match command_line.output {
        Some(output) => {
            if let Some(job) = &job {
                let job = job.display();
                return Err(format!(
                    "the installation was started with --job {job}, which kubectl applies: omit \
                     --output, or start over with `appliance-setup reset --yes`"
                ));
            }
            Some(output)
        }
        None => stored.output.filter(|_| !is_applied),
    };
    Ok(StoredOptions {
        namespace,
        output,
        kubectl: command_line.kubectl.unwrap_or(stored.kubectl),
        job,
        bootstrap_image,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(
        output: Option<&str>,
        kubectl: &str,
        job: Option<&str>,
        image: Option<&str>,
    ) -> StoredOptions {
        let bootstrap_image = image.map(str::to_owned);
        StoredOptions {
            namespace: "default".to_owned(),
            output: output.map(Into::into),
            kubectl: kubectl.into(),
            job: job.map(Into::into),
            bootstrap_image,
        }
    }

    #[test]
    fn stored_options_are_the_defaults() {
        let command_line = |output: Option<&str>,
                            kubectl: Option<&str>,
                            job: Option<&str>,
                            image: Option<&str>| {
            let bootstrap_image = image.map(str::to_owned);
            CommandLineOptions {
                namespace: None,
                output: output.map(Into::into),
                kubectl: kubectl.map(Into::into),
                job: job.map(Into::into),
                bootstrap_image,
            }
        };
        let files = Some(options(Some("/o"), "kubectl", None, None));
        let applied = Some(options(None, "/k", Some("/job"), None));
        let image = Some(options(None, "/k", None, Some("img:1")));
        for (stored, args, expected) in [
            (None, CommandLineOptions::default(), options(None, "kubectl", None, None)),
            (
                None,
                command_line(Some("/o"), None, None, Some("img")),
                options(Some("/o"), "kubectl", None, Some("img")),
            ),
            (
                files.clone(),
                CommandLineOptions::default(),
                options(Some("/o"), "kubectl", None, None),
            ),
            (
                files.clone(),
                command_line(None, None, None, Some("img")),
                options(Some("/o"), "kubectl", None, Some("img")),
            ),
            (
                files.clone(),
                command_line(Some("/p"), None, None, None),
                options(Some("/p"), "kubectl", None, None),
            ),
            (
                files.clone(),
                command_line(None, Some("/k"), None, None),
                options(None, "/k", None, None),
            ),
            (
                files,
                command_line(None, None, Some("/job"), None),
                options(None, "kubectl", Some("/job"), None),
            ),
            (
                applied.clone(),
                CommandLineOptions::default(),
                options(None, "/k", Some("/job"), None),
            ),
            (
                applied.clone(),
                command_line(None, None, None, Some("img")),
                options(None, "/k", None, Some("img")),
            ),
            (
                applied.clone(),
                command_line(Some("/o"), None, None, Some("img")),
                options(Some("/o"), "/k", None, Some("img")),
            ),
            (
                image.clone(),
                command_line(None, None, Some("/job"), None),
                options(None, "/k", Some("/job"), None),
            ),
            (
                image,
                command_line(Some("/o"), None, None, None),
                options(Some("/o"), "/k", None, Some("img:1")),
            ),
        ] {
            assert_eq!(merge(stored, args, false), Ok(expected));
        }
        assert!(
            merge(applied, command_line(Some("/o"), None, None, None), false)
                .unwrap_err()
                .contains("started with --job /job")
        );
    }

    #[test]
    fn namespace_is_stored_with_the_installation() {
        let given = |namespace: Option<&str>| CommandLineOptions {
            namespace: namespace.map(str::to_owned),
            ..CommandLineOptions::default()
        };
        let stored = |namespace: &str| StoredOptions {
            namespace: namespace.to_owned(),
            ..options(None, "kubectl", None, None)
        };
        let earlier: StoredOptions = serde_json::from_str(r#"{"kubectl": "kubectl"}"#).unwrap();
        for (before, namespace, is_started, expected) in [
            (None, None, false, Some("default")),
            (None, Some(""), false, Some("default")),
            (None, Some("apps"), false, Some("apps")),
            (Some(stored("apps")), None, true, Some("apps")),
            (Some(stored("apps")), Some(""), true, Some("apps")),
            (Some(stored("apps")), Some("apps"), true, Some("apps")),
            (Some(stored("apps")), Some("other"), false, Some("other")),
            (Some(stored("apps")), Some("other"), true, None),
            // Earlier versions had one namespace only, and the first of them stored no options.
            (Some(earlier.clone()), None, true, Some("msp")),
            (Some(earlier), Some("default"), true, None),
            (None, None, true, Some("msp")),
            (None, Some("default"), true, None),
        ] {
            let merged = merge(before, given(namespace), is_started);
            match expected {
                Some(expected) => assert_eq!(merged.unwrap().namespace, expected, "{namespace:?}"),
                None => assert!(merged.unwrap_err().contains("omit --namespace"), "{namespace:?}"),
            }
        }
    }

    #[test]
    fn namespace_is_a_label() {
        for (name, is_valid) in [
            ("apps", true),
            ("a-1", true),
            ("", true),
            ("Apps", false),
            ("-a", false),
            ("a b", false),
        ] {
            assert_eq!(namespace(name).is_ok(), is_valid, "{name}");
        }
    }
}
