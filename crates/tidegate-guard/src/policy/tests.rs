//! What a policy may say, where its faults are shown, and which route a request gets.

use super::*;
use crate::written::Secret;
use crate::{Mode, rule_names};

const EXAMPLE: &str = include_str!("../../../../guard.example.toml");

/// The example's lines, those behind `#` uncommented, and those behind `## ` if asked for.
fn example(with_examples: bool) -> String {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("## ") {
        Some(line) if with_examples => line,
        Some(_) => "",
        None => match line.strip_prefix('#') {
            Some(line) if line.starts_with(|c: char| c.is_ascii_lowercase()) => line,
            _ => line,
        },
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn fault(text: &str) -> String {
    Policy::parse(text).expect_err(text).to_string()
}

fn mode(route: &Route, rule: &str) -> Mode {
    let name = rule_names().find(|name| name.id == rule).expect(rule);
    route.rules.mode_of(&name)
}

#[test]
fn the_example_shows_the_defaults() {
    assert_eq!(
        Policy::parse(EXAMPLE),
        Ok(Policy::default()),
        "as it stands"
    );
    let text = example(false);
    assert!(
        text.lines().filter(|line| line.contains(" = ")).count() > 30,
        "{text}"
    );
    assert_eq!(Policy::parse(&text), Ok(Policy::default()), "uncommented");
}

#[cfg(feature = "schema")]
#[test]
fn the_examples_in_the_example_are_a_policy() {
    let schema = |_: &Path| Ok("{ \"type\": \"object\" }".to_owned());
    let policy = Policy::parse_with(&example(true), &schema).map_err(|fault| fault.to_string());
    let policy = policy.expect("a policy");
    assert_eq!((policy.issuers.len(), policy.routes().len()), (1, 1));
    let route = &policy.routes()[0];
    assert_eq!(
        mode(route, "sqli-union"),
        Mode::Block,
        "the route's mode is for all rules"
    );
    assert_eq!(route.limits.protocol.max_message_size, 16 << 10);
    assert_eq!(route.schemas.len(), 1);
    let watched = route.behaviour.as_ref().expect("it is there");
    assert_eq!((watched.failures.len(), watched.order.len()), (1, 1));
    let claims = route.auth.as_ref().map(|auth| auth.claims.clone());
    assert_eq!(claims, Some(vec!["rooms".into()]));
    assert_eq!(route.auth.as_ref().map(|auth| auth.roles.len()), Some(1));
    assert_eq!(
        route.fail.content,
        FailMode::Open,
        "what is said counts more than the mode"
    );
}

#[test]
fn the_defaults_protect() {
    let policy = Policy::default();
    assert_eq!((policy.routes().len(), policy.allow_plain), (1, false));
    let route = &policy.routes()[0];
    assert_eq!(route.origins, Origins::default());
    assert!(route.origins.same_origin && route.origins.listed.is_empty());
    assert_eq!(route.compression, Compression::Declined);
    let usual = tidegate_proto::DeflateConfig::default().max_ratio;
    assert_eq!(route.max_ratio.get(), usual);
    let limits = Limits {
        max_empty_fragments: 16,
        ..Limits::hub()
    };
    assert_eq!(route.limits.protocol, limits);
    assert_eq!(route.budget, Budget::of_messages(64 << 10));
    for rule in rule_names() {
        let expected = match rule.only_by_name {
            true => Mode::Off,
            false => Mode::Monitor,
        };
        assert_eq!(mode(route, rule.id), expected, "{}", rule.id);
    }
    assert_eq!(route.fail.content, FailMode::Open);
    assert_eq!(route.fail.credentials, FailMode::Closed);
    let strict = Policy::parse("[rules]\nsqli = \"block\"\n").expect("a policy");
    let fail = strict.routes()[0].fail;
    assert_eq!(
        (fail.content, fail.audit),
        (FailMode::Closed, FailMode::Closed)
    );
}

#[test]
fn faults_have_their_place_and_say_what_to_write() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"ES256\"]\njwks_url = \"https://i/\"\n";
    let rows = [
        ("[server\n", "1:8: "),
        ("[sever]\n", "1:2: unknown key sever; did you mean server?"),
        ("x = 1\n", "1:1: unknown key x; there are"),
        (
            "[limits]\nmessage_sise = 1\n",
            "2:1: unknown key message_sise; did you mean message_size?",
        ),
        (
            "[limits]\nmessage_size = \"64kib\"\n",
            "2:16: \"64kib\" is no size; write",
        ),
        (
            "[limits]\nmessage_size = 0\n",
            "1:1: message_size and frame_size must be at least 1",
        ),
        (
            "[limits]\nmessage_size = \"1GiB\"\n",
            "1:1: message_size is at most 64MiB",
        ),
        (
            "[limits]\nmessage_size = 10\nframe_size = 11\n",
            "1:1: frame_size must not be larger",
        ),
        ("[limits]\nfragments = 0\n", "2:13: "),
        (
            "[limits]\noutbox = 1\n",
            "1:1: outbox must be at least 16KiB",
        ),
        (
            "[limits]\nidle = \"10 minutes\"\n",
            "2:8: \"10 minutes\" is no duration; write",
        ),
        (
            "[rates]\nmessages = { per_second = 0, burst = 1 }\n",
            "2:12: a rate and its burst are at least 1",
        ),
        (
            "[rates]\nmessages = { per_second = 1 }\n",
            "2:12: missing field `burst`",
        ),
        (
            "[rates]\nbytes = { per_second = \"9GiB\", burst = 1 }\n",
            "2:9: a rate and its burst",
        ),
        (
            "[rules]\nsqly = \"block\"\n",
            "2:1: unknown key sqly; did you mean sqli?",
        ),
        ("[rules]\nsqli = \"deny\"\n", "2:8: unknown variant `deny`"),
        (
            "[rules]\nbudget = -1\n",
            "2:10: a size must not be negative",
        ),
        (
            "[rules]\nmode = \"mask\"\n",
            "2:8: mode: only what a rule of the family leak",
        ),
        (
            "[rules]\nsqli = \"mask\"\n",
            "2:8: sqli: only what a rule of the family leak",
        ),
        (
            "[rules]\nplain_text = \"loose\"\n",
            "2:14: unknown variant `loose`",
        ),
        (
            "[behaviour]\nmode = \"mask\"\n",
            "2:8: unknown variant `mask`",
        ),
        (
            "[behaviour]\ntype_at = \"type\"\n",
            "2:11: \"type\" is no JSON pointer",
        ),
        ("[behaviour]\nentries = 0\n", "2:11: "),
        (
            "[behaviour]\nmembers = [{ at = \"/room\", claim = \"rooms\" }]\n",
            "1:1: members compare a message with a claim of the token",
        ),
        (
            "[behaviour]\nrates = [{ kind = \"chat\", per_second = 1 }]\n",
            "2:10: missing field `burst`",
        ),
        (
            "[behaviour]\nfailure = 1\n",
            "2:1: unknown key failure; did you mean failures?",
        ),
        (
            "[origins]\nallow = [\"https://app.example/\"]\n",
            "2:9: \"https://app.example/\": an origin is",
        ),
        (
            "[origins]\nallow = [\"https://ok\", \"null\"]\n",
            "2:9: \"null\": an origin is",
        ),
        (
            "[origins]\nallow = [\"wss://app.example\"]\n",
            "2:9: \"wss://app.example\": a web page's origin",
        ),
        ("[origins]\nallow = [\"*\"]\n", "2:9: \"*\": an origin is"),
        (
            "[origins]\nmissing = \"perhaps\"\n",
            "2:11: unknown variant `perhaps`",
        ),
        (
            "[subprotocols]\nallow = [\"a b\"]\n",
            "2:9: \"a b\" is no token",
        ),
        (
            "[subprotocols]\nrequired = true\n",
            "1:1: required needs allow",
        ),
        (
            "[compression]\ndeflate = \"maybe\"\n",
            "2:11: unknown variant `maybe`",
        ),
        (
            "[server]\nhosts = [\"a:80\"]\n",
            "2:9: \"a:80\" is no host name",
        ),
        (
            "[server]\nhosts = [\"a:443\"]\n",
            "2:9: \"a:443\" is no host name",
        ),
        (
            "[server]\nhosts = [\"https://a\"]\n",
            "2:9: \"https://a\" is no host name",
        ),
        (
            "[server]\nhosts = [\"u@a\"]\n",
            "2:9: \"u@a\" is no host name",
        ),
        (
            "[server]\ntrusted_proxies = [\"192.0.2.0/33\"]\n",
            "2:19: \"192.0.2.0/33\" is no network",
        ),
        ("[connections]\nper_ip = 0\n", "2:10: "),
        ("[auth]\n", "1:1: auth needs an issuer"),
        (
            "[auth]\nsources = [\"certificate\", \"cookie\"]\n",
            "1:1: auth needs an issuer",
        ),
        (
            "[auth]\nsources = [\"certificate\"]\nroles = [\"a\"]\n",
            "1:1: roles are said by tokens",
        ),
        (
            "[auth]\nsources = [\"certificate\"]\ncertificate_names = []\n",
            "1:1: certificate_names must name",
        ),
        (
            "[auth]\nsources = [\"certificate\"]\ncertificate_names = [\"cn\"]\n",
            "3:22: ",
        ),
        (
            "[auth]\nsources = [\"certificate\"]\ncertificate_identities = [\"a*b*\"]\n",
            "3:26: ",
        ),
        (
            &format!("{issuer}[auth]\ncertificate_identities = [\"a\"]\n"),
            "6:1: certificate_names and certificate_identities need",
        ),
        (
            &format!("{issuer}[auth]\nsources = []\n"),
            "6:1: sources must name at least one",
        ),
        (
            &format!("{issuer}[auth]\nsources = [\"query\"]\n"),
            "7:12: unknown variant `query`",
        ),
        (
            &format!("{issuer}[auth]\nend_code = 1000\n"),
            "7:12: 1000 cannot stand here",
        ),
        (
            &format!("{issuer}[auth]\ncookie = \"a b\"\n"),
            "7:10: \"a b\" is no token",
        ),
        (
            &format!("{issuer}hmac_secret = \"s\"\n"),
            "4:14: a secret and public keys need an issuer of their own",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\n",
            "4:14: an issuer needs keys",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"none\"]\n",
            "4:15: unknown variant `none`",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"HS256\", \"RS256\"]\njwks_url = \"https://i/\"\n",
            "4:14: public keys never go with HS256",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"RS256\"]\nhmac_secret = \"s\"\n",
            "4:14: a shared secret goes with HS256",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = []\nhmac_secret = \"s\"\n",
            "4:14: algorithms must name at least one",
        ),
        (
            "[[issuers]]\nissuer = \"\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\nhmac_secret = \"s\"\n",
            "2:10: this must not be empty",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\nhmac_secret = \"\"\n",
            "5:15: a secret must not be empty",
        ),
        (
            "[[issuers]]\nissuer = \"i\"\n",
            "1:1: missing field `audience`",
        ),
        (
            "[[routes]]\nname = \"a\"\n",
            "1:1: a route needs path = \"/...\"",
        ),
        (
            "[[routes]]\npath = \"/a\"\nprefix = \"/b\"\n",
            "3:10: a route has path (exactly this one) or prefix",
        ),
        (
            "[[routes]]\npath = \"chat\"\n",
            "2:8: \"chat\": the path must begin with '/'",
        ),
        (
            "[[routes]]\npath = \"/a/../b\"\n",
            "2:8: \"/a/../b\": the path holds a dot segment",
        ),
        (
            "[[routes]]\nname = \"a b\"\npath = \"/a\"\n",
            "2:8: a route's name is",
        ),
        (
            "[[routes]]\npath = \"/a\"\n[[routes]]\npath = \"/a\"\n",
            "4:8: the route /a takes this path already",
        ),
        (
            "[[routes]]\npath = \"/a\"\n[[routes]]\nname = \"/a\"\npath = \"/b\"\n",
            "4:8: there are two routes called /a",
        ),
        (
            "[[routes]]\npath = \"/a\"\nhosts = [\"*\"]\n",
            "3:10: leave hosts out",
        ),
        (
            "[[routes]]\npath = \"/a\"\n[routes.limits]\nmessage_size = 0\n",
            "3:1: message_size and frame_size",
        ),
        (
            "[[routes]]\npath = \"/a\"\nlimits.fragment = 1\n",
            "3:8: unknown key fragment; did you mean fragments?",
        ),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(text, expected)| {
            let said = fault(text);
            let fine = said.starts_with(expected) && !said.contains('\n');
            (!fine).then(|| format!("{text:?}\n said {said}\n not  {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(feature = "schema")]
#[test]
fn a_schema_that_cannot_be_has_its_place() {
    let files = |name: &Path| match name.to_str() {
        Some("good.json") => Ok("{\"type\": \"object\"}".to_owned()),
        Some("no.json") => Ok("{\"type\": 7}".to_owned()),
        Some("far.json") => Ok("{\"$ref\": \"https://elsewhere/\"}".to_owned()),
        Some("half.json") => Ok("{".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let rows = [
        ("[schema.to_server]\n", "1:1: a schema needs default"),
        (
            "[schema.to_serve]\n",
            "1:9: unknown key to_serve; did you mean to_server?",
        ),
        (
            "[schema.to_server]\ntypes = { a = \"good.json\" }\n",
            "1:1: types need discriminator",
        ),
        (
            "[schema.to_server]\ndiscriminator = \"type\"\ndefault = \"good.json\"\n",
            "2:17: \"type\" is no JSON pointer",
        ),
        (
            "[schema.to_client]\ndefault = \"gone.json\"\n",
            "2:11: gone.json cannot be read: no such file",
        ),
        (
            "[schema.to_client]\ndefault = \"half.json\"\n",
            "2:11: the default schema: it is not JSON",
        ),
        (
            "[schema.to_server]\ndiscriminator = \"/t\"\ntypes = { a = \"good.json\", b = \"no.json\" }\n",
            "3:32: the schema of \"b\": ",
        ),
        (
            "[[routes]]\npath = \"/a\"\n[routes.schema.to_server]\ndefault = \"far.json\"\n",
            "4:11: the default schema: ",
        ),
    ];
    for (text, expected) in rows {
        let said = Policy::parse_with(text, &files)
            .expect_err(text)
            .to_string();
        assert!(
            said.starts_with(expected),
            "{text:?}\n said {said}\n not  {expected}"
        );
        assert!(!said.contains('\n'), "{said}");
    }
    let good = "[schema.to_server]\ndefault = \"good.json\"\n[[routes]]\npath = \"/a\"\n";
    let policy = Policy::parse_with(good, &files).expect("a policy");
    assert_eq!(
        policy.routes()[0].schemas.len(),
        1,
        "the policy's is the route's"
    );
}

#[test]
fn a_route_says_only_what_differs() {
    let policy = Policy::parse(
        "[limits]\nmessage_size = 1000\nframe_size = 700\nfragments = 7\n\
         [rules]\nmode = \"off\"\nsqli = \"block\"\nxss-script = \"off\"\nbudget = \"5KiB\"\nmax_depth = 4\n\
         [origins]\nallow = [\"https://a.example\"]\nnull = \"allow\"\n\
         [[routes]]\nname = \"own\"\npath = \"/own\"\nlimits.message_size = 500\nlimits.frame_size = 500\norigins.allow = []\nrules.mode = \"monitor\"\nrules.xss = \"block\"\n\
         [[routes]]\nname = \"plain\"\npath = \"/plain\"\n",
    )
    .expect("a policy");
    let own = policy.route("localhost", "/own").expect("there").route;
    let plain = policy.route("localhost", "/plain").expect("there").route;
    let sizes = |route: &Route| {
        (
            route.limits.protocol.max_message_size,
            route.limits.protocol.max_frame_size,
            route.limits.protocol.max_fragments,
        )
    };
    assert_eq!(
        sizes(own),
        (500, usize::MAX, 7),
        "as long as a message is no limit"
    );
    assert_eq!(sizes(plain), (1_000, 700, 7));
    let modes =
        |route: &Route| ["sqli-union", "xss-script", "json-depth"].map(|rule| mode(route, rule));
    assert_eq!(modes(own), [Mode::Monitor, Mode::Block, Mode::Monitor]);
    assert_eq!(modes(plain), [Mode::Block, Mode::Off, Mode::Off]);
    assert_eq!((own.rules.budget, own.rules.json.max_depth), (5 << 10, 4));
    assert_eq!(
        (own.origins.listed.len(), plain.origins.listed.len()),
        (0, 1)
    );
    assert_eq!(
        (own.origins.null, plain.origins.null),
        (Word::Allow, Word::Allow)
    );
}

#[test]
fn requests_get_the_most_telling_route_or_none() {
    let policy = Policy::parse("[server]\nhosts = [\"API.example\", \"2001:db8::1\"]\n");
    assert_eq!(
        policy.map_err(|fault| fault.line).err(),
        Some(2),
        "IPv6 needs its brackets"
    );
    let policy = Policy::parse(
        "[server]\nhosts = [\"API.example\", \"[2001:DB8::1]\"]\n\
         [[routes]]\nname = \"all\"\nprefix = \"/\"\n\
         [[routes]]\nname = \"chat\"\nprefix = \"/chat\"\n\
         [[routes]]\nname = \"room\"\nprefix = \"/chat/room\"\n\
         [[routes]]\nname = \"one\"\npath = \"/chat/room\"\n\
         [[routes]]\nname = \"admin\"\nprefix = \"/\"\nhosts = [\"admin.example\"]\n",
    )
    .expect("a policy");
    let rows = [
        ("api.example", "/", "all"),
        ("api.example.", "/x/y", "all"),
        ("api.example", "/chatter", "all"),
        ("api.example", "/chat", "chat"),
        ("api.example", "/chat/", "chat"),
        ("api.example", "/chat/rooms", "chat"),
        ("api.example", "/chat/room", "one"),
        ("api.example", "/%63hat/roo%6D", "one"),
        ("api.example", "/chat/room/1", "room"),
        ("admin.example", "/chat/room", "admin"),
        ("localhost", "/chat", "chat"),
        ("127.0.0.1", "/chat", "chat"),
        ("[::1]", "/chat", "chat"),
        ("[2001:db8::1]", "/chat", "chat"),
    ];
    for (host, path, name) in rows {
        let found = policy
            .route(host, path)
            .unwrap_or_else(|why| panic!("{host}{path}: {why:?}"));
        assert_eq!(&*found.route.name, name, "{host}{path}");
    }
    for host in [
        "evil.example",
        "api.example.evil.example",
        "128.0.0.1",
        "127.1",
        "xapi.example",
        "",
        "admin.example.x",
    ] {
        assert_eq!(policy.route(host, "/").err(), Some(NoRoute::Host), "{host}");
    }
    for path in [
        "/chat/%2e%2e/admin",
        "/chat;x",
        "/a%2fb",
        "/a\\b",
        "/a%00",
        "/..",
        "//chat",
        "/chat%23",
    ] {
        let why = policy.route("api.example", path).expect_err(path);
        assert!(matches!(why, NoRoute::Confusing(_)), "{path} {why:?}");
        assert_eq!(why.rejection().status, 400);
    }
    assert_eq!(NoRoute::Host.rejection().status, 421);
}

#[test]
fn with_routes_other_paths_are_not_there_and_without_hosts_only_loopback_is() {
    let policy = Policy::parse("[[routes]]\npath = \"/chat\"\n").expect("a policy");
    assert_eq!(
        policy.route("localhost", "/other").err(),
        Some(NoRoute::Path)
    );
    assert_eq!(
        policy.route("localhost", "/chat/").err(),
        Some(NoRoute::Path)
    );
    assert_eq!(
        policy.route("api.example", "/chat").err(),
        Some(NoRoute::Host)
    );
    let open = Policy::parse("[server]\nhosts = [\"*\"]\n").expect("a policy");
    assert!(open.route("api.example", "/chat").is_ok());
}

#[test]
fn secrets_do_not_show() {
    let text = "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\nhmac_secret = \"hunter2\"\n";
    let policy = Policy::parse(text).expect("a policy");
    assert!(!format!("{policy:?}").contains("hunter2"));
    assert_eq!(
        policy.issuers[0].keys.hmac_secret,
        Some(Secret::new("hunter2"))
    );
}

#[test]
fn the_burst_of_octets_has_room_for_four_of_the_longest_messages() {
    for (limits, burst) in [
        ("", 1 << 20),
        ("message_size = \"1KiB\"\n", 1 << 20),
        ("message_size = \"4MiB\"\n", 16 << 20),
        ("message_size = \"64MiB\"\n", 256 << 20),
    ] {
        let policy = Policy::parse(&format!("[limits]\n{limits}")).expect("a policy");
        assert_eq!(policy.routes[0].budget.bytes.burst(), burst, "{limits}");
    }
    let said = "[limits]\nmessage_size = \"4MiB\"\n[rates]\nbytes = { per_second = \"1MiB\", burst = \"2MiB\" }\n";
    let policy = Policy::parse(said).expect("a policy");
    assert_eq!(
        policy.routes[0].budget.bytes.burst(),
        2 << 20,
        "what is said holds"
    );
}

#[test]
fn certificates_alone_need_no_issuer_and_a_route_may_ask_for_something_else() {
    let policy = Policy::parse("[auth]\nsources = [\"certificate\"]\n").expect("a policy");
    assert_eq!(
        policy.about_certificates(),
        Some("\"certificate\" in sources")
    );
    let auth = policy.routes()[0].auth.as_ref().expect("asked");
    let kinds = [
        CertificateName::Uri,
        CertificateName::Dns,
        CertificateName::Email,
    ];
    assert_eq!(auth.certificate.names, kinds);
    let told = Policy::parse("[server]\nclient_cert = true\n").expect("a policy");
    assert_eq!(told.about_certificates(), Some("client_cert"));
    assert_eq!(Policy::default().about_certificates(), None);
    let two = "[[issuers]]\nissuer = \"https://id.example\"\naudience = \"chat\"\nalgorithms = [\"HS256\"]\n\
        hmac_secret = \"secret\"\n[auth]\nsources = [\"certificate\"]\ncertificate_identities = [\"spiffe://a/*\"]\n\
        [[routes]]\npath = \"/mesh\"\n[[routes]]\npath = \"/page\"\nauth.sources = [\"cookie\"]\n";
    let policy = Policy::parse(two).expect("a policy");
    let sources = |path: &str| {
        let found = policy.route("localhost", path).expect("a route");
        found.route.auth.as_ref().expect("asked").sources.clone()
    };
    assert_eq!(sources("/mesh"), [Source::Certificate]);
    assert_eq!(sources("/page"), [Source::Cookie]);
}
