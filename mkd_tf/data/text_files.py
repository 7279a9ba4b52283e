"""Reads text files of any system: UTF-8 with or without a mark, and the UTF-16 of Windows' "Unicode"."""

import codecs
import os
from pathlib import Path

from mkd_tf.file_limits import check_text

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def encoding_of(content: bytes) -> tuple[str, int]:
    """Returns the encoding that the first bytes of a file say, UTF-8 if none, and the length of its mark.

    Example:
      >>> encoding_of("cat".encode("utf-16-le")), encoding_of(codecs.BOM_UTF16_LE + b"c\\0")
      (('utf-8', 0), ('utf-16-le', 2))
    """
    return next(
        ((name, len(mark)) for mark, name in _MARKS.items() if content.startswith(mark)), ("utf-8", 0)
    )


def decoded(content: bytes, errors: str = "strict") -> str:
    """Returns the text of a file's bytes, without its mark.

    Args:
      content: the bytes.
      errors: `strict`, or `replace` for bytes that are no text.

    Raises:
      UnicodeDecodeError: if they are no text in the encoding that their mark says, else in UTF-8.
    """
    encoding, length = encoding_of(content)
    return content[length:].decode(encoding, errors)


def xml_fault(path: Path, error: Exception) -> str:
    """Returns why a file cannot be read as XML: its encoding, where that is the reason."""
    try:
        read_text(path)
    except UnicodeDecodeError:
        return f"{error}; it is no text in UTF-8, so its first line has to name its encoding"
    except OSError:
        pass
    return str(error)


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """Returns the text of a file, as `decoded`; line ends are those of the file.

    Raises:
      OSError: if it cannot be read.
      MkdError: if it is larger than `--limits` allow.
      UnicodeDecodeError: as `decoded`.
    """
    return decoded(check_text(path).read_bytes(), errors)
