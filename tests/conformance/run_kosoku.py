"""Starts kosoku for `cargo xtask conformance`.

Cases and verdicts are its own, but for one defect of 0.1.0: in the cases of 12 and 13 it takes a message that
came uncompressed for a text it cannot hash, and says ERROR. RFC 7692 section 6 lets each message be sent as it is,
say because it would not become shorter, and the reference takes it for what it is. So does this.
"""

from kosoku import cases
from kosoku._cli import main


def as_octets(on_message):
    def on_octets(case, message, binary):
        if isinstance(message, str):
            message = message.encode("latin-1" if binary else "utf-8")
        return on_message(case, message, binary)

    return on_octets


for name, case in cases.CASES.items():
    if name.startswith(("12.", "13.")):
        case.onMessage = as_octets(case.onMessage)

main()
