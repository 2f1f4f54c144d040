"""What the engine refuses, each with a code that a caller can act on.

EngineError
├── RunNotFound            no such run in this environment
├── VersionNotFound        the version to lock to was never deployed here
├── RegionUnknown          the region that a run is to go to is not configured
├── NotReplayable          a run that calls another one's hooks is made by the platform alone
├── ParentIsOver           a child was triggered by a run that has ended
├── QueueFull              the organization has as many runs as may be
├── BatchRateReached       an environment's batches have as many items as they may for now
├── QueueNotFound          no such queue in this environment
├── LimitTooHigh           a queue was to have a higher limit than its environment
├── NotOverridden          a queue's limit is the declared one already
├── TooManyKeyLimits       as many keys of a queue have limits of their own as may
├── NotDelayed             a run that was to start at another time waits for none
├── MetadataInvalid        an operation does not fit a run's metadata
├── MetadataTooLarge       a run's metadata would be larger than it may
├── TooManyTags            a run would have more tags than it may
├── BulkActionNotFound     no such bulk action in this environment
├── BulkActionOver         a bulk action that was to be aborted is complete
├── TooManyBulkActions     as many bulk actions are under way as may
├── VariableNotFound       no such variable in this environment
├── VariableInvalid        a variable's name or value cannot be used
├── TooManyVariables       the environment would have more, or larger, variables than it may
├── DeploymentNotFound     no such version in this environment
├── DeploymentOlder        an older version than the current one was to take its place
├── KeyNotHeld             no run of that task holds that idempotency key
├── ManifestInvalid        a deployment's manifest cannot be used
├── ArchiveInvalid         a deployment's archive is not what its hash says
├── CredentialRefused      an executor's credential or a run's token is not valid
├── IdentityRefused        what an allocation shows proves nothing
├── KeyUnknown             the key that signed an identity is not known here yet
├── PlacementOver          nobody expects that allocation, or not any more
├── FreezingOff            the run's process is not to be frozen
├── CheckpointNotFound     no such checkpoint of this executor's
├── WaitpointNotFound      no such token in this environment
├── BatchNotFound          no such batch in this environment
├── BatchOver              the batch was given up, or its items were not sent in time
├── BatchDiffers           the batch that has the key has another number of items, and is not whole
├── BatchItemInvalid       the batch has no place for such an item
├── CallbackRefused        a callback URL's hash is not its token's
├── ScheduleNotFound       no such schedule in this environment
├── ScheduleInvalid        a schedule's task, times or span cannot be used
├── ScheduleDeclared       deployed code declares that schedule, and alone changes it
├── PacketMissing         there is nothing where a payload is said to be
├── PacketsUnavailable    the object store does not take, or give, a payload now
├── GrantRefused          an object's address is not valid, or not any more
├── ApiKeyNotFound         no such secret key of this environment
├── ApiKeyOver             a secret key that was replaced or revoked is to be replaced
├── RootKeyStays           the root key is to be revoked
├── TooManyApiKeys         the environment has as many secret keys as it may
├── ScopesExceeded         somebody would hand on more than they have
├── PublicTokenRefused     a public token is not valid
├── PublicTokenSpent       a public token that works once was used
├── WebhookNotFound        no such webhook in this environment
├── WebhookInvalid         a webhook's address cannot be used
├── DeliveryNotFound       no such message to that webhook
├── ImagesUnavailable      the object store does not take, or give, an image now
└── Stale                  the run has moved on; the caller must drop it
"""

from __future__ import annotations

from collections.abc import Sequence

from sojourn.control_plane.domain.allowance import Allowance


class EngineError(Exception):
    """The request cannot be carried out."""

    code = "ENGINE_ERROR"

    def __init__(self, message: str | None = None, *, field: str | None = None, next_step: str | None = None):
        super().__init__(message or self.__doc__)
        self.message = message or self.__doc__ or ""
        self.field = field
        self.next_step = next_step


class RunNotFound(EngineError):
    """There is no such run in this environment."""

    code = "RUN_NOT_FOUND"


class VersionNotFound(EngineError):
    """That version was never deployed to this environment."""

    code = "VERSION_NOT_FOUND"


class RegionUnknown(EngineError):
    """There is no such region."""

    code = "REGION_UNKNOWN"


class NotReplayable(EngineError):
    """The run calls the hooks of another one, and is made by the platform alone."""

    code = "RUN_NOT_REPLAYABLE"


class ParentIsOver(EngineError):
    """The run that triggers this one has ended."""

    code = "PARENT_IS_OVER"


class QueueFull(EngineError):
    """The organization has as many runs as may be: waiting, running, or still to come with batches."""

    code = "QUEUE_FULL"


class BatchRateReached(EngineError):
    """As many items are in batches as may be for now. `allowance`, and what is left of it; `reset`: when there is room, in
    ms since the epoch, which is `wait_ms` from now.
    """

    code = "BATCH_RATE_LIMITED"

    def __init__(self, allowance: Allowance, remaining: int, reset: int, wait_ms: int):
        super().__init__("As many items are in batches as may be for now.")
        self.allowance, self.remaining, self.reset, self.wait_ms = allowance, remaining, reset, wait_ms


class QueueNotFound(EngineError):
    """There is no such queue in this environment."""

    code = "QUEUE_NOT_FOUND"


class LimitTooHigh(EngineError):
    """The environment's limit is lower."""

    code = "QUEUE_LIMIT_TOO_HIGH"


class NotOverridden(EngineError):
    """The queue's limit is the declared one."""

    code = "QUEUE_NOT_OVERRIDDEN"


class TooManyKeyLimits(EngineError):
    """As many concurrency keys of the queue have a limit or a rate of their own as may."""

    code = "TOO_MANY_KEY_LIMITS"


class NotDelayed(EngineError):
    """The run does not wait for a date."""

    code = "RUN_NOT_DELAYED"


class MetadataInvalid(EngineError):
    """The operation does not fit the metadata."""

    code = "METADATA_INVALID"


class MetadataTooLarge(EngineError):
    """The metadata is too large."""

    code = "METADATA_TOO_LARGE"


class TooManyTags(EngineError):
    """There are too many tags."""

    code = "TOO_MANY_TAGS"


class KeyNotHeld(EngineError):
    """No run of that task holds the idempotency key."""

    code = "IDEMPOTENCY_KEY_NOT_FOUND"


class ManifestInvalid(EngineError):
    """The manifest cannot be used."""

    code = "MANIFEST_INVALID"


class ArchiveInvalid(EngineError):
    """The archive is not what its hash says."""

    code = "ARCHIVE_INVALID"


class CredentialRefused(EngineError):
    """The credential is not valid."""

    code = "CREDENTIAL_REFUSED"


class IdentityRefused(EngineError):
    """The workload identity is not valid."""

    code = "IDENTITY_REFUSED"


class KeyUnknown(EngineError):
    """The key that signed the workload identity is not known yet."""

    code = "KEY_UNKNOWN"


class PlacementOver(EngineError):
    """No executor is expected of this allocation, or not any more."""

    code = "PLACEMENT_OVER"


class FreezingOff(EngineError):
    """Runs of this task are not frozen."""

    code = "FREEZING_OFF"


class CheckpointNotFound(EngineError):
    """There is no such checkpoint for this executor."""

    code = "CHECKPOINT_NOT_FOUND"


class WaitpointNotFound(EngineError):
    """There is no such token in this environment."""

    code = "WAITPOINT_NOT_FOUND"


class BatchNotFound(EngineError):
    """There is no such batch in this environment."""

    code = "BATCH_NOT_FOUND"


class BatchOver(EngineError):
    """The batch was given up: its items were not sent in time."""

    code = "BATCH_OVER"


class BatchDiffers(EngineError):
    """The batch that has this idempotency key has another number of items, and is not whole."""

    code = "BATCH_DIFFERS"


class BatchItemInvalid(EngineError):
    """The batch has no place for such an item."""

    code = "BATCH_ITEM_INVALID"


class CallbackRefused(EngineError):
    """The callback's address is not valid."""

    code = "CALLBACK_REFUSED"


class ScheduleNotFound(EngineError):
    """There is no such schedule in this environment."""

    code = "SCHEDULE_NOT_FOUND"


class ScheduleInvalid(EngineError):
    """The schedule cannot be used as it is asked for."""

    code = "SCHEDULE_INVALID"


class ScheduleDeclared(EngineError):
    """The schedule is declared by deployed code."""

    code = "SCHEDULE_DECLARED"


class ApiKeyNotFound(EngineError):
    """There is no such secret key of this environment."""

    code = "API_KEY_NOT_FOUND"


class ApiKeyOver(EngineError):
    """The secret key was replaced or revoked."""

    code = "API_KEY_OVER"


class RootKeyStays(EngineError):
    """An environment always has a root key."""

    code = "ROOT_KEY_STAYS"


class TooManyApiKeys(EngineError):
    """The environment has as many secret keys as it may."""

    code = "TOO_MANY_API_KEYS"


class ScopesExceeded(EngineError):
    """The scopes are more than the caller's own key has. `denied`: those that it lacks."""

    code = "SCOPES_EXCEEDED"

    def __init__(self, denied: Sequence[str]):
        super().__init__(field="scopes")
        self.denied = tuple(denied)


class PublicTokenRefused(EngineError):
    """The public token is not valid."""

    code = "PUBLIC_TOKEN_REFUSED"


class PublicTokenSpent(EngineError):
    """The public token works once, and was used."""

    code = "PUBLIC_TOKEN_SPENT"


class WebhookNotFound(EngineError):
    """There is no such webhook in this environment."""

    code = "WEBHOOK_NOT_FOUND"


class WebhookInvalid(EngineError):
    """The webhook cannot be used as it is asked for."""

    code = "WEBHOOK_INVALID"


class DeliveryNotFound(EngineError):
    """There is no such message to this webhook."""

    code = "DELIVERY_NOT_FOUND"


class ImagesUnavailable(EngineError):
    """The object store does not answer."""

    code = "IMAGES_UNAVAILABLE"


class PacketMissing(EngineError):
    """There is nothing where the payload is said to be."""

    code = "PACKET_NOT_FOUND"


class PacketsUnavailable(EngineError):
    """The object store does not answer."""

    code = "PACKETS_UNAVAILABLE"


class GrantRefused(EngineError):
    """The address is not valid, or not any more."""

    code = "GRANT_REFUSED"


class Stale(EngineError):
    """The run has moved on without this executor."""

    code = "STALE"


class BulkActionNotFound(EngineError):
    """There is no such bulk action in this environment."""

    code = "BULK_ACTION_NOT_FOUND"


class BulkActionOver(EngineError):
    """The bulk action is complete."""

    code = "BULK_ACTION_OVER"


class TooManyBulkActions(EngineError):
    """As many bulk actions are under way as may."""

    code = "TOO_MANY_BULK_ACTIONS"


class VariableNotFound(EngineError):
    """There is no such variable in this environment."""

    code = "VARIABLE_NOT_FOUND"


class VariableInvalid(EngineError):
    """The variable cannot be set."""

    code = "VARIABLE_INVALID"


class TooManyVariables(EngineError):
    """The environment would have more variables than it may."""

    code = "TOO_MANY_VARIABLES"


class DeploymentNotFound(EngineError):
    """There is no such version in this environment."""

    code = "DEPLOYMENT_NOT_FOUND"


class DeploymentOlder(EngineError):
    """The version is older than the current one."""

    code = "DEPLOYMENT_OLDER"
