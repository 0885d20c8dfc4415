//! The two Secrets that the product's bootstrap reads (`docs/wire-contract.md`, "On the
//! appliance"), as Kubernetes manifests. Empty values are left out; the values stand in the
//! manifests only, never in an argument.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::redemption::{Identity, Licensed};
use crate::secret::SecretText;
use crate::setup_form::{ProvisioningMethod, SetupForm};

pub(crate) const NAMESPACE: &str = "msp";
pub(crate) const JOB: &str = "appliance-bootstrap";
const KEYS_CONFIG: &str = "appliance-license-keys";
const INITIAL_TENANT: &str = "appliance-initial-tenant";
const LICENSE_SEED: &str = "appliance-license-seed";

/// The two manifests, as JSON, which is YAML too. They hold secrets.
#[derive(Clone)]
pub struct Manifests {
    /// `appliance-initial-tenant`
    pub initial_tenant: String,
    /// `appliance-license-seed`
    pub license_seed: String,
}

/// Renders the Secrets. Without an identity the operator chose to install without a code: then the
/// bootstrap makes a tenant.
#[must_use]
pub fn manifests(
    setup_form: &SetupForm,
    identity: Option<&Identity>,
    appliance_id: &str,
) -> Manifests {
    let admin = &setup_form.admin;
    let tenant_id = identity.map(|identity| identity.tenant_id.to_string()).unwrap_or_default();
    let initial_tenant = [
        ("INITIAL_TENANT_NAME", setup_form.company.as_str()),
        ("INITIAL_ADMIN_FIRST_NAME", &admin.first_name),
        ("INITIAL_ADMIN_LAST_NAME", &admin.last_name),
        ("INITIAL_ADMIN_EMAIL", &admin.email),
        ("INITIAL_ADMIN_PASSWORD", admin.password.expose()),
        ("INITIAL_TENANT_ID", &tenant_id),
    ];
    let license_seed = match (identity, &setup_form.way) {
        (Some(identity), _) => {
            license_seed(&identity.edition, identity.licensed.as_ref(), appliance_id)
        }
        (None, ProvisioningMethod::WithoutCode { edition, license }) => {
            let license = license.as_ref().map(SecretText::expose).unwrap_or_default();
            manifest(
                LICENSE_SEED,
                &[("EDITION_CHOICE", edition.as_str()), ("LICENSE_TOKEN", license)],
            )
        }
        // A code without what it brings is never written: see `Install`.
        (None, ProvisioningMethod::Code { .. } | ProvisioningMethod::Offline) => {
            manifest(LICENSE_SEED, &[])
        }
    };
    Manifests { initial_tenant: manifest(INITIAL_TENANT, &initial_tenant), license_seed }
}

/// Renders the Secret with the license: again whenever that is renewed.
pub(crate) fn license_seed(
    edition: &str,
    licensed: Option<&Licensed>,
    appliance_id: &str,
) -> String {
    let field = |of: fn(&Licensed) -> &str| licensed.map(of).unwrap_or_default();
    // By this word the bootstrap knows that no trial begins, whatever the vendor calls the edition
    // without licenses.
    let edition = if licensed.is_some() { edition } else { "essentials" };
    let values = [
        ("EDITION_CHOICE", "ee"),
        ("INSTALL_EDITION", edition),
        ("APPLIANCE_ID", appliance_id),
        ("LICENSE_TOKEN", field(|it| it.license.expose())),
        ("APPLIANCE_CREDENTIAL", field(|it| it.credential.expose())),
        ("CHECK_IN_URL", field(|it| &it.check_in_url)),
    ];
    manifest(LICENSE_SEED, &values)
}

/// The Job that reads the Secrets, both of them optional, out of an image that holds
/// `appliance-setup`. The product's database is in a Secret of the product's own,
/// `appliance-database`, as `DATABASE_URL`. It is tried again but where the bootstrap refuses (exit
/// code 3): that does not change by itself.
pub(crate) fn bootstrap_job(image: &str, issuer: &str, has_keys: bool) -> String {
    let from =
        |name: &str, optional: bool| json!({ "secretRef": { "name": name, "optional": optional } });
    let mut env = vec![json!({ "name": "REGISTRY_LICENSE_ISSUER", "value": issuer })];
    let (mut mounts, mut volumes) = (vec![], vec![]);
    if has_keys {
        env.push(json!({ "name": "REGISTRY_KEYS_FILE", "value": "/etc/appliance/keys.json" }));
        mounts.push(json!({ "name": "keys", "mountPath": "/etc/appliance", "readOnly": true }));
        volumes.push(json!({ "name": "keys", "configMap": { "name": KEYS_CONFIG } }));
    }
    let container = json!({
        "name": "bootstrap", "image": image, "command": ["appliance-setup", "bootstrap"], "env": env,
        "envFrom": [from(INITIAL_TENANT, true), from(LICENSE_SEED, true), from("appliance-database", false)],
        "volumeMounts": mounts,
    });
    let refused = json!({ "containerName": "bootstrap", "operator": "In", "values": [3] });
    let policy = json!({ "rules": [{ "action": "FailJob", "onExitCodes": refused }] });
    let pod = json!({ "spec": { "restartPolicy": "Never", "containers": [container], "volumes": volumes } });
    let metadata = json!({ "name": JOB, "namespace": NAMESPACE });
    let spec = json!({ "backoffLimit": 10, "podFailurePolicy": policy, "template": pod });
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec })
        .to_string()
}

/// The keys that the bootstrap believes licenses by. They are public.
pub(crate) fn keys_config(keys: &str) -> String {
    let metadata = json!({ "name": KEYS_CONFIG, "namespace": NAMESPACE });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "keys.json": keys } }).to_string()
}

fn manifest(name: &str, values: &[(&str, &str)]) -> String {
    let values = values.iter().filter(|(_, value)| !value.is_empty());
    let data: Map<String, Value> = values
        .map(|(key, value)| ((*key).to_owned(), json!(BASE64_STANDARD.encode(value))))
        .collect();
    let metadata = json!({ "name": name, "namespace": NAMESPACE });
    json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data }).to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::setup_form::{Admin, EditionChoice};

    fn setup_form(way: ProvisioningMethod) -> SetupForm {
        let password = SecretText::new("correct horse".into());
        let admin = Admin {
            first_name: "Ada".into(),
            last_name: String::new(),
            email: "ada@example.com".into(),
            password,
        };
        SetupForm { company: "Acme & Söhne".into(), admin, way }
    }

    fn values(manifest: &str) -> Vec<(String, String)> {
        let manifest: Value = serde_json::from_str(manifest).unwrap();
        assert_eq!((&manifest["kind"], &manifest["type"]), (&json!("Secret"), &json!("Opaque")));
        assert_eq!(manifest["metadata"]["namespace"], "msp");
        let decode = |value: &Value| {
            String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
        };
        manifest["data"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), decode(value)))
            .collect()
    }

    fn keys(manifest: &str) -> Vec<String> {
        values(manifest).into_iter().map(|(key, _)| key).collect()
    }

    fn identity(licensed: bool) -> Identity {
        let licensed = licensed.then(|| Licensed {
            license: SecretText::new("a.b.c".into()),
            sub: "lic_1".into(),
            expires_at: 1_800_000_000,
            credential: SecretText::new("00ff".into()),
            check_in_url: "https://registry.example/check-in".into(),
        });
        let edition = if licensed.is_some() { "pro" } else { "essentials" };
        Identity { tenant_id: Uuid::from_u128(7), edition: edition.into(), licensed }
    }

    #[test]
    fn a_paid_appliance_gets_its_license_and_an_essentials_one_does_not() {
        let code = || setup_form(ProvisioningMethod::Code { code: SecretText::new("K7QP".into()) });
        let paid = manifests(&code(), Some(&identity(true)), "appliance-1");
        let expected = [
            "APPLIANCE_CREDENTIAL",
            "APPLIANCE_ID",
            "CHECK_IN_URL",
            "EDITION_CHOICE",
            "INSTALL_EDITION",
            "LICENSE_TOKEN",
        ];
        assert_eq!(keys(&paid.license_seed), expected);
        let free = manifests(&code(), Some(&identity(false)), "appliance-1");
        assert_eq!(keys(&free.license_seed), ["APPLIANCE_ID", "EDITION_CHOICE", "INSTALL_EDITION"]);
        let tenant = values(&free.initial_tenant);
        assert!(tenant.contains(&("INITIAL_TENANT_ID".into(), Uuid::from_u128(7).to_string())));
        assert!(tenant.contains(&("INITIAL_TENANT_NAME".into(), "Acme & Söhne".into())));
        assert!(
            !keys(&free.initial_tenant).contains(&"INITIAL_ADMIN_LAST_NAME".to_owned()),
            "empty ones are left out"
        );
        assert!(!paid.initial_tenant.contains("correct horse"));
    }

    #[test]
    fn the_job_reads_both_secrets_and_needs_neither() {
        let job: Value =
            serde_json::from_str(&bootstrap_job("registry.example/product:1", "acme", true))
                .unwrap();
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            (&job["kind"], &container["image"]),
            (&json!("Job"), &json!("registry.example/product:1"))
        );
        let from: Vec<_> =
            container["envFrom"].as_array().unwrap().iter().map(|it| &it["secretRef"]).collect();
        assert_eq!(*from[0], json!({ "name": "appliance-initial-tenant", "optional": true }));
        assert_eq!(*from[1], json!({ "name": "appliance-license-seed", "optional": true }));
        assert_eq!(container["env"][1]["name"], "REGISTRY_KEYS_FILE");
        assert_eq!(
            job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"],
            json!([3])
        );
        let without: Value =
            serde_json::from_str(&bootstrap_job("product:1", "acme", false)).unwrap();
        assert_eq!(without["spec"]["template"]["spec"]["volumes"], json!([]));
    }

    #[test]
    fn without_a_code_there_is_no_tenant_id() {
        for (edition, license, expected) in [
            (EditionChoice::Ee, Some("a.b.c"), vec!["EDITION_CHOICE", "LICENSE_TOKEN"]),
            (EditionChoice::Ce, None, vec!["EDITION_CHOICE"]),
        ] {
            let license = license.map(|license| SecretText::new(license.to_owned()));
            let made = manifests(
                &setup_form(ProvisioningMethod::WithoutCode { edition, license }),
                None,
                "appliance-1",
            );
            assert_eq!(keys(&made.license_seed), expected);
            assert!(!keys(&made.initial_tenant).contains(&"INITIAL_TENANT_ID".to_owned()));
        }
    }
}
