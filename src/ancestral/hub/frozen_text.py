"""Texts by an encoder that exists already, CLIP's or T5's, in a folder of transformers. It is never trained.

    FOLDER/config.json, model.safetensors, tokenizer.json, ...     side by side, or as Stable Diffusion has them:
    FOLDER/text_encoder/config.json, model.safetensors
    FOLDER/tokenizer/tokenizer.json, ...

A network is told the states after the encoder's last layer and normalisation, in float32. Each text is encoded alone,
so that its states do not depend on others, and once: they are kept in memory and in the cache on disk, by the hash of
all that they come from. The encoder's weights are first read when a text is not there.

Nothing is downloaded, no code of the folder is run, and no pickle is opened.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

from ancestral.condition import UNTOLD, Condition, States, Tokens
from ancestral.errors import InputError, NonFinite
from ancestral.files import cache_folder, made_once, open_regular, read_json
from ancestral.hub.weights import shards, what_is_there
from ancestral.machine import processor
from ancestral.settings import POOL_HEADS, EncoderSpec, TextSpec
from ancestral.text import printable
from ancestral.text_reader import TEXT_ENCODER, TOKENIZER, TextReader

CLASSES = {
    "CLIPTextModel": "CLIPTextModel",
    "CLIPTextModelWithProjection": "CLIPTextModelWithProjection",
    "CLIPModel": "CLIPTextModel",
    "T5EncoderModel": "T5EncoderModel",
    "T5ForConditionalGeneration": "T5EncoderModel",
}
"""The class that a folder says its model is of, and the one that opens the text encoder in it."""
CONFIG, WEIGHTS, SHARDS = "config.json", "model.safetensors", "model.safetensors.index.json"
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")  # one of which a tokenizer has
BESIDE = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", CONFIG)
IN_MEMORY = 2**30  # bytes of states
ON_DISK = 2**33  # bytes of states, in `FOLDERS` folders
FOLDERS = 256


class FrozenReader(TextReader):
    """The tokens of texts, and the states that the encoder in a folder makes of them. In a row -1 is what fills it up;
    `masked`: the encoder does not see that."""

    name = "frozen"

    def __init__(self, folder: Path, length: int = 77, masked: bool = False) -> None:
        self.folder, self.length, self.masked, self.files = folder, length, masked, _files(folder)
        self.kind = _class(self.files[f"{TEXT_ENCODER}/{CONFIG}"])
        with _transformers(folder) as transformers:
            self._model_class = getattr(transformers, self.kind)
            config = self._model_class.config_class.from_pretrained(self._folder(TEXT_ENCODER), local_files_only=True)
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                self._folder(TOKENIZER), local_files_only=True, trust_remote_code=False
            )
        self.width, self._vocab_size = int(config.hidden_size), int(config.vocab_size)
        self._check(config.to_dict().get("max_position_embeddings"))
        self._row = lru_cache(max(1, IN_MEMORY // (4 * length * self.width)))(self._stored)
        self._empty, self._null = self.encode([""]), lru_cache(4)(self._empty_text)

    @property
    def spec(self) -> TextSpec:
        encoder = EncoderSpec(kind=self.kind, width=self.width, hash=self.hash)
        return TextSpec(vocab_size=self._vocab_size, length=self.length, encoder=encoder)

    @cached_property
    def hash(self) -> str:
        digests = {name: _File.at(path).digest() for name, path in self.files.items()}
        return sha256(json.dumps([digests, self.length, self.masked], sort_keys=True).encode()).hexdigest()

    @property
    def parts(self) -> dict[str, list[str]]:
        kinds = {TEXT_ENCODER: self.kind, TOKENIZER: type(self._tokenizer).__name__}
        return {part: ["transformers", kind] for part, kind in kinds.items()}

    @property
    def words(self) -> str:
        return f"{self.kind}, {self.width} features of a token"

    def encode(self, texts: Sequence[str]) -> Tokens:
        """(B, length) int64: the tokens of a text or as many as there is room for, then -1."""
        if not texts:
            return torch.empty(0, self.length, dtype=torch.int64)
        room = {"padding": "max_length", "padding_side": "right", "truncation": True, "max_length": self.length}
        found = self._tokenizer(_encodable(texts), **room, return_attention_mask=True, return_tensors="pt")
        rows = found["input_ids"].masked_fill(found["attention_mask"] == 0, UNTOLD)
        rows[:, 0] = found["input_ids"][:, 0]  # that a text without any token is told all the same
        return rows

    def decode(self, row: Sequence[int] | Tensor) -> str:
        return self._tokenizer.decode([int(each) for each in row if each >= 0], skip_special_tokens=True)

    def cut(self, texts: Iterable[str]) -> int:
        whole = _encodable(texts)
        return sum(len(row) > self.length for row in self._tokenizer(whole, verbose=False)["input_ids"]) if whole else 0

    def write(self, folder: Path, copies: Sequence[Path] = ()) -> None:
        for name, path in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _place(path, folder / name, [copy / name for copy in copies])

    def states(self, tokens: Tokens, device: torch.device) -> States:
        told = torch.where(tokens.cpu()[..., :1] < 0, self._empty, tokens.cpu()).numpy().reshape(-1, self.length)
        rows = [self._row(row.tobytes(), str(device)) for row in told]
        found = np.stack(rows) if rows else np.empty(0, np.float32)
        return torch.from_numpy(found).reshape(*tokens.shape, self.width).to(tokens.device)

    def complete(self, condition: Condition, count: int, device: torch.device) -> Condition:
        """With states of all texts, and with tokens where it takes these to know which are hidden."""
        tokens = condition.tokens
        if tokens is None:
            tokens = torch.full((count, self.length), UNTOLD, device=device)
        empty, null = self._null(device)
        untold, states = tokens[..., :1] < 0, condition.states
        if states is None:
            states = self.states(tokens, device)
        tokens, states = torch.where(untold, empty, tokens), torch.where(untold[..., None], null, states)
        return condition._replace(tokens=tokens if self.masked else None, states=states)

    def _empty_text(self, device: torch.device) -> tuple[Tokens, States]:
        """The empty text, (1, length), and its states."""
        return self._empty.to(device), self.states(self._empty.to(device), device)

    def _stored(self, row: bytes, device: str) -> np.ndarray:
        """The states (length, width) of a row of tokens; what they are rounded by is part of what they come from."""
        by = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
        threads = torch.get_num_threads() if device == "cpu" else 0
        about = [self.hash, row.hex(), by, threads, torch.__version__, version("transformers")]
        name = sha256(json.dumps(about).encode()).hexdigest()[:32]
        file = cache_folder() / "texts" / name[:2] / name
        return load(made_once(file, lambda: save({"states": self._made(row, device)}), ON_DISK // FOLDERS))["states"]

    @torch.no_grad()
    def _made(self, row: bytes, device: str) -> np.ndarray:
        """The same by the encoder."""
        tokens = torch.from_numpy(np.frombuffer(row, np.int64).copy())[None].to(device)
        seen, filled = (tokens >= 0).long(), tokens.masked_fill(tokens < 0, self._tokenizer.pad_token_id)
        with torch.autocast(tokens.device.type, enabled=False):
            output = self._model.to(device)(input_ids=filled, attention_mask=seen if self.masked else None)
        states = output.last_hidden_state[0].float().cpu().numpy()
        if not np.isfinite(states).all():
            text = self.decode(tokens[0])
            raise NonFinite(f"expected finite states from {self.folder}, got others for {text!r}; take other weights")
        return states

    @cached_property
    def _model(self) -> Any:
        """The encoder, for evaluation alone."""
        kept = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
        with _transformers(self.folder), torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            folder = self._folder(TEXT_ENCODER)
            model, report = self._model_class.from_pretrained(folder, **kept, dtype=torch.float32)
            if missing := sorted(report["missing_keys"]):
                raise InputError(f"expected a whole {self.kind} in {folder}, got no {missing[0]}; copy it again")
        return model.eval().requires_grad_(False)

    def _folder(self, part: str) -> Path:
        return next(path.parent for name, path in self.files.items() if name.startswith(f"{part}/"))

    def _check(self, longest: int | None) -> None:
        """Raises InputError where the settings, the encoder and the tokenizer do not go together."""
        if longest is not None and self.length > longest:
            raise InputError(f"expected text.length of at most {longest}, as {self.folder} has it, got {self.length}")
        if self.width % POOL_HEADS:
            raise InputError(f"expected states of a width that {POOL_HEADS} divides in {self.folder}, got {self.width}")
        if self._tokenizer.pad_token_id is None or len(self._tokenizer) > self._vocab_size:
            got = f"{len(self._tokenizer):,} with pad_token {self._tokenizer.pad_token}"
            raise InputError(
                f"expected a tokenizer of at most {self._vocab_size:,} tokens in {self.folder}, and a pad_token, got "
                f"{got}; take the encoder's own"
            )


def _files(folder: Path) -> dict[str, Path]:
    """All files that count, by the names that they have where encoder and tokenizer lie apart."""
    if not folder.is_dir():
        raise InputError(
            f"expected text.folder to be a folder on this machine, got {printable(folder)}; nothing is downloaded: "
            "save a text encoder and its tokenizer there by save_pretrained"
        )
    apart = any((folder / part).exists() for part in (TEXT_ENCODER, TOKENIZER))
    encoder, tokenizer = (folder / TEXT_ENCODER, folder / TOKENIZER) if apart else (folder, folder)
    if not (encoder / CONFIG).is_file():
        raise InputError(f"expected a text encoder in {encoder}, got no {CONFIG}; save one there by save_pretrained")
    whole, index = encoder / WEIGHTS, encoder / SHARDS
    if not whole.is_file() and not index.is_file():
        raise InputError(f"expected the weights {whole}, {what_is_there(encoder)}")
    weights = [whole] if whole.is_file() else [index, *shards(index)[0]]
    if not any((tokenizer / name).is_file() for name in VOCABULARIES):
        names = " or ".join(VOCABULARIES)
        raise InputError(f"expected a tokenizer ({names}) in {tokenizer}, got none; save it there by save_pretrained")
    words = [tokenizer / name for name in (*VOCABULARIES, *BESIDE) if (tokenizer / name).is_file()]
    parts = {TEXT_ENCODER: [encoder / CONFIG, *weights], TOKENIZER: words}
    return {f"{part}/{path.name}": path for part, paths in parts.items() for path in paths}


def _class(config: Path) -> str:
    """The class of the text encoder that the file describes."""
    said = read_json(config, infinite=True).get("architectures")
    kind = CLASSES.get(said[0]) if isinstance(said, list) and said and isinstance(said[0], str) else None
    if kind is None:
        raise InputError(f"expected architectures in {config} to be one of {', '.join(CLASSES)}, got {said!r:.60}")
    return kind


@contextmanager
def _transformers(folder: Path) -> Iterator[Any]:
    """The library, which is silent meanwhile; what it says of a folder that it does not open is an InputError."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns of processes that are forked
    try:
        import transformers
    except ImportError:
        raise InputError(
            "expected the package transformers for text.name frozen, got none; pip install 'ancestral[text]'"
        ) from None
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    except InputError:
        raise
    except Exception as fault:  # of many types
        said = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise InputError(f"expected {folder} to be what transformers opens, got: {said}; save it again") from None
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class _File:
    """A file as it is now, whatever links lead to it."""

    device: int
    inode: int
    size: int
    changed: int
    path: Path = field(compare=False)

    @classmethod
    def at(cls, path: Path) -> "_File":
        found = path.stat()
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, path)

    @lru_cache(256)  # noqa: B019 (which hold no more than paths)
    def digest(self) -> str:
        """SHA-256, in hexadecimal; it is read once."""
        with open_regular(self.path) as file:
            return file_digest(file, "sha256").hexdigest()


def _encodable(texts: Iterable[str]) -> list[str]:
    """Texts without halves of surrogate pairs, which JSON can say and no tokenizer there takes."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def _place(source: Path, target: Path, copies: Sequence[Path]) -> None:
    """Puts a file there: a link to it, or to a copy of its size and age, where the disk is the same; else a copy."""
    of = source.stat()
    for path in (source, *copies):
        with suppress(OSError):
            found = path.stat()
            if (found.st_size, found.st_mtime_ns) == (of.st_size, of.st_mtime_ns):
                os.link(path.resolve(), target)
                return
    shutil.copy2(source, target)
