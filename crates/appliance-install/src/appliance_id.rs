//! The id of an appliance (wire contract, R-secrets-2). Different machines may share one: it is not
//! globally unique.

use sha2::{Digest as _, Sha256};

/// Returns `appliance-` and the first 16 hexadecimal digits of the machine id, or, without a usable
/// machine id, of the SHA-256 of the host name.
#[must_use]
pub fn appliance_id(machine_id: Option<&str>, host_name: &str) -> String {
    let machine_id = machine_id
        .map(str::trim)
        .filter(|id| id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let digits = machine_id.map_or_else(
        || {
            Sha256::digest(host_name.as_bytes())
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .concat()
        },
        |id| id[..16].to_ascii_lowercase(),
    );
    format!("appliance-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-secrets-2.
    #[test]
    fn machine_id_precedes_host_name() {
        for (machine_id, host_name, id) in [
            (Some("0123456789ABCDEF0123456789abcdef\n"), "box", "appliance-0123456789abcdef"),
            (Some(""), "box", "appliance-26f8567f25691822"),
            (Some("uninitialized"), "box", "appliance-26f8567f25691822"),
            (None, "box", "appliance-26f8567f25691822"),
        ] {
            assert_eq!(appliance_id(machine_id, host_name), id);
        }
    }
}
