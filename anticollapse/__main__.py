"""``python -m anticollapse``."""

from __future__ import annotations

import sys

from anticollapse.cli import main

if __name__ == "__main__":
    sys.exit(main())
