"""Stores runs, queues them fairly, answers users and executors."""
