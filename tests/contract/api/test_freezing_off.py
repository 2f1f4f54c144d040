"""An installation with other settings about waiting: what its executors are told, and what is refused."""

from __future__ import annotations

from pathlib import Path

from tests.contract.api.conftest import connected, executor, first_tenant
from tests.support.freezing import Player, soon
from tests.support.postgres_server import Databases


def test_an_installation_that_freezes_nothing(databases: Databases, redis_url: str, tmp_path: Path) -> None:
    with connected(databases, redis_url, tmp_path, freeze="off", freeze_after=9.0) as platform:
        alone = first_tenant(platform)
        version = alone.deploy(["hello"])["id"]
        alone.trigger()
        player = Player(executor(platform, alone, version))
        told = player.next()["work"]["waiting"]
        assert (told["freeze"], told["after"]) == (False, 9.0)
        player.block(soon(platform.clock()))
        assert "SOJOURN_FREEZE" in player.begin().json["error"]
