"""The OWASP Core Rule Set of Debian's package, at its default paranoia level 1, in libmodsecurity: the same messages as the
body of a request. JSON goes through its JSON reader; a message that is none is sent as a form's field, where it looks best.
"""

import pathlib
import urllib.parse

import libmodsecurity

CRS = pathlib.Path("/usr/share/modsecurity-crs/rules")
SETUP = pathlib.Path("/etc/modsecurity/crs/crs-setup.conf")

ENGINE = """
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 1048576
SecPcreMatchLimit 100000
SecPcreMatchLimitRecursion 100000
SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
"""

_engine = None


def _load():
    global _engine
    if _engine is None:
        engine, rules = libmodsecurity.ModSecurity(), libmodsecurity.RulesSet()
        # Its log would show what is only measured.
        engine.set_log_callback(lambda _line: None)
        rules.load(ENGINE)
        rules.load_from_uri(str(SETUP))
        for file in sorted(CRS.glob("*.conf")):
            rules.load_from_uri(str(file))
        _engine = engine, rules
    return _engine


def judge(messages, place):
    return [_one(message, place != "whole") for message in messages]


def _one(message, is_json):
    engine, rules = _load()
    body = message if is_json else b"message=" + urllib.parse.quote_from_bytes(message, safe="").encode()
    kind = "application/json" if is_json else "application/x-www-form-urlencoded"
    with engine.transaction(rules) as request:
        request.process_connection("127.0.0.1", 40000, "127.0.0.1", 80)
        request.process_uri("/", "POST", "1.1")
        for name, value in {"Host": "localhost", "User-Agent": "Mozilla/5.0", "Accept": "*/*", "Content-Type": kind, "Content-Length": str(len(body))}.items():
            request.add_request_header(name, value)
        request.process_request_headers()
        request.append_request_body(body)
        request.process_request_body()
        stopped = request.intervention()
        return ["crs"] if stopped is not None and stopped.disruptive else []
