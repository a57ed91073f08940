//! The demo page, the admin page and the guard's, compiled into the binary (a debug build reads it from the source tree, so that edits show
//! at once). It never reads anything outside their folders.

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../web/demo"]
#[exclude = "*.md"]
#[exclude = "*test*"]
struct Demo;

#[derive(RustEmbed)]
#[folder = "../../web/admin"]
#[exclude = "*.md"]
#[exclude = "*test*"]
struct AdminPage;

#[derive(RustEmbed)]
#[folder = "../../web/guard"]
#[exclude = "*.md"]
#[exclude = "*test*"]
struct GuardPage;

/// One file of the page.
pub(crate) struct Asset {
    /// What is in it.
    pub(crate) bytes: std::borrow::Cow<'static, [u8]>,
    /// `Content-Type`.
    pub(crate) media_type: &'static str,
    /// A strong entity tag, quotes included.
    pub(crate) etag: String,
}

/// The demo page's file for a URL path; `/` is `index.html`. `None` when there is none.
pub(crate) fn find(path: &str) -> Option<Asset> {
    asset::<Demo>(path)
}

/// The same of the admin page.
pub(crate) fn find_admin(path: &str) -> Option<Asset> {
    asset::<AdminPage>(path)
}

/// The same of the guard's page, which looks like the admin page and draws as it does.
pub(crate) fn find_guard(path: &str) -> Option<Asset> {
    let shared = [
        "/style.css",
        "/theme.js",
        "/icon.svg",
        "/dom.js",
        "/plots.js",
    ];
    match shared.contains(&path) {
        true => asset::<AdminPage>(path),
        false => asset::<GuardPage>(path),
    }
}

fn asset<F: RustEmbed>(path: &str) -> Option<Asset> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    let plain = name
        .split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.'));
    let file = if plain { F::get(name)? } else { return None };
    let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..12]));
    Some(Asset {
        bytes: file.data,
        media_type: media_type(name),
        etag,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The type by the name's ending; what we do not know is a download, never guessed.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_there_and_nothing_outside_it() {
        let page = find("/").expect("index.html");
        assert_eq!(page.media_type, "text/html; charset=utf-8");
        assert_eq!(page.etag, find("/index.html").expect("the same").etag);
        for path in [
            "",
            "index.html",
            "/../Cargo.toml",
            "//index.html",
            "/./index.html",
            "/nowhere",
            "/js/",
        ] {
            assert!(find(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn types_are_what_a_browser_insists_on() {
        assert_eq!(media_type("a/b.js"), "text/javascript; charset=utf-8");
        assert_eq!(media_type("x.css"), "text/css; charset=utf-8");
        assert_eq!(media_type("no-ending"), "application/octet-stream");
        assert_eq!(media_type("x.html.exe"), "application/octet-stream");
    }
}
