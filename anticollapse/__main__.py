"""``python -m anticollapse``."""

from __future__ import annotations

import sys

from anticollapse.cli import end_on_interrupt, main

if __name__ == "__main__":
    code = main()
    end_on_interrupt()  # what is left is the interpreter's own end
    sys.exit(code)
