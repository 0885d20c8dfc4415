//! The scanner: looks for secrets in bytes, in every form in which programs write them.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};

/// Returns the forms of a secret, each with its name.
fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let hex = registry_core::entropy::hex(secret.as_bytes());
    let without_dashes = secret.replace('-', "");
    let percent: Vec<_> = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let escaped = escaped(secret);
    let mut forms = vec![
        ("as it is", secret.as_bytes().to_vec()),
        ("without dashes", without_dashes.clone().into_bytes()),
        ("in lower case", secret.to_lowercase().into_bytes()),
        ("in lower case without dashes", without_dashes.to_lowercase().into_bytes()),
        ("with spaces", secret.replace('-', " ").into_bytes()),
        ("in hex", hex.clone().into_bytes()),
        ("in upper-case hex", hex.to_uppercase().into_bytes()),
        ("percent-encoded", percent.concat().into_bytes()),
        ("in UTF-16", wide),
        ("escaped as in JSON", escaped.into_bytes()),
        ("in debug form of bytes", format!("{:?}", secret.as_bytes()).into_bytes()),
    ];
    // In base64, the surroundings of a text change its first and last letters.
    for offset in 0..3 {
        let padded = [&b"xxx"[..offset], secret.as_bytes()].concat();
        let first = offset.div_ceil(3) * 4;
        let whole = padded.len() / 3 * 4;
        for (name, text) in [
            ("in base64", BASE64_STANDARD.encode(&padded)),
            ("in base64url", BASE64_URL_SAFE.encode(&padded)),
        ] {
            forms.push((name, text.as_bytes()[first..whole].to_vec()));
        }
    }
    forms.retain(|(_, form)| form.len() >= 8);
    forms
}

/// Returns a text as JSON can have it.
fn escaped(text: &str) -> String {
    text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<Vec<_>>().concat()
}

/// Returns what was found: the place, the form, and the text around it.
pub(crate) fn find<'a>(
    places: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    secrets: &[String],
) -> Vec<String> {
    let forms: Vec<_> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    let mut found = Vec::new();
    for (place, bytes) in places {
        for (name, form) in &forms {
            let finder = memchr::memmem::Finder::new(form);
            if let Some(at) = finder.find(bytes) {
                let around = &bytes[at.saturating_sub(120)..(at + 200).min(bytes.len())];
                found.push(format!("{place}, {name}: {}", String::from_utf8_lossy(around)));
            }
        }
    }
    found
}

/// The scanner finds each of these canaries, each in another form and among other bytes.
#[test]
fn scan_finds_planted_canaries() {
    let secret = "K7QP-M2RX-9TDV".to_owned();
    let credential = "9f2b6c0d4e8a1f3b5c7d9e0f1a2b3c4d".to_owned();
    let planted: Vec<(&str, Vec<u8>)> = vec![
        ("a log line", format!("{{\"message\":\"code {secret} refused\"}}").into_bytes()),
        ("a URL", b"/register?code=k7qpm2rx9tdv&x".to_vec()),
        ("typed text", b"K7QP M2RX 9TDV".to_vec()),
        ("a page of a database", [&[0; 100][..], b"K7QPM2RX9TDV", &[7; 9]].concat()),
        ("a dump", b"\\x4b3751502d4d3252582d39544456".to_vec()),
        ("a header", BASE64_STANDARD.encode(format!("a:{secret}:b")).into_bytes()),
        ("a token", BASE64_URL_SAFE.encode(format!("{{\"c\":\"{credential}\"}}")).into_bytes()),
        ("a form", b"code=%4B%37%51%50%2D%4D%32%52%58%2D%39%54%44%56".to_vec()),
        ("a debug form", format!("Code({:?})", secret.as_bytes()).into_bytes()),
        ("a wide text", credential.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a JSON text", escaped(&credential).into_bytes()),
    ];
    for (place, bytes) in &planted {
        let found = find([(*place, bytes.as_slice())], &[secret.clone(), credential.clone()]);
        assert!(!found.is_empty(), "{place}");
    }
    let harmless = b"K7QP-M2RX-9TDW k7qpm2rx9tdw 9f2b6c0d4e8a1f3b5c7d9e0f1a2b3c4e";
    let found = find([("harmless text", &harmless[..])], &[secret, credential]);
    assert_eq!(found, Vec::<String>::new());
}
