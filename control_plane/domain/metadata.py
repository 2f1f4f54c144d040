"""A run's metadata, changed by operations: the rules are the SDK's, whose `metadata` object knows what comes of each."""

from sojourn.sdk.metadata_operations import BadOperation, Operation, applied, path

__all__ = ["BadOperation", "Operation", "applied", "path"]
