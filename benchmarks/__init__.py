"""Airspeed velocity benchmarks, a module a family of functions, walked from the table of functions.

What is compiled for one commit and environment is kept apart from all others.
"""

import os

os.environ.setdefault("OMP_PROC_BIND", "true")  # as in `python -m fastgrad bench`, which says why

if "ASV_COMMIT" in os.environ:  # asv made the environment; in an existing one, the cache is the user's
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(
        os.environ["ASV_CONF_DIR"], ".asv", "cache", os.environ["ASV_ENV_NAME"], os.environ["ASV_COMMIT"]
    )
