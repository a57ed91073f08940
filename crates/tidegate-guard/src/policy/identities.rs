//! Which name of a client's certificate says who it is, and who may come in by one. It reads no certificate.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A kind of name in a certificate's subjectAltName (RFC 5280 §4.2.1.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateName {
    /// A URI, such as a SPIFFE ID: `spiffe://example.org/web`.
    Uri,
    /// The name of a host, in lower case; wildcards name nobody.
    Dns,
    /// The address of a mailbox.
    Email,
}

/// Whom certificates name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateRules {
    /// The kinds of names looked at, in this order; the first name that may come in is who it is.
    pub names: Vec<CertificateName>,
    /// Who may come in; everybody when empty.
    pub identities: Vec<Identity>,
}

impl CertificateRules {
    /// Whether who is called so may come in.
    pub fn allows(&self, name: &str) -> bool {
        let mut listed = self.identities.iter();
        self.identities.is_empty() || listed.any(|identity| identity.matches(name))
    }
}

/// An identity as a policy writes it: every octet counts, and a `*` stands for anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    before: Box<str>,
    /// Behind the `*`, if there is one.
    after: Option<Box<str>>,
}

impl Identity {
    /// Visible ASCII with at most one `*`; `None` for all else.
    pub fn parse(text: &str) -> Option<Identity> {
        let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let (before, after) = match text.split_once('*') {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let one = after.is_none_or(|after| !after.contains('*'));
        (visible && one).then(|| Identity {
            before: before.into(),
            after: after.map(Into::into),
        })
    }

    /// Whether it is about who is called so.
    pub fn matches(&self, name: &str) -> bool {
        match (&self.after, name.strip_prefix(&*self.before)) {
            (None, Some(rest)) => rest.is_empty(),
            (Some(after), Some(rest)) => rest.ends_with(&**after),
            (_, None) => false,
        }
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Identity, D::Error> {
        let text = String::deserialize(from)?;
        Identity::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no identity: visible ASCII, with one * at most, which stands for anything"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_exact_or_has_one_star() {
        let rows = [
            ("spiffe://a/web", "spiffe://a/web", true),
            ("spiffe://a/web", "spiffe://a/web/1", false),
            ("spiffe://a/web", "spiffe://a/we", false),
            ("spiffe://a/*", "spiffe://a/web/1", true),
            ("spiffe://a/*", "spiffe://a.evil/web", false),
            ("*.clients.example", "one.clients.example", true),
            ("*.clients.example", "clients.example", false),
            ("*.clients.example", "one.clients.example.evil", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "anybody", true),
        ];
        for (pattern, name, expected) in rows {
            let identity = Identity::parse(pattern).expect(pattern);
            assert_eq!(identity.matches(name), expected, "{pattern} {name}");
        }
        for bad in ["", "a b", "*a*", "ä", "a\n"] {
            assert_eq!(Identity::parse(bad), None, "{bad:?}");
        }
    }
}
