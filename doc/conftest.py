"""Which pages cannot be run where an extra is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("PIL") else ["user_guide/images.rst"]
