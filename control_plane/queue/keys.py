"""Every Redis key, with what it holds. Scripts build the keys of one organization from its prefix, which is their KEYS[1].

All keys of an organization carry its hash tag, so that they live on one shard and one script may touch them all.

Under the prefix `sojourn:{<organization>}:`
    ready                  set once the organization's state is complete; without it every script answers NOTREADY
    items          hash    run -> its place, as JSON: [environment, lane, queue, key, score]
    leaf:<leaf>    zset    waiting runs of one concurrency key in one lane; score = queued at (ms) - priority (ms)
    ring:<node>    zset    children of a node that can serve now; score = virtual time
    held:<node>    zset    children with work that a limit or a pause holds back; score = virtual time
    rest:<node>    zset    children without work whose virtual time is still ahead of the node's clock
    clocks         hash    node -> virtual time at which a child enters: the lowest of those that keep up
    lanes:<env>/<queue>    set of the lanes in which a queue has work
    waiting        hash    <env>/<queue> -> how many runs wait in its leaves, for queues with work
    counting       hash    of the queue that is counted in portions: #queue, #runs so far, #sets still to be read, #cursor
                           in the first; and <leaf> -> 1 for each that was counted; it lapses where nobody goes on
    counted:<env>/<queue>  set for a while after that, if its count was right
    inflight       zset    dequeued runs; score = when the lease lapses (ms)
    slots:org, slots:e:<env>, slots:q:<env>/<queue>, slots:k:<env>/<queue>/<key>     sets of the runs that hold a slot
    turns          hash    given, followed -> the last turn to read the limits, and the one that those here were read in
    limits         hash    org, e:<env>, b:<env> (without burst), q:<env>/<queue> (of each key), k:<env>/<queue>/<key>
                           -> limit; w:... -> weight; digest;
                           rq:<env>/<queue>, rk:... (of each key), rk:<env>/<queue>/<key>
                           -> rate, as "<ms between starts> <burst>"
    paces          zset    <rate> q:<env>/<queue>, <rate> k:<env>/<queue>/<key>; score = when the next start is due at an
                           even rate (ms); what is past is removed with the next start, or by itself later
    opening        zset    [environment, queue, key] as JSON; score = when a rate that shuts it is looked at again (ms)
    idle:<lane>    zset    executors that wait for a run; score = until when (ms)
    idlers         hash    executor -> [name of its poll, the lanes it waits in], as JSON

Nodes: `root`, an environment, a lane, `<lane>/<queue>`; a leaf is `<lane>/<queue>/<key>`. Queue names and keys are
arbitrary text: inside a key each is written as `<length>:<text>`, so that no two places share a key.
"""

from __future__ import annotations

#: Which organizations have runs that could start now; score = virtual time. May lag: it is checked again inside.
ORGANIZATIONS = "sojourn:orgs"
#: Organizations that left the index with their virtual time ahead of the clock.
ORGANIZATIONS_AT_REST = "sojourn:orgs:rest"
#: Virtual time at which an organization enters: the lowest of those that keep up.
ORGANIZATIONS_CLOCK = "sojourn:orgs:clock"
#: What a script over the index begins with.
INDEX = (ORGANIZATIONS, ORGANIZATIONS_AT_REST, ORGANIZATIONS_CLOCK)
#: organization -> weight, for those that differ from 1.
ORGANIZATIONS_WEIGHTS = "sojourn:orgs:weights"


def prefix(organization: str) -> str:
    """What all keys of an organization begin with."""
    return f"sojourn:{{{organization}}}:"


def wake(service: str) -> str:
    """A list with at most one element: somebody wants this scheduler service to look."""
    return f"sojourn:wake:{service}"


def offer(name: str) -> str:
    """A counter of things to be taken, which lapses by itself."""
    return f"sojourn:offer:{name}"


def bucket(name: str) -> str:
    """A text that lapses by itself: when, in ms, the bucket of whoever calls the API is full again."""
    return f"sojourn:calls:{name}"


def run_channel(organization: str, run: str) -> str:
    """Where it is published that something happened to a run."""
    return f"sojourn:{{{organization}}}:run:{run}"


def executor_channel(organization: str, executor: str) -> str:
    """Where an idle executor is told of the run that it was handed."""
    return f"sojourn:{{{organization}}}:executor:{executor}"


def within(parent: str, name: str) -> str:
    """How a queue is named within its environment or its lane: its length first, so that no two places share a key."""
    return f"{parent}/{len(name.encode())}:{name}"
