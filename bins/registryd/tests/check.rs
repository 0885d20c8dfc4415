//! `registryd check`: what it prints, what it refuses, and that it changes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs `registryd check` with a file and environment variables.
fn check(folder: &Path, file: &str, environment: &[(&str, &str)]) -> Output {
    let path = folder.join("registry.toml");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    let others = std::env::vars_os().map(|(name, _)| name);
    for name in others.filter(|name| name.to_string_lossy().starts_with("REGISTRY_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).arg("check").envs(environment.iter().copied());
    if !environment.iter().any(|(name, _)| *name == "REGISTRY_CONFIG") {
        command.arg("--config").arg(path);
    }
    if !environment.iter().any(|(name, _)| *name == "REGISTRY_DATA") {
        command.arg("--data").arg(folder.join("data"));
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn valid_configuration_is_printed_with_origins() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[codes]\nlength = 10\n[mail.smtp]\nhost = 'mail.example'\nusername = 'u'\n\
                password = 'hunter2hunter2'\n";
    let environment = [("REGISTRY_HTTP_CONNECTIONS", "64"), ("REGISTRY_CODES_LENGHT", "9")];
    let output = check(folder.path(), file, &environment);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    let line = |key: &str| {
        let start = format!("{key} = ");
        printed.lines().find(|line| line.starts_with(&start)).unwrap_or_default().to_owned()
    };
    assert!(line("codes.length").ends_with("registry.toml:2"), "{printed}");
    assert!(line("codes.length").starts_with("codes.length = 10 "), "{printed}");
    assert!(line("http.connections").ends_with("REGISTRY_HTTP_CONNECTIONS"), "{printed}");
    assert!(line("data").ends_with("command line"), "{printed}");
    assert_eq!(line("codes.lifetime"), "codes.lifetime = \"7d\"");
    assert_eq!(line("database.url"), "database.url = (not set)");
    assert!(line("mail.smtp.password").contains("(secret)"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("warning: REGISTRY_CODES_LENGHT"), "{printed}");
    let last = "The configuration is valid. Database, mail server and bucket were not contacted.\n";
    assert!(printed.ends_with(last), "{printed}");
    assert!(!folder.path().join("data").exists(), "the check changes nothing");
}

#[test]
fn environment_is_an_origin_and_may_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.toml");
    let data = folder.path().join("data");
    let (path, data) = (path.to_str().unwrap(), data.to_str().unwrap());
    let environment = [("REGISTRY_CONFIG", path), ("REGISTRY_DATA", data), ("REGISTRY_LISTEN", "")];
    let output = check(folder.path(), "listen = '127.0.0.1:1'\n", &environment);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    let origin = |key: &str| {
        let line = printed.lines().find(|line| line.starts_with(&format!("{key} = ")));
        line.and_then(|line| line.split_once("# ")).map(|(_, origin)| origin.to_owned())
    };
    assert_eq!(origin("data").as_deref(), Some("REGISTRY_DATA"));
    assert_eq!(origin("listen"), Some(format!("{path}:1")));

    let environment = [("REGISTRY_CONFIG", ""), ("REGISTRY_DATA", "")];
    let output = check(folder.path(), "nonsense", &environment);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    assert!(printed.contains("data = \"registry-data\"\n"), "{printed}");
    let output = check(folder.path(), "", &[("REGISTRY_CONFIG", "/nowhere/registry.toml")]);
    assert!(text(&output.stderr).contains("/nowhere/registry.toml cannot be read"));
}

#[test]
fn editions_are_printed_as_toml() {
    let folder = tempfile::tempdir().unwrap();
    let editions = "editions = [{ name = \"solo\" }, { name = \"team\", tier = \"t2\", \
                    label = \"Team\", aliases = [\"crew\"] }]";
    let output = check(folder.path(), editions, &[]);
    let printed = text(&output.stdout);
    assert!(printed.contains(editions), "{printed}{}", text(&output.stderr));
}

#[test]
fn every_problem_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let readable = folder.path().join("readable");
    std::fs::write(&readable, "secret").unwrap();
    let template = folder.path().join("install_code.txt");
    std::fs::write(template, "{% broken").unwrap();
    for (file, parts) in [
        (
            "[codes]\nlength = 7\n[http]\nconnections = 0\n",
            &["toml:2: `codes.length`", "toml:4: `http.connections`"][..],
        ),
        ("[http]\nconections = 1\n", &["toml:2: ", "unknown field `conections`"]),
        ("[door]\nasks = 1\n", &["toml:2: `door.asks` is now `rate_limit.mails`"]),
        ("[license]\nkey_file = '/nowhere/key.pem'\n", &["`license.key_file`", "/nowhere/key.pem"]),
        ("master_key_file = 'FOLDER/readable'\n", &["`master_key_file`", "chmod 600"]),
        ("[mail]\ntemplates = 'FOLDER'\n", &["`mail.from` or `mail.templates`"]),
        ("[branding]\ncolor = 'blue'\n", &["branding.color"]),
        ("[log]\nlevel = 'garbage'\n", &["log.level"]),
        ("[database]\nurl = 'mysql://x'\n", &["`database.url`"]),
        (
            "[mail.smtp]\nhost = 'h'\nca_file = 'FOLDER/readable'\n\
             [s3]\nbucket = 'box'\nca_file = 'FOLDER/readable'\n",
            &["`mail.smtp` cannot be used", "`s3` cannot be used"],
        ),
    ] {
        let file = file.replace("FOLDER", folder.path().to_str().unwrap());
        let output = check(folder.path(), &file, &[]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {errors}");
        for part in parts {
            assert!(errors.contains(part), "{file}: {part} is missing in {errors}");
        }
        assert!(!folder.path().join("data").exists(), "{file}: the check changes nothing");
    }
}
