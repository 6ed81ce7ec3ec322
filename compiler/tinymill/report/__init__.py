"""Plans for the eye: figures segment by segment, pictures of the arena and of a front, the page."""

from .figures import SegmentFigures, kind_of, marks_of, segments_of, streamed_segments
from .findings import Finding, findings_of
from .page import check_report, save_report
from .picture import check_picture, save_picture
from .quantization import read_errors
from .subject import Code, Measured, Subject

__all__ = [
    "Code",
    "Finding",
    "Measured",
    "SegmentFigures",
    "Subject",
    "check_picture",
    "check_report",
    "findings_of",
    "kind_of",
    "marks_of",
    "read_errors",
    "save_picture",
    "save_report",
    "segments_of",
    "streamed_segments",
]
