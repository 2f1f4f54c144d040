"""Taking up the process of a run that was suspended: its image fetched and verified, restored stopped, claimed, let go on.

The claim is what makes it one: of two processes restored from one image only one is ever let go on.
"""

from __future__ import annotations

import base64
import os
import time

from sojourn.executor_shim.child import Child, environment_for
from sojourn.executor_shim.control import Refused
from sojourn.executor_shim.image_stream import Unreachable
from sojourn.executor_shim.want import is_want

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.control import Control
    from sojourn.executor_shim.events import Events
    from sojourn.executor_shim.housing import Housing
    from sojourn.executor_shim.settings import Settings


#: These say nothing about the image: the run goes to another node, or waits until there is room or a way to its image.
_OTHER_NODE, _NO_ROOM = "COULD_NOT_FIND_EXECUTOR", "TASK_EXECUTION_ABORTED"
#: What the control plane answers while it cannot reach the images.
_FOR_NOW = (408, 429, 500, 502, 503, 504)
#: Seconds between two tries to read an image.
_PAUSE = 1.0


class NotThawed(Exception):
    """No process came of it. `code` and text are for the run, which is tried again elsewhere.

    `may_pass`: what it was may be over in a moment.
    """

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code
        self.may_pass = code == _NO_ROOM


def restore(assignment: dict[str, Any], settings: Settings, housing: Housing, events: Events) -> Child:
    """The run's process, stopped. `NotThawed`."""
    from sojourn.executor_shim import freezing
    from sojourn.executor_shim.freezing import places
    from sojourn.executor_shim.freezing.errors import ThawFailed

    thaw = assignment["thaw"]
    reason = freezing.obstacle()
    if reason is not None:
        raise NotThawed(_OTHER_NODE, f"this node cannot thaw it: {reason}")
    criu = freezing.find_criu()
    own = freezing.node_type(criu or "")
    if own != thaw["nodeType"]:
        raise NotThawed(_OTHER_NODE, f"it was frozen on nodes of the type {thaw['nodeType']}, this is one of {own}")
    housing.ahead(environment_for(settings.executor))
    try:
        with places.workplace() as place:
            directory = os.path.join(place, "image")
            _fetch_patiently(assignment, settings, directory)
            return Child.thawed(events, settings.executor, housing.thaw, directory)
    except NotThawed:
        raise
    except ThawFailed as error:
        raise NotThawed(error.code, str(error)) from error
    except Refused as error:
        raise NotThawed("CHECKPOINT_INVALID" if error.status == 404 else "THAW_FAILED", f"its image: {error}") from error
    except OSError as error:
        code = _NO_ROOM if is_want(error) else "THAW_FAILED"
        raise NotThawed(code, f"{type(error).__name__}: {error}") from error
    except Exception as error:  # user code is behind much of an image: nothing in it is this executor's end
        raise NotThawed("THAW_FAILED", f"{type(error).__name__}: {error}") from error
    finally:
        housing.forget()


def _fetch_patiently(assignment: dict[str, Any], settings: Settings, directory: str) -> None:
    """A store, or a control plane, that is away for a while says nothing about the image. `NotThawed` when it stays so."""
    deadline = time.monotonic() + settings.lease / 2
    while True:
        try:
            return _fetch(assignment, settings, directory)
        except Unreachable as error:
            why: Exception = error
        except Refused as error:
            if error.status not in _FOR_NOW:
                raise
            why = error
        if time.monotonic() + _PAUSE > deadline:
            raise NotThawed(_NO_ROOM, f"its image cannot be had now: {why}") from why
        time.sleep(_PAUSE)


def _fetch(assignment: dict[str, Any], settings: Settings, directory: str) -> None:
    from sojourn.executor_shim.freezing import images
    from sojourn.executor_shim.image_stream import Download

    thaw = assignment["thaw"]
    path = f"/worker/v1/checkpoints/{thaw['checkpoint']}?run={assignment['run']['id']}"
    source = Download(settings.api_url, settings.credential, path, assignment["token"])
    try:
        images.unpack(source, directory, base64.b64decode(thaw["key"]), thaw["context"])
    finally:
        source.close()


def claim(control: Control, assignment: dict[str, Any], began: float, patience: float) -> dict[str, Any]:
    """`{work, done}`: the run goes on in the process that was restored. `Refused` (409), `OutOfTouch`: it must not."""
    body = {
        "run": assignment["run"]["id"],
        "snapshot": assignment["snapshot"],
        "token": assignment["token"],
        "thawMs": round((time.monotonic() - began) * 1000),
    }
    return control.thawed(body, patience)
