"""``anticollapse variants``: what can be trained."""

from __future__ import annotations

import argparse

from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import print_json, table


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "variants",
        help="list the variants that can be trained",
        description="List the variants that can be trained, what each needs and which parameters it has.",
    )
    parser.add_argument("--variant-file", action="append", default=[], metavar="FILE.py", help="variants of your own")
    parser.add_argument("--json", action="store_true", help="print one JSON document with every parameter")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        OptionError: If a file of variants cannot be used.
    """
    from anticollapse.training import load_variant_file, variants

    for file in args.variant_file:
        load_variant_file(file)
    if args.json:
        print_json([variant.to_json() for variant in variants().values()])
        return 0
    rows = [[v.id, v.needs, v.gives, v.summary] for v in variants().values()]
    print(table(["variant", "needs", "gives", "what is done"], rows))
    print("\nanticollapse train VARIANT --help lists the parameters of one.")
    return 0
