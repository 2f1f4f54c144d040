"""An order that somebody has to approve: its process is frozen while it waits, for a minute or a month."""

from __future__ import annotations

import os
import time
from typing import TypedDict

from sojourn import logger, task, wait


class Order(TypedDict):
    """What is ordered: prices by item."""

    customer: str
    items: dict[str, float]


@task
def approval(order: Order) -> dict[str, object]:
    """Computes, waits for a decision, and goes on where it was: with its variables, in the same process."""
    total = sum(order["items"].values())
    started, number = time.time(), os.getpid()
    token = wait.create_token(timeout="30d", tags=[f"customer:{order['customer']}"])
    logger.info(f"{order['customer']} orders for {total:.2f}; approve by POST to the URL", token=token.id, url=token.url)

    decision = wait.for_token(token).unwrap()  # no process exists while nobody decides

    logger.info(f"decided after {time.time() - started:.0f} s, in process {os.getpid()}, as it was {number} before")
    return {"customer": order["customer"], "total": total, "approved": bool(decision["approved"]), "by": decision["by"]}
