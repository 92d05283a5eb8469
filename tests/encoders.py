"""Small text encoders of transformers with random weights, and their tokenizers, in folders as others save them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ancestral.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

WORDS = ["a", "small", "large", "red", "blue", "circle", "square"]
KINDS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")


def clip_folder(folder: Path, kind: str = "CLIPTextModel", apart: bool = True, **changes: Any) -> Path:
    """CLIP's, of 16 features, with places for 20 tokens."""
    tokenizer = Tokenizer.learn([" ".join(WORDS)] * 2, 560, length=20)
    tokenizer.save(folder / "tokenizer" if apart else folder)
    sizes = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.start, "eos_token_id": tokenizer.end, "pad_token_id": tokenizer.end}
    sizes |= {"vocab_size": len(tokenizer), "max_position_embeddings": 20, **ends, "attention_dropout": 0.3, **changes}
    return _saved(kind, transformers.CLIPTextConfig(**sizes), folder, apart)


def t5_folder(folder: Path, kind: str = "T5EncoderModel", apart: bool = True, **changes: Any) -> Path:
    """T5's, of 16 features, whose tokenizer knows `WORDS`."""
    from tokenizers import Tokenizer as Words
    from tokenizers import models, pre_tokenizers, processors

    known = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Words(models.WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special, model_max_length=512)
    tokenizer.save_pretrained(folder / "tokenizer" if apart else folder)
    sizes = {"vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, **changes}
    return _saved(kind, transformers.T5Config(**sizes), folder, apart)


def folder_of(kind: str, folder: Path, **changes: Any) -> Path:
    """That of an encoder of a class."""
    return (t5_folder if kind.startswith("T5") else clip_folder)(folder, kind, **changes)


def _saved(kind: str, config: Any, folder: Path, apart: bool) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, kind)(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.2 * torch.randn(weight.shape))
    model.save_pretrained(folder / "text_encoder" if apart else folder)
    return folder


def states_there(folder: Path, texts: list[str], length: int, masked: bool) -> torch.Tensor:
    """(B, length, 16) what transformers makes of texts, all at once."""
    found = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    (architecture,) = transformers.AutoConfig.from_pretrained(folder / "text_encoder").architectures
    model = getattr(transformers, architecture).from_pretrained(folder / "text_encoder").eval()
    shown = {"attention_mask": found.attention_mask} if masked else {}
    with torch.no_grad():
        return model(input_ids=found.input_ids, **shown).last_hidden_state
