from __future__ import annotations

from pathlib import Path

import cv2

from cfnsr.config.corpus import SampleSettings
from cfnsr.corpus.sample.sheet import draw_sheet


def test_the_sheet_is_a_picture(tmp_path: Path) -> None:
    draw_sheet(tmp_path / "new" / "sheet.png", SampleSettings(fps=16, seconds=1.0), (1,))
    picture = cv2.imread(str(tmp_path / "new" / "sheet.png"))
    assert picture.shape[1] == 1300
    assert picture.std() > 30
