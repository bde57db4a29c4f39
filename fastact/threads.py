"""How many threads, and where that number came from.

``FASTACT_NUM_THREADS``, then ``OMP_NUM_THREADS``, then the smaller of the CPU affinity and the cgroup's quota.  The
number is one for the process; small arrays never use more than the calling thread (see ``dispatch``), and a call that
finds another one working in parallel works serially (``src_cy/pool.h``).  The threads are fastact's own, or PyTorch's
where a program takes turns between both (``src_cy/borrowing.h``), unless ``set_thread_pool`` says otherwise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

from . import _core

#: Where the present number of threads came from, for ``fastact info``.
origin = ""


def cpus_allowed() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# os.path, not pathlib: importing that would be a fifth of what `import fastact` costs
def cgroup_quota(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> float:
    """CPUs that the cgroup's quota is worth, the smallest on the way to the root; infinite without one."""
    smallest = math.inf
    try:
        lines = _text_of(membership).splitlines()
    except OSError:
        return smallest
    for line in lines:
        number, controllers, path = line.split(":", 2)
        version_2 = number == "0" and not controllers
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        folder = os.fspath(root) if version_2 else os.path.join(root, "cpu")
        smallest = min(smallest, _quota_of(folder, version_2))
        for name in path.strip("/").split("/"):
            folder = os.path.join(folder, name)
            smallest = min(smallest, _quota_of(folder, version_2))
    return smallest


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _quota_of(folder: str, version_2: bool) -> float:
    try:
        if version_2:
            quota, period = _text_of(os.path.join(folder, "cpu.max")).split()
        else:
            names = [os.path.join(folder, f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            quota, period = (_text_of(name).strip() for name in names)
        return float(quota) / float(period) if quota not in ("max", "-1") else math.inf
    except (OSError, ValueError):
        return math.inf


def _checked(count: object, name: str) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1024:
        raise ValueError(f"{name}: got {count!r}; accepted: an integer from 1 to 1024")
    return count


def default_num_threads() -> tuple[int, str]:
    """The number of threads to start with, and where it came from."""
    own = os.environ.get("FASTACT_NUM_THREADS")
    if own is not None:
        return _checked(int(own) if own.strip().isdecimal() else own, "FASTACT_NUM_THREADS"), "FASTACT_NUM_THREADS"
    # OpenMP allows a list, one number for each level of nesting
    shared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if shared.isdecimal() and int(shared) > 0:
        return min(int(shared), 1024), "OMP_NUM_THREADS"
    allowed, quota = cpus_allowed(), cgroup_quota()
    if quota < allowed:
        return max(1, math.ceil(quota)), "cgroup quota"
    return min(allowed, 1024), "CPU affinity"


def get_num_threads() -> int:
    """Return the number of threads that large arrays are computed with.

    Returns
    -------
    int
        1 to 1024.

    Examples
    --------
    >>> import fastact
    >>> fastact.get_num_threads() >= 1
    True
    """
    return int(_core.get_thread_count())


def set_num_threads(count: int) -> None:
    """Set the number of threads that large arrays are computed with, for the whole process.

    Parameters
    ----------
    count : int
        1 to 1024.  1 never touches a thread.

    Raises
    ------
    ValueError
        If ``count`` is not such an integer.

    Examples
    --------
    >>> import fastact
    >>> before = fastact.get_num_threads()
    >>> fastact.set_num_threads(1)
    >>> fastact.get_num_threads()
    1
    >>> fastact.set_num_threads(before)
    """
    global origin
    _core.set_thread_count(_checked(count, "count") if _core.built_with_threads() else 1)
    origin = "set_num_threads" if _core.built_with_threads() else "built without threads"


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Use ``count`` threads inside a ``with`` block, for the whole process, and the former number after it.

    Parameters
    ----------
    count : int
        1 to 1024.

    Raises
    ------
    ValueError
        If ``count`` is not such an integer.

    Examples
    --------
    >>> import fastact
    >>> with fastact.num_threads(1):
    ...     fastact.get_num_threads()
    1
    """
    global origin
    before, before_origin = get_num_threads(), origin
    set_num_threads(count)
    try:
        yield
    finally:
        _core.set_thread_count(before)
        origin = before_origin


def get_thread_pool() -> str:
    """Return what ``set_thread_pool`` has chosen.

    Returns
    -------
    str
        ``'auto'``, ``'own'`` or ``'openmp'``.

    Examples
    --------
    >>> import fastact
    >>> fastact.get_thread_pool()
    'auto'
    """
    return str(_core.chosen_pool())


def set_thread_pool(name: str) -> None:
    """Choose whose threads share the work of large arrays with the calling one, for the whole process.

    Parameters
    ----------
    name : str
        ``'own'``: fastact's own workers.  They are never waited for before they have begun, so another process that
        takes a core costs little, and they survive every kind of fork.

        ``'openmp'``: the threads of the OpenMP runtime that another package has brought into the process, PyTorch's if
        it is imported.  PyTorch's threads keep their cores for milliseconds after each operator, and fastact's own
        would wait for them.  As in PyTorch, every Python thread that calls gets a team of its own, and a call waits
        for every thread of the team.  A forked child goes back to ``'own'``.

        ``'auto'``, the default: fastact's own, until they are not there when they should be, which is so in a program
        that takes turns between PyTorch's operators and fastact; then those of its runtime, for as long as they are
        there.  Without such a runtime in the process, and in a forked child, the same as ``'own'``.

    Raises
    ------
    ValueError
        If ``name`` is none of these, or if it is ``'openmp'`` and there is no such runtime in this process, or this
        process was forked.

    Examples
    --------
    >>> import fastact
    >>> fastact.set_thread_pool("own")
    >>> fastact.set_thread_pool("auto")
    """
    if name not in ("auto", "own", "openmp"):
        raise ValueError(f"name: got {name!r}; accepted: 'auto', 'own', 'openmp'")
    if not _core.choose_pool(name):
        raise ValueError(
            f"name: got {name!r}, and this process has no OpenMP runtime that could be used; accepted: 'auto', "
            "'own', and 'openmp' once a package that brings such a runtime (PyTorch, say) is imported, but not in a "
            "forked child"
        )


def pool_at_present() -> str:
    """Whose threads share the work at present: ``'own'`` or ``'openmp'``."""
    return "openmp" if _core.borrows_openmp() else "own"


def start() -> None:
    """Take the number of threads from the environment; the package calls it once."""
    global origin
    count, came_from = default_num_threads()
    set_num_threads(count)
    if _core.built_with_threads():
        origin = came_from
