//! The token endpoint: errors as RFC 6749 §5.2 wants them.

use clap::Parser;
use examples::cli::{Arguments, Role};
use examples::launch;

use super::gateway_messages::{ask, status};

#[test]
fn requests_that_are_none_are_invalid_requests() {
    let folder = tempfile::tempdir().unwrap();
    let clients = folder.path().join("clients");
    std::fs::write(&clients, "me secret orders:read\n").unwrap();
    let clients = clients.to_str().unwrap();
    let arguments =
        Arguments::parse_from(["gateway", "--role", "issuer", "--quiet", "--client-secret-file", clients]);
    let issuer = launch::one(Role::Issuer, &arguments).unwrap();
    let form = "grant_type=client_credentials&client_id=me";
    let post = |fields: &str, content: &str| {
        let length = content.len();
        let head =
            format!("POST /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n");
        ask(issuer.address, &format!("{head}{fields}\r\n{content}"))
    };
    let urlencoded = "Content-Type: application/x-www-form-urlencoded\r\n";
    let basic = format!("{urlencoded}Authorization: Basic bWU6c2VjcmV0\r\n");
    assert_eq!(status(&post(urlencoded, &format!("{form}&client_secret=secret"))), "200");
    assert_eq!(status(&post(&basic, form)), "200");
    for (fields, content) in [
        (urlencoded, format!("{form}&client_secret=secret&client_id=me")),
        (urlencoded, format!("{form}&client_secret=secret&grant_type=password")),
        ("Content-Type: application/json\r\n", format!("{form}&client_secret=secret")),
        (&basic, format!("{form}&client_secret=secret")),
    ] {
        let answer = post(fields, &content);
        assert_eq!(status(&answer), "400", "{fields} {content}");
        assert!(answer.contains("\r\ncache-control: no-store\r\n"), "{answer}");
        assert!(answer.ends_with("{\"error\":\"invalid_request\"}"), "{answer}");
    }
    issuer.stop();
}
