"""A DNS server that never answers: the system's own resolver waits for it, and our client must not wait with it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from support import PATIENCE

BINARY = os.environ.get("TIDEGATE_BIN", "target/debug/tidegate")
# The name asked for; no hosts file knows it.
NAME = "silent.example"
# A network and a /etc of its own, where port 53 of 127.0.0.1 is free.
APART = ("unshare", "--mount", "--net", "--map-root-user")


def inside():
    """Runs the client where the only DNS server is one that takes questions and says nothing; prints what happened."""
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        conf.write("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
        conf.flush()
        subprocess.run(("mount", "--bind", conf.name, "/etc/resolv.conf"), check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 53))
            start = time.monotonic()
            words = (BINARY, "connect", "--no-proxy", "--connect-timeout", "1", "-1", "-m", "hi", f"ws://{NAME}/")
            client = subprocess.run(words, capture_output=True, timeout=PATIENCE)
            took = time.monotonic() - start
            server.settimeout(PATIENCE)
            question = server.recv(512)
    asked = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    print(json.dumps({"code": client.returncode, "said": client.stderr.decode(), "took": took, "asked": asked in question}))


def can_be_apart():
    """Whether this machine lets us have namespaces of our own."""
    try:
        words = (*APART, "ip", "link", "set", "lo", "up")
        return subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class Names(unittest.TestCase):
    def test_a_resolver_that_never_answers_costs_the_time_that_was_given_and_no_more(self):
        if not can_be_apart():
            print("NOT RUN: no namespaces here, so the system's resolver cannot be given a silent server")
            return
        words = (*APART, sys.executable, "-B", __file__, "inside")
        told = subprocess.run(words, capture_output=True, timeout=PATIENCE)
        self.assertEqual(told.returncode, 0, told.stderr.decode())
        told = json.loads(told.stdout)
        self.assertTrue(told["asked"], "the real resolver asked the real server")
        self.assertEqual(told["code"], 3, told["said"])
        self.assertIn("looking the name up took too long", told["said"])
        # The resolver itself would give up after 30 seconds.
        self.assertLess(told["took"], 25)


if __name__ == "__main__":
    inside() if sys.argv[1:] == ["inside"] else unittest.main()
