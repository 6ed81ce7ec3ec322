"""Plans for the eye: figures segment by segment, pictures of the arena and of a front."""

from .figures import SegmentFigures, kind_of, marks_of, segments_of, streamed_segments
from .picture import check_picture, save_picture

__all__ = [
    "SegmentFigures",
    "check_picture",
    "kind_of",
    "marks_of",
    "save_picture",
    "segments_of",
    "streamed_segments",
]
