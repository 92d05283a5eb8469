"""What there is to say of images that were read: how else they could be, and what is not used."""

import shlex
from collections.abc import Iterator, Sequence

from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.listing import BY_A_SYSTEM, by_reason
from ancestral.data.packing import Packed
from ancestral.jobs.events import NoteEvent
from ancestral.text import printable
from ancestral.text_reader import TextReader
from ancestral.training.vocabulary import in_words

LISTED = 5  # Bad files and classes that a warning names


def notes_on(images: Parts | Packed, source: str) -> Iterator[NoteEvent]:
    """How the images were read where they can be read otherwise, and what is not used."""
    for note in images.notes:
        yield NoteEvent(f"ancestral: note: {note}")
    if bad := images.bad:
        first = "; ".join(f"{name} {reason}" for name, reason in bad[:LISTED])
        more = f"; ... `ancestral data check {shlex.quote(source)}` lists them all" if len(bad) > LISTED else ""
        files = "1 file" if len(bad) == 1 else f"{len(bad)} files"
        yield NoteEvent(f"ancestral: warning: {files} cannot be used: {first}{more}")
    if left_out := by_reason(each for each in images.left_out if each.reason != BY_A_SYSTEM):
        words = "; ".join(f"{reason}: {suffixes}" for reason, suffixes in left_out.items())
        yield NoteEvent(f"ancestral: note: left out of {printable(source)}: {words}")


def notes_on_classes(untrained: Sequence[str]) -> Iterator[NoteEvent]:
    """The classes that a network is to generate and never sees."""
    if untrained:
        names = ", ".join(untrained[:LISTED]) + (" ..." if len(untrained) > LISTED else "")
        classes = "1 class" if len(untrained) == 1 else f"{len(untrained)} classes"
        yield NoteEvent(f"ancestral: warning: no image to train on in {classes}, which cannot be learned: {names}")


def notes_on_text(tokenizer: TextReader | None, images: ImageSet) -> Iterator[NoteEvent]:
    """What is read of the captions of images to train on, or how they could be."""
    if tokenizer is not None:
        yield NoteEvent(in_words(tokenizer, images))
    elif images.captions:
        yield NoteEvent("ancestral: note: the images have captions, which are not read; --text.name learned reads them")
