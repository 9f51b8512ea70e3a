"""Where Hydra looks for sweepers; all of it is in `recexp.sweep`."""

from recexp.sweep.sweeper import StudySweeper


class RecexpSweeper(StudySweeper):
    """`hydra/sweeper=recexp_optuna`."""
