"""The tokenizer of a run, kept beside its checkpoints: learned from the captions that are trained on, once, or of an
encoder that exists already."""

from ancestral.data.imageset import ImageSet
from ancestral.errors import InputError
from ancestral.pipeline.folder import check_reads, named_tokenizer, read_tokenizer, told_text
from ancestral.settings import AnyText, LearnedText, NoText
from ancestral.text import printable
from ancestral.text_reader import TextReader
from ancestral.tokenizer import Tokenizer
from ancestral.training.run import RunFolder

LEARNED_FROM = 20_000  # captions, at most: the first of the images to train on, which are shuffled


def tokenizer_of(settings: AnyText, images: ImageSet, run: RunFolder, source: str = "the images") -> TextReader | None:
    """The tokenizer that the run has kept, or of a new one that of the captions of `images`, which are trained on, as
    the settings of text say; None: no text is read. `source`: where the images come from, in words."""
    if isinstance(settings, NoText):
        return None
    if (kept := _kept(run, settings)) is not None:
        return kept
    captions = images.captions_at(slice(0, LEARNED_FROM))
    if not any(map(str.strip, captions)):
        raise InputError(
            f"expected captions with text.name {settings.name}, got none with {printable(source)}; write them beside "
            "the images, as docs/text.md says, or set text.name none"
        )
    if not isinstance(settings, LearnedText):
        return named_tokenizer(settings)
    return Tokenizer.learn(captions, settings.vocab_size, settings.length, settings.lower)


def existing_tokenizer(settings: AnyText, run: RunFolder) -> TextReader | None:
    """The same where no captions are needed for it; None: it is yet to be learned, or no text is read."""
    return _kept(run, settings) or named_tokenizer(settings)


def in_words(tokenizer: TextReader, images: ImageSet) -> str:
    """How many tokens there are, and what is lost of the captions of images that are trained on."""
    captions = images.captions_at(slice(0, LEARNED_FROM))
    said = [caption for caption in captions if caption.strip()]
    absent = len(captions) - len(said)
    untold = f"; {absent:,} images have none and are told no text" if absent else ""
    share = tokenizer.cut(said) / max(1, len(said))
    first = f"the first {len(captions):,} of {len(images):,}" if len(captions) < len(images) else f"{len(said):,}"
    return (
        f"text: {tokenizer.words}, by {first} captions, of which {share:.1%} have more than "
        f"{tokenizer.length} and are cut (text.length){untold}"
    )


def _kept(run: RunFolder, settings: AnyText) -> TextReader | None:
    """The tokenizer that the run has, and its pipeline too. It is never learned anew where something has been trained
    with it, nor taken where it has changed since."""
    if isinstance(settings, NoText):
        return None
    kept = [each for folder in (run.path, run.pipeline) if (each := read_tokenizer(folder, settings)) is not None]
    if len({each.hash for each in kept}) > 1:
        raise InputError(
            f"expected one tokenizer in {printable(run.path)} and {printable(run.pipeline)}, got two; restore the one "
            "that has changed"
        )
    if not kept and run.checkpoints.is_dir() and any(run.checkpoints.iterdir()):
        raise InputError(
            f"expected the tokenizer of the run in {printable(str(run.tokenizer))}, got none; restore it, or train "
            "into another folder with --out"
        )
    if kept:
        check_reads(kept[0], told_text(run.pipeline), run.path)
    return kept[0] if kept else None
