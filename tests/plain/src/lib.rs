//! What a program without the feature `tls` is told when it asks for TLS. It opens no connection.

#![cfg(test)]

use tidegate::{Client, ConnectError, Proxy, Reconnect};

/// Nothing has been sent, another try will not help, and the text says what will.
fn is_told(error: &ConnectError) {
    assert!(matches!(error, ConnectError::TlsDisabled), "{error:?}");
    assert_eq!((error.stage(), error.is_retryable()), (None, false));
    let text = error.to_string();
    assert!(text.contains("feature \"tls\""), "{text}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_secure_url_is_an_error_that_names_the_feature() {
    // Nobody is asked for this name, which does not exist.
    let url = "wss://nowhere.invalid/";
    is_told(&tidegate::connect(url).await.unwrap_err());
    is_told(&Client::new().open(url).await.unwrap_err());
    let mut connections = Reconnect::new(Client::new(), url);
    is_told(&connections.next().await.unwrap_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_proxy_that_wants_tls_is_the_same_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("https://{}", listener.local_addr().unwrap());
    let client = Client::new().proxy(Proxy::url(&proxy).unwrap());
    is_told(&client.connect("ws://nowhere.invalid/").await.unwrap_err());
}
