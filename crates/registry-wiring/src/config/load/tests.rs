use super::super::Span;
use super::*;

/// Reads a file and an environment, without a check of the values.
fn read(file: &str, environment: &[(&str, &str)]) -> anyhow::Result<Loaded> {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file).unwrap();
    let find = |name: &str| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Loaded::read(Some(path.path()), find)
}

fn load(file: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
    read(file, environment)?.checked()
}

fn refused(file: &str, environment: &[(&str, &str)]) -> String {
    format!("{:#}", load(file, environment).unwrap_err())
}

#[test]
fn empty_configuration_is_valid() {
    let config = Config::load(None, |_| None).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.codes.lifetime, Span::days(7));
    assert!(config.catalogue().is_ok());
}

#[test]
fn portal_url_defaults_to_our_pages() {
    for (file, expected) in [
        ("", Some("http://registry.example/portal")),
        ("portal_url = 'https://portal.example'", Some("https://portal.example")),
        (
            "portal_url = 'https://portal.example'\n[web]\nenabled = false",
            Some("https://portal.example"),
        ),
        ("[web]\nenabled = false", None),
    ] {
        let config = load(file, &[]).unwrap();
        assert_eq!(config.portal("http://registry.example/").as_deref(), expected, "{file}");
    }
}

#[test]
fn environment_overrides_the_file() {
    let file = "listen = '127.0.0.1:1'\n[codes]\nlength = 8\nlifetime = '1h 30m'\n";
    let environment = [
        ("REGISTRY_LISTEN", "127.0.0.1:2"),
        ("REGISTRY_CODES_LENGTH", "10"),
        ("REGISTRY_HTTP_TRUSTED_PROXIES", "['10.0.0.0/8']"),
        ("REGISTRY_LICENSE_ISSUER", ""),
    ];
    let config = load(file, &environment).unwrap();
    assert_eq!((config.listen.port(), config.codes.length), (2, 10));
    assert_eq!(config.codes.lifetime, Span::minutes(90));
    assert_eq!(config.http.trusted_proxies.len(), 1);
    assert_eq!(config.license.issuer, "appliance-registry");
}

#[test]
fn wrong_value_names_its_key() {
    for (file, environment, part) in [
        ("lisen = '127.0.0.1:1'", &[][..], "lisen"),
        ("[codes]\nlentgh = 8", &[], "lentgh"),
        ("[codes]\nlength = 'x'", &[], "length"),
        ("[codes]\nlifetime = 'soon'", &[], "not a duration"),
        ("[codes]\nlifetime = '0s'", &[], "at least 1ms"),
        ("[codes]\nlifetime = '1us'", &[], "at least 1ms"),
        ("codes = 1", &[], "codes"),
        ("listen = '0.0.0.0:80'", &[], "`public_url` is missing"),
        ("public_url = 'registry.example'", &[], "`public_url` must be"),
        ("public_url = 'https://'", &[], "`public_url` must be"),
        ("public_url = 'https://registry.example/registry'", &[], "must not have a path"),
        ("portal_url = 'javascript:alert(1)'", &[], "`portal_url` must be"),
        ("[http]\nconnections = 0", &[], "`http.connections`"),
        ("[http]\nbody_limit = 10", &[], "`http.body_limit`"),
        ("[rate_limit]\ncode_guesses = 0", &[], "`rate_limit.code_guesses`"),
        ("[rate_limit]\nmails = 0", &[], "`rate_limit.mails`"),
        ("[web]\ncheckout_url = 'javascript:alert(1)'", &[], "`web.checkout_url`"),
        ("[web]\ncheckout_url = 'https:///x'", &[], "`web.checkout_url`"),
        ("[web]\nself_service = ['pro', 'pro']", &[], "`web.self_service`"),
        ("[sign_in]\nlink_lifetime = '5m'", &[], "`rate_limit.window`"),
        ("[http]\nreplay_window = '1s'", &[], "`rate_limit.window`"),
        ("[sign_in]\nlink_lifetime = '30s'", &[], "`sign_in.link_lifetime`"),
        ("[sign_in]\nsession_idle = '1m'", &[], "`sign_in.session_idle`"),
        (
            "[sign_in]\nsession_idle = '2h'\nsession_lifetime = '1h'",
            &[],
            "`sign_in.session_lifetime`",
        ),
        ("[license]\nissuer = ''", &[], "`license.issuer`"),
        ("[license]\nkid = 'x'", &[], "`license.key_file` is missing"),
        ("[database]\nurl = 'a'\nurl_file = 'b'", &[], "`database.url_file`"),
        ("[codes]\nlength = 7", &[], "`codes.length` must be from 8 to 32"),
        ("products = []", &[], "`products` is empty"),
        ("[[editions]]\nname = 'pro'\ntier = 'pro'", &[], "`editions` cannot be used"),
        ("[downloads]\nchannel = ''", &[], "`downloads.channel`"),
        ("[web]\nself_service = ['ultra']", &[], "`ultra`, which is not an edition"),
        ("[web]\nself_service = []", &[], "`web.self_service` is empty"),
        ("[web]\nblocked_domains = ['a b']", &[], "`a b`, which is not a domain"),
        ("[http]\nsource_header = 'a b'", &[], "`http.source_header`"),
        ("[database]\npool_size = 0", &[], "`database.pool_size`"),
        ("[database]\nlock_timeout = '1us'", &[], "`database.lock_timeout`"),
        ("[database]\nstatement_timeout = '9999d'", &[], "`database.statement_timeout`"),
        ("[mail]\nproduct = 'x'", &[], "product"),
        ("[mail]\nparallel = 0", &[], "`mail.parallel`"),
        ("[mail.smtp]\nport = 25", &[], "`mail.smtp.host` is missing"),
        ("[mail.smtp]\nhost = 'h'\nusername = 'u'", &[], "`mail.smtp.password` is missing"),
        ("[mail.smtp]\nhost = 'h'\npassword = 'p'", &[], "`mail.smtp.username` is missing"),
        (
            "[mail.smtp]\nhost = 'h'\nusername = 'u'\npassword = 'p'\npassword_file = 'f'",
            &[],
            "are both set",
        ),
        ("[mail.smtp]\nhost = 'h'\ntimeout = '6m'", &[], "`mail.smtp.timeout`"),
        ("[mail.smtp]\nhost = 'h'\ntls = 'tls'", &[], "tls"),
        (
            "[mail.smtp]\nhost = 'mail.example'\ntls = 'none'\nusername = 'u'\npassword = 'p'",
            &[],
            "in clear",
        ),
        ("[mail.smtp]\nhost = 'h:25'", &[], "`mail.smtp.host` must be"),
        ("[mail.smtp]\nhost = 'h'\nport = 0", &[], "`mail.smtp.port`"),
        ("[mail.smtp]\nhost = 'h'\nhello_name = \"a\\r\\nNOOP\"", &[], "`mail.smtp.hello_name`"),
        ("[s3]\nbucket = 'my bucket'", &[], "`s3.bucket` is not the name"),
        ("[s3]\nbucket = 'box'\nprefix = '/a/'", &[], "`s3.prefix`"),
        ("[s3]\nregion = 'eu'", &[], "`s3.bucket` is missing"),
        ("[s3]\nbucket = 'box'\naccess_key_id = 'a'", &[], "`s3.secret_access_key` is missing"),
        (
            "[s3]\nbucket = 'box'\nsecret_access_key_file = 'f'",
            &[],
            "`s3.access_key_id` is missing",
        ),
        ("[s3]\nbucket = 'box'\nsession_token = 't'", &[], "`s3.access_key_id` is missing"),
        ("[s3]\nbucket = 'box'\nendpoint = 's3.example'", &[], "`s3.endpoint` must be"),
        (
            "[s3]\nbucket = 'box'\n[downloads]\nlifetime = '8d'",
            &[],
            "`downloads.lifetime` must be at most 7d",
        ),
        (
            "[s3]\nbucket = 'box'\n[codes]\nlifetime = '8d'",
            &[],
            "`downloads.lifetime` must be at most 7d",
        ),
        (
            "[s3]\nbucket = 'box'\n[downloads]\nfresh_lifetime = '8d'",
            &[],
            "`downloads.fresh_lifetime`",
        ),
        ("", &[("REGISTRY_S3_REGION", "eu")], "`s3.bucket` is missing"),
        ("nonsense", &[], "not TOML"),
        ("", &[("REGISTRY_CODES_LENGTH", "twelve")], "REGISTRY_CODES_LENGTH"),
        ("", &[("REGISTRY_LISTEN", "here")], "REGISTRY_LISTEN"),
    ] {
        let text = refused(file, environment);
        assert!(text.contains(part), "{file} {environment:?}: {text}");
    }
}

#[test]
fn errors_name_file_and_line() {
    for (file, line, part) in [
        ("\n\nlisen = '127.0.0.1:1'", 3, "unknown field `lisen`"),
        ("[codes]\n\nlength = 'x'", 3, "`codes.length`"),
        ("[codes]\nlength = 8\nlength = 9", 3, "duplicate key"),
        ("[codes]\nlength = 7", 2, "`codes.length` must be"),
        ("listen = '127.0.0.1:1'\nnonsense", 2, "not TOML"),
        ("[mail.smtp]\nhost = 'h'\npassword = 12345678", 3, "`mail.smtp.password`"),
    ] {
        let text = refused(file, &[]);
        assert!(text.contains(&format!(":{line}: ")) && text.contains(part), "{file}: {text}");
    }
}

#[test]
fn errors_do_not_repeat_secrets() {
    let digits = "1".repeat(30);
    for file in [
        "[mail.smtp]\npassword = 12345678".to_owned(),
        "[mail.smtp]\npassword = 12345678901234567890".to_owned(),
        format!("[mail.smtp]\npassword = {digits}"),
        format!("[mail.smtp]\npassword = {}", "1".repeat(60)),
        "[mail.smtp]\npassword = 1234.5678".to_owned(),
        "[mail.smtp]\npassword = ['12345678']".to_owned(),
        "[mail.smtp]\npassword = { text = '12345678' }".to_owned(),
        "[mail.smtp]\npassword = 1979-05-27T12:34:56Z".to_owned(),
        "database = 'postgres://registry:12345678@localhost/registry'".to_owned(),
        "[mail]\nsmtp = 'smtp://u:12345678@localhost'".to_owned(),
        "[[s3]]\nsecret_access_key = '12345678'".to_owned(),
    ] {
        let text = refused(&file, &[]);
        for secret in ["1234", "11111", "12:34"] {
            assert!(!text.contains(secret), "{file}: {text}");
        }
    }
    let text = refused("\ndatabase = 'postgres://localhost/registry'", &[]);
    assert!(text.contains(":2: `database` is a section: write `[database]`"), "{text}");
    for value in ["12345678", "true", &digits] {
        let loaded = load(
            "[mail.smtp]\nhost = 'h'\nusername = 'u'",
            &[("REGISTRY_MAIL_SMTP_PASSWORD", value)],
        );
        assert_eq!(loaded.unwrap().mail.smtp.unwrap().password.unwrap().expose().as_str(), value);
    }
}

#[test]
fn only_keys_are_known_variables() {
    let names =
        ["REGISTRY_CONFIG", "REGISTRY_CODES_LENGTH", "REGISTRY_DATABASE", "REGISTRY_", "PATH"];
    let unknown = Config::unknown_variables(names.map(str::to_owned).into_iter());
    assert_eq!(unknown, ["REGISTRY_DATABASE", "REGISTRY_"]);
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = refused("[codes]\nlength = 7\n[http]\nconnections = 0", &[]);
    assert!(text.contains("`codes.length`") && text.contains("`http.connections`"), "{text}");
}

#[test]
fn renamed_key_names_the_new_one() {
    for (old, new) in renamed() {
        let (section, name) = old.rsplit_once('.').unwrap();
        let text = refused(&format!("[{section}]\n{name} = 1"), &[]);
        assert!(text.contains(&format!(":2: `{old}` is now `{new}`")), "{text}");
        let text = refused("", &[(&variable(old), "1")]);
        assert!(text.contains(&variable(old)) && text.contains(&variable(new)), "{text}");
        assert!(Config::default().entries().iter().any(|entry| entry.path == new), "{new}");
    }
}

#[test]
fn every_default_is_read_back_from_either_source() {
    for entry in Config::default().entries() {
        let Some(shown) = entry.value.as_ref().and_then(|value| value.shown.clone()) else {
            continue;
        };
        let text = match entry.path.rsplit_once('.') {
            None => format!("{} = {shown}", entry.path),
            Some((section, rest)) => format!("[{section}]\n{rest} = {shown}"),
        };
        let plain = shown.trim_matches('"');
        for loaded in [read(&text, &[]), read("", &[(&entry.variable(), plain)])] {
            let loaded = loaded.unwrap().config.entries();
            let read = loaded.into_iter().find(|read| read.path == entry.path).unwrap();
            assert_eq!(read.value.unwrap().shown.as_ref(), Some(&shown), "{text}");
        }
    }
}

#[test]
fn origins_are_known() {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), "[codes]\nlength = 8\nlifetime = '1h'\n").unwrap();
    let environment = |name: &str| (name == "REGISTRY_CODES_LENGTH").then(|| "9".to_owned());
    let loaded = Loaded::read(Some(path.path()), environment).unwrap();
    let origin = |key| loaded.origin(key);
    assert_eq!(origin("codes.length"), Origin::Environment("REGISTRY_CODES_LENGTH".into()));
    assert_eq!(origin("codes.lifetime"), Origin::File(path.path().to_owned(), 3));
    assert_eq!(origin("http.body_limit"), Origin::Default);
}
