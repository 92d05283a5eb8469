"""Rich's console, with two habits changed."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ancestral.text import printable_lines


class Screen(Console):
    """Shows no control characters but its own: what a name holds of them is escaped. Where nobody reads its output any
    more it says so as `print` does; rich ends the process instead."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The pieces of text that make up `renderable`."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)

    def on_broken_pipe(self) -> None:
        """Called while a BrokenPipeError is handled, which goes on."""
        raise
