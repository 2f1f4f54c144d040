"""What `sojourn.testing` refuses is what the real application refuses: the same calls, the same answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.api.conftest import Tenant
from tests.support import refused_calls


@pytest.fixture(scope="module", autouse=True)
def deployed(tenant: Tenant) -> None:
    tenant.deploy(["hello"])


@pytest.mark.parametrize("case", refused_calls.CASES)
def test_a_call_is_refused(case: Any, tenant: Tenant) -> None:
    refused_calls.check(tenant.sdk(), case)
