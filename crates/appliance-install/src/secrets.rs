//! The two Secrets for the product's bootstrap (`docs/wire-contract.md`, "On the appliance"), as
//! Kubernetes manifests. Empty values are omitted. The values appear in the manifests only, never
//! in an argument.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::redemption::{Identity, Licensed};
use crate::secret::SecretText;
use crate::setup_form::{ProvisioningMethod, SetupForm};

pub(crate) const JOB: &str = "appliance-bootstrap";
const KEYS_CONFIG: &str = "appliance-license-keys";
const INITIAL_TENANT: &str = "appliance-initial-tenant";
const LICENSE_SEED: &str = "appliance-license-seed";

/// The two manifests in JSON, which is valid YAML. Both contain secrets.
#[derive(Clone)]
pub struct Manifests {
    /// The Secret `appliance-initial-tenant`.
    pub initial_tenant: String,
    /// The Secret `appliance-license-seed`.
    pub license_seed: String,
}

/// Renders the Secrets. Without an identity, the installer chose to install without a code, and the
/// bootstrap creates a tenant.
#[must_use]
pub fn manifests(
    namespace: &str,
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
    let license_seed = match (identity, &setup_form.method) {
        (Some(identity), _) => {
            license_seed(namespace, &identity.edition, identity.licensed.as_ref(), appliance_id)
        }
        (None, ProvisioningMethod::WithoutCode { edition, license }) => {
            let license = license.as_ref().map(SecretText::expose).unwrap_or_default();
            manifest(
                namespace,
                LICENSE_SEED,
                &[("EDITION_CHOICE", edition.as_str()), ("LICENSE_TOKEN", license)],
            )
        }
        // `Install` never writes a code without its identity.
        (None, ProvisioningMethod::Code { .. } | ProvisioningMethod::Offline) => {
            manifest(namespace, LICENSE_SEED, &[])
        }
    };
    Manifests { initial_tenant: manifest(namespace, INITIAL_TENANT, &initial_tenant), license_seed }
}

/// Renders the Secret with the license. Each renewal renders it again.
pub(crate) fn license_seed(
    namespace: &str,
    edition: &str,
    licensed: Option<&Licensed>,
    appliance_id: &str,
) -> String {
    let field = |get: fn(&Licensed) -> &str| licensed.map(get).unwrap_or_default();
    // `essentials` tells the bootstrap not to start a trial. The vendor's free edition may have
    // another name.
    let edition = if licensed.is_some() { edition } else { "essentials" };
    let values = [
        ("EDITION_CHOICE", "ee"),
        ("INSTALL_EDITION", edition),
        ("APPLIANCE_ID", appliance_id),
        ("LICENSE_TOKEN", field(|it| it.license.expose())),
        ("APPLIANCE_CREDENTIAL", field(|it| it.credential.expose())),
        ("CHECK_IN_URL", field(|it| &it.check_in_url)),
    ];
    manifest(namespace, LICENSE_SEED, &values)
}

/// Renders the Job that runs the bootstrap from an image with `appliance-setup`. Both Secrets are
/// optional. The product provides a third one, `appliance-database`, with `DATABASE_URL`.
/// Kubernetes retries a failed Job, except after exit code 3: a refusal is final.
pub(crate) fn bootstrap_job(namespace: &str, image: &str, issuer: &str, has_keys: bool) -> String {
    let secret =
        |name: &str, optional: bool| json!({ "secretRef": { "name": name, "optional": optional } });
    let mut env = vec![json!({ "name": "REGISTRY_LICENSE_ISSUER", "value": issuer })];
    let (mut mounts, mut volumes) = (vec![], vec![]);
    if has_keys {
        env.push(json!({ "name": "REGISTRY_KEYS_FILE", "value": "/etc/appliance/keys.json" }));
        mounts.push(json!({ "name": "keys", "mountPath": "/etc/appliance", "readOnly": true }));
        volumes.push(json!({ "name": "keys", "configMap": { "name": KEYS_CONFIG } }));
    }
    let container = json!({
        "name": "bootstrap", "image": image, "command": ["appliance-setup", "bootstrap"],
        "env": env,
        "envFrom": [
            secret(INITIAL_TENANT, true),
            secret(LICENSE_SEED, true),
            secret("appliance-database", false),
        ],
        "volumeMounts": mounts,
    });
    let refused = json!({ "containerName": "bootstrap", "operator": "In", "values": [3] });
    let policy = json!({ "rules": [{ "action": "FailJob", "onExitCodes": refused }] });
    let pod = json!({
        "spec": { "restartPolicy": "Never", "containers": [container], "volumes": volumes },
    });
    let metadata = json!({ "name": JOB, "namespace": namespace });
    let spec = json!({ "backoffLimit": 10, "podFailurePolicy": policy, "template": pod });
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec })
        .to_string()
}

/// Renders the `ConfigMap` with the public keys for verifying licenses.
pub(crate) fn keys_config(namespace: &str, keys: &str) -> String {
    let metadata = json!({ "name": KEYS_CONFIG, "namespace": namespace });
    let data = json!({ "keys.json": keys });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
        .to_string()
}

fn manifest(namespace: &str, name: &str, values: &[(&str, &str)]) -> String {
    let values = values.iter().filter(|(_, value)| !value.is_empty());
    let data: Map<String, Value> = values
        .map(|(key, value)| ((*key).to_owned(), json!(BASE64_STANDARD.encode(value))))
        .collect();
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::setup_form::{Admin, EditionChoice};

    fn setup_form(method: ProvisioningMethod) -> SetupForm {
        let password = SecretText::new("correct horse".into());
        let admin = Admin {
            first_name: "Ada".into(),
            last_name: String::new(),
            email: "ada@example.com".into(),
            password,
        };
        SetupForm { company: "Acme & Söhne".into(), admin, method }
    }

    fn values(manifest: &str) -> Vec<(String, String)> {
        let manifest: Value = serde_json::from_str(manifest).unwrap();
        assert_eq!((&manifest["kind"], &manifest["type"]), (&json!("Secret"), &json!("Opaque")));
        assert_eq!(manifest["metadata"]["namespace"], "apps");
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

    fn identity(is_paid: bool) -> Identity {
        let licensed = is_paid.then(|| Licensed {
            license: SecretText::new("a.b.c".into()),
            sub: "lic_1".into(),
            expires_at: 1_800_000_000,
            credential: SecretText::new("00ff".into()),
            check_in_url: "https://registry.example/check-in".into(),
        });
        let edition = if is_paid { "pro" } else { "essentials" };
        Identity { tenant_id: Uuid::from_u128(7), edition: edition.into(), licensed }
    }

    #[test]
    fn only_paid_editions_have_a_license() {
        let code = || setup_form(ProvisioningMethod::Code { code: SecretText::new("K7QP".into()) });
        let paid = manifests("apps", &code(), Some(&identity(true)), "appliance-1");
        let expected = [
            "APPLIANCE_CREDENTIAL",
            "APPLIANCE_ID",
            "CHECK_IN_URL",
            "EDITION_CHOICE",
            "INSTALL_EDITION",
            "LICENSE_TOKEN",
        ];
        assert_eq!(keys(&paid.license_seed), expected);
        let free = manifests("apps", &code(), Some(&identity(false)), "appliance-1");
        assert_eq!(keys(&free.license_seed), ["APPLIANCE_ID", "EDITION_CHOICE", "INSTALL_EDITION"]);
        let tenant = values(&free.initial_tenant);
        assert!(tenant.contains(&("INITIAL_TENANT_ID".into(), Uuid::from_u128(7).to_string())));
        assert!(tenant.contains(&("INITIAL_TENANT_NAME".into(), "Acme & Söhne".into())));
        assert!(
            !keys(&free.initial_tenant).contains(&"INITIAL_ADMIN_LAST_NAME".to_owned()),
            "empty values are omitted"
        );
        assert!(!paid.initial_tenant.contains("correct horse"));
    }

    #[test]
    fn job_reads_both_optional_secrets() {
        let job: Value = serde_json::from_str(&bootstrap_job(
            "apps",
            "registry.example/product:1",
            "acme",
            true,
        ))
        .unwrap();
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            (&job["kind"], &container["image"]),
            (&json!("Job"), &json!("registry.example/product:1"))
        );
        let secrets: Vec<_> =
            container["envFrom"].as_array().unwrap().iter().map(|it| &it["secretRef"]).collect();
        assert_eq!(*secrets[0], json!({ "name": "appliance-initial-tenant", "optional": true }));
        assert_eq!(*secrets[1], json!({ "name": "appliance-license-seed", "optional": true }));
        assert_eq!(container["env"][1]["name"], "REGISTRY_KEYS_FILE");
        assert_eq!(
            job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"],
            json!([3])
        );
        let without: Value =
            serde_json::from_str(&bootstrap_job("apps", "product:1", "acme", false)).unwrap();
        assert_eq!(without["spec"]["template"]["spec"]["volumes"], json!([]));
    }

    #[test]
    fn no_tenant_id_without_a_code() {
        for (edition, license, expected) in [
            (EditionChoice::Ee, Some("a.b.c"), vec!["EDITION_CHOICE", "LICENSE_TOKEN"]),
            (EditionChoice::Ce, None, vec!["EDITION_CHOICE"]),
        ] {
            let license = license.map(|license| SecretText::new(license.to_owned()));
            let manifests = manifests(
                "apps",
                &setup_form(ProvisioningMethod::WithoutCode { edition, license }),
                None,
                "appliance-1",
            );
            assert_eq!(keys(&manifests.license_seed), expected);
            assert!(!keys(&manifests.initial_tenant).contains(&"INITIAL_TENANT_ID".to_owned()));
        }
    }
}
