"""Imported first."""

import builtins

builtins.init_was_imported = True
