# -*- coding: utf-8 -*-
"""Starts Autobahn|Testsuite (CPython 2.7) for `cargo xtask conformance`.

Cases and verdicts are the suite's own. Different are two things: its servers listen on 127.0.0.1 only,
and the short waits after which it drops a peer that has not closed are three times as long, because the
machine may be busy. A peer that does what the case asks for meets neither wait.
"""
from autobahntestsuite import choosereactor  # noqa: F401  before anything that takes Twisted's default reactor
from autobahntestsuite import fuzzing, wstest
from twisted.internet import reactor

PATIENCE = 3
SHORT = 10  # seconds; the waits of 9, 12 and 13 are longer and stay as they are


def on_loopback(listen):
    def listen_on_loopback(port, factory, backlog=50, interface=""):
        return listen(port, factory, backlog=backlog, interface="127.0.0.1")

    return listen_on_loopback


def patient(method):
    def wait(protocol, delay):
        return method(protocol, delay * PATIENCE if delay < SHORT else delay)

    return wait


reactor.listenTCP = on_loopback(reactor.listenTCP)  # TLS listens through it too
for name in ("killAfter", "closeAfter"):
    setattr(fuzzing.FuzzingProtocol, name, patient(getattr(fuzzing.FuzzingProtocol, name)))

wstest.run()
