"""Runs as Nomad batch jobs: the place of the Nomad placement, which the local one precedes."""
