"""Text that comes from outside - file names, labels, messages of other libraries - made safe to show."""

from __future__ import annotations

import re

# Control characters, which a terminal may obey, and those that change the order of what is read. U+2028 and U+2029 end
# a line. Characters that merely print as nothing, such as the joiners of emoji, stay.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_URL = re.compile(r"://\S+")
# What stands before the host in a URL; some programs take a password with an unquoted slash, so a colon that no port
# follows starts one, too.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^\s/?#]*|[^\s/:@]*:(?!\d*/)\S*)@")
_SECRET = re.compile(r"(?i)([?&][\w.-]*(?:password|passwd|secret|token|signature|credential|key)=)[^\s&#'\"]+")
# Where a spreadsheet may see a formula, also in full width; in many countries a semicolon starts a new cell.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff0b\uff0d\uff1d\uff20])")


def printable(text: object) -> str:
    """Text in one line without passwords, whose control characters are shown as escape sequences, such as `\\x1b`."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), without_passwords(str(text)))


def without_passwords(text: str) -> str:
    """Text whose URLs have no user, password or secret parameter."""
    return _URL.sub(lambda url: _SECRET.sub(r"\1***", _CREDENTIALS.sub("", url[0])), text)


def spreadsheet_cell(text: object) -> str:
    """Printable text with an apostrophe before what a spreadsheet might take for a formula."""
    return _FORMULA.sub(r"\1'", printable(text))
