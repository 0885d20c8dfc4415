//! Where the installation is, in words or as JSON; without secrets.

use appliance_install::Step;
use serde_json::json;

pub(crate) fn text(step: &Step, as_json: bool) -> String {
    let (step, detail, tenant_id) = match step {
        Step::Collect { refused: None } => ("collect", "Nothing was entered yet.".to_owned(), None),
        Step::Collect { refused: Some(refused) } => ("collect", refused.text.clone(), None),
        Step::Redeem { trouble: None, .. } => ("redeem", "The install code is being redeemed.".to_owned(), None),
        Step::Redeem { trouble: Some(trouble), tries, .. } => {
            ("redeem", format!("{} (tried {tries} times)", trouble.message("its address")), None)
        }
        Step::Write { identity, .. } => {
            let tenant = identity.as_ref().map(|identity| identity.tenant_id);
            ("write", "The identity is to be handed to the product.".to_owned(), tenant)
        }
        Step::Bootstrap { tenant_id } => ("bootstrap", "The product is to be bootstrapped.".to_owned(), *tenant_id),
        Step::Done { tenant_id } => ("done", "This appliance is installed.".to_owned(), *tenant_id),
    };
    if as_json {
        return json!({ "step": step, "detail": detail, "tenant_id": tenant_id }).to_string();
    }
    let tenant = tenant_id.map(|id| format!("\ntenant  {id}")).unwrap_or_default();
    format!("step    {step}\ndetail  {detail}{tenant}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_status_is_readable_by_people_and_programs() {
        let tenant_id = Some(uuid::Uuid::from_u128(7));
        assert!(text(&Step::Done { tenant_id }, false).contains("tenant  00000000-0000-0000-0000-000000000007"));
        let said: Value = serde_json::from_str(&text(&Step::Collect { refused: None }, true)).unwrap();
        assert_eq!((&said["step"], &said["tenant_id"]), (&json!("collect"), &Value::Null));
    }
}
