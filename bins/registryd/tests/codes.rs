//! Codes over HTTP: how they look, how they are typed, how they end, and how many may be guessed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod fleet;

use std::collections::BTreeSet;

use common::{Server, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use serde_json::json;

on_both_databases!(
    codes_use_only_alphabet,
    code_length_is_setting,
    look_alikes_are_read_as_meant,
    malformed_code_is_invalid,
    first_end_of_code_counts,
    only_unknown_codes_are_guesses,
    guess_limit_holds_for_concurrent_guesses,
);

/// The alphabet of codes, as the wire contract has it.
const ALPHABET: &str = "ABCDEFGHJKMNPQRSTVWXYZ23456789";

/// Starts registryd with codes of 32 characters.
fn start_with_long_codes(data: &std::path::Path, environment: Environment) -> Server {
    start(data, &with(environment, &[("REGISTRY_CODES_LENGTH", "32")]))
}

/// R-codes-1: 40 codes of 32 characters have every character of the alphabet, and no other.
fn codes_use_only_alphabet(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start_with_long_codes(data.path(), environment);
    let mut seen = BTreeSet::new();
    for number in 0..40 {
        let (_, code) = server.register(&format!("C{number}"), "essentials");
        seen.extend(code.replace('-', "").chars());
    }
    let expected: BTreeSet<char> = ALPHABET.chars().collect();
    assert_eq!(seen, expected);
}

/// R-codes-2.
fn code_length_is_setting(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    for (length, groups) in [
        ("", &[4_usize, 4, 4][..]),
        ("8", &[8]),
        ("9", &[4, 4, 1]),
        ("12", &[4, 4, 4]),
        ("32", &[4, 4, 4, 4, 4, 4, 4, 4]),
    ] {
        // An empty variable counts as absent.
        let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LENGTH", length)]));
        let (_, code) = server.register("Acme", "essentials");
        let lengths: Vec<usize> = code.split('-').map(str::len).collect();
        assert_eq!(lengths, groups, "{length:?}: {code}");
        assert_eq!(server.redeem(&code).0, 200, "{length:?}");
    }
}

/// R-codes-3: look-alikes, white space, dashes, underscores, invisible characters, lower case and
/// full-width forms.
fn look_alikes_are_read_as_meant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start_with_long_codes(data.path(), environment);
    for (meant, look_alikes) in
        [('Q', &['0', 'O', 'o'][..]), ('J', &['1', 'I', 'i', 'L', 'l']), ('V', &['U', 'u'])]
    {
        for look_alike in look_alikes {
            // A code of 32 characters lacks a certain one in a third of all cases.
            let code = (0..100)
                .map(|_| server.register("Acme", "essentials").1)
                .find(|code| code.contains(meant))
                .unwrap();
            let typed = code.replace(meant, &look_alike.to_string());
            assert_eq!(server.redeem(&typed).0, 200, "{look_alike} for {meant}");
        }
    }
    for separator in [" ", "\t", "\u{a0}", "\u{2013}", "\u{2212}", "_", "\u{200b}", "\u{feff}"] {
        let (_, code) = server.register("Acme", "essentials");
        let typed = code.to_lowercase().replace('-', separator);
        assert_eq!(server.redeem(&typed).0, 200, "{separator:?}");
    }
    let (_, code) = server.register("Acme", "essentials");
    let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap();
    assert_eq!(server.redeem(&code.chars().map(wide).collect::<String>()).0, 200, "full width");
}

/// R-codes-4.
fn malformed_code_is_invalid(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limit = [("REGISTRY_RATE_LIMIT_CODE_GUESSES", "1")];
    let server = start(data.path(), &with(environment, &limit));
    let too_long = "A".repeat(33);
    for malformed in ["", "   ", "AAAAAAA", &too_long, "AAAA-BBBB-CCC!", "ÄÖÜÄÖÜÄÖ"] {
        let (status, body) = server.redeem(malformed);
        assert_eq!(
            (status, &body["code"]),
            (404, &json!("invalid_claim_code")),
            "not a guess: {malformed:?}"
        );
    }
    assert_eq!(server.redeem("AAAA-BBBB").0, 404, "a code of eight characters is well-formed");
    assert_eq!(server.redeem("AAAA-BBBB").0, 429, "and unknown, so it is a guess");
}

/// R-codes-6, R-codes-7: an expired code that was replaced later is superseded.
fn first_end_of_code_counts(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LIFETIME", "10ms")]));
    let (tenant, first) = server.register("Acme", "essentials");
    wait_for("the code to expire", || {
        let state = server.get_as_service("/tenants").1["items"][0]["install_code_state"].clone();
        if state == "expired" { Ok(()) } else { Err(state.to_string()) }
    });
    assert_eq!(server.redeem(&first).1["code"], "expired_claim_code");
    assert_eq!(server.reissue(&tenant).0, 200);
    let (status, body) = server.redeem(&first);
    assert_eq!(
        (status, &body["code"], &body["reason"]),
        (409, &json!("consumed_claim_code"), &json!("superseded"))
    );

    drop(server);
    let server = start(data.path(), environment);
    let used = text(&server.reissue(&tenant).1["install_code"]);
    assert_eq!(server.redeem(&used).0, 200);
    let live = text(&server.reissue(&tenant).1["install_code"]);
    let (status, body) = server.redeem(&used);
    assert_eq!((status, &body["code"]), (409, &json!("consumed_claim_code")));
    assert!(body.get("reason").is_none(), "consumed, and not superseded: {body}");
    let shown = server.get_as_service(&format!("/tenants/{tenant}")).1;
    let ends: Vec<_> = shown["install_codes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| (code["consumed"].clone(), code["revoked"].clone()))
        .collect();
    let (yes, no) = (json!(true), json!(false));
    let expected =
        [(no.clone(), no.clone()), (yes.clone(), no.clone()), (no.clone(), yes.clone()), (no, yes)];
    assert_eq!(ends, expected, "one live, one consumed, two superseded");
    assert_eq!(server.redeem(&live).0, 200);
}

/// R-guessing-1. Core's `known_codes_are_not_guesses` has the expired code.
fn only_unknown_codes_are_guesses(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limit = [("REGISTRY_RATE_LIMIT_CODE_GUESSES", "2")];
    let server = start(data.path(), &with(environment, &limit));
    let (_, used) = server.register("Used", "pro");
    assert_eq!(server.redeem(&used).0, 200);
    let (tenant, superseded) = server.register("Superseded", "pro");
    server.reissue(&tenant);
    let (_, live) = server.register("Live", "essentials");
    let other = json!("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071");
    for _ in 0..3 {
        assert_eq!(server.redeem("malformed!").0, 404);
        assert_eq!(server.redeem(&used).0, 409);
        assert_eq!(server.redeem(&superseded).0, 409);
        assert_eq!(server.activate(&live, &other).0, 409, "a known code that is refused");
    }
    let statuses: Vec<u16> = (0..3).map(|_| server.redeem("AAAA-BBBB-CCCC").0).collect();
    assert_eq!(statuses, [404, 404, 429]);
}

/// R-guessing-2: of 20 guesses at the same time, at most five learn that they were wrong.
fn guess_limit_holds_for_concurrent_guesses(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limit = [("REGISTRY_RATE_LIMIT_CODE_GUESSES", "5")];
    let server = start(data.path(), &with(environment, &limit));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> =
            (0..20).map(|_| scope.spawn(|| server.redeem("AAAA-BBBB-CCCC").0)).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let count = |expected: u16| statuses.iter().filter(|&&status| status == expected).count();
    assert_eq!((count(404), count(429)), (5, 15), "{statuses:?}");
}
