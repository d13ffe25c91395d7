"""``anticollapse pretrain`` without the other commands, for a machine that has torch but neither plotly nor streamlit.

python benchmarks/gpu/pretrain.py --text build/pretrain/en.tokens --output build/pretrain/en --minutes 8

Options as ``python -m anticollapse pretrain --help`` says.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> int:
    from anticollapse.commands import pretrain
    from anticollapse.errors import AntiCollapseError

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="pretrain.py")
    pretrain.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["pretrain", *sys.argv[1:]])
    try:
        return int(args.run(args))
    except AntiCollapseError as error:
        print(f"pretrain.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
