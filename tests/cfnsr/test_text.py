"""Foreign text: escape sequences, formulas of spreadsheets and passwords."""

import pickle

import pytest

from cfnsr.errors import ClipError, InputError
from cfnsr.text import printable, spreadsheet_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07\x1b[2J.mp4", r"\x1b]0;owned\x07\x1b[2J.mp4"),
        ("a\nerror: b\r\tc", r"a\nerror: b\r\tc"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("gpj.\u202e4pm", r"gpj.\u202e4pm"),
        ("two\u2028lines", r"two\u2028lines"),
        ("Grüße 漢字 👩\u200d🦰 3.00\u202fPM.mp4", "Grüße 漢字 👩\u200d🦰 3.00\u202fPM.mp4"),
        ("caf\udce9.mp4", "caf\udce9.mp4"),  # not UTF-8; the streams escape it
    ],
)
def test_control_characters_are_shown(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@mlflow:5000/#/models", "http://mlflow:5000/#/models"),
        ("'https://token@host', see http://host/a@b", "'https://host', see http://host/a@b"),
        ("postgresql+psycopg://me:se/cr?et@db/studies", "postgresql+psycopg://db/studies"),
        ("postgresql://me:p@ss@db:5432/studies", "postgresql://db:5432/studies"),
        ("ssh://me:secret@host/dvc and s3://bucket/models@1", "ssh://host/dvc and s3://bucket/models@1"),
        ("http://host:5000/models/cfn-sr@champion", "http://host:5000/models/cfn-sr@champion"),
        ("https://bucket.s3/x?X-Amz-Signature=ab12&n=1", "https://bucket.s3/x?X-Amz-Signature=***&n=1"),
        ("postgresql://db/x?user=me&password=secret", "postgresql://db/x?user=me&password=***"),
        ("azure://c?account_key=a/b==", "azure://c?account_key=***"),
        ("talk.mp4?token=1", "talk.mp4?token=1"),  # a file
        ("models:/cfn-sr@champion", "models:/cfn-sr@champion"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_urls_have_no_passwords(text, shown):
    assert printable(text) == shown


def test_messages_are_printable():
    error = ClipError("\x1b[2J.mp4 of http://me:secret@host is empty")
    assert str(error) == r"\x1b[2J.mp4 of http://host is empty"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(InputError(ValueError("a\tb"))) == r"a\tb"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("-talk.mp4", "'-talk.mp4"),
        (" +1.mp4", "' +1.mp4"),
        ("@x", "'@x"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", r"\t=1"),
        ("a;=1;b", "a;'=1;b"),
        ("clips/=1-2@x.mp4", "clips/=1-2@x.mp4"),
        ("no face; silent", "no face; silent"),
    ],
)
def test_no_cell_is_a_formula(text, cell):
    assert spreadsheet_cell(text) == cell
