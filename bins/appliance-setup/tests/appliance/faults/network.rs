//! Faults of the network and of the service. The installation can be resumed after each one.

use throwaway_servers::{SmtpOptions, SmtpServer};

use super::{Fault, FaultCase, RETRIED, UNCHANGED};
use crate::faulty_proxy::{self, ProxyFault};

/// Timeout of a request, in seconds, that is long enough for a busy machine.
const LONG: &str = "30";
/// Timeout of a request that is never answered, in seconds.
const SHORT: &str = "2";

faults! {
    installs_after_plain_http {
        fault: "The URL is plain HTTP to another machine.",
        message: "Requests to \\<url\\> are not encrypted: others on the network could read the \
                  install code or the credential, and respond in place of the service. Use https, \
                  or pass --insecure-http in a trusted network.",
        next: UNCHANGED,
        test: |fault| {
            let (case, url) = (FaultCase::new(), "http://registry.invalid");
            let output = case.start(url, &[]);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(case.machine.status()["step"], "collect");
            case.assert_message(fault, &output, url);
            case.assert_installs();
        },
    }
    installs_after_unknown_host {
        fault: "The host name of the service is not found.",
        message: "Could not reach the license service at \\<url\\>: its name was not found. Check \
                  this machine's DNS settings and the address of the service.",
        next: RETRIED,
        test: |fault| network_fault(fault, LONG, |_| "https://registry.invalid".to_owned()),
    }
    installs_after_refused_connection {
        fault: "No program listens on the port.",
        message: "Could not reach the license service at \\<url\\>: it refused the connection. \
                  Check the address of the service and any firewall in between.",
        next: RETRIED,
        test: |fault| {
            let stopped = SmtpServer::start(SmtpOptions::default()).unwrap();
            let url = format!("http://127.0.0.1:{}", stopped.port());
            drop(stopped);
            network_fault(fault, LONG, |_| url);
        },
    }
    installs_after_closed_connection {
        fault: "The connection is closed before the request.",
        message: "Could not reach the license service at \\<url\\>: the connection was closed \
                  before a response arrived. Check this machine's network and any proxy in \
                  between.",
        next: RETRIED,
        test: |fault| proxy_fault(fault, LONG, ProxyFault::CloseAtOnce),
    }
    installs_after_lost_response {
        fault: "The connection is closed when the response begins, after the code was redeemed.",
        message: "Could not reach the license service at \\<url\\>: the connection was closed \
                  before a response arrived. Check this machine's network and any proxy in \
                  between.",
        next: RETRIED,
        test: |fault| proxy_fault(fault, LONG, ProxyFault::DropResponses(1)),
    }
    installs_after_truncated_response {
        fault: "The connection is closed in the middle of the response.",
        message: "Could not reach the license service at \\<url\\>: the connection was closed in \
                  the middle of the response. Check this machine's network and any proxy in \
                  between.",
        next: RETRIED,
        test: |fault| proxy_fault(fault, LONG, ProxyFault::TruncateResponse),
    }
    installs_after_timeout {
        fault: "No response arrives.",
        message: "Could not reach the license service at \\<url\\>: it did not respond in time. \
                  Check this machine's network and any firewall in between.",
        next: RETRIED,
        test: |fault| proxy_fault(fault, SHORT, ProxyFault::NeverRespond),
    }
    installs_after_other_protocol {
        fault: "The response is not HTTP.",
        message: "Could not reach the license service at \\<url\\>: the server at this address \
                  does not speak HTTP. Check the address and the port of the service.",
        next: RETRIED,
        test: |fault| {
            let response = ProxyFault::Respond("SSH-2.0-OpenSSH_9.2\r\n".to_owned());
            proxy_fault(fault, LONG, response);
        },
    }
    installs_after_html_page {
        fault: "The response is an HTML page.",
        message: "Could not reach the license service at \\<url\\>: the response is not from the \
                  license service (status 200). Check the address of the service and any proxy in \
                  between.",
        next: RETRIED,
        test: |fault| response_fault(fault, "200 OK", "content-type: text/html\r\n", PAGE),
    }
    installs_after_redirect {
        fault: "The response is a redirect.",
        message: "Could not reach the license service at \\<url\\>: it redirects to \
                  http://login.example/. Check the address of the service, and whether this \
                  network requires a login.",
        next: RETRIED,
        test: |fault| {
            response_fault(fault, "301 Moved", "location: http://login.example/\r\n", "");
        },
    }
    installs_after_not_found {
        fault: "The response has status 404, and is not from the registry.",
        message: "Could not reach the license service at \\<url\\>: the response is not from the \
                  license service (status 404). Check the address of the service and any proxy in \
                  between.",
        next: RETRIED,
        test: |fault| response_fault(fault, "404 Not Found", "", PAGE),
    }
    installs_after_server_error {
        fault: "The response has status 500.",
        message: "The license service at \\<url\\> could not be used: it failed (status 500). \
                  Nothing is lost. Contact your vendor if this persists.",
        next: RETRIED,
        test: |fault| response_fault(fault, "500 Oh", "", "{}"),
    }
    installs_after_overload {
        fault: "The response has status 503.",
        message: "The license service at \\<url\\> could not be used: it is busy and asks to try \
                  again later.",
        next: RETRIED,
        test: |fault| response_fault(fault, "503 Busy", "retry-after: 9\r\n", ""),
    }
    installs_after_untrusted_certificate {
        fault: "The certificate is from an unknown authority.",
        message: "Could not reach the license service at \\<url\\>: its certificate is not trusted \
                  (invalid peer certificate: UnknownIssuer). Check this machine's clock and any \
                  proxy that intercepts TLS.",
        next: RETRIED,
        test: |fault| {
            let options = SmtpOptions { implicit_tls: true, ..SmtpOptions::default() };
            let server = SmtpServer::start(options).unwrap();
            network_fault(fault, LONG, |_| format!("https://localhost:{}", server.port()));
        },
    }
    installs_after_untrusted_license {
        fault: "The license is signed with a key that is not trusted.",
        message: "The license service at \\<url\\> could not be used: the license that it sent is \
                  not valid: it is not signed with a trusted key. Nothing is lost. Contact your \
                  vendor.",
        next: RETRIED,
        test: |fault| {
            let case = FaultCase::new();
            case.machine.write("other-keys.json", OTHER_KEYS);
            let keys = case.machine.file("other-keys.json");
            let output = case.start(&case.registry.url, &["--keys", &keys]);
            assert_eq!(output.status.code(), Some(5));
            case.assert_waits_for_tenant();
            case.assert_message(fault, &output, &case.registry.url);
            case.assert_resumes();
        },
    }
}

const PAGE: &str = "<!doctype html><title>Welcome to the hotel</title>";

const OTHER_KEYS: &str = r#"{"keys": [{
    "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
}]}"#;

/// Runs against the URL that `url` returns, then resumes with the registry.
fn network_fault(fault: &Fault, timeout: &str, url: impl FnOnce(&FaultCase) -> String) {
    let case = FaultCase::new();
    let url = url(&case);
    let output = case.start(&url, &["--timeout", timeout]);
    assert_eq!(output.status.code(), Some(5));
    case.assert_waits_for_tenant();
    case.assert_message(fault, &output, &url);
    case.assert_resumes();
}

/// Calls the registry through a faulty proxy.
fn proxy_fault(fault: &Fault, timeout: &str, behavior: ProxyFault) {
    network_fault(fault, timeout, |case| faulty_proxy::start(behavior, &case.registry.url));
}

/// Calls a service that sends this response.
fn response_fault(fault: &Fault, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    );
    proxy_fault(fault, LONG, ProxyFault::Respond(response));
}
