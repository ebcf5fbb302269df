"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parhelion.errors import WriteError


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `target`; rename it to `target` when the block ends well.

    Parameters
    ----------
    target
        The file to write. Its folder is made if needed.

    Yields
    ------
    Path
        Where to write. The suffix is that of `target`, since writers choose their format by it.

    Raises
    ------
    WriteError
        The folder or the file cannot be written (no permission, disk full). The temporary file is removed,
        and a file that stood at `target` before is left as it was.
    """
    path = Path(target)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # Readers inside the block report their own missing files as DataError; what is left here is the output.
        reason = os.strerror(error.errno) if error.errno else str(error)
        msg = f"{path}: cannot be written ({reason}); free space or choose another place, then run again"
        raise WriteError(msg) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
