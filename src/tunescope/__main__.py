"""`python -m tunescope`, and the command `tunescope`."""

import os
import signal
from typing import NoReturn


def run() -> NoReturn:
    """The command line; while it is imported and nothing is open yet, an interruption ends it at once."""
    # Whoever runs it in the background may have it ignore the keyboard.
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeds:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    from tunescope.cli import main

    if heeds:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == "__main__":
    run()
