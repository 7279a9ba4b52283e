"""A file of fitted images for those that do not fit into memory: each is decoded once, then read from disk.

The file has no name: it vanishes with the process, however that ends. It takes `count * side^2 * 3`
bytes at most, and only those of the images that were used. It is read and written by system calls: the
memory is the page cache's, which the system takes back at need, and a full disk is an error of
one write, which ends the caching and nothing else (in a memory map it would end the process).
"""

import logging
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np

_LOGGER = logging.getLogger(__name__)
_MOST_OF_FREE = 0.5  # of the disk


class CanvasFile:
    """Images `[side, side, 3]` uint8 by number, in a file without a name.

    Args:
      folder: on the disk to use; it exists.
      count: of images.
      side: of an image in pixels.

    Raises:
      OSError: if the file cannot be made.
    """

    def __init__(self, folder: Path, count: int, side: int):
        self._bytes = side * side * 3
        self._file, name = tempfile.mkstemp(dir=folder)
        weakref.finalize(self, os.close, self._file)
        os.unlink(name)
        os.ftruncate(self._file, count * self._bytes)  # a hole: blocks are taken when written
        self._side = side
        self._is_there = np.zeros(count, bool)
        self._is_open = True
        self._lock = threading.Lock()

    @staticmethod
    def has_room(folder: Path, size: int) -> bool:
        """Returns whether a file of `size` bytes takes at most half of what is free on a folder's disk."""
        try:
            return size <= _MOST_OF_FREE * shutil.disk_usage(folder).free
        except OSError:
            return False

    def read(self, number: int, image: np.ndarray) -> bool:
        """Reads an image into `image`, contiguous; false if it is not there. Safe in several threads."""
        if not self._is_there[number]:
            return False
        view, done = image.reshape(-1).data, 0
        while done < self._bytes:
            done += os.preadv(self._file, [view[done:]], number * self._bytes + done)
        return True

    def write(self, number: int, image: np.ndarray) -> None:
        """Keeps an image, unless the disk is full. Safe in several threads."""
        if not self._is_open or self._is_there[number]:
            return
        image = np.ascontiguousarray(image)
        try:
            view = image.reshape(-1).data
            done = 0
            while done < self._bytes:
                done += os.pwrite(self._file, view[done:], number * self._bytes + done)
            self._is_there[number] = True
        except OSError as error:
            with self._lock:
                if self._is_open:
                    self._is_open = False
                    message = (
                        "The disk of decoded images is full (%s): what is not there is decoded at each use"
                    )
                    _LOGGER.warning(message, error.strerror)
