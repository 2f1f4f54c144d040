"""Where this executor's user processes live: in a sandbox or as plain children. Decided by the first, for good."""

from __future__ import annotations

import errno

from sojourn.executor_shim.plain import PlainProcess, adopt_orphans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.executor_shim.child import Process
    from sojourn.executor_shim.sandbox.keeper import Keeper, SandboxFailed
    from sojourn.executor_shim.sandbox.options import Options, Plan
    from sojourn.executor_shim.settings import Settings

#: What a node cannot do, as against what it cannot do now: only for these does `auto` go without.
_INCAPABLE = frozenset({
    errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP, errno.EROFS,
    errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT,
})  # fmt: skip

#: Drivers that isolate a task from the node by themselves.
_ISOLATING = ("exec", "docker")
_NOBODY = 65_534
#: Seconds that criu usually has to restore a process.
_THAW_TIME = 30.0


class Housing:
    """`keeper` is None where this process has no privileges. `note` takes a line for the executor's log."""

    def __init__(self, settings: Settings, keeper: Keeper | None, note: Callable[[str], None]):
        self._settings = settings
        self._keeper = keeper
        self._note = note
        self._tree = ""
        self._is_decided = False
        self._options: Options | None = None
        adopt_orphans()

    def decide(self) -> None:
        """Reads what is wanted; `ValueError` for options that cannot be used, `PermissionError` for what cannot be."""
        if self._settings.sandbox == "off":
            self._go_without(None)
            return
        from sojourn.executor_shim.sandbox.options import AUTO, OFF, Options

        self._options = Options.read(self._settings.sandbox)
        if self._options.mode == OFF:
            self._go_without(None)
        elif self._keeper is None:
            if self._options.mode != AUTO:
                raise PermissionError(errno.EPERM, "a sandbox needs a shim that runs as root")
            self._go_without("the shim does not run as root")

    @property
    def is_sandboxed(self) -> bool:
        """Whether processes are to live in a sandbox, or in none at all."""
        return self._options is not None

    @property
    def options(self) -> Options | None:
        """What is wanted of sandboxes; None where there are none."""
        return self._options

    @property
    def isolation(self) -> str:
        """What user code is kept in, once the first process was started: ours, a driver's of its own, or nothing."""
        if self._options is None:
            return self._settings.driver if self._settings.driver in _ISOLATING else "none"
        return "sandbox-host-network" if self._options.network == "host" else "sandbox"

    def see(self, tree: str) -> None:
        """The directory of the version that processes are to run."""
        self._tree = tree

    def start(self, program: list[str], environment: dict[str, str], pipes: dict[int, int]) -> Process:
        """Starts a user's process; `OSError` if it cannot be."""
        options = self._options
        if options is None or self._keeper is None:
            return PlainProcess(program, environment, pipes)
        from sojourn.executor_shim.sandbox.keeper import SandboxFailed

        try:
            process = self._start_inside(program, environment, pipes)
        except SandboxFailed as failed:
            if self._is_decided or not self._weaken(options, failed):
                raise
            return self.start(program, environment, pipes)
        self._is_decided = True
        return process

    def ahead(self, environment: dict[str, str]) -> None:
        """Begins to make the sandbox for a process that will be thawed, while its image is on its way.

        What is told of this executor's sandbox holds from now on: it cannot become a lesser one.
        """
        if self._options is None or self._keeper is None:
            return
        from sojourn.executor_shim.freezing import identity

        self._is_decided = True
        self._keeper.ahead(self._plan(environment), identity.room(set(), identity.most_numbers()))

    def forget(self) -> None:
        """Ends a sandbox that was begun ahead and that no process came into."""
        if self._keeper is not None:
            self._keeper.forget()

    def thaw(
        self,
        environment: dict[str, str],
        pipes: dict[int, int],
        image: str,
        criu: str | None = None,
        verified: Callable[[], None] | None = None,
    ) -> Process:
        """The process of an image's directory in a fresh sandbox, stopped. `ThawFailed`, or `OSError`.

        `verified`: see `SandboxedProcess.thawed`.
        """
        from sojourn.executor_shim import freezing
        from sojourn.executor_shim.freezing.errors import ThawFailed

        criu = criu or freezing.find_criu()
        if self._options is None or self._keeper is None:
            raise ThawFailed("this executor makes no sandboxes")
        if criu is None:
            raise ThawFailed("this node has no criu")
        from sojourn.executor_shim.sandbox.process import SandboxedProcess

        seconds = freezing.patience(_THAW_TIME)
        process = SandboxedProcess.thawed(
            self._keeper, self._plan(environment), pipes, image, criu, seconds, verified=verified
        )
        self._is_decided = True
        return process

    def close(self) -> None:
        """Ends what makes sandboxes."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def _weaken(self, options: Options, failed: SandboxFailed) -> bool:
        """Whether the first sandbox, which could not be made, may be a lesser one.

        No user code has run in this executor yet. What others may have brought about, such as want of memory, is never
        a reason.
        """
        from sojourn.executor_shim.sandbox.options import AUTO, FILTERED, HOST

        if options.mode != AUTO:
            return False
        if failed.kind == "NoFilter" and options.network == FILTERED:
            self._note(f"the sandbox shares the node's network: {failed.strerror}")
            self._options = options._replace(network=HOST)
            return True
        if failed.errno in _INCAPABLE:
            self._go_without(str(failed.strerror))
            return True
        return False

    def _go_without(self, why: str | None) -> None:
        if why is not None:
            self._note(f"tasks run without a sandbox: {why}")
        self._options, self._is_decided = None, True
        self.close()
        if self._settings.driver in _ISOLATING:
            from sojourn.executor_shim.sandbox.privileges import renounce

            # Nomad gives even nobody capabilities under exec, by which files that are links to the node's can be written.
            renounce(_NOBODY if self._settings.driver == "exec" else None)

    def _start_inside(self, program: list[str], environment: dict[str, str], pipes: dict[int, int]) -> Process:
        from sojourn.executor_shim.sandbox.process import SandboxedProcess

        assert self._keeper is not None
        process = SandboxedProcess(self._keeper, self._plan(environment), [*program, "1"], pipes)
        if not self._is_decided and process.missing:
            missing = "; ".join(f"{name} ({why})" for name, why in sorted(process.missing.items()))
            self._note(f"the sandbox has no control group for {missing}")
        return process

    def _plan(self, environment: dict[str, str]) -> Plan:
        from sojourn.executor_shim.sandbox.options import Plan, api_target
        from sojourn.executor_shim.sandbox.paths import needed_paths

        assert self._options is not None
        return Plan(
            self._options,
            self._settings.executor,
            (self._tree, *needed_paths(environment)) if self._tree else needed_paths(environment),
            api_target(self._settings.api_url),
            environment,
        )
