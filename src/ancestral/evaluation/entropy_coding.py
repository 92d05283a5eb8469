"""Integers to bytes and back, exactly: a range coder with probabilities that are fitted to other images' integers.

The coder is constriction's (Bamler 2022, arXiv:2201.01741), which rounds probabilities to 24 bits and pads a stream to
words of 4 bytes. Symbols go channel by channel, row by row, so the decoder knows the neighbours to the left and above,
and earlier channels at the same position. Two sums of them with whole weights, fitted by least squares, say

    p = Σ w_k n_k    where the symbol is expected;      a = Σ v_k |m_k|    how far from there

with n the neighbours, m these and their differences. Each is cut into a few stretches of equal shares, and every pair
of stretches, a context, has its own table of how often each symbol was seen there, added to a prior that is the
channel's own table. All of it is whole numbers, so encoder and decoder agree to the bit on any machine.

The tables are what a decoder has beforehand, as it has the weights of its network: part of the codec, learned from
training images, and not counted in the bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ancestral.errors import InputError

EARLIER = 4  # channels before, whose symbol at the same position is a neighbour
UNIT = 64  # of the weights, which are whole multiples of its inverse
PREDICTIONS, ACTIVITIES = 8, 5  # stretches of p and of a
PRIOR = 24.0  # symbols that the channel's own table counts as in each context
FITTED = 20_000  # symbols of a channel that its weights are fitted to, at most
ROOM = 2  # symbols beyond the training images' smallest and largest that can be coded

Symbols = np.ndarray
"""(N, c, h, w) int64."""


@dataclass(frozen=True)
class ChannelModel:
    """The contexts of one channel and their tables."""

    low: int  # the first symbol of the tables
    prediction: tuple[int, ...]  # w, in units
    activity: tuple[int, ...]  # v, in units
    predictions: np.ndarray  # where a stretch of p ends and the next begins
    activities: np.ndarray  # the same of a
    tables: np.ndarray  # (contexts, symbols) float32, of sum 1

    def context(self, neighbours: Sequence[Any]) -> Any:
        """The row of the tables, from neighbours that are numbers or arrays of them."""
        p, a = _weighted(self.prediction, neighbours), _weighted(self.activity, _magnitudes(neighbours))
        row, column = self.predictions.searchsorted(p, "right"), self.activities.searchsorted(a, "right")
        return row * (len(self.activities) + 1) + column


@dataclass(frozen=True)
class SymbolModel:
    """What encoder and decoder know of the symbols of images beforehand."""

    channels: tuple[ChannelModel, ...]

    def clamped(self, symbols: Symbols) -> Symbols:
        """The nearest symbols that have a place in the tables, which is little beyond what training images had."""
        low = np.array([each.low for each in self.channels])[:, None, None]
        return symbols.clip(low, low + np.array([each.tables.shape[1] - 1 for each in self.channels])[:, None, None])

    def bits(self, symbols: Symbols) -> np.ndarray:
        """-log₂ of the probability of each image's symbols, (N,) float64: the least that a coder could need."""
        total = np.zeros(len(symbols))
        for each, found, contexts in self._in_context(symbols):
            total -= np.log2(each.tables[contexts, found].astype(np.float64)).sum(axis=(1, 2))
        return total

    def encode(self, symbols: Symbols) -> bytes:
        """The symbols of one image, (c, h, w). Its size is not among the bytes."""
        from constriction import stream

        encoder, family = stream.queue.RangeEncoder(), stream.model.Categorical(perfect=False)
        for each, found, contexts in self._in_context(symbols[None]):
            encoder.encode(found.ravel().astype(np.int32), family, each.tables[contexts.ravel()])
        return encoder.get_compressed().astype("<u4").tobytes()

    def decode(self, content: bytes, height: int, width: int) -> Symbols:
        """The symbols (c, height, width) of an image, from what `encode` gave."""
        from constriction import stream

        if len(content) % 4:
            raise InputError(f"expected bytes in words of 4, got {len(content)} bytes; they are cut off")
        decoder = stream.queue.RangeDecoder(np.frombuffer(content, "<u4").astype(np.uint32))
        symbols = np.zeros((len(self.channels), height, width), np.int64)
        padded = np.zeros((len(self.channels) + EARLIER, height + 1, width + 2), np.int64)
        for c, each in enumerate(self.channels):
            model = cache(lambda row, each=each: stream.model.Categorical(each.tables[row], perfect=False))
            for y in range(height):
                for x in range(width):
                    row = int(each.context([int(n) for n in _neighbours(padded, c, y, x)]))
                    found = int(decoder.decode(model(row))) + each.low
                    symbols[c, y, x] = padded[c + EARLIER, y + 1, x + 1] = found
        return symbols

    def _in_context(self, symbols: Symbols) -> Iterator[tuple[ChannelModel, np.ndarray, np.ndarray]]:
        """Of each channel: its model, places in its tables and rows of them, (N, h, w)."""
        if (symbols != self.clamped(symbols)).any():
            raise InputError("expected symbols that the tables have, got others; clamp them first")
        for c, (each, near) in enumerate(zip(self.channels, _all_neighbours(symbols), strict=True)):
            yield each, symbols[:, c] - each.low, each.context(near)


def fit_symbols(symbols: Symbols, codes: int | None = None) -> SymbolModel:
    """The model of symbols (N, c, h, w) of training images.

    Args:
        codes: None: symbols are levels, of which near numbers mean alike things; else indices of so many entries of a
            codebook, whose numbers mean nothing: a channel has one table of them all.
    """
    around = enumerate(_all_neighbours(symbols))
    if codes is None:
        return SymbolModel(tuple(_fit(symbols[:, c], near) for c, near in around))
    return SymbolModel(tuple(_fit_indices(symbols[:, c], near, codes) for c, near in around))


def _fit(symbols: np.ndarray, near: list[np.ndarray]) -> ChannelModel:
    prediction = _weights(symbols, near)
    p = _weighted(prediction, near)
    activity = _weights(np.abs(symbols - p / UNIT), _magnitudes(near))
    a = _weighted(activity, _magnitudes(near))
    low = int(symbols.min()) - ROOM
    width = int(symbols.max()) + ROOM + 1 - low
    return _counted(symbols, near, low, width, (prediction, activity), (_ends(p, PREDICTIONS), _ends(a, ACTIVITIES)))


def _fit_indices(symbols: np.ndarray, near: list[np.ndarray], codes: int) -> ChannelModel:
    nothing, nowhere = ((0,) * len(near), (0,) * len(_magnitudes(near))), np.zeros(0, np.int64)
    return _counted(symbols, near, 0, codes, nothing, (nowhere, nowhere))


def _counted(
    symbols: np.ndarray,
    near: list[np.ndarray],
    low: int,
    width: int,
    weights: tuple[tuple[int, ...], tuple[int, ...]],
    ends: tuple[np.ndarray, np.ndarray],
) -> ChannelModel:
    """The model with tables of `width` symbols, from the symbols in each of its contexts."""
    rows = (len(ends[0]) + 1) * (len(ends[1]) + 1)
    empty = ChannelModel(low, *weights, *ends, np.zeros((rows, width), np.float32))
    places = empty.context(near) * width + (symbols - low)
    return replace(empty, tables=_tables(places, rows, width))


def _tables(places: np.ndarray, rows: int, width: int) -> np.ndarray:
    counts = np.bincount(places.ravel(), minlength=rows * width).reshape(rows, width).astype(np.float64)
    own = counts.sum(axis=0) + 0.5
    tables = counts + PRIOR * own / own.sum()
    return (tables / tables.sum(axis=1, keepdims=True)).astype(np.float32)


def _weights(target: np.ndarray, features: list[np.ndarray]) -> tuple[int, ...]:
    """Least squares, with a constant that is left out, since it moves no order; in whole units."""
    every = max(1, target.size // FITTED)
    wanted, *columns = (each.ravel()[::every].astype(np.float64) for each in (target, *features, np.ones(target.shape)))
    matrix = np.stack(columns)
    found = np.linalg.lstsq(matrix @ matrix.T, matrix @ wanted, rcond=None)[0]
    return tuple(int(w) for w in np.round(found[:-1] * UNIT))


def _ends(values: np.ndarray, parts: int) -> np.ndarray:
    """Where stretches of as many values each end; fewer where many values are alike."""
    return np.unique(np.quantile(values, np.arange(1, parts) / parts, method="higher"))


def _weighted(weights: Sequence[int], features: Sequence[Any]) -> Any:
    return sum(w * each for w, each in zip(weights, features, strict=True))


def _magnitudes(neighbours: Sequence[Any]) -> list[Any]:
    left, up, corner, right, *_ = neighbours
    return [abs(each) for each in (*neighbours, left - corner, up - corner, up - right)]


def _neighbours(padded: np.ndarray, c: int, y: Any, x: Any) -> list[Any]:
    """Left, up, up left, up right and earlier channels of positions of one channel, of symbols in a frame of zeros:
    `EARLIER` channels before, a row above, a column on either side."""
    at = c + EARLIER
    beside = [padded[..., at, y + 1, x], padded[..., at, y, x + 1], padded[..., at, y, x], padded[..., at, y, x + 2]]
    return beside + [padded[..., at - k, y + 1, x + 1] for k in range(1, EARLIER + 1)]


def _all_neighbours(symbols: Symbols) -> Iterator[list[np.ndarray]]:
    """Of each channel: its neighbours, (N, h, w) each."""
    padded = np.pad(symbols, ((0, 0), (EARLIER, 0), (1, 0), (1, 1)))
    y, x = np.indices(symbols.shape[2:])
    for c in range(symbols.shape[1]):
        yield _neighbours(padded, c, y, x)
