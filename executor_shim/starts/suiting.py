"""Whether a process that was imported without variables is as one that was imported with them. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Names that libraries ask the C library for when they are loaded, which nobody sees: beginnings, and whole ones.
_NATIVE = (
    # threads and arithmetic
    "OMP_", "GOMP_", "KMP_", "OMPI_", "MKL_", "MKLDNN_", "DNNL_", "ONEDNN_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_",
    "NUMEXPR_", "NPY_", "TBB_", "RAYON_", "POLARS_", "TOKIO_", "ARROW_", "OPENCV_", "HDF5_", "GDAL_", "PROJ_",
    # accelerators and what computes on them
    "CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "UCX_", "HIP_", "HSA_", "ROCM_", "ROCR_", "ATEN_", "TORCH_",
    "PYTORCH_", "TF_", "XLA_", "JAX_", "ORT_",
    # the C library, the interpreter, other languages' runtimes, connections
    "MALLOC_", "MIMALLOC_", "JEMALLOC_", "TCMALLOC_", "LD_", "GLIBC_", "PYTHON", "LC_", "RUST_", "GRPC_", "SSL_",
    "OPENSSL_",
)  # fmt: skip
_NATIVE_NAMES = frozenset({
    "LANG", "LANGUAGE", "TZ", "TZDIR", "TMPDIR", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES", "GCONV_PATH", "NLSPATH",
    "GODEBUG", "GOGC", "GOMAXPROCS", "GOTRACEBACK",
})  # fmt: skip
#: What each process is told of itself, beside the variables.
_OWN = frozenset({"SOJOURN_API_URL", "SOJOURN_SECRET_KEY", "SOJOURN_EXECUTOR"})
#: More names than an import looks up, and longer ones than a variable has.
_MOST, _LONGEST = 4_096, 255


def suits(variables: Iterable[str], looked: list[str] | None) -> bool:
    """Whether a run with variables of these names may have a process whose import looked up those: None, perhaps all."""
    names = set(variables)
    if looked is None:
        return not names
    return (names | _OWN).isdisjoint(looked) and not any(map(_is_native, names))


def names_of(told: Any) -> list[str] | None:
    """What a user's process says that it looked up; nonsense counts as all."""
    if not isinstance(told, list) or len(told) > _MOST:
        return None
    return told if all(isinstance(name, str) and len(name) <= _LONGEST for name in told) else None


def _is_native(name: str) -> bool:
    return name in _NATIVE_NAMES or name.startswith(_NATIVE)
