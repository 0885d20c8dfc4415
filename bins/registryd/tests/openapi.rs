//! The OpenAPI description and the service: every response to a generated request is described, and
//! none is a 5xx.
//!
//! The requests, valid and invalid ones, are generated from the description, in the same order in
//! every run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod fleet;

use common::{Server, start};
use databases::{Environment, on_both_databases, with};
use serde_json::{Map, Value, json};

/// Number of requests to each operation.
const REQUESTS: usize = 60;

/// Random numbers that are the same in every run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.roll(values.len())].clone()
    }
}

struct Description(Value);

impl Description {
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            None => schema,
            Some(path) => self.resolve(
                self.0.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}")),
            ),
        }
    }

    /// Returns a value for a schema: mostly a valid one, sometimes an invalid one.
    fn value(&self, schema: &Value, name: &str, dice: &mut Dice) -> Value {
        let schema = self.resolve(schema);
        if dice.roll(6) == 0 {
            let long = "x".repeat(300);
            return dice.pick(&[
                Value::Null,
                json!(0),
                json!(-1),
                json!(1.5),
                json!(9_007_199_254_740_993_i64),
                json!(""),
                json!("  "),
                json!("\u{0}"),
                json!("🚀\u{202e}'; DROP TABLE tenants; --"),
                json!(long),
                json!([]),
                json!({ "a": [1] }),
                json!(true),
            ]);
        }
        if let Some(example) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let choice = dice.pick(example);
            return self.value(&choice, name, dice);
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => vec!["object"],
        };
        match dice.pick(&types) {
            "string" => text(name, dice),
            "integer" => json!(dice.pick(&[1, 5, 25, 2_147_483_647_i64])),
            "boolean" => json!(dice.roll(2) == 0),
            "null" => Value::Null,
            _ => self.object(schema, dice),
        }
    }

    fn object(&self, schema: &Value, dice: &mut Dice) -> Value {
        let mut object = Map::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_sent = if required.contains(&name.as_str()) {
                dice.roll(15) != 0
            } else {
                dice.roll(2) == 0
            };
            if is_sent {
                object.insert(name.clone(), self.value(property, name, dice));
            }
        }
        Value::Object(object)
    }

    /// Returns why a value does not match its schema, or `None` if it does.
    fn problem(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let fits = choices.iter().any(|choice| self.problem(choice, value, at).is_none());
            return (!fits).then(|| format!("{at}: {value} matches no choice"));
        }
        if let Some(values) = schema["enum"].as_array() {
            return (!values.contains(value)).then(|| format!("{at}: {value} is not described"));
        }
        let is = |kind: &str| match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("a type `{other}`"),
        };
        let fits = match &schema["type"] {
            Value::String(one) => is(one),
            Value::Array(several) => several.iter().filter_map(Value::as_str).any(is),
            _ => true,
        };
        if !fits {
            return Some(format!("{at}: {value} is not of type {}", schema["type"]));
        }
        let mut required =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.find(|name| value.is_object() && value.get(name).is_none())
        {
            return Some(format!("{at}: `{missing}` is missing"));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let inner = value
                .get(name)
                .and_then(|inner| self.problem(property, inner, &format!("{at}.{name}")));
            if inner.is_some() {
                return inner;
            }
        }
        let known = schema["properties"].as_object();
        let unknown = known
            .zip(value.as_object())
            .and_then(|(known, it)| it.keys().find(|name| !known.contains_key(*name)));
        if let Some(unknown) = unknown {
            return Some(format!("{at}: `{unknown}` is not described"));
        }
        value
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|item| self.problem(&schema["items"], item, at))
    }
}

/// Returns a text for a field: mostly a valid one, by the field's name.
fn text(name: &str, dice: &mut Dice) -> Value {
    let valid = match name {
        "contact_email" => "ada@example.com",
        "edition" | "tier" => "pro",
        "product_code" => "default",
        "deployment_type" => "appliance",
        "transport" => "connected",
        "tenant_id" => "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73",
        "stripe_sub_id" => "sub_1",
        "claim_code" => "K7QP-M2RX-9TDV",
        _ => "Acme Ltd",
    };
    if dice.roll(4) == 0 {
        dice.pick(&[json!("Ünïcode"), json!("a b"), json!("essentials"), json!("sub_2")])
    } else {
        json!(valid)
    }
}

fn send(server: &Server, method: &str, path: &str, body: Option<&Value>) -> (u16, String, Value) {
    let call = server.request(&method.to_uppercase(), path).bearer_auth(&server.token);
    let response = match body {
        Some(body) => call.json(body).send().unwrap(),
        None => call.send().unwrap(),
    };
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let (status, text) = (response.status().as_u16(), response.text().unwrap());
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, kind.unwrap_or_default(), body)
}

on_both_databases!(every_response_is_described);

/// R-general-9, R-errors-1, R-errors-4: only `/register` returns 429.
fn every_response_is_described(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let guesses = ("REGISTRY_RATE_LIMIT_CODE_GUESSES", "5");
    let server =
        start(data.path(), &with(environment, &[guesses, ("REGISTRY_LOG_LEVEL", "error")]));
    let description = Description(server.get("/openapi.json").send().unwrap().json().unwrap());
    let mut dice = Dice(20_261_125);
    let mut seen = std::collections::BTreeSet::new();
    let paths = description.0["paths"].as_object().unwrap().clone();
    for (path, operations) in paths.iter().filter(|(path, _)| !path.starts_with("/files")) {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            for _ in 0..REQUESTS {
                let body = (!schema.is_null()).then(|| description.value(schema, "", &mut dice));
                let tenant =
                    dice.pick(&["019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73", "nonsense", "%00", "a/b"]);
                let path = path.replace("{tenant_id}", tenant);
                let (status, kind, response) = send(&server, method, &path, body.as_ref());
                let shown = format!("{method} {path} {body:?}: {status} {response}");
                assert!(status < 500, "{shown}");
                seen.insert((path.clone(), status));
                let described = &operation["responses"][status.to_string()];
                // `/tenants/a/b` is not a path of the API, so nothing describes its 404.
                if path.contains("a/b") && status == 404 {
                    continue;
                }
                assert!(described.is_object(), "not described: {shown}");
                let content = described["content"].as_object().unwrap_or_else(|| panic!("{shown}"));
                let (described_kind, content) = content.iter().next().unwrap();
                assert_eq!(&kind, described_kind, "{shown}");
                let problem = description.problem(&content["schema"], &response, "");
                assert_eq!(problem, None, "{shown}");
            }
        }
    }
    for (path, status) in [
        ("/register-tenant", 200),
        ("/register-tenant", 422),
        ("/sign", 200),
        ("/register", 404),
        ("/register", 429),
    ] {
        assert!(
            seen.contains(&(path.to_owned(), status)),
            "{path} never returned {status}: {seen:?}"
        );
    }
    for (path, operations) in &paths {
        for (method, operation) in operations.as_object().unwrap() {
            let is_limited = operation["responses"].get("429").is_some();
            assert_eq!(is_limited, path == "/register", "{method} {path}");
        }
    }
}

#[test]
fn every_example_matches_its_schema() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let description = Description(server.get("/openapi.json").send().unwrap().json().unwrap());
    let schemas = description.0["components"]["schemas"].as_object().unwrap();
    let mut examples = 0;
    for (name, schema) in schemas {
        if let Some(example) = schema.get("example") {
            assert_eq!(description.problem(schema, example, name), None);
            examples += 1;
        }
    }
    assert!(examples >= 15, "{examples}");
    let operations = description.0["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|it| it.as_object().unwrap().values());
    for operation in operations {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        assert!(
            schema.is_null() || description.resolve(schema).get("example").is_some(),
            "no example: {operation}"
        );
    }
}
