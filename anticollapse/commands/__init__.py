"""The commands of ``python -m anticollapse``; each module has ``add_parser`` and ``run``."""
