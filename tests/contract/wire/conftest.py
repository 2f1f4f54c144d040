"""One world for each module: what its tests ask for changes nothing that others read."""

from __future__ import annotations

import pytest

from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, anonymous, app, platform, sibling, stranger, tenant
from tests.contract.wire.world import World, fill

__all__ = ["anonymous", "app", "platform", "sibling", "stranger", "tenant"]


@pytest.fixture(scope="module")
def world(platform: Platform, tenant: Tenant) -> World:
    return fill(World(platform, tenant))
