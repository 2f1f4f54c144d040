"""Imported first."""

import builtins
import os

vars(builtins)["init_was_imported"] = True
os.environ["SET_AT_IMPORT"] = "yes"
