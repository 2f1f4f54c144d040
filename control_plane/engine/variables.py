"""Environment variables: set, read, and resolved to what a run is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sojourn.control_plane.domain.variables import MAX_TOTAL_BYTES, MAX_VARIABLES, flaw_of_name, flaw_of_value
from sojourn.control_plane.engine.errors import TooManyVariables, VariableInvalid, VariableNotFound
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.store.variables import Variable
from sojourn.control_plane.store.variables import Variables as StoredVariables


class Variables:
    """Of one environment at a time. Runs get them when an attempt begins, and when a frozen process goes on."""

    def __init__(self, database: Database, variables: StoredVariables):
        self._database = database
        self._variables = variables

    def list(self, environment: Environment) -> list[Variable]:
        """Every variable, by name, values in clear: whoever shows them hides those of secrets."""
        return self._variables.all(environment.id)

    def find(self, environment: Environment, name: str) -> Variable:
        """A variable. `VariableNotFound`."""
        found = self._variables.find(environment.id, name) if flaw_of_name(name) is None else None
        if found is None:
            raise VariableNotFound
        return found

    def put(
        self,
        environment: Environment,
        values: Mapping[str, str],
        now: datetime,
        *,
        is_secret: bool = False,
        override: bool = True,
    ) -> set[str]:
        """Sets variables, all of them or none; those that were there before. A secret stays one.

        `override`: those that are there get the new value; else they stay as they are. `VariableInvalid`,
        `TooManyVariables`.
        """
        for name, value in values.items():
            _check(name, value)
        if not values:
            return set()
        with self._database.transaction():
            self._variables.lock(environment.id)
            there = self._variables.there(environment.id, values)
            size = self._variables.put(environment.id, values, now, is_secret=is_secret, override=override)
            if size.count > MAX_VARIABLES:
                raise TooManyVariables(f"an environment has {MAX_VARIABLES} variables at most", field="variables")
            if size.bytes > MAX_TOTAL_BYTES:
                raise TooManyVariables(f"an environment's values have {MAX_TOTAL_BYTES} bytes at most", field="variables")
        return there

    def change(self, environment: Environment, name: str, value: str, now: datetime) -> None:
        """Another value for a variable that is there. `VariableNotFound`."""
        self.find(environment, name)
        self.put(environment, {name: value}, now)

    def delete(self, environment: Environment, name: str) -> None:
        """Runs get it no longer. `VariableNotFound`."""
        if flaw_of_name(name) is not None or not self._variables.delete(environment.id, name):
            raise VariableNotFound

    def resolved(self, environment: Environment) -> dict[str, str]:
        """What a run of the environment is given."""
        return {each.name: each.value for each in self._variables.all(environment.id)}


def _check(name: str, value: str) -> None:
    flaw = flaw_of_name(name)
    if flaw:
        raise VariableInvalid(f"{name[:80]!r}: {flaw}", field="name", next_step="use another name")
    flaw = flaw_of_value(value)
    if flaw:
        raise VariableInvalid(
            f"{name}: {flaw}", field="value", next_step="keep the value elsewhere, and a name for it here"
        )
