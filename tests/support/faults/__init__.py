"""Issue 11's faults, repeated; see ``forks`` for how programs are run."""
