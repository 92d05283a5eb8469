"""What the verbs ask that are no jobs yet."""

from ancestral.cli.options import Options


def add_overwrite(options: Options) -> None:
    """The flag that lets a result take the place of a file of the user's, or of a larger measurement."""
    options.option("--overwrite", action="store_true", help="replace files that are no results of this kind, too")
