"""The sandbox that a user's process lives in: namespaces of its own, an unprivileged user, a filter on system calls."""
