//! Requests of the bench, and what it reads from their responses.

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::driver::{LoadResult, request};

/// Id of every appliance that redeems a code.
pub(super) const APPLIANCE: &str = "appliance-0123456789abcdef";

/// Returns requests that register tenants with a paid edition, one for each number.
pub(super) fn registrations(token: &str, numbers: Range<u64>) -> Vec<Vec<u8>> {
    let body = |n: u64| {
        format!(
            "{{\"company_name\":\"Company {n}\",\"contact_email\":\"b{n}@bench.example\",\
             \"edition\":\"pro\",\"seats\":25}}"
        )
    };
    numbers.map(|n| request("POST", "/register-tenant", Some(token), &body(n))).collect()
}

/// Returns requests that redeem the codes of these responses.
pub(super) fn redemptions(issued: &LoadResult) -> Result<Vec<Vec<u8>>> {
    let redemption = |body: &Vec<u8>| {
        let code = text(&parse(body)?, "install_code")?;
        let body = json!({ "claim_code": code, "appliance_id": APPLIANCE });
        Ok(request("POST", "/register", None, &body.to_string()))
    };
    issued.bodies.iter().map(redemption).collect()
}

/// Returns a check-in. The appliance sends the `sub` of the license that it has: without it, the
/// response contains a license even if none is due.
pub(super) fn check_in(credential: &str, license_sub: &str) -> Vec<u8> {
    let body = json!({ "appliance_credential": credential, "current_license_sub": license_sub });
    request("POST", "/check-in", None, &body.to_string())
}

/// Returns the check-ins of the appliances that redeemed codes.
pub(super) fn check_ins(redeemed: &LoadResult) -> Result<Vec<Vec<u8>>> {
    let of_appliance = |body: &Vec<u8>| {
        let response = parse(body)?;
        let credential = text(&response, "appliance_credential")?;
        Ok(check_in(&credential, &subject(&text(&response, "first_jwt")?)?))
    };
    redeemed.bodies.iter().map(of_appliance).collect()
}

/// True if the response to a check-in contains a license.
pub(super) fn is_signed(body: &[u8]) -> bool {
    body.windows(5).any(|part| part == b"\"jwt\"")
}

/// Checks that all check-ins got a license, or none.
pub(super) fn check_signed(check_ins: &LoadResult, is_expected: bool) -> Result<()> {
    let (signed, all) =
        (check_ins.bodies.iter().filter(|body| is_signed(body)).count(), check_ins.bodies.len());
    let expected = if is_expected { all } else { 0 };
    ensure!(signed == expected, "{signed} of {all} check-ins got a license, instead of {expected}");
    Ok(())
}

/// Returns the `sub` of a license. The signature is not verified.
fn subject(license: &str) -> Result<String> {
    let payload = license.split('.').nth(1).context("a license is not a JWS")?;
    let payload = URL_SAFE_NO_PAD.decode(payload).context("a license is not base64url")?;
    text(&parse(&payload)?, "sub")
}

fn parse(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).context("a response is not JSON")
}

fn text(value: &Value, name: &str) -> Result<String> {
    let text = value[name].as_str().with_context(|| format!("a response has no `{name}`"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_of_license_is_read() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"iss":"registry","sub":"lic_1"}"#);
        assert_eq!(subject(&format!("header.{payload}.signature")).unwrap(), "lic_1");
        assert!(subject("header").is_err());
    }

    #[test]
    fn license_in_response_is_found() {
        assert!(is_signed(br#"{"status":"ok","jwt":"a.b.c"}"#));
        assert!(!is_signed(br#"{"status":"ok"}"#));
    }
}
