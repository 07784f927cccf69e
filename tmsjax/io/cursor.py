"""A .msh file read from front to back: lines of text, and numbers in text or in binary."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from tmsjax.core.errors import InputError

MOST = 10_000
"""Strings or tags that a data section may announce; files have one to four."""

KINDS = {"int": "i4", "float": "f8"}


def is_whole(text: str) -> bool:
    """Whether ``int`` reads a number, 0 or more, from this text; "²" is a digit too, but no number."""
    return text.isascii() and text.isdecimal()


class Cursor:
    """Where the reading of a file stands. ``take`` gives numbers, whichever way the file holds them.

    In a text file the numbers of a section are parsed at once, from the place where ``numbers`` is called to its $End.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.place, self.section = path, 0, ""
        try:
            self.data = path.read_bytes()
        except FileNotFoundError as error:
            raise InputError("there is no such mesh", got=str(path), expected="the path of a .msh file") from error
        except OSError as error:
            raise InputError(
                "the mesh cannot be read", got=str(error), expected="a .msh file that may be read"
            ) from error
        self.binary, self.order, self.size = False, "<", "u8"
        self._flat, self._next = np.zeros(0), 0

    def fail(self, reason: str, expected: str, mend: str = "") -> InputError:
        """An error that says where in the file it is."""
        where = f"{self.path.name}, ${self.section}" if self.section else self.path.name
        return InputError("the mesh file is malformed", got=f"{where}: {reason}", expected=expected, mend=mend)

    def cut_off(self) -> InputError:
        """The file ends too early."""
        return self.fail("it ends in the middle", "a whole file", "it may be cut off: copy or write it again")

    def line(self) -> str | None:
        """The next line that is not empty, or None at the end."""
        while self.place < len(self.data):
            end = self.data.find(b"\n", self.place)
            end = len(self.data) if end < 0 else end
            text = self.data[self.place : min(end, self.place + 1000)].strip()
            self.place = end + 1
            if text:
                return text.decode("utf-8", "replace")
        return None

    def whole(self, what: str) -> int:
        """A whole number, 0 or more, on a line of its own."""
        text = self.text()
        if not is_whole(text):
            raise self.fail(f"{text[:60]!r}", f"{what}, a whole number")
        return int(text)

    def texts(self, what: str) -> list[str]:
        """As many lines as the line before them says."""
        count = self.whole(what)
        if count > MOST:
            raise self.fail(f"{count} lines", f"{what}, a few")
        return [self.text() for _ in range(count)]

    def text(self) -> str:
        """The next line that is not empty; an error at the end."""
        text = self.line()
        if text is None:
            raise self.cut_off()
        return text

    def open(self) -> str | None:
        """Go to the next section: its name, or None where there is none."""
        self.section = ""
        text = self.line()
        if text is None:
            return None
        if not text.startswith("$") or text.startswith("$End"):
            raise self.fail(f"{text[:60]!r}", "$ and the name of a section")
        self.section = next(iter(text[1:].split()), "")
        return self.section

    def numbers(self) -> None:
        """From here to the section's end there are numbers only."""
        if self.binary:
            return
        end = self.data.find(b"$End", self.place)
        if end < 0:
            raise self.cut_off()
        text = self.data[self.place : end].strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                # Of an empty text NumPy makes one number.
                self._flat = np.fromstring(text, sep=" ") if text else np.zeros(0)  # type: ignore[call-overload]
        except (ValueError, DeprecationWarning) as error:
            raise self.fail("something between the numbers that is no number", "numbers") from error
        self._next, self.place = 0, end

    def take(self, kind: str, count: int) -> np.ndarray:
        """The next ``count`` numbers as int64 or float64; ``kind`` is "int" (4 bytes), "size" (8) or "float" (8)."""
        if not self.binary:
            found = self._flat[self._next : self._next + count]
            if not 0 <= count == len(found):
                raise self.cut_off()
            self._next += count
            return found if kind == "float" else self._whole(found)
        dtype = np.dtype(self.order + (self.size if kind == "size" else KINDS[kind]))
        found = self.peek(dtype, count)
        self.place += found.nbytes
        return found.astype(np.float64 if kind == "float" else np.int64)

    def peek(self, dtype: np.dtype, count: int) -> np.ndarray:
        """The next ``count`` items of a binary file, without a copy and without going on."""
        if count < 0 or self.place > len(self.data) or count * dtype.itemsize > len(self.data) - self.place:
            raise self.cut_off()
        return np.frombuffer(self.data, dtype, count, self.place)

    def rows(self, floats: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The next ``count`` rows of one "int" and some floats: numbers (count,) and values (count, floats)."""
        if not self.binary:
            table = self.take("float", count * (1 + floats)).reshape(count, 1 + floats)
            return self._whole(table[:, 0]), table[:, 1:]
        dtype = np.dtype([("number", self.order + "i4"), ("value", self.order + "f8", (floats,))])
        table = self.peek(dtype, count)
        self.place += table.nbytes
        return table["number"].astype(np.int64), table["value"].astype(np.float64)

    def remaining(self) -> np.ndarray:
        """All whole numbers that are left: of the section in a text file, of the file (int32) in a binary one."""
        if not self.binary:
            return self._whole(self._flat[self._next :])
        dtype = np.dtype(self.order + "i4")
        return self.peek(dtype, (len(self.data) - self.place) // dtype.itemsize)

    def skip(self, count: int) -> None:
        """Go on by ``count`` of ``remaining``'s numbers."""
        if self.binary:
            self.place += 4 * count
        else:
            self._next += count

    def close(self) -> None:
        """The section must end here."""
        if not self.binary and self._next < len(self._flat):
            raise self.fail(
                f"{len(self._flat) - self._next} numbers too many", f"$End{self.section} after those announced"
            )
        text = self.line()
        if text is None:
            raise self.cut_off()
        if text != f"$End{self.section}":
            raise self.fail(f"{text[:60]!r}", f"$End{self.section} after the entries announced")
        self._flat, self._next = np.zeros(0), 0

    def pass_over(self) -> None:
        """Leave out the rest of this section."""
        end = self.data.find(f"$End{self.section}".encode(), self.place)
        if end < 0:
            raise self.cut_off()
        self.place = end
        self.close()

    def _whole(self, values: np.ndarray) -> np.ndarray:
        found = np.rint(values)
        if not ((found == values) & (np.abs(found) < 2**53)).all():
            raise self.fail("a number that is not whole", "whole numbers for numbers, tags and counts")
        return found.astype(np.int64)
